//! What changed between two commits, in clones that lack something, against what git says in complete ones.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod histories;
mod remotes;
mod support;
