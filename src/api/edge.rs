//! What every request passes on its way to the route table and back.
//!
//! [`router`] is the whole service. [`edge`] is the one place that makes request ids, asks for the
//! key, writes error bodies, sets the headers that every reply has, and logs.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::access::caller::{Identity, RequestId};
use crate::access::key::Key;
use crate::access::own_host;
use crate::access::scopes::Reach;
use crate::access::throttle::ClientIp;
use crate::api::app::App;
use crate::api::routes::{self, Route};
use crate::api::{forms, instead, manual, metrics_page, named, pages};
use crate::api_keys;
use crate::clock::Stopwatch;
use crate::error::{Carried, Error, Result};
use crate::http::etag::unless_known;
use crate::http::{Checks, Guarded, Guest, Heavy, Ignored, Recorder, check_query, in_turn};
use crate::ids::parse_uuid;
use crate::previews;
use crate::rules::hosted::{BASE, EMPTY_PRODUCTS, other_product, segments};
use crate::rules::text::nearest;

/// The whole service over `app`.
pub fn router(app: App) -> Router {
    let ids = Arc::new(RequestIds::new(&app));
    let pages = pages::pages().merge(metrics_page::router(false));
    assemble(app, ids, pages)
}

/// The service in two parts: the API, and the admin page with the metrics, which need no key there.
/// The page talks to its own origin, so the API is on that side too.
pub fn split(app: App) -> (Router, Router) {
    let ids = Arc::new(RequestIds::new(&app));
    let pages = pages::pages().merge(metrics_page::router(true));
    let api = assemble(app.clone(), ids.clone(), Router::new());
    (api, assemble(app, ids, pages))
}

fn assemble(app: App, ids: Arc<RequestIds>, pages: Router<App>) -> Router {
    app.emulator.set_routes(routes::names());
    let mut api = Router::new();
    let capabilities = Arc::new(routes::capabilities());
    let machines = app.config.engine.as_ref().map(|_| {
        let more = routes::desktops().into_iter().chain(routes::addresses());
        routes::machines().into_iter().chain(more)
    });
    for route in routes::table()
        .into_iter()
        .chain(machines.into_iter().flatten())
    {
        let looked_at = app.config.strict || app.config.virtual_clock || route.exact;
        // A body that loses a field on the way says so, and one that would restrict something is refused.
        let checks = (looked_at || route.method != Method::GET).then(|| checks(&app, &route));
        let mut handler = route.handler;
        if route.heavy != Heavy::No {
            let turn = (app.room.clone(), route.heavy);
            handler = handler.layer(from_fn_with_state(turn, in_turn));
        }
        if route.access.reach != Reach::Operator && !route.long {
            handler = handler.layer(from_fn_with_state(app.config.request_timeout, within));
        }
        if let Some(look) = route.guard {
            handler = handler.layer(axum::Extension(Guarded(look(&app))));
        }
        if let Some(checks) = checks {
            if looked_at {
                handler = handler.layer(from_fn(check_query));
            }
            handler = handler.layer(axum::Extension(checks));
        }
        if route.path.starts_with("/actions/") {
            handler = handler.layer(axum::Extension(capabilities.clone()));
        }
        api = api.route(route.path, handler.layer(axum::Extension(route.access)));
    }
    let service = Router::new()
        .nest(BASE, api.clone())
        // One client sends the prefix twice: an alias of everything.
        .nest("/api/v1/api/v1", api)
        .merge(pages::router())
        .merge(manual::routes::router())
        .merge(pages)
        .merge(crate::dev::router(&app.emulator))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            |panic: Box<dyn std::any::Any + Send>| {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("panic");
                Error::internal(format!("panic in a handler: {text}")).into_response()
            },
        ));
    let service = crate::dev::watched(service, &app.emulator)
        .layer(from_fn_with_state((app.clone(), ids), edge));
    // Before anything else: what is meant for a computer is not looked at here.
    match app.config.engine {
        Some(_) => service.layer(from_fn_with_state(app.previews.clone(), previews::dispatch)),
        None => service,
    }
    .with_state(app)
}

/// How the names that requests to a route use are looked at.
fn checks(app: &App, route: &Route) -> Checks {
    let recorder: Option<Arc<dyn Recorder>> = app
        .config
        .virtual_clock
        .then(|| Arc::new(app.emulator.clone()) as Arc<dyn Recorder>);
    Checks::new(route.known(), app.config.strict, route.exact, recorder)
}

/// Request ids: `req_`, something of this start, a running number.
struct RequestIds {
    start: i64,
    next: AtomicU64,
}

impl RequestIds {
    fn new(app: &App) -> Self {
        RequestIds {
            start: app.store.now().0,
            next: AtomicU64::new(1),
        }
    }

    fn next(&self) -> Arc<str> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        format!("req_{:x}{n:08x}", self.start).into()
    }
}

async fn edge(
    State((app, ids)): State<(App, Arc<RequestIds>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let watch = Stopwatch::start();
    let request_id = ids.next();
    let method = request.method().clone();
    let path = request.uri().path();
    // The end of such a path signs somebody in.
    let path = ["/admin/enter/", "/_dev/visit/", "/desktop/"]
        .iter()
        .find(|secret| path.starts_with(**secret))
        .map_or(path, |secret| *secret)
        .to_owned();
    let client = ClientIp::of(
        request.extensions(),
        request.headers(),
        &app.config.trusted_proxies,
    );
    let ip = client.0;
    request.extensions_mut().insert(client);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut key = None;
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let guest = request.extensions_mut().remove::<Arc<Guest>>();
    let host = own_host::check(
        request.version(),
        request.uri(),
        request.headers(),
        guest.is_some(),
        app.config.own_names(),
    );

    let in_api = path == BASE
        || path
            .strip_prefix(BASE)
            .is_some_and(|rest| rest.starts_with('/'));
    let mut response = if let Err(e) = host {
        e.into_response()
    } else if in_api {
        crate::api::socket_tenant::take(&mut request);
        let admitted = admit(&app, ip, &method, request.headers()).await;
        let checked = admitted.and_then(|found| {
            forms::check(route.as_ref(), request.uri(), request.headers()).map(|()| found)
        });
        match checked {
            Ok(found) => {
                guest.inspect(|guest| guest.is_known());
                app.repeats.passed(found.id);
                key = Some(found.clone());
                let identity = Identity {
                    key: found.clone(),
                    request_id: request_id.clone(),
                    ip,
                };
                request.extensions_mut().insert(identity);
                let ignored = Ignored::default();
                request.extensions_mut().insert(ignored.clone());
                let mut response = match named::resolve(&app, &found, &mut request).await {
                    Ok(()) => next.run(request).await,
                    Err(e) => e.into_response(),
                };
                if let Some(names) = ignored.header() {
                    response.headers_mut().insert("x-workspaced-ignored", names);
                }
                match known.filter(|_| method == Method::GET || method == Method::HEAD) {
                    Some(known) => unless_known(&known, response),
                    None => response,
                }
            }
            Err(e) => e.into_response(),
        }
    } else {
        let id = RequestId(request_id.clone());
        request.extensions_mut().insert(id);
        next.run(request).await
    };

    if let Some(key) = &key {
        let kept = app.room.lay_aside(key.tenant_id, response).await;
        response = kept.unwrap_or_else(IntoResponse::into_response);
    }
    let mut failure = None;
    if let Some(Carried(error)) = response.extensions_mut().remove::<Carried>() {
        write_error(&mut response, &error, &request_id);
        failure = error.internal_detail().map(ToOwned::to_owned);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert("x-request-id", value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if in_api {
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    app.metrics
        .count(&method, route.as_ref(), response.status(), &watch);
    log(
        &request_id,
        method.as_str(),
        &path,
        response.status(),
        &watch,
        key.as_ref().map(|k| &*k.prefix),
        ip,
        failure,
    );
    response
}

/// The key of a request, within what it and its address may ask for.
async fn admit(
    app: &App,
    ip: Option<IpAddr>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Arc<Key>> {
    app.throttle.address(ip)?;
    match app.auth.identify(&app.store, method, headers, ip).await {
        Ok(key) => {
            if app.auth.is_first_use() {
                let uses = app.auth.take_uses();
                let written = app.store.write(move |tx| api_keys::record_uses(tx, &uses));
                if let Err(e) = written.await {
                    // At worst the next start shows another key.
                    tracing::warn!(
                        error = e.message(),
                        "the first use of a key was not written"
                    );
                }
            }
            app.throttle.key(&key).map(|()| key)
        }
        Err(e) if e.status() == StatusCode::UNAUTHORIZED => Err(app.throttle.wrong_key(ip, e)),
        Err(e) => Err(e),
    }
}

/// No request may take longer; those of operators may, who ask for whole tables.
async fn within(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::unavailable(
            "the request took too long and may still be carried out; send it again with the same Idempotency-Key",
            1,
        )
        .with_code("REQUEST_TIMEOUT")
        .into_response(),
    }
}

/// The one error body, in place of the empty one that [`Error`] travels with.
fn write_error(response: &mut Response, error: &Error, request_id: &str) {
    *response.body_mut() = error.body(request_id).to_string().into();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(axum::http::header::CONTENT_LENGTH);
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status() == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one line of log, its fields side by side"
)]
fn log(
    request_id: &str,
    method: &str,
    path: &str,
    status: StatusCode,
    watch: &Stopwatch,
    key: Option<&str>,
    ip: Option<IpAddr>,
    failure: Option<String>,
) {
    let (status, us) = (status.as_u16(), watch.micros());
    let ip = ip.map(tracing::field::display);
    match failure {
        Some(detail) => tracing::error!(
            request_id,
            method,
            path,
            status,
            us,
            key,
            ip,
            detail,
            "request failed"
        ),
        None => tracing::info!(request_id, method, path, status, us, key, ip, "request"),
    }
}

async fn no_route(uri: Uri) -> Error {
    let path = uri.path();
    if without_prefix(path) {
        return Error::no_route(format!(
            "the API is below {BASE}: this is {BASE}{path}; a client that appends paths to its address needs {BASE} at \
             its end, as in MIOSA_BASE_URL=http://127.0.0.1:8400{BASE}"
        ));
    }
    if let Some((feature, instead)) = instead::of_computer(path) {
        return not_of_a_computer(feature, instead);
    }
    match other_product(path) {
        Some(feature) => not_here(feature),
        None => {
            let meant = near_route(path).map_or_else(
                || "/openapi.json lists what there is".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            Error::no_route(format!("there is no such route on this server; {meant}"))
        }
    }
}

/// Paths outside the API.
const PAGES: &[&str] = &[
    "/admin",
    "/docs",
    "/docs/manual",
    "/health",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/domains/ask",
];

/// The route that a path with one misspelt word was probably meant for.
fn near_route(path: &str) -> Option<String> {
    let asked: Vec<&str> = segments(path).collect();
    let score = |known: &str| -> Option<f64> {
        let words: Vec<&str> = segments(known).collect();
        if words.len() != asked.len() {
            return None;
        }
        let mut wrong = words.iter().zip(&asked).filter(|(word, given)| {
            let is_id = parse_uuid(given).is_some();
            if word.starts_with('{') {
                !is_id
            } else {
                word != given
            }
        });
        // An id where a word belongs, or the other way round, is no slip of the pen.
        let (word, given) = wrong.next().filter(|(word, _)| !word.starts_with('{'))?;
        (wrong.next().is_none() && nearest(given, [word]).is_some())
            .then(|| strsim::jaro_winkler(word, given))
    };
    let api = NAMES.iter().map(|(_, known)| format!("{BASE}{known}"));
    api.chain(PAGES.iter().map(ToString::to_string))
        .filter_map(|known| Some((score(&known)?, known)))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

static NAMES: LazyLock<Vec<(Method, &'static str)>> = LazyLock::new(routes::names);

/// A path of the API whose prefix was left out.
fn without_prefix(path: &str) -> bool {
    let first = segments(path).next().unwrap_or("");
    !first.is_empty()
        && !path.starts_with(BASE)
        && NAMES
            .iter()
            .any(|(_, known)| known[1..].split('/').next() == Some(first))
}

async fn no_method(method: Method, uri: Uri) -> Error {
    if let Some((feature, instead)) = instead::of_computer(uri.path()) {
        return not_of_a_computer(feature, instead);
    }
    let mut segments = segments(uri.path());
    match (segments.next(), segments.next()) {
        (Some(first), _) if EMPTY_PRODUCTS.contains(&first) => not_here(first),
        // They are listed, not made.
        (Some("api-keys"), Some("presets")) if method == Method::POST => not_here("presets"),
        _ => Error::method_not_allowed(),
    }
}

fn not_of_a_computer(feature: &str, instead: &str) -> Error {
    Error::no_route(format!(
        "{feature} of a computer is a feature of the hosted platform that is not part of this server; instead: {instead}"
    ))
}

fn not_here(feature: &str) -> Error {
    Error::no_route(format!(
        "{feature} is a feature of the hosted platform that is not part of this server; /openapi.json lists what is"
    ))
}
