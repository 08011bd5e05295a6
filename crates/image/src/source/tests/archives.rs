//! Archives of images, ours and others', honest and not.

use super::*;

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
fn what_an_archive_lists_stays_small() {
    let long = "x/".repeat(2048) + "x";
    let target = |flag| {
        let tar = TarMaker::new().pax(&[("linkpath", &long)]);
        tar.of_type(flag, "link", "").finish()
    };
    // Names as long as they may be, and more of them than any image has.
    let path = "x/".repeat(2000);
    let names = (0..10_000).fold(TarMaker::new(), |tar, number| {
        tar.pax(&[("path", &format!("{path}{number}"))]).file("x", b"")
    });
    let links = (0..10_000).fold(TarMaker::new(), |tar, number| {
        let name = number.to_string();
        tar.pax(&[("linkpath", &path)]).symlink(&name, "")
    });
    let open = |bytes: &[u8]| {
        let (_folder, file) = keep(bytes);
        let name = format!("docker-archive:{}", file.display());
        let is_one = is_archive_of_images(&file, File::open(&file).unwrap(), &AtomicBool::new(false));
        assert!(!is_one);
        open_source(&name.parse().unwrap(), &access()).unwrap_err()
    };
    for flag in [b'1', b'2'] {
        let error = open(&target(flag));
        assert!(error.to_string().contains("longer than 4096"), "{error}");
    }
    for tar in [names, links] {
        let error = open(&tar.finish());
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn a_pipe_is_not_waited_for() {
    let layout = Layout::new();
    let image = layout.image(&[plain(&layout, TarMaker::new().file("a", b"1"))]);
    layout.index(&[image]);
    let folder = layout.path().join("blobs/sha256");
    let blobs = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = blobs.chain([layout.path().join("index.json")]);
    let refused = |name: String, pipe: &Path| {
        let error = read(&[name]).map(drop).unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains(&*pipe.to_string_lossy()), "{error}");
        assert_eq!(why, "it is no regular file");
    };
    for file in files {
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        make_pipe(&file);
        refused(layout.name(), &file);
        fs::remove_file(&file).unwrap();
        fs::write(&file, kept).unwrap();
    }
    read(&[layout.name()]).unwrap();
    let pipe = layout.path().join("pipe.tar");
    make_pipe(&pipe);
    refused(format!("docker-archive:{}", pipe.display()), &pipe);
    refused(format!("oci-archive:{}", pipe.display()), &pipe);
    refused(format!("oci-archive:{}", layout.path().display()), layout.path());
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
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

/// A cache that forgets, and counts what it was given.
#[derive(Default)]
struct Counting(Mutex<usize>);

impl LayerCache for Counting {
    fn get(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, name: &str, _bytes: &[u8]) {
        *self.0.lock().unwrap() += usize::from(name.starts_with("layer-"));
    }
}

fn docker_archive(stored: &[u8], tar: &[u8], own: &[u8]) -> (TempDir, String) {
    let own_tar = TarMaker::new().file("own", own).finish();
    let ids = [DiffId::of(tar), DiffId::of(&own_tar)];
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": ids } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["1", "2"] }]);
    let (folder, file) = archive(&[
        ("1", stored),
        ("2", &own_tar),
        ("c.json", &serde_json::to_vec(&config).unwrap()),
        ("manifest.json", &serde_json::to_vec(&manifest).unwrap()),
    ]);
    (folder, format!("docker-archive:{}", file.display()))
}

#[test]
fn a_layer_that_several_archives_have_is_read_once_unless_one_of_them_lies() {
    let tar = TarMaker::new().file("shared", b"1").finish();
    let one = docker_archive(&tar, &tar, b"1");
    let two = docker_archive(&tar, &tar, b"2");
    let gzipped = [
        docker_archive(&gzip(&tar), &tar, b"3"),
        docker_archive(&gzip(&tar), &tar, b"4"),
    ];
    let scans = |names: &[&String]| {
        let names: Vec<_> = names.iter().copied().cloned().collect();
        let cache = Counting::default();
        let images = read_with(&names, &cache).unwrap();
        let types = images.iter().map(|image| image.layers[0].media_type.clone());
        (cache.0.into_inner().unwrap(), types.collect::<Vec<_>>())
    };
    assert_eq!(
        scans(&[&one.1, &two.1]),
        (3, vec![media_type::OCI_LAYER.to_owned(); 2])
    );
    assert_eq!(
        scans(&[&gzipped[0].1, &gzipped[1].1]),
        (3, vec![media_type::OCI_LAYER_GZIP.to_owned(); 2])
    );
    let other = TarMaker::new().file("other", b"1").finish();
    let lie = docker_archive(&other, &tar, b"5");
    let error = read(&[one.1.clone(), lie.1.clone()]).unwrap_err();
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
}

#[test]
fn an_image_of_too_many_layers_is_refused() {
    let layers = vec!["1"; MAX_LAYERS + 1];
    let ids = vec![DiffId::of(b""); MAX_LAYERS + 1];
    let config = json!({ "rootfs": { "diff_ids": ids } });
    let manifest = json!([{ "Config": "c.json", "Layers": layers }]);
    let (_folder, file) = archive(&[
        ("c.json", &serde_json::to_vec(&config).unwrap()),
        ("manifest.json", &serde_json::to_vec(&manifest).unwrap()),
    ]);
    let error = read(&[format!("docker-archive:{}", file.display())]).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}
