//! Prices as they held: look-ups in the table `rates`, in what organizations and workspaces have agreed instead
//! ([`super::agreed`]), and in what came along with history that was brought in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::rules::size::Size;
use crate::store::{Tx, WriteTx};

/// The price of a size at an instant, credits per hour, in a workspace or in any of an organization that has no
/// price of its own; `None` before the first start of the service. Of instants after history was brought in.
pub fn at(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: Option<WorkspaceId>,
    size: Size,
    at: i64,
) -> Result<Option<i64>> {
    let sql = "SELECT coalesce(
        (SELECT rate FROM agreed_rates WHERE owner_id = ?1 AND size = ?3 AND holds_from <= ?4 ORDER BY holds_from DESC LIMIT 1),
        (SELECT rate FROM agreed_rates WHERE owner_id = ?2 AND size = ?3 AND holds_from <= ?4 ORDER BY holds_from DESC LIMIT 1),
        (SELECT rate FROM rates WHERE size = ?3 AND effective_from <= ?4 ORDER BY effective_from DESC LIMIT 1))";
    Ok(tx.row(sql, (workspace, tenant, size, at), |row| row.get(0))?)
}

/// The price of a size from an instant on, as it is carried to another installation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub size: Size,
    pub effective_from: i64,
    pub rate: i64,
}

/// The prices that hold in a workspace up to now, as they are carried to another installation: those that it
/// has agreed among them, so that what is reported there about the past costs what it cost. What lies ahead is
/// between the two here.
pub fn carried(tx: &Tx<'_>, tenant: TenantId, workspace: WorkspaceId) -> Result<Vec<Price>> {
    let prices = Prices::load(tx, tenant, Some(workspace))?;
    let now = tx.now().0;
    let mut all: Vec<Price> = Vec::new();
    for size in Size::ALL {
        let mut last = None;
        for effective_from in prices.instants(size, i64::MIN, now.saturating_add(1)) {
            let rate = prices.at(size, effective_from).map(|found| found.rate);
            if let Some(rate) = rate.filter(|rate| last != Some(*rate)) {
                last = Some(rate);
                all.push(Price {
                    size,
                    effective_from,
                    rate,
                });
            }
        }
    }
    Ok(all)
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

/// Which list a price is from.
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "snake_case")]
#[schema(as = RateList)]
pub enum PriceList {
    /// What the workspace has agreed.
    Workspace,
    /// What its organization has agreed.
    Organization,
    /// The size table of this installation.
    Sizes,
    /// Those of the installation that the workspace comes from.
    Imported,
    /// None: it came with the usage itself, which was brought in.
    Given,
}

/// A price, whence, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub rate: i64,
    pub list: PriceList,
    pub since: i64,
}

/// The price of a size from an instant on.
type Table = BTreeMap<(Size, i64), i64>;
/// The same of what was agreed; `None`: what holds above holds again.
type Agreed = BTreeMap<(Size, i64), Option<i64>>;
/// Of history that was brought in: the price from an instant on, and until when these prices hold.
type Imported = BTreeMap<(Size, i64), (i64, i64)>;

/// The lists that hold in a workspace, the nearer one before the other.
#[derive(Default)]
struct Lists {
    imported: Imported,
    workspace: Agreed,
    organization: Agreed,
}

impl Lists {
    /// Those of an organization, for workspaces that have none of their own.
    fn of_organization(tx: &Tx<'_>, tenant: TenantId) -> Result<Self> {
        let sql = "SELECT size, holds_from, rate FROM agreed_rates WHERE owner_id = ?1";
        let organization = tx
            .prepare_cached(sql)?
            .query_map([tenant], |row| {
                Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(Lists {
            organization,
            ..Lists::default()
        })
    }

    fn load(tx: &Tx<'_>, workspace: WorkspaceId) -> Result<Self> {
        let mut lists = Lists::default();
        let sql =
            "SELECT size, effective_from, rate, until FROM imported_rates WHERE workspace_id = ?1";
        lists.imported = tx
            .prepare_cached(sql)?
            .query_map([workspace], |row| {
                Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)))
            })?
            .collect::<Result<_, _>>()?;
        let sql = "SELECT size, holds_from, rate, 1 FROM agreed_rates WHERE owner_id = ?1
             UNION ALL SELECT a.size, a.holds_from, a.rate, 0 FROM workspaces w JOIN agreed_rates a ON a.owner_id = w.tenant_id
             WHERE w.id = ?1";
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query([workspace])?;
        while let Some(row) = rows.next()? {
            let list = match row.get(3)? {
                true => &mut lists.workspace,
                false => &mut lists.organization,
            };
            list.insert((row.get(0)?, row.get(1)?), row.get(2)?);
        }
        Ok(lists)
    }

    /// What holds at an instant; `None` where the size table has nothing of the size.
    fn at(&self, table: &Table, size: Size, at: i64) -> Option<Found> {
        fn last<T: Copy>(list: &BTreeMap<(Size, i64), T>, size: Size, at: i64) -> Option<(i64, T)> {
            let ((_, since), held) = list.range((size, i64::MIN)..=(size, at)).next_back()?;
            Some((*since, *held))
        }
        let found = |list, since, rate| Found { rate, list, since };
        let agreed = |list, of: &Agreed| {
            last(of, size, at).and_then(|(since, rate)| Some(found(list, since, rate?)))
        };
        last(&self.imported, size, at)
            .filter(|(_, (_, until))| at < *until)
            .map(|(since, (rate, _))| found(PriceList::Imported, since, rate))
            .or_else(|| agreed(PriceList::Workspace, &self.workspace))
            .or_else(|| agreed(PriceList::Organization, &self.organization))
            .or_else(|| {
                last(table, size, at).map(|(since, rate)| found(PriceList::Sizes, since, rate))
            })
    }

    /// Instants of `[from, to)` at which a price of a size may be another than before.
    fn instants(&self, table: &Table, size: Size, from: i64, to: i64) -> BTreeSet<i64> {
        let span = (size, from)..(size, to);
        let imported = self.imported.range((size, i64::MIN)..=(size, i64::MAX));
        let mut all: BTreeSet<i64> = imported
            .flat_map(|((_, at), (_, until))| [*at, *until])
            .filter(|at| (from..to).contains(at))
            .collect();
        for list in [&self.workspace, &self.organization] {
            all.extend(list.range(span.clone()).map(|((_, at), _)| *at));
        }
        all.extend(table.range(span).map(|((_, at), _)| *at));
        all
    }
}

fn table(tx: &Tx<'_>) -> Result<Table> {
    Ok(tx
        .prepare_cached("SELECT size, effective_from, rate FROM rates")?
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
        .collect::<Result<_, _>>()?)
}

/// All prices of one workspace, or of an organization.
pub struct Prices {
    table: Table,
    lists: Lists,
}

impl Prices {
    pub fn load(tx: &Tx<'_>, tenant: TenantId, workspace: Option<WorkspaceId>) -> Result<Self> {
        Ok(Prices {
            table: table(tx)?,
            lists: match workspace {
                Some(workspace) => Lists::load(tx, workspace)?,
                None => Lists::of_organization(tx, tenant)?,
            },
        })
    }

    pub fn at(&self, size: Size, at: i64) -> Option<Found> {
        self.lists.at(&self.table, size, at)
    }

    fn instants(&self, size: Size, from: i64, to: i64) -> BTreeSet<i64> {
        self.lists.instants(&self.table, size, from, to)
    }

    /// Why an hour costs `rate` from an instant on.
    pub fn why(&self, size: Size, at: i64, rate: i64) -> RateFrom {
        let found = self.at(size, at).filter(|found| found.rate == rate);
        RateFrom {
            list: found.map_or(PriceList::Given, |found| found.list),
            since: found
                .filter(|found| found.since > 0)
                .map(|found| Timestamp(found.since).rfc3339_ms()),
        }
    }
}

/// Why an hour costs what it costs.
#[derive(Serialize, ToSchema)]
pub struct RateFrom {
    /// Whose price it is.
    list: PriceList,
    /// Since when it holds, with milliseconds; null = since ever, or given with the usage.
    since: Option<String>,
}

/// The tariff for many look-ups in one transaction: the own one in memory, and what the workspaces at hand
/// have besides.
pub struct Tariff<'a> {
    tx: &'a Tx<'a>,
    table: Table,
    lists: RefCell<BTreeMap<WorkspaceId, Rc<Lists>>>,
    catalog: &'a Catalog,
}

impl<'a> Tariff<'a> {
    pub fn load(tx: &'a Tx<'a>, catalog: &'a Catalog) -> Result<Self> {
        Ok(Tariff {
            tx,
            table: table(tx)?,
            lists: RefCell::default(),
            catalog,
        })
    }

    /// What a workspace has; asked for once.
    fn lists(&self, workspace: WorkspaceId) -> Result<Rc<Lists>> {
        if let Some(known) = self.lists.borrow().get(&workspace) {
            return Ok(known.clone());
        }
        let found = Rc::new(Lists::load(self.tx, workspace)?);
        self.lists.borrow_mut().insert(workspace, found.clone());
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
        let lists = self.lists(workspace)?;
        let instants = lists.instants(&self.table, size, from + 1, to);
        let priced = |at| (at, self.of(&lists, size, at));
        Ok(instants.into_iter().map(priced).collect())
    }

    /// The price of a size in a workspace at an instant.
    pub fn at(&self, workspace: WorkspaceId, size: Size, at: i64) -> Result<i64> {
        Ok(self.of(&*self.lists(workspace)?, size, at))
    }

    fn of(&self, lists: &Lists, size: Size, at: i64) -> i64 {
        let found = lists.at(&self.table, size, at);
        found.map_or_else(|| self.catalog.rate_at(size, at), |found| found.rate)
    }
}
