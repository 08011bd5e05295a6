//! Filter specs: which objects a partial clone leaves at the remote, in git's own grammar.
//!
//! ```
//! use headstart_git::FilterSpec;
//!
//! let filter: FilterSpec = "combine:tree:3+blob:limit=1m".parse()?;
//! assert_eq!(filter.to_string(), "combine:tree:3+blob:limit=1048576");
//! assert_eq!("none".parse(), Ok(FilterSpec::None));
//! # Ok::<(), headstart_git::ParseFilterSpecError>(())
//! ```

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode;

/// Deeper nesting of `combine:` says nothing that a flat one does not, and would cost stack.
const MAX_NESTING: usize = 16;

/// Characters that must be encoded in the parts of `combine:`, beside white space, control characters, `%`, `+` and
/// everything outside ASCII (git's `RESERVED_NON_WS`).
const RESERVED: &[u8] = br##"~`!@#$^&*()[]{}\;'",<>?"##;

/// Which objects are fetched at once; the remote is asked for the others when they are needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterSpec {
    /// `none`: no filter, a full clone. Our word; git says it by leaving the option out.
    None,
    /// `blob:none`: no file contents.
    BlobNone,
    /// `blob:limit=<n>[kmg]`: no file contents of this many bytes or more.
    BlobLimit(u64),
    /// `tree:<depth>`: no trees and blobs this deep or deeper below the commit's tree, which has depth 0.
    TreeDepth(u64),
    /// `object:type=<type>`: only objects of this type.
    ObjectType(ObjectType),
    /// `sparse:oid=<blob-ish>`: blobs that the sparse patterns in this blob of the remote select.
    SparseOid(String),
    /// `combine:<filter>+<filter>...`: what passes all of them.
    Combine(Vec<FilterSpec>),
}

/// The types an `object:type=` filter can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// `blob`
    Blob,
    /// `tree`
    Tree,
    /// `commit`
    Commit,
    /// `tag`
    Tag,
}

/// Why a text is not a [`FilterSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFilterSpecError {
    /// It is no filter git knows.
    #[error(
        "{0:?} is no filter: use blob:none, blob:limit=<n>[kmg], tree:<depth>, object:type=<type>, sparse:oid=<blob>, \
         combine:<filter>+<filter> or none"
    )]
    Unknown(String),
    /// What should be a size or depth is not one, or is too large.
    #[error("{0:?} is no number (a whole number, with k, m or g for multiples of 1024)")]
    Number(String),
    /// `object:type=` names no type.
    #[error("{0:?} is no object type: use blob, tree, commit or tag")]
    ObjectType(String),
    /// `sparse:oid=` and `combine:` need something after them.
    #[error("{0:?} lacks what should follow")]
    Incomplete(String),
    /// A part of `combine:` contains a character that must be written as `%xx`.
    #[error("{character:?} must be written as %{:02x} in {part:?}", u32::from(*character))]
    Unescaped {
        /// The part.
        part: String,
        /// The first such character.
        character: char,
    },
    /// `combine:` within `combine:` goes too deep.
    #[error("combine: is nested more than {MAX_NESTING} deep")]
    TooDeep,
}

impl FilterSpec {
    /// True when nothing is left out.
    pub fn is_none(&self) -> bool {
        *self == FilterSpec::None
    }

    /// True when trees may be left out as well as file contents.
    pub(crate) fn leaves_out_trees(&self) -> bool {
        match self {
            FilterSpec::None | FilterSpec::BlobNone | FilterSpec::BlobLimit(_) | FilterSpec::SparseOid(_) => {
                false
            }
            FilterSpec::ObjectType(kind) => *kind != ObjectType::Tree,
            FilterSpec::TreeDepth(_) => true,
            FilterSpec::Combine(parts) => parts.iter().any(FilterSpec::leaves_out_trees),
        }
    }

    fn parse(text: &str, nesting: usize) -> Result<Self, ParseFilterSpecError> {
        if nesting > MAX_NESTING {
            return Err(ParseFilterSpecError::TooDeep);
        }
        let unknown = || ParseFilterSpecError::Unknown(text.to_owned());
        if text == "blob:none" {
            return Ok(FilterSpec::BlobNone);
        }
        if let Some(limit) = text.strip_prefix("blob:limit=") {
            return parse_number(limit).map(FilterSpec::BlobLimit);
        }
        if let Some(depth) = text.strip_prefix("tree:") {
            return parse_number(depth).map(FilterSpec::TreeDepth);
        }
        if let Some(name) = text.strip_prefix("object:type=") {
            return name.parse().map(FilterSpec::ObjectType);
        }
        if let Some(blob) = text.strip_prefix("sparse:oid=") {
            // The remote gets the filter as a line of its own.
            return match blob {
                "" => Err(ParseFilterSpecError::Incomplete(text.to_owned())),
                _ if blob.contains(['\n', '\0']) => Err(unknown()),
                _ => Ok(FilterSpec::SparseOid(blob.to_owned())),
            };
        }
        let Some(parts) = text.strip_prefix("combine:") else {
            return Err(unknown());
        };
        if parts.is_empty() {
            return Err(ParseFilterSpecError::Incomplete(text.to_owned()));
        }
        let parts = parts.split('+').map(|part| {
            if let Some(character) = part.chars().find(|character| is_reserved(*character)) {
                let part = part.to_owned();
                return Err(ParseFilterSpecError::Unescaped { part, character });
            }
            let decoded = percent_decode(part.as_bytes())
                .decode_utf8()
                .map_err(|_| unknown())?;
            FilterSpec::parse(&decoded, nesting + 1)
        });
        parts.collect::<Result<_, _>>().map(FilterSpec::Combine)
    }
}

/// Reads a number as git's `git_parse_ulong` does: C notation, then an optional unit.
fn parse_number(text: &str) -> Result<u64, ParseFilterSpecError> {
    let invalid = || ParseFilterSpecError::Number(text.to_owned());
    let plain = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let plain = plain.strip_prefix('+').unwrap_or(plain);
    let (digits, factor) = match plain.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&plain[..plain.len() - 1], 1 << 10),
        Some(b'm') => (&plain[..plain.len() - 1], 1 << 20),
        Some(b'g') => (&plain[..plain.len() - 1], 1 << 30),
        _ => (plain, 1),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if digits.starts_with('+') {
        return Err(invalid());
    }
    u64::from_str_radix(digits, radix)
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(invalid)
}

fn is_reserved(character: char) -> bool {
    character <= ' ' || !character.is_ascii() || RESERVED.contains(&(character as u8))
}

impl FromStr for FilterSpec {
    type Err = ParseFilterSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(FilterSpec::None),
            _ => Self::parse(text, 0),
        }
    }
}

impl FromStr for ObjectType {
    type Err = ParseFilterSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "blob" => Ok(ObjectType::Blob),
            "tree" => Ok(ObjectType::Tree),
            "commit" => Ok(ObjectType::Commit),
            "tag" => Ok(ObjectType::Tag),
            _ => Err(ParseFilterSpecError::ObjectType(text.to_owned())),
        }
    }
}

impl fmt::Display for FilterSpec {
    /// As it is sent to the remote and written to the configuration: sizes in plain digits, as git does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterSpec::None => f.write_str("none"),
            FilterSpec::BlobNone => f.write_str("blob:none"),
            FilterSpec::BlobLimit(bytes) => write!(f, "blob:limit={bytes}"),
            FilterSpec::TreeDepth(depth) => write!(f, "tree:{depth}"),
            FilterSpec::ObjectType(kind) => write!(f, "object:type={kind}"),
            FilterSpec::SparseOid(blob) => write!(f, "sparse:oid={blob}"),
            FilterSpec::Combine(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    f.write_str(if index == 0 { "combine:" } else { "+" })?;
                    for byte in part.to_string().bytes() {
                        if is_reserved(char::from(byte)) || matches!(byte, b'%' | b'+') {
                            write!(f, "%{byte:02x}")?;
                        } else {
                            write!(f, "{}", char::from(byte))?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ObjectType::Blob => "blob",
            ObjectType::Tree => "tree",
            ObjectType::Commit => "commit",
            ObjectType::Tag => "tag",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Accepted by `git rev-list --filter`, but for names that git resolves in a repository.
    const VALID: &[&str] = &[
        "blob:none",
        "blob:limit=0",
        "blob:limit=1k",
        "blob:limit=1M",
        "blob:limit=1g",
        "blob:limit=+1",
        "blob:limit=0x10",
        "blob:limit=010",
        "blob:limit= 5",
        "blob:limit=18446744073709551615",
        "tree:0",
        "tree:5",
        "tree:1k",
        "object:type=blob",
        "object:type=tree",
        "object:type=commit",
        "object:type=tag",
        "combine:tree:1",
        "combine:tree:1+blob:none",
        "combine:tree%3a1+blob:none",
        "combine:tree:1+combine:blob:none",
        "combine:combine:tree:1%2bblob:none+object:type=tree",
    ];

    const INVALID: &[&str] = &[
        "",
        "BLOB:none",
        "blob:limit=",
        "blob:limit=1t",
        "blob:limit=-1",
        "blob:limit=++1",
        "blob:limit=0x",
        "blob:limit=08",
        "blob:limit=k",
        "blob:limit=5 ",
        "blob:limit=18446744073709551616",
        "blob:limit=17179869184g",
        "tree:",
        "tree:-1",
        "tree:x",
        "object:type=x",
        "object:type=",
        "sparse:oid=",
        "sparse:path=x",
        "combine:",
        "combine:tree:1+",
        "combine:+tree:1",
        "combine:a b",
        "combine:tree:1+sparse:oid=a~b",
        "combine:tree:1%2bblob:none",
        "combine:%",
        "combine:tree:1%3",
        "combine:tree:1%zz",
        "combine:tree:1+sparse:oid=caf\u{e9}",
    ];

    #[test]
    fn what_git_accepts_is_accepted_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            std::process::Command::new("git")
                .args(args)
                .current_dir(dir.path())
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .output()
                .unwrap()
        };
        git(&["init", "--quiet"]);
        git(&[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "x",
        ]);
        for (specs, valid) in [(VALID, true), (INVALID, false)] {
            for spec in specs {
                assert_eq!(spec.parse::<FilterSpec>().is_ok(), valid, "{spec}");
                let accepted = git(&["rev-list", "--objects", &format!("--filter={spec}"), "HEAD"]);
                assert_eq!(accepted.status.success(), valid, "git on {spec}");
            }
        }
    }

    #[test]
    fn sizes_are_read_as_in_c_and_written_plain() {
        for (text, written) in [
            ("blob:limit=1k", "blob:limit=1024"),
            ("blob:limit=0x10", "blob:limit=16"),
            ("blob:limit=010", "blob:limit=8"),
            ("blob:limit=0k", "blob:limit=0"),
            (
                "combine:sparse:oid=a%20b+tree:1",
                "combine:sparse:oid=a%20b+tree:1",
            ),
        ] {
            assert_eq!(text.parse::<FilterSpec>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn endless_nesting_is_refused() {
        let text = "combine:".repeat(100_000) + "tree:1";
        assert_eq!(text.parse::<FilterSpec>(), Err(ParseFilterSpecError::TooDeep));
    }

    fn any_filter() -> impl Strategy<Value = FilterSpec> {
        let leaf = prop_oneof![
            Just(FilterSpec::BlobNone),
            any::<u64>().prop_map(FilterSpec::BlobLimit),
            any::<u64>().prop_map(FilterSpec::TreeDepth),
            Just(FilterSpec::ObjectType(ObjectType::Tag)),
            "[^\n\0]+".prop_map(FilterSpec::SparseOid),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop::collection::vec(inner, 1..4).prop_map(FilterSpec::Combine)
        })
    }

    proptest! {
        #[test]
        fn every_filter_round_trips(filter in any_filter()) {
            prop_assert_eq!(filter.to_string().parse::<FilterSpec>(), Ok(filter));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}", prefix in 0..5usize) {
            let prefix = ["", "combine:", "tree:", "blob:limit=", "sparse:oid="][prefix];
            let _ = format!("{prefix}{text}").parse::<FilterSpec>();
        }
    }
}
