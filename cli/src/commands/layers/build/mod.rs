//! `headstart layers build`.

mod config;
mod files;
mod make;
mod planned;
mod report;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use headstart_image::{
    Reference, RegistryReference, Version,
    build::{Base, ConfigChange, FileStyle, ImageWriter, LayerContent, NewImage, NewLayer, build_image},
    docker_name,
    jar::Jar,
};

use self::{
    config::ConfigArgs,
    files::{LayerArg, ListArg, load_layers, parse_layer, parse_list},
};
use super::{plan::FleetArgs, sources::SourceArgs};
use crate::{context::Context, error::CommandError, ui::Ui};

/// Where the entries of a jar are in its image: where Spring Boot's own tools put them.
const JAR_FOLDER: &str = "/application";

pub(super) use make::{MakeArgs, TimesArg};

/// Build an image of files, in layers of your choice
///
/// No daemon is asked. The same files make the same bytes, on every machine: entries are sorted, times are fixed
/// ($SOURCE_DATE_EPOCH, else 1970), files belong to root and have the mode 644 or 755. Every new layer is read back and
/// compared path by path before the image gets its name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart layers build --base oci:node --layer deps=node_modules:/app/node_modules --layer app=dist:/app/dist \\\n      \
        --workdir /app --entrypoint node --cmd dist/server.js --output oci:web:v1\n  \
    headstart layers build --plan oci:web oci:api oci:jobs --output oci:planned\n  \
    headstart layers build --jar shop.jar --base registry.example/java:21 --output oci:shop:v1\n  \
    git ls-files -z | headstart layers build -0 --base scratch --layer site=.:/srv --files site=- \\\n      \
        --output docker-archive:site.tar:site:v1")]
pub(crate) struct BuildArgs {
    /// Write images anew, in the layers that `headstart layers plan` proposes
    ///
    /// All go into one layout or archive, each under a tag made of its name: oci:images/web:v1 becomes web-v1.
    #[arg(long = "plan", requires = "images")]
    is_planned: bool,
    /// Images to write anew
    #[arg(value_name = "IMAGE", requires = "is_planned")]
    images: Vec<String>,
    #[command(flatten)]
    fleet: FleetArgs,
    /// Image to build on, or scratch
    #[arg(
        long,
        value_name = "IMAGE",
        required_unless_present = "is_planned",
        conflicts_with = "is_planned"
    )]
    base: Option<String>,
    /// Layer of a folder's files, lowest first: NAME=DIR:/in/image
    #[arg(long = "layer", value_name = "NAME=DIR:PATH", required_unless_present_any = ["is_planned", "jar"], conflicts_with = "is_planned", value_parser = parse_layer)]
    layers: Vec<LayerArg>,
    /// Files of a layer's folder that are meant, instead of all
    ///
    /// LIST is a file with one path below the folder per line, or - for stdin; a folder stands for all it holds.
    #[arg(long = "files", value_name = "NAME=LIST", requires = "layers", value_parser = parse_list)]
    lists: Vec<ListArg>,
    /// Spring Boot jar or war to unpack into /application, in the layers of its index, or in Spring Boot's default ones
    ///
    /// Unless told otherwise the image starts Java with the jar's launcher, in that folder.
    #[arg(long, value_name = "JAR", conflicts_with_all = ["is_planned", "layers"])]
    jar: Option<PathBuf>,
    /// Paths of lists end in NUL bytes instead of line ends
    #[arg(short = '0', long = "null", requires = "lists")]
    is_null_separated: bool,
    /// Where the image goes: oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG] or a
    /// registry's NAME[:TAG]
    #[arg(long, short, value_name = "IMAGE")]
    output: String,
    #[command(flatten)]
    make: MakeArgs,
    /// Owner of the files [default: 0:0]
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner, conflicts_with = "is_planned")]
    owner: Option<(u32, u32)>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    sources: SourceArgs,
}

fn parse_owner(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "an owner is written UID:GID, in numbers".to_owned();
    let (uid, gid) = text.split_once(':').ok_or_else(wrong)?;
    Ok((
        uid.parse().map_err(|_| wrong())?,
        gid.parse().map_err(|_| wrong())?,
    ))
}

pub(in super::super) fn run(ui: &Ui, context: &Context, args: BuildArgs) -> Result<(), CommandError> {
    let output = parse_output(&args.output)?;
    if let Reference::DockerArchive { tag: Some(tag), .. } = &output {
        docker_name(tag).map_err(|error| CommandError::usage(error.to_string()))?;
    }
    if args.is_planned {
        return planned::run(ui, context, &args, &output);
    }
    if args.fleet.is_given() {
        return Err(CommandError::usage("--have and --max-layers belong to --plan"));
    }
    let mut config = args.config.change(context)?;
    let layers = match &args.jar {
        Some(jar) => jar_layers(jar, &mut config)?,
        None => load_layers(&args.layers, &args.lists, args.is_null_separated)?,
    };
    let base = args.base.into_iter().filter(|base| base != "scratch");
    let (sources, images) = args.sources.open(ui, context, &base.collect::<Vec<_>>())?;
    let base = images.first().zip(sources.first()).map(|(image, source)| Base {
        image,
        source: &**source,
    });
    let (uid, gid) = args.owner.unwrap_or((0, 0));
    let new = NewImage {
        base,
        platform: args.sources.platform(),
        layers,
        style: FileStyle {
            uid,
            gid,
            times: args.make.times(context, TimesArg::Fixed)?,
        },
        config,
        tag: output.tag().map(str::to_owned),
    };
    let scratch = planned::scratch(&output);
    for layer in &new.layers {
        if let LayerContent::Files(files) = &layer.content {
            files.check_apart(&scratch)?;
        }
    }
    let mut writer = ImageWriter::create(&output, &args.sources.access(context), &scratch)?;
    let image = build_image(&new, &mut writer, args.make.options(context))?;
    writer.finish()?;
    let kept = base.map_or(0, |base| base.image.layers.len());
    let names: Vec<_> = new.layers.iter().map(|layer| &*layer.name).collect();
    report::report(ui, &args.output, &image, kept, &names)
}

/// The layers of a jar, and what it takes to start it.
fn jar_layers(path: &Path, config: &mut ConfigChange) -> Result<Vec<NewLayer>, CommandError> {
    let jar = Arc::new(Jar::open(path)?);
    if config.entrypoint.is_none() {
        config.entrypoint = Some(vec!["java".to_owned(), jar.main_class().to_owned()]);
    }
    config.working_folder.get_or_insert_with(|| JAR_FOLDER.to_owned());
    let layers = jar.layer_names().into_iter().enumerate();
    let layers = layers.map(|(layer, name)| NewLayer {
        name,
        content: LayerContent::Jar {
            jar: Arc::clone(&jar),
            layer,
            to: JAR_FOLDER.into(),
        },
    });
    Ok(layers.collect())
}

fn parse_output(text: &str) -> Result<Reference, CommandError> {
    let output = text
        .parse::<Reference>()
        .map_err(|error| CommandError::usage(error.to_string()))?;
    match &output {
        Reference::DockerDaemon(name) => {
            let hint = format!("write docker-archive:FILE:{name}, then `docker load --input FILE`");
            Err(CommandError::usage("images are not written to the Docker daemon").hint(hint))
        }
        Reference::Registry(RegistryReference {
            version: Version::Digest(_),
            ..
        }) => {
            let sentence = format!("{text} names an image that is there, by its digest");
            let name = text.split('@').next().unwrap_or(text);
            Err(CommandError::usage(sentence)
                .hint(format!("give a name, or a name with a tag: --output {name}")))
        }
        _ => Ok(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_cannot_be_written_is_refused_before_anything_is_read() {
        let digest = "0".repeat(64);
        for output in [
            format!("r.example/app@sha256:{digest}"),
            format!("r.example/app:v1@sha256:{digest}"),
            "docker-daemon:app:v1".to_owned(),
        ] {
            assert!(parse_output(&output).is_err(), "{output}");
        }
        for output in [
            "r.example/app:v1",
            "r.example/app",
            "oci:app:v1",
            "docker-archive:app.tar",
        ] {
            assert!(parse_output(output).is_ok(), "{output}");
        }
    }
}
