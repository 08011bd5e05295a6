//! The shape of a settings file. Every key is listed in `docs/guide/configuration.md`.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use headstart_deps::DepsConfig;
use headstart_tasks::{AffectedConfig, ProjectConfig, TasksConfig};
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer};

/// A settings file: the system's, the user's, or a repository's `headstart.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SettingsFile {
    pub(crate) store: StoreSection,
    pub(crate) remote: RemoteSection,
    pub(crate) deps: Option<DepsConfig>,
    pub(crate) ci: CiSection,
    pub(crate) projects: BTreeMap<String, ProjectConfig>,
    pub(crate) affected: Option<AffectedConfig>,
}

/// `[store]`: the local store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct StoreSection {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) max_size: Option<ByteSize>,
    pub(crate) max_age: Option<Age>,
    pub(crate) auto_gc: Option<bool>,
}

/// `[remote]`: the store behind the local one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RemoteSection {
    pub(crate) url: Option<String>,
}

/// `[ci]`: what `headstart ci` does where the command line does not say.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct CiSection {
    pub(crate) save: Option<CiSave>,
    pub(crate) fail_on_cache_miss: Option<bool>,
}

/// When `headstart ci save` saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CiSave {
    /// Unless the job failed or was cancelled.
    OnSuccess,
    /// Whatever became of the job.
    Always,
}

/// A number of bytes, written as `20GB`, `512 MiB` or plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSize(u64);

/// A time span, written as `30d` or `12h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) SignedDuration);

impl SettingsFile {
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The first key that only the user's own files may hold.
    pub(crate) fn key_only_for_users(&self) -> Option<&'static str> {
        if self.store.dir.is_some() {
            Some("store.dir")
        } else if self.store.max_size.is_some() {
            Some("store.max-size")
        } else if self.store.max_age.is_some() {
            Some("store.max-age")
        } else if self.store.auto_gc.is_some() {
            Some("store.auto-gc")
        } else {
            None
        }
    }

    /// The first key that only a repository's file may hold.
    pub(crate) fn key_only_for_repositories(&self) -> Option<&'static str> {
        if !self.projects.is_empty() {
            Some("projects")
        } else if self.affected.is_some() {
            Some("affected")
        } else {
            None
        }
    }

    /// What it says about the projects of a repository.
    pub(crate) fn into_tasks(self) -> TasksConfig {
        TasksConfig {
            projects: self.projects,
            affected: self.affected.unwrap_or_default(),
        }
    }
}

impl ByteSize {
    pub(crate) fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text
            .find(|char: char| !char.is_ascii_digit() && char != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let refuse = || format!("{text:?} is not a size; write 20GB, 1.5GiB or a number of bytes");
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return Err(refuse()),
        };
        let whole = |number: &str| number.parse::<u64>().ok()?.checked_mul(factor);
        let bytes = match number.split_once('.') {
            None => whole(number),
            // Of what is counted in floating point, 15 digits are exact: a PB.
            Some((before, after)) if factor > 1 && !before.is_empty() && !after.is_empty() => {
                let bytes = number.parse::<f64>().ok().map(|number| number * factor as f64);
                bytes.filter(|&bytes| bytes < 1e15).map(|bytes| bytes as u64)
            }
            Some(_) => None,
        };
        bytes.map(ByteSize).ok_or_else(refuse)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Parses an age: `12h`, `14d`; a day has 24 hours.
pub(crate) fn parse_age(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let age = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|error| error.to_string())?;
    match age.is_negative() {
        true => Err(format!("{text:?} is negative; write 30d or 12h")),
        false => Ok(age),
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_age(&text).map(Age).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_may_be_days() {
        assert_eq!(parse_age("2d 1h"), Ok(SignedDuration::from_hours(49)));
        for wrong in ["", "1", "1month", "later", "-3d"] {
            assert!(parse_age(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn sizes_are_read_in_both_systems() {
        let read = |text: &str| text.parse::<ByteSize>().map(ByteSize::bytes).ok();
        assert_eq!(read("20GB"), Some(20_000_000_000));
        assert_eq!(read("1.5 GiB"), Some(3 << 29));
        assert_eq!(read("512 MiB"), Some(512 << 20));
        assert_eq!(read("77"), Some(77));
        for bad in ["", "GB", "-1", "1XB", "99999999999999TB"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        for bad in ["1.5", "1.GB", ".5GB", "1.2.3GB", "9999999.5TB", "."] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
