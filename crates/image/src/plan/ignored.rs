//! What a build context should not have sent: files that `COPY .` put into an image and a later step took away.

use std::collections::{BTreeMap, HashMap};

use crate::{
    HistoryStep, ImageConfig, ImageError, LoadedImage, NodeId, Tree, build::merge, layer::clean_path,
};

/// A rule for `.dockerignore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreRule {
    /// Path in the build context.
    pub path: Vec<u8>,
    /// Bytes of the files that were copied for nothing.
    pub wasted_bytes: u64,
}

impl IgnoreRule {
    /// The line of `.dockerignore` that means this path and, if it is a folder, what is below it. Nothing for a name that no line
    /// can hold: one that is not UTF-8, or has control characters.
    pub fn pattern(&self) -> Option<String> {
        let path = str::from_utf8(&self.path).ok()?;
        let last = path.chars().count().checked_sub(1)?;
        let mut pattern = String::with_capacity(path.len());
        for (at, letter) in path.chars().enumerate() {
            match letter {
                letter if letter.is_control() => return None,
                // Lines are trimmed, but not within brackets.
                letter if letter.is_whitespace() && (at == 0 || at == last) => {
                    pattern.extend(['[', letter, ']']);
                }
                '*' | '?' | '[' | ']' | '\\' | '^' => pattern.extend(['\\', letter]),
                '!' | '#' if at == 0 => pattern.extend(['\\', letter]),
                letter => pattern.push(letter),
            }
        }
        Some(pattern)
    }
}

/// Rules that history suggests: the layer was made by a `COPY . FOLDER` of BuildKit's, and nothing the rule means is in the finished
/// file system. Paths below FOLDER are those of the build context, unless the `COPY` had a `--from`, which history does not tell.
/// Heaviest first.
pub fn ignore_rules(image: &LoadedImage) -> Result<Vec<IgnoreRule>, ImageError> {
    let finished = merge(&image.layers)?;
    // One folder for each layer: an image may have millions of hidden files, and of steps in its history.
    let mut folders: HashMap<u32, Option<CopiedTo>> = HashMap::new();
    let mut rules: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for hidden in finished.hidden_files() {
        let number = hidden.file.layer;
        let folder = folders
            .entry(number)
            .or_insert_with(|| CopiedTo::of(&image.image.config, number as usize, &finished));
        let (Some(folder), Some(layer)) = (folder, image.layers[number as usize].layer.as_deref()) else {
            continue;
        };
        let entry = layer.entry(hidden.file.entry as usize);
        if let Some(path) = folder.topmost_gone(&finished, entry.path) {
            *rules.entry(path.to_vec()).or_default() += entry.size_bytes();
        }
    }
    let rules = rules
        .into_iter()
        .map(|(path, wasted_bytes)| IgnoreRule { path, wasted_bytes });
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.wasted_bytes));
    Ok(rules)
}

/// The folder of the `COPY . FOLDER # buildkit` that made a layer.
fn copied_to(config: &ImageConfig, layer: usize) -> Option<Vec<u8>> {
    let made_layers = config.history.iter().enumerate();
    let (at, step) = made_layers.filter(|(_, step)| !step.empty_layer).nth(layer)?;
    let words: Vec<_> = step
        .created_by
        .strip_suffix("# buildkit")?
        .split_whitespace()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let ["COPY", "." | "./", folder] = words[..] else {
        return None;
    };
    let mut path = Vec::new();
    if !folder.starts_with('/') {
        path = working_folder(&config.history[..at])?.as_bytes().to_vec();
        path.push(b'/');
    }
    path.extend_from_slice(folder.as_bytes());
    Some(clean_path(&path).ok()?.into_owned())
}

/// The folder that a `COPY .` made.
struct CopiedTo {
    path: Vec<u8>,
    /// What it is in the finished file system, if it is still there.
    id: Option<NodeId>,
}

impl CopiedTo {
    fn of(config: &ImageConfig, layer: usize, finished: &Tree<'_>) -> Option<Self> {
        let path = copied_to(config, layer)?;
        let id = finished.find(&path);
        Some(CopiedTo { path, id })
    }

    /// Of a path of the image the shortest beginning that is not in the finished file system any more, as a path of the build
    /// context. Nothing for one that is not in this folder.
    fn topmost_gone<'p>(&self, finished: &Tree<'_>, path: &'p [u8]) -> Option<&'p [u8]> {
        let below = match &self.path[..] {
            b"" => path,
            folder => path.strip_prefix(folder)?.strip_prefix(b"/")?,
        };
        let mut folder = self.id;
        let mut end = 0;
        for part in below.split(|&byte| byte == b'/') {
            end += part.len();
            folder = folder.and_then(|folder| finished.child(folder, part));
            if folder.is_none() {
                return Some(&below[..end]);
            }
            end += 1;
        }
        None
    }
}

/// The folder of the last `WORKDIR`, if it says it whole.
fn working_folder(history: &[HistoryStep]) -> Option<&str> {
    let mut folders = history
        .iter()
        .rev()
        .filter_map(|step| step.created_by.strip_prefix("WORKDIR "));
    folders.next().filter(|folder| folder.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryImage, TarMaker, read};

    #[test]
    fn a_pattern_means_the_path_and_no_other() {
        let pattern = |path: &[u8]| {
            let rule = IgnoreRule {
                path: path.to_vec(),
                wasted_bytes: 0,
            };
            rule.pattern()
        };
        for (path, expected) in [
            ("src/old", "src/old"),
            ("a*b?", r"a\*b\?"),
            ("pages/[id].js", r"pages/\[id\].js"),
            (r"a\b", r"a\\b"),
            ("#1", r"\#1"),
            ("!x/!y#z", r"\!x/!y#z"),
            (" a b ", "[ ]a b[ ]"),
            (" ", "[ ]"),
            ("a^b.c$", r"a\^b.c$"),
        ] {
            assert_eq!(pattern(path.as_bytes()).as_deref(), Some(expected), "{path}");
        }
        for none in [&b"a\nb"[..], b"\xff", b"", b"\t"] {
            assert_eq!(pattern(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_was_copied_and_deleted_again_is_to_be_ignored() {
        let copied = TarMaker::new()
            .file("app/main", b"main")
            .file("app/.git/objects/x", &[1; 700])
            .file("app/.git/y", &[2; 300])
            .file("app/src/old", &[3; 10])
            .file("app/src/new", b"")
            .finish();
        let deleted = TarMaker::new()
            .file("app/.wh..git", b"")
            .file("app/src/.wh.old", b"")
            .finish();
        let mut images = read(&[MemoryImage::source("x", vec![copied, deleted])]).unwrap();
        assert_eq!(ignore_rules(&images[0]).unwrap(), [], "history does not tell");
        let step = |created_by: &str, empty_layer| HistoryStep {
            created_by: created_by.to_owned(),
            empty_layer,
        };
        let mut rules_of = |history: &[HistoryStep]| {
            images[0].image.config.history = history.to_vec();
            let rules = ignore_rules(&images[0]).unwrap();
            let rules = rules.into_iter().map(|rule| (rule.path, rule.wasted_bytes));
            rules.collect::<Vec<_>>()
        };
        let expected = [(b".git".to_vec(), 1000), (b"src/old".to_vec(), 10)];
        assert_eq!(rules_of(&[step("COPY . /app # buildkit", false)]), expected);
        let working_folder = step("WORKDIR /app", true);
        let copy = step("COPY --chown=node:node . . # buildkit", false);
        assert_eq!(rules_of(&[working_folder.clone(), copy.clone()]), expected);
        assert_eq!(
            rules_of(std::slice::from_ref(&copy)),
            [],
            "a folder that nobody named"
        );
        assert_eq!(rules_of(&[step("WORKDIR app", true), copy]), []);
    }
}
