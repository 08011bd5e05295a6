//! A folder of blobs, as OCI layouts have one.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write as _},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use headstart_fs::{
    AtPath as _,
    publish::{self, Durability},
};
use tempfile::NamedTempFile;

use super::{
    layer::{BuildOptions, LayerWriter, build_layer},
    steady::SteadyFile,
};
use crate::{
    BlobDigest, ImageError, Layer, Silent, StoredLayer,
    blob::{StoredBlob, copy_blob, hash_blob, scan_blob},
    layer::EntryMemory,
};

/// Where blobs are put before, and after, an image names them.
#[derive(Debug)]
pub(crate) struct Staging {
    layout: PathBuf,
    blobs: PathBuf,
    durability: Durability,
}

impl Staging {
    /// Makes the folders that are missing.
    pub(super) fn create(layout: &Path, durability: Durability) -> Result<Self, ImageError> {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create", &blobs)?;
        Ok(Staging {
            layout: layout.to_owned(),
            blobs,
            durability,
        })
    }

    pub(super) fn layout(&self) -> &Path {
        &self.layout
    }

    pub(super) fn path_of(&self, digest: &BlobDigest) -> PathBuf {
        self.blobs.join(digest.to_hex())
    }

    pub(crate) fn add_bytes(&self, bytes: &[u8]) -> Result<BlobDigest, ImageError> {
        let digest = BlobDigest::of(bytes);
        let mut temp = publish::temp_in_place_of(&self.path_of(&digest))?;
        temp.write_all(bytes).at("write", temp.path())?;
        self.keep(temp, &digest)?;
        Ok(digest)
    }

    /// Builds a layer into the folder.
    pub(crate) fn add_layer(
        &self,
        options: BuildOptions<'_>,
        fill: impl FnOnce(&mut LayerWriter<'_>) -> Result<(), ImageError>,
    ) -> Result<StoredLayer, ImageError> {
        let mut temp = publish::temp_in_place_of(&self.blobs.join("layer"))?;
        let layer = build_layer(options, SteadyFile::new(&mut temp, self.durability), fill)?;
        self.keep(temp, &layer.digest)?;
        Ok(layer)
    }

    /// Sees to it that the names of blobs survive a power cut, as their bytes do.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        Ok(publish::sync_folder(&self.blobs)?)
    }

    /// Whether the blob of a layer is there, by its digest.
    pub(super) fn has(&self, layer: &StoredLayer, interrupt: &AtomicBool) -> Result<bool, ImageError> {
        let path = self.path_of(&layer.digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened.at("open", &path)?,
        };
        if file.metadata().at("look at", &path)?.len() != layer.compressed_bytes {
            return Ok(false);
        }
        let what = path.display().to_string();
        let blob = StoredBlob {
            what: &what,
            size_bytes: layer.compressed_bytes,
        };
        let is_whole = hash_blob(blob, &file, &Silent, interrupt)? == layer.digest;
        // Whoever wrote it may not have waited for the disk.
        if is_whole && self.durability == Durability::Synced {
            file.sync_data().at("sync", &path)?;
        }
        Ok(is_whole)
    }

    /// Copies the blob of a layer, and compares it with its digest.
    pub(super) fn copy(
        &self,
        layer: &StoredLayer,
        stored: impl Read,
        interrupt: &AtomicBool,
    ) -> Result<(), ImageError> {
        let path = self.path_of(&layer.digest);
        let mut temp = publish::temp_in_place_of(&path)?;
        let what = format!("layer {}", layer.digest);
        let blob = StoredBlob {
            what: &what,
            size_bytes: layer.compressed_bytes,
        };
        let into = temp.path().to_owned();
        let mut file = SteadyFile::new(&mut temp, self.durability);
        let found = copy_blob(blob, stored, &Silent, interrupt, |bytes| {
            Ok(file.write_all(bytes).at("write", &into)?)
        })?;
        if found != layer.digest {
            return Err(ImageError::WrongDigest {
                what,
                expected: layer.digest.to_string(),
                found: found.to_string(),
            });
        }
        self.keep(temp, &layer.digest)
    }

    /// Reads a layer that was built, as anybody would.
    pub(crate) fn read_back(&self, layer: &StoredLayer, interrupt: &AtomicBool) -> Result<Layer, ImageError> {
        let path = self.path_of(&layer.digest);
        let what = format!("the new layer {}", layer.digest);
        let blob = StoredBlob {
            what: &what,
            size_bytes: layer.compressed_bytes,
        };
        let file = File::open(&path).at("open", &path)?;
        let read = scan_blob(blob, file, &EntryMemory::default(), &Silent, interrupt)?;
        if read.digest != layer.digest {
            return Err(ImageError::WrongDigest {
                what,
                expected: layer.digest.to_string(),
                found: read.digest.to_string(),
            });
        }
        Ok(read.layer)
    }

    fn keep(&self, temp: NamedTempFile, digest: &BlobDigest) -> Result<(), ImageError> {
        Ok(publish::persist(temp, &self.path_of(digest), self.durability)?)
    }
}
