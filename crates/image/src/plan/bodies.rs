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

/// File contents in a temporary file, and extended attributes, by their digests.
#[derive(Debug)]
pub(super) struct Bodies {
    file: File,
    end: u64,
    places: HashMap<ContentId, (u64, u64)>,
    attributes: HashMap<ContentId, Attributes>,
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
        let mut read: HashSet<BlobDigest> = HashSet::new();
        for (image, source) in images.iter().zip(sources) {
            for (stored, blob) in image.layers.iter().zip(&image.image.layers) {
                if read.contains(&stored.digest) || !bodies.lacks_some_of(stored, &wanted) {
                    continue;
                }
                let stream = match source.open_layer(blob) {
                    // Another image has it, or nobody could have read it.
                    Err(ImageError::Missing { .. }) if media_type::is_foreign_layer(&blob.media_type) => {
                        continue;
                    }
                    opened => opened?,
                };
                bodies.take(stored, stream, &wanted, options)?;
                read.insert(stored.digest);
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
                {
                    let mut attributes = entry.xattrs.clone();
                    attributes.sort();
                    self.attributes.insert(digest, attributes);
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
            self.places.insert(content, (self.end, at - self.end));
            self.end = at;
        }
        Ok(outcome)
    }

    pub(super) fn open(&self, content: &ContentId) -> impl Read + '_ {
        let &(at, left) = self
            .places
            .get(content)
            .expect("everything that is wanted was found, or collecting failed");
        Body {
            file: &self.file,
            at,
            left,
        }
    }

    pub(super) fn attributes(&self, digest: Option<ContentId>) -> Attributes {
        let known = digest.and_then(|digest| self.attributes.get(&digest));
        known.cloned().unwrap_or_default()
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

/// A part of the temporary file.
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
