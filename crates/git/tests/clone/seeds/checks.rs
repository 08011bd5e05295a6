//! What the checks of a seed notice.

use std::os::unix::fs::PermissionsExt as _;

use headstart_git::seed::{SeedPart, check_history, check_objects, check_tip};

use super::*;

/// Flips one byte in each of a number of places of each file: the checks, or at the latest the clone, must notice; what
/// comes out is the right tree in any case.
#[test]
fn damage_is_noticed_or_does_no_harm() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(false);
    let mut files = Vec::new();
    for part in [&built.tip, &built.history] {
        for entry in fs::read_dir(part.join("pack")).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.push(built.history.join("info/commit-graph"));
    for file in files {
        let whole = fs::read(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        for step in 0..7 {
            let mut damaged = whole.clone();
            let at = step * (whole.len() - 1) / 6;
            damaged[at] ^= 0x10;
            // A new file: the old one has other names.
            fs::remove_file(&file).unwrap();
            fs::write(&file, &damaged).unwrap();
            let checked = check_tip(&built.tip, &built.manifest, &stop)
                .and_then(|()| check_history(&built.history, &built.manifest, &stop));
            assert!(checked.is_err(), "{}, byte {at}", file.display());
        }
        fs::write(&file, &whole).unwrap();
    }
    check_tip(&built.tip, &built.manifest, &stop).unwrap();
    check_history(&built.history, &built.manifest, &stop).unwrap();
}

#[test]
fn files_that_do_not_belong_to_a_seed_are_noticed() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(false);
    let check = || check_history(&built.history, &built.manifest, &stop);
    let pack = built.history.join("pack");
    let extra = pack.join("extra");
    fs::write(&extra, "").unwrap();
    assert!(check().is_err());
    fs::remove_file(&extra).unwrap();
    let idx = SeedPart::history_in(&built.history, &built.manifest).packs[0].with_extension("idx");
    let kept = bench.path("kept");
    fs::rename(&idx, &kept).unwrap();
    assert!(check().is_err());
    std::os::unix::fs::symlink(&kept, &idx).unwrap();
    assert!(check().is_err(), "a link may lead anywhere");
    fs::remove_file(&idx).unwrap();
    fs::rename(&kept, &idx).unwrap();
    check().unwrap();
    let part = SeedPart::history_in(&built.history, &built.manifest);
    check_objects(&part, &bench.environment(), &stop).unwrap();
}

/// The checksums of packs and indexes are right, and the objects are not what the indexes call them.
#[test]
fn commits_under_other_names_are_noticed() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(false);
    for (part, packs) in [
        (&built.tip, &built.manifest.tip_packs),
        (&built.history, &built.manifest.history_packs),
    ] {
        let idx = part.join(format!("pack/pack-{}.idx", packs[0].id));
        let whole = fs::read(&idx).unwrap();
        let mut forged = whole.clone();
        let count = packs[0].objects as usize;
        // Names and offsets no longer go together.
        let offsets = 8 + 256 * 4 + count * (20 + 4);
        forged[offsets..offsets + count * 4].rotate_left(4);
        let end = forged.len() - 20;
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&forged[..end]);
        let checksum = hasher.try_finalize().unwrap();
        forged[end..].copy_from_slice(checksum.as_slice());
        fs::remove_file(&idx).unwrap();
        fs::write(&idx, forged).unwrap();
        let checked = check_tip(&built.tip, &built.manifest, &stop)
            .and_then(|()| check_history(&built.history, &built.manifest, &stop));
        let error = checked.unwrap_err().to_string();
        assert!(error.contains("Hash was"), "{error}");
        fs::write(&idx, whole).unwrap();
    }
}

#[test]
fn an_interrupted_check_says_nothing_of_the_seed() {
    let bench = Bench::new();
    let built = build(&bench);
    let stop = AtomicBool::new(true);
    let checks = [
        check_tip(&built.tip, &built.manifest, &stop),
        check_history(&built.history, &built.manifest, &stop),
    ];
    for checked in checks {
        assert!(checked.unwrap_err().is_interrupted());
    }
}
