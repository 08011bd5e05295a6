//! A new image: layers on a base.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    config::{ConfigChange, ConfigDocument, Step, manifest_json},
    files::{FileLayer, FileSet, FileStyle, Times, clean, open_file},
    layer::{BuildOptions, LayerWriter},
    output::{ImageWriter, NamedImage},
    proof::{Difference, first_difference},
};
use crate::{
    BlobDigest, Image, ImageError, Layer, LayerBlob, LoadedImage, Platform, Source, StoredLayer, Tree,
    jar::{Jar, ZipEntry},
    manifest::parse,
};

/// An image to build on.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The image.
    pub image: &'a LoadedImage,
    /// Where the bytes of its layers are.
    pub source: &'a dyn Source,
}

/// An image to build.
#[derive(Debug)]
pub struct NewImage<'a> {
    /// What it is built on, if anything.
    pub base: Option<Base<'a>>,
    /// What it runs on, where no base says.
    pub platform: Platform,
    /// Its own layers, lowest first.
    pub layers: Vec<NewLayer>,
    /// What becomes of files.
    pub style: FileStyle,
    /// What it says of itself.
    pub config: ConfigChange,
    /// Its name where it is written.
    pub tag: Option<String>,
}

/// A layer to build.
#[derive(Debug)]
pub struct NewLayer {
    /// What history calls it.
    pub name: String,
    /// What it holds.
    pub content: LayerContent,
}

/// What a new layer holds.
#[derive(Debug)]
pub enum LayerContent {
    /// Files of the disk.
    Files(FileLayer),
    /// A layer of a Spring Boot jar.
    Jar {
        /// The jar.
        jar: Arc<Jar>,
        /// Which of its [`Jar::layer_names`].
        layer: usize,
        /// Where its entries are in the image.
        to: PathBuf,
    },
}

/// Builds an image into `output`, and proves that it is what was asked for.
pub fn build_image(
    new: &NewImage<'_>,
    output: &mut ImageWriter,
    options: BuildOptions<'_>,
) -> Result<LoadedImage, ImageError> {
    let kept = new.base.map_or(&[][..], |base| &base.image.layers);
    let mut layers = kept.to_vec();
    let mut steps = Vec::new();
    let mut of_jar = JarFiles::default();
    for layer in &new.layers {
        let built = {
            let below = merge(&layers)?;
            let fill = |writer: &mut LayerWriter<'_>| match &layer.content {
                LayerContent::Files(files) => {
                    let files = files.list(options.interrupt)?;
                    files.write(writer, &below, new.style, open_file)
                }
                LayerContent::Jar { jar, layer, to } => {
                    let files = of_jar.take(jar, to, *layer)?;
                    files.write(writer, &below, new.style, |entry| jar.open_entry(entry))
                }
            };
            output.staging().add_layer(options, fill)?
        };
        steps.push(Step {
            diff_id: built.diff_id,
            created_by: format!("headstart layers build: {}", layer.name),
        });
        layers.push(Arc::new(built));
    }
    let mut config = match new.base {
        Some(base) => ConfigDocument::of(&base.image.image.reference, &base.image.image.config_json)?,
        None => ConfigDocument::empty(&new.platform),
    };
    config.stack(kept.len(), &steps);
    config.change(&new.config);
    if let Some(base) = new.base {
        write_kept(output, base, kept, options.interrupt)?;
    }
    let documents = documents("the new image", &config, layers)?;
    let read_back = documents.image.layers[kept.len()..]
        .iter()
        .map(|layer| output.staging().read_back(layer, options.interrupt))
        .collect::<Result<Vec<_>, _>>()?;
    prove(
        &documents.image,
        kept.len(),
        read_back.iter(),
        &merge(&documents.image.layers)?,
        Times::Keep,
    )?;
    documents.write(output, new.tag.clone())
}

/// The files of a jar's layers, worked out for all of them at once: each takes a look at every entry.
#[derive(Default)]
struct JarFiles<'a> {
    of: Option<(&'a Jar, &'a Path)>,
    layers: Vec<FileSet<ZipEntry>>,
}

impl<'a> JarFiles<'a> {
    fn take(&mut self, jar: &'a Jar, to: &'a Path, layer: usize) -> Result<FileSet<ZipEntry>, ImageError> {
        let is_same = |(known, folder): (&Jar, &Path)| ptr::eq(known, jar) && folder == to;
        if !self.of.is_some_and(is_same) {
            let sets = jar.file_sets(&clean(to.as_os_str().as_bytes())?);
            self.layers = sets.into_iter().map(|(_, files)| files).collect();
            self.of = Some((jar, to));
        }
        Ok(std::mem::take(&mut self.layers[layer]))
    }
}

/// Sees to it that the layers which stay as they are are there.
pub(crate) fn write_kept(
    output: &mut ImageWriter,
    base: Base<'_>,
    kept: &[Arc<StoredLayer>],
    interrupt: &AtomicBool,
) -> Result<(), ImageError> {
    for (layer, blob) in kept.iter().zip(&base.image.image.layers) {
        output.keep(base, layer, blob, interrupt)?;
    }
    Ok(())
}

/// Compares the file system of what was written, `kept` layers and those read back on top of them, with what it should be.
pub(crate) fn prove<'a>(
    image: &'a LoadedImage,
    kept: usize,
    read_back: impl Iterator<Item = &'a Layer>,
    expected: &Tree<'_>,
    times: Times,
) -> Result<(), ImageError> {
    let kept = image.layers[..kept].iter().map(|layer| layer.layer.as_deref());
    let actual = Tree::merge(kept.chain(read_back.map(Some)));
    let actual =
        actual.map_err(|error| ImageError::unsupported(&image.image.reference, error.to_string()))?;
    match first_difference(expected, &actual, times) {
        None => Ok(()),
        Some(Difference { path, difference }) => Err(ImageError::Differs {
            image: image.image.reference.clone(),
            path,
            difference,
        }),
    }
}

pub(crate) fn merge(layers: &[Arc<StoredLayer>]) -> Result<Tree<'_>, ImageError> {
    let layers = layers.iter().map(|layer| layer.layer.as_deref());
    Tree::merge(layers).map_err(|error| ImageError::unsupported("the image", error.to_string()))
}

/// What an image is apart from its layers' bytes.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) image: LoadedImage,
    manifest_json: Vec<u8>,
}

/// Writes the config and manifest of these layers.
pub(crate) fn documents(
    name: &str,
    config: &ConfigDocument,
    layers: Vec<Arc<StoredLayer>>,
) -> Result<Documents, ImageError> {
    let config_json = config.to_json();
    let manifest_json = manifest_json(&config_json, layers.iter().map(|layer| &**layer));
    let blobs = layers.iter().map(|layer| {
        LayerBlob::in_layout(
            layer.digest,
            layer.diff_id,
            &layer.media_type,
            layer.compressed_bytes,
        )
    });
    let image = Image {
        reference: name.to_owned(),
        digest: BlobDigest::of(&manifest_json),
        document_bytes: (config_json.len() + manifest_json.len()) as u64,
        config: parse(&format!("config of {name}"), &config_json)?,
        layers: blobs.collect(),
        config_json,
    };
    Ok(Documents {
        image: LoadedImage { image, layers },
        manifest_json,
    })
}

impl Documents {
    /// Adds the image to what is written, whose layers are there.
    pub(crate) fn write(
        self,
        output: &mut ImageWriter,
        tag: Option<String>,
    ) -> Result<LoadedImage, ImageError> {
        let config = output.staging().add_bytes(&self.image.image.config_json)?;
        let manifest = output.staging().add_bytes(&self.manifest_json)?;
        output.add(NamedImage {
            tag,
            manifest,
            manifest_bytes: self.manifest_json.len() as u64,
            // An index must say both, or nothing.
            platform: self
                .image
                .image
                .config
                .platform
                .clone()
                .filter(|platform| !platform.os.is_empty() && !platform.architecture.is_empty()),
            config,
            layers: self.image.layers.iter().map(|layer| layer.digest).collect(),
        });
        Ok(self.image)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, num::NonZero, os::unix::fs::symlink, sync::atomic::AtomicBool};

    use super::*;
    use crate::{
        Compression, Reference,
        testing::{MemoryImage, TarMaker, access, gzip, open, read},
    };

    fn files(folder: &std::path::Path, listed: Option<&[&str]>) -> NewLayer {
        NewLayer {
            name: "app".to_owned(),
            content: LayerContent::Files(FileLayer {
                from: folder.to_owned(),
                to: "/tmp/app".into(),
                listed: listed.map(|paths| paths.iter().map(|path| path.as_bytes().to_vec()).collect()),
            }),
        }
    }

    fn build(
        base: Option<Base<'_>>,
        layers: Vec<NewLayer>,
        output: &Reference,
    ) -> Result<LoadedImage, ImageError> {
        build_for("linux/amd64", base, layers, output)
    }

    fn build_for(
        platform: &str,
        base: Option<Base<'_>>,
        layers: Vec<NewLayer>,
        output: &Reference,
    ) -> Result<LoadedImage, ImageError> {
        let new = NewImage {
            base,
            platform: platform.parse().unwrap(),
            layers,
            style: FileStyle {
                uid: 7,
                gid: 8,
                times: Times::Fixed(5),
            },
            config: ConfigChange::default(),
            tag: output.tag().map(str::to_owned),
        };
        let options = BuildOptions {
            compression: Compression::Gzip,
            threads: NonZero::new(2).unwrap(),
            interrupt: &AtomicBool::new(false),
        };
        let mut writer = ImageWriter::create(output, &access(), std::path::Path::new("none"))?;
        let image = build_image(&new, &mut writer, options)?;
        writer.finish()?;
        Ok(image)
    }

    #[test]
    fn files_are_built_on_a_base_whose_folders_stay_what_they_are() {
        let temp = tempfile::tempdir().unwrap();
        let app = temp.path().join("app");
        fs::create_dir_all(app.join("lib")).unwrap();
        fs::write(app.join("main"), "main").unwrap();
        fs::write(app.join("lib/x"), "x").unwrap();
        fs::write(app.join("lib/not-listed"), "").unwrap();
        symlink("x", app.join("lib/link")).unwrap();
        let sources = [MemoryImage::source(
            "base",
            vec![gzip(
                &TarMaker::new()
                    .head(&crate::testing::Head {
                        name: "tmp/",
                        flag: b'5',
                        uid: 3,
                        mtime: 99,
                        ..Default::default()
                    })
                    .finish(),
            )],
        )];
        let images = read(&sources).unwrap();
        let base = Base {
            image: &images[0],
            source: &*sources[0],
        };
        let mut digests = Vec::new();
        for name in ["oci-archive", "docker-archive"] {
            let output: Reference = format!("{name}:{}/{name}.tar:v1", temp.path().display())
                .parse()
                .unwrap();
            let built = build(
                Some(base),
                vec![files(&app, Some(&["main", "./lib/x", "lib/link"]))],
                &output,
            )
            .unwrap();
            let written = read(&[open(&output)]).unwrap();
            let tree = merge(&written[0].layers).unwrap();
            let mut paths = Vec::new();
            tree.walk(|path, id| {
                let meta = tree.node(id).meta.unwrap();
                paths.push((
                    String::from_utf8_lossy(path).into_owned(),
                    meta.uid,
                    meta.mtime_seconds,
                ));
            });
            let expected = [
                ("tmp", 3, 99),
                ("tmp/app", 7, 5),
                ("tmp/app/lib", 7, 5),
                ("tmp/app/lib/link", 7, 5),
                ("tmp/app/lib/x", 7, 5),
                ("tmp/app/main", 7, 5),
            ];
            assert_eq!(
                paths,
                expected.map(|(path, uid, time)| (path.to_owned(), uid, time))
            );
            assert_eq!(written[0].layers[0].digest, images[0].layers[0].digest);
            digests.push((built.image.digest, written[0].layers[1].digest));
        }
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn a_layout_gets_images_beside_those_it_has_and_other_folders_are_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("a"), "a").unwrap();
        let layout = temp.path().join("layout");
        for tag in ["v1", "v1"] {
            let output = Reference::OciLayout {
                folder: layout.clone(),
                tag: Some(tag.to_owned()),
            };
            let _ = build(None, vec![files(temp.path(), Some(&["a"]))], &output).unwrap();
        }
        let index = fs::read_to_string(layout.join("index.json")).unwrap();
        assert_eq!(index.matches("\"v1\"").count(), 1, "{index}");
        let output = Reference::OciLayout {
            folder: temp.path().to_owned(),
            tag: None,
        };
        let error = build(None, Vec::new(), &output).unwrap_err();
        assert!(matches!(error, ImageError::Unsupported { .. }), "{error}");
    }

    #[test]
    fn a_file_below_a_link_is_not_taken_by_the_path_through_it() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("real")).unwrap();
        fs::write(temp.path().join("real/x"), "").unwrap();
        symlink("real", temp.path().join("link")).unwrap();
        let output = Reference::OciLayout {
            folder: temp.path().join("out"),
            tag: None,
        };
        for wrong in ["link/x", "../x", "gone"] {
            assert!(
                build(None, vec![files(temp.path(), Some(&[wrong]))], &output).is_err(),
                "{wrong}"
            );
        }
        // What failed is no obstacle to what follows.
        assert!(build(None, vec![files(temp.path(), Some(&["real"]))], &output).is_ok());
    }

    #[test]
    fn what_would_hide_folders_of_the_base_or_vanish_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let sources = [MemoryImage::source(
            "base",
            vec![TarMaker::new().file("tmp/app/data/x", b"1").finish()],
        )];
        let images = read(&sources).unwrap();
        let base = Base {
            image: &images[0],
            source: &*sources[0],
        };
        fs::create_dir_all(temp.path().join("marker/data/.wh.x")).unwrap();
        fs::create_dir(temp.path().join("file")).unwrap();
        fs::write(temp.path().join("file/data"), "").unwrap();
        fs::create_dir(temp.path().join("link")).unwrap();
        symlink("elsewhere", temp.path().join("link/data")).unwrap();
        fs::create_dir_all(temp.path().join("folder/data")).unwrap();
        let output = Reference::OciLayout {
            folder: temp.path().join("out"),
            tag: None,
        };
        for (name, reason) in [
            ("marker", "hidden"),
            ("file", "have a folder"),
            ("link", "have a folder"),
        ] {
            let layers = vec![files(&temp.path().join(name), None)];
            let error = build(Some(base), layers, &output).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert!(
            build(
                Some(base),
                vec![files(&temp.path().join("folder"), None)],
                &output
            )
            .is_ok()
        );
    }

    #[test]
    fn a_layer_does_not_hold_what_is_written() {
        let temp = tempfile::tempdir().unwrap();
        let app = temp.path().join("app");
        fs::create_dir_all(app.join("dist")).unwrap();
        symlink(&app, temp.path().join("link")).unwrap();
        symlink("dist", app.join("also")).unwrap();
        let is_apart = |from: &str, listed: Option<&[&str]>, output: &str| {
            let LayerContent::Files(layer) = files(&temp.path().join(from), listed).content else {
                unreachable!("it is of files");
            };
            layer.check_apart(&temp.path().join(output)).is_ok()
        };
        for (from, listed, output, expected) in [
            ("app", None, "out", true),
            ("app", None, "app2", true),
            ("app/dist", None, "app", true),
            ("app", None, "app", false),
            ("app", None, "app/new/out", false),
            ("app", None, "link/out", false),
            ("link", None, "app/out", false),
            ("app", Some(&["dist"][..]), "app/out", true),
            ("app", Some(&["also"][..]), "app/dist/out", true),
            ("app", Some(&["./dist/"][..]), "app/dist/out", false),
        ] {
            let found = is_apart(from, listed, output);
            assert_eq!(found, expected, "{from} {listed:?} {output}");
        }
    }

    #[test]
    fn an_image_without_a_tag_replaces_the_one_of_its_platform() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("app")).unwrap();
        let output = Reference::OciLayout {
            folder: temp.path().join("out"),
            tag: None,
        };
        let build_with = |platform: &str, text: &str| {
            fs::write(temp.path().join("app/x"), text).unwrap();
            let layers = vec![files(&temp.path().join("app"), None)];
            build_for(platform, None, layers, &output).unwrap().image.digest
        };
        let _ = build_with("linux/amd64", "1");
        let arm = build_with("linux/arm64/v8", "2");
        let amd = build_with("linux/amd64", "3");
        for (platform, digest) in [("linux/amd64", amd), ("linux/arm64", arm)] {
            let image = open(&output).load_image(&platform.parse().unwrap()).unwrap();
            assert_eq!(image.digest, digest, "{platform}");
        }
    }
}
