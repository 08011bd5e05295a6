//! Logging in: what a registry answers 401 with tells how.

use reqwest::{Method, RequestBuilder, Response, header};
use serde::Deserialize;
use url::Url;

use super::{
    Attempt, CredentialsError, Login, Registries, STALL_TIMEOUT, challenge::Challenge, failure, leads_inward,
};
use crate::{ImageError, RegistryReference};

/// The longest answer of a token server.
const MAX_TOKEN_BYTES: usize = 1 << 20;

/// What is sent along with requests. Secret.
#[derive(Clone)]
pub(super) enum Authorization {
    Basic { user: String, password: String },
    Bearer(String),
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Authorization {
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Authorization::Basic { user, password } => request.basic_auth(user, Some(password)),
            Authorization::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl Registries {
    /// Does what the registry asks for in its refusal. Where a login should be known and is not, also tells why: many images
    /// are given to everybody, and then nobody minds.
    pub(super) fn log_in(
        &self,
        reference: &RegistryReference,
        refusal: &Response,
    ) -> Result<(Authorization, Option<String>), Attempt> {
        let (login, no_login) = match self.options.credentials.find(&reference.host) {
            Ok(login) => (login, None),
            Err(CredentialsError::Helper(reason)) => (None, Some(reason)),
            Err(CredentialsError::Settings(reason)) => {
                return Err(ImageError::Refused {
                    what: format!("{}/{}", reference.host, reference.repository),
                    reason,
                }
                .into());
            }
        };
        if self.is_interrupted() {
            return Err(ImageError::Interrupted.into());
        }
        match self.meet(reference, refusal, login) {
            Ok(authorization) => Ok((authorization, no_login)),
            Err(attempt) => Err(attempt.because(no_login.as_deref())),
        }
    }

    fn meet(
        &self,
        reference: &RegistryReference,
        refusal: &Response,
        login: Option<Login>,
    ) -> Result<Authorization, Attempt> {
        let refused = |reason: &str| ImageError::Refused {
            what: format!("{}/{}", reference.host, reference.repository),
            reason: reason.to_owned(),
        };
        let challenges: Vec<_> = refusal
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        if let Some(challenge) = challenges.iter().find(|challenge| challenge.is("bearer")) {
            return self.fetch_token(reference, challenge, login);
        }
        if !challenges.iter().any(|challenge| challenge.is("basic")) {
            return Err(refused("the registry wants a kind of login that is not known here").into());
        }
        match login {
            Some(Login::Password { user, password }) => Ok(Authorization::Basic { user, password }),
            Some(Login::IdentityToken(_)) | None => {
                Err(refused("the registry wants a user and a password; none are known").into())
            }
        }
    }

    fn fetch_token(
        &self,
        reference: &RegistryReference,
        challenge: &Challenge,
        login: Option<Login>,
    ) -> Result<Authorization, Attempt> {
        let refused = |reason: String| ImageError::Refused {
            what: format!("{}/{}", reference.host, reference.repository),
            reason,
        };
        let realm = challenge.parameter("realm").unwrap_or_default();
        let mut url = Url::parse(realm)
            .map_err(|_| refused(format!("the registry names {realm:?} as the place for tokens")))?;
        let registry = self.url(reference, "")?;
        if leads_inward(&registry, &url) {
            return Err(refused(format!("its tokens come from {url}, which is this machine")).into());
        }
        // What is known of the user must not become readable on its way.
        if !self.is_safe(&registry, &url) {
            return Err(refused(format!("its tokens come from {url}, which has no TLS")).into());
        }
        let service = challenge.parameter("service").unwrap_or_default();
        let scope = format!("repository:{}:pull", reference.repository);
        let scope = challenge.parameter("scope").unwrap_or(&scope);
        let request = match login {
            Some(Login::IdentityToken(token)) => {
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs([
                        ("grant_type", "refresh_token"),
                        ("client_id", "headstart"),
                        ("service", service),
                        ("scope", scope),
                        ("refresh_token", &token),
                    ])
                    .finish();
                self.request(Method::POST, url)?
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form)
            }
            login => {
                // A challenge lists scopes with spaces between them; here each is a parameter of its own.
                let scopes = scope.split_whitespace().map(|scope| ("scope", scope));
                url.query_pairs_mut().extend_pairs(scopes);
                if !service.is_empty() {
                    url.query_pairs_mut().append_pair("service", service);
                }
                let request = self.request(Method::GET, url)?;
                match login {
                    Some(Login::Password { user, password }) => request.basic_auth(user, Some(password)),
                    _ => request,
                }
            }
        };
        let what = format!("a token for {}/{}", reference.host, reference.repository);
        let response = self.send(&what, request, STALL_TIMEOUT)?;
        if !response.status().is_success() {
            return Err(failure(what, &response));
        }
        let json = self.read_short(&what, response, MAX_TOKEN_BYTES)?;
        let answer: TokenAnswer =
            serde_json::from_slice(&json).map_err(|error| ImageError::corrupt(&what, error))?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty());
        token
            .map(Authorization::Bearer)
            .ok_or_else(|| refused("the answer holds no token".to_owned()).into())
    }
}
