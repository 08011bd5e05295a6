//! A request that panics is answered, and the server lives on.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use headstart_protocol::ErrorCode;

use crate::error::ApiError;

/// Turns a panic of a handler into 500. The panic hook has told where it was.
pub(crate) async fn caught(request: Request, next: Next) -> Response {
    // What a handler shares is behind locks of the store, which do not poison.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            ApiError::new(ErrorCode::Internal, "a fault of the server; its log tells more").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, middleware, routing::get};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    #[tokio::test]
    async fn a_panicking_request_is_answered() {
        async fn panics() -> &'static str {
            panic!("on purpose")
        }
        let app: Router = Router::new()
            .route("/", get(panics))
            .layer(middleware::from_fn(super::caught));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(app).call(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
    }
}
