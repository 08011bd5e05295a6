//! `git http-backend` as a CGI program.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{ChildStdout, Stdio},
    thread,
};

use super::{
    GitHttpServerBuilder,
    message::{Head, invalid, line},
};
use crate::{ChildGuard, git};

/// A running backend whose answer's head has been read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: BufReader<ChildStdout>,
    // Ends the program when the answer is dropped half read.
    _program: ChildGuard,
}

/// Runs the backend for one request. `body` is as sent: it unpacks gzip by itself.
pub(super) fn run(options: &GitHttpServerBuilder, head: &Head, body: Vec<u8>) -> io::Result<Answer> {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    // A client that takes us for its proxy sends the whole URL.
    let path = path
        .strip_prefix("http://")
        .map_or(path, |url| &url[url.find('/').unwrap_or(url.len())..]);
    let settings = options
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut command = git::git_command();
    command
        .arg("http-backend")
        .envs(git::settings_and(settings))
        .env("GIT_PROJECT_ROOT", &options.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &head.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", head.header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", head.header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", head.header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REMOTE_USER", "tester")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut program = ChildGuard::spawn(&mut command);
    let mut stdin = program.child().stdin.take().expect("stdin was piped");
    // On a thread of its own, because the backend may answer before it has read everything. It may also hang up first.
    thread::spawn(move || drop(stdin.write_all(&body)));
    let mut output = BufReader::new(program.child().stdout.take().expect("stdout was piped"));
    let mut answer_headers = Vec::new();
    let mut status = 200;
    while let Some(header) = line(&mut output)?.filter(|header| !header.is_empty()) {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| invalid("the backend's header has no colon"))?;
        match name {
            "Status" => {
                let number = value
                    .trim()
                    .split(' ')
                    .next()
                    .and_then(|number| number.parse().ok());
                status = number.ok_or_else(|| invalid("the backend's status is no number"))?;
            }
            _ => answer_headers.push((name.to_owned(), value.trim().to_owned())),
        }
    }
    Ok(Answer {
        status,
        headers: answer_headers,
        body: output,
        _program: program,
    })
}

impl Answer {
    /// The next piece of the body, at most `limit` bytes; empty at its end.
    pub(super) fn next_piece(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let available = self.body.fill_buf()?;
        let length = available.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let piece = available[..length].to_vec();
        self.body.consume(length);
        Ok(piece)
    }
}
