//! HTTP(S) as git's configuration asks for it, over one client whose connections all fetches share.

use std::{
    any::Any,
    io::{self, BufRead, Cursor, Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use gix_transport::{
    Protocol,
    client::blocking_io::http::{
        GetResponse, Http, PostBodyDataKind, PostResponse, Transport as HttpTransport,
    },
};
use parking_lot::Mutex;
use reqwest::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::runtime::Runtime;

use super::{Failure, POLL, Patience, Transport};

mod settings;

pub(crate) use settings::HttpSettings;

/// As many as curl follows for git.
const MAX_REDIRECTS: usize = 20;
/// How much of an error page is quoted, at most.
const ERROR_TEXT_BYTES: usize = 512;

/// One client for all connections to a remote.
pub(crate) struct HttpClient {
    /// Present until dropped.
    runtime: Option<Runtime>,
    client: reqwest::Client,
    settings: HttpSettings,
    /// Where the repository was said to be.
    url: url::Url,
    state: Mutex<State>,
}

/// What is learned on the way.
struct State {
    /// Users and passwords, each for one origin and no other.
    logins: Vec<Login>,
    /// Where the repository is, as far as redirects have led.
    location: url::Url,
}

struct Login {
    origin: url::Origin,
    user: String,
    password: String,
}

impl HttpClient {
    /// Prepares a client for the repository at `url`, which carries no credentials; nothing is connected yet.
    pub(crate) fn new(url: url::Url, settings: HttpSettings) -> Result<Self, Failure> {
        // One worker, so that the socket is read and decrypted while we inflate what came before.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(Failure::Setting)?;
        let client = settings.client().map_err(Failure::Setting)?;
        Ok(HttpClient {
            runtime: Some(runtime),
            client,
            settings,
            state: Mutex::new(State {
                logins: Vec::new(),
                location: url.clone(),
            }),
            url,
        })
    }

    /// Sends this user and password to the host of `url` from now on.
    pub(crate) fn authorize(&self, url: &url::Url, user: &str, password: &str) {
        let origin = url.origin();
        let logins = &mut self.state.lock().logins;
        logins.retain(|login| login.origin != origin);
        logins.push(Login {
            origin,
            user: user.to_owned(),
            password: password.to_owned(),
        });
    }

    /// Whether the host of `url` is sent a user and password.
    pub(crate) fn is_authorized(&self, url: &url::Url) -> bool {
        let origin = url.origin();
        self.state
            .lock()
            .logins
            .iter()
            .any(|login| login.origin == origin)
    }

    /// Where the repository is, as far as redirects have led.
    pub(crate) fn location(&self) -> url::Url {
        self.state.lock().location.clone()
    }

    /// What is secret goes to the host it was given for, wherever redirects lead.
    fn request(&self, url: &url::Url, headers: &[String], body: Option<Bytes>) -> reqwest::RequestBuilder {
        let mut map = HeaderMap::new();
        for line in headers {
            insert_header(&mut map, line);
        }
        map.insert(header::USER_AGENT, self.settings.user_agent.clone());
        let origin = url.origin();
        if origin == self.url.origin() {
            for line in &self.settings.extra_headers {
                insert_header(&mut map, line);
            }
        }
        let request = match body {
            Some(body) => self.client.post(url.clone()).body(body),
            None => self.client.get(url.clone()),
        };
        let request = request.headers(map);
        let state = self.state.lock();
        match state.logins.iter().find(|login| login.origin == origin) {
            Some(login) => request.basic_auth(&login.user, Some(&login.password)),
            None => request,
        }
    }

    /// Waits for `future`, as long as there is patience.
    fn wait<T>(
        &self,
        patience: &Patience<'_>,
        future: impl Future<Output = reqwest::Result<T>>,
    ) -> io::Result<reqwest::Result<T>> {
        let runtime = self.runtime.as_ref().expect("it is taken only when dropped");
        runtime.block_on(async {
            let mut future = std::pin::pin!(future);
            let since = Instant::now();
            loop {
                match tokio::time::timeout(POLL, &mut future).await {
                    Ok(result) => return Ok(result),
                    Err(_) => patience.check(since.elapsed())?,
                }
            }
        })
    }

    fn send(&self, patience: &Patience<'_>, request: reqwest::RequestBuilder) -> io::Result<Response> {
        self.wait(patience, request.send())?.map_err(|error| {
            // Before there is an answer, trying again is always safe; the distinction is only for people.
            let failure = if error.is_connect() || error.is_timeout() {
                Failure::Unreachable(io::Error::other(error.without_url()))
            } else {
                Failure::HungUp(io::Error::other(error.without_url()))
            };
            patience.failure.fail(failure)
        })
    }

    /// Turns an answer that is no success, or not in git's protocol, into a failure.
    fn check(
        &self,
        patience: &Patience<'_>,
        mut response: Response,
        content_type: &str,
    ) -> io::Result<Response> {
        let status = response.status();
        let found = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("no type")
            .to_owned();
        let failure = if status == StatusCode::UNAUTHORIZED {
            Failure::Unauthorized
        } else if !status.is_success() {
            let text = if found.starts_with("text/plain") {
                let chunk = self
                    .wait(patience, response.chunk())?
                    .ok()
                    .flatten()
                    .unwrap_or_default();
                crate::remote::sanitized(&chunk[..chunk.len().min(ERROR_TEXT_BYTES)])
            } else {
                String::new()
            };
            let code = status.as_u16();
            Failure::Status { code, text }
        } else if found != content_type {
            Failure::NotGit { content_type: found }
        } else {
            return Ok(response);
        };
        Err(patience.failure.fail(failure))
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A name lookup that hangs must not keep us.
            runtime.shutdown_background();
        }
    }
}

/// A transport over `client` to its repository.
pub(crate) fn connect<'a>(
    client: &'a HttpClient,
    protocol: Protocol,
    patience: &Patience<'a>,
) -> Result<Transport<'a>, gix::Error> {
    let url = gix::url::parse(bstr::BStr::new(client.url.as_str()))?;
    let backend = Backend {
        client,
        patience: Patience {
            stall_limit: client.settings.stall_limit.unwrap_or(patience.stall_limit),
            ..patience.clone()
        },
        redirected_base: None,
    };
    Ok(Box::new(HttpTransport::new_http(backend, url, protocol, false)))
}

struct Backend<'a> {
    client: &'a HttpClient,
    patience: Patience<'a>,
    redirected_base: Option<String>,
}

impl<'a> Http for Backend<'a> {
    type Headers = Headers<'a>;
    type ResponseBody = Body<'a>;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<GetResponse<Headers<'a>, Body<'a>>, gix::Error> {
        let headers = to_strings(headers);
        let tail = &url[base_url.len()..];
        let mut url: url::Url = url.parse().map_err(gix::Error::from_error)?;
        self.client.state.lock().location = self.client.url.clone();
        let mut redirects = 0;
        let response = loop {
            let request = self.client.request(&url, &headers, None);
            let response = self
                .client
                .send(&self.patience, request)
                .map_err(gix::Error::from_error)?;
            if !response.status().is_redirection() {
                break response;
            }
            url = self
                .follow(&response, &url, tail, redirects)
                .map_err(|failure| gix::Error::from_error(self.patience.failure.fail(failure)))?;
            redirects += 1;
        };
        let service = url
            .as_str()
            .rsplit_once("service=")
            .map_or("git-upload-pack", |(_, service)| service);
        let content_type = format!("application/x-{service}-advertisement");
        let response = self
            .client
            .check(&self.patience, response, &content_type)
            .map_err(gix::Error::from_error)?;
        let exchange = Exchange::shared(self.client, &self.patience, Stage::Answered(response));
        Ok(GetResponse {
            headers: Headers::new(&exchange, &content_type),
            body: Body::new(&exchange),
        })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> Result<PostResponse<Headers<'a>, Body<'a>, PostBody>, gix::Error> {
        let headers = to_strings(headers);
        let service = url.rsplit_once('/').map_or("", |(_, service)| service);
        let content_type = format!("application/x-{service}-result");
        let body = PostBody::default();
        let request = Request {
            url: url.parse().map_err(gix::Error::from_error)?,
            headers,
            body: body.clone(),
            content_type: content_type.clone(),
        };
        let exchange = Exchange::shared(self.client, &self.patience, Stage::Prepared(request));
        Ok(PostResponse {
            post_body: body,
            headers: Headers::new(&exchange, &content_type),
            body: Body::new(&exchange),
        })
    }

    fn configure(&mut self, _config: &dyn Any) -> Result<(), gix::Error> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected_base.clone()
    }
}

impl Backend<'_> {
    /// The place an answer redirects to, if it may be followed: it must be the same question at another place, as with
    /// git, and never go from https to http.
    fn follow(
        &mut self,
        response: &Response,
        from: &url::Url,
        tail: &str,
        redirects: usize,
    ) -> Result<url::Url, Failure> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let refused = || Failure::Redirected {
            to: location.to_owned(),
        };
        let mut to = from.join(location).map_err(|_| refused())?;
        // Who may log in there is not for the server to say.
        let _ = to.set_username("");
        let _ = to.set_password(None);
        let safe = to.scheme() == "https" || to.scheme() == from.scheme();
        let base = to.as_str().strip_suffix(tail).ok_or_else(refused)?;
        if !self.client.settings.follow_redirects || redirects >= MAX_REDIRECTS || !safe {
            return Err(refused());
        }
        self.client.state.lock().location = base.parse().map_err(|_| refused())?;
        self.redirected_base = Some(base.to_owned());
        Ok(to)
    }
}

fn to_strings(headers: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    headers
        .into_iter()
        .map(|header| header.as_ref().to_owned())
        .collect()
}

/// Adds a `Name: value` line; one that is no header is left out, as curl does.
fn insert_header(map: &mut HeaderMap, line: &str) {
    let Some((name, value)) = line.split_once(':') else {
        return;
    };
    if let (Ok(name), Ok(value)) = (
        HeaderName::try_from(name.trim()),
        HeaderValue::try_from(value.trim()),
    ) {
        map.append(name, value);
    }
}

/// A request, then its answer: made when the answer is first looked at, for only then the body is complete.
struct Exchange<'a> {
    client: &'a HttpClient,
    patience: Patience<'a>,
    stage: Stage,
}

enum Stage {
    Prepared(Request),
    Answered(Response),
    Over,
}

struct Request {
    url: url::Url,
    headers: Vec<String>,
    body: PostBody,
    content_type: String,
}

type SharedExchange<'a> = Arc<Mutex<Exchange<'a>>>;

impl<'a> Exchange<'a> {
    fn shared(client: &'a HttpClient, patience: &Patience<'a>, stage: Stage) -> SharedExchange<'a> {
        Arc::new(Mutex::new(Exchange {
            client,
            patience: patience.clone(),
            stage,
        }))
    }

    /// Sends the request unless it was sent.
    fn answer(&mut self) -> io::Result<()> {
        let Stage::Prepared(_) = self.stage else {
            return Ok(());
        };
        let Stage::Prepared(request) = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("it was looked at just before")
        };
        let body = Bytes::from(std::mem::take(&mut *request.body.0.lock()));
        let sent = self.client.request(&request.url, &request.headers, Some(body));
        let response = self.client.send(&self.patience, sent)?;
        self.stage = Stage::Answered(
            self.client
                .check(&self.patience, response, &request.content_type)?,
        );
        Ok(())
    }

    /// The next piece of the answer; empty at its end.
    fn next_chunk(&mut self) -> io::Result<Bytes> {
        self.answer()?;
        let Stage::Answered(response) = &mut self.stage else {
            return Ok(Bytes::new());
        };
        match self.client.wait(&self.patience, response.chunk())? {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => {
                self.stage = Stage::Over;
                Ok(Bytes::new())
            }
            Err(error) => {
                self.stage = Stage::Over;
                let failure = Failure::HungUp(io::Error::other(error.without_url()));
                Err(self.patience.failure.fail(failure))
            }
        }
    }
}

/// Collects the body of a request.
#[derive(Debug, Clone, Default)]
struct PostBody(Arc<Mutex<Vec<u8>>>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one header that is asked for, once the answer has come and was found good.
struct Headers<'a> {
    exchange: SharedExchange<'a>,
    text: Cursor<String>,
}

impl<'a> Headers<'a> {
    fn new(exchange: &SharedExchange<'a>, content_type: &str) -> Self {
        Headers {
            exchange: Arc::clone(exchange),
            text: Cursor::new(format!("content-type: {content_type}\n")),
        }
    }
}

impl BufRead for Headers<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.exchange.lock().answer()?;
        self.text.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.text.consume(amount);
    }
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.exchange.lock().answer()?;
        self.text.read(buffer)
    }
}

/// The answer, piece by piece, without a copy in between.
struct Body<'a> {
    exchange: SharedExchange<'a>,
    chunk: Bytes,
}

impl<'a> Body<'a> {
    fn new(exchange: &SharedExchange<'a>) -> Self {
        Body {
            exchange: Arc::clone(exchange),
            chunk: Bytes::new(),
        }
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.chunk = self.exchange.lock().next_chunk()?;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// The limit a user set for silence, from `http.lowSpeedLimit` and `http.lowSpeedTime`.
fn stall_limit(bytes_per_second: Option<u64>, seconds: Option<u64>) -> Option<Duration> {
    match (bytes_per_second, seconds) {
        (Some(1..), Some(seconds @ 1..)) => Some(Duration::from_secs(seconds)),
        _ => None,
    }
}
