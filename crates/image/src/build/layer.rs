//! One layer: entries in, compressed blob out, listed as it goes by.

use std::{
    io::{self, Read, Write},
    num::NonZero,
    sync::{Arc, atomic::AtomicBool},
};

use headstart_digest::Hasher;

use super::compress::{Blocks, compress};
use crate::{
    Compression, DiffId, Entry, EntryKind, ImageError, Metadata, StoredLayer,
    digest::Sha256Hasher,
    interrupt::{self, Interruptible},
    layer::{LayerBuilder, WHITEOUT, split_last},
    tar::{self, Kind, TarWriter},
};

/// How layers are made. The same choices and the same files make the same bytes, whatever the number of threads.
#[derive(Debug, Clone, Copy)]
pub struct BuildOptions<'a> {
    /// How layers are compressed.
    pub compression: Compression,
    /// Threads that compress.
    pub threads: NonZero<usize>,
    /// Set to stop.
    pub interrupt: &'a AtomicBool,
}

/// Builds a layer of what `fill` adds, in that order, and writes its blob to `out`.
pub(crate) fn build_layer(
    options: BuildOptions<'_>,
    out: impl Write + Send,
    fill: impl FnOnce(&mut LayerWriter<'_>) -> Result<(), ImageError>,
) -> Result<StoredLayer, ImageError> {
    let out = Interruptible::new(out, options.interrupt);
    let (listed, stored) = compress(options.compression, options.threads, out, |blocks| {
        let mut writer = LayerWriter {
            tar: TarWriter::new(HashedTar::new(blocks)),
            listed: LayerBuilder::default(),
            interrupt: options.interrupt,
        };
        fill(&mut writer)?;
        let tar = writer.tar.finish()?;
        let diff_id = tar.hasher.finish::<DiffId>();
        Ok::<_, BuildError>(writer.listed.finish(diff_id, tar.bytes))
    })
    .map_err(|BuildError(error)| interrupt::reason(options.interrupt, error))?;
    Ok(StoredLayer {
        digest: stored.digest,
        media_type: options.compression.media_type().to_owned(),
        compressed_bytes: stored.bytes,
        diff_id: listed.diff_id(),
        layer: Some(Arc::new(listed)),
    })
}

/// Takes the entries of a layer.
pub(crate) struct LayerWriter<'a> {
    tar: TarWriter<HashedTar<&'a mut Blocks>>,
    listed: LayerBuilder,
    interrupt: &'a AtomicBool,
}

impl LayerWriter<'_> {
    /// Adds an entry, and the body of a file. Hard links come behind the file they name.
    pub(crate) fn add(&mut self, entry: &tar::Entry, body: impl Read) -> Result<(), ImageError> {
        interrupt::check(self.interrupt)?;
        let mut body = HashedBody::new(Interruptible::new(body, self.interrupt));
        let written = self.tar.write(entry, &mut body);
        if body.has_failed
            && let Err(source) = written
        {
            let what = String::from_utf8_lossy(&entry.path).into_owned();
            return Err(ImageError::Read { what, source });
        }
        written.map_err(|source| writing(&entry.path, source))?;
        let kind = match &entry.kind {
            Kind::File { .. } => EntryKind::File {
                size_bytes: body.bytes,
                content: body.hasher.finish().into(),
            },
            Kind::HardLink(target) => EntryKind::HardLink { target },
            Kind::Symlink(target) => EntryKind::Symlink { target },
            Kind::Folder => EntryKind::Folder,
            &Kind::CharDevice(major, minor) => EntryKind::CharDevice { major, minor },
            &Kind::BlockDevice(major, minor) => EntryKind::BlockDevice { major, minor },
            Kind::Fifo => EntryKind::Fifo,
        };
        self.list(&entry.path, kind, entry)
    }

    /// Adds the marker that hides `path` of the layers below.
    pub(crate) fn hide(&mut self, path: &[u8], mtime: (i64, u32)) -> Result<(), ImageError> {
        let (folder, name) = split_last(path);
        let marker = [WHITEOUT, name].concat();
        let marker = match folder {
            b"" => marker,
            folder => [folder, b"/", &marker].concat(),
        };
        let entry = tar::Entry {
            mtime,
            ..tar::Entry::new(marker, Kind::file(0), 0o644)
        };
        self.tar
            .write(&entry, io::empty())
            .map_err(|source| writing(path, source))?;
        self.list(path, EntryKind::Whiteout, &entry)
    }

    fn list(&mut self, path: &[u8], kind: EntryKind<'_>, entry: &tar::Entry) -> Result<(), ImageError> {
        let listed = Entry {
            path,
            kind,
            meta: Metadata::of(entry),
        };
        self.listed
            .push(&listed)
            .map_err(|full| ImageError::too_large("a new layer", full.to_string()))
    }
}

fn writing(path: &[u8], source: io::Error) -> ImageError {
    ImageError::Write {
        what: String::from_utf8_lossy(path).into_owned(),
        source,
    }
}

/// Lets errors of streams pass through the compressor.
struct BuildError(ImageError);

impl From<io::Error> for BuildError {
    fn from(source: io::Error) -> Self {
        BuildError(ImageError::Write {
            what: "a layer".to_owned(),
            source,
        })
    }
}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> Self {
        BuildError(error)
    }
}

/// Counts and hashes a tar on its way out.
struct HashedTar<W> {
    inner: W,
    hasher: Sha256Hasher,
    bytes: u64,
}

impl<W> HashedTar<W> {
    fn new(inner: W) -> Self {
        HashedTar {
            inner,
            hasher: Sha256Hasher::new(),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for HashedTar<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Counts and hashes the body of a file.
struct HashedBody<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
    /// What fails next does so because the body could not be read.
    has_failed: bool,
}

impl<R> HashedBody<R> {
    fn new(inner: R) -> Self {
        HashedBody {
            inner,
            hasher: Hasher::new(),
            bytes: 0,
            has_failed: false,
        }
    }
}

impl<R: Read> Read for HashedBody<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into).inspect_err(|_| self.has_failed = true)?;
        self.hasher.update(&into[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// A file that does not end, of which somebody has enough after a while.
    struct Endless<'a> {
        read_bytes: usize,
        interrupt: &'a AtomicBool,
    }

    impl Read for Endless<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.read_bytes += into.len();
            self.interrupt
                .fetch_or(self.read_bytes > 10_000_000, Ordering::Relaxed);
            Ok(into.len())
        }
    }

    #[test]
    fn a_build_stops_in_the_middle_of_a_large_file() {
        let interrupt = AtomicBool::new(false);
        let options = BuildOptions {
            compression: Compression::None,
            threads: NonZero::new(2).unwrap(),
            interrupt: &interrupt,
        };
        let entry = tar::Entry::new(*b"large", Kind::file(1 << 40), 0o644);
        let body = Endless {
            read_bytes: 0,
            interrupt: &interrupt,
        };
        let built = build_layer(options, io::sink(), |writer| writer.add(&entry, body));
        assert!(matches!(built, Err(ImageError::Interrupted)), "{built:?}");
    }
}
