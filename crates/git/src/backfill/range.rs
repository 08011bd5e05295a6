//! What commits of a range look at, as walks of trees. Git itself says which commits a range has.

use bstr::{BString, ByteSlice as _};
use gix::ObjectId;

use super::parse_id;
use crate::{
    local::{LocalError, LocalObjects, LocalRepository, os_string},
    tree_walk::Task,
};

/// Pairs of ends of ranges that are compared, at most: `--all --not ...` has thousands.
const MOST_ENDS: usize = 16;

/// Which commits are in a range.
pub(super) struct Limits<'a> {
    pub(super) revs: &'a [BString],
    pub(super) since: Option<&'a str>,
    pub(super) max_count: Option<u32>,
}

/// Everything in the tree of every commit that `HEAD` reaches.
pub(super) fn whole_history(
    repository: &LocalRepository<'_>,
    objects: &LocalObjects,
) -> Result<Vec<Task>, LocalError> {
    let listed = repository
        .git_without_fetching()
        .args(["rev-list", "HEAD", "--"])
        .run()?;
    all_of_each(objects, &listed.stdout)
}

/// Everything in the trees of commits listed by name.
pub(super) fn all_of_each(objects: &LocalObjects, listed: &[u8]) -> Result<Vec<Task>, LocalError> {
    listed
        .lines()
        .map(|line| all_of(objects, parse_id(line)?))
        .collect()
}

/// What comparing the commits within `limits` with their parents needs, and the ends of the ranges with each other.
pub(super) fn changes(
    repository: &LocalRepository<'_>,
    objects: &LocalObjects,
    limits: &Limits<'_>,
) -> Result<Vec<Task>, LocalError> {
    let head = [BString::from("HEAD")];
    let revs = if limits.revs.is_empty() {
        &head[..]
    } else {
        limits.revs
    };
    let revs = || revs.iter().map(|rev| os_string(rev.as_ref()));
    let mut command = repository.git_without_fetching().args(["rev-list", "--parents"]);
    if let Some(since) = limits.since {
        command = command.arg(format!("--since={since}"));
    }
    if let Some(max_count) = limits.max_count {
        command = command.arg(format!("--max-count={max_count}"));
    }
    let listed = command.arg("--end-of-options").args(revs()).arg("--").run()?;
    let mut tasks = Vec::new();
    for line in listed.stdout.lines() {
        let ids = line.split(|byte| *byte == b' ').map(parse_id);
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let Some((commit, parents)) = ids.split_first() else {
            continue;
        };
        let [first, ..] = parents else {
            tasks.push(all_of(objects, *commit)?);
            continue;
        };
        let new = objects.tree_of(*commit)?;
        tasks.extend(changed(objects.tree_of(*first)?, new));
        if parents.len() > 1 {
            let parents = parents.iter().map(|parent| objects.tree_of(*parent));
            tasks.push(Task::Merged {
                parents: parents.collect::<Result<_, _>>()?,
                new,
                dir: BString::default(),
            });
        }
    }
    tasks.extend(ends(repository, objects, limits)?);
    Ok(tasks)
}

/// `git diff A B` for a range `A..B`.
fn ends(
    repository: &LocalRepository<'_>,
    objects: &LocalObjects,
    limits: &Limits<'_>,
) -> Result<Vec<Task>, LocalError> {
    if limits.revs.is_empty() {
        return Ok(Vec::new());
    }
    let revs = limits.revs.iter().map(|rev| os_string(rev.as_ref()));
    let named = repository
        .git_without_fetching()
        .args(["rev-parse", "--revs-only", "--end-of-options"])
        .args(revs)
        .run()?;
    let commit_of = |name: &[u8]| -> Result<Option<ObjectId>, LocalError> {
        let peeled = format!("{}^{{commit}}", name.to_str_lossy());
        let asked = repository
            .git_without_fetching()
            .args(["rev-parse", "--verify", "--quiet", &peeled])
            .run();
        asked
            .ok()
            .map(|output| parse_id(output.stdout.trim()))
            .transpose()
    };
    let (mut starts, mut tips) = (Vec::new(), Vec::new());
    for line in named.stdout.lines() {
        match line.strip_prefix(b"^") {
            Some(start) => starts.push(start),
            None => tips.push(line),
        }
    }
    let pairs = starts
        .iter()
        .flat_map(|start| tips.iter().map(move |tip| (*start, *tip)));
    let mut tasks = Vec::new();
    for (start, tip) in pairs.take(MOST_ENDS) {
        if let (Some(start), Some(tip)) = (commit_of(start)?, commit_of(tip)?) {
            tasks.extend(changed(objects.tree_of(start)?, objects.tree_of(tip)?));
        }
    }
    Ok(tasks)
}

fn all_of(objects: &LocalObjects, commit: ObjectId) -> Result<Task, LocalError> {
    Ok(Task::All {
        tree: objects.tree_of(commit)?,
        dir: BString::default(),
    })
}

/// A walk of what differs, if anything does.
pub(super) fn changed(old: ObjectId, new: ObjectId) -> Option<Task> {
    (old != new).then(|| Task::Changed {
        old,
        new,
        dir: BString::default(),
    })
}
