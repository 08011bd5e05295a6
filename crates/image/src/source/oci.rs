//! OCI layouts: `index.json` and blobs by digest, in a folder or a tar.

use std::io::Read;

use super::{Document, Files, Image, LayerBlob, Source, check_layer_count};
use crate::{
    BlobDigest, ImageConfig, ImageError, Platform,
    manifest::{Descriptor, Index, MAX_MANIFEST_BYTES, Manifest, media_type, parse, select},
};

/// An index may point at an index; nobody nests deeper than two.
const MAX_INDEXES: usize = 4;
/// Where a layout keeps the tag of an image.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd keeps its full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image of an OCI layout.
#[derive(Debug)]
pub(super) struct OciFiles<F> {
    name: String,
    files: F,
    tag: Option<String>,
}

impl<F: Files> OciFiles<F> {
    pub(super) fn new(name: String, files: F, tag: Option<String>) -> Self {
        OciFiles { name, files, tag }
    }

    fn find(&self, index: &Index, platform: &Platform) -> Result<Descriptor, ImageError> {
        let names =
            |entry: &Descriptor| [REF_NAME, CONTAINERD_NAME].map(|key| entry.annotations.get(key).cloned());
        let candidates: Vec<_> = match &self.tag {
            Some(tag) => {
                let is_meant = |entry: &&Descriptor| names(entry).iter().flatten().any(|name| name == tag);
                index.manifests.iter().filter(is_meant).cloned().collect()
            }
            None => index.manifests.clone(),
        };
        match &candidates[..] {
            [only] => Ok(only.clone()),
            [] => Err(ImageError::missing("an image", &self.name)),
            several => {
                let tags: Vec<_> = several
                    .iter()
                    .filter_map(|entry| names(entry)[0].clone())
                    .collect();
                if self.tag.is_none() && !tags.is_empty() {
                    let reason = format!("it has several images; name one of the tags {}", tags.join(", "));
                    return Err(ImageError::unsupported(&self.name, reason));
                }
                select(&self.name, several, platform).cloned()
            }
        }
    }
}

impl<F: Files> Source for OciFiles<F> {
    fn load_image(&self, platform: &Platform) -> Result<Image, ImageError> {
        let json = self.files.read("index.json", MAX_MANIFEST_BYTES)?;
        let index: Index = parse(&format!("index.json of {}", self.name), &json)?;
        let start = self.find(&index, platform)?;
        resolve(&self.name, start, platform, |document, digest| {
            let bytes = self.files.read(&blob_path(digest), document.limit())?;
            check_digest(digest, &bytes)?;
            Ok(bytes)
        })
    }

    fn open_layer(&self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        self.files.open(&layer.place).map(|(_, stream)| stream)
    }

    fn find_layer(&self, layer: &LayerBlob) -> Result<Option<u64>, ImageError> {
        self.files.open(&layer.place).map(|(length, _)| Some(length))
    }
}

/// Follows indexes from `start` to the image for `platform`, and reads what it says.
pub(super) fn resolve(
    name: &str,
    start: Descriptor,
    platform: &Platform,
    read: impl Fn(Document, &BlobDigest) -> Result<Vec<u8>, ImageError>,
) -> Result<Image, ImageError> {
    let mut descriptor = start;
    let mut index_bytes = 0;
    for _ in 0..MAX_INDEXES {
        let what = format!("{} of {name}", descriptor.digest);
        let json = read(Document::Manifest, &descriptor.digest)?;
        if is_index(&descriptor.media_type, &what, &json)? {
            index_bytes += json.len() as u64;
            let index: Index = parse(&what, &json)?;
            descriptor = select(name, &index.manifests, platform)?.clone();
            continue;
        }
        let manifest: Manifest = parse(&what, &json)?;
        let config_json = read(Document::Config, &manifest.config.digest)?;
        let config: ImageConfig = parse(&format!("config of {name}"), &config_json)?;
        let document_bytes = index_bytes + json.len() as u64 + config_json.len() as u64;
        return Ok(Image {
            reference: name.to_owned(),
            digest: descriptor.digest,
            document_bytes,
            layers: layers(name, manifest, &config)?,
            config,
            config_json,
        });
    }
    Err(ImageError::corrupt(
        name,
        "its indexes point at indexes without end",
    ))
}

fn layers(name: &str, manifest: Manifest, config: &ImageConfig) -> Result<Vec<LayerBlob>, ImageError> {
    let other =
        |layer: &&Descriptor| !layer.media_type.is_empty() && !media_type::is_layer(&layer.media_type);
    if let Some(layer) = manifest.layers.iter().find(other) {
        let reason = format!("it is no image of a file system: it holds {}", layer.media_type);
        return Err(ImageError::unsupported(name, reason));
    }
    if manifest
        .layers
        .iter()
        .any(|layer| layer.media_type.ends_with("+encrypted"))
    {
        return Err(ImageError::unsupported(name, "its layers are encrypted"));
    }
    let diff_ids = &config.rootfs.diff_ids;
    check_layer_count(name, manifest.layers.len(), diff_ids.len())?;
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers = layers.map(|(layer, &diff_id)| LayerBlob {
        digest: Some(layer.digest),
        diff_id,
        media_type: layer.media_type,
        size_bytes: layer.size_bytes,
        place: blob_path(&layer.digest),
    });
    Ok(layers.collect())
}

/// What a document is: its own word, else that of who points at it.
fn is_index(media_type: &str, what: &str, json: &[u8]) -> Result<bool, ImageError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        schema_version: Option<u32>,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let head: Head = parse(what, json)?;
    if head.schema_version == Some(1) {
        let reason = "it is of Docker's first manifest version, which registries no longer serve";
        return Err(ImageError::unsupported(what, reason));
    }
    Ok(match head.media_type {
        Some(own) => media_type::is_index(&own),
        None => head.manifests.is_some() || media_type::is_index(media_type),
    })
}

pub(super) fn check_digest(expected: &BlobDigest, bytes: &[u8]) -> Result<(), ImageError> {
    let found = BlobDigest::of(bytes);
    match found == *expected {
        true => Ok(()),
        false => Err(ImageError::WrongDigest {
            what: "a document".to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
    }
}

pub(super) fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.to_hex())
}
