//! Links to the screen of a computer, for who has no key: the table `desktop_links`. One opens this one screen and
//! nothing else, until it is over, is taken back, or the key that made it opens the computer no more.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::super::inside;
use crate::access::caller::Caller;
use crate::access::key::Key;
use crate::access::scopes::covers;
use crate::access::session::token_hash;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::{self, Fleet, Record};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, NoBody, Param, Params, PathId, PathIds, Reply};
use crate::ids::{ComputerId, DesktopLinkId};
use crate::rules::config::Config;
use crate::store::{Tx, WriteTx};

/// What it takes to make one, and to go on looking by one.
pub const SCOPE: &str = "computers:desktop";
/// Seconds that a link opens for unless it says otherwise, at least and at most.
const USUAL_TTL: i64 = 3600;
const SHORTEST_TTL: i64 = 10;
const LONGEST_TTL: i64 = 30 * 86_400;
/// Links of a computer that are open at the same time.
const MOST: i64 = 100;

/// `POST /computers/{id}/desktop-links`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct MakeDesktopLink {
    /// Whoever has it can look, but not touch; true if left out
    pub view_only: Option<bool>,
    /// Seconds that it opens for; an hour if left out
    #[schema(minimum = 10, maximum = 2_592_000)]
    pub ttl_seconds: Option<i64>,
}

/// `GET /computers/{id}/embed`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct EmbedQuery {
    /// Seconds that it opens for, 10 to 2592000; an hour if left out
    #[param(value_type = Option<i64>)]
    pub ttl: Option<String>,
    /// view or control
    pub mode: Option<String>,
    /// true or false; instead of a mode
    pub view_only: Param<bool>,
}

/// A link, without its secret.
#[derive(Serialize, ToSchema)]
pub struct DesktopLink {
    id: DesktopLinkId,
    computer_id: ComputerId,
    /// Whoever has it can look, but not touch.
    pub view_only: bool,
    created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Links of a computer that are open.
#[derive(Serialize, ToSchema)]
pub struct DesktopLinkList {
    data: Vec<DesktopLink>,
}

/// A link as it is shown once.
#[derive(Serialize, ToSchema)]
pub struct MadeDesktopLink {
    #[serde(flatten)]
    link: DesktopLink,
    /// `view` or `control`.
    mode: &'static str,
    /// A page with the screen, which may stand in a page of yours; whoever has it can look, until then.
    url: String,
    /// The screen itself: RFB over a WebSocket, for a viewer of yours.
    websocket_url: String,
    /// The secret in both.
    token: String,
}

/// A link that does not open any more.
#[derive(Serialize, ToSchema)]
pub struct RevokedDesktopLink {
    revoked: bool,
}

/// `GET /computers/{id}/vnc-credentials`
#[derive(Serialize, ToSchema)]
pub struct VncCredentials {
    computer_id: ComputerId,
    /// There is none: a key or a link is what opens it.
    password: Option<String>,
    /// The screen itself: RFB over a WebSocket, with a key.
    websocket_path: String,
    protocol: &'static str,
}

/// `GET /computers/{id}/viewer-password`
#[derive(Serialize, ToSchema)]
pub struct ViewerPassword {
    computer_id: ComputerId,
    /// Never: links that end take its place.
    viewer_password_set: bool,
    viewer_password_set_at: Option<Timestamp>,
    message: &'static str,
}

impl DesktopLink {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(DesktopLink {
            id: row.get("id")?,
            computer_id: row.get("computer_id")?,
            view_only: row.get("view_only")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
        })
    }
}

fn record(
    tx: &WriteTx<'_>,
    caller: &Caller,
    c: &Record,
    kind: &str,
    link: &DesktopLink,
) -> Result<()> {
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: c.tenant_id,
            workspace_id: Some(c.workspace_id),
            kind,
            resource: c.id.0,
            before: audit::NONE,
            after: Some(&json!({
                "name": c.name, "link": link.id, "view_only": link.view_only, "expires_at": link.expires_at,
            })),
        },
    )
}

fn insert(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    computer: &Record,
    view_only: bool,
    ttl: i64,
) -> Result<MadeDesktopLink> {
    let over = "DELETE FROM desktop_links WHERE computer_id = ?1 AND expires_at <= ?2";
    tx.run(over, (computer.id, tx.now()))?;
    let sql = "SELECT count(*) FROM desktop_links WHERE computer_id = ?1";
    let open: i64 = tx.row(sql, [computer.id], |row| row.get(0))?;
    if open >= MOST {
        return Err(Error::conflict(
            "TOO_MANY_LINKS",
            format!(
                "{MOST} links to this screen are open; revoke one of them, or wait: they end by themselves"
            ),
        ));
    }
    let token = HEXLOWER.encode(&tx.random::<24>()?);
    let link = DesktopLink {
        id: tx.new_id(),
        computer_id: computer.id,
        view_only,
        created_at: tx.now(),
        expires_at: tx.now().plus_seconds(ttl),
    };
    let sql = "INSERT INTO desktop_links (secret_hash, id, tenant_id, computer_id, key_id, view_only, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    tx.run(
        sql,
        (
            token_hash(&token),
            link.id,
            computer.tenant_id,
            computer.id,
            caller.key_id(),
            link.view_only,
            link.created_at,
            link.expires_at,
        ),
    )?;
    record(tx, caller, computer, "computer.desktop_link_created", &link)?;
    let url = config.url(&format!("/desktop/{token}"));
    Ok(MadeDesktopLink {
        mode: if view_only { "view" } else { "control" },
        websocket_url: format!("{}/stream", url.replacen("http", "ws", 1)),
        link,
        url,
        token,
    })
}

fn ttl(fields: &mut Fields, name: &'static str, given: Option<i64>) -> i64 {
    let ttl = given.unwrap_or(USUAL_TTL);
    if !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
        fields.push(
            name,
            format!("must be from {SHORTEST_TTL} to {LONGEST_TTL} seconds (30 days)"),
        );
    }
    ttl
}

/// `POST /computers/{id}/desktop-links`
pub async fn make(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<MakeDesktopLink>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let ttl = ttl(&mut fields, "ttl_seconds", input.ttl_seconds);
            fields.finish()?;
            inside::runs(&computer)?;
            let view_only = input.view_only.unwrap_or(true);
            let made = insert(tx, &fleet.config, caller, &computer, view_only, ttl)?;
            Ok(Reply::created(made).secret())
        })
        .await
}

/// `GET /computers/{id}/desktop-links`
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<DesktopLinkList>> {
    let found = store.read(move |tx| {
        let computer = inside::find(tx, &caller, id)?;
        inside::runs(&computer)?;
        let sql = "SELECT * FROM desktop_links WHERE computer_id = ?1 AND expires_at > ?2
             ORDER BY created_at DESC, id";
        let mut statement = tx.prepare_cached(sql)?;
        let rows = statement.query_map((id, tx.now()), DesktopLink::from_row)?;
        Ok::<_, Error>(rows.collect::<rusqlite::Result<_>>()?)
    });
    Ok(Json(DesktopLinkList { data: found.await? }))
}

/// `DELETE /computers/{id}/desktop-links/{sid}`
pub async fn revoke(
    PathIds(id, link): PathIds<ComputerId, DesktopLinkId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            input?;
            inside::runs(&computer)?;
            let sql = "SELECT * FROM desktop_links WHERE computer_id = ?1 AND id = ?2";
            let found = tx.row(sql, (id, link), DesktopLink::from_row).optional()?;
            let found = found.ok_or_else(|| Error::not_found("link"))?;
            let sql = "DELETE FROM desktop_links WHERE computer_id = ?1 AND id = ?2";
            tx.run(sql, (id, link))?;
            record(
                tx,
                caller,
                &computer,
                "computer.desktop_link_revoked",
                &found,
            )?;
            Ok(Reply::ok(RevokedDesktopLink { revoked: true }))
        })
        .await
}

/// `GET /computers/{id}/embed`: what the published clients make a link with.
pub async fn embed(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<EmbedQuery>,
) -> Result<Response> {
    inside::machine(&store, caller.clone(), id).await?;
    let query = query.get()?;
    let mut fields = Fields::default();
    let seconds = query.ttl.map(|text| text.parse().unwrap_or(0));
    let ttl = ttl(&mut fields, "ttl", seconds);
    let by_mode = match query.mode.as_deref() {
        None | Some("control" | "interactive") => false,
        Some("view" | "view_only") => true,
        Some(_) => {
            fields.push("mode", "must be one of: view, control");
            false
        }
    };
    let view_only = query.view_only.is_true(&mut fields, "view_only") || by_mode;
    fields.finish()?;
    let made = store
        .write(move |tx| {
            let computer = inside::find(tx, &caller, id)?;
            inside::runs(&computer)?;
            insert(tx, &fleet.config, &caller, &computer, view_only, ttl)
        })
        .await?;
    Ok(Json(made).into_response())
}

/// `POST /computers/{id}/stream-token`: the same, for a viewer of one's own.
pub async fn stream_token(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            input?;
            inside::runs(&computer)?;
            let made = insert(tx, &fleet.config, caller, &computer, false, USUAL_TTL)?;
            Ok(Reply::ok(made).secret())
        })
        .await
}

/// `GET /computers/{id}/vnc-credentials`
pub async fn credentials(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<VncCredentials>> {
    let (_, computer) = inside::machine(&store, caller, id).await?;
    inside::runs(&computer)?;
    Ok(Json(VncCredentials {
        computer_id: id,
        password: None,
        websocket_path: format!("/computers/{id}/desktop/stream"),
        protocol: "rfb over websocket",
    }))
}

/// `GET /computers/{id}/viewer-password`
pub async fn password(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<ViewerPassword>> {
    let (_, computer) = inside::machine(&store, caller, id).await?;
    inside::runs(&computer)?;
    Ok(Json(ViewerPassword {
        computer_id: id,
        viewer_password_set: false,
        viewer_password_set_at: None,
        message: "screens have no password: make a link that ends (POST /computers/{id}/desktop-links, or embed)",
    }))
}

/// A link that opens: as whom, and which screen.
#[derive(Clone)]
pub struct Opened {
    pub caller: Caller,
    pub computer: ComputerId,
    pub link: DesktopLinkId,
    pub view_only: bool,
}

/// What a secret opens now; `None`: nothing any more.
///
/// # Errors
/// When the store fails.
pub fn opened(tx: &Tx<'_>, hash: &[u8; 32]) -> Result<Option<Opened>> {
    let sql = "SELECT l.id AS link, l.computer_id, l.view_only, o.id AS organization, o.slug AS organization_slug,
             k.*, t.slug AS tenant_slug
         FROM desktop_links l JOIN tenants o ON o.id = l.tenant_id
             JOIN api_keys k ON k.id = l.key_id JOIN tenants t ON t.id = k.tenant_id
         WHERE l.secret_hash = ?1 AND l.expires_at > ?2
             AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > ?2)";
    let found = tx.row(sql, (hash, tx.now()), |row| {
        let of: (DesktopLinkId, ComputerId, bool) = (
            row.get("link")?,
            row.get("computer_id")?,
            row.get("view_only")?,
        );
        let organization = (row.get("organization")?, row.get("organization_slug")?);
        Ok((of, organization, Key::from_row(row)?))
    });
    let Some(((link, computer, view_only), (organization, slug), key)) = found.optional()? else {
        return Ok(None);
    };
    // Perhaps an operator made it, who acted as another organization.
    let Some(key) = key.acting_as(organization, slug) else {
        return Ok(None);
    };
    if !covers(&key.scopes, SCOPE) {
        return Ok(None);
    }
    let caller = Caller::without_request(key, "desktop link");
    // It may have moved out of reach of the key, or be gone.
    let there = computers::find(tx, &caller, computer).is_ok();
    Ok(there.then_some(Opened {
        caller,
        computer,
        link,
        view_only,
    }))
}
