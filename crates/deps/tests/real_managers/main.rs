//! Real package managers: install, save, move to a machine with another checkout and empty caches, restore, and let the
//! manager's own frozen install say whether anything is missing while there is no network.
//!
//! What was restored is compared with what was saved, down to the nanosecond, before that install and after it.
//!
//! `tests/run` installs the managers and names them in `HEADSTART_TEST_*`; what is not there is skipped, loudly.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod case;
mod go;
mod jvm;
mod machine;
mod node;
mod python;
mod registry;
mod rust;
mod saved;

use case::{Case, OverATree};
use machine::Machine;
use registry::Registry;
use saved::Saved;
