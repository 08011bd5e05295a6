//! `headstart cache verify`.

use clap::Args;
use headstart_store::{Problem, ProblemKind, Repair, Repaired, verify, verify_pool};
use serde::Serialize;

use crate::{
    context::Context,
    error::CommandError,
    stores::{new_runtime, pool_dir},
    ui::{Ui, bytes, count},
};

/// Read everything in the local store again and compare it with its name
///
/// Ends with exit code 1 when something is wrong that was not repaired.
#[derive(Debug, Args)]
#[command(after_help = "Example: headstart cache verify --repair")]
pub(crate) struct VerifyArgs {
    /// Move corrupt content aside and fetch it from the remote, or drop the entries that need it
    ///
    /// What is dropped the next save stores anew.
    #[arg(long)]
    repair: bool,
}

/// What `--json` prints: schema `headstart.cache-verify/1`.
#[derive(Debug, Serialize)]
struct VerifyDocument {
    schema: &'static str,
    packs: u64,
    snapshots: u64,
    entries: u64,
    /// Stored bytes read.
    bytes: u64,
    problems: Vec<ProblemRow>,
}

#[derive(Debug, Serialize)]
struct ProblemRow {
    problem: String,
    /// What was done about it; null for nothing.
    repair: Option<String>,
}

pub(super) fn run(ui: &Ui, context: &Context, args: VerifyArgs) -> Result<(), CommandError> {
    let store = context.open_local_store()?;
    let runtime = new_runtime()?;
    let tiers = match args.repair && context.remote().is_some() {
        true => Some(context.open_usable_stores(ui)?),
        false => None,
    };
    let repair = match &tiers {
        Some(tiers) => Repair::From(tiers.store()),
        None if args.repair => Repair::Yes,
        None => Repair::No,
    };
    let mut report = runtime.block_on(verify(&store, repair, &*ui.progress(), &context.interrupt))?;
    report
        .problems
        .extend(verify_pool(&pool_dir(&store), repair, &context.interrupt)?);
    // A store in front of a remote may hold a part of a snapshot; the rest is fetched when it is restored.
    if context.remote().is_some() {
        report
            .problems
            .retain(|problem| !matches!(problem.kind, ProblemKind::IncompleteSnapshot { .. }));
    }
    let unmended = report
        .problems
        .iter()
        .filter(|problem| problem.repair == Repaired::No)
        .count();
    let document = VerifyDocument {
        schema: "headstart.cache-verify/1",
        packs: report.packs,
        snapshots: report.snapshots,
        entries: report.entries,
        bytes: report.bytes,
        problems: report.problems.iter().map(ProblemRow::new).collect(),
    };
    document.print(ui)?;
    match unmended {
        0 => Ok(()),
        _ => {
            let sentence = format!("{unmended} problems in {}", store.root().display());
            let hint = "`headstart cache verify --repair` moves corrupt content aside; what is missing is stored again \
                        by the next save, or goes with `headstart cache gc`";
            Err(CommandError::failed(sentence).hint(hint))
        }
    }
}

impl ProblemRow {
    fn new(problem: &Problem) -> Self {
        ProblemRow {
            problem: problem.kind.to_string(),
            repair: match &problem.repair {
                Repaired::No => None,
                Repaired::MovedTo(path) => Some(format!("moved to {}", path.display())),
                Repaired::Removed => Some("removed".to_owned()),
                Repaired::Fetched => Some("fetched from the remote".to_owned()),
            },
        }
    }
}

impl VerifyDocument {
    fn print(&self, ui: &Ui) -> Result<(), CommandError> {
        if ui.is_json() {
            return ui.answer_json(self);
        }
        for row in &self.problems {
            match &row.repair {
                Some(repair) => ui.answer(format_args!("{}; {repair}", row.problem))?,
                None => ui.answer(&row.problem)?,
            }
        }
        ui.answer(format_args!(
            "{} packs, {} snapshots and {} entries read ({}); {}",
            count(self.packs),
            count(self.snapshots),
            count(self.entries),
            bytes(self.bytes),
            match self.problems.len() {
                0 => "all clean".to_owned(),
                number => format!("{number} problems"),
            }
        ))
    }
}
