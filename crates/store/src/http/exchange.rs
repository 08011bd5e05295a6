//! One request and its answer: deadlines, repetition, and errors in our words.

use std::{error::Error, fmt::Display, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use headstart_protocol::{ErrorBody, ErrorCode, PROTOCOL_HEADER, Token, VERSION, limits};
use parking_lot::Mutex;
use reqwest::{Client, Method, RequestBuilder, Response, header, redirect};
use tokio::time::Instant;
use url::Url;

use super::read_all;
use crate::{ByteStream, StoreError};

/// A dead host must cost seconds: the work goes on without it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time in which nothing moves, in either direction.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The pauses before the second and later tries of what can be repeated.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1000)];

/// The longest pause a server may ask for (`Retry-After`).
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why the server does not serve us now, and how long it wants to be left.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct Busy {
    reason: String,
    pause: Duration,
}

/// The pause before a request is repeated: the one that was asked for, else ours.
pub(super) fn pause_after(error: &StoreError, ours: Duration) -> Duration {
    match error {
        StoreError::Unavailable { source, .. } => source
            .downcast_ref::<Busy>()
            .map_or(ours, |busy| busy.pause.clamp(ours, MAX_PAUSE)),
        _ => ours,
    }
}

/// How long the server wants to be left.
fn pause_of(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// How to reach the server.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    client: Client,
    base: String,
    token: Option<Token>,
}

/// When something last moved on a connection.
#[derive(Debug, Clone)]
pub(super) struct Movement(Arc<Mutex<Instant>>);

impl Movement {
    pub(super) fn new() -> Self {
        Movement(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Waits for `work` as long as something moves; `None` when nothing did for too long.
    async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = *self.0.lock() + STALL_TIMEOUT;
            match tokio::time::timeout_at(deadline, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if *self.0.lock() + STALL_TIMEOUT > deadline => {}
                Err(_) => return None,
            }
        }
    }
}

impl Exchange {
    pub(super) fn new(url: &Url, token: Option<Token>) -> Result<Self, StoreError> {
        let mut shown = url.clone();
        let _ = (shown.set_username(""), shown.set_password(None));
        let unsupported = |why: &str| StoreError::Unsupported(format!("{shown} cannot be used: {why}"));
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unsupported("a token is not part of the URL"));
        }
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(unsupported("http://host:port or https://host is needed"));
        }
        let client = Client::builder()
            .user_agent(concat!("headstart/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // They would carry the token to another place.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| unsupported(&error.to_string()))?;
        Ok(Exchange {
            client,
            base: url.as_str().trim_end_matches('/').to_owned(),
            token,
        })
    }

    pub(super) fn location(&self) -> &str {
        &self.base
    }

    /// Sends a request that can be repeated, and repeats it when the server is not available.
    pub(super) async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        self.send_for(what, method, path, &[], build).await
    }

    /// The same, where the caller also understands the answers `expected`.
    pub(super) async fn send_for(
        &self,
        what: &str,
        method: Method,
        path: &str,
        expected: &[ErrorCode],
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        let mut pauses = PAUSES.iter();
        loop {
            let movement = Movement::new();
            let result = self
                .send_once(what, method.clone(), path, expected, &movement, &build)
                .await;
            match (result, pauses.next()) {
                (Err(error), Some(pause)) if error.is_retryable() => {
                    tokio::time::sleep(pause_after(&error, *pause)).await;
                }
                (result, _) => return result,
            }
        }
    }

    /// Sends a request once. `movement` is to be noted by a body that is streamed.
    pub(super) async fn send_once(
        &self,
        what: &str,
        method: Method,
        path: &str,
        expected: &[ErrorCode],
        movement: &Movement,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            let mut value =
                header::HeaderValue::try_from(token.to_authorization()).expect("a token is visible ASCII");
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = match movement.bound(build(request).send()).await {
            None => return Err(self.unavailable(stalled())),
            // The address is in the location already, and may be told without its query.
            Some(Err(error)) => return Err(self.unavailable(error.without_url())),
            Some(Ok(response)) => response,
        };
        self.check_protocol(&response)?;
        let status = response.status();
        if status.is_success()
            || ErrorCode::of_status(status.as_u16()).is_some_and(|code| expected.contains(&code))
        {
            return Ok(response);
        }
        Err(self.error(what, response).await)
    }

    /// What answers without our header is not a headstart-server, whatever its status.
    fn check_protocol(&self, response: &Response) -> Result<(), StoreError> {
        let spoken = response
            .headers()
            .get(PROTOCOL_HEADER)
            .and_then(|value| value.to_str().ok());
        let status = response.status();
        match spoken {
            Some(spoken) if spoken == VERSION.to_string() => Ok(()),
            Some(spoken) => Err(StoreError::Unsupported(format!(
                "{} speaks version {spoken} of the protocol; this headstart speaks {VERSION}",
                self.base
            ))),
            // A gateway in front of a server that is down.
            None if status.is_server_error() || status.as_u16() == 429 => {
                Err(self.busy(format!("it answered {status}"), pause_of(response)))
            }
            None => Err(StoreError::Unsupported(format!(
                "{} is not a headstart-server (it answered {status} without {PROTOCOL_HEADER})",
                self.base
            ))),
        }
    }

    async fn error(&self, what: &str, response: Response) -> StoreError {
        let status = response.status();
        let pause = pause_of(&response);
        let body = read_all(
            self.stream(response.bytes_stream().map_err(reqwest::Error::without_url)),
            limits::ERROR_BYTES,
        )
        .await
        .unwrap_or_default();
        let reason = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => body.error.message,
            // As with HEAD.
            Err(_) if status.as_u16() == ErrorCode::Unauthorized.status() => {
                "it wants another token".to_owned()
            }
            Err(_) => format!("it answered {status}"),
        };
        let (what, store) = (what.to_owned(), self.base.clone());
        match ErrorCode::of_status(status.as_u16()) {
            Some(ErrorCode::Missing) => StoreError::Missing { what, store },
            Some(ErrorCode::Unauthorized | ErrorCode::Refused | ErrorCode::TooLarge) => {
                StoreError::Refused { store, reason }
            }
            Some(ErrorCode::Range | ErrorCode::Corrupt) => StoreError::Corrupt { what, store, reason },
            Some(ErrorCode::Timeout) => self.unavailable(reason),
            _ if status.is_server_error() || status.as_u16() == 429 => self.busy(reason, pause),
            _ => self.unexpected(&what, reason),
        }
    }

    /// The body of an answer, which must have `bytes` bytes.
    pub(super) fn body(&self, what: &str, response: Response, bytes: u64) -> ByteStream {
        let short = {
            let this = self.clone();
            let what = what.to_owned();
            move |got: u64| this.unavailable(format!("{what} broke off after {got} of {bytes} bytes"))
        };
        let chunks = self.stream(response.bytes_stream().map_err(reqwest::Error::without_url));
        stream::unfold(Some((chunks, 0)), move |state| {
            let short = short.clone();
            async move {
                let (mut chunks, got): (ByteStream, u64) = state?;
                match chunks.next().await {
                    Some(Ok(chunk)) => {
                        let got = got + chunk.len() as u64;
                        if got > bytes {
                            return Some((Err(short(got)), None));
                        }
                        Some((Ok(chunk), Some((chunks, got))))
                    }
                    Some(Err(error)) => Some((Err(error), None)),
                    None if got < bytes => Some((Err(short(got)), None)),
                    None => None,
                }
            }
        })
        .boxed()
    }

    /// Chunks of an answer, each of which must come in time.
    fn stream(
        &self,
        chunks: impl futures::Stream<Item = Result<bytes::Bytes, reqwest::Error>> + Send + 'static,
    ) -> ByteStream {
        let this = self.clone();
        stream::unfold(Some(chunks.boxed()), move |chunks| {
            let this = this.clone();
            async move {
                let mut chunks = chunks?;
                match tokio::time::timeout(STALL_TIMEOUT, chunks.next()).await {
                    Err(_) => Some((Err(this.unavailable(stalled())), None)),
                    Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
                    Ok(Some(Err(error))) => Some((Err(this.unavailable(error)), None)),
                    Ok(None) => None,
                }
            }
        })
        .boxed()
    }

    /// All of a JSON answer.
    pub(super) async fn read_json(&self, response: Response) -> Result<Vec<u8>, StoreError> {
        let body = self.stream(response.bytes_stream().map_err(reqwest::Error::without_url));
        read_all(body, limits::JSON_BYTES).await
    }

    pub(super) fn unavailable(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable {
            store: self.base.clone(),
            source: source.into(),
        }
    }

    fn busy(&self, reason: String, pause: Option<Duration>) -> StoreError {
        match pause {
            Some(pause) => self.unavailable(Busy { reason, pause }),
            None => self.unavailable(reason),
        }
    }

    /// A server that does not keep to the protocol.
    pub(super) fn unexpected(&self, what: &str, why: impl Display) -> StoreError {
        StoreError::Unsupported(format!(
            "{} answered {what} in a way this headstart does not understand: {why}",
            self.base
        ))
    }
}

fn stalled() -> String {
    format!("nothing moved for {} seconds", STALL_TIMEOUT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_url_is_refused_and_not_told() {
        for url in ["http://hunter2@host:1/", "http://me:hunter2@host/"] {
            let error = Exchange::new(&url.parse().unwrap(), None).unwrap_err();
            assert!(matches!(error, StoreError::Unsupported(_)));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
