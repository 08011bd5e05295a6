//! Work on repositories that are already here, against real git and a server that counts.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the names of tests say what they show, and a test that cannot go on panics"
)]

mod backfill;
mod pull;
mod pull_refusals;
mod support;
