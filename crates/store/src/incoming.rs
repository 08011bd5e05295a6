//! Checks content on its way in: length and digest against what was announced.

use headstart_digest::Hasher;

use crate::{ContentId, StoreError, range::check_size};

/// Counts and hashes the bytes of one upload.
#[derive(Debug)]
pub(crate) struct Incoming {
    id: ContentId,
    announced: u64,
    received: u64,
    hasher: Hasher,
}

impl Incoming {
    /// Expects `announced` bytes of `id`. More than the kind may have is refused before the first byte.
    pub(crate) fn new(id: ContentId, announced: u64) -> Result<Self, StoreError> {
        check_size(id, announced)?;
        Ok(Incoming {
            id,
            announced,
            received: 0,
            hasher: Hasher::new(),
        })
    }

    /// Takes the next bytes; refuses what goes beyond the announced length.
    pub(crate) fn update(&mut self, bytes: &[u8], store: &str) -> Result<(), StoreError> {
        self.received += bytes.len() as u64;
        if self.received > self.announced {
            return Err(self.corrupt(
                store,
                format!("more than the announced {} bytes came", self.announced),
            ));
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Says whether the whole of it is what was announced.
    pub(crate) fn finish(&self, store: &str) -> Result<(), StoreError> {
        if self.received != self.announced {
            let reason = format!("{} of the announced {} bytes came", self.received, self.announced);
            return Err(self.corrupt(store, reason));
        }
        let actual = self.hasher.finish();
        if actual != *self.id.digest() {
            return Err(self.corrupt(store, format!("its bytes have the digest {actual}")));
        }
        Ok(())
    }

    fn corrupt(&self, store: &str, reason: String) -> StoreError {
        StoreError::Corrupt {
            what: format!("{} on its way", self.id),
            store: store.to_owned(),
            reason,
        }
    }
}
