//! How `http.<url>.*` applies to a URL: git's matching of configuration by URL.

use url::Url;

/// A URL in a configuration key; labels of its host may be `*`.
#[derive(Debug)]
pub(super) struct UrlPattern<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

/// How specific a match is: the greatest wins, and the last of equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Rank {
    host_length: usize,
    path_length: usize,
    user: bool,
}

impl<'a> UrlPattern<'a> {
    /// Takes a URL apart; what is none matches nothing.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.split(':').next().unwrap_or(user)), host),
            None => (None, authority),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (host, None),
        };
        Some(UrlPattern {
            scheme,
            user,
            host,
            port,
            path: path.trim_end_matches('/'),
        })
    }

    /// How well `url` matches, or `None` when it does not.
    pub(super) fn rank(&self, url: &Url) -> Option<Rank> {
        let default_port = match self.scheme.to_ascii_lowercase().as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let user_matches = self.user.is_none_or(|user| user == url.username());
        let port_matches = self.port.or(default_port) == url.port_or_known_default();
        if !self.scheme.eq_ignore_ascii_case(url.scheme()) || !user_matches || !port_matches {
            return None;
        }
        if !host_matches(self.host, url.host_str()?) || !path_starts_with(url.path(), self.path) {
            return None;
        }
        Some(Rank {
            host_length: self.host.len(),
            path_length: self.path.len(),
            user: self.user.is_some(),
        })
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let mut labels = host.split('.');
    let matches = pattern.split('.').all(|wanted| {
        labels
            .next()
            .is_some_and(|label| wanted == "*" || wanted.eq_ignore_ascii_case(label))
    });
    matches && labels.next().is_none()
}

fn path_starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_must_agree() {
        let url: Url = "https://me@git.example.com:8443/team/repo.git".parse().unwrap();
        for (pattern, matches) in [
            ("https://git.example.com:8443", true),
            ("https://GIT.example.com:8443/", true),
            ("https://*.example.com:8443/team/", true),
            ("https://me@git.example.com:8443/team/repo.git", true),
            ("https://you@git.example.com:8443", false),
            ("https://git.example.com", false),
            ("http://git.example.com:8443", false),
            ("https://*.com:8443", false),
            ("https://git.example.com:8443/tea", false),
            ("git.example.com", false),
        ] {
            let rank = UrlPattern::parse(pattern).and_then(|pattern| pattern.rank(&url));
            assert_eq!(rank.is_some(), matches, "{pattern}");
        }
    }
}
