//! The conformance suite over every medium that needs no server of ours.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are not in a test function"
)]

use std::{collections::BTreeMap, sync::Arc};

use headstart_store::{BucketStore, LocalStore, MemoryStore, conformance};

mod seaweed;

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::check_prune_store(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open_or_create(dir.path().join("store")).unwrap();
    conformance::check_prune_store(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_url() {
    let dir = tempfile::tempdir().unwrap();
    let url = url::Url::from_directory_path(dir.path().join("with space")).unwrap();
    let store = BucketStore::open(&url, &BTreeMap::new()).unwrap();
    conformance::check_prune_store(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let Some(server) = seaweed::start() else {
        return;
    };
    let store = BucketStore::open(&server.url("some/prefix"), &server.options()).unwrap();
    conformance::check_prune_store(Arc::new(store)).await;
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    use headstart_store::{ContentKind, Store as _, StoreError};
    let Some(server) = seaweed::start() else {
        return;
    };
    let (id, _) = conformance::sample(ContentKind::Pack, 1, 100);
    let mut wrong = server.options();
    wrong.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned());
    let store = BucketStore::open(&server.url(""), &wrong).unwrap();
    let error = store.find_missing(&[id]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[tokio::test]
async fn a_dead_bucket_costs_seconds() {
    use headstart_store::{ContentKind, Store as _, StoreError};
    // Bound and dropped: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let options = BTreeMap::from(
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}").as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let store = BucketStore::open(&"s3://bucket".parse().unwrap(), &options).unwrap();
    let started = std::time::Instant::now();
    let (id, _) = conformance::sample(ContentKind::Pack, 1, 100);
    let error = store.find_missing(&[id]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
