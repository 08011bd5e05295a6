//! Where new images go: an OCI layout, an archive of one, or a registry.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use headstart_fs::{AtPath as _, publish};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    archive::write_archive,
    staging::{Staging, persist},
};
use crate::{
    Access, BlobDigest, ImageError, Platform, Reference, Registries, RegistryReference, StoredLayer,
    manifest::{MAX_MANIFEST_BYTES, media_type, parse},
    source::REF_NAME,
};

/// What makes a folder a layout.
const LAYOUT_FILE: &str = "oci-layout";

/// Takes the blobs of images, and gives them their names at the end.
#[derive(Debug)]
pub struct ImageWriter {
    name: String,
    kind: Kind,
    staging: Staging,
    images: Vec<NamedImage>,
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
        /// Repositories of the same registry that have a blob.
        sources: HashMap<BlobDigest, String>,
        _folder: TempDir,
    },
}

impl ImageWriter {
    /// Prepares to write to `output`. A layout that is there gets the images beside those it has. What goes to a registry is
    /// first put into a folder in `scratch`.
    pub fn create(output: &Reference, access: &Access, scratch: &Path) -> Result<Self, ImageError> {
        let (kind, folder) = match output {
            Reference::OciLayout { folder, .. } => {
                begin_layout(folder)?;
                (Kind::Layout, folder.clone())
            }
            Reference::OciArchive { file, .. } | Reference::DockerArchive { file, .. } => {
                let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                let temp = temp_folder(parent)?;
                let path = temp.path().to_owned();
                let kind = Kind::Archive {
                    file: file.clone(),
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
                    sources: HashMap::new(),
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
        Ok(ImageWriter {
            name: output.to_string(),
            kind,
            staging: Staging::create(&folder)?,
            images: Vec::new(),
        })
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Remembers that `image` has these layers: where it is of the registry that is written to, they need no upload.
    pub(super) fn note_source(&mut self, image: &str, layers: &[Arc<StoredLayer>]) {
        if let Kind::Registry { to, sources, .. } = &mut self.kind
            && let Ok(Reference::Registry(from)) = image.parse::<Reference>()
            && from.host == to.host
        {
            sources.extend(layers.iter().map(|layer| (layer.digest, from.repository.clone())));
        }
    }

    pub(super) fn add(&mut self, image: NamedImage) {
        self.images.push(image);
    }

    /// Gives the images their names. Until now nobody could see them.
    pub fn finish(self) -> Result<(), ImageError> {
        if let Kind::Registry {
            to,
            registries,
            sources,
            ..
        } = &self.kind
        {
            return self.push(to, registries, sources);
        }
        let folder = self.staging.layout();
        let mut index = match &self.kind {
            Kind::Layout => load_index(folder)?,
            Kind::Archive { .. } | Kind::Registry { .. } => empty_index(),
        };
        for image in &self.images {
            add_to_index(&mut index, image);
        }
        match &self.kind {
            Kind::Layout => write_document(&folder.join("index.json"), &index),
            Kind::Archive { file, is_docker, .. } => {
                let mut temp = publish::temp_beside(file)?;
                let docker = is_docker.then(|| ("manifest.json", docker_manifest(&self.images)));
                let documents = [(LAYOUT_FILE, layout_document()), ("index.json", index)];
                let documents: Vec<_> = documents.into_iter().chain(docker).collect();
                write_archive(&self.staging, &self.images, &documents, &mut temp).map_err(|source| {
                    ImageError::Write {
                        what: self.name.clone(),
                        source,
                    }
                })?;
                persist(temp, file)
            }
            Kind::Registry { .. } => unreachable!("it was pushed"),
        }
    }

    /// Blobs before the manifests that name them.
    fn push(
        &self,
        to: &RegistryReference,
        registries: &Registries,
        sources: &HashMap<BlobDigest, String>,
    ) -> Result<(), ImageError> {
        let blobs = self
            .images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config]));
        for digest in blobs.collect::<BTreeSet<_>>() {
            let from = sources.get(digest).map(String::as_str);
            registries.push_blob(to, digest, &self.staging.path_of(digest), from)?;
        }
        for image in &self.images {
            let path = self.staging.path_of(&image.manifest);
            let json = fs::read(&path).at("read", &path)?;
            registries.push_manifest(to, &image.manifest, image.tag.as_deref(), &json)?;
        }
        Ok(())
    }
}

fn temp_folder(parent: &Path) -> Result<TempDir, ImageError> {
    let temp = tempfile::Builder::new().prefix(".tmp-").tempdir_in(parent);
    Ok(temp.at("create a temporary folder in", parent)?)
}

/// Says of a folder that it is a layout, before anything is in it: a build that fails leaves something the next goes on with.
/// A folder that holds something else is left alone.
fn begin_layout(folder: &Path) -> Result<(), ImageError> {
    if folder.join(LAYOUT_FILE).exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).at("create", folder)?;
    if fs::read_dir(folder).at("list", folder)?.next().is_some() {
        let reason = "it is there, and is neither empty nor an OCI layout";
        return Err(ImageError::unsupported(folder.display().to_string(), reason));
    }
    write_document(&folder.join(LAYOUT_FILE), &layout_document())
}

fn layout_document() -> Value {
    json!({"imageLayoutVersion": "1.0.0"})
}

fn write_document(path: &Path, document: &Value) -> Result<(), ImageError> {
    let mut temp = publish::temp_beside(path)?;
    temp.write_all(document.to_string().as_bytes())
        .at("write", temp.path())?;
    persist(temp, path)
}

fn empty_index() -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []})
}

fn load_index(folder: &Path) -> Result<Value, ImageError> {
    let path = folder.join("index.json");
    match fs::metadata(&path) {
        Ok(there) if there.len() > MAX_MANIFEST_BYTES => {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            Err(ImageError::too_large(path.display().to_string(), limit))
        }
        Ok(_) => parse(&path.display().to_string(), &fs::read(&path).at("read", &path)?),
        Err(_) => Ok(empty_index()),
    }
}

/// The tag moves from whatever had it. An image without one takes the place of that for the same platform: nothing else
/// tells them apart.
fn add_to_index(index: &mut Value, image: &NamedImage) {
    let tag = image.tag.as_deref();
    let mut descriptor = json!({
        "mediaType": media_type::OCI_MANIFEST,
        "digest": image.manifest,
        "size": image.manifest_bytes,
    });
    let platform = image.platform.as_ref().map(|platform| json!(platform));
    if let Some(platform) = &platform {
        descriptor["platform"] = platform.clone();
    }
    if let Some(tag) = tag {
        descriptor["annotations"] = json!({REF_NAME: tag});
    }
    if !index["manifests"].is_array() {
        index["manifests"] = json!([]);
    }
    if let Value::Array(manifests) = &mut index["manifests"] {
        let tag_of = |old: &Value| old["annotations"][REF_NAME].as_str().map(str::to_owned);
        manifests.retain(|old| match tag {
            Some(tag) => tag_of(old).as_deref() != Some(tag),
            None => tag_of(old).is_some() || !is_replaced(old, platform.as_ref()),
        });
        manifests.push(descriptor);
    }
}

/// Whether an untagged manifest is for `platform`, as far as is said.
fn is_replaced(old: &Value, platform: Option<&Value>) -> bool {
    let is_index = old["mediaType"].as_str().is_some_and(media_type::is_index);
    let is_other = old
        .get("platform")
        .zip(platform)
        .is_some_and(|(old, new)| old != new);
    !is_index && !is_other
}

/// What `docker load` reads.
fn docker_manifest(images: &[NamedImage]) -> Value {
    let path = |digest: &BlobDigest| format!("blobs/sha256/{}", digest.to_hex());
    let images = images.iter().map(|image| {
        let tags = image.tag.iter().map(|tag| match tag.contains(':') {
            true => tag.clone(),
            false => format!("{tag}:latest"),
        });
        json!({
            "Config": path(&image.config),
            "RepoTags": tags.collect::<Vec<_>>(),
            "Layers": image.layers.iter().map(path).collect::<Vec<_>>(),
        })
    });
    images.collect()
}
