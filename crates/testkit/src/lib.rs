//! What tests need around them: a hermetic environment, Git repositories, real servers with faults, tree manifests.
//!
//! A dev-dependency of `tests/` folders only. Everything here panics with a sentence when the world is not as a test
//! needs it, waits for conditions instead of sleeping, listens on port 0 of the loopback, and takes its folders and
//! processes away when dropped, also while a test panics.

mod child;
mod git;
mod http;

pub use child::ChildGuard;
pub use git::git_command;
pub use http::{Fault, GitHttpServer, GitHttpServerBuilder, On, Request};
