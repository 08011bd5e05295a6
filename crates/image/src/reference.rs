//! How images are named: on disk, at a daemon, in a registry.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::BlobDigest;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `oci:DIR[:TAG]`: a folder with an OCI layout.
    OciLayout {
        /// The folder.
        folder: PathBuf,
        /// Which of its images; needed when it has several.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: such a folder in a tar.
    OciArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images; needed when it has several.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:TAG]`: what `docker save` writes.
    DockerArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images; needed when it has several.
        tag: Option<String>,
    },
    /// `docker-daemon:NAME`: an image of the Docker daemon.
    DockerDaemon(String),
    /// `registry://NAME`, `docker://NAME`, or the name alone.
    Registry(RegistryReference),
}

/// An image in a registry, with what Docker's short names leave out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    /// `docker.io`, `ghcr.io`, `localhost:5000`.
    pub host: String,
    /// `library/debian`.
    pub repository: String,
    /// Which image of the repository.
    pub version: Version,
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// One that can move.
    Tag(String),
    /// This one.
    Digest(BlobDigest),
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no image: {reason}")]
pub struct ParseReferenceError {
    text: String,
    reason: &'static str,
}

/// Docker's own registry, which short names mean.
const DOCKER_HUB: &str = "docker.io";

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| ParseReferenceError {
            text: text.to_owned(),
            reason,
        };
        let on_disk = |rest: &str| {
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag)),
                None => (rest, None),
            };
            match (path, tag) {
                ("", _) => Err(refuse("a path must follow the colon")),
                (_, Some("")) => Err(refuse("the tag is empty")),
                (path, tag) => Ok((PathBuf::from(path), tag.map(str::to_owned))),
            }
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            return on_disk(rest).map(|(folder, tag)| Reference::OciLayout { folder, tag });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return on_disk(rest).map(|(file, tag)| Reference::OciArchive { file, tag });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return on_disk(rest).map(|(file, tag)| Reference::DockerArchive { file, tag });
        }
        if let Some(name) = text.strip_prefix("docker-daemon:") {
            return match name {
                "" => Err(refuse("a name must follow the colon")),
                name => Ok(Reference::DockerDaemon(name.to_owned())),
            };
        }
        if text.starts_with(['.', '/', '~']) {
            return Err(refuse(
                "files are named with their kind, like docker-archive:FILE, oci-archive:FILE or oci:DIR",
            ));
        }
        let name = text
            .strip_prefix("registry://")
            .or(text.strip_prefix("docker://"))
            .unwrap_or(text);
        parse_registry(name).map(Reference::Registry).map_err(refuse)
    }
}

impl Reference {
    /// The tag it names, if it names one.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Reference::OciLayout { tag, .. }
            | Reference::OciArchive { tag, .. }
            | Reference::DockerArchive { tag, .. } => tag.as_deref(),
            Reference::Registry(RegistryReference {
                version: Version::Tag(tag),
                ..
            }) => Some(tag),
            Reference::Registry(_) | Reference::DockerDaemon(_) => None,
        }
    }
}

/// What `docker load` calls an image of an archive that is to be called `text`: with a tag.
pub fn docker_name(text: &str) -> Result<String, ParseReferenceError> {
    let refuse = |reason| ParseReferenceError {
        text: text.to_owned(),
        reason,
    };
    let name = parse_registry(text).map_err(refuse)?;
    let last = text.rsplit('/').next().unwrap_or(text);
    match name.version {
        Version::Digest(_) => Err(refuse("an archive's image has a tag, not a digest")),
        Version::Tag(_) if last.contains(':') => Ok(text.to_owned()),
        Version::Tag(tag) => Ok(format!("{text}:{tag}")),
    }
}

fn parse_registry(name: &str) -> Result<RegistryReference, &'static str> {
    let (name, digest) = match name.split_once('@') {
        Some((name, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| "what follows @ is not a sha256 digest")?;
            (name, Some(digest))
        }
        None => (name, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[slash..].split_once(':') {
        Some((last, tag)) => (&name[..slash + last.len()], Some(tag)),
        None => (name, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if is_host(first) => (first, path),
        _ => (DOCKER_HUB, name),
    };
    let host = if host == "index.docker.io" {
        DOCKER_HUB
    } else {
        host
    };
    let is_short = host == DOCKER_HUB && !path.contains('/');
    let repository = match is_short {
        true => format!("library/{path}"),
        false => path.to_owned(),
    };
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
    {
        return Err("the host holds a character that no host has");
    }
    if !repository.split('/').all(is_component) {
        return Err("a repository is lower-case words, separated by slashes");
    }
    let is_tag = |tag: &str| {
        let mut bytes = tag.bytes();
        tag.len() <= 128
            && bytes
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("the tag holds a character that no tag has");
    }
    Ok(RegistryReference {
        host: host.to_owned(),
        repository,
        // With both, the digest says which, as everywhere.
        version: match digest {
            Some(digest) => Version::Digest(digest),
            None => Version::Tag(tag.unwrap_or("latest").to_owned()),
        },
    })
}

/// Docker's rule for telling a host from the first word of a repository.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_component(word: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_separator = |between: &[u8]| {
        matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|&byte| byte == b'-')
    };
    word.bytes().next().is_some_and(is_alphanumeric)
        && word.bytes().next_back().is_some_and(is_alphanumeric)
        && word
            .as_bytes()
            .split(|&byte| is_alphanumeric(byte))
            .all(is_separator)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, tag) = match self {
            Reference::OciLayout { folder, tag } => ("oci", folder, tag),
            Reference::OciArchive { file, tag } => ("oci-archive", file, tag),
            Reference::DockerArchive { file, tag } => ("docker-archive", file, tag),
            Reference::DockerDaemon(name) => return write!(f, "docker-daemon:{name}"),
            Reference::Registry(reference) => return reference.fmt(f),
        };
        write!(f, "{kind}:{}", path.display())?;
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn short_names_mean_what_docker_means() {
        for (short, long) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("host:5000/app", "host:5000/app:latest"),
            ("registry://ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            ("docker://x.io/a", "x.io/a:latest"),
        ] {
            assert_eq!(parse(short).to_string(), long, "{short}");
            assert_eq!(parse(long).to_string(), long);
        }
        let digest = BlobDigest::of(b"x");
        let both = parse(&format!("debian:12@{digest}"));
        assert_eq!(both.to_string(), format!("docker.io/library/debian@{digest}"));
    }

    #[test]
    fn an_image_of_an_archive_is_called_as_docker_allows() {
        for (text, name) in [
            ("app", "app:latest"),
            ("team/app:v1", "team/app:v1"),
            ("a--b.c__d_e", "a--b.c__d_e:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
        ] {
            assert_eq!(docker_name(text).as_deref(), Ok(name));
        }
        let digest = format!("app@{}", BlobDigest::of(b"x"));
        for wrong in ["App", "", "app:", "app-", "a..b", "a_-b", "a___b", "-a", &digest] {
            assert!(docker_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_named_with_their_kind() {
        let archive = parse("docker-archive:/tmp/x.tar:repo/app:v1");
        let Reference::DockerArchive { file, tag } = &archive else {
            panic!("{archive:?}");
        };
        assert_eq!(
            (file.to_str(), tag.as_deref()),
            (Some("/tmp/x.tar"), Some("repo/app:v1"))
        );
        assert_eq!(parse("oci:dir").to_string(), "oci:dir");
        for wrong in [
            "oci:",
            "oci:dir:",
            "docker-daemon:",
            "./x.tar",
            "/x.tar",
            "",
            "UPPER",
            "a//b",
            "a:b:c",
            "x@sha256:0",
        ] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_a_reference_says_of_itself_means_the_same(text in "[a-zA-Z0-9:/@._-]{1,30}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            }
        }
    }
}
