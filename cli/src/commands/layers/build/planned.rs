//! Images written anew, in planned layers.

use std::path::{Path, PathBuf};

use headstart_image::{
    Reference,
    build::ImageWriter,
    docker_name,
    plan::{PlannedBuild, build_plan},
};

use super::BuildArgs;
use crate::{context::Context, error::CommandError, ui::Ui};

pub(super) fn run(
    ui: &Ui,
    context: &Context,
    args: &BuildArgs,
    output: &Reference,
) -> Result<(), CommandError> {
    let is_explicit = !matches!(output, Reference::Registry(_))
        || args
            .output
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'));
    if output.tag().is_some() && is_explicit {
        return Err(CommandError::usage("each planned image gets a tag of its own")
            .hint("leave out the tag of --output"));
    }
    let tags = tags(&args.images, output)?;
    let planned = args
        .fleet
        .plan(ui, context, &args.images, &args.sources, &args.make)?;
    let mut writer = ImageWriter::create(output, &args.sources.access(context), &scratch(output))?;
    let build = PlannedBuild {
        plan: &planned.plan,
        images: &planned.images,
        sources: &planned.sources,
        scratch: &scratch(output),
    };
    let tags: Vec<_> = tags.into_iter().map(Some).collect();
    let built = build_plan(build, &tags, &mut writer, args.make.options(context))?;
    writer.finish()?;
    planned.report(ui, &built)
}

/// Beside what is written there is room for it.
pub(super) fn scratch(output: &Reference) -> PathBuf {
    match output {
        Reference::OciLayout { folder, .. } => folder.clone(),
        Reference::OciArchive { file, .. } | Reference::DockerArchive { file, .. } => file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned(),
        Reference::DockerDaemon(_) | Reference::Registry(_) => std::env::temp_dir(),
    }
}

fn tags(names: &[String], output: &Reference) -> Result<Vec<String>, CommandError> {
    let mut tags: Vec<String> = Vec::new();
    for name in names {
        let mut tag = tag_of(name);
        let name_of_image = match output {
            // There it is the name of a repository.
            Reference::DockerArchive { .. } => {
                tag.make_ascii_lowercase();
                tag.clone()
            }
            _ => format!("any:{tag}"),
        };
        if docker_name(&name_of_image).is_err() {
            let sentence = format!("no tag can be made of {name:?}");
            return Err(CommandError::usage(sentence).hint("give the folder or file a name of letters"));
        }
        if tags.contains(&tag) {
            let sentence = format!("two images would get the tag {tag}");
            return Err(CommandError::usage(sentence).hint("give their folders or files different names"));
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// The last part of a name, with the image's own tag: `oci:images/web:v1` is `web-v1`.
fn tag_of(name: &str) -> String {
    let name = ["oci:", "oci-archive:", "docker-archive:", "docker-daemon:"]
        .iter()
        .find_map(|kind| name.strip_prefix(kind))
        .unwrap_or(name);
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    let last = last.strip_suffix(".tar").unwrap_or(last).replace(".tar:", ":");
    let letters = last.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => letter,
        _ => '-',
    });
    letters
        .collect::<String>()
        .trim_start_matches(['.', '-'])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_made_of_a_name() {
        for (name, tag) in [
            ("oci:images/web:v1", "web-v1"),
            ("oci:web/", "web"),
            ("docker-archive:/tmp/jobs.tar", "jobs"),
            ("docker-archive:/tmp/jobs.tar:team/app:v2", "app-v2"),
            ("registry.example/team/app:1.4", "app-1.4"),
        ] {
            assert_eq!(tag_of(name), tag, "{name}");
        }
    }

    #[test]
    fn every_image_gets_a_tag_that_its_place_allows() {
        let tags = |names: &[&str], output: &str| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            tags(&names, &output.parse().unwrap())
        };
        assert_eq!(tags(&["oci:Web"], "oci:to").unwrap(), ["Web"]);
        assert_eq!(tags(&["oci:Web"], "docker-archive:to").unwrap(), ["web"]);
        assert!(tags(&["oci:a/web", "oci:b/web"], "oci:to").is_err());
        assert!(tags(&["oci:."], "oci:to").is_err());
        assert!(tags(&[&format!("oci:{}", "x".repeat(129))], "oci:to").is_err());
        assert!(tags(&["oci:web-"], "docker-archive:to").is_err());
    }
}
