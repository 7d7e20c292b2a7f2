//! `GET /workspaces/{id}/usage`: credits and compute hours over time.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::types::{Bucket, Format, GranularityName, GroupBy, Series, WindowName};
use super::window::{Asked, Window};
use super::{breakdown, csv};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::{DeletedQuery, Params, PathId, Room};
use crate::ids::{TenantId, WorkspaceId};
use crate::store::Tx;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::Amount;
use crate::workspaces;

/// `GET /workspaces/{id}/usage`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SeriesQuery {
    /// How far back from now: 24h (default), 7d, 30d
    #[param(inline, value_type = Option<WindowName>)]
    pub window: Option<String>,
    /// Instead of `window`: a calendar month of `tz`, such as 2026-10
    #[param(example = "2026-10", pattern = r"^\d{4}-\d{2}$")]
    pub period: Option<String>,
    /// Size of a bucket: hour (default; day with `period`), day
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

/// `GET /workspaces/{id}/usage`
pub async fn workspace_series(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    query: Params<SeriesQuery>,
    deleted: Params<DeletedQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let owner = caller.tenant_id();
    let reply = store.read(move |tx| {
        let workspace = workspaces::find_billed(tx, &caller, id, deleted.get()?.included()?)?;
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
    if csv {
        Ok(csv::reply(&series))
    } else if series.groups.is_some() {
        room.json(owner, series).await
    } else {
        Ok(Json(series).into_response())
    }
}

/// The series of a workspace that the caller has found.
///
/// # Errors
/// 422 that names every parameter that is wrong and what is allowed.
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
        month: query.period.as_deref(),
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
