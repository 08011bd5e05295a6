//! What was learned of blobs, kept for the next time.
//!
//! Two kinds of names: `blob-v2-<hex>` tells of the blob of that digest (`<diff ID> <media type> <length>`), `layer-v3-<hex>`
//! holds the entries of the tar of that diff ID. Both are written after the bytes were read and compared with their digest, so that a config that lies
//! about its layers is found out with a cache as without.

use crate::{BlobDigest, Compression, DiffId, Layer, layer::FORMAT};

/// Part of the names of blobs.
const BLOB_FORMAT: &str = "v2";

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

/// What a blob was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownBlob {
    pub(crate) diff_id: DiffId,
    pub(crate) compression: Compression,
    /// Length as stored.
    pub(crate) size_bytes: u64,
}

impl KnownBlob {
    fn encode(&self) -> String {
        let media_type = self.compression.media_type();
        format!("{} {media_type} {}", self.diff_id, self.size_bytes)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let diff_id = words.next()?.parse().ok()?;
        let compression = Compression::of_media_type(words.next()?)?;
        let size_bytes = words.next()?.parse().ok()?;
        words.next().is_none().then_some(KnownBlob {
            diff_id,
            compression,
            size_bytes,
        })
    }
}

pub(crate) fn load_blob(cache: &dyn LayerCache, digest: &BlobDigest) -> Option<KnownBlob> {
    let text = cache.get(&blob_name(digest))?;
    KnownBlob::decode(str::from_utf8(&text).ok()?)
}

pub(crate) fn load_layer(cache: &dyn LayerCache, diff_id: &DiffId) -> Option<Layer> {
    let bytes = cache.get(&layer_name(diff_id))?;
    Layer::decode(&bytes).filter(|layer| layer.diff_id() == *diff_id)
}

/// Keeps `layer`, and that it is the tar of this blob.
pub(crate) fn keep(cache: &dyn LayerCache, digest: &BlobDigest, blob: KnownBlob, layer: &Layer) {
    if let Some(bytes) = layer.encode() {
        cache.put(&layer_name(&layer.diff_id()), &bytes);
        cache.put(&blob_name(digest), blob.encode().as_bytes());
    }
}

fn blob_name(digest: &BlobDigest) -> String {
    format!("blob-{BLOB_FORMAT}-{}", digest.to_hex())
}

fn layer_name(diff_id: &DiffId) -> String {
    format!("layer-{FORMAT}-{}", diff_id.to_hex())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_known_of_a_blob_survives_its_cache() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let known = KnownBlob {
                diff_id: DiffId::of(b"x"),
                compression,
                size_bytes: 7,
            };
            assert_eq!(KnownBlob::decode(&known.encode()), Some(known));
            assert_eq!(KnownBlob::decode(&format!("{} ", known.encode())), None);
        }
        assert_eq!(
            KnownBlob::decode(&DiffId::of(b"x").to_string()),
            None,
            "as it was once"
        );
    }

    proptest! {
        #[test]
        fn any_text_tells_of_a_blob_or_of_none(text in ".{0,120}") {
            let _ = KnownBlob::decode(&text);
        }
    }
}
