//! Images made to break us: cut anywhere, changed anywhere. Each is an image or an error, and nothing panics.

use proptest::prelude::*;

use super::*;

/// A small layer in every compression.
fn stored_layers() -> (Vec<u8>, Vec<Vec<u8>>) {
    let tar = TarMaker::new()
        .folder("a")
        .file("a/x", b"some bytes")
        .hard_link("b", "a/x")
        .finish();
    let (front, back) = tar.split_at(700);
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let stored = vec![
        tar.clone(),
        gzip(&tar),
        [gzip(front), gzip(back)].concat(),
        [zstd(front), b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec(), zstd(back)].concat(),
    ];
    (tar, stored)
}

#[test]
fn a_layer_that_is_cut_anywhere_is_refused() {
    let (tar, stored) = stored_layers();
    for whole in stored {
        let layout = Layout::new();
        layout.index(&[layout.image(&[(tar.clone(), layout.blob(&whole, media_type::OCI_LAYER))])]);
        read(&[layout.name()]).unwrap();
        let blob = layout
            .path()
            .join("blobs/sha256")
            .join(BlobDigest::of(&whole).to_hex());
        for length in (0..whole.len()).step_by(1 + whole.len() / 200) {
            fs::write(&blob, &whole[..length]).unwrap();
            assert!(read(&[layout.name()]).is_err(), "{length} of {}", whole.len());
        }
        // The manifest may know that it is cut: the tar is another then.
        for length in (0..whole.len()).step_by(1 + whole.len() / 50) {
            let cut = layout.blob(&whole[..length], media_type::OCI_LAYER);
            layout.index(&[layout.image(&[(tar.clone(), cut)])]);
            assert!(read(&[layout.name()]).is_err(), "{length} of {}", whole.len());
        }
    }
}

/// An archive that is both an OCI layout and what `docker save` writes, as since Docker 25.
fn archive_of_both_kinds() -> Vec<u8> {
    let (tar, stored) = stored_layers();
    let layout = Layout::new();
    let blob = layout.blob(&stored[1], media_type::OCI_LAYER);
    let manifest = layout.image(&[(tar.clone(), blob.clone())]);
    let place = |digest: &Value| format!("blobs/sha256/{}", &digest.as_str().unwrap()["sha256:".len()..]);
    let blob_of = |descriptor: &Value| fs::read(layout.path().join(place(&descriptor["digest"]))).unwrap();
    let manifest_json = blob_of(&manifest);
    let config: Value = serde_json::from_slice::<Value>(&manifest_json).unwrap()["config"].clone();
    let saved = json!([{"Config": place(&config["digest"]), "RepoTags": ["app:v1"], "Layers": [place(&blob["digest"])]}]);
    TarMaker::new()
        .file("manifest.json", &serde_json::to_vec(&saved).unwrap())
        .file(
            "index.json",
            &serde_json::to_vec(&json!({ "manifests": [manifest] })).unwrap(),
        )
        .file(&place(&manifest["digest"]), &manifest_json)
        .file(&place(&config["digest"]), &blob_of(&config))
        .file(&place(&blob["digest"]), &stored[1])
        .finish()
}

fn read_archive(bytes: &[u8]) -> [Result<Vec<LoadedImage>, ImageError>; 2] {
    let (_folder, file) = keep(bytes);
    ["oci-archive", "docker-archive"].map(|kind| read(&[format!("{kind}:{}", file.display())]))
}

#[test]
fn an_archive_that_is_cut_anywhere_is_whole_or_refused() {
    let whole = archive_of_both_kinds();
    assert!(read_archive(&whole).iter().all(Result::is_ok));
    let end = whole.iter().rposition(|&byte| byte != 0).unwrap();
    for length in (0..end).step_by(61) {
        for outcome in read_archive(&whole[..length]) {
            assert!(outcome.is_err(), "{length} of {}", whole.len());
        }
    }
}

#[test]
fn sums_of_lengths_that_are_lies_end_at_the_largest_number() {
    let layout = Layout::new();
    let (tar, mut blob) = plain(&layout, TarMaker::new().file("a", b"1"));
    blob["size"] = json!(u64::MAX);
    let layers = [(tar.clone(), blob.clone()), (tar, blob)];
    layout.index(&[layout.image(&layers)]);
    assert!(matches!(read(&[layout.name()]), Err(ImageError::Corrupt { .. })));
}

/// A change to bytes.
#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, &'static str),
}

/// What readers of JSON, numbers, digests and paths trip over.
const WORDS: &[&str] = &[
    "null",
    "-1",
    "18446744073709551616",
    "9223372036854775808",
    "[]",
    "{}",
    "\"\"",
    ",",
    "[[[[",
    "{\"manifests\":",
    "\\u0000",
    "/../",
    "sha256:",
    "unknown",
];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<prop::sample::Index>(), 1..80_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<prop::sample::Index>(), prop::sample::select(WORDS))
            .prop_map(|(at, word)| Change::Insert(at, word)),
    ];
    proptest::collection::vec(change, 1..4)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let index = |at: &prop::sample::Index| at.index(bytes.len().max(1)).min(bytes.len());
        match change {
            Change::Byte(at, byte) => {
                let at = index(at);
                if let Some(found) = bytes.get_mut(at) {
                    *found = *byte;
                }
            }
            Change::Remove(at, length) => {
                let at = index(at);
                drop(bytes.drain(at..bytes.len().min(at + length)));
            }
            Change::Insert(at, word) => {
                let at = index(at);
                drop(bytes.splice(at..at, word.bytes()));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_documents_are_an_image_or_an_error(changes in changes(), which in 0..4_usize) {
        let layout = Layout::new();
        let (tar, blob) = plain(&layout, TarMaker::new().file("a", b"1"));
        let config = json!({
            "os": "linux", "architecture": "amd64", "history": [{"created_by": "x"}, {"empty_layer": true}],
            "rootfs": {"type": "layers", "diff_ids": [DiffId::of(&tar)]},
        });
        // Digests are right, whatever changes.
        let put = |number: usize, value: &Value, media_type: &str| {
            let bytes = serde_json::to_vec(value).unwrap();
            layout.blob(&if which == number { changed(bytes, &changes) } else { bytes }, media_type)
        };
        let config = put(0, &config, "");
        let manifest = put(
            1,
            &json!({"schemaVersion": 2, "config": config, "layers": [blob]}),
            media_type::OCI_MANIFEST,
        );
        let manifests = json!({"schemaVersion": 2, "manifests": [on(manifest, "linux/amd64")]});
        let index = put(2, &manifests, media_type::OCI_INDEX);
        layout.index(&[tagged(index, "v1")]);
        if which == 3 {
            let path = layout.path().join("index.json");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, changed(bytes, &changes)).unwrap();
        }
        if let Ok(images) = read(&[layout.name()]) {
            prop_assert!(ImageMetrics::of(&images[0]).is_ok());
            let _ = FleetMetrics::of(&images, 10);
        }
    }

    #[test]
    fn a_changed_archive_is_an_image_or_an_error(changes in changes()) {
        for images in read_archive(&changed(archive_of_both_kinds(), &changes)).into_iter().flatten() {
            prop_assert!(ImageMetrics::of(&images[0]).is_ok());
        }
    }

    #[test]
    fn a_changed_list_of_saved_images_is_one_or_an_error(changes in changes()) {
        let (tar, _) = stored_layers();
        let saved = br#"[{"Config":"c.json","RepoTags":["app:v1",null],"Layers":["l.tar"]}]"#.to_vec();
        let config = json!({"rootfs": {"diff_ids": [DiffId::of(&tar)]}}).to_string();
        let bytes = TarMaker::new()
            .file("manifest.json", &changed(saved, &changes))
            .file("c.json", config.as_bytes())
            .file("l.tar", &tar)
            .finish();
        let _ = read_archive(&bytes);
    }
}
