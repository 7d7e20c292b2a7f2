//! What is served outside the API: health, the OpenAPI document, and the embedded pages.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use rust_embed::RustEmbed;
use serde::Serialize;

use crate::app::App;
use crate::error::{Error, Result};
use crate::http::openapi;

#[derive(RustEmbed)]
#[folder = "assets"]
struct Assets;

/// Everything comes from here, and nothing can put a page of ours into one of theirs.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

static OPENAPI: LazyLock<String> =
    LazyLock::new(|| openapi::document().to_json().unwrap_or_default());

/// The routes outside the API.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/admin") }))
        .route("/health", get(health))
        .route(
            "/openapi.json",
            get(|| async { ([(CONTENT_TYPE, "application/json")], OPENAPI.as_str()) }),
        )
        .route("/docs", get(|| async { asset("docs.html") }))
        .route("/admin", get(|| async { asset("index.html") }))
        .route(
            "/assets/{*path}",
            get(|Path(path): Path<String>| async move { asset(&path) }),
        )
}

/// `GET /health`
#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

/// 200 when the database answers.
async fn health(State(app): State<App>) -> Result<Json<Health>> {
    app.store
        .read(|tx| Ok(tx.query_row("SELECT 1", [], |_| Ok(()))?))
        .await?;
    Ok(Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    }))
}

fn asset(path: &str) -> Response {
    let Some(file) = Assets::get(path) else {
        return Error::no_route("there is no such file on this server").into_response();
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    };
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, CSP),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, file.data.into_owned()).into_response()
}
