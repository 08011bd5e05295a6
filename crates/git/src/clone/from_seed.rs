//! A clone from a seed: its packs are linked, what is newer comes from the origin, and nothing is believed that the origin
//! did not say or a hash does not prove.
//!
//! Refs that the seed had at the same objects need nothing. For the others, one fetch tells what the seed has and brings
//! the rest; blobs of the tip that are still missing come in a second one over the same connection, while the files that
//! can be written are. The history of a seed may still be on its way then.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use gix::objs::Exists as _;

use super::{
    repository::NewRepository,
    transfer::{Transfer, Transferred},
};
use crate::{
    error::CloneError,
    progress::Warning,
    remote::Session,
    seed::{Seed, SeedError, SeedManifest, SeedPart, SeedSource, link_part},
};

mod choice;
mod history;
mod tip;
mod top_up;

pub(super) use choice::Seeds;
use history::History;
use top_up::TopUp;

/// Which seed a clone was made from.
#[derive(Debug, Clone)]
pub struct SeedUse {
    /// What it is called.
    pub label: String,
    /// Bytes of its packs.
    pub pack_bytes: u64,
    /// Whether the history is the seed's too, and not the origin's.
    pub history_used: bool,
    /// What it had.
    pub(crate) manifest: SeedManifest,
}

/// Why there is no clone from a seed.
pub(super) enum NoClone {
    /// The seed is wrong and not to be used again; without it, there may be one.
    Refused(String),
    /// The seed cannot be used this time; without it, there may be one.
    Gone(String),
    /// There would be none without it either.
    Failed(CloneError),
}

impl<E: Into<CloneError>> From<E> for NoClone {
    fn from(error: E) -> Self {
        NoClone::Failed(error.into())
    }
}

impl NoClone {
    /// What reading or linking a seed has run into.
    fn of_seed(error: SeedError) -> Self {
        match error {
            error if error.is_interrupted() => NoClone::Failed(CloneError::Interrupted),
            SeedError::Invalid { .. } => NoClone::Refused(chain(&error)),
            SeedError::Io(error) if error.is_disk_full() => NoClone::Failed(error.into()),
            error => NoClone::Gone(chain(&error)),
        }
    }
}

impl Transfer<'_> {
    /// Makes the clone from `seed`. Until the working tree is there, the seed may be refused: the repository is then as good
    /// as [`clear`] makes it. Later, what it fails to bring comes from the origin.
    pub(super) fn run_from_seed(
        &self,
        session: &mut Session<'_>,
        source: &dyn SeedSource,
        seed: &Seed,
    ) -> Result<(Transferred, SeedUse), NoClone> {
        let objects_dir = self.repository.git_dir().join("objects");
        let link = |part: &SeedPart| {
            let linked = link_part(part, &objects_dir, &promisor_text(seed));
            linked.map_err(|error| NoClone::of_seed(error.into()))
        };
        let linked = link(&seed.tip)?;
        let stop_history = AtomicBool::new(false);
        thread::scope(|scope| {
            // Nobody waits for the history when there is no clone.
            let _stopping = StopOnDrop(&stop_history);
            let mut history = History::fetch(scope, self.stop, &stop_history, || {
                let part = source.fetch_history(seed, &stop_history).ok_or(None)?;
                let mut linked = link(&part)?;
                for part in [&seed.tip, &part] {
                    linked.add_commit_graph(part, &objects_dir);
                }
                Ok(linked)
            });
            let (mut transferred, top_up) = self.tip_from_seed(session, seed, &linked, &mut history)?;
            let mut seed_use = SeedUse {
                label: seed.label.clone(),
                pack_bytes: linked.pack_bytes,
                history_used: true,
                manifest: seed.manifest.clone(),
            };
            match self.take_history(history, &top_up) {
                Ok(bytes) => seed_use.pack_bytes += bytes,
                Err(lost) => {
                    match lost {
                        Some(NoClone::Refused(reason)) => {
                            self.warn_refused(seed, reason);
                            source.refuse(seed);
                        }
                        Some(NoClone::Gone(reason)) => self.warn_refused(seed, reason),
                        Some(failed @ NoClone::Failed(_)) => return Err(failed),
                        None => {}
                    }
                    seed_use.history_used = false;
                    let whole = self.receive_history(session)?;
                    transferred.objects += whole.objects;
                    transferred.history_bytes += whole.history_bytes;
                }
            }
            transferred.history_complete = Some(self.started.elapsed());
            Ok((transferred, seed_use))
        })
    }

    pub(super) fn warn_refused(&self, seed: &Seed, reason: String) {
        self.progress.warn(&Warning::SeedRefused {
            label: seed.label.clone(),
            reason,
        });
    }

    /// Makes sure of the history of the seed; answers the bytes of its packs, or why it is of no use, unless that is known
    /// already.
    fn take_history(&self, history: History<'_>, top_up: &TopUp) -> Result<u64, Option<NoClone>> {
        let linked = history.into_linked()?;
        let objects = self.opened.to_thread_local().objects;
        if let Some(lost) = top_up.boundary.iter().find(|id| !objects.exists(id)) {
            linked.remove();
            return Err(Some(NoClone::Refused(format!("it lacks {lost}"))));
        }
        Ok(linked.pack_bytes)
    }
}

/// Stops a thread that works for somebody who has returned.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes everything out of a new repository again that [`Transfer::run_from_seed`] may have put there.
pub(super) fn clear(repository: &NewRepository<'_>) -> Result<(), CloneError> {
    let failed = |path: &Path, source| {
        CloneError::from(headstart_fs::PathError {
            action: "remove",
            path: path.to_owned(),
            source,
        })
    };
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in list(repository.root).filter(|entry| entry.file_name() != ".git") {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = match is_folder {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(|error| failed(&path, error))?;
    }
    for entry in list(&repository.pack_dir()) {
        fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
    }
    for name in ["index", "index.lock", "objects/info/commit-graph"] {
        // Not there, most of the time.
        let _ = fs::remove_file(repository.git_dir().join(name));
    }
    Ok(())
}

/// As git notes it beside a pack: the refs it was fetched for.
fn promisor_text(seed: &Seed) -> Vec<u8> {
    let lines = seed.manifest.refs.iter();
    let lines = lines.filter(|seed_ref| !seed_ref.name.contains(|c: char| c.is_control()));
    lines
        .map(|seed_ref| format!("{} {}\n", seed_ref.id, seed_ref.name))
        .collect::<String>()
        .into_bytes()
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
