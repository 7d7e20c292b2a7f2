//! The addresses of a computer, and links that open what is not public.

use axum::Json;
use axum::extract::State;
use axum::http::header::{HeaderMap, LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::CookieJar;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::said;
use super::target::{DEFAULT_PORT, LOCAL};
use crate::access::caller::Caller;
use crate::access::session::{FORWARDED_PROTO, token_hash};
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::machines::inside;
use crate::computers::{Fleet, Record};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, PathId, PathWord, Reply};
use crate::ids::ComputerId;
use crate::rules::config::Config;

/// The cookie of a visitor who came by a link.
pub const COOKIE_NAME: &str = "workspaced_preview";
/// The parameter of a link.
const PARAMETER: &str = "ws_token";
/// Seconds that a link opens for unless it says otherwise, and at most.
const USUAL_TTL: i64 = 3600;
const LONGEST_TTL: i64 = 30 * 86_400;
/// Links of a computer that are open at the same time.
const MOST: i64 = 100;

/// An address of a computer.
#[derive(Serialize, ToSchema)]
pub struct Address {
    port: u16,
    protocol: &'static str,
    /// By which it is reached.
    url: String,
    visibility: String,
}

/// The addresses of a computer.
#[derive(Serialize, ToSchema)]
pub struct AddressList {
    data: Vec<Address>,
}

/// `POST /computers/{id}/preview-links`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct LinkRequest {
    /// The port; 3000 if none is named
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// Seconds that it opens for; an hour if none are named
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub ttl_seconds: Option<i64>,
}

/// A link that opens what is not public.
#[derive(Serialize, ToSchema)]
pub struct Link {
    /// Whoever has it can look, until then.
    url: String,
    port: u16,
    expires_at: Timestamp,
}

/// By which a port is reached.
pub fn url(config: &Config, computer: &Record, port: u16) -> String {
    let given = computer.domain.as_deref();
    let public = config.public_url.as_ref();
    // Behind a proxy with a name, by the domain that holds for it; else on this machine, where browsers know the way.
    match (given, public) {
        (None, None) => {
            format!(
                "http://{port}-{}.sandbox.{LOCAL}:{}",
                computer.slug, config.port
            )
        }
        (domain, _) => {
            let domain = domain.unwrap_or(&config.base_domain);
            format!("https://{port}-{}.sandbox.{domain}", computer.slug)
        }
    }
}

/// `GET /computers/{id}/urls`
pub async fn addresses(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<AddressList>> {
    let (_, computer) = inside::machine(&store, caller, id).await?;
    let data = vec![of(&fleet.config, &computer, DEFAULT_PORT)];
    Ok(Json(AddressList { data }))
}

fn of(config: &Config, computer: &Record, port: u16) -> Address {
    Address {
        port,
        protocol: "http",
        url: url(config, computer, port),
        visibility: computer.visibility.clone(),
    }
}

/// `GET /computers/{id}/ports/{port}/url`
pub async fn address(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathWord(id, port): PathWord<ComputerId>,
) -> Result<Json<Address>> {
    let (_, computer) = inside::machine(&store, caller, id).await?;
    let port = said::in_path(&port)?;
    let mut found = of(&fleet.config, &computer, port);
    let given = store.read(move |tx| said::visibility(tx, id, port));
    if let Some(given) = given.await? {
        found.visibility = given;
    }
    Ok(Json(found))
}

/// `POST /computers/{id}/preview-links`
pub async fn link(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<LinkRequest>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let port = u16::try_from(input.port.unwrap_or(i64::from(DEFAULT_PORT)));
            let port = port.ok().filter(|port| *port > 0);
            if port.is_none() {
                fields.push("port", "must be a whole number from 1 to 65535");
            }
            let ttl = input.ttl_seconds.unwrap_or(USUAL_TTL);
            if !(60..=LONGEST_TTL).contains(&ttl) {
                fields.push("ttl_seconds", format!("must be from 60 to {LONGEST_TTL}"));
            }
            fields.finish()?;
            let port = port.unwrap_or(DEFAULT_PORT);
            tx.run("DELETE FROM preview_links WHERE expires_at <= ?1", [tx.now()])?;
            let open: i64 = tx.row(
                "SELECT count(*) FROM preview_links WHERE computer_id = ?1",
                [id],
                |row| row.get(0),
            )?;
            if open >= MOST {
                return Err(Error::conflict(
                    "TOO_MANY_LINKS",
                    format!("{MOST} links to this computer are open; they end by themselves"),
                ));
            }
            let token = HEXLOWER.encode(&tx.random::<24>()?);
            let expires_at = tx.now().plus_seconds(ttl);
            tx.run(
                "INSERT INTO preview_links (secret_hash, tenant_id, computer_id, expires_at) VALUES (?1, ?2, ?3, ?4)",
                (token_hash(&token), computer.tenant_id, id, expires_at),
            )?;
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(caller),
                    tenant_id: computer.tenant_id,
                    workspace_id: Some(computer.workspace_id),
                    kind: "computer.preview_link_created",
                    resource: id.0,
                    before: audit::NONE,
                    after: Some(&serde_json::json!({ "port": port, "expires_at": expires_at })),
                },
            )?;
            let url = format!("{}/?{PARAMETER}={token}", url(&fleet.config, &computer, port));
            Ok(Reply::created(Link {
                url,
                port,
                expires_at,
            }))
        })
        .await
}

/// Whether a link opens this computer.
pub async fn opens(store: &Store, id: ComputerId, token: &str) -> Result<bool> {
    let hash = token_hash(token);
    store
        .look_up(move |tx| {
            let sql = "SELECT EXISTS (SELECT 1 FROM preview_links
                 WHERE secret_hash = ?1 AND computer_id = ?2 AND expires_at > ?3)";
            Ok(tx.row(sql, (hash, id, tx.now()), |row| row.get(0))?)
        })
        .await
}

/// The token of a link, and the address without it.
pub fn in_query(uri: &Uri) -> Option<(String, String)> {
    let query = uri.query()?;
    let mut token = None;
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((PARAMETER, value)) => token = Some(value.to_owned()),
            _ => rest.push(pair),
        }
    }
    let rest = rest.join("&");
    let mark = if rest.is_empty() { "" } else { "?" };
    // One slash: two would be the name of another host.
    let path = format!("/{}", uri.path().trim_start_matches('/'));
    token.map(|token| (token, format!("{path}{mark}{rest}")))
}

pub fn in_cookie(headers: &HeaderMap) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    jar.get(COOKIE_NAME).map(|cookie| cookie.value().to_owned())
}

/// Sends a visitor on to the address without the token, which a cookie of this host keeps instead.
pub fn welcome(token: &str, rest: &str, headers: &HeaderMap) -> Response {
    let secure = headers
        .get(FORWARDED_PROTO)
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Lax{secure}");
    let mut response = StatusCode::SEE_OTHER.into_response();
    for (name, value) in [(SET_COOKIE, cookie), (LOCATION, rest.to_owned())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_its_address_and_nowhere_else() {
        let split = |uri: &'static str| in_query(&Uri::from_static(uri));
        assert_eq!(
            split("/a?x=1&ws_token=t&y=2"),
            Some(("t".into(), "/a?x=1&y=2".into()))
        );
        assert_eq!(split("/?ws_token=t"), Some(("t".into(), "/".into())));
        assert_eq!(
            split("//evil.example/?ws_token=t").unwrap().1,
            "/evil.example/"
        );
        assert_eq!(split("/?x=ws_token"), None);
    }
}
