//! `/credits/*`: what an organization was granted and what it spent. Spending is read from the meters,
//! added up and rounded once, to whole credits of the organization.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use rusqlite::OptionalExtension;
use rusqlite::types::Value;
use serde::Serialize;
use utoipa::ToSchema;

use super::rollup::{Exact, month_start};
use super::table::{self, TableQuery};
use crate::access::caller::Caller;
use crate::clock::{DAY_MS, Timestamp};
use crate::db::Store;
use crate::error::{Fields, Result};
use crate::http::{PageMeta, PageQuery, Params, linked};
use crate::ids::{ComputerId, TenantId, WorkspaceId};
use crate::store::Tx;
use crate::usage::ledger::intervals::{self, credits_spent};
use crate::usage::meter::reading::readings;
use crate::usage::meter::units::{Amount, MICROS_PER_CREDIT, apportion, narrow};

/// Credits granted, spent and left, under the names that the clients look for.
#[derive(Serialize, ToSchema)]
pub struct Balance {
    tenant_id: TenantId,
    balance_credits: i64,
    balance: i64,
    lifetime_earned: i64,
    lifetime_spent: i64,
    /// Credits of this server do not expire: null.
    credit_expiry_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    updated_at: Timestamp,
}

/// Credits earned and spent, newest first, under both keys that clients look for.
#[derive(Serialize, ToSchema)]
pub struct Transactions {
    transactions: Vec<Transaction>,
    data: Vec<Transaction>,
    total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<PageMeta>,
}

/// What a workspace spent in a calendar month (UTC), a correction, or credits that an operator gave or took.
#[derive(Serialize, ToSchema, Clone)]
pub struct Transaction {
    id: String,
    tenant_id: TenantId,
    workspace_id: Option<WorkspaceId>,
    user_id: Option<String>,
    computer_id: Option<ComputerId>,
    /// earn, refund: credits given. spend, adjustment, deduct: credits used, a correction of usage (negative
    /// where it gives back), credits taken away. The balance is the former less the latter.
    r#type: String,
    /// Whole credits, distributed so that all transactions add up to the balance.
    amount: i64,
    amount_credits: i64,
    description: String,
    provider: Option<String>,
    model: Option<String>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cost_usd_micros: Option<i64>,
    created_at: Timestamp,
    inserted_at: Timestamp,
}

/// Credits of the present calendar month (UTC) by kind.
#[derive(Serialize, ToSchema)]
pub struct CreditsUsage {
    compute: i64,
    ai: i64,
    storage: i64,
    total: i64,
    compute_credits: i64,
    ai_credits: i64,
    total_credits: i64,
    #[schema(value_type = Timestamp)]
    period_start: Exact,
    #[schema(value_type = Timestamp)]
    period_end: Exact,
}

struct Account {
    granted: i64,
    created_at: Timestamp,
}

fn account(tx: &Tx<'_>, tenant: TenantId) -> Result<Account> {
    Ok(tx.row(
        "SELECT credits_granted, created_at FROM tenants WHERE id = ?1",
        [tenant],
        |row| {
            Ok(Account {
                granted: row.get(0)?,
                created_at: row.get(1)?,
            })
        },
    )?)
}

/// `GET /credits/balance`
pub async fn balance(State(store): State<Store>, caller: Caller) -> Result<Json<Balance>> {
    let balance = store.read(move |tx| {
        let tenant_id = caller.tenant_id();
        let (granted, spent) = (
            account(tx, tenant_id)?.granted,
            credits_spent(tx, tenant_id)?,
        );
        Ok(Balance {
            tenant_id,
            balance_credits: granted - spent,
            balance: granted - spent,
            lifetime_earned: granted,
            lifetime_spent: spent,
            credit_expiry_at: None,
            expires_at: None,
            updated_at: tx.now(),
        })
    });
    Ok(Json(balance.await?))
}

/// `GET /credits/usage`
pub async fn credits_usage(
    State(store): State<Store>,
    caller: Caller,
) -> Result<Json<CreditsUsage>> {
    let usage = store.read(move |tx| {
        let start = month_start(tx.now());
        let read = intervals::organization(tx, caller.tenant_id(), &[start.0, tx.now().0])?;
        let credits = read[0].until(&read[1]).credits_used;
        Ok(CreditsUsage {
            compute: credits,
            ai: 0,
            storage: 0,
            total: credits,
            compute_credits: credits,
            ai_credits: 0,
            total_credits: credits,
            period_start: Exact(start),
            period_end: Exact(tx.now()),
        })
    });
    Ok(Json(usage.await?))
}

/// `GET /credits/transactions`
pub async fn transactions(
    State(store): State<Store>,
    caller: Caller,
    page: Params<PageQuery>,
    table: Params<TableQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let list = store.read(move |tx| {
        let mut fields = Fields::default();
        let page = page.get()?.read(&mut fields);
        let table = table.get()?.read(&mut fields, &headers)?;
        fields.finish()?;
        let rows = all(tx, caller.tenant_id())?;
        let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let after = page.after(2)?;
        let shown = |row: &Transaction| match after.as_deref().map(Vec::as_slice) {
            // Newest first, and the ids of one instant in reverse order.
            Some([Value::Integer(at), Value::Text(id)]) => (row.created_at.0, &row.id) < (*at, id),
            _ => true,
        };
        let rows = rows.into_iter().filter(shown);
        let data: Vec<Transaction> = rows.skip(skip).take(limit).collect();
        let next = data.last().filter(|_| page.is_full(data.len()));
        let next = next.and_then(|last| {
            page.link(&[
                Value::Integer(last.created_at.0),
                Value::Text(last.id.clone()),
            ])
        });
        let list = Transactions {
            transactions: data.clone(),
            data,
            total,
            meta: page.meta(total),
        };
        Ok((list, next, table))
    });
    let (list, next, table) = list.await?;
    Ok(match table {
        Some(table) => table.reply("transactions", table::rows(COLUMNS, &list.data)?),
        None => linked(&list, next.as_deref()),
    })
}

/// Of a table.
const COLUMNS: &[&str] = &[
    "id",
    "type",
    "amount_credits",
    "workspace_id",
    "computer_id",
    "description",
    "created_at",
];

/// Every transaction of a tenant, newest first. Their sum is the balance.
fn all(tx: &Tx<'_>, tenant: TenantId) -> Result<Vec<Transaction>> {
    let mut rows = given(tx, tenant)?;
    let workspaces = intervals::workspaces(tx, tenant)?;
    let months = months(tx, &workspaces)?;
    let cuts: Vec<i64> = months.iter().map(|month| month.0.min(tx.now().0)).collect();
    let mut meters = Vec::new();
    for workspace in &workspaces {
        let read = readings(tx, *workspace, &cuts)?;
        meters.push(read.iter().map(Amount::in_sum).collect::<Vec<_>>());
    }
    let sum = |n: usize| meters.iter().fold(Amount::default(), |sum, m| sum + m[n]);
    let mut corrected: i128 = 0;
    for (n, month) in months.windows(2).enumerate() {
        let label = &month[0].rfc3339()[..7];
        let mut parts: Vec<i128> = meters
            .iter()
            .map(|m| m[n + 1].micros - m[n].micros)
            .collect();
        // A correction is a transaction of its own, in whole credits by a running sum.
        let mut corrections = Vec::new();
        for (workspace, part) in workspaces.iter().zip(&mut parts) {
            for correction in intervals::corrections(tx, tenant, *workspace, cuts[n], cuts[n + 1])?
            {
                *part -= i128::from(correction.micros);
                corrections.push((*workspace, correction));
            }
        }
        corrections.sort_by_key(|(_, c)| (c.at, c.seq));
        let mut spent = sum(n).until(&sum(n + 1)).credits_used;
        for (workspace, correction) in corrections {
            let before = corrected.div_euclid(MICROS_PER_CREDIT);
            corrected += i128::from(correction.micros);
            let amount = narrow(corrected.div_euclid(MICROS_PER_CREDIT) - before);
            spent -= amount;
            rows.push(Transaction {
                id: format!("{workspace}:{}", correction.seq),
                workspace_id: Some(workspace),
                r#type: "adjustment".into(),
                amount,
                amount_credits: amount,
                description: correction.reason,
                ..empty(tenant, Timestamp(correction.at))
            });
        }
        for (workspace, amount) in workspaces.iter().zip(distributed(&parts, spent)) {
            if amount != 0 {
                let name = name(tx, tenant, *workspace)?;
                rows.push(Transaction {
                    id: format!("{workspace}:{label}"),
                    workspace_id: Some(*workspace),
                    r#type: "spend".into(),
                    amount,
                    amount_credits: amount,
                    description: format!("Compute of {name} in {label}"),
                    ..empty(tenant, Timestamp((month[1].0 - 1).min(tx.now().0)))
                });
            }
        }
    }
    rows.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    Ok(rows)
}

/// What operators gave and took, and what the organization began with.
fn given(tx: &Tx<'_>, tenant: TenantId) -> Result<Vec<Transaction>> {
    let account = account(tx, tenant)?;
    let mut began = account.granted;
    let mut rows = Vec::new();
    let mut statement = tx.prepare_cached(
        "SELECT seq, kind, credits, description, at FROM credit_entries WHERE tenant_id = ?1 ORDER BY seq",
    )?;
    let mut found = statement.query([tenant])?;
    while let Some(row) = found.next()? {
        let (kind, credits): (String, i64) = (row.get(1)?, row.get(2)?);
        began -= credits;
        rows.push(Transaction {
            id: format!("{tenant}:{}", row.get::<_, i64>(0)?),
            r#type: if kind == "grant" { "earn".into() } else { kind },
            amount: credits.abs(),
            amount_credits: credits.abs(),
            description: row.get(3)?,
            ..empty(tenant, row.get(4)?)
        });
    }
    if began != 0 {
        rows.push(Transaction {
            id: format!("{tenant}:granted"),
            r#type: "earn".into(),
            amount: began,
            amount_credits: began,
            description: "Credits granted".into(),
            ..empty(tenant, account.created_at)
        });
    }
    Ok(rows)
}

fn name(tx: &Tx<'_>, tenant: TenantId, workspace: WorkspaceId) -> Result<String> {
    let name: Option<String> = tx
        .row(
            "SELECT name FROM workspaces WHERE id = ?1 AND tenant_id = ?2",
            (workspace, tenant),
            |row| row.get(0),
        )
        .optional()?;
    Ok(name.unwrap_or_default())
}

/// `total` whole credits over parts in micro-credits. Corrections are rounded for themselves, so that the
/// total may differ by one from what the parts round to: that goes to the largest.
fn distributed(parts: &[i128], total: i64) -> Vec<i64> {
    let mut shown = apportion(parts, MICROS_PER_CREDIT, total);
    let off = total - shown.iter().sum::<i64>();
    if let Some(largest) = shown.iter_mut().max() {
        *largest += off;
    }
    shown
}

fn empty(tenant_id: TenantId, at: Timestamp) -> Transaction {
    Transaction {
        id: String::new(),
        tenant_id,
        workspace_id: None,
        user_id: None,
        computer_id: None,
        r#type: "spend".into(),
        amount: 0,
        amount_credits: 0,
        description: String::new(),
        provider: None,
        model: None,
        input_tokens: None,
        output_tokens: None,
        cost_usd_micros: None,
        created_at: at,
        inserted_at: at,
    }
}

/// Starts of the calendar months from the first hour of any of these workspaces to the month after now.
fn months(tx: &Tx<'_>, workspaces: &[WorkspaceId]) -> Result<Vec<Timestamp>> {
    let mut first: Option<Timestamp> = None;
    for workspace in workspaces {
        let hour: Option<Timestamp> = tx
            .row(
                "SELECT hour FROM meter_hours WHERE workspace_id = ?1 ORDER BY hour LIMIT 1",
                [workspace],
                |row| row.get(0),
            )
            .optional()?;
        first = first.into_iter().chain(hour).min();
    }
    let Some(first) = first.filter(|first| *first <= tx.now()) else {
        return Ok(Vec::new());
    };
    let mut months = vec![month_start(first)];
    while months.last().is_some_and(|month| *month <= tx.now()) {
        let last = months[months.len() - 1];
        months.push(month_start(Timestamp(last.0 + 32 * DAY_MS)));
    }
    Ok(months)
}
