//! The layers of two images, one by one.

use super::Ignore;
use crate::{Entry, Layer, LoadedImage, Metadata, StoredLayer};

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
    pub(super) fn has_same_entries(self) -> bool {
        match self {
            LayerRelation::SameBlob | LayerRelation::SameTar | LayerRelation::SameEntries => true,
            LayerRelation::OtherOrder | LayerRelation::Different | LayerRelation::Alone => false,
        }
    }
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
    use std::sync::Arc;

    use super::*;
    use crate::{
        BlobDigest,
        testing::{TarMaker, scan},
    };

    #[test]
    fn layers_may_differ_in_their_order_alone() {
        let stored = |tar: TarMaker| {
            let layer = scan(&tar.finish());
            StoredLayer {
                digest: BlobDigest::of(layer.diff_id().as_bytes()),
                media_type: String::new(),
                compressed_bytes: 0,
                diff_id: layer.diff_id(),
                layer: Some(Arc::new(layer)),
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
