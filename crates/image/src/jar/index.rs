//! `layers.idx`: which entries of a jar belong to which layer.

/// A layer of the index: its name, and paths; one that ends in a slash stands for all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexedLayer {
    pub(super) name: String,
    pub(super) paths: Vec<String>,
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
    let mut layers: Vec<IndexedLayer> = Vec::new();
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
            let layer = layers
                .last_mut()
                .ok_or_else(|| wrong("a path belongs to no layer"))?;
            layer.paths.push(path.to_owned());
        } else if let Some(name) = line.strip_prefix("- ") {
            let name = name.strip_suffix(':').and_then(unquote);
            let name = name.ok_or_else(|| wrong("a layer's name is not in quotes before a colon"))?;
            if layers.iter().any(|layer| layer.name == name) {
                return Err(wrong("a layer is named twice"));
            }
            layers.push(IndexedLayer {
                name: name.to_owned(),
                paths: Vec::new(),
            });
        } else {
            return Err(wrong("neither a layer nor a path"));
        }
    }
    Ok(layers)
}

fn unquote(text: &str) -> Option<&str> {
    text.strip_prefix('"')?
        .strip_suffix('"')
        .filter(|inner| !inner.is_empty())
}

impl IndexedLayer {
    pub(super) fn has(&self, entry: &str) -> bool {
        self.paths.iter().any(|path| covers(path, entry))
    }
}

/// Whether a path of an index means an entry.
pub(super) fn covers(path: &str, entry: &str) -> bool {
    entry == path || path.ends_with('/') && entry.starts_with(path)
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
        for wrong in ["  - \"x\"", "- x:", "x", "- \"a\":\n- \"a\":", "- \"a\""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_index_or_an_error(text in "[-\": a/\n]{0,60}") {
            let _ = parse(&text);
        }
    }
}
