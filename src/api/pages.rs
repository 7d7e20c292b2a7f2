//! What is served outside the API: the OpenAPI document, and the embedded pages.
//!
//! The pages are plain files of `assets/`: no build step, and nothing in them asks another host. Each
//! is compressed once, at its first use, and has a strong ETag, so that a browser asks again every
//! time (`no-cache`) and is told "not modified" in a few bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use utoipa::openapi::Server;

use crate::api::app::App;
use crate::api::csp::CSP;
use crate::api::{health, oidc, openapi, sign_in};
use crate::computers::machines::desktop::viewer;
use crate::db::Store;
use crate::error::Error;
use crate::previews;
use crate::rules::config::{CALLBACK, Config};
use crate::rules::public_url::PublicUrl;
use crate::share_links::visit;

#[derive(RustEmbed)]
#[folder = "assets"]
struct Assets;

/// The OpenAPI document, with machines or without, by the public address.
static OPENAPI: Mutex<BTreeMap<(bool, String), Arc<Document>>> = Mutex::new(BTreeMap::new());

fn openapi_of(config: &Config) -> Arc<Document> {
    let machines = config.engine.is_some();
    let base = config
        .public_url
        .as_ref()
        .map(PublicUrl::base)
        .unwrap_or_default();
    let mut known = OPENAPI.lock();
    let made = known.entry((machines, base.clone())).or_insert_with(|| {
        let mut document = if machines {
            openapi::with_machines()
        } else {
            openapi::document()
        };
        document.servers = (!base.is_empty()).then(|| vec![Server::new(base)]);
        let text = document.to_json().unwrap_or_default();
        Arc::new(Document::new("openapi.json", text.into_bytes().into()))
    });
    made.clone()
}

/// The routes outside the API that every listener has.
pub fn router() -> Router<App> {
    Router::new()
        .route("/health", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/domains/ask", get(previews::ask::ask))
        .route("/desktop/{token}", get(desktop))
        .route("/desktop/{token}/stream", get(viewer::stream_by_link))
        .route("/share/{token}", get(visit::show))
        .route("/share/{token}/statements/{number}", get(visit::statement))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(|headers: HeaderMap| async move { asset("docs.html", &headers) }))
        .route(
            "/assets/{*path}",
            get(|Path(path): Path<String>, headers: HeaderMap| async move { asset(&path, &headers) }),
        )
        .route("/favicon.ico", get(|headers: HeaderMap| async move { asset("icon.svg", &headers) }))
}

/// The page of a link to a screen. It may stand in a page of somebody else's: it shows that one screen, to who has
/// the link anyway.
async fn desktop(
    State(store): State<Store>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let mut page = asset("desktop.html", &headers);
    let everywhere = CSP.replace("frame-ancestors 'none'", "frame-ancestors *");
    if let Ok(policy) = HeaderValue::from_str(&everywhere) {
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    match viewer::by_link(&store, &token).await {
        Ok(_) => {}
        // The page says why.
        Err(e) => *page.status_mut() = e.status(),
    }
    page
}

async fn openapi_json(State(config): State<Arc<Config>>, headers: HeaderMap) -> Response {
    openapi_of(&config).reply(&headers)
}

/// The admin page, which may have a listener of its own.
pub fn pages() -> Router<App> {
    Router::new()
        .route(
            "/",
            get(|State(config): State<Arc<Config>>| async move {
                Redirect::temporary(&config.path("/admin"))
            }),
        )
        .route(
            "/admin",
            get(|headers: HeaderMap| async move { asset("index.html", &headers) }),
        )
        .route(
            "/admin/session",
            get(sign_in::show)
                .post(sign_in::sign_in)
                .delete(sign_in::sign_out),
        )
        .route("/admin/session/link", post(sign_in::link))
        .route("/admin/enter/{token}", get(sign_in::enter))
        .route("/admin/oidc/start", get(oidc::start))
        .route(CALLBACK, get(oidc::callback))
}

/// A file as it goes out.
pub(crate) struct Document {
    kind: &'static str,
    etag: HeaderValue,
    /// Shared by all who are sent it: whoever does not read it holds no copy.
    plain: Bytes,
    /// Empty where compressing did not help.
    gzip: Bytes,
}

impl Document {
    pub(crate) fn new(path: &str, plain: Cow<'static, [u8]>) -> Self {
        let hash = Sha256::digest(&plain);
        let tag = HEXLOWER.encode(&hash[..12]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = encoder
            .write_all(&plain)
            .and_then(|()| encoder.finish())
            .ok()
            .filter(|gzip| gzip.len() < plain.len())
            .unwrap_or_default();
        let kind = match path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("md") => "text/markdown; charset=utf-8",
            _ => "application/octet-stream",
        };
        Document {
            kind,
            etag: HeaderValue::from_str(&format!("\"{tag}\""))
                .unwrap_or(HeaderValue::from_static("\"\"")),
            plain: match plain {
                Cow::Borrowed(embedded) => Bytes::from_static(embedded),
                Cow::Owned(made) => made.into(),
            },
            gzip: gzip.into(),
        }
    }

    pub(crate) fn reply(&self, headers: &HeaderMap) -> Response {
        let lists = |name, wanted: &[u8]| {
            headers.get_all(name).into_iter().any(|value| {
                value.as_bytes().split(|byte| *byte == b',').any(|one| {
                    one.trim_ascii()
                        .strip_prefix(b"W/")
                        .unwrap_or(one.trim_ascii())
                        == wanted
                })
            })
        };
        let packed = !self.gzip.is_empty() && lists(ACCEPT_ENCODING, b"gzip");
        // A strong ETag names bytes, and the packed ones are others.
        let etag = if packed {
            let text = self.etag.to_str().unwrap_or("").trim_end_matches('"');
            HeaderValue::from_str(&format!("{text}-gz\"")).unwrap_or_else(|_| self.etag.clone())
        } else {
            self.etag.clone()
        };
        let known = lists(IF_NONE_MATCH, etag.as_bytes()) || lists(IF_NONE_MATCH, b"*");
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else if packed {
            ([(CONTENT_ENCODING, "gzip")], self.gzip.clone()).into_response()
        } else {
            self.plain.clone().into_response()
        };
        let out = response.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        out.insert(ETAG, etag);
        out.insert(VARY, HeaderValue::from_static("accept-encoding"));
        out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        out.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
        out.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The text of an embedded file.
pub(crate) fn text_of(path: &str) -> Option<String> {
    String::from_utf8(Assets::get(path)?.data.into_owned()).ok()
}

/// Every file of the embedded folder, compressed.
static FILES: LazyLock<HashMap<String, Document>> = LazyLock::new(|| {
    let load = |path: Cow<'static, str>| {
        let document = Document::new(&path, Assets::get(&path)?.data);
        Some((path.into_owned(), document))
    };
    Assets::iter().filter_map(load).collect()
});

fn asset(path: &str, headers: &HeaderMap) -> Response {
    // A debug build reads the folder itself, so that an edit shows at once.
    let reply = if cfg!(debug_assertions) {
        Assets::get(path).map(|file| Document::new(path, file.data).reply(headers))
    } else {
        FILES.get(path).map(|document| document.reply(headers))
    };
    reply.unwrap_or_else(|| Error::no_route("there is no such file on this server").into_response())
}
