//! The routes of the manual, and its search form.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::api::app::App;
use crate::api::manual::pages::{self, BASE, INDEX, Page};
use crate::api::manual::{html, search};
use crate::api::pages::Document;
use crate::rules::config::Config;

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
        .route("/docs/manual/", get(to_index))
        .route("/docs/manual/{page}", get(show))
}

async fn to_index(State(config): State<Arc<Config>>) -> Redirect {
    Redirect::temporary(&config.path(BASE))
}

/// The table of contents, or with `?q=` what the search finds.
async fn home(
    State(config): State<Arc<Config>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "q")
        .map(|(_, value)| value.trim().to_owned())
        .filter(|value| !value.is_empty());
    match asked {
        Some(asked) => {
            let hits = search::find(pages::all(), &asked);
            made(
                &config,
                StatusCode::OK,
                html::found(pages::all(), &asked, &hits),
            )
        }
        None => rendered(&config, INDEX, &headers),
    }
}

async fn show(
    State(config): State<Arc<Config>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    // As the files link to each other.
    let name = name.strip_suffix(".md").unwrap_or(&name);
    if name == INDEX {
        return to_index(State(config)).await.into_response();
    }
    rendered(&config, name, &headers)
}

fn rendered(config: &Config, name: &str, headers: &HeaderMap) -> Response {
    if !config.path("").is_empty()
        && let Some(page) = pages::all().iter().find(|page| page.name == name)
    {
        return made(config, StatusCode::OK, html::page(pages::all(), page));
    }
    match RENDERED.get(name) {
        Some(document) => with_policy(document.reply(headers)),
        None => made(
            config,
            StatusCode::NOT_FOUND,
            html::missing(pages::all(), name),
        ),
    }
}

/// A page that is made for one request. Its links stand in quotes, which texts have as entities.
fn made(config: &Config, status: StatusCode, text: String) -> Response {
    let text = text.replace("=\"/", &format!("=\"{}", config.path("/")));
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
