//! `GET /usage` and `GET /usage/summary`: usage of the whole organization.
//! Deleted workspaces stay in it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::table::{self, TableQuery};
use super::types::label;
use super::window::Zone;
use crate::access::caller::Caller;
use crate::clock::{DAY_MS, Timestamp};
use crate::computers::machines::kept::{self, Storage};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{FromText, Param, Params, words};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::rules::catalog::Catalog;
use crate::store::Tx;
use crate::usage::ledger::attribution::Attributions;
use crate::usage::ledger::intervals;
use crate::usage::ledger::labels::Labels;
use crate::usage::ledger::rates::Vcpus;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, Hours, MICROS_PER_CREDIT, apportion, narrow, share};

/// `GET /usage`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct RollupQuery {
    /// external_user_id (default), external_project_id, workspace_id, or metadata.KEY
    pub group_by: Option<String>,
    /// 7d, 30d (default), 90d, mtd or month-to-date, custom; or a calendar month such as 2026-10, in the time zone of
    /// the organization
    pub period: Option<String>,
    /// Instead of `period`: from here on, inclusive; RFC 3339
    #[param(value_type = Option<String>)]
    pub start: Param<Timestamp>,
    /// Up to here, exclusive; now if left out; RFC 3339
    #[param(value_type = Option<String>)]
    pub end: Param<Timestamp>,
    /// Another name of `start`
    #[param(value_type = Option<String>)]
    pub period_start: Param<Timestamp>,
    /// Another name of `end`
    #[param(value_type = Option<String>)]
    pub period_end: Param<Timestamp>,
    /// Only this end user
    pub external_user_id: Option<String>,
    /// Only this workspace, live or deleted
    #[param(inline)]
    pub workspace_id: Param<WorkspaceId>,
    /// Only what had this label when it ran: metadata.KEY=VALUE
    #[param(example = "metadata.department=radiology")]
    pub label: Option<String>,
}

words! {
    /// What an organization's usage is split by.
    pub enum RollupBy {
        /// The end user that the computer is attributed to.
        User = "external_user_id",
        /// The caller's own id of the project that the computer was in.
        Project = "external_project_id",
        /// The workspace that the computer was in.
        Workspace = "workspace_id",
    }
}

/// Usage by end user, project or workspace, the most expensive first.
#[derive(Serialize, ToSchema)]
pub struct Rollup {
    #[schema(value_type = Timestamp)]
    period_start: Exact,
    #[schema(value_type = Timestamp)]
    period_end: Exact,
    /// The rows add up to the organization's total.
    results: Vec<RollupRow>,
    /// Whole credits of all rows: the micro-credits of their workspaces, rounded once.
    total_credits: i64,
}

/// One row; only the key that was grouped by is there.
#[derive(Serialize, ToSchema)]
pub struct RollupRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    /// null: computers of no end user, and corrections.
    external_user_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// null: projects without an id of the caller's, and corrections.
    external_project_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Name of the workspace, also after it was deleted.
    workspace_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Value of the label; null: without it, and corrections.
    label: Option<Option<String>>,
    /// Not part of this server: 0.
    sandbox_seconds: i64,
    /// vCPU-seconds.
    computer_seconds: i64,
    /// Running time, milliseconds, whatever the size.
    compute_ms: i64,
    /// Not part of this server: 0.
    storage_gb_hours: f64,
    /// Whole credits, distributed so that all rows add up to the total; one credit is one cent on the hosted platform.
    credit_cents: i64,
    /// The same in micro-credits.
    credits_micros: i64,
}

/// `GET /usage/summary`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SummaryQuery {
    /// Start, inclusive; the first of this month (UTC) if left out; RFC 3339
    #[param(value_type = Option<String>)]
    pub period_start: Param<Timestamp>,
    /// End, exclusive; now if left out; RFC 3339
    #[param(value_type = Option<String>)]
    pub period_end: Param<Timestamp>,
}

/// Usage of the organization in one object.
#[derive(Serialize, ToSchema)]
pub struct Summary {
    #[schema(value_type = Timestamp)]
    period_start: Exact,
    #[schema(value_type = Timestamp)]
    period_end: Exact,
    /// Running hours, summed over computers.
    compute_hours: Hours,
    /// The same in milliseconds.
    compute_ms: i64,
    /// GB that snapshots take at the end of the period.
    storage_gb: f64,
    /// What was kept, by itself: it is in none of the other numbers.
    storage: Storage,
    /// Not part of this server: 0.
    bandwidth_gb: f64,
    /// Not part of this server: 0.
    ai_tokens: i64,
    /// Whole credits of the organization, rounded once.
    total_credits: i64,
    /// The same in micro-credits.
    total_credits_micros: i64,
}

/// An instant of a period, with milliseconds where it has any: asked for again it gives the same numbers.
#[derive(Clone, Copy)]
pub struct Exact(pub Timestamp);

impl Serialize for Exact {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0.0 % 1000 == 0 {
            self.0.serialize(s)
        } else {
            s.serialize_str(&self.0.rfc3339_ms())
        }
    }
}

/// First instant of the calendar month of `now`, UTC.
pub fn month_start(now: Timestamp) -> Timestamp {
    Timestamp::parse(&format!("{}-01T00:00:00Z", &now.rfc3339()[..7])).unwrap_or(now)
}

/// A period of two optional parameters.
fn period(
    fields: &mut Fields,
    (from, from_name): (&Param<Timestamp>, &'static str),
    (to, to_name): (&Param<Timestamp>, &'static str),
    default: Timestamp,
    now: Timestamp,
) -> (Timestamp, Timestamp) {
    let start = from.read(fields, from_name).unwrap_or(default);
    let end = to.read(fields, to_name).unwrap_or(now);
    if start > end {
        fields.push(from_name, format!("must not be after {to_name}"));
    }
    (start, end)
}

/// `GET /usage/summary`
pub async fn summary(
    State(store): State<Store>,
    caller: Caller,
    query: Params<SummaryQuery>,
) -> Result<Json<Summary>> {
    let summary = store.read(move |tx| {
        let query = query.get()?;
        let mut fields = Fields::default();
        let from = (&query.period_start, "period_start");
        let to = (&query.period_end, "period_end");
        let (start, end) = period(&mut fields, from, to, month_start(tx.now()), tx.now());
        fields.finish()?;
        let cuts = [start, end].map(|at| at.min(tx.now()).0);
        let read = intervals::organization(tx, caller.tenant_id(), &cuts)?;
        let shown = read[0].until(&read[1]);
        let until = end.min(tx.now());
        let storage = kept::storage(tx, caller.tenant_id(), None, start.min(until), until)?;
        Ok(Summary {
            period_start: Exact(start),
            period_end: Exact(end),
            compute_hours: shown.compute_hours,
            compute_ms: shown.compute_ms,
            storage_gb: storage.gb,
            storage,
            bandwidth_gb: 0.0,
            ai_tokens: 0,
            total_credits: shown.credits_used,
            total_credits_micros: shown.credits_micros,
        })
    });
    Ok(Json(summary.await?))
}

/// `GET /usage`
pub async fn rollup(
    State(store): State<Store>,
    State(catalog): State<Arc<Catalog>>,
    caller: Caller,
    query: Params<RollupQuery>,
    table: Params<TableQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let rollup = store.read(move |tx| {
        let query = query.get()?;
        let mut fields = Fields::default();
        let table = table.get()?.read(&mut fields, &headers)?;
        fields.finish()?;
        let zone = Zone::of(tx, caller.tenant_id(), None)?;
        let asked = Asked::new(&query, &zone, tx.now())?;
        let only = query.workspace_id.get("workspace_id")?;
        let only = only.map(|id| own_workspace(tx, &caller, id)).transpose()?;
        let mut rows = Rows {
            tx,
            catalog: &catalog,
            tenant: caller.tenant_id(),
            asked: &asked,
            rows: BTreeMap::new(),
            read: Default::default(),
        };
        for workspace in intervals::workspaces(tx, caller.tenant_id())? {
            if only.is_none_or(|only| only == workspace) {
                rows.add(workspace)?;
            }
        }
        let micros: Vec<i128> = rows.rows.values().map(|part| part.micros.into()).collect();
        let all = rows.read[0].until(&rows.read[1]).credits_used;
        let shares = apportion(&micros, MICROS_PER_CREDIT, all);
        let mut results = Vec::new();
        let mut total_credits = 0;
        for (((key, mine), part), credits) in rows.rows.into_iter().zip(shares) {
            if mine {
                total_credits += credits;
                results.push(part.row(tx, caller.tenant_id(), &asked, key, credits)?);
            }
        }
        results.sort_by_key(|row| std::cmp::Reverse(row.credit_cents));
        let rollup = Rollup {
            period_start: Exact(asked.start),
            period_end: Exact(asked.end),
            results,
            total_credits,
        };
        let key = match asked.by {
            _ if asked.split.is_some() => "label",
            RollupBy::User => "external_user_id",
            RollupBy::Project => "external_project_id",
            RollupBy::Workspace => "workspace_id",
        };
        Ok((rollup, key, table))
    });
    let (rollup, key, table) = rollup.await?;
    Ok(match table {
        Some(table) => {
            let name = (key == "workspace_id").then_some("workspace_name");
            let columns: Vec<&str> = [key].into_iter().chain(name).chain(COLUMNS).collect();
            table.reply("usage", table::rows(&columns, &rollup.results)?)
        }
        None => Json(rollup).into_response(),
    })
}

/// Of a table, after its key.
const COLUMNS: [&str; 4] = [
    "compute_ms",
    "computer_seconds",
    "credit_cents",
    "credits_micros",
];

/// What a rollup is asked for.
struct Asked<'a> {
    by: RollupBy,
    start: Timestamp,
    end: Timestamp,
    user: Option<&'a str>,
    /// The label that it is split by, instead.
    split: Option<&'a str>,
    /// The label that it must have had, and its value.
    only: Option<(&'a str, &'a str)>,
}

impl<'a> Asked<'a> {
    fn new(query: &'a RollupQuery, zone: &Zone, now: Timestamp) -> Result<Self> {
        let mut fields = Fields::default();
        let group_by = query.group_by.as_deref();
        let split = group_by.and_then(label);
        let by = group_by.filter(|_| split.is_none()).and_then(|text| {
            let by = RollupBy::from_text(text);
            if by.is_none() {
                let text = format!("{}, or metadata.KEY", RollupBy::wanted());
                fields.push("group_by", text);
            }
            by
        });
        let only = query.label.as_deref().and_then(|text| {
            let only = text
                .split_once('=')
                .and_then(|(key, value)| Some((label(key)?, value)));
            if only.is_none() {
                fields.push("label", "must be metadata.KEY=VALUE");
            }
            only
        });
        let from = one_of(
            &mut fields,
            (&query.start, "start"),
            (&query.period_start, "period_start"),
        );
        let to = one_of(
            &mut fields,
            (&query.end, "end"),
            (&query.period_end, "period_end"),
        );
        let custom = from.0.is_given() || to.0.is_given();
        let month = query.period.as_deref().and_then(|text| zone.month(text));
        if let Some((start, end)) = month {
            if custom {
                fields.push(
                    "period",
                    "cannot be combined with start and end; use one or the other",
                );
            }
            fields.finish()?;
            return Ok(Asked {
                by: by.unwrap_or(RollupBy::User),
                split,
                start: Timestamp(start),
                end: Timestamp(end),
                user: query.external_user_id.as_deref(),
                only,
            });
        }
        let default = match query.period.as_deref() {
            Some("7d") => now.plus_ms(-7 * DAY_MS),
            None | Some("30d") => now.plus_ms(-30 * DAY_MS),
            Some("90d") => now.plus_ms(-90 * DAY_MS),
            Some("mtd" | "month-to-date") => month_start(now),
            Some("custom") if custom => now.plus_ms(-30 * DAY_MS),
            Some("custom") => {
                fields.push("start", "can't be blank where period is custom");
                now
            }
            Some(_) => {
                fields.push(
                    "period",
                    "must be one of: 7d, 30d, 90d, mtd, month-to-date, custom; or a month such as 2026-10",
                );
                now
            }
        };
        let (start, end) = period(&mut fields, from, to, default, now);
        fields.finish()?;
        Ok(Asked {
            by: by.unwrap_or(RollupBy::User),
            start,
            end,
            user: query.external_user_id.as_deref(),
            split,
            only,
        })
    }
}

/// A parameter with two names.
type Named<'a> = (&'a Param<Timestamp>, &'static str);

/// Whichever of two names was used.
fn one_of<'a>(fields: &mut Fields, one: Named<'a>, other: Named<'a>) -> Named<'a> {
    match (one.0.is_given(), other.0.is_given()) {
        (true, true) => {
            fields.push(
                other.1,
                format!("is another name of {}; send one of them", one.1),
            );
            one
        }
        (false, true) => other,
        _ => one,
    }
}

/// A workspace of the caller's organization, live or deleted.
fn own_workspace(tx: &Tx<'_>, caller: &Caller, id: WorkspaceId) -> Result<WorkspaceId> {
    let tenant: Option<TenantId> = tx
        .row(
            "SELECT tenant_id FROM workspaces WHERE id = ?1",
            [id],
            |row| row.get(0),
        )
        .optional()?;
    let tenant = tenant.ok_or_else(|| Error::not_found("workspace"))?;
    if tenant == caller.tenant_id() {
        Ok(id)
    } else {
        Err(Error::forbidden())
    }
}

#[derive(Default)]
struct Part {
    exact: Amount,
    vcpu_ms: i128,
    micros: i64,
}

impl Part {
    fn row(
        self,
        tx: &Tx<'_>,
        tenant: TenantId,
        asked: &Asked<'_>,
        key: Option<String>,
        credits: i64,
    ) -> Result<RollupRow> {
        let mut row = RollupRow {
            external_user_id: None,
            external_project_id: None,
            workspace_id: None,
            workspace_name: None,
            label: None,
            sandbox_seconds: 0,
            computer_seconds: narrow(self.vcpu_ms / 1000),
            compute_ms: narrow(self.exact.ms),
            storage_gb_hours: 0.0,
            credit_cents: credits,
            credits_micros: self.micros,
        };
        match asked.by {
            _ if asked.split.is_some() => row.label = Some(key),
            RollupBy::User => row.external_user_id = Some(key),
            RollupBy::Project => row.external_project_id = Some(key),
            RollupBy::Workspace => {
                let id = key
                    .as_deref()
                    .and_then(crate::ids::parse_uuid)
                    .map(WorkspaceId);
                row.workspace_name = tx
                    .row(
                        "SELECT name FROM workspaces WHERE id = ?1 AND tenant_id = ?2",
                        (id, tenant),
                        |row| row.get(0),
                    )
                    .optional()?;
                row.workspace_id = Some(key);
            }
        }
        Ok(row)
    }
}

/// The rows of a rollup while workspace after workspace is added.
struct Rows<'a, 'tx> {
    tx: &'a Tx<'tx>,
    catalog: &'a Catalog,
    tenant: TenantId,
    asked: &'a Asked<'a>,
    /// By key, and whether the row is asked for: others take part in the distribution only.
    rows: BTreeMap<(Option<String>, bool), Part>,
    /// The meters at the start and at the end, added up.
    read: [Amount; 2],
}

impl Rows<'_, '_> {
    /// Adds the usage of one workspace. Its micro-credits, as its own series shows them, are
    /// distributed over the parts by the largest remainder, so every split has the same total.
    fn add(&mut self, workspace: WorkspaceId) -> Result<()> {
        let (tx, tenant, asked) = (self.tx, self.tenant, self.asked);
        let [start, end] = [asked.start, asked.end].map(|at| at.min(tx.now()).0);
        let mut parts: BTreeMap<(Option<String>, bool), Part> = BTreeMap::new();
        let mut users: BTreeMap<ComputerId, Attributions> = BTreeMap::new();
        let mut projects: BTreeMap<ProjectId, Attributions> = BTreeMap::new();
        let by_project = asked.by == RollupBy::Project && asked.split.is_none();
        let load = |key| Labels::load(tx, tenant, workspace, key);
        let mut split = asked.split.map(load).transpose()?;
        let mut only = asked.only.map(|(key, _)| load(key)).transpose()?;
        let vcpus = Vcpus::load(tx, workspace)?;
        intervals::of_workspace(tx, tenant, workspace, start, end, |interval| {
            let state = &interval.opened.state;
            let sql = "SELECT external_user_id FROM computers WHERE id = ?1 AND tenant_id = ?2";
            let user = remembered(
                &mut users,
                interval.computer,
                interval.computer.0,
                tx,
                tenant,
                sql,
            )?;
            let sql = "SELECT external_project_id FROM projects WHERE id = ?1 AND tenant_id = ?2";
            let project = match by_project {
                true => Some(remembered(
                    &mut projects,
                    state.project,
                    state.project.0,
                    tx,
                    tenant,
                    sql,
                )?),
                false => None,
            };
            // Split where it changed whose it was.
            let mut from = interval.start;
            while from < interval.end {
                let (user, user_until) = user.at(from);
                let (project, project_until) = project.map_or((None, i64::MAX), |p| p.at(from));
                let mut to = interval.end.min(user_until).min(project_until);
                let mut mine = asked.user.is_none_or(|only| user == Some(only));
                if let (Some(labels), Some((_, wanted))) = (&mut only, asked.only) {
                    let (value, until) = labels.at(interval.computer, state.project, from)?;
                    mine &= value == Some(wanted);
                    to = to.min(until);
                }
                let mut value = None;
                if let Some(labels) = &mut split {
                    let (held, until) = labels.at(interval.computer, state.project, from)?;
                    value = held.map(str::to_owned);
                    to = to.min(until);
                }
                let key = match asked.by {
                    _ if asked.split.is_some() => value,
                    RollupBy::User => user.map(str::to_owned),
                    RollupBy::Project => project.map(str::to_owned),
                    RollupBy::Workspace => Some(workspace.to_string()),
                };
                let part = parts.entry((key, mine)).or_default();
                part.exact += intervals::amount(&interval.opened, from, to);
                let now = self.catalog.hardware(state.size).vcpus;
                part.vcpu_ms += vcpus.between(state.size, from, to, now);
                from = to;
            }
            Ok(())
        })?;
        for correction in intervals::corrections(tx, tenant, workspace, start, end)? {
            let by_workspace = asked.by == RollupBy::Workspace && asked.split.is_none();
            let key = by_workspace.then(|| workspace.to_string());
            let mine = asked.user.is_none() && asked.only.is_none();
            let part = parts.entry((key, mine)).or_default();
            part.exact += Amount {
                micros: correction.micros.into(),
                ..Amount::default()
            };
        }
        let read = readings(tx, workspace, &[start, end])?;
        let exact: Vec<Amount> = parts.values().map(|part| part.exact).collect();
        let shares = share(&exact, &read[0].until(&read[1]));
        for ((key, part), share) in parts.into_iter().zip(shares) {
            let row = self.rows.entry(key).or_default();
            row.exact += part.exact;
            row.vcpu_ms += part.vcpu_ms;
            row.micros += share.credits_micros;
        }
        for (sum, read) in self.read.iter_mut().zip(&read) {
            *sum += read.in_sum();
        }
        Ok(())
    }
}

/// What a subject was attributed to; its text column is asked for once.
fn remembered<'a, K: Ord + Copy + rusqlite::ToSql>(
    known: &'a mut BTreeMap<K, Attributions>,
    id: K,
    subject: uuid::Uuid,
    tx: &Tx<'_>,
    tenant: TenantId,
    sql: &str,
) -> Result<&'a Attributions> {
    match known.entry(id) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(unknown) => {
            let text: Option<String> = tx
                .prepare_cached(sql)?
                .query_row((id, tenant), |row| row.get(0))
                .optional()?
                .flatten();
            Ok(unknown.insert(Attributions::load(tx, subject, text)?))
        }
    }
}
