//! `GET /workspaces/{id}/usage`: credits and compute hours over time.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::breakdown::{self, GroupBy};
use super::csv;
use super::reading::readings;
use super::units::{Amount, Hours, Shown};
use super::window::{Asked, Window};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Fields, Result};
use crate::http::{Caller, Params, PathId};
use crate::ids::{TenantId, WorkspaceId};
use crate::store::Tx;
use crate::workspaces;

/// `GET /workspaces/{id}/usage`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SeriesQuery {
    /// How far back from now: 24h (default), 7d, 30d
    #[param(inline, value_type = Option<WindowName>)]
    pub window: Option<String>,
    /// Size of a bucket: hour (default), day
    #[param(inline, value_type = Option<GranularityName>)]
    pub granularity: Option<String>,
    /// Instead of `window`: from here on, inclusive; RFC 3339
    pub from: Option<String>,
    /// Up to here, exclusive; now if left out; at most 400 days or 10,000 buckets after `from`
    pub to: Option<String>,
    /// IANA time zone that buckets are aligned to; UTC if left out
    #[param(example = "Europe/Budapest")]
    pub tz: Option<String>,
    /// Also split by project, computer or size; the parts add up to the total
    #[param(inline, value_type = Option<GroupBy>)]
    pub group_by: Option<String>,
    /// With `group_by`: only this many parts, those that cost the most, and the rest as one
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub group_limit: Option<String>,
    /// json (default) or csv
    #[param(inline, value_type = Option<Format>)]
    pub format: Option<String>,
}

/// The windows of the API page.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the values of a parameter")]
pub enum WindowName {
    /// The last 24 hours.
    #[schema(rename = "24h")]
    Day,
    /// The last 7 × 24 hours.
    #[schema(rename = "7d")]
    Week,
    /// The last 30 × 24 hours.
    #[schema(rename = "30d")]
    Month,
}

/// The bucket sizes of the API page.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents the values of a parameter")]
pub enum GranularityName {
    /// An hour of the clock.
    Hour,
    /// A day of the calendar.
    Day,
}

/// What a reply looks like.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents the values of a parameter")]
pub enum Format {
    /// This object.
    Json,
    /// A table with the same integers.
    Csv,
}

/// Usage over time. All numbers are differences of one exact, ever-growing meter per workspace: the
/// buckets add up to the totals, and no bucket that has ended changes by asking differently.
#[derive(Serialize, ToSchema)]
pub struct Series {
    pub(super) workspace_id: WorkspaceId,
    /// 24h, 7d, 30d, or custom where `from` was given.
    pub(super) window: &'static str,
    pub(super) granularity: &'static str,
    /// First instant of the window, inclusive, with milliseconds.
    pub(super) window_start: String,
    /// Last instant of the window, exclusive, with milliseconds.
    pub(super) window_end: String,
    /// The instant of this answer; nothing after it is counted.
    pub(super) as_of: String,
    /// What the buckets are aligned to.
    pub(super) time_zone: String,
    /// Whole credits.
    pub(super) total_credits_used: i64,
    /// The same in micro-credits.
    pub(super) total_credits_micros: i64,
    /// Running hours, summed over computers.
    pub(super) total_compute_hours: Hours,
    /// The same in milliseconds.
    pub(super) total_compute_ms: i64,
    /// Every bucket that touches the window, oldest first.
    pub(super) series: Vec<Bucket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What the groups are, where they were asked for.
    pub(super) group_by: Option<GroupBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The same usage by part; in each bucket the parts add up to the bucket.
    pub(super) groups: Option<Vec<Group>>,
}

/// One bucket.
#[derive(Serialize, ToSchema, Clone)]
pub struct Bucket {
    /// Its aligned start, also where the window begins inside it.
    pub(super) ts: Timestamp,
    /// Whole credits.
    pub(super) credits_used: i64,
    /// Running hours, summed over computers.
    pub(super) compute_hours: Hours,
    /// The same in milliseconds.
    pub(super) compute_ms: i64,
    /// Credits in micro-credits.
    pub(super) credits_micros: i64,
    /// The window begins or ends inside it, or it is not over yet.
    pub(super) partial: bool,
}

impl Bucket {
    pub(super) fn new((ts, partial): (Timestamp, bool), shown: Shown) -> Self {
        Bucket {
            ts,
            credits_used: shown.credits_used,
            compute_hours: shown.compute_hours,
            compute_ms: shown.compute_ms,
            credits_micros: shown.credits_micros,
            partial,
        }
    }
}

/// A part of the usage of a workspace.
#[derive(Serialize, ToSchema)]
pub struct Group {
    /// Id of the project or computer, or the size; null for corrections, which belong to no part, and
    /// for the parts that `group_limit` puts together.
    pub(super) key: Option<String>,
    /// For people: name of the project or computer, also after it was deleted.
    pub(super) name: String,
    pub(super) total_credits_used: i64,
    pub(super) total_credits_micros: i64,
    pub(super) total_compute_hours: Hours,
    pub(super) total_compute_ms: i64,
    pub(super) series: Vec<Bucket>,
}

impl Group {
    pub(super) fn new(
        key: Option<String>,
        name: String,
        buckets: Vec<((Timestamp, bool), Shown)>,
    ) -> Self {
        let mut total = Shown::default();
        buckets.iter().for_each(|(_, shown)| total += *shown);
        Group {
            key,
            name,
            total_credits_used: total.credits_used,
            total_credits_micros: total.credits_micros,
            total_compute_hours: total.compute_hours,
            total_compute_ms: total.compute_ms,
            series: buckets
                .into_iter()
                .map(|(bucket, shown)| Bucket::new(bucket, shown))
                .collect(),
        }
    }
}

/// `GET /workspaces/{id}/usage`
pub async fn workspace_series(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    query: Params<SeriesQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let reply = app.store.read(move |tx| {
        let workspace = workspaces::find(tx, &caller, id)?;
        let query = query.get()?;
        let series = read_series(tx, workspace.view.tenant_id, id, &query)?;
        Ok((
            series,
            query
                .format
                .map_or_else(|| csv::accepted(&headers), |format| format == "csv"),
        ))
    });
    let (series, csv) = reply.await?;
    Ok(if csv {
        csv::reply(&series)
    } else {
        Json(series).into_response()
    })
}

/// The series of a workspace that the caller has found.
///
/// # Errors
/// 422 that names every parameter that is wrong and what is allowed (U21).
pub fn read_series(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    query: &SeriesQuery,
) -> Result<Series> {
    let mut fields = Fields::default();
    let group_by = GroupBy::parse(query.group_by.as_deref());
    let group_by = group_by.map_err(|text| fields.push("group_by", text));
    let limit = query.group_limit.as_deref().map(|text| {
        let limit = text.parse().ok().filter(|n| (1..=1000).contains(n));
        limit.unwrap_or_else(|| {
            fields.push("group_limit", "must be a whole number from 1 to 1000");
            1
        })
    });
    if !matches!(query.format.as_deref(), None | Some("json" | "csv")) {
        fields.push("format", "must be one of: json, csv");
    }
    let asked = Asked {
        window: query.window.as_deref(),
        granularity: query.granularity.as_deref(),
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        tz: query.tz.as_deref(),
    };
    let window = Window::new(&asked, tx.now(), fields)?;
    let mut series = series(tx, workspace, &window)?;
    if let Ok(Some(by)) = group_by {
        series.group_by = Some(by);
        series.groups = Some(breakdown::groups(
            tx, tenant, workspace, &window, by, limit,
        )?);
    }
    Ok(series)
}

fn series(tx: &Tx<'_>, workspace: WorkspaceId, window: &Window) -> Result<Series> {
    let readings = readings(tx, workspace, &window.cuts())?;
    let none = Amount::default();
    let (first, last) = (
        readings.first().unwrap_or(&none),
        readings.last().unwrap_or(&none),
    );
    let total = first.until(last);
    let shown = readings.windows(2).map(|r| r[0].until(&r[1]));
    Ok(Series {
        workspace_id: workspace,
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
            .zip(shown)
            .map(|(bucket, shown)| Bucket::new(bucket, shown))
            .collect(),
        group_by: None,
        groups: None,
    })
}
