//! A repository of its own for what comes in bundles, until it is known to be whole.

use std::{
    fs,
    io::{self, BufRead, Read as _, Write as _},
    path::{Path, PathBuf},
    process::Child,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gix::ObjectId;
use headstart_fs::{AtPath as _, PathError};
use headstart_process::ProcessError;
use tempfile::TempDir;

use super::BundleError;
use crate::environment::GitEnvironment;

/// How often `git index-pack` is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Nothing in it is seen by anybody else before [`Quarantine::release`], and without that it goes away.
pub(super) struct Quarantine<'a> {
    folder: TempDir,
    environment: &'a GitEnvironment,
    interrupt: &'a AtomicBool,
}

impl<'a> Quarantine<'a> {
    /// Makes it within a folder of objects, on the same file system and with a name of git's own for what comes in: what a
    /// kill leaves, `git gc` removes.
    pub(super) fn create(
        objects_dir: &Path,
        environment: &'a GitEnvironment,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, PathError> {
        let folder = tempfile::Builder::new()
            .prefix("tmp_objdir-bundles-")
            .tempdir_in(objects_dir)
            .at("create a folder in", objects_dir)?;
        // The least that git takes for a repository. It has no configuration: nothing is shallow or promised here.
        for name in ["objects/pack", "refs"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        let head = folder.path().join("HEAD");
        fs::write(&head, "ref: refs/heads/none\n").at("write", &head)?;
        Ok(Quarantine {
            folder,
            environment,
            interrupt,
        })
    }

    pub(super) fn pack_dir(&self) -> PathBuf {
        self.folder.path().join("objects/pack")
    }

    fn git(&self) -> headstart_process::Command {
        self.environment.git_in(self.folder.path())
    }

    /// Those that are not here.
    pub(super) fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, ProcessError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let asked = self.git().args(["cat-file", "--batch-check=%(objectname)"]);
        let answer = asked.stdin(lines(ids)).run_interruptible(self.interrupt)?;
        // One line for each: its name again, or that and that it is missing.
        let mut names = answer.stdout.split(|byte| *byte == b'\n');
        let is_missing = |id: &&ObjectId| names.next() != Some(id.to_string().as_bytes());
        Ok(ids.iter().filter(is_missing).copied().collect())
    }

    /// Whether everything is here that `tips` reach; of a pack with a filter, the commits.
    pub(super) fn is_connected(&self, tips: &[ObjectId], is_filtered: bool) -> Result<bool, ProcessError> {
        let walk = self.git().args(["rev-list", "--quiet", "--stdin"]);
        let walk = match is_filtered {
            true => walk,
            false => walk.arg("--objects"),
        };
        let (status, _) = walk.stdin(lines(tips)).run_to_status(self.interrupt)?;
        Ok(status.success())
    }

    /// Has git index a pack whose deltas may be based on objects that are here already, which are added to it.
    pub(super) fn index_thin_pack(
        &self,
        input: &mut dyn BufRead,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<(), BundleError> {
        let command = self.git().args(["index-pack", "--stdin", "--fix-thin"]);
        let mut child = command.spawn_piped()?;
        let fed = self.feed(&mut child, input, on_bytes);
        if fed.is_err() {
            // Neither can fail in a way that matters: it has ended, or it is killed and reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
        fed?;
        // What it says fits into its pipe.
        let mut said = Vec::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = (&mut stderr).take(4096).read_to_end(&mut said);
        }
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(BundleError::IndexPack {
                said: crate::remote::sanitized(&said),
            }),
        }
    }

    /// Passes a pack on, and waits until it is indexed.
    fn feed(
        &self,
        child: &mut Child,
        input: &mut dyn BufRead,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<(), BundleError> {
        let mut stdin = child.stdin.take().expect("spawn_piped makes all three pipes");
        loop {
            let piece = input.fill_buf().map_err(BundleError::Read)?;
            let count = piece.len();
            // A program that has ended says why.
            if count == 0 || stdin.write_all(piece).is_err() {
                break;
            }
            input.consume(count);
            on_bytes(count as u64);
        }
        drop(stdin);
        loop {
            match child.try_wait() {
                Ok(None) if self.interrupt.load(Ordering::Relaxed) => {
                    return Err(BundleError::Read(io::ErrorKind::Interrupted.into()));
                }
                Ok(None) => thread::sleep(POLL),
                _ => return Ok(()),
            }
        }
    }

    /// Moves all packs to `pack_dir`, the index of each last; answers how many objects are in them. With `is_filtered`, the
    /// remote owes what they lack.
    pub(super) fn release(self, pack_dir: &Path, is_filtered: bool) -> Result<u64, PathError> {
        let from = self.pack_dir();
        let mut objects = 0;
        for entry in fs::read_dir(&from).at("read", &from)? {
            let index = entry.at("read", &from)?.path();
            if index.extension().is_none_or(|extension| extension != "idx") {
                continue;
            }
            objects += count_objects(&index)?;
            if is_filtered {
                let promisor = index.with_extension("promisor");
                fs::write(&promisor, "").at("write", &promisor)?;
            }
            for extension in ["pack", "rev", "promisor", "idx"] {
                let file = index.with_extension(extension);
                let to = pack_dir.join(file.file_name().unwrap_or_default());
                match fs::rename(&file, &to) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => renamed.at("rename a pack to", &to)?,
                }
            }
        }
        Ok(objects)
    }
}

/// How many objects a pack's index names: the last number of its first table.
fn count_objects(index: &Path) -> Result<u64, PathError> {
    let mut file = fs::File::open(index).at("open", index)?;
    let mut head = [0; 8 + 256 * 4];
    file.read_exact(&mut head).at("read", index)?;
    let [.., a, b, c, d] = head;
    Ok(u32::from_be_bytes([a, b, c, d]).into())
}

fn lines(ids: &[ObjectId]) -> Vec<u8> {
    ids.iter().flat_map(|id| format!("{id}\n").into_bytes()).collect()
}
