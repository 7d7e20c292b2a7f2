//! Deleted workspaces that come back, with what went with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, named_params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rows::{count_new, find, find_by_external, find_by_slug, find_kept};
use super::types::{Contents, Record, Workspace};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::deleted::{Lost, not_kept, went_with};
use crate::domains::restore::bring_back;
use crate::domains::{self};
use crate::error::{Error, Fields, Result, TAKEN};
use crate::http::{Mutation, PathId, Reply};
use crate::ids::WorkspaceId;
use crate::json::Patch;
use crate::limits;
use crate::projects::unfinished::Unfinished;
use crate::rules::size::Size;
use crate::rules::text;
use crate::store::{Tx, WriteTx};

/// `POST /workspaces/{id}/restore`: other names, where another workspace has them by now.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct RestoreWorkspace {
    /// Another slug than it had
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,79}$")]
    pub slug: Option<String>,
    /// Another id of the caller's than it had; null: none
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub external_workspace_id: Patch<String>,
}

/// A workspace that is there again.
#[derive(Serialize, ToSchema)]
pub struct RestoredWorkspace {
    #[serde(flatten)]
    workspace: Workspace,
    /// What came back with it; computers are stopped.
    restored: Contents,
    /// What did not, and what to do about it; empty where all is as it was.
    not_restored: Vec<Lost>,
}

/// `POST /workspaces/{id}/restore`
pub async fn restore(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<WorkspaceId>,
    request: Mutation<RestoreWorkspace>,
) -> Result<Response> {
    let (left, caller) = (Arc::new(AtomicBool::new(false)), request.caller.clone());
    let (left_here, fleet_here) = (left.clone(), fleet.clone());
    let reply = request
        .run(move |tx, caller, input| {
            let sql = "SELECT deleted_at IS NULL FROM workspaces WHERE id = ?1";
            let live: Option<bool> = tx.row(sql, [id], |row| row.get(0)).optional()?;
            let none = Contents {
                computers: 0,
                projects: 0,
            };
            let (restored, not_restored) = if live == Some(true) {
                // It is there: said twice, done once.
                find(tx, caller, id)?;
                input?;
                (none, Vec::new())
            } else {
                let record = find_kept(tx, caller, id)?;
                let done = restore_one(tx, &fleet_here, caller, record, input?)?;
                left_here.store(done.2, Ordering::Relaxed);
                (done.0, done.1)
            };
            let mut workspace = find(tx, caller, id)?.view;
            // As many as there will be when all of them are back, before this is answered.
            workspace.computer_count = workspace.computer_count.max(restored.computers);
            Ok(Reply::ok(RestoredWorkspace {
                workspace,
                restored,
                not_restored,
            }))
        })
        .await?;
    if left.load(Ordering::Relaxed) {
        Unfinished::Restore(id)
            .finish(store, fleet, Some(caller))
            .await?;
    }
    Ok(reply)
}

type Outcome = (Contents, Vec<Lost>, bool);

fn restore_one(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    mut record: Record,
    input: RestoreWorkspace,
) -> Result<Outcome> {
    let id = record.view.id;
    let sql = "SELECT restorable_until, lost_domain, deleted_at FROM workspaces WHERE id = ?1";
    let (until, domain, deleted_at): (Option<Timestamp>, _, Timestamp) =
        tx.row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if until.is_none() {
        return Err(not_kept("workspace"));
    }
    if record.view.computer_count > 0 || record.project_count > 0 {
        return Err(Error::conflict(
            "RESOURCE_STATE",
            "this workspace is still being deleted; restore it in a moment",
        ));
    }
    record.view.slug = input.slug.unwrap_or(record.view.slug);
    record.view.external_workspace_id = input
        .external_workspace_id
        .apply(record.view.external_workspace_id);
    check_names(tx, &record.view)?;
    let (projects, computers) = went_with(tx, id)?;
    let back = Contents {
        computers: computers - machines_gone(tx, id)?,
        projects,
    };
    check_limits(tx, fleet, &record.view, back)?;
    let mut lost = losses(tx, id, deleted_at)?;
    record.view.updated_at = tx.now();
    let sql =
        "UPDATE workspaces SET slug = :slug, external_workspace_id = :external, updated_at = :now,
             deleted_at = NULL, restorable_until = NULL, lost_domain = NULL
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":slug": record.view.slug, ":external": record.view.external_workspace_id, ":now": tx.now(), ":id": id,
            ":tenant": record.view.tenant_id,
        },
    )?;
    count_new(tx, record.view.tenant_id)?;
    // A link that has been dead is not to open again by itself.
    let sql = "DELETE FROM share_links WHERE workspace_id = ?1 AND tenant_id = ?2";
    tx.run(sql, (id, record.view.tenant_id))?;
    record.audit(tx, Actor::Key(caller), "workspace.restored", None)?;
    let owner = (domains::Scope::Workspace, id.0);
    lost.extend(bring_back(tx, &fleet.config, caller, owner, domain)?);
    let left = Unfinished::Restore(id)
        .turn(tx, fleet, Some(caller), None)?
        .is_some();
    Ok((back, lost, left))
}

/// Another may have its names by now.
fn check_names(tx: &Tx<'_>, view: &Workspace) -> Result<()> {
    let mut fields = Fields::default();
    text::slug(&mut fields, "slug", &view.slug);
    let external = view.external_workspace_id.as_deref();
    text::external_id(&mut fields, "external_workspace_id", external);
    if let Some(other) = find_by_slug(tx, view.tenant_id, &view.slug)? {
        let name = other.view.name;
        fields.push(
            "slug",
            format!("{TAKEN} by the workspace {name:?}; send another slug with the restore"),
        );
    }
    let other = match external {
        Some(external) => find_by_external(tx, view.tenant_id, external)?,
        None => None,
    };
    if let Some(other) = other {
        let name = other.view.name;
        fields.push(
            "external_workspace_id",
            format!(
                "{TAKEN} by the workspace {name:?}; send another one with the restore, or null"
            ),
        );
    }
    fields.finish()
}

/// The ceilings of the organization hold as for a workspace that comes in; its own caps come with it.
fn check_limits(tx: &Tx<'_>, fleet: &Fleet, view: &Workspace, back: Contents) -> Result<()> {
    let mut sizes =
        tx.prepare_cached("SELECT DISTINCT size FROM computers WHERE deleted_with = ?1")?;
    let sizes = sizes
        .query_map([view.id], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<Size>>>()?;
    let number = |n: i64| usize::try_from(n).unwrap_or(0);
    limits::check_import(
        tx,
        &fleet.config.file,
        view.tenant_id,
        1,
        number(back.projects),
        number(back.computers),
        sizes.into_iter().max(),
    )
}

/// What of a workspace ended with it.
fn losses(tx: &Tx<'_>, id: WorkspaceId, deleted_at: Timestamp) -> Result<Vec<Lost>> {
    let mut lost = Vec::new();
    let sql = "SELECT count(*) FROM api_keys WHERE workspace_id = ?1 AND status = 'revoked' AND updated_at >= ?2";
    let keys: i64 = tx.row(sql, (id, deleted_at), |row| row.get(0))?;
    if keys > 0 {
        let text = format!(
            "{keys} API key(s) of this workspace were revoked with it and stay so; make new ones"
        );
        lost.push(Lost::new("api_keys", text));
    }
    let sql = "SELECT count(*) FROM share_links WHERE workspace_id = ?1 AND expires_at > ?2";
    let links: i64 = tx.row(sql, (id, tx.now()), |row| row.get(0))?;
    if links > 0 {
        let text = format!(
            "{links} share link(s) do not open any more; make new ones for those who are to look"
        );
        lost.push(Lost::new("share_links", text));
    }
    let gone = machines_gone(tx, id)?;
    if gone > 0 {
        let text = format!(
            "{gone} computer(s) stay deleted: their containers and volumes are gone; make new ones"
        );
        lost.push(Lost::new("computers", text));
    }
    Ok(lost)
}

/// Computers that went with it, and of whose containers nothing is left.
fn machines_gone(tx: &Tx<'_>, id: WorkspaceId) -> Result<i64> {
    let sql = "SELECT count(*) FROM computers WHERE deleted_with = ?1 AND driver = 'docker'
             AND NOT EXISTS (SELECT 1 FROM machines WHERE computer_id = computers.id)";
    Ok(tx.row(sql, [id], |row| row.get(0))?)
}
