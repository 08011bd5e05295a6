//! Files that are on the disk soon after they are written.

use std::io::{self, Write};

use headstart_fs::publish::Durability;
use tempfile::NamedTempFile;

/// What slow disks take in about a second.
const STEP_BYTES: u64 = 32 << 20;

/// A file that is brought to the disk step by step: nothing can interrupt a sync, so that none of gigabytes must be left for the
/// end.
#[derive(Debug)]
pub(super) struct SteadyFile<'a> {
    file: &'a mut NamedTempFile,
    durability: Durability,
    unsynced_bytes: u64,
}

impl<'a> SteadyFile<'a> {
    pub(super) fn new(file: &'a mut NamedTempFile, durability: Durability) -> Self {
        SteadyFile {
            file,
            durability,
            unsynced_bytes: 0,
        }
    }
}

impl Write for SteadyFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unsynced_bytes >= STEP_BYTES && self.durability == Durability::Synced {
            self.file.as_file().sync_data()?;
            self.unsynced_bytes = 0;
        }
        let written = self.file.write(bytes)?;
        self.unsynced_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
