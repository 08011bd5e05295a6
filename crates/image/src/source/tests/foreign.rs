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
