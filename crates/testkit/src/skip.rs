//! Tests that cannot run here say so where it is seen.

use std::{fs::OpenOptions, io::Write as _, thread};

/// Names the file in which `tests/run` collects what was skipped, since runners hide what passing tests print.
const COLLECTED: &str = "HEADSTART_TEST_SKIPS";

/// Says that the running test, or a part of it, is skipped and why: what is missing and how to get it. The test then returns.
#[allow(
    clippy::print_stderr,
    reason = "the one place where a test talks to whoever runs it"
)]
pub fn skipped(why: &str) {
    let thread = thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    eprint!("{line}");
    if let Some(file) = std::env::var_os(COLLECTED) {
        let opened = OpenOptions::new().append(true).create(true).open(file);
        // One write, so that lines of tests that run side by side stay whole.
        opened
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file of skipped tests can be written");
    }
}

/// Whether the tests run as root, which some programs need.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
