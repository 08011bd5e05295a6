//! Git's configuration as git itself resolves it: files, includes, environment, in git's order.

use bstr::{BStr, BString, ByteSlice as _};
use headstart_process::ProcessError;

use crate::environment::GitEnvironment;

mod protocol;
mod url_match;

use url_match::UrlPattern;

/// Values that apply, the last one winning.
#[derive(Debug, Clone, Default)]
pub(crate) struct GitConfig {
    entries: Vec<Entry>,
}

/// Which files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scopes {
    /// Those of the system, the user and the command line.
    Outside,
    /// The repository's as well.
    All,
}

#[derive(Debug, Clone)]
struct Entry {
    /// `section.name` or `section.subsection.name`: section and name in lower case, the subsection as written.
    key: BString,
    /// Absent for a name without `=`, which means true.
    value: Option<BString>,
}

impl GitConfig {
    /// Asks git for the system's, the user's and the command line's configuration, leaving out the repository at
    /// `git_dir`, which only makes sure that no other repository takes part.
    pub(crate) fn load(
        environment: &GitEnvironment,
        git_dir: &std::path::Path,
    ) -> Result<Self, ProcessError> {
        Ok(Self::parse(
            &Self::listing(environment, git_dir)?,
            Scopes::Outside,
        ))
    }

    /// The same with the repository's own, for one that is not being made.
    pub(crate) fn load_with_local(
        environment: &GitEnvironment,
        git_dir: &std::path::Path,
    ) -> Result<Self, ProcessError> {
        Ok(Self::parse(&Self::listing(environment, git_dir)?, Scopes::All))
    }

    fn listing(environment: &GitEnvironment, git_dir: &std::path::Path) -> Result<Vec<u8>, ProcessError> {
        let listing = environment
            .git_in(git_dir)
            .args(["config", "--list", "--show-scope", "-z"])
            .run()?;
        Ok(listing.stdout)
    }

    /// Reads `git config --list --show-scope -z`: a scope, then `key\nvalue` or `key`, each ended by NUL.
    fn parse(listing: &[u8], scopes: Scopes) -> Self {
        let mut fields = listing.split(|byte| *byte == 0);
        let mut entries = Vec::new();
        while let (Some(scope), Some(field)) = (fields.next(), fields.next()) {
            if scopes == Scopes::Outside && matches!(scope, b"local" | b"worktree") {
                continue;
            }
            let (key, value) = match field.split_once_str("\n") {
                Some((key, value)) => (key, Some(value.into())),
                None => (field, None),
            };
            entries.push(Entry {
                key: key.into(),
                value,
            });
        }
        GitConfig { entries }
    }

    /// The last value of `key`; empty for a name without a value.
    pub(crate) fn string(&self, key: &str) -> Option<&BStr> {
        let entry = self.entries.iter().rfind(|entry| entry.key == key)?;
        Some(
            entry
                .value
                .as_ref()
                .map_or(BStr::new(""), |value| value.as_bstr()),
        )
    }

    /// All values of `key`, in order.
    pub(crate) fn all(&self, key: &str) -> Vec<&BStr> {
        let entries = self.entries.iter().filter(|entry| entry.key == key);
        entries
            .filter_map(|entry| Some(entry.value.as_ref()?.as_bstr()))
            .collect()
    }

    /// The last value of `key` as a boolean; what is no boolean counts as unset.
    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        let entry = self.entries.iter().rfind(|entry| entry.key == key)?;
        parse_bool(entry.value.as_ref().map(|value| value.as_bstr()))
    }

    /// The subsections of `section`, each once, in the order they first appear.
    pub(crate) fn subsections(&self, section: &str) -> Vec<&BStr> {
        let mut names: Vec<&BStr> = Vec::new();
        for entry in &self.entries {
            let rest = entry.key.strip_prefix(section.as_bytes());
            let Some((name, _)) = rest.and_then(|rest| rest.strip_prefix(b".")?.rsplit_once_str(".")) else {
                continue;
            };
            if !names.contains(&name.as_bstr()) {
                names.push(name.as_bstr());
            }
        }
        names
    }

    /// The last value of `http.<name>` or `http.<url>.<name>`, the most specific URL that matches `url` first.
    pub(crate) fn http(&self, url: &url::Url, name: &str) -> Option<&BStr> {
        self.http_entries(url, name)
            .into_iter()
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, value)| value)
    }

    /// All values of `http.<name>` that apply to `url`; an empty one forgets those before it.
    pub(crate) fn http_all(&self, url: &url::Url, name: &str) -> Vec<&BStr> {
        let mut values = Vec::new();
        for (_, value) in self.http_entries(url, name) {
            if value.is_empty() {
                values.clear();
            } else {
                values.push(value);
            }
        }
        values
    }

    /// `http.<name>` as a boolean; what is no boolean counts as unset.
    pub(crate) fn http_bool(&self, url: &url::Url, name: &str) -> Option<bool> {
        let name_ = name.to_ascii_lowercase();
        let entries = self.entries.iter().filter_map(|entry| {
            let rank = rank_for(entry.key.as_bstr(), url, &name_)?;
            Some((
                rank,
                parse_bool(entry.value.as_ref().map(|value| value.as_bstr())),
            ))
        });
        entries.max_by_key(|(rank, _)| *rank)?.1
    }

    fn http_entries(&self, url: &url::Url, name: &str) -> Vec<(url_match::Rank, &BStr)> {
        let name = name.to_ascii_lowercase();
        let entries = self.entries.iter().filter_map(|entry| {
            let rank = rank_for(entry.key.as_bstr(), url, &name)?;
            Some((rank, entry.value.as_ref()?.as_bstr()))
        });
        entries.collect()
    }

    /// Rewrites `url` by the longest `url.<base>.insteadOf` that starts it.
    pub(crate) fn instead_of(&self, url: &BStr) -> BString {
        let rewrites = self.entries.iter().filter_map(|entry| {
            let base = entry.key.strip_prefix(b"url.")?.strip_suffix(b".insteadof")?;
            let prefix = entry.value.as_ref()?;
            url.strip_prefix(prefix.as_slice())
                .map(|rest| (prefix.len(), base, rest))
        });
        // The first of equally long ones wins, as in git.
        match rewrites.reduce(|best, next| if next.0 > best.0 { next } else { best }) {
            Some((_, base, rest)) => [base, rest].concat().into(),
            None => url.to_owned(),
        }
    }

    /// The values in the form `gix` takes overrides in. Keys with `=` in a subsection have no such form; they name URLs
    /// with a query, which nothing that reads these values looks at.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = BString> {
        self.entries
            .iter()
            .filter(|entry| entry.key.find_byte(b'=').is_none())
            .map(|entry| match &entry.value {
                Some(value) => [entry.key.as_slice(), b"=", value].concat().into(),
                None => entry.key.clone(),
            })
    }
}

fn rank_for(key: &BStr, url: &url::Url, name: &str) -> Option<url_match::Rank> {
    let subject = key.strip_prefix(b"http.")?.strip_suffix(name.as_bytes())?;
    if subject.is_empty() {
        return Some(url_match::Rank::default());
    }
    UrlPattern::parse(subject.strip_suffix(b".")?.to_str().ok()?)?.rank(url)
}

/// Reads a boolean as git does; `None` stands for a name without a value.
fn parse_bool(value: Option<&BStr>) -> Option<bool> {
    let Some(value) = value else { return Some(true) };
    match value.to_ascii_lowercase().as_slice() {
        b"true" | b"yes" | b"on" => Some(true),
        b"false" | b"no" | b"off" | b"" => Some(false),
        number => number
            .to_str()
            .ok()?
            .parse::<i64>()
            .ok()
            .map(|number| number != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> GitConfig {
        let listing: String = entries
            .iter()
            .map(|(key, value)| format!("global\0{key}\n{value}\0"))
            .collect();
        GitConfig::parse(listing.as_bytes(), Scopes::Outside)
    }

    fn url(text: &str) -> url::Url {
        text.parse().unwrap()
    }

    #[test]
    fn the_repository_itself_takes_no_part() {
        let listing = b"system\0a.b\n1\0local\0a.b\n2\0global\0a.c\0";
        let config = GitConfig::parse(listing, Scopes::Outside);
        assert_eq!(config.string("a.b"), Some(BStr::new("1")));
        assert_eq!(config.string("a.c"), Some(BStr::new("")));
        assert_eq!(config.string("a.d"), None);
        assert_eq!(config.overrides().collect::<Vec<_>>(), ["a.b=1", "a.c"]);
        assert_eq!(
            GitConfig::parse(listing, Scopes::All).string("a.b"),
            Some(BStr::new("2"))
        );
    }

    #[test]
    fn subsections_are_names_with_whatever_is_in_them() {
        let config = config(&[
            ("remote.a.b.url", "x"),
            ("remote.a.b.fetch", "y"),
            ("remote.pushdefault", "z"),
            ("remote.c.url", "x"),
        ]);
        assert_eq!(config.subsections("remote"), ["a.b", "c"]);
    }

    #[test]
    fn the_most_specific_url_wins_and_the_last_of_equals() {
        let config = config(&[
            ("http.https://example.com/team.proxy", "team"),
            ("http.proxy", "first"),
            ("http.proxy", "all"),
            ("http.https://*.example.com.proxy", "wild"),
            ("http.https://example.com.proxy", "host"),
        ]);
        for (of, proxy) in [
            ("https://example.com/team/repo", "team"),
            ("https://example.com/teams/repo", "host"),
            ("https://git.example.com/team/repo", "wild"),
            ("http://example.com/team/repo", "all"),
        ] {
            assert_eq!(config.http(&url(of), "proxy"), Some(BStr::new(proxy)), "{of}");
        }
    }

    #[test]
    fn headers_add_up_until_an_empty_one() {
        let config = config(&[
            ("http.extraheader", "A: 1"),
            ("http.extraheader", ""),
            ("http.extraheader", "B: 2"),
            ("http.https://example.com.extraheader", "C: 3"),
            ("http.https://other.com.extraheader", "D: 4"),
        ]);
        assert_eq!(
            config.http_all(&url("https://example.com/x"), "extraHeader"),
            ["B: 2", "C: 3"]
        );
    }

    #[test]
    fn the_longest_instead_of_wins() {
        let config = config(&[
            ("url.https://git.example.com/.insteadof", "ex:"),
            ("url.ssh://git@example.com/Team/.insteadof", "ex:team/"),
        ]);
        assert_eq!(
            config.instead_of(BStr::new("ex:team/r")),
            "ssh://git@example.com/Team/r"
        );
        assert_eq!(
            config.instead_of(BStr::new("ex:other/r")),
            "https://git.example.com/other/r"
        );
        assert_eq!(config.instead_of(BStr::new("/ex:other")), "/ex:other");
    }

    #[test]
    fn booleans_are_gits() {
        for (text, value) in [
            ("yes", Some(true)),
            ("OFF", Some(false)),
            ("0", Some(false)),
            ("2", Some(true)),
            ("x", None),
        ] {
            assert_eq!(
                config(&[("http.sslverify", text)]).http_bool(&url("https://a/"), "sslVerify"),
                value
            );
        }
    }
}
