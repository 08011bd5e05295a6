//! Reading images: every distinct layer once, several at a time.

use std::{
    collections::{HashMap, HashSet, hash_map},
    io::{BufReader, Read},
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
    decompress::{Compression, decompress},
    interrupt,
    layer::EntryMemory,
    manifest::media_type,
};

/// How images are read.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// What images must run on. Unless somebody asks, an index gives the one for this machine, and an image alone is taken
    /// whatever it runs on.
    pub platform: Option<&'a Platform>,
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
#[derive(Debug, Clone)]
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
        .map(|source| load_image(&**source, options.platform))
        .collect::<Result<Vec<_>, _>>()?;
    let mut jobs: Vec<Job<'_>> = Vec::new();
    let mut numbers: HashMap<_, usize> = HashMap::new();
    let mut numbers_of_images = Vec::new();
    for (from, image) in images.iter().enumerate() {
        find_layers(&*sources[from], image)?;
        let numbers_of_image = image.layers.iter().map(|blob| {
            // Without a digest only the place tells blobs apart.
            let key = match blob.digest {
                Some(digest) => (None, digest.to_string()),
                None => (Some(from), blob.place().to_owned()),
            };
            let holder = Holder {
                source: &*sources[from],
                image,
                blob,
            };
            match numbers.entry(key) {
                hash_map::Entry::Occupied(number) => {
                    jobs[*number.get()].add(holder);
                    *number.get()
                }
                hash_map::Entry::Vacant(place) => {
                    jobs.push(Job(vec![holder]));
                    *place.insert(jobs.len() - 1)
                }
            }
        });
        numbers_of_images.push(numbers_of_image.collect::<Vec<usize>>());
    }
    let layers = read_all(&jobs, options)?;
    let loaded = images.into_iter().zip(numbers_of_images);
    let loaded = loaded.map(|(image, numbers)| {
        let blobs = image.layers.iter().zip(numbers);
        let layers = blobs.map(|(blob, number)| claimed(&image, blob, &layers[number]));
        Ok(LoadedImage {
            layers: layers.collect::<Result<_, ImageError>>()?,
            image,
        })
    });
    loaded.collect()
}

/// Refuses an image that lacks a layer, however well it is known and whoever else has it; foreign ones may be elsewhere.
fn find_layers(source: &dyn Source, image: &Image) -> Result<(), ImageError> {
    let own = |blob: &&LayerBlob| !media_type::is_foreign_layer(&blob.media_type);
    image.layers.iter().filter(own).try_for_each(|blob| {
        let found = source.find_layer(blob)?;
        found.map_or(Ok(()), |found_bytes| check_size(image, blob, found_bytes))
    })
}

/// A layer that was read as an image claims it to be: blobs of one digest may be claimed to be different tars, or of different
/// lengths. What nobody could read is to each image what it says, and so is a media type.
fn claimed(image: &Image, blob: &LayerBlob, read: &Arc<StoredLayer>) -> Result<Arc<StoredLayer>, ImageError> {
    if read.layer.is_none() {
        return Ok(Arc::new(StoredLayer {
            digest: read.digest,
            media_type: blob.media_type.clone(),
            compressed_bytes: blob.size_bytes,
            diff_id: blob.diff_id,
            layer: None,
        }));
    }
    check_diff_id(image, blob, read.diff_id)?;
    check_size(image, blob, read.compressed_bytes)?;
    match &*blob.media_type {
        said if said.is_empty() || said == read.media_type => Ok(Arc::clone(read)),
        said => Ok(Arc::new(StoredLayer {
            media_type: said.to_owned(),
            ..StoredLayer::clone(read)
        })),
    }
}

fn load_image(source: &dyn Source, asked: Option<&Platform>) -> Result<Image, ImageError> {
    let Some(asked) = asked else {
        return source.load_image(&Platform::native());
    };
    let image = source.load_image(asked)?;
    match &image.config.platform {
        Some(found) if !found.may_be(asked) => {
            let place = format!("{}, which is for {found}", image.reference);
            Err(ImageError::missing(format!("an image for {asked}"), place))
        }
        _ => Ok(image),
    }
}

/// A blob to read, and who has it, or may have.
struct Job<'a>(Vec<Holder<'a>>);

/// An image that says to have a blob.
#[derive(Clone, Copy)]
struct Holder<'a> {
    source: &'a dyn Source,
    image: &'a Image,
    blob: &'a LayerBlob,
}

impl<'a> Job<'a> {
    /// One that must have the blob is enough; those that may leave it elsewhere are all asked, whatever their order.
    fn add(&mut self, holder: Holder<'a>) {
        match (self.0[0].is_foreign(), holder.is_foreign()) {
            (true, true) => self.0.push(holder),
            (true, false) => self.0 = vec![holder],
            (false, _) => {}
        }
    }

    fn size_bytes(&self) -> u64 {
        self.0[0].blob.size_bytes
    }

    fn read(
        &self,
        known: &Known,
        options: ReadOptions<'_>,
        memory: &EntryMemory,
    ) -> Result<StoredLayer, ImageError> {
        let mut stored = self.0[0].read(known, options, memory)?;
        for holder in &self.0[1..] {
            if stored.layer.is_some() {
                break;
            }
            stored = holder.read(known, options, memory)?;
        }
        Ok(stored)
    }
}

/// Layers that were read before, by their tars.
type Known = HashMap<DiffId, Arc<StoredLayer>>;

/// Reads every blob, in the order of `jobs`.
fn read_all(jobs: &[Job<'_>], options: ReadOptions<'_>) -> Result<Vec<Arc<StoredLayer>>, ImageError> {
    let all_bytes = jobs
        .iter()
        .fold(0_u64, |sum, job| sum.saturating_add(job.size_bytes()));
    options.progress.start(all_bytes);
    // The largest first, so that none is left for the end. What has no digest, and is claimed to be a tar that another one is
    // claimed to be too, comes last: hashing it will be enough if that is true.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(jobs[number].size_bytes()));
    let has_digest = |number: &usize| jobs[*number].0[0].blob.digest.is_some();
    let (mut first, nameless): (Vec<_>, Vec<_>) = order.into_iter().partition(has_digest);
    let diff_id = |number: &usize| jobs[*number].0[0].blob.diff_id;
    let mut claims: HashSet<DiffId> = first.iter().map(diff_id).collect();
    let (new, second): (Vec<_>, Vec<_>) = nameless
        .into_iter()
        .partition(|number| claims.insert(diff_id(number)));
    first.extend(new);
    let memory = EntryMemory::default();
    let mut done = read_some(jobs, &first, &Known::new(), options, &memory)?;
    let known = done
        .iter()
        .filter(|(_, stored)| stored.layer.is_some())
        .map(|(_, stored)| (stored.diff_id, Arc::clone(stored)))
        .collect();
    done.extend(read_some(jobs, &second, &known, options, &memory)?);
    drop(known);
    options.progress.finish();
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

/// Reads the blobs of these numbers, several at a time.
fn read_some(
    jobs: &[Job<'_>],
    order: &[usize],
    known: &Known,
    options: ReadOptions<'_>,
    memory: &EntryMemory,
) -> Result<Vec<(usize, Arc<StoredLayer>)>, ImageError> {
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let work = || {
        let mut done = Vec::new();
        while !has_failed.load(Ordering::Relaxed) {
            let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let read = interrupt::check(options.interrupt);
            match read.and_then(|()| jobs[number].read(known, options, memory)) {
                Ok(layer) => done.push((number, Arc::new(layer))),
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(done)
    };
    let workers = options.parallel.get().min(order.len());
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
    let mut done = Vec::with_capacity(order.len());
    for outcome in outcomes {
        done.extend(outcome?);
    }
    Ok(done)
}

impl Holder<'_> {
    /// Whether the blob may be elsewhere.
    fn is_foreign(&self) -> bool {
        media_type::is_foreign_layer(&self.blob.media_type)
    }

    fn read(
        self,
        known: &Known,
        options: ReadOptions<'_>,
        memory: &EntryMemory,
    ) -> Result<StoredLayer, ImageError> {
        let Some(digest) = self.blob.digest else {
            return self.read_nameless(known, options, memory);
        };
        // Of a foreign layer it matters whether it is here, however well it is known.
        if self.is_foreign() {
            match self.open() {
                Err(ImageError::Missing { .. }) => return Ok(self.elsewhere(digest)),
                opened => drop(opened?),
            }
        }
        if let Some(known) = cache::load_blob(options.cache, &digest)
            && let Some(layer) = cache::load_layer(options.cache, &known.diff_id)
        {
            check_size(self.image, self.blob, known.size_bytes)?;
            self.take_memory(&layer, memory)?;
            options.progress.advance(self.blob.size_bytes);
            return Ok(self.stored(digest, known.compression, Arc::new(layer)));
        }
        self.scan(options, memory)
    }

    /// Nobody says the digest: if the tar is known, hashing is enough to learn whether this is it.
    fn read_nameless(
        self,
        known: &Known,
        options: ReadOptions<'_>,
        memory: &EntryMemory,
    ) -> Result<StoredLayer, ImageError> {
        let diff_id = self.blob.diff_id;
        let read_before = known.get(&diff_id);
        let layer = match read_before {
            Some(stored) => stored.layer.clone(),
            None => cache::load_layer(options.cache, &diff_id).map(Arc::new),
        };
        let Some(layer) = layer else {
            return self.scan(options, memory);
        };
        if read_before.is_none() {
            self.take_memory(&layer, memory)?;
        }
        let name = self.name();
        let digest = hash_blob(
            self.stored_blob(&name),
            self.open()?,
            options.progress,
            options.interrupt,
        )?;
        if *digest.as_bytes() == *diff_id.as_bytes() {
            return Ok(self.stored(digest, Compression::None, layer));
        }
        let is_known_blob = read_before.is_some_and(|stored| stored.digest == digest)
            || cache::load_blob(options.cache, &digest).is_some_and(|known| known.diff_id == diff_id);
        match is_known_blob {
            true => Ok(self.stored(digest, self.compression()?, layer)),
            false => self.scan(options, memory),
        }
    }

    /// For a layer that was not scanned.
    fn take_memory(self, layer: &Layer, memory: &EntryMemory) -> Result<(), ImageError> {
        let taken = memory.take(layer.bytes());
        taken.map_err(|full| ImageError::too_large(&self.image.reference, full.to_string()))
    }

    fn name(&self) -> String {
        match self.blob.digest {
            Some(digest) => format!("layer {digest} of {}", self.image.reference),
            None => format!("layer {} of {}", self.blob.place(), self.image.reference),
        }
    }

    fn stored_blob<'n>(&self, name: &'n str) -> StoredBlob<'n> {
        StoredBlob {
            what: name,
            size_bytes: self.blob.size_bytes,
        }
    }

    fn open(&self) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        self.source.open_layer(self.blob)
    }

    /// What the first bytes tell.
    fn compression(&self) -> Result<Compression, ImageError> {
        let sniffed = decompress(BufReader::new(self.open()?));
        let (compression, _) = sniffed.map_err(|source| ImageError::Read {
            what: self.name(),
            source,
        })?;
        Ok(compression)
    }

    fn scan(self, options: ReadOptions<'_>, memory: &EntryMemory) -> Result<StoredLayer, ImageError> {
        let name = self.name();
        let blob = self.stored_blob(&name);
        let ScannedBlob {
            digest,
            compression,
            layer,
        } = scan_blob(blob, self.open()?, memory, options.progress, options.interrupt)?;
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
        Ok(self.stored(digest, compression, Arc::new(layer)))
    }

    fn stored(self, digest: BlobDigest, compression: Compression, layer: Arc<Layer>) -> StoredLayer {
        let media_type = match &*self.blob.media_type {
            "" => compression.media_type(),
            said => said,
        };
        StoredLayer {
            digest,
            media_type: media_type.to_owned(),
            compressed_bytes: self.blob.size_bytes,
            diff_id: layer.diff_id(),
            layer: Some(layer),
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
