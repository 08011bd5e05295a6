//! Keys: a readable record of everything that decides what is on disk, and its digest.
//!
//! A key reads `name-platform-scope-content`: the name of the cache, the platform where it matters, eight digits for
//! the project and the settings that shape what is on disk, and twenty for everything else. A restore key is all of it
//! up to the content.

use headstart_digest::Digest;

/// Version of the record; a change of what is recorded or how must change it.
pub(crate) const SCHEMA: &str = "headstart.key/2";
/// Digits of the digest of project and layout. A collision offers an older cache of another project, which the
/// manager then completes or sweeps.
const SCOPE_DIGITS: usize = 8;
/// Digits of the digest of everything: 80 bits, for keys a person can still read.
const CONTENT_DIGITS: usize = 20;

/// One thing that went into a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct KeyInput {
    /// What kind of thing it is.
    pub kind: InputKind,
    /// Which one: a path relative to the project, a setting, a tool.
    pub name: String,
    /// Its value; for files the digest of what in them matters.
    pub value: String,
}

/// Kinds of [`KeyInput`], in the order a record lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputKind {
    /// Which project it is: keeps restore keys of one apart from those of another.
    Project,
    /// Operating system, processor, C library.
    Platform,
    /// The version of a tool.
    Tool,
    /// A setting that shapes what the manager writes.
    Setting,
    /// A file: the digest of its bytes.
    File,
    /// Parts of a file: the digest of those that matter.
    Fields,
}

impl KeyInput {
    pub(crate) fn new(kind: InputKind, name: impl Into<String>, value: impl Into<String>) -> Self {
        KeyInput {
            kind,
            name: name.into(),
            value: value.into(),
        }
    }
}

/// A key and the prefix that stands for its older versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) exact: String,
    pub(crate) restore: String,
}

/// Makes the keys of the cache called `name`. `readable` parts (platform, tool versions) are inputs already; they are
/// spelled out for people. Sorts `inputs` into the order of the record.
pub(crate) fn keys(name: &str, readable: &[String], inputs: &mut Vec<KeyInput>) -> Keys {
    inputs.sort();
    inputs.dedup();
    let scope = digest(
        inputs
            .iter()
            .filter(|input| !matches!(input.kind, InputKind::File | InputKind::Fields)),
    );
    let content = digest(inputs.iter());
    let mut restore = name.to_owned();
    for part in readable {
        restore.push('-');
        restore.push_str(part);
    }
    restore.push('-');
    restore.push_str(&scope.to_string()[..SCOPE_DIGITS]);
    restore.push('-');
    let exact = format!("{restore}{}", &content.to_string()[..CONTENT_DIGITS]);
    Keys { exact, restore }
}

/// The digest of a record: the schema, then one line of JSON for each input, so that no value can pass for two.
fn digest<'a>(inputs: impl Iterator<Item = &'a KeyInput>) -> Digest {
    let mut record = format!("{SCHEMA}\n");
    for input in inputs {
        let line = serde_json::to_string(&(input.kind, &input.name, &input.value))
            .expect("text and a plain enum are always JSON");
        record.push_str(&line);
        record.push('\n');
    }
    Digest::of(record.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn input(kind: InputKind, name: &str, value: &str) -> KeyInput {
        KeyInput::new(kind, name, value)
    }

    #[test]
    fn a_lockfile_changes_the_content_but_not_the_restore_key() {
        let of = |lock: &str| {
            keys(
                "npm-node_modules",
                &["linux-x64-glibc".to_owned(), "node127".to_owned()],
                &mut vec![
                    input(InputKind::File, "package-lock.json", lock),
                    input(InputKind::Tool, "node", "127"),
                ],
            )
        };
        let (one, two) = (of("1"), of("2"));
        assert!(one.exact.starts_with(&one.restore), "{one:?}");
        assert!(
            one.restore
                .starts_with("npm-node_modules-linux-x64-glibc-node127-")
        );
        assert_eq!(one.restore, two.restore);
        assert_ne!(one.exact, two.exact);
    }

    #[test]
    fn a_layout_setting_changes_the_restore_key_too() {
        let of = |linker: &str| {
            keys(
                "n",
                &[],
                &mut vec![input(InputKind::Setting, "node-linker", linker)],
            )
        };
        assert_ne!(of("hoisted").restore, of("isolated").restore);
    }

    proptest! {
        #[test]
        fn keys_ignore_the_order_and_see_every_input(mut values in prop::collection::vec("[a-z\\n\"]{0,4}", 1..6)) {
            let record = |values: &[String]| {
                let mut inputs: Vec<_> = values
                    .iter()
                    .enumerate()
                    .map(|(at, value)| input(InputKind::File, &at.to_string(), value))
                    .collect();
                inputs.reverse();
                keys("n", &[], &mut inputs)
            };
            let before = record(&values);
            prop_assert_eq!(&before, &record(&values));
            values[0].push('!');
            prop_assert_ne!(before, record(&values));
        }
    }
}
