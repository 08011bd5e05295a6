//! An image of the Docker daemon: what `docker save` would write, asked for over the daemon's socket.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::archive::Archive;
use crate::ImageError;

/// How long a request to stop may go unnoticed.
const POLL: Duration = Duration::from_millis(100);

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
    let saving = until_interrupted(download(socket, name, &mut file), interrupt);
    let status = runtime
        .block_on(saving)
        .ok_or(ImageError::Interrupted)?
        .map_err(unavailable)?;
    match status.as_u16() {
        200 => {}
        404 => {
            return Err(ImageError::missing(
                format!("the image {name}"),
                "the Docker daemon",
            ));
        }
        _ => return Err(unavailable(io::Error::other(format!("it answers {status}")))),
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

async fn download(socket: &Path, name: &str, file: &mut File) -> io::Result<reqwest::StatusCode> {
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .build()
        .map_err(io::Error::other)?;
    let mut url = url::Url::parse("http://localhost/images/get").expect("it is a URL");
    url.query_pairs_mut().append_pair("names", name);
    let mut response = client.get(url).send().await.map_err(io::Error::other)?;
    if response.status().is_success() {
        while let Some(chunk) = response.chunk().await.map_err(io::Error::other)? {
            file.write_all(&chunk)?;
        }
    }
    Ok(response.status())
}
