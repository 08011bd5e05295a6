//! An image of a registry.

use std::{io::Read, sync::Arc};

use super::{Document, Image, LayerBlob, Source, oci};
use crate::{
    BlobDigest, ImageError, Platform, RegistryReference, Version,
    manifest::{Descriptor, media_type},
    registry::{BlobBody, Registries},
};

/// What we understand.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

#[derive(Debug)]
pub(super) struct RegistryImage {
    reference: RegistryReference,
    registries: Arc<Registries>,
}

impl RegistryImage {
    pub(super) fn new(reference: RegistryReference, registries: Arc<Registries>) -> Self {
        RegistryImage {
            reference,
            registries,
        }
    }

    fn get(&self, path: &str, document: Document) -> Result<(Vec<u8>, String), ImageError> {
        let limit = document.limit() as usize;
        self.registries.get_short(&self.reference, path, ACCEPT, limit)
    }
}

impl Source for RegistryImage {
    fn load_image(&self, platform: &Platform) -> Result<Image, ImageError> {
        let version = match &self.reference.version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let (first, media_type) = self.get(&format!("manifests/{version}"), Document::Manifest)?;
        let found = BlobDigest::of(&first);
        if let Version::Digest(expected) = &self.reference.version {
            oci::check_digest(expected, &first)?;
        }
        let start = Descriptor {
            media_type,
            digest: found,
            size_bytes: first.len() as u64,
            platform: None,
            annotations: Default::default(),
        };
        oci::resolve(
            &self.reference.to_string(),
            start,
            platform,
            |document, digest| match document {
                Document::Manifest if *digest == found => Ok(first.clone()),
                Document::Manifest | Document::Config => {
                    let path = format!("{}/{digest}", document.folder());
                    let (bytes, _) = self.get(&path, document)?;
                    oci::check_digest(digest, &bytes)?;
                    Ok(bytes)
                }
            },
        )
    }

    fn open_layer(&self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let Some(digest) = layer.digest else {
            return Err(ImageError::missing(&layer.place, self.reference.to_string()));
        };
        let opened = BlobBody::open(&self.registries, &self.reference, format!("blobs/{digest}"));
        match opened {
            // Some registries refuse what they do not keep.
            Err(ImageError::Refused { what, .. } | ImageError::Missing { what, .. })
                if media_type::is_foreign_layer(&layer.media_type) =>
            {
                Err(ImageError::missing(what, self.reference.to_string()))
            }
            opened => Ok(Box::new(opened?)),
        }
    }

    /// A registry answers for what its manifests name.
    fn find_layer(&self, _layer: &LayerBlob) -> Result<Option<u64>, ImageError> {
        Ok(None)
    }
}
