//! Uploads of content: checked before they leave, repeated when they fit into memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use reqwest::{Body, Method, StatusCode, header};

use super::exchange::{Exchange, Movement, pause_after};
use crate::{ByteStream, ContentId, StoreError, Written, incoming::Incoming};

/// Content up to this size is held, so that the upload can be repeated. Packs are.
const HELD_BYTES: u64 = 32 << 20;
/// Pieces in which a body is handed to the connection, so that movement is noticed on slow links.
const PIECE_BYTES: usize = 64 << 10;

/// The pause before an upload is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Uploads unless `head` says that it is there.
pub(super) async fn write(
    exchange: &Exchange,
    id: ContentId,
    path: &str,
    bytes: u64,
    stream: ByteStream,
    head: impl Future<Output = Result<u64, StoreError>>,
) -> Result<Written, StoreError> {
    let incoming = Incoming::new(id, bytes)?;
    match head.await {
        Ok(stored) if stored == bytes => return Ok(Written::Existed),
        Ok(_) | Err(StoreError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    let status = if bytes <= HELD_BYTES {
        let chunks = hold(exchange, incoming, stream).await?;
        put_held(exchange, id, path, bytes, &chunks).await?
    } else {
        put_once(exchange, id, path, bytes, checked(exchange, incoming, stream)).await?
    };
    Ok(match status {
        StatusCode::CREATED => Written::New,
        _ => Written::Existed,
    })
}

async fn hold(
    exchange: &Exchange,
    mut incoming: Incoming,
    mut stream: ByteStream,
) -> Result<Vec<Bytes>, StoreError> {
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        incoming.update(&chunk, exchange.location())?;
        chunks.push(chunk);
    }
    incoming.finish(exchange.location())?;
    Ok(chunks)
}

async fn put_held(
    exchange: &Exchange,
    id: ContentId,
    path: &str,
    bytes: u64,
    chunks: &[Bytes],
) -> Result<StatusCode, StoreError> {
    let body = || stream::iter(chunks.to_vec()).map(Ok).boxed();
    match put_once(exchange, id, path, bytes, body()).await {
        Err(error) if error.is_retryable() => {
            tokio::time::sleep(pause_after(&error, RETRY_PAUSE)).await;
            put_once(exchange, id, path, bytes, body()).await
        }
        result => result,
    }
}

/// The stream, ending in an error when it is not what was announced.
fn checked(exchange: &Exchange, incoming: Incoming, stream: ByteStream) -> ByteStream {
    let location: Arc<str> = exchange.location().into();
    stream::unfold(Some((incoming, stream)), move |state| {
        let location = Arc::clone(&location);
        async move {
            let (mut incoming, mut stream) = state?;
            match stream.next().await {
                Some(Ok(chunk)) => match incoming.update(&chunk, &location) {
                    Ok(()) => Some((Ok(chunk), Some((incoming, stream)))),
                    Err(error) => Some((Err(error), None)),
                },
                Some(Err(error)) => Some((Err(error), None)),
                None => incoming.finish(&location).err().map(|error| (Err(error), None)),
            }
        }
    })
    .boxed()
}

async fn put_once(
    exchange: &Exchange,
    id: ContentId,
    path: &str,
    bytes: u64,
    stream: ByteStream,
) -> Result<StatusCode, StoreError> {
    let movement = Movement::new();
    // An error of the source ends the request in an error of the connection; this tells the one from the other.
    let broken: Arc<Mutex<Option<StoreError>>> = Arc::default();
    let body = {
        let (movement, broken) = (movement.clone(), Arc::clone(&broken));
        stream
            .map_ok(|chunk| stream::iter(pieces(chunk)))
            .try_flatten()
            .map(move |piece| {
                movement.note();
                piece.map_err(|error| {
                    let message = error.to_string();
                    *broken.lock() = Some(error);
                    std::io::Error::other(message)
                })
            })
    };
    // Taken by the one time the request is built.
    let body = Mutex::new(Some(Body::wrap_stream(body)));
    let result = exchange
        .send_once(&id.to_string(), Method::PUT, path, &[], &movement, |request| {
            request
                .header(header::CONTENT_LENGTH, bytes)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .body(body.lock().take().unwrap_or_default())
        })
        .await;
    if let Some(error) = broken.lock().take() {
        return Err(error);
    }
    Ok(result?.status())
}

fn pieces(mut chunk: Bytes) -> Vec<Result<Bytes, StoreError>> {
    let mut pieces = Vec::with_capacity(chunk.len() / PIECE_BYTES + 1);
    while !chunk.is_empty() {
        pieces.push(Ok(chunk.split_to(chunk.len().min(PIECE_BYTES))));
    }
    pieces
}
