//! `/admin/oidc`: signing in by name, to the provider and back.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::json;

use super::app::App;
use super::csp::CSP;
use super::sign_in::{begin, no_store};
use crate::access::caller::{Caller, RequestId};
use crate::access::key::find_organization;
use crate::access::oidc::{Admitted, Answer, Arrival, Fault, GOOD_MS, Provider};
use crate::access::person::Person;
use crate::access::session::WHOLE_MS;
use crate::access::throttle::ClientIp;
use crate::api_keys::people;
use crate::audit::{self, Actor, Entry, NONE};
use crate::billing::html::text;
use crate::error::{Error, Result};
use crate::http::Params;
use crate::ids::TenantId;
use crate::rules::config::Config;
use crate::store::{Tx, WriteTx};
use crate::tenants;

fn provider(app: &App) -> Result<Arc<Provider>> {
    app.oidc.clone().ok_or_else(|| {
        Error::no_route("nobody signs in by name here: --oidc-issuer is not configured")
    })
}

/// `GET /admin/oidc/start`: to the provider.
pub async fn start(
    State(app): State<App>,
    Extension(client): Extension<ClientIp>,
    headers: HeaderMap,
) -> Result<Response> {
    let provider = provider(&app)?;
    // A sign-in is begun by the person, not by a page of another site.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"none" && site != b"same-origin") {
        return Err(Error::denied(
            "FORBIDDEN",
            "another site led here: begin on the sign-in page",
        ));
    }
    app.throttle.address(client.0)?;
    let random = app.store.write(|tx| Ok(tx.random::<64>()?)).await?;
    let begun = match provider.begin(random, app.store.now()).await {
        Ok(begun) => begun,
        Err(fault) => return Ok(sorry(&app.config, &fault)),
    };
    let mut response = Redirect::to(&begun.location).into_response();
    let cookies = &app.auth.cookies;
    cookies.set_attempt(&mut response, &headers, &begun.cookie, GOOD_MS / 1000)?;
    Ok(private(response))
}

/// `GET /admin/oidc/callback`: back from the provider, to the admin page and nowhere else.
pub async fn callback(
    State(app): State<App>,
    Extension(client): Extension<ClientIp>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    answer: Params<Answer>,
) -> Result<Response> {
    let provider = provider(&app)?;
    app.throttle.address(client.0)?;
    let cookies = &app.auth.cookies;
    let cookie = cookies.attempt(&headers);
    let (now, wall) = (app.store.now(), app.store.clock().wall());
    let arrived = match answer.get() {
        Ok(answer) => provider.finish(cookie.as_deref(), answer, now, wall).await,
        Err(_) => Err(Fault::Attempt("the provider broke it off")),
    };
    let entered = match arrived {
        Ok(arrival) => enter(&app, &provider, arrival, request.0, client.0).await?,
        Err(fault) => Err(fault),
    };
    let mut response = match entered {
        Ok((token, age_ms)) => {
            let mut response = Redirect::to(&app.config.path("/admin")).into_response();
            let secure = cookies.is_secure(&headers);
            cookies.set(&mut response, &headers, secure, &token, age_ms / 1000)?;
            response
        }
        Err(fault) => sorry(&app.config, &fault),
    };
    // Whatever came of it, this attempt is over.
    cookies.set_attempt(&mut response, &headers, "", 0)?;
    Ok(private(response))
}

/// The session of somebody who has arrived, and how long its cookie is kept.
async fn enter(
    app: &App,
    provider: &Provider,
    arrival: Arrival,
    request_id: Arc<str>,
    ip: Option<IpAddr>,
) -> Result<Result<(String, i64), Fault>> {
    let Arrival { person, admitted } = arrival;
    let whole_ms = i64::try_from(provider.settings.session.as_millis()).unwrap_or(WHOLE_MS);
    let refused = match admitted {
        Err(fault) => fault,
        Ok(admitted) => {
            let who = person.clone();
            let come_in = app
                .store
                .write(move |tx| come_in(tx, &who, &admitted, whole_ms, (request_id, ip)));
            match come_in.await {
                Ok(token) => return Ok(Ok((token, whole_ms))),
                Err(e) if e.status() == StatusCode::FORBIDDEN => {
                    Fault::Denied(e.message().to_owned())
                }
                Err(e) => return Err(e),
            }
        }
    };
    if app.wrong_keys.may_note(app.store.now()) {
        let reason = refused.text();
        let noted = app.store.write(move |tx| note(tx, &person, &reason, ip));
        noted.await?;
    }
    Ok(Err(refused))
}

fn come_in(
    tx: &WriteTx<'_>,
    person: &Person,
    admitted: &Admitted,
    whole_ms: i64,
    (request_id, ip): (Arc<str>, Option<IpAddr>),
) -> Result<String> {
    let tenant = organization(tx, person, admitted.organization.as_deref())?;
    let (key, secret) = people::arrive(tx, tenant, person, &admitted.roles)?;
    key.check_address(ip)?;
    let caller = Caller::signing_in(key, request_id, ip);
    let (token, _) = begin(tx, &caller, &secret, Some(whole_ms))?;
    Ok(token)
}

fn organization(tx: &Tx<'_>, person: &Person, slug: Option<&str>) -> Result<TenantId> {
    let found = match slug {
        Some(slug) => find_organization(tx, slug)?.map(|(id, _)| id),
        None => tenants::all(tx)?.first().map(|tenant| tenant.id),
    };
    found.ok_or_else(|| {
        let named = slug.unwrap_or("the first one");
        Error::denied(
            "FORBIDDEN",
            format!(
                "{} is known to the sign-in provider, but there is no organization {named:?} here. Ask whoever runs this installation.",
                person.shown()
            ),
        )
    })
}

/// Tells the first organization, which is that of whoever runs the installation, that somebody did not come in.
fn note(tx: &WriteTx<'_>, person: &Person, reason: &str, ip: Option<IpAddr>) -> Result<()> {
    let Some(first) = tenants::all(tx)?.first().map(|tenant| tenant.id) else {
        return Ok(());
    };
    let after = json!({ "reason": reason, "ip_address": ip, "person": person });
    let entry = Entry {
        actor: Actor::Stranger(ip),
        tenant_id: first,
        workspace_id: None,
        kind: "organization.sign_in_failed",
        resource: first.0,
        before: NONE,
        after: Some(&after),
    };
    audit::record(tx, &entry)
}

/// The page that says why not, and leads back to the sign-in with a key.
fn sorry(config: &Config, fault: &Fault) -> Response {
    let status = match fault {
        Fault::Provider(why) => {
            tracing::warn!(why, "the sign-in provider cannot be used");
            StatusCode::BAD_GATEWAY
        }
        Fault::Attempt(_) => StatusCode::BAD_REQUEST,
        Fault::Token(why) => {
            tracing::warn!(why, "an ID token was not believed");
            StatusCode::FORBIDDEN
        }
        Fault::Denied(_) => StatusCode::FORBIDDEN,
        Fault::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let [style, icon, admin] =
        ["/assets/style.css", "/assets/icon.svg", "/admin"].map(|path| config.path(path));
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Not signed in · workspaced</title>\
         <link rel=\"icon\" href=\"{icon}\"><link rel=\"stylesheet\" href=\"{style}\"></head><body><main id=\"main\">\
         <div class=\"signin\"><img src=\"{icon}\" alt=\"\" width=\"44\" height=\"44\"><h1>Not signed in</h1>\
         <p role=\"alert\"><bdi>{}</bdi></p><p><a class=\"button primary\" href=\"{admin}\">Back to the sign-in page</a></p>\
         <p class=\"hint\">Signing in with an API key works whatever the provider does.</p></div></main></body></html>\n",
        text(&fault.text())
    );
    private((status, Html(page)).into_response())
}

/// Nobody keeps it, and nobody is told where it was.
fn private(response: Response) -> Response {
    let mut response = no_store(response);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
