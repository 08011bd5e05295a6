use std::collections::HashMap;

use super::*;

/// Histories given as `commit: parents`, oldest first; a commit's time is its line.
struct History(HashMap<ObjectId, Commit>);

fn id(name: &str) -> ObjectId {
    let mut bytes = [0; 20];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    ObjectId::from(bytes)
}

impl History {
    fn new(lines: &[&str]) -> Self {
        let commits = lines.iter().enumerate().map(|(time, line)| {
            let (name, parents) = line.split_once(':').expect("a line names its commit");
            let commit = Commit {
                tree: id("tree"),
                parents: parents.split_whitespace().map(id).collect(),
                time: time as i64,
            };
            (id(name), commit)
        });
        History(commits.collect())
    }

    fn without(mut self, names: &[&str]) -> Self {
        self.0
            .retain(|commit, _| !names.iter().any(|name| id(name) == *commit));
        self
    }
}

impl Commits for History {
    fn commit(&self, id: ObjectId) -> Result<Option<Commit>, ChangesError> {
        Ok(self.0.get(&id).cloned())
    }
}

/// The name of the best common ancestor, and whether it is certain.
fn find(history: &History, boundary: &[&str], base: &str, head: &str) -> (String, bool) {
    let mut walk = Walk::new(boundary.iter().map(|name| id(name)).collect());
    let found = walk.best_common_ancestors(history, id(base), id(head)).unwrap();
    let name = found.newest.map(|id| {
        let bytes = id.as_slice();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    });
    (name.unwrap_or_default(), found.open_ends.is_empty())
}

fn certain(name: &str) -> (String, bool) {
    (name.to_owned(), true)
}

fn uncertain(name: &str) -> (String, bool) {
    (name.to_owned(), false)
}

#[test]
fn a_branch_meets_the_trunk_where_it_forked() {
    let history = History::new(&["a:", "b:a", "c:b", "x:b", "y:x"]);
    assert_eq!(find(&history, &[], "c", "y"), certain("b"));
    assert_eq!(find(&history, &[], "b", "y"), certain("b"), "base is an ancestor");
    assert_eq!(find(&history, &[], "y", "a"), certain("a"), "head is an ancestor");
    assert_eq!(find(&history, &[], "c", "c"), certain("c"));
}

#[test]
fn unrelated_histories_have_none_for_certain() {
    let history = History::new(&["a:", "b:a", "x:", "y:x"]);
    assert_eq!(find(&history, &[], "b", "y"), certain(""));
    assert_eq!(find(&history, &["b"], "b", "y"), uncertain(""));
}

#[test]
fn of_a_criss_cross_the_newest_is_taken() {
    let history = History::new(&["a:", "b:a", "c:a", "m:b c", "n:c b", "p:m", "q:n"]);
    assert_eq!(find(&history, &[], "p", "q"), certain("c"));
}

#[test]
fn an_end_that_both_sides_reach_hides_nothing() {
    let history = History::new(&["b:a", "c:b", "x:b"]);
    assert_eq!(find(&history, &["b"], "c", "x"), certain("b"));
    let deeper = History::new(&["b:a", "c:b", "d:c", "x:c"]);
    assert_eq!(find(&deeper, &["b"], "d", "x"), certain("c"));
}

#[test]
fn an_end_that_one_side_reaches_may_hide_a_better_one() {
    // In truth: b is an ancestor of s, which x merges, and newer than a.
    let lines = ["a:", "b:a", "s:b", "x:a s", "y:b"];
    let whole = History::new(&lines);
    assert_eq!(find(&whole, &[], "x", "y"), certain("b"));
    let cut = History::new(&lines);
    assert_eq!(find(&cut, &["s"], "x", "y"), uncertain("a"));
}

#[test]
fn an_ancestor_is_found_whatever_else_is_cut_off() {
    let history = History::new(&["old:gone", "b:gone2", "x:b old"]);
    assert_eq!(find(&history, &["old", "b"], "b", "x"), certain("b"));
}

#[test]
fn candidates_are_compared_behind_their_ends_too() {
    // c is an ancestor of d by way of e, which is cut off.
    let lines = ["c:", "e:c", "d:e", "p:c d", "q:d c"];
    assert_eq!(find(&History::new(&lines), &[], "p", "q"), certain("d"));
    let mut cut = History::new(&lines);
    // The clocks are wrong: c claims to be the newest.
    cut.0.get_mut(&id("c")).unwrap().time = 100;
    assert_eq!(find(&cut, &[], "p", "q"), certain("d"));
    assert_eq!(find(&cut, &["e"], "p", "q"), uncertain("c"));
}

#[test]
fn missing_parents_are_an_end_that_nobody_wrote_down() {
    let history = History::new(&["a:", "b:a", "c:b", "x:a"]).without(&["a"]);
    let mut walk = Walk::new(Vec::new());
    let found = walk.best_common_ancestors(&history, id("c"), id("x")).unwrap();
    assert_eq!(found.newest, None);
    assert_eq!(found.open_ends, BTreeSet::from([id("b"), id("x")]));
    assert_eq!(*walk.boundary(), HashSet::from([id("b"), id("x")]));
}

#[test]
fn wrong_clocks_do_not_change_the_answer() {
    let mut history = History::new(&["a:", "b:a", "c:b", "x:b", "y:x c", "z:y"]);
    for (name, time) in [("a", 500), ("b", -7), ("x", 900), ("c", 0)] {
        history.0.get_mut(&id(name)).unwrap().time = time;
    }
    assert_eq!(find(&history, &[], "c", "z"), certain("c"));
    assert_eq!(find(&history, &[], "c", "x"), certain("b"));
}

#[test]
fn cut_histories_are_never_certain_of_a_wrong_answer() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut cut_and_certain = 0;
    for _ in 0..3000 {
        let size = 4 + random(14);
        let lines: Vec<String> = (0..size)
            .map(|number| {
                let count = if number == 0 {
                    0
                } else {
                    [0, 1, 1, 1, 2, 2, 3][random(7)]
                };
                let parents: HashSet<usize> = (0..count).map(|_| random(number)).collect();
                let parents: Vec<String> = parents.iter().map(|parent| format!("c{parent}")).collect();
                format!("c{number}:{}", parents.join(" "))
            })
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut history = History::new(&lines);
        for number in 0..size {
            history.0.get_mut(&id(&format!("c{number}"))).unwrap().time = random(size) as i64;
        }
        let (base, head) = (format!("c{}", random(size)), format!("c{}", random(size)));
        let (truth, is_certain) = find(&history, &[], &base, &head);
        assert!(is_certain, "{lines:?}");
        assert_eq!(truth, naive(&history, &base, &head), "{base} {head} {lines:?}");
        let ends: Vec<String> = (0..1 + random(3)).map(|_| format!("c{}", random(size))).collect();
        let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
        let (answer, is_certain) = find(&history, &ends, &base, &head);
        if is_certain {
            cut_and_certain += 1;
            assert_eq!(answer, truth, "{base} {head} cut at {ends:?}: {lines:?}");
        }
    }
    assert!(cut_and_certain > 500, "{cut_and_certain}");
}

/// By the definition.
fn naive(history: &History, base: &str, head: &str) -> String {
    let ancestors = |start: ObjectId| {
        let mut seen = HashSet::from([start]);
        let mut next = vec![start];
        while let Some(commit) = next.pop() {
            for parent in &history.0[&commit].parents {
                if seen.insert(*parent) {
                    next.push(*parent);
                }
            }
        }
        seen
    };
    let common: Vec<ObjectId> = ancestors(id(base))
        .intersection(&ancestors(id(head)))
        .copied()
        .collect();
    let behind_another = |commit: &ObjectId| {
        common
            .iter()
            .any(|other| other != commit && ancestors(*other).contains(commit))
    };
    let best = common.iter().filter(|commit| !behind_another(commit));
    let newest = best.min_by_key(|commit| (Reverse(history.0[*commit].time), **commit));
    newest
        .map(|commit| commit.to_string())
        .map_or_else(String::new, |hex| {
            let names = history.0.keys().filter(|name| name.to_string() == hex);
            let bytes = names.map(|name| name.as_slice().to_vec()).next().unwrap();
            String::from_utf8(bytes.into_iter().take_while(|byte| *byte != 0).collect()).unwrap()
        })
}
