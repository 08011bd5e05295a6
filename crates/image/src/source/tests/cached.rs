//! What was read is believed only as far as it was compared, with a cache as without.

use super::*;

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
fn what_was_read_once_is_not_read_again() {
    let layout = Layout::new();
    let tar = TarMaker::new().file("a", b"123").finish();
    let blob = layout.blob(&gzip(&tar), media_type::OCI_LAYER_GZIP);
    layout.index(&[layout.image(&[(tar.clone(), blob)])]);
    let cache = Memory::default();
    let first = read_with(&[layout.name()], &cache).unwrap().remove(0);
    let path = layout
        .path()
        .join("blobs/sha256")
        .join(BlobDigest::of(&gzip(&tar)).to_hex());
    // Nothing that could be read, and as long.
    fs::write(&path, vec![0; gzip(&tar).len()]).unwrap();
    let again = read_with(&[layout.name()], &cache).unwrap().remove(0);
    assert_eq!(again.layers[0].layer, first.layers[0].layer);
    assert_eq!(again.layers[0].digest, first.layers[0].digest);
    // Damage costs a reading, which gives nothing here.
    for bytes in cache.0.lock().unwrap().values_mut() {
        bytes[10] ^= 1;
    }
    assert!(matches!(
        read_with(&[layout.name()], &cache),
        Err(ImageError::Corrupt { .. })
    ));
}

#[test]
fn an_image_without_one_of_its_layers_is_refused_however_well_it_is_known() {
    let (layout, other) = (Layout::new(), Layout::new());
    let tar = TarMaker::new().file("a", b"123").finish();
    let stored = gzip(&tar);
    for layout in [&layout, &other] {
        let blob = layout.blob(&stored, media_type::OCI_LAYER_GZIP);
        layout.index(&[layout.image(&[(tar.clone(), blob)])]);
    }
    let cache = Memory::default();
    let images = [other.name(), layout.name()];
    read_with(&images, &cache).unwrap();
    let path = layout
        .path()
        .join("blobs/sha256")
        .join(BlobDigest::of(&stored).to_hex());
    fs::write(&path, &stored[..stored.len() - 1]).unwrap();
    assert!(matches!(
        read_with(&images, &cache),
        Err(ImageError::Corrupt { .. })
    ));
    fs::remove_file(&path).unwrap();
    for images in [&images[..], &images[1..]] {
        let error = read_with(images, &cache).unwrap_err();
        assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    }
    assert!(read_with(&images[..1], &cache).is_ok());
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
