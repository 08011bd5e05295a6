//! Reading images: every distinct layer once, several at a time.

use std::{
    collections::{HashMap, hash_map},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    BlobDigest, DiffId, Image, ImageError, Layer, LayerBlob, LayerCache, Platform, Progress, Source,
    blob::{ScannedBlob, StoredBlob, hash_blob, scan_blob},
    cache::{self, KnownBlob},
    decompress::Compression,
    layer::EntryMemory,
    manifest::media_type,
};

/// How images are read.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// Which image of an index is meant.
    pub platform: &'a Platform,
    /// Layers that are read at the same time; each takes two threads and some MB, one compressed by zstd up to 130 MB.
    pub parallel: NonZero<usize>,
    /// Where layers are remembered.
    pub cache: &'a dyn LayerCache,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
    /// Set to stop.
    pub interrupt: &'a AtomicBool,
}

/// An image and its layers.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// What it says of itself.
    pub image: Image,
    /// Lowest first. Images share what is the same.
    pub layers: Vec<Arc<StoredLayer>>,
}

/// A layer as it is stored and pulled.
#[derive(Debug)]
pub struct StoredLayer {
    /// Digest of the bytes as stored.
    pub digest: BlobDigest,
    /// What it is said to be; where nobody says, what it is.
    pub media_type: String,
    /// Length as stored.
    pub compressed_bytes: u64,
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Its entries. `None` for a foreign layer whose bytes are elsewhere.
    pub layer: Option<Arc<Layer>>,
}

/// Reads one image from each source, in their order.
pub fn read_images(
    sources: &[Box<dyn Source>],
    options: ReadOptions<'_>,
) -> Result<Vec<LoadedImage>, ImageError> {
    let images = sources
        .iter()
        .map(|source| source.load_image(options.platform))
        .collect::<Result<Vec<_>, _>>()?;
    let mut blobs = Vec::new();
    let mut numbers = HashMap::new();
    let mut numbers_of_images = Vec::new();
    for (from, image) in images.iter().enumerate() {
        let numbers_of_image = image.layers.iter().map(|blob| {
            // Without a digest only the place tells blobs apart.
            let key = match blob.digest {
                Some(digest) => (None, digest.to_string()),
                None => (Some(from), blob.place().to_owned()),
            };
            match numbers.entry(key) {
                hash_map::Entry::Occupied(number) => *number.get(),
                hash_map::Entry::Vacant(place) => {
                    blobs.push(Job {
                        source: &*sources[from],
                        image,
                        blob,
                    });
                    *place.insert(blobs.len() - 1)
                }
            }
        });
        numbers_of_images.push(numbers_of_image.collect::<Vec<usize>>());
    }
    let layers = read_all(&blobs, options)?;
    // Blobs of one digest may be claimed to be different tars, or of different lengths.
    for (image, numbers) in images.iter().zip(&numbers_of_images) {
        for (blob, &number) in image.layers.iter().zip(numbers) {
            check_diff_id(image, blob, layers[number].diff_id)?;
            check_size(image, blob, layers[number].compressed_bytes)?;
        }
    }
    let loaded = images.into_iter().zip(numbers_of_images);
    let loaded = loaded.map(|(image, numbers)| LoadedImage {
        image,
        layers: numbers
            .into_iter()
            .map(|number| Arc::clone(&layers[number]))
            .collect(),
    });
    Ok(loaded.collect())
}

/// A blob to read.
#[derive(Clone, Copy)]
struct Job<'a> {
    source: &'a dyn Source,
    image: &'a Image,
    blob: &'a LayerBlob,
}

/// Reads every blob, in the order of `jobs`.
fn read_all(jobs: &[Job<'_>], options: ReadOptions<'_>) -> Result<Vec<Arc<StoredLayer>>, ImageError> {
    options.progress.start(
        jobs.iter()
            .fold(0, |sum, job| sum.saturating_add(job.blob.size_bytes)),
    );
    // The largest first, so that none is left for the end.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(jobs[number].blob.size_bytes));
    let memory = EntryMemory::default();
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let work = || {
        let mut done = Vec::new();
        while !has_failed.load(Ordering::Relaxed) {
            let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            match jobs[number].read(options, &memory) {
                Ok(layer) => done.push((number, Arc::new(layer))),
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let workers = options.parallel.get().min(jobs.len());
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    options.progress.finish();
    let mut done = Vec::with_capacity(jobs.len());
    for outcome in outcomes {
        done.extend(outcome?);
    }
    done.sort_by_key(|(number, _)| *number);
    // Equal tars that are compressed in different ways are kept once.
    let mut layers: HashMap<DiffId, Arc<Layer>> = HashMap::new();
    let stored = done.into_iter().map(|(_, mut stored)| {
        if let Some(stored) = Arc::get_mut(&mut stored)
            && let Some(layer) = &mut stored.layer
        {
            let first = layers.entry(stored.diff_id).or_insert_with(|| Arc::clone(layer));
            *layer = Arc::clone(first);
        }
        stored
    });
    Ok(stored.collect())
}

impl Job<'_> {
    fn read(self, options: ReadOptions<'_>, memory: &EntryMemory) -> Result<StoredLayer, ImageError> {
        if let Some(digest) = self.blob.digest
            && let Some(known) = cache::load_blob(options.cache, &digest)
            && let Some(layer) = cache::load_layer(options.cache, &known.diff_id)
        {
            check_size(self.image, self.blob, known.size_bytes)?;
            self.take_memory(&layer, memory)?;
            options.progress.advance(self.blob.size_bytes);
            return Ok(self.stored(digest, known.compression, layer));
        }
        self.read_bytes(options, memory)
    }

    /// For a layer that was not scanned.
    fn take_memory(self, layer: &Layer, memory: &EntryMemory) -> Result<(), ImageError> {
        let taken = memory.take(layer.bytes());
        taken.map_err(|full| ImageError::too_large(&self.image.reference, full.to_string()))
    }

    fn read_bytes(self, options: ReadOptions<'_>, memory: &EntryMemory) -> Result<StoredLayer, ImageError> {
        let ReadOptions {
            cache,
            progress,
            interrupt,
            ..
        } = options;
        let name = match self.blob.digest {
            Some(digest) => format!("layer {digest} of {}", self.image.reference),
            None => format!("layer {} of {}", self.blob.place(), self.image.reference),
        };
        let blob = StoredBlob {
            what: &name,
            size_bytes: self.blob.size_bytes,
        };
        let open = || self.source.open_layer(self.blob);
        let stream = match (open(), self.blob.digest) {
            (Err(ImageError::Missing { .. }), Some(digest))
                if media_type::is_foreign_layer(&self.blob.media_type) =>
            {
                return Ok(self.elsewhere(digest));
            }
            (stream, _) => stream?,
        };
        // Nobody says the digest: if the tar is known, hashing is enough to learn whether this is it.
        if self.blob.digest.is_none()
            && let Some(layer) = cache::load_layer(cache, &self.blob.diff_id)
        {
            self.take_memory(&layer, memory)?;
            let digest = hash_blob(blob, stream, progress, interrupt)?;
            if *digest.as_bytes() == *layer.diff_id().as_bytes() {
                return Ok(self.stored(digest, Compression::None, layer));
            }
            if let Some(known) = cache::load_blob(cache, &digest)
                && known.diff_id == layer.diff_id()
            {
                return Ok(self.stored(digest, known.compression, layer));
            }
            return self.scan(blob, open()?, options, memory);
        }
        self.scan(blob, stream, options, memory)
    }

    fn scan(
        self,
        blob: StoredBlob<'_>,
        stream: impl std::io::Read + Send,
        options: ReadOptions<'_>,
        memory: &EntryMemory,
    ) -> Result<StoredLayer, ImageError> {
        let ScannedBlob {
            digest,
            compression,
            layer,
        } = scan_blob(blob, stream, memory, options.progress, options.interrupt)?;
        if let Some(expected) = self.blob.digest
            && expected != digest
        {
            return Err(ImageError::WrongDigest {
                what: blob.what.to_owned(),
                expected: expected.to_string(),
                found: digest.to_string(),
            });
        }
        check_diff_id(self.image, self.blob, layer.diff_id())?;
        let known = KnownBlob {
            diff_id: layer.diff_id(),
            compression,
            size_bytes: blob.size_bytes,
        };
        cache::keep(options.cache, &digest, known, &layer);
        Ok(self.stored(digest, compression, layer))
    }

    fn stored(self, digest: BlobDigest, compression: Compression, layer: Layer) -> StoredLayer {
        let media_type = match &*self.blob.media_type {
            "" => compression.media_type(),
            said => said,
        };
        StoredLayer {
            digest,
            media_type: media_type.to_owned(),
            compressed_bytes: self.blob.size_bytes,
            diff_id: layer.diff_id(),
            layer: Some(Arc::new(layer)),
        }
    }

    fn elsewhere(self, digest: BlobDigest) -> StoredLayer {
        StoredLayer {
            digest,
            media_type: self.blob.media_type.clone(),
            compressed_bytes: self.blob.size_bytes,
            diff_id: self.blob.diff_id,
            layer: None,
        }
    }
}

/// Blobs whose bytes are read are refused there when their length is another.
fn check_size(image: &Image, blob: &LayerBlob, found_bytes: u64) -> Result<(), ImageError> {
    match blob.size_bytes == found_bytes {
        true => Ok(()),
        false => Err(ImageError::corrupt(
            format!("layer {} of {}", blob.place(), image.reference),
            format!("it has {found_bytes} bytes, not {}", blob.size_bytes),
        )),
    }
}

fn check_diff_id(image: &Image, blob: &LayerBlob, found: DiffId) -> Result<(), ImageError> {
    match blob.diff_id == found {
        true => Ok(()),
        false => Err(ImageError::WrongDigest {
            what: format!("the tar of a layer of {}", image.reference),
            expected: blob.diff_id.to_string(),
            found: found.to_string(),
        }),
    }
}
