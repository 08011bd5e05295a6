//! The machine as the `deps` library wants it told.

use std::path::Path;

use headstart_deps::{DependencyCache, Host, ProcessTools, find_caches};

use crate::{context::Context, error::CommandError};

/// The machine the caches are for.
pub(super) fn host(context: &Context) -> Result<Host, CommandError> {
    Ok(Host {
        os: std::env::consts::OS.to_owned(),
        arch: node_arch(std::env::consts::ARCH).to_owned(),
        libc: libc(),
        home: context.home()?,
        env: context.environment.clone(),
    })
}

/// The caches of the project in `folder`.
pub(crate) fn caches(context: &Context, folder: &Path) -> Result<Vec<DependencyCache>, CommandError> {
    let host = host(context)?;
    let tools = ProcessTools::new(context.environment.clone());
    let mut caches = find_caches(folder, &host, &tools, &context.settings.deps)?;
    // What makes another cache unnecessary comes first.
    caches.sort_by_key(|cache| cache.superseded_by.is_some());
    Ok(caches)
}

/// Node's names of processors, which is what native packages are built for.
fn node_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "x86" => "ia32",
        other => other,
    }
}

/// The C library programs of this machine use, which need not be the one headstart itself was built with.
fn libc() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let loaders = std::fs::read_dir("/lib").ok()?;
    let is_musl = loaders
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("ld-musl-"));
    Some(if is_musl { "musl" } else { "glibc" }.to_owned())
}
