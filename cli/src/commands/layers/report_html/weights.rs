//! What an image holds by path and layer, in no more rows than a page can carry.

use std::collections::{BTreeMap, HashSet};

use headstart_image::{EntryRef, ImageError, LoadedImage};
use serde::Serialize;

use super::super::document::text;

/// Characters of a name; tars may hold ones of megabytes.
const LONGEST_NAME: usize = 120;

/// A row of a treemap. Rows are numbered from 1 and follow their folder; 0 is the root, which has no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Row {
    /// Number of the folder it is in, and its name.
    Folder(u32, String),
    /// Files of one layer in a folder.
    Files(Files),
}

/// One file, or all small ones that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "(u32, Option<String>, u64, u32, u8, u64)")]
pub(super) struct Files {
    /// Number of the folder they are in; the small ones may be further down.
    folder: u32,
    /// None when they are several.
    name: Option<String>,
    bytes: u64,
    layer: u32,
    /// Whether they cannot be reached in the finished file system.
    are_wasted: bool,
    count: u64,
}

impl From<Files> for (u32, Option<String>, u64, u32, u8, u64) {
    fn from(files: Files) -> Self {
        let Files {
            folder,
            name,
            bytes,
            layer,
            are_wasted,
            count,
        } = files;
        (folder, name, bytes, layer, are_wasted.into(), count)
    }
}

/// The files of all layers of `loaded`, those that are hidden too, in about `most` rows: what is too small is put together.
pub(super) fn weigh(loaded: &LoadedImage, most: usize) -> Result<Vec<Row>, ImageError> {
    Ok(Weights::of(loaded)?.rows_up_to(most))
}

/// Everything, before any of it is put together.
struct Weights<'a> {
    /// The root first; a folder comes before what is in it.
    folders: Vec<Folder<'a>>,
    files: Vec<File<'a>>,
}

struct Folder<'a> {
    parent: usize,
    name: &'a [u8],
    /// Of all files below.
    bytes: u64,
}

struct File<'a> {
    path: &'a [u8],
    folder: usize,
    bytes: u64,
    layer: u32,
    is_wasted: bool,
}

impl<'a> Weights<'a> {
    fn of(loaded: &'a LoadedImage) -> Result<Self, ImageError> {
        let tree = loaded.tree()?;
        let hidden: HashSet<EntryRef> = tree.hidden_files().iter().map(|hidden| hidden.file).collect();
        let mut files = Vec::new();
        for (layer, stored) in loaded.layers.iter().enumerate() {
            let layer = layer as u32;
            for (number, entry) in stored.layer.iter().flat_map(|layer| layer.entries()).enumerate() {
                let at = EntryRef {
                    layer,
                    entry: number as u32,
                };
                if entry.size_bytes() > 0 {
                    files.push(File {
                        path: entry.path,
                        folder: 0,
                        bytes: entry.size_bytes(),
                        layer,
                        is_wasted: hidden.contains(&at),
                    });
                }
            }
        }
        Ok(Self::new(files))
    }

    fn new(mut files: Vec<File<'a>>) -> Self {
        files.sort_by_key(|file| (file.path, file.layer));
        let root = Folder {
            parent: 0,
            name: b"",
            bytes: 0,
        };
        let mut weights = Weights {
            folders: vec![root],
            files,
        };
        weights.find_folders();
        weights
    }

    fn rows_up_to(&self, most: usize) -> Vec<Row> {
        let all = self.folders[0].bytes;
        let mut threshold = (all / (4 * most.max(1) as u64)).max(1);
        loop {
            let rows = self.rows(threshold);
            if rows.len() <= most || threshold > all {
                return rows;
            }
            threshold = threshold.saturating_mul(2);
        }
    }

    /// Paths in order have those of one folder side by side.
    fn find_folders(&mut self) {
        // Where we are: each folder with the end of its path.
        let mut open: Vec<(usize, usize)> = vec![(0, 0)];
        let mut previous: &[u8] = b"";
        for file in &mut self.files {
            let common = previous.iter().zip(file.path).take_while(|(a, b)| a == b).count();
            open.retain(|&(_, end)| end == 0 || (end <= common && file.path.get(end) == Some(&b'/')));
            let &(mut folder, end) = open.last().expect("the root stays open");
            let mut start = end + usize::from(end > 0);
            while let Some(length) = file.path[start..].iter().position(|&byte| byte == b'/') {
                let end = start + length;
                self.folders.push(Folder {
                    parent: folder,
                    name: &file.path[start..end],
                    bytes: 0,
                });
                folder = self.folders.len() - 1;
                open.push((folder, end));
                start = end + 1;
            }
            file.folder = folder;
            let bytes = &mut self.folders[folder].bytes;
            *bytes = bytes.saturating_add(file.bytes);
            previous = file.path;
        }
        for number in (1..self.folders.len()).rev() {
            let Folder { parent, bytes, .. } = self.folders[number];
            let sum = &mut self.folders[parent].bytes;
            *sum = sum.saturating_add(bytes);
        }
    }

    /// What has `threshold` bytes has a row of its own.
    fn rows(&self, threshold: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        // The row of each folder, or of the nearest above it that has one.
        let mut row_of: Vec<u32> = vec![0];
        for folder in &self.folders[1..] {
            let above = row_of[folder.parent];
            row_of.push(match folder.bytes >= threshold {
                false => above,
                true => {
                    rows.push(Row::Folder(above, shorten(folder.name)));
                    rows.len() as u32
                }
            });
        }
        let mut small: BTreeMap<(u32, u32, bool), (u64, u64)> = BTreeMap::new();
        for file in &self.files {
            let folder = row_of[file.folder];
            if file.bytes < threshold {
                let (bytes, count) = small.entry((folder, file.layer, file.is_wasted)).or_default();
                *bytes = bytes.saturating_add(file.bytes);
                *count += 1;
                continue;
            }
            let name = file.path.rsplit(|&byte| byte == b'/').next();
            rows.push(Row::Files(Files {
                folder,
                name: name.map(shorten),
                bytes: file.bytes,
                layer: file.layer,
                are_wasted: file.is_wasted,
                count: 1,
            }));
        }
        let small = small
            .into_iter()
            .map(|((folder, layer, are_wasted), (bytes, count))| {
                Row::Files(Files {
                    folder,
                    name: None,
                    bytes,
                    layer,
                    are_wasted,
                    count,
                })
            });
        rows.extend(small);
        rows
    }
}

fn shorten(name: &[u8]) -> String {
    // Enough bytes for one character too many, of whatever length.
    let name = text(&name[..name.len().min(4 * (LONGEST_NAME + 1))]);
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: u64, layer: u32, is_wasted: bool) -> File<'_> {
        File {
            path: path.as_bytes(),
            folder: 0,
            bytes,
            layer,
            is_wasted,
        }
    }

    fn sum(rows: &[Row]) -> u64 {
        let bytes = |row: &Row| match row {
            Row::Folder(..) => 0,
            Row::Files(files) => files.bytes,
        };
        rows.iter().map(bytes).sum()
    }

    #[test]
    fn small_files_join_those_of_their_layer_and_folder() {
        let weights = Weights::new(vec![
            file("usr/lib/large", 1000, 0, false),
            file("usr/lib2/small", 1, 0, false),
            file("usr/lib-a", 2, 0, false),
            file("usr/lib", 3, 1, true),
            file("usr/lib/few/a", 4, 1, false),
            file("usr/lib/few/b", 5, 1, false),
            file("usr/lib/few/c", 6, 1, true),
        ]);
        let rows = serde_json::to_value(weights.rows(100)).unwrap();
        let expected = serde_json::json!([
            [0, "usr"],
            [1, "lib"],
            [2, "large", 1000, 0, 0, 1],
            [1, null, 3, 0, 0, 2],
            [1, null, 3, 1, 1, 1],
            [2, null, 9, 1, 0, 2],
            [2, null, 6, 1, 1, 1],
        ]);
        assert_eq!(rows, expected);
        let all = serde_json::to_value(weights.rows(1)).unwrap();
        assert!(
            all.as_array()
                .unwrap()
                .contains(&serde_json::json!([3, "a", 4, 1, 0, 1])),
            "{all}"
        );
    }

    #[test]
    fn rows_are_few_however_many_files_there_are() {
        let names: Vec<String> = (0..50_000_u64)
            .map(|number| {
                format!(
                    "srv/node_modules/package-{}/dist/module-{number}.js",
                    number % 700
                )
            })
            .collect();
        let sizes = (0..50_000_u64).map(|number| number * number % 90_001);
        let files = names
            .iter()
            .zip(sizes)
            .map(|(name, bytes)| file(name, bytes, 0, false));
        let weights = Weights::new(files.collect());
        for most in [0, 1, 100, 4000] {
            let rows = weights.rows_up_to(most);
            assert!(rows.len() <= most.max(1), "{} rows of {most}", rows.len());
            assert_eq!(sum(&rows), weights.folders[0].bytes);
            let length = serde_json::to_string(&rows).unwrap().len();
            assert!(
                length <= 60 * rows.len() + 2,
                "{length} bytes for {} rows",
                rows.len()
            );
        }
        assert!(weights.rows_up_to(4000).len() > 1000, "the room is used");
    }

    #[test]
    fn long_and_broken_names_are_shown_as_far_as_they_can_be() {
        assert_eq!(shorten(b"\xff\xfe-latin"), "\u{fffd}\u{fffd}-latin");
        let long = "\u{1f980}".repeat(5000);
        assert_eq!(shorten(long.as_bytes()).chars().count(), LONGEST_NAME + 1);
    }
}
