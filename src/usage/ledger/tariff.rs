//! Prices as they held: look-ups in the table `rates`.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use crate::error::Result;
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
    catalog: &'a Catalog,
}

impl<'a> Tariff<'a> {
    pub fn load(tx: &Tx<'_>, catalog: &'a Catalog) -> Result<Self> {
        let known = tx
            .prepare_cached("SELECT size, effective_from, rate FROM rates")?
            .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        Ok(Tariff { known, catalog })
    }

    /// The changes of a size's price strictly between two instants, and the new price of each.
    pub fn changes(&self, size: Size, from: i64, to: i64) -> Vec<(i64, i64)> {
        if from + 1 >= to {
            return Vec::new();
        }
        let between = self.known.range((size, from + 1)..(size, to));
        between.map(|((_, at), rate)| (*at, *rate)).collect()
    }

    /// The price of a size at an instant.
    pub fn at(&self, size: Size, at: i64) -> i64 {
        let known = self.known.range((size, i64::MIN)..=(size, at)).next_back();
        known.map_or_else(|| self.catalog.rate_at(size, at), |(_, rate)| *rate)
    }
}
