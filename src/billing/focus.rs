//! `GET /usage/export`: usage and its cost in the columns of FOCUS, the FinOps Open Cost and Usage
//! Specification, version 1.2: a row for each computer, project, size and rate of a day.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::document::Statement;
use super::make::usage_lines;
use super::money::{Currency, Decimal};
use super::period::{self, Span};
use super::prices::{self, Prices};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::{Param, Params, Room, not_kept};
use crate::ids::{ComputerId, ProjectId, TenantId, WorkspaceId};
use crate::json::Object;
use crate::rules::catalog::REGION;
use crate::store::Tx;
use crate::usage::ledger::intervals;
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{UNITS_PER_MICRO, narrow};
use crate::usage::questions::csv::cell;
use crate::usage::questions::table::{self, preferred, unavailable};
use crate::usage::questions::window::{PeriodQuery, Window};

/// The columns, in the order of the specification.
const COLUMNS: [&str; 42] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
];

/// A table, as FOCUS has it.
#[derive(ToSchema)]
#[schema(value_type = String, as = FocusTable)]
pub struct File(#[expect(dead_code, reason = "for the schema only")] String);

/// `GET /usage/export`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ExportQuery {
    /// focus (default): FOCUS 1.2 as CSV. Anything else is 406.
    pub format: Option<String>,
    /// 1: begins with the mark by which spreadsheets know UTF-8
    #[param(inline)]
    pub bom: Param<bool>,
}

const ONLY: &str = "format=focus, which is CSV; there is no Parquet";

/// `GET /usage/export`
pub async fn export(
    State(store): State<Store>,
    State(room): State<Room>,
    caller: Caller,
    headers: HeaderMap,
    period: Params<PeriodQuery>,
    query: Params<ExportQuery>,
) -> Result<Response> {
    let tenant = caller.tenant_id();
    let (mut period, query) = (period.get()?, query.get()?);
    if query
        .format
        .as_deref()
        .is_some_and(|format| format != "focus")
    {
        return Err(unavailable(ONLY));
    }
    if query.format.is_none() {
        preferred(&headers).map_err(|_| unavailable(ONLY))?;
    }
    if !period.granularity.is_given() {
        period.granularity = "day".into();
    }
    let mut spool = room.writer(tenant);
    let written = store.read(move |tx| {
        let mut fields = Fields::default();
        let bom = query.bom.read(&mut fields, "bom") == Some(true);
        let window = Window::new(tx, tenant, None, &period, fields)?;
        let mut head = if bom {
            "\u{feff}".to_owned()
        } else {
            String::new()
        };
        head.push_str(&COLUMNS.join(","));
        head.push_str("\r\n");
        spool.write_all(head.as_bytes()).map_err(not_kept)?;
        write(tx, tenant, &window, &mut spool)?;
        Ok(spool)
    });
    let body = crate::store::heavy(written).await?.into_body()?;
    Ok(table::file("focus", body))
}

/// What is known of a workspace.
struct Account {
    id: WorkspaceId,
    name: String,
    metadata: Object,
}

fn write(tx: &Tx<'_>, tenant: TenantId, window: &Window, out: &mut dyn Write) -> Result<()> {
    let organization: String =
        tx.row("SELECT name FROM tenants WHERE id = ?1", [tenant], |row| {
            row.get(0)
        })?;
    let known = period::known(tx)?;
    let cuts = window.cuts();
    let mut names = Names::default();
    for id in intervals::workspaces(tx, tenant)? {
        let account = tx.row(
            "SELECT name, metadata FROM workspaces WHERE id = ?1 AND tenant_id = ?2",
            (id, tenant),
            |row| {
                Ok(Account {
                    id,
                    name: row.get(0)?,
                    metadata: row.get(1)?,
                })
            },
        )?;
        let read = readings(tx, id, &cuts)?;
        let mut priced: BTreeMap<String, (Prices, Option<Statement>)> = BTreeMap::new();
        for (cut, read) in cuts.windows(2).zip(read.windows(2)) {
            if read[0] == read[1] && cut[0] == cut[1] {
                continue;
            }
            let month = window.zone.month_of(cut[0]);
            if !priced.contains_key(&month) {
                let prices = prices::of(tx, tenant, Some(id), &month)?;
                let statement = Statement::about(tx, tenant, id, &month)?;
                priced.insert(month.clone(), (prices, statement));
            }
            let Some((prices, statement)) = priced.get(&month) else {
                continue;
            };
            let span = Span {
                tenant,
                workspace: id,
                start: cut[0],
                end: cut[1],
                known,
                increment: 1,
            };
            let rest = narrow(read[0].units().rem_euclid(UNITS_PER_MICRO));
            let lines = usage_lines(&span.used(tx)?, &month, rest, prices);
            if lines.is_empty() {
                continue;
            }
            let Some(currency) = prices.currency else {
                return Err(unavailable(
                    "GET /usage: FOCUS needs a currency, and this organization has no price list (PUT /tenant/prices)",
                ));
            };
            let months = window.zone.month(&month).unwrap_or((cut[0], cut[1]));
            for line in lines {
                let adjusted = line.computer_id.is_none();
                // By the hour, or by its credits.
                let by_hour = line
                    .size
                    .and_then(|size| prices.price_per_hour.as_ref()?.get(&size).copied());
                let per_credit = prices.price_per_credit.unwrap_or_default();
                let (quantity, unit, price, cost) = match by_hour {
                    Some(price) => (
                        quotient(line.compute_ms, 3_600_000),
                        "Hours",
                        price,
                        price.times(line.compute_ms, 3_600_000),
                    ),
                    None => (
                        quotient(line.micros, 1_000_000),
                        "Credits",
                        per_credit,
                        per_credit.times(line.micros, 1_000_000),
                    ),
                };
                let (project, computer) =
                    names.of(tx, tenant, line.project_id, line.computer_id)?;
                let tags = serde_json::json!({ "project": project, "workspace": account.metadata });
                let text = |value: Option<String>| value.unwrap_or_default();
                let sku = text(line.size.map(|size| size.to_string()));
                let row: [String; 42] = [
                    cost.clone(),
                    tenant.to_string(),
                    cell(&organization),
                    "Organization".into(),
                    Currency::code(currency).into(),
                    Timestamp(months.1).rfc3339(),
                    Timestamp(months.0).rfc3339(),
                    if adjusted { "Adjustment" } else { "Usage" }.into(),
                    String::new(),
                    cell(&line.text),
                    if adjusted { "One-Time" } else { "Usage-Based" }.into(),
                    Timestamp(cut[1]).rfc3339(),
                    Timestamp(cut[0]).rfc3339(),
                    if adjusted {
                        String::new()
                    } else {
                        quotient(line.compute_ms, 1000)
                    },
                    if adjusted { "" } else { "Seconds" }.into(),
                    cost.clone(),
                    price.to_string(),
                    cost.clone(),
                    text(statement.as_ref().map(|one| one.number.to_string())),
                    cell(&organization),
                    cost,
                    price.to_string(),
                    "Standard".into(),
                    quantity,
                    unit.into(),
                    "workspaced".into(),
                    cell(&organization),
                    REGION.into(),
                    REGION.into(),
                    text(line.computer_id.map(|id| id.to_string())),
                    cell(&computer),
                    if adjusted { "" } else { "Computer" }.into(),
                    "Compute".into(),
                    "Computers".into(),
                    "Virtual Machines".into(),
                    sku.clone(),
                    if adjusted { "" } else { "Running time" }.into(),
                    text(line.rate.map(|rate| format!("{sku}@{rate}"))),
                    account.id.to_string(),
                    cell(&account.name),
                    "Workspace".into(),
                    cell(&tags.to_string()),
                ];
                out.write_all(format!("{}\r\n", row.join(",")).as_bytes())
                    .map_err(not_kept)?;
            }
        }
    }
    Ok(())
}

/// An exact quotient by a power of ten, or rounded to nine places.
fn quotient(of: i64, by: i64) -> String {
    Decimal::one().times(of, by)
}

/// Names of projects and computers, each looked up once.
#[derive(Default)]
struct Names {
    projects: BTreeMap<ProjectId, String>,
    computers: BTreeMap<ComputerId, String>,
}

impl Names {
    fn of(
        &mut self,
        tx: &Tx<'_>,
        tenant: TenantId,
        project: Option<ProjectId>,
        computer: Option<ComputerId>,
    ) -> Result<(String, String)> {
        let mut names = (String::new(), String::new());
        if let Some(id) = project {
            let name = match self.projects.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let sql = "SELECT name FROM projects WHERE id = ?1 AND tenant_id = ?2";
                    let name = tx.row(sql, (id, tenant), |row| row.get(0)).optional()?;
                    new.insert(name.unwrap_or_default())
                }
            };
            names.0.clone_from(name);
        }
        if let Some(id) = computer {
            let name = match self.computers.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let sql = "SELECT name FROM computers WHERE id = ?1 AND tenant_id = ?2";
                    let name = tx.row(sql, (id, tenant), |row| row.get(0)).optional()?;
                    new.insert(name.unwrap_or_default())
                }
            };
            names.1.clone_from(name);
        }
        Ok(names)
    }
}
