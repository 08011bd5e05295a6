//! Reading file bodies ahead, on several threads, and handing them over in path order.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender};
use headstart_digest::Digest;
use headstart_fs::{AtPath as _, PathError};
use parking_lot::{Condvar, Mutex};
use rustix::{
    buffer::spare_capacity,
    fs::{self, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    SaveError, SaveOptions, Xattrs,
    scan::Scan,
    stat_cache::Stamp,
    unchanged::{Part, Unchanged},
};
use crate::{
    Mtime, NodeKind, Xattr,
    dir_handles::{self, DirHandles},
    tree::FILE_MODE_MASK,
    xattrs,
};

/// Small files are read and handed over together until they have this many bytes.
const BLOCK_BYTES: u64 = 1 << 20;
/// And not more than this many files.
const BLOCK_FILES: usize = 512;
/// Larger files are read in parts of this size, so that one does not fill the memory.
const PART_BYTES: u64 = 4 << 20;
/// Bytes read and not yet chunked.
const READ_AHEAD_BYTES: u64 = 48 << 20;

/// What to read next.
enum Job {
    /// Whole files: nodes, ascending.
    Files { nodes: Vec<u32>, bytes: u64 },
    /// A part of a large file.
    Part {
        node: u32,
        file: Arc<Shared>,
        offset: u64,
        bytes: u64,
        is_last: bool,
    },
    /// Bytes of a file that did not change since the last save; the rest of it is not read.
    Slice { node: u32, offset: u64, bytes: u64 },
    /// Chunks of the last save that are not read at all.
    Known(Range<usize>),
}

/// The next bytes of the stream.
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) files: Files,
    /// What the reader was told it would cost.
    cost: u64,
}

/// Whose bytes a block has.
pub(super) enum Files {
    /// Whole files, in order.
    Whole(Vec<ReadFile>),
    /// Not the last part of a file.
    Part,
    /// The last part of a file.
    LastPart(ReadFile),
    /// Some bytes of a file whose digest is known.
    Slice,
    /// None: these chunks of the last save come next.
    Known(Range<usize>),
    /// A file that was taken to be unchanged is not.
    Stale,
}

/// What was found out about a file by reading it.
pub(super) struct ReadFile {
    pub(super) node: u32,
    pub(super) size_bytes: u64,
    /// The digest of its body. The size and digest of a file read in parts are for who has all parts to tell.
    pub(super) digest: Digest,
    pub(super) mode: u16,
    pub(super) mtime: Mtime,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) fate: Fate,
}

/// What became of a file while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Sound,
    /// It changed, and again at the second try.
    Changed,
    /// It vanished before it was read, or is something else by now. It has no bytes.
    Gone,
}

/// A file that is read.
struct OpenFile {
    file: OwnedFd,
    before: Stat,
}

/// A large file, opened once for all its parts, so that they are parts of one file whatever takes its name meanwhile.
/// The inner `None`: it is gone.
type Shared = Mutex<Option<Option<Arc<OpenFile>>>>;

/// Reads the files of a scan. Shared by the reading threads.
pub(super) struct Readers<'a> {
    scan: &'a Scan,
    other_names: HashMap<u32, Vec<u32>>,
    options: &'a SaveOptions,
    interrupt: &'a AtomicBool,
    jobs: Mutex<Jobs>,
    room: Condvar,
}

struct Jobs {
    next: std::vec::IntoIter<Job>,
    sequence: u64,
    /// Bytes handed out and not yet given back.
    in_flight: u64,
    stopped: bool,
}

impl<'a> Readers<'a> {
    pub(super) fn new(
        scan: &'a Scan,
        unchanged: Option<&Unchanged>,
        options: &'a SaveOptions,
        interrupt: &'a AtomicBool,
    ) -> Self {
        let parts = match unchanged {
            Some(unchanged) => unchanged.plan(scan),
            None => all_parts(scan),
        };
        Readers {
            scan,
            other_names: other_names(scan),
            options,
            interrupt,
            jobs: Mutex::new(Jobs {
                next: plan_jobs(scan, parts).into_iter(),
                sequence: 0,
                in_flight: 0,
                stopped: false,
            }),
            room: Condvar::new(),
        }
    }

    /// Works until there is nothing left, or nobody listens. Run on each reading thread.
    pub(super) fn run(&self, blocks: &Sender<(u64, Result<Block, PathError>)>) {
        let mut dirs = DirHandles::new(&self.scan.tree, &self.scan.roots, &self.options.root);
        while let Some((sequence, job)) = self.take() {
            if blocks.send((sequence, self.read(&mut dirs, job))).is_err() {
                return;
            }
        }
    }

    /// Gives the readers room for what is done with.
    pub(super) fn release(&self, block: &Block) {
        self.jobs.lock().in_flight -= block.cost;
        self.room.notify_all();
    }

    /// Lets every reader end soon.
    pub(super) fn stop(&self) {
        self.jobs.lock().stopped = true;
        self.room.notify_all();
    }

    /// Jobs are handed out in order, and room is taken in that order: the one the consumer waits for always has room.
    fn take(&self) -> Option<(u64, Job)> {
        let mut jobs = self.jobs.lock();
        while jobs.in_flight >= READ_AHEAD_BYTES && !jobs.stopped {
            self.room.wait(&mut jobs);
        }
        if jobs.stopped || self.interrupt.load(Ordering::Relaxed) {
            return None;
        }
        let job = jobs.next.next()?;
        jobs.in_flight += job.bytes();
        jobs.sequence += 1;
        Some((jobs.sequence - 1, job))
    }

    fn read(&self, dirs: &mut DirHandles<'_>, job: Job) -> Result<Block, PathError> {
        let cost = job.bytes();
        let mut bytes = Vec::new();
        let files = match job {
            Job::Files { nodes, bytes: total } => {
                bytes.reserve_exact(total as usize);
                let mut files = Vec::with_capacity(nodes.len());
                for node in nodes {
                    files.push(self.read_whole(dirs, node, &mut bytes)?);
                }
                Files::Whole(files)
            }
            Job::Part {
                node,
                file,
                offset,
                bytes: wanted,
                is_last,
            } => {
                let opened = self.open_shared(dirs, node, &file)?;
                if let Some(opened) = &opened {
                    append(&opened.file, offset, wanted as usize, &mut bytes).at("read", dirs.path(node))?;
                }
                match (is_last, opened) {
                    (false, _) => Files::Part,
                    (true, None) => Files::LastPart(ReadFile::gone(node)),
                    (true, Some(opened)) => {
                        let size_bytes = offset + bytes.len() as u64;
                        let digest = Digest::of(b"");
                        Files::LastPart(self.describe(dirs, node, &opened, size_bytes, digest)?)
                    }
                }
            }
            Job::Slice {
                node,
                offset,
                bytes: wanted,
            } => {
                let Ok(Some(OpenFile { file, before })) = open(dirs, node) else {
                    // The next attempt, which reads it whole, tells why.
                    let files = Files::Stale;
                    return Ok(Block { bytes, files, cost });
                };
                append(&file, offset, wanted as usize, &mut bytes).at("read", dirs.path(node))?;
                let after = fs::fstat(&file).at("look at", dirs.path(node))?;
                let expected = &self.scan.stamps[node as usize];
                match Stamp::of(&before) == *expected && Stamp::of(&after) == *expected {
                    true => Files::Slice,
                    false => Files::Stale,
                }
            }
            Job::Known(chunks) => Files::Known(chunks),
        };
        Ok(Block { bytes, files, cost })
    }

    fn read_whole(
        &self,
        dirs: &mut DirHandles<'_>,
        node: u32,
        block: &mut Vec<u8>,
    ) -> Result<ReadFile, PathError> {
        let start = block.len();
        let mut is_second_try = false;
        loop {
            block.truncate(start);
            let Some(opened) = self.open(dirs, node)? else {
                return Ok(ReadFile::gone(node));
            };
            // One that grew beyond a part meanwhile is not worth the memory: its size tells that it changed.
            let wanted = (opened.before.st_size as u64).min(PART_BYTES);
            append(&opened.file, 0, wanted as usize, block).at("read", dirs.path(node))?;
            let body = &block[start..];
            let described = self.describe(dirs, node, &opened, body.len() as u64, Digest::of(body))?;
            if described.fate != Fate::Changed || is_second_try {
                return Ok(described);
            }
            is_second_try = true;
        }
    }

    /// Opens the file that the parts of a node share.
    fn open_shared(
        &self,
        dirs: &mut DirHandles<'_>,
        node: u32,
        shared: &Shared,
    ) -> Result<Option<Arc<OpenFile>>, PathError> {
        let mut shared = shared.lock();
        if let Some(opened) = &*shared {
            return Ok(opened.clone());
        }
        let opened = self.open(dirs, node)?.map(Arc::new);
        Ok(shared.insert(opened).clone())
    }

    /// Opens a file; one whose name is gone by another name it had at the scan. `None` when no name is left.
    fn open(&self, dirs: &mut DirHandles<'_>, node: u32) -> Result<Option<OpenFile>, PathError> {
        if let Some(opened) = open(dirs, node)? {
            return Ok(Some(opened));
        }
        for other in self.other_names.get(&node).into_iter().flatten() {
            let opened = open(dirs, *other)?;
            let is_same = |opened: &OpenFile| {
                let (now, then) = (Stamp::of(&opened.before), &self.scan.stamps[node as usize]);
                (now.device, now.inode) == (then.device, then.inode)
            };
            if let Some(opened) = opened.filter(is_same) {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    fn describe(
        &self,
        dirs: &DirHandles<'_>,
        node: u32,
        OpenFile { file, before }: &OpenFile,
        size_bytes: u64,
        digest: Digest,
    ) -> Result<ReadFile, PathError> {
        let after = fs::fstat(file).at("look at", dirs.path(node))?;
        // As it was before: whatever is written later leaves a later time on disk.
        let mtime = dir_handles::mtime(before);
        Ok(ReadFile {
            node,
            size_bytes,
            digest,
            mode: (before.st_mode & FILE_MODE_MASK) as u16,
            mtime,
            xattrs: match self.options.xattrs {
                Xattrs::Keep => xattrs::read(file, node).at("read the attributes of", dirs.path(node))?,
                Xattrs::Drop => Vec::new(),
            },
            // Times of modification can be set back; that of the last change cannot.
            fate: match after.st_size as u64 != size_bytes || Stamp::of(&after) != Stamp::of(before) {
                true => Fate::Changed,
                false => Fate::Sound,
            },
        })
    }
}

impl ReadFile {
    fn gone(node: u32) -> Self {
        ReadFile {
            node,
            size_bytes: 0,
            digest: Digest::of(b""),
            mode: 0,
            mtime: Mtime::default(),
            xattrs: Vec::new(),
            fate: Fate::Gone,
        }
    }
}

impl Job {
    fn bytes(&self) -> u64 {
        match self {
            Job::Files { bytes, .. } | Job::Part { bytes, .. } | Job::Slice { bytes, .. } => *bytes,
            Job::Known(_) => 0,
        }
    }
}

/// Every file, whole.
fn all_parts(scan: &Scan) -> Vec<Part> {
    let nodes = scan.tree.nodes().iter().zip(0u32..);
    let files = nodes.filter(|(node, _)| matches!(node.kind, NodeKind::File { .. }));
    files.map(|(_, index)| Part::Whole(index)).collect()
}

fn plan_jobs(scan: &Scan, parts: Vec<Part>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut small = Vec::new();
    let mut small_bytes = 0;
    for part in parts {
        let size_bytes = match part {
            Part::Whole(node) => scan.tree.nodes()[node as usize].size_bytes(),
            Part::Slice(..) | Part::Chunks(_) => 0,
        };
        let is_small = matches!(part, Part::Whole(_)) && size_bytes <= PART_BYTES;
        let is_full = small_bytes + size_bytes > BLOCK_BYTES || small.len() == BLOCK_FILES;
        if !small.is_empty() && (!is_small || is_full) {
            jobs.push(Job::Files {
                nodes: std::mem::take(&mut small),
                bytes: std::mem::take(&mut small_bytes),
            });
        }
        match part {
            Part::Whole(node) if is_small => {
                small.push(node);
                small_bytes += size_bytes;
            }
            Part::Whole(node) => {
                let file = Arc::<Shared>::default();
                jobs.extend(in_parts(0..size_bytes).map(|(offset, bytes)| Job::Part {
                    node,
                    file: Arc::clone(&file),
                    offset,
                    bytes,
                    is_last: offset + bytes == size_bytes,
                }));
            }
            Part::Slice(node, range) => {
                jobs.extend(in_parts(range).map(|(offset, bytes)| Job::Slice { node, offset, bytes }))
            }
            Part::Chunks(chunks) => jobs.push(Job::Known(chunks)),
        }
    }
    if !small.is_empty() {
        jobs.push(Job::Files {
            nodes: small,
            bytes: small_bytes,
        });
    }
    jobs
}

/// Offsets and lengths of the parts in which a range is read.
fn in_parts(range: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
    let end = range.end;
    range
        .step_by(PART_BYTES as usize)
        .map(move |offset| (offset, PART_BYTES.min(end - offset)))
}

/// The names of files that have more than one, by the node that has the body.
fn other_names(scan: &Scan) -> HashMap<u32, Vec<u32>> {
    let mut names: HashMap<u32, Vec<u32>> = HashMap::new();
    for (node, index) in scan.tree.nodes().iter().zip(0u32..) {
        if let NodeKind::Hardlink { to } = node.kind {
            names.entry(to).or_default().push(index);
        }
    }
    names
}

/// Opens a file; `None` when it is gone, or no longer a regular file.
fn open(dirs: &mut DirHandles<'_>, node: u32) -> Result<Option<OpenFile>, PathError> {
    // What was a file at the scan may be a named pipe now: opening must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let (folder, name) = match dirs.place(node) {
        Ok(place) => place,
        Err(error) if is_gone(&error.source) => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = match fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(error) if is_gone(&error.into()) => return Ok(None),
        Err(error) => return Err(error).at("open", dirs.path(node)),
    };
    let before = fs::fstat(&file).at("look at", dirs.path(node))?;
    let is_file = dir_handles::file_type(&before) == FileType::RegularFile;
    Ok(is_file.then_some(OpenFile { file, before }))
}

/// Whether the error says that what the scan saw is no longer there: nothing is, or a link, a socket or a device, or,
/// for a folder, a file.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    let gone = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::NXIO,
        Errno::NODEV,
        Errno::STALE,
    ];
    Errno::from_io_error(error).is_some_and(|errno| gone.contains(&errno))
}

/// Appends up to `wanted` bytes of `file` from `offset` on; less when it ends before.
fn append(file: &OwnedFd, offset: u64, wanted: usize, buffer: &mut Vec<u8>) -> rustix::io::Result<()> {
    let start = buffer.len();
    let end = start + wanted;
    buffer.reserve(wanted);
    while buffer.len() < end {
        let at = offset + (buffer.len() - start) as u64;
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, spare_capacity(buffer), at))?;
        if read == 0 {
            break;
        }
    }
    // There may be room for more than was wanted, and more to read.
    buffer.truncate(end);
    Ok(())
}

/// Puts blocks in order.
pub(super) struct InOrder {
    blocks: Receiver<(u64, Result<Block, PathError>)>,
    early: BTreeMap<u64, Result<Block, PathError>>,
    next: u64,
}

impl InOrder {
    pub(super) fn new(blocks: Receiver<(u64, Result<Block, PathError>)>) -> Self {
        InOrder {
            blocks,
            early: BTreeMap::new(),
            next: 0,
        }
    }

    /// The next block, or `None` when the readers are done, or were interrupted.
    pub(super) fn next(&mut self) -> Result<Option<Block>, SaveError> {
        loop {
            if let Some(block) = self.early.remove(&self.next) {
                self.next += 1;
                return Ok(Some(block?));
            }
            match self.blocks.recv() {
                Ok((sequence, block)) => {
                    self.early.insert(sequence, block);
                }
                Err(_) => return Ok(None),
            }
        }
    }
}
