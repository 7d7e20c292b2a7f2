//! Whether there is room and a name for what a capsule brings.

use rusqlite::OptionalExtension;

use super::read::Checked;
use super::write;
use crate::access::caller::Caller;
use crate::computers::Fleet;
use crate::error::{Error, Fields, Result};
use crate::ids::TenantId;
use crate::rules::text;
use crate::store::Tx;
use crate::{domains, limits, workspaces};

/// [`ImportQuery`], checked.
pub struct Options {
    pub slug: Option<String>,
    pub external_workspace_id: Option<String>,
    pub keep_running: bool,
    pub rename_computers: bool,
    pub without_domains: bool,
}

pub(super) fn conflict(text: impl Into<String>) -> Error {
    Error::conflict("CAPSULE_CONFLICT", text)
}

/// Whether there is a place for a capsule.
pub(super) enum Place {
    /// It has been imported before.
    Taken,
    /// This workspace is here, and shows this to [`write::digest`].
    Other([u8; 32]),
    Free,
}

/// Whether this capsule has been imported into this organization before, or there is something under the
/// id of its workspace.
pub(super) fn find_place(tx: &Tx<'_>, tenant: TenantId, capsule: &Checked) -> Result<Place> {
    let id = capsule.workspace.id;
    let sql = "SELECT tenant_id, deleted_at IS NOT NULL, EXISTS (SELECT 1 FROM imports WHERE workspace_id = ?1)
             FROM workspaces WHERE id = ?1";
    let found: Option<(TenantId, bool, bool)> = tx
        .row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match found {
        None => return Ok(Place::Free),
        Some((owner, _, _)) if owner != tenant => {
            return Err(conflict(
                "this workspace belongs to another organization of this installation; ids are kept, so it can be imported \
                 into another installation only",
            ));
        }
        Some((_, _, true)) => {
            return Err(Error::unavailable(
                "an import of this workspace was interrupted and is being undone; try again",
                2,
            ));
        }
        Some((_, true, _)) if capsule.workspace.deleted_at.is_none() => {
            return Err(conflict(
                "this workspace was here and has been deleted; its usage is kept under its id, so it cannot come again",
            ));
        }
        Some(_) => {}
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM audit_log WHERE workspace_id = ?1 AND tenant_id = ?2
                 AND type = 'workspace.imported' AND after ->> 'sha256' = ?3)";
    let imported: bool = tx.row(sql, (id, tenant, &capsule.end.sha256), |row| row.get(0))?;
    Ok(if imported {
        Place::Taken
    } else {
        Place::Other(write::digest(tx, tenant, id)?)
    })
}

/// Refuses what the organization may not have, or has already.
pub(super) fn has_room(
    tx: &Tx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    capsule: &Checked,
    options: &Options,
) -> Result<()> {
    let tenant = caller.tenant_id();
    if capsule.corrects && !caller.key().operator {
        return Err(Error::denied(
            "FORBIDDEN",
            "this workspace has corrections of its usage, which only an operator may post: import it with an operator key",
        ));
    }
    limits::check_import(
        tx,
        &fleet.config.file,
        tenant,
        usize::from(capsule.workspace.deleted_at.is_none()),
        capsule.live_projects,
        capsule.live_computers,
        capsule.largest,
    )?;
    names_are_free(tx, tenant, capsule, options)?;
    if !options.without_domains {
        for domain in &capsule.domains {
            domains::change::importable(tx, &fleet.config, tenant, &domain.domain)?;
        }
    }
    Ok(())
}

/// Slug and external id of the workspace here, which nobody has.
pub(super) fn names_are_free<'a>(
    tx: &Tx<'_>,
    tenant: TenantId,
    capsule: &'a Checked,
    options: &'a Options,
) -> Result<(&'a str, Option<&'a str>)> {
    let w = &capsule.workspace;
    let slug = options.slug.as_deref().unwrap_or(&w.slug);
    let external = match options.external_workspace_id.as_deref() {
        Some("") => None,
        Some(other) => Some(other),
        None => w.external_workspace_id.as_deref(),
    };
    let mut fields = Fields::default();
    text::slug(&mut fields, "slug", slug);
    text::external_id(&mut fields, "external_workspace_id", external);
    fields.finish()?;
    // What is deleted takes nothing from the living.
    let live = w.deleted_at.is_none();
    if live && workspaces::slug_taken(tx, tenant, slug)? {
        return Err(conflict(format!(
            "the slug {slug:?} is taken in this organization; choose another one with --slug (?slug=)"
        )));
    }
    if live
        && let Some(external) = external
        && workspaces::find_by_external(tx, tenant, external)?.is_some()
    {
        return Err(conflict(format!(
            "the external_workspace_id {external:?} is taken in this organization; choose another one, or none, with \
             --external-id (?external_workspace_id=)"
        )));
    }
    Ok((slug, external))
}
