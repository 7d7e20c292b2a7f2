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
/// returns the instant from which it holds: `event.at`, but never before the computer's last event of our
/// own up to now. One after now was dated while the wall clock was ahead: it is made void, since what
/// happens now holds now, and what the computer's row says holds with it. Under a clock that is
/// driven nothing is void: there the event holds from the last one on. The true reading goes to `recorded_at`.
pub fn append(tx: &WriteTx<'_>, catalog: &Catalog, event: &Event) -> Result<Timestamp> {
    let computer = event.computer_id;
    let last = last_until(tx, computer, i64::MAX)?;
    let (mut before_it, mut void) = (last.map(|last| last.at), Vec::new());
    if last.is_some_and(|last| last.at > event.at.0) {
        if tx.clock().of_wall {
            let now = tx.now().max(event.at);
            (before_it, void) = (
                own_before(tx, computer, now)?,
                own_after(tx, computer, now)?,
            );
        } else if event.external {
            // What an agent reported ahead of the clock is no sign that the clock has stepped back.
            let own = own_after(tx, computer, event.at)?;
            before_it = own.last().map(|(at, _)| *at);
        }
    }
    let at = before_it.unwrap_or(0).max(event.at.0);
    if at > event.at.0 && at > tx.now().0 {
        let behind_ms = at - event.at.0;
        tracing::warn!(%computer, behind_ms, "the clock is behind the computer's last event");
    }
    if let Some((from, _)) = void.first() {
        tracing::warn!(%computer, events = void.len(), from = %Timestamp(*from), "what was dated ahead of the clock is void");
    }
    let first = last.is_none_or(|last| last.at > at) && last_until(tx, computer, at)?.is_none();
    let states = if first {
        ALL
    } else {
        void.iter()
            .fold(event.states, |all, (_, stated)| all | stated)
    };
    let mut changes = Changes::default();
    if last.is_some_and(|last| last.at > at) {
        let says = |part: i64| states & part != 0;
        let mut facts = vec![Fact {
            event_id: None,
            kind: event.kind.into(),
            at,
            status: says(STATUS).then_some(event.status),
            size: says(SIZE).then_some(event.size),
            place: says(PLACE).then_some((event.workspace_id, event.project_id)),
        }];
        facts.extend(void.iter().map(|(at, _)| Fact::voided(*at)));
        let tariff = Tariff::load(tx, catalog)?;
        history::insert(tx, event.tenant_id, computer, facts, &tariff, &mut changes)?;
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
            noted: before.is_some_and(|before| {
                before.status.billable() && before.workspace == state.workspace
            }),
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
    let rate = tariff::at(tx, event.tenant_id, Some(state.workspace), state.size, at)?;
    state.rate = rate.unwrap_or_else(|| catalog.rate_at(state.size, at));
    Ok(state)
}

/// The last event up to an instant that was not reported from outside, nor follows from such reports.
fn own_before(tx: &Tx<'_>, computer: ComputerId, until: Timestamp) -> Result<Option<i64>> {
    let sql = "SELECT at FROM compute_events
             WHERE computer_id = ?1 AND at <= ?2 AND event_id IS NULL AND stated <> 0
             ORDER BY at DESC, seq DESC LIMIT 1";
    Ok(tx
        .row(sql, (computer, until), |row| row.get(0))
        .optional()?)
}

/// The instants after `after` at which there are such events that are not void, and what these state.
fn own_after(tx: &Tx<'_>, computer: ComputerId, after: Timestamp) -> Result<Vec<(i64, i64)>> {
    let sql = "SELECT at, stated FROM compute_events e
        WHERE computer_id = ?1 AND at > ?2 AND event_id IS NULL AND stated <> 0 AND NOT EXISTS (SELECT 1 FROM compute_events v
            WHERE v.computer_id = e.computer_id AND v.at = e.at AND v.seq > e.seq AND v.type = 'computer.voided')
        ORDER BY at, seq";
    let mut found: Vec<(i64, i64)> = Vec::new();
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query((computer, after))?;
    while let Some(row) = rows.next()? {
        let (at, stated) = (row.get(0)?, row.get::<_, i64>(1)?);
        match found.last_mut() {
            Some(last) if last.0 == at => last.1 |= stated,
            _ => found.push((at, stated)),
        }
    }
    Ok(found)
}
