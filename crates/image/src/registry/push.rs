//! Pushing: blobs that are not there, then manifests.

use std::{fs::File, path::Path, time::Duration};

use headstart_fs::AtPath as _;
use reqwest::{Body, Method, Response, StatusCode, header};
use url::Url;

use super::{Attempt, Question, Registries, STALL_TIMEOUT, leads_inward};
use crate::{BlobDigest, ImageError, RegistryReference, manifest::media_type};

/// An upload that is slower than this has stalled.
const SLOWEST_BYTES_PER_SECOND: u64 = 100_000;
/// Where uploads begin.
const UPLOADS: &str = "blobs/uploads/";

impl Registries {
    /// Whether a repository has a blob, or gets it from another repository of the registry, `from`, without its bytes.
    pub(crate) fn find_blob(
        &self,
        to: &RegistryReference,
        digest: &BlobDigest,
        from: Option<&str>,
    ) -> Result<bool, ImageError> {
        self.retry(|| {
            if self.is_there(to, digest)? {
                return Ok(true);
            }
            let Some(from) = from else {
                return Ok(false);
            };
            let mut url = self.url(to, UPLOADS)?;
            let mount = digest.to_string();
            url.query_pairs_mut()
                .extend_pairs([("mount", &*mount), ("from", from)]);
            // A registry that cannot begins an upload, which is let lie: it is made anew when there are bytes to send. One that
            // refuses, perhaps since the account may not read `from` there, may yet take the bytes.
            match self.begin_upload(to, digest, url) {
                Ok(answer) => Ok(answer.status() == StatusCode::CREATED),
                Err(Attempt::Failed(
                    ImageError::Refused { .. } | ImageError::Unsupported { .. } | ImageError::Missing { .. },
                )) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Sees to it that a repository has a blob: uploads it from the file at `path` unless it is there.
    pub(crate) fn push_blob(
        &self,
        to: &RegistryReference,
        digest: &BlobDigest,
        path: &Path,
    ) -> Result<(), ImageError> {
        self.retry(|| match self.is_there(to, digest)? {
            true => Ok(()),
            false => self.upload(to, digest, path),
        })
    }

    fn is_there(&self, to: &RegistryReference, digest: &BlobDigest) -> Result<bool, Attempt> {
        let url = self.url(to, &format!("blobs/{digest}"))?;
        let question = question(to, digest, Method::HEAD, url, STALL_TIMEOUT);
        match self.ask(to, &question, Ok) {
            Ok(_) => Ok(true),
            Err(Attempt::Failed(ImageError::Missing { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn begin_upload(
        &self,
        to: &RegistryReference,
        digest: &BlobDigest,
        url: Url,
    ) -> Result<Response, Attempt> {
        let question = question(to, digest, Method::POST, url, STALL_TIMEOUT);
        self.ask(to, &question, |request| {
            Ok(request.header(header::CONTENT_LENGTH, 0))
        })
    }

    fn upload(&self, to: &RegistryReference, digest: &BlobDigest, path: &Path) -> Result<(), Attempt> {
        let start = self.url(to, UPLOADS)?;
        let begun = self.begin_upload(to, digest, start.clone())?;
        let location = begun.headers().get(header::LOCATION);
        let mut url = upload_url(&start, location.and_then(|value| value.to_str().ok()))?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let size_bytes = File::open(path)
            .and_then(|file| file.metadata())
            .at("look at", path);
        let size_bytes = size_bytes.map_err(ImageError::from)?.len();
        let limit = STALL_TIMEOUT + Duration::from_secs(size_bytes / SLOWEST_BYTES_PER_SECOND);
        let question = question(to, digest, Method::PUT, url, limit);
        let _ = self.ask(to, &question, |request| {
            let file = File::open(path).at("open", path)?;
            Ok(request
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, size_bytes)
                .body(Body::from(tokio::fs::File::from_std(file))))
        })?;
        Ok(())
    }

    /// Gives an image whose blobs are there its tag; without one it is found by its digest.
    pub(crate) fn push_manifest(
        &self,
        to: &RegistryReference,
        digest: &BlobDigest,
        tag: Option<&str>,
        json: &[u8],
    ) -> Result<(), ImageError> {
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let question = Question {
            what: format!("the manifest {name} of {}/{}", to.host, to.repository),
            method: Method::PUT,
            url: self.url(to, &format!("manifests/{name}"))?,
            limit: STALL_TIMEOUT,
        };
        let _ = self.retry(|| {
            self.ask(to, &question, |request| {
                Ok(request
                    .header(header::CONTENT_TYPE, media_type::OCI_MANIFEST)
                    .body(json.to_vec()))
            })
        })?;
        Ok(())
    }
}

fn question(
    to: &RegistryReference,
    digest: &BlobDigest,
    method: Method,
    url: Url,
    limit: Duration,
) -> Question {
    Question {
        what: format!("{digest} in {}/{}", to.host, to.repository),
        method,
        url,
        limit,
    }
}

/// Where an upload goes that was begun at `start`. It may be another host, which is told no login, but bytes that were to go
/// over TLS never go without.
fn upload_url(start: &Url, location: Option<&str>) -> Result<Url, ImageError> {
    let registry = start.host_str().unwrap_or_default();
    let url = location
        .and_then(|location| start.join(location).ok())
        .filter(|url| ["http", "https"].contains(&url.scheme()))
        .ok_or_else(|| ImageError::unsupported(registry, "it does not say where to upload to"))?;
    if leads_inward(start, &url) {
        return Err(ImageError::unsupported(
            registry,
            "it wants uploads sent to this machine",
        ));
    }
    match start.scheme() == "https" && url.scheme() != "https" {
        true => Err(ImageError::unsupported(
            registry,
            format!(
                "it wants uploads sent without TLS, to {}",
                url.origin().ascii_serialization()
            ),
        )),
        false => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_does_not_lose_its_tls() {
        let start = Url::parse("https://r.example/v2/app/blobs/uploads/").unwrap();
        let to = |location| upload_url(&start, Some(location)).map(String::from);
        assert_eq!(to("/v2/app/u?s=1").unwrap(), "https://r.example/v2/app/u?s=1");
        assert_eq!(to("https://cdn.example/u").unwrap(), "https://cdn.example/u");
        for refused in ["http://r.example/u", "http://localhost/u", "ftp://r.example/u"] {
            assert!(to(refused).is_err(), "{refused}");
        }
        assert!(upload_url(&start, None).is_err());
        let plain = Url::parse("http://localhost:5000/v2/app/blobs/uploads/").unwrap();
        assert!(upload_url(&plain, Some("http://localhost:5000/u")).is_ok());
        let remote = Url::parse("http://r.example/v2/app/blobs/uploads/").unwrap();
        for inward in ["http://localhost/u", "https://127.0.0.1:8443/u", "http://[::1]/u"] {
            assert!(upload_url(&remote, Some(inward)).is_err(), "{inward}");
        }
    }
}
