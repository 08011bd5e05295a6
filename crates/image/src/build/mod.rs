//! Building images: without a daemon, and the same bytes every time on every machine.
//!
//! Layers are written into a folder of blobs beside what is to be made; every new layer is read back, and the file system that
//! it makes with the others is compared path by path with what was asked for. Only then does the image get its name.

mod archive;
mod compress;
mod config;
mod files;
mod image;
mod layer;
mod layout;
mod output;
mod proof;
mod staging;
mod steady;

pub use config::{ConfigChange, Pair};
pub use files::{FileLayer, FileStyle, Times};
pub use image::{Base, LayerContent, NewImage, NewLayer, build_image};
pub use layer::BuildOptions;
pub use output::ImageWriter;

pub(crate) use config::{ConfigDocument, Step};
pub(crate) use files::{FileSet, Item, ItemKind, join};
pub(crate) use image::{Documents, documents, merge, prove, write_kept};
pub(crate) use layer::{LayerWriter, build_layer};
pub(crate) use proof::IMPLIED;
