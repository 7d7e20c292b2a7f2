//! `/admin/session`: signing in to the admin page, and out.

use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Redirect};

use super::app::App;
use crate::access::auth::shown_key;
use crate::access::key::hash;
use crate::access::session::{HEADER, WHOLE_MS, find, start_for, token_hash};

/// Bytes of a sign-in body that are read.
const MAX_BODY: usize = 4096;

use crate::access::caller::{Caller, RequestId};
use crate::access::key::DEV_KEY;
use crate::access::key::Key;
use crate::access::key::KeyType;
use crate::access::key::find_key;
use crate::access::person::Person;
use crate::access::throttle::ClientIp;
use crate::audit::{self, Actor, Entry, NONE};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::{body_patience, read_body};
use crate::ids::ApiKeyId;
use crate::ids::TenantId;
use crate::ids::WorkspaceId;
use crate::store::WriteTx;
use axum::extract::Request;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use rusqlite::OptionalExtension;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;
use std::net::IpAddr;

/// `GET /admin/session`: what the page must know before anybody has signed in.
#[derive(Serialize)]
struct Who {
    signed_in: bool,
    version: &'static str,
    /// Development mode: the fixed key that everybody knows.
    dev_key: Option<&'static str>,
    /// The provider with which people sign in by name, for the button.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    expires_at: Option<Timestamp>,
    key: Option<WhoKey>,
}

#[derive(Serialize)]
struct WhoKey {
    id: ApiKeyId,
    key_prefix: String,
    /// Who signed in by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Person>,
    key_type: KeyType,
    operator: bool,
    scopes: Vec<String>,
    tenant_id: TenantId,
    tenant_slug: String,
    workspace_id: Option<WorkspaceId>,
    external_user_id: Option<String>,
    expires_at: Option<Timestamp>,
}

impl Who {
    fn new(app: &App, found: Option<(&Key, Timestamp)>) -> Self {
        let (key, expires_at) = found.unzip();
        Who {
            signed_in: key.is_some(),
            version: env!("CARGO_PKG_VERSION"),
            dev_key: app.config.dev.then_some(DEV_KEY),
            provider: app.config.oidc.as_ref().map(|oidc| oidc.name().to_owned()),
            expires_at,
            key: key.map(|key| WhoKey {
                id: key.id,
                key_prefix: key.prefix.clone(),
                person: key.person.clone(),
                key_type: key.key_type,
                operator: key.operator,
                scopes: key.scopes.clone(),
                tenant_id: key.tenant_id,
                tenant_slug: key.tenant_slug.clone(),
                workspace_id: key.workspace_id,
                external_user_id: key.external_user_id.clone(),
                expires_at: key.expires_at,
            }),
        }
    }
}

/// `GET /admin/session`
pub async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Response> {
    let token = app
        .auth
        .cookies
        .token(&headers)
        .map(|token| token_hash(&token));
    let found = match token {
        Some(hash) => app.store.read(move |tx| find(tx, &hash)).await?,
        None => None,
    };
    let found = found.as_ref();
    let found = found.map(|(key, session)| (key, session.expires_at));
    Ok(no_store(Json(Who::new(&app, found)).into_response()))
}

#[derive(Deserialize)]
struct SignIn {
    key: String,
}

/// `POST /admin/session`
pub async fn sign_in(State(app): State<App>, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    // Also here: another site must not sign a person in under a key of its own.
    if !parts.headers.contains_key(HEADER) {
        return Err(Error::denied(
            "FORBIDDEN",
            "signing in needs the header X-Workspaced-Admin: 1",
        ));
    }
    app.auth
        .cookies
        .check_origin(&parts.method, &parts.headers)?;
    let patience = body_patience(app.config.request_timeout);
    let bytes = read_body(&parts, body, MAX_BODY, patience).await?;
    let SignIn { key } = serde_json::from_slice(&bytes)
        .map_err(|_| Error::field("key", "send {\"key\": \"msk_...\"}"))?;
    let request_id = parts.extensions.get::<RequestId>().cloned();
    let request_id = request_id.map_or_else(|| "".into(), |id| id.0);
    let ip = parts
        .extensions
        .get::<ClientIp>()
        .and_then(|client| client.0);
    let now = app.store.now();
    let secret = hash(key.trim());
    let found = app.store.read(move |tx| find_key(tx, &secret)).await?;
    let usable = |key: &Key| key.expires_at.is_none_or(|at| at > now) && !key.replaced;
    let Some(key) = found.filter(usable) else {
        // Only after the look-up: a right key passes however many wrong ones came from its address.
        app.wrong_keys.admit(ip, now)?;
        app.wrong_keys.failed(ip, now);
        if app.wrong_keys.may_note(now) {
            let noted = app
                .store
                .write(move |tx| note_failure(tx, &secret, ip, None));
            noted.await?;
        }
        return Err(Error::unauthorized(
            "this key is unknown, revoked, replaced or expired",
        ));
    };
    if let Err(e) = key.check_address(ip) {
        if app.wrong_keys.may_note(now) {
            let why = Some("the key is bound to other addresses");
            let noted = app
                .store
                .write(move |tx| note_failure(tx, &secret, ip, why));
            noted.await?;
        }
        return Err(e);
    }
    app.wrong_keys.succeeded(ip);

    let (caller, token, end) = app
        .store
        .write(move |tx| {
            let caller = Caller::signing_in(key, request_id, ip);
            let (token, end) = begin(tx, &caller, &secret, None)?;
            Ok((caller, token, end))
        })
        .await?;
    let (cookies, headers) = (&app.auth.cookies, &parts.headers);
    let secure = cookies.is_secure(headers);
    let mut response = Json(Who::new(&app, Some((caller.key(), end)))).into_response();
    cookies.set(&mut response, headers, secure, &token, WHOLE_MS / 1000)?;
    Ok(no_store(response))
}

/// A new session, which is told; it lasts for so long at most.
pub(super) fn begin(
    tx: &WriteTx<'_>,
    caller: &Caller,
    secret: &[u8; 32],
    whole_ms: Option<i64>,
) -> Result<(String, Timestamp)> {
    let entry = Entry {
        actor: Actor::Key(caller),
        tenant_id: caller.tenant_id(),
        workspace_id: caller.only_workspace(),
        kind: "api_key.signed_in",
        resource: caller.key_id().0,
        before: NONE,
        after: NONE,
    };
    audit::record(tx, &entry)?;
    start_for(tx, caller.key_id(), secret, whole_ms)
}

/// Tells an organization that somebody did not come in: that of the key, or where there is no such key, the
/// first one, which is that of whoever runs the installation. What was typed is written nowhere.
fn note_failure(
    tx: &WriteTx<'_>,
    secret: &[u8; 32],
    ip: Option<IpAddr>,
    why: Option<&str>,
) -> Result<()> {
    let sql = "SELECT id, tenant_id, workspace_id, status, secret_hash = ?1 FROM api_keys
             WHERE secret_hash = ?1 OR previous_secret_hash = ?1";
    let found = tx
        .row(sql, [secret], |row| {
            Ok((
                row.get::<_, ApiKeyId>(0)?,
                row.get::<_, TenantId>(1)?,
                row.get::<_, Option<WorkspaceId>>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, bool>(4)?,
            ))
        })
        .optional()?;
    let (kind, tenant_id, workspace_id, resource, reason) = match found {
        Some((id, tenant, workspace, status, current)) => {
            let reason = match (why, status.as_str(), current) {
                (Some(why), _, _) => why,
                (None, "active", true) => "the key has expired",
                (None, "active", false) => "the secret was replaced",
                (None, "disabled", _) => "the key is disabled",
                _ => "the key is revoked",
            };
            ("api_key.sign_in_failed", tenant, workspace, id.0, reason)
        }
        None => {
            let sql = "SELECT id FROM tenants ORDER BY id LIMIT 1";
            let Some(first) = tx
                .row(sql, [], |row| row.get::<_, TenantId>(0))
                .optional()?
            else {
                return Ok(());
            };
            let reason = "there is no such key";
            ("organization.sign_in_failed", first, None, first.0, reason)
        }
    };
    audit::record(
        tx,
        &Entry {
            actor: Actor::Stranger(ip),
            tenant_id,
            workspace_id,
            kind,
            resource,
            before: NONE,
            after: Some(&json!({ "reason": reason, "ip_address": ip })),
        },
    )
}

/// `POST /admin/session/link`: a link that signs in whoever opens it first, for who shows a key.
pub async fn link(State(app): State<App>, request: Request) -> Result<Response> {
    let (parts, _) = request.into_parts();
    let ip = parts
        .extensions
        .get::<ClientIp>()
        .and_then(|client| client.0);
    app.throttle.address(ip)?;
    let secret = shown_key(&parts.headers)?;
    let found = app
        .auth
        .identify(&app.store, &parts.method, &parts.headers, ip);
    let key = match found.await {
        Err(e) if e.status() == StatusCode::UNAUTHORIZED => {
            return Err(app.throttle.wrong_key(ip, e));
        }
        found => found?,
    };
    app.throttle.key(&key)?;
    let random = app.store.write(|tx| Ok(tx.random::<32>()?)).await?;
    let token = app.links.make((key.id, secret), random, app.store.now());
    let token = token.ok_or_else(|| {
        Error::unavailable(
            "too many links wait for somebody to open them; try again in a minute",
            60,
        )
    })?;
    Ok(no_store(
        Json(json!({ "path": format!("/admin/enter/{token}") })).into_response(),
    ))
}

/// `GET /admin/enter/{token}`: to the admin page, signed in the first time.
pub async fn enter(
    State(app): State<App>,
    Path(token): Path<String>,
    Extension(client): Extension<ClientIp>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response> {
    // No page of another site signs a person in under a key of its own.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"none" && site != b"same-origin") {
        return Err(Error::denied(
            "FORBIDDEN",
            "another site led here: open the link itself",
        ));
    }
    // Who comes again is signed in already, or signs in by hand.
    let mut response = Redirect::to(&app.config.path("/admin")).into_response();
    if let Some((key, secret)) = app.links.take(&token, app.store.now()) {
        let session = app.store.write(move |tx| {
            // It may have been replaced since the link was made.
            let Some(found) =
                find_key(tx, &secret)?.filter(|found| found.id == key && !found.replaced)
            else {
                return Ok(None);
            };
            found.check_address(client.0)?;
            let caller = Caller::signing_in(found, request.0, client.0);
            begin(tx, &caller, &secret, None).map(Some)
        });
        let Some((token, _)) = session.await? else {
            return Ok(no_store(response));
        };
        let cookies = &app.auth.cookies;
        let secure = cookies.is_secure(&headers);
        cookies.set(&mut response, &headers, secure, &token, WHOLE_MS / 1000)?;
    }
    Ok(no_store(response))
}

/// `DELETE /admin/session`
pub async fn sign_out(State(app): State<App>, request: Request) -> Result<Response> {
    let (parts, _) = request.into_parts();
    app.auth
        .cookies
        .check_origin(&parts.method, &parts.headers)?;
    if let Some(hash) = app
        .auth
        .cookies
        .token(&parts.headers)
        .map(|token| token_hash(&token))
    {
        let sql = "DELETE FROM sessions WHERE token_hash = ?1";
        app.store.write(move |tx| Ok(tx.run(sql, [hash])?)).await?;
        app.streams.recheck();
    }
    let mut response = Json(json!({ "signed_out": true })).into_response();
    for secure in [false, true] {
        app.auth
            .cookies
            .set(&mut response, &parts.headers, secure, "", 0)?;
    }
    Ok(no_store(response))
}

pub(super) fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
