//! uv with the public index; pip and Poetry with one made here, since they keep only what an index lets them keep.

use headstart_deps::Holds;

use crate::{Case, Registry, Saved, case::files};

/// Makes an index with a wheel and a source distribution.
const INDEX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_managers/index.py");

#[test]
fn uv_works_from_what_was_restored() {
    let case = Case {
        program: "uv",
        variable: Some("HEADSTART_TEST_UV"),
        files: files([(
            "pyproject.toml",
            "[project]\nname = \"demo\"\nversion = \"0.1.0\"\nrequires-python = \">=3.9\"\n\
             dependencies = [\"iniconfig==2.0.0\"]\n",
        )]),
        lockfile: Some("uv.lock"),
        setup: &["uv", "sync"],
        check: &[".venv/bin/python", "-c", "import iniconfig"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["uv-cache"]) else {
        return;
    };
    saved.installs_from_the_downloads();
}

#[test]
fn poetry_works_from_what_was_restored() {
    let Some(index) = Registry::made_by(&[INDEX]) else {
        return;
    };
    let project = format!(
        "[project]\nname = \"demo\"\nversion = \"0.1.0\"\nrequires-python = \">=3.9\"\n\
         dependencies = [\"from-wheel==1.0\", \"from-source==1.0\"]\n\
         [tool.poetry]\npackage-mode = false\n\
         [[tool.poetry.source]]\nname = \"here\"\nurl = \"{}/simple/\"\npriority = \"primary\"\n",
        index.url()
    );
    let case = Case {
        program: "poetry",
        variable: Some("HEADSTART_TEST_POETRY"),
        files: files([("pyproject.toml", &project)]),
        lockfile: Some("poetry.lock"),
        setup: &["poetry", "install", "--no-interaction"],
        check: &["poetry", "run", "python", "-c", "import from_wheel, from_source"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["poetry-cache"]) else {
        return;
    };
    drop(index);
    saved.installs_from_the_downloads();
}

#[test]
fn pip_works_from_what_was_restored() {
    let Some(index) = Registry::made_by(&[INDEX]) else {
        return;
    };
    let by_url = format!(
        "from-wheel @ {0}/files/from_wheel-1.0-py3-none-any.whl\nfrom-source @ {0}/files/from_source-1.0.tar.gz\n",
        index.url()
    );
    let by_name = "from-wheel==1.0\nfrom-source==1.0\n";
    let case = Case {
        program: "pip",
        variable: Some("HEADSTART_TEST_PIP"),
        files: files([("requirements.txt", by_name), ("by-url.txt", &by_url)]),
        env: vec![
            ("PIP_INDEX_URL", format!("{}/simple/", index.url())),
            // pip keeps nothing that came over plain HTTP from a host it does not trust.
            ("PIP_TRUSTED_HOST", "127.0.0.1".to_owned()),
            ("PIP_RETRIES", "0".to_owned()),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
        ],
        setup: &[
            "sh",
            "-c",
            "python3 -m venv --without-pip .venv && pip --python .venv install -r requirements.txt",
        ],
        install: Some(&[
            "sh",
            "-c",
            "python3 -m venv --without-pip .venv && pip --python .venv install -r by-url.txt",
        ]),
        check: &[".venv/bin/python", "-c", "import from_wheel, from_source"],
        ..Case::default()
    };
    let Some(saved) = Saved::by(&case, &["pip-cache"]) else {
        return;
    };
    // By name, pip may ask the index what there is, and then has it all.
    index.take_asked();
    let second = saved.restored(&[Holds::Downloads]);
    let install = [&["env", "no_proxy=127.0.0.1"], case.setup].concat();
    second.machine.must_run(&install);
    second.machine.must_run(case.check);
    let asked = index.take_asked();
    assert!(!asked.iter().any(|path| path.starts_with("/files/")), "{asked:?}");
    // By URL it needs nobody.
    drop(index);
    saved.installs_from_the_downloads();
}
