//! A real S3 engine: SeaweedFS, when `HEADSTART_TEST_WEED` says where its `weed` is.

use std::{
    collections::BTreeMap,
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use url::Url;

const KEY: &str = "AKIATEST";
const SECRET: &str = "secrettest";
const BUCKET: &str = "hsbucket";

/// A running engine with one empty bucket; ends when dropped.
pub(crate) struct Seaweed {
    process: Child,
    port: u16,
    _lock: File,
    _folder: TempDir,
}

/// Starts one, or says why the test is skipped. One at a time on the machine: its inner ports are fixed.
pub(crate) fn start() -> Option<Seaweed> {
    let Some(weed) = std::env::var_os("HEADSTART_TEST_WEED").map(PathBuf::from) else {
        println!("skipped: HEADSTART_TEST_WEED does not name a `weed` (tests/run installs one)");
        return None;
    };
    let lock = File::create(std::env::temp_dir().join("headstart-test-weed.lock")).unwrap();
    lock.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["data", "logs"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let process = Command::new(weed)
        .arg(format!("-logdir={}", folder.path().join("logs").display()))
        .args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
        .arg(format!("-s3.port={port}"))
        .arg(format!("-dir={}", folder.path().join("data").display()))
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("HEADSTART_TEST_WEED runs");
    let mut server = Seaweed {
        process,
        port,
        _lock: lock,
        _folder: folder,
    };
    server.make_bucket();
    Some(server)
}

impl Seaweed {
    pub(crate) fn url(&self, prefix: &str) -> Url {
        format!("s3://{BUCKET}/{prefix}").parse().unwrap()
    }

    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port).as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Asks until the engine answers: it has no other way to say that it is ready.
    fn make_bucket(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answered = Command::new("curl")
                .args(["--silent", "--fail", "--output", "/dev/null", "-X", "PUT"])
                .args([
                    "--retry",
                    "20",
                    "--retry-connrefused",
                    "--retry-delay",
                    "1",
                    "--max-time",
                    "30",
                ])
                .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user"])
                .arg(format!("{KEY}:{SECRET}"))
                .arg(format!("http://127.0.0.1:{}/{BUCKET}", self.port))
                .status()
                .expect("curl is installed");
            if answered.success() {
                return;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("weed ended with {status}");
            }
            assert!(Instant::now() < deadline, "weed does not answer");
        }
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // Killed, not asked: it takes seconds to stop, and its data goes with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
