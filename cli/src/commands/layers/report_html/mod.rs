//! `layers analyze --html`: one page that needs no other file and no network.
//!
//! It carries the document of `--json`, less what the page computes itself, and renders it with a script of its own. What
//! images say of themselves is foreign: in the page it is escaped, the script only ever sets it as text, and a policy names
//! the digests of the one script and the one style sheet that may apply.

mod summary;
mod weights;

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use headstart_image::{BlobDigest, ImageError};
use serde::Serialize;

use super::{analyze::Analysis, document::Document};

const TEMPLATE: &str = include_str!("template.html");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = concat!(
    include_str!("text.js"),
    include_str!("fleet.js"),
    include_str!("matrix.js"),
    include_str!("tree.js"),
    include_str!("squarify.js"),
    include_str!("treemap.js"),
    include_str!("waste.js"),
    include_str!("rollout.js"),
    include_str!("report.js"),
);

/// Rows of all treemaps together: some 60 bytes each.
const ALL_ROWS: usize = 32_000;
/// Rows of one treemap: about what a screen can tell apart when one zooms in a few times.
const MOST_ROWS: usize = 6_000;
/// Rows of one treemap, however many there are.
const LEAST_ROWS: usize = 100;

/// What the script reads.
#[derive(Serialize)]
struct Data {
    analysis: Document,
    /// For each image what it holds.
    weights: Vec<Vec<weights::Row>>,
}

/// The page.
pub(super) fn render(analysis: &Analysis) -> Result<String, ImageError> {
    let most = (ALL_ROWS / analysis.images.len().max(1)).clamp(LEAST_ROWS, MOST_ROWS);
    let images = analysis.images.iter();
    let data = Data {
        analysis: Document::for_page(analysis),
        weights: images
            .map(|image| weights::weigh(image, most))
            .collect::<Result<_, _>>()?,
    };
    Ok(fill(|slot| match slot {
        "policy" => format!(
            "default-src 'none'; base-uri 'none'; form-action 'none'; script-src {}; style-src {}",
            source(SCRIPT),
            source(STYLE)
        ),
        "title" => summary::title(analysis),
        "figures" => summary::figures(analysis),
        "images" => summary::images(analysis),
        "fleet" => summary::fleet(analysis),
        "pulls" => summary::pulls(analysis),
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "data" => json(&data),
        _ => unreachable!("the template has no slot {slot}"),
    }))
}

/// The template with every `{{slot}}` filled, in one pass: what fills one is not looked at again.
fn fill(content: impl Fn(&str) -> String) -> String {
    let mut parts = TEMPLATE.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (slot, rest) = part.split_once("}}").expect("slots of the template end");
        page += &content(slot);
        page += rest;
    }
    page
}

/// How a policy names an inline script or style.
fn source(text: &str) -> String {
    let digest = BlobDigest::of(text.as_bytes());
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest.as_bytes()))
}

/// JSON that cannot end the element it stands in: `<` is written as an escape, and occurs within texts only.
fn json(data: &impl Serialize) -> String {
    let text = serde_json::to_string(data)
        .expect("our documents have text keys and plain values, which always serialise");
    text.replace('<', "\\u003c")
}

/// Text of others as HTML shows it, in an element or in a quoted attribute.
struct Escaped<T>(T);

impl<T: AsRef<str>> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.as_ref().chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                char => write!(f, "{char}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_ends_neither_an_element_nor_an_attribute() {
        let text = "</script><b a=\"'&";
        assert_eq!(
            Escaped(text).to_string(),
            "&lt;/script&gt;&lt;b a=&quot;&#39;&amp;"
        );
        let json = json(&text);
        assert!(!json.contains('<'), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn what_fills_a_slot_is_not_filled_again() {
        let page = fill(|slot| match slot {
            "title" => "{{script}}".to_owned(),
            "script" => "the script".to_owned(),
            _ => String::new(),
        });
        assert!(page.contains("<title>{{script}}</title>"));
        assert_eq!(page.matches("the script").count(), 1);
    }

    #[test]
    fn the_policy_names_the_digest_of_a_script() {
        // printf 'doSubmit()' | openssl dgst -sha256 -binary | base64
        assert_eq!(
            source("doSubmit()"),
            "'sha256-jzgBGA4UWFFmpOBq0JpdsySukE1FrEN5bUpoK8Z29fY='"
        );
    }
}
