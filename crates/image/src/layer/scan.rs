//! From the stream of a tar to a [`Layer`].

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, BufRead},
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_digest::Hasher;

use super::{
    AUFS, Entry, EntryKind, EntryMemory, Full, Layer, LayerBuilder, Metadata, OPAQUE, WHITEOUT,
    path::{MAX_PATH_BYTES, PathProblem, clean_path, split_last},
};
use crate::{
    BlobDigest, ContentId, DiffId,
    digest::Sha256Hasher,
    tar::{self, Kind, Piece, TarError, TarReader},
};

/// A sparse file with more bytes in holes than this is not hashed with its zeros, but with the places of its data: an image
/// may claim petabytes of them.
const MAX_HOLE_BYTES: u64 = 1 << 30;
/// The most zeros that are hashed for the holes of one layer: a header of 512 bytes may ask for a GiB.
const HOLE_BUDGET_BYTES: u64 = 16 << 30;

/// Where AUFS puts files aside that have several names.
const AUFS_LINKS: &[u8] = b".wh..wh.plnk";
/// The most of them that are remembered, and the longest of their names: AUFS calls them by numbers.
const MAX_PUT_ASIDE: usize = 65_536;
const MAX_PUT_ASIDE_NAME: usize = 255;

/// Why a tar is no layer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("it has an entry {path:?}: {problem}")]
    Path { path: String, problem: PathProblem },
    #[error(transparent)]
    Full(#[from] Full),
    #[error("its sparse files have more than {} GiB in holes", HOLE_BUDGET_BYTES >> 30)]
    Holes,
    #[error("stopped on request")]
    Stopped,
}

impl ScanError {
    fn path(path: &[u8], problem: PathProblem) -> Self {
        ScanError::Path {
            path: String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned(),
            problem,
        }
    }
}

/// What AUFS put aside because several names lead to it: a hard link to its path stands for the file.
type PutAside = HashMap<Vec<u8>, (EntryKind<'static>, Metadata)>;

/// Whether a path is of AUFS's own, or below what is.
fn is_aufs(path: &[u8]) -> bool {
    let mut parts = path.split(|&byte| byte == b'/');
    parts.any(|part| part.starts_with(AUFS))
}

/// What a scan may take, and when it ends.
struct Limits<'a> {
    /// Zeros of holes that may still be hashed.
    hole_bytes: u64,
    memory: &'a EntryMemory,
    interrupt: &'a AtomicBool,
}

/// Who hashes the whole tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TarHash {
    /// The scan does.
    Here,
    /// Somebody before it: a blob that is not compressed has the digest of its tar.
    Elsewhere,
}

/// A tar that was read.
#[derive(Debug)]
pub(crate) struct ScannedTar {
    builder: LayerBuilder,
    diff_id: Option<DiffId>,
    bytes: u64,
}

impl ScannedTar {
    /// The layer of a blob.
    pub(crate) fn into_layer(self, digest: BlobDigest) -> Layer {
        let diff_id = self.diff_id.unwrap_or(DiffId::from(*digest.as_bytes()));
        self.builder.finish(diff_id, self.bytes)
    }
}

/// Reads a tar to its last byte.
pub(crate) fn scan_tar(
    input: impl BufRead,
    hash: TarHash,
    memory: &EntryMemory,
    interrupt: &AtomicBool,
) -> Result<ScannedTar, ScanError> {
    let mut limits = Limits {
        hole_bytes: HOLE_BUDGET_BYTES,
        memory,
        interrupt,
    };
    scan_within(input, hash, &mut limits)
}

fn scan_within(input: impl BufRead, hash: TarHash, limits: &mut Limits<'_>) -> Result<ScannedTar, ScanError> {
    let mut input = Hashed {
        inner: input,
        hasher: (hash == TarHash::Here).then(Sha256Hasher::new),
        seen: 0,
        bytes: 0,
    };
    let mut tar = TarReader::new(&mut input);
    let mut builder = LayerBuilder::default();
    let mut put_aside = PutAside::new();
    while let Some(entry) = tar.next()? {
        let path = clean(&entry.path)?;
        let (folder, name) = split_last(&path);
        if is_aufs(folder) || name.starts_with(AUFS) && name != OPAQUE {
            put_aside_by_aufs(&mut put_aside, &mut tar, &path, &entry, limits)?;
        } else {
            add(&mut builder, &mut tar, &path, &entry, &put_aside, limits)?;
        }
    }
    // Whatever follows the end of the archive has a part in the digest.
    io::copy(&mut input, &mut io::sink()).map_err(TarError::Io)?;
    Ok(ScannedTar {
        builder,
        diff_id: input.hasher.map(Sha256Hasher::finish),
        bytes: input.bytes,
    })
}

/// Runtimes unpack nothing of AUFS's own, except for the files that hard links lead to.
fn put_aside_by_aufs(
    put_aside: &mut PutAside,
    tar: &mut TarReader<impl BufRead>,
    path: &[u8],
    entry: &tar::Entry,
    limits: &mut Limits<'_>,
) -> Result<(), ScanError> {
    if let Kind::File {
        size_bytes,
        hole_bytes,
    } = entry.kind
        && split_last(path).0 == AUFS_LINKS
        && put_aside.len() < MAX_PUT_ASIDE
        && split_last(path).1.len() <= MAX_PUT_ASIDE_NAME
    {
        let content = hash_body(tar, hole_bytes, limits)?;
        let kind = EntryKind::File { size_bytes, content };
        put_aside.insert(path.to_vec(), (kind, Metadata::of(entry)));
    }
    Ok(())
}

fn add(
    builder: &mut LayerBuilder,
    tar: &mut TarReader<impl BufRead>,
    path: &[u8],
    entry: &tar::Entry,
    put_aside: &PutAside,
    limits: &mut Limits<'_>,
) -> Result<(), ScanError> {
    let (folder, name) = split_last(path);
    let marker = match name {
        OPAQUE => Some((folder.to_vec(), EntryKind::Opaque)),
        _ => match name.strip_prefix(WHITEOUT) {
            Some(hidden) => {
                let raw = [folder, b"/", hidden].concat();
                if matches!(hidden, b"" | b"." | b"..") {
                    return Err(ScanError::path(path, PathProblem::Marker));
                }
                Some((clean(&raw)?.into_owned(), EntryKind::Whiteout))
            }
            None => None,
        },
    };
    let target;
    let mut meta = Metadata::of(entry);
    let kind = match (&marker, &entry.kind) {
        (Some((_, kind)), _) => *kind,
        (
            None,
            &Kind::File {
                size_bytes,
                hole_bytes,
            },
        ) => EntryKind::File {
            size_bytes,
            content: hash_body(tar, hole_bytes, limits)?,
        },
        (None, Kind::HardLink(to)) => {
            target = clean(to)?;
            match put_aside.get(&*target) {
                Some(&(file, of_file)) => {
                    meta = of_file;
                    file
                }
                None => EntryKind::HardLink { target: &target },
            }
        }
        (None, Kind::Symlink(target)) if target.len() > MAX_PATH_BYTES => {
            return Err(ScanError::path(path, PathProblem::Target));
        }
        (None, Kind::Symlink(target)) => EntryKind::Symlink { target },
        (None, Kind::Folder) => EntryKind::Folder,
        (None, &Kind::CharDevice(major, minor)) => EntryKind::CharDevice { major, minor },
        (None, &Kind::BlockDevice(major, minor)) => EntryKind::BlockDevice { major, minor },
        (None, Kind::Fifo) => EntryKind::Fifo,
    };
    let entry = Entry {
        path: marker.as_ref().map_or(path, |(hidden, _)| hidden),
        kind,
        meta,
    };
    Ok(builder.push_within(limits.memory, &entry)?)
}

fn clean(raw: &[u8]) -> Result<Cow<'_, [u8]>, ScanError> {
    clean_path(raw).map_err(|problem| ScanError::path(raw, problem))
}

fn hash_body(
    tar: &mut TarReader<impl BufRead>,
    hole_bytes: u64,
    limits: &mut Limits<'_>,
) -> Result<ContentId, ScanError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let is_hashed_whole = hole_bytes <= MAX_HOLE_BYTES;
    if is_hashed_whole {
        let left = limits.hole_bytes.checked_sub(hole_bytes);
        limits.hole_bytes = left.ok_or(ScanError::Holes)?;
    }
    let is_stopped = || limits.interrupt.load(Ordering::Relaxed);
    let mut hasher = Hasher::new();
    tar.read_body(|piece| match piece {
        Piece::Data(bytes) => _ = hasher.update(bytes),
        Piece::Hole(length) if !is_hashed_whole => {
            hasher.update(b"hole");
            hasher.update(&length.to_le_bytes());
        }
        Piece::Hole(mut length) => {
            while length > 0 && !is_stopped() {
                let zeros = length.min(ZEROS.len() as u64);
                hasher.update(&ZEROS[..zeros as usize]);
                length -= zeros;
            }
        }
    })?;
    match is_stopped() {
        true => Err(ScanError::Stopped),
        false => Ok(hasher.finish().into()),
    }
}

/// The same whatever their order.
pub(crate) fn hash_attributes(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Option<ContentId> {
    if xattrs.is_empty() {
        return None;
    }
    let mut sorted: Vec<_> = xattrs.iter().collect();
    sorted.sort();
    let mut hasher = Hasher::new();
    for (name, value) in sorted {
        for field in [name, value] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
    }
    Some(hasher.finish().into())
}

/// Counts and hashes what is read through it, a buffer at a time.
struct Hashed<R> {
    inner: R,
    hasher: Option<Sha256Hasher>,
    /// Bytes of the present buffer that were counted and hashed.
    seen: usize,
    bytes: u64,
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buffer = self.inner.fill_buf()?;
        if self.seen < buffer.len() {
            let new = &buffer[self.seen..];
            if let Some(hasher) = &mut self.hasher {
                hasher.update(new);
            }
            self.bytes += new.len() as u64;
            self.seen = buffer.len();
        }
        Ok(buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.seen -= amount;
        self.inner.consume(amount);
    }
}

impl<R: BufRead> io::Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(into.len());
        into[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
