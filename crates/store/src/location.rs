//! What `--store` and `--remote` name.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, sync::Arc};

use headstart_protocol::Token;
use url::Url;

use crate::{BucketStore, HttpStore, LocalStore, PruneStore, Store, StoreError};

/// A place for a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder, of the kind [`LocalStore`] keeps.
    Folder(PathBuf),
    /// A bucket, or a folder by URL: `s3://`, `gs://`, `az://`, `file://`.
    Bucket(Url),
    /// A headstart-server: `http://`, `https://`.
    Server(Url),
}

/// Why a text is not a [`Location`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseLocationError {
    /// Nothing.
    #[error("the location is empty; a folder or one of {FORMS} is needed")]
    Empty,
    /// It has another scheme.
    #[error("{0:?} is not a location; a folder or one of {FORMS} is needed")]
    Scheme(String),
    /// It starts well, but is not a URL.
    #[error("{text:?} is not a URL: {reason}")]
    Url {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The URLs that are understood.
const FORMS: &str = "http://host:port, https://host, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///folder";

/// What it takes to open a remote: given in, since this crate reads no environment.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// For buckets, under the names of environment variables; others are passed over. See [`BucketStore::open`].
    pub options: BTreeMap<String, String>,
    /// For a headstart-server.
    pub token: Option<Token>,
}

impl Location {
    /// Opens the store. Folders are made when they are not there; buckets and servers are not asked yet.
    pub fn open(&self, credentials: &Credentials) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Location::Server(url) => Ok(Arc::new(HttpStore::open(url, credentials.token.clone())?)),
            _ => Ok(self.open_prune(credentials)?),
        }
    }

    /// The same for pruning and verifying; a server is [`StoreError::Unsupported`]: that is done where its data is.
    pub fn open_prune(&self, credentials: &Credentials) -> Result<Arc<dyn PruneStore>, StoreError> {
        match self {
            Location::Folder(path) => Ok(Arc::new(LocalStore::open_or_create(path)?)),
            Location::Bucket(url) => Ok(Arc::new(BucketStore::open(url, &credentials.options)?)),
            Location::Server(url) => Err(StoreError::Unsupported(format!(
                "{url} can only be looked after on the server itself"
            ))),
        }
    }
}

impl FromStr for Location {
    type Err = ParseLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, _)) = text.split_once("://") else {
            return match text {
                "" => Err(ParseLocationError::Empty),
                _ => Ok(Location::Folder(text.into())),
            };
        };
        let make = match scheme {
            "http" | "https" => Location::Server,
            "s3" | "gs" | "az" | "file" => Location::Bucket,
            _ => return Err(ParseLocationError::Scheme(text.to_owned())),
        };
        let failed = |reason: String| ParseLocationError::Url {
            text: text.to_owned(),
            reason,
        };
        let url = Url::parse(text).map_err(|error| failed(error.to_string()))?;
        match (scheme, url.host_str()) {
            ("file", Some(_)) => Err(failed("a folder starts with file:///".to_owned())),
            ("file", None) => Ok(make(url)),
            (_, None | Some("")) => Err(failed("it names no bucket or host".to_owned())),
            _ => Ok(make(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        assert_eq!("/a b".parse(), Ok(Location::Folder("/a b".into())));
        assert_eq!("cache".parse(), Ok(Location::Folder("cache".into())));
        for bucket in ["s3://b/p", "gs://b", "az://c/p", "file:///a"] {
            assert!(matches!(bucket.parse(), Ok(Location::Bucket(_))), "{bucket}");
        }
        for server in ["http://127.0.0.1:7460", "https://cache.example.org"] {
            assert!(matches!(server.parse(), Ok(Location::Server(_))), "{server}");
        }
    }

    #[test]
    fn others_are_told_what_is_taken() {
        for text in ["", "ftp://host", "S3://bucket", "grpc://h:1"] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains("s3://bucket/prefix"), "{error}");
        }
        for text in ["s3:///prefix", "http://", "file://host/a", "http://h:99999"] {
            assert!(text.parse::<Location>().is_err(), "{text} was taken");
        }
    }
}
