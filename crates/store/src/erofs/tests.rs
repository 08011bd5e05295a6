//! Images read back.
