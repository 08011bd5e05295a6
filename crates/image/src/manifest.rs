//! The JSON documents of an image: descriptors, indexes, manifests, configs. Fields we have no use for are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{BlobDigest, DiffId, ImageError, Platform};

/// The longest index or manifest that is read.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// The longest config that is read.
pub(crate) const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The media types that are told apart.
pub mod media_type {
    /// An image of the Open Container Initiative.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image of Docker's.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Images for several platforms.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// The same in Docker's words.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A layer as a plain tar.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer compressed by gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer compressed by zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

    /// Whether it names a list of images.
    pub fn is_index(name: &str) -> bool {
        name == OCI_INDEX || name == DOCKER_INDEX
    }

    /// Whether the layer's bytes may be kept elsewhere, by its publisher's wish.
    pub fn is_foreign_layer(name: &str) -> bool {
        name.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || name.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }

    /// Whether it names a layer with files.
    pub fn is_layer(name: &str) -> bool {
        name.starts_with("application/vnd.oci.image.layer.")
            || name.starts_with("application/vnd.docker.image.rootfs.")
    }
}

/// What an index or manifest says of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; empty where nobody says.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: BlobDigest,
    /// Its length in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// What it runs on.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Free words, such as the tag.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The list of an image's blobs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) layers: Vec<Descriptor>,
}

/// A list of images.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Index {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) manifests: Vec<Descriptor>,
}

/// What an image's config says of its layers.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ImageConfig {
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Option<Platform>,
    /// The layers, lowest first.
    #[serde(default)]
    pub rootfs: RootFs,
    /// The steps that made it. May be shorter than the list of layers, or missing.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub history: Vec<HistoryStep>,
}

/// The layers a config names.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RootFs {
    /// Lowest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<DiffId>,
}

/// A step that made an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HistoryStep {
    /// The command, as the builder writes it.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub created_by: String,
    /// True when it made no layer.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// The step that made the layer of this number, if history tells.
    pub fn step_of(&self, layer: usize) -> Option<&HistoryStep> {
        self.history.iter().filter(|step| !step.empty_layer).nth(layer)
    }
}

/// Parses a document that `what` names in errors.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(json).map_err(|error| ImageError::corrupt(what, error))
}

/// Of an index's images the one for `wanted`; attestations are none. What names no platform, and is alone, is meant.
pub(crate) fn select<'a>(
    what: &str,
    manifests: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, ImageError> {
    let is_image = |entry: &&Descriptor| !entry.platform.as_ref().is_some_and(Platform::is_unknown);
    let images: Vec<_> = manifests.iter().filter(is_image).collect();
    let ranked = images
        .iter()
        .filter_map(|entry| Some((entry.platform.as_ref()?.distance(wanted)?, entry)));
    if let Some((_, found)) = ranked.min_by_key(|(distance, _)| *distance) {
        return Ok(found);
    }
    let platforms = images.iter().filter_map(|entry| entry.platform.as_ref());
    let platforms: Vec<_> = platforms.map(Platform::to_string).collect();
    match images[..] {
        [] => Err(ImageError::missing("an image", what)),
        [only] if only.platform.is_none() => Ok(only),
        _ if platforms.is_empty() => {
            let digests: Vec<_> = images.iter().map(|entry| entry.digest.to_string()).collect();
            let reason = format!(
                "it has {} images without a platform; give each a tag, or name one by its digest where a registry has it: {}",
                digests.len(),
                digests.join(", ")
            );
            Err(ImageError::unsupported(what, reason))
        }
        _ => {
            let place = format!("{what}, which has {}", platforms.join(", "));
            Err(ImageError::missing(format!("an image for {wanted}"), place))
        }
    }
}

pub(crate) fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            digest: BlobDigest::of(format!("{platform:?}").as_bytes()),
            size_bytes: 1,
            platform: platform.map(|text| text.parse().unwrap()),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn an_index_gives_the_image_of_the_platform_and_never_an_attestation() {
        let wanted: Platform = "linux/arm64".parse().unwrap();
        let index = [
            entry(Some("unknown/unknown")),
            entry(Some("linux/amd64")),
            entry(Some("linux/arm64/v8")),
        ];
        assert_eq!(select("x", &index, &wanted).unwrap(), &index[2]);
        let error = select("x", &index[..2], &wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an image for linux/arm64 is not in x, which has linux/amd64"
        );
        assert!(select("x", &index[..1], &wanted).is_err());
        let nameless = [entry(None), entry(Some("unknown/unknown"))];
        assert_eq!(select("x", &nameless, &wanted).unwrap(), &nameless[0]);
    }

    #[test]
    fn of_several_variants_the_one_asked_for_is_taken_then_the_next_one_below() {
        let taken = |index: &[&str], wanted: &str| {
            let index: Vec<_> = index.iter().map(|platform| entry(Some(platform))).collect();
            let found = select("x", &index, &wanted.parse().unwrap()).ok()?;
            found.platform.as_ref().map(Platform::to_string)
        };
        for (index, wanted, found) in [
            (&["linux/arm/v5", "linux/arm/v7"][..], "linux/arm", "linux/arm/v7"),
            (&["linux/arm/v5", "linux/arm/v6"], "linux/arm", "linux/arm/v6"),
            (
                &["linux/arm/v8", "linux/arm/v6", "linux/arm/v5"],
                "linux/arm/v7",
                "linux/arm/v6",
            ),
            (&["linux/amd64/v3", "linux/amd64"], "linux/amd64", "linux/amd64"),
            (
                &["linux/amd64", "linux/amd64/v3"],
                "linux/amd64/v3",
                "linux/amd64/v3",
            ),
            (
                &["linux/arm/v7", "linux/arm64/v8"],
                "linux/arm64",
                "linux/arm64/v8",
            ),
        ] {
            assert_eq!(
                taken(index, wanted).as_deref(),
                Some(found),
                "{wanted} of {index:?}"
            );
        }
        assert_eq!(taken(&["linux/amd64/v3"], "linux/amd64"), None);
    }

    #[test]
    fn several_images_without_a_platform_are_told_apart_by_nothing() {
        let mut index = ["a", "b", "attestation"].map(|name| Descriptor {
            digest: BlobDigest::of(name.as_bytes()),
            ..entry(None)
        });
        index[2].platform = entry(Some("unknown/unknown")).platform;
        let error = select("oci:x", &index, &"linux/amd64".parse().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("2 images without a platform"),
            "{error}"
        );
        assert!(
            error.to_string().contains(&index[1].digest.to_string()),
            "{error}"
        );
    }

    #[test]
    fn history_may_be_shorter_than_the_layers() {
        let json = br#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":null},
            "history":[{"created_by":"base"},{"created_by":"ENV","empty_layer":true},{"created_by":"COPY"}]}"#;
        let config: ImageConfig = parse("config", json).unwrap();
        let step = |layer| config.step_of(layer).map(|step| step.created_by.as_str());
        assert_eq!([step(0), step(1), step(2)], [Some("base"), Some("COPY"), None]);
        assert_eq!(config.platform.unwrap().to_string(), "linux/amd64");
    }
}
