//! `headstart layers jar`.

mod libraries;

use std::path::PathBuf;

use clap::Args;
use headstart_image::{
    build::FileStyle,
    jar::{Jar, JarReport},
};
use libraries::{SharedLibrary, Skew, shared_libraries, version_skew};
use serde::Serialize;

use super::build::{MakeArgs, TimesArg};
use crate::{
    context::Context,
    error::CommandError,
    ui::{Table, Ui, bytes, clean, count},
};

/// Names that the report gives of a list; the JSON document has all.
const MOST_NAMES: usize = 5;

/// See how Spring Boot jars and wars are layered, and what is wrong with it
///
/// Tells what each layer of layers.idx weighs, in the jar and as an image's layer, and what a change of code ships; entries in
/// no layer or in two, paths that name nothing, libraries that change in the layer of those that do not; and, of several jars,
/// which libraries they have in common and in which versions. A jar without an index is seen in Spring Boot's default layers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart layers jar build/libs/shop.jar\n  \
    headstart layers jar --propose-index build/libs/shop.jar > layers.idx\n  \
    headstart layers jar services/*/build/libs/*.jar --json")]
pub(crate) struct JarArgs {
    /// Print only an index for a jar that has none: the text of its layers.idx
    #[arg(long)]
    propose_index: bool,
    /// Executable jars or wars
    #[arg(required = true, value_name = "JAR")]
    jars: Vec<PathBuf>,
    #[command(flatten)]
    make: MakeArgs,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    jars: Vec<JarDocument>,
    shared_libraries: Vec<SharedLibrary>,
    version_skew: Vec<Skew>,
}

#[derive(Serialize)]
struct JarDocument {
    path: String,
    layered: bool,
    layers: Vec<LayerDocument>,
    /// What every change ships as one file.
    whole_bytes: u64,
    /// What a change of code ships in layers.
    code_change_bytes: u64,
    in_no_layer: Vec<String>,
    in_several_layers: Vec<String>,
    missing: Vec<String>,
    snapshots_in_dependencies: Vec<String>,
    own_modules_in_dependencies: Vec<String>,
    entry_times: usize,
    /// Where the index is, or would be.
    index_path: &'static str,
    /// For a jar without an index: the text of one.
    proposed_index: Option<String>,
}

#[derive(Serialize)]
struct LayerDocument {
    name: String,
    files: u64,
    stored_bytes: u64,
    layer_bytes: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: JarArgs) -> Result<(), CommandError> {
    let style = FileStyle {
        uid: 0,
        gid: 0,
        times: args.make.times(context, TimesArg::Fixed)?,
    };
    if args.propose_index && (args.jars.len() != 1 || ui.is_json()) {
        return Err(CommandError::usage("--propose-index prints the index of one jar")
            .hint("name one jar, and leave out --json, which has the indexes of all"));
    }
    let mut reports = Vec::new();
    for path in &args.jars {
        let report = Jar::open(path).and_then(|jar| jar.report(style, args.make.options(context)));
        let report = report.map_err(|error| {
            CommandError::from(error).context(format!("cannot look at {}", path.display()))
        })?;
        reports.push((path.display().to_string(), report));
    }
    if args.propose_index {
        return propose_index(ui, &reports[0]);
    }
    let libraries: Vec<_> = reports
        .iter()
        .map(|(path, report)| (&**path, &*report.libraries))
        .collect();
    let document = Document {
        schema: "headstart.layers-jar/1",
        shared_libraries: shared_libraries(&libraries),
        version_skew: version_skew(&libraries),
        jars: reports
            .into_iter()
            .map(|(path, report)| JarDocument::of(path, report))
            .collect(),
    };
    match ui.is_json() {
        true => ui.answer_json(&document),
        false => print(ui, &document),
    }
}

fn propose_index(ui: &Ui, (path, report): &(String, JarReport)) -> Result<(), CommandError> {
    let index = report.proposed_index.as_deref();
    match index {
        Some(text) => ui.answer(text.trim_end()),
        None if report.is_indexed => Err(CommandError::failed(format!("{path} has an index"))
            .hint("without --propose-index you see what is wrong with it")),
        None => Err(CommandError::failed(format!(
            "{path} has entries whose names an index cannot hold"
        ))),
    }
}

impl JarDocument {
    fn of(path: String, report: JarReport) -> Self {
        JarDocument {
            path,
            layered: report.is_indexed,
            code_change_bytes: report.code_change_bytes,
            layers: report
                .layers
                .into_iter()
                .map(|layer| LayerDocument {
                    name: layer.name,
                    files: layer.files,
                    stored_bytes: layer.stored_bytes,
                    layer_bytes: layer.layer_bytes,
                })
                .collect(),
            whole_bytes: report.whole_bytes,
            in_no_layer: report.in_no_layer,
            in_several_layers: report.in_several_layers,
            missing: report.missing,
            snapshots_in_dependencies: report.snapshots_in_dependencies,
            own_modules_in_dependencies: report.own_modules_in_dependencies,
            entry_times: report.entry_times,
            index_path: report.index_path,
            proposed_index: report.proposed_index,
        }
    }
}

fn print(ui: &Ui, document: &Document) -> Result<(), CommandError> {
    for jar in &document.jars {
        let layered = match jar.layered {
            true => "layered by its index",
            false => "no index; in Spring Boot's default layers",
        };
        ui.answer(format_args!("{}: {layered}", clean(&jar.path)))?;
        let mut table = Table::new(["layer", "files", "in the jar", "as a layer"]);
        for column in 1..4 {
            table = table.right(column);
        }
        for layer in &jar.layers {
            table.row([
                layer.name.clone(),
                count(layer.files),
                bytes(layer.stored_bytes),
                bytes(layer.layer_bytes),
            ]);
        }
        ui.answer_table(&table)?;
        ui.answer(format_args!(
            "a change of code ships {} in layers, {} as one file",
            bytes(jar.code_change_bytes),
            bytes(jar.whole_bytes)
        ))?;
        for (what, names) in [
            ("in no layer", &jar.in_no_layer),
            ("in several layers", &jar.in_several_layers),
            ("in the index and not in the jar", &jar.missing),
            ("snapshots among the dependencies", &jar.snapshots_in_dependencies),
            (
                "own modules among the dependencies",
                &jar.own_modules_in_dependencies,
            ),
        ] {
            if !names.is_empty() {
                ui.answer(format_args!("{what}: {}", some(names)))?;
            }
        }
        if jar.proposed_index.is_some() {
            ui.answer("it could have an index: --propose-index prints one")?;
        }
        if jar.entry_times > 1 {
            ui.answer(format_args!(
                "{} different entry times, which other tools carry into layers: another time makes another layer",
                count(jar.entry_times as u64)
            ))?;
        }
        ui.answer("")?;
    }
    if !document.shared_libraries.is_empty() {
        let mut table = Table::new(["library", "version", "size", "jars"])
            .right(2)
            .right(3);
        for library in document.shared_libraries.iter().take(2 * MOST_NAMES) {
            table.row([
                library.name.clone(),
                library.version.clone(),
                bytes(library.size_bytes),
                library.jars.len().to_string(),
            ]);
        }
        ui.answer(format_args!(
            "Libraries that several jars have, the heaviest of {}",
            count(document.shared_libraries.len() as u64)
        ))?;
        ui.answer_table(&table)?;
    }
    for skew in &document.version_skew {
        let versions: Vec<_> = skew
            .versions
            .iter()
            .map(|(version, jars)| format!("{version} in {}", count(jars.len() as u64)))
            .collect();
        ui.answer(format_args!(
            "{} differs: {}",
            clean(&skew.name),
            clean(&versions.join(", "))
        ))?;
    }
    Ok(())
}

fn some(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(MOST_NAMES)
        .map(|name| clean(name))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST_NAMES {
        text.push_str(&format!(" and {} more", count((names.len() - MOST_NAMES) as u64)));
    }
    text
}
