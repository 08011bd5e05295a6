//! Which of many pieces of content are missing.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use headstart_protocol::{ErrorCode, FindMissing, limits};
use headstart_store::ContentId;

use crate::{body, error::ApiError, server::Shared};

pub(super) async fn find_missing(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Json<FindMissing>, ApiError> {
    let json = body::read_whole(body, limits::JSON_BYTES).await?;
    let asked: FindMissing = serde_json::from_slice(&json).map_err(ApiError::bad_request)?;
    let ids: Vec<ContentId> = asked
        .packs
        .into_iter()
        .map(ContentId::Pack)
        .chain(asked.snapshots.into_iter().map(ContentId::Snapshot))
        .collect();
    if ids.len() > limits::FIND_MISSING_IDS {
        let message = format!(
            "{} names are asked for; {} are the most",
            ids.len(),
            limits::FIND_MISSING_IDS
        );
        return Err(ApiError::new(ErrorCode::TooLarge, message));
    }
    let mut answer = FindMissing::default();
    for id in shared.store.find_missing(&ids).await? {
        match id {
            ContentId::Pack(id) => answer.packs.push(id),
            ContentId::Snapshot(id) => answer.snapshots.push(id),
        }
    }
    Ok(Json(answer))
}
