//! Where a remote is, in all the ways git lets people write it.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice as _};
use percent_encoding::percent_decode;

/// A remote and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RemoteUrl {
    /// `http://` or `https://`.
    Http(url::Url),
    /// `ssh://` or `user@host:path`.
    Ssh(SshUrl),
    /// `file://` or a path, absolute.
    Local(PathBuf),
}

/// A remote behind ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshUrl {
    /// Host, with `user@` before it where one is given.
    pub(crate) destination: String,
    pub(crate) port: Option<u16>,
    pub(crate) path: BString,
}

/// Why a text names no remote that can be cloned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRemoteUrlError {
    /// It cannot be read as a URL of its kind.
    #[error("{url} is no valid URL: {reason}")]
    Invalid {
        /// The text, without secrets.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It names a way to reach a remote that is not supported.
    #[error("{scheme} is not supported: use https, http, ssh, file or a path")]
    UnsupportedScheme {
        /// The scheme, such as `git://`.
        scheme: String,
    },
    /// The path is a bundle file.
    #[error("{} is a bundle, and cloning from bundles is not supported", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
    },
}

impl RemoteUrl {
    /// Parses `text`; relative paths are relative to `folder`, whose file system decides between `host:path` and a path
    /// with a colon in it, as in git.
    pub(crate) fn parse(text: &BStr, folder: &Path) -> Result<Self, ParseRemoteUrlError> {
        let invalid = |reason: &str| ParseRemoteUrlError::Invalid {
            url: redact(text),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.contains(&b'\n') || text.contains(&0) {
            return Err(invalid("it contains a line break or NUL"));
        }
        if let Some((scheme, rest)) = split_scheme(text) {
            return match scheme.to_ascii_lowercase().as_slice() {
                b"http" | b"https" => {
                    let text = text.to_str().map_err(|_| invalid("it is not UTF-8"))?;
                    let url: url::Url = text
                        .parse()
                        .map_err(|error: url::ParseError| invalid(&error.to_string()))?;
                    Ok(RemoteUrl::Http(url))
                }
                b"ssh" | b"git+ssh" | b"ssh+git" => parse_ssh(rest).map(RemoteUrl::Ssh).map_err(invalid),
                b"file" => match rest.find_byte(b'/') {
                    Some(slash) => Ok(RemoteUrl::Local(to_path(decode(&rest[slash..])))),
                    None => Err(invalid("it names no path")),
                },
                _ => Err(ParseRemoteUrlError::UnsupportedScheme {
                    scheme: format!("{}://", scheme.as_bstr()),
                }),
            };
        }
        let path = folder.join(OsStr::from_bytes(text));
        if path.is_file() && text.ends_with(b".bundle") {
            return Err(ParseRemoteUrlError::Bundle { path });
        }
        if path.exists() {
            return Ok(RemoteUrl::Local(tidy(&path)));
        }
        if let Some((helper, _)) = text.split_once_str("::")
            && helper.iter().all(u8::is_ascii_alphanumeric)
            && !helper.is_empty()
        {
            return Err(ParseRemoteUrlError::UnsupportedScheme {
                scheme: format!("{}::", helper.as_bstr()),
            });
        }
        match parse_scp_like(text) {
            Some(ssh) => ssh.map(RemoteUrl::Ssh).map_err(invalid),
            None => Ok(RemoteUrl::Local(tidy(&path))),
        }
    }

    /// What git calls the way it is reached, in `protocol.<name>.allow`.
    pub(crate) fn protocol(&self) -> &str {
        match self {
            RemoteUrl::Http(url) => url.scheme(),
            RemoteUrl::Ssh(_) => "ssh",
            RemoteUrl::Local(_) => "file",
        }
    }

    /// The URL, if it is reached by HTTP.
    pub(crate) fn as_http(&self) -> Option<&url::Url> {
        match self {
            RemoteUrl::Http(url) => Some(url),
            _ => None,
        }
    }

    /// The user and password within the URL, decoded.
    pub(crate) fn credentials(&self) -> (Option<String>, Option<String>) {
        let RemoteUrl::Http(url) = self else {
            return (None, None);
        };
        let decoded = |text: &str| percent_decode(text.as_bytes()).decode_utf8_lossy().into_owned();
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(decoded);
        (user, url.password().map(decoded))
    }
}

impl fmt::Display for RemoteUrl {
    /// For messages: without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteUrl::Http(url) => f.write_str(&redact(BStr::new(url.as_str()))),
            RemoteUrl::Ssh(ssh) => match ssh.port {
                Some(port) => {
                    let path = ssh.path.strip_prefix(b"/").unwrap_or(&ssh.path).as_bstr();
                    let url = format!("ssh://{}:{port}/{path}", ssh.destination);
                    f.write_str(&redact(url.as_bytes().into()))
                }
                None => write!(f, "{}:{}", ssh.destination, ssh.path),
            },
            RemoteUrl::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The URL as git writes it to the configuration: as given, but paths absolute.
pub(crate) fn configured_url(text: &BStr, parsed: &RemoteUrl) -> BString {
    match parsed {
        RemoteUrl::Local(path) if split_scheme(text).is_none() => path.as_os_str().as_bytes().into(),
        _ => text.to_owned(),
    }
}

/// The folder git would clone `url` into: its last component without `.git`; `None` when there is none to be found.
pub fn default_directory(url: &BStr) -> Option<BString> {
    let rest = split_scheme(url).map_or(url.as_bytes(), |(_, rest)| rest);
    // A host alone may serve as the name; its user and port may not.
    let (authority, path) = rest.split_at(rest.find_byte(b'/').unwrap_or(rest.len()));
    let authority = authority.rsplit_once_str("@").map_or(authority, |(_, host)| host);
    let tidy = |name: &[u8]| -> BString {
        let name = name.trim_end_with(|c| c == '/' || c.is_ascii_whitespace());
        let name = name.strip_suffix(b"/.git").unwrap_or(name);
        let name = name.trim_end_with(|c| c == '/');
        let last = name.rfind_byteset(b"/:").map_or(name, |at| &name[at + 1..]);
        let last = last.strip_suffix(b".git").unwrap_or(last);
        last.iter()
            .map(|byte| if byte.is_ascii_control() { b' ' } else { *byte })
            .collect()
    };
    let mut name = tidy(path);
    if name.is_empty() {
        let host = match authority.rsplit_once_str(":") {
            Some((host, port)) if port.iter().all(u8::is_ascii_digit) => host,
            _ => authority,
        };
        name = tidy(host);
    }
    let name: BString = name.trim().into();
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

/// Takes secrets out of a URL, for messages: passwords, users of all but ssh, who may be tokens, and queries and fragments,
/// which may be signatures. Takes relative URLs as well, and texts that were meant to be one.
pub(crate) fn redact(text: &BStr) -> String {
    let text = text.trim();
    let (start, rest) = text.split_at(authority_start(text));
    let scheme = start
        .strip_suffix(b"://")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_ssh = matches!(&scheme[..], b"ssh" | b"git+ssh" | b"ssh+git");
    let (authority, path) = rest.split_at(match start {
        b"" => 0,
        _ => rest.find_byteset(b"/\\").unwrap_or(rest.len()),
    });
    // Not every user of a password knows which characters end the part it is in.
    let (user, host) = match authority.rsplit_once_str("@") {
        Some((user, host)) if is_ssh => match user.split_once_str(":") {
            Some((user, _)) => ([user, b":***@"].concat(), host),
            None => ([user, b"@"].concat(), host),
        },
        Some((_, host)) => (Vec::new(), host),
        None => (Vec::new(), authority),
    };
    let mut shown = [host, path].concat();
    if !is_ssh && scheme != b"file" {
        shown.truncate(shown.find_byteset(b"?#").unwrap_or(shown.len()));
    }
    [start, &user, &shown].concat().to_str_lossy().into_owned()
}

/// Where the part of a URL starts that may name a user, as lenient as those who read URLs; 0 where there is none.
fn authority_start(text: &[u8]) -> usize {
    let is_web = |scheme: &&str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    if let Some(scheme) = ["http:", "https:"].into_iter().find(is_web) {
        let rest = &text[scheme.len()..];
        return text.len() - rest.trim_start_with(|c| matches!(c, '/' | '\\')).len();
    }
    match text.find("://") {
        Some(at) if text[..at].find_byteset(b"/?#").is_none() => at + "://".len(),
        _ if text.starts_with(b"//") => "//".len(),
        _ => 0,
    }
}

fn split_scheme(text: &BStr) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = text.split_once_str("://")?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (!scheme.is_empty() && scheme.iter().all(plain)).then_some((scheme, rest))
}

fn parse_ssh(rest: &[u8]) -> Result<SshUrl, &'static str> {
    let slash = rest.find_byte(b'/').ok_or("it names no path")?;
    let (authority, path) = rest.split_at(slash);
    let authority = decode(authority);
    let (host, port) = split_port(authority.as_bstr())?;
    let path = decode(path);
    // ssh://host/~user/repo is in the user's home there, and the shell there must see the tilde first.
    let path = match path.strip_prefix(b"/~") {
        Some(_) => path[1..].into(),
        None => path,
    };
    checked(host, port, path)
}

/// `[user@]host:path`: a colon before the first slash.
fn parse_scp_like(text: &BStr) -> Option<Result<SshUrl, &'static str>> {
    // `[host:port]:path` and `[::1]:path` put what has colons of its own in brackets.
    let bracket = text.find_byte(b'[').filter(|at| *at == 0 || text[at - 1] == b'@');
    let search_from = match bracket {
        Some(_) => text.find_byte(b']')?,
        None => 0,
    };
    let colon = search_from + text[search_from..].find_byte(b':')?;
    if text[search_from..colon].contains(&b'/') {
        return None;
    }
    let (host, path) = (&text[..colon], &text[colon + 1..]);
    if host.is_empty() {
        return None;
    }
    let (host, port) = match bracket {
        Some(at) => {
            let inner = &host.as_bytes()[at + 1..search_from];
            let user = &host.as_bytes()[..at];
            let colons = inner.iter().filter(|byte| **byte == b':').count();
            match inner.rsplit_once_str(":") {
                Some((name, port)) if colons == 1 => {
                    match port.to_str().ok().and_then(|port| port.parse().ok()) {
                        Some(port) => ([user, name].concat(), Some(port)),
                        None => return Some(Err("its port is no number")),
                    }
                }
                _ => ([user, inner].concat(), None),
            }
        }
        None => (host.to_vec(), None),
    };
    let path = match path.strip_prefix(b"/~") {
        Some(_) => &path[1..],
        None => path,
    };
    Some(checked(host.as_bstr(), port, path.into()))
}

fn split_port(authority: &BStr) -> Result<(&BStr, Option<u16>), &'static str> {
    match authority.rsplit_once_str(":") {
        Some((host, port)) if !port.contains(&b']') && !port.is_empty() => {
            let port = port.to_str().ok().and_then(|port| port.parse().ok());
            Ok((host.as_bstr(), Some(port.ok_or("its port is no number")?)))
        }
        Some((host, b"")) => Ok((host.as_bstr(), None)),
        _ => Ok((authority, None)),
    }
}

/// A name that starts with `-` would be an option to ssh or to the program on the other side.
fn checked(destination: &BStr, port: Option<u16>, path: BString) -> Result<SshUrl, &'static str> {
    let text = destination.to_str().map_err(|_| "its host is not UTF-8")?;
    let (user, host) = match text.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err("it names no host");
    }
    if host.starts_with('-') || text.starts_with('-') || path.starts_with(b"-") {
        return Err("a host, user or path that starts with - is an option to ssh");
    }
    if path.is_empty() {
        return Err("it names no path");
    }
    let destination = match user {
        Some(user) => format!("{user}@{host}"),
        None => host.to_owned(),
    };
    Ok(SshUrl {
        destination,
        port,
        path,
    })
}

fn decode(bytes: &[u8]) -> BString {
    percent_decode(bytes).collect::<Vec<u8>>().into()
}

fn to_path(bytes: BString) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.into()))
}

/// The path without `.` components and a trailing slash; `..` stays, for symlinks give it its meaning.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// A URL without its user and password, as git writes it into logs.
pub(crate) fn anonymized(url: &BStr) -> BString {
    let Some((start, host)) = url.split_once_str("@") else {
        return url.to_owned();
    };
    match start.split_once_str("://") {
        Some((scheme, user)) if !user.contains(&b'/') => [scheme, b"://", host].concat().into(),
        None if host.contains(&b':') && !start.contains(&b'/') => host.into(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RemoteUrl, ParseRemoteUrlError> {
        RemoteUrl::parse(BStr::new(text), Path::new("/nonexistent/here"))
    }

    fn ssh(destination: &str, port: Option<u16>, path: &str) -> RemoteUrl {
        RemoteUrl::Ssh(SshUrl {
            destination: destination.to_owned(),
            port,
            path: path.into(),
        })
    }

    #[test]
    fn all_of_gits_spellings_are_read() {
        let local = |path: &str| RemoteUrl::Local(PathBuf::from(path));
        for (text, expected) in [
            ("ssh://git@host/a/b.git", ssh("git@host", None, "/a/b.git")),
            ("ssh://host:2222/a%20b", ssh("host", Some(2222), "/a b")),
            ("ssh://host/~me/b", ssh("host", None, "~me/b")),
            ("ssh://[::1]:22/b", ssh("::1", Some(22), "/b")),
            ("git@host:a/b", ssh("git@host", None, "a/b")),
            ("host:/a", ssh("host", None, "/a")),
            ("[host:2222]:a", ssh("host", Some(2222), "a")),
            ("me@[::1]:a", ssh("me@::1", None, "a")),
            ("file:///a/b%20c", local("/a/b c")),
            ("/a/b/", local("/a/b")),
            ("./a:b", local("/nonexistent/here/a:b")),
            ("a/b", local("/nonexistent/here/a/b")),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        assert!(matches!(parse("https://host/a"), Ok(RemoteUrl::Http(_))));
    }

    #[test]
    fn what_would_be_an_option_or_means_nothing_is_refused() {
        for text in [
            "",
            "a\nb",
            "ssh://-oProxyCommand=x/a",
            "-oProxyCommand=x:a",
            "me@-x:a",
            "host:-a",
            "ssh://host",
            "ssh://host:x/a",
            "https://",
            "git://host/a",
            "ext::sh -c x",
            "file://",
        ] {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_path_that_exists_wins_over_a_host() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a:b")).unwrap();
        let url = RemoteUrl::parse(BStr::new("a:b"), dir.path()).unwrap();
        assert_eq!(url, RemoteUrl::Local(dir.path().join("a:b")));
        assert_eq!(
            configured_url(BStr::new("a:b"), &url),
            dir.path().join("a:b").as_os_str().as_bytes()
        );
    }

    #[test]
    fn folders_are_named_as_git_names_them() {
        for (url, name) in [
            ("https://host/a/b.git", Some("b")),
            ("https://host/a/b/", Some("b")),
            ("https://me:pw@host:80/", Some("host")),
            ("git@host:b.git", Some("b")),
            ("host:a/b", Some("b")),
            ("/a/b/.git", Some("b")),
            ("/", None),
            ("..", None),
        ] {
            assert_eq!(
                default_directory(BStr::new(url)),
                name.map(BString::from),
                "{url}"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (url, shown) in [
            ("https://me:secret@host/a", "https://host/a"),
            ("https://token@host/a@b", "https://host/a@b"),
            ("ssh://me:secret@host:22/a", "ssh://me:***@host:22/a"),
            ("ssh://me@host/a", "ssh://me@host/a"),
            ("ssh://host/a#b?c", "ssh://host/a#b?c"),
            ("git@host:a/b", "git@host:a/b"),
            ("file:///a#b", "file:///a#b"),
            ("https://host/a?X-Amz-Signature=secret#more", "https://host/a"),
            ("https://host?secret", "https://host"),
            ("https://me:sec#ret@host/a", "https://host/a"),
            ("s3://key:secret@bucket/a?secret", "s3://bucket/a"),
            (" HTTPS:me:secret@host/a", "HTTPS:host/a"),
            ("https:\\\\me:secret@host\\a@b", "https:\\\\host\\a@b"),
            ("//me:secret@host/a?secret", "//host/a"),
            ("/a/b@c?to=https://secret@host", "/a/b@c"),
        ] {
            assert_eq!(redact(BStr::new(url)), shown);
        }
        for (url, shown) in [
            ("https://me:s%40x@host/a", "https://host/a"),
            ("https://me@host/a?secret", "https://host/a"),
            ("ssh://me:secret@host:22/a", "ssh://me:***@host:22/a"),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), shown);
        }
        let credentials = parse("https://me:s%40x@host/a").unwrap().credentials();
        assert_eq!(credentials, (Some("me".to_owned()), Some("s@x".to_owned())));
    }

    #[test]
    fn logs_name_no_user() {
        for (url, logged) in [
            ("https://me:secret@host/a", "https://host/a"),
            ("git@host:a/b", "host:a/b"),
            ("/a/b@c", "/a/b@c"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(anonymized(BStr::new(url)), logged);
        }
    }
}
