//! Building a seed: a clone without files, the objects of its tip in packs of their own, the history in few packs, and the
//! commit-graph.
//!
//! The clone is made from the seed before, where there is one: what has not changed stays in the same files, byte for byte,
//! and costs the store nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use bstr::{BString, ByteSlice as _};
use gix::ObjectId;
use headstart_fs::AtPath as _;

use super::{
    MANIFEST_FILE, SeedError, SeedKey, SeedManifest, SeedPack, SeedPart, SeedRef, SeedSource, commit_graph,
    history_packs, link::link_part, tip_packs,
};
use crate::{
    CloneOptions, clone::clone_with_seeds, environment::GitEnvironment, filter_spec::FilterSpec,
    local::LocalRepository, progress::Progress,
};

/// What to make a seed of.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The origin, in any of git's spellings.
    pub url: BString,
    /// An empty folder for the work; the seed's folders `tip` and `history` are made in it.
    pub folder: PathBuf,
    /// Now, in RFC 3339.
    pub created_at: String,
}

/// A seed that is ready to be saved.
#[derive(Debug, Clone)]
pub struct BuiltSeed {
    /// What it has.
    pub manifest: SeedManifest,
    /// The folder of its tip.
    pub tip: PathBuf,
    /// The folder of its history.
    pub history: PathBuf,
    /// What the seed had that it builds on.
    pub base: Option<SeedManifest>,
    /// Whether the seed it builds on is complete and has the same refs, so that there is no use in saving this one.
    pub is_same: bool,
    /// Bytes of the packs that the origin sent.
    pub fetched_bytes: u64,
}

/// Builds a seed from the origin and the newest seed that `seeds` has of it.
pub fn build_seed(
    options: &BuildOptions,
    key: &SeedKey,
    seeds: &dyn SeedSource,
    environment: &GitEnvironment,
    progress: &dyn Progress,
    interrupt: &AtomicBool,
) -> Result<BuiltSeed, SeedError> {
    let unfiltered = |filter: &FilterSpec| SeedError::Unfiltered {
        filter: filter.to_string(),
    };
    if key.filter().is_none() {
        return Err(unfiltered(key.filter()));
    }
    let what = CloneOptions {
        url: options.url.clone(),
        directory: options.folder.join("repository"),
        filter: key.filter().clone(),
        depth: None,
        branch: None,
        single_branch: false,
        tags: true,
        sparse: Vec::new(),
        checkout: false,
        history: crate::History::Beside,
    };
    let outcome = clone_with_seeds(&what, Some(seeds), environment, progress, &|_| {}, interrupt)?;
    if outcome.filter.is_none() {
        return Err(unfiltered(&outcome.filter));
    }
    let tip = outcome.head.tip().ok_or_else(|| SeedError::Empty {
        url: key.repository().to_owned(),
    })?;
    let base = outcome.seed;
    let environment = GitEnvironment {
        folder: outcome.directory,
        ..environment.clone()
    };
    let repository = LocalRepository::discover(&environment)?;
    let mut manifest = SeedManifest::new(
        key.repository().to_owned(),
        key.filter().clone(),
        options.created_at.clone(),
        tip,
    );
    manifest.refs = refs(&repository)?;
    let mut built = BuiltSeed {
        manifest,
        tip: options.folder.join("tip"),
        history: options.folder.join("history"),
        base: base.as_ref().map(|base| base.manifest.clone()),
        is_same: false,
        fetched_bytes: outcome.history_bytes,
    };
    if let Some(base) = &base {
        let (old, new) = (&base.manifest, &built.manifest);
        built.is_same = base.history_used && old.refs == new.refs && old.tip == new.tip;
        if built.is_same {
            return Ok(built);
        }
    }

    let work = Work {
        repository: &repository,
        progress,
        interrupt,
    };
    let old_tip = base.map(|base| base.manifest.tip_packs).unwrap_or_default();
    let history = work.packs_except(&old_tip)?;
    let (tip_packs, fetched_bytes) = tip_packs::build(&work, key.filter(), tip, old_tip)?;
    built.fetched_bytes += fetched_bytes;
    built.manifest.history_packs = history_packs::merge(&work, history)?;
    built.manifest.tip_packs = tip_packs;
    work.write_commit_graph(&built.manifest)?;
    work.lay_out(&mut built)?;
    Ok(built)
}

/// The refs of the origin, as they are named there.
fn refs(repository: &LocalRepository<'_>) -> Result<Vec<SeedRef>, SeedError> {
    let remote = repository.remote_name()?;
    let tracking = [b"refs/remotes/".as_slice(), &remote, b"/"].concat();
    let listed = repository
        .git()
        .args(["for-each-ref", "--format=%(objectname) %(symref) %(refname)"])
        .arg(tracking.to_os_str_lossy())
        .arg("refs/tags/")
        .run()?;
    let mut refs = Vec::new();
    for line in listed.stdout.lines() {
        let mut fields = line.splitn_str(3, " ");
        let (Some(id), Some(b""), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let name = match name.strip_prefix(tracking.as_slice()) {
            Some(branch) => [b"refs/heads/".as_slice(), branch].concat(),
            None => name.to_owned(),
        };
        // One whose name is no text only costs those time who come for it.
        if let (Ok(id), Ok(name)) = (ObjectId::from_hex(id), String::from_utf8(name)) {
            refs.push(SeedRef { name, id });
        }
    }
    Ok(refs)
}

/// The repository a seed is built in.
pub(super) struct Work<'a> {
    pub(super) repository: &'a LocalRepository<'a>,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a AtomicBool,
}

impl Work<'_> {
    pub(super) fn objects(&self) -> PathBuf {
        self.repository.common_dir.join("objects")
    }

    pub(super) fn pack_dir(&self) -> PathBuf {
        self.objects().join("pack")
    }

    /// A git command in it that fetches nothing on its own.
    pub(super) fn git(&self) -> headstart_process::Command {
        self.repository.git().env("GIT_NO_LAZY_FETCH", "1")
    }

    /// Has git make a pack; its name.
    pub(super) fn pack_objects(&self, args: &[&str], input: String) -> Result<SeedPack, SeedError> {
        // The files of a seed are alike wherever it is built: the user's taste in packing is not asked.
        let fixed = [
            "-c",
            "pack.writeReverseIndex=true",
            "-c",
            "pack.compression=-1",
            "-c",
            "core.compression=-1",
        ];
        let made = self
            .git()
            .args(fixed)
            .args(["pack-objects", "-q", "--delta-base-offset"])
            .args(args)
            .arg(self.pack_dir().join("pack"))
            .stdin(input)
            .run_interruptible(self.interrupt)?;
        let id = ObjectId::from_hex(made.stdout.trim_ascii())
            .map_err(|error| SeedError::invalid(self.pack_dir(), error))?;
        facts_of(&self.pack_dir().join(format!("pack-{id}.idx")))
    }

    /// The packs that are there, but for `known`.
    fn packs_except(&self, known: &[SeedPack]) -> Result<Vec<SeedPack>, SeedError> {
        let folder = self.pack_dir();
        let mut packs = Vec::new();
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            if path.extension().is_some_and(|extension| extension == "idx") {
                packs.push(facts_of(&path)?);
            }
        }
        packs.retain(|pack| !known.contains(pack));
        Ok(packs)
    }

    /// Writes the commit-graph of the history, with what lets git follow one path quickly.
    fn write_commit_graph(&self, manifest: &SeedManifest) -> Result<(), SeedError> {
        if manifest.history_packs.is_empty() {
            return Ok(());
        }
        // Linked from the seed before: git replaces it as a file of its own.
        let has_trees = !manifest.filter.leaves_out_trees();
        let mut command = self
            .git()
            .args(["commit-graph", "write", "--reachable", "--no-progress"]);
        if has_trees {
            command = command.arg("--changed-paths");
        }
        command.run_interruptible(self.interrupt)?;
        Ok(())
    }

    /// Makes the folders of the seed from what is in the repository.
    fn lay_out(&self, built: &mut BuiltSeed) -> Result<(), SeedError> {
        let from = self.objects();
        let manifest = &mut built.manifest;
        for (packs, folder) in [
            (&manifest.tip_packs, &built.tip),
            (&manifest.history_packs, &built.history),
        ] {
            let part = SeedPart {
                packs: packs.iter().map(|pack| pack.path_in(&from)).collect(),
                commit_graph: None,
            };
            link_part(&part, folder, b"")?;
            let pack_dir = folder.join("pack");
            for entry in fs::read_dir(&pack_dir).at("list", &pack_dir)? {
                let path = entry.at("list", &pack_dir)?.path();
                if path.extension().is_some_and(|extension| extension == "promisor") {
                    fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        let graph = commit_graph::path_in(&from);
        if let Ok(metadata) = fs::metadata(&graph) {
            let target = commit_graph::path_in(&built.history);
            let folder = built.history.join("info");
            fs::create_dir_all(&folder).at("create", &folder)?;
            fs::copy(&graph, &target).at("copy", &graph)?;
            manifest.commit_graph_bytes = Some(metadata.len());
        }
        let path = built.tip.join(MANIFEST_FILE);
        fs::write(&path, manifest.to_json()).at("write", &path)?;
        Ok(())
    }
}

/// What is to be said of the pack whose index is at `path`.
pub(super) fn facts_of(path: &Path) -> Result<SeedPack, SeedError> {
    let index = gix::odb::pack::index::File::at(path, gix::hash::Kind::Sha1)
        .map_err(|error| SeedError::invalid(path, error))?;
    let pack = path.with_extension("pack");
    Ok(SeedPack {
        id: index.pack_checksum(),
        objects: index.num_objects(),
        bytes: fs::metadata(&pack).at("look at", &pack)?.len(),
    })
}
