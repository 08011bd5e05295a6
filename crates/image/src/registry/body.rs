//! Bodies of answers: short ones whole, blobs as a stream that goes on where a connection broke.

use std::io::{self, Read};

use reqwest::{Response, StatusCode, header};

use super::{Attempt, Registries, STALL_TIMEOUT};
use crate::{ImageError, RegistryReference};

/// Broken connections in a row, without a byte between them, before we give up.
const MAX_BREAKS: u32 = 4;

impl Registries {
    /// Reads a body of at most `limit` bytes.
    pub(super) fn read_short(
        &self,
        what: &str,
        mut response: Response,
        limit: usize,
    ) -> Result<Vec<u8>, Attempt> {
        let mut bytes = Vec::new();
        loop {
            let chunk = self.wait(response.chunk(), STALL_TIMEOUT);
            let chunk = chunk.and_then(|chunk| chunk.map_err(io::Error::other));
            match chunk {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                    return Err(ImageError::too_large(what, format!("{limit} bytes")).into());
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(bytes),
                Err(source) => return Err(self.unavailable(what, source)),
            }
        }
    }

    /// A document of the repository and its media type.
    pub(crate) fn get_short(
        &self,
        reference: &RegistryReference,
        path: &str,
        accept: &str,
        limit: usize,
    ) -> Result<(Vec<u8>, String), ImageError> {
        let mut breaks = 0;
        loop {
            let response = self.get(reference, path, |request| request.header(header::ACCEPT, accept))?;
            let media_type = response
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            match self.read_short(path, response, limit) {
                Ok(bytes) => return Ok((bytes, media_type)),
                Err(Attempt::Again { .. }) if breaks < MAX_BREAKS && !self.is_interrupted() => breaks += 1,
                Err(Attempt::Again { error, .. } | Attempt::Failed(error)) => return Err(error),
            }
        }
    }
}

/// The bytes of a blob.
pub(crate) struct BlobBody<'a> {
    registries: &'a Registries,
    reference: &'a RegistryReference,
    path: String,
    response: Option<Response>,
    chunk: bytes::Bytes,
    /// Bytes handed on.
    done: u64,
    /// Bytes of an answer from the start that were handed on before.
    skip: u64,
    breaks: u32,
}

impl<'a> BlobBody<'a> {
    pub(crate) fn open(
        registries: &'a Registries,
        reference: &'a RegistryReference,
        path: String,
    ) -> Result<Self, ImageError> {
        let response = registries.get(reference, &path, |request| request)?;
        Ok(BlobBody {
            registries,
            reference,
            path,
            response: Some(response),
            chunk: bytes::Bytes::new(),
            done: 0,
            skip: 0,
            breaks: 0,
        })
    }

    /// Asks for the rest.
    fn resume(&mut self) -> io::Result<()> {
        let range = format!("bytes={}-", self.done);
        let response = self
            .registries
            .get(self.reference, &self.path, |request| match self.done {
                0 => request,
                _ => request.header(header::RANGE, &range),
            })
            .map_err(io::Error::other)?;
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if begins_at(&response, self.done) => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(io::Error::other(
                    "the registry sends another range than the one asked for",
                ));
            }
            _ => self.done,
        };
        self.response = Some(response);
        Ok(())
    }

    /// The next bytes; none at the end.
    fn next_chunk(&mut self) -> io::Result<bytes::Bytes> {
        loop {
            if self.response.is_none() {
                self.resume()?;
            }
            let response = self
                .response
                .as_mut()
                .expect("there is one, or resume has failed");
            let read = self.registries.wait(response.chunk(), STALL_TIMEOUT);
            match read.and_then(|chunk| chunk.map_err(io::Error::other)) {
                Ok(None) => return Ok(bytes::Bytes::new()),
                Ok(Some(mut chunk)) => {
                    let skipped = chunk.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                    self.skip -= skipped as u64;
                    let chunk = chunk.split_off(skipped);
                    if !chunk.is_empty() {
                        self.breaks = 0;
                        return Ok(chunk);
                    }
                }
                Err(error) => {
                    self.breaks += 1;
                    if self.breaks > MAX_BREAKS || self.registries.is_interrupted() {
                        return Err(error);
                    }
                    self.response = None;
                }
            }
        }
    }
}

impl Read for BlobBody<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !into.is_empty() {
            self.chunk = self.next_chunk()?;
        }
        let taken = self.chunk.split_to(self.chunk.len().min(into.len()));
        into[..taken.len()].copy_from_slice(&taken);
        self.done += taken.len() as u64;
        Ok(taken.len())
    }
}

/// Whether `Content-Range: bytes 7-99/100` begins at `offset`.
fn begins_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|value| value.to_str().ok()?.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.trim().parse().ok()) == Some(offset)
}
