//! Pages for people where an answer of git's should be: what they say, in one line.

use bstr::ByteSlice as _;

/// How much of a page is read: its title is near the start.
pub(super) const READ_BYTES: usize = 16 << 10;
/// How much of it is quoted, at most.
const QUOTED_CHARS: usize = 300;

/// The title of an HTML page, or the text of one that is nothing but text; `None` where it says nothing.
pub(super) fn text(content_type: &str, page: &[u8]) -> Option<String> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let said = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => html_title(page)?,
        "application/json" | "application/problem+json" => page.to_str_lossy().into_owned(),
        other if other.starts_with("text/") => page.to_str_lossy().into_owned(),
        _ => return None,
    };
    let line = crate::remote::sanitized(said.as_bytes());
    let line: Vec<&str> = line.split_whitespace().collect();
    let line: String = line.join(" ").chars().take(QUOTED_CHARS).collect();
    line.chars().any(char::is_alphanumeric).then_some(line)
}

fn html_title(page: &[u8]) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find(b"<title")?;
    let start = start + lower[start..].find_byte(b'>')? + 1;
    let length = lower[start..].find(b"</title")?;
    let title = page[start..start + length].to_str_lossy();
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&middot;", "·"),
        ("&amp;", "&"),
    ];
    let decoded = entities.iter().fold(title.into_owned(), |title, (entity, text)| {
        title.replace(entity, text)
    });
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_one_line() {
        for (content_type, page, said) in [
            (
                "text/html; charset=utf-8",
                "<!DOCTYPE html><HTML><head>\n<TITLE lang=en>\n  Sign in &middot; A&amp;B\x1b[31m\n</TITLE>",
                Some("Sign in · A&B [31m"),
            ),
            ("text/html", "<p>no title", None),
            ("text/html", "<title>unclosed", None),
            ("text/html", "<title></title>", None),
            (
                "text/plain",
                "Repository\n  disabled.\n",
                Some("Repository disabled."),
            ),
            ("text/plain", "===\n", None),
            (
                "application/json",
                "{\"message\": \"no\"}",
                Some("{\"message\": \"no\"}"),
            ),
            ("application/octet-stream", "PACK", None),
        ] {
            assert_eq!(text(content_type, page.as_bytes()).as_deref(), said, "{page}");
        }
        let long = text("text/plain", "word ".repeat(1000).as_bytes());
        assert_eq!(long.unwrap().len(), QUOTED_CHARS);
    }
}
