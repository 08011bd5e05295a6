//! The resources. Handlers parse, ask the store, and answer.

mod content;
mod entries;
mod find_missing;
mod info;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::header::{HeaderName, HeaderValue},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use headstart_protocol::{ErrorCode, PROTOCOL_HEADER, VERSION, paths};

use crate::{auth, error::ApiError, log, panic, server::Shared};

/// All resources, with what goes around them: the log outermost, then the header, panics, the token.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(paths::INFO, get(info::info))
        .route("/v1/packs/{id}", get(content::get_pack).put(content::put_pack))
        .route(
            "/v1/snapshots/{id}",
            get(content::get_snapshot).put(content::put_snapshot),
        )
        .route(paths::FIND_MISSING, post(find_missing::find_missing))
        .route("/v1/entries/{namespace}", get(entries::read).put(entries::create))
        .route("/v1/entries/{namespace}/search", get(entries::search))
        .fallback(async || ApiError::new(ErrorCode::Missing, "there is no such resource"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                ErrorCode::MethodNotAllowed,
                "this resource does not know that method",
            )
        })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            auth::required,
        ))
        .route(paths::HEALTH, get(info::health))
        .layer(middleware::from_fn(panic::caught))
        .layer(middleware::from_fn(protocol_header))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), log::requests))
        .with_state(shared)
}

async fn protocol_header(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        HeaderName::from_static(PROTOCOL_HEADER),
        HeaderValue::from(VERSION),
    );
    response
}
