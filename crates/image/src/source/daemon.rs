//! An image of the Docker daemon: what `docker save` would write, asked for over the daemon's socket.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::StatusCode;
use serde::Deserialize;

use super::archive::{Archive, unwritten};
use crate::ImageError;

/// How long a request to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(100);
/// The digits of an image's ID.
const ID_DIGITS: usize = 64;
/// Longer than any reason a daemon gives for not doing something.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Saves `name` into a temporary file, which lives as long as the archive is open.
pub(super) fn save(socket: &Path, name: &str, interrupt: &AtomicBool) -> Result<Archive, ImageError> {
    let what = format!("docker-daemon:{name}");
    let mut file = tempfile::tempfile().map_err(|source| unwritten(&what, source))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| out_of_reach(socket, source))?;
    let mut ask = |name: &str| {
        let saving = until_interrupted(download(socket, name, &what, &mut file), interrupt);
        runtime.block_on(saving).ok_or(ImageError::Interrupted)?
    };
    let tagged = with_tag(name);
    let mut answer = ask(&tagged)?;
    // As with Docker itself, the beginning of an ID is one where it is no name.
    if answer == Answer::Missing && tagged != name && is_hexadecimal(name) {
        answer = ask(&format!("sha256:{name}"))?;
    }
    match answer {
        Answer::Saved => {}
        Answer::Missing => {
            return Err(ImageError::missing(
                format!("the image {name}"),
                "the Docker daemon",
            ));
        }
        Answer::Refused(why) => return Err(ImageError::unsupported(what, why)),
    }
    file.rewind().map_err(|source| unwritten(&what, source))?;
    Archive::from_file(what, file, interrupt)
}

/// The name of one image. The daemon would save all tags of a repository, while everywhere else the latest one is meant.
fn with_tag(name: &str) -> Cow<'_, str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_id = name.len() == ID_DIGITS && is_hexadecimal(name);
    match is_id || last.contains([':', '@']) {
        true => name.into(),
        false => format!("{name}:latest").into(),
    }
}

fn is_hexadecimal(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn out_of_reach(socket: &Path, source: io::Error) -> ImageError {
    ImageError::Daemon {
        socket: socket.to_owned(),
        source,
    }
}

/// The output of `future`, or nothing when nobody waits for it any more.
async fn until_interrupted<T>(future: impl Future<Output = T>, interrupt: &AtomicBool) -> Option<T> {
    let mut future = std::pin::pin!(future);
    while !interrupt.load(Ordering::Relaxed) {
        if let Ok(output) = tokio::time::timeout(POLL, &mut future).await {
            return Some(output);
        }
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Saved,
    Missing,
    /// In the daemon's words.
    Refused(String),
}

/// What a daemon says when it does not do what it is asked for.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

async fn download(socket: &Path, name: &str, what: &str, file: &mut File) -> Result<Answer, ImageError> {
    let failed = |error: reqwest::Error| out_of_reach(socket, io::Error::other(error));
    let client = reqwest::Client::builder().unix_socket(socket).build();
    let mut url = url::Url::parse("http://localhost/images/get").expect("it is a URL");
    url.query_pairs_mut().append_pair("names", name);
    let mut response = client.map_err(failed)?.get(url).send().await.map_err(failed)?;
    let status = response.status();
    match status {
        StatusCode::OK => {
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                file.write_all(&chunk).map_err(|source| unwritten(what, source))?;
            }
            return Ok(Answer::Saved);
        }
        StatusCode::NOT_FOUND => return Ok(Answer::Missing),
        _ => {}
    }
    let mut refusal = Vec::new();
    while refusal.len() < MAX_REFUSAL_BYTES
        && let Some(chunk) = response.chunk().await.map_err(failed)?
    {
        refusal.extend_from_slice(&chunk);
    }
    let message = serde_json::from_slice(&refusal).map(|Refusal { message }| format!(": {message}"));
    let message = message.unwrap_or_default();
    Ok(Answer::Refused(format!(
        "the Docker daemon answers {status}{message}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_the_latest_image() {
        let id = "0b84cd21cc02".repeat(6);
        let id = &id[..ID_DIGITS];
        let digest = format!("app@sha256:{id}");
        let full_id = format!("sha256:{id}");
        for (name, meant) in [
            ("app", "app:latest"),
            ("app:v1", "app:v1"),
            ("host:5000/team/app", "host:5000/team/app:latest"),
            ("host:5000/team/app:v1", "host:5000/team/app:v1"),
            ("cafe", "cafe:latest"),
            (&digest, &digest),
            (&full_id, &full_id),
            (id, id),
        ] {
            assert_eq!(with_tag(name), meant);
        }
    }
}
