//! Spring Boot jars and wars: which of their entries change together, and what is wrong with the layers they claim.
//!
//! A [`Jar`] is read by its directory; entries are unpacked only when an image's layer is made of them. Which entry belongs to
//! which layer is said by the index in the jar, and by Spring Boot's defaults where there is none.

mod defaults;
mod index;
mod library;
mod manifest;
mod own;
mod proposal;
mod report;
#[cfg(test)]
mod testing;
mod zip;

use std::{io, path::Path};

use index::IndexedLayer;
pub use library::Library;
use manifest::Manifest;
use own::Application;
pub use report::{JarLayer, JarReport};
use zip::Zip;
pub(crate) use zip::ZipEntry;

use crate::{
    ImageError,
    build::{FileSet, Item, ItemKind, join},
};

/// The longest manifest, index and list of properties that is read.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Where the application's own classes are.
const CLASS_FOLDERS: [&str; 2] = ["BOOT-INF/classes/", "WEB-INF/classes/"];

/// An executable jar or war of Spring Boot's.
#[derive(Debug)]
pub struct Jar {
    zip: Zip,
    /// The class that the manifest has Java start.
    main_class: String,
    application: Option<Application>,
    is_indexed: bool,
    layers: Vec<IndexedLayer>,
}

/// The files of a layer of the jar.
struct LayerFiles<'j> {
    name: &'j str,
    files: Vec<&'j ZipEntry>,
}

impl Jar {
    /// Reads what the jar says of itself.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let zip = Zip::open(path)?;
        let name = path.display().to_string();
        let manifest = zip.read_entry("META-INF/MANIFEST.MF", MAX_TEXT_BYTES)?;
        let manifest = manifest.map_or_else(Manifest::default, |bytes| Manifest::parse(&bytes));
        let is_boot =
            manifest.get("Spring-Boot-Version").is_some() || manifest.get("Spring-Boot-Classes").is_some();
        let Some(main_class) = manifest.get("Main-Class").filter(|_| is_boot) else {
            return Err(ImageError::unsupported(
                name,
                "it is no executable jar of Spring Boot",
            ));
        };
        let index = match manifest.get("Spring-Boot-Layers-Index") {
            None => None,
            Some(path) => match zip.read_entry(path, MAX_TEXT_BYTES)? {
                Some(bytes) => Some(bytes),
                None => return Err(ImageError::missing(format!("the layer index {path}"), name)),
            },
        };
        let layers = match &index {
            None => defaults::default_layers(&zip),
            Some(bytes) => index::parse(&String::from_utf8_lossy(bytes))
                .map_err(|error| ImageError::corrupt(format!("the layer index of {name}"), error))?,
        };
        Ok(Jar {
            main_class: main_class.to_owned(),
            application: Application::of(path, &manifest, &zip),
            is_indexed: index.is_some(),
            layers,
            zip,
        })
    }

    /// The class that the manifest has Java start.
    pub fn main_class(&self) -> &str {
        &self.main_class
    }

    /// The layers that have files, in the order of the index; what belongs to none comes last.
    pub fn layer_names(&self) -> Vec<String> {
        let layers = self.layer_files().into_iter();
        let filled = layers.filter(|layer| !layer.files.is_empty());
        filled.map(|layer| layer.name.to_owned()).collect()
    }

    /// The files of each layer that has some, to be put into `folder` of an image.
    pub(crate) fn file_sets(&self, folder: &[u8]) -> Vec<(String, FileSet<ZipEntry>)> {
        let layers = self.layer_files().into_iter();
        let filled = layers.filter(|layer| !layer.files.is_empty());
        filled
            .map(|layer| (layer.name.to_owned(), layer.file_set(folder)))
            .collect()
    }

    pub(crate) fn open_entry(&self, entry: &ZipEntry) -> Result<Box<dyn io::Read>, ImageError> {
        self.zip.open_entry(entry)
    }

    /// The layers of the index, whether they have files or not, and one more for files that are in none. A file belongs to the
    /// first layer that has it.
    fn layer_files(&self) -> Vec<LayerFiles<'_>> {
        let layers = self.layers.iter().map(|layer| LayerFiles {
            name: &layer.name,
            files: Vec::new(),
        });
        let mut layers: Vec<_> = layers.collect();
        let mut unassigned = Vec::new();
        for entry in self.zip.files() {
            match self.layers.iter().position(|layer| layer.has(&entry.path)) {
                Some(number) => layers[number].files.push(entry),
                None => unassigned.push(entry),
            }
        }
        if !unassigned.is_empty() {
            layers.push(LayerFiles {
                name: "unassigned",
                files: unassigned,
            });
        }
        layers
    }
}

impl LayerFiles<'_> {
    fn file_set(&self, folder: &[u8]) -> FileSet<ZipEntry> {
        let mut set = FileSet::default();
        for &entry in &self.files {
            let kind = ItemKind::File {
                size_bytes: entry.size_bytes,
                is_executable: false,
                body: entry.clone(),
            };
            let mtime = (entry.mtime, 0);
            set.insert(join(folder, entry.path.as_bytes()), Item { kind, mtime });
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{MANIFEST, Made, open_jar},
        *,
    };

    #[test]
    fn an_index_that_is_named_and_not_there_is_an_error() {
        let manifest = format!("{MANIFEST}Spring-Boot-Layers-Index: BOOT-INF/layers.idx\r\n");
        let error = open_jar(&[Made::deflated("META-INF/MANIFEST.MF", manifest.as_bytes())]).unwrap_err();
        assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    }
}
