//! Events that come late: into the middle of a computer's history.
//!
//! A report from outside says one thing (it stopped, it is now large); the row that is stored says
//! everything, carrying the rest over from the event before. So when a report arrives late, what
//! later rows have carried over may turn out to be wrong. Nothing is ever updated: a row
//! `computer.restated` is appended at the same instant, where the later `seq` holds. That makes the
//! numbers the same in whatever order reports arrive (U11), and the log still says what was known
//! when.

use super::events::{self, New, PLACE, SIZE, STATUS, State, Stored, last_until};
use super::meter::Changes;
use crate::catalog::Size;
use crate::computers::Status;
use crate::error::{Error, Result};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::store::WriteTx;

/// One thing that happened to a computer; what is `None` stays as it was before.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub event_id: Option<String>,
    pub kind: &'static str,
    pub at: i64,
    pub status: Option<Status>,
    pub size: Option<Size>,
    pub place: Option<(WorkspaceId, ProjectId)>,
}

impl Fact {
    fn stated(&self) -> i64 {
        (if self.status.is_some() { STATUS } else { 0 })
            | (if self.size.is_some() { SIZE } else { 0 })
            | (if self.place.is_some() { PLACE } else { 0 })
    }
}

/// The state after something that states `status`, `size` and `place`. Nothing comes back from
/// `destroyed`: whatever is reported after a deletion, in whatever order, did not run.
fn after(
    before: &State,
    status: Option<Status>,
    size: Option<Size>,
    place: Option<(WorkspaceId, ProjectId)>,
    rate: impl FnOnce(Size) -> i64,
) -> State {
    let gone = before.status == Status::Destroyed;
    let size = size.unwrap_or(before.size);
    let (workspace, project) = place.unwrap_or((before.workspace, before.project));
    let status = if gone { before.status } else { status.unwrap_or(before.status) };
    State { workspace, project, status, size, rate: rate(size) }
}

/// Puts `facts`, in ascending order of `at`, into the history of a computer, and what that changes
/// for the meter into `changes`. `rate_at` is the price of a size at an instant.
///
/// # Errors
/// When the store fails; a fact before the computer's first event is a defect of the caller.
pub(super) fn insert(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    computer: ComputerId,
    facts: Vec<Fact>,
    rate_at: impl Fn(Size, i64) -> i64,
    changes: &mut Changes,
) -> Result<()> {
    let Some(from) = facts.first().map(|fact| fact.at) else { return Ok(()) };
    let before = last_until(tx, computer, from)?
        .ok_or_else(|| Error::internal(format!("an event of {computer} before its first one")))?;
    let later: Vec<Stored> = tx
        .prepare_cached("SELECT * FROM compute_events WHERE computer_id = ?1 AND at > ?2 ORDER BY at, seq")?
        .query_map((computer, from), Stored::from_row)?
        .collect::<Result<_, _>>()?;

    // `old` and `new`: the row before, as the chain of rows was and as it is now. `known`: what is
    // true by now, from which the next row carries over.
    let (mut old, mut new, mut known) = (before.state, before.state, before.state);
    let mut facts = facts.into_iter().peekable();
    let mut later = later.into_iter().peekable();
    loop {
        let next = facts.peek().map(|f| f.at).into_iter().chain(later.peek().map(|s| s.at)).min();
        let Some(at) = next else { return Ok(()) };
        let mut add = |kind: &str, event_id: Option<&str>, stated: i64, state: &State, before: &State| {
            let seq = New { event_id, tenant, computer, kind, at, stated, state }.insert(tx)?;
            events::steps(Some(before), state, |workspace, flow| changes.add(workspace, at, seq, flow));
            Ok::<_, Error>(*state)
        };
        // What was stored first has the lower `seq`.
        let mut rows = Vec::new();
        while let Some(row) = later.next_if(|row| row.at == at) {
            let stored = row.state;
            let states = |part: i64| row.stated & part != 0;
            known = after(
                &known,
                states(STATUS).then_some(stored.status),
                states(SIZE).then_some(stored.size),
                states(PLACE).then_some((stored.workspace, stored.project)),
                // A price that was frozen stays, unless it was that of another size.
                |size| if size == stored.size { stored.rate } else { rate_at(size, at) },
            );
            rows.push((row, old, new));
            (old, new) = (stored, stored);
        }
        while let Some(fact) = facts.next_if(|fact| fact.at == at) {
            known = after(&known, fact.status, fact.size, fact.place, |size| rate_at(size, at));
            new = add(fact.kind, fact.event_id.as_deref(), fact.stated(), &known, &new)?;
        }
        if new != known {
            new = add("computer.restated", None, 0, &known, &new)?;
        }
        for (row, old_before, new_before) in rows.iter().filter(|(_, old, new)| old != new) {
            events::steps(Some(old_before), &row.state, |workspace, flow| changes.remove(workspace, at, row.seq, flow));
            events::steps(Some(new_before), &row.state, |workspace, flow| changes.add(workspace, at, row.seq, flow));
        }
        if facts.peek().is_none() && new == old {
            return Ok(()); // From here on the chain of rows is what it was.
        }
    }
}
