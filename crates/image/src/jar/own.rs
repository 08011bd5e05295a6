//! Which libraries of a jar are modules of its own project.
//!
//! A library is the application's own when it has classes in the application's package, and is released with it: its version
//! is the application's, a snapshot, or none at all, which no published library has. The package is that of the start class,
//! its first two parts (`com.acme` of `com.acme.shop.Main`). Where nobody tells the application's version, three parts
//! decide instead.

use std::path::Path;

use super::{
    CLASS_FOLDERS, MAX_TEXT_BYTES,
    library::{is_snapshot, split_version},
    manifest::Manifest,
    zip::Zip,
};

/// What tells the application from its libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Application {
    /// Its package as a folder.
    package: String,
    /// The same, one part longer where it has one.
    module: String,
    version: Option<String>,
}

impl Application {
    /// What the jar at `path` says of its application; nothing when it names no start class within a package of two parts.
    pub(super) fn of(path: &Path, manifest: &Manifest, zip: &Zip) -> Option<Self> {
        let (package, _class) = manifest.get("Start-Class")?.rsplit_once('.')?;
        let parts: Vec<_> = package.split('.').collect();
        let folder = |count: usize| parts.iter().take(count).map(|part| format!("{part}/")).collect();
        (parts.len() >= 2).then(|| Application {
            package: folder(2),
            module: folder(3),
            version: version(path, manifest, zip),
        })
    }

    /// Whether a library, `path` in the jar, of these entries is the application's own.
    pub(super) fn owns<'e>(&self, path: &str, mut entries: impl Iterator<Item = &'e str>) -> bool {
        let (_, version) = split_version(path);
        let of_project = version.is_empty() || is_snapshot(path);
        match &self.version {
            Some(own) if of_project || version == own => {
                entries.any(|entry| entry.starts_with(&self.package))
            }
            None if of_project => entries.any(|entry| entry.starts_with(&self.package)),
            None => entries.any(|entry| entry.starts_with(&self.module)),
            Some(_) => false,
        }
    }
}

/// The version that the build tool wrote, or that is part of the file's name.
fn version(path: &Path, manifest: &Manifest, zip: &Zip) -> Option<String> {
    let written = manifest.get("Implementation-Version").map(str::to_owned);
    let built = || {
        let mut places = CLASS_FOLDERS.iter().map(|folder| {
            let info = zip.read_entry(&format!("{folder}META-INF/build-info.properties"), MAX_TEXT_BYTES);
            info.ok().flatten()
        });
        let info = places.find_map(|info| info)?;
        let info = String::from_utf8_lossy(&info);
        let mut lines = info.lines();
        lines.find_map(|line| Some(line.strip_prefix("build.version=")?.trim().to_owned()))
    };
    let named = || {
        let file = path.file_name()?.to_str()?;
        let file = file.strip_suffix(".war").unwrap_or(file);
        Some(split_version(file).1.to_owned())
    };
    let mut versions = [written, built(), named()].into_iter().flatten();
    versions.find(|version| !version.is_empty() && version != "unspecified")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_modules_have_the_package_and_are_released_with_the_application() {
        let known = Application {
            package: "com/acme/".to_owned(),
            module: "com/acme/shop/".to_owned(),
            version: Some("1.4".to_owned()),
        };
        let unknown = Application {
            version: None,
            ..known.clone()
        };
        for (library, class, with_version, without) in [
            ("shop-model-1.4.jar", "com/acme/shop/model/X", true, true),
            ("money-1.4.jar", "com/acme/money/X", true, false),
            ("money-7.0.jar", "com/acme/money/X", false, false),
            ("shop-old-1.3.jar", "com/acme/shop/old/X", false, true),
            ("money-7.1-SNAPSHOT.jar", "com/acme/money/X", true, true),
            ("model.jar", "com/acme/model/X", true, true),
            ("other-1.4.jar", "org/other/X", false, false),
        ] {
            let path = format!("BOOT-INF/lib/{library}");
            let owns = |application: &Application| application.owns(&path, [class].into_iter());
            assert_eq!(
                (owns(&known), owns(&unknown)),
                (with_version, without),
                "{library}"
            );
        }
    }
}
