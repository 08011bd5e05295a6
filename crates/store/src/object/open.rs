//! From a URL and options to a store.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use headstart_fs::AtPath as _;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, path::Path,
};
use url::Url;

use super::{BucketStore, ListOrder, VERSION, patient::Patient};
use crate::StoreError;

/// A dead host must cost seconds: the work goes on without it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence within an answer, and the longest a part of an upload may take: 16 MiB pass a link of 2.3 Mbit/s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries after the first, and the time after which there are no more.
const MAX_RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

impl BucketStore {
    /// Opens the bucket or folder `url` names: `s3://bucket/prefix`, `gs://..`, `az://container/..`, `file:///folder`.
    ///
    /// `options` has credentials and endpoints under the names of the environment variables the clouds' own tools use
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, ..);
    /// others are passed over, so an environment can be given whole. Makes no request.
    pub fn open(url: &Url, options: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        let location = shown(url);
        let unsupported = |error: object_store::Error| {
            StoreError::Unsupported(format!("{location} cannot be used: {error}"))
        };
        let (scheme, path) =
            ObjectStoreScheme::parse(url).map_err(|error| unsupported(object_store::Error::from(error)))?;
        macro_rules! build {
            ($builder:ty, $prefix:literal) => {{
                let builder = <$builder>::new()
                    .with_client_options(client_options())
                    .with_http_connector(Patient)
                    .with_retry(retry())
                    .with_url(url.as_str());
                // As the builders' own `from_env` does it.
                let builder = options
                    .iter()
                    .filter(|(key, _)| key.starts_with($prefix))
                    .filter_map(|(key, value)| Some((key.to_ascii_lowercase().parse().ok()?, value)))
                    .fold(builder, |builder, (key, value)| {
                        builder.with_config(key, value)
                    });
                Arc::new(builder.build().map_err(unsupported)?)
            }};
        }
        let mut base = path;
        let mut order = ListOrder::ByName;
        let store: Arc<dyn object_store::ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => {
                if options.contains_key("AWS_S3_EXPRESS") {
                    order = ListOrder::Any;
                }
                build!(AmazonS3Builder, "AWS_")
            }
            ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder, "GOOGLE_"),
            ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder, "AZURE_"),
            ObjectStoreScheme::Local => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| StoreError::Unsupported(format!("{location} names no folder")))?;
                fs::create_dir_all(&folder).at("create", &folder)?;
                base = Path::default();
                order = ListOrder::Any;
                Arc::new(LocalFileSystem::new_with_prefix(&folder).map_err(unsupported)?)
            }
            _ => return Err(StoreError::Unsupported(format!("{location} is not a bucket"))),
        };
        Ok(BucketStore {
            store,
            base: base.join(VERSION),
            location,
            order,
        })
    }
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_timeout_disabled()
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            ..BackoffConfig::default()
        },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// The URL without what may be secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    url.to_string()
}
