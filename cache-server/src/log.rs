//! One line per request.

use std::{fmt, net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;

use crate::{
    error::Detail,
    server::{Peer, Shared},
};

/// Where log lines go.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// Sends each line, without its end, to `sink`.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Log(Arc::new(sink))
    }

    pub(crate) fn line(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// Logs a request when its answer begins. Neither headers nor bodies are told: they have tokens and contents.
pub(crate) async fn requests(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let Some(log) = shared.log.clone() else {
        return next.run(request).await;
    };
    let started = Instant::now();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    let response = next.run(request).await;
    let bytes = response
        .body()
        .size_hint()
        .exact()
        .map(|bytes| bytes.to_string())
        .or_else(|| {
            let length = response.headers().get(header::CONTENT_LENGTH)?;
            length.to_str().ok().map(str::to_owned)
        });
    let detail = response
        .extensions()
        .get::<Detail>()
        .map(|Detail(detail)| format!(" ({detail})"));
    log.line(&format!(
        "{:.3} {} {method} {uri} {} {} {}ms{}",
        Timestamp::now(),
        peer.map_or_else(|| "-".to_owned(), |address: SocketAddr| address.to_string()),
        response.status().as_u16(),
        bytes.as_deref().unwrap_or("-"),
        started.elapsed().as_millis(),
        detail.as_deref().unwrap_or_default(),
    ));
    response
}
