//! Making, listing and revoking share links.

use axum::extract::State;
use axum::response::Response;
use data_encoding::HEXLOWER;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, ToSql};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::access::session::token_hash;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::cursor::Order;
use crate::http::{
    FromText, List, Mutation, NoBody, Page, PageQuery, Params, PathId, PathIds, Reply, words,
};
use crate::ids::{ShareLinkId, TenantId, WorkspaceId};
use crate::json;
use crate::rules::config::Config;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::workspaces;

/// Seconds that a link opens for unless it says otherwise, at least and at most.
const USUAL_TTL: i64 = 30 * 86_400;
const SHORTEST_TTL: i64 = 60;
const LONGEST_TTL: i64 = 366 * 86_400;
/// Links of a workspace that are open at the same time.
const MOST: i64 = 100;

words! {
    /// A part of the page.
    pub enum Part {
        /// What was used, by day.
        Usage = "usage",
        /// The statements that were made.
        Statements = "statements",
        /// The preview domain, and what its DNS still needs.
        Domain = "domain",
    }
}

/// `POST /workspaces/{id}/share-links`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct MakeLink {
    /// For whom it is; shown in the list only
    pub label: Option<String>,
    /// What is seen: usage, statements, domain; all of it if left out
    #[schema(value_type = Option<Vec<Part>>)]
    pub shows: Option<Vec<String>>,
    /// Seconds that it opens for; 30 days if left out
    #[schema(minimum = 60, maximum = 31_622_400)]
    pub ttl_seconds: Option<i64>,
}

/// A share link, without its secret.
#[derive(Serialize, ToSchema)]
pub struct ShareLink {
    pub id: ShareLinkId,
    pub workspace_id: WorkspaceId,
    label: Option<String>,
    pub shows: Vec<Part>,
    created_at: Timestamp,
    pub expires_at: Timestamp,
    /// When somebody last looked; null: nobody has. To the minute.
    pub last_opened_at: Option<Timestamp>,
    /// In how many different minutes somebody did.
    opened: i64,
}

/// A share link as it is shown once.
#[derive(Serialize, ToSchema)]
pub struct MadeLink {
    #[serde(flatten)]
    link: ShareLink,
    /// Whoever has it can look, until then; it is not shown again.
    url: String,
    /// The same without the address of this server.
    path: String,
}

/// A link that does not open any more.
#[derive(Serialize, ToSchema)]
pub struct RevokedLink {
    revoked: bool,
}

impl ShareLink {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<ShareLink> {
        let shows: Vec<String> = json::column(row, "shows")?;
        Ok(ShareLink {
            id: row.get("id")?,
            workspace_id: row.get("workspace_id")?,
            label: row.get("label")?,
            shows: shows
                .iter()
                .filter_map(|part| Part::from_text(part))
                .collect(),
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            last_opened_at: row.get("last_opened_at")?,
            opened: row.get("opened")?,
        })
    }
}

/// `POST /workspaces/{id}/share-links`
pub async fn make(
    State(fleet): State<Fleet>,
    PathId(id): PathId<WorkspaceId>,
    request: Mutation<MakeLink>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            workspaces::find(tx, caller, id)?;
            let made = insert(tx, &fleet.config, caller, id, input?)?;
            Ok(Reply::created(made).secret())
        })
        .await
}

fn insert(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    workspace: WorkspaceId,
    input: MakeLink,
) -> Result<MadeLink> {
    let mut fields = Fields::default();
    if let Some(label) = &input.label {
        text::external_id(&mut fields, "label", Some(label));
    }
    let mut shows = Vec::new();
    for given in input.shows.iter().flatten() {
        match Part::from_text(given) {
            Some(part) if !shows.contains(&part) => shows.push(part),
            Some(_) => {}
            None => fields.push("shows", Part::wanted()),
        }
    }
    match &input.shows {
        None => shows.extend([Part::Usage, Part::Statements, Part::Domain]),
        Some(list) if list.is_empty() => {
            fields.push("shows", "can't be blank; leave it out for all")
        }
        Some(_) => {}
    }
    let ttl = input.ttl_seconds.unwrap_or(USUAL_TTL);
    if !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
        let text = format!("must be from {SHORTEST_TTL} to {LONGEST_TTL} seconds (366 days)");
        fields.push("ttl_seconds", text);
    }
    fields.finish()?;
    let tenant = caller.tenant_id();
    // What is over opens nothing, and may go.
    tx.run(
        "DELETE FROM share_links WHERE workspace_id = ?1 AND tenant_id = ?2 AND expires_at <= ?3",
        (workspace, tenant, tx.now()),
    )?;
    let sql = "SELECT count(*) FROM share_links WHERE workspace_id = ?1 AND tenant_id = ?2";
    let open: i64 = tx.row(sql, (workspace, tenant), |row| row.get(0))?;
    if open >= MOST {
        let text = format!("{MOST} share links of this workspace are open; revoke one of them");
        return Err(Error::conflict("TOO_MANY_LINKS", text));
    }
    let token = HEXLOWER.encode(&tx.random::<24>()?);
    let link = ShareLink {
        id: tx.new_id(),
        workspace_id: workspace,
        label: input.label,
        shows,
        created_at: tx.now(),
        expires_at: tx.now().plus_seconds(ttl),
        last_opened_at: None,
        opened: 0,
    };
    let sql = "INSERT INTO share_links (id, secret_hash, tenant_id, workspace_id, label, shows, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    tx.run(
        sql,
        (
            link.id,
            token_hash(&token),
            tenant,
            workspace,
            &link.label,
            json::text(&link.shows)?,
            link.created_at,
            link.expires_at,
        ),
    )?;
    record(tx, caller, "workspace.share_link_created", &link)?;
    let page = format!("/share/{token}");
    Ok(MadeLink {
        link,
        url: config.url(&page),
        path: config.path(&page),
    })
}

fn record(tx: &WriteTx<'_>, caller: &Caller, kind: &str, link: &ShareLink) -> Result<()> {
    let shown = json!({
        "id": link.id, "label": link.label, "shows": link.shows, "expires_at": link.expires_at,
    });
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: caller.tenant_id(),
            workspace_id: Some(link.workspace_id),
            kind,
            resource: link.workspace_id.0,
            before: audit::NONE,
            after: Some(&shown),
        },
    )
}

/// `GET /workspaces/{id}/share-links`: those that open still, the newest first.
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
) -> Result<List<ShareLink>> {
    let list = store.read(move |tx| {
        workspaces::find(tx, &caller, id)?;
        let page = page.get()?.page()?;
        let tenant = caller.tenant_id();
        let now = tx.now();
        let mut place =
            "workspace_id = :workspace AND tenant_id = :tenant AND expires_at > :now".to_owned();
        let mut params: Vec<(&str, &dyn ToSql)> =
            vec![(":workspace", &id), (":tenant", &tenant), (":now", &now)];
        let total = tx
            .prepare_cached(&format!("SELECT count(*) FROM share_links WHERE {place}"))?
            .query_row(params.as_slice(), |row| row.get(0))?;
        let order = Order {
            columns: &["created_at", "id"],
            descending: true,
        };
        page.narrow(&order, &mut place, &mut params)?;
        let sql = format!(
            "SELECT * FROM share_links WHERE {place} ORDER BY {} {}",
            order.sql(),
            Page::SQL
        );
        let data = tx
            .prepare_cached(&sql)?
            .query_map(params.as_slice(), ShareLink::from_row)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let last = data.last().filter(|_| page.is_full(data.len()));
        let next = last.and_then(|last| {
            page.link(&[
                Value::Integer(last.created_at.0),
                Value::Blob(last.id.0.as_bytes().to_vec()),
            ])
        });
        Ok(page.linked(data, total, next))
    });
    list.await
}

/// `DELETE /workspaces/{id}/share-links/{lid}`
pub async fn revoke(
    PathIds(id, link): PathIds<WorkspaceId, ShareLinkId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            workspaces::find(tx, caller, id)?;
            input?;
            let tenant = caller.tenant_id();
            let sql =
                "SELECT * FROM share_links WHERE id = ?1 AND workspace_id = ?2 AND tenant_id = ?3";
            let found = tx
                .row(sql, (link, id, tenant), ShareLink::from_row)
                .optional()?
                .ok_or_else(|| Error::not_found("share link"))?;
            tx.run(
                "DELETE FROM share_links WHERE id = ?1 AND tenant_id = ?2",
                (link, tenant),
            )?;
            record(tx, caller, "workspace.share_link_revoked", &found)?;
            Ok(Reply::ok(RevokedLink { revoked: true }))
        })
        .await
}

/// The link with this secret, if it opens still, and whose it is.
///
/// # Errors
/// The store's.
pub fn opened_by(tx: &Tx<'_>, token: &str) -> Result<Option<(TenantId, ShareLink)>> {
    let sql = "SELECT * FROM share_links WHERE secret_hash = ?1 AND expires_at > ?2";
    let found = tx.row(sql, (token_hash(token), tx.now()), |row| {
        Ok((row.get("tenant_id")?, ShareLink::from_row(row)?))
    });
    Ok(found.optional()?)
}

/// Notes that somebody looked.
///
/// # Errors
/// The store's.
pub fn looked(tx: &WriteTx<'_>, link: ShareLinkId, before: Timestamp) -> Result<()> {
    let sql = "UPDATE share_links SET last_opened_at = ?2, opened = opened + 1
         WHERE id = ?1 AND (last_opened_at IS NULL OR last_opened_at <= ?3 OR last_opened_at > ?2)";
    tx.run(sql, (link, tx.now(), before))?;
    Ok(())
}
