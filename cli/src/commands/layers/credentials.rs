//! Logins to registries, from Docker's settings and the helpers they name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use headstart_fs::AtPath as _;
use headstart_image::{Credentials, CredentialsError, DockerConfig, Login};
use headstart_process::{Command, Output, ProcessError};

use crate::{context::Context, env_vars};

/// A helper may have to ask for a password to its own store.
const HELPER_DEADLINE: Duration = Duration::from_secs(60);
/// What helpers print, and fail, when they know nothing of a registry.
const UNKNOWN_TO_HELPER: &str = "credentials not found in native keychain";

/// What Docker knows.
#[derive(Debug)]
pub(super) struct DockerCredentials {
    /// Docker's `config.json`.
    file: Option<PathBuf>,
    /// Read when a registry first wants a login: who needs none is not stopped by what is wrong with it.
    config: OnceLock<Result<DockerConfig, String>>,
    interrupt: Arc<AtomicBool>,
}

impl DockerCredentials {
    /// Finds Docker's settings, and reads nothing yet.
    pub(super) fn new(context: &Context) -> Self {
        DockerCredentials {
            file: config_file(context),
            config: OnceLock::new(),
            interrupt: Arc::clone(&context.interrupt),
        }
    }

    fn config(&self) -> Result<&DockerConfig, CredentialsError> {
        let config = self.config.get_or_init(|| load(self.file.as_deref()));
        config
            .as_ref()
            .map_err(|reason| CredentialsError::Settings(reason.clone()))
    }

    fn ask_helper(&self, helper: &str, key: &str) -> Result<Option<Login>, String> {
        // Of a path with slashes a program would be run wherever it leads, not one of those on PATH.
        if helper.contains('/') {
            return Err(format!(
                "Docker's settings name {helper:?} as a credential helper"
            ));
        }
        let program = format!("docker-credential-{helper}");
        let answer = Command::new(&program)
            .arg("get")
            .stdin(key)
            .deadline(HELPER_DEADLINE)
            .run_to_status(&self.interrupt);
        parse_answer(&program, answer)
    }
}

fn config_file(context: &Context) -> Option<PathBuf> {
    let folder = match context.var(env_vars::DOCKER_CONFIG) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(context.var(env_vars::HOME)?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

fn load(file: Option<&Path>) -> Result<DockerConfig, String> {
    let Some(path) = file.filter(|path| path.exists()) else {
        return Ok(DockerConfig::default());
    };
    let json = fs::read(path)
        .at("read", path)
        .map_err(|error| format!("{error}: {}", error.source))?;
    DockerConfig::parse(&json)
        .map_err(|error| format!("{} is not what Docker writes: {error}", path.display()))
}

/// The login in what a helper answers; none where it knows none. Errors quote nothing that it prints, which may be a secret.
fn parse_answer(
    program: &str,
    answer: Result<(ExitStatus, Output), ProcessError>,
) -> Result<Option<Login>, String> {
    let (status, output) = answer.map_err(|error| match error {
        ProcessError::TimedOut { deadline, .. } => {
            format!("`{program} get` did not end within {} s", deadline.as_secs())
        }
        ProcessError::Start { source, .. } => format!("{program} cannot be run: {source}"),
        error => error.to_string(),
    })?;
    if !status.success() {
        return match output.stdout.trim_ascii() == UNKNOWN_TO_HELPER.as_bytes() {
            true => Ok(None),
            false => Err(format!("`{program} get` failed with {status}")),
        };
    }
    match Login::parse_helper_answer(&output.stdout) {
        Some(login) => Ok(Some(login)),
        None => Err(format!("`{program} get` does not answer with a login")),
    }
}

impl Credentials for DockerCredentials {
    fn find(&self, host: &str) -> Result<Option<Login>, CredentialsError> {
        let config = self.config()?;
        let from_helper = match config.helper(host) {
            Some((helper, key)) => self.ask_helper(helper, key),
            None => Ok(None),
        };
        match (from_helper, config.login(host)) {
            (Ok(Some(login)), _) | (_, Some(login)) => Ok(Some(login)),
            (Ok(None), None) => Ok(None),
            (Err(reason), None) => Err(CredentialsError::Helper(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn find(json: &str) -> Result<Option<Login>, CredentialsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, json).unwrap();
        let credentials = DockerCredentials {
            file: Some(file),
            config: OnceLock::new(),
            interrupt: Arc::default(),
        };
        credentials.find("r.example")
    }

    #[test]
    fn a_helper_is_a_program_on_the_path_and_no_other() {
        for name in ["x/../evil", "/evil", "../evil"] {
            let error = find(&format!(r#"{{"credsStore":"{name}"}}"#)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.to_string().contains("Docker's settings"), "{error}");
        }
    }

    #[test]
    fn a_helper_that_does_not_tell_is_named_with_the_reason_and_without_what_it_printed() {
        let missing = r#"{"credsStore":"no-such-helper"}"#;
        let error = find(missing).unwrap_err();
        let sentence = "docker-credential-no-such-helper was not found on PATH";
        assert_eq!(error, CredentialsError::Helper(sentence.to_owned()));
        let beside = r#"{"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"no-such-helper"}"#;
        assert!(find(beside).unwrap().is_some(), "the file has it");
        let answer = |code: i32, stdout: &str| {
            let output = Output {
                stdout: stdout.into(),
                stderr: b"hunter2".into(),
            };
            parse_answer("helper", Ok((ExitStatus::from_raw(code << 8), output)))
        };
        assert_eq!(answer(1, "credentials not found in native keychain\n"), Ok(None));
        assert!(matches!(
            answer(0, r#"{"Username":"u","Secret":"s"}"#),
            Ok(Some(_))
        ));
        let late = ProcessError::TimedOut {
            command: "helper get".to_owned(),
            deadline: HELPER_DEADLINE,
            stderr_tail: "hunter2".to_owned(),
        };
        for (outcome, reason) in [
            (answer(3, "hunter2"), "exit status: 3"),
            (answer(0, "hunter2"), "does not answer with a login"),
            (parse_answer("helper", Err(late)), "within 60 s"),
        ] {
            let error = outcome.unwrap_err();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn settings_are_read_when_a_login_is_wanted() {
        assert_eq!(find(""), Ok(None));
        let error = find("{").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("config.json is not what Docker writes"),
            "{error}"
        );
    }
}
