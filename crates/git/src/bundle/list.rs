//! The list in which a remote says where bundles of its objects are.

use std::path::PathBuf;

use bstr::{BStr, ByteSlice as _};
use percent_encoding::percent_decode;

use crate::{filter_spec::FilterSpec, remote_url::RemoteUrl};

/// More bundles than a list of anybody's has: hosts that make one a day put them together after some weeks.
const MOST_BUNDLES: usize = 250;

/// Which of the bundles are meant to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All that fit.
    All,
    /// One of them: they hold the same.
    Any,
}

/// The bundles of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleList {
    pub(crate) mode: Mode,
    /// In the order in which they build on each other, as far as the remote tells.
    bundles: Vec<ListedBundle>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedBundle {
    id: String,
    /// As the remote has written it.
    pub(crate) uri: String,
    /// What is left out of it; `None` where that is something this build does not know.
    filter: Option<FilterSpec>,
    creation_token: Option<u64>,
}

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseListError {
    /// It is of another version, or does not say of which.
    #[error("the list of bundles is not of version 1")]
    Version,
    /// It does not say whether all or any of them are needed.
    #[error("the list of bundles has no mode")]
    Mode,
    /// It is longer than is looked at.
    #[error("the list of bundles is too long")]
    TooLong,
}

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Http(url::Url),
    Local(PathBuf),
}

impl BundleList {
    /// Reads `key=value` lines; keys that mean nothing here are skipped.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a BStr>) -> Result<Self, ParseListError> {
        let (mut mode, mut version, mut by_token) = (None, None, false);
        let mut bundles: Vec<ListedBundle> = Vec::new();
        for line in lines {
            let Ok(line) = line.trim_end().to_str() else {
                continue;
            };
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let Some((section, rest)) = key.split_once('.') else {
                continue;
            };
            if !section.eq_ignore_ascii_case("bundle") {
                continue;
            }
            let Some((id, name)) = rest.rsplit_once('.') else {
                match rest.to_ascii_lowercase().as_str() {
                    "version" => version = Some(value.to_owned()),
                    "mode" if value == "all" => mode = Some(Mode::All),
                    "mode" if value == "any" => mode = Some(Mode::Any),
                    "heuristic" => by_token = value == "creationToken",
                    _ => {}
                }
                continue;
            };
            let index = bundles.iter().position(|bundle| bundle.id == id);
            let index = index.unwrap_or_else(|| {
                bundles.push(ListedBundle {
                    id: id.to_owned(),
                    uri: String::new(),
                    filter: Some(FilterSpec::None),
                    creation_token: None,
                });
                bundles.len() - 1
            });
            if bundles.len() > MOST_BUNDLES {
                return Err(ParseListError::TooLong);
            }
            let bundle = &mut bundles[index];
            match name.to_ascii_lowercase().as_str() {
                "uri" => bundle.uri = value.to_owned(),
                "filter" => bundle.filter = value.parse().ok(),
                "creationtoken" => bundle.creation_token = value.parse().ok(),
                _ => {}
            }
        }
        if version.as_deref() != Some("1") {
            return Err(ParseListError::Version);
        }
        bundles.retain(|bundle| !bundle.uri.is_empty());
        if by_token {
            bundles.sort_by_key(|bundle| bundle.creation_token);
        }
        Ok(BundleList {
            mode: mode.ok_or(ParseListError::Mode)?,
            bundles,
        })
    }

    /// Those that lack what a clone with `filter` lacks, and nothing else: others are too large, or too small.
    pub(crate) fn matching(&self, filter: &FilterSpec) -> Vec<&ListedBundle> {
        self.bundles
            .iter()
            .filter(|bundle| bundle.filter.as_ref() == Some(filter))
            .collect()
    }
}

impl Location {
    /// As in `protocol.<name>.allow`.
    pub(crate) fn protocol(&self) -> &str {
        match self {
            Location::Http(url) => url.scheme(),
            Location::Local(_) => "file",
        }
    }
}

impl ListedBundle {
    /// Where it is, if a list of `remote` may lead there: to files of this machine only from a repository on it, and not
    /// to a connection that others can read from one that they cannot.
    pub(crate) fn location(&self, remote: &RemoteUrl) -> Option<Location> {
        let uri = self.uri.as_str();
        let scheme = uri
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        match (scheme.as_deref(), remote) {
            (Some("https"), _) => uri.parse().ok().map(Location::Http),
            (Some("http"), RemoteUrl::Http(base)) if base.scheme() == "http" => {
                uri.parse().ok().map(Location::Http)
            }
            (Some("file"), RemoteUrl::Local(_)) => {
                let path = percent_decode(&uri.as_bytes()["file://".len()..])
                    .decode_utf8()
                    .ok()?;
                Some(Location::Local(path.into_owned().into()))
            }
            (Some(_), _) => None,
            (None, RemoteUrl::Http(base)) => {
                let mut folder = base.clone();
                folder.set_path(&format!("{}/", base.path().trim_end_matches('/')));
                let url = folder.join(uri).ok()?;
                (url.origin() == base.origin()).then_some(Location::Http(url))
            }
            (None, RemoteUrl::Local(base)) => Some(Location::Local(base.join(uri))),
            (None, RemoteUrl::Ssh(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<BundleList, ParseListError> {
        BundleList::parse(text.lines().map(BStr::new))
    }

    fn uris<'a>(list: &'a BundleList, filter: &str) -> Vec<&'a str> {
        let filter = filter.parse().unwrap();
        list.matching(&filter)
            .iter()
            .map(|bundle| bundle.uri.as_str())
            .collect()
    }

    #[test]
    fn bundles_are_chosen_by_filter_and_ordered_by_token() {
        let list = parse(
            "bundle.version=1\nbundle.mode=all\nbundle.heuristic=creationToken\nbundle.future=x\n\
            bundle.b.uri=https://h/b?x=y\nbundle.b.creationToken=20\nbundle.a.creationtoken=3\nbundle.a.uri=a\n\
            bundle.f.filter=blob:none\nbundle.f.uri=f\nbundle.g.filter=new:one\nbundle.g.uri=g\nbundle.empty.filter=tree:0\n\
            core.bare=true\nnonsense\n",
        )
        .unwrap();
        assert_eq!(list.mode, Mode::All);
        assert_eq!(uris(&list, "none"), ["a", "https://h/b?x=y"]);
        assert_eq!(uris(&list, "blob:none"), ["f"]);
        assert_eq!(uris(&list, "tree:0"), [""; 0]);
    }

    #[test]
    fn a_list_says_its_version_and_mode() {
        assert_eq!(
            parse("bundle.mode=all\nbundle.version=2"),
            Err(ParseListError::Version)
        );
        assert_eq!(parse(""), Err(ParseListError::Version));
        assert_eq!(
            parse("bundle.version=1\nbundle.mode=some"),
            Err(ParseListError::Mode)
        );
        assert_eq!(
            parse("bundle.version=1\nbundle.mode=any").unwrap().mode,
            Mode::Any
        );
        let many: String = (0..2000).map(|id| format!("bundle.{id}.uri=x\n")).collect();
        assert_eq!(parse(&many), Err(ParseListError::TooLong));
    }

    #[test]
    fn a_list_leads_only_where_its_remote_may() {
        let at = |remote: &str, uri: &str| {
            let bundle = ListedBundle {
                id: "x".to_owned(),
                uri: uri.to_owned(),
                filter: None,
                creation_token: None,
            };
            let remote = RemoteUrl::parse(remote.into(), Path::new("/")).unwrap();
            bundle.location(&remote).map(|location| match location {
                Location::Http(url) => url.to_string(),
                Location::Local(path) => path.display().to_string(),
            })
        };
        let secure = "https://h/org/repo.git";
        for (remote, uri, location) in [
            (secure, "https://cdn/x", Some("https://cdn/x")),
            (secure, "HTTPS://cdn/x", Some("https://cdn/x")),
            (secure, "x.bundle", Some("https://h/org/repo.git/x.bundle")),
            (secure, "../x", Some("https://h/org/x")),
            (secure, "/x", Some("https://h/x")),
            (secure, "//other/x", None),
            (secure, "http://h/x", None),
            (secure, "file:///etc/passwd", None),
            (secure, "ssh://h/x", None),
            ("http://h/r", "http://cdn/x", Some("http://cdn/x")),
            ("ssh://h/r", "https://cdn/x", Some("https://cdn/x")),
            ("ssh://h/r", "http://cdn/x", None),
            ("ssh://h/r", "x", None),
            ("/a/repo", "file:///b/x%20y", Some("/b/x y")),
            ("/a/repo", "x", Some("/a/repo/x")),
            ("/a/repo", "https://cdn/x", Some("https://cdn/x")),
        ] {
            assert_eq!(at(remote, uri).as_deref(), location, "{remote} {uri}");
        }
    }
}
