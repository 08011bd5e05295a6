//! What a plan says, for scripts and for people.

use headstart_image::{
    LoadedImage,
    metrics::{Pull, pull_bytes, pulls, rollout},
    plan::{Place, ignore_rules, places},
};
use serde::Serialize;

use super::{super::document::text, Planned, dockerfile::Dockerfile};
use crate::error::CommandError;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema: &'static str,
    pub(super) images: Vec<ImageDocument<'a>>,
    pub(super) layers: Vec<LayerDocument>,
    pub(super) pulls: Vec<PullDocument<'a>>,
    /// All images one after the other to one node that has nothing.
    pub(super) rollout: Change,
}

#[derive(Serialize)]
pub(super) struct ImageDocument<'a> {
    pub(super) reference: &'a str,
    pub(super) digest_before: String,
    pub(super) digest_after: String,
    pub(super) kept_layers: usize,
    /// Numbers in `layers`.
    pub(super) new_layers: &'a [usize],
    /// Null where no lines make its new layers.
    pub(super) dockerfile: Option<Dockerfile>,
    /// Rules for `.dockerignore`, with what they save.
    pub(super) ignore: Vec<IgnoreDocument>,
}

#[derive(Serialize)]
pub(super) struct IgnoreDocument {
    pub(super) path: String,
    /// The line that means the path; null where none can.
    pub(super) pattern: Option<String>,
    pub(super) wasted_bytes: u64,
}

#[derive(Serialize)]
pub(super) struct LayerDocument {
    pub(super) digest: String,
    pub(super) diff_id: String,
    pub(super) compressed_bytes: u64,
    pub(super) file_bytes: u64,
    pub(super) files: u64,
    /// Numbers in `images`.
    pub(super) images: Vec<usize>,
    pub(super) places: Vec<PlaceDocument>,
}

#[derive(Serialize)]
pub(super) struct PlaceDocument {
    pub(super) path: String,
    pub(super) folder: bool,
    pub(super) files: u64,
    pub(super) file_bytes: u64,
}

#[derive(Serialize)]
pub(super) struct PullDocument<'a> {
    pub(super) image: &'a str,
    pub(super) have: Vec<&'a str>,
    #[serde(flatten)]
    pub(super) change: Change,
}

#[derive(Serialize)]
pub(super) struct Change {
    pub(super) bytes_before: u64,
    pub(super) bytes_after: u64,
}

impl Planned {
    pub(super) fn document<'a>(&'a self, measured: &[LoadedImage]) -> Result<Document<'a>, CommandError> {
        let name = |image: usize| &*self.images[image].image.reference;
        let images = self.images.iter().zip(measured).zip(&self.plan.images);
        let images = images
            .zip(&self.copies)
            .map(|(((before, after), planned), copied)| {
                Ok(ImageDocument {
                    reference: &before.image.reference,
                    digest_before: before.image.digest.to_string(),
                    digest_after: after.image.digest.to_string(),
                    kept_layers: planned.kept,
                    new_layers: &planned.layers,
                    dockerfile: copied.as_deref().and_then(Dockerfile::of),
                    ignore: ignore_rules(before)?
                        .into_iter()
                        .map(|rule| IgnoreDocument {
                            path: text(&rule.path),
                            pattern: rule.pattern(),
                            wasted_bytes: rule.wasted_bytes,
                        })
                        .collect(),
                })
            });
        let layers = places(&self.plan).into_iter().enumerate();
        let layers = layers.map(|(number, places)| self.layer(number, places, measured));
        let before = pulls(&self.images);
        let between = before.into_iter().zip(pulls(measured));
        let between = between.map(|(Pull { image, have, bytes }, after)| PullDocument {
            image: name(image),
            have: have.into_iter().map(name).collect(),
            change: Change {
                bytes_before: bytes,
                bytes_after: after.bytes,
            },
        });
        let given = self.images.iter().zip(measured).filter(|_| !self.have.is_empty());
        let given = given.map(|(before, after)| PullDocument {
            image: &before.image.reference,
            have: self.have.iter().map(|have| &*have.image.reference).collect(),
            change: Change {
                bytes_before: pull_bytes(before, &self.have),
                bytes_after: pull_bytes(after, &self.have),
            },
        });
        Ok(Document {
            schema: "headstart.layers-plan/1",
            images: images.collect::<Result<_, CommandError>>()?,
            layers: layers.collect(),
            pulls: between.chain(given).collect(),
            rollout: Change {
                bytes_before: rollout(&self.images).into_iter().fold(0, u64::saturating_add),
                bytes_after: rollout(measured).into_iter().fold(0, u64::saturating_add),
            },
        })
    }

    fn layer(&self, number: usize, places: Vec<Place>, measured: &[LoadedImage]) -> LayerDocument {
        let planned = &self.plan.layers[number];
        let image = planned.images[0];
        let plan = &self.plan.images[image];
        let at = plan.layers.iter().position(|&layer| layer == number).unwrap_or(0);
        let built = &measured[image].layers[plan.kept + at];
        let places = places.into_iter().map(|place| PlaceDocument {
            path: text(&place.path),
            folder: place.is_folder,
            files: place.files,
            file_bytes: place.file_bytes,
        });
        LayerDocument {
            digest: built.digest.to_string(),
            diff_id: built.diff_id.to_string(),
            compressed_bytes: built.compressed_bytes,
            file_bytes: planned.file_bytes(),
            files: planned.file_count(),
            images: planned.images.clone(),
            places: places.collect(),
        }
    }
}
