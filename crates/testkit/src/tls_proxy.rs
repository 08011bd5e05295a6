//! A real HTTPS server in front of a test's own: nginx, which speaks HTTP/2 as hosts do.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{ChildGuard, skipped};

/// How often another port is tried: between the choice of one and nginx's use of it, somebody else may take it.
const PORTS_TRIED: usize = 3;

/// Passes what comes by TLS, as HTTP/2 or HTTP/1.1, on to a server on this machine. Killed when dropped.
#[derive(Debug)]
pub struct TlsProxy {
    address: SocketAddr,
    folder: TempDir,
    _nginx: ChildGuard,
}

impl TlsProxy {
    /// Starts it; `None`, after saying why, where nginx or openssl is not installed.
    pub fn start(upstream: SocketAddr) -> Option<Self> {
        let (Some(nginx), Some(openssl)) = (find("nginx"), find("openssl")) else {
            skipped("nginx and openssl are not both installed (apt install nginx-light openssl)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        make_certificate(&openssl, folder.path());
        for _ in 0..PORTS_TRIED {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            drop(listener);
            let config = folder.path().join("nginx.conf");
            fs::write(&config, configuration(folder.path(), address, upstream)).expect("our own folder");
            let mut command = Command::new(&nginx);
            command
                .arg("-e")
                .arg(folder.path().join("error.log"))
                .arg("-p")
                .arg(folder.path())
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut nginx = ChildGuard::spawn(&mut command);
            if nginx.connect(address).is_some() {
                return Some(TlsProxy {
                    address,
                    folder,
                    _nginx: nginx,
                });
            }
        }
        let log = fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        panic!("nginx does not start: {log}");
    }

    /// The URL of what the upstream server has at `path`.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    /// The certificate, for clients that are to trust it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The protocol of each request so far and the number of its connection, such as `HTTP/2.0` and `1`.
    pub fn requests(&self) -> Vec<(String, String)> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let fields = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        log.lines().filter_map(fields).collect()
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|program| program.is_file())
}

fn make_certificate(openssl: &Path, folder: &Path) {
    let mut command = Command::new(openssl);
    command
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=headstart-test",
        ])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"));
    let output = command.output().expect("openssl runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid;\n\
        events {{}}\n\
        http {{\n\
        log_format protocol '$server_protocol $connection';\n\
        access_log {folder}/access.log protocol;\n\
        client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
        uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
        server {{\n\
        listen {address} ssl http2;\n\
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;\n\
        client_max_body_size 0;\n\
        gzip on; gzip_types application/x-git-upload-pack-advertisement application/x-git-upload-pack-result;\n\
        gzip_min_length 1; gzip_proxied any;\n\
        location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_buffering off; }}\n\
        }} }}\n"
    )
}
