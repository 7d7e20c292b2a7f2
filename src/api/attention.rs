//! What the overview says first: what somebody should look at, how the month goes, and what a new installation
//! still lacks.

use rusqlite::named_params;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::access::scopes::covers;
use crate::clock::{DAY_MS, Timestamp};
use crate::error::Result;
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::store::Tx;
use crate::usage::ledger::intervals;
use crate::usage::meter::units::{Amount, narrow};
use crate::usage::questions::window::{Granularity, Zone};

/// From this on a machine that never stops by itself may have been forgotten.
const FORGOTTEN_MS: i64 = 2 * DAY_MS;
/// Of what the burn rate of a forecast is the mean, as in budgets.
const BURN_MS: i64 = 7 * DAY_MS;
/// Rows of each list.
const ROWS: i64 = 10;

/// A computer that has been running for two days or more and has no idle auto-stop.
#[derive(Serialize, ToSchema)]
pub struct LongRunning {
    computer_id: ComputerId,
    name: String,
    workspace_id: WorkspaceId,
    workspace_name: String,
    size: String,
    /// simulated, docker or external; those that are external are stopped by their agent.
    driver: String,
    started_at: Timestamp,
    /// What it has cost since then.
    credits_micros: i64,
}

/// A webhook that does not deliver.
#[derive(Serialize, ToSchema)]
pub struct WebhookProblem {
    webhook_id: Uuid,
    name: String,
    /// failing or disabled
    status: &'static str,
    /// Why this server disabled it
    disabled_reason: Option<String>,
    failing_since: Option<Timestamp>,
    failed_attempts: i64,
}

/// The present month of the organization, in its time zone.
#[derive(Serialize, ToSchema)]
pub struct Month {
    start: Timestamp,
    /// Exclusive.
    end: Timestamp,
    time_zone: String,
    /// What was used so far.
    used_micros: i64,
    /// What was used in the same part of the month before.
    previous_micros: i64,
    /// What a day used, as the mean of the last seven.
    burn_micros_per_day: i64,
    /// What the whole month comes to if that goes on.
    forecast_micros: i64,
}

/// What an installation has that is in use.
#[derive(Serialize, ToSchema)]
pub struct Setup {
    /// A workspace beside the default one.
    workspaces: bool,
    /// A workspace with a cap.
    limits: bool,
    /// A computer, now or before.
    computers: bool,
    /// A key beside the first.
    keys: bool,
    /// A directory for backups.
    backups: bool,
}

/// Those that run the longest, the dearest of them first, and how many there are.
pub fn long_running(tx: &Tx<'_>, caller: &Caller) -> Result<(Vec<LongRunning>, i64)> {
    if !covers(&caller.key().scopes, "computers:read") {
        return Ok((Vec::new(), 0));
    }
    let (tenant, now) = (caller.tenant_id(), tx.now());
    let before = now.0 - FORGOTTEN_MS;
    let sql = "SELECT count(*) FROM computers c
         WHERE c.tenant_id = :tenant AND c.status = 'running' AND c.deleted_at IS NULL
             AND c.created_at <= :before AND c.started_at <= :before AND c.auto_stop_seconds = 0";
    let total = tx.row(
        sql,
        named_params! { ":tenant": tenant, ":before": before },
        |row| row.get(0),
    )?;
    let sql = "SELECT c.id, c.name, c.workspace_id, w.name AS workspace_name, c.size, c.driver, c.started_at
         FROM computers c JOIN workspaces w ON w.id = c.workspace_id
         WHERE c.tenant_id = :tenant AND c.status = 'running' AND c.deleted_at IS NULL
             AND c.created_at <= :before AND c.started_at <= :before AND c.auto_stop_seconds = 0
         ORDER BY c.started_at, c.id LIMIT :rows";
    let mut rows = tx
        .prepare_cached(sql)?
        .query_map(
            named_params! { ":tenant": tenant, ":before": before, ":rows": ROWS },
            |row| {
                Ok(LongRunning {
                    computer_id: row.get("id")?,
                    name: row.get("name")?,
                    workspace_id: row.get("workspace_id")?,
                    workspace_name: row.get("workspace_name")?,
                    size: row.get("size")?,
                    driver: row.get("driver")?,
                    started_at: row.get("started_at")?,
                    credits_micros: 0,
                })
            },
        )?
        .collect::<Result<Vec<_>, _>>()?;
    for row in &mut rows {
        let mut sum = Amount::default();
        intervals::of_computer(tx, row.computer_id, row.started_at.0, now.0, |interval| {
            sum += interval.amount();
            Ok(())
        })?;
        row.credits_micros = sum.micro_credits();
    }
    rows.sort_by_key(|row| (-row.credits_micros, row.started_at));
    Ok((rows, total))
}

/// Webhooks that were disabled by this server, or whose last attempt failed.
pub fn webhook_problems(tx: &Tx<'_>, caller: &Caller) -> Result<Vec<WebhookProblem>> {
    if !covers(&caller.key().scopes, "webhooks:read") {
        return Ok(Vec::new());
    }
    let sql =
        "SELECT id, name, enabled, disabled_reason, failing_since, failed_attempts FROM webhooks
         WHERE tenant_id = :tenant AND deleted_at IS NULL
             AND (disabled_reason IS NOT NULL OR enabled = 1 AND failing_since IS NOT NULL)
         ORDER BY created_at, id LIMIT :rows";
    Ok(tx
        .prepare_cached(sql)?
        .query_map(
            named_params! { ":tenant": caller.tenant_id(), ":rows": ROWS },
            |row| {
                Ok(WebhookProblem {
                    webhook_id: Uuid::from_bytes(row.get("id")?),
                    name: row.get("name")?,
                    status: if row.get("enabled")? {
                        "failing"
                    } else {
                        "disabled"
                    },
                    disabled_reason: row.get("disabled_reason")?,
                    failing_since: row.get("failing_since")?,
                    failed_attempts: row.get("failed_attempts")?,
                })
            },
        )?
        .collect::<Result<_, _>>()?)
}

/// How the month goes.
pub fn month(tx: &Tx<'_>, tenant: TenantId) -> Result<Month> {
    let zone = Zone::of(tx, tenant, None)?;
    let now = tx.now().0;
    let start = zone.start(now, Granularity::Month);
    let end = zone.next(start, Granularity::Month);
    let before = zone.start(start - 1, Granularity::Month);
    // A month that is shorter than the present one is over before.
    let same = (before + (now - start)).min(start);
    let week = now - BURN_MS;
    let mut cuts = vec![before, same, start, week, now];
    cuts.sort_unstable();
    cuts.dedup();
    let read = intervals::organization(tx, tenant, &cuts)?;
    let at = |cut: i64| cuts.binary_search(&cut).map_or(0, |found| found);
    let used = |from: i64, to: i64| read[at(from)].until(&read[at(to)]).credits_micros;
    let per_ms = |ms: i64| {
        let week = i128::from(used(week, now).max(0));
        narrow(week * i128::from(ms) / i128::from(BURN_MS))
    };
    Ok(Month {
        start: Timestamp(start),
        end: Timestamp(end),
        time_zone: zone.name().to_owned(),
        used_micros: used(start, now),
        previous_micros: used(before, same),
        burn_micros_per_day: per_ms(DAY_MS),
        forecast_micros: used(start, now).saturating_add(per_ms(end - now)),
    })
}

/// What there is; `backups` whether a directory for them is configured.
pub fn setup(tx: &Tx<'_>, tenant: TenantId, backups: bool) -> Result<Setup> {
    let sql = "SELECT
             EXISTS (SELECT 1 FROM workspaces WHERE tenant_id = ?1 AND is_default = 0 AND deleted_at IS NULL),
             EXISTS (SELECT 1 FROM workspaces WHERE tenant_id = ?1 AND deleted_at IS NULL
                 AND (max_computers IS NOT NULL OR max_computer_size IS NOT NULL)),
             EXISTS (SELECT 1 FROM computers WHERE tenant_id = ?1 AND deleted_at IS NULL)
                 OR EXISTS (SELECT 1 FROM metered_computers WHERE tenant_id = ?1),
             EXISTS (SELECT 1 FROM api_keys WHERE tenant_id = ?1 AND status <> 'revoked' LIMIT 1 OFFSET 1)";
    Ok(tx.row(sql, [tenant], |row| {
        Ok(Setup {
            workspaces: row.get(0)?,
            limits: row.get(1)?,
            computers: row.get(2)?,
            keys: row.get(3)?,
            backups,
        })
    })?)
}
