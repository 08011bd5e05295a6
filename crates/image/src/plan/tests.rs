mod copies;

use std::{num::NonZero, sync::atomic::AtomicBool};

use proptest::prelude::*;

use super::*;
use crate::{
    Compression, ImageError, LoadedImage, Reference, Source,
    build::{BuildOptions, ImageWriter},
    metrics::{pulls, rollout},
    testing::{Head, MemoryImage, TarMaker, access, gzip, open, read},
};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn options() -> BuildOptions<'static> {
    BuildOptions {
        compression: Compression::Gzip,
        threads: NonZero::new(2).unwrap(),
        interrupt: &GO_ON,
    }
}

/// Content that does not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let steps = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    });
    steps.take(length).collect()
}

fn plan(images: &[LoadedImage], max_shared_layers: usize) -> Result<LayersPlan, ImageError> {
    let options = PlanOptions {
        max_shared_layers,
        times: Times::Keep,
    };
    Ok(Fleet::of(images, &[])?.plan(options))
}

fn measure(
    plan: &LayersPlan,
    images: &[LoadedImage],
    sources: &[Box<dyn Source>],
) -> Result<Vec<LoadedImage>, ImageError> {
    let scratch = tempfile::tempdir().unwrap();
    let build = PlannedBuild {
        plan,
        images,
        sources,
        scratch: scratch.path(),
    };
    measure_plan(build, options())
}

#[test]
fn what_images_have_in_common_gets_a_layer_and_their_base_stays() {
    let base = gzip(
        &TarMaker::new()
            .folder("etc/")
            .file("etc/old", &noise(1, 9000))
            .finish(),
    );
    let library = noise(2, 200_000);
    let image = |name: &str, app: u32| {
        let top = TarMaker::new()
            .folder("app/")
            .file("app/library", &library)
            .file("app/main", &noise(app, 5000))
            .file("etc/.wh.old", b"");
        MemoryImage::source(name, vec![base.clone(), gzip(&top.finish())])
    };
    let sources = [image("web", 10), image("api", 11), image("jobs", 12)];
    let images = read(&sources).unwrap();
    let plan = plan(&images, 16).unwrap();
    assert_eq!(plan.layers.len(), 4);
    assert_eq!(plan.layers[0].images, [0, 1, 2]);
    assert_eq!(plan.layers[0].file_bytes(), 200_000);
    assert_eq!(plan.images[1].layers, [0, 2]);
    let hidden = &plan.layers[1].entries[0];
    assert_eq!(
        (&hidden.kind, &hidden.path[..]),
        (&PlannedKind::Whiteout, &b"etc/old"[..])
    );
    let [library, ..] = &places(&plan)[0][..] else {
        panic!("it is somewhere")
    };
    assert_eq!(
        (&library.path[..], library.is_folder),
        (&b"app/library"[..], false)
    );

    let planned = measure(&plan, &images, &sources).unwrap();
    assert_eq!(planned[0].layers[0].digest, images[0].layers[0].digest);
    let total = |images: &[LoadedImage]| rollout(images).iter().sum::<u64>();
    assert!(
        total(&planned) + 390_000 < total(&images),
        "the library is pulled once"
    );
    assert_eq!(
        measure(&plan, &images, &sources).unwrap()[2].image.digest,
        planned[2].image.digest
    );
}

#[test]
fn a_change_of_code_moves_the_layer_of_the_code_only() {
    let base = gzip(&TarMaker::new().file("os", &noise(1, 9000)).finish());
    let folder = |name, mtime| Head {
        name,
        flag: b'5',
        mtime,
        ..Head::default()
    };
    let library = noise(2, 200_000);
    let image = |name: &str, seed: u32, version: u64| {
        let dependencies = TarMaker::new()
            .head(&folder("app/deps/", 1))
            .file("app/deps/shared", &library)
            .file("app/deps/own", &noise(seed, 100_000));
        let code = TarMaker::new()
            .head(&folder("app/", version))
            .file("app/common", &noise(version as u32, 70_000))
            .file("app/main", &noise(seed + version as u32, 5000));
        let layers = [base.clone(), gzip(&dependencies.finish()), gzip(&code.finish())];
        MemoryImage::source(name, layers.to_vec())
    };
    let digests = |web: u64, api: u64| {
        let sources = [image("web", 10, web), image("api", 20, api)];
        let images = read(&sources).unwrap();
        let plan = plan(&images, 16).unwrap();
        let planned = measure(&plan, &images, &sources).unwrap();
        let layers = planned[0].layers.iter().map(|layer| layer.digest);
        layers.collect::<Vec<_>>()
    };
    let before = digests(100, 100);
    assert_eq!(
        before.len(),
        5,
        "base, dependencies of both and of one, code of both and of one"
    );
    let after = digests(101, 101);
    assert_eq!(before[..3], after[..3], "dependencies stay");
    assert_ne!(before[3], after[3]);
    assert_ne!(before[4], after[4]);
    assert_eq!(digests(101, 100)[..3], before[..3]);
}

#[test]
fn what_is_predicted_is_what_is_built() {
    let layer = |seed| {
        gzip(
            &TarMaker::new()
                .file("a", &noise(1, 100_000))
                .file("b", &noise(seed, 100))
                .finish(),
        )
    };
    let sources = [
        MemoryImage::source("one", vec![layer(2)]),
        MemoryImage::source("two", vec![layer(3)]),
    ];
    let images = read(&sources).unwrap();
    let plan = plan(&images, 16).unwrap();
    let predicted = measure(&plan, &images, &sources).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    let reference = |tag: Option<&str>| Reference::OciLayout {
        folder: layout.clone(),
        tag: tag.map(str::to_owned),
    };
    let mut output = ImageWriter::create(&reference(None), &access(), folder.path()).unwrap();
    let build = PlannedBuild {
        plan: &plan,
        images: &images,
        sources: &sources,
        scratch: folder.path(),
    };
    let tags = ["one", "two"].map(|tag| Some(tag.to_owned()));
    let _ = build_plan(build, &tags, &mut output, options()).unwrap();
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    assert!(index.contains(r#""manifests":[]"#), "nothing has a name yet");
    output.finish().unwrap();
    let written = ["one", "two"].map(|tag| open(&reference(Some(tag))));
    let written = read(&written).unwrap();
    assert_eq!(pulls(&written), pulls(&predicted));
    assert_eq!(written[1].image.digest, predicted[1].image.digest);
}

/// One entry of a random layer.
fn entry(tar: TarMaker, (kind, path, content): (u8, usize, u8)) -> TarMaker {
    const PATHS: [&str; 7] = ["a", "b", "a/c", "a/d", "b/c", "a/c/e", "f"];
    const WHITEOUTS: [&str; 7] = [
        ".wh.a",
        ".wh.b",
        "a/.wh.c",
        "a/.wh.d",
        "b/.wh.c",
        "a/c/.wh.e",
        ".wh.f",
    ];
    let path = PATHS[path];
    let head = |flag, link: &'static str| Head {
        name: path,
        flag,
        link,
        mtime: u64::from(content),
        uid: u32::from(content / 3),
        ..Head::default()
    };
    match kind {
        0..=4 => {
            let body = noise(u32::from(content), 40_000 * usize::from(content));
            let size = body.len() as u64;
            tar.head(&Head {
                size,
                ..head(b'0', "")
            })
            .body(&body)
        }
        5 => tar.head(&head(b'5', "")),
        6 => tar.head(&head(b'2', "f")),
        7 => tar.head(&head(b'3', "")),
        8 => tar.head(&head(b'1', PATHS[usize::from(content)])),
        _ => tar.of_type(b'0', WHITEOUTS[usize::from(content)], ""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Measuring proves that every finished file system stays what it was.
    #[test]
    fn planned_images_are_the_images(
        base in proptest::collection::vec((0..10_u8, 0..7_usize, 0..4_u8), 0..6),
        tops in proptest::collection::vec(
            proptest::collection::vec((0..10_u8, 0..7_usize, 0..4_u8), 0..6), 1..4),
        max in 0..4_usize,
    ) {
        let layer = |entries: &Vec<_>| entries.iter().copied().fold(TarMaker::new(), entry).finish();
        let sources: Vec<_> = tops
            .iter()
            .map(|top| MemoryImage::source("x", vec![layer(&base), layer(top)]))
            .collect();
        // Layers that no runtime unpacks: links in circles, links to nothing.
        let Ok(images) = read(&sources) else { return Ok(()) };
        let plan = match plan(&images, max) {
            Err(ImageError::Unsupported { .. }) => return Ok(()),
            plan => plan.unwrap(),
        };
        prop_assert!(plan.layers.iter().filter(|layer| layer.images.len() > 1).count() <= max);
        let planned = measure(&plan, &images, &sources).unwrap();
        let again = measure(&plan, &images, &sources).unwrap();
        for (one, other) in planned.iter().zip(&again) {
            prop_assert_eq!(one.image.digest, other.image.digest);
        }
    }
}
