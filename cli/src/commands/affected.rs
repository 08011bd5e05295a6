//! `headstart affected`.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, time::Instant};

use bstr::{BString, ByteSlice as _};
use clap::Args;
use headstart_fs::RelPath;
use headstart_git::{
    Changes, ChangesOptions, CommitTree, FetchedObjects, NamedCommit, TreeEntryKind, compare,
};
use headstart_tasks::{
    Affected, EntryKind, Projects, SourceError, SourceTree, TasksConfig, WorkingTree, discover,
};
use serde::Serialize;

use super::clone::git_environment;
use crate::{
    config::{self, REPOSITORY_FILE},
    context::Context,
    error::CommandError,
    ui::{Ui, bytes, clean, count},
};

/// List the projects that a branch changed, and those that depend on them
///
/// Compares HEAD with its merge base with another branch, as `git diff BASE...HEAD` does, also in shallow, treeless and
/// blobless clones: what is missing is fetched, commits first and then only the trees that differ. Prints one project a
/// line, changed ones before those that depend on them.
///
/// Projects are the packages of npm, Yarn, pnpm and Cargo workspaces and the folders named in `headstart.toml`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    headstart affected                             what this branch changed\n  \
    headstart affected --base origin/main --json\n  \
    headstart affected --base HEAD~1               what the last commit changed\n  \
    headstart affected --uncommitted --files\n  \
    for project in $(headstart affected -q --base \"$BASE\"); do make test-\"$project\"; done")]
pub(crate) struct AffectedArgs {
    /// Branch, tag or commit to compare with [default: the remote's default branch]
    #[arg(long, value_name = "REF")]
    base: Option<std::ffi::OsString>,
    /// Branch, tag or commit whose changes are looked for [default: HEAD]
    #[arg(long, value_name = "REF")]
    head: Option<std::ffi::OsString>,
    /// Count changes of the working tree too, untracked files included
    #[arg(long, conflicts_with = "head")]
    uncommitted: bool,
    /// Print the changed files instead of projects, odd names quoted as git does
    #[arg(long)]
    files: bool,
}

/// What `--json` prints: schema `headstart.affected/1`.
#[derive(Debug, Serialize)]
struct AffectedReport {
    schema: &'static str,
    base: Commit,
    head: Commit,
    /// The commit that `head` is compared with.
    merge_base: String,
    /// Whether changes of the working tree count.
    uncommitted: bool,
    files: Vec<File>,
    /// Changed files that are in no project.
    outside: Vec<String>,
    /// Changed files that affect more than the project they are in.
    global: Vec<String>,
    /// All affected projects, sorted by path.
    projects: Vec<Project>,
    fetched: Fetched,
    total_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Commit {
    name: String,
    commit: String,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    /// `A`, `M`, `D` or `T`, as git has them.
    status: char,
}

#[derive(Debug, Serialize)]
struct Project {
    name: String,
    path: String,
    /// `npm`, `cargo` or `folder`.
    kind: &'static str,
    /// Whether it changed itself; if not, something it depends on did.
    changed: bool,
    because: Because,
}

#[derive(Debug, Serialize)]
struct Because {
    /// Changed files of its own.
    files: usize,
    /// Changed files elsewhere that affect it.
    global: Vec<String>,
    /// Affected projects it depends on.
    dependencies: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Fetched {
    fetches: u64,
    /// Objects that came for history, trees and file contents.
    history_objects: u64,
    tree_objects: u64,
    file_objects: u64,
    bytes: u64,
}

pub(super) fn run(ui: &Ui, context: &Context, args: AffectedArgs) -> Result<(), CommandError> {
    let started = Instant::now();
    let environment = git_environment(context)?;
    let bytes_of = |text: &std::ffi::OsString| BString::from(text.as_bytes());
    let options = ChangesOptions {
        base: args.base.as_ref().map(bytes_of),
        head: args.head.as_ref().map(bytes_of),
        uncommitted: args.uncommitted,
    };
    let progress = ui.progress();
    // Files alone need no projects, whose manifests may have to be fetched, or be wrong.
    let files_only = args.files && !ui.is_json();
    let report = compare(
        &options,
        &environment,
        &*progress,
        &context.interrupt,
        |changes, tree| {
            let projects = match files_only {
                true => Projects::default(),
                false => find_projects(ui, &options, &changes, tree)?,
            };
            let affected = projects.affected_by(changes.files.iter().map(|file| &file.path));
            if files_only {
                for file in &changes.files {
                    ui.answer(quoted(file.path.as_bytes()))?;
                }
            }
            Ok::<_, CommandError>(AffectedReport {
                total_seconds: started.elapsed().as_secs_f64(),
                ..AffectedReport::new(&options, &changes, &affected, tree.fetched())
            })
        },
    )??;
    if ui.is_json() {
        return ui.answer_json(&report);
    }
    if !args.files {
        let (changed, dependents): (Vec<_>, Vec<_>) =
            report.projects.iter().partition(|project| project.changed);
        for project in changed.into_iter().chain(dependents) {
            ui.answer(clean(&project.name))?;
        }
    }
    report
        .sentences(files_only)
        .into_iter()
        .for_each(|sentence| ui.status(sentence));
    Ok(())
}

/// The projects of the commit, or of the working tree where that counts.
fn find_projects(
    ui: &Ui,
    options: &ChangesOptions,
    changes: &Changes,
    tree: &mut CommitTree<'_, '_>,
) -> Result<Projects, CommandError> {
    let mut on_disk;
    let mut in_commit;
    let source: &mut dyn SourceTree = match (&changes.workdir, options.uncommitted) {
        (Some(workdir), true) => {
            on_disk = WorkingTree::new(workdir);
            &mut on_disk
        }
        _ => {
            in_commit = CommitFiles(tree);
            &mut in_commit
        }
    };
    let config = load_config(source)?;
    let found = discover(source, &config)?;
    found.warnings.iter().for_each(|warning| ui.warn(warning));
    if found.projects.iter().len() == 0 {
        ui.warn("no projects were found; docs/guide/affected.md says where they are looked for");
    }
    Ok(found.projects)
}

fn load_config(source: &mut dyn SourceTree) -> Result<TasksConfig, CommandError> {
    let path = RelPath::parse(REPOSITORY_FILE).expect("a plain name");
    let read = source
        .read(&[path])
        .map_err(headstart_tasks::TasksError::Source)?;
    let Some(content) = read.into_iter().next().flatten() else {
        return Ok(TasksConfig::default());
    };
    let text = String::from_utf8(content)
        .map_err(|_| CommandError::usage(format!("{REPOSITORY_FILE} is not UTF-8")))?;
    Ok(config::parse(&text, REPOSITORY_FILE)?.into_tasks())
}

/// The files of a commit, as projects are found in them.
struct CommitFiles<'a, 'r, 'c>(&'a mut CommitTree<'r, 'c>);

impl SourceTree for CommitFiles<'_, '_, '_> {
    fn list(&mut self, folders: &[RelPath]) -> Result<Vec<Vec<(BString, EntryKind)>>, SourceError> {
        let kind = |kind| match kind {
            TreeEntryKind::Folder => EntryKind::Folder,
            TreeEntryKind::File | TreeEntryKind::Other => EntryKind::Other,
        };
        let lists = self.0.list(folders)?;
        let convert = |list: Vec<(BString, TreeEntryKind)>| {
            list.into_iter().map(|(name, of)| (name, kind(of))).collect()
        };
        Ok(lists.into_iter().map(convert).collect())
    }

    fn read(&mut self, files: &[RelPath]) -> Result<Vec<Option<Vec<u8>>>, SourceError> {
        Ok(self.0.read(files)?)
    }
}

impl AffectedReport {
    fn new(
        options: &ChangesOptions,
        changes: &Changes,
        affected: &Affected<'_>,
        fetched: FetchedObjects,
    ) -> Self {
        let commit = |commit: &NamedCommit| Commit {
            name: commit.name.to_string(),
            commit: commit.id.to_string(),
        };
        let shown = |paths: &[&RelPath]| paths.iter().map(ToString::to_string).collect();
        AffectedReport {
            schema: "headstart.affected/1",
            base: commit(&changes.base),
            head: commit(&changes.head),
            merge_base: changes.merge_base.to_string(),
            uncommitted: options.uncommitted,
            files: changes
                .files
                .iter()
                .map(|file| File {
                    path: file.path.to_string(),
                    status: file.status.letter(),
                })
                .collect(),
            outside: shown(&affected.outside),
            global: shown(&affected.global),
            projects: affected
                .projects
                .iter()
                .map(|affected| Project {
                    name: affected.project.name.clone(),
                    path: affected.project.path.to_string(),
                    kind: affected.project.kind.name(),
                    changed: affected.is_changed(),
                    because: Because {
                        files: affected.files.len(),
                        global: shown(&affected.global),
                        dependencies: affected
                            .dependencies
                            .iter()
                            .map(|project| project.name.clone())
                            .collect(),
                    },
                })
                .collect(),
            fetched: Fetched {
                fetches: fetched.fetches,
                history_objects: fetched.history_objects,
                tree_objects: fetched.tree_objects,
                file_objects: fetched.file_objects,
                bytes: fetched.bytes,
            },
            total_seconds: 0.0,
        }
    }

    fn sentences(&self, files_only: bool) -> Vec<String> {
        let changed = self.projects.iter().filter(|project| project.changed).count();
        let working_tree = if self.uncommitted {
            " and the working tree"
        } else {
            ""
        };
        let differ = format!(
            "{} files differ between {}{working_tree} and {}, its merge base with {}",
            count(self.files.len() as u64),
            self.head.name,
            short(&self.merge_base),
            self.base.name,
        );
        let mut sentences = vec![match files_only {
            true => format!("{differ}."),
            false => format!(
                "{differ}: {} projects changed, {} more depend on them.",
                count(changed as u64),
                count((self.projects.len() - changed) as u64),
            ),
        }];
        if !self.outside.is_empty() && !files_only {
            let outside = count(self.outside.len() as u64);
            sentences.push(format!("{outside} of the files are in no project."));
        }
        let fetched = &self.fetched;
        if fetched.fetches > 0 {
            sentences.push(format!(
                "{} fetches brought {}: {} objects of history, {} of trees, {} files.",
                count(fetched.fetches),
                bytes(fetched.bytes),
                count(fetched.history_objects),
                count(fetched.tree_objects),
                count(fetched.file_objects),
            ));
        }
        sentences
    }
}

fn short(id: &str) -> &str {
    &id[..id.len().min(10)]
}

/// A path on one line, as git writes it: in quotes, with C's escapes, where it has anything but plain text.
fn quoted(path: &[u8]) -> String {
    let is_plain = |char: char| !char.is_control() && char != '"' && char != '\\';
    if let Ok(text) = path.to_str()
        && text.chars().all(is_plain)
    {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for &byte in path {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', byte.into()]),
            b'\n' => quoted.push_str("\\n"),
            b'\t' => quoted.push_str("\\t"),
            b' '..=b'~' => quoted.push(byte.into()),
            _ => write!(quoted, "\\{byte:03o}").expect("a string takes any text"),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_quoted_as_git_quotes_them() {
        assert_eq!(quoted(b"a b/naive"), "a b/naive");
        assert_eq!(quoted("naïve".as_bytes()), "naïve");
        assert_eq!(quoted(b"a\nb\"c\\"), r#""a\nb\"c\\""#);
        assert_eq!(quoted(b"latin-\xe9\x1b"), r#""latin-\351\033""#);
    }
}
