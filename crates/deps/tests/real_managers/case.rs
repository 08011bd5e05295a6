//! A project, and how its manager is used on it.

/// What the frozen install does to an installed tree that is right already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverATree {
    /// Nothing, but write these files anew.
    KeepsAllBut(&'static [&'static str]),
    /// It deletes the tree and makes the same one again, at another time.
    StartsOver,
}

/// A project, and how its manager is used on it.
#[derive(Debug)]
pub(crate) struct Case {
    /// The manager's name on PATH.
    pub(crate) program: &'static str,
    /// The variable that names it in tests; without one it is taken from PATH.
    pub(crate) variable: Option<&'static str>,
    /// What is committed, without the lockfile. `~/` is the home.
    pub(crate) files: Vec<(&'static str, String)>,
    /// The lockfile, where there is one.
    pub(crate) lockfile: Option<&'static str>,
    /// Environment variables, with `{home}` for the home.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Whether what is kept is of use only where the home is at the same path.
    pub(crate) needs_the_same_home: bool,
    /// The `[deps]` of `headstart.toml`.
    pub(crate) config: &'static str,
    /// Makes the lockfile and installs.
    pub(crate) setup: &'static [&'static str],
    /// The manager's install, where headstart has none.
    pub(crate) install: Option<&'static [&'static str]>,
    /// Shows that the dependencies are there; must fail where they are not.
    pub(crate) check: &'static [&'static str],
    pub(crate) over_a_tree: OverATree,
    /// What a restore changes in a tree on purpose, since it names a place on the machine.
    pub(crate) settled: &'static [&'static str],
}

impl Default for Case {
    fn default() -> Self {
        Case {
            program: "",
            variable: None,
            files: Vec::new(),
            lockfile: None,
            env: Vec::new(),
            needs_the_same_home: false,
            config: "",
            setup: &[],
            install: None,
            check: &[],
            over_a_tree: OverATree::KeepsAllBut(&[]),
            settled: &[],
        }
    }
}

/// `files` as a [`Case`] holds them.
pub(crate) fn files<const N: usize>(files: [(&'static str, &str); N]) -> Vec<(&'static str, String)> {
    files.map(|(name, text)| (name, text.to_owned())).into()
}
