//! Look-ups and changes of the rows.

use std::sync::LazyLock;

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde_json::value::RawValue;

use super::types::*;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::error::{Error, Result, TAKEN, is_unique_violation};
use crate::ids::{TenantId, WorkspaceId};
use crate::json::{self, Object};
use crate::limits;
use crate::store::{Tx, WriteTx};

/// The live workspace with this id, if the caller may touch it.
///
/// # Errors
/// 404 `workspace not found`; 403 for another tenant's; then the route's scope.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId) -> Result<Record> {
    let record = reach(tx, caller, id)?;
    caller.check_scope()?;
    Ok(record)
}

/// As [`find`], for a workspace that is named in a body: the route's scope was or will be asked
/// for on another row.
///
/// # Errors
/// 404, 403.
pub fn reach(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId) -> Result<Record> {
    let found = tx.row(BY_ID.as_str(), [id], Record::from_row).optional()?;
    let record = found.ok_or_else(|| Error::not_found("workspace"))?;
    caller.within_reach(record.view.tenant_id, id)?;
    Ok(record)
}

/// As [`find`]; where `deleted` says so also one that is deleted, whose last bill is to be explained.
///
/// # Errors
/// As [`find`]; 403 where deleted ones are asked for by a key that may not.
pub fn find_billed(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId, deleted: bool) -> Result<Record> {
    if !deleted {
        return find(tx, caller, id);
    }
    caller.check_past()?;
    find_kept(tx, caller, id)
}

/// As [`find`], also one that is deleted.
///
/// # Errors
/// As [`find`].
pub fn find_kept(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId) -> Result<Record> {
    let sql = format!(
        "SELECT {} FROM workspaces w WHERE w.id = ?1
             AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.workspace_id = w.id)",
        *COLUMNS
    );
    let found = tx.prepare_cached(&sql)?.query_row([id], Record::from_row);
    let record = found
        .optional()?
        .ok_or_else(|| Error::not_found("workspace"))?;
    caller.within_reach(record.view.tenant_id, id)?;
    caller.check_scope()?;
    Ok(record)
}

/// What [`Record::from_row`] reads.
static COLUMNS: LazyLock<String> = LazyLock::new(Record::columns);

static BY_ID: LazyLock<String> = LazyLock::new(|| select("w.id = ?1"));

/// The statement for a [`Record`] of the live workspace that a condition on `w` finds.
fn select(condition: &str) -> String {
    format!(
        "SELECT {} FROM workspaces w WHERE {condition} AND w.deleted_at IS NULL",
        *COLUMNS
    )
}

/// One live workspace of a tenant by a unique column.
fn find_by(
    tx: &Tx<'_>,
    tenant: TenantId,
    column: &'static str,
    value: &str,
) -> Result<Option<Record>> {
    Ok(tx
        .prepare_cached(&select(&format!("w.tenant_id = ?1 AND w.{column} = ?2")))?
        .query_row((tenant, value), Record::from_row)
        .optional()?)
}

/// The tenant's workspace with this slug.
pub fn find_by_slug(tx: &Tx<'_>, tenant: TenantId, slug: &str) -> Result<Option<Record>> {
    find_by(tx, tenant, "slug", slug)
}

/// The tenant's workspace with this id of the caller's.
pub fn find_by_external(tx: &Tx<'_>, tenant: TenantId, external: &str) -> Result<Option<Record>> {
    find_by(tx, tenant, "external_workspace_id", external)
}

/// The tenant's default workspace, which always exists.
pub fn default_of(tx: &Tx<'_>, tenant: TenantId) -> Result<Record> {
    Ok(tx
        .prepare_cached(&select("w.tenant_id = ?1 AND w.is_default = 1"))?
        .query_row([tenant], Record::from_row)?)
}

/// A workspace to be inserted.
pub struct New<'a> {
    pub tenant_id: TenantId,
    pub name: &'a str,
    pub slug: &'a str,
    pub external_workspace_id: Option<&'a str>,
    pub external_user_id: Option<&'a str>,
    pub description: Option<&'a str>,
    pub metadata: Object,
    /// Only for a tenant's first.
    pub is_default: bool,
}

/// A workspace that has just been inserted.
pub struct Created {
    pub record: Record,
    /// As the API shows it: written once, for the audit log and for the reply.
    pub json: Box<RawValue>,
}

/// Inserts a workspace; the unique indexes decide.
///
/// # Errors
/// 422 when the slug or the external id has been taken; a ceiling of the organization.
pub fn insert(
    tx: &WriteTx<'_>,
    file: &crate::rules::config::ConfigFile,
    actor: Actor<'_>,
    new: New<'_>,
) -> Result<Created> {
    limits::check_workspaces(tx, file, new.tenant_id)?;
    let id: WorkspaceId = tx.new_id();
    // By position: to find eleven names costs as much as an index.
    let sql = "INSERT INTO workspaces (id, tenant_id, name, slug, external_workspace_id, external_user_id, description,
             metadata, is_default, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)";
    tx.run(
        sql,
        (
            id,
            new.tenant_id,
            new.name,
            new.slug,
            new.external_workspace_id,
            new.external_user_id,
            new.description,
            &new.metadata,
            new.is_default,
            tx.now(),
        ),
    )
    .map_err(unique)?;
    count_new(tx, new.tenant_id)?;
    let record = Record {
        view: Workspace {
            id,
            tenant_id: new.tenant_id,
            name: new.name.to_owned(),
            slug: new.slug.to_owned(),
            external_workspace_id: new.external_workspace_id.map(str::to_owned),
            description: new.description.map(str::to_owned),
            metadata: new.metadata,
            is_default: new.is_default,
            computer_count: 0,
            created_at: tx.now(),
            updated_at: tx.now(),
        },
        settings: Settings::initial(),
        project_count: 0,
    };
    let json = json::raw(&record.view)?;
    audit::record(
        tx,
        &record.entry(actor, "workspace.created", audit::NONE, Some(&json)),
    )?;
    Ok(Created { record, json })
}

/// Counts a workspace that has just been inserted; the triggers know only how one goes.
pub fn count_new(tx: &WriteTx<'_>, tenant: TenantId) -> Result<()> {
    tx.run(
        "UPDATE tenants SET workspace_count = workspace_count + 1 WHERE id = ?1",
        [tenant],
    )?;
    Ok(())
}

impl Record {
    pub(super) fn audit(
        &self,
        tx: &WriteTx<'_>,
        actor: Actor<'_>,
        kind: &str,
        before: Option<&Workspace>,
    ) -> Result<()> {
        let after = (kind != "workspace.deleted").then_some(&self.view);
        audit::record(tx, &self.entry(actor, kind, before, after))
    }

    fn entry<'a, B: Serialize, A: Serialize>(
        &self,
        actor: Actor<'a>,
        kind: &'a str,
        before: Option<&'a B>,
        after: Option<&'a A>,
    ) -> Entry<'a, B, A> {
        Entry {
            actor,
            tenant_id: self.view.tenant_id,
            workspace_id: Some(self.view.id),
            kind,
            resource: self.view.id.0,
            before,
            after,
        }
    }
}

pub(super) fn unique(e: rusqlite::Error) -> Error {
    if is_unique_violation(&e, "workspaces.slug") {
        Error::field("slug", TAKEN)
    } else if is_unique_violation(&e, "workspaces.external_workspace_id") {
        Error::field("external_workspace_id", TAKEN)
    } else {
        e.into()
    }
}

/// Whether a live workspace of the tenant has this slug.
pub fn slug_taken(tx: &Tx<'_>, tenant: TenantId, slug: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM workspaces WHERE tenant_id = ?1 AND slug = ?2 AND deleted_at IS NULL)";
    Ok(tx.row(sql, (tenant, slug), |row| row.get(0))?)
}
