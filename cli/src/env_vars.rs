//! Every environment variable headstart reads, declared once.

/// Folder of the local store; `--store`. Since 0.1.
pub(crate) const STORE: &str = "HEADSTART_STORE";
/// Remote store behind the local one; `--remote`. Since 0.1.
pub(crate) const REMOTE: &str = "HEADSTART_REMOTE";
/// Bearer token for a `headstart-server` remote. Since 0.1.
pub(crate) const TOKEN: &str = "HEADSTART_TOKEN";
/// The user's settings file instead of `$XDG_CONFIG_HOME/headstart/config.toml`. Since 0.1.
pub(crate) const CONFIG: &str = "HEADSTART_CONFIG";
/// The git program for the few steps git itself does. Since 0.1.
pub(crate) const GIT: &str = "HEADSTART_GIT";

/// Folder of per-user caches, by the XDG base directory specification.
pub(crate) const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Folder of per-user settings, by the XDG base directory specification.
pub(crate) const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// The time that builds are to pretend, in seconds since 1970, by reproducible-builds.org. Since 0.1.
pub(crate) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The user's home folder.
pub(crate) const HOME: &str = "HOME";

/// Folder of Docker's `config.json`, which tells of logins to registries; else `~/.docker`. Since 0.1.
pub(crate) const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Where the Docker daemon listens: `unix:///path`. Since 0.1.
pub(crate) const DOCKER_HOST: &str = "DOCKER_HOST";

/// What CI systems set, each for the jobs it runs. Read by `headstart ci` alone. Since 0.1.
pub(crate) mod ci {
    /// `true` in GitHub Actions.
    pub(crate) const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";
    /// File that takes a step's outputs.
    pub(crate) const GITHUB_OUTPUT: &str = "GITHUB_OUTPUT";
    /// File that takes what an action's later parts are to know.
    pub(crate) const GITHUB_STATE: &str = "GITHUB_STATE";
    /// File that takes Markdown for the job's page.
    pub(crate) const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";
    /// What the action's restore kept in `$GITHUB_STATE` for its save.
    pub(crate) const STATE_PRIMARY_KEY: &str = "STATE_HEADSTART_PRIMARY_KEY";
    /// The same of the key that was restored.
    pub(crate) const STATE_MATCHED_KEY: &str = "STATE_HEADSTART_MATCHED_KEY";
    /// `true` in GitLab CI.
    pub(crate) const GITLAB_CI: &str = "GITLAB_CI";
    /// `success`, `failed`, `canceled` in an `after_script`, else `running`.
    pub(crate) const CI_JOB_STATUS: &str = "CI_JOB_STATUS";
    /// `true` in CircleCI.
    pub(crate) const CIRCLECI: &str = "CIRCLECI";
    /// File that every later step's shell reads.
    pub(crate) const BASH_ENV: &str = "BASH_ENV";
    /// `true` in Buildkite.
    pub(crate) const BUILDKITE: &str = "BUILDKITE";
    /// Exit status of the step's command, in the hooks after it.
    pub(crate) const BUILDKITE_COMMAND_EXIT_STATUS: &str = "BUILDKITE_COMMAND_EXIT_STATUS";
    /// The job's id.
    pub(crate) const BUILDKITE_JOB_ID: &str = "BUILDKITE_JOB_ID";
}
