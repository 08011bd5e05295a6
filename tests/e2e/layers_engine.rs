//! `headstart layers` and a real Docker engine: it runs what was built, saves what is read, and builds what is planned.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use headstart_testkit::{ChildGuard, Headstart, TestEnv, is_root, skipped};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    machine,
    support::{has_programs, program_files, run_program},
};

/// Longer than any engine takes to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Docker daemon of a test's own. Its mounts are in a mount namespace that ends with it.
struct Engine<'a> {
    env: &'a TestEnv,
    host: String,
    daemon: Option<ChildGuard>,
}

impl<'a> Engine<'a> {
    /// Nothing, after saying why, where no daemon can run.
    fn start(env: &'a TestEnv) -> Option<Self> {
        if !has_programs(&["docker", "dockerd", "unshare", "skopeo", "umoci", "ldd"]) {
            return None;
        }
        if !is_root() {
            skipped("a Docker daemon needs root");
            return None;
        }
        let folder = env.root().join("engine");
        fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(path("config"), "{}").unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let host = format!("unix://{}", path("socket"));
        let mut command = Command::new("unshare");
        command
            .args([
                "-m",
                "dockerd",
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
            ])
            .args(["--config-file", &path("config"), "--host", &host])
            .args(["--data-root", &path("data"), "--exec-root", &path("run")])
            .args(["--pidfile", &path("pid")])
            .stdout(Stdio::null())
            .stderr(log);
        let mut engine = Engine {
            env,
            host,
            daemon: Some(ChildGuard::spawn(&mut command)),
        };
        let started = Instant::now();
        while !engine.docker(&["version"]).status.success() {
            let daemon = engine.daemon.as_mut().unwrap().child();
            if daemon.try_wait().unwrap().is_some() || started.elapsed() > PATIENCE {
                let log = fs::read_to_string(path("log")).unwrap();
                let last = log.lines().last().unwrap_or_default();
                skipped(&format!("no Docker daemon comes up here: {last}"));
                return None;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Some(engine)
    }

    fn docker(&self, args: &[&str]) -> Output {
        self.docker_with(args, "0")
    }

    fn docker_with(&self, args: &[&str], buildkit: &str) -> Output {
        // Debian's has BuildKit in it, others need a plugin.
        let program = Path::new("/usr/bin/docker");
        let program = if program.exists() {
            program
        } else {
            Path::new("docker")
        };
        Command::new(program)
            .args(args)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_BUILDKIT", buildkit)
            .env("HOME", self.env.home())
            .current_dir(self.env.work())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn said(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn headstart(&self) -> Headstart<'a> {
        self.env.headstart().env("DOCKER_HOST", &self.host)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        self.headstart().args(args).arg("--json").run().success().json()
    }

    fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        // Asked, it ends its containers and the containerd it started.
        daemon.signal(Signal::TERM);
        let asked = Instant::now();
        while daemon.child().try_wait().is_ok_and(|status| status.is_none()) && asked.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A layout `images` with a shell in `base`; gives the path of the shell.
fn make_base(env: &TestEnv) -> PathBuf {
    let shell = fs::canonicalize("/bin/sh").unwrap();
    fs::write(env.path("list"), program_files(&shell).join("\n")).unwrap();
    let layer = [
        "layers",
        "build",
        "--base",
        "scratch",
        "--layer",
        "system=/:/",
        "--files",
        "system=list",
    ];
    let _ = env
        .run([&layer[..], &["--output", "oci:images:base"]].concat())
        .success();
    shell
}

/// As the engine has an image: its ID and its diff IDs.
fn inspected(engine: &Engine<'_>, image: &str) -> (String, Value) {
    let layers = engine.said(&["inspect", "--format", "{{json .RootFS.Layers}}", image]);
    let id = engine.said(&["inspect", "--format", "{{.Id}}", image]);
    (id, serde_json::from_str(&layers).unwrap())
}

#[test]
fn an_engine_runs_what_was_built_and_saves_what_is_read() {
    let env = machine();
    let Some(mut engine) = Engine::start(&env) else {
        return;
    };
    let shell = make_base(&env);
    fs::create_dir(env.path("app")).unwrap();
    fs::write(env.path("app/hello.sh"), "echo \"hello from $0\"\n").unwrap();
    let build = |output: &str| {
        let image = [
            "layers",
            "build",
            "--base",
            "oci:images:base",
            "--layer",
            "app=app:/app",
        ];
        let config = ["--entrypoint", shell.to_str().unwrap(), "--cmd", "/app/hello.sh"];
        engine.json(&[&image[..], &config, &["--output", output]].concat())
    };
    let built = build("oci:layout:v1");
    let _ = build("docker-archive:archive.tar:test/archive:v1");
    // What this engine loads has to have a manifest.json.
    let copy = [
        "copy",
        "--quiet",
        "--insecure-policy",
        "oci:layout:v1",
        "docker-archive:copy.tar:test/layout:v1",
    ];
    run_program(&env, "skopeo", &copy);
    let manifest = run_program(&env, "skopeo", &["inspect", "--raw", "oci:layout:v1"]);
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let diff_ids = built["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["diff_id"].clone());
    let expected = (
        manifest["config"]["digest"].as_str().unwrap().to_owned(),
        Value::Array(diff_ids.collect()),
    );
    for (file, image) in [("archive.tar", "test/archive:v1"), ("copy.tar", "test/layout:v1")] {
        engine.said(&["load", "--quiet", "--input", file]);
        assert_eq!(inspected(&engine, image), expected, "{image}");
        let said = engine.said(&["run", "--rm", "--network=none", image]);
        assert_eq!(said, "hello from /app/hello.sh");
    }

    engine.said(&["save", "--output", "saved.tar", "test/archive:v1"]);
    let read = |image: &str| {
        let mut document = engine.json(&["layers", "analyze", image]);
        let reference = document["images"][0]["reference"].take();
        assert_eq!(reference, image);
        assert_eq!(document["pulls"][0]["image"].take(), image);
        assert_eq!(document["rollout"][0]["image"].take(), image);
        document
    };
    let saved = read("docker-archive:saved.tar");
    assert_eq!(saved["images"][0]["digest"], expected.0);
    // A name alone is its latest image, whatever other tags there are.
    engine.said(&["tag", "test/archive:v1", "test/archive:latest"]);
    fs::create_dir(env.path("other")).unwrap();
    fs::write(env.path("other/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    engine.said(&["build", "--quiet", "--tag", "test/archive:other", "other"]);
    let id = expected.0.strip_prefix("sha256:").unwrap();
    for name in ["test/archive:v1", "test/archive", &expected.0, &id[..12]] {
        assert_eq!(read(&format!("docker-daemon:{name}")), saved, "{name}");
    }

    let refused = |name: &str| {
        let image = format!("docker-daemon:{name}");
        engine
            .headstart()
            .args(["layers", "analyze", &image])
            .run()
            .code(1)
            .stderr()
    };
    let error = refused("test/nothing:v1");
    assert!(
        error.contains("the image test/nothing:v1 is not in the Docker daemon"),
        "{error}"
    );
    let error = refused("UPPER:v1");
    assert!(error.contains("must be lowercase"), "{error}");
    engine.stop();
    let error = engine
        .headstart()
        .args(["layers", "analyze", "docker-daemon:test/archive:v1"]);
    let error = error.run().code(1).stderr();
    assert!(
        error.contains("the Docker daemon at ") && error.contains("No such file or directory"),
        "{error}"
    );
}

#[test]
fn builders_make_the_layers_of_a_plan_of_its_lines() {
    let env = machine();
    let Some(engine) = Engine::start(&env) else {
        return;
    };
    let _ = make_base(&env);
    // Installed at different times, as services are.
    for (name, time) in [("web", "1700000000"), ("api", "1700000001")] {
        make_service(&env, name, time);
    }
    let images = ["oci:images:web", "oci:images:api"];
    let plan = [
        "layers",
        "plan",
        images[0],
        images[1],
        "--have",
        "oci:images:base",
        "--times",
        "fixed",
    ];
    let plan = engine.json(&plan);
    let shared = plan["layers"]
        .as_array()
        .unwrap()
        .iter()
        .position(|layer| layer["images"] == serde_json::json!([0, 1]));
    assert_eq!(shared, Some(0), "{plan}");

    // The engine has the images as they are, and what stays of them.
    for name in ["base", "web", "api"] {
        let (from, to) = (
            format!("oci:images:{name}"),
            format!("docker-archive:{name}.tar:old/{name}:v1"),
        );
        run_program(
            &env,
            "skopeo",
            &["copy", "--quiet", "--insecure-policy", &from, &to],
        );
        engine.said(&["load", "--quiet", "--input", &format!("{name}.tar")]);
    }
    for (builder, buildkit) in [("classic", "0"), ("buildkit", "1")] {
        let built = ["web", "api"].map(|name| format!("{builder}/{name}:v1"));
        for (number, tag) in built.iter().enumerate() {
            let name = ["web", "api"][number];
            let image = &plan["images"][number];
            assert_eq!(image["kept_layers"], 1);
            let lines = |part: &str| {
                let lines = image["dockerfile"][part].as_array();
                let lines = lines.unwrap_or_else(|| panic!("{image}")).iter();
                lines
                    .map(|line| format!("{}\n", line.as_str().unwrap()))
                    .collect::<String>()
            };
            let folder = env.path(format!("{builder}-{name}"));
            fs::create_dir(&folder).unwrap();
            let dockerfile = format!(
                "FROM old/{name}:v1 AS files\n{}FROM old/base:v1\n{}",
                lines("stages"),
                lines("copies")
            );
            fs::write(folder.join("Dockerfile"), &dockerfile).unwrap();
            let args = ["build", "--network=none", "--tag", tag, folder.to_str().unwrap()];
            let output = engine.docker_with(&args, buildkit);
            let stderr = String::from_utf8_lossy(&output.stderr);
            if stderr.contains("buildx") {
                skipped("docker has no BuildKit (the docker of Debian's docker.io does)");
                return;
            }
            assert!(output.status.success(), "{builder}: {dockerfile}{stderr}");
            let (daemon, old) = (format!("docker-daemon:{tag}"), images[number]);
            let diff = ["layers", "diff", "--ignore", "times,order", old, &daemon];
            let diff = engine.json(&diff);
            assert_eq!(diff["changes"], serde_json::json!([]), "{builder}: {dockerfile}");
        }
        let layers = built.map(|tag| inspected(&engine, &tag).1);
        let [web, api] = layers.each_ref().map(|layers| layers.as_array().unwrap());
        assert_eq!((web.len(), api.len()), (3, 3));
        assert_eq!(
            web[..2],
            api[..2],
            "{builder}: both have the base and the shared layer"
        );
        assert_ne!(web[2], api[2]);
        // The layers hold what was planned, and nothing twice.
        for (name, number) in [("web", 0), ("api", 1)] {
            let found = engine.json(&["layers", "analyze", &format!("docker-daemon:{builder}/{name}:v1")]);
            let found = found["images"][0]["layers"].as_array().unwrap();
            let new = plan["images"][number]["new_layers"].as_array().unwrap();
            for (found, planned) in found[1..].iter().zip(new) {
                let planned = &plan["layers"][planned.as_u64().unwrap() as usize];
                for what in ["files", "file_bytes"] {
                    assert_eq!(found[what], planned[what], "{builder} {name}: {what}");
                }
            }
        }
    }
}

/// Puts a service on the base: a layer of modules and one of its own, by umoci.
fn make_service(env: &TestEnv, name: &str, time: &str) {
    let script = "set -e; mkdir -p \"$0/modules/lib/.bin\" \"$0/modules/lib/private\" \"$0/code/empty\" \"$0/code/a folder\"
        cd \"$0\"; seq 30000 > modules/lib/index.js; ln -s ../index.js modules/lib/.bin/lib; ln modules/lib/index.js modules/lib/same.js
        echo key > modules/lib/private/key; chmod 700 modules/lib/private; chmod 640 modules/lib/private/key; chown 33:44 modules/lib/private/key
        cp /bin/true modules/lib/helper; chmod 4711 modules/lib/helper
        echo \"$0\" > 'code/a folder/main file.js'; echo '{}' > code/package.json; chmod 600 code/package.json
        find . -exec touch -h -d \"@$1\" {} +";
    run_program(env, "sh", &["-c", script, name, time]);
    run_program(env, "umoci", &["tag", "--image", "images:base", name]);
    let image = format!("images:{name}");
    for (part, to) in [("modules", "/app/modules"), ("code", "/app")] {
        let folder = format!("{name}/{part}");
        run_program(env, "umoci", &["insert", "--image", &image, &folder, to]);
    }
}
