//! The first half of a pull: history and refs of the remote.

use std::fs;

use gix::ObjectId;
use headstart_fs::AtPath as _;
use headstart_process::ProcessError;

use super::{
    Pull, PullError,
    refs::{self, LocalRefs, RefRules, RefUpdate},
};
use crate::{
    local::{FetchJob, LocalError, LocalObjects},
    progress::{Step, Warning},
    refs::RemoteRefs,
    remote::{FetchRequest, Session},
};

/// How far the fetch has come.
pub(super) struct FetchedRefs {
    pub(super) tip: ObjectId,
    pub(super) refs: usize,
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

impl Pull<'_> {
    /// Brings the refs of the remote, with the history they need as far as the filter goes.
    pub(super) fn fetch_refs(
        &self,
        session: &mut Session<'_>,
        rules: &RefRules,
        listed: &RemoteRefs,
    ) -> Result<FetchedRefs, PullError> {
        let repository = self.repository;
        let Some((_, upstream)) = listed.get(self.upstream.name.as_ref()) else {
            return Err(PullError::UpstreamGone {
                branch: self.upstream.branch.clone(),
                remote: self.upstream.remote.clone(),
                name: self.upstream.name.clone(),
            });
        };
        let local = refs::local_refs(repository)?;
        let mut objects = LocalObjects::open(repository)?;
        let mut updates = rules.updates(listed, &local)?;
        self.refuse_checked_out(&updates)?;
        let known_tags = rules.followed_tags(listed, &local, |id| objects.contains(id));
        let tips = updates.iter().chain(&known_tags).map(|update| update.new.id);
        let mut tips: Vec<ObjectId> = tips.chain([upstream.id]).collect();
        tips.sort_unstable();
        tips.dedup();
        let mut wants = tips.clone();
        wants.retain(|id| !objects.contains(id));
        let mut fetched = FetchedRefs {
            tip: upstream.target(),
            refs: 0,
            objects: 0,
            bytes: 0,
        };
        if !wants.is_empty() {
            let haves = refs::haves(repository, &objects, self.upstream.old, &updates, &local)?;
            let pack = self.fetch_history(session, rules, listed, wants.clone(), haves)?;
            (fetched.objects, fetched.bytes) = pack;
            objects = LocalObjects::open(repository)?;
        }
        add_followed_tags(rules, listed, &local, &objects, &mut updates);
        let mut checked = self.check_connected(&updates, fetched.tip);
        if wants.len() < tips.len() && matches!(checked, Err(PullError::Disconnected { .. })) {
            // A commit that was fetched for its own sake is here without what it came from. What refs have is whole.
            let haves = refs::haves(repository, &objects, self.upstream.old, &updates, &local)?;
            let (more, bytes) = self.fetch_history(session, rules, listed, tips, haves)?;
            fetched.objects += more;
            fetched.bytes += bytes;
            objects = LocalObjects::open(repository)?;
            add_followed_tags(rules, listed, &local, &objects, &mut updates);
            checked = self.check_connected(&updates, fetched.tip);
        }
        checked?;
        refs::apply(repository, &updates)?;
        fetched.refs = updates.len();
        let shown_url = repository.shown_url(self.upstream.remote.as_ref());
        let fetch_head = repository.git_dir.join("FETCH_HEAD");
        let text = refs::fetch_head(self.upstream.name.as_ref(), upstream.id, &shown_url);
        fs::write(&fetch_head, text).at("write", &fetch_head)?;
        Ok(fetched)
    }

    fn fetch_history(
        &self,
        session: &mut Session<'_>,
        rules: &RefRules,
        listed: &RemoteRefs,
        wants: Vec<ObjectId>,
        haves: Vec<ObjectId>,
    ) -> Result<(u64, u64), PullError> {
        let repository = self.repository;
        let filter = self.filter.to_string();
        let is_filtered = !self.filter.is_none();
        let can_filter = session.conversation()?.can_filter();
        if is_filtered && !can_filter {
            let filter = self.filter.clone();
            self.progress.warn(&Warning::FilterUnsupported { filter });
        }
        let promisor = self.is_promisor().then(|| promisor_lines(listed, &wants));
        let request = FetchRequest {
            wants,
            haves,
            shallow: repository.shallow()?,
            filter: (is_filtered && can_filter).then_some(&filter),
            include_tag: rules.follows_tags(),
            ..FetchRequest::default()
        };
        self.progress.start(Step::ReceiveHistory, None);
        let job = FetchJob {
            progress: self.progress,
            on_bytes: &|bytes| self.progress.advance(Step::ReceiveHistory, bytes),
            interrupt: self.interrupt,
        };
        let shown_url = repository.shown_url(self.upstream.remote.as_ref());
        let fetched = session.hold(|conversation| {
            repository.fetch(conversation, &shown_url, &request, promisor.as_deref(), &job)
        })?;
        repository.update_shallow(&fetched)?;
        self.progress.finish(Step::ReceiveHistory);
        Ok((fetched.pack.objects, fetched.pack.bytes))
    }

    /// A mirror's refspec would move branches under the working trees of this repository.
    fn refuse_checked_out(&self, updates: &[RefUpdate]) -> Result<(), PullError> {
        let mut branches = updates
            .iter()
            .filter(|update| update.local_name.starts_with(b"refs/heads/"))
            .peekable();
        if branches.peek().is_none() {
            return Ok(());
        }
        let listed = self.repository.git_without_fetching();
        let listed = listed.args(["worktree", "list", "--porcelain", "-z"]).run()?;
        let checked_out: Vec<&[u8]> = listed
            .stdout
            .split(|byte| *byte == 0)
            .filter_map(|line| line.strip_prefix(b"branch "))
            .collect();
        match branches.find(|update| checked_out.contains(&update.local_name.as_slice())) {
            None => Ok(()),
            Some(update) => Err(LocalError::Setting {
                key: format!("remote.{}.fetch", self.upstream.remote),
                source: format!("it sets {}, which is checked out", update.local_name).into(),
            }
            .into()),
        }
    }

    /// Nothing points to what came before it is known to be whole.
    fn check_connected(&self, updates: &[RefUpdate], tip: ObjectId) -> Result<(), PullError> {
        let tips = updates.iter().map(|update| update.new.id).chain([tip]);
        let tips: String = tips.map(|id| format!("{id}\n")).collect();
        let command = self.repository.git_without_fetching();
        let command = command.args(["rev-list", "--quiet", "--stdin"]);
        let command =
            match self.filter.is_none() && !self.repository.is_promisor(self.upstream.remote.as_ref()) {
                true => command.arg("--objects"),
                // What the remote owes, it may still give; commits are always sent.
                false => command,
            };
        let checked = command
            .args(["--not", "--all"])
            .stdin(tips)
            .run_interruptible(self.interrupt);
        match checked {
            Ok(_) => Ok(()),
            Err(ProcessError::Interrupted { .. }) => Err(PullError::Interrupted),
            Err(source) => Err(PullError::Disconnected {
                remote: self.upstream.remote.clone(),
                source,
            }),
        }
    }
}

/// Adds tags that are here with what they point to.
fn add_followed_tags(
    rules: &RefRules,
    listed: &RemoteRefs,
    local: &LocalRefs,
    objects: &LocalObjects,
    updates: &mut Vec<RefUpdate>,
) {
    for tag in rules.followed_tags(listed, local, |id| objects.contains(id)) {
        let is_new = !updates.iter().any(|update| update.local_name == tag.local_name);
        if is_new && objects.contains(&tag.new.id) {
            updates.push(tag);
        }
    }
}

/// What git writes into the `.promisor` file beside a pack: the refs it was fetched for.
fn promisor_lines(listed: &RemoteRefs, wants: &[ObjectId]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, target) in listed.iter().filter(|(_, target)| wants.contains(&target.id)) {
        text.extend_from_slice(format!("{} ", target.id).as_bytes());
        text.extend_from_slice(name);
        text.push(b'\n');
    }
    text
}
