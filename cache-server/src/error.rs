//! The one place where errors of the store become answers.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use headstart_protocol::{ErrorBody, ErrorCode, ErrorDetail};
use headstart_store::StoreError;

/// An error as it is answered.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: String,
    detail: Option<Detail>,
}

/// What only the log is told: where files are, what the system said.
#[derive(Debug, Clone)]
pub(crate) struct Detail(pub(crate) String);

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ApiError {
            code,
            message: message.into(),
            detail: None,
        }
    }

    pub(crate) fn bad_request(message: impl ToString) -> Self {
        Self::new(ErrorCode::BadRequest, message.to_string())
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Missing { .. } => ErrorCode::Missing,
            StoreError::Corrupt { .. } => ErrorCode::Corrupt,
            StoreError::Refused { .. } => ErrorCode::Refused,
            StoreError::TooLarge { .. } => ErrorCode::TooLarge,
            StoreError::Unavailable { .. } | StoreError::Interrupted => ErrorCode::Unavailable,
            StoreError::Unsupported(_) => ErrorCode::Internal,
            StoreError::Io(_) if error.is_disk_full() => ErrorCode::Full,
            StoreError::Io(_) => ErrorCode::Internal,
        };
        let detail = Detail(with_causes(&error));
        // Where the server keeps its files is not the client's business.
        let message = match error {
            StoreError::Missing { what, .. } => format!("{what} is not here"),
            StoreError::Corrupt { what, reason, .. } => format!("{what} is corrupt: {reason}"),
            StoreError::Refused { .. } => "the store refuses".to_owned(),
            StoreError::Io(_) if code == ErrorCode::Full => "the server's disk is full".to_owned(),
            StoreError::Io(_) => "the server's disk failed; its log tells more".to_owned(),
            other => other.to_string(),
        };
        ApiError {
            detail: Some(detail),
            ..Self::new(code, message)
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).expect("statuses of the protocol are valid");
        let body = Json(ErrorBody {
            error: ErrorDetail {
                code: self.code,
                message: self.message,
            },
        });
        let mut response = (status, body).into_response();
        // A miss is no news.
        if let Some(detail) = self.detail.filter(|_| self.code != ErrorCode::Missing) {
            response.extensions_mut().insert(detail);
        }
        let headers = response.headers_mut();
        if self.code == ErrorCode::Unauthorized {
            headers.insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}
