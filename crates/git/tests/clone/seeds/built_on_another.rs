//! Seeds built where there is one already.

use super::*;

#[test]
fn a_second_push_adds_a_little() {
    let bench = Bench::new();
    for number in 0..200 {
        bench
            .origin
            .write(format!("many/{number}"), format!("{number}\n").repeat(50));
    }
    bench.origin.commit("many");
    let first = build(&bench);
    let shelf = Shelf::of(&first);
    let same = build_from(&bench, "again", &shelf);
    assert!(same.is_same && same.fetched_bytes == 0);
    // A seed without its history is none to rely on.
    let half = Shelf::of(&first);
    half.seeds.lock().unwrap()[0].1.packs = vec!["/nonexistent/pack-0.pack".into()];
    assert!(!build_from(&bench, "mended", &half).is_same);

    move_on(&bench);
    let second = build_from(&bench, "second", &shelf);
    assert_eq!(second.base.as_ref(), Some(&first.manifest));
    assert!(second.fetched_bytes < 5000, "{}", second.fetched_bytes);
    let [old, new] = [&first, &second].map(|built| &built.manifest.tip_packs);
    assert_eq!(new[..1], old[..], "what there was stays in its pack");
    assert!(new.len() == 2 && new[1].objects < 12, "{new:?}");
    let history = &second.manifest.history_packs;
    assert!(
        first
            .manifest
            .history_packs
            .iter()
            .all(|pack| history.contains(pack)),
        "{history:?}"
    );
    assert_eq!(clone_from(&bench, &Shelf::of(&second)).outcome.objects, 0);
}

#[test]
fn a_tip_that_is_mostly_gone_is_packed_anew() {
    let bench = Bench::new();
    let first = build(&bench);
    let _ = bench.origin.git(["rm", "-rq", "src", "docs", "bin", "link"]);
    bench.origin.write("other", "other\n");
    bench.origin.commit("another tree");
    let second = build_from(&bench, "second", &Shelf::of(&first));
    assert_eq!(second.manifest.tip_packs.len(), 1);
    assert_eq!(clone_from(&bench, &Shelf::of(&second)).outcome.objects, 0);
}
