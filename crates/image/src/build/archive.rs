//! A layout as one tar.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use serde_json::Value;

use super::{output::NamedImage, staging::Staging};
use crate::tar::{Entry, Kind, TarWriter};

/// Writes the documents and the blobs that images name, sorted.
pub(super) fn write_archive(
    staging: &Staging,
    images: &[NamedImage],
    documents: &[(&str, Value)],
    out: impl Write,
) -> io::Result<()> {
    let mut blobs: BTreeMap<String, PathBuf> = BTreeMap::new();
    for image in images {
        for digest in [&image.manifest, &image.config].into_iter().chain(&image.layers) {
            let name = format!("blobs/sha256/{}", digest.to_hex());
            blobs.insert(name, staging.path_of(digest));
        }
    }
    let mut tar = TarWriter::new(out);
    for folder in ["blobs", "blobs/sha256"] {
        tar.write(&Entry::new(folder, Kind::Folder, 0o755), io::empty())?;
    }
    for (name, path) in &blobs {
        let file = File::open(path)?;
        let kind = Kind::file(file.metadata()?.len());
        tar.write(&Entry::new(&**name, kind, 0o644), file)?;
    }
    let mut documents: Vec<_> = documents.iter().collect();
    documents.sort_by_key(|(name, _)| *name);
    for (name, document) in documents {
        let bytes = document.to_string().into_bytes();
        let kind = Kind::file(bytes.len() as u64);
        tar.write(&Entry::new(*name, kind, 0o644), &bytes[..])?;
    }
    tar.finish()?.flush()
}
