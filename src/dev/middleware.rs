//! What every request of the API passes in the emulator: fault rules on its way, and the record of
//! what the application used.

use std::borrow::Cow;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::emulator::Emulator;
use super::faults::{Effect, Fired, Subject, When, places};
use crate::access::caller::Identity;
use crate::error::{Error, Result};
use crate::http::{Cut, MAX_BODY, read_body};
use crate::ids::parse_uuid;
use crate::rules::hosted::BASE;

/// Names the rule behind an answer, so that nobody is puzzled.
const FAULT: HeaderName = HeaderName::from_static("x-workspaced-fault");

/// The service with the emulator's eye on it; unchanged where there is no emulator.
pub(crate) fn watched<S>(service: Router<S>, dev: &Emulator) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    if !dev.fleet.config.virtual_clock {
        return service;
    }
    service.layer(from_fn_with_state(dev.clone(), watch))
}

async fn watch(State(dev): State<Emulator>, request: Request, next: Next) -> Response {
    // Put there for requests of the API only, after their key has been found.
    let Some(identity) = request.extensions().get::<Identity>().cloned() else {
        return next.run(request).await;
    };
    let method = request.method().clone();
    let asked = request.uri().path().to_owned();
    let agent = request
        .headers()
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    let pattern = request.extensions().get::<MatchedPath>();
    let path = pattern.and_then(|pattern| {
        let path = pattern.as_str().trim_start_matches(BASE);
        let served = dev.routes().iter().find(|(m, p)| {
            let same = *m == method || (*m == Method::GET && method == Method::HEAD);
            same && *p == path
        });
        served.map(|(_, path)| *path)
    });
    let response = match path {
        Some(path) if dev.faults.any() => {
            let subject = Subject {
                method: &method,
                path,
                key: &identity.key,
            };
            spoil(&dev, &subject, &identity, request, next)
                .await
                .unwrap_or_else(IntoResponse::into_response)
        }
        _ => next.run(request).await,
    };
    let status = (response.extensions().get::<Cut>().is_none()).then(|| response.status());
    dev.compat
        .answered(&method, path, &asked, status, agent.as_deref());
    response
}

/// Runs a request under the rules.
async fn spoil(
    dev: &Emulator,
    subject: &Subject<'_>,
    identity: &Identity,
    mut request: Request,
    next: Next,
) -> Result<Response> {
    let now = dev.store.now();
    let mut concerned = Vec::new();
    if dev.faults.asks_for_workspace(subject, now) {
        let (names, row);
        (request, names, row) = named(dev, subject, request).await?;
        let key = identity.key.clone();
        concerned = dev
            .store
            .look_up(move |tx| places(tx, &key, names, row))
            .await?;
    }
    let Some(Fired { rule, when, effect }) = dev.faults.decide(subject, &concerned, now) else {
        return Ok(next.run(request).await);
    };
    tracing::warn!(
        request_id = &*identity.request_id,
        rule,
        ?when,
        status = effect.status,
        delay_ms = effect.delay_ms,
        drop = effect.drop,
        "fault rule: a request"
    );
    let executed = match when {
        When::Before if effect.status.is_some() || effect.drop => None,
        When::Before => {
            delay(&effect).await;
            Some(next.run(request).await)
        }
        When::After => Some(next.run(request).await),
    };
    if when == When::After || executed.is_none() {
        delay(&effect).await;
    }
    let mut response = answer(&rule, when, effect, executed);
    if let Ok(value) = HeaderValue::from_str(&rule) {
        response.headers_mut().insert(FAULT, value);
    }
    Ok(response)
}

async fn delay(effect: &Effect) {
    if let Some(ms) = effect.delay_ms {
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
    }
}

/// What is sent, in place of the answer of the request if it was executed.
fn answer(rule: &str, when: When, effect: Effect, executed: Option<Response>) -> Response {
    if effect.drop {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(Cut);
        return response;
    }
    let status = effect.status.and_then(|s| StatusCode::from_u16(s).ok());
    let (status, executed) = match (status, executed) {
        (None, Some(response)) => return response,
        (status, executed) => (status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), executed),
    };
    drop(executed);
    let code = match (effect.code, status.as_u16()) {
        (Some(code), _) => Cow::Owned(code),
        (None, 401) => "invalid_token".into(),
        (None, 403) => "FORBIDDEN".into(),
        (None, 404) => "NOT_FOUND".into(),
        (None, 422) => "VALIDATION_FAILED".into(),
        (None, 429) => "rate_limit_exceeded".into(),
        (None, 500) => "INTERNAL_ERROR".into(),
        (None, 503) => "UNAVAILABLE".into(),
        (None, _) => "FAULT_INJECTED".into(),
    };
    let what = match when {
        When::Before => "the request was not executed",
        When::After => "the request was executed, only its answer is lost",
    };
    let message = format!("fault rule {rule} of /_dev/faults: {what}");
    Error::injected(status, code, message, effect.retry_after).into_response()
}

/// What a request says about its workspace: names of it, and a row that lies in it. The body is put
/// back as it was.
async fn named(
    dev: &Emulator,
    subject: &Subject<'_>,
    request: Request,
) -> Result<(Request, Vec<String>, Option<(&'static str, uuid::Uuid)>)> {
    let (parts, body) = request.into_parts();
    let mut names = Vec::new();
    let is_name = |name: &str| {
        matches!(
            name,
            "workspace_id" | "workspace_slug" | "workspaceId" | "workspaceSlug"
        )
    };
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()) {
        if is_name(&name) {
            names.push(value.to_lowercase());
        }
    }
    let mut row = None;
    if let Some((kind, _)) = subject.path[1..].split_once("/{id}") {
        let mut segments = parts.uri.path().trim_start_matches(BASE).split('/');
        let id = segments.find_map(parse_uuid);
        match (kind, id) {
            ("workspaces", Some(id)) => names.push(id.to_string()),
            ("computers", Some(id)) => row = Some(("computers", id)),
            ("projects", Some(id)) => row = Some(("projects", id)),
            _ => {}
        }
    }
    let mut body = body;
    if *subject.method != Method::GET {
        let patience = dev.fleet.config.request_timeout;
        let bytes = read_body(
            &parts,
            body,
            MAX_BODY.max(crate::usage::reports::ingest::MAX_BODY),
            patience,
        )
        .await?;
        if let Ok(Value::Object(map)) = serde_json::from_slice(&bytes) {
            let given = map.iter().filter(|(name, _)| is_name(name));
            names.extend(given.filter_map(|(_, value)| value.as_str().map(str::to_lowercase)));
        }
        body = Body::from(bytes);
    }
    Ok((Request::from_parts(parts, body), names, row))
}
