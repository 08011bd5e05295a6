//! A real OpenSSH server on the loopback.

use std::{
    fs,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use tempfile::TempDir;

use crate::{ChildGuard, git, is_root, skipped};

/// Takes connections and hands each to an `sshd -i` of its own, so that no port has to be agreed on and nothing has to be
/// waited for. Accepts one key, made for it, for the user who runs the test. Stops when dropped.
#[derive(Debug)]
pub struct Sshd {
    address: SocketAddr,
    folder: TempDir,
    user: String,
    stop: Arc<AtomicBool>,
    connections: Connections,
    accept: Option<JoinHandle<()>>,
}

type Connections = Arc<Mutex<Vec<(TcpStream, ChildGuard)>>>;

impl Sshd {
    /// Starts it; `None`, after saying why, where OpenSSH's server is not installed or may not run.
    pub fn start() -> Option<Self> {
        let Some(program) = find_sshd() else {
            skipped("sshd is not installed (apt install openssh-server)");
            return None;
        };
        // The one folder sshd insists on; the package's service makes it at boot, which containers do not have.
        if is_root() && fs::create_dir_all("/run/sshd").is_err() {
            skipped("sshd needs the folder /run/sshd, which cannot be made here");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let user = stdout(Command::new("id").arg("-un"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        write_configuration(folder.path(), &user, address.port());

        let stop = Arc::new(AtomicBool::new(false));
        let connections = Connections::default();
        let accept = thread::spawn({
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            let config = folder.path().join("sshd_config");
            move || accept(&listener, &stop, &connections, &program, &config)
        });
        Some(Sshd {
            address,
            folder,
            user,
            stop,
            connections,
            accept: Some(accept),
        })
    }

    /// `ssh://user@127.0.0.1:port/path` for an absolute path.
    pub fn url(&self, path: impl AsRef<Path>) -> String {
        format!("ssh://{}@{}{}", self.user, self.address, path.as_ref().display())
    }

    /// `user@host:path`, the other way to write it; the port comes from the client's configuration.
    pub fn scp_like_url(&self, path: impl AsRef<Path>) -> String {
        format!("{}@headstart-test:{}", self.user, path.as_ref().display())
    }

    /// The value of `GIT_SSH_COMMAND` for a client that knows the server and holds the key.
    pub fn client_command(&self) -> String {
        format!("ssh -F {}", self.folder.path().join("ssh_config").display())
    }

    /// The value of `GIT_SSH_COMMAND` for a client that knows the server but has no key.
    pub fn stranger_command(&self) -> String {
        self.client_command().replace("ssh_config", "stranger_config")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
        for (stream, _) in self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(
    listener: &TcpListener,
    stop: &AtomicBool,
    connections: &Connections,
    program: &Path,
    config: &Path,
) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (Ok(input), Ok(output)) = (stream.try_clone(), stream.try_clone()) else {
            continue;
        };
        let mut command = Command::new(program);
        command
            .args(["-i", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::from(OwnedFd::from(input)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .stderr(Stdio::null());
        let server = ChildGuard::spawn(&mut command);
        connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((stream, server));
    }
}

/// Writes keys and configuration of both sides.
fn write_configuration(folder: &Path, user: &str, port: u16) {
    for key in ["host_key", "client_key"] {
        let _ = stdout(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key)),
        );
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("ssh-keygen wrote it");
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file in our temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    };
    write("authorized_keys", read("client_key.pub"));
    write(
        "known_hosts",
        format!("[127.0.0.1]:{port} {}", read("host_key.pub")),
    );

    let at = |name: &str| folder.join(name).display().to_string();
    let mut server = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nAllowUsers {user}\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPrintMotd no\nUseDNS no\n\
         AcceptEnv GIT_PROTOCOL\n",
        at("host_key"),
        at("authorized_keys"),
    );
    // Sessions start from sshd's own environment: give them the hermetic git, and the PATH where git was found.
    server.push_str("SetEnv");
    for (name, value) in git::environment()
        .into_iter()
        .chain(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)))
    {
        server.push_str(&format!(" \"{name}={value}\""));
    }
    server.push('\n');
    write("sshd_config", server);

    let client = |identity: &str| {
        format!(
            "Host headstart-test\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  IdentityFile {identity}\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  BatchMode yes\n",
            at("known_hosts"),
        )
    };
    write("ssh_config", client(&at("client_key")));
    write("stranger_config", client("none"));
}

/// sshd wants to be started by its full path and is often not on the user's `PATH`.
fn find_sshd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join("sshd"))
        .find(|program| program.is_file())
}

fn stdout(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
