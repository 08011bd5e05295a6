//! The real `headstart-server` of this build.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::ChildGuard;

/// A `headstart-server` on a free port of the loopback, with its own data folder. Killed when dropped.
#[derive(Debug)]
pub struct CacheServer {
    url: String,
    server: ChildGuard,
    folder: TempDir,
}

impl CacheServer {
    /// Starts the `headstart-server` that was built beside `headstart`; clients need no token.
    pub fn start(headstart: impl AsRef<Path>) -> Self {
        Self::start_with(headstart.as_ref(), None)
    }

    /// Starts it for clients that show `token`.
    pub fn start_with_token(headstart: impl AsRef<Path>, token: &str) -> Self {
        Self::start_with(headstart.as_ref(), Some(token))
    }

    fn start_with(headstart: &Path, token: Option<&str>) -> Self {
        let program = headstart.with_file_name("headstart-server");
        assert!(
            program.is_file(),
            "build {} first: cargo build -p headstart-cache-server",
            program.display()
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(program);
        command
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(["--listen", "127.0.0.1:0"]);
        if let Some(token) = token {
            let file = folder.path().join("token");
            fs::write(&file, token).expect("a file in a new temporary folder");
            command.arg("--token-file").arg(file);
        }
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = ChildGuard::spawn(&mut command);
        let mut stderr = BufReader::new(server.child().stderr.take().expect("stderr was piped"));
        // It says where it listens as soon as it does.
        let mut said = String::new();
        let url = loop {
            let read = stderr.read_line(&mut said).unwrap_or_default();
            assert!(read > 0, "headstart-server ended at its start: {said}");
            let url = said.split_whitespace().find(|word| word.starts_with("http://"));
            if let Some(url) = url {
                break url.trim_end_matches(['/', ',', '.']).to_owned();
            }
        };
        // Its log is read to the end, so that a full pipe never blocks it.
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        CacheServer { url, server, folder }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder with all it keeps.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Kills it as `kill -9` does; the address answers no more.
    pub fn kill(&mut self) {
        self.server.signal(Signal::KILL);
        let _ = self.server.wait();
    }
}
