//! Numbers: of one image, of many together, and of what a rollout pulls.

mod dive;
mod duplicates;
mod fleet;
mod image;
mod pulls;
mod twins;

pub use dive::{DiveMetrics, DiveWaste};
pub use duplicates::{DuplicateContent, Duplicates, FilePlace};
pub use fleet::{FleetMetrics, distinct_layers};
pub use image::{ImageMetrics, WastedFile};
pub use pulls::{Pull, pull_bytes, pulls, rollout};
pub use twins::EntrySetId;
