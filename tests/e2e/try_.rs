//! `headstart try`: the first command somebody runs.

use crate::{machine, support::names};

#[test]
fn try_shows_cold_and_warm_and_leaves_nothing() {
    let env = machine();
    let report = env.headstart().args(["try", "--json"]).run().success().json();
    assert_eq!(report["schema"], "headstart.try/1");
    assert!(
        report["runs"].as_array().is_some_and(|runs| runs.len() >= 3),
        "{report:#}"
    );
    assert_eq!(names(&env.work()), [""; 0]);
    // Temporary files are made in the machine's own folder.
    assert_eq!(names(env.root()), ["home", "work"]);
}

#[test]
fn try_keeps_the_folder_it_is_given() {
    let env = machine();
    let _ = env.run(["try", "--dir", "sample"]).success().prints("git clone");
    assert_eq!(names(&env.work()), ["sample"]);
    let _ = env.run(["try", "--dir", "sample"]).code(1).says("sample");
}
