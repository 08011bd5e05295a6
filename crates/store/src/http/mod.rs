//! A store behind a headstart-server, as `docs/design/protocol.md` describes the way to it.

mod exchange;
mod upload;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use headstart_protocol::{
    ByteRange, ContentRange, EntryList, ErrorCode, FindMissing, Info, Token, limits, paths,
};
use reqwest::{Method, StatusCode, header};
use url::Url;

use self::exchange::Exchange;
use crate::{
    ByteStream, ContentId, ContentReader, CreatedEntry, Entry, EntryInfo, EntryName, Namespace,
    ParseEntryError, Store, StoreError, Written, range::check_range,
};

/// A store behind a headstart-server.
#[derive(Debug, Clone)]
pub struct HttpStore {
    exchange: Exchange,
}

impl HttpStore {
    /// Prepares to speak to the server at `url`, `http://host:port` or `https://..`. Makes no request.
    ///
    /// A name and password in the URL are refused: tokens are given apart, so that they do not end up in logs.
    pub fn open(url: &Url, token: Option<Token>) -> Result<Self, StoreError> {
        Exchange::new(url, token).map(|exchange| HttpStore { exchange })
    }

    /// Asks the server what it is: finds out early whether it is there and takes the token.
    pub async fn info(&self) -> Result<Info, StoreError> {
        let response = self
            .exchange
            .send("the server's information", Method::GET, paths::INFO, |request| {
                request
            })
            .await?;
        let body = self.exchange.read_json(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.exchange.unexpected("its information", error))
    }

    fn parse_entry(&self, name: &EntryName, json: &[u8]) -> Result<Entry, StoreError> {
        Entry::parse_json(json).map_err(|error| match error {
            ParseEntryError::Shape(_) => StoreError::Corrupt {
                what: format!("entry {name}"),
                store: self.location(),
                reason: error.to_string(),
            },
            ParseEntryError::Schema(_) => StoreError::Unsupported(format!("entry {name}: {error}")),
        })
    }

    async fn head(&self, id: ContentId) -> Result<u64, StoreError> {
        let response = self
            .exchange
            .send(&id.to_string(), Method::HEAD, &content_path(id), |request| {
                request
            })
            .await?;
        response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .ok_or_else(|| self.exchange.unexpected("HEAD", "there is no Content-Length"))
    }
}

fn content_path(id: ContentId) -> String {
    paths::content(id.kind().plural(), &id.digest().to_string())
}

#[async_trait]
impl Store for HttpStore {
    fn location(&self) -> String {
        self.exchange.location().to_owned()
    }

    async fn open(&self, id: ContentId, range: Option<Range<u64>>) -> Result<ContentReader, StoreError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            // No header can ask for no bytes.
            let total_bytes = self.head(id).await?;
            let range = check_range(id, || self.location(), total_bytes, range)?;
            return Ok(ContentReader {
                total_bytes,
                range,
                stream: stream::empty().boxed(),
            });
        }
        let response = self
            .exchange
            .send(
                &id.to_string(),
                Method::GET,
                &content_path(id),
                |request| match &range {
                    Some(range) => request.header(header::RANGE, ByteRange(range.clone()).to_string()),
                    None => request,
                },
            )
            .await?;
        let header = |name| response.headers().get(name)?.to_str().ok();
        let coming = match &range {
            None => header(header::CONTENT_LENGTH)
                .and_then(|length| length.parse().ok())
                .map(|total| (total, 0..total)),
            Some(wanted) => header(header::CONTENT_RANGE)
                .and_then(|value| value.parse::<ContentRange>().ok())
                .filter(|content| {
                    content.range == *wanted && response.status() == StatusCode::PARTIAL_CONTENT
                })
                .map(|content| (content.total_bytes, content.range)),
        };
        let (total_bytes, range) = coming.ok_or_else(|| {
            self.exchange
                .unexpected("GET", "not the range that was asked for")
        })?;
        let stream = self
            .exchange
            .body(&id.to_string(), response, range.end - range.start);
        Ok(ContentReader {
            total_bytes,
            range,
            stream,
        })
    }

    async fn write(&self, id: ContentId, bytes: u64, stream: ByteStream) -> Result<Written, StoreError> {
        upload::write(
            &self.exchange,
            id,
            &content_path(id),
            bytes,
            stream,
            self.head(id),
        )
        .await
    }

    async fn find_missing(&self, ids: &[ContentId]) -> Result<Vec<ContentId>, StoreError> {
        let mut missing = Vec::new();
        for asked in ids.chunks(limits::FIND_MISSING_IDS) {
            let body = Bytes::from(find_missing_body(asked));
            let response = self
                .exchange
                .send("missing content", Method::POST, paths::FIND_MISSING, |request| {
                    request
                        .header(header::CONTENT_TYPE, "application/json")
                        .body(body.clone())
                })
                .await?;
            let json = self.exchange.read_json(response).await?;
            let answer: FindMissing = serde_json::from_slice(&json)
                .map_err(|error| self.exchange.unexpected("find-missing", error))?;
            let answered: std::collections::HashSet<ContentId> = answer
                .packs
                .into_iter()
                .map(ContentId::Pack)
                .chain(answer.snapshots.into_iter().map(ContentId::Snapshot))
                .collect();
            missing.extend(asked.iter().filter(|id| answered.contains(id)));
        }
        Ok(missing)
    }

    async fn read_entry(&self, name: &EntryName) -> Result<Entry, StoreError> {
        let path = paths::entry(name.namespace().as_str(), name.key());
        let response = self
            .exchange
            .send(&format!("entry {name}"), Method::GET, &path, |request| request)
            .await?;
        let json = self.exchange.read_json(response).await?;
        self.parse_entry(name, &json)
    }

    async fn create_entry(&self, name: &EntryName, entry: &Entry) -> Result<CreatedEntry, StoreError> {
        let path = paths::entry(name.namespace().as_str(), name.key());
        let json = Bytes::from(entry.checked_json(name)?);
        let response = self
            .exchange
            .send_for(
                &format!("entry {name}"),
                Method::PUT,
                &path,
                &[ErrorCode::Exists],
                |request| {
                    request
                        .header(header::IF_NONE_MATCH, "*")
                        .header(header::CONTENT_TYPE, "application/json")
                        .body(json.clone())
                },
            )
            .await?;
        if response.status().is_success() {
            return Ok(CreatedEntry::Created);
        }
        let json = self.exchange.read_json(response).await?;
        self.parse_entry(name, &json).map(CreatedEntry::Existed)
    }

    async fn find_entries(
        &self,
        namespace: &Namespace,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<EntryInfo>, StoreError> {
        let path = paths::search(namespace.as_str(), prefix, limit.min(limits::SEARCH_ENTRIES));
        let response = self
            .exchange
            .send("entries", Method::GET, &path, |request| request)
            .await?;
        let json = self.exchange.read_json(response).await?;
        let list: EntryList =
            serde_json::from_slice(&json).map_err(|error| self.exchange.unexpected("search", error))?;
        let found = list
            .entries
            .into_iter()
            .map(|listed| {
                if !listed.key.starts_with(prefix) {
                    return Err(self.exchange.unexpected("search", "a key that was not asked for"));
                }
                Ok(EntryInfo {
                    name: EntryName::new(namespace.clone(), listed.key)
                        .map_err(|error| self.exchange.unexpected("search", error))?,
                    modified_at: listed
                        .modified_at
                        .parse()
                        .map_err(|error| self.exchange.unexpected("search", error))?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(EntryInfo::newest_first(found, limit))
    }
}

fn find_missing_body(ids: &[ContentId]) -> Vec<u8> {
    let mut body = FindMissing::default();
    for id in ids {
        match id {
            ContentId::Pack(id) => body.packs.push(*id),
            ContentId::Snapshot(id) => body.snapshots.push(*id),
        }
    }
    serde_json::to_vec(&body).expect("names are text")
}

/// Reads a body into memory up to `limit` bytes.
async fn read_all(mut body: ByteStream, limit: usize) -> Result<Vec<u8>, StoreError> {
    let mut all = Vec::new();
    while let Some(chunk) = body.try_next().await? {
        if all.len() + chunk.len() > limit {
            return Err(StoreError::TooLarge {
                what: "an answer".to_owned(),
                bytes: (all.len() + chunk.len()) as u64,
                limit: limit as u64,
            });
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}
