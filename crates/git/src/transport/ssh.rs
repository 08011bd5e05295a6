//! How ssh is run: the programs, variants and settings that git knows.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::atomic::AtomicBool,
};

use bstr::ByteSlice as _;
use gix_transport::Protocol;
use headstart_process::Command;

use crate::{config::GitConfig, environment::GitEnvironment, remote_url::SshUrl};

/// Which options the program understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// OpenSSH.
    Ssh,
    /// PuTTY's command line.
    Plink,
    /// TortoiseGit's, which must be told not to open windows.
    TortoisePlink,
    /// One that takes a host and a command, and no options.
    Simple,
}

/// The command that opens a connection to `url` and runs `git-upload-pack` there, or why there is none.
pub(super) fn command(
    url: &SshUrl,
    environment: &GitEnvironment,
    config: &GitConfig,
    protocol: Protocol,
) -> Result<Command, &'static str> {
    let (command, variant) = program(url, environment, config);
    let mut options: Vec<OsString> = Vec::new();
    if variant == Variant::Ssh && protocol == Protocol::V2 {
        options.extend(["-o".into(), "SendEnv=GIT_PROTOCOL".into()]);
    }
    if variant == Variant::TortoisePlink {
        options.push("-batch".into());
    }
    if let Some(port) = url.port {
        match variant {
            Variant::Ssh => options.extend(["-p".into(), port.to_string().into()]),
            Variant::Plink | Variant::TortoisePlink => options.extend(["-P".into(), port.to_string().into()]),
            Variant::Simple => return Err("this ssh program cannot be told a port"),
        }
    }
    let remote_command = [b"git-upload-pack ".as_slice(), &quote(&url.path)].concat();
    Ok(command
        .args(options)
        .arg(&url.destination)
        .arg(OsStr::from_bytes(&remote_command)))
}

/// The program before its options, in git's order of precedence, and what it is.
fn program(url: &SshUrl, environment: &GitEnvironment, config: &GitConfig) -> (Command, Variant) {
    let line = environment
        .var("GIT_SSH_COMMAND")
        .map(OsStr::to_owned)
        .or_else(|| {
            config
                .string("core.sshcommand")
                .map(|line| OsStr::from_bytes(line).to_owned())
        });
    let named = environment
        .text_var("GIT_SSH_VARIANT")
        .map(str::to_owned)
        .or_else(|| config.string("ssh.variant").map(ToString::to_string));
    let (start, name, by_user) = match line {
        Some(line) => {
            // Such a line is a piece of shell, to which the arguments are appended.
            let mut script = line.clone();
            script.push(" \"$@\"");
            let name = first_word(&line);
            let shell = environment.remote_command("sh").arg("-c").arg(script).arg(line);
            (shell, name, true)
        }
        None => match environment.var("GIT_SSH") {
            Some(program) => (environment.remote_command(program), base_name(program), true),
            None => (environment.remote_command("ssh"), "ssh".to_owned(), false),
        },
    };
    let variant = match named.as_deref().and_then(variant_of) {
        Some(variant) => variant,
        None => match variant_of(&name) {
            Some(variant) => variant,
            None if by_user && !understands_openssh(&start, url) => Variant::Simple,
            None => Variant::Ssh,
        },
    };
    (start, variant)
}

fn variant_of(name: &str) -> Option<Variant> {
    match name.to_ascii_lowercase().trim_end_matches(".exe") {
        "ssh" => Some(Variant::Ssh),
        "plink" | "putty" => Some(Variant::Plink),
        "tortoiseplink" => Some(Variant::TortoisePlink),
        "simple" => Some(Variant::Simple),
        _ => None,
    }
}

/// Asks a program of unknown kind to print its configuration, which only OpenSSH can.
fn understands_openssh(start: &Command, url: &SshUrl) -> bool {
    start
        .clone()
        .arg("-G")
        .arg(&url.destination)
        .run_to_status(&AtomicBool::new(false))
        .is_ok_and(|(status, _)| status.success())
}

fn first_word(line: &OsStr) -> String {
    let word = line.as_bytes().fields().next().unwrap_or_default();
    base_name(OsStr::from_bytes(word.trim_with(|c| c == '"' || c == '\'')))
}

fn base_name(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
}

/// Quotes for the shell on the other side, as git does.
fn quote(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in path {
        match byte {
            b'\'' | b'!' => quoted.extend_from_slice(&[b'\'', b'\\', *byte, b'\'']),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(vars: &[(&str, &str)], port: Option<u16>) -> Result<String, &'static str> {
        let environment = GitEnvironment {
            program: "git".into(),
            vars: vars
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            may_prompt: false,
            folder: "/".into(),
        };
        let url = SshUrl {
            destination: "me@host".to_owned(),
            port,
            path: "it's".into(),
        };
        command(&url, &environment, &GitConfig::default(), Protocol::V2).map(|command| command.display())
    }

    #[test]
    fn each_program_gets_the_options_it_knows() {
        let upload = r"git-upload-pack 'it'\''s'";
        assert_eq!(
            line(&[], Some(22)),
            Ok(format!("ssh -o SendEnv=GIT_PROTOCOL -p 22 me@host {upload}"))
        );
        assert_eq!(
            line(&[("GIT_SSH", "/x/plink")], Some(22)),
            Ok(format!("/x/plink -P 22 me@host {upload}"))
        );
        assert_eq!(
            line(&[("GIT_SSH_COMMAND", "ssh -i key")], None),
            Ok(format!(
                "sh -c ssh -i key \"$@\" ssh -i key -o SendEnv=GIT_PROTOCOL me@host {upload}"
            ))
        );
        assert_eq!(
            line(&[("GIT_SSH", "/bin/false")], None),
            Ok(format!("/bin/false me@host {upload}"))
        );
        let with_port = line(&[("GIT_SSH", "/bin/false")], Some(22));
        assert!(with_port.is_err(), "it would go to another port than it should");
    }
}
