//! Spring Boot jars and wars: which of their entries change together, and what is wrong with the layers they claim.

mod index;
#[cfg(test)]
mod testing;
mod zip;

use std::{collections::BTreeMap, io, path::Path};

use index::{IndexedLayer, covers};
use zip::{Zip, ZipEntry};

use crate::{
    ContentId, ImageError,
    build::{BuildOptions, FileSet, FileStyle, Item, ItemKind, build_layer, join, merge},
    digest::Hasher,
};

/// The longest manifest, index and list of properties that is read.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// Where libraries are.
const LIBRARY_FOLDERS: [&str; 3] = ["BOOT-INF/lib/", "WEB-INF/lib/", "WEB-INF/lib-provided/"];
/// What Spring Boot itself puts where, when nobody says otherwise.
const DEPENDENCIES: &str = "dependencies";
const SNAPSHOTS: &str = "snapshot-dependencies";

/// An executable jar or war of Spring Boot's.
#[derive(Debug)]
pub struct Jar {
    zip: Zip,
    /// The class that the manifest has Java start.
    main_class: String,
    is_indexed: bool,
    layers: Vec<IndexedLayer>,
}

/// What is to be known of a jar's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JarReport {
    /// Whether it has an index. Without one, layers are those that Spring Boot makes by default.
    pub is_indexed: bool,
    /// In the order of the index.
    pub layers: Vec<JarLayer>,
    /// Bytes that an image's layer with the whole jar takes: what every change ships.
    pub whole_bytes: u64,
    /// Entries that belong to no layer.
    pub in_no_layer: Vec<String>,
    /// Entries that belong to several.
    pub in_several_layers: Vec<String>,
    /// Paths of the index that name nothing.
    pub missing: Vec<String>,
    /// Snapshot libraries in the layer of those that do not change.
    pub snapshots_in_dependencies: Vec<String>,
    /// Libraries of the application's own packages in that layer: they change with it.
    pub own_modules_in_dependencies: Vec<String>,
    /// How many different times entries have. Tools that unpack the jar keep them, and then unchanged layers differ from build
    /// to build; layers built by headstart do not.
    pub entry_times: usize,
    /// The libraries, sorted by path.
    pub libraries: Vec<Library>,
}

/// A layer of a jar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JarLayer {
    /// Its name in the index.
    pub name: String,
    /// How many files it has.
    pub files: u64,
    /// Bytes they take in the jar.
    pub stored_bytes: u64,
    /// Bytes that an image's layer of them takes.
    pub layer_bytes: u64,
}

/// A library in a jar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its file name without version and `.jar`.
    pub name: String,
    /// The rest of the file name; empty where there is none.
    pub version: String,
    /// Digest of its bytes.
    pub content: ContentId,
    /// Their number.
    pub size_bytes: u64,
}

impl Jar {
    /// Reads what the jar says of itself.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let zip = Zip::open(path)?;
        let name = path.display().to_string();
        let manifest = zip.read_entry("META-INF/MANIFEST.MF", MAX_TEXT_BYTES)?;
        let manifest = manifest.map_or_else(BTreeMap::new, |bytes| {
            parse_manifest(&String::from_utf8_lossy(&bytes))
        });
        let is_boot =
            manifest.contains_key("Spring-Boot-Version") || manifest.contains_key("Spring-Boot-Classes");
        let Some(main_class) = manifest.get("Main-Class").filter(|_| is_boot) else {
            return Err(ImageError::unsupported(
                name,
                "it is no executable jar of Spring Boot",
            ));
        };
        let index = match manifest.get("Spring-Boot-Layers-Index") {
            None => None,
            Some(path) => zip.read_entry(path, MAX_TEXT_BYTES)?,
        };
        let layers = match &index {
            None => default_layers(&zip),
            Some(bytes) => index::parse(&String::from_utf8_lossy(bytes))
                .map_err(|error| ImageError::corrupt(format!("the layer index of {name}"), error))?,
        };
        Ok(Jar {
            main_class: main_class.clone(),
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
        let layers = self.files().into_iter();
        layers
            .map(|(number, _)| self.name_of(number).to_owned())
            .collect()
    }

    fn name_of(&self, number: usize) -> &str {
        self.layers.get(number).map_or("unassigned", |layer| &layer.name)
    }

    /// Files by the number of their layer: the first that has them. Those in none have a number of their own.
    fn files(&self) -> BTreeMap<usize, Vec<&ZipEntry>> {
        let mut layers: BTreeMap<usize, Vec<&ZipEntry>> = BTreeMap::new();
        for entry in self.zip.entries.iter().filter(|entry| !entry.is_folder) {
            let layer = self.layers.iter().position(|layer| layer.has(&entry.path));
            layers
                .entry(layer.unwrap_or(self.layers.len()))
                .or_default()
                .push(entry);
        }
        layers
    }

    /// The files of each layer that has some, to be put into `folder` of an image.
    pub(crate) fn file_sets(&self, folder: &[u8]) -> Vec<(String, FileSet<ZipEntry>)> {
        let layers = self.files().into_iter().map(|(number, entries)| {
            let mut files = FileSet::default();
            for entry in entries {
                files.insert(join(folder, entry.path.as_bytes()), item(entry));
            }
            (self.name_of(number).to_owned(), files)
        });
        layers.collect()
    }

    pub(crate) fn open_entry(&self, entry: &ZipEntry) -> Result<Box<dyn io::Read>, ImageError> {
        self.zip.open_entry(entry)
    }

    /// Looks at every entry, and builds each layer to nowhere to learn its size.
    pub fn report(&self, style: FileStyle, options: BuildOptions<'_>) -> Result<JarReport, ImageError> {
        let files: Vec<_> = self.zip.entries.iter().filter(|entry| !entry.is_folder).collect();
        let layers_of = |entry: &ZipEntry| self.layers.iter().filter(|layer| layer.has(&entry.path)).count();
        let named = |is_meant: &dyn Fn(&ZipEntry) -> bool| -> Vec<String> {
            let meant = files.iter().filter(|entry| is_meant(entry));
            meant.map(|entry| entry.path.clone()).collect()
        };
        let paths = self.layers.iter().flat_map(|layer| &layer.paths);
        let missing = paths.filter(|path| !self.zip.entries.iter().any(|entry| covers(path, &entry.name())));
        let mut times: Vec<_> = files.iter().map(|entry| entry.mtime).collect();
        times.sort_unstable();
        times.dedup();
        let in_dependencies = |entry: &ZipEntry| {
            let mut layers = self.layers.iter();
            is_library(&entry.path)
                && layers.any(|layer| layer.name == DEPENDENCIES && layer.has(&entry.path))
        };
        let mut own_modules = Vec::new();
        if let Some(package) = self.own_package() {
            for entry in files.iter().filter(|entry| in_dependencies(entry)) {
                // A library that is compressed again, or damaged, hides its packages; it is no reason to give up.
                let nested = self.zip.open_nested(entry);
                if nested.is_ok_and(|nested| {
                    nested
                        .entries
                        .iter()
                        .any(|class| class.path.starts_with(&package))
                }) {
                    own_modules.push(entry.path.clone());
                }
            }
        }
        Ok(JarReport {
            is_indexed: self.is_indexed,
            layers: self.measure(style, options)?,
            whole_bytes: self.measure_whole(options)?,
            in_no_layer: named(&|entry| layers_of(entry) == 0),
            in_several_layers: named(&|entry| layers_of(entry) > 1),
            missing: missing.cloned().collect(),
            snapshots_in_dependencies: named(&|entry| in_dependencies(entry) && is_snapshot(&entry.path)),
            own_modules_in_dependencies: own_modules,
            entry_times: times.len(),
            libraries: self.libraries()?,
        })
    }

    fn measure(&self, style: FileStyle, options: BuildOptions<'_>) -> Result<Vec<JarLayer>, ImageError> {
        let nothing = merge(&[])?;
        let files = self.files().into_values();
        let layers = self.file_sets(b"application").into_iter().zip(files);
        layers
            .map(|((name, set), entries)| {
                let built = build_layer(options, io::sink(), |writer| {
                    set.write(writer, &nothing, style, |entry| self.open_entry(entry))
                })?;
                Ok(JarLayer {
                    name,
                    files: entries.len() as u64,
                    stored_bytes: entries.iter().map(|entry| entry.stored_bytes).sum(),
                    layer_bytes: built.compressed_bytes,
                })
            })
            .collect()
    }

    /// The jar as one file in one layer.
    fn measure_whole(&self, options: BuildOptions<'_>) -> Result<u64, ImageError> {
        let (size_bytes, body) = self.zip.whole();
        let entry = crate::tar::Entry {
            path: b"application.jar".to_vec(),
            kind: crate::tar::Kind::File {
                size_bytes,
                hole_bytes: 0,
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Vec::new(),
        };
        let built = build_layer(options, io::sink(), |writer| writer.add(&entry, body))?;
        Ok(built.compressed_bytes)
    }

    /// The package of the application's main class, as a folder: its first two parts.
    fn own_package(&self) -> Option<String> {
        let manifest = self
            .zip
            .read_entry("META-INF/MANIFEST.MF", MAX_TEXT_BYTES)
            .ok()??;
        let manifest = parse_manifest(&String::from_utf8_lossy(&manifest));
        let mut parts = manifest.get("Start-Class")?.split('.');
        let (first, second, _class) = (parts.next()?, parts.next()?, parts.next()?);
        Some(format!("{first}/{second}/"))
    }

    fn libraries(&self) -> Result<Vec<Library>, ImageError> {
        let mut entries: Vec<_> = self
            .zip
            .entries
            .iter()
            .filter(|entry| is_library(&entry.path))
            .collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        let libraries = entries.into_iter().map(|entry| {
            let mut body = self.zip.open_entry(entry)?;
            let (mut hasher, mut size_bytes) = (Hasher::new(), 0);
            let mut buffer = vec![0; 64 << 10];
            loop {
                let read = body.read(&mut buffer).map_err(|source| ImageError::Read {
                    what: entry.path.clone(),
                    source,
                })?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                size_bytes += read as u64;
            }
            let (name, version) = split_version(&entry.path);
            Ok(Library {
                name: name.to_owned(),
                version: version.to_owned(),
                content: hasher.finish(),
                size_bytes,
            })
        });
        libraries.collect()
    }
}

fn item(entry: &ZipEntry) -> Item<ZipEntry> {
    Item {
        kind: ItemKind::File {
            size_bytes: entry.size_bytes,
            is_executable: false,
            body: entry.clone(),
        },
        mtime: (entry.mtime, 0),
    }
}

/// What Spring Boot's own index says unless told otherwise.
fn default_layers(zip: &Zip) -> Vec<IndexedLayer> {
    let layer = |name: &str, is_meant: &dyn Fn(&str) -> bool| IndexedLayer {
        name: name.to_owned(),
        paths: zip
            .entries
            .iter()
            .filter(|entry| !entry.is_folder && is_meant(&entry.path))
            .map(|entry| entry.path.clone())
            .collect(),
    };
    let is_loader = |path: &str| path.starts_with("org/springframework/boot/loader/");
    vec![
        layer(DEPENDENCIES, &|path| is_library(path) && !is_snapshot(path)),
        layer("spring-boot-loader", &is_loader),
        layer(SNAPSHOTS, &|path| is_library(path) && is_snapshot(path)),
        layer("application", &|path| !is_library(path) && !is_loader(path)),
    ]
}

fn is_library(path: &str) -> bool {
    LIBRARY_FOLDERS.iter().any(|folder| path.starts_with(folder)) && path.ends_with(".jar")
}

fn is_snapshot(path: &str) -> bool {
    path.contains("-SNAPSHOT")
}

/// `BOOT-INF/lib/spring-core-6.1.2.jar` is `spring-core` of version `6.1.2`.
fn split_version(path: &str) -> (&str, &str) {
    let file = path.rsplit('/').next().unwrap_or(path);
    let file = file.strip_suffix(".jar").unwrap_or(file);
    let dash = file
        .match_indices('-')
        .find(|(at, _)| file[at + 1..].starts_with(|digit: char| digit.is_ascii_digit()));
    match dash {
        Some((at, _)) => (&file[..at], &file[at + 1..]),
        None => (file, ""),
    }
}

/// The main section of a manifest. A line that begins with a space goes on with the last.
fn parse_manifest(text: &str) -> BTreeMap<String, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            break;
        }
        match (line.strip_prefix(' '), pairs.last_mut()) {
            (Some(more), Some((_, value))) => value.push_str(more),
            _ => pairs.extend(
                line.split_once(": ")
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
        }
    }
    pairs.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, num::NonZero, sync::atomic::AtomicBool};

    use super::{
        testing::{Made, zip_of},
        *,
    };
    use crate::{Compression, build::Times};

    const MANIFEST: &str = "Manifest-Version: 1.0\r\nMain-Class: org.springframework.boot.loader.launch.JarLaunch\r\n er\r\n\
        Start-Class: com.acme.shop.Main\r\nSpring-Boot-Version: 3.3.0\r\n";

    fn report(entries: &[Made]) -> (Jar, JarReport) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&zip_of(entries)).unwrap();
        let jar = Jar::open(file.path()).unwrap();
        let style = FileStyle {
            uid: 0,
            gid: 0,
            times: Times::Fixed(0),
        };
        let options = BuildOptions {
            compression: Compression::Gzip,
            threads: NonZero::<usize>::MIN,
            interrupt: &AtomicBool::new(false),
        };
        let report = jar.report(style, options).unwrap();
        (jar, report)
    }

    fn library(package: &str) -> Vec<u8> {
        zip_of(&[Made::deflated(&format!("{package}/X.class"), b"class")])
    }

    #[test]
    fn an_index_is_held_against_the_jar() {
        let index = "- \"dependencies\":\n  - \"BOOT-INF/lib/\"\n  - \"BOOT-INF/lib/gone.jar\"\n- \"application\":\n  \
            - \"BOOT-INF/classes/\"\n  - \"BOOT-INF/lib/b-1-SNAPSHOT.jar\"\n  - \"META-INF/\"\n";
        let manifest = format!("{MANIFEST}Spring-Boot-Layers-Index: BOOT-INF/layers.idx\r\n");
        let (jar, report) = report(&[
            Made::deflated("META-INF/MANIFEST.MF", manifest.as_bytes()),
            Made::deflated("BOOT-INF/layers.idx", index.as_bytes()),
            Made::deflated("BOOT-INF/classes/com/acme/shop/Main.class", b"main"),
            Made::stored("BOOT-INF/lib/a-core-1.2.jar", &library("org/other")),
            Made::stored("BOOT-INF/lib/b-1-SNAPSHOT.jar", &library("org/b")),
            Made::stored("BOOT-INF/lib/shop-model-1.0.jar", &library("com/acme/model")),
        ]);
        assert_eq!(
            jar.main_class(),
            "org.springframework.boot.loader.launch.JarLauncher"
        );
        assert!(report.is_indexed);
        assert_eq!(jar.layer_names(), ["dependencies", "application", "unassigned"]);
        assert_eq!(report.in_no_layer, ["BOOT-INF/layers.idx"]);
        assert_eq!(report.in_several_layers, ["BOOT-INF/lib/b-1-SNAPSHOT.jar"]);
        assert_eq!(report.missing, ["BOOT-INF/lib/gone.jar"]);
        assert_eq!(
            report.snapshots_in_dependencies,
            ["BOOT-INF/lib/b-1-SNAPSHOT.jar"]
        );
        assert_eq!(
            report.own_modules_in_dependencies,
            ["BOOT-INF/lib/shop-model-1.0.jar"]
        );
        assert_eq!(report.entry_times, 1);
        let versions: Vec<_> = report
            .libraries
            .iter()
            .map(|library| (&*library.name, &*library.version))
            .collect();
        assert_eq!(
            versions,
            [("a-core", "1.2"), ("b", "1-SNAPSHOT"), ("shop-model", "1.0")]
        );
    }

    #[test]
    fn without_an_index_layers_are_those_of_spring_boot() {
        let (jar, report) = report(&[
            Made::deflated("META-INF/MANIFEST.MF", MANIFEST.as_bytes()),
            Made::deflated(
                "org/springframework/boot/loader/launch/JarLauncher.class",
                b"loader",
            ),
            Made::stored("BOOT-INF/lib/a-1.2.jar", &library("org/other")),
            Made::stored("BOOT-INF/lib/b-1-SNAPSHOT.jar", &library("org/b")),
        ]);
        assert!(!report.is_indexed && report.in_no_layer.is_empty());
        let names = [
            "dependencies",
            "spring-boot-loader",
            "snapshot-dependencies",
            "application",
        ];
        assert_eq!(jar.layer_names(), names);
        assert!(
            report
                .layers
                .iter()
                .all(|layer| layer.layer_bytes > 0 && layer.files == 1)
        );
    }
}
