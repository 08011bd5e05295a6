//! Maven and Gradle: what they downloaded, named by every build file of the project.

use std::path::PathBuf;

use crate::{
    DepsError, Host, Manager,
    content::Content,
    files::{self, MAX_CONFIG_BYTES},
    project::{Draft, Project, rel},
};

/// Files beside a Maven project's root that change what it downloads.
const MAVEN: [&str; 4] = [
    ".mvn/extensions.xml",
    ".mvn/jvm.config",
    ".mvn/maven.config",
    ".mvn/wrapper/maven-wrapper.properties",
];
/// Names of Gradle build files.
const GRADLE: [&str; 8] = [
    "build.gradle",
    "build.gradle.kts",
    "buildscript-gradle.lockfile",
    "gradle.lockfile",
    "gradle.properties",
    "settings-gradle.lockfile",
    "settings.gradle",
    "settings.gradle.kts",
];
/// Files in a Gradle project's `gradle` folder.
const GRADLE_FOLDER: [&str; 3] = [
    "gradle/libs.versions.toml",
    "gradle/verification-metadata.xml",
    "gradle/wrapper/gradle-wrapper.properties",
];

pub(super) fn find(project: &Project<'_>) -> Result<Vec<Draft>, DepsError> {
    let mut drafts = Vec::new();
    if project.at.has("pom.xml") && !is_below_another(project, &["pom.xml"]) {
        drafts.push(maven(project)?);
    }
    let settings = ["settings.gradle", "settings.gradle.kts"];
    let is_gradle_root = settings.iter().any(|name| project.at.has(name))
        || (["build.gradle", "build.gradle.kts"]
            .iter()
            .any(|name| project.at.has(name))
            && !is_below_another(project, &GRADLE));
    if is_gradle_root {
        drafts.push(gradle(project)?);
    }
    Ok(drafts)
}

/// Whether the parent folder has one of `names`: then this folder is a module of that project.
fn is_below_another(project: &Project<'_>, names: &[&str]) -> bool {
    let mut folder = project.at.path.clone();
    while let Some(parent) = folder.parent() {
        let found = project.folders.iter().find(|folder| folder.path == parent);
        if found.is_some_and(|folder| names.iter().any(|name| folder.has(name))) {
            return true;
        }
        folder = parent;
    }
    false
}

/// The files called one of `names` in the project's folder and below.
fn files_below(project: &Project<'_>, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, folder) in project.folders_below() {
        let present = names.iter().filter(|name| folder.has(name));
        found.extend(present.map(|name| match path.is_root() {
            true => (*name).to_owned(),
            false => format!("{path}/{name}"),
        }));
    }
    found
}

fn maven(project: &Project<'_>) -> Result<Draft, DepsError> {
    let poms = files_below(project, &["pom.xml"]);
    Ok(Draft::downloads(
        "maven-repository",
        Manager::Maven,
        local_repository(project.host)?,
        Content::Files,
    )
    .paths([headstart_fs::RelPath::root()])
    .inputs(project.file_inputs(poms.iter().map(String::as_str).chain(MAVEN))?)
    .install(
        "mvn",
        &["--batch-mode", "--no-transfer-progress", "dependency:go-offline"],
        project.folder(),
    ))
}

/// Where the variables or the user's own `settings.xml` say, or `~/.m2/repository`.
fn local_repository(host: &Host) -> Result<PathBuf, DepsError> {
    if let Some(folder) = java_property(host, "maven.repo.local") {
        return Ok(folder);
    }
    let settings =
        files::read_text(&host.home.join(".m2/settings.xml"), MAX_CONFIG_BYTES)?.unwrap_or_default();
    let named = settings
        .split_once("<localRepository>")
        .and_then(|(_, rest)| rest.split_once("</localRepository>"))
        .map(|(path, _)| path.trim().replace("${user.home}", &host.home.to_string_lossy()))
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    Ok(named.unwrap_or_else(|| host.home.join(".m2/repository")))
}

/// The absolute path that a property of Maven's command line or of its Java is set to.
fn java_property(host: &Host, name: &str) -> Option<PathBuf> {
    let option = format!("-D{name}=");
    ["MAVEN_ARGS", "MAVEN_OPTS"]
        .into_iter()
        .filter_map(|variable| host.var(variable)?.to_str())
        .flat_map(str::split_whitespace)
        .find_map(|word| word.strip_prefix(&option))
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn gradle(project: &Project<'_>) -> Result<Draft, DepsError> {
    let home = project
        .host
        .var_folder("GRADLE_USER_HOME")
        .unwrap_or_else(|| project.host.home.join(".gradle"));
    let names = files_below(project, &GRADLE);
    // Gradle has no task that downloads everything, so there is no install.
    Ok(
        Draft::downloads("gradle-caches", Manager::Gradle, home, Content::Files)
            .paths(["caches/modules-2", "wrapper/dists"].map(rel))
            .inputs(project.file_inputs(names.iter().map(String::as_str).chain(GRADLE_FOLDER))?),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::Sandbox;

    #[test]
    fn modules_belong_to_the_root_project() {
        let sandbox = Sandbox::new();
        for path in [
            "pom.xml",
            "a/pom.xml",
            "b/settings.gradle",
            "b/app/build.gradle.kts",
        ] {
            sandbox.write(path, "");
        }
        let titles: Vec<String> = sandbox
            .caches()
            .iter()
            .map(crate::DependencyCache::title)
            .collect();
        assert_eq!(titles, ["maven-repository", "gradle-caches (b)"]);
        let before = sandbox.cache("maven-repository").key;
        sandbox.write("a/pom.xml", "<project/>");
        assert_ne!(before, sandbox.cache("maven-repository").key);
    }

    #[test]
    fn the_users_settings_move_the_repository() {
        let sandbox = Sandbox::new();
        let home = sandbox.host.home.clone();
        assert_eq!(
            local_repository(&sandbox.host).unwrap(),
            home.join(".m2/repository")
        );
        sandbox.write_home(
            ".m2/settings.xml",
            "<localRepository>${user.home}/m2</localRepository>",
        );
        assert_eq!(local_repository(&sandbox.host).unwrap(), home.join("m2"));
    }

    #[test]
    fn the_environment_moves_the_repository() {
        let mut sandbox = Sandbox::new();
        sandbox.write_home(".m2/settings.xml", "<localRepository>/settings</localRepository>");
        sandbox.set_env("MAVEN_OPTS", "-Xmx1g -Dmaven.repo.local=/options -Dother=1");
        assert_eq!(local_repository(&sandbox.host).unwrap(), Path::new("/options"));
        sandbox.set_env("MAVEN_ARGS", "-Dmaven.repo.local=/arguments");
        assert_eq!(local_repository(&sandbox.host).unwrap(), Path::new("/arguments"));
        sandbox.set_env("MAVEN_ARGS", "-Dmaven.repo.local=relative");
        assert_eq!(local_repository(&sandbox.host).unwrap(), Path::new("/settings"));
    }
}
