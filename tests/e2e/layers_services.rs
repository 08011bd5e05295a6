//! `headstart layers plan|build` on real Node services: npm's modules, images of umoci's, pulls from a registry by skopeo.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use headstart_testkit::{ChildGuard, DockerRegistry, Headstart, Manifest, TestEnv, is_root, skipped};
use serde_json::{Value, json};

use crate::{
    deps::network,
    machine,
    support::{dead_address, has_programs, program_files, run_program},
};

/// Name, dependencies with their versions, and a program that answers at `$PORT`.
type Service = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const SERVICES: [Service; 3] = [
    (
        "web",
        &[("express", "4.21.2"), ("ms", "2.1.3")],
        "const app = require('express')();\n\
         app.get('/', (_, answer) => answer.send(require('./greeting')));\n\
         app.listen(process.env.PORT, '127.0.0.1');\n",
    ),
    (
        "api",
        &[("fastify", "5.2.0"), ("pino", "9.5.0")],
        "const app = require('fastify')();\n\
         app.get('/', async () => require('./greeting'));\n\
         app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });\n",
    ),
    (
        "feed",
        &[("express", "4.21.2"), ("pino", "9.5.0"), ("ws", "8.18.0")],
        "const app = require('express')();\n\
         const server = require('http').createServer(app);\n\
         new (require('ws').Server)({ server });\n\
         app.get('/', (_, answer) => answer.send(require('./greeting')));\n\
         server.listen(process.env.PORT, '127.0.0.1');\n",
    ),
];

/// More than a manifest, a config and a little code.
const FEW_BYTES: u64 = 64 << 10;

#[test]
fn real_services_share_their_modules_and_a_change_of_code_moves_only_code() {
    let programs = [
        "skopeo",
        "umoci",
        "docker-registry",
        "npm",
        "node",
        "ldd",
        "chroot",
    ];
    if !has_programs(&programs) {
        return;
    }
    if !is_root() {
        skipped("unpacking an image and entering it needs root");
        return;
    }
    let env = machine();
    if !make_services(&env) {
        return;
    }
    make_images(&env);
    let images: Vec<_> = SERVICES
        .iter()
        .map(|(name, ..)| format!("oci:images:{name}"))
        .collect();

    let kept = env.run(with(&["layers", "plan"], &images)).success();
    assert!(
        kept.stderr().contains("--times fixed"),
        "npm writes its own times: {}",
        kept.stderr()
    );

    let registry = DockerRegistry::start();
    let repository = format!("{}/team/fleet", registry.address);
    let build = |headstart: Headstart<'_>, output: &str| {
        let args = [
            "layers", "build", "--plan", "--json", "--times", "fixed", "--output", output,
        ];
        headstart.args(with(&args, &images)).run().success().json()
    };
    let plan = build(env.headstart(), &repository);
    let bytes = |value: &Value| value.as_u64().unwrap();
    let (before, after) = (&plan["rollout"]["bytes_before"], &plan["rollout"]["bytes_after"]);
    assert!(bytes(after) + 1_000_000 < bytes(before), "{}", plan["rollout"]);

    // Every predicted pull is the one that skopeo needs.
    let node = |name: &str| format!("node-of-{}", name.rsplit(':').next().unwrap());
    let (cold, given): (Vec<_>, Vec<_>) = plan["pulls"]
        .as_array()
        .unwrap()
        .iter()
        .partition(|pull| pull["have"] == json!([]));
    assert_eq!((cold.len(), given.len()), (3, 6));
    for pull in cold.into_iter().chain(given) {
        let image = pull["image"].as_str().unwrap();
        let store = match pull["have"][0].as_str() {
            None => env.path(node(image)),
            Some(have) => copy_of(&env, &node(have)),
        };
        let pulled = pull_into(&env, &store, &repository, &tag(image));
        assert_eq!(pulled, bytes(&pull["bytes_after"]), "{pull}");
    }

    // A release of one service: another line of code, the same modules.
    let code = env.path("api/app/greeting.js");
    fs::write(&code, "module.exports = 'hello again';\n").unwrap();
    run_program(&env, "umoci", &["tag", "--image", "images:api-modules", "api"]);
    insert(&env, "api", "api/app", "/app");
    let released = build(env.headstart(), &repository);
    for (old, new) in plan["images"]
        .as_array()
        .unwrap()
        .iter()
        .zip(released["images"].as_array().unwrap())
    {
        let is_api = old["reference"] == "oci:images:api";
        assert_eq!(
            old["digest_after"] != new["digest_after"],
            is_api,
            "{}",
            old["reference"]
        );
    }
    let [old, new] = [&plan, &released].map(|plan| layers_of(plan, 1));
    assert_eq!(old[..old.len() - 1], new[..new.len() - 1]);
    assert_ne!(old.last(), new.last());
    let pulled = pull_into(&env, &copy_of(&env, &node("api")), &repository, "images-api");
    assert!(pulled < FEW_BYTES, "a release pulls {pulled} bytes");

    // The same bytes for everybody.
    let other = env.second_machine();
    let elsewhere = other.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let layout = format!("oci:{}", env.path("planned").display());
    let strange = other
        .headstart()
        .through(["sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .env("TZ", "Asia/Kathmandu")
        .env("TMPDIR", &elsewhere)
        .current_dir(env.work());
    let again = build(strange, &layout);
    for part in ["images", "layers", "pulls", "rollout"] {
        assert_eq!(released[part], again[part], "{part}");
    }

    for (number, (name, ..)) in SERVICES.iter().enumerate() {
        let planned = format!("planned:images-{name}");
        let digest = run_program(
            &env,
            "skopeo",
            &["inspect", "--format", "{{.Digest}}", &format!("oci:{planned}")],
        );
        assert_eq!(again["images"][number]["digest_after"], digest.trim());
        let [old, new] = [format!("images:{name}"), planned].map(|image| {
            let bundle = image.replace(':', "-");
            run_program(&env, "umoci", &["unpack", "--image", &image, &bundle]);
            env.path(bundle).join("rootfs")
        });
        let trees = [&old, &new].map(|root| Manifest::of(root).without_mtimes());
        trees[0].assert_same(&trees[1]);
        let said = answer_of(&new);
        let greeting = if *name == "api" { "hello again" } else { "hello" };
        assert!(
            said.starts_with("HTTP/1.1 200") && said.ends_with(greeting),
            "{name}: {said}"
        );
    }
}

/// The services with their modules, each in a folder; false, after saying why, where npm's registry cannot be reached.
fn make_services(env: &TestEnv) -> bool {
    for (name, dependencies, main) in SERVICES {
        let folder = env.path(name);
        fs::create_dir_all(folder.join("app")).unwrap();
        let dependencies: BTreeMap<_, _> = dependencies.iter().copied().collect();
        let package =
            json!({ "name": name, "version": "1.0.0", "private": true, "dependencies": dependencies });
        fs::write(folder.join("package.json"), package.to_string()).unwrap();
        fs::write(folder.join("app/main.js"), main).unwrap();
        fs::write(folder.join("app/greeting.js"), "module.exports = 'hello';\n").unwrap();
        let output = Command::new("npm")
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--fetch-retries=1",
            ])
            .env("HOME", env.home())
            .envs(network(&env.home()))
            .current_dir(&folder)
            .output()
            .unwrap();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            let unreachable = [
                "ENOTFOUND",
                "EAI_AGAIN",
                "ECONNREFUSED",
                "ECONNRESET",
                "ETIMEDOUT",
                "ENETUNREACH",
            ];
            assert!(
                unreachable.iter().any(|code| error.contains(code)),
                "npm install: {error}"
            );
            skipped("npm's registry cannot be reached");
            return false;
        }
    }
    true
}

/// A layout `images`: Node on nothing, on it each service in two layers, as `COPY node_modules` and `COPY . .` make them.
fn make_images(env: &TestEnv) {
    let node = run_program(env, "node", &["-p", "process.execPath"]);
    let files = program_files(Path::new(node.trim()));
    fs::write(env.path("list"), files.join("\n")).unwrap();
    let args = ["layers", "build", "--base", "scratch", "--layer", "node=/:/"];
    let config = [
        "--files",
        "node=list",
        "--entrypoint",
        node.trim(),
        "--cmd",
        "/app/main.js",
        "--output",
        "oci:images:node",
    ];
    let _ = env.run([&args[..], &config].concat()).success();
    for (name, ..) in SERVICES {
        let modules = format!("{name}-modules");
        run_program(env, "umoci", &["tag", "--image", "images:node", &modules]);
        insert(
            env,
            &modules,
            &format!("{name}/node_modules"),
            "/app/node_modules",
        );
        run_program(
            env,
            "umoci",
            &["tag", "--image", &format!("images:{modules}"), name],
        );
        insert(env, name, &format!("{name}/app"), "/app");
    }
}

fn insert(env: &TestEnv, tag: &str, folder: &str, to: &str) {
    run_program(
        env,
        "umoci",
        &["insert", "--image", &format!("images:{tag}"), folder, to],
    );
}

fn with(args: &[&str], images: &[String]) -> Vec<String> {
    let args = args.iter().map(|&arg| arg.to_owned());
    args.chain(images.iter().cloned()).collect()
}

/// `oci:images:web` is pushed as `images-web`.
fn tag(image: &str) -> String {
    format!("images-{}", image.rsplit(':').next().unwrap())
}

/// The digests of the new layers of an image of a plan, lowest first.
fn layers_of(plan: &Value, image: usize) -> Vec<&Value> {
    let numbers = plan["images"][image]["new_layers"].as_array().unwrap();
    let layers = numbers
        .iter()
        .map(|number| &plan["layers"][number.as_u64().unwrap() as usize]["digest"]);
    layers.collect()
}

/// Pulls an image to a node that has the blobs of a folder; gives the bytes that came.
fn pull_into(env: &TestEnv, store: &Path, repository: &str, tag: &str) -> u64 {
    fs::create_dir_all(store).unwrap();
    let bytes = || -> u64 {
        let blobs = fs::read_dir(store.join("sha256")).into_iter().flatten();
        blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum()
    };
    let before = bytes();
    let (from, to) = (
        format!("docker://{repository}:{tag}"),
        format!("oci:pulled-{tag}:latest"),
    );
    let _ = fs::remove_dir_all(env.path(format!("pulled-{tag}")));
    let store = store.to_str().unwrap();
    let options = [
        "-q",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--dest-shared-blob-dir",
        store,
    ];
    run_program(env, "skopeo", &[&["copy"], &options[..], &[&from, &to]].concat());
    bytes() - before
}

/// A node that has what another has.
fn copy_of(env: &TestEnv, node: &str) -> PathBuf {
    let copy = env.path("node");
    let _ = fs::remove_dir_all(&copy);
    run_program(env, "cp", &["-al", node, "node"]);
    copy
}

/// Starts the service of an unpacked image; gives what it answers to a request, head and body.
fn answer_of(root: &Path) -> String {
    let node = Command::new("node")
        .args(["-p", "process.execPath"])
        .output()
        .unwrap();
    let node = String::from_utf8(node.stdout).unwrap();
    let address = dead_address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let mut command = Command::new("chroot");
    command.arg(root).args([node.trim(), "/app/main.js"]);
    let mut service = ChildGuard::spawn(command.env("PORT", port).stdout(Stdio::null()));
    let mut line = service.connect(&address).expect("the service goes on");
    line.write_all(b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut said = String::new();
    let _ = line.read_to_string(&mut said).unwrap();
    said
}
