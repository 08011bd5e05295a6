//! Who may come in.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use headstart_protocol::ErrorCode;

use crate::{error::ApiError, server::Shared};

/// Lets requests through that carry the token, where there is one.
pub(crate) async fn required(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(token) = &shared.token {
        let given = request.headers().get(header::AUTHORIZATION);
        let message = match given {
            Some(given) if token.is_in_authorization(given.as_bytes()) => return next.run(request).await,
            Some(_) => "this is not the token of this server",
            None => "this server wants a bearer token",
        };
        return ApiError::new(ErrorCode::Unauthorized, message).into_response();
    }
    next.run(request).await
}
