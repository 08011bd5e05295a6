//! The main section of a jar's manifest.

use std::collections::BTreeMap;

/// What a jar says of itself: values by name.
#[derive(Debug, Default)]
pub(super) struct Manifest(BTreeMap<String, String>);

impl Manifest {
    /// Reads the lines before the first empty one. A line that begins with a space goes on with the last.
    pub(super) fn parse(text: &str) -> Self {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            match (line.strip_prefix(' '), pairs.last_mut()) {
                (Some(more), Some((_, value))) => value.push_str(more),
                _ => pairs.extend(
                    line.split_once(": ")
                        .map(|(name, value)| (name.to_owned(), value.to_owned())),
                ),
            }
        }
        Manifest(pairs.into_iter().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_and_other_sections_are_not_read() {
        let manifest = Manifest::parse(
            "Main-Class: org.boot.Jar\r\n Launcher\r\nEmpty: \r\n\r\nName: x\r\nMain-Class: y\r\n",
        );
        assert_eq!(manifest.get("Main-Class"), Some("org.boot.JarLauncher"));
        assert_eq!(manifest.get("Empty"), Some(""));
        assert_eq!(manifest.get("Name"), None);
    }
}
