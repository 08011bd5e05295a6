//! The real `headstart-server` of this build.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log")).expect("a file in a new temporary folder"));
        let mut server = ChildGuard::spawn(&mut command);
        // The first thing it says is where it listens.
        let mut said = String::new();
        let stdout = server.child().stdout.take().expect("stdout was piped");
        let _ = BufReader::new(stdout).read_line(&mut said);
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let url = said.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url
            .unwrap_or_else(|| panic!("headstart-server did not start: {said}{}", log()))
            .to_owned();
        CacheServer { url, server, folder }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder with all it keeps.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Kills it as `kill -9` does; the address answers no more.
    pub fn kill(&mut self) {
        self.server.signal(Signal::KILL);
        let _ = self.server.wait();
    }
}
