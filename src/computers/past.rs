//! Computers that ran before they were known here.

use rusqlite::named_params;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json;
use crate::rules::driven_by::DrivenBy;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::WriteTx;

/// A computer of the past: it came and went before now.
pub struct Past<'a> {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub name: &'a str,
    pub size: Size,
    pub created_at: Timestamp,
    pub deleted_at: Timestamp,
    /// What its metadata says of where it comes from.
    pub source: &'a str,
}

/// Inserts its row, deleted: it counts for no limit.
///
/// # Errors
/// The store's.
pub fn insert_past(tx: &WriteTx<'_>, past: &Past<'_>) -> Result<ComputerId> {
    let id: ComputerId = tx.new_id();
    let metadata = serde_json::json!({ "brought_in": past.source });
    let sql = "INSERT INTO computers (id, tenant_id, workspace_id, project_id, name, slug, template_type, size, status,
             driver, visibility, metadata, selected_apps, settings, auto_stop_seconds, created_at, updated_at, stopped_at)
         VALUES (:id, :tenant, :workspace, :project, :name, :slug, 'brought-in', :size, :status, :driver, 'tenant',
             :metadata, '[]', '{}', 0, :created, :now, :deleted)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": past.tenant, ":workspace": past.workspace, ":project": past.project,
            ":name": past.name, ":slug": id.to_string(), ":size": past.size, ":status": Status::Destroyed,
            ":driver": DrivenBy::External, ":metadata": json::text(&metadata)?, ":created": past.created_at,
            ":now": tx.now(), ":deleted": past.deleted_at,
        },
    )?;
    // The counters of schema.sql know a deletion only as a change.
    tx.run(
        "UPDATE computers SET deleted_at = ?1 WHERE id = ?2 AND tenant_id = ?3",
        (past.deleted_at, id, past.tenant),
    )?;
    Ok(id)
}
