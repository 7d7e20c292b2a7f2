//! Prices as they held: look-ups in the table `rates`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};

/// The price of a size at an instant, credits per hour; `None` before the first start of the service.
pub fn at(tx: &Tx<'_>, size: Size, at: i64) -> Result<Option<i64>> {
    Ok(tx.row("SELECT rate FROM rates WHERE size = ?1 AND effective_from <= ?2 ORDER BY effective_from DESC LIMIT 1", (size, at), |row| row.get(0))
        .optional()?)
}

/// The price of a size from an instant on, as it is carried to another installation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub size: Size,
    pub effective_from: i64,
    pub rate: i64,
}

/// The prices that hold in a workspace up to now, as they are carried to another installation.
pub fn carried(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<Vec<Price>> {
    let own: BTreeMap<(Size, i64), i64> = tx
        .prepare_cached("SELECT size, effective_from, rate FROM rates WHERE effective_from <= ?1")?
        .query_map([tx.now()], |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let imported = imported(tx, workspace)?;
    let mut all = BTreeMap::new();
    for size in Size::ALL {
        let elsewhere = imported.range((size, i64::MIN)..=(size, i64::MAX));
        let until = elsewhere.clone().next_back().map(|(_, (_, until))| *until);
        all.extend(elsewhere.map(|(from, (rate, _))| (*from, *rate)));
        // From then on the own ones, the first of which held already.
        let until = until.unwrap_or(i64::MIN);
        let held = own.range((size, i64::MIN)..=(size, until)).next_back();
        all.extend(held.map(|(_, rate)| ((size, until), *rate)));
        let later = own.range((size, until)..=(size, i64::MAX));
        all.extend(later.map(|(from, rate)| (*from, *rate)));
    }
    let price = |((size, effective_from), rate)| Price {
        size,
        effective_from,
        rate,
    };
    Ok(all.into_iter().map(price).collect())
}

/// Keeps the prices of the installation that a workspace comes from, up to now.
pub fn import(tx: &WriteTx<'_>, workspace: WorkspaceId, prices: &[Price]) -> Result<()> {
    for price in prices {
        let sql = "INSERT INTO imported_rates (workspace_id, size, effective_from, until, rate)
             VALUES (?1, ?2, ?3, ?4, ?5)";
        tx.run(
            sql,
            (
                workspace,
                price.size,
                price.effective_from,
                tx.now(),
                price.rate,
            ),
        )?;
    }
    Ok(())
}

/// The tariff for many look-ups in one transaction: the own one in memory, and of history that was
/// brought in what the workspaces at hand have.
pub struct Tariff<'a> {
    tx: &'a Tx<'a>,
    known: BTreeMap<(Size, i64), i64>,
    imported: RefCell<BTreeMap<WorkspaceId, Rc<Imported>>>,
    catalog: &'a Catalog,
}

/// Of history that was brought in: the price from an instant on, and until when these prices hold.
type Imported = BTreeMap<(Size, i64), (i64, i64)>;

impl<'a> Tariff<'a> {
    pub fn load(tx: &'a Tx<'a>, catalog: &'a Catalog) -> Result<Self> {
        let known = tx
            .prepare_cached("SELECT size, effective_from, rate FROM rates")?
            .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        Ok(Tariff {
            tx,
            known,
            imported: RefCell::default(),
            catalog,
        })
    }

    /// What came in with a workspace; asked for once.
    fn imported(&self, workspace: WorkspaceId) -> Result<Rc<Imported>> {
        if let Some(known) = self.imported.borrow().get(&workspace) {
            return Ok(known.clone());
        }
        let found = Rc::new(imported(self.tx, workspace)?);
        self.imported.borrow_mut().insert(workspace, found.clone());
        Ok(found)
    }

    /// The changes of a size's price strictly between two instants, and the new price of each.
    pub fn changes(
        &self,
        workspace: WorkspaceId,
        size: Size,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, i64)>> {
        if from + 1 >= to {
            return Ok(Vec::new());
        }
        let mut own_from = from;
        let mut changes = Vec::new();
        let imported = self.imported(workspace)?;
        if let Some((_, until)) = held(&imported, size, from) {
            let between = imported.range((size, from + 1)..(size, to));
            changes.extend(between.map(|((_, at), (rate, _))| (*at, *rate)));
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
        Ok(changes)
    }

    /// The price of a size in a workspace at an instant.
    pub fn at(&self, workspace: WorkspaceId, size: Size, at: i64) -> Result<i64> {
        let imported = held(&*self.imported(workspace)?, size, at);
        Ok(imported.map_or_else(|| self.own(size, at), |(rate, _)| rate))
    }

    fn own(&self, size: Size, at: i64) -> i64 {
        let known = self.known.range((size, i64::MIN)..=(size, at)).next_back();
        known.map_or_else(|| self.catalog.rate_at(size, at), |(_, rate)| *rate)
    }
}

fn imported(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<Imported> {
    Ok(tx
        .prepare_cached(
            "SELECT size, effective_from, rate, until FROM imported_rates WHERE workspace_id = ?1",
        )?
        .query_map([workspace], |row| {
            Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)))
        })?
        .collect::<Result<_, _>>()?)
}

/// The price of elsewhere at an instant, and until when such prices hold, if they do then.
fn held(imported: &Imported, size: Size, at: i64) -> Option<(i64, i64)> {
    let (_, held) = imported.range((size, i64::MIN)..=(size, at)).next_back()?;
    Some(*held).filter(|(_, until)| at < *until)
}
