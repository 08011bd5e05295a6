//! Connections that wait as long as a cloud asks for before the client tries again.

use std::time::Duration;

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
};

/// The longest pause it may ask for (`Retry-After`).
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Makes such connections.
#[derive(Debug)]
pub(super) struct Patient;

#[derive(Debug)]
struct PatientClient(HttpClient);

impl HttpConnector for Patient {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(PatientClient(client)))
    }
}

#[async_trait]
impl HttpService for PatientClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        // The client repeats these, after pauses of its own.
        if matches!(response.status().as_u16(), 429 | 503)
            && let Some(pause) = retry_after(&response)
        {
            tokio::time::sleep(pause.min(MAX_PAUSE)).await;
        }
        Ok(response)
    }
}

fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
