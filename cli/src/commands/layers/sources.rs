//! From names on the command line to images.

use std::{num::NonZero, thread};

use clap::Args;
use headstart_image::{
    LoadedImage, NoCache, ParsePlatformError, Platform, ReadOptions, Reference, Source, open_source,
    read_images,
};

use crate::{context::Context, error::CommandError, ui::Ui};

/// What every command that reads images takes.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Image of an index to take: os/architecture[/variant] [default: linux on this machine's processor]
    #[arg(long, value_name = "PLATFORM", value_parser = parse_platform)]
    platform: Option<Platform>,
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
    ) -> Result<(Vec<Box<dyn Source>>, Vec<LoadedImage>), CommandError> {
        let references = names
            .iter()
            .map(|name| name.parse::<Reference>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CommandError::usage(error.to_string()))?;
        let sources = references
            .iter()
            .map(open_source)
            .collect::<Result<Vec<_>, _>>()?;
        let platform = self.platform();
        let options = ReadOptions {
            platform: &platform,
            parallel: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            cache: &NoCache,
            progress: &*ui.progress(),
            interrupt: &context.interrupt,
        };
        let mut images = read_images(&sources, options)?;
        for (image, name) in images.iter_mut().zip(names) {
            image.image.reference.clone_from(name);
        }
        Ok((sources, images))
    }

    /// The platform that is meant.
    pub(super) fn platform(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::native)
    }
}
