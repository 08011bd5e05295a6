//! Two images compared: their file systems path by path, and their layers one by one.

use std::{collections::HashMap, ops::ControlFlow};

use serde_json::Value;

use crate::{
    BlobDigest, Entry, EntryKind, EntryRef, FoundNode, Image, ImageError, Layer, LoadedImage, Metadata,
    StoredLayer, Tree, manifest::parse,
};

/// The most that the paths of what differs may take. The largest images in use have 100 MB of paths.
const MAX_PATH_BYTES: u64 = 1 << 30;

/// What is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignore {
    /// Modification times, and the times in the config.
    pub times: bool,
    /// Users and groups.
    pub owners: bool,
    /// In which order a layer has its entries.
    pub order: bool,
}

/// Two images compared.
#[derive(Debug)]
pub struct Comparison {
    /// Paths that differ.
    pub changes: Vec<Change>,
    /// The layers, lowest first.
    pub layers: Vec<LayerRelation>,
    /// Whether the configs are the same, but for what is ignored and for the layers they name.
    pub is_config_same: bool,
    /// Whether nothing differs. When nothing is ignored, that is every byte of the image; else its paths, the entries of each
    /// layer, and the config.
    pub is_same: bool,
}

impl Comparison {
    /// Compares all there is to compare.
    pub fn of(old: &LoadedImage, new: &LoadedImage, ignore: Ignore) -> Result<Self, ImageError> {
        let changes = compare_trees(&old.tree()?, &new.tree()?, ignore, MAX_PATH_BYTES)?;
        let layers = compare_layers(old, new, ignore);
        let is_config_same = are_configs_same(&old.image, &new.image, ignore)?;
        let is_same = match ignore == Ignore::default() {
            true => {
                let are_blobs_same = layers.iter().all(|&layer| layer == LayerRelation::SameBlob);
                are_blobs_same && are_documents_same(&old.image, &new.image)
            }
            false => {
                changes.is_empty() && is_config_same && layers.iter().all(|layer| layer.has_same_entries())
            }
        };
        Ok(Comparison {
            changes,
            layers,
            is_config_same,
            is_same,
        })
    }
}

/// A path that is not the same in both images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: Vec<u8>,
    /// Bytes of the file before; 0 where there was none.
    pub old_bytes: u64,
    /// Bytes of the file after; 0 where there is none.
    pub new_bytes: u64,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, with these differences.
    Changed(Vec<Difference>),
}

/// In what a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Whether it is a file, a folder, a link or a device.
    Type,
    /// The bytes of a file.
    Content,
    /// The target of a link.
    Target,
    /// The number of a device.
    Device,
    /// How many names the file has, or which.
    Links,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// Modification time.
    Time,
    /// Extended attributes.
    Attributes,
}

/// How two layers at one height relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerRelation {
    /// The same bytes as stored.
    SameBlob,
    /// One tar, compressed in different ways.
    SameTar,
    /// The same entries, but for what is ignored.
    SameEntries,
    /// The same entries in another order.
    OtherOrder,
    /// Different entries.
    Different,
    /// Only one of the images is so high.
    Alone,
}

impl LayerRelation {
    fn has_same_entries(self) -> bool {
        match self {
            LayerRelation::SameBlob | LayerRelation::SameTar | LayerRelation::SameEntries => true,
            LayerRelation::OtherOrder | LayerRelation::Different | LayerRelation::Alone => false,
        }
    }
}

/// Whether manifests and configs are the same bytes. Where one of the images has no manifest, the configs decide.
fn are_documents_same(old: &Image, new: &Image) -> bool {
    let [old_config, new_config] = [old, new].map(|image| BlobDigest::of(&image.config_json));
    let have_manifests = old.digest != old_config && new.digest != new_config;
    match have_manifests {
        true => old.digest == new.digest,
        false => old_config == new_config,
    }
}

fn are_configs_same(old: &Image, new: &Image, ignore: Ignore) -> Result<bool, ImageError> {
    Ok(comparable_config(old, ignore)? == comparable_config(new, ignore)?)
}

/// A config without what is compared elsewhere, or not at all.
fn comparable_config(image: &Image, ignore: Ignore) -> Result<Value, ImageError> {
    let mut config: Value = parse(&format!("config of {}", image.reference), &image.config_json)?;
    if let Some(config) = config.as_object_mut() {
        config.remove("rootfs");
        if ignore.times {
            config.remove("created");
            let history = config.get_mut("history").and_then(Value::as_array_mut);
            for step in history.into_iter().flatten().filter_map(Value::as_object_mut) {
                step.remove("created");
            }
        }
    }
    Ok(config)
}

/// Compares two file systems, path by path. The paths of what differs may take so many bytes.
fn compare_trees(
    old: &Tree<'_>,
    new: &Tree<'_>,
    ignore: Ignore,
    max_path_bytes: u64,
) -> Result<Vec<Change>, ImageError> {
    let files = SameFiles::of(old, new);
    let mut changes = Vec::new();
    let mut path_bytes = 0;
    let walked = old.walk_both(new, |path, (old_id, new_id)| {
        let old_node = old_id.map(|id| old.node(id));
        let new_node = new_id.map(|id| new.node(id));
        let kind = match (&old_node, &new_node) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            (Some(old), Some(new)) => match differences(old, new, &files, ignore) {
                differences if differences.is_empty() => return ControlFlow::Continue(()),
                differences => ChangeKind::Changed(differences),
            },
        };
        let bytes = |node: Option<FoundNode<'_>>| match node.map(|node| node.kind) {
            Some(EntryKind::File { size_bytes, .. }) => size_bytes,
            _ => 0,
        };
        path_bytes += path.len() as u64;
        if path_bytes > max_path_bytes {
            return ControlFlow::Break(());
        }
        changes.push(Change {
            path: path.to_vec(),
            old_bytes: bytes(old_node),
            new_bytes: bytes(new_node),
            kind,
        });
        ControlFlow::Continue(())
    });
    match walked {
        ControlFlow::Continue(()) => Ok(changes),
        ControlFlow::Break(()) => {
            let limit = format!("{} MiB for all paths that differ", max_path_bytes >> 20);
            Err(ImageError::too_large("the comparison", limit))
        }
    }
}

/// Of files of several names: which of the one tree is which of the other, nothing where their names lead to different ones.
#[derive(Default)]
struct SameFiles {
    of_old: HashMap<EntryRef, Option<EntryRef>>,
    of_new: HashMap<EntryRef, Option<EntryRef>>,
}

impl SameFiles {
    fn of(old: &Tree<'_>, new: &Tree<'_>) -> Self {
        let mut files = SameFiles::default();
        if !old.has_hard_links() || !new.has_hard_links() {
            return files;
        }
        let _: ControlFlow<()> = old.walk_both(new, |_, both| {
            if let (Some(old_id), Some(new_id)) = both
                && let (old, new) = (old.node(old_id), new.node(new_id))
                && old.links > 1
                && new.links > 1
                && let (Some(old), Some(new)) = (old.origin, new.origin)
            {
                let note = |known: &mut HashMap<_, _>, one, other| {
                    let known = known.entry(one).or_insert(Some(other));
                    *known = known.filter(|&known| known == other);
                };
                note(&mut files.of_old, old, new);
                note(&mut files.of_new, new, old);
            }
            ControlFlow::Continue(())
        });
        files
    }

    /// Whether the files that a path of both leads to have the same names, as far as both trees have these.
    fn have_same_names(&self, old: &FoundNode<'_>, new: &FoundNode<'_>) -> bool {
        let is_known = |known: &HashMap<_, _>, one: Option<EntryRef>, other: Option<EntryRef>| {
            one.and_then(|one| known.get(&one).copied().flatten()) == other
        };
        old.links == new.links
            && (old.links == 1
                || is_known(&self.of_old, old.origin, new.origin)
                    && is_known(&self.of_new, new.origin, old.origin))
    }
}

fn differences(
    old: &FoundNode<'_>,
    new: &FoundNode<'_>,
    files: &SameFiles,
    ignore: Ignore,
) -> Vec<Difference> {
    let difference = match (old.kind, new.kind) {
        (a, b) if std::mem::discriminant(&a) != std::mem::discriminant(&b) => return vec![Difference::Type],
        (a, b) if a == b => None,
        (EntryKind::File { .. }, _) => Some(Difference::Content),
        (EntryKind::Symlink { .. } | EntryKind::HardLink { .. }, _) => Some(Difference::Target),
        _ => Some(Difference::Device),
    };
    let mut found: Vec<_> = difference.into_iter().collect();
    if !files.have_same_names(old, new) {
        found.push(Difference::Links);
    }
    // A folder that no entry makes has no times and owners to compare.
    if let (Some(a), Some(b)) = (old.meta, new.meta) {
        let time = |meta: &Metadata| (meta.mtime_seconds, meta.mtime_nanoseconds);
        let pairs = [
            (Difference::Mode, a.mode != b.mode),
            (
                Difference::Owner,
                !ignore.owners && (a.uid, a.gid) != (b.uid, b.gid),
            ),
            (Difference::Time, !ignore.times && time(&a) != time(&b)),
            (Difference::Attributes, a.attributes != b.attributes),
        ];
        found.extend(pairs.into_iter().filter(|pair| pair.1).map(|pair| pair.0));
    }
    found
}

/// Compares the layers of two images, lowest first.
pub fn compare_layers(old: &LoadedImage, new: &LoadedImage, ignore: Ignore) -> Vec<LayerRelation> {
    let height = old.layers.len().max(new.layers.len());
    let relations = (0..height).map(|number| match (old.layers.get(number), new.layers.get(number)) {
        (Some(old), Some(new)) => relate(old, new, ignore),
        _ => LayerRelation::Alone,
    });
    relations.collect()
}

fn relate(old: &StoredLayer, new: &StoredLayer, ignore: Ignore) -> LayerRelation {
    if old.digest == new.digest {
        return LayerRelation::SameBlob;
    }
    // What nobody could read is only claimed to be some tar.
    let (Some(old), Some(new)) = (&old.layer, &new.layer) else {
        return LayerRelation::Different;
    };
    if old.diff_id() == new.diff_id() {
        return LayerRelation::SameTar;
    }
    if old.entry_count() != new.entry_count() {
        return LayerRelation::Different;
    }
    let same = |a: Entry<'_>, b: Entry<'_>| {
        a.path == b.path && a.kind == b.kind && meta(a, ignore) == meta(b, ignore)
    };
    if old.entries().zip(new.entries()).all(|(a, b)| same(a, b)) {
        return LayerRelation::SameEntries;
    }
    let by_path = |layer: &Layer| {
        let mut order: Vec<usize> = (0..layer.entry_count()).collect();
        // Entries of one path keep their order: the last one counts.
        order.sort_by_key(|&at| layer.entry(at).path);
        order
    };
    let sorted = by_path(old).into_iter().zip(by_path(new));
    let are_same = sorted.into_iter().all(|(a, b)| same(old.entry(a), new.entry(b)));
    match (are_same, ignore.order) {
        (true, true) => LayerRelation::SameEntries,
        (true, false) => LayerRelation::OtherOrder,
        (false, _) => LayerRelation::Different,
    }
}

/// What an entry says of itself and is to be compared.
fn meta(entry: Entry<'_>, ignore: Ignore) -> Metadata {
    let mut meta = entry.meta;
    if ignore.times {
        (meta.mtime_seconds, meta.mtime_nanoseconds) = (0, 0);
    }
    if ignore.owners {
        (meta.uid, meta.gid) = (0, 0);
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Head, MemoryImage, TarMaker, gzip, read, scan};

    fn layer(tar: TarMaker) -> Layer {
        scan(&tar.finish())
    }

    fn compare(old: TarMaker, new: TarMaker, ignore: Ignore) -> Vec<String> {
        let (old, new) = (layer(old), layer(new));
        let (old, new) = (
            Tree::merge([Some(&old)]).unwrap(),
            Tree::merge([Some(&new)]).unwrap(),
        );
        let changes = compare_trees(&old, &new, ignore, u64::MAX).unwrap().into_iter();
        changes
            .map(|change| {
                let path = String::from_utf8(change.path).unwrap();
                format!(
                    "{path} {:?} {} {}",
                    change.kind, change.old_bytes, change.new_bytes
                )
            })
            .collect()
    }

    #[test]
    fn paths_are_added_removed_and_changed() {
        let old = TarMaker::new()
            .folder("d")
            .file("d/x", b"1")
            .file("gone", b"12")
            .symlink("l", "a")
            .file("t", b"1");
        let new = TarMaker::new()
            .folder("d")
            .file("d/x", b"23")
            .folder("e")
            .file("e/y", b"1")
            .symlink("l", "b")
            .folder("t");
        assert_eq!(
            compare(old, new, Ignore::default()),
            [
                "d/x Changed([Content]) 1 2",
                "e Added 0 0",
                "e/y Added 0 1",
                "gone Removed 2 0",
                "l Changed([Target]) 0 0",
                "t Changed([Type]) 1 0"
            ]
        );
    }

    #[test]
    fn times_and_owners_count_unless_ignored() {
        let old = || TarMaker::new().file("x", b"");
        let new = || {
            TarMaker::new().head(&Head {
                name: "x",
                mtime: 5,
                uid: 7,
                ..Head::default()
            })
        };
        assert_eq!(
            compare(old(), new(), Ignore::default()),
            ["x Changed([Owner, Time]) 0 0"]
        );
        let ignore = Ignore {
            times: true,
            owners: true,
            ..Ignore::default()
        };
        assert_eq!(compare(old(), new(), ignore), [""; 0]);
    }

    #[test]
    fn a_copy_is_no_hard_link() {
        let old = TarMaker::new().file("a", b"1").hard_link("b", "a");
        let new = TarMaker::new().file("a", b"1").file("b", b"1");
        let changes = compare(old, new, Ignore::default());
        assert_eq!(changes, ["a Changed([Links]) 1 1", "b Changed([Links]) 1 1"]);
    }

    #[test]
    fn files_of_as_many_names_are_the_same_when_these_are() {
        let pairs = |[a, b, c, d]: [&str; 4]| {
            let tar = TarMaker::new().file(a, b"1").hard_link(b, a);
            tar.file(c, b"1").hard_link(d, c)
        };
        let old = || pairs(["a", "b", "c", "d"]);
        assert_eq!(
            compare(old(), pairs(["d", "c", "b", "a"]), Ignore::default()),
            [""; 0]
        );
        assert_eq!(
            compare(old(), pairs(["a", "c", "b", "d"]), Ignore::default()),
            ["a", "b", "c", "d"].map(|name| format!("{name} Changed([Links]) 1 1"))
        );
        assert_eq!(
            compare(old(), pairs(["a", "e", "c", "d"]), Ignore::default()),
            ["b Removed 1 0", "e Added 0 1"]
        );
        // Two files lost a name each, and what is left of them is one.
        let one = TarMaker::new().file("a", b"1").hard_link("c", "a");
        assert_eq!(
            compare(old(), one, Ignore::default()),
            [
                "a Changed([Links]) 1 1",
                "b Removed 1 0",
                "c Changed([Links]) 1 1",
                "d Removed 1 0"
            ]
        );
    }

    #[test]
    fn more_changes_than_fit_are_refused() {
        let content = crate::ContentId::of(b"");
        let file = EntryKind::File {
            size_bytes: 0,
            content,
        };
        let layer = crate::testing::below_a_deep_link(1000, file);
        let [all, nothing] = [Some(&layer), None].map(|layer| Tree::merge([layer]).unwrap());
        let compare = |old, new| compare_trees(old, new, Ignore::default(), 4_000_000);
        assert!(matches!(
            compare(&nothing, &all),
            Err(ImageError::TooLarge { .. })
        ));
        assert!(matches!(
            compare(&all, &nothing),
            Err(ImageError::TooLarge { .. })
        ));
        assert_eq!(compare(&all, &all).unwrap(), []);
    }

    #[test]
    fn images_are_the_same_when_every_byte_is_or_all_that_is_not_ignored() {
        let tar = || TarMaker::new().file("a", b"1").finish();
        let later = || {
            let head = Head {
                name: "a",
                size: 1,
                mtime: 9,
                ..Head::default()
            };
            TarMaker::new().head(&head).body(b"1").finish()
        };
        let image = |layers: Vec<Vec<u8>>, change: fn(&mut Value)| {
            let mut image = read(&[MemoryImage::source("x", layers)]).unwrap().remove(0);
            let mut config: Value = serde_json::from_slice(&image.image.config_json).unwrap();
            change(&mut config);
            image.image.config_json = config.to_string().into_bytes();
            image.image.digest = BlobDigest::of(&[&b"manifest of "[..], &image.image.config_json].concat());
            image
        };
        let first = image(vec![tar()], |_| {});
        let times = Ignore {
            times: true,
            ..Ignore::default()
        };
        let mut annotated = image(vec![tar()], |_| {});
        annotated.image.digest = BlobDigest::of(b"manifest with annotations");
        let mut saved = image(vec![tar()], |_| {});
        saved.image.digest = BlobDigest::of(&saved.image.config_json);
        for (what, other, is_same, is_same_but_for_times) in [
            ("itself", image(vec![tar()], |_| {}), true, true),
            ("a save of it", saved, true, true),
            ("another manifest", annotated, false, true),
            ("recompressed", image(vec![gzip(&tar())], |_| {}), false, true),
            (
                "of another time",
                image(vec![later()], |config| config["created"] = "1".into()),
                false,
                true,
            ),
            (
                "another config",
                image(vec![tar()], |config| config["config"] = "x".into()),
                false,
                false,
            ),
            (
                "split",
                image(vec![tar(), TarMaker::new().finish()], |_| {}),
                false,
                false,
            ),
            (
                "another file",
                image(vec![TarMaker::new().file("a", b"2").finish()], |_| {}),
                false,
                false,
            ),
        ] {
            let compare = |ignore| Comparison::of(&first, &other, ignore).unwrap().is_same;
            assert_eq!(compare(Ignore::default()), is_same, "{what}");
            assert_eq!(compare(times), is_same_but_for_times, "{what}, but for times");
        }
    }

    #[test]
    fn layers_may_differ_in_their_order_alone() {
        let stored = |tar: TarMaker| {
            let layer = layer(tar);
            StoredLayer {
                digest: crate::BlobDigest::of(layer.diff_id().as_bytes()),
                media_type: String::new(),
                compressed_bytes: 0,
                diff_id: layer.diff_id(),
                layer: Some(std::sync::Arc::new(layer)),
            }
        };
        let one = stored(TarMaker::new().file("a", b"1").file("b", b"2"));
        let turned = stored(TarMaker::new().file("b", b"2").file("a", b"1"));
        let other = stored(TarMaker::new().file("a", b"1").file("b", b"3"));
        let order = Ignore {
            order: true,
            ..Ignore::default()
        };
        assert_eq!(relate(&one, &one, order), LayerRelation::SameBlob);
        assert_eq!(
            relate(&one, &turned, Ignore::default()),
            LayerRelation::OtherOrder
        );
        assert_eq!(relate(&one, &turned, order), LayerRelation::SameEntries);
        assert_eq!(relate(&one, &other, order), LayerRelation::Different);
    }
}
