//! `headstart layers plan|build|jar`: images that skopeo and umoci accept, and whose programs run.

use std::{fs, io::Write as _, path::Path};

use headstart_testkit::{DockerRegistry, TestEnv, is_root, noise, skipped};

use crate::{
    machine,
    support::{has_programs, program_files, run_program},
};

#[track_caller]
fn json(env: &TestEnv, args: &[&str]) -> serde_json::Value {
    env.headstart().args(args).arg("--json").run().success().json()
}

/// The digest skopeo finds, after it read every layer.
#[track_caller]
fn accepted(env: &TestEnv, image: &str) -> String {
    let copy = format!("dir:{}", env.path("copy").display());
    run_program(
        env,
        "skopeo",
        &["copy", "--quiet", "--insecure-policy", image, &copy],
    );
    run_program(env, "skopeo", &["inspect", "--format", "{{.Digest}}", image])
        .trim()
        .to_owned()
}

#[test]
fn a_program_of_an_image_built_of_a_list_of_files_runs() {
    if !has_programs(&["skopeo", "umoci", "ldd"]) {
        return;
    }
    let env = machine();
    fs::write(env.path("list"), program_files(Path::new("/bin/sh")).join("\0")).unwrap();
    fs::create_dir(env.path("app")).unwrap();
    fs::write(env.path("app/hello.sh"), "echo \"hello from $0\"\n").unwrap();
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let build = |output: &str| {
        let shell = shell.to_str().unwrap();
        let layers = [
            "--layer",
            "system=/:/",
            "--files",
            "system=list",
            "--layer",
            "app=app:/app",
        ];
        let config = [
            "--entrypoint",
            shell,
            "--cmd",
            "/app/hello.sh",
            "--env",
            "A=b",
            "--workdir",
            "/app",
        ];
        let args = [
            &["layers", "build", "-0", "--base", "scratch"],
            &layers[..],
            &config,
            &["--output", output],
        ];
        json(&env, &args.concat())
    };
    for output in [
        "oci:layout:v1",
        "oci-archive:image.tar:v1",
        "docker-archive:docker.tar:test/image:v1",
    ] {
        let built = build(output);
        let digest = accepted(&env, output);
        if !output.starts_with("docker") {
            assert_eq!(built["digest"], digest);
        }
    }
    let again = build("oci:again:v1");
    assert_eq!(again["digest"], accepted(&env, "oci:layout:v1"));
    let config = run_program(&env, "skopeo", &["inspect", "--config", "oci:layout:v1"]);
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["config"]["WorkingDir"], "/app");
    if !is_root() {
        skipped("unpacking an image and entering it needs root");
        return;
    }
    run_program(&env, "umoci", &["unpack", "--image", "layout:v1", "bundle"]);
    let root = env.path("bundle/rootfs");
    let said = run_program(
        &env,
        "chroot",
        &[root.to_str().unwrap(), shell.to_str().unwrap(), "/app/hello.sh"],
    );
    assert_eq!(said, "hello from /app/hello.sh\n");
}

#[test]
fn planned_images_pull_what_was_predicted_and_hold_what_they_held() {
    if !has_programs(&["skopeo", "umoci"]) {
        return;
    }
    let env = machine();
    fs::create_dir(env.path("base")).unwrap();
    fs::write(env.path("base/os"), noise(1, 100_000)).unwrap();
    let _ = env
        .run([
            "layers",
            "build",
            "--base",
            "scratch",
            "--layer",
            "os=base:/",
            "--output",
            "oci:images:base",
        ])
        .success();
    for (number, name) in ["web", "api", "jobs"].into_iter().enumerate() {
        let folder = env.path(format!("{name}-files"));
        fs::create_dir_all(folder.join("node_modules/lib")).unwrap();
        fs::write(folder.join("node_modules/lib/index.js"), noise(2, 400_000)).unwrap();
        fs::write(folder.join("main.js"), noise(10 + number as u64, 20_000)).unwrap();
        let layer = format!("all={name}-files:/app");
        let output = format!("oci:{name}");
        let _ = env
            .run([
                "layers",
                "build",
                "--base",
                "oci:images:base",
                "--layer",
                &layer,
                "--output",
                &output,
            ])
            .success();
    }
    let images = ["oci:web", "oci:api", "oci:jobs"];
    let plan = json(&env, &[&["layers", "plan"][..], &images].concat());
    let (before, after) = (&plan["rollout"]["bytes_before"], &plan["rollout"]["bytes_after"]);
    assert!(
        after.as_u64().unwrap() + 700_000 < before.as_u64().unwrap(),
        "{plan}"
    );
    let _ = json(
        &env,
        &[
            &["layers", "build", "--plan"][..],
            &images,
            &["--output", "oci:planned"],
        ]
        .concat(),
    );

    let planned = ["oci:planned:web", "oci:planned:api", "oci:planned:jobs"];
    let measured = json(&env, &[&["layers", "analyze"][..], &planned].concat());
    for (predicted, measured) in plan["pulls"]
        .as_array()
        .unwrap()
        .iter()
        .zip(measured["pulls"].as_array().unwrap())
    {
        assert_eq!(
            predicted["bytes_after"], measured["bytes"],
            "{predicted} {measured}"
        );
    }
    for (image, planned) in images.iter().zip(planned) {
        let _ = accepted(&env, planned);
        let files = |image: &str, bundle: &str| {
            let image = image.strip_prefix("oci:").unwrap();
            let image = if image.contains(':') {
                image.to_owned()
            } else {
                format!("{image}:latest")
            };
            run_program(
                &env,
                "umoci",
                &["unpack", "--rootless", "--image", &image, bundle],
            );
            fs::read(env.path(bundle).join("rootfs/app/main.js")).unwrap()
        };
        let name = image.strip_prefix("oci:").unwrap();
        run_program(
            &env,
            "skopeo",
            &[
                "copy",
                "--quiet",
                "--insecure-policy",
                image,
                &format!("oci:tagged-{name}:latest"),
            ],
        );
        let (old, new) = (
            files(&format!("oci:tagged-{name}"), &format!("{name}-old")),
            files(planned, &format!("{name}-new")),
        );
        assert!(old == new, "{name}");
    }
}

#[test]
fn an_image_is_pushed_beside_the_base_it_was_built_on() {
    if !has_programs(&["skopeo", "docker-registry"]) {
        return;
    }
    let env = machine();
    let registry = DockerRegistry::start();
    for folder in ["os", "app"] {
        fs::create_dir(env.path(folder)).unwrap();
        fs::write(env.path(folder).join("file"), noise(1, 100_000)).unwrap();
    }
    let image = |name: &str| format!("{}/team/{name}:v1", registry.address);
    let (base, web) = (image("base"), image("web"));
    let _ = env
        .run([
            "layers", "build", "--base", "scratch", "--layer", "os=os:/", "--output", &base,
        ])
        .success();
    let args = [
        "layers",
        "build",
        "--base",
        &base,
        "--layer",
        "app=app:/app",
        "--output",
        &web,
    ];
    let built = json(&env, &args);
    assert_eq!(json(&env, &args)["digest"], built["digest"]);
    let copy = format!("oci:{}:v1", env.path("copy-of-web").display());
    let from = format!("docker://{web}");
    run_program(
        &env,
        "skopeo",
        &[
            "copy",
            "--quiet",
            "--insecure-policy",
            "--src-tls-verify=false",
            &from,
            &copy,
        ],
    );
    assert_eq!(built["digest"], accepted(&env, &copy));
}

#[test]
fn a_spring_boot_jar_becomes_layers_that_start_java() {
    if !has_programs(&["skopeo", "python3"]) {
        return;
    }
    let env = machine();
    let script = "import sys, zipfile\n\
        def jar(path, code):\n\
        \x20   with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as zip:\n\
        \x20       zip.writestr('META-INF/MANIFEST.MF', 'Main-Class: org.springframework.boot.loader.launch.JarLauncher\\nSpring-Boot-Version: 3.3.0\\n')\n\
        \x20       zip.writestr('org/springframework/boot/loader/launch/JarLauncher.class', 'loader')\n\
        \x20       zip.writestr('BOOT-INF/classes/com/acme/Main.class', code)\n\
        \x20       zip.writestr(zipfile.ZipInfo('BOOT-INF/lib/lib-1.0.jar'), bytes(range(256)) * 2000)\n\
        jar('one.jar', 'one')\n\
        jar('two.jar', 'two')\n";
    fs::File::create(env.path("make.py"))
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    run_program(&env, "python3", &["make.py"]);
    let report = json(&env, &["layers", "jar", "one.jar", "two.jar"]);
    assert_eq!(report["jars"][0]["layered"], false);
    let index = env
        .run(["layers", "jar", "--propose-index", "one.jar"])
        .success()
        .stdout();
    assert_eq!(report["jars"][0]["proposed_index"], index);
    let _ = env
        .run(["layers", "jar", "--propose-index", "one.jar", "two.jar"])
        .code(2);
    assert_eq!(report["shared_libraries"][0]["jars"].as_array().unwrap().len(), 2);
    let build = |name: &str| {
        let (jar, output) = (format!("{name}.jar"), format!("oci:{name}:v1"));
        let built = json(
            &env,
            &[
                "layers", "build", "--jar", &jar, "--base", "scratch", "--output", &output,
            ],
        );
        assert_eq!(built["digest"], accepted(&env, &output));
        built["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["digest"].clone())
            .collect::<Vec<_>>()
    };
    let (one, two) = (build("one"), build("two"));
    assert_eq!(one[..2], two[..2], "dependencies and loader");
    assert_ne!(one[2], two[2], "the code");
    let config = run_program(&env, "skopeo", &["inspect", "--config", "oci:one:v1"]);
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config["config"]["Entrypoint"][1],
        "org.springframework.boot.loader.launch.JarLauncher"
    );
}

#[test]
fn builds_into_one_layout_at_the_same_time_keep_each_others_images() {
    let env = machine();
    fs::create_dir(env.path("app")).unwrap();
    fs::write(env.path("app/file"), noise(1, 100_000)).unwrap();
    let tags: Vec<_> = (0..4).map(|number| format!("v{number}")).collect();
    let args = ["layers", "build", "--base", "scratch", "--layer", "app=app:/"];
    let builds = tags.iter().map(|tag| {
        let output = format!("oci:shared:{tag}");
        env.headstart().args(args).args(["--output", &output]).start()
    });
    for build in builds.collect::<Vec<_>>() {
        let _ = build.wait().success();
    }
    let names: Vec<_> = tags.iter().map(|tag| format!("oci:shared:{tag}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let found = json(&env, &[&["layers", "analyze"][..], &names].concat());
    assert_eq!(found["images"].as_array().unwrap().len(), tags.len());
}
