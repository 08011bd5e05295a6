//! Clones of real repositories, compared with those of git itself.

#![allow(missing_docs, reason = "the names of the tests say what they show")]

mod faults;
mod like_git;
mod remotes;
mod support;
