//! Writing a capsule into the importing organization, in turns of the writer that keep nobody waiting.
//!
//! Until the last turn the workspace is marked as deleted and named in `imports`, which hides it and all that
//! is in it from every question. The last turn takes the mark away: so there is either all of it or nothing.
//! What a service that was killed has left behind, or an import that was refused half way, is removed again
//! ([`undo`]).

use std::sync::Arc;

use rusqlite::named_params;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

pub use super::place::Options;

use super::checks;
use super::format::{Line, Rows};
use super::place::{Place, conflict, find_place, has_room, names_are_free};
use super::read::{self, Checked, Lines, Up};
use super::rows::{audit_row, computer, project, stop_copy, taken};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::{Store, topics};
use crate::error::{Error, Result};
use crate::http::Source;
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::store::WriteTx;
use crate::usage::ledger::rates::Vcpus;
use crate::usage::ledger::transfer::{self, Consumed};
use crate::usage::ledger::{labels, tariff};
use crate::{domains, json, limits, time_zones, workspaces};

/// Lines, and bytes of them, that are read from the file at once.
const PIECE_LINES: usize = 256;
const PIECE_BYTES: usize = 256 << 10;
/// Steps of the meter that are written at once.
const STEPS: usize = 250;

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
            domains::change::import(tx, &fleet.config, tenant, scope, owner, &domain.domain)
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
    let keeps = |up: &Up| options.keep_running && up.simulated && checks::is_up(up.held.status);
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
        left = store.write_turn_blocking(move |tx| {
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
