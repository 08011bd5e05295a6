//! HTTP(S) as git's configuration asks for it, over one client whose connections all fetches share.

use std::{
    any::Any,
    io::{self, BufRead},
    time::{Duration, Instant},
};

use bytes::Bytes;
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
use crate::remote_url::redact;

mod exchange;
mod gzip;
mod page;
mod settings;

use exchange::{Body, Exchange, Headers, PostBody, Request};
pub(crate) use settings::HttpSettings;

/// As many as curl follows for git.
const MAX_REDIRECTS: usize = 20;
/// How long is waited for the text of an error, which is not worth more.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Whether `url` is at the repository's own host.
    pub(crate) fn serves(&self, url: &url::Url) -> bool {
        url.origin() == self.url.origin()
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
    fn wait<T>(&self, patience: &Patience<'_>, future: impl Future<Output = T>) -> io::Result<T> {
        let runtime = self.runtime.as_ref().expect("it is taken only when dropped");
        runtime.block_on(async {
            let mut future = std::pin::pin!(future);
            let since = Instant::now();
            loop {
                match tokio::time::timeout(POLL, &mut future).await {
                    Ok(output) => return Ok(output),
                    Err(_) => patience.check(since.elapsed())?,
                }
            }
        })
    }

    fn send(&self, patience: &Patience<'_>, request: reqwest::RequestBuilder) -> io::Result<Response> {
        self.wait(patience, request.send())?.map_err(|error| {
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
        content_type: Option<&str>,
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
            Failure::Status {
                code: status.as_u16(),
                retry_after: retry_after(response.headers()),
                text: self.page_text(patience, &mut response, &found)?,
            }
        } else if content_type.is_some_and(|expected| found != expected) {
            Failure::NotGit {
                text: self.page_text(patience, &mut response, &found)?,
                content_type: found,
            }
        } else {
            return Ok(response);
        };
        Err(patience.failure.fail(failure))
    }

    /// The same patience, unless the user has less or more.
    fn patience<'a>(&self, patience: &Patience<'a>) -> Patience<'a> {
        let slowest = self.settings.slowest_pace;
        Patience {
            stall_limit: slowest.map_or(patience.stall_limit, |pace| pace.within),
            ..patience.clone()
        }
    }

    /// What a page that is no answer of git's says to people.
    fn page_text(
        &self,
        patience: &Patience<'_>,
        response: &mut Response,
        content_type: &str,
    ) -> io::Result<Option<String>> {
        let is_gzipped = gzip::is_gzipped(response.headers());
        let read = async {
            let mut page = Vec::new();
            while page.len() < page::READ_BYTES
                && let Ok(Some(chunk)) = response.chunk().await
            {
                page.extend_from_slice(&chunk);
            }
            page
        };
        let timed = async { tokio::time::timeout(PAGE_TIMEOUT, read).await };
        let Ok(page) = self.wait(patience, timed)? else {
            return Ok(None);
        };
        let page = match is_gzipped {
            true => gzip::inflate_start(&page, page::READ_BYTES),
            false => page,
        };
        Ok(page::text(content_type, &page))
    }

    /// Asks for a file at `url`, which may be of another host than the repository, following redirects.
    pub(crate) fn download<'a>(
        &'a self,
        mut url: url::Url,
        patience: &Patience<'a>,
    ) -> io::Result<Box<dyn BufRead + Send + 'a>> {
        let patience = &self.patience(patience);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(patience, self.request(&url, &[], None))?;
            if !response.status().is_redirection() {
                let response = self.check(patience, response, None)?;
                let exchange = Exchange::answered(self, patience, response);
                return Ok(Box::new(Body::new(&exchange)));
            }
            let to = self
                .redirection(&response, &url)
                .map_err(|failure| patience.failure.fail(failure))?;
            if !self.settings.follow_redirects {
                return Err(patience.failure.fail(not_followed(to.as_str())));
            }
            url = to;
        }
        Err(patience.failure.fail(not_followed(url.as_str())))
    }

    /// The place an answer redirects to: never from https to http, nor to what the user does not allow.
    fn redirection(&self, response: &Response, from: &url::Url) -> Result<url::Url, Failure> {
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut to = from.join(location).map_err(|_| not_followed(location))?;
        // Who may log in there is not for the server to say.
        let _ = to.set_username("");
        let _ = to.set_password(None);
        let is_allowed = self.settings.allowed_schemes.contains(&to.scheme());
        match is_allowed && (to.scheme() == "https" || to.scheme() == from.scheme()) {
            true => Ok(to),
            false => Err(not_followed(to.as_str())),
        }
    }
}

fn not_followed(to: &str) -> Failure {
    Failure::Redirected {
        to: redact(to.into()),
    }
}

/// How long the server wants to be left alone. Dates, which need its clock, are not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
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
        patience: client.patience(patience),
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
            let request = self
                .client
                .request(&url, &headers, None)
                .header(header::ACCEPT_ENCODING, gzip::NAME);
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
            .check(&self.patience, response, Some(&content_type))
            .map_err(gix::Error::from_error)?;
        let exchange = Exchange::answered(self.client, &self.patience, response);
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
        let exchange = Exchange::prepared(self.client, &self.patience, request);
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
        let to = self.client.redirection(response, from)?;
        let refused = || not_followed(to.as_str());
        let base = to.as_str().strip_suffix(tail).ok_or_else(refused)?;
        if !self.client.settings.follow_redirects || redirects >= MAX_REDIRECTS {
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
