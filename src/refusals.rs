//! What limits have refused, so that one that costs business is seen. Written by the kit, after the refusal
//! ([`crate::http`]).

use axum::extract::State;
use rusqlite::ToSql;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::access::caller::Caller;
use crate::clock::{DAY_MS, Timestamp};
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::cursor::Order;
use crate::http::{List, Page, PageQuery, Param, Params, PathId};
use crate::ids::{ApiKeyId, TenantId, WorkspaceId};
use crate::json;
use crate::store::{Tx, WriteTx};
use crate::workspaces;

/// For so long they are kept.
const KEPT_MS: i64 = 400 * DAY_MS;

/// `GET …/refusals`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct RefusalQuery {
    /// Only of this limit, such as max_computers, max_computer_size, allowed_template_types or budget
    pub limit_name: Option<String>,
    /// Only what was last refused from here on, inclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub since: Param<Timestamp>,
}

/// What a limit refused to one kind of request within an hour.
#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalView {
    #[serde(skip)]
    seq: i64,
    /// Null where nothing of a workspace was asked for.
    workspace_id: Option<WorkspaceId>,
    /// max_computers, max_computer_size, allowed_template_types, max_projects, max_workspaces or budget.
    limit: String,
    /// Whose limit it is: workspace, tenant or project.
    scope: String,
    /// Method and path.
    #[schema(example = "POST /computers/{id}/start")]
    request: String,
    /// How often.
    count: i64,
    first_at: Timestamp,
    last_at: Timestamp,
    /// The limit, at the last of them.
    #[schema(value_type = serde_json::Value)]
    max: Box<RawValue>,
    /// What there was then, or what was asked for.
    #[schema(value_type = serde_json::Value)]
    current: Box<RawValue>,
    /// What the last of them was answered.
    message: String,
    /// The API key of the last of them.
    key_id: Option<ApiKeyId>,
}

/// `GET /refusals`
pub async fn of_organization(
    State(store): State<Store>,
    caller: Caller,
    page: Params<PageQuery>,
    query: Params<RefusalQuery>,
) -> Result<List<RefusalView>> {
    let list = store.read(move |tx| read(tx, caller.tenant_id(), None, page, query));
    list.await
}

/// `GET /workspaces/{id}/refusals`
pub async fn of_workspace(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    page: Params<PageQuery>,
    query: Params<RefusalQuery>,
) -> Result<List<RefusalView>> {
    let list = store.read(move |tx| {
        workspaces::find(tx, &caller, id)?;
        read(tx, caller.tenant_id(), Some(id), page, query)
    });
    list.await
}

fn read(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    page: Params<PageQuery>,
    query: Params<RefusalQuery>,
) -> Result<List<RefusalView>> {
    let (page, query) = (page.get()?, query.get()?);
    let mut fields = Fields::default();
    let page = page.read(&mut fields);
    let since = query.since.read(&mut fields, "since");
    fields.finish()?;
    let place = if workspace.is_some() {
        "workspace_id = :workspace AND tenant_id = :tenant"
    } else {
        "tenant_id = :tenant AND :workspace IS NULL"
    };
    let mut place = format!(
        "{place} AND (:limit_name IS NULL OR limit_name = :limit_name) AND (:since IS NULL OR last_at >= :since)"
    );
    let mut params: Vec<(&str, &dyn ToSql)> = vec![
        (":tenant", &tenant),
        (":workspace", &workspace),
        (":limit_name", &query.limit_name),
        (":since", &since),
    ];
    let sql = format!("SELECT count(*) FROM refusals WHERE {place}");
    let total = tx
        .prepare_cached(&sql)?
        .query_row(params.as_slice(), |row| row.get(0))?;
    let order = Order {
        columns: &["seq"],
        descending: true,
    };
    page.narrow(&order, &mut place, &mut params)?;
    let sql = format!(
        "SELECT * FROM refusals WHERE {place} ORDER BY {} {}",
        order.sql(),
        Page::SQL
    );
    let data = tx
        .prepare_cached(&sql)?
        .query_map(params.as_slice(), |row| {
            Ok(RefusalView {
                seq: row.get("seq")?,
                workspace_id: row.get("workspace_id")?,
                limit: row.get("limit_name")?,
                scope: row.get("scope")?,
                request: row.get("request")?,
                count: row.get("count")?,
                first_at: row.get("first_at")?,
                last_at: row.get("last_at")?,
                max: json::column(row, "max")?,
                current: json::column(row, "current")?,
                message: row.get("message")?,
                key_id: row.get("key_id")?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let last = data.last().filter(|_| page.is_full(data.len()));
    let next = last.and_then(|last| page.link(&[Value::Integer(last.seq)]));
    Ok(page.linked(data, total, next))
}

/// Forgets what is too old. Returns how many.
///
/// # Errors
/// The store's.
pub fn purge(tx: &WriteTx<'_>, limit: u32) -> Result<usize> {
    let sql = "DELETE FROM refusals WHERE rowid IN (SELECT rowid FROM refusals WHERE last_at <= ?1 ORDER BY last_at LIMIT ?2)";
    Ok(tx.run(sql, (tx.now().plus_ms(-KEPT_MS), limit))?)
}
