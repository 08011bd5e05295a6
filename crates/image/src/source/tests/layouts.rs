//! OCI layouts: which image is meant, and what is none.

use super::*;

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
