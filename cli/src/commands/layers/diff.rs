//! `headstart layers diff`.

use clap::{Args, ValueEnum};
use headstart_image::{
    BlobDigest, LoadedImage,
    diff::{Change, ChangeKind, Comparison, Difference, Ignore, LayerRelation},
    metrics::pull_bytes,
};
use serde::Serialize;

use super::{document::text, sources::SourceArgs};
use crate::{
    context::Context,
    error::CommandError,
    interrupt,
    ui::{Table, Ui, bytes, clean, count},
};

/// Show what differs between two images, and what pulling the second costs
///
/// Compares the finished file systems path by path, the layers one by one, and the configs. Prints one path a line: A added,
/// D removed, M changed, with what changed about it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart layers diff app:1.4 app:1.5\n  \
    headstart layers diff oci:first oci:second --exit-code                       is the build reproducible?\n  \
    headstart layers diff oci:first oci:second --ignore times,owners,order --exit-code")]
pub(crate) struct DiffArgs {
    /// The image to compare with, which a node has
    #[arg(value_name = "OLD")]
    old: String,
    /// The image that is compared, and pulled
    #[arg(value_name = "NEW")]
    new: String,
    /// What not to look at, separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    ignore: Vec<Ignored>,
    /// End with exit code 1 when something differs: any byte of manifest, config and layers
    ///
    /// With --ignore the bytes may differ: paths, the entries of each layer, and the config must be the same.
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ignored {
    /// Modification times, and those of the config and its history
    Times,
    /// Users and groups
    Owners,
    /// The order of entries in layers
    Order,
}

/// What `--json` prints: schema `headstart.layers-diff/1`, described in `docs/guide/layers.md`.
#[derive(Debug, Serialize)]
struct DiffDocument {
    schema: &'static str,
    old: ImageName,
    new: ImageName,
    /// Whether nothing differs that is not ignored.
    same: bool,
    /// The same of the configs, apart from the layers they name.
    same_config: bool,
    added: u64,
    removed: u64,
    changed: u64,
    changes: Vec<ChangeRow>,
    layers: Vec<LayerRow>,
    /// What a node with the old image pulls for the new one.
    pull_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ImageName {
    reference: String,
    digest: BlobDigest,
}

#[derive(Debug, Serialize)]
struct ChangeRow {
    path: String,
    /// `added`, `removed` or `changed`.
    change: &'static str,
    differences: Vec<&'static str>,
    old_bytes: u64,
    new_bytes: u64,
}

#[derive(Debug, Serialize)]
struct LayerRow {
    old: Option<BlobDigest>,
    new: Option<BlobDigest>,
    relation: &'static str,
}

pub(super) fn run(ui: &Ui, context: &Context, args: DiffArgs) -> Result<(), CommandError> {
    let ignore = Ignore {
        times: args.ignore.contains(&Ignored::Times),
        owners: args.ignore.contains(&Ignored::Owners),
        order: args.ignore.contains(&Ignored::Order),
    };
    let images = args.sources.read(ui, context, &[args.old, args.new])?;
    let document = interrupt::compute(&context.interrupt, move || {
        let [old, new] = &images[..] else {
            unreachable!("two names give two images");
        };
        let comparison = Comparison::of(old, new, ignore)?;
        Ok(DiffDocument::new(old, new, &comparison))
    })?;
    match ui.is_json() {
        true => ui.answer_json(&document)?,
        false => document.print(ui)?,
    }
    match args.exit_code && !document.same {
        true => Err(CommandError::failed(format!(
            "{} and {} differ",
            document.old.reference, document.new.reference
        ))),
        false => Ok(()),
    }
}

impl DiffDocument {
    fn new(old: &LoadedImage, new: &LoadedImage, comparison: &Comparison) -> Self {
        let name = |image: &LoadedImage| ImageName {
            reference: image.image.reference.clone(),
            digest: image.image.digest,
        };
        let rows: Vec<_> = comparison.changes.iter().map(ChangeRow::new).collect();
        let counted = |kind: &str| rows.iter().filter(|row| row.change == kind).count() as u64;
        let digest = |image: &LoadedImage, number: usize| image.layers.get(number).map(|layer| layer.digest);
        let layers = comparison
            .layers
            .iter()
            .enumerate()
            .map(|(number, &relation)| LayerRow {
                old: digest(old, number),
                new: digest(new, number),
                relation: relation_word(relation),
            });
        DiffDocument {
            schema: "headstart.layers-diff/1",
            old: name(old),
            new: name(new),
            same: comparison.is_same,
            same_config: comparison.is_config_same,
            added: counted("added"),
            removed: counted("removed"),
            changed: counted("changed"),
            layers: layers.collect(),
            pull_bytes: pull_bytes(new, [old]),
            changes: rows,
        }
    }

    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        for row in &self.changes {
            let (letter, sizes) = match row.change {
                "added" => ('A', bytes(row.new_bytes)),
                "removed" => ('D', bytes(row.old_bytes)),
                _ if row.old_bytes == row.new_bytes => ('M', row.differences.join(", ")),
                _ => (
                    'M',
                    format!(
                        "{}, {} to {}",
                        row.differences.join(", "),
                        bytes(row.old_bytes),
                        bytes(row.new_bytes)
                    ),
                ),
            };
            ui.answer(format_args!("{letter} {} ({sizes})", clean(&row.path)))?;
        }
        let short = |digest: Option<BlobDigest>| {
            digest.map_or_else(|| "-".to_owned(), |digest| digest.to_hex()[..12].to_owned())
        };
        let mut table = Table::new(["layer", "old", "new", ""]).right(0);
        for (number, row) in self.layers.iter().enumerate() {
            table.row([
                number.to_string(),
                short(row.old),
                short(row.new),
                row.relation.to_owned(),
            ]);
        }
        ui.answer_table(&table)?;
        let documents = match (self.same, self.same_config) {
            (true, _) => "the images are the same",
            (false, true) => "the images differ, their configs do not",
            (false, false) => "the images differ, and so do their configs",
        };
        ui.answer(documents)?;
        ui.answer(format_args!(
            "{} added, {} removed, {} changed; a node with {} pulls {}",
            count(self.added),
            count(self.removed),
            count(self.changed),
            clean(&self.old.reference),
            bytes(self.pull_bytes)
        ))
    }
}

impl ChangeRow {
    fn new(change: &Change) -> Self {
        let (word, differences) = match &change.kind {
            ChangeKind::Added => ("added", &[][..]),
            ChangeKind::Removed => ("removed", &[][..]),
            ChangeKind::Changed(differences) => ("changed", &differences[..]),
        };
        ChangeRow {
            path: match &change.path[..] {
                b"" => "/".to_owned(),
                path => text(path),
            },
            change: word,
            differences: differences.iter().copied().map(difference_word).collect(),
            old_bytes: change.old_bytes,
            new_bytes: change.new_bytes,
        }
    }
}

fn difference_word(difference: Difference) -> &'static str {
    match difference {
        Difference::Type => "type",
        Difference::Content => "content",
        Difference::Target => "target",
        Difference::Device => "device",
        Difference::Links => "links",
        Difference::Mode => "mode",
        Difference::Owner => "owner",
        Difference::Time => "time",
        Difference::Attributes => "attributes",
    }
}

fn relation_word(relation: LayerRelation) -> &'static str {
    match relation {
        LayerRelation::SameBlob => "same",
        LayerRelation::SameTar => "recompressed",
        LayerRelation::SameEntries => "same entries",
        LayerRelation::OtherOrder => "other order",
        LayerRelation::Different => "different",
        LayerRelation::Alone => "alone",
    }
}
