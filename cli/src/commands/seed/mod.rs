//! `headstart seed`: clones prepared in advance.

mod inspect;
mod list;
mod prune;
mod push;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use bstr::ByteSlice as _;
use clap::Subcommand;
use headstart_git::{FilterSpec, SeedKey};
use headstart_store::{Entry, EntryInfo, EntryName, Namespace, StoreError};

use super::clone::git_environment;
use crate::{context::Context, error::CommandError, seeds::tip_namespace, stores::Stores, ui::Ui};

/// More seeds than anybody keeps.
const MOST_SEEDS: usize = 10_000;

/// Prepare clones in advance
///
/// A seed has the history of a repository, as a filter asks, and the files of its default branch. `headstart clone` starts
/// from the newest it can reach and fetches only what is newer from the origin.
#[derive(Debug, Subcommand)]
pub(crate) enum SeedCommand {
    Push(push::PushArgs),
    List(list::ListArgs),
    Inspect(inspect::InspectArgs),
    Prune(prune::PruneArgs),
}

pub(super) fn run(ui: &Ui, context: &Context, command: SeedCommand) -> Result<(), CommandError> {
    match command {
        SeedCommand::Push(args) => push::run(ui, context, args),
        SeedCommand::List(args) => list::run(ui, context, args),
        SeedCommand::Inspect(args) => inspect::run(ui, context, args),
        SeedCommand::Prune(args) => prune::run(ui, context, args),
    }
}

/// The key of the seeds of `url`.
fn key_of(context: &Context, url: &OsStr, filter: FilterSpec) -> Result<SeedKey, CommandError> {
    let environment = git_environment(context)?;
    Ok(SeedKey::find(url.as_bytes().as_bstr(), filter, &environment)?)
}

/// The start of the names of all seeds of `url`, or of all there are.
fn prefix_of(context: &Context, url: Option<&OsStr>) -> Result<String, CommandError> {
    let Some(url) = url else {
        return Ok(String::new());
    };
    let key = key_of(context, url, FilterSpec::BlobNone)?;
    Ok(format!("{}#", key.repository()))
}

/// The seeds whose names start with `prefix`, by repository and filter, of each the newest first.
fn find_seeds(context: &Context, stores: &Stores, prefix: &str) -> Result<Vec<EntryInfo>, CommandError> {
    let mut found = find_in(context, stores, &tip_namespace(), prefix)?;
    found.sort_by(|a, b| {
        let parts = |info: &EntryInfo| {
            let (key, time) = info.name.key().rsplit_once('#').unwrap_or_default();
            (key.to_owned(), std::cmp::Reverse(time.to_owned()))
        };
        parts(a).cmp(&parts(b))
    });
    Ok(found)
}

/// The entries of seeds in one of their namespaces whose names start with `prefix`.
fn find_in(
    context: &Context,
    stores: &Stores,
    namespace: &Namespace,
    prefix: &str,
) -> Result<Vec<EntryInfo>, CommandError> {
    let find = stores.store().find_entries(namespace, prefix, MOST_SEEDS);
    let mut found = stores.runtime().run(&context.interrupt, find)?;
    found.retain(|info| SeedKey::split_name(info.name.key()).is_some());
    Ok(found)
}

/// What an entry says; `None` where it has gone in the meantime.
fn read_entry(context: &Context, stores: &Stores, name: &EntryName) -> Result<Option<Entry>, CommandError> {
    let read = stores.store().read_entry(name);
    match stores.runtime().run(&context.interrupt, read) {
        Ok(entry) => Ok(Some(entry)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A fact in an entry; facts are for people and decide nothing.
fn fact(entry: &Entry, name: &str) -> String {
    entry.facts.get(name).cloned().unwrap_or_default()
}
