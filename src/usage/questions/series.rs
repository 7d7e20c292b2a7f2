//! `GET /workspaces/{id}/usage`: credits and compute hours over time.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::bucket::Bucket;
use super::table::Table;
use super::types::{Format, Grouping, Series};
use super::window::{PeriodQuery, Window};
use super::{breakdown, csv};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::computers::machines::kept;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{DeletedQuery, Param, Params, PathId, Room, Within};
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
    /// Also split by project, computer, size, or metadata.KEY: what that said when it ran, of the computer, else of
    /// its project, else of the workspace; the parts add up to the total
    #[param(inline)]
    pub group_by: Param<Grouping>,
    /// With `group_by`: only this many parts, those that cost the most, and the rest as one
    #[param(inline)]
    pub group_limit: Param<Within<1, 1000>>,
    /// json (default) or csv
    #[param(inline)]
    pub format: Param<Format>,
    /// 1: a table begins with the mark by which spreadsheets know UTF-8
    #[param(inline)]
    pub bom: Param<bool>,
}

/// `GET /workspaces/{id}/usage`
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub async fn workspace_series(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    PathId(id): PathId<WorkspaceId>,
    period: Params<PeriodQuery>,
    query: Params<SeriesQuery>,
    deleted: Params<DeletedQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let owner = caller.tenant_id();
    let reply = store.read(move |tx| {
        let workspace = workspaces::find_billed(tx, &caller, id, deleted.get()?.included()?)?;
        let (period, query) = (period.get()?, query.get()?);
        let format = query.format.get("format").ok().flatten();
        let series = read_series(tx, workspace.view.tenant_id, id, &period, &query)?;
        let csv = format.map_or_else(|| csv::accepted(&headers), |format| format == Format::Csv);
        let bom = query.bom.get("bom")? == Some(true);
        Ok((series, csv.then_some(Table { bom })))
    });
    let (series, table) = reply.await?;
    if let Some(table) = table {
        let name = format!("usage-{}-{}", series.workspace_id, series.granularity);
        Ok(table.reply(&name, csv::text(&series)))
    } else if series.groups.is_some() {
        room.json(owner, series).await
    } else {
        let json = series.into_json().map_err(Error::internal)?;
        Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
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
    period: &PeriodQuery,
    query: &SeriesQuery,
) -> Result<Series> {
    let mut fields = Fields::default();
    let group_by = query.group_by.read(&mut fields, "group_by");
    let limit = query.group_limit.read(&mut fields, "group_limit");
    query.format.read(&mut fields, "format");
    let window = Window::new(tx, tenant, Some(workspace), period, fields)?;
    let mut series = series(tx, tenant, workspace, &window)?;
    if let Some(by) = group_by {
        series.groups = Some(breakdown::groups(
            tx,
            tenant,
            workspace,
            &window,
            &by,
            limit.and_then(|n| usize::try_from(n.0).ok()),
        )?);
        series.group_by = Some(by);
    }
    Ok(series)
}

fn series(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    window: &Window,
) -> Result<Series> {
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
        storage: kept::storage(
            tx,
            tenant,
            Some(workspace),
            Timestamp(window.start),
            Timestamp(window.end.min(window.as_of)),
        )?,
        series: window
            .buckets()
            .zip(shown)
            .map(|(bucket, shown)| Bucket::new(bucket, shown))
            .collect(),
        group_by: None,
        groups: None,
    })
}
