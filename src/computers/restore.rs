//! Deleted computers that come back: stopped, so that nothing runs that nobody started.

use axum::extract::State;
use axum::response::Response;
use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use utoipa::ToSchema;

use super::create::host_label;
use super::lifecycle::Change;
use super::rows::SELECT;
use super::{Computer, Record, changed, find, load};
use crate::access::caller::Caller;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::deleted::{Lost, not_kept, parent_first};
use crate::error::{Error, Result};
use crate::http::{Mutation, NoBody, PathId, Reply};
use crate::ids::{ComputerId, ProjectId, WorkspaceId};
use crate::limits::{self, Growth};
use crate::rules::driven_by::DrivenBy;
use crate::rules::status::Status;
use crate::store::{TURN, Tx, WriteTx};
use crate::usage::ledger::event::RESTORED;
use crate::workspaces;

/// A computer that is there again.
#[derive(Serialize, ToSchema)]
pub struct RestoredComputer {
    #[serde(flatten)]
    computer: Computer,
    /// What could not be given back, or is different; empty where it is as it was.
    not_restored: Vec<Lost>,
}

/// `POST /computers/{id}/restore`
pub async fn restore(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let mut not_restored = Vec::new();
            if load(tx, id)?.is_some() {
                // It is there: said twice, done once.
                find(tx, caller, id)?;
                input?;
            } else {
                let before = find_deleted(tx, caller, id)?;
                input?;
                not_restored.extend(restore_one(tx, &fleet, caller, before)?);
            }
            Ok(Reply::ok(RestoredComputer {
                computer: changed(tx, &fleet, id)?,
                not_restored,
            }))
        })
        .await
}

/// A deleted computer, if the caller may touch it.
fn find_deleted(tx: &Tx<'_>, caller: &Caller, id: ComputerId) -> Result<Record> {
    let sql = format!(
        "{} WHERE c.id = ?1 AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = c.workspace_id)",
        *SELECT
    );
    let found = tx.prepare_cached(&sql)?.query_row([id], Record::from_row);
    let computer = found
        .optional()?
        .ok_or_else(|| Error::not_found("computer"))?;
    caller.within_reach(computer.tenant_id, computer.workspace_id)?;
    if caller
        .only_user()
        .is_some_and(|user| computer.external_user_id.as_deref() != Some(user))
    {
        return Err(Error::forbidden());
    }
    caller.check_scope()?;
    Ok(computer)
}

fn restore_one(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    before: Record,
) -> Result<Option<Lost>> {
    let kept: (Option<Timestamp>, Option<WorkspaceId>) = tx.row(
        "SELECT restorable_until, deleted_with FROM computers WHERE id = ?1",
        [before.id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if kept.0.is_none() || !has_machine(tx, &before)? {
        return Err(not_kept("computer"));
    }
    if let Some(workspace) = kept.1 {
        return Err(parent_first("computer", "workspace", workspace.0));
    }
    let place = place(tx, before.project_id)?;
    let workspace = workspaces::reach(tx, caller, place.0)?;
    let growth = Growth {
        workspace: 1,
        tenant: 1,
        sizes: &[before.size],
        templates: std::slice::from_ref(&before.template_type),
        starts_in: None,
    };
    limits::check(tx, &fleet.config.file, &workspace, &growth)?;
    come_back(tx, fleet, Some(caller), before, place)
}

/// Where a computer of this project is to be; its project may have gone to another workspace meanwhile.
fn place(tx: &Tx<'_>, project: ProjectId) -> Result<(WorkspaceId, Option<String>)> {
    let sql = "SELECT workspace_id, external_project_id, deleted_at IS NOT NULL, deleted_with FROM projects WHERE id = ?1";
    let (workspace, external, deleted, with): (_, _, bool, Option<WorkspaceId>) =
        tx.row(sql, [project], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    match with {
        Some(workspace) => Err(parent_first("computer", "workspace", workspace.0)),
        None if deleted => Err(parent_first("computer", "project", project.0)),
        None => Ok((workspace, external)),
    }
}

/// Of a computer that an engine runs there has to be something left.
fn has_machine(tx: &Tx<'_>, computer: &Record) -> Result<bool> {
    if computer.driver != DrivenBy::Docker {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM machines WHERE computer_id = ?1)";
    Ok(tx.row(sql, [computer.id], |row| row.get(0))?)
}

/// Makes the row live again, stopped. First where it is, so that the counters see one change at a time.
fn come_back(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: Option<&Caller>,
    before: Record,
    (workspace, external): (WorkspaceId, Option<String>),
) -> Result<Option<Lost>> {
    let slug = host_label(tx, before.tenant_id, before.driver, &before.slug, before.id)?;
    let sql =
        "UPDATE computers SET slug = :slug, workspace_id = :workspace, restorable_until = NULL,
             deleted_with = NULL
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! { ":slug": slug, ":workspace": workspace, ":id": before.id, ":tenant": before.tenant_id },
    )?;
    let lost = (slug != before.slug).then(|| {
        let text = format!(
            "{} is the label of another computer by now; this one has {slug}, and with it other addresses",
            before.slug
        );
        Lost::new("slug", text)
    });
    let after = Record {
        status: Status::Stopped,
        workspace_id: workspace,
        external_project_id: external,
        slug,
        ..before.clone()
    };
    Change {
        kind: RESTORED,
        at: tx.now(),
        actor: caller.map_or(Actor::System, Actor::Key),
    }
    .apply(tx, fleet, Some(&before), after)?;
    Ok(lost)
}

/// Brings back computers that went with a workspace. Returns whether some are left.
pub fn restore_some(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: Option<&Caller>,
    workspace: WorkspaceId,
) -> Result<bool> {
    let sql = format!(
        "{} WHERE c.deleted_with = ?1 ORDER BY c.id LIMIT {}",
        *SELECT,
        TURN + 1
    );
    let computers = tx
        .prepare_cached(&sql)?
        .query_map([workspace], Record::from_row)?
        .collect::<Result<Vec<_>, _>>()?;
    let count = computers.len();
    for (n, computer) in computers.into_iter().take(TURN).enumerate() {
        if has_machine(tx, &computer)? {
            let external = computer.external_project_id.clone();
            come_back(tx, fleet, caller, computer, (workspace, external))?;
        } else {
            let sql = "UPDATE computers SET restorable_until = NULL, deleted_with = NULL
                 WHERE id = ?1 AND tenant_id = ?2";
            tx.run(sql, (computer.id, computer.tenant_id))?;
        }
        if n + 1 < count && tx.turn_is_over() {
            return Ok(true);
        }
    }
    Ok(count > TURN)
}
