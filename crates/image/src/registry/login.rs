//! Who the user is to a registry, as Docker's `config.json` tells.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use crate::manifest::null_is_empty;

/// What a registry is told. Secret: shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// A token that others are given for.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Where Docker's settings are not what Docker writes. Tells nothing of what stands there, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("something else is expected at line {line}, column {column}")]
pub struct DockerConfigError {
    line: usize,
    column: usize,
}

/// Why a login that should be known is not. Tells nothing of logins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Where logins are kept cannot be understood: nobody can tell whether one is there.
    #[error("{0}")]
    Settings(String),
    /// Who keeps the login does not tell it.
    #[error("{0}")]
    Helper(String),
}

/// Who knows logins.
pub trait Credentials: Send + Sync {
    /// The login for a registry, named as in references: `docker.io`, `localhost:5000`. Asked when a registry wants one.
    fn find(&self, host: &str) -> Result<Option<Login>, CredentialsError>;
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn find(&self, _host: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(None)
    }
}

/// Docker's `config.json`, as far as it tells of logins.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    #[serde(deserialize_with = "null_is_empty")]
    auths: BTreeMap<String, Option<Auth>>,
    creds_store: Option<String>,
    #[serde(deserialize_with = "null_is_empty")]
    cred_helpers: BTreeMap<String, Option<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(..)")
    }
}

/// What a credential helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The name under which Docker keeps the login of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// What helpers say instead of a user when the secret is an identity token.
const TOKEN_USER: &str = "<token>";

impl DockerConfig {
    /// Parses the file. An empty one says nothing.
    pub fn parse(json: &[u8]) -> Result<Self, DockerConfigError> {
        if json.trim_ascii().is_empty() {
            return Ok(DockerConfig::default());
        }
        let parsed: Option<Self> = serde_json::from_slice(json).map_err(|error| DockerConfigError {
            line: error.line(),
            column: error.column(),
        })?;
        Ok(parsed.unwrap_or_default())
    }

    /// The helper that has the login of `host`, and the name it knows it by: the program is `docker-credential-` and this,
    /// its only argument `get`, its input the name. A host with an empty one has its login in the file.
    pub fn helper<'a>(&'a self, host: &'a str) -> Option<(&'a str, &'a str)> {
        if let Some((key, helper)) = best_of(&self.cred_helpers, host) {
            let helper = helper.as_deref().filter(|helper| !helper.is_empty())?;
            return Some((helper, key));
        }
        let store = self.creds_store.as_deref().filter(|store| !store.is_empty())?;
        // Docker lists what the store has as logins without content; others fill the store and list nothing.
        let key = best_of(&self.auths, host).map_or_else(|| key_of(host), |(key, _)| key);
        Some((store, key))
    }

    /// The login the file itself has for `host`.
    pub fn login(&self, host: &str) -> Option<Login> {
        let auth = best_of(&self.auths, host)?.1.as_ref()?;
        if let Some(token) = auth.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Some(Login::IdentityToken(token.clone()));
        }
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        // Docker writes both into `auth`; others, such as secrets of Kubernetes, may leave them apart.
        let Some(both) = said(&auth.auth) else {
            return Some(Login::Password {
                user: said(&auth.username)?,
                password: said(&auth.password)?,
            });
        };
        let decoded = String::from_utf8(BASE64_STANDARD.decode(both).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Login::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

impl Login {
    /// The login in the answer of a credential helper.
    pub fn parse_helper_answer(json: &[u8]) -> Option<Self> {
        let answer: HelperAnswer = serde_json::from_slice(json).ok()?;
        Some(match answer.username == TOKEN_USER {
            true => Login::IdentityToken(answer.secret),
            false => Login::Password {
                user: answer.username,
                password: answer.secret,
            },
        })
    }
}

/// The name under which Docker would keep a login.
fn key_of(host: &str) -> &str {
    match host {
        "docker.io" => DOCKER_HUB_KEY,
        host => host,
    }
}

/// What is kept for `host`. Keys are hosts, or URLs of their APIs: first the one that Docker writes today, then the host, then
/// URLs in their order.
fn best_of<'a, T>(kept: &'a BTreeMap<String, T>, host: &str) -> Option<(&'a str, &'a T)> {
    let rank = |key: &str| match host_of(key) {
        _ if key == key_of(host) => Some(0),
        found if found != host && !(host == "docker.io" && found == "index.docker.io") => None,
        found if found == key => Some(1),
        _ => Some(2),
    };
    let ranked = kept.iter().filter_map(|entry| Some((rank(entry.0)?, entry)));
    let (_, (key, value)) = ranked.min_by_key(|(rank, (key, _))| (*rank, *key))?;
    Some((key, value))
}

/// The host of a key, with its port.
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or(key.strip_prefix("http://"));
    bare.unwrap_or(key).split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_tell_what_stands_there() {
        let json = b"{\n\"auths\":{\"r.example\":\"c2VjcmV0OnBhc3M=\"}}";
        let error = DockerConfig::parse(json).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("c2Vj"), "{error}");
    }

    #[test]
    fn logins_are_in_the_file_or_with_a_helper() {
        let config = DockerConfig::parse(
            br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},"r.example:5000":{},"t.example":{"identitytoken":"it"}},
                "credsStore":"desktop","credHelpers":{"gcr.io":"gcloud"},"HttpHeaders":{}}"#,
        )
        .unwrap();
        let login = Login::Password {
            user: "u".to_owned(),
            password: "p:w".to_owned(),
        };
        assert_eq!(config.login("docker.io"), Some(login));
        assert_eq!(
            config.login("t.example"),
            Some(Login::IdentityToken("it".to_owned()))
        );
        assert_eq!(config.login("r.example:5000"), None);
        assert_eq!(
            config.helper("r.example:5000"),
            Some(("desktop", "r.example:5000"))
        );
        assert_eq!(config.helper("gcr.io"), Some(("gcloud", "gcr.io")));
        assert_eq!(config.helper("other.example"), Some(("desktop", "other.example")));
        assert_eq!(format!("{:?}", config.login("docker.io")), "Some(Login(..))");
    }

    #[test]
    fn of_several_spellings_of_a_host_the_one_that_docker_writes_counts() {
        let auth = |user: &str| format!(r#"{{"auth":"{}"}}"#, BASE64_STANDARD.encode(format!("{user}:x")));
        let keys = [
            "http://r.example",
            "https://r.example",
            "https://r.example/v1/",
            "r.example",
            "r.example:5000",
            "docker.io",
            "https://docker.io",
            "index.docker.io",
            "https://index.docker.io/v1/",
        ];
        let found = |keys: &[&str], host: &str| {
            let auths: Vec<_> = keys
                .iter()
                .map(|key| format!("{key:?}:{}", auth(key.split("//").last().unwrap())))
                .collect();
            let json = format!(r#"{{"auths":{{{}}}}}"#, auths.join(","));
            match DockerConfig::parse(json.as_bytes()).unwrap().login(host) {
                Some(Login::Password { user, .. }) => user,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(found(&keys, "docker.io"), "index.docker.io/v1/");
        assert_eq!(found(&keys[..8], "docker.io"), "docker.io");
        assert_eq!(found(&keys, "r.example"), "r.example");
        assert_eq!(found(&keys[2..3], "r.example"), "r.example/v1/");
        assert_eq!(
            found(&keys, "r.example:5000"),
            "r.example",
            "a colon ends the user's name"
        );
        assert_eq!(found(&keys[..4], "example"), "None");
        let config = DockerConfig::parse(
            br#"{"credHelpers":{"https://gcr.io":"other","gcr.io":"gcloud"},"credsStore":"desktop"}"#,
        )
        .unwrap();
        assert_eq!(config.helper("gcr.io"), Some(("gcloud", "gcr.io")));
    }

    #[test]
    fn what_is_empty_or_null_says_nothing() {
        for nothing in [
            "",
            " \n",
            "null",
            "{}",
            r#"{"auths":null,"credHelpers":null,"credsStore":null}"#,
            r#"{"auths":{"r.example":null},"credHelpers":{"r.example":null}}"#,
            r#"{"credHelpers":{"r.example":""},"credsStore":"pass"}"#,
        ] {
            let config = DockerConfig::parse(nothing.as_bytes()).unwrap();
            assert_eq!(config.login("r.example"), None, "{nothing}");
            assert_eq!(config.helper("r.example"), None, "{nothing}");
        }
    }

    #[test]
    fn a_store_is_asked_for_what_is_not_listed() {
        let config = DockerConfig::parse(br#"{"credsStore":"pass"}"#).unwrap();
        assert_eq!(config.helper("r.example"), Some(("pass", "r.example")));
        assert_eq!(
            config.helper("docker.io"),
            Some(("pass", "https://index.docker.io/v1/"))
        );
        assert_eq!(DockerConfig::default().helper("r.example"), None);
    }

    #[test]
    fn helpers_answer_with_a_password_or_a_token() {
        let parse = |json: &str| Login::parse_helper_answer(json.as_bytes());
        assert_eq!(
            parse(r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#),
            Some(Login::Password {
                user: "u".to_owned(),
                password: "s".to_owned()
            })
        );
        assert_eq!(
            parse(r#"{"Username":"<token>","Secret":"s"}"#),
            Some(Login::IdentityToken("s".to_owned()))
        );
        assert_eq!(parse("credentials not found in native keychain"), None);
    }
}
