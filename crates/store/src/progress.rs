//! What the engines tell while they work. They print nothing; who shows it is the caller's business.

use std::fmt;

use headstart_fs::RelPath;

/// A part of a save or a restore. Steps overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Listing the tree to save. In files.
    Scan,
    /// Reading, hashing and compressing file bodies. In bytes of bodies.
    Read,
    /// Writing packs to the store. In bytes stored.
    Upload,
    /// Comparing a snapshot with what is on disk. In files.
    Plan,
    /// Reading files on disk to see whether they are as a snapshot has them. In bytes of bodies.
    Compare,
    /// Reading packs from the store. In bytes stored.
    Fetch,
    /// Making files. In files.
    WriteFiles,
    /// Reading and checking what is stored. In bytes stored.
    Verify,
}

/// What a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Files, links and folders.
    Files,
    /// Bytes.
    Bytes,
}

impl Step {
    /// What its total and its advances count.
    pub fn unit(self) -> Unit {
        match self {
            Step::Scan | Step::Plan | Step::WriteFiles => Unit::Files,
            Step::Read | Step::Upload | Step::Compare | Step::Fetch | Step::Verify => Unit::Bytes,
        }
    }
}

/// Listens to an engine. Called from several threads, often: implementations must be quick.
pub trait Progress: Send + Sync {
    /// `step` begins; `total` is known or not, in the step's unit.
    fn start(&self, step: Step, total: Option<u64>);
    /// `amount` more of it is done.
    fn advance(&self, step: Step, amount: u64);
    /// It is over.
    fn finish(&self, step: Step);
    /// Something the user should know, though the work goes on.
    fn warn(&self, warning: &Warning);
}

/// A listener that does not listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _step: Step, _total: Option<u64>) {}
    fn advance(&self, _step: Step, _amount: u64) {}
    fn finish(&self, _step: Step) {}
    fn warn(&self, _warning: &Warning) {}
}

/// Something the user should know, though the work goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Neither file, folder nor link: left out of the snapshot.
    Special {
        /// Its path below the root.
        path: RelPath,
        /// What it is.
        kind: SpecialKind,
    },
    /// The file changed while it was read, twice: the snapshot may hold a mixture.
    Changed {
        /// Its path below the root.
        path: RelPath,
    },
    /// A file or folder that was there when the save began vanished before it was read, or is something else by now: left
    /// out of the snapshot.
    Gone {
        /// Its path below the root.
        path: RelPath,
    },
    /// The pool of expanded files cannot be used: files are copied instead of linked.
    Pool {
        /// Why.
        reason: String,
    },
    /// The file system of the root cannot share blocks between files: files are copied instead.
    NoReflink,
    /// The tree cannot be mounted: it is restored.
    NotMounted {
        /// Why.
        reason: String,
    },
    /// An extended attribute could not be set.
    Xattr {
        /// The path below the root.
        path: RelPath,
        /// The attribute.
        name: String,
    },
    /// Packs known from before are gone from the store: their chunks are stored again.
    PacksGone {
        /// How many.
        packs: usize,
    },
}

/// What is neither file, folder nor link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialKind {
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
    /// A block or character device.
    Device,
    /// Something else.
    Unknown,
}

impl fmt::Display for SpecialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpecialKind::Socket => "socket",
            SpecialKind::Fifo => "named pipe",
            SpecialKind::Device => "device",
            SpecialKind::Unknown => "file of unknown kind",
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Special { path, kind } => write!(f, "{path} is a {kind}; left out"),
            Warning::Changed { path } => write!(f, "{path} changed while it was read"),
            Warning::Gone { path } => write!(f, "{path} vanished before it was read; left out"),
            Warning::Pool { reason } => {
                write!(
                    f,
                    "the pool of expanded files cannot be used, files are copied: {reason}"
                )
            }
            Warning::NoReflink => f.write_str("this file system cannot share blocks; files are copied"),
            Warning::NotMounted { reason } => write!(f, "restored instead of mounted: {reason}"),
            Warning::Xattr { path, name } => {
                write!(f, "cannot set the extended attribute {name} of {path}")
            }
            Warning::PacksGone { packs } => write!(
                f,
                "{packs} packs that were known are gone from the store; their content is stored again"
            ),
        }
    }
}
