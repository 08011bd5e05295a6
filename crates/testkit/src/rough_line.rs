//! A TCP connection to a server that is slow, falls silent, breaks off, or garbles what it carries.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What becomes of the server's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// They come.
    Good,
    /// This many come in a second, over each connection.
    Slow(usize),
    /// Connections that exist break off; new ones are good.
    Cut,
    /// Connections that exist fall silent and stay open; new ones are good.
    Silent,
    /// What follows the first bytes of an answer is garbled.
    Garbled,
    /// This answer comes to every request on a new connection, whatever the server would say.
    Answer(&'static str),
}

/// Passes connections on to a server; closed when dropped.
#[derive(Debug)]
pub struct RoughLine {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    /// Connections with a lower number suffer from what happens to those that exist.
    existing: AtomicU64,
    connections: AtomicU64,
    bytes: AtomicU64,
    is_closed: AtomicBool,
}

impl RoughLine {
    /// Starts to pass connections on.
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            line: Mutex::new(Line::Good),
            existing: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        });
        let for_all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if for_all.is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&for_all);
                // A connection that fails is one that broke off.
                thread::spawn(move || shared.carry(client, upstream));
            }
        });
        RoughLine { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the line, at once.
    pub fn set(&self, line: Line) {
        let mut now = self.shared.line.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.existing.store(self.connections(), Ordering::SeqCst);
        *now = line;
    }

    /// Bytes of the server that were passed on.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for RoughLine {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn line(&self) -> Line {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(&self, mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        if let Line::Answer(answer) = self.line() {
            let mut request = [0; 4096];
            let _ = client.read(&mut request)?;
            return client.write_all(answer.as_bytes());
        }
        let mut server = TcpStream::connect(upstream)?;
        let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            let copied = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
            copied
        });
        let mut buffer = vec![0; 64 << 10];
        let done = loop {
            let limit = match self.line() {
                Line::Slow(bytes) => (bytes / 20).clamp(1, buffer.len()),
                _ => buffer.len(),
            };
            let length = match server.read(&mut buffer[..limit]) {
                Ok(0) => break Ok(()),
                Ok(length) => length,
                Err(error) => break Err(error),
            };
            let exists = number < self.existing.load(Ordering::SeqCst);
            match self.line() {
                Line::Slow(_) => thread::sleep(Duration::from_millis(50)),
                Line::Cut if exists => break Ok(()),
                Line::Silent if exists => {
                    while self.line() == Line::Silent && !self.is_closed.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                Line::Garbled if !buffer.starts_with(b"HTTP/") => {
                    for byte in &mut buffer[..length] {
                        *byte ^= 0xa5;
                    }
                }
                _ => {}
            }
            if let Err(error) = client.write_all(&buffer[..length]) {
                break Err(error);
            }
            self.bytes.fetch_add(length as u64, Ordering::SeqCst);
        };
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        done
    }
}
