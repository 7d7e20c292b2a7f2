//! Writing the lines of a capsule into tables.

use rusqlite::named_params;

use super::format::{Audit, Computer, Project};
use super::place::{Options, conflict};
use super::read::Up;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::error::{Error, Result, is_unique_violation};
use crate::ids::{TenantId, WorkspaceId};
use crate::json;
use crate::rules::status::Status;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::transfer::{self};
use crate::usage::ledger::{attribution, labels};

/// Inserts a project. The counters of schema.sql know a deletion only as a change.
pub(super) fn project(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    p: &Project,
) -> Result<()> {
    let live = p.deleted_at.is_none();
    let slug = if live {
        p.slug.clone()
    } else {
        p.id.to_string()
    };
    let sql = "INSERT INTO projects (id, tenant_id, workspace_id, external_project_id, name, slug, description, metadata,
             is_default, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :external, :name, :slug, :description, :metadata, :default, :created,
             :updated)";
    tx.run(
        sql,
        named_params! {
            ":id": p.id, ":tenant": tenant, ":workspace": workspace,
            ":external": p.external_project_id.as_ref().filter(|_| live), ":name": p.name, ":slug": slug,
            ":description": p.description, ":metadata": p.metadata, ":default": p.is_default && live,
            ":created": p.created_at, ":updated": p.updated_at,
        },
    )
    .map_err(|e| taken(e, "project", p.id.0))?;
    attribution::import(tx, p.id.0, &p.past_external_ids)?;
    labels::import(tx, p.id.0, &p.past_metadata)?;
    if !live {
        let sql = "UPDATE projects SET slug = ?1, external_project_id = ?2, is_default = ?3, deleted_at = ?4
             WHERE id = ?5 AND tenant_id = ?6";
        tx.run(
            sql,
            (
                &p.slug,
                &p.external_project_id,
                p.is_default,
                p.deleted_at,
                p.id,
                tenant,
            ),
        )?;
    }
    Ok(())
}

/// Ids are kept, so none of them may be anybody's here; and two rows of the file may have what only one may.
pub(super) fn taken(e: rusqlite::Error, what: &str, id: uuid::Uuid) -> Error {
    let ids = ["workspaces.id", "projects.id", "computers.id"];
    if ids.iter().any(|id| is_unique_violation(&e, id)) {
        return conflict(format!(
            "the {what} {id} is on this installation already; ids are kept, so import into another installation"
        ));
    }
    let code = e.sqlite_error().map(|e| e.extended_code);
    if code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) {
        Error::field(
            "capsule",
            "has two live projects or computers with one slug, external id, or default",
        )
        .with_code("CAPSULE_INVALID")
    } else {
        e.into()
    }
}

/// What runs in the copy ends where the export was made; from then on the original is billed where it
/// is. With `keep` the built-in driver starts it again, here and now, at this server's price.
pub(super) fn stop_copy(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    tenant: TenantId,
    workspace: WorkspaceId,
    exported_at: Timestamp,
    up: &Up,
    keep: bool,
) -> Result<()> {
    let switch = |status, at| {
        let (id, held) = (up.id, up.held);
        transfer::append_status(tx, &fleet.catalog, tenant, workspace, id, held, status, at)
    };
    let (mut stopped, mut started) = (None, None);
    if !keep || up.held.status.billable() {
        stopped = Some(switch(Status::Stopped, exported_at)?);
    }
    if keep {
        started = Some(switch(Status::Running, tx.now())?);
    }
    let status = if keep {
        Status::Running
    } else {
        Status::Stopped
    };
    let sql = "UPDATE computers SET status = ?1, stopped_at = coalesce(?2, stopped_at),
             started_at = coalesce(?3, started_at), updated_at = ?4 WHERE id = ?5 AND tenant_id = ?6";
    tx.run(sql, (status, stopped, started, tx.now(), up.id, tenant))?;
    Ok(())
}

pub(super) fn computer(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    c: &Computer,
    options: &Options,
) -> Result<()> {
    let live = c.deleted_at.is_none();
    let slug_taken = |tx: &Tx<'_>, slug: &str| -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE tenant_id = ?1 AND slug = ?2 AND deleted_at IS NULL)";
        Ok(tx.row(sql, (tenant, slug), |row| row.get(0))?)
    };
    let slug = if !live {
        c.id.to_string()
    } else if options.rename_computers {
        text::free_slug(tx, &c.slug, slug_taken)?
    } else if slug_taken(tx, &c.slug)? {
        return Err(conflict(format!(
            "the slug {:?} of a computer is taken in this organization; import with --rename-computers \
             (?rename_computers=true), which gives those the next free one",
            c.slug
        )));
    } else {
        c.slug.clone()
    };
    let sql = "INSERT INTO computers (id, tenant_id, workspace_id, project_id, name, slug, template_type, size, status,
             driver, visibility, metadata, selected_apps, settings, external_user_id, external_project_id,
             auto_stop_seconds, created_at, updated_at, started_at, stopped_at)
         VALUES (:id, :tenant, :workspace, :project, :name, :slug, :template, :size, :status, :driver, :visibility,
             :metadata, :apps, :settings, :user, :external, :auto_stop, :created, :updated, :started, :stopped)";
    tx.run(
        sql,
        named_params! {
            ":id": c.id, ":tenant": tenant, ":workspace": workspace, ":project": c.project_id, ":name": c.name,
            ":slug": slug, ":template": c.template_type, ":size": c.size, ":status": c.status, ":driver": c.driver,
            ":visibility": c.visibility, ":metadata": c.metadata, ":apps": json::text(&c.selected_apps)?,
            ":settings": c.settings, ":user": c.external_user_id, ":external": c.external_project_id,
            ":auto_stop": c.auto_stop_seconds, ":created": c.created_at, ":updated": c.updated_at,
            ":started": c.started_at, ":stopped": c.stopped_at,
        },
    )
    .map_err(|e| taken(e, "computer", c.id.0))?;
    attribution::import(tx, c.id.0, &c.past_external_ids)?;
    labels::import(tx, c.id.0, &c.past_metadata)?;
    if !live {
        tx.run(
            "UPDATE computers SET slug = ?1, deleted_at = ?2 WHERE id = ?3 AND tenant_id = ?4",
            (&c.slug, c.deleted_at, c.id, tenant),
        )?;
    }
    Ok(())
}

pub(super) fn audit_row(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    row: &Audit,
    seq: i64,
) -> Result<()> {
    let sql = "INSERT INTO audit_log (seq, tenant_id, workspace_id, at, actor_type, actor_id, actor_label, ip_address,
             request_id, type, resource_type, resource_id, before, after, actor)
         VALUES (:seq, :tenant, :workspace, :at, :actor, :actor_id, :label, :ip, :request, :type, :resource,
             :resource_id, :before, :after, :who)";
    tx.run(
        sql,
        named_params! {
            ":seq": seq, ":tenant": tenant, ":workspace": workspace, ":at": row.at, ":actor": row.actor_type,
            ":actor_id": row.actor_id.map(uuid::Uuid::into_bytes), ":label": row.actor_label, ":ip": row.ip_address,
            ":request": row.request_id, ":type": row.r#type, ":resource": row.resource_type,
            ":resource_id": row.resource_id.into_bytes(), ":before": row.before.as_ref().map(json::text).transpose()?,
            ":after": row.after.as_ref().map(json::text).transpose()?,
            ":who": row.actor.as_ref().map(json::text).transpose()?,
        },
    )?;
    Ok(())
}
