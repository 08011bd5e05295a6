//! From names on the command line to images.

use std::{
    collections::HashMap, ffi::OsStr, num::NonZero, os::unix::ffi::OsStrExt as _, path::PathBuf, sync::Arc,
    thread,
};

use clap::Args;
use headstart_image::{
    Access, LoadedImage, NoCache, ParsePlatformError, Platform, ReadOptions, Reference, Registries,
    RegistryOptions, Source, open_source, read_images,
};

use super::{
    cache::{LayerFolder, MAX_BYTES, layers_dir},
    credentials::DockerCredentials,
};
use crate::{
    context::Context,
    env_vars,
    error::CommandError,
    ui::{Ui, bytes},
};

/// Where the Docker daemon listens unless `$DOCKER_HOST` says otherwise.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Bytes that could be saved and of which a user should hear.
pub(super) const WORTH_SAYING: u64 = 1 << 20;

/// Where the bytes of images are, and what the images are, in the same order.
pub(super) type OpenedImages = (Vec<Box<dyn Source>>, Vec<LoadedImage>);

/// What every command that reads images takes.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// What images must run on: os/architecture[/variant] [default: of an index the image for linux on this machine's
    /// processor, and an image alone whatever it runs on]
    #[arg(long, value_name = "PLATFORM", value_parser = parse_platform)]
    platform: Option<Platform>,
    /// Registry to speak to without TLS, like host:5000; one on this machine needs no mention
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
}

fn parse_platform(text: &str) -> Result<Platform, ParsePlatformError> {
    text.parse()
}

impl SourceArgs {
    /// Reads the images of these names, in their order; afterwards they are called what the user calls them.
    pub(super) fn read(
        &self,
        ui: &Ui,
        context: &Context,
        names: &[String],
    ) -> Result<Vec<LoadedImage>, CommandError> {
        self.open(ui, context, names).map(|(_, images)| images)
    }

    /// The same, with where their bytes are.
    pub(super) fn open(
        &self,
        ui: &Ui,
        context: &Context,
        names: &[String],
    ) -> Result<OpenedImages, CommandError> {
        let references = names
            .iter()
            .map(|name| name.parse::<Reference>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CommandError::usage(error.to_string()))?;
        if references
            .iter()
            .any(|reference| matches!(reference, Reference::DockerDaemon(_)))
        {
            docker_socket(context)?;
        }
        let access = self.access(context);
        let sources = references
            .iter()
            .map(|reference| open_source(reference, &access))
            .collect::<Result<Vec<_>, _>>()?;
        let folder = layer_folder(ui, context);
        let options = ReadOptions {
            platform: self.platform.as_ref(),
            parallel: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            cache: match &folder {
                Some(folder) => folder,
                None => &NoCache,
            },
            progress: &*ui.progress(),
            interrupt: &context.interrupt,
        };
        let mut images = read_images(&sources, options)?;
        if let Some(folder) = &folder {
            folder.trim(MAX_BYTES);
        }
        for (image, name) in images.iter_mut().zip(names) {
            image.image.reference.clone_from(name);
        }
        hint_at_plain_layers(ui, &images);
        Ok((sources, images))
    }

    /// What an image runs on that is built on nothing.
    pub(super) fn platform(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::native)
    }

    /// The way to registries and the daemon.
    pub(super) fn access(&self, context: &Context) -> Access {
        let options = RegistryOptions {
            credentials: Box::new(DockerCredentials::new(context)),
            plain_http: self.plain_http.clone(),
            interrupt: Arc::clone(&context.interrupt),
        };
        Access {
            registries: Arc::new(Registries::new(options)),
            // Who wants the daemon has been told what is wrong with it.
            docker_socket: docker_socket(context).unwrap_or_else(|_| DOCKER_SOCKET.into()),
            interrupt: Arc::clone(&context.interrupt),
        }
    }
}

/// Archives and the daemon often have layers as plain tars: pushed to a registry they are compressed, and pulls are smaller.
fn hint_at_plain_layers(ui: &Ui, images: &[LoadedImage]) {
    let layers = images.iter().flat_map(|image| &image.layers);
    let tars =
        layers.filter_map(|layer| Some((layer.digest, layer.compressed_bytes, layer.layer.as_deref()?)));
    let plain: HashMap<_, _> = tars
        .filter(|(_, stored, tar)| *stored == tar.tar_bytes())
        .map(|(digest, stored, _)| (digest, stored))
        .collect();
    let all = plain.values().copied().fold(0, u64::saturating_add);
    if all >= WORTH_SAYING {
        ui.status(format_args!(
            "Hint: {} of layers are plain tars where they were read; pulls are counted so, and are smaller where layers are compressed",
            bytes(all)
        ));
    }
}

/// Where the Docker daemon listens: only sockets of this machine are known here.
fn docker_socket(context: &Context) -> Result<PathBuf, CommandError> {
    let Some(host) = context.var(env_vars::DOCKER_HOST) else {
        return Ok(DOCKER_SOCKET.into());
    };
    match host.as_bytes().strip_prefix(b"unix://") {
        Some(path) if !path.is_empty() => Ok(OsStr::from_bytes(path).into()),
        _ => {
            let sentence = format!(
                "${} is {}, and the Docker daemon is spoken to over unix sockets only",
                env_vars::DOCKER_HOST,
                host.display()
            );
            let hint = "set it like unix:///var/run/docker.sock, or give what `docker save` writes as docker-archive:FILE";
            Err(CommandError::usage(sentence).hint(hint))
        }
    }
}

/// What earlier runs learned of layers; nothing, with a warning, when the local store cannot be used.
fn layer_folder(ui: &Ui, context: &Context) -> Option<LayerFolder> {
    if !context.has_home_for_store() {
        return None;
    }
    match context.open_local_store() {
        Ok(local) => Some(LayerFolder::new(layers_dir(&local))),
        Err(error) => {
            ui.warn(format_args!("{}; nothing is remembered", error.one_line()));
            None
        }
    }
}
