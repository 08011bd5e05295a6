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
    LayerCache, LoadedImage, NoCache, NoCredentials, ReadOptions, RegistryOptions, Silent,
    manifest::media_type,
    metrics::{FleetMetrics, ImageMetrics, pull_bytes, pulls, rollout},
    read_images,
    testing::{TarMaker, gzip},
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

fn access() -> Access {
    let options = RegistryOptions {
        credentials: Box::new(NoCredentials),
        plain_http: Vec::new(),
        interrupt: Arc::default(),
    };
    Access {
        registries: Arc::new(Registries::new(options).unwrap()),
        docker_socket: PathBuf::from("/nonexistent/docker.sock"),
        interrupt: Arc::default(),
    }
}

fn read_with(names: &[String], cache: &dyn LayerCache) -> Result<Vec<LoadedImage>, ImageError> {
    let access = access();
    let sources = names
        .iter()
        .map(|name| open_source(&name.parse().unwrap(), &access))
        .collect::<Result<Vec<_>, _>>()?;
    let options = ReadOptions {
        platform: &"linux/amd64".parse().unwrap(),
        parallel: NonZero::new(2).unwrap(),
        cache,
        progress: &Silent,
        interrupt: &AtomicBool::new(false),
    };
    read_images(&sources, options)
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

#[test]
fn an_image_is_found_by_its_tag_or_alone() {
    let layout = Layout::new();
    let one = layout.image(&[plain(&layout, TarMaker::new().file("a", b"1"))]);
    let two = layout.image(&[plain(&layout, TarMaker::new().file("a", b"22"))]);
    layout.index(&[tagged(one.clone(), "one"), tagged(two, "two")]);
    let found = read(&[format!("{}:two", layout.name())]).unwrap();
    assert_eq!(found[0].layers[0].layer.as_ref().unwrap().file_bytes(), 2);
    let error = read(&[layout.name()]).unwrap_err().to_string();
    assert!(error.contains("one, two"), "{error}");
    assert!(matches!(
        read(&[format!("{}:no", layout.name())]),
        Err(ImageError::Missing { .. })
    ));
    layout.index(&[one]);
    assert!(read(&[layout.name()]).is_ok());
}

#[test]
fn an_index_of_an_index_leads_to_the_platform_and_counts_when_pulled() {
    let layout = Layout::new();
    let amd = layout.image(&[plain(&layout, TarMaker::new().file("amd", b"1"))]);
    let arm = layout.image(&[plain(&layout, TarMaker::new().file("arm", b"1"))]);
    let attestation = on(layout.image(&[]), "unknown/unknown");
    let index = json!({ "schemaVersion": 2, "manifests": [attestation, on(arm, "linux/arm64"), on(amd, "linux/amd64")] });
    let index_bytes = serde_json::to_vec(&index).unwrap().len() as u64;
    layout.index(&[layout.json(&index, media_type::OCI_INDEX)]);
    let image = read(&[layout.name()]).unwrap().remove(0);
    assert_eq!(image.layers[0].layer.as_ref().unwrap().entry(0).path, b"amd");
    let alone = Layout::new();
    alone.index(&[alone.image(&[plain(&alone, TarMaker::new().file("amd", b"1"))])]);
    let alone = read(&[alone.name()]).unwrap().remove(0);
    assert_eq!(
        image.image.document_bytes,
        alone.image.document_bytes + index_bytes
    );
}

#[test]
fn an_image_without_layers_is_an_image() {
    let layout = Layout::new();
    layout.index(&[layout.image(&[])]);
    let images = read(&[layout.name()]).unwrap();
    let metrics = ImageMetrics::of(&images[0]).unwrap();
    assert_eq!(
        (
            metrics.efficiency(),
            metrics.dive.efficiency,
            metrics.wasted_bytes()
        ),
        (1.0, 1.0, 0)
    );
    assert_eq!(pull_bytes(&images[0], []), images[0].image.document_bytes);
}

#[test]
fn foreign_layers_are_counted_and_not_failed_and_others_that_lack_are() {
    let layout = Layout::new();
    let tar = TarMaker::new().file("a", b"1").finish();
    let mut blob = layout.blob(&tar, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let path = layout
        .path()
        .join("blobs/sha256")
        .join(BlobDigest::of(&tar).to_hex());
    layout.index(&[layout.image(&[(tar.clone(), blob.clone())])]);
    assert_eq!(
        ImageMetrics::of(&read(&[layout.name()]).unwrap()[0])
            .unwrap()
            .foreign_layers,
        0,
        "its bytes are here"
    );
    fs::remove_file(path).unwrap();
    let metrics = ImageMetrics::of(&read(&[layout.name()]).unwrap()[0]).unwrap();
    assert_eq!(
        (metrics.foreign_layers, metrics.foreign_bytes),
        (1, tar.len() as u64)
    );
    assert_eq!(metrics.compressed_bytes, tar.len() as u64);
    blob["mediaType"] = json!(media_type::OCI_LAYER);
    layout.index(&[layout.image(&[(tar, blob)])]);
    assert!(matches!(read(&[layout.name()]), Err(ImageError::Missing { .. })));
}

#[test]
fn digests_that_lie_are_found_out_with_a_cache_as_without() {
    let layout = Layout::new();
    let (tar, blob) = plain(&layout, TarMaker::new().file("a", b"1"));
    let other = TarMaker::new().file("b", b"1").finish();
    let cache = Memory::default();
    // The config claims another tar.
    layout.index(&[layout.image(&[(other.clone(), blob.clone())])]);
    assert!(matches!(
        read_with(&[layout.name()], &cache),
        Err(ImageError::WrongDigest { .. })
    ));
    assert_eq!(
        cache.0.lock().unwrap().len(),
        0,
        "nothing is kept of what is wrong"
    );
    layout.index(&[layout.image(&[(tar.clone(), blob.clone())])]);
    read_with(&[layout.name()], &cache).unwrap();
    layout.index(&[layout.image(&[(other.clone(), blob.clone())])]);
    assert!(matches!(
        read_with(&[layout.name()], &cache),
        Err(ImageError::WrongDigest { .. })
    ));
    // The blob is another.
    layout.index(&[layout.image(&[(tar.clone(), blob)])]);
    fs::write(
        layout
            .path()
            .join("blobs/sha256")
            .join(BlobDigest::of(&tar).to_hex()),
        other,
    )
    .unwrap();
    assert!(matches!(
        read(&[layout.name()]),
        Err(ImageError::WrongDigest { .. })
    ));
    assert!(
        read_with(&[layout.name()], &cache).is_ok(),
        "it was compared before"
    );
}

#[test]
fn documents_that_are_none_of_an_image_are_refused() {
    let layout = Layout::new();
    let (tar, mut blob) = plain(&layout, TarMaker::new().file("a", b"1"));
    blob["mediaType"] = json!("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    layout.index(&[layout.image(&[(tar.clone(), blob.clone())])]);
    assert!(matches!(
        read(&[layout.name()]),
        Err(ImageError::Unsupported { .. })
    ));
    let config = layout.json(
        &json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [] } }),
        "",
    );
    blob["mediaType"] = json!(media_type::OCI_LAYER);
    layout.index(&[layout.json(
        &json!({ "config": config, "layers": [blob] }),
        media_type::OCI_MANIFEST,
    )]);
    assert!(
        matches!(read(&[layout.name()]), Err(ImageError::Corrupt { .. })),
        "more layers than diff IDs"
    );
    let this = layout.json(
        &json!({ "schemaVersion": 1, "fsLayers": [] }),
        media_type::DOCKER_MANIFEST,
    );
    layout.index(&[this]);
    assert!(matches!(
        read(&[layout.name()]),
        Err(ImageError::Unsupported { .. })
    ));
    fs::write(layout.path().join("index.json"), vec![b' '; 5 << 20]).unwrap();
    assert!(matches!(read(&[layout.name()]), Err(ImageError::TooLarge { .. })));
}

#[test]
fn docker_archives_are_read_in_all_their_shapes() {
    let tars = [
        TarMaker::new().file("a", b"1").finish(),
        TarMaker::new().file("b", b"22").finish(),
    ];
    let config = |order: &[usize]| {
        let ids: Vec<_> = order.iter().map(|&at| DiffId::of(&tars[at])).collect();
        serde_json::to_vec(&json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": ids } }))
            .unwrap()
    };
    let manifest = |config: &str, layers: &[&str]| {
        serde_json::to_vec(&json!([{ "Config": config, "RepoTags": ["app:v1"], "Layers": layers }])).unwrap()
    };
    let plain = config(&[0, 1]);
    let repeated = config(&[0, 1, 0]);
    // A folder per layer, a repeated one as a link; the manifest first.
    let legacy = TarMaker::new()
        .file(
            "manifest.json",
            &manifest("c.json", &["l1/layer.tar", "l2/layer.tar", "l3/layer.tar"]),
        )
        .folder("l1/")
        .file("l1/VERSION", b"1.0")
        .file("l1/layer.tar", &tars[0])
        .file("l2/layer.tar", &tars[1])
        .symlink("l3/layer.tar", "../l1/layer.tar")
        .file("c.json", &repeated)
        .finish();
    let flat = TarMaker::new()
        .file("l1.tar", &tars[0])
        .file("l2.tar", &tars[1])
        .file("c.json", &plain)
        .file("manifest.json", &manifest("c.json", &["l1.tar", "l2.tar"]))
        .finish();
    // An OCI layout with a manifest.json, and layers that are compressed.
    let modern = TarMaker::new()
        .file("blobs/sha256/1", &gzip(&tars[0]))
        .file("blobs/sha256/2", &zstd::bulk::compress(&tars[1], 1).unwrap())
        .file("blobs/sha256/c", &plain)
        .file("index.json", b"{}")
        .file(
            "manifest.json",
            &manifest("blobs/sha256/c", &["blobs/sha256/1", "blobs/sha256/2"]),
        )
        .finish();
    for (name, bytes, layers) in [
        ("legacy", legacy, 3),
        ("flat", flat.clone(), 2),
        ("modern", modern, 2),
        ("compressed as a whole", gzip(&flat), 2),
    ] {
        let (_folder, file) = keep(&bytes);
        for tag in ["", ":app:v1", ":v1", ":docker.io/library/app:v1"] {
            let image = read(&[format!("docker-archive:{}{tag}", file.display())])
                .unwrap_or_else(|error| panic!("{name}{tag}: {error}"))
                .remove(0);
            assert_eq!(image.layers.len(), layers, "{name}");
            assert_eq!(image.layers[1].layer.as_ref().unwrap().file_bytes(), 2);
            let types: Vec<_> = image.layers[..2].iter().map(|layer| &*layer.media_type).collect();
            match name {
                "modern" => assert_eq!(types, [media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD]),
                _ => assert_eq!(types, [media_type::OCI_LAYER; 2]),
            }
        }
        assert!(read(&[format!("docker-archive:{}:v2", file.display())]).is_err());
    }
}

#[test]
fn archives_that_play_tricks_are_refused() {
    let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#;
    let config = br#"{"rootfs":{"diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#;
    let circle = TarMaker::new()
        .file("manifest.json", manifest)
        .file("c.json", config)
        .symlink("l.tar", "m.tar")
        .symlink("m.tar", "l.tar")
        .finish();
    let escape = TarMaker::new()
        .file("manifest.json", manifest)
        .file("c.json", config)
        .symlink("l.tar", "../../etc/passwd")
        .finish();
    let mut cut = TarMaker::new()
        .file("manifest.json", manifest)
        .file("c.json", config)
        .file("l.tar", &[0; 4096])
        .finish();
    cut.truncate(cut.len() - 3000);
    for (name, bytes) in [
        ("circle", circle),
        ("escape", escape),
        ("cut", cut),
        ("no tar", vec![1; 5000]),
        ("empty", Vec::new()),
    ] {
        let (_folder, file) = keep(&bytes);
        let error = read(&[format!("docker-archive:{}", file.display())]).unwrap_err();
        assert!(!matches!(error, ImageError::Io(_)), "{name}: {error}");
    }
}

#[test]
fn a_compressed_archive_is_expanded_within_limits_and_until_stopped() {
    // Frames of some KB that unpack to 100 MB of zeros each.
    let zeros = zstd::bulk::compress(&vec![0; 100 << 20], 1).unwrap();
    let (_folder, file) = keep(&zeros.repeat(12));
    let reference = format!("oci-archive:{}", file.display()).parse().unwrap();
    let error = open_source(&reference, &access()).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    let stopped = Access {
        interrupt: Arc::new(AtomicBool::new(true)),
        ..access()
    };
    let error = open_source(&reference, &stopped).unwrap_err();
    assert!(matches!(error, ImageError::Interrupted), "{error}");
}

#[test]
fn an_oci_archive_is_a_layout_in_a_tar() {
    let layout = Layout::new();
    let (tar, blob) = plain(&layout, TarMaker::new().file("a", b"123"));
    layout.index(&[layout.image(&[(tar, blob)])]);
    let mut files = vec![(
        "./index.json".to_owned(),
        fs::read(layout.path().join("index.json")).unwrap(),
    )];
    for entry in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("./blobs/sha256/{}", entry.file_name().into_string().unwrap());
        files.push((name, fs::read(entry.path()).unwrap()));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    // Names in a tar's header end at 100 bytes; a digest fits.
    let (_folder, file) = archive(&files);
    let images = read(&[format!("oci-archive:{}", file.display()), layout.name()]).unwrap();
    assert_eq!(images[0].image.digest, images[1].image.digest);
    assert!(
        Arc::ptr_eq(&images[0].layers[0], &images[1].layers[0]),
        "a layer is read once"
    );
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

#[test]
fn what_was_read_once_is_not_read_again() {
    let layout = Layout::new();
    let tar = TarMaker::new().file("a", b"123").finish();
    let blob = layout.blob(&gzip(&tar), media_type::OCI_LAYER_GZIP);
    layout.index(&[layout.image(&[(tar.clone(), blob)])]);
    let cache = Memory::default();
    let first = read_with(&[layout.name()], &cache).unwrap().remove(0);
    fs::remove_file(
        layout
            .path()
            .join("blobs/sha256")
            .join(BlobDigest::of(&gzip(&tar)).to_hex()),
    )
    .unwrap();
    let again = read_with(&[layout.name()], &cache).unwrap().remove(0);
    assert_eq!(again.layers[0].layer, first.layers[0].layer);
    assert_eq!(again.layers[0].digest, first.layers[0].digest);
    // Damage costs a reading, which cannot be had here.
    for bytes in cache.0.lock().unwrap().values_mut() {
        bytes[10] ^= 1;
    }
    assert!(matches!(
        read_with(&[layout.name()], &cache),
        Err(ImageError::Missing { .. })
    ));
}

#[test]
fn layers_are_described_with_a_cache_as_without() {
    let tars = ["a", "b", "c"].map(|name| TarMaker::new().file(name, b"1").finish());
    let ids: Vec<_> = tars.iter().map(|tar| DiffId::of(tar)).collect();
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": ids } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["1", "2", "3"] }]);
    let (_folder, file) = archive(&[
        ("1", &tars[0]),
        ("2", &gzip(&tars[1])),
        ("3", &zstd::bulk::compress(&tars[2], 1).unwrap()),
        ("c.json", &serde_json::to_vec(&config).unwrap()),
        ("manifest.json", &serde_json::to_vec(&manifest).unwrap()),
    ]);
    let cache = Memory::default();
    let describe = || {
        let image = read_with(&[format!("docker-archive:{}", file.display())], &cache)
            .unwrap()
            .remove(0);
        let layers = image.layers.iter();
        let layers = layers.map(|layer| (layer.digest, layer.media_type.clone(), layer.compressed_bytes));
        layers.collect::<Vec<_>>()
    };
    let first = describe();
    assert_eq!(first[1].1, media_type::OCI_LAYER_GZIP);
    assert_eq!(first[2].1, media_type::OCI_LAYER_ZSTD);
    assert_eq!(describe(), first);
}

#[test]
fn a_length_that_is_wrong_is_found_out_with_a_cache_as_without() {
    let layout = Layout::new();
    let (tar, blob) = plain(&layout, TarMaker::new().file("a", b"1"));
    let mut wrong = blob.clone();
    wrong["size"] = json!(tar.len() + 1);
    let right = layout.image(&[(tar.clone(), blob)]);
    let wrong = layout.image(&[(tar, wrong)]);
    layout.index(&[tagged(right, "right"), tagged(wrong, "wrong")]);
    let name = |tag: &str| format!("{}:{tag}", layout.name());
    let cache = Memory::default();
    let is_refused = |names: &[String], cache: &dyn LayerCache| {
        let error = read_with(names, cache).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
    };
    is_refused(&[name("wrong")], &cache);
    is_refused(&[name("right"), name("wrong")], &NoCache);
    read_with(&[name("right")], &cache).unwrap();
    is_refused(&[name("wrong")], &cache);
}

#[test]
fn a_fleet_is_counted_by_blob_tar_and_content() {
    let layout = Layout::new();
    let base = TarMaker::new()
        .file("base", &[1; 1000])
        .file("copy", &[1; 1000])
        .hard_link("link", "base")
        .finish();
    let twin = TarMaker::new()
        .head(&crate::testing::Head {
            name: "copy",
            size: 1000,
            mtime: 7,
            uid: 5,
            ..Default::default()
        })
        .body(&[1; 1000])
        .file("base", &[1; 1000])
        .hard_link("link", "base")
        .finish();
    let app = TarMaker::new().file("app", &[2; 300]).finish();
    let blobs = [
        layout.blob(&base, media_type::OCI_LAYER),
        layout.blob(&gzip(&base), media_type::OCI_LAYER_GZIP),
        layout.blob(&twin, media_type::OCI_LAYER),
        layout.blob(&app, media_type::OCI_LAYER),
    ];
    let sizes: Vec<u64> = blobs.iter().map(|blob| blob["size"].as_u64().unwrap()).collect();
    let image = |layers: &[(&Vec<u8>, usize)]| {
        let layers: Vec<_> = layers
            .iter()
            .map(|(tar, at)| ((*tar).clone(), blobs[*at].clone()))
            .collect();
        layout.image(&layers)
    };
    layout.index(&[
        tagged(image(&[(&base, 0), (&app, 3)]), "a"),
        tagged(image(&[(&base, 1), (&app, 3)]), "b"),
        tagged(image(&[(&twin, 2)]), "c"),
        tagged(image(&[(&base, 0), (&app, 3), (&app, 3)]), "d"),
    ]);
    let names: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|tag| format!("{}:{tag}", layout.name()))
        .collect();
    let images = read(&names).unwrap();
    let fleet = FleetMetrics::of(&images, 10);
    assert_eq!(
        (
            fleet.images,
            fleet.layer_refs,
            fleet.unique_layers,
            fleet.unique_diff_ids
        ),
        (4, 8, 4, 3)
    );
    assert_eq!(
        fleet.compressed_bytes,
        2 * sizes[0] + sizes[1] + sizes[2] + 4 * sizes[3]
    );
    assert_eq!(fleet.unique_compressed_bytes, sizes.iter().sum::<u64>());
    assert_eq!(
        (fleet.shared_layers, fleet.shared_layer_bytes),
        (2, sizes[0] + sizes[3])
    );
    assert_eq!(fleet.saved_by_sharing_bytes, sizes[0] + 2 * sizes[3]);
    let mut twins = [BlobDigest::of(&base), BlobDigest::of(&gzip(&base))];
    twins.sort();
    assert_eq!(fleet.recompressed_twins, [twins]);
    let mut near = [DiffId::of(&base), DiffId::of(&twin)];
    near.sort();
    assert_eq!(fleet.near_twins, [near]);
    assert_eq!(fleet.duplicates.cross_layer_bytes, 1000);
    assert_eq!(fleet.duplicates.within_layer_bytes, 2000);
    assert_eq!(fleet.duplicates.unique_content_bytes, 1300);
    assert_eq!(fleet.duplicates.heaviest.len(), 1);
    assert_eq!(
        (
            fleet.duplicates.heaviest[0].layers,
            fleet.duplicates.heaviest[0].extra_bytes()
        ),
        (2, 1000)
    );

    let documents: Vec<_> = images.iter().map(|image| image.image.document_bytes).collect();
    assert_eq!(
        pull_bytes(&images[3], []),
        sizes[0] + sizes[3] + documents[3],
        "one layer twice comes once"
    );
    assert_eq!(
        pull_bytes(&images[1], [&images[0]]),
        sizes[1] + documents[1],
        "a twin is pulled"
    );
    assert_eq!(pulls(&images).len(), 4 + 4 * 3);
    assert_eq!(
        rollout(&images),
        [
            sizes[0] + sizes[3] + documents[0],
            sizes[1] + documents[1],
            sizes[2] + documents[2],
            documents[3]
        ]
    );
}

#[test]
fn an_image_of_the_daemon_is_what_it_saves() {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::unix::net::UnixListener,
    };
    let tar = TarMaker::new().file("a", b"123").finish();
    let config =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [DiffId::of(&tar)] } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:v1"], "Layers": ["l.tar"] }]);
    let saved = TarMaker::new()
        .file("l.tar", &tar)
        .file("c.json", &serde_json::to_vec(&config).unwrap())
        .file("manifest.json", &serde_json::to_vec(&manifest).unwrap())
        .finish();
    let folder = tempfile::tempdir().unwrap();
    let docker_socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&docker_socket).unwrap();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, body) = match asked.contains("/images/get?names=app%3Av1 ") {
                true => ("200 OK", &saved[..]),
                false => ("404 Not Found", &b"{}"[..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream).write_all(&[head.as_bytes(), body].concat());
        }
    });
    let access = Access {
        docker_socket,
        ..access()
    };
    let open = |name: &str| open_source(&format!("docker-daemon:{name}").parse().unwrap(), &access);
    let image = open("app:v1").unwrap().load_image(&Platform::native()).unwrap();
    assert_eq!(image.layers[0].diff_id, DiffId::of(&tar));
    assert!(matches!(open("no:v1"), Err(ImageError::Missing { .. })));
    let stopped = Access {
        interrupt: Arc::new(AtomicBool::new(true)),
        ..access.clone()
    };
    let outcome = open_source(&"docker-daemon:app:v1".parse().unwrap(), &stopped);
    assert!(matches!(outcome, Err(ImageError::Interrupted)));
    let nobody = Access {
        docker_socket: "/nonexistent/docker.sock".into(),
        ..access.clone()
    };
    let error = open_source(&"docker-daemon:app:v1".parse().unwrap(), &nobody).unwrap_err();
    assert!(matches!(error, ImageError::Unavailable { .. }), "{error}");
}
