//! Logins to registries, from Docker's settings and the helpers they name.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use headstart_fs::AtPath as _;
use headstart_image::{Credentials, DockerConfig, Login};
use headstart_process::Command;

use crate::{context::Context, env_vars, error::CommandError};

/// A helper may have to ask for a password to its own store.
const HELPER_DEADLINE: Duration = Duration::from_secs(60);

/// What Docker knows.
#[derive(Debug)]
pub(super) struct DockerCredentials {
    config: DockerConfig,
    interrupt: Arc<AtomicBool>,
}

impl DockerCredentials {
    /// Reads Docker's `config.json`, if there is one.
    pub(super) fn load(context: &Context) -> Result<Self, CommandError> {
        let config = match config_file(context) {
            Some(path) if path.exists() => {
                let json = fs::read(&path).at("read", &path)?;
                DockerConfig::parse(&json).map_err(|error| {
                    let sentence = format!("{} is not what Docker writes: {error}", path.display());
                    CommandError::usage(sentence).hint("mend it, or log in again with `docker login`")
                })?
            }
            _ => DockerConfig::default(),
        };
        Ok(DockerCredentials {
            config,
            interrupt: Arc::clone(&context.interrupt),
        })
    }
}

fn config_file(context: &Context) -> Option<PathBuf> {
    let folder = match context.var(env_vars::DOCKER_CONFIG) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(context.var(env_vars::HOME)?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

impl Credentials for DockerCredentials {
    fn find(&self, host: &str) -> Option<Login> {
        let from_helper = self.config.helper(host).and_then(|(helper, key)| {
            let output = Command::new(format!("docker-credential-{helper}"))
                .arg("get")
                .stdin(key)
                .deadline(HELPER_DEADLINE)
                .run_interruptible(&self.interrupt);
            // It fails when it knows nothing. What follows is a refusal by the registry, which tells the user.
            Login::parse_helper_answer(&output.ok()?.stdout)
        });
        from_helper.or_else(|| self.config.login(host))
    }
}
