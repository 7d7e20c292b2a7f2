//! A budget, how it stands, and what is written when that changes.

use std::hash::DefaultHasher;

use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::rule::{OnExceeded, Rule};
use crate::audit::{self, Actor, Entry};
use crate::billing::owner::Owner;
use crate::clock::{DAY_MS, Timestamp};
use crate::computers::{self, Fleet};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{Versioned, etag};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::store::{Columns, Tx, WriteTx};
use crate::usage::ledger::intervals;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, MICROS_PER_CREDIT, narrow};
use crate::usage::questions::window::Zone;

/// Of what the burn rate is the mean.
const BURN_MS: i64 = 7 * DAY_MS;
/// Computers that one turn of the writer stops.
const STOPS: usize = 100;

impl Owner {
    /// What was used between instants, by the meters that are read there.
    fn used(self, tx: &Tx<'_>, tenant: TenantId, cuts: &[i64]) -> Result<Vec<i64>> {
        let read = match self {
            Owner::Organization => intervals::organization(tx, tenant, cuts)?,
            Owner::Workspace(id) => readings(tx, id, cuts)?,
            Owner::Project(id, _) => return used_by_project(tx, tenant, id, cuts),
        };
        Ok(read
            .windows(2)
            .map(|read| read[0].until(&read[1]).credits_micros)
            .collect())
    }
}

/// A project has no meter: what its computers used, wherever it was.
fn used_by_project(tx: &Tx<'_>, tenant: TenantId, id: ProjectId, cuts: &[i64]) -> Result<Vec<i64>> {
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else {
        return Ok(Vec::new());
    };
    let sql = "SELECT DISTINCT computer_id FROM metered_computers WHERE tenant_id = ?1";
    let computers: Vec<ComputerId> = tx
        .prepare_cached(sql)?
        .query_map([tenant], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut sums = vec![Amount::default(); cuts.len() - 1];
    for computer in computers {
        intervals::of_computer(tx, computer, *first, *last, |interval| {
            if interval.opened.state.project == id {
                for (sum, cut) in sums.iter_mut().zip(cuts.windows(2)) {
                    let (from, to) = (interval.start.max(cut[0]), interval.end.min(cut[1]));
                    if from < to {
                        *sum += intervals::amount(&interval.opened, from, to);
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(sums.iter().map(Amount::micro_credits).collect())
}

/// A budget, as it is kept.
#[derive(Clone)]
pub struct Budget {
    pub(super) tenant_id: TenantId,
    pub(super) owner: Owner,
    pub(super) rule: Rule,
}

impl Budget {
    pub(super) fn load(tx: &Tx<'_>, tenant: TenantId, owner: Owner) -> Result<Option<Budget>> {
        let sql = format!(
            "SELECT {} FROM budgets WHERE owner_id = ?1 AND tenant_id = ?2",
            Rule::COLUMNS.join(", ")
        );
        let id = owner.id(tenant);
        let mut statement = tx.prepare_cached(&sql)?;
        let rule = statement.query_row((id.as_bytes().as_slice(), tenant), |row| {
            Rule::from_columns(&mut Columns::new(row))
        });
        Ok(rule.optional()?.map(|rule| Budget {
            tenant_id: tenant,
            owner,
            rule,
        }))
    }

    /// All of an organization whose owners are there.
    pub(super) fn all(tx: &Tx<'_>, tenant: TenantId) -> Result<Vec<Budget>> {
        let mut statement = tx.prepare_cached(
            "SELECT scope, owner_id FROM budgets WHERE tenant_id = ?1 ORDER BY scope, owner_id",
        )?;
        let mut rows = statement.query([tenant])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let (scope, id): (String, [u8; 16]) = (row.get(0)?, row.get(1)?);
            let id = Uuid::from_bytes(id);
            let owner = match scope.as_str() {
                "organization" => Some(Owner::Organization),
                "workspace" => {
                    let sql = "SELECT id FROM workspaces WHERE id = ?1 AND tenant_id = ?2 AND deleted_at IS NULL";
                    let found = tx.row(sql, (WorkspaceId(id), tenant), |row| row.get(0));
                    found.optional()?.map(Owner::Workspace)
                }
                _ => {
                    let sql = "SELECT workspace_id FROM projects WHERE id = ?1 AND tenant_id = ?2 AND deleted_at IS NULL";
                    let found = tx.row(sql, (ProjectId(id), tenant), |row| row.get(0));
                    let found = found.optional()?;
                    found.map(|workspace| Owner::Project(ProjectId(id), workspace))
                }
            };
            if let Some(owner) = owner {
                all.extend(Budget::load(tx, tenant, owner)?);
            }
        }
        Ok(all)
    }

    fn micros(&self) -> i64 {
        self.rule.credits * narrow(MICROS_PER_CREDIT)
    }

    /// First and last instant of the present period, and the zone that it is of.
    fn period(&self, tx: &Tx<'_>) -> Result<(i64, i64, Zone)> {
        let zone = Zone::of(tx, self.tenant_id, self.owner.workspace())?;
        let granularity = self.rule.period.granularity();
        let start = zone.start(tx.now().0, granularity);
        Ok((start, zone.next(start, granularity), zone))
    }

    /// How it stands.
    pub(super) fn view(&self, tx: &Tx<'_>) -> Result<BudgetView> {
        let now = tx.now().0;
        let (start, end, zone) = self.period(tx)?;
        let used = self.owner.used(tx, self.tenant_id, &[start, now])?[0];
        let before = now - BURN_MS;
        let week = self.owner.used(tx, self.tenant_id, &[before, now])?[0].max(0);
        let per_ms = |ms: i64| narrow(i128::from(week) * i128::from(ms) / i128::from(BURN_MS));
        let left = self.micros() - used;
        let used_up_at = if left <= 0 {
            None
        } else {
            let ms = i128::from(left) * i128::from(BURN_MS);
            let ms = ms.checked_div(i128::from(week)).map(narrow);
            ms.and_then(|ms| now.checked_add(ms)).filter(|at| *at < end)
        };
        let sql = "SELECT threshold, at FROM budget_alerts WHERE owner_id = ?1 AND tenant_id = ?2 AND period_start = ?3
             ORDER BY threshold";
        let mut statement = tx.prepare_cached(sql)?;
        let id = self.owner.id(self.tenant_id);
        let alerts = statement
            .query_map((id.as_bytes().as_slice(), self.tenant_id, start), |row| {
                Ok(Alert {
                    threshold: row.get(0)?,
                    at: row.get(1)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(BudgetView {
            scope: self.owner.scope(),
            owner_id: id,
            rule: self.rule.clone(),
            period_start: Timestamp(start),
            period_end: Timestamp(end),
            time_zone: zone.name().to_owned(),
            used_micros: used,
            used_percent: percent(used, self.micros()),
            exceeded: left <= 0,
            refusing: left <= 0 && self.rule.on_exceeded != OnExceeded::Notify,
            burn_micros_per_day: per_ms(DAY_MS),
            forecast_micros: used.saturating_add(per_ms(end - now)),
            used_up_at: used_up_at.map(Timestamp),
            used_up_on: used_up_at.map(|at| zone.date_of(at)),
            alerts,
        })
    }

    /// Writes down what it has come to: each threshold that was reached, once, with its event; and whether
    /// something may be started. Returns how many thresholds are new.
    pub(super) fn settle(&self, tx: &WriteTx<'_>) -> Result<usize> {
        let (start, end, _) = self.period(tx)?;
        let used = self.owner.used(tx, self.tenant_id, &[start, tx.now().0])?[0];
        let id = self.owner.id(self.tenant_id);
        let bytes = id.as_bytes().as_slice();
        let mut new = 0;
        for threshold in &self.rule.notify_at {
            if i128::from(used) * 100 < i128::from(self.micros()) * i128::from(*threshold) {
                continue;
            }
            let sql = "INSERT OR IGNORE INTO budget_alerts (owner_id, tenant_id, period_start, threshold, at)
                 VALUES (?1, ?2, ?3, ?4, ?5)";
            let inserted = tx.run(sql, (bytes, self.tenant_id, start, threshold, tx.now()))?;
            if inserted == 0 {
                continue;
            }
            new += 1;
            audit::record(
                tx,
                &Entry {
                    actor: Actor::System,
                    tenant_id: self.tenant_id,
                    workspace_id: self.owner.workspace(),
                    kind: "budget.threshold",
                    resource: id,
                    before: audit::NONE,
                    after: Some(&json!({
                        "scope": self.owner.scope(), "owner_id": id, "threshold": threshold,
                        "credits": self.rule.credits, "used_micros": used, "period": self.rule.period,
                        "period_start": Timestamp(start), "period_end": Timestamp(end),
                        "on_exceeded": self.rule.on_exceeded,
                    })),
                },
            )?;
        }
        let refuses = used >= self.micros() && self.rule.on_exceeded != OnExceeded::Notify;
        if refuses {
            let sql = "INSERT INTO budget_stops (owner_id, tenant_id, scope, credits, used, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET credits = excluded.credits, used = excluded.used, until = excluded.until";
            tx.run(
                sql,
                (
                    bytes,
                    self.tenant_id,
                    self.owner.scope(),
                    self.rule.credits,
                    used / narrow(MICROS_PER_CREDIT),
                    end,
                ),
            )?;
        } else {
            free(tx, self.tenant_id, id)?;
        }
        Ok(new)
    }

    /// Whether [`Budget::settle`] has something to write.
    fn is_due(&self, tx: &Tx<'_>) -> Result<bool> {
        let (start, end, _) = self.period(tx)?;
        let used = self.owner.used(tx, self.tenant_id, &[start, tx.now().0])?[0];
        let id = self.owner.id(self.tenant_id);
        let bytes = id.as_bytes().as_slice();
        let sql = "SELECT coalesce(max(threshold), -1) FROM budget_alerts WHERE owner_id = ?1 AND tenant_id = ?2 AND period_start = ?3";
        let told: i64 = tx.row(sql, (bytes, self.tenant_id, start), |row| row.get(0))?;
        let reached = self.rule.notify_at.iter().any(|t| {
            *t > told && i128::from(used) * 100 >= i128::from(self.micros()) * i128::from(*t)
        });
        let sql = "SELECT until FROM budget_stops WHERE owner_id = ?1 AND tenant_id = ?2";
        let until: Option<i64> = tx
            .row(sql, (bytes, self.tenant_id), |row| row.get(0))
            .optional()?;
        let refuses = used >= self.micros() && self.rule.on_exceeded != OnExceeded::Notify;
        Ok(reached || until != refuses.then_some(end))
    }

    /// Computers that run in it and that this server can stop.
    fn running(&self, tx: &Tx<'_>) -> Result<Vec<ComputerId>> {
        let (workspace, project) = match self.owner {
            Owner::Organization => (None, None),
            Owner::Workspace(id) => (Some(id), None),
            Owner::Project(id, _) => (None, Some(id)),
        };
        let sql = "SELECT id FROM computers WHERE tenant_id = :tenant AND status = 'running' AND deleted_at IS NULL
                     AND driver <> 'external' AND (:workspace IS NULL OR workspace_id = :workspace)
                     AND (:project IS NULL OR project_id = :project) LIMIT :limit";
        Ok(tx
            .prepare_cached(
                sql,
            )?
            .query_map(
                named_params! {
                    ":tenant": self.tenant_id, ":workspace": workspace, ":project": project, ":limit": STOPS as i64,
                },
                |row| row.get(0),
            )?
            .collect::<Result<_, _>>()?)
    }
}

/// So many percent, rounded down.
fn percent(used: i64, of: i64) -> i64 {
    narrow((i128::from(used) * 100).div_euclid(i128::from(of.max(1))))
}

/// Nothing is refused for it any more.
pub(super) fn free(tx: &WriteTx<'_>, tenant: TenantId, owner: Uuid) -> Result<()> {
    tx.run(
        "DELETE FROM budget_stops WHERE owner_id = ?1 AND tenant_id = ?2",
        (owner.as_bytes().as_slice(), tenant),
    )?;
    Ok(())
}

/// Looks at all budgets, each in a read of its own, and writes down what has changed. Returns how many thresholds
/// were reached.
///
/// # Errors
/// When the store fails.
pub async fn look(store: &Store, fleet: &Fleet) -> Result<usize> {
    let mut reached = 0;
    let tenants = store.read(|tx| {
        let mut statement = tx.prepare_cached("SELECT DISTINCT tenant_id FROM budgets")?;
        let all = statement.query_map([], |row| row.get::<_, TenantId>(0))?;
        Ok::<_, Error>(all.collect::<Result<Vec<_>, _>>()?)
    });
    for tenant in tenants.await? {
        for budget in store.read(move |tx| Budget::all(tx, tenant)).await? {
            let due = budget.clone();
            if store.read(move |tx| due.is_due(tx)).await? {
                let due = budget.clone();
                reached += store
                    .write(
                        move |tx| match Budget::load(tx, due.tenant_id, due.owner)? {
                            Some(budget) => budget.settle(tx),
                            None => Ok(0),
                        },
                    )
                    .await?;
            }
            if budget.rule.on_exceeded == OnExceeded::Stop {
                stop(store, fleet, budget).await?;
            }
        }
    }
    Ok(reached)
}

/// Stops what runs where a budget that stops is used up.
async fn stop(store: &Store, fleet: &Fleet, budget: Budget) -> Result<()> {
    loop {
        let (asked, fleet) = (budget.clone(), fleet.clone());
        let done = store.write(move |tx| {
            let id = asked.owner.id(asked.tenant_id);
            let sql = "SELECT EXISTS (SELECT 1 FROM budget_stops WHERE owner_id = ?1 AND tenant_id = ?2 AND until > ?3)";
            let params = (id.as_bytes().as_slice(), asked.tenant_id, tx.now());
            if !tx.row(sql, params, |row| row.get::<_, bool>(0))? {
                return Ok(0);
            }
            let running = asked.running(tx)?;
            for id in &running {
                computers::start_stop::stop_by_system(tx, &fleet, *id)?;
            }
            Ok::<_, Error>(running.len())
        });
        if done.await? < STOPS {
            return Ok(());
        }
    }
}

/// A budget and how it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Budget)]
pub struct BudgetView {
    /// organization, workspace or project.
    scope: &'static str,
    /// Id of that.
    owner_id: Uuid,
    #[serde(flatten)]
    rule: Rule,
    /// Of the present period.
    period_start: Timestamp,
    /// Exclusive.
    period_end: Timestamp,
    time_zone: String,
    /// What was used in it so far.
    used_micros: i64,
    /// The same in percent, rounded down.
    used_percent: i64,
    /// It is used up.
    exceeded: bool,
    /// Nothing can be started for that.
    refusing: bool,
    /// What a day used, as the mean of the last seven.
    burn_micros_per_day: i64,
    /// What will be used at the end of the period if that goes on.
    forecast_micros: i64,
    /// When it will be used up if that goes on; null: not in this period, or it is.
    used_up_at: Option<Timestamp>,
    /// The day of that, in the time zone.
    used_up_on: Option<String>,
    /// Thresholds that were reached in this period.
    alerts: Vec<Alert>,
}

/// A threshold that was reached.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetAlert)]
pub struct Alert {
    /// Percent.
    threshold: i64,
    at: Timestamp,
}

impl Versioned for BudgetView {
    /// What it says, and not how it stands.
    fn version(&self, hash: &mut DefaultHasher) {
        etag::whole(&self.rule, hash);
    }
}
