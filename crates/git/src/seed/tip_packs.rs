//! The objects of the tip, in packs made to be read from front to back: trees first, then contents in the order of their
//! paths, none of them a delta.

use std::{collections::HashSet, fs, num::NonZeroU32};

use gix::ObjectId;
use headstart_fs::AtPath as _;

use super::{SeedError, SeedPack, build::Work, check::PackOrder};
use crate::{
    filter_spec::FilterSpec,
    local::FetchJob,
    progress::Step,
    remote::{Depth, FetchRequest, Session},
    remote_url::redact,
};

/// More packs than this are made one again: each is looked into for each object.
const MOST_PACKS: usize = 8;

/// Makes packs of the objects of commit `tip`, adding to those of the tip before, or anew where too much of these is of no
/// use any more. Answers the packs and the bytes that were fetched.
pub(super) fn build(
    work: &Work<'_>,
    filter: &FilterSpec,
    tip: ObjectId,
    old: Vec<SeedPack>,
) -> Result<(Vec<SeedPack>, u64), SeedError> {
    let mut fetched_bytes = 0;
    if filter.leaves_out_trees() {
        let trees_only = FilterSpec::BlobNone.to_string();
        let request = FetchRequest {
            wants: vec![tip],
            depth: NonZeroU32::new(1).map(Depth::Commits),
            filter: Some(&trees_only),
            ..FetchRequest::default()
        };
        fetched_bytes += fetch(work, &request)?;
    }
    let all = list(work, tip)?;
    let old_objects: u64 = old.iter().map(|pack| u64::from(pack.objects)).sum();
    let old_order = PackOrder::open(old.iter().map(|pack| index_path(work, pack)))?;
    let (kept, new): (Vec<ObjectId>, Vec<ObjectId>) =
        all.iter().copied().partition(|id| old_order.contains(id));
    let mostly_alive = 3 * kept.len() as u64 >= 2 * old_objects;
    let adds = !old.is_empty() && old.len() < MOST_PACKS && mostly_alive;

    let here = PackOrder::open(indexes(work)?)?;
    let absent = new.iter().filter(|id| !here.contains(id)).copied();
    let request = FetchRequest {
        wants: absent.collect(),
        ..FetchRequest::default()
    };
    if !request.wants.is_empty() {
        fetched_bytes += fetch(work, &request)?;
    }
    let wanted: Vec<ObjectId> = match adds {
        true => new,
        false => all,
    };
    let mut packs = if adds { old } else { Vec::new() };
    if !wanted.is_empty() {
        let input = wanted.iter().map(|id| format!("{id}\n")).collect();
        // Without deltas, each object can be read on any core without a look at another.
        let args = ["--no-reuse-delta", "--window=0", "--depth=0"];
        packs.push(work.pack_objects(&args, input)?);
    }
    Ok((packs, fetched_bytes))
}

/// The commit, its trees from the root down, and its contents in the order of their paths; each once.
fn list(work: &Work<'_>, tip: ObjectId) -> Result<Vec<ObjectId>, SeedError> {
    let listed = work
        .git()
        .args([
            "ls-tree",
            "-r",
            "-t",
            "-z",
            "--format=%(objecttype) %(objectname)",
        ])
        .arg(format!("{tip}^{{tree}}"))
        .run_interruptible(work.interrupt)?;
    let root = work.git().args(["rev-parse", &format!("{tip}^{{tree}}")]).run()?;
    let invalid = |what: &dyn std::fmt::Display| SeedError::invalid(work.objects(), what);
    let parse = |hex: &[u8]| ObjectId::from_hex(hex.trim_ascii()).map_err(|error| invalid(&error));
    let mut trees = vec![tip, parse(&root.stdout)?];
    let mut blobs = Vec::new();
    for line in listed.stdout.split(|byte| *byte == 0) {
        match line.split_at_checked(5) {
            Some((b"tree ", id)) => trees.push(parse(id)?),
            Some((b"blob ", id)) => blobs.push(parse(id)?),
            // The commit of a submodule is not here.
            _ => {}
        }
    }
    trees.append(&mut blobs);
    let mut seen = HashSet::new();
    trees.retain(|id| seen.insert(*id));
    Ok(trees)
}

/// Fetches objects that the filter has left out.
fn fetch(work: &Work<'_>, request: &FetchRequest<'_>) -> Result<u64, SeedError> {
    let name = work.repository.remote_name()?;
    let remote = work.repository.remote(name.as_ref(), work.interrupt)?;
    let url = work
        .repository
        .remote_string(name.as_ref(), "url")
        .map(redact)
        .unwrap_or_default();
    let mut session = Session::new(&remote, work.progress);
    work.progress.start(Step::ReceiveTip, None);
    let job = FetchJob {
        progress: work.progress,
        on_bytes: &|bytes| work.progress.advance(Step::ReceiveTip, bytes),
        interrupt: work.interrupt,
    };
    let fetched = session.hold(|conversation| {
        work.repository
            .fetch(conversation, &url, request, Some(b""), &job)
    })?;
    work.progress.finish(Step::ReceiveTip);
    Ok(fetched.pack.bytes)
}

fn index_path(work: &Work<'_>, pack: &SeedPack) -> std::path::PathBuf {
    work.pack_dir().join(format!("pack-{}.idx", pack.id))
}

fn indexes(work: &Work<'_>) -> Result<Vec<std::path::PathBuf>, SeedError> {
    let folder = work.pack_dir();
    let mut indexes = Vec::new();
    for entry in fs::read_dir(&folder).at("list", &folder)? {
        let path = entry.at("list", &folder)?.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            indexes.push(path);
        }
    }
    Ok(indexes)
}
