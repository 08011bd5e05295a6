//! What was learned of blobs, kept for the next time.
//!
//! Two kinds of names: `blob-v1-<hex>` holds the diff ID of the blob of that digest, `layer-v1-<hex>` the entries of the tar
//! of that diff ID. Both are written after the bytes were read and compared with their digest, so that a config that lies
//! about its layers is found out with a cache as without.

use crate::{BlobDigest, DiffId, Layer, layer::FORMAT};

/// Where layers are remembered. Losing what it holds costs time.
pub trait LayerCache: Send + Sync {
    /// What was kept under `name`: lower-case letters, digits and dashes.
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps `bytes` under `name`, if it can.
    fn put(&self, name: &str, bytes: &[u8]);
}

/// A cache that forgets.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl LayerCache for NoCache {
    fn get(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _name: &str, _bytes: &[u8]) {}
}

pub(crate) fn load_diff_id(cache: &dyn LayerCache, digest: &BlobDigest) -> Option<DiffId> {
    let text = cache.get(&blob_name(digest))?;
    str::from_utf8(&text).ok()?.parse().ok()
}

pub(crate) fn load_layer(cache: &dyn LayerCache, diff_id: &DiffId) -> Option<Layer> {
    let bytes = cache.get(&layer_name(diff_id))?;
    Layer::decode(&bytes).filter(|layer| layer.diff_id() == *diff_id)
}

pub(crate) fn keep(cache: &dyn LayerCache, digest: &BlobDigest, layer: &Layer) {
    if let Some(bytes) = layer.encode() {
        cache.put(&layer_name(&layer.diff_id()), &bytes);
        cache.put(&blob_name(digest), layer.diff_id().to_string().as_bytes());
    }
}

fn blob_name(digest: &BlobDigest) -> String {
    format!("blob-{FORMAT}-{}", digest.to_hex())
}

fn layer_name(diff_id: &DiffId) -> String {
    format!("layer-{FORMAT}-{}", diff_id.to_hex())
}
