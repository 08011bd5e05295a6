//! What tests need around them: a hermetic environment, Git repositories, real servers with faults, tree manifests.
//!
//! A dev-dependency of `tests/` folders only. Everything here panics with a sentence when the world is not as a test
//! needs it, waits for conditions instead of sleeping, listens on port 0 of the loopback, and takes its folders and
//! processes away when dropped, also while a test panics.

mod cache_server;
mod child;
mod docker_registry;
mod env;
pub mod fixtures;
mod git;
mod http;
mod manifest;
mod noise;
mod repository;
mod rough_line;
mod run;
mod s3;
mod skip;
mod sshd;
mod tls_proxy;

pub use cache_server::CacheServer;
pub use child::ChildGuard;
pub use docker_registry::DockerRegistry;
pub use env::{Headstart, TestEnv};
pub use git::git_command;
pub use http::{Fault, GitHttpServer, GitHttpServerBuilder, On, Request};
pub use manifest::{Manifest, Node};
pub use noise::noise;
pub use repository::Repository;
pub use rough_line::{Line, RoughLine};
pub use run::{Run, Running};
pub use rustix::process::Signal;
pub use s3::S3;
pub use skip::{is_root, skipped};
pub use sshd::Sshd;
pub use tls_proxy::TlsProxy;
