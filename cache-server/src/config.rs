//! What a server is started with, and why it does not start.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use headstart_protocol::{ParseTokenError, Token};
use headstart_store::StoreError;

use crate::Log;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the store; made when it is not there.
    pub data: PathBuf,
    /// Where to listen: `host:port`, port 0 for any free one.
    pub listen: String,
    /// Who may do anything.
    pub access: Access,
    /// Where request lines go; `None` for nowhere.
    pub log: Option<Log>,
}

/// Who may read and write.
#[derive(Debug, Clone)]
pub enum Access {
    /// Who has the token.
    Token(Token),
    /// Everybody on this machine; other addresses are refused at start.
    OpenOnLoopback,
    /// Everybody who reaches the address.
    OpenToAll,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the store.
    #[error("the data folder cannot be used")]
    Data(#[from] StoreError),
    /// The address, which may be taken.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address as given.
        listen: String,
        /// What the system answered.
        source: io::Error,
    },
    /// Other machines could write, and nothing asks them who they are.
    #[error("{0} can be reached from other machines, and there is no token")]
    Unprotected(SocketAddr),
    /// The token file cannot be read.
    #[error("cannot read the token file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The token file has no good token.
    #[error("the token file {} has no usable token", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ParseTokenError,
    },
}

/// Reads the token from a file: its text without the white space around it.
pub fn read_token_file(path: &Path) -> Result<Token, StartError> {
    let text = std::fs::read_to_string(path).map_err(|source| StartError::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    Token::parse(&text).map_err(|source| StartError::Token {
        path: path.to_owned(),
        source,
    })
}
