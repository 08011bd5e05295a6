//! Images of the Docker daemon.

use super::*;

#[test]
fn an_image_of_the_daemon_is_what_it_saves() {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::unix::net::UnixListener,
    };
    let tar = TarMaker::new().file("a", b"123").finish();
    let config =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [DiffId::of(&tar)] } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:v1"], "Layers": ["l.tar"] }]);
    let saved = TarMaker::new()
        .file("l.tar", &tar)
        .file("c.json", &serde_json::to_vec(&config).unwrap())
        .file("manifest.json", &serde_json::to_vec(&manifest).unwrap())
        .finish();
    let folder = tempfile::tempdir().unwrap();
    let docker_socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&docker_socket).unwrap();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (_, names) = asked.split_once("/images/get?names=").unwrap();
            let (status, body) = match names.split_once(' ').unwrap().0 {
                "app%3Av1" | "app%3Alatest" | "sha256%3A0123abcd" => ("200 OK", &saved[..]),
                // The images of all its tags.
                "app" | "0123abcd" => ("200 OK", &b"several"[..]),
                "APP%3Av1" => ("500 Internal Server Error", &b"{\"message\":\"no capitals\"}"[..]),
                _ => ("404 Not Found", &b"{}"[..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream).write_all(&[head.as_bytes(), body].concat());
        }
    });
    let access = Access {
        docker_socket,
        ..access()
    };
    let open = |name: &str| open_source(&format!("docker-daemon:{name}").parse().unwrap(), &access);
    for name in ["app:v1", "app", "0123abcd"] {
        let image = open(name).unwrap().load_image(&Platform::native()).unwrap();
        assert_eq!(image.layers[0].diff_id, DiffId::of(&tar), "{name}");
    }
    let refused = open("APP:v1").unwrap_err().to_string();
    assert!(
        refused.ends_with("500 Internal Server Error: no capitals"),
        "{refused}"
    );
    assert!(matches!(open("no:v1"), Err(ImageError::Missing { .. })));
    let stopped = Access {
        interrupt: Arc::new(AtomicBool::new(true)),
        ..access.clone()
    };
    let outcome = open_source(&"docker-daemon:app:v1".parse().unwrap(), &stopped);
    assert!(matches!(outcome, Err(ImageError::Interrupted)));
    let nobody = Access {
        docker_socket: "/nonexistent/docker.sock".into(),
        ..access.clone()
    };
    let error = open_source(&"docker-daemon:app:v1".parse().unwrap(), &nobody).unwrap_err();
    assert!(matches!(error, ImageError::Daemon { .. }), "{error}");
}
