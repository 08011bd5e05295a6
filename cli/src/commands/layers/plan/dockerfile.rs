//! Lines of a Dockerfile that make planned layers.

use headstart_image::plan::CopiedLayer;
use serde::Serialize;

/// Beyond so many lines for one layer they help nobody.
const MOST_COPIED: usize = 20;

/// Lines that every builder understands.
#[derive(Debug, Serialize)]
pub(super) struct Dockerfile {
    /// A stage for each new layer, of files of the stage `files`.
    pub(super) stages: Vec<String>,
    /// A line for each new layer, lowest first, in the stage of the image.
    pub(super) copies: Vec<String>,
}

impl Dockerfile {
    /// Nothing where a layer takes too many lines, or a path cannot be written in one.
    pub(super) fn of(layers: &[CopiedLayer]) -> Option<Self> {
        if layers.is_empty() {
            return None;
        }
        let mut stages = Vec::new();
        let mut copies = Vec::new();
        for CopiedLayer { layer, paths } in layers {
            if paths.len() > MOST_COPIED {
                return None;
            }
            stages.push(format!("FROM scratch AS layer-{layer}"));
            for path in paths {
                stages.push(format!("COPY --from=files {}", from_and_to(path)?));
            }
            copies.push(format!("COPY --from=layer-{layer} / /"));
        }
        Some(Dockerfile { stages, copies })
    }
}

/// A path twice, as an instruction takes it; nothing where builders would take it for a pattern or a variable.
fn from_and_to(path: &[u8]) -> Option<String> {
    let path = format!("/{}", std::str::from_utf8(path).ok()?);
    if path.contains(|letter: char| letter.is_control() || "\"'\\$*?[]".contains(letter)) {
        return None;
    }
    Some(match path.chars().all(|letter| letter.is_ascii_graphic()) {
        true => format!("{path} {path}"),
        false => serde_json::to_string(&[&path, &path]).expect("strings can be written as JSON"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_so_that_they_mean_themselves() {
        for (path, written) in [
            ("", Some("/ /")),
            (
                "app/node_modules/@a/b",
                Some("/app/node_modules/@a/b /app/node_modules/@a/b"),
            ),
            ("a b", Some(r#"["/a b","/a b"]"#)),
            ("naïve", Some(r#"["/naïve","/naïve"]"#)),
            ("pages/[id].js", None),
            ("a*", None),
            ("$HOME", None),
            ("it's", None),
            ("back\\slash", None),
            ("two\nlines", None),
        ] {
            assert_eq!(from_and_to(path.as_bytes()).as_deref(), written, "{path}");
        }
        assert_eq!(from_and_to(b"latin1-\xe9"), None);
    }

    #[test]
    fn a_layer_of_many_paths_has_no_lines() {
        let layer = |count: usize| CopiedLayer {
            layer: 0,
            paths: (0..count).map(|path| path.to_string().into_bytes()).collect(),
        };
        let lines = Dockerfile::of(&[layer(2)]).unwrap();
        assert_eq!(
            lines.stages,
            [
                "FROM scratch AS layer-0",
                "COPY --from=files /0 /0",
                "COPY --from=files /1 /1"
            ]
        );
        assert_eq!(lines.copies, ["COPY --from=layer-0 / /"]);
        assert!(Dockerfile::of(&[layer(2), layer(MOST_COPIED + 1)]).is_none());
    }
}
