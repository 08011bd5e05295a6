//! `layers.idx`: which entries of a jar belong to which layer.

/// The most layers of an index: an image takes no more.
const MAX_LAYERS: usize = 1000;

/// A layer of the index: its name, and paths; one that ends in a slash stands for all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexedLayer {
    pub(super) name: String,
    pub(super) paths: Vec<String>,
    /// The paths of single entries, sorted.
    single: Vec<String>,
    /// Those of folders, sorted; none is below another.
    folders: Vec<String>,
}

/// What is wrong with an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(super) struct IndexError {
    line: usize,
    problem: &'static str,
}

/// Parses the small part of YAML that Spring Boot writes: a list of names, each with a list of paths.
pub(super) fn parse(text: &str) -> Result<Vec<IndexedLayer>, IndexError> {
    let mut layers: Vec<(String, Vec<String>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |problem| IndexError {
            line: number + 1,
            problem,
        };
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        if let Some(path) = line.strip_prefix("  - ") {
            let path = unquote(path).ok_or_else(|| wrong("a path is not in quotes"))?;
            let (_, paths) = layers
                .last_mut()
                .ok_or_else(|| wrong("a path belongs to no layer"))?;
            paths.push(path.to_owned());
        } else if let Some(name) = line.strip_prefix("- ") {
            let name = name.strip_suffix(':').and_then(unquote);
            let name = name.ok_or_else(|| wrong("a layer's name is not in quotes before a colon"))?;
            if layers.iter().any(|(other, _)| other == name) {
                return Err(wrong("a layer is named twice"));
            }
            if layers.len() >= MAX_LAYERS {
                return Err(wrong("it has more than 1,000 layers"));
            }
            layers.push((name.to_owned(), Vec::new()));
        } else {
            return Err(wrong("neither a layer nor a path"));
        }
    }
    let layers = layers.into_iter();
    Ok(layers
        .map(|(name, paths)| IndexedLayer::new(&name, paths))
        .collect())
}

/// The text of an index. Nothing when a name cannot be written so that it is read again.
pub(super) fn write(layers: &[IndexedLayer]) -> Option<String> {
    let mut text = String::new();
    for layer in layers {
        text.push_str(&format!("- \"{}\":\n", layer.name));
        for path in &layer.paths {
            text.push_str(&format!("  - \"{path}\"\n"));
        }
    }
    let is_text = !text.contains(|letter: char| letter.is_control() && letter != '\n');
    let is_read_again = parse(&text).is_ok_and(|read| read == layers);
    (is_text && is_read_again).then_some(text)
}

fn unquote(text: &str) -> Option<&str> {
    text.strip_prefix('"')?
        .strip_suffix('"')
        .filter(|inner| !inner.is_empty())
}

impl IndexedLayer {
    pub(super) fn new(name: &str, paths: Vec<String>) -> Self {
        let (mut folders, mut single): (Vec<_>, Vec<_>) =
            paths.iter().cloned().partition(|path| path.ends_with('/'));
        single.sort_unstable();
        folders.sort_unstable();
        folders.dedup_by(|folder, above| folder.starts_with(&**above));
        IndexedLayer {
            name: name.to_owned(),
            paths,
            single,
            folders,
        }
    }

    /// Whether an entry belongs to the layer.
    pub(super) fn has(&self, entry: &str) -> bool {
        // What stands between a folder and what is in it is in it too: only the last folder before the entry can be its own.
        let before = self.folders.partition_point(|folder| **folder <= *entry);
        let folder = before.checked_sub(1).map(|at| &self.folders[at]);
        folder.is_some_and(|folder| entry.starts_with(&**folder))
            || self.single.binary_search_by(|path| (**path).cmp(entry)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_is_a_list_of_lists() {
        let text = "- \"dependencies\":\n  - \"BOOT-INF/lib/a.jar\"\n- \"empty\":\n- \"application\":\r\n  - \"META-INF/\"\n";
        let layers = parse(text).unwrap();
        let names: Vec<_> = layers.iter().map(|layer| &*layer.name).collect();
        assert_eq!(names, ["dependencies", "empty", "application"]);
        assert!(layers[0].has("BOOT-INF/lib/a.jar") && !layers[0].has("BOOT-INF/lib/a.jar.x"));
        assert!(layers[2].has("META-INF/MANIFEST.MF"));
        assert_eq!(parse(&write(&layers).unwrap()).unwrap(), layers);
        assert_eq!(write(&[IndexedLayer::new("x", vec!["a\nb".to_owned()])]), None);
        for wrong in ["  - \"x\"", "- x:", "x", "- \"a\":\n- \"a\":", "- \"a\""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_layer_has_what_one_of_its_paths_means(
            paths in prop::collection::vec("[a-c/]{1,4}", 0..6),
            entry in "[a-c/]{1,6}",
        ) {
            let covers = |path: &String| entry == *path || path.ends_with('/') && entry.starts_with(path);
            let expected = paths.iter().any(covers);
            prop_assert_eq!(IndexedLayer::new("x", paths).has(&entry), expected);
        }

        #[test]
        fn any_text_is_an_index_or_an_error(text in "[-\": a/\n]{0,60}") {
            let _ = parse(&text);
        }
    }
}
