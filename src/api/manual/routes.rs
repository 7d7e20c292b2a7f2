//! The routes of the manual, and its search form.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::api::app::App;
use crate::api::manual::pages::{self, BASE, INDEX, Page};
use crate::api::manual::{html, search};
use crate::api::pages::Document;

/// As the other pages, but the search form may be sent to this server.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

static RENDERED: LazyLock<BTreeMap<&str, Document>> = LazyLock::new(|| {
    let render = |page: &'static Page| {
        let text = html::page(pages::all(), page);
        (
            page.name.as_str(),
            Document::new("page.html", text.into_bytes().into()),
        )
    };
    pages::all().iter().map(render).collect()
});

/// The routes.
pub fn router() -> Router<App> {
    Router::new()
        .route(BASE, get(home))
        .route("/docs/manual/", get(|| async { Redirect::temporary(BASE) }))
        .route("/docs/manual/{page}", get(show))
}

/// The table of contents, or with `?q=` what the search finds.
async fn home(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "q")
        .map(|(_, value)| value.trim().to_owned())
        .filter(|value| !value.is_empty());
    match asked {
        Some(asked) => {
            let hits = search::find(pages::all(), &asked);
            made(StatusCode::OK, html::found(pages::all(), &asked, &hits))
        }
        None => rendered(INDEX, &headers),
    }
}

async fn show(Path(name): Path<String>, headers: HeaderMap) -> Response {
    // As the files link to each other.
    let name = name.strip_suffix(".md").unwrap_or(&name);
    if name == INDEX {
        return Redirect::temporary(BASE).into_response();
    }
    rendered(name, &headers)
}

fn rendered(name: &str, headers: &HeaderMap) -> Response {
    match RENDERED.get(name) {
        Some(document) => with_policy(document.reply(headers)),
        None => made(StatusCode::NOT_FOUND, html::missing(pages::all(), name)),
    }
}

/// A page that is made for one request.
fn made(status: StatusCode, text: String) -> Response {
    let document = Document::new("page.html", text.into_bytes().into());
    let mut response = with_policy(document.reply(&HeaderMap::new()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with_policy(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    response
}
