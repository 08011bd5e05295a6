//! A real S3 engine: SeaweedFS in one process.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{ChildGuard, run::PATIENCE, skipped};

/// Names the `weed` program, which `tests/run` installs.
const PROGRAM: &str = "HEADSTART_TEST_WEED";
const BUCKET: &str = "headstart-test";
const KEY_ID: &str = "AKIATEST";
const SECRET: &str = "secrettest";
const POLL: Duration = Duration::from_millis(20);

/// An S3 server with one bucket, on free ports of the loopback. Killed when dropped.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    filer_port: u16,
    server: ChildGuard,
    _folder: TempDir,
}

impl S3 {
    /// Starts it and waits until the bucket is there; `None`, after saying why, where it is not installed.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os(PROGRAM).map(PathBuf::from) else {
            skipped(&format!(
                "{PROGRAM} does not name SeaweedFS's `weed` (tests/run installs it)"
            ));
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["data", "logs"] {
            fs::create_dir(at(name)).expect("a folder in a new temporary folder");
        }
        let ports = free_ports();
        let port_of = |name: &str| {
            let index = PORTS
                .iter()
                .position(|port| *port == name)
                .expect("one of our ports");
            ports[index]
        };
        let log = File::create(at("log")).expect("a file in a new temporary folder");
        let mut command = Command::new(&program);
        command
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .arg(format!("-logdir={}", at("logs").display()))
            .args([
                "mini",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.telemetry=false",
            ])
            .args([
                "-webdav=false",
                "-admin.ui=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .arg(format!("-dir={}", at("data").display()))
            .arg(format!("-bucket={BUCKET}"))
            .arg(format!("-filer.localSocket={}", at("filer.sock").display()))
            .arg(format!("-s3.localSocket={}", at("s3.sock").display()))
            .args(
                PORTS
                    .iter()
                    .zip(&ports)
                    .map(|(name, port)| format!("-{name}={port}")),
            )
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log);
        let mut server = ChildGuard::spawn(&mut command);
        let started = Instant::now();
        let (s3, filer) = (port_of("s3.port"), port_of("filer.port"));
        // The S3 port answers before writes work; the filer knows when the bucket is there.
        while !(answers(s3, "/", "HTTP/") && answers(filer, &format!("/buckets/{BUCKET}/"), "HTTP/1.1 200")) {
            let ended = server
                .child()
                .try_wait()
                .expect("a child of ours can be waited for");
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "SeaweedFS did not start: {}",
                fs::read_to_string(at("log")).unwrap_or_default()
            );
            thread::sleep(POLL);
        }
        Some(S3 {
            port: s3,
            filer_port: filer,
            server,
            _folder: folder,
        })
    }

    /// `s3://bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// The objects below `prefix`: their keys.
    pub fn list(&self, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let listing = self.filer("GET", &format!("{folder}/?limit=100000"), b"");
            let listing: serde_json::Value = serde_json::from_slice(&listing).expect("a listing in JSON");
            for entry in listing["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().expect("a path");
                let key = path
                    .strip_prefix(&format!("/buckets/{BUCKET}/"))
                    .expect("below the bucket");
                // Of folders the mode has Go's bit for them.
                match entry["Mode"].as_u64().is_some_and(|mode| mode & (1 << 31) != 0) {
                    true => folders.push(key.to_owned()),
                    false => found.push(key.to_owned()),
                }
            }
        }
        found.sort();
        found
    }

    /// Reads an object behind the back of all clients.
    pub fn read(&self, key: &str) -> Vec<u8> {
        self.filer("GET", key, b"")
    }

    /// Writes an object over what is there, behind the back of all clients.
    pub fn overwrite(&self, key: &str, bytes: &[u8]) {
        self.filer("PUT", key, bytes);
    }

    fn filer(&self, method: &str, key: &str, body: &[u8]) -> Vec<u8> {
        let exchange = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.filer_port))?;
            write!(
                stream,
                "{method} /buckets/{BUCKET}/{key} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\
                 Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )?;
            stream.write_all(body)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange().expect("the filer answers");
        let end = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("an answer has a head");
        let status = answer.get(9..10).unwrap_or_default();
        assert_eq!(
            status,
            b"2",
            "{method} {key}: {}",
            String::from_utf8_lossy(&answer[..end])
        );
        answer[end + 4..].to_vec()
    }

    /// The environment variables a client needs to reach it.
    pub fn client_environment(&self) -> Vec<(String, String)> {
        self.client_environment_through(self.address())
    }

    /// The same for a client that goes through something that listens at `address`.
    pub fn client_environment_through(&self, address: SocketAddr) -> Vec<(String, String)> {
        let endpoint = format!("http://{address}");
        [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// Every port it would otherwise take by number.
const PORTS: &[&str] = &[
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
];

/// As many free ports, all different. It cannot be told to take port 0, so another program could be quicker; the system hands
/// out freshly freed ports last, which makes that a theory.
fn free_ports() -> Vec<u16> {
    let listeners: Vec<_> = PORTS
        .iter()
        .map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port"))
        .collect();
    listeners
        .iter()
        .map(|listener| {
            listener
                .local_addr()
                .expect("a bound socket has an address")
                .port()
        })
        .collect()
}

/// True when a GET is answered with this beginning.
fn answers(port: u16, path: &str, beginning: &str) -> bool {
    let get = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )?;
        let mut start = vec![0; beginning.len()];
        stream.read_exact(&mut start)?;
        Ok(start)
    };
    get().is_ok_and(|start| start == beginning.as_bytes())
}
