//! Which ways to a remote the user lets git take: `GIT_ALLOW_PROTOCOL`, `protocol.<name>.allow`, `protocol.allow`.

use super::{GitConfig, parse_bool};
use crate::environment::GitEnvironment;

impl GitConfig {
    /// Whether remotes may be reached by `protocol`: `http`, `https`, `ssh` or `file`.
    pub(crate) fn allows(&self, protocol: &str, environment: &GitEnvironment) -> bool {
        if let Some(list) = environment.text_var("GIT_ALLOW_PROTOCOL") {
            return list.split(':').any(|allowed| allowed == protocol);
        }
        let policy = self
            .string(&format!("protocol.{protocol}.allow"))
            .or_else(|| self.string("protocol.allow"));
        let Some(policy) = policy else {
            return protocol != "file" || is_from_user(environment);
        };
        match policy.to_ascii_lowercase().as_slice() {
            b"always" => true,
            b"user" => is_from_user(environment),
            _ => false,
        }
    }
}

/// Whether somebody typed the URL, which programs that got it from elsewhere deny.
fn is_from_user(environment: &GitEnvironment) -> bool {
    let says = environment.var("GIT_PROTOCOL_FROM_USER");
    says.is_none_or(|says| parse_bool(Some(says.as_encoded_bytes().into())).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::{super::Scopes, *};

    #[test]
    fn the_environment_comes_before_the_protocol_and_that_before_all() {
        let environment = |vars: &[(&str, &str)]| GitEnvironment {
            program: "git".into(),
            vars: vars
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            may_prompt: false,
            folder: "/".into(),
        };
        let config = |listing: &str| GitConfig::parse(listing.as_bytes(), Scopes::Outside);
        let plain = environment(&[]);
        let by_program = environment(&[("GIT_PROTOCOL_FROM_USER", "0")]);
        let only_ssh = environment(&[("GIT_ALLOW_PROTOCOL", "ssh:git")]);
        let never = config("global\0protocol.allow\nnever\0global\0protocol.ssh.allow\nuser\0");
        for (config, environment, allowed) in [
            (config(""), &plain, &["http", "https", "ssh", "file"][..]),
            (config(""), &by_program, &["http", "https", "ssh"]),
            (never.clone(), &plain, &["ssh"]),
            (never.clone(), &by_program, &[]),
            (never, &only_ssh, &["ssh"]),
        ] {
            let all = ["http", "https", "ssh", "file"].into_iter();
            let found: Vec<_> = all
                .filter(|protocol| config.allows(protocol, environment))
                .collect();
            assert_eq!(found, allowed);
        }
    }
}
