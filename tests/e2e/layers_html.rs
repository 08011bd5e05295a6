//! `headstart layers analyze --html`: what the page carries, and what a real Chromium makes of it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use headstart_image::DiffId;
use headstart_testkit::{TestEnv, skipped};
use serde_json::{Value, json};

use crate::machine;

const WEB: &str = "docker-archive:web<b>&\"x\".tar";
const API: &str = "docker-archive:api.tar";
const JOBS: &str = "docker-archive:jobs.tar";
const HOSTILE_PATH: &str = "etc/</script><script>alert(1)</script>";
const HOSTILE_STEP: &str = "RUN echo '</script><script>alert(2)</script>{{data}}'";

/// A tar `NAME.layer` of files of these paths and lengths.
fn layer(env: &TestEnv, name: &str, time: &str, files: &[(&[u8], usize)]) {
    let root = env.path(format!("{name}.files"));
    for &(path, length) in files {
        let path = root.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let noise = (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 23) as u8);
        fs::write(path, noise.collect::<Vec<u8>>()).unwrap();
    }
    tar(
        &env.path(format!("{name}.layer")),
        &root,
        &[
            "--sort=name",
            "--owner=0",
            "--group=0",
            &format!("--mtime={time}"),
            ".",
        ],
    );
}

/// An archive as `docker save` writes it, of layers and what made them, lowest first.
fn image(env: &TestEnv, name: &str, layers: &[(&str, &str)]) {
    let files: Vec<String> = layers.iter().map(|(layer, _)| format!("{layer}.layer")).collect();
    let diff_ids = files
        .iter()
        .map(|file| DiffId::of(&fs::read(env.path(file)).unwrap()).to_string());
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
        "history": layers.iter().map(|(_, step)| json!({ "created_by": step })).collect::<Vec<_>>(),
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [], "Layers": files }]);
    fs::write(env.path("config.json"), config.to_string()).unwrap();
    fs::write(env.path("manifest.json"), manifest.to_string()).unwrap();
    let mut members = vec!["manifest.json", "config.json"];
    members.extend(files.iter().map(String::as_str));
    tar(&env.path(name), &env.work(), &members);
}

#[track_caller]
fn tar(archive: &Path, folder: &Path, arguments: &[&str]) {
    let status = Command::new("tar")
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .status();
    assert!(status.unwrap().success());
}

/// Three images: two share their base, whose twin the third has; one deletes a file of its own with a name that is an attack.
fn make_fleet(env: &TestEnv) {
    let base: &[(&[u8], usize)] = &[
        (b"usr/lib/large", 400_000),
        (b"usr/lib/small", 30_000),
        (b"usr/share/doc/book", 60_000),
    ];
    layer(env, "base", "@0", base);
    layer(env, "twin", "@86400", base);
    layer(
        env,
        "web",
        "@0",
        &[
            (HOSTILE_PATH.as_bytes(), 90_000),
            (b"etc/quotes\"'&amp;`", 20_000),
            (b"etc/\xff\xfe-latin", 10_000),
            (b"srv/app", 70_000),
        ],
    );
    layer(
        env,
        "clean",
        "@0",
        &[
            (b"usr/share/.wh.doc", 0),
            (b"etc/</script><script>alert(1)</.wh.script>", 0),
        ],
    );
    layer(env, "api", "@0", &[(b"srv/api", 50_000)]);
    let (base, twin) = (("base", "ADD base /"), ("twin", "ADD base /"));
    let web = [base, ("web", HOSTILE_STEP), ("clean", "RUN rm")];
    image(env, "web<b>&\"x\".tar", &web);
    image(env, "api.tar", &[base, ("api", "COPY . /srv # buildkit")]);
    image(env, "jobs.tar", &[twin]);
}

/// The page, with the JSON and the text printed for the same images.
struct Report {
    path: PathBuf,
    page: String,
    document: Value,
    text: String,
}

fn report(env: &TestEnv) -> Report {
    make_fleet(env);
    let images = ["layers", "analyze", WEB, API, JOBS];
    let run = env.headstart().args(images).args(["--html", "report.html"]);
    let text = run.run().success().says("Wrote report.html").stdout();
    let path = env.path("report.html");
    Report {
        page: fs::read_to_string(&path).unwrap(),
        path,
        document: env.headstart().args(images).arg("--json").run().success().json(),
        text,
    }
}

#[test]
fn a_report_carries_the_json_and_no_markup_of_others() {
    let Report { page, document, .. } = report(&machine());
    assert_eq!(page.matches("<script").count(), 2, "the data and the code");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(page.contains("docker-archive:web&lt;b&gt;&amp;&quot;x&quot;.tar"));
    let (_, data) = page
        .split_once("<script id=\"data\" type=\"application/json\">")
        .unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let mut expected = document.clone();
    expected.as_object_mut().unwrap().remove("pulls");
    assert_eq!(data["analysis"], expected);
    assert_eq!(document["images"][0]["wasted_files"][0]["path"], HOSTILE_PATH);
    let names = data["weights"][0].to_string();
    for name in ["quotes\\\"'&amp;`", "\u{fffd}\u{fffd}-latin"] {
        assert!(names.contains(name), "{names}");
    }
}

#[test]
fn a_report_needs_nothing_from_elsewhere() {
    let Report { page, .. } = report(&machine());
    assert!(page.contains("content=\"default-src 'none'; "));
    for outside in [
        "http:",
        "https:",
        "//cdn",
        "@import",
        "url(",
        " src=",
        "<link",
        "<iframe",
        " style=",
        " onclick=",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// A Chromium or Chrome, if there is one.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("HEADSTART_TEST_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = [
        "chromium",
        "chromium-headless-shell",
        "google-chrome",
        "chromium-browser",
    ];
    let found = || {
        let mut folders = std::env::split_paths(&path);
        folders.find_map(|folder| {
            names
                .map(|name| folder.join(name))
                .into_iter()
                .find(|file| file.is_file())
        })
    };
    named.or_else(found)
}

/// What the page showed to a script that clicks through it; nothing, after saying why, where no browser is.
fn browse(env: &TestEnv, page: &Path) -> Option<Value> {
    let Some(chromium) = chromium() else {
        skipped(
            "no Chromium is installed: apt-get install chromium-headless-shell, or name one in HEADSTART_TEST_CHROMIUM",
        );
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser/layers_report.mjs");
    let output = Command::new("node")
        .arg(script)
        .arg(chromium)
        .arg(page)
        .env("HOME", env.home())
        .env("TMPDIR", env.root())
        .output();
    let Ok(output) = output else {
        skipped("node is not installed (tests/run installs it)");
        return None;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// What the report in text says of a pull.
fn pull_in_text(text: &str, image: &str, have: &str) -> String {
    let line = text.lines().find(|line| {
        line.strip_prefix(image)
            .is_some_and(|rest| rest.trim_start().starts_with(have))
    });
    let mut words = line.unwrap().split_whitespace().rev();
    let (unit, number) = (words.next().unwrap(), words.next().unwrap());
    format!("{number} {unit}")
}

#[test]
fn a_browser_shows_the_numbers_of_the_command_line() {
    let env = machine();
    let Report {
        path, document, text, ..
    } = report(&env);
    let Some(seen) = browse(&env, &path) else { return };
    assert_eq!(seen["errors"], json!([]));
    assert!(seen["widthOnPhone"].as_u64() <= Some(390), "{seen}");

    assert_eq!(seen["pulls"], document["pulls"]);
    for (mapped, image) in std::iter::zip(
        seen["mapped"].as_array().unwrap(),
        document["images"].as_array().unwrap(),
    ) {
        assert_eq!(mapped["file_bytes"], image["file_bytes"]);
        assert_eq!(mapped["wasted_bytes"], image["wasted_bytes"]);
    }

    // 490 kB in three files, with the headers of a tar.
    let web = "web<b>&\"x\".tar";
    assert_eq!(seen["pair"], format!("{web} and api.tar share 1 layer, 502 kB"));
    assert_eq!(seen["likeTheThird"][0], "jobs.tar");
    let twins = "The same files with other times, owners, modes or order: 502 kB too many";
    assert_eq!(seen["twins"], json!([twins]));

    assert!(seen["hatched"].as_u64() >= Some(2), "{seen}");
    let usr = json!(["lib/\t430 kB\t87.7 %\t", "share/\t60.0 kB\t12.2 %\t60.0 kB"]);
    assert_eq!(seen["zoomedByMouse"], json!([[web, "usr"], usr]));
    assert_eq!(seen["zoomedOut"], json!([web]));
    assert_eq!(seen["focused"], "/etc, 120 kB");
    assert_eq!(seen["zoomedByKey"], json!([web, "etc"]));
    let second = json!(["etc/\t120 kB\t63.1 %\t90.0 kB", "srv/\t70.0 kB\t36.8 %\t"]);
    assert_eq!(seen["oneLayer"], second);
    let wasted = seen["wasted"][0].as_str().unwrap();
    for part in ["90.0 kB", HOSTILE_PATH, HOSTILE_STEP, "RUN rm", "whiteout"] {
        assert!(wasted.contains(part), "{wasted}");
    }

    let all = pull_in_text(&text, "all of them", "nothing");
    assert_eq!(
        seen["rollout"],
        format!("{all} pulled for 3 images: 5 layers pulled, 0 present")
    );
    assert_eq!(
        seen["nothing"],
        "0 B pulled for 0 images: 0 layers pulled, 0 present"
    );
    let second = pull_in_text(&text, API, WEB);
    assert_eq!(
        seen["secondGivenFirst"],
        format!("{second} pulled for 1 image: 1 layer pulled, 1 present")
    );
    assert_eq!(seen["layers"], json!(["pulled", "present"]));
}

#[test]
fn a_report_knows_what_a_node_is_said_to_have() {
    let env = machine();
    make_fleet(&env);
    let run = env.run([
        "layers",
        "analyze",
        API,
        "--have",
        WEB,
        "--json",
        "--html",
        "report.html",
    ]);
    let document = run.success().json();
    let have = document["have"].clone();
    assert_eq!(have[0]["reference"], WEB);
    assert_eq!(have[0]["layers"][0], document["images"][0]["layers"][0]["digest"]);
    let page = fs::read_to_string(env.path("report.html")).unwrap();
    assert!(page.contains(&have[0]["layers"].to_string()));
}

#[test]
fn a_page_takes_the_place_of_a_page_only() {
    let env = machine();
    fs::create_dir(env.path("app")).unwrap();
    let build = ["layers", "build", "--base", "scratch", "--layer", "app=app:/app"];
    let _ = env
        .headstart()
        .args(build)
        .args(["--output", "oci:image"])
        .run()
        .success();
    let write = |name: &str| env.run(["layers", "analyze", "oci:image", "--html", name]);
    let _ = write("report.html").success();
    fs::hard_link(env.path("report.html"), env.path("opened")).unwrap();
    let _ = write("report.html").success();
    let [new, old] = ["report.html", "opened"].map(|name| fs::metadata(env.path(name)).unwrap().ino());
    assert_ne!(new, old, "who has the old page open keeps it");
    fs::write(env.path("notes"), "mine").unwrap();
    let error = write("notes").code(1).stderr();
    assert!(error.contains("notes is there and is no page"), "{error}");
    assert_eq!(fs::read_to_string(env.path("notes")).unwrap(), "mine");
}
