//! Docker's registry, as distributions package it.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::ChildGuard;

/// A `docker-registry` on a free port of the loopback, with nothing in it. Killed when dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    /// `127.0.0.1:port`: what image names begin with.
    pub address: String,
    _server: ChildGuard,
    _folder: TempDir,
}

impl DockerRegistry {
    /// Starts the program of that name, and waits until it answers.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener").to_string();
        drop(listener);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            folder.path().join("data").display()
        );
        fs::write(&config, text).expect("a file in a new temporary folder");
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut server = ChildGuard::spawn(&mut command);
        assert!(server.connect(&address).is_some(), "docker-registry has ended");
        DockerRegistry {
            address,
            _server: server,
            _folder: folder,
        }
    }
}
