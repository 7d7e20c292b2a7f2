//! What a size costs, since when. The table `rates` is the tariff as this installation knows it: the
//! past is never touched, what lies ahead follows the configuration.
//!
//! A change that the configuration dates ahead holds from its date on, also where the service was
//! down at that instant. One without a date, or with a date that had passed when it was first seen,
//! holds from the instant at which it was seen: a change never re-prices the past. Computers
//! that run across a change are re-priced ([`reprice`]), from the start every event carries the price that
//! holds from it on.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use super::reprice;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};

/// The job: brings the table in line with the configuration, then running computers in line with the
/// table. Returns how many events it appended.
pub fn run(tx: &WriteTx<'_>, catalog: &Catalog) -> Result<usize> {
    let now = tx.now().0;
    let announced = catalog.announced(now);
    let stale: Vec<(Size, i64, i64)> = tx
        .prepare_cached("SELECT size, effective_from, rate FROM rates WHERE effective_from > ?1")?
        .query_map([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for entry in stale.iter().filter(|entry| !announced.contains(entry)) {
        tx.run(
            "DELETE FROM rates WHERE size = ?1 AND effective_from = ?2",
            (entry.0, entry.1),
        )?;
    }
    for entry in announced.iter().filter(|entry| !stale.contains(entry)) {
        tx.run(
            "INSERT INTO rates (size, effective_from, rate, applied) VALUES (?1, ?2, ?3, 0)",
            *entry,
        )?;
    }
    for size in Size::ALL {
        let wanted = catalog.rate_at(size, now);
        let sql = "INSERT INTO rates (size, effective_from, rate, applied) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET rate = excluded.rate, applied = excluded.applied";
        let mut set = tx.prepare_cached(sql)?;
        match known(tx, size, now)? {
            None => drop(set.execute((size, 0, wanted, true))?),
            Some(rate) if rate != wanted => {
                set.execute((size, now, wanted, false))?;
                match catalog
                    .dated(size, now)
                    .map(|from| Timestamp(from).rfc3339())
                {
                    Some(dated) => tracing::warn!(
                        %size, rate, wanted, dated,
                        "a price is dated in the past and was not known then: it holds from now on"
                    ),
                    None => tracing::info!(%size, rate, wanted, "the price has changed"),
                }
            }
            Some(_) => {}
        }
    }
    keep_vcpus(tx, catalog)?;
    reprice::run(tx, catalog)
}

/// The price of a size in the table at an instant.
fn known(tx: &Tx<'_>, size: Size, at: i64) -> Result<Option<i64>> {
    let sql = "SELECT rate FROM rates WHERE size = ?1 AND effective_from <= ?2 ORDER BY effective_from DESC LIMIT 1";
    Ok(tx.row(sql, (size, at), |row| row.get(0)).optional()?)
}

/// Keeps since when a size has so many virtual CPUs.
fn keep_vcpus(tx: &WriteTx<'_>, catalog: &Catalog) -> Result<()> {
    let mut known = Vcpus::own(tx)?;
    for size in Size::ALL {
        let vcpus = catalog.hardware(size).vcpus;
        let last = known
            .0
            .remove(&size)
            .and_then(|since| since.last().copied());
        if last.is_none_or(|(_, last)| last != vcpus) {
            tx.run(
                "INSERT OR REPLACE INTO size_vcpus (size, effective_from, vcpus) VALUES (?1, ?2, ?3)",
                (size, last.map_or(0, |_| tx.now().0), vcpus),
            )?;
        }
    }
    Ok(())
}

/// Virtual CPUs of each size, since when.
pub struct Vcpus(BTreeMap<Size, Vec<(i64, i64)>>);

/// Virtual CPUs of a size from an instant on, as they are carried to another installation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Since {
    pub size: Size,
    pub effective_from: i64,
    pub vcpus: i64,
}

impl Vcpus {
    /// Those that hold in a workspace: of history that was brought in, what held where it comes from.
    pub fn load(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<Self> {
        let mut all = Self::own(tx)?;
        let mut imported: BTreeMap<Size, (i64, Vec<(i64, i64)>)> = BTreeMap::new();
        let sql =
            "SELECT size, effective_from, vcpus, until FROM imported_vcpus WHERE workspace_id = ?1
             ORDER BY size, effective_from";
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query([workspace])?;
        while let Some(row) = rows.next()? {
            let (until, since) = imported.entry(row.get(0)?).or_default();
            *until = row.get(3)?;
            since.push((row.get(1)?, row.get(2)?));
        }
        for (size, (until, mut since)) in imported {
            let own = all.0.remove(&size).unwrap_or_default();
            let then = own.iter().rev().find(|(from, _)| *from <= until);
            since.extend(then.map(|(_, vcpus)| (until, *vcpus)));
            since.extend(own.iter().filter(|(from, _)| *from > until));
            all.0.insert(size, since);
        }
        Ok(all)
    }

    /// As they are carried to another installation.
    pub fn carried(self) -> Vec<Since> {
        let of = |(size, since): (Size, Vec<(i64, i64)>)| {
            since.into_iter().map(move |(effective_from, vcpus)| Since {
                size,
                effective_from,
                vcpus,
            })
        };
        self.0.into_iter().flat_map(of).collect()
    }

    /// Keeps those of the installation that a workspace comes from, up to now.
    pub fn import(tx: &WriteTx<'_>, workspace: WorkspaceId, carried: &[Since]) -> Result<()> {
        for since in carried {
            let sql =
                "INSERT INTO imported_vcpus (workspace_id, size, effective_from, until, vcpus)
                 VALUES (?1, ?2, ?3, ?4, ?5)";
            tx.run(
                sql,
                (
                    workspace,
                    since.size,
                    since.effective_from,
                    tx.now(),
                    since.vcpus,
                ),
            )?;
        }
        Ok(())
    }

    /// Those of this installation.
    fn own(tx: &Tx<'_>) -> Result<Self> {
        let mut known: BTreeMap<Size, Vec<(i64, i64)>> = BTreeMap::new();
        let mut statement = tx.prepare_cached(
            "SELECT size, effective_from, vcpus FROM size_vcpus ORDER BY size, effective_from",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let since = known.entry(row.get(0)?).or_default();
            since.push((row.get(1)?, row.get(2)?));
        }
        Ok(Vcpus(known))
    }

    /// vCPU-milliseconds of a size between two instants; `now` where nothing is known of it.
    pub fn between(&self, size: Size, start: i64, end: i64, now: i64) -> i128 {
        let Some(since) = self.0.get(&size) else {
            return i128::from(end - start) * i128::from(now);
        };
        let ends = since.iter().skip(1).map(|(at, _)| *at).chain([i64::MAX]);
        since
            .iter()
            .zip(ends)
            .map(|((from, vcpus), to)| {
                let ms = to.min(end).saturating_sub(start.max(*from)).max(0);
                i128::from(ms) * i128::from(*vcpus)
            })
            .sum()
    }
}
