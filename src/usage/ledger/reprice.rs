//! Computers that run across a change of their price: each gets an event `computer.repriced` at the instant of
//! the change, whatever time it is when the change is carried out.

use rusqlite::OptionalExtension;

use super::event::last_until;
use super::history::{self, Fact};
use super::tariff::Tariff;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};
use crate::usage::meter::{self, Changes};

/// Computers that one pass re-prices at most.
const BATCH: usize = 500;

/// Whom a change concerns.
#[derive(Clone, Copy)]
enum Whose {
    All,
    Organization(TenantId),
    Workspace(TenantId, WorkspaceId),
}

/// A change that has come into force and was not carried out yet.
struct Due {
    whose: Whose,
    size: Size,
    from: i64,
    /// When it was agreed; what was dated ahead of the clock and priced before may lie behind `from`.
    set_at: Option<i64>,
}

impl Due {
    /// The first one; of several at one instant that of the size table.
    fn first(tx: &Tx<'_>, now: i64) -> Result<Option<Due>> {
        let sql =
            "SELECT size, effective_from FROM rates WHERE applied = 0 AND effective_from <= ?1
                 ORDER BY effective_from, size LIMIT 1";
        let table = tx
            .row(sql, [now], |row| {
                Ok(Due {
                    whose: Whose::All,
                    size: row.get(0)?,
                    from: row.get(1)?,
                    set_at: None,
                })
            })
            .optional()?;
        let sql = "SELECT owner_id, tenant_id, size, holds_from, set_at FROM agreed_rates
                 WHERE applied = 0 AND holds_from <= ?1 ORDER BY holds_from LIMIT 1";
        let agreed = tx
            .row(sql, [now], |row| {
                let (owner, tenant): (WorkspaceId, TenantId) = (row.get(0)?, row.get(1)?);
                Ok(Due {
                    whose: match owner.0 == tenant.0 {
                        true => Whose::Organization(tenant),
                        false => Whose::Workspace(tenant, owner),
                    },
                    size: row.get(2)?,
                    from: row.get(3)?,
                    set_at: row.get(4)?,
                })
            })
            .optional()?;
        let all = table.into_iter().chain(agreed);
        Ok(all.min_by_key(|due| due.from))
    }

    /// Computers that ever ran where it holds.
    fn computers(&self, tx: &Tx<'_>) -> Result<Vec<(TenantId, ComputerId)>> {
        let of = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
            tx.prepare_cached(sql)?
                .query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()
        };
        let found = match self.whose {
            Whose::All => of(
                "SELECT DISTINCT tenant_id, computer_id FROM metered_computers",
                &[],
            ),
            Whose::Organization(tenant) => of(
                "SELECT DISTINCT tenant_id, computer_id FROM metered_computers WHERE tenant_id = ?1",
                &[&tenant],
            ),
            Whose::Workspace(tenant, workspace) => of(
                "SELECT tenant_id, computer_id FROM metered_computers WHERE tenant_id = ?1 AND workspace_id = ?2",
                &[&tenant, &workspace],
            ),
        };
        Ok(found?)
    }

    /// The instants at which an event of this computer has another price than now holds: that of the change,
    /// and those that were dated ahead of the clock when it was agreed.
    fn wrong(
        &self,
        tx: &Tx<'_>,
        tenant: TenantId,
        computer: ComputerId,
        tariff: &Tariff<'_>,
    ) -> Result<Vec<i64>> {
        let mut all = Vec::new();
        if let Some(held) = last_until(tx, computer, self.from)?.map(|held| held.state)
            && held.status.billable()
            && held.size == self.size
            && held.rate != tariff.at(held.workspace, held.size, self.from)?
        {
            all.push(self.from);
        }
        if let Some(set_at) = self.set_at {
            let sql = "SELECT at, workspace_id, size, rate FROM compute_events
                 WHERE tenant_id = ?1 AND computer_id = ?2 AND at > ?3 AND recorded_at <= ?4 AND billable = 1 ORDER BY at";
            let mut statement = tx.prepare_cached(sql)?;
            let mut rows = statement.query((tenant, computer, self.from, set_at))?;
            while let Some(row) = rows.next()? {
                let at = row.get(0)?;
                if tariff.at(row.get(1)?, row.get(2)?, at)? != row.get::<_, i64>(3)?
                    && all.last() != Some(&at)
                {
                    all.push(at);
                }
            }
        }
        Ok(all)
    }

    fn carried_out(&self, tx: &WriteTx<'_>) -> Result<()> {
        let owner = match self.whose {
            Whose::All => {
                let sql = "UPDATE rates SET applied = 1 WHERE size = ?1 AND effective_from = ?2";
                tx.run(sql, (self.size, self.from))?;
                return Ok(());
            }
            Whose::Organization(tenant) => tenant.0,
            Whose::Workspace(_, workspace) => workspace.0,
        };
        let sql = "UPDATE agreed_rates SET applied = 1 WHERE owner_id = ?1 AND size = ?2 AND holds_from = ?3";
        let owner = owner.as_bytes().as_slice();
        tx.run(sql, (owner, self.size, self.from))?;
        Ok(())
    }
}

/// Carries out the changes that have come into force, in the order of their dates, at most so many computers a
/// pass. Returns how many computers had another price.
pub fn run(tx: &WriteTx<'_>, catalog: &Catalog) -> Result<usize> {
    let mut done = 0;
    while done < BATCH {
        let Some(due) = Due::first(tx, tx.now().0)? else {
            break;
        };
        let tariff = Tariff::load(tx, catalog)?;
        let mut changes = Changes::default();
        for (tenant, computer) in due.computers(tx)? {
            let wrong = due.wrong(tx, tenant, computer, &tariff)?;
            if wrong.is_empty() {
                continue;
            }
            if done == BATCH {
                meter::apply(tx, changes)?;
                return Ok(done);
            }
            let facts = wrong.into_iter().map(repriced).collect();
            history::insert(tx, tenant, computer, facts, &tariff, &mut changes)?;
            done += 1;
        }
        meter::apply(tx, changes)?;
        due.carried_out(tx)?;
    }
    Ok(done)
}

fn repriced(at: i64) -> Fact {
    Fact {
        event_id: None,
        kind: "computer.repriced".into(),
        at,
        status: None,
        size: None,
        place: None,
    }
}

/// When a price that is known next comes into force.
pub fn next_change(tx: &Tx<'_>) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(effective_from) FROM rates WHERE applied = 0";
    let table: Option<Timestamp> = tx.row(sql, [], |row| row.get(0))?;
    let sql = "SELECT min(holds_from) FROM agreed_rates WHERE applied = 0";
    let agreed: Option<Timestamp> = tx.row(sql, [], |row| row.get(0))?;
    Ok([table, agreed].into_iter().flatten().min())
}
