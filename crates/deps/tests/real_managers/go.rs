//! Go, with a proxy in a folder: the public one need not be reachable.

use crate::{Case, Saved, case::files};

const PROXY: &str = r#"
import os, zipfile
at = "proxy/example.com/!greeting/@v/v1.0.0"
os.makedirs(os.path.dirname(at))
module = "module example.com/Greeting\n\ngo 1.17\n"
open(at + ".mod", "w").write(module)
open(at + ".info", "w").write('{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}')
with zipfile.ZipFile(at + ".zip", "w") as archive:
    archive.writestr("example.com/Greeting@v1.0.0/go.mod", module)
    archive.writestr("example.com/Greeting@v1.0.0/x.go", 'package greeting\n\nconst Hello = "hello"\n')
"#;

#[test]
fn go_builds_from_what_was_restored() {
    let case = Case {
        program: "go",
        variable: Some("HEADSTART_TEST_GO"),
        files: files([
            (
                "go.mod",
                "module demo\n\ngo 1.17\n\nrequire example.com/Greeting v1.0.0\n",
            ),
            (
                "main.go",
                "package main\n\nimport greeting \"example.com/Greeting\"\n\nfunc main() { _ = greeting.Hello }\n",
            ),
            ("proxy.py", PROXY),
        ]),
        lockfile: Some("go.sum"),
        // Unpacked modules are read-only otherwise, and in the way when the test tidies up.
        env: vec![("GOFLAGS", "-modcacherw".to_owned())],
        setup: &[
            "sh",
            "-c",
            "python3 proxy.py && export GOPROXY=file://$PWD/proxy GONOSUMDB=example.com GOFLAGS='-mod=mod -modcacherw' &&
             go mod tidy && go mod download",
        ],
        check: &["go", "build", "-o", "demo", "."],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["go-modules"]) else {
        return;
    };
    saved.installs_from_the_downloads();
}
