//! What git's configuration and environment say about HTTP.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bstr::{BStr, ByteSlice as _};
use reqwest::{Certificate, Identity, NoProxy, Proxy, header::HeaderValue};

use crate::{config::GitConfig, environment::GitEnvironment};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("git/headstart-", env!("CARGO_PKG_VERSION"));

/// Bytes that may be on their way unread, of one answer and of all on a connection: the link's speed times its delay. The
/// defaults of HTTP/2 would make an answer wait for us every 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 3 * STREAM_WINDOW_BYTES;

/// The slowest an answer may come: `http.lowSpeedLimit` and `http.lowSpeedTime`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowestPace {
    pub(super) bytes_per_second: u64,
    pub(super) within: Duration,
}

/// The settings that apply to one remote.
#[derive(Debug, Clone)]
pub(crate) struct HttpSettings {
    pub(super) user_agent: HeaderValue,
    /// `Name: value` lines. They may be secrets.
    pub(super) extra_headers: Vec<String>,
    pub(super) follow_redirects: bool,
    /// Of `http` and `https`, those that may be spoken.
    pub(super) allowed_schemes: Vec<&'static str>,
    pub(super) slowest_pace: Option<SlowestPace>,
    http1_only: bool,
    proxy: Option<String>,
    no_proxy: Option<String>,
    verify: bool,
    ca_file: Option<PathBuf>,
    ca_folder: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl HttpSettings {
    /// Collects what applies to `url`; the environment comes before the configuration where git has it so.
    pub(crate) fn new(url: &url::Url, config: &GitConfig, environment: &GitEnvironment) -> Self {
        let text = |name: &str| config.http(url, name).and_then(|value| value.to_str().ok());
        let path = |variable: &str, name: &str| {
            let value = environment
                .var(variable)
                .map(PathBuf::from)
                .or_else(|| config.http(url, name).map(|value| to_path(value, environment)));
            value.filter(|path| !path.as_os_str().is_empty())
        };
        let number = |variable: &str, name: &str| {
            let value = environment.text_var(variable).or_else(|| text(name))?;
            value.parse().ok()
        };
        let user_agent = environment
            .text_var("GIT_HTTP_USER_AGENT")
            .or_else(|| text("userAgent"))
            .and_then(|value| value.parse().ok());
        HttpSettings {
            user_agent: user_agent.unwrap_or_else(|| HeaderValue::from_static(USER_AGENT)),
            extra_headers: config
                .http_all(url, "extraHeader")
                .into_iter()
                .map(|line| line.to_str_lossy().into_owned())
                .collect(),
            // `initial`, the default, and `true` differ only after the first request, where nothing redirects.
            follow_redirects: config.http_bool(url, "followRedirects").unwrap_or(true),
            allowed_schemes: ["http", "https"]
                .into_iter()
                .filter(|scheme| config.allows(scheme, environment))
                .collect(),
            slowest_pace: slowest_pace(
                number("GIT_HTTP_LOW_SPEED_LIMIT", "lowSpeedLimit"),
                number("GIT_HTTP_LOW_SPEED_TIME", "lowSpeedTime"),
            ),
            http1_only: text("version") == Some("HTTP/1.1"),
            proxy: text("proxy")
                .map(str::to_owned)
                .or_else(|| environment_proxy(url, environment)),
            no_proxy: first_var(environment, &["no_proxy", "NO_PROXY"]),
            verify: environment.var("GIT_SSL_NO_VERIFY").is_none()
                && config.http_bool(url, "sslVerify").unwrap_or(true),
            ca_file: path("GIT_SSL_CAINFO", "sslCAInfo"),
            ca_folder: path("GIT_SSL_CAPATH", "sslCAPath"),
            certificate: path("GIT_SSL_CERT", "sslCert"),
            key: path("GIT_SSL_KEY", "sslKey"),
        }
    }

    /// Builds a client. Errors name the file or setting that does not serve.
    pub(super) fn client(&self) -> io::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // The environment was read by whoever made these settings, not by the HTTP library.
            .no_proxy()
            .referer(false)
            .tcp_nodelay(true)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .tls_danger_accept_invalid_certs(!self.verify);
        if self.http1_only {
            builder = builder.http1_only();
        }
        if let Some(proxy) = self.proxy.as_deref().filter(|proxy| !proxy.is_empty()) {
            builder = builder.proxy(self.proxy(proxy)?);
        }
        let certificates = self.certificates()?;
        if !certificates.is_empty() {
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(certificate) = &self.certificate {
            let mut pem = read(certificate)?;
            if let Some(key) = &self.key {
                pem.push(b'\n');
                pem.extend(read(key)?);
            }
            let identity = Identity::from_pem(&pem).map_err(|error| invalid(certificate, error))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(io::Error::other)
    }

    fn proxy(&self, proxy: &str) -> io::Result<Proxy> {
        // Without a scheme it is an HTTP proxy, as for curl.
        let url = match proxy.contains("://") {
            true => proxy.to_owned(),
            false => format!("http://{proxy}"),
        };
        let proxy = Proxy::all(url).map_err(|error| io::Error::other(error.without_url()))?;
        Ok(proxy.no_proxy(self.no_proxy.as_deref().and_then(NoProxy::from_string)))
    }

    /// The authorities named in the settings, which replace those of the system.
    fn certificates(&self) -> io::Result<Vec<Certificate>> {
        let mut files: Vec<PathBuf> = self.ca_file.iter().cloned().collect();
        if let Some(folder) = &self.ca_folder {
            let entries = std::fs::read_dir(folder).map_err(|error| invalid(folder, error))?;
            for entry in entries {
                let path = entry.map_err(|error| invalid(folder, error))?.path();
                if path.is_file() {
                    files.push(path);
                }
            }
        }
        let mut certificates = Vec::new();
        for file in files {
            let pem = read(&file)?;
            certificates.extend(Certificate::from_pem_bundle(&pem).map_err(|error| invalid(&file, error))?);
        }
        Ok(certificates)
    }
}

fn slowest_pace(bytes_per_second: Option<u64>, seconds: Option<u64>) -> Option<SlowestPace> {
    match (bytes_per_second, seconds) {
        (Some(bytes_per_second @ 1..), Some(seconds @ 1..)) => Some(SlowestPace {
            bytes_per_second,
            within: Duration::from_secs(seconds),
        }),
        _ => None,
    }
}

fn environment_proxy(url: &url::Url, environment: &GitEnvironment) -> Option<String> {
    // `HTTP_PROXY` in capitals is not one of them: a web server sets it from a request header.
    let own: &[&str] = match url.scheme() {
        "https" => &["https_proxy", "HTTPS_PROXY"],
        _ => &["http_proxy"],
    };
    first_var(environment, own).or_else(|| first_var(environment, &["all_proxy", "ALL_PROXY"]))
}

fn first_var(environment: &GitEnvironment, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| environment.text_var(name))
        .map(str::to_owned)
}

/// A path from the configuration, where `~/` is the home folder.
fn to_path(value: &BStr, environment: &GitEnvironment) -> PathBuf {
    let path = value.to_path_lossy();
    match (path.strip_prefix("~/"), environment.var("HOME")) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => environment.folder.join(path),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| invalid(path, error))
}

fn invalid(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
