//! Entries.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use headstart_protocol::{EntryList, ErrorCode, ListedEntry, limits};
use headstart_store::{CreatedEntry, Entry, EntryName, Namespace};

use crate::{body, error::ApiError, limits::SEARCH_DEFAULT, query::Query, server::Shared};

pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Path(namespace): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let name = parse_name(&namespace, &uri)?;
    let entry = shared.store.read_entry(&name).await?;
    Ok(answer(StatusCode::OK, &entry))
}

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Path(namespace): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let name = parse_name(&namespace, &uri)?;
    // The condition is part of the request, so that no gateway takes it for a plain replacement.
    if headers
        .get(header::IF_NONE_MATCH)
        .is_none_or(|value| value != "*")
    {
        return Err(ApiError::bad_request(
            "entries are only created: If-None-Match: * is needed",
        ));
    }
    let json = body::read_whole(body, Entry::MAX_BYTES).await?;
    let entry = Entry::parse_json(&json).map_err(ApiError::bad_request)?;
    match shared.store.create_entry(&name, &entry).await? {
        CreatedEntry::Created => Ok(StatusCode::CREATED.into_response()),
        CreatedEntry::Existed(existing) => {
            let status = StatusCode::from_u16(ErrorCode::Exists.status()).expect("412 is a status");
            Ok(answer(status, &existing))
        }
    }
}

pub(super) async fn search(
    State(shared): State<Arc<Shared>>,
    Path(namespace): Path<String>,
    uri: Uri,
) -> Result<Json<EntryList>, ApiError> {
    let namespace = parse_namespace(&namespace)?;
    let query = Query::parse(&uri)?;
    let prefix = query.require("prefix")?;
    let limit = match query.get("limit")? {
        None => SEARCH_DEFAULT,
        Some(limit) => limit
            .parse::<usize>()
            .map_err(|_| ApiError::bad_request("limit is a number"))?
            .min(limits::SEARCH_ENTRIES),
    };
    let found = shared.store.find_entries(&namespace, prefix, limit).await?;
    let entries = found
        .into_iter()
        .map(|info| ListedEntry {
            key: info.name.key().to_owned(),
            modified_at: info.modified_at.to_string(),
        })
        .collect();
    Ok(Json(EntryList { entries }))
}

fn parse_namespace(text: &str) -> Result<Namespace, ApiError> {
    text.parse().map_err(ApiError::bad_request)
}

fn parse_name(namespace: &str, uri: &Uri) -> Result<EntryName, ApiError> {
    let namespace = parse_namespace(namespace)?;
    let query = Query::parse(uri)?;
    EntryName::new(namespace, query.require("key")?).map_err(ApiError::bad_request)
}

fn answer(status: StatusCode, entry: &Entry) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, entry.to_json()).into_response()
}
