//! Listening, connections, and the graceful stop.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Extension, Router};
use headstart_protocol::Token;
use headstart_store::{LocalStore, Store};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{Access, Config, Log, StartError, idle::IdleTimeout, limits, routes};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) token: Option<Token>,
    pub(crate) log: Option<Log>,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    log: Option<Log>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// All requests were answered.
    Cleanly,
    /// Requests were cut off at the deadline; this many connections were open.
    CutOff(usize),
}

impl Server {
    /// Opens the store and starts to listen.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let store = LocalStore::open_or_create_durable(&config.data)?;
        store.check_writable()?;
        let listen_error = |source: io::Error| StartError::Listen {
            listen: config.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let token = match config.access {
            Access::Token(token) => Some(token),
            Access::OpenOnLoopback if !address.ip().is_loopback() => {
                return Err(StartError::Unprotected(address));
            }
            Access::OpenOnLoopback | Access::OpenToAll => None,
        };
        let shared = Arc::new(Shared {
            store: Arc::new(store),
            token,
            log: config.log.clone(),
        });
        Ok(Server {
            listener,
            address,
            router: routes::router(shared),
            log: config.log,
        })
    }

    /// Where it listens, with the port the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is there, then lets running ones end for up to 30 seconds.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Stopped {
        let connections = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(limits::CONNECTIONS));
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await.expect("never closed");
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accepted => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(log) = &self.log {
                        log.line(&format!("cannot accept a connection: {error}"));
                    }
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are small or whole blocks: waiting for more only delays them.
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(self.router.clone().layer(Extension(Peer(peer))));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HEADER_TIMEOUT)
                .max_buf_size(limits::HEADER_BYTES)
                .max_headers(limits::HEADERS)
                .serve_connection(
                    TokioIo::new(IdleTimeout::new(stream, limits::IDLE_TIMEOUT)),
                    service,
                );
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                // A client that goes away is its own business; what it asked for is in the log.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(self.listener);
        match tokio::time::timeout(limits::STOP_TIMEOUT, connections.shutdown()).await {
            Ok(()) => Stopped::Cleanly,
            Err(_) => Stopped::CutOff(limits::CONNECTIONS - room.available_permits()),
        }
    }
}
