//! One piece of content against its name and its format.

use headstart_digest::{Digest, PackId};

use crate::{ContentId, FormatError, PackTable, PruneStore, Snapshot, StoreError};

/// What a piece of content is.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A pack that is right.
    Pack,
    /// A snapshot that is right, and the packs it needs.
    Snapshot(Vec<PackId>),
    /// Wrong.
    Corrupt(String),
    /// A newer program wrote it: nothing this one may judge.
    Unsupported(String),
    /// Not there, or no longer.
    Gone,
}

impl Verdict {
    /// True for what is there and not wrong, as far as this program can judge.
    pub(super) fn is_right(&self) -> bool {
        matches!(
            self,
            Verdict::Pack | Verdict::Snapshot(_) | Verdict::Unsupported(_)
        )
    }
}

pub(super) async fn check(store: &dyn PruneStore, id: ContentId) -> Result<Verdict, StoreError> {
    let stored = match store.inspect(id).await {
        Ok(stored) => stored,
        Err(StoreError::Missing { .. }) => return Ok(Verdict::Gone),
        Err(error @ (StoreError::TooLarge { .. } | StoreError::Corrupt { .. })) => {
            return Ok(Verdict::Corrupt(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let judged = tokio::task::spawn_blocking(move || judge(id, &stored));
    match judged.await {
        Ok(verdict) => Ok(verdict),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn judge(id: ContentId, stored: &bytes::Bytes) -> Verdict {
    let actual = Digest::of(stored);
    if actual != *id.digest() {
        return Verdict::Corrupt(format!("its bytes have the digest {actual}"));
    }
    let verdict = match id {
        ContentId::Pack(_) => PackTable::verify(stored).map(|_| Verdict::Pack),
        ContentId::Snapshot(_) => Snapshot::parse(stored)
            .map(|snapshot| Verdict::Snapshot(snapshot.packs().iter().map(|pack| pack.id).collect())),
    };
    verdict.unwrap_or_else(|error| match error {
        FormatError::Version { .. } => Verdict::Unsupported(error.to_string()),
        _ => Verdict::Corrupt(error.to_string()),
    })
}
