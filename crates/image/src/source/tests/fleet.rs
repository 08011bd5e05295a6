//! What several images have together.

use super::*;

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
fn a_layer_has_the_media_type_that_each_image_gives_it() {
    const DOCKERS: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layout = Layout::new();
    let tar = TarMaker::new().file("a", b"1").finish();
    let blob = |media_type| (tar.clone(), layout.blob(&gzip(&tar), media_type));
    layout.index(&[
        tagged(layout.image(&[blob(media_type::OCI_LAYER_GZIP)]), "oci"),
        tagged(layout.image(&[blob(DOCKERS)]), "docker"),
    ]);
    for tags in [["oci", "docker"], ["docker", "oci"]] {
        let names = tags.map(|tag| format!("{}:{tag}", layout.name()));
        for (image, tag) in read(&names).unwrap().iter().zip(tags) {
            let said = &image.layers[0].media_type;
            assert_eq!(said == DOCKERS, tag == "docker", "{tag}: {said}");
        }
    }
}
