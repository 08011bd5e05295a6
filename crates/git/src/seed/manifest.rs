//! `seed.json`: what a seed has, and of what. Untrusted: it may come from anyone who can write to the store.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use gix::ObjectId;
use headstart_fs::AtPath as _;
use serde::{Deserialize, Serialize};

use super::{MANIFEST_FILE, SeedError};
use crate::filter_spec::FilterSpec;

const SCHEMA: &str = "headstart.seed/1";
/// A manifest of a million refs fits.
const MAX_BYTES: u64 = 128 << 20;
/// Some times what merging in powers of two leaves.
const MAX_PACKS: usize = 1000;

/// What a seed has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedManifest {
    /// Format of this document.
    schema: String,
    /// Host and path of the origin.
    pub repository: String,
    /// What was left at the origin.
    #[serde(with = "text")]
    pub filter: FilterSpec,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// The commit whose files the tip's packs have.
    #[serde(with = "text")]
    pub tip: ObjectId,
    /// The refs of the origin then: everything they reach is in the seed, but for what the filter leaves out.
    pub refs: Vec<SeedRef>,
    /// Packs with the objects of the tip.
    pub tip_packs: Vec<SeedPack>,
    /// Packs with the history.
    pub history_packs: Vec<SeedPack>,
    /// Size of the commit-graph; absent without one.
    pub commit_graph_bytes: Option<u64>,
}

/// A ref of the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedRef {
    /// Its full name there.
    pub name: String,
    /// Where it pointed.
    #[serde(with = "text")]
    pub id: ObjectId,
}

/// A pack in a seed: `pack-<id>.pack`, `.idx` and `.rev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedPack {
    /// Checksum of the pack, which names it.
    #[serde(with = "text")]
    pub id: ObjectId,
    /// Objects in it.
    pub objects: u32,
    /// Size of the `.pack` file.
    pub bytes: u64,
}

impl SeedManifest {
    pub(super) fn new(repository: String, filter: FilterSpec, created_at: String, tip: ObjectId) -> Self {
        SeedManifest {
            schema: SCHEMA.to_owned(),
            repository,
            filter,
            created_at,
            tip,
            refs: Vec::new(),
            tip_packs: Vec::new(),
            history_packs: Vec::new(),
            commit_graph_bytes: None,
        }
    }

    /// Reads the manifest in the folder of a seed's tip.
    pub fn load(tip: &Path) -> Result<Self, SeedError> {
        let path = tip.join(MANIFEST_FILE);
        let kind = fs::symlink_metadata(&path).at("look at", &path)?;
        if !kind.is_file() || kind.len() > MAX_BYTES {
            return Err(SeedError::invalid(path, "it is no manifest"));
        }
        let mut text = Vec::new();
        let file = fs::File::open(&path).at("open", &path)?;
        file.take(MAX_BYTES).read_to_end(&mut text).at("read", &path)?;
        Self::parse(&text).map_err(|what| SeedError::invalid(path, what))
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: SeedManifest = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if manifest.schema != SCHEMA {
            return Err(format!("it has the schema {:?}", manifest.schema));
        }
        if manifest.tip_packs.len() + manifest.history_packs.len() > MAX_PACKS {
            return Err("it names too many packs".to_owned());
        }
        Ok(manifest)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest has only text keys")
    }

    /// Bytes of all its packs.
    pub fn pack_bytes(&self) -> u64 {
        let packs = self.tip_packs.iter().chain(&self.history_packs);
        packs.map(|pack| pack.bytes).sum()
    }
}

impl SeedPack {
    /// The `.pack` file in the folder of its part.
    pub(super) fn path_in(&self, part: &Path) -> PathBuf {
        part.join("pack").join(format!("pack-{}.pack", self.id))
    }
}

/// Values that are written as text.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>, T: FromStr>(deserializer: D) -> Result<T, D::Error>
    where
        T::Err: Display,
    {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> SeedManifest {
        let id = ObjectId::Sha1([7; 20]);
        let mut manifest = SeedManifest::new(
            "h/a".to_owned(),
            FilterSpec::BlobNone,
            "2026-01-02T03:04:05Z".to_owned(),
            id,
        );
        manifest.refs.push(SeedRef {
            name: "refs/heads/main".to_owned(),
            id,
        });
        manifest.tip_packs.push(SeedPack {
            id,
            objects: 3,
            bytes: 100,
        });
        manifest
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        assert_eq!(SeedManifest::parse(&manifest().to_json()), Ok(manifest()));
    }

    #[test]
    fn hostile_manifests_are_refused() {
        let text = String::from_utf8(manifest().to_json()).unwrap();
        let id = manifest().tip.to_string();
        for (from, to) in [
            ("headstart.seed/1", "headstart.seed/2"),
            (id.as_str(), "../../../../etc/passwd"),
            ("\"objects\": 3", "\"objects\": 99999999999"),
            ("\"bytes\": 100", "\"bytes\": -1"),
            ("blob:none", "blob:some"),
        ] {
            let hostile = text.replace(from, to);
            assert_ne!(hostile, text);
            assert!(SeedManifest::parse(hostile.as_bytes()).is_err(), "{to} was taken");
        }
    }
}
