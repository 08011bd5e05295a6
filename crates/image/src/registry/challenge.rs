//! `WWW-Authenticate`: `Bearer realm="https://..",service="..",scope=".."`.

/// One challenge of a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Parses a header with one challenge, as registries send.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        let mut parameters = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', ',', '\t']);
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            parameters.push((name.trim().to_ascii_lowercase(), value));
            rest = after;
        }
        (!scheme.is_empty()).then(|| Challenge {
            scheme: scheme.to_ascii_lowercase(),
            parameters,
        })
    }

    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme == scheme
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A text up to its closing quote, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_challenge_names_where_tokens_come_from() {
        let header =
            r#"Bearer realm="https://auth.example/token",service="a \"b\"", scope="repository:x:pull,push""#;
        let challenge = Challenge::parse(header).unwrap();
        assert!(challenge.is("bearer"));
        assert_eq!(challenge.parameter("realm"), Some("https://auth.example/token"));
        assert_eq!(challenge.parameter("service"), Some(r#"a "b""#));
        assert_eq!(challenge.parameter("scope"), Some("repository:x:pull,push"));
        assert!(Challenge::parse("Basic realm=x").unwrap().is("basic"));
        assert_eq!(Challenge::parse(r#"Bearer realm="x"#), None);
    }

    proptest! {
        #[test]
        fn any_header_is_a_challenge_or_none(header in "[ -~]{0,60}") {
            let _ = Challenge::parse(&header);
        }
    }
}
