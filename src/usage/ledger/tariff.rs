//! Prices as they held: look-ups in the table `rates`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

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
        let found: Imported = self
            .tx
            .prepare_cached("SELECT size, effective_from, rate, until FROM imported_rates WHERE workspace_id = ?1")?
            .query_map([workspace], |row| {
                Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)))
            })?
            .collect::<Result<_, _>>()?;
        let found = Rc::new(found);
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

/// The price of elsewhere at an instant, and until when such prices hold, if they do then.
fn held(imported: &Imported, size: Size, at: i64) -> Option<(i64, i64)> {
    let (_, held) = imported.range((size, i64::MIN)..=(size, at)).next_back()?;
    Some(*held).filter(|(_, until)| at < *until)
}
