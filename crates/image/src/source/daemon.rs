//! An image of the Docker daemon: what `docker save` would write, asked for over the daemon's socket.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::StatusCode;
use serde::Deserialize;

use super::archive::Archive;
use crate::ImageError;

/// How long a request to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(100);

/// Longer than any reason a daemon gives for not doing something.
const MAX_REFUSAL: usize = 64 << 10;

/// Saves `name` into a temporary file, which lives as long as the archive is open.
pub(super) fn save(socket: &Path, name: &str, interrupt: &AtomicBool) -> Result<Archive, ImageError> {
    let unavailable = |source| ImageError::Unavailable {
        what: format!("the Docker daemon at {}", socket.display()),
        source,
    };
    let mut file = tempfile::tempfile().map_err(unavailable)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unavailable)?;
    let saving = until_interrupted(save_first(socket, meanings(name), &mut file), interrupt);
    let answer = runtime
        .block_on(saving)
        .ok_or(ImageError::Interrupted)?
        .map_err(unavailable)?;
    match answer {
        Answer::Saved => {}
        Answer::Missing => {
            return Err(ImageError::missing(
                format!("the image {name}"),
                "the Docker daemon",
            ));
        }
        Answer::Refused(why) => return Err(unavailable(io::Error::other(why))),
    }
    file.rewind().map_err(unavailable)?;
    Archive::from_file(format!("docker-daemon:{name}"), file)
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

/// What a name can mean, to be tried in turn. Asked for a name alone, the daemon saves the images of all its tags.
fn meanings(name: &str) -> Vec<String> {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.contains([':', '@']) {
        true => vec![name.to_owned()],
        // It may be an ID, too.
        false => vec![format!("{name}:latest"), name.to_owned()],
    }
}

enum Answer {
    Saved,
    Missing,
    /// In the daemon's words.
    Refused(String),
}

async fn save_first(socket: &Path, names: Vec<String>, file: &mut File) -> io::Result<Answer> {
    for name in names {
        match download(socket, &name, file).await? {
            Answer::Missing => {}
            answer => return Ok(answer),
        }
    }
    Ok(Answer::Missing)
}

async fn download(socket: &Path, name: &str, file: &mut File) -> io::Result<Answer> {
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .build()
        .map_err(io::Error::other)?;
    let mut url = url::Url::parse("http://localhost/images/get").expect("it is a URL");
    url.query_pairs_mut().append_pair("names", name);
    let mut response = client.get(url).send().await.map_err(io::Error::other)?;
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return Ok(Answer::Missing);
    }
    let mut refusal = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(io::Error::other)? {
        match status {
            StatusCode::OK => file.write_all(&chunk)?,
            _ if refusal.len() < MAX_REFUSAL => refusal.extend_from_slice(&chunk),
            _ => break,
        }
    }
    if status == StatusCode::OK {
        return Ok(Answer::Saved);
    }
    let message = serde_json::from_slice(&refusal).map(|Refusal { message }| format!(": {message}"));
    Ok(Answer::Refused(format!(
        "it answers {status}{}",
        message.unwrap_or_default()
    )))
}

/// What a daemon says when it does not do what it is asked for.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}
