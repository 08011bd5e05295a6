//! A smart-HTTP Git server with faults: our own HTTP/1.1 around git's own `git http-backend`.
//!
//! Enough HTTP for Git clients and no more: keep-alive, request bodies by length, chunked or gzipped (the last is left to
//! git), `Expect: 100-continue`, chunked answers. Requests are recorded, so that a test can say how many there were.

mod backend;
mod connection;
mod fault;
mod message;

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

pub use fault::{Fault, On};

/// One request as the server answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// The path with its query, or a whole URL when the server is used as a proxy.
    pub target: String,
    /// The `Git-Protocol` header, for example `version=2`; empty when missing.
    pub protocol: String,
    /// The `Authorization` header; empty when missing.
    pub authorization: String,
    /// The body as sent, inflated when it was gzipped.
    pub body: Vec<u8>,
    /// Whether it was.
    pub is_gzipped: bool,
    /// The status answered; 0 until then.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub sent_bytes: u64,
}

impl Request {
    /// True for the request that brings a pack: `fetch` of protocol 2, or any upload-pack call of the older ones.
    pub fn is_fetch(&self) -> bool {
        let listing = self.body.windows(15).any(|window| window == b"command=ls-refs");
        self.method == "POST" && self.target.ends_with("/git-upload-pack") && !listing
    }
}

/// How a [`GitHttpServer`] will serve.
#[derive(Debug, Clone)]
pub struct GitHttpServerBuilder {
    root: PathBuf,
    credentials: Option<(String, String)>,
    settings: Vec<(String, String)>,
    files: Option<PathBuf>,
}

impl GitHttpServerBuilder {
    /// Asks for this user and password by basic authentication.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Adds a git setting on the server's side, as `git -c name=value` would.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Serves the files of this folder below `/files/`, as a host of static content would.
    pub fn files(mut self, folder: impl AsRef<Path>) -> Self {
        self.files = Some(folder.as_ref().to_owned());
        self
    }

    /// What is asked for, if it is one of the files.
    fn file(&self, target: &str) -> Option<std::io::Result<Vec<u8>>> {
        let name = target.strip_prefix("/files/")?;
        Some(std::fs::read(self.files.as_ref()?.join(name)))
    }

    /// Listens on a free port of the loopback and starts to serve.
    pub fn start(self) -> GitHttpServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            options: self,
            stop: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accept = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        GitHttpServer {
            address,
            shared,
            accept: Some(accept),
        }
    }
}

/// Serves the repositories below a folder; stops when dropped.
///
/// ```
/// use headstart_testkit::{GitHttpServer, git_command};
///
/// let folder = tempfile::tempdir()?;
/// assert!(git_command().args(["init", "-q", "--bare"]).arg(folder.path().join("r.git")).status()?.success());
/// let server = GitHttpServer::start(folder.path());
/// assert!(git_command().args(["ls-remote", &server.url("r.git")]).status()?.success());
/// assert_eq!(server.requests().len(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct GitHttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

impl GitHttpServer {
    /// Serves the repositories below `root` to everyone.
    pub fn start(root: impl AsRef<Path>) -> Self {
        Self::builder(root).start()
    }

    /// Prepares to serve the repositories below `root`.
    pub fn builder(root: impl AsRef<Path>) -> GitHttpServerBuilder {
        GitHttpServerBuilder {
            root: root.as_ref().to_owned(),
            credentials: None,
            settings: Vec::new(),
            files: None,
        }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the repository at `path` below the root.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The URL of the repository at `path` with user and password in it, as given.
    pub fn url_with_login(&self, user: &str, password: &str, path: &str) -> String {
        format!("http://{user}:{password}@{}/{path}", self.address)
    }

    /// From now on, answers requests that `on` selects with `fault`. The latest rule that selects a request wins.
    pub fn fail(&self, on: On, fault: Fault) {
        self.fail_times(usize::MAX, on, fault);
    }

    /// Like [`GitHttpServer::fail`], for the next so many requests that `on` selects.
    pub fn fail_times(&self, times: usize, on: On, fault: Fault) {
        self.shared.lock().rules.push(Rule { on, fault, times });
    }

    /// Serves everything properly again.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
    }

    /// The requests so far, in the order in which they came; the last ones may still be being answered.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Bytes of answer bodies sent so far.
    pub fn sent_bytes(&self) -> u64 {
        self.shared
            .lock()
            .requests
            .iter()
            .map(|request| request.sent_bytes)
            .sum()
    }

    /// Blocks until `count` answers in all have been held back by [`Fault::StallAfter`].
    pub fn wait_for_stalls(&self, count: usize) {
        let mut state = self.shared.lock();
        while state.stalls < count {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for GitHttpServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

/// What all threads of one server share.
#[derive(Debug)]
struct Shared {
    options: GitHttpServerBuilder,
    stop: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct Rule {
    on: On,
    fault: Fault,
    /// How often it still applies.
    times: usize,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    requests: Vec<Request>,
    stalls: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new request down; answers its number and the fault for it, if a rule selects it.
    fn begin(&self, request: Request) -> (usize, Option<Fault>) {
        let mut state = self.lock();
        let number = state.requests.len();
        let rule = state
            .rules
            .iter_mut()
            .rev()
            .find(|rule| rule.times > 0 && rule.on.selects(number, &request));
        let fault = rule.map(|rule| {
            rule.times -= 1;
            rule.fault.clone()
        });
        state.requests.push(request);
        (number, fault)
    }

    /// Notes what was answered. Called before the bytes are sent: who has them may ask at once.
    fn note(&self, number: usize, status: u16, more_bytes: usize) {
        let request = &mut self.lock().requests[number];
        request.status = status;
        request.sent_bytes += more_bytes as u64;
    }

    fn stalled(&self) {
        self.lock().stalls += 1;
        self.changed.notify_all();
    }
}

/// Serves every connection on a thread of its own; before it returns, all of them have ended.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        connections.retain(|(_, thread)| !thread.is_finished());
        let Ok(stream) = stream else { continue };
        let Ok(handle) = stream.try_clone() else { continue };
        let shared = Arc::clone(shared);
        // A connection that breaks is the client's doing or a fault we were asked for.
        let thread = thread::spawn(move || drop(connection::serve(stream, &shared)));
        connections.push((handle, thread));
    }
    for (stream, thread) in connections {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}
