//! Layers whose bytes their publisher keeps elsewhere.

use super::*;

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

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// A layout with an image of one foreign layer, whose bytes may be there.
fn foreign(tar: &[u8], diff_of: &[u8], is_here: bool) -> Layout {
    let layout = Layout::new();
    let blob = layout.blob(tar, FOREIGN);
    if !is_here {
        let name = BlobDigest::of(tar).to_hex();
        fs::remove_file(layout.path().join("blobs/sha256").join(name)).unwrap();
    }
    layout.index(&[layout.image(&[(diff_of.to_vec(), blob)])]);
    layout
}

#[test]
fn a_foreign_layer_is_read_where_it_is_whatever_the_order_of_images() {
    let tar = TarMaker::new().file("a", b"1").finish();
    let (here, gone) = (foreign(&tar, &tar, true), foreign(&tar, &tar, false));
    let ordinary = Layout::new();
    let blob = ordinary.blob(&tar, media_type::OCI_LAYER);
    ordinary.index(&[ordinary.image(&[(tar, blob)])]);
    for names in [
        [gone.name(), here.name()],
        [here.name(), gone.name()],
        [gone.name(), ordinary.name()],
        [ordinary.name(), gone.name()],
    ] {
        let images = read(&names).unwrap();
        assert!(
            images.iter().all(|image| image.layers[0].layer.is_some()),
            "{names:?}"
        );
    }
    // And with a cache that knows the layer as without.
    let cache = Memory::default();
    read_with(&[ordinary.name()], &cache).unwrap();
    let image = read_with(&[gone.name()], &cache).unwrap().remove(0);
    assert!(image.layers[0].layer.is_none());
    assert!(
        read_with(&[here.name()], &cache).unwrap()[0].layers[0]
            .layer
            .is_some()
    );
}

#[test]
fn what_is_said_of_a_layer_that_is_elsewhere_makes_no_twins_and_no_errors() {
    let tar = TarMaker::new().file("a", b"1").finish();
    let other = TarMaker::new().file("b", b"1").finish();
    let plain = Layout::new();
    let blob = plain.blob(&other, media_type::OCI_LAYER);
    plain.index(&[plain.image(&[(other.clone(), blob)])]);
    // One foreign blob, of which two configs say different things.
    let (one, two) = (foreign(&tar, &tar, false), foreign(&tar, &other, false));
    let images = read(&[one.name(), two.name(), plain.name()]).unwrap();
    assert_eq!(images[0].layers[0].diff_id, DiffId::of(&tar));
    assert_eq!(images[1].layers[0].diff_id, DiffId::of(&other));
    let none: [Vec<BlobDigest>; 0] = [];
    assert_eq!(FleetMetrics::of(&images, 1).recompressed_twins, none);
}
