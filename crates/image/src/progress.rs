//! What reading tells while it goes on.

/// Listens to the reading of layers. Called from several threads, often: implementations must be quick.
pub trait Progress: Send + Sync {
    /// Reading begins; so many stored bytes are to be read.
    fn start(&self, stored_bytes: u64);
    /// So many more of them were read.
    fn advance(&self, stored_bytes: u64);
    /// It is over.
    fn finish(&self);
}

/// A listener that does not listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _stored_bytes: u64) {}
    fn advance(&self, _stored_bytes: u64) {}
    fn finish(&self) {}
}
