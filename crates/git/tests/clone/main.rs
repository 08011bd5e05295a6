//! Clones of real repositories, compared with those of git itself.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the names of tests say what they show, and a test that cannot go on panics"
)]

mod background;
mod bundles;
mod faults;
mod like_git;
mod remotes;
mod retries;
mod seeds;
mod support;
mod tls;
