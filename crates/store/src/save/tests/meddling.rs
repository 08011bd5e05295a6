//! Files that are changed and removed while they are saved.

use std::{fs, os::unix::fs::FileExt as _};

use jiff::ToSpan as _;

use super::*;
use crate::testing::{manifest, touch};

/// When the meddling happens: as soon as a step has begun, or as soon as some of it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Begun(Step),
    Advanced(Step),
}

/// Does something, once, at a moment of a save.
struct Meddler<F> {
    moment: Moment,
    once: std::sync::Once,
    meddle: F,
}

impl<F: Fn() + Send + Sync> Meddler<F> {
    fn at(&self, moment: Moment) {
        if moment == self.moment {
            self.once.call_once(&self.meddle);
        }
    }
}

impl<F: Fn() + Send + Sync> Progress for Meddler<F> {
    fn start(&self, step: Step, _total: Option<u64>) {
        self.at(Moment::Begun(step));
    }
    fn advance(&self, step: Step, _amount: u64) {
        self.at(Moment::Advanced(step));
    }
    fn finish(&self, _step: Step) {}
    fn warn(&self, _warning: &Warning) {}
}

/// Saves `d` as `k`, and meddles meanwhile.
fn save_while(
    bench: &Bench,
    moment: Moment,
    meddle: impl Fn() + Send + Sync,
) -> Result<(Saved, Vec<String>), SaveError> {
    save_as_while(bench, "k", moment, meddle)
}

fn save_as_while(
    bench: &Bench,
    key: &str,
    moment: Moment,
    meddle: impl Fn() + Send + Sync,
) -> Result<(Saved, Vec<String>), SaveError> {
    let meddler = Meddler {
        moment,
        once: std::sync::Once::new(),
        meddle,
    };
    let options = SaveOptions {
        // Long after the files were written: what was seen of them is settled.
        now: Timestamp::now() + 1.hour(),
        ..bench.save_options(key, &["d"])
    };
    let outcome = save(
        &*bench.store,
        None,
        &bench.runtime,
        &options,
        &meddler,
        &bench.interrupt,
    );
    let SaveOutcome::Saved(saved) = outcome? else {
        panic!("the key is new");
    };
    let warnings = saved.warnings.iter().map(ToString::to_string).collect();
    Ok((saved, warnings))
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told_though_its_time_is_set_back() {
    let bench = Bench::new();
    let path = bench.from().join("d");
    // More than is read ahead: its last part comes after the first was passed on.
    fs::File::create(&path).unwrap().set_len(96 << 20).unwrap();
    touch(&path, 1000, 5);
    let saved = save_while(&bench, Moment::Advanced(Step::Read), || {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"changed", 0).unwrap();
        touch(&path, 1000, 5);
    });
    assert_eq!(saved.unwrap().1, ["d changed while it was read"]);
}

#[test]
fn a_file_that_shrinks_or_grows_while_it_is_read_is_told_and_saved_as_it_was_read() {
    for new_size in [10 << 20, 100 << 20] {
        let bench = Bench::new();
        let path = bench.from().join("d");
        fs::File::create(&path).unwrap().set_len(96 << 20).unwrap();
        let saved = save_while(&bench, Moment::Advanced(Step::Read), || {
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(new_size)
                .unwrap();
        });
        let (saved, warnings) = saved.unwrap();
        assert_eq!(warnings, ["d changed while it was read"]);
        bench.restore("k");
        let restored = fs::metadata(bench.to().join("d")).unwrap().len();
        assert_eq!(restored, saved.content_bytes);
        assert!(restored <= 96 << 20, "{restored}");
    }
}

#[test]
fn what_vanishes_before_it_is_read_is_left_out_and_told() {
    let bench = Bench::new();
    let d = bench.from().join("d");
    for name in ["a", "b/gone", "b/kept", "c/empty", "c/one", "c/two", "large", "z"] {
        write(d.join(name), name);
    }
    write(d.join("c/empty"), "");
    write(d.join("large"), noise(20 << 20, 1));
    fs::hard_link(d.join("b/gone"), d.join("z-link")).unwrap();
    let saved = save_while(&bench, Moment::Begun(Step::Read), || {
        for name in ["a", "b/gone", "z-link", "large"] {
            fs::remove_file(d.join(name)).unwrap();
        }
        fs::remove_dir_all(d.join("c")).unwrap();
        // Something else has its name.
        fs::remove_file(d.join("z")).unwrap();
        std::os::unix::fs::symlink("b", d.join("z")).unwrap();
    });
    let (saved, warnings) = saved.unwrap();
    let gone = ["d/a", "d/b/gone", "d/c", "d/large", "d/z", "d/z-link"];
    assert_eq!(
        warnings,
        gone.map(|path| format!("{path} vanished before it was read; left out"))
    );
    assert_eq!(saved.files, 1);
    bench.restore("k");
    fs::remove_file(d.join("z")).unwrap();
    let paths = |root: &Path| manifest(root).into_keys().collect::<Vec<_>>();
    assert_eq!(paths(&bench.to().join("d")), paths(&d));
    assert_eq!(fs::read(bench.to().join("d/b/kept")).unwrap(), b"b/kept");
}

#[test]
fn a_file_whose_first_name_vanishes_is_read_by_another() {
    let bench = Bench::new();
    let d = bench.from().join("d");
    write(d.join(".tmp-1"), "body");
    fs::hard_link(d.join(".tmp-1"), d.join("final")).unwrap();
    let saved = save_while(&bench, Moment::Begun(Step::Read), || {
        fs::remove_file(d.join(".tmp-1")).unwrap();
    });
    assert_eq!(saved.unwrap().1, [""; 0]);
    bench.restore("k");
    assert_eq!(fs::read(bench.to().join("d/final")).unwrap(), b"body");
}

#[test]
fn a_large_file_that_is_replaced_while_it_is_read_is_saved_as_one_of_the_two() {
    let bench = Bench::new();
    let d = bench.from().join("d");
    let (old, new) = (noise(70 << 20, 1), noise(70 << 20, 2));
    write(d.join("large"), &old);
    write(bench.temp.path().join("new"), &new);
    let saved = save_while(&bench, Moment::Advanced(Step::Read), || {
        fs::rename(bench.temp.path().join("new"), d.join("large")).unwrap();
    });
    // Losing its name is a change of the file, too.
    saved.unwrap();
    bench.restore("k");
    assert!(fs::read(bench.to().join("d/large")).unwrap() == old);
}

#[test]
fn a_folder_that_vanishes_while_the_tree_is_walked_is_not_saved() {
    let bench = Bench::new();
    let d = bench.from().join("d");
    write(d.join("a/file"), "x");
    write(d.join("kept"), "x");
    let saved = save_while(&bench, Moment::Advanced(Step::Scan), || {
        fs::remove_dir_all(d.join("a")).unwrap();
    });
    let (saved, warnings) = saved.unwrap();
    assert_eq!((saved.files, &*warnings), (1, &[][..]));
    bench.restore("k");
    assert!(!bench.to().join("d/a").exists());
}

#[test]
fn a_path_to_save_that_vanishes_is_an_error() {
    let bench = Bench::new();
    for moment in [Moment::Advanced(Step::Scan), Moment::Begun(Step::Read)] {
        write(bench.from().join("d/a/file"), "x");
        let saved = save_while(&bench, moment, || {
            fs::remove_dir_all(bench.from().join("d")).unwrap();
        });
        assert!(matches!(saved, Err(SaveError::NotFound { .. })), "{saved:?}");
    }
}

#[test]
fn what_was_stored_before_a_file_turned_out_to_have_changed_counts() {
    let bench = Bench::new();
    let d = bench.from().join("d");
    write(d.join("a"), "x");
    write(d.join("b"), noise(8 << 20, 1));
    save_as_while(&bench, "one", Moment::Begun(Step::Scan), || {}).unwrap();
    write(d.join("a"), noise(20 << 20, 2));
    let changed = noise(8 << 20, 3);
    let (saved, warnings) = save_as_while(&bench, "two", Moment::Begun(Step::Read), || {
        fs::OpenOptions::new()
            .write(true)
            .open(d.join("b"))
            .unwrap()
            .write_all_at(&changed, 0)
            .unwrap();
    })
    .unwrap();
    assert_eq!(warnings, [""; 0]);
    assert!((28 << 20..30 << 20).contains(&saved.stored_bytes), "{saved:?}");
    bench.restore("two");
    assert!(fs::read(bench.to().join("d/b")).unwrap() == changed);
}
