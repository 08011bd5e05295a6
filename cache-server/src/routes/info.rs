//! What the server is.

use axum::Json;
use headstart_protocol::{Info, VERSION};
use headstart_store::ContentKind;

pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn info() -> Json<Info> {
    Json(Info {
        schema: Info::SCHEMA.to_owned(),
        server: concat!("headstart-server ", env!("CARGO_PKG_VERSION")).to_owned(),
        protocols: vec![VERSION],
        max_pack_bytes: ContentKind::Pack.max_bytes(),
        max_snapshot_bytes: ContentKind::Snapshot.max_bytes(),
    })
}
