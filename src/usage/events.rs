//! Compute events: the append-only history that usage and bills are computed from.

use axum::Json;
use axum::extract::State as AppState;
use rusqlite::{OptionalExtension, Row, named_params};
use serde::Serialize;
use utoipa::ToSchema;

use super::history::{self, Fact};
use super::meter::{self, Changes, Flow};
use super::rates::{self, Tariff};
use crate::app::App;
use crate::catalog::{Catalog, Size};
use crate::clock::Timestamp;
use crate::computers::{self, Status};
use crate::error::Result;
use crate::http::{Caller, List, PageQuery, Params, PathId};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::store::{Columns, Tx, WriteTx};

/// From `at` on, this computer is in this state.
pub struct Event {
    /// Whose.
    pub tenant_id: TenantId,
    /// Where after the event.
    pub workspace_id: WorkspaceId,
    /// Where after the event.
    pub project_id: ProjectId,
    /// Which computer.
    pub computer_id: ComputerId,
    /// An agent outside reports about it too.
    pub external: bool,
    /// computer.running, computer.resized, ...
    pub kind: &'static str,
    /// Effective from.
    pub at: Timestamp,
    /// Status after the event; only `running` is billable.
    pub status: Status,
    /// Size after the event.
    pub size: Size,
}

/// The parts of a state, as in `compute_events.stated`.
pub(super) const STATUS: i64 = 1;
pub(super) const SIZE: i64 = 2;
pub(super) const PLACE: i64 = 4;
pub(super) const ALL: i64 = STATUS | SIZE | PLACE;

/// The complete state of a computer from an event on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub status: Status,
    pub size: Size,
    pub rate: i64,
}

impl State {
    /// What the computer adds to its workspace's flow.
    fn flow(&self) -> Flow {
        if self.status.billable() {
            Flow {
                running: 1,
                rate: self.rate,
                micros: 0,
            }
        } else {
            Flow::default()
        }
    }

    /// The parts in which two states differ.
    fn differs(&self, other: &State) -> i64 {
        let part = |differs: bool, part: i64| if differs { part } else { 0 };
        part(self.status != other.status, STATUS)
            | part(self.size != other.size, SIZE)
            | part(
                (self.workspace, self.project) != (other.workspace, other.project),
                PLACE,
            )
    }
}

/// A row of a computer's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub seq: i64,
    pub at: i64,
    pub stated: i64,
    pub state: State,
}

impl Stored {
    /// What a statement selects for such a row.
    pub(super) const COLUMNS: &str =
        "seq, at, stated, workspace_id, project_id, status, size, rate";

    /// From [`Stored::COLUMNS`].
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut columns = Columns::new(row);
        Ok(Stored {
            seq: columns.get()?,
            at: columns.get()?,
            stated: columns.get()?,
            state: State {
                workspace: columns.get()?,
                project: columns.get()?,
                status: columns.get()?,
                size: columns.get()?,
                rate: columns.get()?,
            },
        })
    }
}

/// A row to be appended.
pub(super) struct New<'a> {
    pub event_id: Option<&'a str>,
    pub tenant: TenantId,
    pub computer: ComputerId,
    pub kind: &'a str,
    pub at: i64,
    pub stated: i64,
    pub state: &'a State,
}

impl New<'_> {
    /// Appends the row; returns its `seq`.
    pub(super) fn insert(&self, tx: &WriteTx<'_>) -> Result<i64> {
        tx.run(
            "INSERT INTO compute_events (event_id, tenant_id, workspace_id, project_id, computer_id, type, at,
                 recorded_at, status, billable, size, rate, stated)
             VALUES (:event, :tenant, :workspace, :project, :computer, :type, :at, :now, :status, :billable, :size,
                 :rate, :stated)",
            named_params! {
                ":event": self.event_id, ":tenant": self.tenant, ":workspace": self.state.workspace,
                ":project": self.state.project, ":computer": self.computer, ":type": self.kind, ":at": self.at,
                ":now": tx.now(), ":status": self.state.status, ":billable": self.state.status.billable(),
                ":size": self.state.size, ":rate": self.state.rate, ":stated": self.stated,
            },
        )?;
        let seq = tx.last_insert_rowid();
        if self.state.status.billable() {
            tx.run(
                "INSERT OR IGNORE INTO metered_computers (tenant_id, workspace_id, computer_id)
             VALUES (?1, ?2, ?3)",
                (self.tenant, self.state.workspace, self.computer),
            )?;
        }
        Ok(seq)
    }
}

/// The last event of a computer at or before an instant; `i64::MAX` for the last of all.
pub(super) fn last_until(tx: &Tx<'_>, computer: ComputerId, at: i64) -> Result<Option<Stored>> {
    Ok(tx
        .prepare_cached(&format!("SELECT {} FROM compute_events WHERE computer_id = ?1 AND at <= ?2 ORDER BY at DESC, seq DESC LIMIT 1", Stored::COLUMNS))?
        .query_row((computer, at), Stored::from_row)
        .optional()?)
}

/// Appends an event of our own, in the same transaction as the change of the computer's row, and
/// returns the instant from which it holds: `event.at`, but never before the computer's last event,
/// should the clock have stepped back (USAGE U13). The true reading goes to `recorded_at`.
///
/// # Errors
/// When the store fails.
pub fn append(tx: &WriteTx<'_>, catalog: &Catalog, event: &Event) -> Result<Timestamp> {
    let computer = event.computer_id;
    let last = last_until(tx, computer, i64::MAX)?;
    // What an agent reported ahead of the clock is no sign that the clock has stepped back.
    let before_it = match last {
        Some(last) if event.external && last.at > event.at.0 => own_after(tx, computer, event.at)?,
        last => last.map(|last| last.at),
    };
    let at = before_it.unwrap_or(0).max(event.at.0);
    if at > event.at.0 {
        let behind_ms = at - event.at.0;
        tracing::warn!(%computer, behind_ms, "the clock is behind the computer's last event");
    }
    let mut changes = Changes::default();
    if last.is_some_and(|last| last.at > at) {
        let held = last_until(tx, computer, at)?.map(|held| held.state);
        let place = (event.workspace_id, event.project_id);
        let fact = Fact {
            event_id: None,
            kind: event.kind,
            at,
            status: held
                .is_none_or(|held| held.status != event.status)
                .then_some(event.status),
            size: held
                .is_none_or(|held| held.size != event.size)
                .then_some(event.size),
            place: held
                .is_none_or(|held| (held.workspace, held.project) != place)
                .then_some(place),
        };
        let tariff = Tariff::load(tx, catalog)?;
        history::insert(
            tx,
            event.tenant_id,
            computer,
            vec![fact],
            &tariff,
            &mut changes,
        )?;
    } else {
        let rate = rates::at(tx, event.size, at)?;
        let state = State {
            workspace: event.workspace_id,
            project: event.project_id,
            status: event.status,
            size: event.size,
            rate: rate.unwrap_or_else(|| catalog.rate_at(event.size, at)),
        };
        let seq = New {
            event_id: None,
            tenant: event.tenant_id,
            computer,
            kind: event.kind,
            at,
            stated: last.map_or(ALL, |last| last.state.differs(&state)),
            state: &state,
        }
        .insert(tx)?;
        let before = last.map(|last| last.state);
        steps(before.as_ref(), &state, |workspace, flow| {
            changes.add(workspace, at, seq, flow);
        });
    }
    meter::apply(tx, changes)?;
    Ok(Timestamp(at))
}

/// The last event after an instant that was not reported from outside, nor follows from such reports.
fn own_after(tx: &Tx<'_>, computer: ComputerId, after: Timestamp) -> Result<Option<i64>> {
    Ok(tx
        .row(
            "SELECT at FROM compute_events
             WHERE computer_id = ?1 AND at > ?2 AND event_id IS NULL AND stated <> 0
             ORDER BY at DESC, seq DESC LIMIT 1",
            (computer, after),
            |row| row.get(0),
        )
        .optional()?)
}

/// The steps that an event makes: the change of flow where the computer is, and where it was.
pub(super) fn steps(
    before: Option<&State>,
    state: &State,
    mut step: impl FnMut(WorkspaceId, Flow),
) {
    match before {
        Some(before) if before.workspace == state.workspace => {
            step(state.workspace, state.flow() - before.flow())
        }
        Some(before) => {
            step(before.workspace, -before.flow());
            step(state.workspace, state.flow());
        }
        None => step(state.workspace, state.flow()),
    }
}

// ---------------------------------------------------------------------------------------------
// GET /computers/{id}/events

/// An event as it is shown.
#[derive(Serialize, ToSchema)]
pub struct EventView {
    /// Order of arrival; at equal `at` the later one holds.
    seq: i64,
    /// The reporter's id; null for the service's own.
    id: Option<String>,
    computer_id: ComputerId,
    /// computer.running, computer.resized, ...
    r#type: String,
    /// Effective from, with milliseconds.
    at: String,
    /// When the service learned of it, with milliseconds.
    recorded_at: String,
    workspace_id: WorkspaceId,
    project_id: ProjectId,
    status: Status,
    billable: bool,
    size: Size,
    /// Credits per hour while running, frozen when it happened.
    rate: i64,
}

impl EventView {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(EventView {
            seq: row.get("seq")?,
            id: row.get("event_id")?,
            computer_id: row.get("computer_id")?,
            r#type: row.get("type")?,
            at: row.get::<_, Timestamp>("at")?.rfc3339_ms(),
            recorded_at: row.get::<_, Timestamp>("recorded_at")?.rfc3339_ms(),
            workspace_id: row.get("workspace_id")?,
            project_id: row.get("project_id")?,
            status: row.get("status")?,
            billable: row.get("billable")?,
            size: row.get("size")?,
            rate: row.get("rate")?,
        })
    }
}

/// Rows of `GET /computers/{id}/events` unless a page is asked for: a history has no end.
const NEWEST: i64 = 1000;

/// `GET /computers/{id}/events`: the history of a live computer, newest first; the newest 1,000 unless
/// a page is asked for. What is dated ahead of the clock is not there yet (U12).
pub async fn list(
    AppState(app): AppState<App>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    page: Params<PageQuery>,
) -> Result<Json<List<EventView>>> {
    let list = app.store.read(move |tx| {
        computers::find(tx, &caller, id)?;
        let page = page.get()?.page()?;
        let limit = if page.limit < 0 { NEWEST } else { page.limit };
        let total = tx.row(
            "SELECT count(*) FROM compute_events WHERE computer_id = ?1 AND at <= ?2",
            (id, tx.now()),
            |row| row.get(0),
        )?;
        let data = tx
            .prepare_cached(
                "SELECT * FROM compute_events WHERE computer_id = ?1 AND at <= ?2
                 ORDER BY at DESC, seq DESC LIMIT ?3 OFFSET ?4",
            )?
            .query_map((id, tx.now(), limit, page.offset), EventView::from_row)?
            .collect::<Result<_, _>>()?;
        Ok(List { data, total })
    });
    Ok(Json(list.await?))
}
