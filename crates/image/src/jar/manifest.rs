//! The main section of a jar's manifest.

use std::collections::BTreeMap;

/// What a jar says of itself: values by name, whose case means nothing.
#[derive(Debug, Default)]
pub(super) struct Manifest(BTreeMap<String, String>);

impl Manifest {
    /// Reads the lines before the first empty one. A line that begins with a space goes on with the last, which may have been
    /// cut within a character.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut whole: Vec<Vec<u8>> = Vec::new();
        for line in lines(text).take_while(|line| !line.is_empty()) {
            match (line.strip_prefix(b" "), whole.last_mut()) {
                (Some(more), Some(last)) => last.extend_from_slice(more),
                _ => whole.push(line.to_owned()),
            }
        }
        let pairs = whole.iter().filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        Manifest(pairs.collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }
}

/// Lines, which end in a line feed, a carriage return, or both.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            rest = None;
            return Some(text);
        };
        let behind = &text[end + 1..];
        rest = Some(match text[end] {
            b'\r' => behind.strip_prefix(b"\n").unwrap_or(behind),
            _ => behind,
        });
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_and_other_sections_are_not_read() {
        let manifest = Manifest::parse(
            b"Main-Class: org.boot.Jar\r\n Launcher\r\nEmpty: \r\n\r\nName: x\r\nMain-Class: y\r\n",
        );
        assert_eq!(manifest.get("Main-Class"), Some("org.boot.JarLauncher"));
        assert_eq!(manifest.get("Empty"), Some(""));
        assert_eq!(manifest.get("Name"), None);
    }

    #[test]
    fn names_have_no_case_lines_any_end_and_characters_may_be_cut() {
        let manifest = Manifest::parse(b"main-class: a.B\rStart-Class: caf\xc3\n \xa9.Main\r\n\rLate: x\r");
        assert_eq!(manifest.get("Main-Class"), Some("a.B"));
        assert_eq!(manifest.get("START-CLASS"), Some("caf\u{e9}.Main"));
        assert_eq!(manifest.get("Late"), None);
    }
}
