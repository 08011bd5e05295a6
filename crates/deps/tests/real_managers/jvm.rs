//! Maven with the repository of Debian's packages, Gradle with one made here.

use std::{fs, path::Path};

use headstart_testkit::skipped;

use crate::{Case, Registry, Saved, case::files};

/// Where Debian's packages keep what Maven would download.
const MAVEN_REPOSITORY: &str = "/usr/share/maven-repo";
const PLUGINS: &str = "/usr/share/maven-repo/org/apache/maven/plugins";

/// The version of a plugin in Debian's repository.
fn plugin_version(name: &str) -> Option<String> {
    let mut versions = fs::read_dir(Path::new(PLUGINS).join(name)).ok()?;
    Some(versions.next()?.ok()?.file_name().to_string_lossy().into_owned())
}

#[test]
fn maven_works_from_what_was_restored() {
    let (Some(site), Some(_)) = (
        plugin_version("maven-site-plugin"),
        plugin_version("maven-dependency-plugin"),
    ) else {
        skipped(&format!(
            "Maven's plugins are not in {PLUGINS} (tests/run installs them)"
        ));
        return;
    };
    let registry = Registry::of(MAVEN_REPOSITORY);
    let settings = format!(
        "<settings><mirrors><mirror><id>here</id><mirrorOf>*</mirrorOf><url>{}/</url></mirror></mirrors></settings>",
        registry.url()
    );
    // The version of the site plugin is the one thing that Debian's Maven asks for and its packages lack.
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>demo</groupId><artifactId>demo</artifactId><version>1</version>
  <properties>
    <maven.compiler.source>11</maven.compiler.source><maven.compiler.target>11</maven.compiler.target>
  </properties>
  <dependencies>
    <dependency><groupId>commons-io</groupId><artifactId>commons-io</artifactId><version>debian</version></dependency>
  </dependencies>
  <build><pluginManagement><plugins>
    <plugin><artifactId>maven-site-plugin</artifactId><version>{site}</version></plugin>
  </plugins></pluginManagement></build>
</project>
"
    );
    let case = Case {
        program: "mvn",
        files: files([
            ("pom.xml", &project),
            (
                "src/main/java/Demo.java",
                "class Demo { int end = org.apache.commons.io.IOUtils.EOF; }\n",
            ),
            ("~/.m2/settings.xml", &settings),
        ]),
        // Java asks the system for the home of its user, not the environment.
        env: vec![("MAVEN_OPTS", "-Duser.home={home}".to_owned())],
        setup: &[
            "mvn",
            "--batch-mode",
            "--no-transfer-progress",
            "dependency:go-offline",
        ],
        check: &["mvn", "--batch-mode", "--offline", "compile"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["maven-repository"]) else {
        return;
    };
    drop(registry);
    saved.installs_from_the_downloads();
}

/// Makes a Maven repository with one artifact.
const REPOSITORY: &str = r#"
import os, zipfile
at = "com/example/greeting/1.0"
os.makedirs(at)
with open(f"{at}/greeting-1.0.pom", "w") as pom:
    pom.write("<project><modelVersion>4.0.0</modelVersion><groupId>com.example</groupId>"
              "<artifactId>greeting</artifactId><version>1.0</version></project>")
with zipfile.ZipFile(f"{at}/greeting-1.0.jar", "w") as jar:
    jar.writestr("greeting.txt", "hello")
"#;

#[test]
fn gradle_works_from_what_was_restored() {
    let Some(registry) = Registry::made_by(&["-c", REPOSITORY]) else {
        return;
    };
    // Gradle 7 and later want to be told that plain HTTP is meant.
    let build = format!(
        "repositories {{ maven {{
    url '{}/'
    if (it.hasProperty('allowInsecureProtocol')) allowInsecureProtocol = true
}} }}
configurations {{ libraries }}
dependencies {{ libraries 'com.example:greeting:1.0' }}
task libraries(type: Copy) {{
    from configurations.libraries
    into 'libraries'
}}
",
        registry.url()
    );
    let case = Case {
        program: "gradle",
        files: files([("settings.gradle", ""), ("build.gradle", &build)]),
        env: vec![("GRADLE_USER_HOME", "{home}/.gradle".to_owned())],
        // Before 6.1, what Gradle notes of its downloads are absolute paths.
        needs_the_same_home: true,
        setup: &["gradle", "--no-daemon", "--quiet", "libraries"],
        install: Some(&["gradle", "--no-daemon", "--quiet", "--offline", "libraries"]),
        check: &["test", "-s", "libraries/greeting-1.0.jar"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["gradle-caches"]) else {
        return;
    };
    drop(registry);
    saved.installs_from_the_downloads();
}
