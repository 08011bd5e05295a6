//! The server in-process: the conformance suite through the client, and what hostile or unlucky clients do.
#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use headstart_cache_server::{Access, Config, Log, Server, StartError, Stopped};
use headstart_protocol::Token;
use headstart_store::{
    ContentKind, EntryName, HttpStore, LocalStore, Store as _, StoreError, StoreExt as _, conformance,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
    task::JoinHandle,
};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Stopped>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn client(&self, token: Option<&str>) -> HttpStore {
        let url = format!("http://{}", self.address).parse().unwrap();
        HttpStore::open(&url, token.map(|token| Token::parse(token).unwrap())).unwrap()
    }

    async fn end(self) -> Stopped {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap()
    }

    /// Sends bytes as they are and goes away.
    async fn hang_up_after(&self, request: impl Into<Vec<u8>>) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&request.into()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }

    /// Sends bytes as they are, and returns all that comes back until the server closes.
    async fn raw(&self, request: impl Into<Vec<u8>>) -> String {
        let (address, request) = (self.address, request.into());
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            // The server may answer and close before it has read all.
            let _ = stream.write_all(&request);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
        .unwrap()
    }
}

fn config(data: &Path, access: Access) -> Config {
    Config {
        data: data.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        access,
        log: None,
    }
}

async fn start(data: &Path, access: Access) -> Running {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let server = Server::bind(Config {
        log: Some(Log::new(move |line| lines.lock().unwrap().push(line.to_owned()))),
        ..config(data, access)
    })
    .await
    .unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running {
        address,
        stop,
        ended,
        log,
    }
}

fn token(text: &str) -> Access {
    Access::Token(Token::parse(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), Access::OpenOnLoopback).await;
    conformance::check_store(Arc::new(server.client(None))).await;
    assert_eq!(server.end().await, Stopped::Cleanly);
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_with_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), token("s3cret")).await;
    conformance::check_store(Arc::new(server.client(Some("s3cret")))).await;
    let log = server.log.lock().unwrap().join("\n");
    assert!(
        log.contains(" PUT /v1/packs/") && !log.contains("s3cret"),
        "{log}"
    );
}

#[tokio::test]
async fn the_token_is_needed_for_everything_but_the_health() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), token("right")).await;
    let (id, bytes) = conformance::sample(ContentKind::Pack, 1, 100);
    let name = EntryName::new("n".parse().unwrap(), "k").unwrap();
    for client in [server.client(None), server.client(Some("wrong"))] {
        for error in [
            client.info().await.unwrap_err(),
            client.read(id).await.unwrap_err(),
            client.write_bytes(id, bytes.clone()).await.unwrap_err(),
            client.find_missing(&[id]).await.unwrap_err(),
            client.read_entry(&name).await.unwrap_err(),
            client.find_entries(name.namespace(), "", 1).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
            assert!(error.to_string().contains("token"), "{error}");
        }
    }
    let info = server.client(Some("right")).info().await.unwrap();
    assert_eq!(info.protocols, [1]);
    let health = server
        .raw("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
        "{health}"
    );
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), Access::OpenOnLoopback).await;
    let (id, bytes) = conformance::sample(ContentKind::Pack, 1, 100);
    server.client(None).write_bytes(id, bytes).await.unwrap();
    let pack = format!("/v1/packs/{}", id.digest());
    let zero = "0".repeat(64);
    for (request, status) in [
        ("GET /".to_owned(), 404),
        ("GET /v1/packs/..%2f..%2fFORMAT".to_owned(), 400),
        ("GET /v1/packs/../../FORMAT".to_owned(), 404),
        (format!("GET /v1/packs/{}", "A".repeat(64)), 400),
        (format!("GET /v1/packs/{}", "0".repeat(63)), 400),
        (format!("GET /v1/packs/{zero}"), 404),
        (format!("GET /v1/chunks/{zero}"), 404),
        (format!("DELETE {pack}"), 405),
        (format!("PUT {pack}"), 411),
        ("GET /v1/entries/n".to_owned(), 400),
        ("GET /v1/entries/n?key=".to_owned(), 400),
        ("GET /v1/entries/n?key=%00".to_owned(), 400),
        ("GET /v1/entries/n?key=%ff".to_owned(), 400),
        (format!("GET /v1/entries/n?key={}", "k".repeat(513)), 400),
        ("GET /v1/entries/N?key=k".to_owned(), 400),
        ("GET /v1/entries/%2e%2e?key=k".to_owned(), 400),
        ("GET /v1/entries/n?key=..%2F..%2Fx".to_owned(), 404),
        ("PUT /v1/entries/n?key=k".to_owned(), 400),
        ("GET /v1/entries/n/search".to_owned(), 400),
        ("GET /v1/entries/n/search?prefix=&limit=-1".to_owned(), 400),
        ("GET /v1/entries/n/search?prefix=&limit=99999999".to_owned(), 200),
        ("POST /v1/find-missing".to_owned(), 400),
    ] {
        let answer = server
            .raw(format!(
                "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        assert!(answer.contains("headstart-protocol: 1"), "{request}: {answer}");
    }
    for (range, status) in [
        ("bytes=0-9", 206),
        ("bytes=99-99", 206),
        ("bytes=99-100", 416),
        ("bytes=0-18446744073709551615", 400),
        ("bytes=-5", 400),
        ("bytes=0-1,5-6", 400),
    ] {
        let answer = server
            .raw(format!(
                "GET {pack} HTTP/1.1\r\nhost: x\r\nrange: {range}\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{range}: {answer}"
        );
    }
    for garbage in [&b"\x16\x03\x01\x02\x00"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        server.hang_up_after(garbage).await;
    }
    assert!(server.client(None).info().await.is_ok(), "it lives on");
}

#[tokio::test]
async fn uploads_that_lie_or_break_off_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), Access::OpenOnLoopback).await;
    let (id, bytes) = conformance::sample(ContentKind::Pack, 1, 100);
    let put = |length: u64, body: &[u8]| {
        let head = format!(
            "PUT /v1/packs/{} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
            id.digest()
        );
        [head.as_bytes(), body].concat()
    };
    let answer = server.raw(put(100, &[0; 100])).await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    let answer = server.raw(put(1 << 40, b"")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.hang_up_after(put(100, &bytes[..50])).await;
    let client = server.client(None);
    assert_eq!(client.find_missing(&[id]).await.unwrap(), [id]);
    let answer = server.raw(put(100, &bytes)).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let answer = server.raw(put(100, &bytes)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(client.read(id).await.unwrap(), bytes);
    assert_eq!(server.end().await, Stopped::Cleanly);
    let tmp = LocalStore::open_existing(dir.path())
        .unwrap()
        .folder()
        .join("tmp");
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
}

#[tokio::test]
async fn corrupt_content_is_cut_off_and_gone_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), Access::OpenOnLoopback).await;
    let client = server.client(None);
    let (id, bytes) = conformance::sample(ContentKind::Pack, 1, 6 << 20);
    client.write_bytes(id, bytes.clone()).await.unwrap();
    let digest = id.digest().to_string();
    let file = dir.path().join("v1/packs").join(&digest[..2]).join(&digest);
    let mut changed = bytes.to_vec();
    changed[5 << 20] ^= 1;
    std::fs::write(file, changed).unwrap();
    let error = client.read(id).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(client.read(id).await.unwrap_err().is_missing());
    client.write_bytes(id, bytes.clone()).await.unwrap();
    assert_eq!(client.read(id).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_stop_lets_running_requests_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), Access::OpenOnLoopback).await;
    let (id, bytes) = conformance::sample(ContentKind::Pack, 1, 100);
    let mut connection = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT /v1/packs/{} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n",
        id.digest()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&bytes[..50]).await.unwrap();
    // `check_writable` made the folder; a file in it is the upload.
    while std::fs::read_dir(dir.path().join("v1/tmp")).unwrap().count() == 0 {
        tokio::task::yield_now().await;
    }
    server.stop.send(()).unwrap();
    connection.write_all(&bytes[50..]).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(server.ended.await.unwrap(), Stopped::Cleanly);
    let store = LocalStore::open_existing(dir.path()).unwrap();
    assert_eq!(store.find_missing(&[id]).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_no_headstart_server_is_named_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    let (id, _) = conformance::sample(ContentKind::Pack, 1, 100);
    let error = HttpStore::open(&url, None).unwrap().read(id).await.unwrap_err();
    assert!(error.to_string().contains("not a headstart-server"), "{error}");
    answering.join().unwrap();
}

#[tokio::test]
async fn start_errors_say_what_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("a"), Access::OpenOnLoopback).await;
    let taken = Config {
        listen: server.address.to_string(),
        ..config(&dir.path().join("b"), Access::OpenOnLoopback)
    };
    let error = Server::bind(taken).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    let open = Config {
        listen: "0.0.0.0:0".to_owned(),
        ..config(&dir.path().join("c"), Access::OpenOnLoopback)
    };
    let error = Server::bind(open.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::Unprotected(_)), "{error:?}");
    assert!(
        Server::bind(Config {
            access: token("t"),
            ..open
        })
        .await
        .is_ok()
    );
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Server::bind(config(&dir.path().join("file"), Access::OpenOnLoopback)).await;
    assert!(matches!(error, Err(StartError::Data(_))), "{error:?}");
    std::fs::write(dir.path().join("empty"), " \n").unwrap();
    let error = headstart_cache_server::read_token_file(&dir.path().join("empty"));
    assert!(matches!(error, Err(StartError::Token { .. })), "{error:?}");
}
