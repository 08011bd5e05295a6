//! A clone of the same repository on this machine, taken for a seed: its packs are linked as those of any other.

use std::path::{Path, PathBuf};

use bstr::ByteSlice as _;
use headstart_fs::AtPath as _;

use super::{
    Seed, SeedError, SeedKey, SeedManifest, SeedPart, SeedRef,
    ancestry::{Ancestry, has_loose_others},
    check::PackOrder,
    commit_graph,
};
use crate::{config::GitConfig, environment::GitEnvironment, local::LocalRepository, remote_url::RemoteUrl};

/// Takes the repository with the git directory `git_dir` for a seed of `key`; `None` where it is none: of another
/// repository or filter, shallow, or borrowing objects of others.
///
/// Refs that reach what no fetch has brought are left out: commits made there are loose, or in packs of their own, and what
/// was pushed from there is not fetched again when others build on it.
pub fn find_in_repository(
    git_dir: &Path,
    key: &SeedKey,
    environment: &GitEnvironment,
) -> Result<Option<Seed>, SeedError> {
    // A working tree added to a repository has its objects elsewhere.
    if git_dir.join("commondir").exists() {
        return Ok(None);
    }
    let local = LocalRepository {
        environment,
        git_dir: git_dir.to_owned(),
        common_dir: git_dir.to_owned(),
        workdir: None,
        config: GitConfig::load_with_local(environment, git_dir)?,
    };
    let objects = local.common_dir.join("objects");
    if !local.shallow()?.is_empty() || objects.join("info/alternates").exists() {
        return Ok(None);
    }
    let is_of_key = |name: &&bstr::BStr| {
        let url = local
            .remote_string(name, "url")
            .map(|url| local.config.instead_of(url));
        let url = url.and_then(|url| RemoteUrl::parse(url.as_ref(), git_dir).ok());
        let filter = local.filter_of(name).ok();
        url.zip(filter)
            .is_some_and(|(url, filter)| SeedKey::new(&url, filter) == *key)
    };
    let names = local.config.subsections("remote");
    let Some(remote) = names.into_iter().find(is_of_key) else {
        return Ok(None);
    };
    let repository = local.open()?;
    let Packs {
        fetched: packs,
        others,
    } = Packs::list(&objects.join("pack"))?;
    let order = PackOrder::open(packs.iter().map(|pack| pack.with_extension("idx")))?;
    let invalid = |error: &dyn std::fmt::Display| SeedError::invalid(git_dir, error);
    let tracking = [b"refs/remotes/".as_slice(), remote, b"/"].concat();
    let platform = repository.references().map_err(|error| invalid(&error))?;
    let mut refs = Vec::new();
    for prefix in [tracking.as_bstr(), b"refs/tags/".as_bstr()] {
        let prefix = prefix.to_str_lossy();
        let listed = platform.prefixed(&*prefix).map_err(|error| invalid(&error))?;
        for reference in listed.flatten() {
            // `origin/HEAD` and whatever else is symbolic stands for another one.
            let Some(id) = reference.try_id() else { continue };
            if order.contains(&id.detach()) {
                let name = reference.name().as_bstr();
                let name = match name.strip_prefix(tracking.as_slice()) {
                    Some(branch) => [b"refs/heads/".as_slice(), branch].concat(),
                    None => name.to_vec(),
                };
                refs.push(SeedRef {
                    name: name.to_str_lossy().into_owned(),
                    id: id.detach(),
                });
            }
        }
    }
    if others || has_loose_others(&objects, &order) {
        let mut ancestry = Ancestry::new(&repository, &order);
        refs.retain(|seed_ref| ancestry.is_whole(seed_ref.id));
    }
    let Some(tip) = refs.first().map(|first| first.id) else {
        return Ok(None);
    };
    let mut manifest = SeedManifest::new(
        key.repository().to_owned(),
        key.filter().clone(),
        String::new(),
        tip,
    );
    manifest.refs = refs;
    Ok(Some(Seed {
        label: format!("the clone {}", git_dir.parent().unwrap_or(git_dir).display()),
        manifest,
        tip: SeedPart {
            packs,
            commit_graph: Some(commit_graph::path_in(&objects)).filter(|path| path.is_file()),
        },
    }))
}

/// The packs of a repository.
struct Packs {
    /// Those that fetches have brought.
    fetched: Vec<PathBuf>,
    /// Whether there are others.
    others: bool,
}

impl Packs {
    fn list(folder: &Path) -> Result<Self, SeedError> {
        let (mut fetched, mut others) = (Vec::new(), false);
        for entry in std::fs::read_dir(folder).at("list", folder)? {
            let path = entry.at("list", folder)?.path();
            if path.extension().is_none_or(|extension| extension != "idx") {
                continue;
            }
            match path.with_extension("promisor").exists() {
                true => fetched.push(path.with_extension("pack")),
                false => others = true,
            }
        }
        fetched.sort();
        Ok(Packs { fetched, others })
    }
}
