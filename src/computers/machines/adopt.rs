//! A container that belongs to no computer, such as after a backup was restored, becomes one again.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, named_params};

use super::seam::{Life, Listed};
use super::spec;
use crate::audit::Actor;
use crate::computers::lifecycle::Change;
use crate::computers::{self, Fleet};
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::driven_by::DrivenBy;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};

/// Names and statuses of all computers that an engine runs, also of deleted ones that it still has.
pub fn owners(tx: &Tx<'_>) -> Result<HashMap<ComputerId, (String, String)>> {
    let mut statement =
        tx.prepare_cached("SELECT id, name, status FROM computers WHERE driver = 'docker'")?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Makes a computer of a container, under the id that its label says; what it runs is billed from now on.
///
/// # Errors
/// 404 for a workspace that is not there, 409 where it has no project to put the computer into.
pub fn adopt(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    id: ComputerId,
    workspace: WorkspaceId,
    container: &Listed,
) -> Result<()> {
    let tenant: Option<TenantId> = tx
        .row(
            "SELECT tenant_id FROM workspaces WHERE id = ?1 AND deleted_at IS NULL",
            [workspace],
            |row| row.get(0),
        )
        .optional()?;
    let tenant = tenant.ok_or_else(|| Error::not_found("workspace"))?;
    let sql = "SELECT id FROM projects WHERE workspace_id = ?1 AND deleted_at IS NULL
             ORDER BY is_default DESC, created_at, id LIMIT 1";
    let project: Option<ProjectId> = tx.row(sql, [workspace], |row| row.get(0)).optional()?;
    let project = project.ok_or_else(|| {
        Error::conflict(
            "RESOURCE_STATE",
            "the workspace has no project to put the computer into; create one first",
        )
    })?;
    let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
    let size: Size = label(spec::SIZE).parse().unwrap_or(Size::Small);
    let sql = "INSERT INTO computers (id, tenant_id, workspace_id, project_id, name, slug, template_type, size, status,
             driver, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :project, :name, :name, :template, :size, :status, :driver, :now, :now)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": tenant, ":workspace": workspace, ":project": project, ":name": container.name,
            ":template": label(spec::TEMPLATE), ":size": size, ":status": Status::Provisioning,
            ":driver": DrivenBy::Docker, ":now": tx.now(),
        },
    )?;
    let record = computers::load(tx, id)?
        .ok_or_else(|| Error::internal("an adopted computer is not there"))?;
    Change {
        kind: Status::Provisioning.event(),
        at: tx.now(),
        actor: Actor::Operator,
    }
    .apply(tx, fleet, None, record)?;
    // As it is: what stands still is not started by being found.
    let desired = if container.life == Life::Running {
        "running"
    } else {
        "stopped"
    };
    tx.run(
        "UPDATE machines SET desired = ?1, done_op = op, engine_ref = ?2, held_to = ?3 WHERE computer_id = ?4",
        (desired, &container.id, size, id),
    )?;
    Ok(())
}
