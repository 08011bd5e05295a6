//! Which CI system runs us, and what it says about the job. Knows the environment it is handed and nothing else.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use clap::ValueEnum;

use crate::env_vars::ci as var;

/// A CI system, as far as it wants to be spoken to in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    GitHub,
    GitLab,
    CircleCi,
    Buildkite,
    /// A shell, or a system we know nothing of.
    Other,
}

/// `--job-status`: what became of the job so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum JobStatus {
    Success,
    #[value(alias = "failed")]
    Failure,
    #[value(alias = "canceled")]
    Cancelled,
}

impl System {
    /// Finds the system that set this environment.
    pub(super) fn detect(environment: &BTreeMap<OsString, OsString>) -> Self {
        let is_set = |name| text(environment, name).is_some_and(|value| matches!(value, "true" | "1"));
        // Gitea and Forgejo set what GitHub sets and mean it.
        let systems = [
            (var::GITHUB_ACTIONS, System::GitHub),
            (var::GITLAB_CI, System::GitLab),
            (var::CIRCLECI, System::CircleCi),
            (var::BUILDKITE, System::Buildkite),
        ];
        systems
            .into_iter()
            .find(|(name, _)| is_set(name))
            .map_or(System::Other, |(_, system)| system)
    }

    /// What the system says about the job; `None` where it does not, or not yet.
    pub(super) fn job_status(self, environment: &BTreeMap<OsString, OsString>) -> Option<JobStatus> {
        match self {
            System::GitLab => match text(environment, var::CI_JOB_STATUS)? {
                "success" => Some(JobStatus::Success),
                "failed" => Some(JobStatus::Failure),
                "canceled" => Some(JobStatus::Cancelled),
                _ => None,
            },
            System::Buildkite => match text(environment, var::BUILDKITE_COMMAND_EXIT_STATUS)? {
                "0" => Some(JobStatus::Success),
                _ => Some(JobStatus::Failure),
            },
            // GitHub tells actions, which pass it on; CircleCI decides by `when:` whether a step runs.
            System::GitHub | System::CircleCi | System::Other => None,
        }
    }
}

/// A variable that is text and not empty.
pub(super) fn text<'a>(environment: &'a BTreeMap<OsString, OsString>, name: &str) -> Option<&'a str> {
    let value = environment.get(OsStr::new(name))?.to_str()?;
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn systems_are_told_by_what_they_set() {
        for (name, system) in [
            ("GITHUB_ACTIONS", System::GitHub),
            ("GITLAB_CI", System::GitLab),
            ("CIRCLECI", System::CircleCi),
            ("BUILDKITE", System::Buildkite),
            ("CI", System::Other),
        ] {
            assert_eq!(System::detect(&environment(&[(name, "true")])), system);
            assert_eq!(System::detect(&environment(&[(name, "")])), System::Other);
        }
    }

    #[test]
    fn a_job_that_runs_has_no_status_yet() {
        let gitlab = |status| System::GitLab.job_status(&environment(&[("CI_JOB_STATUS", status)]));
        assert_eq!(gitlab("running"), None);
        assert_eq!(gitlab("canceled"), Some(JobStatus::Cancelled));
        let buildkite =
            |status| System::Buildkite.job_status(&environment(&[("BUILDKITE_COMMAND_EXIT_STATUS", status)]));
        assert_eq!(buildkite("0"), Some(JobStatus::Success));
        assert_eq!(buildkite("137"), Some(JobStatus::Failure));
        assert_eq!(System::Buildkite.job_status(&BTreeMap::new()), None);
    }
}
