//! Writing a capsule into the importing organization: all of it in one transaction, or nothing.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::format::{Audit, Computer, Project, Rows};
use super::read::Capsule;
use super::write::Contents;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::error::{Error, Fields, Result};
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::rules::status::Status;
use crate::rules::text;
use crate::store::WriteTx;
use crate::usage::ledger::attribution;
use crate::usage::ledger::rates::Vcpus;
use crate::usage::ledger::transfer::{self, Consumed, ExportedEvent};
use crate::{domains, json, limits, workspaces};

/// [`ImportQuery`], checked.
pub struct Options {
    pub slug: Option<String>,
    pub external_workspace_id: Option<String>,
    pub keep_running: bool,
    pub rename_computers: bool,
    pub without_domains: bool,
}

/// What an import did.
#[derive(Serialize, ToSchema)]
pub struct Imported {
    /// false: the workspace was here already, by this file or as it is; nothing has changed.
    pub imported: bool,
    workspace_id: WorkspaceId,
    /// Its slug here.
    pub slug: String,
    /// Since when it is deleted: it came in as such, with its usage, to be explained with `include_deleted=1`.
    deleted_at: Option<Timestamp>,
    /// The instant that the file shows.
    exported_at: Timestamp,
    /// What the file holds.
    rows: Rows,
    /// What its computers consumed up to then, the same here and there.
    usage: Consumed,
    /// Corrections up to then, signed micro-credits.
    corrections_micros: i64,
    /// Computers that ran, or were on their way, and are stopped here since the instant of the export.
    stopped: Vec<ComputerId>,
    /// Computers that run here from now on.
    kept_running: Vec<ComputerId>,
}

impl Imported {
    fn new(capsule: &Capsule, slug: String, imported: bool) -> Self {
        Imported {
            imported,
            workspace_id: capsule.contents.workspace.id,
            slug,
            deleted_at: capsule.contents.workspace.deleted_at.map(Timestamp),
            exported_at: Timestamp(capsule.head.exported_at),
            rows: capsule.end.rows,
            usage: capsule.end.usage,
            corrections_micros: capsule.end.corrections_micros,
            stopped: Vec::new(),
            kept_running: Vec::new(),
        }
    }
}

fn conflict(text: impl Into<String>) -> Error {
    Error::conflict("CAPSULE_CONFLICT", text)
}

/// Brings the capsule in, unless it is here already.
///
/// # Errors
/// 403, 409 `CAPSULE_CONFLICT`, 422 `LIMIT_EXCEEDED`, `CAPSULE_TOTALS`, and what is wrong with `options`;
/// then nothing has changed.
pub(super) fn import(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    capsule: Capsule,
    options: &Options,
) -> Result<Imported> {
    let tenant = caller.tenant_id();
    if is_here(tx, tenant, &capsule)? {
        return Ok(Imported::new(
            &capsule,
            capsule.contents.workspace.slug.clone(),
            false,
        ));
    }
    let contents = &capsule.contents;
    let corrects = contents
        .events
        .iter()
        .any(|event| event.amount_micros.is_some());
    if corrects && !caller.key().operator {
        return Err(Error::denied(
            "FORBIDDEN",
            "this workspace has corrections of its usage, which only an operator may post: import it with an operator key",
        ));
    }
    ids_are_free(tx, contents)?;
    let live = contents.computers.iter().filter(|c| c.deleted_at.is_none());
    limits::check_import(
        tx,
        &fleet.config.file,
        tenant,
        usize::from(contents.workspace.deleted_at.is_none()),
        contents
            .projects
            .iter()
            .filter(|p| p.deleted_at.is_none())
            .count(),
        live.clone().count(),
        live.map(|computer| computer.size).max(),
    )?;

    let slug = workspace(tx, tenant, contents, options)?;
    let id = contents.workspace.id;
    // What is deleted first: its slug may have been used again.
    let (deleted, living): (Vec<_>, Vec<_>) = contents
        .projects
        .iter()
        .partition(|p| p.deleted_at.is_some());
    for row in deleted.into_iter().chain(living) {
        project(tx, tenant, id, row)?;
    }
    if !options.without_domains {
        for domain in &contents.domains {
            let (scope, owner) = match domain.project_id {
                Some(project) => (domains::Scope::Project, project.0),
                None => (domains::Scope::Workspace, id.0),
            };
            domains::handlers::import(tx, &fleet.config, tenant, scope, owner, &domain.domain)?;
        }
    }
    transfer::import_events(tx, tenant, id, &contents.events, &contents.workspace.prices)?;
    let mut imported = Imported::new(&capsule, slug, true);
    let mut last: BTreeMap<ComputerId, &ExportedEvent> = BTreeMap::new();
    let ends = contents.computers.iter().map(|c| (c.id, c.deleted_at));
    let ends: BTreeMap<ComputerId, Option<i64>> = ends.collect();
    for event in &contents.events {
        let Some(computer) = event.computer_id else {
            continue;
        };
        // What was reported for a time after a deletion says nothing of what is gone.
        let end = ends.get(&computer).copied().flatten();
        if end.is_some_and(|end| event.at > end) {
            continue;
        }
        if last.get(&computer).is_none_or(|last| last.at <= event.at) {
            last.insert(computer, event);
        }
    }
    for row in &contents.computers {
        let last = last
            .get(&row.id)
            .ok_or_else(|| Error::internal("a computer without an event was let in"))?;
        let row = stop_copy(
            tx,
            fleet,
            tenant,
            &capsule,
            row.clone(),
            last,
            options,
            &mut imported,
        )?;
        let row = match (row.deleted_at, last.size, last.project_id) {
            (Some(_), Some(size), Some(project_id)) => Computer {
                size,
                project_id,
                ..row
            },
            _ => row,
        };
        computer(tx, fleet, tenant, id, &row, options)?;
    }
    tx.agenda_changed();
    check_totals(tx, tenant, &capsule)?;
    let first = audit_rows(tx, tenant, id, &contents.audit)?;
    record(tx, caller, &capsule, &imported, first)?;
    Ok(imported)
}

/// Whether this capsule has been imported into this organization before, or is of this very workspace
/// as it is here.
fn is_here(tx: &WriteTx<'_>, tenant: TenantId, capsule: &Capsule) -> Result<bool> {
    let id = capsule.contents.workspace.id;
    let found: Option<(TenantId, bool)> = tx
        .row(
            "SELECT tenant_id, deleted_at IS NOT NULL FROM workspaces WHERE id = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    match found {
        None => return Ok(false),
        Some((owner, _)) if owner != tenant => {
            return Err(conflict(
                "this workspace belongs to another organization of this installation; ids are kept, so it can be imported \
                 into another installation only",
            ));
        }
        Some((_, true)) if capsule.contents.workspace.deleted_at.is_none() => {
            return Err(conflict(
                "this workspace was here and has been deleted; its usage is kept under its id, so it cannot come again",
            ));
        }
        Some(_) => {}
    }
    let imported: bool = tx.row(
        "SELECT EXISTS (SELECT 1 FROM audit_log WHERE workspace_id = ?1 AND tenant_id = ?2
                 AND type = 'workspace.imported' AND after ->> 'sha256' = ?3)",
        (id, tenant, &capsule.end.sha256),
        |row| row.get(0),
    )?;
    if imported || Contents::read(tx, tenant, id)?.digest()? == capsule.contents.digest()? {
        return Ok(true);
    }
    Err(conflict(format!(
        "this workspace is here already, with other content than the file of {}; it has been changed here or there since. \
         Import the file into another installation to compare",
        Timestamp(capsule.head.exported_at)
    )))
}

/// Ids are kept, so none of them may be anybody's here.
fn ids_are_free(tx: &WriteTx<'_>, contents: &Contents) -> Result<()> {
    let taken = |what: &str, id: uuid::Uuid| {
        conflict(format!(
            "the {what} {id} is on this installation already; ids are kept, so import into another installation"
        ))
    };
    for project in &contents.projects {
        let sql = "SELECT EXISTS (SELECT 1 FROM projects WHERE id = ?1)";
        if tx.row(sql, [project.id], |row| row.get(0))? {
            return Err(taken("project", project.id.0));
        }
    }
    for computer in &contents.computers {
        let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE id = ?1)";
        if tx.row(sql, [computer.id], |row| row.get(0))? {
            return Err(taken("computer", computer.id.0));
        }
    }
    Ok(())
}

/// Inserts the workspace; returns its slug here. It is nobody's default.
fn workspace(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    contents: &Contents,
    options: &Options,
) -> Result<String> {
    let w = &contents.workspace;
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
    tx.run(
        "INSERT INTO workspaces (id, tenant_id, name, slug, external_workspace_id, external_user_id, description,
             metadata, max_computers, max_computer_size, default_computer_size, default_auto_stop_seconds,
             allowed_template_types, created_at, updated_at, deleted_at)
         VALUES (:id, :tenant, :name, :slug, :external, :user, :description, :metadata, :max, :max_size, :size,
             :auto_stop, :templates, :created, :updated, :deleted)",
        named_params! {
            ":id": w.id, ":tenant": tenant, ":name": w.name, ":slug": slug, ":external": external,
            ":user": w.external_user_id, ":description": w.description, ":metadata": w.metadata,
            ":max": w.max_computers, ":max_size": w.max_computer_size, ":size": w.default_computer_size,
            ":auto_stop": w.default_auto_stop_seconds, ":templates": json::text(&w.allowed_template_types)?,
            ":created": w.created_at, ":updated": w.updated_at, ":deleted": w.deleted_at,
        },
    )?;
    if live {
        workspaces::count_new(tx, tenant)?;
    }
    Vcpus::import(tx, w.id, &w.vcpus)?;
    Ok(slug.to_owned())
}

/// Inserts a project. The counters of schema.sql know a deletion only as a change.
fn project(tx: &WriteTx<'_>, tenant: TenantId, workspace: WorkspaceId, p: &Project) -> Result<()> {
    let live = p.deleted_at.is_none();
    let slug = if live {
        p.slug.clone()
    } else {
        p.id.to_string()
    };
    tx.run(
        "INSERT INTO projects (id, tenant_id, workspace_id, external_project_id, name, slug, description, metadata,
             is_default, created_at, updated_at)
         VALUES (:id, :tenant, :workspace, :external, :name, :slug, :description, :metadata, :default, :created,
             :updated)",
        named_params! {
            ":id": p.id, ":tenant": tenant, ":workspace": workspace,
            ":external": p.external_project_id.as_ref().filter(|_| live), ":name": p.name, ":slug": slug,
            ":description": p.description, ":metadata": p.metadata, ":default": p.is_default && live,
            ":created": p.created_at, ":updated": p.updated_at,
        },
    )
    .map_err(twice)?;
    attribution::import(tx, p.id.0, &p.past_external_ids)?;
    if !live {
        tx.run(
            "UPDATE projects SET slug = ?1, external_project_id = ?2, is_default = ?3, deleted_at = ?4
             WHERE id = ?5 AND tenant_id = ?6",
            (&p.slug, &p.external_project_id, p.is_default, p.deleted_at, p.id, tenant),
        )?;
    }
    Ok(())
}

/// Two rows of the file have what only one may have.
fn twice(e: rusqlite::Error) -> Error {
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
/// is. With `keep_running` the built-in driver starts it again, here and now, at this server's price.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of an import, with all that it needs"
)]
fn stop_copy(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    tenant: TenantId,
    capsule: &Capsule,
    mut row: Computer,
    last: &ExportedEvent,
    options: &Options,
    imported: &mut Imported,
) -> Result<Computer> {
    let workspace = capsule.contents.workspace.id;
    let up = matches!(
        row.status,
        Status::Running | Status::Starting | Status::Provisioning
    );
    if !up && row.status != Status::Stopping {
        return Ok(row);
    }
    let keep = up && options.keep_running && row.driver == "simulated";
    let switch = |status, at| {
        transfer::append_status(tx, &fleet.catalog, tenant, workspace, last, status, at)
    };
    if !keep || row.status.billable() {
        let at = switch(Status::Stopped, Timestamp(capsule.head.exported_at))?;
        row.stopped_at = Some(at.0);
        row.status = Status::Stopped;
    }
    if keep {
        let at = switch(Status::Running, tx.now())?;
        row.started_at = Some(at.0);
        row.status = Status::Running;
        imported.kept_running.push(row.id);
    } else {
        imported.stopped.push(row.id);
    }
    row.updated_at = tx.now().0;
    Ok(row)
}

fn computer(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    tenant: TenantId,
    workspace: WorkspaceId,
    c: &Computer,
    options: &Options,
) -> Result<()> {
    let live = c.deleted_at.is_none();
    let taken = |tx: &crate::store::Tx<'_>, slug: &str| -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM computers WHERE tenant_id = ?1 AND slug = ?2 AND deleted_at IS NULL)";
        Ok(tx.row(sql, (tenant, slug), |row| row.get(0))?)
    };
    let slug = if !live {
        c.id.to_string()
    } else if options.rename_computers {
        text::free_slug(tx, &c.slug, taken)?
    } else if taken(tx, &c.slug)? {
        return Err(conflict(format!(
            "the slug {:?} of a computer is taken in this organization; import with --rename-computers \
             (?rename_computers=true), which gives those the next free one",
            c.slug
        )));
    } else {
        c.slug.clone()
    };
    let due = match c.status {
        Status::Running if c.driver == "simulated" => Status::Running
            .next(&fleet.config.delays, c.auto_stop_seconds)
            .and_then(|(_, ms)| Some(c.started_at? + ms)),
        _ => None,
    };
    tx.run(
        "INSERT INTO computers (id, tenant_id, workspace_id, project_id, name, slug, template_type, size, status,
             driver, visibility, metadata, selected_apps, settings, external_user_id, external_project_id,
             auto_stop_seconds, due_at, created_at, updated_at, started_at, stopped_at)
         VALUES (:id, :tenant, :workspace, :project, :name, :slug, :template, :size, :status, :driver, :visibility,
             :metadata, :apps, :settings, :user, :external, :auto_stop, :due, :created, :updated, :started, :stopped)",
        named_params! {
            ":id": c.id, ":tenant": tenant, ":workspace": workspace, ":project": c.project_id, ":name": c.name,
            ":slug": slug, ":template": c.template_type, ":size": c.size, ":status": c.status, ":driver": c.driver,
            ":visibility": c.visibility, ":metadata": c.metadata, ":apps": json::text(&c.selected_apps)?,
            ":settings": c.settings, ":user": c.external_user_id, ":external": c.external_project_id,
            ":auto_stop": c.auto_stop_seconds, ":due": due, ":created": c.created_at, ":updated": c.updated_at,
            ":started": c.started_at, ":stopped": c.stopped_at,
        },
    )
    .map_err(twice)?;
    attribution::import(tx, c.id.0, &c.past_external_ids)?;
    if !live {
        tx.run(
            "UPDATE computers SET slug = ?1, deleted_at = ?2 WHERE id = ?3 AND tenant_id = ?4",
            (&c.slug, c.deleted_at, c.id, tenant),
        )?;
    }
    Ok(())
}

/// The books after the import are those of the manifest, by the meter and by the events.
fn check_totals(tx: &WriteTx<'_>, tenant: TenantId, capsule: &Capsule) -> Result<()> {
    let (contents, end) = (&capsule.contents, &capsule.end);
    let until = capsule.head.exported_at;
    let differ = |what: String| {
        Error::field(
            "capsule",
            format!("the totals of {what} are others after the import than the file says; nothing was imported"),
        )
        .with_code("CAPSULE_TOTALS")
    };
    let metered = transfer::metered(tx, contents.workspace.id, until)?;
    if metered != (end.usage, end.corrections_micros) {
        return Err(differ("the workspace".into()));
    }
    for computer in &contents.computers {
        let chain = transfer::history_of(tx, tenant, computer.id, usize::MAX)?;
        let events = chain.iter().map(|stored| &stored.event);
        if transfer::consumed(events, until)? != computer.usage {
            return Err(differ(format!("the computer {}", computer.id)));
        }
    }
    Ok(())
}

/// Appends the audit rows that came along. They are older than whatever happened here, and get numbers
/// below all others: live streams, which go on from the newest, do not show them as news, and retention
/// finds them at the old end. Returns the first of the numbers.
fn audit_rows(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    rows: &[Audit],
) -> Result<Option<i64>> {
    let oldest: i64 = tx.row("SELECT coalesce(min(seq), 1) FROM audit_log", [], |row| {
        row.get(0)
    })?;
    let first = oldest.min(1) - i64::try_from(rows.len()).map_err(Error::internal)?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO audit_log (seq, tenant_id, workspace_id, at, actor_type, actor_id, actor_label, ip_address,
             request_id, type, resource_type, resource_id, before, after)
         VALUES (:seq, :tenant, :workspace, :at, :actor, :actor_id, :label, :ip, :request, :type, :resource,
             :resource_id, :before, :after)",
    )?;
    for (row, seq) in rows.iter().zip(first..) {
        insert.execute(named_params! {
            ":seq": seq, ":tenant": tenant, ":workspace": workspace, ":at": row.at, ":actor": row.actor_type,
            ":actor_id": row.actor_id.map(uuid::Uuid::into_bytes), ":label": row.actor_label, ":ip": row.ip_address,
            ":request": row.request_id, ":type": row.r#type, ":resource": row.resource_type,
            ":resource_id": row.resource_id.into_bytes(), ":before": row.before.as_ref().map(json::text).transpose()?,
            ":after": row.after.as_ref().map(json::text).transpose()?,
        })?;
    }
    Ok((!rows.is_empty()).then_some(first))
}

/// Says what was imported, and which rows of the audit log are by the file's word only.
fn record(
    tx: &WriteTx<'_>,
    caller: &Caller,
    capsule: &Capsule,
    imported: &Imported,
    first: Option<i64>,
) -> Result<()> {
    let after = json!({
        "sha256": capsule.end.sha256, "slug": imported.slug, "exported_at": imported.exported_at,
        "exported_by": capsule.head.made_by, "organization": capsule.head.organization, "rows": capsule.end.rows,
        "usage": capsule.end.usage, "corrections_micros": capsule.end.corrections_micros,
        "stopped": imported.stopped.len(), "kept_running": imported.kept_running.len(),
        "audit_rows": first.map(|first| json!({ "first": first.to_string(), "count": capsule.end.rows.audit })),
    });
    let id = capsule.contents.workspace.id;
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: caller.tenant_id(),
            workspace_id: Some(id),
            kind: "workspace.imported",
            resource: id.0,
            before: audit::NONE,
            after: Some(&after),
        },
    )
}
