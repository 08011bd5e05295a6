//! What attributes and configuration make of a blob on its way to the working tree.
//!
//! A [`Scope`] is what the `.gitattributes` of a directory and those above it say. A file can be written when its scope
//! is known. Most repositories change nothing on checkout, and theirs are found to be *plain* by a look at the words in
//! them; only otherwise are patterns matched and filters set up.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use gix::{
    ObjectId,
    attrs::{
        Search, Source, StateRef,
        search::{MetadataCollection, Outcome},
    },
    bstr::{BStr, BString, ByteSlice as _},
    filter::plumbing::{
        Pipeline,
        driver::apply::Delay,
        eol,
        pipeline::convert::{ToWorktreeOutcome, to_worktree},
    },
    glob::pattern::Case,
};
use parking_lot::{Mutex, RwLock};

use super::{
    WorktreeError,
    content::{WideEncoding, expand_ident},
};

/// What can change content on checkout whatever the configuration says; `eol=crlf` is among them. Looked for as plain
/// words, so that macros are covered too.
const CHANGING_WORDS: [&str; 4] = ["crlf", "ident", "filter", "working-tree-encoding"];

/// Git ignores attribute files that are larger.
const LARGEST_ATTRIBUTES_BYTES: usize = 100 << 20;

/// The attributes in force in a directory.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// No content is changed here.
    plain: bool,
    /// `.gitattributes` files, innermost first, which is by precedence.
    files: Vec<Arc<Search>>,
}

/// Whether filter drivers may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drivers {
    Run,
    Wait,
}

/// What applies to a file beside the conversion of line ends.
#[derive(Debug, Default)]
struct Found {
    ident: bool,
    has_driver: bool,
    wide_encoding: Option<WideEncoding>,
}

/// What a file becomes.
pub(super) enum Converted {
    Unchanged,
    Changed(Vec<u8>),
    /// A filter driver has to run, but may not yet.
    NeedsDriver,
}

/// Converts blobs for the working tree, on many threads.
pub(super) struct Converter {
    /// `info/attributes`: above all others.
    info: Search,
    /// The user's and the system's: below all others.
    globals: Search,
    globals_are_plain: bool,
    case: Case,
    /// All attributes met so far. Outcomes refer to it, so it only grows.
    names: RwLock<MetadataCollection>,
    /// To be cloned: one serves one thread at a time.
    pipeline: Pipeline,
    driver_names: Vec<BString>,
    /// Filter drivers run in this one only: a driver is a process that serves many files.
    with_drivers: Mutex<Pipeline>,
    idle: Mutex<IdlePipelines>,
}

#[derive(Default)]
struct IdlePipelines {
    pipelines: Vec<Pipeline>,
    /// Counts changes of the names. A pipeline remembers macros as they were, so those of old are not used again.
    generation: u64,
}

impl Converter {
    /// Reads the configuration and the attribute files outside of the working tree. `tip` is what filters are told
    /// they serve.
    pub(super) fn new(repo: &gix::Repository, tip: ObjectId) -> Result<Self, WorktreeError> {
        let unusable = |error: gix::Error| WorktreeError::Config(error.into());
        let options = gix::filter::Pipeline::options(repo).map_err(unusable)?;
        let context = repo.command_context().map_err(unusable)?;
        let config = repo.config_snapshot();
        // The files git itself looks at, found as gix finds the configuration files beside them.
        let place = |source: Source| source.storage_location(&mut gix::path::env::var);
        let user = match config.trusted_path("core.attributesFile").map_err(unusable)? {
            Some(configured) => Some(configured),
            None => place(Source::Git),
        };
        let global_files: Vec<PathBuf> = [place(Source::GitInstallation), place(Source::System), user]
            .into_iter()
            .flatten()
            .collect();
        let info_file = repo.common_dir().join("info/attributes");

        let eol_changes = options.eol_config.auto_crlf == eol::AutoCrlf::Enabled
            || options.eol_config.eol == Some(eol::Mode::CrLf);
        // An unreadable file is as good as none, for git too.
        let file_is_plain = |path: &Path| std::fs::read(path).map_or(true, |content| is_plain(&content));
        let globals_are_plain = !eol_changes
            && global_files
                .iter()
                .chain([&info_file])
                .all(|path| file_is_plain(path));

        let mut names = MetadataCollection::default();
        let mut buffer = Vec::new();
        let globals = Search::new_globals(global_files, &mut buffer, &mut names)
            .map_err(|error| WorktreeError::Config(error.into()))?;
        let mut info = Search::default();
        info.add_patterns_file(info_file, true, None, &mut buffer, &mut names, true)
            .map_err(|error| WorktreeError::Config(error.into()))?;

        let driver_names = options.drivers.iter().map(|driver| driver.name.clone()).collect();
        let mut pipeline = Pipeline::new(context, gix::hash::Kind::Sha1, options);
        pipeline.driver_context_mut().treeish = Some(tip);
        Ok(Converter {
            info,
            globals,
            globals_are_plain,
            case: if config.boolean("core.ignoreCase").unwrap_or(false) {
                Case::Fold
            } else {
                Case::Sensitive
            },
            names: RwLock::new(names),
            with_drivers: Mutex::new(pipeline.clone()),
            pipeline,
            driver_names,
            idle: Mutex::default(),
        })
    }

    /// The scope of directories above which no `.gitattributes` is.
    pub(super) fn outermost(&self) -> Scope {
        Scope {
            plain: self.globals_are_plain,
            files: Vec::new(),
        }
    }

    /// The scope of a directory in scope `above` that has a `.gitattributes` of that content.
    pub(super) fn scope(&self, above: &Scope, dir: &BStr, content: &[u8]) -> Result<Scope, WorktreeError> {
        if content.len() > LARGEST_ATTRIBUTES_BYTES {
            return Ok(above.clone());
        }
        let root = Path::new("/");
        let source = root
            .join(gix::path::from_bstr(dir).map_err(|error| WorktreeError::Config(error.into()))?)
            .join(".gitattributes");
        let mut search = Search::default();
        let mut names = self.names.write();
        search
            .add_patterns_buffer(content, source, Some(root), &mut names, dir.is_empty())
            .map_err(|error| WorktreeError::Config(error.into()))?;
        let mut idle = self.idle.lock();
        idle.generation += 1;
        idle.pipelines.clear();
        Ok(Scope {
            plain: above.plain && is_plain(content),
            files: [Arc::new(search)]
                .into_iter()
                .chain(above.files.iter().cloned())
                .collect(),
        })
    }

    /// Converts the blob `id` for `path`.
    pub(super) fn convert(
        &self,
        scope: &Scope,
        path: &BStr,
        id: ObjectId,
        content: &[u8],
        drivers: Drivers,
    ) -> Result<Converted, WorktreeError> {
        if scope.plain {
            return Ok(Converted::Unchanged);
        }
        let found = self.find(scope, path);
        if found.has_driver && drivers == Drivers::Wait {
            return Ok(Converted::NeedsDriver);
        }
        if found.has_driver && found.wide_encoding.is_some() {
            // The driver would have to see the encoded content, which the pipeline cannot give it.
            return Err(WorktreeError::Filter {
                path: path.to_owned(),
                source: "a filter driver together with this working-tree-encoding is not supported".into(),
            });
        }
        let expanded = found.ident.then(|| expand_ident(content, id)).flatten();
        let piped = self.pipe(&found, scope, path, id, expanded.as_deref().unwrap_or(content))?;
        let converted = piped.or(expanded);
        let encoding = found.wide_encoding;
        let encoded = encoding.and_then(|encoding| encoding.encode(converted.as_deref().unwrap_or(content)));
        Ok(encoded
            .or(converted)
            .map_or(Converted::Unchanged, Converted::Changed))
    }

    /// Sends the content through a pipeline; `None` when nothing is changed.
    fn pipe(
        &self,
        found: &Found,
        scope: &Scope,
        path: &BStr,
        id: ObjectId,
        content: &[u8],
    ) -> Result<Option<Vec<u8>>, WorktreeError> {
        if found.has_driver {
            let mut pipeline = self.with_drivers.lock();
            pipeline.driver_context_mut().blob = Some(id);
            return self.run(&mut pipeline, scope, path, content);
        }
        let (idle, generation) = {
            let mut idle = self.idle.lock();
            (idle.pipelines.pop(), idle.generation)
        };
        let mut pipeline = idle.unwrap_or_else(|| self.pipeline.clone());
        let converted = self.run(&mut pipeline, scope, path, content)?;
        let mut idle = self.idle.lock();
        if idle.generation == generation {
            idle.pipelines.push(pipeline);
        }
        Ok(converted)
    }

    fn run(
        &self,
        pipeline: &mut Pipeline,
        scope: &Scope,
        path: &BStr,
        content: &[u8],
    ) -> Result<Option<Vec<u8>>, WorktreeError> {
        let outcome = pipeline.convert_to_worktree(
            content,
            path,
            &mut |path, outcome| self.match_attributes(scope, path, outcome),
            to_worktree::Options {
                // A driver that may answer later wants to be asked again, which only pays with many of them.
                can_delay: Delay::Forbid,
                ..to_worktree::Options::default()
            },
        );
        let filter_error = |source| WorktreeError::Filter {
            path: path.to_owned(),
            source,
        };
        match outcome.map_err(|error| filter_error(error.into()))? {
            ToWorktreeOutcome::Unchanged(_) => Ok(None),
            ToWorktreeOutcome::Buffer(changed) => Ok(Some(changed.to_owned())),
            mut process @ ToWorktreeOutcome::Process(_) => {
                let mut changed = Vec::new();
                process
                    .read_to_end(&mut changed)
                    .map_err(|error| filter_error(error.into()))?;
                Ok(Some(changed))
            }
        }
    }

    /// Looks for what the pipeline does not do, or may not do yet.
    fn find(&self, scope: &Scope, path: &BStr) -> Found {
        let mut outcome = Outcome::default();
        outcome.initialize_with_selection(&self.names.read(), ["filter", "ident", "working-tree-encoding"]);
        self.match_attributes(scope, path, &mut outcome);
        let mut found = Found::default();
        for matched in outcome.iter_selected() {
            let assignment = matched.assignment;
            match (assignment.name.as_str(), assignment.state) {
                ("ident", StateRef::Set) => found.ident = true,
                ("filter", StateRef::Value(name)) => {
                    let name = name.as_bstr();
                    found.has_driver = self.driver_names.iter().any(|driver| name == driver);
                }
                ("working-tree-encoding", StateRef::Value(name)) => {
                    found.wide_encoding = WideEncoding::parse(name.as_bstr());
                }
                _ => {}
            }
        }
        found
    }

    fn match_attributes(&self, scope: &Scope, path: &BStr, outcome: &mut Outcome) {
        outcome.initialize(&self.names.read());
        let files = scope.files.iter().map(Arc::as_ref);
        for search in [&self.info].into_iter().chain(files).chain([&self.globals]) {
            search.pattern_matching_relative_path(path, self.case, Some(false), outcome);
            if outcome.is_done() {
                break;
            }
        }
    }
}

fn is_plain(content: &[u8]) -> bool {
    CHANGING_WORDS.iter().all(|word| !content.contains_str(word))
}
