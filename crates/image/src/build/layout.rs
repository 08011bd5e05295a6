//! OCI layouts on the disk, to which images are added while others may do the same.
//!
//! Blobs are on the disk before `index.json` names them. Who changes `index.json` holds the lock on `oci-layout`, a file that
//! is written once and never replaced.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use headstart_fs::{
    AtPath as _, FileLock,
    publish::{self, Durability},
};
use serde_json::{Value, json};

use super::{output::NamedImage, staging::Staging};
use crate::{
    ImageError, interrupt,
    manifest::{MAX_MANIFEST_BYTES, media_type, parse},
    source::REF_NAME,
};

/// What makes a folder a layout.
pub(super) const LAYOUT_FILE: &str = "oci-layout";
/// How often a lock that somebody holds is looked at.
const POLL: Duration = Duration::from_millis(20);
/// The list of a layout's images.
pub(super) const INDEX_FILE: &str = "index.json";
/// Says of an image without a tag that it is ours to replace.
const REPLACEABLE: &str = "headstart.untagged";

pub(super) fn layout_document() -> Value {
    json!({"imageLayoutVersion": "1.0.0"})
}

/// Says of a folder that it is a layout, before anything is in it: a build that fails leaves something the next goes on with.
/// A folder that holds something else is left alone.
pub(super) fn begin(folder: &Path) -> Result<(), ImageError> {
    fs::create_dir_all(folder).at("create", folder)?;
    let mut is_empty = true;
    for entry in fs::read_dir(folder).at("list", folder)? {
        // Another build may be a moment ahead of us.
        is_empty &= publish::is_temp(&entry.at("list", folder)?.file_name());
    }
    let path = folder.join(LAYOUT_FILE);
    if path.exists() {
        // An index that nothing can be added to is told now, not when everything is built.
        return load_index(folder).map(drop);
    }
    if !is_empty {
        let reason = "it is there, and is neither empty nor an OCI layout";
        return Err(ImageError::unsupported(folder.display().to_string(), reason));
    }
    let mut temp = publish::temp_in_place_of(&path)?;
    let document = layout_document().to_string();
    temp.write_all(document.as_bytes()).at("write", temp.path())?;
    let _ = publish::persist_new(temp, &path)?;
    // Without a list of images other tools take it for broken.
    let path = folder.join(INDEX_FILE);
    let mut temp = publish::temp_in_place_of(&path)?;
    let document = empty_index().to_string();
    temp.write_all(document.as_bytes()).at("write", temp.path())?;
    let _ = publish::persist_new(temp, &path)?;
    Ok(())
}

/// Adds images whose blobs are there to the index.
pub(super) fn add(
    staging: &Staging,
    images: &[NamedImage],
    interrupt: &AtomicBool,
) -> Result<(), ImageError> {
    staging.sync()?;
    let folder = staging.layout();
    let _lock = lock(&folder.join(LAYOUT_FILE), interrupt)?;
    let mut index = load_index(folder)?;
    check_untagged(folder, &index, images)?;
    add_to_index(&mut index, images);
    let path = folder.join(INDEX_FILE);
    let mut temp = publish::temp_in_place_of(&path)?;
    temp.write_all(index.to_string().as_bytes())
        .at("write", temp.path())?;
    publish::persist(temp, &path, Durability::Synced)?;
    Ok(publish::sync_folder(folder)?)
}

/// Waits until nobody else adds images.
fn lock(path: &Path, interrupt: &AtomicBool) -> Result<FileLock, ImageError> {
    loop {
        interrupt::check(interrupt)?;
        match FileLock::try_exclusive_existing(path)? {
            Some(lock) => return Ok(lock),
            None => thread::sleep(POLL),
        }
    }
}

pub(super) fn empty_index() -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []})
}

fn load_index(folder: &Path) -> Result<Value, ImageError> {
    let path = folder.join(INDEX_FILE);
    let what = path.display().to_string();
    match fs::metadata(&path) {
        Ok(there) if there.len() > MAX_MANIFEST_BYTES => {
            return Err(ImageError::too_large(what, format!("{MAX_MANIFEST_BYTES} bytes")));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(empty_index()),
        _ => {}
    }
    let index: Value = parse(&what, &fs::read(&path).at("read", &path)?)?;
    match index.is_object() && matches!(index["manifests"], Value::Null | Value::Array(_)) {
        true => Ok(index),
        false => Err(ImageError::corrupt(what, "it is no index of images")),
    }
}

pub(super) fn add_to_index(index: &mut Value, images: &[NamedImage]) {
    for image in images {
        add_image(index, image);
    }
}

/// Without a tag an image is only found where it is alone, or the one for its platform.
fn check_untagged(folder: &Path, index: &Value, images: &[NamedImage]) -> Result<(), ImageError> {
    let untagged = images.iter().filter(|image| image.tag.is_none());
    for image in untagged {
        let is_told_apart = |old: &Value| {
            let is_same = old["digest"] == json!(image.manifest);
            is_untagged(old) && (is_same || is_replaced(old, image) || is_for_another(old, image))
        };
        let mut there = index["manifests"].as_array().into_iter().flatten();
        if !there.all(is_told_apart) {
            let reason = "it has an image already; name a tag, like oci:DIR:TAG";
            return Err(ImageError::unsupported(folder.display().to_string(), reason));
        }
    }
    Ok(())
}

/// The tag moves from whatever had it. An image without one takes the place of what an earlier build put there for its platform.
fn add_image(index: &mut Value, image: &NamedImage) {
    let mut descriptor = json!({
        "mediaType": media_type::OCI_MANIFEST,
        "digest": image.manifest,
        "size": image.manifest_bytes,
        "annotations": match &image.tag {
            Some(tag) => json!({REF_NAME: tag}),
            None => json!({REPLACEABLE: "true"}),
        },
    });
    if let Some(platform) = &image.platform {
        descriptor["platform"] = json!(platform);
    }
    if index["manifests"].is_null() {
        index["manifests"] = json!([]);
    }
    if let Value::Array(manifests) = &mut index["manifests"] {
        manifests.retain(|old| match &image.tag {
            Some(tag) => old["annotations"][REF_NAME] != json!(tag),
            None => !is_replaced(old, image) && (!is_untagged(old) || old["digest"] != json!(image.manifest)),
        });
        manifests.push(descriptor);
    }
}

fn is_untagged(old: &Value) -> bool {
    !old["annotations"][REF_NAME].is_string()
}

/// Whether it says to be for another platform.
fn is_for_another(old: &Value, image: &NamedImage) -> bool {
    let said = old.get("platform").zip(image.platform.as_ref());
    said.is_some_and(|(old, new)| *old != json!(new))
}

/// Whether an earlier build put this there, without a tag and for the same platform.
fn is_replaced(old: &Value, image: &NamedImage) -> bool {
    let is_ours = old["annotations"][REPLACEABLE].is_string();
    is_untagged(old) && is_ours && old["platform"] == json!(image.platform)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::BlobDigest;

    fn go_on() -> AtomicBool {
        AtomicBool::new(false)
    }

    fn image(tag: &str) -> NamedImage {
        let digest = BlobDigest::of(tag.as_bytes());
        NamedImage {
            tag: Some(tag.to_owned()),
            manifest: digest,
            manifest_bytes: 1,
            platform: None,
            config: digest,
            layers: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_added_to_what_is_no_index() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        begin(folder).unwrap();
        let staging = Staging::create(folder, Durability::Synced).unwrap();
        for other in ["[]", "5", "\"x\"", r#"{"manifests":{}}"#, "{"] {
            fs::write(folder.join(INDEX_FILE), other).unwrap();
            for error in [
                begin(folder).unwrap_err(),
                add(&staging, &[image("v1")], &go_on()).unwrap_err(),
            ] {
                assert!(error.to_string().contains(INDEX_FILE), "{error}");
            }
            assert_eq!(fs::read(folder.join(INDEX_FILE)).unwrap(), other.as_bytes());
        }
        fs::write(folder.join(INDEX_FILE), r#"{"schemaVersion":2}"#).unwrap();
        add(&staging, &[image("v1")], &go_on()).unwrap();
        assert_eq!(tags(folder), ["v1"]);
    }

    fn tags(folder: &Path) -> Vec<String> {
        let index = load_index(folder).unwrap();
        let images = index["manifests"].as_array().unwrap().iter();
        images
            .map(|image| image["annotations"][REF_NAME].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn an_image_without_a_tag_takes_the_place_of_what_a_build_put_there() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        begin(folder).unwrap();
        let staging = Staging::create(folder, Durability::Synced).unwrap();
        let add = |images: &[NamedImage]| add(&staging, images, &AtomicBool::new(false));
        let untagged = |content: &str, platform: &str| NamedImage {
            tag: None,
            platform: Some(platform.parse().unwrap()),
            ..image(content)
        };
        let digests = || {
            let index = load_index(folder).unwrap();
            let images = index["manifests"].as_array().unwrap().iter();
            let digests = images.map(|image| image["digest"].as_str().unwrap().parse().unwrap());
            digests.collect::<Vec<BlobDigest>>()
        };
        let of = |contents: &[&str]| -> Vec<_> {
            contents
                .iter()
                .map(|content| BlobDigest::of(content.as_bytes()))
                .collect()
        };
        for content in ["first", "second", "second"] {
            add(&[untagged(content, "linux/amd64")]).unwrap();
        }
        add(&[untagged("other", "linux/arm64")]).unwrap();
        assert_eq!(digests(), of(&["second", "other"]));
        add(&[image("v1")]).unwrap();
        let error = add(&[untagged("third", "linux/amd64")]).unwrap_err();
        assert!(error.to_string().contains("name a tag"), "{error}");
        assert_eq!(digests(), of(&["second", "other", "v1"]));

        // As skopeo writes one.
        let mut index = empty_index();
        index["manifests"] = json!([{ "digest": BlobDigest::of(b"theirs"), "size": 1 }]);
        fs::write(folder.join(INDEX_FILE), index.to_string()).unwrap();
        let error = add(&[untagged("ours", "linux/amd64")]).unwrap_err();
        assert!(error.to_string().contains("name a tag"), "{error}");
        add(&[untagged("theirs", "linux/amd64")]).unwrap();
        add(&[image("v1")]).unwrap();
        assert_eq!(digests(), of(&["theirs", "v1"]));
    }

    #[test]
    fn who_adds_an_image_waits_for_who_is_adding_one() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        begin(folder).unwrap();
        let staging = Staging::create(folder, Durability::Synced).unwrap();
        let lock = FileLock::exclusive(folder.join(LAYOUT_FILE)).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| add(&staging, &[image("theirs")], &go_on()));
            thread::sleep(Duration::from_millis(200));
            let mut index = empty_index();
            add_to_index(&mut index, &[image("ours")]);
            fs::write(folder.join(INDEX_FILE), index.to_string()).unwrap();
            drop(lock);
            other.join().unwrap().unwrap();
        });
        assert_eq!(tags(folder), ["ours", "theirs"]);
    }

    #[test]
    fn who_waits_for_somebody_who_does_not_end_can_be_stopped() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        begin(folder).unwrap();
        let staging = Staging::create(folder, Durability::Synced).unwrap();
        let _lock = FileLock::exclusive(folder.join(LAYOUT_FILE)).unwrap();
        let interrupt = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| add(&staging, &[image("v1")], &interrupt));
            thread::sleep(Duration::from_millis(100));
            assert!(!waiting.is_finished());
            interrupt.store(true, Ordering::Relaxed);
            assert!(matches!(waiting.join().unwrap(), Err(ImageError::Interrupted)));
        });
        assert!(tags(folder).is_empty());
    }

    #[test]
    fn a_layout_begins_once_and_nowhere_but_in_an_empty_folder() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("new/layout");
        begin(&folder).unwrap();
        let index: Value = serde_json::from_slice(&fs::read(folder.join(INDEX_FILE)).unwrap()).unwrap();
        assert_eq!(
            index["manifests"],
            json!([]),
            "a build that fails leaves what others read"
        );
        let lock = FileLock::exclusive(folder.join(LAYOUT_FILE)).unwrap();
        begin(&folder).unwrap();
        let taken = FileLock::try_exclusive(folder.join(LAYOUT_FILE)).unwrap();
        assert!(taken.is_none(), "it is the same file");
        drop(lock);
        // What another build has begun is no reason to refuse.
        let begun = temp.path().join("begun");
        fs::create_dir(&begun).unwrap();
        fs::write(begun.join(".tmp-x"), "").unwrap();
        begin(&begun).unwrap();
        let other = temp.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("x"), "").unwrap();
        assert!(matches!(begin(&other), Err(ImageError::Unsupported { .. })));
    }

    #[test]
    fn an_index_that_cannot_be_read_is_not_begun_anew() {
        let temp = tempfile::tempdir().unwrap();
        begin(temp.path()).unwrap();
        fs::remove_file(temp.path().join(INDEX_FILE)).unwrap();
        fs::create_dir(temp.path().join(INDEX_FILE)).unwrap();
        let staging = Staging::create(temp.path(), Durability::Synced).unwrap();
        assert!(add(&staging, &[image("x")], &go_on()).is_err());
    }
}
