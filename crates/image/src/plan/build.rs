//! Carrying a plan out, or finding out what it would give.

use std::{io, path::Path, sync::Arc};

use super::{LayersPlan, PlannedEntry, PlannedKind, PlannedLayer, bodies::Bodies};
use crate::{
    ImageError, Layer, LoadedImage, Source, StoredLayer,
    build::{
        Base, BuildOptions, ConfigDocument, Documents, ImageWriter, LayerWriter, Step, build_layer,
        documents, merge, prove, write_kept,
    },
    interrupt,
    tar::{Entry, Kind},
};

/// A plan, and where the bytes are that it needs.
#[derive(Debug, Clone, Copy)]
pub struct PlannedBuild<'a> {
    /// What to make.
    pub plan: &'a LayersPlan,
    /// The images it was made for, in their order.
    pub images: &'a [LoadedImage],
    /// Where they come from.
    pub sources: &'a [Box<dyn Source>],
    /// A folder with room for the files of all new layers.
    pub scratch: &'a Path,
}

/// Builds the images to nowhere: what they would be, byte by byte.
pub fn measure_plan(
    build: PlannedBuild<'_>,
    options: BuildOptions<'_>,
) -> Result<Vec<LoadedImage>, ImageError> {
    let bodies = build.collect(options)?;
    let layers =
        build.make(|layer| build_layer(options, io::sink(), |writer| fill(writer, layer, &bodies)))?;
    let images = build.stack(&layers)?;
    for (number, documents) in images.iter().enumerate() {
        interrupt::check(options.interrupt)?;
        let new = build.plan.images[number].layers.iter();
        let new = new.filter_map(|&layer| layers[layer].layer.as_deref());
        build.prove(number, &documents.image, new)?;
    }
    Ok(images.into_iter().map(|documents| documents.image).collect())
}

/// Builds the images into `output` under these tags, one for each, and proves that their file systems are what they were.
pub fn build_plan(
    build: PlannedBuild<'_>,
    tags: &[Option<String>],
    output: &mut ImageWriter,
    options: BuildOptions<'_>,
) -> Result<Vec<LoadedImage>, ImageError> {
    let bodies = build.collect(options)?;
    let staging = output.staging();
    let layers = build.make(|layer| staging.add_layer(options, |writer| fill(writer, layer, &bodies)))?;
    let read_back = layers
        .iter()
        .map(|layer| staging.read_back(layer, options.interrupt))
        .collect::<Result<Vec<Layer>, _>>()?;
    for (number, planned) in build.plan.images.iter().enumerate() {
        let base = Base {
            image: &build.images[number],
            source: &*build.sources[number],
        };
        let kept = &base.image.layers[..planned.kept];
        write_kept(output, base, kept, options.interrupt)?;
    }
    let images = build.stack(&layers)?;
    for (number, documents) in images.iter().enumerate() {
        interrupt::check(options.interrupt)?;
        let new = build.plan.images[number].layers.iter();
        build.prove(number, &documents.image, new.map(|&layer| &read_back[layer]))?;
    }
    let images = images.into_iter().zip(tags);
    images
        .map(|(documents, tag)| documents.write(output, tag.clone()))
        .collect()
}

impl PlannedBuild<'_> {
    fn collect(&self, options: BuildOptions<'_>) -> Result<Bodies, ImageError> {
        Bodies::collect(self.plan, self.images, self.sources, self.scratch, options)
    }

    fn make(
        &self,
        make: impl Fn(&PlannedLayer) -> Result<StoredLayer, ImageError>,
    ) -> Result<Vec<Arc<StoredLayer>>, ImageError> {
        self.plan
            .layers
            .iter()
            .map(|layer| make(layer).map(Arc::new))
            .collect()
    }

    /// The images with the new layers on those they keep.
    fn stack(&self, layers: &[Arc<StoredLayer>]) -> Result<Vec<Documents>, ImageError> {
        let images = self.images.iter().zip(&self.plan.images);
        images
            .map(|(image, planned)| {
                let mut stack = image.layers[..planned.kept].to_vec();
                let mut steps = Vec::new();
                for &number in &planned.layers {
                    stack.push(Arc::clone(&layers[number]));
                    let created_by = match self.plan.layers[number].images.len() {
                        1 => "headstart layers build: files of this image".to_owned(),
                        images => format!("headstart layers build: files of {images} images"),
                    };
                    steps.push(Step {
                        diff_id: layers[number].diff_id,
                        created_by,
                    });
                }
                let reference = &image.image.reference;
                let mut config = ConfigDocument::of(reference, &image.image.config_json)?;
                config.stack(planned.kept, &steps);
                documents(reference, &config, stack)
            })
            .collect()
    }

    fn prove<'a>(
        &self,
        number: usize,
        built: &'a LoadedImage,
        new: impl Iterator<Item = &'a Layer>,
    ) -> Result<(), ImageError> {
        let expected = merge(&self.images[number].layers)?;
        prove(
            built,
            self.plan.images[number].kept,
            new,
            &expected,
            self.plan.times,
        )
    }
}

fn fill(writer: &mut LayerWriter<'_>, layer: &PlannedLayer, bodies: &Bodies) -> Result<(), ImageError> {
    for planned in &layer.entries {
        let PlannedEntry { path, kind, meta } = planned;
        let mtime = (meta.mtime_seconds, meta.mtime_nanoseconds);
        let kind = match kind {
            PlannedKind::Whiteout => {
                writer.hide(path, mtime)?;
                continue;
            }
            &PlannedKind::File { size_bytes, .. } => Kind::File {
                size_bytes,
                hole_bytes: 0,
            },
            PlannedKind::HardLink { target } => Kind::HardLink(target.clone()),
            PlannedKind::Symlink { target } => Kind::Symlink(target.clone()),
            PlannedKind::Folder => Kind::Folder,
            &PlannedKind::CharDevice { major, minor } => Kind::CharDevice(major, minor),
            &PlannedKind::BlockDevice { major, minor } => Kind::BlockDevice(major, minor),
            PlannedKind::Fifo => Kind::Fifo,
        };
        let entry = Entry {
            path: path.clone(),
            kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime,
            xattrs: bodies.attributes(meta.attributes)?,
        };
        match &planned.kind {
            PlannedKind::File { content, .. } => writer.add(&entry, bodies.open(content))?,
            _ => writer.add(&entry, io::empty())?,
        }
    }
    Ok(())
}
