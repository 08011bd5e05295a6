//! Every number of `headstart layers analyze --json` beside a slow computation from the definitions (`tests/layers/reference.py`),
//! and dive's two numbers beside dive: on images made by hand, by umoci, buildah, skopeo and debootstrap.

use std::{collections::BTreeSet, ffi::OsString, fs, path::PathBuf, process::Command};

use headstart_testkit::{DockerRegistry, TestEnv, skipped};
use serde_json::Value;

use crate::{
    machine,
    support::{has_programs, layers_script, run_program},
};

fn analyze(env: &TestEnv, args: &[&str]) -> Value {
    env.run([&["layers", "analyze", "--json"], args].concat())
        .success()
        .json()
}

/// Panics unless headstart says of these images what the slow computation says, in every field.
#[track_caller]
fn assert_measured_right(env: &TestEnv, args: &[&str]) -> Value {
    let ours = analyze(env, args);
    let reference: Value = serde_json::from_str(&layers_script(env, "reference.py", args)).unwrap();
    let mut differences = Vec::new();
    compare("", &without_content_ids(&ours), &reference, &mut differences);
    assert!(
        differences.is_empty(),
        "left is headstart's:\n{}",
        differences.join("\n")
    );
    ours
}

/// The slow computation tells contents apart in its own way; what has which content, it says too.
fn without_content_ids(document: &Value) -> Value {
    let mut document = document.clone();
    for duplicate in document["fleet"]["duplicates"].as_array_mut().unwrap() {
        let content = duplicate.as_object_mut().unwrap().remove("content").unwrap();
        let digits = content.as_str().unwrap().strip_prefix("blake3:").unwrap();
        assert_eq!(digits.len(), 64, "{content}");
    }
    document
}

/// Notes where two documents differ; fractions may, by rounding.
fn compare(at: &str, left: &Value, right: &Value, differences: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
                let [left, right] = [left, right].map(|object| object.get(key).unwrap_or(&Value::Null));
                compare(&format!("{at}.{key}"), left, right, differences);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                let name = left["reference"]
                    .as_str()
                    .map_or(number.to_string(), str::to_owned);
                compare(&format!("{at}[{name}]"), left, right, differences);
            }
        }
        (Value::Number(left), Value::Number(right)) if left.is_f64() || right.is_f64() => {
            if (left.as_f64().unwrap() - right.as_f64().unwrap()).abs() > 1e-9 {
                differences.push(format!("{at}: {left} and {right}"));
            }
        }
        _ if left == right => {}
        _ => differences.push(format!("{at}: {left} and {right}")),
    }
}

/// Names of images made by hand, in the layout `made` and beside it.
fn handmade_images(env: &TestEnv) -> Vec<String> {
    let printed = layers_script(env, "handmade.py", &["made"]);
    printed.lines().map(str::to_owned).collect()
}

/// Arguments for both programs, which differ in the platform they take by themselves.
fn for_amd64(names: &[String]) -> Vec<&str> {
    let platform = ["--platform", "linux/amd64"];
    platform
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect()
}

#[test]
fn images_made_by_hand_are_measured_by_the_definitions() {
    if !has_programs(&["python3", "tar", "zstd"]) {
        return;
    }
    let env = machine();
    let names = handmade_images(&env);
    let mut args = for_amd64(&names);
    args.extend(["--have", "oci:made:near-1", "--have", "oci:made:rich-plain"]);
    let whole = assert_measured_right(&env, &args);
    // The images are worth it: nothing that is measured is the same everywhere.
    let images = whole["images"].as_array().unwrap();
    let hows: BTreeSet<_> = images
        .iter()
        .flat_map(|image| image["wasted_files"].as_array().unwrap())
        .map(|file| file["how"].as_str().unwrap())
        .collect();
    assert_eq!(hows.len(), 5, "{hows:?}");
    assert!(images.iter().any(|image| image["foreign_layers"] == 1));
    for key in ["recompressed_twins", "near_twins", "duplicates"] {
        assert!(whole["fleet"][key].as_array().unwrap().len() > 3, "{key}");
    }
    // What was remembered of layers says the same.
    assert_eq!(analyze(&env, &args), whole);
    let _ = assert_measured_right(&env, &["oci:made:platforms", "--platform", "linux/arm64"]);
}

/// The layouts `umoci` and `buildah` and what skopeo makes of them.
fn images_of_tools(env: &TestEnv) -> Vec<String> {
    let umoci = |args: &[&str]| run_program(env, "umoci", args);
    fs::create_dir_all(env.path("tree/usr/lib")).unwrap();
    fs::create_dir_all(env.path("tree/etc")).unwrap();
    let tree = env.path("tree");
    fs::write(tree.join("usr/lib/a"), vec![1; 300_000]).unwrap();
    fs::hard_link(tree.join("usr/lib/a"), tree.join("usr/lib/b")).unwrap();
    fs::write(tree.join("etc/config"), "old").unwrap();
    fs::write(tree.join("etc/gone"), "gone soon").unwrap();
    std::os::unix::fs::symlink("usr/lib", tree.join("lib")).unwrap();
    fs::create_dir_all(env.path("upper")).unwrap();
    fs::write(env.path("upper/config"), "newer").unwrap();

    umoci(&["init", "--layout", "umoci"]);
    umoci(&["new", "--image", "umoci:empty"]);
    umoci(&["tag", "--image", "umoci:empty", "base"]);
    umoci(&["insert", "--rootless", "--image", "umoci:base", "tree", "/"]);
    umoci(&["config", "--image", "umoci:base", "--config.env", "A=b"]);
    umoci(&["tag", "--image", "umoci:base", "app"]);
    umoci(&["insert", "--rootless", "--image", "umoci:app", "upper", "/etc"]);
    umoci(&[
        "insert",
        "--rootless",
        "--opaque",
        "--image",
        "umoci:app",
        "upper",
        "/usr/lib",
    ]);
    umoci(&[
        "insert",
        "--rootless",
        "--whiteout",
        "--image",
        "umoci:app",
        "/etc/gone",
    ]);
    umoci(&["unpack", "--rootless", "--image", "umoci:base", "bundle"]);
    let root = env.path("bundle/rootfs");
    fs::remove_file(root.join("etc/gone")).unwrap();
    fs::remove_dir_all(root.join("usr/lib")).unwrap();
    fs::write(root.join("usr/lib"), "no folder any more").unwrap();
    fs::hard_link(root.join("etc/config"), root.join("etc/config2")).unwrap();
    umoci(&["repack", "--image", "umoci:repacked", "bundle"]);

    let skopeo =
        |from: &str, args: &[&str]| run_program(env, "skopeo", &[&["copy", "-q", from], args].concat());
    skopeo("oci:umoci:app", &["docker-archive:docker.tar:app:v1"]);
    skopeo("oci:umoci:app", &["oci-archive:archive.tar:v1"]);
    skopeo(
        "oci:umoci:app",
        &["--dest-compress-format", "zstd", "oci:zstd:v1"],
    );
    let mut names: Vec<_> = ["empty", "base", "app", "repacked"]
        .map(|tag| format!("oci:umoci:{tag}"))
        .into();
    names.extend(
        [
            "docker-archive:docker.tar:app:v1",
            "oci-archive:archive.tar",
            "oci:zstd:v1",
        ]
        .map(str::to_owned),
    );
    names
}

/// Two images of buildah: a folder, and on it what was deleted, replaced and made there.
fn images_of_buildah(env: &TestEnv) -> Option<Vec<String>> {
    if !has_programs(&["buildah"]) {
        return None;
    }
    let script = "set -e\n\
        b() { buildah --root \"$PWD/containers\" --runroot \"$PWD/containers-run\" --storage-driver vfs \"$@\"; }\n\
        c=$(b from --isolation chroot scratch)\n\
        b add -q $c tree /\n\
        b config --env A=b $c\n\
        b commit -q $c base\n\
        b commit -q $c oci:buildah:base\n\
        c=$(b from --isolation chroot base)\n\
        m=$(b mount $c)\n\
        rm $m/etc/gone; rm -r $m/usr/lib; mkdir $m/usr/lib; echo new >$m/usr/lib/new; mkfifo $m/pipe; mknod $m/null c 1 3\n\
        b commit -q $c oci:buildah:top";
    let output = Command::new("sh")
        .args(["-c", script])
        .env("HOME", env.home())
        .current_dir(env.work())
        .output()
        .unwrap();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        skipped(&format!(
            "buildah cannot work here: {}",
            stderr.lines().last().unwrap_or_default()
        ));
        return None;
    }
    Some(["base", "top"].map(|tag| format!("oci:buildah:{tag}")).into())
}

#[test]
fn images_of_real_tools_are_measured_by_the_definitions() {
    if !has_programs(&["python3", "zstd", "umoci", "skopeo"]) {
        return;
    }
    let env = machine();
    let mut names = images_of_tools(&env);
    names.extend(images_of_buildah(&env).unwrap_or_default());
    let mut args = for_amd64(&names);
    args.extend(["--have", "oci:umoci:base"]);
    let _ = assert_measured_right(&env, &args);
    let Some(dive) = dive() else { return };
    // dive reads archives of Docker's, which has no layers of zstd.
    let comparable = |name: &&String| !name.contains("archive") && !name.contains("zstd");
    for name in names.iter().filter(comparable) {
        assert_like_dive(&env, &dive, name);
    }
}

#[test]
fn a_registry_changes_nothing_but_names() {
    if !has_programs(&["python3", "tar", "zstd", "umoci", "skopeo", "docker-registry"]) {
        return;
    }
    let env = machine();
    let registry = DockerRegistry::start();
    let mut names = images_of_tools(&env);
    names.extend(images_of_buildah(&env).unwrap_or_default());
    names.extend(handmade_images(&env));
    // Archives of `docker save` have no manifest to push, and a foreign layer is not there to be pushed.
    names
        .retain(|name| name.starts_with("oci:") && !name.ends_with(":foreign") && !name.contains(":random-"));
    let mut pushed = Vec::new();
    for name in &names {
        let remote = format!("{}/{}", registry.address, &name["oci:".len()..]);
        let copy = [
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ];
        run_program(
            &env,
            "skopeo",
            &[&copy[..], &[name, &format!("docker://{remote}")]].concat(),
        );
        pushed.push(remote);
    }
    let on_disk = assert_measured_right(&env, &for_amd64(&names)).to_string();
    // A machine that remembers no layer.
    let over_the_line = analyze(&env.second_machine(), &for_amd64(&pushed)).to_string();
    let renamed = names
        .iter()
        .zip(&pushed)
        .fold(over_the_line, |text, (name, remote)| {
            text.replace(&format!("{remote:?}"), &format!("{name:?}"))
        });
    assert_eq!(renamed, on_disk);
}

#[test]
fn a_debian_is_measured_by_the_definitions_and_like_dive() {
    if !has_programs(&["python3", "zstd", "umoci", "skopeo", "debootstrap"]) {
        return;
    }
    let env = machine();
    let output = Command::new("debootstrap")
        .args(["--variant=minbase", "stable", "debian"])
        .current_dir(env.work())
        .output()
        .unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        skipped(&format!(
            "debootstrap cannot work here: {}",
            said.lines().last().unwrap_or_default()
        ));
        return;
    }
    let umoci = |args: &[&str]| run_program(&env, "umoci", args);
    umoci(&["init", "--layout", "oci"]);
    umoci(&["new", "--image", "oci:base"]);
    umoci(&["insert", "--image", "oci:base", "debian", "/"]);
    umoci(&["unpack", "--image", "oci:base", "bundle"]);
    // What a step of a build does.
    let root = env.path("bundle/rootfs");
    fs::remove_dir_all(root.join("usr/share/doc")).unwrap();
    fs::remove_dir_all(root.join("var/lib/apt/lists")).unwrap();
    fs::copy(root.join("etc/os-release"), root.join("etc/hostname")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    umoci(&["repack", "--image", "oci:slim", "bundle"]);
    let document = assert_measured_right(&env, &["oci:oci:base", "oci:oci:slim"]);
    assert!(
        document["images"][1]["wasted_file_count"].as_u64() > Some(100),
        "{document}"
    );
    let Some(dive) = dive() else { return };
    for name in ["oci:oci:base", "oci:oci:slim"] {
        assert_like_dive(&env, &dive, name);
    }
}

/// The dive that `tests/run` installs.
fn dive() -> Option<OsString> {
    let dive = std::env::var_os("HEADSTART_TEST_DIVE");
    if dive.is_none() {
        skipped("HEADSTART_TEST_DIVE names no dive (tests/run installs it)");
    }
    dive
}

/// Panics unless dive says of an image what headstart says that it does.
#[track_caller]
fn assert_like_dive(env: &TestEnv, dive: &OsString, name: &str) {
    let archive: PathBuf = env.path("for-dive.tar");
    // Neither program writes over a longer file.
    for old in [&archive, &env.path("dive.json")] {
        let _ = fs::remove_file(old);
    }
    run_program(
        env,
        "skopeo",
        &["copy", "-q", name, "docker-archive:for-dive.tar:app:v1"],
    );
    let output = Command::new(dive)
        .args([
            "--source",
            "docker-archive",
            "for-dive.tar",
            "--json",
            "dive.json",
        ])
        .env("HOME", env.home())
        .current_dir(env.work())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let dive: Value = serde_json::from_slice(&fs::read(env.path("dive.json")).unwrap()).unwrap();
    let image = &analyze(env, &[name])["images"][0];
    for (ours, theirs) in [
        ("dive_efficiency", "efficiencyScore"),
        ("dive_wasted_bytes", "inefficientBytes"),
    ] {
        let [ours_is, theirs_is] =
            [&image[ours], &dive["image"][theirs]].map(|value| value.as_f64().unwrap());
        assert!(
            (ours_is - theirs_is).abs() < 1e-9,
            "{name}: {ours} is {ours_is}, dive says {theirs_is}"
        );
    }
}
