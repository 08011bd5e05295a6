//! The stores of a run: the local one, and the remote behind it if one is named.

use std::{ops::Sub, path::PathBuf};

use headstart_store::{ChunkIndex, LocalStore, Runtime, Store};

use crate::{context::Context, error::CommandError, ui::Ui};

/// Opened stores and what they need to run.
#[derive(Debug)]
pub(crate) struct Stores {
    runtime: Runtime,
    local: LocalStore,
}

/// Stored bytes read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    /// From the local store.
    pub(crate) local_bytes: u64,
    /// From the remote.
    pub(crate) remote_bytes: u64,
}

impl Context {
    /// Opens the local store and, if one is named, the remote.
    pub(crate) fn open_stores(&self, _ui: &Ui) -> Result<Stores, CommandError> {
        let dir = self.store_dir()?;
        let local = LocalStore::open_or_create(dir.value)?;
        let runtime =
            Runtime::new().map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))?;
        Ok(Stores { runtime, local })
    }
}

impl Stores {
    pub(crate) fn store(&self) -> &dyn Store {
        &self.local
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The chunks the local store has.
    pub(crate) fn chunk_index(&self) -> Result<Option<ChunkIndex>, CommandError> {
        let cache_file = self.local.folder().join("chunk-index");
        Ok(Some(ChunkIndex::load(&cache_file, &self.local, &self.runtime)?))
    }

    /// Where the local store keeps expanded files.
    pub(crate) fn pool_dir(&self) -> PathBuf {
        self.local.folder().join("pool")
    }

    /// What was read so far.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

impl Sub for Traffic {
    type Output = Traffic;

    fn sub(self, before: Traffic) -> Traffic {
        Traffic {
            local_bytes: self.local_bytes - before.local_bytes,
            remote_bytes: self.remote_bytes - before.remote_bytes,
        }
    }
}
