//! Tars made by hand, for tests.

use std::{
    io::{Read, Write as _},
    num::NonZero,
    sync::{Arc, atomic::AtomicBool},
};

use flate2::{Compression, write::GzEncoder};

use crate::{
    Access, BlobDigest, ContentId, DiffId, Entry, EntryKind, Image, ImageError, Layer, LayerBlob,
    LoadedImage, Metadata, NoCache, NoCredentials, Platform, ReadOptions, Reference, Registries,
    RegistryOptions, Silent, Source,
    decompress::decompress,
    layer::{EntryMemory, LayerBuilder, ScanError, TarHash, scan_tar},
    open_source, read_images,
};

/// Makes a tar header by header, including ones that no tool writes.
#[derive(Default)]
pub(crate) struct TarMaker(pub(crate) Vec<u8>);

/// A header's fields that tests care for.
pub(crate) struct Head<'a> {
    pub(crate) name: &'a str,
    pub(crate) flag: u8,
    pub(crate) link: &'a str,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) uid: u32,
    pub(crate) mode: u32,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Head {
            name: "",
            flag: b'0',
            link: "",
            size: 0,
            mtime: 0,
            uid: 0,
            mode: 0o644,
        }
    }
}

pub(crate) fn block(head: &Head<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, head.name.as_bytes());
    put(100, format!("{:07o}\0", head.mode).as_bytes());
    put(108, format!("{:07o}\0", head.uid).as_bytes());
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", head.size).as_bytes());
    put(136, format!("{:011o}\0", head.mtime).as_bytes());
    put(156, &[head.flag]);
    put(157, head.link.as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000001\0");
    put(337, b"0000003\0");
    sign(&mut block);
    block
}

/// Writes the checksum.
pub(crate) fn sign(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl TarMaker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn head(self, head: &Head<'_>) -> Self {
        let block = block(head);
        self.raw(&block)
    }

    /// A body, padded.
    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, bytes: &[u8]) -> Self {
        let size = bytes.len() as u64;
        self.head(&Head {
            name,
            size,
            ..Head::default()
        })
        .body(bytes)
    }

    pub(crate) fn of_type(self, flag: u8, name: &str, link: &str) -> Self {
        self.head(&Head {
            name,
            flag,
            link,
            ..Head::default()
        })
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.of_type(b'5', name, "")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.of_type(b'2', name, target)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.of_type(b'1', name, target)
    }

    /// PAX records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let body: String = records.iter().map(|(key, value)| record(key, value)).collect();
        let head = Head {
            name: "pax",
            flag: b'x',
            size: body.len() as u64,
            ..Head::default()
        };
        self.head(&head).body(body.as_bytes())
    }

    /// The tar with its end.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// The layer that a tar is, or why it is none.
pub(crate) fn try_scan(tar: &[u8]) -> Result<Layer, ScanError> {
    let scanned = scan_tar(
        tar,
        TarHash::Here,
        &EntryMemory::default(),
        &AtomicBool::new(false),
    )?;
    Ok(scanned.into_layer(BlobDigest::of(b"hashed by the scan")))
}

/// The layer that a tar is.
pub(crate) fn scan(tar: &[u8]) -> Layer {
    try_scan(tar).unwrap()
}

/// A layer with a file and so many more entries, in a folder whose path is nearly as long as paths may be; it names them
/// through a link, so that it is small itself.
pub(crate) fn below_a_deep_link(entries: u32, kind: EntryKind<'_>) -> Layer {
    let deep = vec!["d".repeat(250); 16].join("/");
    let mut builder = LayerBuilder::default();
    let mut push = |path: &str, kind| {
        let (path, meta) = (path.as_bytes(), Metadata::default());
        builder.push(&Entry { path, kind, meta }).unwrap();
    };
    push(&deep, EntryKind::Folder);
    let target = deep.as_bytes();
    push("l", EntryKind::Symlink { target });
    let content = ContentId::of(b"");
    push(
        "l/0",
        EntryKind::File {
            size_bytes: 0,
            content,
        },
    );
    for number in 1..=entries {
        push(&format!("l/{number}"), kind);
    }
    builder.finish(DiffId::of(b""), 0)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image in memory.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    name: String,
    layers: Vec<Vec<u8>>,
}

impl MemoryImage {
    /// Layers as they are stored, lowest first.
    pub(crate) fn source(name: &str, layers: Vec<Vec<u8>>) -> Box<dyn Source> {
        Box::new(MemoryImage {
            name: name.to_owned(),
            layers,
        })
    }
}

impl Source for MemoryImage {
    fn load_image(&self, _platform: &Platform) -> Result<Image, ImageError> {
        let layers = self.layers.iter().map(|stored| {
            let mut tar = Vec::new();
            decompress(&stored[..]).unwrap().1.read_to_end(&mut tar).unwrap();
            LayerBlob::in_layout(
                BlobDigest::of(stored),
                DiffId::of(&tar),
                "application/vnd.oci.image.layer.v1.tar",
                stored.len() as u64,
            )
        });
        let layers: Vec<_> = layers.collect();
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
        let config =
            serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}});
        let config_json = config.to_string().into_bytes();
        Ok(Image {
            reference: self.name.clone(),
            digest: BlobDigest::of(&config_json),
            document_bytes: config_json.len() as u64,
            config: serde_json::from_slice(&config_json).unwrap(),
            config_json,
            layers,
        })
    }

    fn open_layer(&self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let mut layers = self.layers.iter();
        let stored = layers.find(|stored| Some(BlobDigest::of(stored)) == layer.digest);
        Ok(Box::new(&stored.unwrap()[..]))
    }

    fn find_layer(&self, _layer: &LayerBlob) -> Result<Option<u64>, ImageError> {
        Ok(None)
    }
}

/// Opens an image of the disk.
pub(crate) fn open(reference: &Reference) -> Box<dyn Source> {
    open_source(reference, &access()).unwrap()
}

/// A way to registries that nobody goes.
pub(crate) fn access() -> Access {
    let options = RegistryOptions {
        credentials: Box::new(NoCredentials),
        plain_http: Vec::new(),
        interrupt: Arc::default(),
    };
    Access {
        registries: Arc::new(Registries::new(options)),
        docker_socket: "none".into(),
        interrupt: Arc::default(),
    }
}

/// Reads images as everybody does, without a cache.
pub(crate) fn read(sources: &[Box<dyn Source>]) -> Result<Vec<LoadedImage>, ImageError> {
    let platform = "linux/amd64".parse().unwrap();
    let options = ReadOptions {
        platform: Some(&platform),
        parallel: NonZero::new(2).unwrap(),
        cache: &NoCache,
        progress: &Silent,
        interrupt: &AtomicBool::new(false),
    };
    read_images(sources, options)
}
