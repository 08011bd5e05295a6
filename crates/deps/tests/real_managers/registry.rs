//! A package registry on this machine: the files of a folder over HTTP, as long as PyPI lets clients keep them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use headstart_testkit::skipped;
use tempfile::TempDir;

/// What a registry's thread and its owner share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    asked: Mutex<Vec<String>>,
}

/// Serves until it is dropped.
pub(crate) struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
    folder: Option<TempDir>,
}

impl Registry {
    /// Serves what Python, run with `args` in a new folder, makes there. `None` where there is no Python.
    pub(crate) fn made_by(args: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("python3")
            .args(args)
            .current_dir(folder.path())
            .output();
        let Ok(made) = made else {
            skipped("python3 is not installed (tests/run installs it)");
            return None;
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut registry = Registry::of(folder.path());
        registry.folder = Some(folder);
        Some(registry)
    }

    /// Serves a folder.
    pub(crate) fn of(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accept = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (folder, shared) = (folder.clone(), Arc::clone(&shared));
                    // Clients open connections ahead of what they ask; who hangs up has nothing to ask.
                    thread::spawn(move || stream.and_then(|stream| answer(stream, &folder, &shared)));
                }
            }
        });
        Registry {
            address,
            shared,
            accept: Some(accept),
            folder: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The paths that were asked for since the last time.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees the flag.
        let _ = TcpStream::connect(self.address);
        let _ = self.accept.take().map(JoinHandle::join);
    }
}

/// Answers one request and closes the connection.
fn answer(mut stream: TcpStream, folder: &Path, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = first.split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    shared.asked.lock().unwrap().push(path.to_owned());
    let (file, kind, age) = match path.ends_with('/') {
        true => (format!("{path}index.html"), "text/html", "max-age=600, public"),
        false => (
            path.to_owned(),
            "application/octet-stream",
            "max-age=365000000, immutable, public",
        ),
    };
    let Ok(content) = std::fs::read(folder.join(file.trim_start_matches('/'))) else {
        let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(head.as_bytes());
    };
    let length = content.len();
    // Without a date, clients do not know the age.
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: {age}\r\n\
         Date: {date}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    match method {
        Some("HEAD") => Ok(()),
        _ => stream.write_all(&content),
    }
}
