//! Spring Boot jars and wars: which of their entries change together, and what is wrong with the layers they claim.

mod index;
mod own;
mod proposal;
#[cfg(test)]
mod testing;
mod zip;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::Path,
};

use headstart_digest::Hasher;
use index::IndexedLayer;
use own::Application;
use zip::{Zip, ZipEntry};

use crate::{
    ContentId, ImageError,
    build::{BuildOptions, FileSet, FileStyle, Item, ItemKind, build_layer, join, merge},
};

/// The longest manifest, index and list of properties that is read.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// Where libraries are.
const LIBRARY_FOLDERS: [&str; 3] = ["BOOT-INF/lib/", "WEB-INF/lib/", "WEB-INF/lib-provided/"];
/// What Spring Boot itself puts where, when nobody says otherwise.
const DEPENDENCIES: &str = "dependencies";
const SNAPSHOTS: &str = "snapshot-dependencies";
const APPLICATION: &str = "application";
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
    /// Libraries in that layer that are built and released with the application.
    pub own_modules_in_dependencies: Vec<String>,
    /// Bytes that a change of code ships: the layers with the application's own classes.
    pub code_change_bytes: u64,
    /// The text of an index that a jar without one could have, to be put at [`JarReport::index_path`].
    pub proposed_index: Option<String>,
    /// Where the index is, or would be.
    pub index_path: &'static str,
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
            Some(path) => match zip.read_entry(path, MAX_TEXT_BYTES)? {
                Some(bytes) => Some(bytes),
                None => return Err(ImageError::missing(format!("the layer index {path}"), name)),
            },
        };
        let layers = match &index {
            None => default_layers(&zip),
            Some(bytes) => index::parse(&String::from_utf8_lossy(bytes))
                .map_err(|error| ImageError::corrupt(format!("the layer index of {name}"), error))?,
        };
        Ok(Jar {
            main_class: main_class.clone(),
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
        let mut names: Vec<_> = self.zip.entries.iter().map(ZipEntry::name).collect();
        names.sort_unstable();
        let is_missing = |path: &&String| {
            let next = names.get(names.partition_point(|name| name < *path));
            !next.is_some_and(|name| name == *path || path.ends_with('/') && name.starts_with(&***path))
        };
        let missing = self
            .layers
            .iter()
            .flat_map(|layer| &layer.paths)
            .filter(is_missing);
        let mut times: Vec<_> = files.iter().map(|entry| entry.mtime).collect();
        times.sort_unstable();
        times.dedup();
        let in_dependencies = |entry: &ZipEntry| {
            let mut layers = self.layers.iter();
            is_library(&entry.path)
                && layers.any(|layer| layer.name == DEPENDENCIES && layer.has(&entry.path))
        };
        let own: Vec<_> = files.iter().filter(|entry| self.owns(entry)).collect();
        let own_paths: HashSet<_> = own.iter().map(|entry| &*entry.path).collect();
        let index_path = self.index_path();
        let proposed_index = match self.is_indexed {
            true => None,
            false => index::write(&proposal::propose(&self.layers, &own_paths, index_path)),
        };
        let own_modules = own.iter().filter(|entry| in_dependencies(entry));
        let layers = self.measure(style, options)?;
        Ok(JarReport {
            is_indexed: self.is_indexed,
            code_change_bytes: self.code_change_bytes(&layers),
            proposed_index,
            index_path,
            layers,
            whole_bytes: self.measure_whole(options)?,
            in_no_layer: named(&|entry| layers_of(entry) == 0),
            in_several_layers: named(&|entry| layers_of(entry) > 1),
            missing: missing.cloned().collect(),
            snapshots_in_dependencies: named(&|entry| in_dependencies(entry) && is_snapshot(&entry.path)),
            own_modules_in_dependencies: own_modules.map(|entry| entry.path.clone()).collect(),
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

    /// Whether an entry is a library of the application's own. One that is compressed again, or damaged, hides what it holds; it
    /// is no reason to give up.
    fn owns(&self, entry: &ZipEntry) -> bool {
        let Some(application) = self.application.as_ref().filter(|_| is_library(&entry.path)) else {
            return false;
        };
        let nested = self.zip.open_nested(entry);
        nested.is_ok_and(|nested| {
            let entries = nested.entries.iter().map(|class| &*class.path);
            application.owns(&entry.path, entries)
        })
    }

    /// What the layers take that have compiled classes of the application; without any, those that have what lies beside such.
    fn code_change_bytes(&self, layers: &[JarLayer]) -> u64 {
        let is_own = |entry: &&ZipEntry| CLASS_FOLDERS.iter().any(|folder| entry.path.starts_with(folder));
        let bytes = |is_code: &dyn Fn(&&ZipEntry) -> bool| -> Option<u64> {
            let layers = self.files().into_values().zip(layers);
            let layers = layers.filter(|(entries, _)| entries.iter().any(is_code));
            layers
                .map(|(_, layer)| layer.layer_bytes)
                .reduce(u64::saturating_add)
        };
        bytes(&|entry| is_own(entry) && entry.path.ends_with(".class"))
            .or_else(|| bytes(&|entry| is_own(entry)))
            .unwrap_or_default()
    }

    fn index_path(&self) -> &'static str {
        let is_war = self
            .zip
            .entries
            .iter()
            .any(|entry| entry.path.starts_with("WEB-INF/"));
        match is_war {
            true => "WEB-INF/layers.idx",
            false => "BOOT-INF/layers.idx",
        }
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
                content: hasher.finish().into(),
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
    let layer = |name: &str, is_meant: &dyn Fn(&str) -> bool| {
        let entries = zip.entries.iter();
        let paths = entries
            .filter(|entry| !entry.is_folder && is_meant(&entry.path))
            .map(|entry| entry.path.clone());
        IndexedLayer::new(name, paths.collect())
    };
    let is_loader = |path: &str| path.starts_with("org/springframework/boot/loader/");
    vec![
        layer(DEPENDENCIES, &|path| is_library(path) && !is_snapshot(path)),
        layer("spring-boot-loader", &is_loader),
        layer(SNAPSHOTS, &|path| is_library(path) && is_snapshot(path)),
        layer(APPLICATION, &|path| !is_library(path) && !is_loader(path)),
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
            Made::stored("BOOT-INF/lib/shop-model-1.0.jar", &library("com/acme/shop/model")),
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
    fn an_index_that_is_named_and_not_there_is_an_error() {
        let manifest = format!("{MANIFEST}Spring-Boot-Layers-Index: BOOT-INF/layers.idx\r\n");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&zip_of(&[Made::deflated(
            "META-INF/MANIFEST.MF",
            manifest.as_bytes(),
        )]))
        .unwrap();
        let error = Jar::open(file.path()).unwrap_err();
        assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_change_of_code_ships_the_layer_with_the_classes_whatever_its_name() {
        let index = "- \"libs\":\n  - \"BOOT-INF/lib/\"\n- \"pages\":\n  - \"BOOT-INF/classes/static/\"\n\
            - \"code\":\n  - \"BOOT-INF/classes/com/\"\n- \"rest\":\n  - \"META-INF/\"\n  - \"BOOT-INF/layers.idx\"\n";
        let manifest = format!("{MANIFEST}Spring-Boot-Layers-Index: BOOT-INF/layers.idx\r\n");
        let (_, report) = report(&[
            Made::deflated("META-INF/MANIFEST.MF", manifest.as_bytes()),
            Made::deflated("BOOT-INF/layers.idx", index.as_bytes()),
            Made::deflated("BOOT-INF/classes/static/page.html", b"page"),
            Made::deflated("BOOT-INF/classes/com/acme/shop/Main.class", b"main"),
            Made::stored("BOOT-INF/lib/a-1.2.jar", &library("org/other")),
        ]);
        assert_eq!(report.layers[2].name, "code");
        assert_eq!(report.code_change_bytes, report.layers[2].layer_bytes);
        assert_eq!(report.proposed_index, None);
    }

    #[test]
    fn an_index_is_proposed_that_has_every_entry_once() {
        let entries = [
            Made::deflated(
                "META-INF/MANIFEST.MF",
                format!("{MANIFEST}Implementation-Version: 1.4\r\n").as_bytes(),
            ),
            Made::deflated("org/springframework/boot/loader/launch/JarLauncher.class", b"x"),
            Made::deflated("BOOT-INF/classes/com/acme/shop/Main.class", b"main"),
            Made::deflated("BOOT-INF/classes/static/page.html", b"page"),
            Made::deflated("BOOT-INF/classpath.idx", b""),
            Made::stored("BOOT-INF/lib/a-1.2.jar", &library("org/other")),
            Made::stored("BOOT-INF/lib/b-1-SNAPSHOT.jar", &library("org/b")),
            Made::stored("BOOT-INF/lib/shop-model-1.4.jar", &library("com/acme/model")),
        ];
        let (jar, report) = report(&entries);
        let text = report.proposed_index.unwrap();
        let expected = "- \"dependencies\":\n  - \"BOOT-INF/lib/a-1.2.jar\"\n\
            - \"spring-boot-loader\":\n  - \"org/\"\n\
            - \"snapshot-dependencies\":\n  - \"BOOT-INF/lib/b-1-SNAPSHOT.jar\"\n\
            - \"own-modules\":\n  - \"BOOT-INF/lib/shop-model-1.4.jar\"\n\
            - \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"BOOT-INF/classpath.idx\"\n\
            \x20 - \"BOOT-INF/layers.idx\"\n  - \"META-INF/\"\n";
        assert_eq!(text, expected);
        let layers = index::parse(&text).unwrap();
        for entry in &jar.zip.entries {
            let count = layers.iter().filter(|layer| layer.has(&entry.path)).count();
            assert_eq!(count, 1, "{}", entry.path);
        }
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
