//! Saves and restores a folder through a local store, and says what it cost: for measurements by hand.
//!
//! `tree save STORE KEY ROOT PATH...` and `tree restore STORE KEY ROOT [copy|hardlink|reflink|auto|mount]`.

use std::{error::Error, path::Path, sync::atomic::AtomicBool, time::Instant};

use headstart_fs::RelPath;
use headstart_store::{
    ChunkIndex, EntryName, LinkMode, LocalStore, Progress, RestoreOptions, Runtime, SaveOptions, Step,
    Warning, Xattrs, restore, save,
};

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, folder, key, root, rest @ ..] = &arguments[..] else {
        return Err("tree save|restore STORE KEY ROOT ...".into());
    };
    let start = Instant::now();
    let store = LocalStore::open_or_create(folder)?;
    let runtime = Runtime::new()?;
    let interrupt = AtomicBool::new(false);
    let steps = Steps(start);
    let outcome = match verb.as_str() {
        "save" => {
            let index = ChunkIndex::load(&Path::new(folder).join("chunk-index"), &store, &runtime)?;
            let options = SaveOptions {
                stat_cache: None,
                name: EntryName::new("files".parse()?, key.as_str())?,
                root: root.into(),
                paths: rest
                    .iter()
                    .map(|path| RelPath::parse_lenient(Path::new(path)))
                    .collect::<Result<_, _>>()?,
                xattrs: Xattrs::Drop,
                leave_out: None,
                facts: Default::default(),
                now: jiff::Timestamp::now(),
            };
            let outcome = save(&store, Some(&index), &runtime, &options, &steps, &interrupt)?;
            format!("{outcome:?}")
        }
        "restore" => {
            let options = RestoreOptions {
                images: (rest.first().map(String::as_str) == Some("mount"))
                    .then(|| store.folder().join("images")),
                within: None,
                namespace: "files".parse()?,
                key: key.clone(),
                restore_keys: Vec::new(),
                root: root.into(),
                link: match rest.first().map(String::as_str) {
                    Some("hardlink") => LinkMode::Hardlink,
                    Some("reflink") => LinkMode::Reflink,
                    Some("auto") => LinkMode::Auto,
                    _ => LinkMode::Copy,
                },
                pool: Some(Path::new(folder).join("pool")),
                xattrs: Xattrs::Drop,
                keep: None,
            };
            let outcome = restore(&store, &runtime, &options, &steps, &interrupt)?;
            format!("{outcome:?}")
        }
        other => return Err(format!("{other} is neither save nor restore").into()),
    };
    println!("{:.3} s {outcome}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Tells when steps start and end.
struct Steps(Instant);

impl Steps {
    #[allow(clippy::print_stderr)]
    fn tell(&self, what: &dyn std::fmt::Debug, when: &str) {
        eprintln!("{:7.3} s {when} {what:?}", self.0.elapsed().as_secs_f64());
    }
}

impl Progress for Steps {
    fn start(&self, step: Step, total: Option<u64>) {
        self.tell(&(step, total), "start");
    }

    fn advance(&self, _step: Step, _amount: u64) {}

    fn finish(&self, step: Step) {
        self.tell(&step, "end");
    }

    fn warn(&self, warning: &Warning) {
        self.tell(warning, "warning");
    }
}
