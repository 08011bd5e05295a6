//! What is to be known of a jar's layers: what they weigh, and what is wrong with them.

use std::{collections::HashSet, io};

use super::{
    CLASS_FOLDERS, Jar, LayerFiles,
    defaults::DEPENDENCIES,
    index,
    library::{Library, is_library, is_snapshot},
    proposal,
    zip::ZipEntry,
};
use crate::{
    ImageError,
    build::{BuildOptions, FileStyle, build_layer, merge},
    tar,
};

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
    /// Bytes that an image's layer of them takes; 0 without files, since then images have none.
    pub layer_bytes: u64,
}

/// A file of the jar, and where it belongs.
struct PlacedFile<'j> {
    entry: &'j ZipEntry,
    /// How many layers have it.
    layers: usize,
    is_in_dependencies: bool,
    /// Whether it is a library of the application's own.
    is_own: bool,
}

impl Jar {
    /// Looks at every entry, and builds each layer to nowhere to learn its size.
    pub fn report(&self, style: FileStyle, options: BuildOptions<'_>) -> Result<JarReport, ImageError> {
        let files: Vec<_> = self.zip.files().map(|entry| self.place(entry)).collect();
        let named = |is_meant: &dyn Fn(&PlacedFile<'_>) -> bool| -> Vec<String> {
            let meant = files.iter().filter(|file| is_meant(file));
            meant.map(|file| file.entry.path.clone()).collect()
        };
        let times: HashSet<_> = files.iter().map(|file| file.entry.mtime).collect();
        let index_path = self.index_path();
        let proposed_index = match self.is_indexed {
            true => None,
            false => {
                let own = files.iter().filter(|file| file.is_own);
                let own = own.map(|file| &*file.entry.path).collect();
                index::write(&proposal::propose(&self.layers, &own, index_path))
            }
        };
        let layer_files = self.layer_files();
        let layers = layer_files
            .iter()
            .map(|files| self.measure(files, style, options));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        Ok(JarReport {
            is_indexed: self.is_indexed,
            code_change_bytes: code_change_bytes(&layer_files, &layers),
            layers,
            whole_bytes: self.measure_whole(options)?,
            in_no_layer: named(&|file| file.layers == 0),
            in_several_layers: named(&|file| file.layers > 1),
            missing: self.missing(),
            snapshots_in_dependencies: named(&|file| {
                file.is_in_dependencies && is_snapshot(&file.entry.path)
            }),
            own_modules_in_dependencies: named(&|file| file.is_in_dependencies && file.is_own),
            proposed_index,
            index_path,
            entry_times: times.len(),
            libraries: Library::all_of(&self.zip, options.interrupt)?,
        })
    }

    fn place<'j>(&self, entry: &'j ZipEntry) -> PlacedFile<'j> {
        let layers = self.layers.iter().filter(|layer| layer.has(&entry.path));
        let names: Vec<_> = layers.map(|layer| &*layer.name).collect();
        PlacedFile {
            entry,
            layers: names.len(),
            is_in_dependencies: is_library(&entry.path) && names.contains(&DEPENDENCIES),
            is_own: self.owns(entry),
        }
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

    /// Paths of the index that name nothing.
    fn missing(&self) -> Vec<String> {
        let mut names: Vec<_> = self.zip.entries.iter().map(ZipEntry::name).collect();
        names.sort_unstable();
        let is_missing = |path: &&String| {
            let next = names.get(names.partition_point(|name| name < *path));
            !next.is_some_and(|name| name == *path || path.ends_with('/') && name.starts_with(&***path))
        };
        let paths = self.layers.iter().flat_map(|layer| &layer.paths);
        paths.filter(is_missing).cloned().collect()
    }

    fn measure(
        &self,
        layer: &LayerFiles<'_>,
        style: FileStyle,
        options: BuildOptions<'_>,
    ) -> Result<JarLayer, ImageError> {
        let nothing = merge(&[])?;
        let build = || {
            build_layer(options, io::sink(), |writer| {
                let set = layer.file_set(b"application");
                set.write(writer, &nothing, style, |entry| self.open_entry(entry))
            })
        };
        let layer_bytes = match layer.files.is_empty() {
            true => 0,
            false => build()?.compressed_bytes,
        };
        Ok(JarLayer {
            name: layer.name.to_owned(),
            files: layer.files.len() as u64,
            stored_bytes: layer.files.iter().map(|entry| entry.stored_bytes).sum(),
            layer_bytes,
        })
    }

    /// The jar as one file in one layer.
    fn measure_whole(&self, options: BuildOptions<'_>) -> Result<u64, ImageError> {
        let (size_bytes, body) = self.zip.whole();
        let entry = tar::Entry::new(*b"application.jar", tar::Kind::file(size_bytes), 0o644);
        let built = build_layer(options, io::sink(), |writer| writer.add(&entry, body))?;
        Ok(built.compressed_bytes)
    }

    fn index_path(&self) -> &'static str {
        let mut entries = self.zip.entries.iter();
        match entries.any(|entry| entry.path.starts_with("WEB-INF/")) {
            true => "WEB-INF/layers.idx",
            false => "BOOT-INF/layers.idx",
        }
    }
}

/// What the layers take that have compiled classes of the application; without any, those that have what lies beside such.
fn code_change_bytes(files: &[LayerFiles<'_>], layers: &[JarLayer]) -> u64 {
    let is_own = |entry: &&ZipEntry| CLASS_FOLDERS.iter().any(|folder| entry.path.starts_with(folder));
    let bytes = |is_code: &dyn Fn(&&ZipEntry) -> bool| -> Option<u64> {
        let layers = files.iter().zip(layers);
        let layers = layers.filter(|(layer, _)| layer.files.iter().any(is_code));
        layers
            .map(|(_, layer)| layer.layer_bytes)
            .reduce(u64::saturating_add)
    };
    bytes(&|entry| is_own(entry) && entry.path.ends_with(".class"))
        .or_else(|| bytes(&|entry| is_own(entry)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::jar::testing::{MANIFEST, Made, library, report};

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
    fn a_layer_without_files_is_told_and_not_built() {
        let index = "- \"dependencies\":\n  - \"BOOT-INF/lib/\"\n- \"snapshot-dependencies\":\n\
            - \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"BOOT-INF/layers.idx\"\n  - \"META-INF/\"\n";
        let manifest = format!("{MANIFEST}Spring-Boot-Layers-Index: BOOT-INF/layers.idx\r\n");
        let (jar, report) = report(&[
            Made::deflated("META-INF/MANIFEST.MF", manifest.as_bytes()),
            Made::deflated("BOOT-INF/layers.idx", index.as_bytes()),
            Made::deflated("BOOT-INF/classes/com/acme/shop/Main.class", b"main"),
            Made::stored("BOOT-INF/lib/a-1.2.jar", &library("org/other")),
        ]);
        let names: Vec<_> = report.layers.iter().map(|layer| &*layer.name).collect();
        assert_eq!(names, ["dependencies", "snapshot-dependencies", "application"]);
        let empty = &report.layers[1];
        assert_eq!((empty.files, empty.stored_bytes, empty.layer_bytes), (0, 0, 0));
        assert_eq!(report.code_change_bytes, report.layers[2].layer_bytes);
        assert_eq!(jar.layer_names(), ["dependencies", "application"]);
    }

    #[test]
    fn the_version_of_a_war_is_that_of_its_build_too() {
        let (_, report) = report(&[
            Made::deflated("META-INF/MANIFEST.MF", MANIFEST.as_bytes()),
            Made::deflated(
                "WEB-INF/classes/META-INF/build-info.properties",
                b"build.name=shop\nbuild.version=1.4\n",
            ),
            Made::stored("WEB-INF/lib/money-1.4.jar", &library("com/acme/money")),
            Made::stored(
                "WEB-INF/lib/shop-client-1.3.jar",
                &library("com/acme/shop/client"),
            ),
        ]);
        assert_eq!(report.own_modules_in_dependencies, ["WEB-INF/lib/money-1.4.jar"]);
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
