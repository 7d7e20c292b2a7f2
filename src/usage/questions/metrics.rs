//! `GET /computers/{id}/metrics`: one computer over time.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::caller::Caller;
use crate::clock::{DAY_MS, HOUR_MS, Timestamp};
use crate::computers::machines::load::Present;
use crate::computers::{self, Fleet};
use crate::db::Store;
use crate::error::Result;
use crate::http::{Param, Params, PathId, words};
use crate::ids::ComputerId;
use crate::rules::driven_by::DrivenBy;
use crate::usage::ledger::intervals;
use crate::usage::meter::floor;
use crate::usage::meter::units::Amount;

const MINUTE_MS: i64 = 60_000;

/// `GET /computers/{id}/metrics`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct MetricsQuery {
    /// 1h (default, by the minute), 24h (by the hour), 7d (by the day)
    #[param(inline)]
    pub window: Param<MetricsWindow>,
}

words! {
    /// The windows of a computer's metrics.
    pub enum MetricsWindow {
        /// The last hour.
        Hour = "1h",
        /// The last 24 hours.
        Day = "24h",
        /// The last 7 × 24 hours.
        Week = "7d",
    }
}

/// One computer over time.
#[derive(Serialize, ToSchema)]
pub struct Metrics {
    computer_id: ComputerId,
    window: &'static str,
    granularity: &'static str,
    /// The instant of this answer, with milliseconds.
    as_of: String,
    total_credits_used: i64,
    total_compute_ms: i64,
    /// `engine`: measured since this server started; `size`: nothing measures inside.
    source: &'static str,
    /// What it uses at present, where a container engine runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    present: Option<Present>,
    series: Vec<Point>,
}

/// One bucket.
#[derive(Serialize, ToSchema)]
pub struct Point {
    /// Its aligned start.
    ts: Timestamp,
    /// Percent of one virtual CPU, as a container engine counts it; 0 where nothing measures.
    cpu_percent: f64,
    /// Memory in use, MB, on average, where a container engine runs it; else that of its size where it ran at the
    /// end of the bucket, or 0.
    memory_mb: i64,
    /// Whole credits of this computer, in all places it was in.
    credits_used: i64,
    credits_micros: i64,
    compute_ms: i64,
}

/// `GET /computers/{id}/metrics`
pub async fn computer_metrics(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<MetricsQuery>,
) -> Result<Json<Metrics>> {
    let store = store.clone();
    let metrics = store.read(move |tx| {
        let computer = computers::find(tx, &caller, id)?;
        let measured = computer.driver == DrivenBy::Docker;
        let (catalog, loads) = (&fleet.catalog, &fleet.engine.loads);
        let window = query.get()?.window.get("window")?;
        let window = window.unwrap_or(MetricsWindow::Hour);
        let (granularity, length, bucket) = match window {
            MetricsWindow::Hour => ("minute", HOUR_MS, MINUTE_MS),
            MetricsWindow::Day => ("hour", DAY_MS, HOUR_MS),
            MetricsWindow::Week => ("day", 7 * DAY_MS, DAY_MS),
        };
        let now = tx.now().0;
        let start = now - length;
        let mut edges = vec![floor(start, bucket)];
        while edges[edges.len() - 1] < now {
            edges.push(edges[edges.len() - 1] + bucket);
        }
        let cuts: Vec<i64> = edges.iter().map(|edge| (*edge).clamp(start, now)).collect();

        // From the computer's birth on, so that whole credits telescope as those of a workspace do.
        let mut read = vec![Amount::default(); cuts.len()];
        let mut memory = vec![0; cuts.len()];
        intervals::of_computer(tx, id, 0, now, |interval| {
            let first = cuts.partition_point(|cut| *cut <= interval.start);
            for n in first..cuts.len() {
                read[n] +=
                    intervals::amount(&interval.opened, interval.start, interval.end.min(cuts[n]));
                if interval.end >= cuts[n] {
                    memory[n] = catalog.hardware(interval.opened.state.size).memory_mb;
                }
            }
            Ok(())
        })?;
        let shown: Vec<_> = read.windows(2).map(|r| r[0].until(&r[1])).collect();
        let used = |start: i64, of_size: i64| match measured {
            false => (0.0, of_size),
            true => loads
                .between(id, start, start + bucket)
                .map_or((0.0, 0), |average| (average.cpu_percent, average.memory_mb)),
        };
        let series = edges
            .iter()
            .zip(&shown)
            .zip(&memory[1..])
            .map(|((ts, shown), of_size)| {
                let (cpu_percent, memory_mb) = used(*ts, *of_size);
                Point {
                    ts: Timestamp(*ts),
                    cpu_percent,
                    memory_mb,
                    credits_used: shown.credits_used,
                    credits_micros: shown.credits_micros,
                    compute_ms: shown.compute_ms,
                }
            });
        Ok(Metrics {
            computer_id: id,
            window: window.as_str(),
            granularity,
            as_of: tx.now().rfc3339_ms(),
            source: if measured { "engine" } else { "size" },
            present: loads.present(id, tx.now()).filter(|_| measured),
            series: series.collect(),
            total_credits_used: shown.iter().map(|s| s.credits_used).sum(),
            total_compute_ms: shown.iter().map(|s| s.compute_ms).sum(),
        })
    });
    Ok(Json(metrics.await?))
}
