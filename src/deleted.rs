//! What was deleted and can come back: for how long, which there are, and what a restore cannot give back.
//!
//! A deleted row stays for the bill whatever happens. `restorable_until` says that it can be live again; as long as
//! that stands, containers and volumes stay, too. The time is over when the background job has cleared it, and not
//! before: a clock that jumps ahead takes nothing away.

use axum::extract::State;
use rusqlite::ToSql;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::access::scopes::covers;
use crate::clock::Timestamp;
use crate::computers::machines::wanted;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::cursor::{self, Order};
use crate::http::{List, Page, PageQuery, Params};
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::rules::config::Config;
use crate::store::{Tx, WriteTx};

/// Until when what is deleted now can be restored; `None` = not at all.
pub fn until(tx: &Tx<'_>, config: &Config) -> Option<Timestamp> {
    (config.keep_deleted_ms > 0).then(|| tx.now().plus_ms(config.keep_deleted_ms))
}

/// What a restore could not give back, or gave back changed.
#[derive(Serialize, ToSchema, Debug)]
pub struct Lost {
    /// api_keys, share_links, preview_domain, slug, external_project_id or computers.
    pub what: &'static str,
    /// For people: what became of it, and what to do.
    pub text: String,
}

impl Lost {
    pub fn new(what: &'static str, text: impl Into<String>) -> Self {
        Lost {
            what,
            text: text.into(),
        }
    }
}

/// It is deleted, and not kept.
pub fn not_kept(what: &str) -> Error {
    Error::conflict(
        "NOT_RESTORABLE",
        format!(
            "this {what} was deleted for good: the time in which it could be restored is over (--keep-deleted), or it \
             was not kept. Its usage stays in the reports; make a new one"
        ),
    )
}

/// It went with its workspace, or what it lies in is deleted, too.
pub fn parent_first(what: &str, kind: &str, id: Uuid) -> Error {
    Error::conflict(
        "PARENT_DELETED",
        format!(
            "the {kind} of this {what} is deleted, too; restore that first with POST /api/v1/{kind}s/{id}/restore"
        ),
    )
    .with_details(serde_json::json!({ "restore_first": { "type": kind, "id": id } }))
}

/// `GET /deleted`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeletedFilter {
    /// Only of this kind: workspace, project or computer
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub kind: Option<String>,
}

/// Something that was deleted and can be restored.
#[derive(Serialize, ToSchema)]
pub struct Restorable {
    /// workspace, project or computer.
    #[serde(rename = "type")]
    kind: String,
    /// As it had it, and has it again: `POST /api/v1/{type}s/{id}/restore`.
    id: Uuid,
    name: String,
    slug: String,
    /// Where it was; of a workspace itself.
    workspace_id: WorkspaceId,
    workspace_name: String,
    /// Of a computer.
    project_id: Option<ProjectId>,
    deleted_at: Timestamp,
    /// About until when it can be restored.
    restorable_until: Timestamp,
    /// What it lies in is deleted, too, and is to be restored first.
    parent_deleted: bool,
    /// Projects that went with a workspace, and come back with it.
    projects: i64,
    /// Computers that went with a workspace, and come back with it.
    computers: i64,
}

/// What can be restored of each kind: its scope, its table, the statement; what went with a workspace comes with it
/// and is not named by itself.
const KINDS: [(&str, &str, char, &str); 3] = [
    (
        "workspace",
        "workspaces:read",
        'w',
        "SELECT 'workspace' AS kind, w.id AS id, w.name AS name, w.slug AS slug, w.id AS workspace_id,
             w.name AS workspace_name, NULL AS project_id, w.deleted_at AS deleted_at,
             w.restorable_until AS restorable_until, 0 AS parent_deleted
         FROM workspaces w WHERE w.tenant_id = :tenant AND w.restorable_until IS NOT NULL
           AND (:only IS NULL OR w.id = :only)",
    ),
    (
        "project",
        "projects:read",
        'p',
        "SELECT 'project' AS kind, p.id AS id, p.name AS name, p.slug AS slug, p.workspace_id AS workspace_id,
             w.name AS workspace_name, NULL AS project_id, p.deleted_at AS deleted_at,
             p.restorable_until AS restorable_until, w.deleted_at IS NOT NULL AS parent_deleted
         FROM projects p JOIN workspaces w ON w.id = p.workspace_id
         WHERE p.tenant_id = :tenant AND p.restorable_until IS NOT NULL AND p.deleted_with IS NULL
           AND (:only IS NULL OR p.workspace_id = :only)",
    ),
    (
        "computer",
        "computers:read",
        'c',
        "SELECT 'computer' AS kind, c.id AS id, c.name AS name, c.slug AS slug, c.workspace_id AS workspace_id,
             w.name AS workspace_name, c.project_id AS project_id, c.deleted_at AS deleted_at,
             c.restorable_until AS restorable_until,
             w.deleted_at IS NOT NULL OR p.deleted_at IS NOT NULL AS parent_deleted
         FROM computers c JOIN workspaces w ON w.id = c.workspace_id JOIN projects p ON p.id = c.project_id
         WHERE c.tenant_id = :tenant AND c.restorable_until IS NOT NULL AND c.deleted_with IS NULL
           AND (:only IS NULL OR c.workspace_id = :only)",
    ),
];

/// `GET /deleted`: what can be restored, that which goes last first.
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<DeletedFilter>,
) -> Result<List<Restorable>> {
    let list = store.read(move |tx| {
        let (page, filter) = (page.get()?.page()?, filter.get()?);
        read(tx, &caller, &page, filter.kind.as_deref())
    });
    list.await
}

fn read(tx: &Tx<'_>, caller: &Caller, page: &Page, kind: Option<&str>) -> Result<List<Restorable>> {
    if kind.is_some_and(|kind| KINDS.iter().all(|(name, ..)| *name != kind)) {
        return Err(Error::field(
            "type",
            "must be workspace, project or computer",
        ));
    }
    let shown: Vec<_> = KINDS
        .iter()
        .filter(|(name, scope, ..)| {
            kind.unwrap_or(name) == *name && covers(&caller.key().scopes, scope)
        })
        .collect();
    if shown.is_empty() {
        return Ok(page.list(Vec::new(), 0));
    }
    let union = |beyond: &dyn Fn(char) -> String| {
        let each = shown
            .iter()
            .map(|(_, _, of, sql)| format!("{sql}{}", beyond(*of)));
        each.collect::<Vec<_>>().join(" UNION ALL ")
    };
    let (tenant, only) = (caller.tenant_id(), caller.only_workspace());
    let mut params: Vec<(&str, &dyn ToSql)> = vec![(":tenant", &tenant), (":only", &only)];
    let all = union(&|_| String::new());
    let total = tx
        .prepare_cached(&format!("SELECT count(*) FROM ({all})"))?
        .query_row(params.as_slice(), |row| row.get(0))?;
    // Each kind comes in this order from its index, and the three are merged.
    let order = Order {
        columns: &["restorable_until", "id"],
        descending: true,
    };
    let after = page.after(order.columns.len())?;
    let rest = union(&|of| match &after {
        Some(_) => format!(" AND ({of}.restorable_until, {of}.id) < (:after0, :after1)"),
        None => String::new(),
    });
    if let Some(values) = &after {
        params.extend(cursor::named(values));
    }
    params.extend(page.params());
    let sql = format!("{rest} ORDER BY {} {}", order.sql(), Page::SQL);
    let mut data = tx
        .prepare_cached(&sql)?
        .query_map(params.as_slice(), |row| {
            Ok(Restorable {
                kind: row.get("kind")?,
                id: Uuid::from_bytes(row.get("id")?),
                name: row.get("name")?,
                slug: row.get("slug")?,
                workspace_id: row.get("workspace_id")?,
                workspace_name: row.get("workspace_name")?,
                project_id: row.get("project_id")?,
                deleted_at: row.get("deleted_at")?,
                restorable_until: row.get("restorable_until")?,
                parent_deleted: row.get("parent_deleted")?,
                projects: 0,
                computers: 0,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for row in data.iter_mut().filter(|row| row.kind == "workspace") {
        (row.projects, row.computers) = went_with(tx, row.workspace_id)?;
    }
    let last = data.last().filter(|_| page.is_full(data.len()));
    let next = last.and_then(|last| {
        page.link(&[
            Value::Integer(last.restorable_until.0),
            Value::Blob(last.id.as_bytes().to_vec()),
        ])
    });
    Ok(page.linked(data, total, next))
}

/// How many projects and computers went with a workspace and can come back with it.
pub fn went_with(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<(i64, i64)> {
    let count = |sql| tx.row(sql, [workspace], |row| row.get(0));
    Ok((
        count("SELECT count(*) FROM projects WHERE deleted_with = ?1")?,
        count("SELECT count(*) FROM computers WHERE deleted_with = ?1")?,
    ))
}

/// What can be restored no longer, a workspace before what went with it; the containers and volumes of such
/// computers go now. Returns of how many that is.
///
/// # Errors
/// When the store fails.
pub fn forget(tx: &WriteTx<'_>, limit: u32) -> Result<usize> {
    let sql = "UPDATE workspaces SET restorable_until = NULL, lost_domain = NULL
         WHERE number IN (SELECT number FROM workspaces WHERE restorable_until <= ?1 LIMIT ?2)";
    let workspaces = tx.run(sql, (tx.now(), limit))?;
    if workspaces > 0 {
        return Ok(workspaces);
    }
    let sql = "UPDATE projects SET restorable_until = NULL, lost_domain = NULL, deleted_with = NULL
         WHERE id IN (SELECT id FROM projects WHERE restorable_until <= ?1 LIMIT ?2)";
    let projects = tx.run(sql, (tx.now(), limit))?;
    if projects > 0 {
        return Ok(projects);
    }
    let sql = "SELECT id FROM computers WHERE restorable_until <= ?1 LIMIT ?2";
    let computers = tx
        .prepare_cached(sql)?
        .query_map((tx.now(), limit), |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<ComputerId>>>()?;
    for id in &computers {
        let sql = "UPDATE computers SET restorable_until = NULL, deleted_with = NULL WHERE id = ?1";
        tx.run(sql, [id])?;
        wanted::look(tx, *id)?;
    }
    Ok(computers.len())
}
