//! Errors on the wire: a code that programs read, a message that people read.

use serde::{Deserialize, Serialize};

/// What went wrong. Each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// 400: the request is not understood.
    BadRequest,
    /// 401: no token, or not one of this server's.
    Unauthorized,
    /// 403: the store behind the server refuses (read-only).
    Refused,
    /// 404: it is not there.
    Missing,
    /// 405: this resource does not know that method.
    MethodNotAllowed,
    /// 408: the body did not come in time.
    Timeout,
    /// 411: an upload must announce its length.
    LengthRequired,
    /// 412: the entry exists; the body is the entry.
    Exists,
    /// 413: larger than a limit.
    TooLarge,
    /// 416: a range beyond the end.
    Range,
    /// 422: the bytes do not have the announced length or digest, or what is stored is corrupt.
    Corrupt,
    /// 500: a fault of the server.
    Internal,
    /// 503: the store behind the server is not available.
    Unavailable,
    /// 507: the server's disk is full.
    Full,
}

const STATUSES: [(ErrorCode, u16); 14] = [
    (ErrorCode::BadRequest, 400),
    (ErrorCode::Unauthorized, 401),
    (ErrorCode::Refused, 403),
    (ErrorCode::Missing, 404),
    (ErrorCode::MethodNotAllowed, 405),
    (ErrorCode::Timeout, 408),
    (ErrorCode::LengthRequired, 411),
    (ErrorCode::Exists, 412),
    (ErrorCode::TooLarge, 413),
    (ErrorCode::Range, 416),
    (ErrorCode::Corrupt, 422),
    (ErrorCode::Internal, 500),
    (ErrorCode::Unavailable, 503),
    (ErrorCode::Full, 507),
];

impl ErrorCode {
    /// The HTTP status it is sent with.
    pub fn status(self) -> u16 {
        let (_, status) = STATUSES
            .iter()
            .find(|(code, _)| *code == self)
            .expect("the table has every code");
        *status
    }

    /// The code a status stands for; `None` for one this protocol does not use.
    pub fn of_status(status: u16) -> Option<Self> {
        let (code, _) = STATUSES.iter().find(|(_, other)| *other == status)?;
        Some(*code)
    }
}

/// The body of every error but [`ErrorCode::Exists`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What an [`ErrorBody`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_map_one_to_one() {
        for (code, status) in STATUSES {
            assert_eq!(code.status(), status);
            assert_eq!(ErrorCode::of_status(status), Some(code));
        }
        assert_eq!(ErrorCode::of_status(200), None);
        assert_eq!(
            serde_json::to_string(&ErrorCode::LengthRequired).unwrap(),
            "\"length-required\""
        );
    }
}
