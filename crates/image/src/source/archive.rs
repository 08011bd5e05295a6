//! The files of a tar, found without unpacking it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek as _, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use headstart_fs::AtPath as _;

use super::files::{Files, open_file};
use crate::{
    ImageError,
    decompress::{check_ratio, decompress, is_compressed},
    interrupt,
    layer::{MAX_PATH_BYTES, PathProblem, clean_path, split_last},
    tar::{Kind, TarReader},
};

/// An archive of images has some files per layer.
const MAX_FILES: usize = 100_000;
/// Their names, and where links lead, take some 100 bytes each.
const MAX_NAME_BYTES: usize = 32 << 20;
/// Links of links: older Docker writes one.
const MAX_LINKS: usize = 8;
/// What is expanded before we look whether to go on.
const CHUNK_BYTES: u64 = 1 << 20;

/// A tar whose files can be read in any order.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    file: File,
    members: HashMap<Vec<u8>, Member>,
}

#[derive(Debug)]
enum Member {
    File { at: u64, length: u64 },
    Link(Vec<u8>),
}

impl Archive {
    /// Lists the files of the tar at `path`. One that is compressed as a whole is first expanded into a temporary file.
    pub(super) fn open(path: &Path, interrupt: &AtomicBool) -> Result<Self, ImageError> {
        let file = open_file(path)?;
        let name = path.display().to_string();
        let mut start = [0; 4];
        let read = file.read_at(&mut start, 0).at("read", path)?;
        let file = match is_compressed(&start[..read]) {
            true => expand(file, &name, interrupt)?,
            false => file,
        };
        Self::from_file(name, file, interrupt)
    }

    /// Lists the files of an open tar.
    pub(super) fn from_file(name: String, file: File, interrupt: &AtomicBool) -> Result<Self, ImageError> {
        let damaged = |reason: String| ImageError::corrupt(&name, reason);
        let reading = file.try_clone().at("open", &name)?;
        let mut tar = TarReader::new(BufReader::new(reading));
        let mut members = HashMap::new();
        let (mut count, mut name_bytes) = (0, 0);
        while let Some(entry) = tar.next().map_err(|error| damaged(error.to_string()))? {
            interrupt::check(interrupt)?;
            count += 1;
            if count > MAX_FILES {
                return Err(ImageError::too_large(name, format!("{MAX_FILES} files")));
            }
            let path = clean_path(&entry.path).map_err(|problem| damaged(problem.to_string()))?;
            if let Kind::HardLink(target) | Kind::Symlink(target) = &entry.kind
                && target.len() > MAX_PATH_BYTES
            {
                return Err(damaged(PathProblem::Target.to_string()));
            }
            let member = match entry.kind {
                Kind::File { hole_bytes, .. } if hole_bytes > 0 => {
                    return Err(ImageError::unsupported(name, "it holds sparse files"));
                }
                Kind::File { size_bytes, .. } => Member::File {
                    at: tar.position(),
                    length: size_bytes,
                },
                Kind::HardLink(target) => Member::Link(target),
                Kind::Symlink(target) => Member::Link([split_last(&path).0, b"/", &target].concat()),
                _ => continue,
            };
            name_bytes += path.len();
            if let Member::Link(target) = &member {
                name_bytes += target.len();
            }
            if name_bytes > MAX_NAME_BYTES {
                return Err(ImageError::too_large(
                    name,
                    format!("{MAX_NAME_BYTES} bytes of names"),
                ));
            }
            members.insert(path.into_owned(), member);
            tar.seek_over_body().map_err(|error| damaged(error.to_string()))?;
        }
        Ok(Archive { name, file, members })
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + Send + '_>), ImageError> {
        let mut path = name.as_bytes().to_vec();
        for _ in 0..MAX_LINKS {
            let clean = clean_path(&path).map_err(|problem| ImageError::corrupt(name, problem))?;
            match self.members.get(&*clean) {
                None => return Err(ImageError::missing(name, &self.name)),
                Some(&Member::File { at, length }) => {
                    let section = Section {
                        file: &self.file,
                        at,
                        left: length,
                    };
                    return Ok((length, Box::new(section)));
                }
                Some(Member::Link(target)) => path = target.clone(),
            }
        }
        let sentence = format!("{name} in {}", self.name);
        Err(ImageError::corrupt(sentence, "its links lead nowhere"))
    }
}

/// A part of a file; several can be read at once.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        if read == 0 && wanted > 0 {
            let reason = "the archive is cut off";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn expand(file: File, name: &str, interrupt: &AtomicBool) -> Result<File, ImageError> {
    let failed = |source| ImageError::Read {
        what: name.to_owned(),
        source,
    };
    let unwritten = |source| unwritten(name, source);
    let stored_bytes = file.metadata().map_err(failed)?.len();
    let mut expanded = tempfile::tempfile().map_err(unwritten)?;
    let (_, mut stream) = decompress(BufReader::new(file)).map_err(failed)?;
    let mut expanded_bytes = 0;
    let mut chunk = Vec::new();
    loop {
        if interrupt.load(Ordering::Relaxed) {
            return Err(ImageError::Interrupted);
        }
        chunk.clear();
        let mut piece = stream.by_ref().take(CHUNK_BYTES);
        match piece.read_to_end(&mut chunk).map_err(failed)? {
            0 => break,
            read => expanded_bytes += read as u64,
        }
        expanded.write_all(&chunk).map_err(unwritten)?;
        check_ratio(name, expanded_bytes, stored_bytes)?;
    }
    expanded.rewind().map_err(unwritten)?;
    Ok(expanded)
}

/// What cannot be put into a temporary file.
pub(super) fn unwritten(name: &str, source: io::Error) -> ImageError {
    let folder = tempfile::env::temp_dir();
    ImageError::Write {
        what: format!("{name} into a temporary file in {}", folder.display()),
        source,
    }
}
