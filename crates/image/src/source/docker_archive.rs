//! What `docker save` writes, in all three shapes: `manifest.json` names a config and the tars of the layers, wherever
//! they are.

use std::io::Read;

use serde::Deserialize;

use super::{Files as _, Image, LayerBlob, Source, archive::Archive, check_layer_count};
use crate::{
    BlobDigest, ImageConfig, ImageError, Platform, Reference,
    manifest::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, parse},
};

/// An image of such an archive.
#[derive(Debug)]
pub(super) struct DockerArchive {
    name: String,
    archive: Archive,
    tag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl DockerArchive {
    pub(super) fn new(name: String, archive: Archive, tag: Option<String>) -> Self {
        DockerArchive { name, archive, tag }
    }

    fn find(&self, images: Vec<SavedImage>) -> Result<SavedImage, ImageError> {
        let has = |image: &SavedImage, tag: &str| {
            let mut tags = image.repo_tags.iter().flatten();
            tags.any(|name| is_meant(name, tag))
        };
        let mut tags: Vec<String> = Vec::new();
        let mut meant = Vec::new();
        for image in images {
            tags.extend(image.repo_tags.iter().flatten().cloned());
            if self.tag.as_ref().is_none_or(|tag| has(&image, tag)) {
                meant.push(image);
            }
        }
        let several = meant.len() > 1;
        match meant.pop() {
            Some(image) if !several => Ok(image),
            Some(_) => {
                let reason = format!("it has several such images; name one of {}", tags.join(", "));
                Err(ImageError::unsupported(&self.name, reason))
            }
            None => {
                let what = match &self.tag {
                    Some(tag) => format!("an image {tag}"),
                    None => "an image".to_owned(),
                };
                Err(ImageError::missing(what, &self.name))
            }
        }
    }
}

/// Whether an archive's name of an image is `tag`, ends in it, or is what it is short for: `docker save` writes `app:v1`, others
/// `docker.io/library/app:v1`.
fn is_meant(name: &str, tag: &str) -> bool {
    let full = |text: &str| text.parse::<Reference>().ok();
    name == tag
        || name.rsplit_once(':').is_some_and(|(_, last)| last == tag)
        || full(name).is_some_and(|name| Some(name) == full(tag))
}

impl Source for DockerArchive {
    /// There is one image per tag here.
    fn load_image(&self, _platform: &Platform) -> Result<Image, ImageError> {
        let json = self.archive.read("manifest.json", MAX_MANIFEST_BYTES)?;
        let images: Vec<SavedImage> = parse(&format!("manifest.json of {}", self.name), &json)?;
        let saved = self.find(images)?;
        let config_json = self.archive.read(&saved.config, MAX_CONFIG_BYTES)?;
        let config: ImageConfig = parse(&format!("config of {}", self.name), &config_json)?;
        let paths = saved.layers.unwrap_or_default();
        check_layer_count(&self.name, paths.len(), config.rootfs.diff_ids.len())?;
        let layers = paths.into_iter().zip(&config.rootfs.diff_ids);
        let layers = layers.map(|(place, &diff_id)| {
            Ok(LayerBlob {
                digest: None,
                diff_id,
                // Nobody says it here; the bytes will tell.
                media_type: String::new(),
                size_bytes: self.archive.open(&place)?.0,
                place,
            })
        });
        Ok(Image {
            reference: self.name.clone(),
            digest: BlobDigest::of(&config_json),
            document_bytes: config_json.len() as u64,
            layers: layers.collect::<Result<_, ImageError>>()?,
            config,
            config_json,
        })
    }

    fn open_layer(&self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        self.archive.open(&layer.place).map(|(_, stream)| stream)
    }

    fn find_layer(&self, layer: &LayerBlob) -> Result<Option<u64>, ImageError> {
        self.archive.open(&layer.place).map(|(length, _)| Some(length))
    }
}
