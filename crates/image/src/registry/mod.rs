//! Speaking to registries: one client for all of them, with what each wants to know of who asks.

mod auth;
mod body;
mod challenge;
mod login;
mod push;

use std::{
    collections::HashMap,
    fmt,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header, redirect};
use url::{Position, Url};

pub use login::{Credentials, CredentialsError, DockerConfig, DockerConfigError, Login, NoCredentials};

use crate::{ImageError, RegistryReference, interrupt};
use auth::Authorization;
pub(crate) use body::BlobBody;

/// A dead host must be found out in seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time in which nothing comes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(100);
/// The pauses before the second and later tries.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// The longest pause a registry may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(20);
/// As many as browsers follow.
const MAX_REDIRECTS: usize = 10;
/// Where Docker's own registry answers.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How registries may be spoken to.
pub struct RegistryOptions {
    /// Who knows users and passwords.
    pub credentials: Box<dyn Credentials>,
    /// Hosts, with their port, that are spoken to without TLS. Those on this machine are in any case.
    pub plain_http: Vec<String>,
    /// Set to stop.
    pub interrupt: Arc<AtomicBool>,
}

/// A client of registries. What it learns (tokens, connections) is shared by all images it reads.
pub struct Registries {
    options: RegistryOptions,
    /// Made when the first registry is spoken to: certificates and code take megabytes that local images do not need.
    connections: OnceLock<Connections>,
    /// What was sent last, and accepted, by host and repository.
    known: Mutex<HashMap<(String, String), Authorization>>,
}

struct Connections {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").finish_non_exhaustive()
    }
}

impl Drop for Registries {
    /// A host's name that is still looked up would be waited for, which may take half a minute.
    fn drop(&mut self) {
        if let Some(connections) = self.connections.take() {
            connections.runtime.shutdown_background();
        }
    }
}

impl Connections {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("headstart-registry")
            .enable_all()
            .build()?;
        // Blobs are often elsewhere, on a host that is not to see what the registry is told: reqwest drops it there.
        let redirects = redirect::Policy::custom(|attempt| {
            let is_downgrade = attempt
                .previous()
                .last()
                .is_some_and(|from| from.scheme() == "https" && attempt.url().scheme() != "https");
            let is_inward = attempt
                .previous()
                .last()
                .is_some_and(|from| leads_inward(from, attempt.url()));
            match attempt.previous().len() > MAX_REDIRECTS || is_downgrade || is_inward {
                true => attempt.error("it redirects too often, away from https, or to this machine"),
                false => attempt.follow(),
            }
        });
        let client = Client::builder()
            .user_agent(concat!("headstart/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirects)
            .build()
            .map_err(io::Error::other)?;
        Ok(Connections { runtime, client })
    }
}

impl Registries {
    /// A client that has not spoken to anybody.
    pub fn new(options: RegistryOptions) -> Self {
        Registries {
            options,
            connections: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    fn connections(&self) -> io::Result<&Connections> {
        if let Some(connections) = self.connections.get() {
            return Ok(connections);
        }
        let new = Connections::new()?;
        // Of two threads one has its own taken.
        Ok(self.connections.get_or_init(|| new))
    }

    fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, ImageError> {
        let connections = self.connections().map_err(|source| ImageError::Unavailable {
            what: "a client of registries".to_owned(),
            source,
        })?;
        Ok(connections.client.request(method, url))
    }

    /// Asks for `path` below the repository, as often as it takes: with a login where the registry wants one, again when
    /// it is busy. Answers that are no success are errors.
    pub(crate) fn get(
        &self,
        reference: &RegistryReference,
        path: &str,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, ImageError> {
        let what = format!("{path} of {}/{}", reference.host, reference.repository);
        let url = self.url(reference, path)?;
        self.retry(|| {
            let question = Question {
                what: what.clone(),
                method: Method::GET,
                url: url.clone(),
                limit: STALL_TIMEOUT,
            };
            self.ask(reference, &question, |request| Ok(prepare(request)))
        })
    }

    /// Tries again what may pass.
    fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T, Attempt>) -> Result<T, ImageError> {
        let mut pauses = PAUSES.iter();
        loop {
            match (attempt(), pauses.next()) {
                (Err(Attempt::Again { pause, .. }), Some(&ours)) => {
                    self.sleep(pause.unwrap_or(ours).clamp(ours, MAX_PAUSE))?;
                }
                (Err(Attempt::Again { error, .. } | Attempt::Failed(error)), _) => return Err(error),
                (Ok(answer), _) => return Ok(answer),
            }
        }
    }

    /// Asks once; twice where the registry wants a login.
    fn ask(
        &self,
        reference: &RegistryReference,
        question: &Question,
        prepare: impl Fn(RequestBuilder) -> Result<RequestBuilder, ImageError>,
    ) -> Result<Response, Attempt> {
        let key = (reference.host.clone(), reference.repository.clone());
        let is_registry = self.url(reference, "")?.origin() == question.url.origin();
        let mut authorization = self.lock().get(&key).cloned().filter(|_| is_registry);
        let mut has_logged_in = false;
        let mut no_login = None;
        loop {
            let mut request = prepare(self.request(question.method.clone(), question.url.clone())?)?;
            if let Some(authorization) = &authorization {
                request = authorization.apply(request);
            }
            let response = self.send(&question.what, request, question.limit)?;
            let status = response.status();
            if status.is_success() {
                if let (true, Some(authorization)) = (has_logged_in, authorization) {
                    self.lock().insert(key, authorization);
                }
                return Ok(response);
            }
            // Who answers may be a host that the registry redirects to: it is not to learn the registry's login.
            let is_own_answer = is_registry && response.url().origin() == question.url.origin();
            if status == StatusCode::UNAUTHORIZED && !has_logged_in && is_own_answer {
                has_logged_in = true;
                let (accepted, missing) = self.log_in(reference, &response)?;
                (authorization, no_login) = (Some(accepted), missing);
                continue;
            }
            return Err(failure(question.what.clone(), &response).because(no_login.as_deref()));
        }
    }

    fn send(&self, what: &str, request: RequestBuilder, limit: Duration) -> Result<Response, Attempt> {
        let sent = self.wait(request.send(), limit);
        let sent = sent.map_err(|source| self.unavailable(what, source))?;
        sent.map_err(|error| self.unavailable(what, io::Error::other(error)))
    }

    fn unavailable(&self, what: &str, source: io::Error) -> Attempt {
        let error = ImageError::Unavailable {
            what: what.to_owned(),
            source,
        };
        Attempt::Again {
            error: interrupt::reason(&self.options.interrupt, error),
            pause: None,
        }
    }

    fn url(&self, reference: &RegistryReference, path: &str) -> Result<Url, ImageError> {
        let (host, scheme) = match reference.host.as_str() {
            host if host == DOCKER_HUB.0 => (DOCKER_HUB.1, "https"),
            host if self.is_plain_http(host) => (host, "http"),
            host => (host, "https"),
        };
        let text = format!("{scheme}://{host}/v2/{}/{path}", reference.repository);
        Url::parse(&text).map_err(|error| ImageError::unsupported(text, error.to_string()))
    }

    /// Whether `host`, with its port, is spoken to without TLS.
    fn is_plain_http(&self, host: &str) -> bool {
        is_loopback(host) || self.options.plain_http.iter().any(|plain| plain == host)
    }

    /// Whether nobody can read on its way what the user of `registry` sends to `realm`, or the user does not mind: who wants TLS
    /// of the registry wants it of where its tokens come from.
    fn is_safe(&self, registry: &Url, realm: &Url) -> bool {
        let host = &realm[Position::BeforeHost..Position::AfterPort];
        let is_plain = |url: &Url| url.scheme() == "http";
        realm.scheme() == "https" || is_plain(realm) && is_plain(registry) && self.is_plain_http(host)
    }

    /// Waits for `future` as long as there is hope and nobody wants to stop.
    fn wait<T>(&self, future: impl Future<Output = T>, limit: Duration) -> io::Result<T> {
        let Connections { runtime, .. } = self.connections()?;
        runtime.block_on(async {
            let mut future = std::pin::pin!(future);
            let since = Instant::now();
            loop {
                match tokio::time::timeout(POLL, &mut future).await {
                    Ok(output) => return Ok(output),
                    Err(_) if self.is_interrupted() => return Err(io::Error::other("stopped on request")),
                    Err(_) if since.elapsed() > limit => {
                        let reason = format!("nothing came for {} seconds", limit.as_secs());
                        return Err(io::Error::new(ErrorKind::TimedOut, reason));
                    }
                    Err(_) => {}
                }
            }
        })
    }

    fn sleep(&self, pause: Duration) -> Result<(), ImageError> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            interrupt::check(&self.options.interrupt)?;
            std::thread::sleep(POLL.min(pause));
        }
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.options.interrupt.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Authorization>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked for.
struct Question {
    /// Names it in errors.
    what: String,
    method: Method,
    url: Url,
    /// How long the answer may take.
    limit: Duration,
}

/// What a try ended with.
enum Attempt {
    /// It may be better soon; the registry may say when.
    Again {
        error: ImageError,
        pause: Option<Duration>,
    },
    Failed(ImageError),
}

impl Attempt {
    /// A refusal also tells why nobody was logged in.
    fn because(self, no_login: Option<&str>) -> Self {
        match (self, no_login) {
            (Attempt::Failed(ImageError::Refused { what, reason }), Some(no_login)) => {
                Attempt::Failed(ImageError::Refused {
                    what,
                    reason: format!("{reason}; no login was sent: {no_login}"),
                })
            }
            (attempt, _) => attempt,
        }
    }
}

impl From<ImageError> for Attempt {
    fn from(error: ImageError) -> Self {
        Attempt::Failed(error)
    }
}

fn failure(what: String, response: &Response) -> Attempt {
    let status = response.status();
    match status.as_u16() {
        401 | 403 => Attempt::Failed(ImageError::Refused {
            what,
            reason: format!("the registry answers {status}"),
        }),
        404 => Attempt::Failed(ImageError::missing(what, "the registry")),
        408 | 429 | 500.. => {
            let seconds = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Attempt::Again {
                error: ImageError::Unavailable {
                    what,
                    source: io::Error::other(format!("the registry answers {status}")),
                },
                pause: seconds.map(Duration::from_secs),
            }
        }
        _ => Attempt::Failed(ImageError::unsupported(
            what,
            format!("the registry answers {status}"),
        )),
    }
}

/// Whether a server elsewhere has us call a service of this machine.
fn leads_inward(from: &Url, to: &Url) -> bool {
    let is_here = |url: &Url| url.host_str().is_some_and(is_loopback);
    is_here(to) && !is_here(from)
}

/// Whether `host`, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    match Url::parse(&format!("http://{host}"))
        .ok()
        .as_ref()
        .and_then(Url::host)
    {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
