//! Where images come from.

mod archive;
mod daemon;
mod docker_archive;
mod files;
mod oci;
mod registry;

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    BlobDigest, DiffId, ImageConfig, ImageError, Platform, Reference,
    manifest::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES},
    registry::Registries,
};

pub(crate) use oci::REF_NAME;

pub(crate) use files::open_file;
use files::{Files, Folder};
use oci::OciFiles;

use archive::Archive;
use docker_archive::DockerArchive;
use registry::RegistryImage;

/// The most layers of an image: Docker makes 127, the kernel's overlay file system takes 500.
const MAX_LAYERS: usize = 1024;

/// Somewhere that has an image.
pub trait Source: fmt::Debug + Send + Sync {
    /// Reads what the image says of itself: no layer yet. Of several images the one for `platform` is meant.
    fn load_image(&self, platform: &Platform) -> Result<Image, ImageError>;

    /// The bytes of a layer of that image, as stored.
    fn open_layer(&self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + '_>, ImageError>;

    /// The length of a layer that is there, without reading it; `None` where looking costs a request, as in a registry.
    fn find_layer(&self, layer: &LayerBlob) -> Result<Option<u64>, ImageError>;
}

/// What an image says of itself.
#[derive(Debug, Clone)]
pub struct Image {
    /// Where it was found.
    pub reference: String,
    /// Digest of its manifest; of its config where there is no manifest, in a `docker save` archive.
    pub digest: BlobDigest,
    /// What is pulled beside the layers: config, manifest, and the index it was selected from.
    pub document_bytes: u64,
    /// The config's meaning.
    pub config: ImageConfig,
    /// The config's bytes.
    pub config_json: Vec<u8>,
    /// Lowest first.
    pub layers: Vec<LayerBlob>,
}

/// A layer as an image names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the bytes as stored; in a `docker save` archive nobody says it.
    pub digest: Option<BlobDigest>,
    /// The config's claim.
    pub diff_id: DiffId,
    /// What it is said to be.
    pub media_type: String,
    /// Length as stored.
    pub size_bytes: u64,
    /// Where the source has it.
    place: String,
}

impl LayerBlob {
    /// A layer of an OCI layout.
    pub(crate) fn in_layout(digest: BlobDigest, diff_id: DiffId, media_type: &str, size_bytes: u64) -> Self {
        LayerBlob {
            digest: Some(digest),
            diff_id,
            media_type: media_type.to_owned(),
            size_bytes,
            place: oci::blob_path(&digest),
        }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }
}

/// What reaches images that are not files.
#[derive(Debug, Clone)]
pub struct Access {
    /// The client of registries.
    pub registries: Arc<Registries>,
    /// Where the Docker daemon listens.
    pub docker_socket: PathBuf,
    /// Set to stop opening what takes long.
    pub interrupt: Arc<AtomicBool>,
}

/// Opens what `reference` names: reads an archive's list of files, saves an image of the daemon, and nothing of a registry.
pub fn open_source(reference: &Reference, access: &Access) -> Result<Box<dyn Source>, ImageError> {
    let name = reference.to_string();
    let interrupt = &*access.interrupt;
    Ok(match reference {
        Reference::OciLayout { folder, tag } => {
            Box::new(OciFiles::new(name, Folder::new(folder.clone()), tag.clone()))
        }
        Reference::OciArchive { file, tag } => {
            Box::new(OciFiles::new(name, Archive::open(file, interrupt)?, tag.clone()))
        }
        Reference::DockerArchive { file, tag } => Box::new(DockerArchive::new(
            name,
            Archive::open(file, interrupt)?,
            tag.clone(),
        )),
        Reference::DockerDaemon(image) => {
            let saved = daemon::save(&access.docker_socket, image, interrupt)?;
            Box::new(DockerArchive::new(name, saved, None))
        }
        Reference::Registry(reference) => {
            let registries = Arc::clone(&access.registries);
            Box::new(RegistryImage::new(reference.clone(), registries))
        }
    })
}

/// Whether an open file is a tar that has what archives of images have. Only its headers are read.
pub(crate) fn is_archive_of_images(path: &Path, file: File, interrupt: &AtomicBool) -> bool {
    let archive = Archive::from_file(path.display().to_string(), file, interrupt);
    archive.is_ok_and(|archive| {
        let has = |name| archive.open(name).is_ok();
        has("manifest.json") || has("index.json") && has("oci-layout")
    })
}

/// A JSON document of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    /// Or an index.
    Manifest,
    Config,
}

impl Document {
    fn limit(self) -> u64 {
        match self {
            Document::Manifest => MAX_MANIFEST_BYTES,
            Document::Config => MAX_CONFIG_BYTES,
        }
    }

    /// Where registries keep it.
    fn folder(self) -> &'static str {
        match self {
            Document::Manifest => "manifests",
            Document::Config => "blobs",
        }
    }
}

/// Pairs an image's layers with the diff IDs of its config.
fn check_layer_count(what: &str, layers: usize, diff_ids: usize) -> Result<(), ImageError> {
    if layers > MAX_LAYERS {
        return Err(ImageError::too_large(what, format!("{MAX_LAYERS} layers")));
    }
    match layers == diff_ids {
        true => Ok(()),
        false => Err(ImageError::corrupt(
            what,
            format!("it has {layers} layers, its config names {diff_ids}"),
        )),
    }
}

/// Reads all of a stream that should be short.
fn read_all(what: &str, input: impl Read, limit: u64) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let read = input.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| ImageError::Read {
        what: what.to_owned(),
        source,
    })?;
    match bytes.len() as u64 > limit {
        true => Err(ImageError::too_large(what, format!("{limit} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
