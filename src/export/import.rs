//! Writing a capsule into the importing organization, in turns of the writer that keep nobody waiting.
//!
//! Until the last turn the workspace is marked as deleted and named in `imports`, which hides it and all that
//! is in it from every question. The last turn takes the mark away: so there is either all of it or nothing.
//! What a service that was killed has left behind, or an import that was refused half way, is removed again
//! ([`undo`]).

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::format::{Audit, Computer, Line, Project, Rows};
use super::read::{self, Checked, Lines, Up};
use super::write;
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::{Store, topics};
use crate::error::{Error, Fields, Result, is_unique_violation};
use crate::http::Source;
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::rules::status::Status;
use crate::rules::text;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::rates::Vcpus;
use crate::usage::ledger::transfer::{self, Consumed};
use crate::usage::ledger::{attribution, labels, tariff};
use crate::{domains, json, limits, time_zones, workspaces};

/// Lines, and bytes of them, that are read from the file at once.
const PIECE_LINES: usize = 256;
const PIECE_BYTES: usize = 256 << 10;
/// Steps of the meter that are written at once.
const STEPS: usize = 250;
/// Rows that a turn removes of an import that is undone.
const ROWS: i64 = 100;
/// After a failure of the storage, before the next try.
const BREATHER: Duration = Duration::from_secs(1);

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
    fn new(capsule: &Checked, slug: String, imported: bool) -> Self {
        Imported {
            imported,
            workspace_id: capsule.workspace.id,
            slug,
            deleted_at: capsule.workspace.deleted_at.map(Timestamp),
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

/// Whether there is a place for a capsule.
enum Place {
    /// It has been imported before.
    Taken,
    /// This workspace is here, and shows this to [`write::digest`].
    Other([u8; 32]),
    Free,
}

/// A capsule that has been written, up to the last turn.
pub(super) struct Brought {
    capsule: Arc<Checked>,
    options: Arc<Options>,
    imported: Imported,
    /// The first of its audit rows.
    first_audit: i64,
}

/// What became of a capsule.
pub(super) enum Outcome {
    /// It was here already.
    Here(Imported),
    /// To be brought to light by [`Brought::finish`].
    Brought(Box<Brought>),
}

/// Writes the capsule, hidden, unless it is here already. On a thread that may wait.
///
/// # Errors
/// What is wrong with the file; 403, 409 `CAPSULE_CONFLICT`, 422 `LIMIT_EXCEEDED`, and what is wrong with
/// `options`. What was written of the workspace, whose id is returned beside, is then to be undone.
pub(super) fn bring_in(
    store: &Store,
    fleet: &Fleet,
    caller: &Caller,
    file: Result<Source>,
    options: Result<Options>,
) -> (Option<WorkspaceId>, Result<Outcome>) {
    let checked = || {
        let (options, mut file) = (options?, file?);
        let capsule = read::check(&mut file, store.now().0)?;
        Ok((options, file, capsule))
    };
    match checked() {
        Err(e) => (None, Err(e)),
        Ok((options, mut file, capsule)) => {
            let id = capsule.workspace.id;
            let outcome = place_and_write(store, fleet, caller, &mut file, capsule, options);
            (Some(id), outcome)
        }
    }
}

fn place_and_write(
    store: &Store,
    fleet: &Fleet,
    caller: &Caller,
    file: &mut Source,
    mut capsule: Checked,
    options: Options,
) -> Result<Outcome> {
    let tenant = caller.tenant_id();
    let id = capsule.workspace.id;
    // What is written once is not kept any longer than that.
    let steps = std::mem::take(&mut capsule.steps);
    let prices = std::mem::take(&mut capsule.prices);
    let ended = std::mem::take(&mut capsule.ended);
    let (capsule, options) = (Arc::new(capsule), Arc::new(options));

    let (c, o, f, asking) = (
        capsule.clone(),
        options.clone(),
        fleet.clone(),
        caller.clone(),
    );
    let place = store.read_blocking(move |tx| match find_place(tx, tenant, &c)? {
        Place::Free => has_room(tx, &f, &asking, &c, &o).map(|()| Place::Free),
        other => Ok(other),
    })?;
    let here = match place {
        Place::Taken => true,
        Place::Other(digest) => digest == read::digest(file)?,
        Place::Free => false,
    };
    if here {
        let slug = capsule.workspace.slug.clone();
        return Ok(Outcome::Here(Imported::new(&capsule, slug, false)));
    }
    if matches!(place, Place::Other(_)) {
        return Err(conflict(format!(
            "this workspace is here already, with other content than the file of {}; it has been changed here or there \
             since. Import the file into another installation to compare",
            Timestamp(capsule.head.exported_at)
        )));
    }

    let (c, o, f) = (capsule.clone(), options.clone(), fleet.clone());
    let (slug, first_event, first_audit) =
        store.write_blocking(move |tx| begin(tx, &f, tenant, &c, &o))?;
    let mut writing = Writing {
        capsule: capsule.clone(),
        options: options.clone(),
        tenant,
        event: first_event,
        audit: first_audit,
        last_event: first_event
            + i64::try_from(capsule.end.rows.events).map_err(Error::internal)?
            - 1,
    };
    let mut lines = Lines::new(file)?;
    loop {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        while piece.len() < PIECE_LINES && bytes < PIECE_BYTES {
            let Some((line, length)) = lines.parsed()? else {
                break;
            };
            bytes += length;
            piece.push(writing.numbered(line));
        }
        if piece.is_empty() {
            break;
        }
        let writing = writing.clone();
        in_turns(store, id, piece, move |tx, (seq, line)| {
            writing.write(tx, *seq, line)
        })?;
    }
    if !options.without_domains {
        let fleet = fleet.clone();
        in_turns(store, id, capsule.domains.clone(), move |tx, domain| {
            let (scope, owner) = match domain.project_id {
                Some(project) => (domains::Scope::Project, project.0),
                None => (domains::Scope::Workspace, id.0),
            };
            domains::handlers::import(tx, &fleet.config, tenant, scope, owner, &domain.domain)
        })?;
    }
    let steps: Vec<Vec<_>> = steps.chunks(STEPS).map(<[_]>::to_vec).collect();
    in_turns(store, id, steps, move |tx, steps| {
        let steps = steps.iter();
        let numbered = steps.map(|(at, order, flow)| (*at, first_event + i64::from(*order), *flow));
        transfer::meter_steps(tx, id, numbered)
    })?;
    in_turns(store, id, prices, move |tx, price| {
        tariff::import(tx, id, std::slice::from_ref(price))
    })?;
    in_turns(store, id, ended, move |tx, (computer, size, project)| {
        tx.run(
            "UPDATE computers SET size = ?1, project_id = ?2 WHERE id = ?3 AND tenant_id = ?4",
            (size, project, computer, tenant),
        )?;
        Ok(())
    })?;
    let mut imported = Imported::new(&capsule, slug, true);
    let keeps = |up: &Up| options.keep_running && up.simulated && read::is_up(up.held.status);
    for up in &capsule.up {
        if keeps(up) {
            imported.kept_running.push(up.id);
        } else {
            imported.stopped.push(up.id);
        }
    }
    let up = capsule.up.iter().map(|up| (*up, keeps(up))).collect();
    let (fleet, exported_at) = (fleet.clone(), Timestamp(capsule.head.exported_at));
    in_turns(store, id, up, move |tx, (up, keep)| {
        stop_copy(tx, &fleet, tenant, id, exported_at, up, *keep)
    })?;
    Ok(Outcome::Brought(Box::new(Brought {
        capsule,
        options,
        imported,
        first_audit,
    })))
}

/// Writes all of `items`, in as many turns as that takes.
fn in_turns<T: Send + 'static>(
    store: &Store,
    workspace: WorkspaceId,
    items: Vec<T>,
    write: impl Fn(&WriteTx<'_>, &T) -> Result<()> + Clone + Send + 'static,
) -> Result<()> {
    let mut left = items.into_iter();
    while left.len() > 0 {
        let write = write.clone();
        left = store.write_blocking(move |tx| {
            is_under_way(tx, workspace)?;
            for item in left.by_ref() {
                write(tx, &item)?;
                if tx.turn_is_over() {
                    break;
                }
            }
            Ok(left)
        })?;
    }
    Ok(())
}

/// That nobody has put another database in the place of the one that this was begun in.
fn is_under_way(tx: &WriteTx<'_>, workspace: WorkspaceId) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT 1 FROM imports WHERE workspace_id = ?1)";
    if tx.row(sql, [workspace], |row| row.get(0))? {
        return Ok(());
    }
    Err(Error::unavailable(
        "the database was replaced while this workspace was imported; import it again",
        1,
    ))
}

/// Whether this capsule has been imported into this organization before, or there is something under the
/// id of its workspace.
fn find_place(tx: &Tx<'_>, tenant: TenantId, capsule: &Checked) -> Result<Place> {
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
fn has_room(
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
            domains::handlers::importable(tx, &fleet.config, tenant, &domain.domain)?;
        }
    }
    Ok(())
}

/// Slug and external id of the workspace here, which nobody has.
fn names_are_free<'a>(
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

/// The first turn: the workspace, hidden, and numbers that nobody else gets. Returns its slug here, and the
/// first numbers of its events and of its audit rows.
fn begin(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    tenant: TenantId,
    capsule: &Checked,
    options: &Options,
) -> Result<(String, i64, i64)> {
    limits::check_import(
        tx,
        &fleet.config.file,
        tenant,
        usize::from(capsule.workspace.deleted_at.is_none()),
        capsule.live_projects,
        capsule.live_computers,
        capsule.largest,
    )?;
    let (slug, external) = names_are_free(tx, tenant, capsule, options)?;
    let w = &capsule.workspace;
    let sql = "INSERT INTO workspaces (id, tenant_id, name, slug, external_workspace_id, external_user_id, description,
             metadata, max_computers, max_computer_size, default_computer_size, default_auto_stop_seconds,
             allowed_template_types, created_at, updated_at, deleted_at)
         VALUES (:id, :tenant, :name, :slug, :external, :user, :description, :metadata, :max, :max_size, :size,
             :auto_stop, :templates, :created, :updated, :now)";
    tx.run(
        sql,
        named_params! {
            ":id": w.id, ":tenant": tenant, ":name": w.name, ":slug": slug, ":external": external,
            ":user": w.external_user_id, ":description": w.description, ":metadata": w.metadata,
            ":max": w.max_computers, ":max_size": w.max_computer_size, ":size": w.default_computer_size,
            ":auto_stop": w.default_auto_stop_seconds, ":templates": json::text(&w.allowed_template_types)?,
            ":created": w.created_at, ":updated": w.updated_at, ":now": tx.now(),
        },
    )
    .map_err(|e| taken(e, "workspace", w.id.0))?;
    let count = |n: usize| i64::try_from(n).map_err(Error::internal);
    let (events, audit_rows) = (
        count(capsule.end.rows.events)?,
        count(capsule.end.rows.audit)?,
    );
    Vcpus::import(tx, w.id, &w.vcpus)?;
    labels::import(tx, w.id.0, &w.past_metadata)?;
    if w.tz != time_zones::of(tx, tenant, None)? {
        time_zones::set(tx, tenant, w.id.0, w.tz.as_deref())?;
    }
    let first_event = transfer::next_seq(tx)?;
    // The last one first: what others append from now on has higher numbers.
    if let Some(last) = &capsule.last_event {
        transfer::store(tx, tenant, w.id, last, first_event + events - 1)?;
    }
    // Audit rows are older than whatever happened here, and get numbers below all others: live streams,
    // which go on from the newest, do not show them as news.
    let number = |sql| tx.row(sql, [], |row| row.get::<_, i64>(0));
    let first_audit = number("SELECT coalesce(min(seq), 1) FROM audit_log")?.min(1) - audit_rows;
    let sql = "INSERT INTO imports (workspace_id, tenant_id, first_event, first_audit, audit_rows, last_project,
             last_computer, started_at)
         VALUES (:workspace, :tenant, :event, :audit, :rows, :project, :computer, :now)";
    tx.run(
        sql,
        named_params! {
            ":workspace": w.id, ":tenant": tenant, ":event": first_event, ":audit": first_audit, ":rows": audit_rows,
            ":project": number("SELECT coalesce(max(rowid), 0) FROM projects")?,
            ":computer": number("SELECT coalesce(max(rowid), 0) FROM computers")?, ":now": tx.now(),
        },
    )?;
    Ok((slug.to_owned(), first_event, first_audit))
}

/// What writing a line needs.
#[derive(Clone)]
struct Writing {
    capsule: Arc<Checked>,
    options: Arc<Options>,
    tenant: TenantId,
    /// The numbers that the next event and the next audit row get.
    event: i64,
    audit: i64,
    last_event: i64,
}

impl Writing {
    /// A line with its number in the database.
    fn numbered(&mut self, line: Line) -> (i64, Line) {
        let next = match &line {
            Line::Event(_) => &mut self.event,
            Line::Audit(_) => &mut self.audit,
            _ => return (0, line),
        };
        *next += 1;
        (*next - 1, line)
    }

    fn write(&self, tx: &WriteTx<'_>, seq: i64, line: &Line) -> Result<()> {
        let (tenant, id) = (self.tenant, self.capsule.workspace.id);
        match line {
            Line::Project(row) => project(tx, tenant, id, row),
            Line::Computer(row) => {
                if self.capsule.ran.contains(&row.id) {
                    transfer::has_run(tx, tenant, id, row.id)?;
                }
                computer(tx, tenant, id, row, &self.options)
            }
            // The last one is there since the beginning.
            Line::Event(_) if seq == self.last_event => Ok(()),
            Line::Event(row) => transfer::store(tx, tenant, id, row, seq),
            Line::Audit(row) => audit_row(tx, tenant, id, row, seq),
            Line::Capsule(_) | Line::Workspace(_) | Line::PreviewDomain(_) | Line::End(_) => Ok(()),
        }
    }
}

/// Inserts a project. The counters of schema.sql know a deletion only as a change.
fn project(tx: &WriteTx<'_>, tenant: TenantId, workspace: WorkspaceId, p: &Project) -> Result<()> {
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
fn taken(e: rusqlite::Error, what: &str, id: uuid::Uuid) -> Error {
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
fn stop_copy(
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

fn computer(
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

fn audit_row(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    row: &Audit,
    seq: i64,
) -> Result<()> {
    let sql = "INSERT INTO audit_log (seq, tenant_id, workspace_id, at, actor_type, actor_id, actor_label, ip_address,
             request_id, type, resource_type, resource_id, before, after)
         VALUES (:seq, :tenant, :workspace, :at, :actor, :actor_id, :label, :ip, :request, :type, :resource,
             :resource_id, :before, :after)";
    tx.run(
        sql,
        named_params! {
            ":seq": seq, ":tenant": tenant, ":workspace": workspace, ":at": row.at, ":actor": row.actor_type,
            ":actor_id": row.actor_id.map(uuid::Uuid::into_bytes), ":label": row.actor_label, ":ip": row.ip_address,
            ":request": row.request_id, ":type": row.r#type, ":resource": row.resource_type,
            ":resource_id": row.resource_id.into_bytes(), ":before": row.before.as_ref().map(json::text).transpose()?,
            ":after": row.after.as_ref().map(json::text).transpose()?,
        },
    )?;
    Ok(())
}

impl Brought {
    /// The last turn: from now on it is there.
    ///
    /// # Errors
    /// 422 `CAPSULE_TOTALS` where the meter says other than the file; 409, 422 where its place has been taken
    /// meanwhile. It is then to be undone.
    pub(super) fn finish(
        self,
        tx: &WriteTx<'_>,
        fleet: &Fleet,
        caller: &Caller,
    ) -> Result<Imported> {
        let (capsule, tenant) = (&self.capsule, caller.tenant_id());
        let id = capsule.workspace.id;
        is_under_way(tx, id)?;
        // The books are those of the file; that they are those of the events has been checked in it.
        let metered = transfer::metered(tx, id, capsule.head.exported_at)?;
        if metered != (capsule.end.usage, capsule.end.corrections_micros) {
            return Err(Error::field(
                "capsule",
                "the totals of the workspace are others after the import than the file says; nothing was imported",
            )
            .with_code("CAPSULE_TOTALS"));
        }
        // What it brings is counted already.
        let live = usize::from(capsule.workspace.deleted_at.is_none());
        limits::check_import(tx, &fleet.config.file, tenant, live, 0, 0, None)?;
        names_are_free(tx, tenant, capsule, &self.options)?;
        tx.run("DELETE FROM imports WHERE workspace_id = ?1", [id])?;
        tx.run(
            "UPDATE workspaces SET deleted_at = ?3 WHERE id = ?1 AND tenant_id = ?2",
            (id, tenant, capsule.workspace.deleted_at),
        )?;
        if capsule.workspace.deleted_at.is_none() {
            workspaces::count_new(tx, tenant)?;
        }
        if !self.imported.kept_running.is_empty() {
            let sql = "UPDATE computers SET due_at = started_at + 1000 * auto_stop_seconds
                 WHERE workspace_id = ?1 AND tenant_id = ?2 AND deleted_at IS NULL AND status = 'running'
                   AND driver = 'simulated' AND auto_stop_seconds > 0";
            tx.run(sql, (id, tenant))?;
        }
        tx.changed(topics::AGENDA);
        let first = (capsule.end.rows.audit > 0).then_some(self.first_audit);
        record(tx, caller, capsule, &self.imported, first)?;
        Ok(self.imported)
    }
}

/// Says what was imported, and which rows of the audit log are by the file's word only.
fn record(
    tx: &WriteTx<'_>,
    caller: &Caller,
    capsule: &Checked,
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
    let id = capsule.workspace.id;
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

/// Imports that were begun and neither finished nor undone, to be asked once at the start.
pub fn interrupted(tx: &Tx<'_>) -> Result<Vec<WorkspaceId>> {
    let mut statement = tx.prepare("SELECT workspace_id FROM imports")?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Removes what was written of a workspace that never came to light, turn after turn; nothing where there is
/// no such.
pub async fn undo(store: Store, workspace: WorkspaceId) {
    let mut at = Undoing::default();
    loop {
        let turn = store.write(move |tx| at.turn(tx, workspace)).await;
        match turn {
            Ok(Some(next)) => at = next,
            Ok(None) => return,
            Err(e) => {
                tracing::warn!(
                    error = e.message(),
                    "undoing an import waits for the storage"
                );
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// How far the removal has come: the next event, computer and project to look at.
#[derive(Default, Clone, Copy)]
struct Undoing {
    event: i64,
    computer: i64,
    project: i64,
}

impl Undoing {
    /// One turn; where the next one goes on, if anything is left.
    fn turn(mut self, tx: &WriteTx<'_>, id: WorkspaceId) -> Result<Option<Self>> {
        let sql =
            "SELECT tenant_id, first_event, first_audit, audit_rows, last_project, last_computer
                 FROM imports WHERE workspace_id = ?1";
        let begun: Option<(TenantId, [i64; 5])> = tx
            .row(sql, [id], |row| {
                let number = |n| row.get::<_, i64>(n);
                let numbers = [number(1)?, number(2)?, number(3)?, number(4)?, number(5)?];
                Ok((row.get(0)?, numbers))
            })
            .optional()?;
        let Some((tenant, [event, audit, audit_rows, project, computer])) = begun else {
            return Ok(None);
        };
        if let Some(next) = transfer::forget_some(tx, id, self.event.max(event))? {
            self.event = next;
            return Ok(Some(self));
        }
        let sql = "DELETE FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2 AND computer_id IN
                 (SELECT computer_id FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2 LIMIT ?3)";
        let ran = tx.run(sql, (tenant, id, ROWS))?;
        let sql = "DELETE FROM audit_log WHERE workspace_id = ?1 AND seq IN
                 (SELECT seq FROM audit_log WHERE workspace_id = ?1 AND seq >= ?2 AND seq < ?2 + ?3 LIMIT ?4)";
        let told = tx.run(sql, (id, audit, audit_rows, ROWS))?;
        if ran + told > 0 {
            return Ok(Some(self));
        }
        let last = |sql| tx.row(sql, [], |row| row.get::<_, i64>(0));
        let from = self.computer.max(computer + 1);
        if from <= last("SELECT coalesce(max(rowid), 0) FROM computers")? {
            self.computer = from + ROWS + 1;
            // First out of the counters, which know a removal only as this change.
            for sql in [
                "DELETE FROM past_attributions WHERE subject IN
                     (SELECT id FROM computers WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "DELETE FROM past_labels WHERE subject IN
                     (SELECT id FROM computers WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "UPDATE computers SET deleted_at = 0
                 WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3 AND deleted_at IS NULL",
                "DELETE FROM computers WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3",
            ] {
                tx.run(sql, (id, from, ROWS))?;
            }
            return Ok(Some(self));
        }
        let from = self.project.max(project + 1);
        if from <= last("SELECT coalesce(max(rowid), 0) FROM projects")? {
            self.project = from + ROWS + 1;
            for sql in [
                "DELETE FROM preview_domains WHERE scope = 'project' AND owner_id IN
                     (SELECT id FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "DELETE FROM past_attributions WHERE subject IN
                     (SELECT id FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "DELETE FROM past_labels WHERE subject IN
                     (SELECT id FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3)",
                "UPDATE projects SET deleted_at = 0
                 WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3 AND deleted_at IS NULL",
                "DELETE FROM projects WHERE workspace_id = ?1 AND rowid BETWEEN ?2 AND ?2 + ?3",
            ] {
                tx.run(sql, (id, from, ROWS))?;
            }
            return Ok(Some(self));
        }
        domains::forget(tx, domains::Scope::Workspace, id.0)?;
        workspaces::search::forget(tx, id)?;
        for sql in [
            "DELETE FROM imported_vcpus WHERE workspace_id = ?1",
            "DELETE FROM time_zones WHERE owner_id = ?1",
            "DELETE FROM past_labels WHERE subject = ?1",
            "DELETE FROM imports WHERE workspace_id = ?1",
            "DELETE FROM workspaces WHERE id = ?1",
        ] {
            tx.run(sql, [id])?;
        }
        Ok(None)
    }
}
