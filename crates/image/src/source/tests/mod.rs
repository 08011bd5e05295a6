//! Images of the disk, made by hand and read as everybody does.

mod archives;
mod cached;
mod daemon;
mod fleet;
mod foreign;
mod hostile;
mod layouts;
mod platforms;

use std::{
    collections::HashMap,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicBool},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    LayerCache, LoadedImage, NoCache, ReadOptions, Silent,
    manifest::media_type,
    metrics::{FleetMetrics, ImageMetrics, pull_bytes, pulls, rollout},
    read_images,
    testing::{TarMaker, access, gzip},
};

/// An OCI layout in the making.
struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        Layout(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = BlobDigest::of(bytes);
        fs::write(self.path().join("blobs/sha256").join(digest.to_hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn json(&self, value: &Value, media_type: &str) -> Value {
        self.blob(&serde_json::to_vec(value).unwrap(), media_type)
    }

    /// An image of layers, each a tar and its blob.
    fn image(&self, layers: &[(Vec<u8>, Value)]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|(tar, _)| DiffId::of(tar)).collect();
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = self.json(&config, "application/vnd.oci.image.config.v1+json");
        let layers: Vec<_> = layers.iter().map(|(_, blob)| blob).collect();
        self.json(
            &json!({ "schemaVersion": 2, "config": config, "layers": layers }),
            media_type::OCI_MANIFEST,
        )
    }

    fn index(&self, entries: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        fs::write(
            self.path().join("index.json"),
            serde_json::to_vec(&index).unwrap(),
        )
        .unwrap();
    }

    fn name(&self) -> String {
        format!("oci:{}", self.path().display())
    }
}

fn tagged(mut entry: Value, tag: &str) -> Value {
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    entry
}

fn on(mut entry: Value, platform: &str) -> Value {
    let (os, architecture) = platform.split_once('/').unwrap();
    entry["platform"] = json!({ "os": os, "architecture": architecture });
    entry
}

fn plain(layout: &Layout, tar: TarMaker) -> (Vec<u8>, Value) {
    let tar = tar.finish();
    let blob = layout.blob(&tar, media_type::OCI_LAYER);
    (tar, blob)
}

fn read_with(names: &[String], cache: &dyn LayerCache) -> Result<Vec<LoadedImage>, ImageError> {
    let access = access();
    let sources = names
        .iter()
        .map(|name| open_source(&name.parse().unwrap(), &access))
        .collect::<Result<Vec<_>, _>>()?;
    let platform = "linux/amd64".parse().unwrap();
    let options = ReadOptions {
        platform: Some(&platform),
        ..options(cache)
    };
    read_images(&sources, options)
}

fn options(cache: &dyn LayerCache) -> ReadOptions<'_> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    ReadOptions {
        platform: None,
        parallel: NonZero::new(2).unwrap(),
        cache,
        progress: &Silent,
        interrupt: &NEVER,
    }
}

fn read(names: &[String]) -> Result<Vec<LoadedImage>, ImageError> {
    read_with(names, &NoCache)
}

/// A tar of a folder's files, at these names.
fn archive(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let tar = files
        .iter()
        .fold(TarMaker::new(), |tar, (name, bytes)| tar.file(name, bytes));
    keep(&tar.finish())
}

fn keep(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.tar");
    fs::write(&file, bytes).unwrap();
    (folder, file)
}

/// A cache in memory.
#[derive(Default)]
struct Memory(Mutex<HashMap<String, Vec<u8>>>);

impl LayerCache for Memory {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }
}
