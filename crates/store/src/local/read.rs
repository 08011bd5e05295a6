//! Reading content: ranges as they are, whole content checked on the way.

use std::{fs::File, io::ErrorKind, ops::Range, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use headstart_digest::Hasher;
use headstart_fs::{AtPath as _, PathError};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::{BLOCK_BYTES, Inner, blocking};
use crate::{ContentId, ContentReader, StoreError, range::check_range};

/// A file that is being read in blocks.
struct Reading {
    file: File,
    path: PathBuf,
    next: u64,
    end: u64,
    /// For whole content: its digest so far.
    hasher: Option<Hasher>,
}

pub(super) async fn open(
    inner: Arc<Inner>,
    id: ContentId,
    range: Option<Range<u64>>,
) -> Result<ContentReader, StoreError> {
    let (total_bytes, reading) = {
        let inner = Arc::clone(&inner);
        blocking(move || start(&inner, id, range)).await?
    };
    let range = reading.next..reading.end;
    // The state is `None` after an error: a broken stream ends.
    let stream = stream::unfold(Some(reading), move |reading| {
        let inner = Arc::clone(&inner);
        async move {
            let mut reading = reading?;
            if reading.next == reading.end {
                return None;
            }
            let (block, reading) = blocking(move || {
                let block = reading.next_block(&inner, id);
                (block, reading)
            })
            .await;
            let reading = block.is_ok().then_some(reading);
            Some((block, reading))
        }
    });
    Ok(ContentReader {
        total_bytes,
        range,
        stream: stream.boxed(),
    })
}

fn start(inner: &Inner, id: ContentId, range: Option<Range<u64>>) -> Result<(u64, Reading), StoreError> {
    let path = inner.content_path(id);
    let file = File::open(&path).map_err(|error| inner.open_error(id, &path, error))?;
    let total = file.metadata().at("look at", &path)?.len();
    mark_used(&file);
    let hasher = range.is_none().then(Hasher::new);
    if hasher.is_some() && total == 0 {
        // The stream would end before anything is checked.
        return Err(corrupt(inner, id, "it is empty".to_owned()));
    }
    let range = check_range(id, || inner.location(), total, range)?;
    let reading = Reading {
        file,
        path,
        next: range.start,
        end: range.end,
        hasher,
    };
    Ok((total, reading))
}

/// Eviction goes by the last use. A store that may only be read is not evicted from, so failing to mark is fine.
fn mark_used(file: &File) {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: time(UTIME_OMIT),
        last_modification: time(UTIME_NOW),
    };
    let _ = rustix::fs::futimens(file, &times);
}

impl Reading {
    fn next_block(&mut self, inner: &Inner, id: ContentId) -> Result<Bytes, StoreError> {
        let length = (self.end - self.next).min(BLOCK_BYTES as u64) as usize;
        let mut block = vec![0; length];
        self.file
            .read_exact_at(&mut block, self.next)
            .map_err(|error| self.read_error(inner, id, error))?;
        self.next += length as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&block);
            let actual = hasher.finish();
            if self.next == self.end && actual != *id.digest() {
                return Err(corrupt(inner, id, format!("its bytes have the digest {actual}")));
            }
        }
        Ok(block.into())
    }

    fn read_error(&self, inner: &Inner, id: ContentId, source: std::io::Error) -> StoreError {
        if source.kind() == ErrorKind::UnexpectedEof {
            return corrupt(inner, id, "it was cut while it was read".to_owned());
        }
        PathError {
            action: "read",
            path: self.path.clone(),
            source,
        }
        .into()
    }
}

/// Moves the content aside so that the next save stores it anew, and says so.
fn corrupt(inner: &Inner, id: ContentId, reason: String) -> StoreError {
    let reason = match inner.quarantine(id) {
        Ok(aside) => format!("{reason}; it was moved aside to {}", aside.display()),
        Err(_) => reason,
    };
    StoreError::Corrupt {
        what: id.to_string(),
        store: inner.location(),
        reason,
    }
}
