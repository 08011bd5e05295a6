//! Pushing: blobs that are not there, then manifests.

use std::{fs::File, path::Path, time::Duration};

use headstart_fs::AtPath as _;
use reqwest::{Body, Method, header};

use super::{Attempt, Question, Registries, STALL_TIMEOUT};
use crate::{BlobDigest, ImageError, RegistryReference, manifest::media_type};

/// An upload that is slower than this has stalled.
const SLOWEST_BYTES_PER_SECOND: u64 = 100_000;

/// How a blob came to be where it was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Present,
    Mounted,
    Uploaded,
}

impl Registries {
    /// Sees to it that a repository has a blob: mounted from another repository of the registry where that has it, else
    /// uploaded from the file at `path`.
    pub(crate) fn push_blob(
        &self,
        to: &RegistryReference,
        digest: &BlobDigest,
        path: &Path,
        from: Option<&str>,
    ) -> Result<Pushed, ImageError> {
        self.retry(|| self.push_blob_once(to, digest, path, from))
    }

    fn push_blob_once(
        &self,
        to: &RegistryReference,
        digest: &BlobDigest,
        path: &Path,
        from: Option<&str>,
    ) -> Result<Pushed, Attempt> {
        let question = |method, url, limit| Question {
            what: format!("{digest} in {}/{}", to.host, to.repository),
            method,
            url,
            limit,
        };
        let there = self.url(to, &format!("blobs/{digest}"))?;
        match self.ask(to, &question(Method::HEAD, there, STALL_TIMEOUT), Ok) {
            Ok(_) => return Ok(Pushed::Present),
            Err(Attempt::Failed(ImageError::Missing { .. })) => {}
            Err(error) => return Err(error),
        }
        let mut start = self.url(to, "blobs/uploads/")?;
        if let Some(from) = from {
            let mount = digest.to_string();
            start
                .query_pairs_mut()
                .extend_pairs([("mount", &*mount), ("from", from)]);
        }
        let begun = self.ask(
            to,
            &question(Method::POST, start.clone(), STALL_TIMEOUT),
            |request| Ok(request.header(header::CONTENT_LENGTH, 0)),
        )?;
        if begun.status() == reqwest::StatusCode::CREATED {
            return Ok(Pushed::Mounted);
        }
        let location = begun
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        let mut upload = location
            .and_then(|location| start.join(location).ok())
            .ok_or_else(|| ImageError::unsupported(&*to.host, "it does not say where to upload to"))?;
        upload
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let size_bytes = File::open(path)
            .and_then(|file| file.metadata())
            .at("look at", path);
        let size_bytes = size_bytes.map_err(ImageError::from)?.len();
        let limit = STALL_TIMEOUT + Duration::from_secs(size_bytes / SLOWEST_BYTES_PER_SECOND);
        let upload = question(Method::PUT, upload, limit);
        let _ = self.ask(to, &upload, |request| {
            let file = File::open(path).at("open", path)?;
            Ok(request
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, size_bytes)
                .body(Body::from(tokio::fs::File::from_std(file))))
        })?;
        Ok(Pushed::Uploaded)
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
