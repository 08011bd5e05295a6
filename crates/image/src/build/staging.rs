//! A folder of blobs, as OCI layouts have one.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use headstart_fs::{AtPath as _, publish};
use tempfile::NamedTempFile;

use super::layer::{BuildOptions, Counted, LayerWriter, build_layer};
use crate::{
    BlobDigest, ImageError, Layer, Silent, StoredLayer,
    blob::{StoredBlob, scan_blob},
    layer::EntryMemory,
};

/// Where blobs are put before, and after, an image names them.
#[derive(Debug)]
pub(crate) struct Staging {
    layout: PathBuf,
    blobs: PathBuf,
}

impl Staging {
    /// Makes the folders that are missing.
    pub(super) fn create(layout: &Path) -> Result<Self, ImageError> {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create", &blobs)?;
        Ok(Staging {
            layout: layout.to_owned(),
            blobs,
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
        let mut temp = publish::temp_beside(&self.path_of(&digest))?;
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
        let mut temp = publish::temp_beside(&self.blobs.join("layer"))?;
        let layer = build_layer(options, &mut temp, fill)?;
        self.keep(temp, &layer.digest)?;
        Ok(layer)
    }

    /// Copies the blob of a layer, and compares it with its digest.
    pub(super) fn copy(&self, layer: &StoredLayer, stored: impl Read) -> Result<(), ImageError> {
        let path = self.path_of(&layer.digest);
        if fs::metadata(&path).is_ok_and(|there| there.len() == layer.compressed_bytes) {
            return Ok(());
        }
        let mut temp = publish::temp_beside(&path)?;
        let mut stored = Counted::new(stored);
        let what = format!("layer {}", layer.digest);
        io::copy(&mut stored, &mut temp).map_err(|source| ImageError::Read {
            what: what.clone(),
            source,
        })?;
        let found = stored.digest();
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
        persist(temp, &self.path_of(digest))
    }
}

/// Gives a temporary file its name, and lets everybody read it.
pub(super) fn persist(temp: NamedTempFile, path: &Path) -> Result<(), ImageError> {
    fs::set_permissions(temp.path(), Permissions::from_mode(0o644)).at("let others read", temp.path())?;
    temp.persist(path)
        .map_err(|error| error.error)
        .at("rename a temporary file to", path)?;
    Ok(())
}
