//! `headstart layers analyze|diff` on images made by umoci and skopeo, and pushed to a real registry.

use std::{fs, os::unix::fs::symlink};

use headstart_testkit::{DockerRegistry, TestEnv};

use crate::{
    machine,
    support::{dead_address, has_programs, run_program},
};

/// An OCI layout `oci` with the images `base`, and `app` on it: a file overwritten, one deleted, one added.
fn make_images(env: &TestEnv) {
    let tree = env.path("tree");
    fs::create_dir_all(tree.join("usr/lib")).unwrap();
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("usr/lib/a"), vec![1; 300_000]).unwrap();
    fs::hard_link(tree.join("usr/lib/a"), tree.join("usr/lib/b")).unwrap();
    fs::write(tree.join("usr/lib/gone"), vec![2; 50_000]).unwrap();
    fs::write(tree.join("etc/config"), "old").unwrap();
    symlink("usr/lib", tree.join("lib")).unwrap();
    let upper = env.path("upper");
    fs::create_dir_all(&upper).unwrap();
    fs::write(upper.join("config"), "newer").unwrap();
    fs::write(upper.join("added"), vec![1; 300_000]).unwrap();
    run_program(env, "umoci", &["init", "--layout", "oci"]);
    run_program(env, "umoci", &["new", "--image", "oci:base"]);
    run_program(
        env,
        "umoci",
        &["insert", "--rootless", "--image", "oci:base", "tree", "/"],
    );
    run_program(env, "umoci", &["tag", "--image", "oci:base", "app"]);
    run_program(
        env,
        "umoci",
        &["insert", "--rootless", "--image", "oci:app", "upper", "/etc"],
    );
    run_program(
        env,
        "umoci",
        &[
            "insert",
            "--rootless",
            "--whiteout",
            "--image",
            "oci:app",
            "/usr/lib/gone",
        ],
    );
}

#[test]
fn an_image_is_the_same_from_every_place() {
    if !has_programs(&["umoci", "skopeo"]) {
        return;
    }
    let env = machine();
    make_images(&env);
    run_program(
        &env,
        "skopeo",
        &["copy", "-q", "oci:oci:app", "docker-archive:docker.tar:app:v1"],
    );
    run_program(
        &env,
        "skopeo",
        &["copy", "-q", "oci:oci:app", "oci-archive:oci.tar:v1"],
    );
    run_program(
        &env,
        "skopeo",
        &[
            "copy",
            "-q",
            "--dest-compress-format",
            "zstd",
            "oci:oci:app",
            "oci:zstd:v1",
        ],
    );
    let document = env
        .run([
            "layers",
            "analyze",
            "--json",
            "oci:oci:app",
            "docker-archive:docker.tar:app:v1",
            "oci-archive:oci.tar",
            "oci:zstd:v1",
        ])
        .success()
        .json();
    assert_eq!(document["schema"], "headstart.layers/1");
    let images = document["images"].as_array().unwrap();
    assert_eq!(images.len(), 4, "{document}");
    for image in images {
        let number = |key: &str| image[key].as_u64().unwrap();
        assert_eq!(
            number("file_bytes"),
            300_000 + 50_000 + 3 + 300_000 + 5,
            "{image}"
        );
        assert_eq!(number("wasted_bytes"), 50_000 + 3, "{image}");
        assert_eq!(
            number("visible_bytes") + number("wasted_bytes"),
            number("file_bytes")
        );
        // dive counts both copies of a path, and a whiteout as nothing.
        assert_eq!(number("dive_wasted_bytes"), 50_000 + 3 + 5, "{image}");
        let of = |key: &str| -> Vec<_> {
            image["layers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|layer| layer[key].clone())
                .collect()
        };
        assert_eq!(of("diff_id").len(), 3, "{image}");
        assert_eq!(of("whiteouts"), [0, 0, 1]);
        assert_eq!(of("chain_id")[0], of("diff_id")[0]);
        let wasted = &image["wasted_files"][0];
        assert_eq!(
            (&wasted["path"], &wasted["added_by"], &wasted["hidden_by"]),
            (&"usr/lib/gone".into(), &0.into(), &2.into())
        );
    }
    let fleet = &document["fleet"];
    assert_eq!(fleet["unique_diff_ids"], 3, "{fleet}");
    assert_eq!(
        fleet["recompressed_twins"].as_array().unwrap().len(),
        3,
        "gzip, zstd and plain: {fleet}"
    );
    assert_eq!(fleet["cross_layer_duplicate_bytes"], 300_000, "{fleet}");
    assert_eq!(document["pulls"].as_array().unwrap().len(), 4 + 4 * 3);
    let text = env.run(["layers", "analyze", "oci:oci:app"]).success().stdout();
    assert!(text.contains("usr/lib/gone"), "{text}");
}

#[test]
fn limits_fail_a_ci_job_and_name_what_is_beyond() {
    if !has_programs(&["umoci"]) {
        return;
    }
    let env = machine();
    make_images(&env);
    let analyze = |args: &[&str]| env.run([&["layers", "analyze", "oci:oci:app"], args].concat());
    let _ = analyze(&[
        "--max-wasted",
        "51kB",
        "--min-efficiency",
        "0.9",
        "--max-pull",
        "1MB",
    ])
    .success();
    let error = analyze(&["--max-wasted", "1%"]).code(1).stderr();
    assert!(error.contains("oci:oci:app wastes"), "{error}");
    let _ = analyze(&["--min-efficiency", "0.99"]).code(1);
    let _ = analyze(&["--max-pull", "1kB"]).code(1);
    let _ = analyze(&["--max-pull", "100kB", "--have", "oci:oci:base"]).success();
    fs::write(
        env.path(".dive-ci"),
        "rules:\n  highestWastedBytes: 10kB\n  highestUserWastedPercent: disabled\n",
    )
    .unwrap();
    let error = analyze(&[]).code(1).stderr();
    assert!(error.contains("dive"), "{error}");
}

#[test]
fn a_second_analysis_reads_no_layer() {
    if !has_programs(&["umoci"]) {
        return;
    }
    let env = machine();
    make_images(&env);
    let analyze = || env.run(["layers", "analyze", "--json", "oci:oci:app", "oci:oci:base"]);
    let first = analyze().success().json();
    let blobs = env.path("oci/blobs/sha256");
    let mut last = blobs.clone();
    for image in first["images"].as_array().unwrap() {
        for layer in image["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
            last = blobs.join(digest);
            let length = fs::metadata(&last).unwrap().len();
            fs::write(&last, vec![0; length as usize]).unwrap();
        }
    }
    assert_eq!(analyze().success().json(), first);
    let bytes = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    let error = analyze().code(1).stderr();
    assert!(
        error.contains("is not in"),
        "an image without its layers: {error}"
    );
    fs::write(&last, bytes).unwrap();
    let _ = env
        .run(["cache", "gc", "--max-size", "0", "--grace", "0s"])
        .success();
    let _ = analyze().code(1);
}

#[test]
fn images_are_compared_path_by_path() {
    if !has_programs(&["umoci"]) {
        return;
    }
    let env = machine();
    make_images(&env);
    let document = env
        .run([
            "layers",
            "diff",
            "--json",
            "--ignore",
            "times",
            "oci:oci:base",
            "oci:oci:app",
        ])
        .success()
        .json();
    let changes: Vec<_> = document["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row["change"].as_str().unwrap(),
                row["path"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        changes,
        ["added etc/added", "changed etc/config", "removed usr/lib/gone"],
        "{document}"
    );
    let pulled = document["pull_bytes"].as_u64().unwrap();
    assert!(pulled > 0 && pulled < 10_000, "{document}");
    let diff = |new: &str| env.run(["layers", "diff", "--exit-code", "oci:oci:base", new]);
    let _ = diff("oci:oci:base").success();
    let _ = diff("oci:oci:app").code(1);
}

#[test]
fn damage_and_absence_are_errors_that_name_the_image() {
    let env = machine();
    let error = env.run(["layers", "analyze", "oci:nowhere"]).code(1).stderr();
    assert!(error.contains("nowhere"), "{error}");
    let error = env.run(["layers", "analyze", "./image.tar"]).code(2).stderr();
    assert!(error.contains("docker-archive:"), "{error}");
    fs::write(env.path("x.tar"), "no tar").unwrap();
    let _ = env.run(["layers", "analyze", "docker-archive:x.tar"]).code(1);
    let name = format!("{}/app:v1", dead_address());
    let error = env.run(["layers", "analyze", &name]).code(1).stderr();
    assert!(error.contains(&name[..name.len() - 3]), "{error}");
}

#[test]
fn a_daemon_elsewhere_is_an_error_for_who_wants_the_daemon() {
    let env = machine();
    let analyze = |image: &str| {
        let command = env.headstart().args(["layers", "analyze", image]);
        command.env("DOCKER_HOST", "tcp://192.0.2.1:2375").run()
    };
    let error = analyze("docker-daemon:app:v1").code(2).stderr();
    assert!(error.contains("unix sockets only"), "{error}");
    let error = analyze("oci:nowhere").code(1).stderr();
    assert!(!error.contains("DOCKER_HOST"), "{error}");
}

#[test]
fn dockers_settings_stop_nobody_who_asks_no_registry() {
    let env = machine();
    fs::create_dir_all(env.path("docker")).unwrap();
    fs::write(env.path("docker/config.json"), "{\"auths\":").unwrap();
    let command = env.headstart().args(["layers", "analyze", "oci:nowhere"]);
    let docker_config = env.path("docker");
    let error = command
        .env("DOCKER_CONFIG", docker_config.to_str().unwrap())
        .run()
        .code(1)
        .stderr();
    assert!(error.contains("nowhere"), "{error}");
    assert!(!error.contains("config.json"), "{error}");
}

#[test]
fn what_is_wrong_with_the_daemon_is_told_from_what_is_wrong_with_the_disk() {
    let env = machine();
    let analyze = |host: &str, temp: &str| {
        let command = env.headstart().args(["layers", "analyze", "docker-daemon:app"]);
        command.env("DOCKER_HOST", host).env("TMPDIR", temp).run()
    };
    let error = analyze("unix://", "/tmp").code(2).stderr();
    assert!(error.contains("unix:///var/run/docker.sock"), "{error}");
    let error = analyze("unix:///nonexistent/docker.sock", "/tmp")
        .code(1)
        .stderr();
    assert!(error.contains("/nonexistent/docker.sock"), "{error}");
    assert!(
        error.contains("docker version") && error.contains("group"),
        "{error}"
    );
    let error = analyze("unix:///nonexistent/docker.sock", "/no/temp")
        .code(1)
        .stderr();
    assert!(
        error.contains("/no/temp") && !error.contains("the Docker daemon"),
        "{error}"
    );
}
#[test]
fn a_registry_has_what_was_pushed_to_it() {
    if !has_programs(&["umoci", "skopeo", "docker-registry"]) {
        return;
    }
    let env = machine();
    make_images(&env);
    let registry = DockerRegistry::start();
    let name = format!("{}/team/app:v1", registry.address);
    run_program(
        &env,
        "skopeo",
        &[
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "oci:oci:app",
            &format!("docker://{name}"),
        ],
    );
    let document = env
        .run(["layers", "analyze", "--json", &name, "oci:oci:app"])
        .success()
        .json();
    let images = document["images"].as_array().unwrap();
    assert_eq!(images[0]["reference"], name.as_str());
    assert_eq!(images[0]["digest"], images[1]["digest"], "{document}");
    assert_eq!(images[0]["layers"], images[1]["layers"]);
    assert_eq!(document["fleet"]["shared_layers"], 3);
    let by_digest = format!(
        "{}/team/app@{}",
        registry.address,
        images[0]["digest"].as_str().unwrap()
    );
    // On another machine nothing is remembered: layers come over the line.
    let other = env.second_machine();
    let again = other
        .run(["layers", "analyze", "--json", &by_digest])
        .success()
        .json();
    assert_eq!(again["images"][0]["layers"], images[0]["layers"]);
    let error = env
        .run(["layers", "analyze", &format!("{}/team/app:v2", registry.address)])
        .code(1)
        .stderr();
    assert!(error.contains("v2"), "{error}");
}
