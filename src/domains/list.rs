//! The preview domains of an organization, whoever's of its levels they are.

use axum::extract::State;
use rusqlite::ToSql;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::domains::Scope;
use crate::error::Result;
use crate::http::cursor::Order;
use crate::http::{List, Page, PageQuery, Params};
use crate::store::Tx;

/// `GET /preview-domains`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DomainFilter {
    /// Only domains that contain this text
    #[param(max_length = 255)]
    pub q: Option<String>,
}

/// A preview domain that somebody has set.
#[derive(Serialize, ToSchema)]
pub struct DomainRow {
    domain: String,
    /// Whose it is.
    scope: Scope,
    /// Id of that organization, workspace or project.
    owner_id: Uuid,
    /// Its name.
    owner_name: String,
    /// pending, verified or failed: what the last good check found.
    dns_status: String,
    /// Null: never yet.
    checked_at: Option<Timestamp>,
}

/// `GET /preview-domains`
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<DomainFilter>,
) -> Result<List<DomainRow>> {
    let list = store.read(move |tx| {
        let (page, filter) = (page.get()?.page()?, filter.get()?);
        read(tx, &caller, &page, filter.q.map(|q| q.to_lowercase()))
    });
    list.await
}

fn read(tx: &Tx<'_>, caller: &Caller, page: &Page, q: Option<String>) -> Result<List<DomainRow>> {
    let tenant = caller.tenant_id();
    let mut place = "d.tenant_id = :tenant AND (:q IS NULL OR instr(d.domain, :q) > 0)".to_owned();
    let mut params: Vec<(&str, &dyn ToSql)> = vec![(":tenant", &tenant), (":q", &q)];
    let total = tx
        .prepare_cached(&format!(
            "SELECT count(*) FROM preview_domains d WHERE {place}"
        ))?
        .query_row(params.as_slice(), |row| row.get(0))?;
    let order = Order {
        columns: &["d.domain", "d.owner_id"],
        descending: false,
    };
    page.narrow(&order, &mut place, &mut params)?;
    let sql = format!(
        "SELECT d.domain, d.scope, d.owner_id, d.dns_status, d.checked_at,
             CASE d.scope WHEN 'workspace' THEN (SELECT name FROM workspaces WHERE id = d.owner_id)
                 WHEN 'project' THEN (SELECT name FROM projects WHERE id = d.owner_id)
                 ELSE (SELECT name FROM tenants WHERE id = d.owner_id) END AS owner_name
         FROM preview_domains d WHERE {place} ORDER BY {} {}",
        order.sql(),
        Page::SQL
    );
    let data = tx
        .prepare_cached(&sql)?
        .query_map(params.as_slice(), |row| {
            Ok(DomainRow {
                domain: row.get("domain")?,
                scope: row.get("scope")?,
                owner_id: Uuid::from_bytes(row.get("owner_id")?),
                owner_name: row.get("owner_name")?,
                dns_status: row.get("dns_status")?,
                checked_at: row.get("checked_at")?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let last = data.last().filter(|_| page.is_full(data.len()));
    let next = last.and_then(|last| {
        page.link(&[
            Value::Text(last.domain.clone()),
            Value::Blob(last.owner_id.as_bytes().to_vec()),
        ])
    });
    Ok(page.linked(data, total, next))
}
