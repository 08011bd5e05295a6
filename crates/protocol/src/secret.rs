//! Tokens, in a type that does not tell them.

use std::fmt;

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// A bearer token. Prints as `***`, and compares in a time that does not depend on how much of it is right.
#[derive(Clone)]
pub struct Token(String);

/// Why a text is not a [`Token`]. Does not tell the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// Nothing but white space.
    #[error("the token is empty")]
    Empty,
    /// More than 4096 bytes.
    #[error("the token is longer than 4096 bytes")]
    Long,
    /// A header can only carry visible ASCII.
    #[error("the token has a character other than visible ASCII")]
    Character,
}

impl Token {
    /// Takes a token as it is in a file or a variable: white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, ParseTokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseTokenError::Empty);
        }
        if text.len() > MAX_TOKEN_BYTES {
            return Err(ParseTokenError::Long);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ParseTokenError::Character);
        }
        Ok(Token(text.to_owned()))
    }

    /// The value of the `Authorization` header. Secret.
    pub fn to_authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// True when an `Authorization` header carries this token.
    pub fn is_in_authorization(&self, header: &[u8]) -> bool {
        let scheme = b"bearer ";
        let Some((given_scheme, given)) = header.split_at_checked(scheme.len()) else {
            return false;
        };
        // Digests are compared: of equal length whatever was sent, and an early difference tells nothing of the token.
        let (ours, theirs) = (
            headstart_digest::Digest::of(self.0.as_bytes()),
            headstart_digest::Digest::of(given),
        );
        let differing = ours
            .as_bytes()
            .iter()
            .zip(theirs.as_bytes())
            .fold(0, |differing, (a, b)| differing | (a ^ b));
        given_scheme.eq_ignore_ascii_case(scheme) && differing == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_recognised_and_not_told() {
        let token = Token::parse(" s3cret\n").unwrap();
        assert!(token.is_in_authorization(b"Bearer s3cret"));
        assert!(token.is_in_authorization(b"bearer s3cret"));
        for wrong in [
            "",
            "s3cret",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crett",
            "Basic s3cret",
        ] {
            assert!(
                !token.is_in_authorization(wrong.as_bytes()),
                "{wrong:?} was taken"
            );
        }
        assert_eq!(format!("{token:?}"), "***");
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        assert_eq!(Token::parse(" \n").unwrap_err(), ParseTokenError::Empty);
        assert_eq!(Token::parse("a b").unwrap_err(), ParseTokenError::Character);
        assert_eq!(Token::parse("é").unwrap_err(), ParseTokenError::Character);
        assert_eq!(
            Token::parse(&"x".repeat(5000)).unwrap_err(),
            ParseTokenError::Long
        );
    }
}
