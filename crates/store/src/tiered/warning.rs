//! What a person should know of a remote, although nothing failed.

use crate::StoreError;

/// What a person should know of a remote, although nothing failed because of it. The cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum TierWarning {
    /// It does not answer, or not as it should.
    #[error("the remote is left alone for the rest of this run")]
    RemoteLeft(#[source] StoreError),
    /// It answers, but takes nothing from us.
    #[error("nothing more is uploaded to the remote in this run")]
    UploadsLeft(#[source] StoreError),
    /// It has bytes that do not match their name; they are not used.
    #[error("what the remote has is not used")]
    RemoteCorrupt(#[source] StoreError),
    /// A local copy is damaged; the remote is asked instead.
    #[error("what the local store has is not used")]
    LocalCorrupt(#[source] StoreError),
    /// The local store takes nothing; what was fetched will be fetched again, and what is saved the remote alone has.
    #[error("the local store keeps nothing more in this run")]
    NotKept(#[source] StoreError),
    /// A snapshot names packs that neither store has, so it is not offered to others.
    #[error("the snapshot is not uploaded: packs it names are in neither store")]
    Incomplete(#[source] StoreError),
}
