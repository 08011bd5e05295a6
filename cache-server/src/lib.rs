//! headstart-server: one store, served over HTTP as `docs/design/protocol.md` describes it.
//!
//! Owns: listening, tokens, limits, deadlines, the log and the graceful stop. What is stored and how is the business of
//! `headstart-store`; what is said on the wire that of `headstart-protocol`. A library, so that tests run it in-process.
//!
//! ```no_run
//! # async fn run() -> Result<(), headstart_cache_server::StartError> {
//! use headstart_cache_server::{Access, Config, Server};
//!
//! let config = Config {
//!     data: "/var/lib/headstart".into(),
//!     listen: "127.0.0.1:0".to_owned(),
//!     access: Access::OpenOnLoopback,
//!     log: None,
//! };
//! let server = Server::bind(config).await?;
//! println!("listening on http://{}", server.address());
//! server.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod auth;
mod body;
mod config;
mod error;
mod idle;
mod limits;
mod log;
mod panic;
mod query;
mod routes;
mod server;

pub use config::{Access, Config, StartError, read_token_file};
pub use log::Log;
pub use server::{Server, Stopped};
