//! Request bodies: small ones whole, large ones as streams.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use headstart_protocol::ErrorCode;
use headstart_store::{ByteStream, StoreError};
use tokio::sync::Mutex;

use crate::error::ApiError;

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_whole(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut all = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| broken_off())?;
        if all.len() + chunk.len() > limit {
            let message = format!("the body has more than {limit} bytes");
            return Err(ApiError::new(ErrorCode::TooLarge, message));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn broken_off() -> ApiError {
    ApiError::bad_request("the body broke off")
}

/// A body that is handed to the store, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    chunks: Arc<Mutex<BodyDataStream>>,
    is_broken: Arc<AtomicBool>,
}

impl Upload {
    pub(crate) fn new(body: Body) -> Self {
        Upload {
            chunks: Arc::new(Mutex::new(body.into_data_stream())),
            is_broken: Arc::default(),
        }
    }

    /// The bytes, for the store.
    pub(crate) fn stream(&self) -> ByteStream {
        let upload = self.clone();
        stream::unfold(upload, |upload| async move {
            let chunk = upload.chunks.lock().await.next().await?;
            let chunk = chunk.map_err(|error| {
                upload.is_broken.store(true, Ordering::Relaxed);
                StoreError::Unavailable {
                    store: "the client".to_owned(),
                    source: Box::new(error),
                }
            });
            Some((chunk, upload))
        })
        .boxed()
    }

    /// The error to answer: what the client broke is not the store's fault.
    pub(crate) fn error(&self, error: StoreError) -> ApiError {
        if self.is_broken.load(Ordering::Relaxed) {
            return broken_off();
        }
        error.into()
    }

    /// Reads what the store had no need of. A client in the middle of sending does not read an early answer: it would see
    /// the connection break.
    pub(crate) async fn drain(&self) {
        let mut chunks = self.chunks.lock().await;
        while let Some(Ok(_)) = chunks.next().await {}
    }
}
