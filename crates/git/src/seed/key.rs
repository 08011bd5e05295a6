//! The name under which seeds of a repository are found: what its URL says, without how it is reached.

use std::{fmt, fs};

use bstr::{BStr, ByteSlice as _};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::{
    config::GitConfig, environment::GitEnvironment, error::CloneError, filter_spec::FilterSpec,
    remote_url::RemoteUrl,
};

/// Separates the parts of a key, so it is in none of them.
const SEPARATOR: char = '#';
const ESCAPED: &AsciiSet = &CONTROLS.add(b'#').add(b'%').add(b' ');

/// A repository and a filter.
///
/// Scheme, user, password, default port, letter case of the host, `.git` and slashes at the end make no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedKey {
    repository: String,
    filter: FilterSpec,
}

impl SeedKey {
    /// The key of the repository at `url`, which is rewritten as the user's configuration asks (`insteadOf`).
    pub fn find(url: &BStr, filter: FilterSpec, environment: &GitEnvironment) -> Result<Self, CloneError> {
        // Only what is said outside of repositories counts, whatever that folder is.
        let config = GitConfig::load(environment, &environment.folder)?;
        let rewritten = config.instead_of(url);
        let url = RemoteUrl::parse(rewritten.as_ref(), &environment.folder)?;
        Ok(Self::new(&url, filter))
    }

    pub(crate) fn new(url: &RemoteUrl, filter: FilterSpec) -> Self {
        let (host, path) = match url {
            RemoteUrl::Http(url) => {
                let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                let path: Vec<u8> = percent_decode(url.path().as_bytes()).collect();
                (host + &port, path)
            }
            RemoteUrl::Ssh(ssh) => {
                let host = ssh
                    .destination
                    .rsplit_once('@')
                    .map_or(&*ssh.destination, |(_, host)| host);
                let port = ssh.port.filter(|port| *port != 22);
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let path = ssh.path.strip_prefix(b"/").unwrap_or(&ssh.path);
                (host.to_ascii_lowercase() + &port, [b"/", path].concat())
            }
            RemoteUrl::Local(path) => {
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                (String::new(), path.into_os_string().into_encoded_bytes())
            }
        };
        let mut path = path.trim_end_with(|c| c == '/');
        for suffix in [b"/.git".as_slice(), b".git"] {
            path = path.strip_suffix(suffix).unwrap_or(path);
        }
        let path = percent_encode(path.trim_end_with(|c| c == '/'), ESCAPED);
        SeedKey {
            repository: format!("{host}{path}"),
            filter,
        }
    }

    /// The key with these parts, as [`SeedKey::split_name`] finds them in a name.
    pub fn named(repository: &str, filter: FilterSpec) -> Self {
        SeedKey {
            repository: repository.to_owned(),
            filter,
        }
    }

    /// Host and path of the repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What is left out.
    pub fn filter(&self) -> &FilterSpec {
        &self.filter
    }

    /// The name of the seed of this key that was made at `time`, any text without `#`: names of one key are in the order of
    /// their times.
    pub fn name_at(&self, time: &str) -> String {
        format!("{}{time}", self.prefix())
    }

    /// What the names of all seeds of this key start with.
    pub fn prefix(&self) -> String {
        format!("{self}{SEPARATOR}")
    }

    /// Repository, filter and time of a name that [`SeedKey::name_at`] made.
    pub fn split_name(name: &str) -> Option<(&str, &str, &str)> {
        let mut parts = name.split(SEPARATOR);
        let (repository, filter, time) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some((repository, filter, time))
    }
}

impl fmt::Display for SeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.repository, self.filter)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn repository(url: &str) -> String {
        let url = RemoteUrl::parse(BStr::new(url), Path::new("/nonexistent")).unwrap();
        SeedKey::new(&url, FilterSpec::BlobNone).repository().to_owned()
    }

    #[test]
    fn how_a_repository_is_reached_makes_no_difference() {
        for url in [
            "https://example.com/a/b",
            "https://me:secret@EXAMPLE.com:443/a/b.git/",
            "ssh://git@example.com/a/b.git",
            "ssh://example.com:22/a/b",
            "git@example.com:a/b.git",
        ] {
            assert_eq!(repository(url), "example.com/a/b", "{url}");
        }
        assert_eq!(repository("/a/b/.git"), repository("file:///a/b.git/"));
    }

    #[test]
    fn what_makes_another_repository_makes_another_key() {
        let all = [
            "https://example.com/a/b",
            "https://example.com:8443/a/b",
            "https://example.com/a/B",
            "https://example.org/a/b",
            "/a/b",
            "https://example.com/a/b%23blob:none",
        ];
        let mut keys: Vec<_> = all.iter().map(|url| repository(url)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len(), "{keys:?}");
    }

    #[test]
    fn names_can_be_taken_apart() {
        let url = RemoteUrl::parse(BStr::new("https://h/a%23b c"), Path::new("/")).unwrap();
        let key = SeedKey::new(&url, "tree:0".parse().unwrap());
        let name = key.name_at("2026-01-02T03:04:05Z");
        let (repository, filter, time) = SeedKey::split_name(&name).unwrap();
        assert_eq!((repository, filter), (key.repository(), "tree:0"));
        assert_eq!(time, "2026-01-02T03:04:05Z");
        assert_eq!(SeedKey::split_name("a#b"), None);
    }
}
