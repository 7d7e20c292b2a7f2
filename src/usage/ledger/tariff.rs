//! Prices as they held: look-ups in the table `rates`.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::store::Tx;

/// The price of a size at an instant, credits per hour; `None` before the first start of the service.
pub fn at(tx: &Tx<'_>, size: Size, at: i64) -> Result<Option<i64>> {
    Ok(tx.row("SELECT rate FROM rates WHERE size = ?1 AND effective_from <= ?2 ORDER BY effective_from DESC LIMIT 1", (size, at), |row| row.get(0))
        .optional()?)
}

/// The whole tariff in memory, for many look-ups in one transaction.
pub struct Tariff<'a> {
    known: BTreeMap<(Size, i64), i64>,
    /// Of history that was brought in: the price from an instant on, and until when these prices hold.
    imported: BTreeMap<(WorkspaceId, Size, i64), (i64, i64)>,
    catalog: &'a Catalog,
}

impl<'a> Tariff<'a> {
    pub fn load(tx: &Tx<'_>, catalog: &'a Catalog) -> Result<Self> {
        let (mut known, mut imported) = (BTreeMap::new(), BTreeMap::new());
        let mut statement = tx.prepare_cached(
            "SELECT size, effective_from, rate, NULL, NULL FROM rates
             UNION ALL SELECT size, effective_from, rate, workspace_id, until FROM imported_rates",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (size, from, rate) = (row.get(0)?, row.get(1)?, row.get(2)?);
            match row.get::<_, Option<WorkspaceId>>(3)? {
                None => drop(known.insert((size, from), rate)),
                Some(workspace) => {
                    imported.insert((workspace, size, from), (rate, row.get(4)?));
                }
            }
        }
        Ok(Tariff {
            known,
            imported,
            catalog,
        })
    }

    /// The changes of a size's price strictly between two instants, and the new price of each.
    pub fn changes(
        &self,
        workspace: WorkspaceId,
        size: Size,
        from: i64,
        to: i64,
    ) -> Vec<(i64, i64)> {
        if from + 1 >= to {
            return Vec::new();
        }
        let mut own_from = from;
        let mut changes = Vec::new();
        if let Some(until) = self.imported_until(workspace, size, from) {
            let key = |at: i64| (workspace, size, at);
            let between = self.imported.range(key(from + 1)..key(to));
            changes.extend(between.map(|((_, _, at), (rate, _))| (*at, *rate)));
            changes.retain(|(at, _)| *at < until);
            if until < to {
                changes.push((until, self.own(size, until)));
            }
            own_from = until;
        }
        if own_from + 1 < to {
            let between = self.known.range((size, own_from + 1)..(size, to));
            changes.extend(between.map(|((_, at), rate)| (*at, *rate)));
        }
        changes
    }

    /// Until when the prices of elsewhere hold in a workspace, if they do at an instant.
    fn imported_until(&self, workspace: WorkspaceId, size: Size, at: i64) -> Option<i64> {
        let key = |at: i64| (workspace, size, at);
        let (_, (_, until)) = self.imported.range(key(i64::MIN)..=key(at)).next_back()?;
        Some(*until).filter(|until| at < *until)
    }

    /// The price of a size in a workspace at an instant.
    pub fn at(&self, workspace: WorkspaceId, size: Size, at: i64) -> i64 {
        let key = |at: i64| (workspace, size, at);
        let imported = self.imported.range(key(i64::MIN)..=key(at)).next_back();
        match imported {
            Some((_, (rate, until))) if at < *until => *rate,
            _ => self.own(size, at),
        }
    }

    fn own(&self, size: Size, at: i64) -> i64 {
        let known = self.known.range((size, i64::MIN)..=(size, at)).next_back();
        known.map_or_else(|| self.catalog.rate_at(size, at), |(_, rate)| *rate)
    }
}
