//! A machine: a home, a checkout and an environment.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};

use headstart_deps::{DependencyCache, Host, InstallOutput, ProcessTools, find_caches, install};

use crate::Case;

/// Variables by which the network and the tests' own tools are found, by a part of their names.
const TAKEN_OVER: [&str; 4] = ["proxy", "cert", "rustup", "pyenv"];

/// Where everything leads to once the network is off: a port nobody listens on.
const NOWHERE: &str = "http://127.0.0.1:9";

pub(crate) struct Machine<'a> {
    case: &'a Case,
    home: PathBuf,
    checkout: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

impl<'a> Machine<'a> {
    /// A machine with the case's files. `programs` comes first on PATH.
    pub(crate) fn new(case: &'a Case, home: PathBuf, checkout: PathBuf, programs: &Path) -> Self {
        std::fs::create_dir_all(&home).unwrap();
        let mut path = OsString::from(programs);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_string_lossy().to_lowercase();
                TAKEN_OVER.iter().any(|part| name.contains(part))
            })
            .collect();
        env.insert("PATH".into(), path);
        env.insert("HOME".into(), home.clone().into());
        if std::env::var_os("RUSTUP_HOME").is_none() {
            let home = std::env::var_os("HOME").unwrap();
            env.insert("RUSTUP_HOME".into(), Path::new(&home).join(".rustup").into());
        }
        for (name, value) in &case.env {
            let value = value.replace("{home}", &home.to_string_lossy());
            env.insert(name.into(), value.into());
        }
        let machine = Machine {
            case,
            home,
            checkout,
            env,
        };
        for (name, text) in &case.files {
            machine.write(name, text);
        }
        machine
    }

    /// Writes a file of the checkout, or with `~/` of the home.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = match name.strip_prefix("~/") {
            Some(name) => self.home.join(name),
            None => self.checkout.join(name),
        };
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// The checkout.
    pub(crate) fn folder(&self) -> &Path {
        &self.checkout
    }

    pub(crate) fn caches(&self) -> Vec<DependencyCache> {
        let host = self.host();
        let tools = ProcessTools::new(self.env.clone());
        let config = toml::from_str(self.case.config).unwrap();
        find_caches(&self.checkout, &host, &tools, &config).unwrap()
    }

    fn host(&self) -> Host {
        Host {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            libc: None,
            home: self.home.clone(),
            env: self.env.clone(),
        }
    }

    /// Runs a command in the checkout with this machine's environment and no other; answers what it said.
    pub(crate) fn must_run(&self, line: &[&str]) -> String {
        let output = Command::new("env")
            .arg("-i")
            .args(self.env.iter().map(|(name, value)| {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                pair
            }))
            .args(line)
            .current_dir(&self.checkout)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{line:?}: {said}");
        said
    }

    /// The frozen install of the caches, or the case's own where headstart has none.
    pub(crate) fn install(&self, caches: &[DependencyCache]) {
        if let Some(line) = self.case.install {
            self.must_run(line);
            return;
        }
        let command = caches.iter().find_map(|cache| cache.install.as_ref()).unwrap();
        let output = install(
            command,
            &self.host(),
            InstallOutput::Capture,
            &AtomicBool::new(false),
        );
        if let Err(error) = output {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{}: {error}: {}", command.display(), cause.unwrap_or_default());
        }
    }

    /// From now on nothing can be fetched.
    pub(crate) fn unplug(&mut self) {
        for name in [
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "YARN_HTTP_PROXY",
            "YARN_HTTPS_PROXY",
        ] {
            self.env.insert(name.into(), NOWHERE.into());
        }
        for name in ["no_proxy", "NO_PROXY"] {
            self.env.remove(OsStr::new(name));
        }
        self.env.insert("GOPROXY".into(), "off".into());
        self.env.insert("npm_config_fetch_retries".into(), "0".into());
    }
}
