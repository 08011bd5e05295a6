//! The bytes of files that new layers need, taken from the layers that have them.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
};

use headstart_digest::Hasher;
use headstart_fs::AtPath as _;

use super::{LayersPlan, PlannedKind};
use crate::{
    BlobDigest, ContentId, ImageError, LoadedImage, Source, StoredLayer,
    blob::{StoredBlob, read_blob},
    build::BuildOptions,
    layer::{ScanError, hash_attributes},
    manifest::media_type,
    progress::Silent,
    tar::{Kind, Piece, TarError, TarReader},
};

/// Holes are written as zeros; a file with more of them is not built.
const MAX_HOLE_BYTES: u64 = 1 << 30;

/// Names and values of extended attributes.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// File contents and extended attributes in a temporary file, by their digests.
#[derive(Debug)]
pub(super) struct Bodies {
    file: File,
    end: u64,
    places: HashMap<ContentId, Part>,
    attributes: HashMap<ContentId, Part>,
}

/// A part of the temporary file.
#[derive(Debug, Clone, Copy)]
struct Part {
    at: u64,
    length: u64,
}

/// What is looked for.
struct Wanted {
    contents: HashSet<ContentId>,
    /// Lengths of them: files of other lengths need no look.
    sizes: HashSet<u64>,
    attributes: HashSet<ContentId>,
}

impl Bodies {
    /// Reads every layer that has something a new layer needs, once.
    pub(super) fn collect(
        plan: &LayersPlan,
        images: &[LoadedImage],
        sources: &[Box<dyn Source>],
        scratch: &Path,
        options: BuildOptions<'_>,
    ) -> Result<Self, ImageError> {
        let wanted = Wanted::of(plan);
        let mut bodies = Bodies {
            file: tempfile::tempfile_in(scratch).at("create a temporary file in", scratch)?,
            end: 0,
            places: HashMap::new(),
            attributes: HashMap::new(),
        };
        // Images have layers in common. One that has nothing to give will have nothing later.
        let mut seen: HashSet<BlobDigest> = HashSet::new();
        for (image, source) in images.iter().zip(sources) {
            for (stored, blob) in image.layers.iter().zip(&image.image.layers) {
                if seen.contains(&stored.digest) {
                    continue;
                }
                if bodies.lacks_some_of(stored, &wanted) {
                    let stream = match source.open_layer(blob) {
                        // Another image has it, or nobody could have read it.
                        Err(ImageError::Missing { .. }) if media_type::is_foreign_layer(&blob.media_type) => {
                            continue;
                        }
                        opened => opened?,
                    };
                    bodies.take(stored, stream, &wanted, options)?;
                }
                seen.insert(stored.digest);
            }
        }
        match wanted
            .contents
            .iter()
            .any(|content| !bodies.places.contains_key(content))
        {
            true => Err(ImageError::unsupported(
                "a new layer",
                "it would have a sparse file with more than 1 GiB of holes",
            )),
            false => Ok(bodies),
        }
    }

    fn lacks_some_of(&self, stored: &StoredLayer, wanted: &Wanted) -> bool {
        let Some(layer) = stored.layer.as_deref() else {
            return false;
        };
        let lacks_body = |content| wanted.contents.contains(&content) && !self.places.contains_key(&content);
        let lacks_attributes =
            |digest| wanted.attributes.contains(&digest) && !self.attributes.contains_key(&digest);
        layer.files().any(|(_, content)| lacks_body(content))
            || layer
                .entries()
                .any(|entry| entry.meta.attributes.is_some_and(lacks_attributes))
    }

    fn take(
        &mut self,
        stored: &StoredLayer,
        stream: impl Read + Send,
        wanted: &Wanted,
        options: BuildOptions<'_>,
    ) -> Result<(), ImageError> {
        let what = format!("layer {}", stored.digest);
        let blob = StoredBlob {
            what: &what,
            size_bytes: stored.compressed_bytes,
        };
        let mut failure = None;
        let read = read_blob(blob, stream, &Silent, options.interrupt, |chunks| {
            let mut tar = TarReader::new(chunks);
            while let Some(entry) = tar.next()? {
                if let Some(digest) = hash_attributes(&entry.xattrs)
                    && wanted.attributes.contains(&digest)
                    && !self.attributes.contains_key(&digest)
                    && let Err(error) = self.take_attributes(digest, &entry.xattrs)
                {
                    failure = Some(error);
                    return Err(ScanError::Tar(TarError::Truncated));
                }
                if let Kind::File {
                    size_bytes,
                    hole_bytes,
                } = entry.kind
                    && hole_bytes <= MAX_HOLE_BYTES
                    && wanted.sizes.contains(&size_bytes)
                    && let Err(error) = self.take_body(&mut tar, wanted)?
                {
                    failure = Some(error);
                    return Err(ScanError::Tar(TarError::Truncated));
                }
            }
            io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(TarError::Io)?;
            Ok(())
        });
        if let Some(source) = failure {
            let what = "a temporary file".to_owned();
            return Err(ImageError::Write { what, source });
        }
        let found = read?.digest;
        match found == stored.digest {
            true => Ok(()),
            false => Err(ImageError::WrongDigest {
                what,
                expected: stored.digest.to_string(),
                found: found.to_string(),
            }),
        }
    }

    fn take_attributes(&mut self, digest: ContentId, attributes: &Attributes) -> io::Result<()> {
        let mut sorted: Vec<_> = attributes.iter().collect();
        sorted.sort();
        let mut bytes = Vec::new();
        for text in sorted.into_iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text);
        }
        self.file.write_all_at(&bytes, self.end)?;
        let length = bytes.len() as u64;
        self.attributes.insert(digest, Part { at: self.end, length });
        self.end += length;
        Ok(())
    }

    /// Writes a body behind what is kept, and keeps it if it is wanted. The inner error is one of writing.
    fn take_body(
        &mut self,
        tar: &mut TarReader<impl io::BufRead>,
        wanted: &Wanted,
    ) -> Result<io::Result<()>, TarError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut hasher = Hasher::new();
        let mut at = self.end;
        let mut outcome = Ok(());
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            if outcome.is_ok() {
                outcome = self.file.write_all_at(bytes, at);
            }
            at += bytes.len() as u64;
        };
        tar.read_body(|piece| match piece {
            Piece::Data(bytes) => put(bytes),
            Piece::Hole(mut length) => {
                while length > 0 {
                    let zeros = length.min(ZEROS.len() as u64);
                    put(&ZEROS[..zeros as usize]);
                    length -= zeros;
                }
            }
        })?;
        let content = hasher.finish().into();
        if wanted.contents.contains(&content) && !self.places.contains_key(&content) {
            let length = at - self.end;
            self.places.insert(content, Part { at: self.end, length });
            self.end = at;
        }
        Ok(outcome)
    }

    pub(super) fn open(&self, content: &ContentId) -> impl Read + '_ {
        let part = self.places.get(content);
        self.read(*part.expect("everything that is wanted was found, or collecting failed"))
    }

    pub(super) fn attributes(&self, digest: Option<ContentId>) -> Result<Attributes, ImageError> {
        let Some(&part) = digest.and_then(|digest| self.attributes.get(&digest)) else {
            return Ok(Attributes::new());
        };
        let mut bytes = Vec::new();
        let read = self.read(part).read_to_end(&mut bytes);
        read.map_err(|source| ImageError::Read {
            what: "a temporary file".to_owned(),
            source,
        })?;
        let mut rest = &bytes[..];
        let mut next = || {
            let (length, behind) = rest.split_first_chunk()?;
            let (text, behind) = behind.split_at_checked(u64::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some(text.to_vec())
        };
        let mut attributes = Attributes::new();
        while let (Some(name), Some(value)) = (next(), next()) {
            attributes.push((name, value));
        }
        Ok(attributes)
    }

    fn read(&self, Part { at, length }: Part) -> Body<'_> {
        Body {
            file: &self.file,
            at,
            left: length,
        }
    }
}

impl Wanted {
    fn of(plan: &LayersPlan) -> Self {
        let mut wanted = Wanted {
            contents: HashSet::new(),
            sizes: HashSet::new(),
            attributes: HashSet::new(),
        };
        for entry in plan.layers.iter().flat_map(|layer| &layer.entries) {
            wanted.attributes.extend(entry.meta.attributes);
            if let PlannedKind::File { size_bytes, content } = entry.kind {
                wanted.contents.insert(content);
                wanted.sizes.insert(size_bytes);
            }
        }
        wanted
    }
}

/// Reads a part of the temporary file.
struct Body<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZero, sync::atomic::AtomicBool};

    use super::*;
    use crate::{
        Compression,
        build::Times,
        plan::{Fleet, PlanOptions},
        testing::{MemoryImage, TarMaker, read},
    };

    #[test]
    fn attributes_are_in_the_file_and_not_in_memory() {
        let value = "v".repeat(100_000);
        let tar = (0..3).fold(TarMaker::new(), |tar, number| {
            let name = format!("SCHILY.xattr.user.{number}");
            let records = [(&*name, &*value), ("SCHILY.xattr.user.a", "\n")];
            tar.pax(&records).file(&number.to_string(), b"")
        });
        let sources = [MemoryImage::source("x", vec![tar.finish()])];
        let images = read(&sources).unwrap();
        let options = PlanOptions {
            max_shared_layers: 0,
            times: Times::Keep,
        };
        let plan = Fleet::of(&images, &[]).unwrap().plan(options);
        let options = BuildOptions {
            compression: Compression::Gzip,
            threads: NonZero::new(1).unwrap(),
            interrupt: &AtomicBool::new(false),
        };
        let temp = tempfile::tempdir().unwrap();
        let bodies = Bodies::collect(&plan, &images, &sources, temp.path(), options).unwrap();
        assert!(bodies.end > 300_000);
        for (number, entry) in plan.layers[0].entries.iter().enumerate() {
            let expected = [
                (format!("user.{number}").into_bytes(), value.clone().into_bytes()),
                (b"user.a".to_vec(), b"\n".to_vec()),
            ];
            assert_eq!(bodies.attributes(entry.meta.attributes).unwrap(), expected);
        }
        assert_eq!(bodies.attributes(None).unwrap(), []);
    }
}
