//! Container images: what is in them, and what they share.
//!
//! Owns image references, archives and OCI layouts, manifests and configs, the entries of layers, the file system they make
//! together, and every number computed from these. Prints nothing, keeps nothing: a cache is handed in.
//!
//! Invariants:
//! - every byte that is counted was compared with the digest that names it, in this run or before its result was cached;
//! - what images hold is foreign: paths never leave the image, sizes and counts are bounded, nothing panics;
//! - a layer is read once, as a stream, however large it is.

mod blob;
pub mod build;
mod cache;
mod decompress;
pub mod diff;
mod digest;
mod error;
mod interrupt;
pub mod jar;
mod layer;
pub mod manifest;
pub mod metrics;
pub mod plan;
mod platform;
mod progress;
mod read;
mod reference;
mod registry;
mod source;
mod tar;
#[cfg(test)]
mod testing;
mod tree;

pub use cache::{LayerCache, NoCache};
pub use decompress::Compression;
pub use digest::{BlobDigest, ChainId, ContentId, DiffId, ParseDigestError};
pub use error::ImageError;
pub use layer::{Entry, EntryKind, Layer, Metadata};
pub use manifest::{HistoryStep, ImageConfig};
pub use platform::{ParsePlatformError, Platform};
pub use progress::{Progress, Silent};
pub use read::{LoadedImage, ReadOptions, StoredLayer, read_images};
pub use reference::{ParseReferenceError, Reference, RegistryReference, Version, docker_name};
pub use registry::{
    Credentials, CredentialsError, DockerConfig, DockerConfigError, Login, NoCredentials, Registries,
    RegistryOptions,
};
pub use source::{Access, Image, LayerBlob, Source, open_source};
pub use tree::{EntryRef, FoundNode, HiddenFile, HiddenHow, NodeId, Tree, TreeError};
