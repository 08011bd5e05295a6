//! Packs and snapshots.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use headstart_protocol::{ByteRange, ContentRange, ErrorCode};
use headstart_store::{ContentId, ContentKind, Written};

use crate::{body::Upload, error::ApiError, server::Shared};

pub(super) async fn get_pack(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    get(&shared, parse_id(ContentKind::Pack, &id)?, &headers).await
}

pub(super) async fn get_snapshot(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    get(&shared, parse_id(ContentKind::Snapshot, &id)?, &headers).await
}

pub(super) async fn put_pack(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    put(&shared, parse_id(ContentKind::Pack, &id)?, &headers, body).await
}

pub(super) async fn put_snapshot(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    put(&shared, parse_id(ContentKind::Snapshot, &id)?, &headers, body).await
}

fn parse_id(kind: ContentKind, id: &str) -> Result<ContentId, ApiError> {
    id.parse()
        .map(|digest| ContentId::new(kind, digest))
        .map_err(ApiError::bad_request)
}

/// Also answers HEAD: the body is dropped unread.
async fn get(shared: &Shared, id: ContentId, headers: &HeaderMap) -> Result<Response, ApiError> {
    let range = match headers.get(header::RANGE) {
        None => None,
        Some(value) => {
            let range = value
                .to_str()
                .ok()
                .and_then(|value| value.parse::<ByteRange>().ok());
            let ByteRange(range) =
                range.ok_or_else(|| ApiError::bad_request("Range: bytes=first-last is understood"))?;
            Some(range)
        }
    };
    let is_part = range.is_some();
    let reader = shared.store.open(id, range).await.map_err(|error| {
        let error = ApiError::from(error);
        match error.code() {
            ErrorCode::Corrupt if is_part => ApiError::new(ErrorCode::Range, "the range is beyond the end"),
            _ => error,
        }
    })?;
    let mut response = Response::new(Body::from_stream(reader.stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_LENGTH,
        (reader.range.end - reader.range.start).into(),
    );
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    if is_part {
        let content_range = ContentRange {
            range: reader.range,
            total_bytes: reader.total_bytes,
        };
        let value = header::HeaderValue::try_from(content_range.to_string());
        headers.insert(header::CONTENT_RANGE, value.expect("digits are a header value"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn put(shared: &Shared, id: ContentId, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "an upload needs a Content-Length"))?;
    let upload = Upload::new(body);
    let written = shared
        .store
        .write(id, bytes, upload.stream())
        .await
        .map_err(|error| upload.error(error))?;
    match written {
        Written::New => Ok(StatusCode::CREATED.into_response()),
        Written::Existed => {
            upload.drain().await;
            Ok(StatusCode::OK.into_response())
        }
    }
}
