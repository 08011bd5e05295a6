//! Placeholder.

mod pack;
mod sparse;
mod worktree;
