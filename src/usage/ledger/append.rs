//! The one way by which a change of a computer enters its history.

use rusqlite::OptionalExtension;

use super::event::{ALL, New, PLACE, SIZE, STATUS, State, last_until, steps};
use super::history::{self, Fact};
use super::tariff::{self, Tariff};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};
use crate::usage::meter::{self, Changes};

/// From `at` on, this computer is in this state.
pub struct Event {
    pub tenant_id: TenantId,
    /// Where after the event.
    pub workspace_id: WorkspaceId,
    /// Where after the event.
    pub project_id: ProjectId,
    pub computer_id: ComputerId,
    /// An agent outside reports about it too.
    pub external: bool,
    pub kind: &'static str,
    pub at: Timestamp,
    /// Status after the event; only `running` is billable.
    pub status: Status,
    /// Size after the event.
    pub size: Size,
    /// What of it the change is about; all else follows from the events, whatever the caller believes.
    pub states: i64,
}

/// Appends an event of our own, in the same transaction as the change of the computer's row, and
/// returns the instant from which it holds: `event.at`, but never before the computer's last event,
/// should the clock have stepped back. The true reading goes to `recorded_at`.
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
        let states = |part: i64| event.states & part != 0;
        let fact = Fact {
            event_id: None,
            kind: event.kind,
            at,
            status: states(STATUS).then_some(event.status),
            size: states(SIZE).then_some(event.size),
            place: states(PLACE).then_some((event.workspace_id, event.project_id)),
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
        let before = last.map(|last| last.state);
        let state = resulting(tx, catalog, event, before.as_ref(), at)?;
        let seq = New {
            event_id: None,
            tenant: event.tenant_id,
            computer,
            kind: event.kind,
            at,
            stated: last.map_or(ALL, |_| event.states),
            state: &state,
        }
        .insert(tx)?;
        steps(before.as_ref(), &state, |workspace, flow| {
            changes.add(workspace, at, seq, flow);
        });
    }
    meter::apply(tx, changes)?;
    Ok(Timestamp(at))
}

/// The state after an event that is the last one: what it states, and what held before.
fn resulting(
    tx: &Tx<'_>,
    catalog: &Catalog,
    event: &Event,
    before: Option<&State>,
    at: i64,
) -> Result<State> {
    let mut state = before.copied().unwrap_or(State {
        workspace: event.workspace_id,
        project: event.project_id,
        status: event.status,
        size: event.size,
        rate: 0,
    });
    if event.states & STATUS != 0 {
        state.status = event.status;
    }
    if event.states & SIZE != 0 {
        state.size = event.size;
    }
    if event.states & PLACE != 0 {
        (state.workspace, state.project) = (event.workspace_id, event.project_id);
    }
    state.rate = tariff::at(tx, state.size, at)?.unwrap_or_else(|| catalog.rate_at(state.size, at));
    Ok(state)
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
