//! What a server may do wrong, and to which requests.

use super::Request;

/// Which requests a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Every request.
    Every,
    /// The listing at the start: `GET .../info/refs`.
    Discovery,
    /// Requests that bring a pack.
    Fetch,
    /// Those of them that ask for this, such as `deepen 1`.
    FetchAsking(&'static str),
    /// Requests for anything whose path ends so.
    Path(&'static str),
    /// The request with this number, counted from 0 since the server started.
    Number(usize),
}

impl On {
    pub(super) fn selects(self, number: usize, request: &Request) -> bool {
        match self {
            On::Every => true,
            On::Discovery => request.target.contains("/info/refs?"),
            On::Fetch => request.is_fetch(),
            On::FetchAsking(what) => {
                let mut parts = request.body.windows(what.len().max(1));
                request.is_fetch() && parts.any(|part| part == what.as_bytes())
            }
            On::Path(end) => request.target.ends_with(end),
            On::Number(wanted) => number == wanted,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers as it should, and closes the connection after this many bytes of the answer's body.
    CutAfter(u64),
    /// Answers as it should, and after this many bytes of the answer's body says nothing more until the client hangs up.
    StallAfter(u64),
    /// Answers with this status, content type and body instead.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Sends the client to another URL with status 302.
    Redirect(String),
    /// Answers with status 429 and asks to be left alone for so many seconds.
    Busy(u32),
    /// Answers as it should, but with the byte at this place of the answer's body turned around.
    FlipByte(u64),
}

impl Fault {
    /// A plain-text answer with this status.
    pub fn status(status: u16) -> Self {
        Fault::Answer {
            status,
            content_type: "text/plain".to_owned(),
            body: format!("status {status}, as the test asked for\n"),
        }
    }

    /// An answer with this status, content type and body.
    pub fn answer(status: u16, content_type: &str, body: &str) -> Self {
        Fault::Answer {
            status,
            content_type: content_type.to_owned(),
            body: body.to_owned(),
        }
    }

    /// A friendly page where Git's answer should be, as captive portals and wrong addresses give.
    pub fn html() -> Self {
        Fault::Answer {
            status: 200,
            content_type: "text/html".to_owned(),
            body: "<!doctype html><title>Sign in</title><p>Please sign in.\n".to_owned(),
        }
    }
}
