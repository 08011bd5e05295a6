//! A server that follows a script.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::RegistryReference;

/// A request as it came, and the headers of interest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) host: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

/// Answers each request by `script`, which is told what was asked and how often something was; remembers the requests.
pub(crate) struct Server {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(script: impl Fn(&Asked, usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let remembered = Arc::clone(&asked);
        // Ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let request = read_request(&stream);
                let number = remembered.lock().unwrap().len();
                let answer = script(&request, number);
                remembered.lock().unwrap().push(request);
                let _ = (&stream).write_all(&answer);
            }
        });
        Server { host, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn reference(&self) -> RegistryReference {
        RegistryReference {
            host: self.host.clone(),
            repository: "team/app".to_owned(),
            version: crate::Version::Tag("v1".to_owned()),
        }
    }
}

fn read_request(stream: &TcpStream) -> Asked {
    let mut stream = BufReader::new(stream);
    let mut asked = Asked::default();
    let mut body_bytes = 0;
    let mut next = || {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
    };
    asked.line = next().unwrap_or_default();
    while let Some(line) = next() {
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => asked.authorization = Some(value.to_owned()),
                "content-length" => body_bytes = value.parse().unwrap(),
                "host" => value.clone_into(&mut asked.host),
                "range" => asked.range = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    let _ = io::copy(&mut stream.take(body_bytes), &mut io::sink());
    asked
}

/// An answer that says it has all of `body`, and closes the connection.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
