//! `GET /usage/series`: credits and compute hours of the whole organization over time, for the chart
//! of the overview. Its meter is the sum of those of its workspaces, deleted ones included, rounded once.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use rusqlite::named_params;
use serde::Serialize;
use utoipa::ToSchema;

use super::bucket::Bucket;
use super::window::{PeriodQuery, Window};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::Params;
use crate::ids::{TenantId, WorkspaceId};
use crate::store::Tx;
use crate::usage::ledger::intervals;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, Hours, Shown};

/// Usage of an organization over time.
#[derive(Serialize, ToSchema)]
pub struct OrganizationSeries {
    /// As it was asked for; custom where `from` or `period` was given.
    window: &'static str,
    granularity: &'static str,
    /// First instant of the window, inclusive, with milliseconds.
    window_start: String,
    /// Last instant of the window, exclusive, with milliseconds.
    window_end: String,
    /// The instant of this answer; nothing after it is counted.
    as_of: String,
    /// What the buckets are aligned to.
    time_zone: String,
    /// Whole credits: the sum of the buckets.
    total_credits_used: i64,
    /// The same in micro-credits.
    total_credits_micros: i64,
    /// Running hours, summed over computers.
    total_compute_hours: Hours,
    /// The same in milliseconds.
    total_compute_ms: i64,
    /// Every bucket that touches the window, oldest first.
    series: Vec<Bucket>,
    /// The ten workspaces that used the most credits in the window, the most expensive first.
    top_workspaces: Vec<TopWorkspace>,
}

/// What one workspace used in the window.
#[derive(Serialize, ToSchema)]
pub struct TopWorkspace {
    workspace_id: WorkspaceId,
    /// For people, also after it was deleted.
    name: String,
    credits_used: i64,
    credits_micros: i64,
    compute_ms: i64,
}

/// Rows of `top_workspaces`.
const TOP: usize = 10;

/// `GET /usage/series`
pub async fn organization_series(
    State(store): State<Store>,
    caller: Caller,
    period: Params<PeriodQuery>,
) -> Result<Json<OrganizationSeries>> {
    let series = store.read(move |tx| read(tx, caller.tenant_id(), &period.get()?));
    Ok(Json(series.await?))
}

fn read(tx: &Tx<'_>, tenant: TenantId, period: &PeriodQuery) -> Result<OrganizationSeries> {
    let window = Window::new(tx, tenant, None, period, Fields::default())?;
    let cuts = window.cuts();
    let mut sums = vec![Amount::default(); cuts.len()];
    let mut each = Vec::new();
    for workspace in intervals::workspaces(tx, tenant)? {
        let readings = readings(tx, workspace, &cuts)?;
        let own = shown(&readings);
        for (sum, read) in sums.iter_mut().zip(&readings) {
            *sum += read.in_sum();
        }
        if own.credits_micros > 0 {
            each.push((workspace, own));
        }
    }
    each.sort_by_key(|(workspace, own)| (Reverse(own.credits_micros), *workspace));
    each.truncate(TOP);
    let top_workspaces = each.into_iter().map(|(id, own)| top(tx, tenant, id, own));
    let total = shown(&sums);
    Ok(OrganizationSeries {
        window: window.name,
        granularity: window.granularity.as_str(),
        window_start: Timestamp(window.start).rfc3339_ms(),
        window_end: Timestamp(window.end).rfc3339_ms(),
        as_of: Timestamp(window.as_of).rfc3339_ms(),
        time_zone: window.zone.name().to_owned(),
        total_credits_used: total.credits_used,
        total_credits_micros: total.credits_micros,
        total_compute_hours: total.compute_hours,
        total_compute_ms: total.compute_ms,
        series: window
            .buckets()
            .zip(sums.windows(2))
            .map(|(bucket, read)| Bucket::new(bucket, read[0].until(&read[1])))
            .collect(),
        top_workspaces: top_workspaces.collect::<Result<_>>()?,
    })
}

/// What a meter shows between its first and its last reading.
fn shown(readings: &[Amount]) -> Shown {
    match (readings.first(), readings.last()) {
        (Some(first), Some(last)) => first.until(last),
        _ => Shown::default(),
    }
}

fn top(tx: &Tx<'_>, tenant: TenantId, id: WorkspaceId, used: Shown) -> Result<TopWorkspace> {
    let name = tx.row(
        "SELECT name FROM workspaces WHERE id = :id AND tenant_id = :tenant",
        named_params! { ":id": id, ":tenant": tenant },
        |row| row.get(0),
    )?;
    Ok(TopWorkspace {
        workspace_id: id,
        name,
        credits_used: used.credits_used,
        credits_micros: used.credits_micros,
        compute_ms: used.compute_ms,
    })
}
