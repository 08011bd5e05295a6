//! Zips and jars made by hand, for tests.

use std::{io::Write as _, num::NonZero, sync::atomic::AtomicBool};

use flate2::{Compression, Crc, write::DeflateEncoder};
use tempfile::NamedTempFile;

use super::{Jar, JarReport};
use crate::{
    ImageError,
    build::{BuildOptions, FileStyle, Times},
};

/// The main section of a jar that Spring Boot made, without an end.
pub(crate) const MANIFEST: &str = "Manifest-Version: 1.0\r\nMain-Class: org.springframework.boot.loader.launch.JarLaunch\r\n er\r\n\
    Start-Class: com.acme.shop.Main\r\nSpring-Boot-Version: 3.3.0\r\n";

/// An entry to make.
pub(crate) struct Made {
    name: String,
    body: Vec<u8>,
    is_deflated: bool,
}

impl Made {
    pub(crate) fn stored(name: &str, body: &[u8]) -> Self {
        Made {
            name: name.to_owned(),
            body: body.to_owned(),
            is_deflated: false,
        }
    }

    pub(crate) fn deflated(name: &str, body: &[u8]) -> Self {
        Made {
            is_deflated: true,
            ..Made::stored(name, body)
        }
    }
}

pub(crate) fn zip_of(entries: &[Made]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut crc = Crc::new();
        crc.update(&entry.body);
        let stored = match entry.is_deflated {
            true => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&entry.body).unwrap();
                encoder.finish().unwrap()
            }
            false => entry.body.clone(),
        };
        let method: u16 = if entry.is_deflated { 8 } else { 0 };
        let mut common = Vec::new();
        for number in [20_u16, 0, method, 0, 0x21] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        for number in [crc.sum(), stored.len() as u32, entry.body.len() as u32] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        common.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0; 2]);
        let at = zip.len() as u32;
        zip.extend_from_slice(b"PK\x03\x04");
        zip.extend_from_slice(&common);
        zip.extend_from_slice(entry.name.as_bytes());
        zip.extend_from_slice(&stored);
        directory.extend_from_slice(b"PK\x01\x02\x14\0");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(entry.name.as_bytes());
    }
    let (at, length, count) = (zip.len() as u32, directory.len() as u32, entries.len() as u16);
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for number in [count, count] {
        zip.extend_from_slice(&number.to_le_bytes());
    }
    for number in [length, at] {
        zip.extend_from_slice(&number.to_le_bytes());
    }
    zip.extend_from_slice(&[0; 2]);
    zip
}

/// Bytes in a file.
pub(crate) fn keep(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn open_jar(entries: &[Made]) -> Result<Jar, ImageError> {
    Jar::open(keep(&zip_of(entries)).path())
}

/// What is to be known of a jar of these entries.
pub(crate) fn report(entries: &[Made]) -> (Jar, JarReport) {
    let jar = open_jar(entries).unwrap();
    let style = FileStyle {
        uid: 0,
        gid: 0,
        times: Times::Fixed(0),
    };
    let options = BuildOptions {
        compression: crate::Compression::Gzip,
        threads: NonZero::<usize>::MIN,
        interrupt: &AtomicBool::new(false),
    };
    let report = jar.report(style, options).unwrap();
    (jar, report)
}

/// A library with a class in a package.
pub(crate) fn library(package: &str) -> Vec<u8> {
    zip_of(&[Made::deflated(&format!("{package}/X.class"), b"class")])
}
