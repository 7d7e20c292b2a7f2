//! Opening a share link. Who comes with one is nobody: everything that is read is of the workspace and the
//! organization that stand in the link's own row.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde::Deserialize;
use serde_json::json;

use super::links::{Part, ShareLink, looked, opened_by};
use super::page::{self, Shared, Usage};
use crate::billing::document::Statement;
use crate::billing::handlers::{as_page, as_pdf};
use crate::billing::html::Paper;
use crate::billing::sheet::{Row, Sheet};
use crate::db::Store;
use crate::domains;
use crate::error::{Error, Result};
use crate::http::{Param, Params};
use crate::ids::{TenantId, WorkspaceId};
use crate::rules::config::{Brand, Config};
use crate::store::Tx;
use crate::usage::questions::series::{SeriesQuery, read_series};
use crate::usage::questions::window::{PeriodQuery, Zone};

/// Statements on the page: ten years of months.
const STATEMENTS: usize = 120;
/// A visit is noted at most so often, milliseconds.
const NOTED_EVERY_MS: i64 = 60_000;
const CLOSED: &str =
    "This link has ended or was taken back. Ask whoever gave it to you for a new one.";

/// `GET /share/{token}`
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct MonthQuery {
    /// Such as 2026-10; the present one if left out.
    period: Option<String>,
}

/// `GET /share/{token}/statements/{number}`
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct PaperQuery {
    /// html or pdf.
    format: Option<String>,
    paper: Param<Paper>,
}

/// A link that opens, with the workspace that it is of.
struct Opened {
    tenant: TenantId,
    link: ShareLink,
    workspace: String,
    organization: String,
}

fn open(tx: &Tx<'_>, token: &str) -> Result<Option<Opened>> {
    let Some((tenant, link)) = opened_by(tx, token)? else {
        return Ok(None);
    };
    let sql = "SELECT w.name, t.name FROM workspaces w JOIN tenants t ON t.id = w.tenant_id
         WHERE w.id = ?1 AND w.tenant_id = ?2 AND w.deleted_at IS NULL";
    let names = tx.row(sql, (link.workspace_id, tenant), |row| {
        Ok((row.get(0)?, row.get(1)?))
    });
    let Some((workspace, organization)) = names.optional()? else {
        return Ok(None);
    };
    Ok(Some(Opened {
        tenant,
        link,
        workspace,
        organization,
    }))
}

/// What was asked for, or the page that says why not.
fn answered(answer: Result<Option<Response>>, brand: &Brand) -> Result<Response> {
    match answer {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Ok(page::sorry(StatusCode::NOT_FOUND, CLOSED, brand)),
        Err(e) if e.status().is_client_error() => Ok(page::sorry(e.status(), e.message(), brand)),
        Err(e) => Err(e),
    }
}

/// `GET /share/{token}`
pub async fn show(
    State(store): State<Store>,
    State(config): State<Arc<Config>>,
    Path(token): Path<String>,
    query: Params<MonthQuery>,
) -> Result<Response> {
    let settings = config.clone();
    let asked = token.clone();
    let read = store.read(move |tx| {
        let Some(opened) = open(tx, &asked)? else {
            return Ok(None);
        };
        let shared = gather(tx, &settings, &opened, query.get()?.period)?;
        let noted = opened.link.last_opened_at;
        let stale = tx.now().plus_ms(-NOTED_EVERY_MS);
        let due = noted.is_none_or(|at| at <= stale || at > tx.now());
        Ok(Some((shared, opened.link.id, due.then_some(stale))))
    });
    let answer = match read.await {
        Ok(Some((shared, id, due))) => {
            if let Some(stale) = due
                && let Err(e) = store.write(move |tx| looked(tx, id, stale)).await
            {
                tracing::warn!(error = e.message(), "a visit by a share link was not noted");
            }
            Ok(Some(page::page(&shared, &config.file.brand, &token)))
        }
        Ok(None) => Ok(None),
        Err(e) => Err(e),
    };
    answered(answer, &config.file.brand)
}

fn gather(tx: &Tx<'_>, config: &Config, opened: &Opened, period: Option<String>) -> Result<Shared> {
    let (tenant, workspace) = (opened.tenant, opened.link.workspace_id);
    let shows = |part| opened.link.shows.contains(&part);
    Ok(Shared {
        organization: opened.organization.clone(),
        workspace: opened.workspace.clone(),
        shows: opened.link.shows.clone(),
        expires_at: opened.link.expires_at,
        usage: match shows(Part::Usage) {
            true => Some(month(tx, tenant, workspace, period)?),
            false => None,
        },
        statements: match shows(Part::Statements) {
            true => Statement::newest(tx, tenant, workspace, STATEMENTS)?
                .iter()
                .map(Statement::summary)
                .collect(),
            false => Vec::new(),
        },
        domain: match shows(Part::Domain) {
            true => Some(domains::owner::of_workspace(tx, config, tenant, workspace)?),
            false => None,
        },
    })
}

fn month(
    tx: &Tx<'_>,
    tenant: TenantId,
    workspace: WorkspaceId,
    asked: Option<String>,
) -> Result<Usage> {
    let zone = Zone::of(tx, tenant, Some(workspace))?;
    let present = zone.month_of(tx.now().0);
    let period = asked.unwrap_or_else(|| present.clone());
    let span = zone
        .month(&period)
        .filter(|(start, _)| *start <= tx.now().0);
    let Some((start, end)) = span else {
        return Err(Error::field(
            "period",
            "must be a month such as 2026-10, not one to come",
        ));
    };
    let read = |query| {
        let query: PeriodQuery = serde_json::from_value(query).map_err(Error::internal)?;
        read_series(tx, tenant, workspace, &query, &SeriesQuery::default())
    };
    // As it is written, however it was asked for.
    let period = zone.month_of(start);
    let series = read(json!({ "period": period, "granularity": "day" }))?;
    let previous = zone.month_of(start - 1);
    // As far as this month has come, or all of it.
    let before_micros = match zone.month(&previous) {
        Some((first, last)) => {
            let same = if end <= tx.now().0 {
                last
            } else {
                (first + tx.now().0 - start).min(last)
            };
            let readings = crate::usage::meter::reading::readings(tx, workspace, &[first, same])?;
            readings[0].until(&readings[1]).credits_micros
        }
        None => 0,
    };
    Ok(Usage {
        series,
        before_micros,
        previous: zone.month(&previous).map(|_| previous),
        next: (period != present).then(|| zone.month_of(end)),
        period,
    })
}

/// `GET /share/{token}/statements/{number}`: as a page for print, or as PDF.
pub async fn statement(
    State(store): State<Store>,
    State(config): State<Arc<Config>>,
    Path((token, number)): Path<(String, String)>,
    query: Params<PaperQuery>,
) -> Result<Response> {
    let read = store.read(move |tx| {
        let Some(opened) = open(tx, &token)? else {
            return Ok(None);
        };
        if !opened.link.shows.contains(&Part::Statements) {
            return Ok(None);
        }
        let query = query.get()?;
        let paper = query.paper.get("paper")?.unwrap_or(Paper::A4);
        let pdf = match query.format.as_deref() {
            None | Some("html") => false,
            Some("pdf") => true,
            Some(_) => return Err(Error::field("format", "must be one of: html, pdf")),
        };
        let number = number.parse().ok();
        let found = number.map(|number| Statement::find(tx, opened.tenant, number));
        let found = found.transpose()?.flatten();
        let Some(statement) = found.filter(|s| s.workspace_id == opened.link.workspace_id) else {
            return Err(Error::not_found("statement"));
        };
        let lines = statement.lines(tx)?;
        let mut sheet = Sheet::new(&statement, &lines);
        // Explanations are for who has a key.
        for row in &mut sheet.rows {
            if let Row::Line { explain, .. } = row {
                *explain = None;
            }
        }
        if pdf {
            as_pdf(&statement, &sheet, paper).map(Some)
        } else {
            as_page(&sheet, paper).map(Some)
        }
    });
    let mut answer = answered(read.await, &config.file.brand)?;
    page::keep_private(&mut answer);
    Ok(answer)
}
