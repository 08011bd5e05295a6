//! Which commit a revision names, here or at the remote.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bstr::{BStr, BString, ByteSlice as _};
use gix::{ObjectId, protocol::handshake::Ref};

use super::{ChangesError, Comparison, NamedCommit, Steps, fetcher::name_of, merge_base::Followed};

/// A revision split in two: a name, and the way from there.
#[derive(Debug, PartialEq, Eq)]
struct Revision<'a> {
    name: &'a BStr,
    /// Parents to go to, one after the other.
    steps: Vec<usize>,
}

/// More than any history is deep.
const MOST_STEPS: usize = 10_000_000;

impl<'a> Revision<'a> {
    /// Takes `^`, `^2` and `~3` off the end; `None` for what only git itself understands.
    fn parse(text: &'a BStr) -> Option<Self> {
        let end = text.find_byteset(b"~^").unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let mut steps = Vec::new();
        while let Some((&operator, number)) = rest.split_first() {
            let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, more) = number.split_at(digits);
            let count: usize = match digits {
                b"" => 1,
                digits => digits.to_str().ok()?.parse().ok()?,
            };
            match operator {
                b'~' if steps.len().saturating_add(count) <= MOST_STEPS => {
                    steps.extend(std::iter::repeat_n(1, count));
                }
                // The commit itself.
                b'^' if count == 0 => {}
                b'^' => steps.push(count),
                _ => return None,
            }
            rest = more;
        }
        (!name.is_empty() && !name.starts_with(b"-")).then_some(Revision {
            name: name.into(),
            steps,
        })
    }
}

impl Comparison<'_, '_> {
    /// The base, where one is given; else the remote's default branch.
    pub(super) fn resolve_base(&mut self, given: Option<&BStr>) -> Result<NamedCommit, ChangesError> {
        if let Some(given) = given {
            return self.resolve(given);
        }
        let Some(remote) = self.fetcher.remote_name() else {
            return Err(ChangesError::NoDefaultBase);
        };
        let name = BString::from([remote.as_bytes(), b"/HEAD"].concat());
        match self.resolve(name.as_bstr()) {
            Err(ChangesError::UnknownRevision { .. }) => Err(ChangesError::NoDefaultBase),
            found => found,
        }
    }

    /// The commit that `text` names; it may have to be fetched yet.
    pub(super) fn resolve(&mut self, text: &BStr) -> Result<NamedCommit, ChangesError> {
        let named = |id| NamedCommit {
            name: text.to_owned(),
            id,
        };
        if let Some(id) = self.resolve_here(text)? {
            return Ok(named(id));
        }
        let unknown = |remote| ChangesError::UnknownRevision {
            name: text.to_owned(),
            remote,
        };
        let Some(revision) = Revision::parse(text) else {
            return Err(unknown(None));
        };
        let start = match self.resolve_here(revision.name)? {
            Some(id) => id,
            None => match self.find_at_remote(revision.name)? {
                Some(id) => id,
                None => return Err(unknown(self.fetcher.shown_url().ok())),
            },
        };
        if revision.steps.is_empty() {
            return Ok(named(start));
        }
        let mut steps = Steps::default();
        loop {
            let missing = self.missing(&[start]);
            let end = match missing.is_empty() {
                false => None,
                true => match self.walk.follow(&self.objects, start, &revision.steps)? {
                    Followed::To(id) => return Ok(named(id)),
                    Followed::NoSuchParent => return Err(unknown(None)),
                    Followed::EndOfKnown(end) => Some(end),
                },
            };
            if steps.are_over() {
                return Err(unknown(None));
            }
            self.deepen(&missing, end.into_iter().collect(), &[start], &mut steps)?;
        }
    }

    /// What git itself makes of it, without a look at the remote.
    fn resolve_here(&self, text: &BStr) -> Result<Option<ObjectId>, ChangesError> {
        if text.is_empty() || text.starts_with(b"-") {
            return Ok(None);
        }
        let commit = [text.as_bytes(), b"^{commit}"].concat();
        let (status, output) = self
            .repository
            .git()
            .env("GIT_NO_LAZY_FETCH", "1")
            .args(["rev-parse", "--verify", "--quiet"])
            .arg(OsString::from_vec(commit))
            .run_to_status(self.fetcher.interrupt())?;
        let id = ObjectId::from_hex(output.stdout.trim()).ok();
        Ok(id.filter(|_| status.success()))
    }

    /// The commit of a branch or tag of the remote, or an ID that is taken at its word.
    fn find_at_remote(&mut self, name: &BStr) -> Result<Option<ObjectId>, ChangesError> {
        if let Ok(id) = ObjectId::from_hex(name) {
            return Ok(Some(id));
        }
        let Some(remote) = self.fetcher.remote_name().map(BStr::to_owned) else {
            // Whoever has no remote cannot ask it.
            return Ok(None);
        };
        let names = names_at_remote(name, remote.as_bstr());
        let Ok(names) = names
            .iter()
            .map(|name| name.to_str())
            .collect::<Result<Vec<_>, _>>()
        else {
            return Ok(None);
        };
        let listed = self.fetcher.find_refs(&names)?;
        let found = names
            .iter()
            .find_map(|name| listed.iter().find(|listed| name_of(listed) == *name));
        let Some(found) = found else { return Ok(None) };
        Ok(match found {
            Ref::Unborn { .. } => None,
            Ref::Peeled { object, .. } | Ref::Direct { object, .. } | Ref::Symbolic { object, .. } => {
                Some(*object)
            }
        })
    }
}

/// What a name may be called at the remote, in the order git looks names up.
fn names_at_remote(name: &BStr, remote: &BStr) -> Vec<BString> {
    let tracked = name.strip_prefix(b"refs/remotes/").unwrap_or(name);
    let of_remote = tracked
        .strip_prefix(remote.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"/"));
    let full = |prefix: &[u8], name: &[u8]| BString::from([prefix, name].concat());
    match of_remote {
        Some(b"HEAD") => vec!["HEAD".into()],
        Some(branch) => vec![full(b"refs/heads/", branch), full(b"refs/heads/", name)],
        None if name.starts_with(b"refs/") => vec![name.to_owned()],
        None => vec![full(b"refs/tags/", name), full(b"refs/heads/", name)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_a_name_is_taken_off() {
        let parse = |text: &'static str| {
            Revision::parse(BStr::new(text)).map(|revision| (revision.name.to_string(), revision.steps))
        };
        assert_eq!(parse("main"), Some(("main".into(), vec![])));
        assert_eq!(parse("HEAD^"), Some(("HEAD".into(), vec![1])));
        assert_eq!(parse("a/b~2^2"), Some(("a/b".into(), vec![1, 1, 2])));
        assert_eq!(parse("x^0~"), Some(("x".into(), vec![1])));
        for strange in ["", "~1", "x^{tree}", "x~99999999999", "-x", "x^@"] {
            assert_eq!(parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn tracked_branches_are_known_by_their_own_name_at_the_remote() {
        let names = |name: &str| {
            let names = names_at_remote(BStr::new(name), BStr::new("origin"));
            names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names("origin/main"), "refs/heads/main refs/heads/origin/main");
        assert_eq!(
            names("refs/remotes/origin/a/b"),
            "refs/heads/a/b refs/heads/refs/remotes/origin/a/b"
        );
        assert_eq!(names("origin/HEAD"), "HEAD");
        assert_eq!(names("refs/pull/1/head"), "refs/pull/1/head");
        assert_eq!(names("v1"), "refs/tags/v1 refs/heads/v1");
    }
}
