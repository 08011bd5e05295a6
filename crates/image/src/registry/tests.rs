//! Against a server that follows a script: what real registries do rarely.

use std::{io::Read as _, sync::Mutex};

use super::{
    testing::{Asked, Server, answer},
    *,
};

struct Known;

impl Credentials for Known {
    fn find(&self, _host: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(Some(Login::Password {
            user: "user".to_owned(),
            password: "secret".to_owned(),
        }))
    }
}

/// Knows only why nothing is known.
struct Unknown(CredentialsError);

impl Credentials for Unknown {
    fn find(&self, _host: &str) -> Result<Option<Login>, CredentialsError> {
        Err(self.0.clone())
    }
}

fn registries(credentials: impl Credentials + 'static) -> Registries {
    Registries::new(RegistryOptions {
        credentials: Box::new(credentials),
        plain_http: Vec::new(),
        interrupt: Arc::default(),
    })
}

fn manifest(registries: &Registries, server: &Server) -> Result<Vec<u8>, ImageError> {
    let reference = server.reference();
    let short = registries.get_short(&reference, "manifests/v1", "*/*", 100);
    short.map(|(bytes, _)| bytes)
}

#[test]
fn a_token_is_fetched_once_and_kept() {
    let host = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&host);
    let server = Server::start(move |asked, _| {
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{}/token\",service=\"registry\",scope=\"repository:team/app:pull\"\r\n",
            known.lock().unwrap()
        );
        match (&asked.line, asked.authorization.as_deref()) {
            (line, Some("Basic dXNlcjpzZWNyZXQ="))
                if line.starts_with("GET /token?scope=repository%3Ateam%2Fapp%3Apull") =>
            {
                answer("200 OK", "", br#"{"token":"t0"}"#)
            }
            (_, Some("Bearer t0")) => answer("200 OK", "", b"{}"),
            _ => answer("401 Unauthorized", &challenge, b""),
        }
    });
    host.lock().unwrap().clone_from(&server.host);
    let registries = registries(Known);
    assert_eq!(manifest(&registries, &server).unwrap(), b"{}");
    assert_eq!(manifest(&registries, &server).unwrap(), b"{}");
    let tokens = server
        .asked()
        .iter()
        .filter(|asked| asked.line.contains("/token"))
        .count();
    assert_eq!((tokens, server.asked().len()), (1, 4));
}

#[test]
fn every_scope_is_a_parameter_of_its_own() {
    let server = Server::start(|asked, _| {
        let scopes = "repository:team/app:pull,push repository:team/base:pull";
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{}/token\",scope=\"{scopes}\"\r\n",
            asked.host
        );
        let wanted =
            "GET /token?scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull ";
        match asked.authorization.as_deref() {
            Some("Bearer t0") => answer("200 OK", "", b"{}"),
            _ if asked.line.starts_with(wanted) => answer("200 OK", "", br#"{"token":"t0"}"#),
            _ => answer("401 Unauthorized", &challenge, b""),
        }
    });
    assert_eq!(manifest(&registries(NoCredentials), &server).unwrap(), b"{}");
}

#[test]
fn basic_logins_are_sent_when_asked_for_and_refused_ones_are_said() {
    let script = |asked: &Asked, _| match asked.authorization.as_deref() {
        Some("Basic dXNlcjpzZWNyZXQ=") => answer("200 OK", "", b"{}"),
        _ => answer("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", b""),
    };
    let server = Server::start(script);
    assert_eq!(manifest(&registries(Known), &server).unwrap(), b"{}");
    assert!(
        server.asked()[0].authorization.is_none(),
        "nothing is sent unasked"
    );
    let error = manifest(&registries(NoCredentials), &server).unwrap_err();
    assert!(matches!(error, ImageError::Refused { .. }), "{error}");
}

#[test]
fn a_busy_registry_is_asked_again_and_a_missing_image_is_not() {
    let server = Server::start(|_, number| match number {
        0 => answer("503 Service Unavailable", "", b""),
        1 => answer("429 Too Many Requests", "retry-after: 0\r\n", b""),
        _ => answer("200 OK", "", b"{}"),
    });
    assert_eq!(manifest(&registries(NoCredentials), &server).unwrap(), b"{}");
    let server = Server::start(|_, _| answer("404 Not Found", "", b""));
    let error = manifest(&registries(NoCredentials), &server).unwrap_err();
    assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_document_that_is_too_long_is_refused() {
    let server = Server::start(|_, _| answer("200 OK", "", &[b' '; 101]));
    let error = manifest(&registries(NoCredentials), &server).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}

fn read_blob(server: &Server) -> io::Result<Vec<u8>> {
    let (registries, reference) = (registries(NoCredentials), server.reference());
    let mut body = BlobBody::open(&registries, &reference, "blobs/x".to_owned()).unwrap();
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn a_blob_goes_on_where_it_broke_off() {
    let blob: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let sent = blob.clone();
    // The first answer breaks off after 2000 bytes.
    let with_ranges = Server::start(move |asked, _| match asked.range.as_deref() {
        None => answer("200 OK", "", &sent)[..2000].to_vec(),
        Some(range) => {
            let from: usize = range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap();
            let content_range = format!("content-range: bytes {from}-4999/5000\r\n");
            answer("206 Partial Content", &content_range, &sent[from..])
        }
    });
    assert_eq!(read_blob(&with_ranges).unwrap(), blob);
    assert!(with_ranges.asked()[1].range.is_some());
    let sent = blob.clone();
    let without = Server::start(move |_, number| match number {
        0 => answer("200 OK", "", &sent)[..2000].to_vec(),
        _ => answer("200 OK", "", &sent),
    });
    assert_eq!(read_blob(&without).unwrap(), blob, "what is known is skipped");
    let never = Server::start(|_, _| answer("200 OK", "", &[0; 5000])[..200].to_vec());
    assert!(read_blob(&never).is_err());
}

#[test]
fn a_redirect_to_another_host_is_not_told_the_login() {
    let storage = Server::start(|_, _| answer("200 OK", "", b"blob"));
    let target = storage.host.replace("127.0.0.1", "localhost");
    let server = Server::start(move |asked, _| match asked.authorization {
        Some(_) => answer(
            "307 Temporary Redirect",
            &format!("location: http://{target}/blob\r\n"),
            b"",
        ),
        None => answer("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", b""),
    });
    let (registries, reference) = (registries(Known), server.reference());
    let mut body = BlobBody::open(&registries, &reference, "blobs/x".to_owned()).unwrap();
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"blob");
    assert!(storage.asked()[0].authorization.is_none());
}

#[test]
fn a_redirect_to_another_host_cannot_ask_for_the_login() {
    for scheme in ["Bearer", "Basic"] {
        let thief = Server::start(move |asked, _| match asked.line.contains("/token") {
            true => answer("200 OK", "", br#"{"token":"t"}"#),
            false => {
                let realm = format!("http://{}/token", asked.host);
                let challenge = format!("www-authenticate: {scheme} realm=\"{realm}\"\r\n");
                answer("401 Unauthorized", &challenge, b"")
            }
        });
        let target = thief.host.replace("127.0.0.1", "localhost");
        let location = format!("location: http://{target}/blob\r\n");
        let server = Server::start(move |_, _| answer("307 Temporary Redirect", &location, b""));
        let error = manifest(&registries(Known), &server).unwrap_err();
        assert!(matches!(error, ImageError::Refused { .. }), "{error}");
        assert_eq!(thief.asked().len(), 1, "{scheme}");
        assert_eq!(server.asked().len(), 1, "{scheme}");
    }
}

#[test]
fn tokens_come_without_tls_from_this_machine_and_from_hosts_that_may() {
    let server = Server::start(|_, _| {
        let challenge = "www-authenticate: Bearer realm=\"http://tokens.invalid/token\"\r\n";
        answer("401 Unauthorized", challenge, b"")
    });
    let error = manifest(&registries(Known), &server).unwrap_err();
    assert!(error.to_string().contains("no TLS"), "{error}");
    for (registry, realm, may) in [
        ("http://plain.example", "https://tokens.invalid/token", true),
        ("http://localhost:5000", "http://[::1]:5001/token", true),
        ("http://plain.example", "http://plain.example/token", true),
        ("https://other.example", "http://plain.example/token", false),
        ("http://plain.example", "http://plain.example:5000/token", false),
        ("http://plain.example", "http://port.example:5000/token", true),
        ("http://plain.example", "http://port.example/token", false),
        ("http://plain.example", "http://other.example/token", false),
        ("http://plain.example", "ftp://plain.example/token", false),
    ] {
        let mut registries = registries(NoCredentials);
        registries.options.plain_http = vec!["plain.example".to_owned(), "port.example:5000".to_owned()];
        let is_safe = registries.is_safe(&Url::parse(registry).unwrap(), &Url::parse(realm).unwrap());
        assert_eq!(is_safe, may, "{realm} for {registry}");
    }
}

#[test]
fn a_registry_elsewhere_has_no_service_of_this_machine_called() {
    let service = Server::start(|_, _| answer("200 OK", "", br#"{"token":"t"}"#));
    let challenge = format!(
        "www-authenticate: Bearer realm=\"http://{}/token\"\r\n",
        service.host
    );
    let location = format!("location: http://{}/x\r\n", service.host);
    for (status, header) in [
        ("401 Unauthorized", challenge),
        ("307 Temporary Redirect", location),
    ] {
        let server = Server::start(move |_, _| answer(status, &header, b""));
        let mut registries = registries(Known);
        // An address of this machine that does not look like one.
        let host = server.host.replace("127.0.0.1", "0.0.0.0");
        registries.options.plain_http = vec![host.clone()];
        let reference = RegistryReference {
            host,
            ..server.reference()
        };
        let error = registries
            .get_short(&reference, "manifests/v1", "*/*", 100)
            .unwrap_err();
        let chain = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(chain.contains("this machine"), "{chain}");
        assert!(!server.asked().is_empty());
    }
    assert!(service.asked().is_empty(), "{:?}", service.asked());
}

#[test]
fn a_refusal_tells_why_there_was_no_login() {
    let reason = "docker-credential-x was not found on PATH";
    let helper = || Unknown(CredentialsError::Helper(reason.to_owned()));
    let basic =
        Server::start(|_, _| answer("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", b""));
    let tokens = |refused: &'static str| {
        Server::start(move |asked, _| {
            let challenge = format!(
                "www-authenticate: Bearer realm=\"http://{}/token\"\r\n",
                asked.host
            );
            match asked.authorization.is_some() || asked.line.contains("/token") {
                _ if asked.line.contains(refused) => answer("403 Forbidden", "", b""),
                true if asked.line.contains("/token") => answer("200 OK", "", br#"{"token":"t"}"#),
                true => answer("403 Forbidden", "", b""),
                false => answer("401 Unauthorized", &challenge, b""),
            }
        })
    };
    for server in [basic, tokens("/token"), tokens("nothing")] {
        let error = manifest(&registries(helper()), &server).unwrap_err();
        assert!(
            matches!(error, ImageError::Refused { .. }) && error.to_string().contains(reason),
            "{error}"
        );
    }
    // What everybody gets needs no login.
    let open = Server::start(|asked, _| match asked.authorization.is_some() {
        true => answer("200 OK", "", b"{}"),
        false if asked.line.contains("/token") => answer("200 OK", "", br#"{"token":"t"}"#),
        false => {
            let challenge = format!(
                "www-authenticate: Bearer realm=\"http://{}/token\"\r\n",
                asked.host
            );
            answer("401 Unauthorized", &challenge, b"")
        }
    });
    assert_eq!(manifest(&registries(helper()), &open).unwrap(), b"{}");
    // Settings that cannot be understood are mended before anything is asked for in nobody's name.
    let settings = Unknown(CredentialsError::Settings("config.json is damaged".to_owned()));
    let error = manifest(&registries(settings), &open).unwrap_err();
    assert!(error.to_string().contains("config.json is damaged"), "{error}");
}

#[test]
fn loopback_is_this_machine_and_nothing_else() {
    for host in [
        "localhost",
        "localhost:5000",
        "127.0.0.1:5000",
        "[::1]:5000",
        "x.localhost",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "localhost.example",
        "128.0.0.1",
        "registry.example:5000",
        "[::2]",
        "",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
}

/// Registries, and a thread that soon wants them to stop.
fn soon_stopped() -> Registries {
    let registries = registries(NoCredentials);
    let interrupt = Arc::clone(&registries.options.interrupt);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        interrupt.store(true, Ordering::Relaxed);
    });
    registries
}

#[test]
fn a_document_that_does_not_come_to_its_end_is_not_waited_for_when_somebody_wants_to_stop() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = RegistryReference {
        host: listener.local_addr().unwrap().to_string(),
        repository: "team/app".to_owned(),
        version: crate::Version::Tag("v1".to_owned()),
    };
    std::thread::spawn(move || {
        // Kept, so that nothing tells the client that no more comes.
        let mut streams = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{");
            streams.push(stream);
        }
    });
    let since = Instant::now();
    let outcome = soon_stopped().get_short(&reference, "manifests/v1", "*/*", 100);
    assert!(matches!(outcome, Err(ImageError::Interrupted)), "{outcome:?}");
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_upload_that_nobody_takes_ends_when_somebody_wants_to_stop() {
    let server = Server::start(|asked, _| match asked.line.split(' ').next().unwrap() {
        "HEAD" => answer("404 Not Found", "", b""),
        "POST" => answer("202 Accepted", "location: /upload?s=1\r\n", b""),
        _ => {
            std::thread::sleep(Duration::from_secs(30));
            Vec::new()
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(50_000_000).unwrap();
    let since = Instant::now();
    let digest = crate::BlobDigest::of(b"x");
    let outcome = soon_stopped().push_blob(&server.reference(), &digest, file.path());
    assert!(matches!(outcome, Err(ImageError::Interrupted)), "{outcome:?}");
    assert!(since.elapsed() < Duration::from_secs(5));
}
