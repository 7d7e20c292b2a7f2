//! Computers whose events were dated by a clock that was ahead: events and rows are put right.

use super::Fleet;
use super::lifecycle::{bring_nearer, follow_events};
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::ComputerId;
use crate::store::WriteTx;
use crate::usage::ledger::repair::{self, Misdated};
use crate::usage::ledger::tariff::Tariff;

/// Puts all wrongly dated events of some computers where they belong, and their rows in line.
pub fn put_right(tx: &WriteTx<'_>, fleet: &Fleet, computers: &[Vec<Misdated>]) -> Result<()> {
    let tariff = Tariff::load(tx, &fleet.catalog)?;
    for events in computers {
        repair::put_right(tx, &tariff, events)?;
        let moved: Vec<_> = events
            .iter()
            .map(|event| (Timestamp(event.row.at), Timestamp(event.right)))
            .collect();
        if let Some(event) = events.first() {
            follow(tx, fleet, event.computer, &moved)?;
        }
    }
    Ok(())
}

/// Brings the row of a computer in line after events of it were put where they belong: instants that it
/// has from them, and what holds.
fn follow(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    id: ComputerId,
    moved: &[(Timestamp, Timestamp)],
) -> Result<()> {
    for (from, to) in moved {
        let sql = "UPDATE computers SET created_at = iif(created_at = ?1, ?2, created_at),
                 updated_at = iif(updated_at = ?1, ?2, updated_at), started_at = iif(started_at = ?1, ?2, started_at),
                 stopped_at = iif(stopped_at = ?1, ?2, stopped_at), deleted_at = iif(deleted_at = ?1, ?2, deleted_at)
             WHERE id = ?3";
        tx.run(sql, (from, to, id))?;
    }
    let sql = "UPDATE computers SET created_at = min(created_at, ?1), updated_at = min(updated_at, ?1),
             started_at = min(started_at, ?1), stopped_at = min(stopped_at, ?1), deleted_at = min(deleted_at, ?1)
         WHERE id = ?2";
    tx.run(sql, (tx.now(), id))?;
    if let Some(computer) = super::load(tx, id)? {
        bring_nearer(tx, fleet, &computer)?;
    }
    follow_events(tx, fleet, Actor::Operator, id)
}
