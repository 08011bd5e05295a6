//! Where new images go: an OCI layout, an archive of one, or a registry.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use headstart_fs::{
    AtPath as _,
    publish::{self, Durability},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Base,
    archive::write_archive,
    layout::{self, INDEX_FILE, LAYOUT_FILE, add_to_index, empty_index, layout_document},
    staging::Staging,
    steady::SteadyFile,
};
use crate::{
    Access, BlobDigest, ImageError, LayerBlob, Platform, Reference, Registries, RegistryReference,
    StoredLayer, docker_name,
    interrupt::{self, Interruptible},
    source::is_archive_of_images,
};

/// Takes the blobs of images, and gives them their names at the end.
#[derive(Debug)]
pub struct ImageWriter {
    name: String,
    kind: Kind,
    staging: Staging,
    interrupt: Arc<AtomicBool>,
    images: Vec<NamedImage>,
    /// Layers of bases that were seen to.
    kept: HashSet<BlobDigest>,
}

/// An image that is complete.
#[derive(Debug)]
pub(super) struct NamedImage {
    pub(super) tag: Option<String>,
    pub(super) manifest: BlobDigest,
    pub(super) manifest_bytes: u64,
    pub(super) platform: Option<Platform>,
    pub(super) config: BlobDigest,
    pub(super) layers: Vec<BlobDigest>,
}

#[derive(Debug)]
enum Kind {
    Layout,
    Archive {
        file: PathBuf,
        is_docker: bool,
        _folder: TempDir,
    },
    Registry {
        to: RegistryReference,
        registries: Arc<Registries>,
        /// What it has, so that we need not.
        there: HashSet<BlobDigest>,
        _folder: TempDir,
    },
}

impl ImageWriter {
    /// Prepares to write to `output`. A layout that is there gets the images beside those it has. What goes to a registry is
    /// first put into a folder in `scratch`.
    pub fn create(output: &Reference, access: &Access, scratch: &Path) -> Result<Self, ImageError> {
        let (kind, folder) = match output {
            Reference::OciLayout { folder, .. } => {
                layout::begin(folder)?;
                (Kind::Layout, folder.clone())
            }
            Reference::OciArchive { file, .. } | Reference::DockerArchive { file, .. } => {
                let file = archive_place(file, &access.interrupt)?;
                let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
                let temp = temp_folder(parent.unwrap_or(Path::new(".")))?;
                let path = temp.path().to_owned();
                let kind = Kind::Archive {
                    file,
                    is_docker: matches!(output, Reference::DockerArchive { .. }),
                    _folder: temp,
                };
                (kind, path)
            }
            Reference::Registry(to) => {
                let temp = temp_folder(scratch)?;
                let path = temp.path().to_owned();
                let kind = Kind::Registry {
                    to: to.clone(),
                    registries: Arc::clone(&access.registries),
                    there: HashSet::new(),
                    _folder: temp,
                };
                (kind, path)
            }
            Reference::DockerDaemon(_) => {
                let reason =
                    "images are written to layouts, archives and registries; `docker load` reads an archive";
                return Err(ImageError::unsupported(output.to_string(), reason));
            }
        };
        // What is on its way to somewhere else need not survive a power cut.
        let durability = match kind {
            Kind::Layout => Durability::Synced,
            Kind::Archive { .. } | Kind::Registry { .. } => Durability::Cached,
        };
        Ok(ImageWriter {
            name: output.to_string(),
            kind,
            staging: Staging::create(&folder, durability)?,
            interrupt: Arc::clone(&access.interrupt),
            images: Vec::new(),
            kept: HashSet::new(),
        })
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Sees to it that a layer of `base` is where the image goes. A registry may have it, or know where to get it, and then
    /// nobody needs its bytes.
    pub(super) fn keep(
        &mut self,
        base: Base<'_>,
        layer: &StoredLayer,
        blob: &LayerBlob,
        interrupt: &AtomicBool,
    ) -> Result<(), ImageError> {
        if !self.kept.insert(layer.digest) {
            return Ok(());
        }
        let is_there = match &mut self.kind {
            Kind::Layout | Kind::Archive { .. } => self.staging.has(layer, interrupt)?,
            Kind::Registry {
                to,
                registries,
                there,
                ..
            } => {
                let base = base.image.image.reference.parse::<Reference>();
                let from = match &base {
                    Ok(Reference::Registry(from)) if from.host == to.host => Some(&*from.repository),
                    _ => None,
                };
                let is_there = registries.find_blob(to, &layer.digest, from)?;
                if is_there {
                    there.insert(layer.digest);
                }
                is_there
            }
        };
        match is_there {
            true => Ok(()),
            false => self.staging.copy(layer, base.source.open_layer(blob)?, interrupt),
        }
    }

    pub(super) fn add(&mut self, image: NamedImage) {
        self.images.push(image);
    }

    /// Gives the images their names. Until now nobody could see them.
    pub fn finish(self) -> Result<(), ImageError> {
        match &self.kind {
            Kind::Layout => layout::add(&self.staging, &self.images, &self.interrupt),
            Kind::Archive { file, is_docker, .. } => {
                let mut index = empty_index();
                add_to_index(&mut index, &self.images);
                let mut temp = publish::temp_in_place_of(file)?;
                let mut documents = vec![(LAYOUT_FILE, layout_document()), (INDEX_FILE, index)];
                if *is_docker {
                    documents.push(("manifest.json", docker_manifest(&self.name, &self.images)?));
                }
                let out = SteadyFile::new(&mut temp, Durability::Synced);
                let out = Interruptible::new(out, &self.interrupt);
                write_archive(&self.staging, &self.images, &documents, out).map_err(|source| {
                    let error = ImageError::Write {
                        what: self.name.clone(),
                        source,
                    };
                    interrupt::reason(&self.interrupt, error)
                })?;
                Ok(publish::persist(temp, file, Durability::Synced)?)
            }
            Kind::Registry {
                to,
                registries,
                there,
                ..
            } => self.push(to, registries, there),
        }
    }

    /// Layers before the configs that name them, and both before the manifests.
    fn push(
        &self,
        to: &RegistryReference,
        registries: &Registries,
        there: &HashSet<BlobDigest>,
    ) -> Result<(), ImageError> {
        let layers: BTreeSet<_> = self.images.iter().flat_map(|image| &image.layers).collect();
        let configs: BTreeSet<_> = self.images.iter().map(|image| &image.config).collect();
        let blobs = layers.into_iter().chain(configs);
        for digest in blobs.filter(|digest| !there.contains(digest)) {
            registries.push_blob(to, digest, &self.staging.path_of(digest))?;
        }
        for image in &self.images {
            let path = self.staging.path_of(&image.manifest);
            let json = fs::read(&path).at("read", &path)?;
            registries.push_manifest(to, &image.manifest, image.tag.as_deref(), &json)?;
        }
        Ok(())
    }
}

/// Where an archive goes. What is there is given up only for being an archive of images, or empty.
fn archive_place(path: &Path, interrupt: &AtomicBool) -> Result<PathBuf, ImageError> {
    let Some((place, there)) = publish::existing(path)? else {
        return Ok(path.to_owned());
    };
    let is_empty = there.metadata().at("look at", path)?.len() == 0;
    let is_ours = is_empty || is_archive_of_images(path, there, interrupt);
    interrupt::check(interrupt)?;
    match is_ours {
        true => Ok(place),
        false => Err(ImageError::unsupported(
            path.display().to_string(),
            "it is there and is no archive of images; remove it, or name another file",
        )),
    }
}

fn temp_folder(parent: &Path) -> Result<TempDir, ImageError> {
    let temp = tempfile::Builder::new().prefix(".tmp-").tempdir_in(parent);
    Ok(temp.at("create a temporary folder in", parent)?)
}

/// What `docker load` reads.
fn docker_manifest(archive: &str, images: &[NamedImage]) -> Result<Value, ImageError> {
    let path = |digest: &BlobDigest| format!("blobs/sha256/{}", digest.to_hex());
    let images = images.iter().map(|image| {
        let names = image.tag.iter().map(|tag| docker_name(tag));
        let names = names.collect::<Result<Vec<_>, _>>();
        Ok(json!({
            "Config": path(&image.config),
            "RepoTags": names.map_err(|error| ImageError::unsupported(archive, error.to_string()))?,
            "Layers": image.layers.iter().map(path).collect::<Vec<_>>(),
        }))
    });
    images.collect()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::atomic::Ordering};

    use super::*;
    use crate::{
        LoadedImage, Source,
        registry::testing::{Server, answer},
        testing::{MemoryImage, TarMaker, access, gzip, read},
    };

    fn image(writer: &mut ImageWriter, tag: &str) {
        let config = writer.staging().add_bytes(tag.as_bytes()).unwrap();
        writer.add(NamedImage {
            tag: Some(tag.to_owned()),
            manifest: writer.staging().add_bytes(b"{}").unwrap(),
            manifest_bytes: 2,
            platform: None,
            config,
            layers: Vec::new(),
        });
    }

    #[test]
    fn an_archive_takes_the_place_of_archives_only() {
        let temp = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let output = format!("docker-archive:{}", temp.path().join(name).display());
            let mut writer = ImageWriter::create(&output.parse().unwrap(), &access(), temp.path())?;
            image(&mut writer, "v1");
            writer.finish()
        };
        symlink("image.tar", temp.path().join("link")).unwrap();
        write("image.tar").unwrap();
        write("image.tar").unwrap();
        write("link").unwrap();
        assert!(temp.path().join("link").is_symlink());
        fs::write(temp.path().join("empty"), "").unwrap();
        write("empty").unwrap();
        fs::write(temp.path().join("notes"), "mine").unwrap();
        let tar = TarMaker::new().file("notes", b"mine").finish();
        fs::write(temp.path().join("notes.tar"), tar).unwrap();
        fs::write(
            temp.path().join("image.tar.gz"),
            gzip(&fs::read(temp.path().join("image.tar")).unwrap()),
        )
        .unwrap();
        for other in ["notes", "notes.tar", "image.tar.gz", "/dev/null", "."] {
            let error = write(other).unwrap_err();
            assert!(error.to_string().contains(other), "{error}");
        }
        assert_eq!(fs::read(temp.path().join("notes")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 6, "no debris");
    }

    #[test]
    fn who_stops_an_archive_that_is_being_written_finds_what_was_there() {
        let temp = tempfile::tempdir().unwrap();
        let output = format!("oci-archive:{}", temp.path().join("image.tar").display());
        fs::write(temp.path().join("image.tar"), "").unwrap();
        let access = Access {
            interrupt: Arc::default(),
            ..access()
        };
        let mut writer = ImageWriter::create(&output.parse().unwrap(), &access, temp.path()).unwrap();
        image(&mut writer, "v1");
        access.interrupt.store(true, Ordering::Relaxed);
        assert!(matches!(writer.finish(), Err(ImageError::Interrupted)));
        let names = fs::read_dir(temp.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["image.tar"]);
        assert_eq!(fs::read(temp.path().join("image.tar")).unwrap(), b"");
    }

    /// A registry that answers a mount of `team/base` so.
    fn registry(mount: &'static str) -> Server {
        Server::start(move |asked, _| match asked.line.split(' ').next().unwrap() {
            "HEAD" => answer("404 Not Found", "", b""),
            "POST" if asked.line.contains("from=team%2Fbase") => answer(mount, "", b""),
            "POST" => answer("202 Accepted", "location: /upload?s=1\r\n", b""),
            _ => answer("201 Created", "", b""),
        })
    }

    /// An image of one layer, as if it were on that registry.
    fn base(server: &Server) -> (LoadedImage, Box<dyn Source>) {
        let tar = TarMaker::new().file("a", b"1").finish();
        let sources = [MemoryImage::source("base", vec![tar.clone()])];
        let mut image = read(&sources).unwrap().remove(0);
        image.image.reference = format!("{}/team/base:v1", server.host);
        (image, MemoryImage::source("base", vec![tar]))
    }

    #[test]
    fn a_push_ends_with_configs_and_then_manifests_and_fetches_no_layer_that_is_mounted() {
        let server = registry("201 Created");
        let (loaded, _) = base(&server);
        let temp = tempfile::tempdir().unwrap();
        let to = Reference::Registry(server.reference());
        let mut writer = ImageWriter::create(&to, &access(), temp.path()).unwrap();
        let (layer, blob) = (&loaded.layers[0], &loaded.image.layers[0]);
        let nowhere = MemoryImage::source("base", Vec::new());
        let base = Base {
            image: &loaded,
            source: &*nowhere,
        };
        writer.keep(base, layer, blob, &AtomicBool::new(false)).unwrap();
        // Whatever their digests: the config comes after the layers.
        let layers: Vec<_> = (0..8)
            .map(|n| writer.staging().add_bytes(&[n]).unwrap())
            .collect();
        image(&mut writer, "v1");
        writer.images[0].layers = layers.iter().copied().chain([layer.digest]).collect();
        let config = writer.images[0].config;
        writer.finish().unwrap();
        let asked = server.asked();
        let puts: Vec<_> = asked
            .iter()
            .filter(|asked| asked.line.starts_with("PUT"))
            .collect();
        assert_eq!(puts.len(), 10, "{puts:?}");
        assert!(puts[8].line.contains(&config.to_hex()), "{puts:?}");
        assert!(puts[9].line.contains("/manifests/v1"), "{puts:?}");
    }

    #[test]
    fn a_layer_whose_mount_is_refused_is_uploaded() {
        for mount in [
            "400 Bad Request",
            "401 Unauthorized",
            "403 Forbidden",
            "404 Not Found",
        ] {
            let server = registry(mount);
            let (loaded, source) = base(&server);
            let temp = tempfile::tempdir().unwrap();
            let to = Reference::Registry(server.reference());
            let mut writer = ImageWriter::create(&to, &access(), temp.path()).unwrap();
            let (layer, blob) = (&loaded.layers[0], &loaded.image.layers[0]);
            let base = Base {
                image: &loaded,
                source: &*source,
            };
            writer.keep(base, layer, blob, &AtomicBool::new(false)).unwrap();
            image(&mut writer, "v1");
            writer.images[0].layers = vec![layer.digest];
            writer.finish().unwrap();
            let is_upload = |line: &str| line.starts_with("PUT") && line.contains(&layer.digest.to_hex());
            let asked = server.asked();
            assert!(asked.iter().any(|asked| is_upload(&asked.line)), "{mount}");
        }
    }

    #[test]
    fn a_layer_that_has_become_longer_is_not_copied_to_its_end() {
        let tar = TarMaker::new().file("a", b"1").finish();
        let sources = [MemoryImage::source("base", vec![tar.clone()])];
        let images = read(&sources).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let staging = Staging::create(temp.path(), Durability::Cached).unwrap();
        let endless = std::io::repeat(0);
        let error = staging
            .copy(&images[0].layers[0], endless, &AtomicBool::new(false))
            .unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    #[test]
    fn a_layer_of_a_base_is_taken_from_a_layout_only_when_its_bytes_are_right() {
        let tar = TarMaker::new().file("a", b"1").finish();
        let sources = [MemoryImage::source("base", vec![tar.clone()])];
        let images = read(&sources).unwrap();
        let (layer, blob) = (&images[0].layers[0], &images[0].image.layers[0]);
        let base = Base {
            image: &images[0],
            source: &*sources[0],
        };
        let temp = tempfile::tempdir().unwrap();
        let output = Reference::OciLayout {
            folder: temp.path().join("out"),
            tag: None,
        };
        let mut writer = ImageWriter::create(&output, &access(), temp.path()).unwrap();
        let path = writer.staging().path_of(&layer.digest);
        fs::write(&path, vec![7; tar.len()]).unwrap();
        writer.keep(base, layer, blob, &AtomicBool::new(false)).unwrap();
        assert!(fs::read(&path).unwrap() == tar);
        // And what is right is not asked for again.
        let mut again = ImageWriter::create(&output, &access(), temp.path()).unwrap();
        let nowhere = [MemoryImage::source("base", Vec::new())];
        let base = Base {
            image: &images[0],
            source: &*nowhere[0],
        };
        again.keep(base, layer, blob, &AtomicBool::new(false)).unwrap();
    }
}
