//! `headstart layers analyze` on images made to fill the memory of the machine.

use std::fs;

use crate::{
    machine,
    support::{has_programs, layers_script},
};

/// Runs a command and writes the most memory that it had, in KiB, to the file named first.
const WITH_PEAK: &str = "import resource, subprocess, sys\n\
    status = subprocess.call(sys.argv[2:])\n\
    with open(sys.argv[1], 'w') as peak:\n    \
        peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n\
    sys.exit(status)";

/// Panics unless an image of `layers` layers, each of so many empty files with paths of this length, is refused, and that within
/// so much memory.
#[track_caller]
fn assert_refused_within(most_mib: u64, layers: u64, entries: u64, path_length: u64) {
    if !has_programs(&["python3"]) {
        return;
    }
    let env = machine();
    let [layers, entries, path_length] = [layers, entries, path_length].map(|number| number.to_string());
    let args = ["endless", &layers, &entries, &path_length];
    layers_script(&env, "endless.py", &args);
    let command = env.headstart().args(["layers", "analyze", "oci:endless"]);
    let error = command
        .through(["python3", "-c", WITH_PEAK, "peak"])
        .run()
        .code(1)
        .stderr();
    assert!(
        error.contains("is too large: a list of entries of 240 MiB is the most"),
        "{error}"
    );
    let peak_kib: u64 = fs::read_to_string(env.path("peak")).unwrap().parse().unwrap();
    assert!(peak_kib / 1024 < most_mib, "{} MiB", peak_kib / 1024);
}

#[test]
fn layers_without_end_are_refused_while_there_is_memory() {
    // Both are read at the same time where there are two processors.
    assert_refused_within(2 * 240 + 60, 2, 63_000, 4000);
}

#[test]
#[ignore = "takes two minutes: the same for the entries that few bytes buy most of"]
fn ten_million_entries_are_refused_within_300_mib() {
    assert_refused_within(300, 1, 10_000_000, 12);
}
