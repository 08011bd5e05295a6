//! Paths of tar entries, made clean: no `.`, no `..`, no slash at either end. The root is the empty path.

use std::borrow::Cow;

/// The longest path that Linux opens.
pub(crate) const MAX_PATH_BYTES: usize = 4096;

/// Why a path cannot be one in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathProblem {
    #[error("it leaves the image")]
    Escapes,
    #[error("it is longer than 4096 bytes")]
    TooLong,
    #[error("it holds a NUL")]
    Nul,
    #[error("it marks nothing as hidden")]
    Marker,
    #[error("it links to a path that is longer than 4096 bytes")]
    Target,
}

/// What a path names below the root of an image. `/` is that root, and `..` goes up as long as there is something above.
pub(crate) fn clean_path(raw: &[u8]) -> Result<Cow<'_, [u8]>, PathProblem> {
    if raw.len() > MAX_PATH_BYTES {
        return Err(PathProblem::TooLong);
    }
    if raw.contains(&0) {
        return Err(PathProblem::Nul);
    }
    let trimmed = raw.strip_prefix(b"./").or(raw.strip_prefix(b"/")).unwrap_or(raw);
    let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
    let is_clean = trimmed
        .split(|&byte| byte == b'/')
        .all(|part| !matches!(part, b"" | b"." | b".."));
    if is_clean {
        return Ok(Cow::Borrowed(trimmed));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in raw.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop().ok_or(PathProblem::Escapes)?),
            part => parts.push(part),
        }
    }
    Ok(Cow::Owned(parts.join(&b'/')))
}

/// The folder of a clean path and its last part; the root has neither.
pub(crate) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(raw: &str) -> Result<String, PathProblem> {
        clean_path(raw.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn one_place_has_one_path() {
        for raw in ["a/b", "./a/b", "/a/b", "a//b/", "a/./b", "x/../a/b", ".//a/b/."] {
            assert_eq!(clean(raw).as_deref(), Ok("a/b"), "{raw}");
        }
        for root in ["", ".", "/", "./", "a/.."] {
            assert_eq!(clean(root).as_deref(), Ok(""), "{root}");
        }
        assert_eq!(clean("a/../../etc"), Err(PathProblem::Escapes));
        assert_eq!(clean("/../etc"), Err(PathProblem::Escapes));
        assert_eq!(clean("a\0b"), Err(PathProblem::Nul));
        assert_eq!(clean(&"a/".repeat(2049)), Err(PathProblem::TooLong));
    }

    proptest! {
        #[test]
        fn a_clean_path_is_clean(raw in "[a./]{0,12}") {
            if let Ok(path) = clean(&raw) {
                prop_assert!(path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | "..")));
                prop_assert_eq!(clean(&path), Ok(path));
            }
        }
    }
}
