//! Events of our own that were dated by a clock that was ahead: how many there are, which, and what they
//! should have been. Nothing is changed: they are made void, and what they say is appended again.
//!
//! Events are numbered in the order in which they happened. One that was recorded later than a later one
//! was recorded while the clock was ahead; where that was and when it was right again is seen from
//! its neighbours.

use std::collections::BTreeMap;

use super::event::{PLACE, SIZE, STATUS, Stored};
use super::history::{self, Fact};
use super::tariff::Tariff;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ComputerId, TenantId};
use crate::store::{Tx, WriteTx};
use crate::usage::meter::{self, Changes};

/// Instants that are closer than this are no sign of a wrong clock: two processes read it one after another.
const TOLERANCE_MS: i64 = 1000;

/// How many of our own events that the meter follows are dated ahead of the clock. Of a whole history
/// [`super::verify`] counts them; this asks the meter and costs the same at any length.
///
/// # Errors
/// When the store fails.
pub fn count_ahead(tx: &Tx<'_>) -> Result<i64> {
    Ok(tx
        .prepare_cached(include_str!("ahead.sql"))?
        .query_row([tx.now()], |row| row.get(0))?)
}

/// An event that was dated wrongly.
#[derive(Clone, Debug)]
pub struct Misdated {
    pub tenant: TenantId,
    pub computer: ComputerId,
    pub kind: String,
    pub row: Stored,
    /// When it happened.
    pub right: i64,
}

struct Seen {
    tenant: TenantId,
    computer: ComputerId,
    kind: String,
    row: Stored,
    recorded: i64,
    void: bool,
    /// Of a workspace that was brought in from elsewhere: recorded by another clock.
    imported: bool,
}

/// What was dated wrongly since the clock went wrong at `since`, in the order in which it happened.
/// What was recorded under the clock that was ahead keeps its distances, and begins at `since`; what was only
/// moved up behind it goes back to where it was recorded.
///
/// # Errors
/// When the store fails.
pub fn misdated(tx: &Tx<'_>, since: Timestamp) -> Result<Vec<Misdated>> {
    let mut statement = tx.prepare(include_str!("misdated.sql"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    // The least that a later event was recorded at, and those before it that were recorded later.
    let mut least = tx.now().0;
    let mut ahead: Vec<Seen> = Vec::new();
    while let Some(row) = rows.next()? {
        let seen = Seen {
            tenant: row.get("tenant_id")?,
            computer: row.get("computer_id")?,
            kind: row.get("type")?,
            row: Stored::from_row(row)?,
            recorded: row.get("recorded_at")?,
            void: row.get("void")?, // Said of rows that state nothing too, which do not count.
            imported: row.get("imported")?,
        };
        if seen.recorded > least + TOLERANCE_MS {
            ahead.push(seen);
            continue;
        }
        if seen.imported {
            continue;
        }
        settle(&mut ahead, since.0.max(seen.recorded), least, &mut found);
        if seen.recorded < since.0 {
            break;
        }
        least = least.min(seen.recorded);
        let late = seen.recorded + TOLERANCE_MS;
        if seen.row.own && !seen.void && (seen.row.at > late || seen.row.at > tx.now().0) {
            let right = seen.recorded.min(least);
            found.push(of(seen, right));
        }
    }
    settle(&mut ahead, since.0, least, &mut found);
    found.sort_by_key(|event| (event.right, event.row.seq));
    Ok(found)
}

fn of(seen: Seen, right: i64) -> Misdated {
    Misdated {
        tenant: seen.tenant,
        computer: seen.computer,
        kind: seen.kind,
        row: seen.row,
        right,
    }
}

/// Between two instants at which the clock was right: what it was ahead by, and so when that happened.
fn settle(ahead: &mut Vec<Seen>, from: i64, until: i64, found: &mut Vec<Misdated>) {
    // The last that was read happened first.
    let Some(first) = ahead.iter().map(|seen| seen.recorded).min() else {
        return;
    };
    for seen in ahead.drain(..) {
        if seen.row.own && !seen.void {
            // One that had been due by the right clock happened when it was recorded.
            let at = if seen.row.at < first {
                seen.recorded
            } else {
                seen.row.at
            };
            let right = (at - (first - from)).max(from).min(until);
            found.push(of(seen, right));
        }
    }
}

/// Those of each computer.
pub fn by_computer(events: Vec<Misdated>) -> Vec<Vec<Misdated>> {
    let mut computers: BTreeMap<ComputerId, Vec<Misdated>> = BTreeMap::new();
    for event in events {
        computers.entry(event.computer).or_default().push(event);
    }
    computers.into_values().collect()
}

/// Puts the events of some computers where they belong.
///
/// # Errors
/// When the store fails.
pub fn put_right(tx: &WriteTx<'_>, tariff: &Tariff<'_>, events: &[Misdated]) -> Result<()> {
    let mut computers: BTreeMap<(TenantId, ComputerId), Vec<Fact>> = BTreeMap::new();
    for event in events {
        let (row, state) = (&event.row, &event.row.state);
        let says = |part: i64| row.stated & part != 0;
        let facts = computers.entry((event.tenant, event.computer)).or_default();
        facts.push(Fact::voided(row.at));
        facts.push(Fact {
            event_id: None,
            kind: event.kind.clone().into(),
            at: event.right,
            status: says(STATUS).then_some(state.status),
            size: says(SIZE).then_some(state.size),
            place: says(PLACE).then_some((state.workspace, state.project)),
        });
    }
    let mut changes = Changes::default();
    for ((tenant, computer), mut facts) in computers {
        // What is void comes first: it does not concern what is put there now.
        facts.sort_by_key(|fact| (fact.at, !fact.is_void()));
        facts.dedup_by(|a, b| a.at == b.at && a.is_void() && b.is_void());
        history::insert(tx, tenant, computer, facts, tariff, &mut changes)?;
    }
    meter::apply(tx, changes)
}
