//! The manifests and configs of two images.

use serde_json::Value;

use super::Ignore;
use crate::{BlobDigest, Image, ImageError, manifest::parse};

/// Whether manifests and configs are the same bytes. Where one of the images has no manifest, the configs decide.
pub(super) fn are_documents_same(old: &Image, new: &Image) -> bool {
    let [old_config, new_config] = [old, new].map(|image| BlobDigest::of(&image.config_json));
    let have_manifests = old.digest != old_config && new.digest != new_config;
    match have_manifests {
        true => old.digest == new.digest,
        false => old_config == new_config,
    }
}

/// Whether configs say the same, but for what is ignored and for the layers they name.
pub(super) fn are_configs_same(old: &Image, new: &Image, ignore: Ignore) -> Result<bool, ImageError> {
    Ok(comparable_config(old, ignore)? == comparable_config(new, ignore)?)
}

/// A config without what is compared elsewhere, or not at all.
fn comparable_config(image: &Image, ignore: Ignore) -> Result<Value, ImageError> {
    let mut config: Value = parse(&format!("config of {}", image.reference), &image.config_json)?;
    if let Some(config) = config.as_object_mut() {
        config.remove("rootfs");
        if ignore.times {
            config.remove("created");
            let history = config.get_mut("history").and_then(Value::as_array_mut);
            for step in history.into_iter().flatten().filter_map(Value::as_object_mut) {
                step.remove("created");
            }
        }
    }
    Ok(config)
}
