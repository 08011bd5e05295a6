//! The layers that Spring Boot itself makes when nobody says otherwise.

use super::{
    index::IndexedLayer,
    library::{is_library, is_snapshot},
    zip::Zip,
};

/// Libraries that do not change.
pub(super) const DEPENDENCIES: &str = "dependencies";
/// The application's own classes, and whatever belongs nowhere else.
pub(super) const APPLICATION: &str = "application";
/// Libraries that change under one version.
const SNAPSHOTS: &str = "snapshot-dependencies";
/// What starts the jar.
const LOADER: &str = "spring-boot-loader";
const LOADER_FOLDER: &str = "org/springframework/boot/loader/";

/// What Spring Boot's own index would say of a jar that has none.
pub(super) fn default_layers(zip: &Zip) -> Vec<IndexedLayer> {
    let layers = [DEPENDENCIES, LOADER, SNAPSHOTS, APPLICATION];
    let layers = layers.map(|name| {
        let files = zip.files().filter(|entry| layer_of(&entry.path) == name);
        IndexedLayer::new(name, files.map(|entry| entry.path.clone()).collect())
    });
    layers.into()
}

fn layer_of(path: &str) -> &'static str {
    if path.starts_with(LOADER_FOLDER) {
        LOADER
    } else if !is_library(path) {
        APPLICATION
    } else if is_snapshot(path) {
        SNAPSHOTS
    } else {
        DEPENDENCIES
    }
}
