//! `POST /admin/credits/{grant,refund,deduct}`: an operator gives an organization credits or takes some
//! back. Each is a transaction of its own, at its instant.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, Reply};
use crate::ids::TenantId;
use crate::rules::text;
use crate::store::WriteTx;
use crate::usage::ledger::intervals::credits_spent;

/// A billion credits.
const MAX_CREDITS: i64 = 1_000_000_000;
const MAX_DESCRIPTION: usize = 500;

/// `POST /admin/credits/grant`, `refund` and `deduct`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Credits {
    /// An organization of this installation
    #[schema(required = true, nullable = false)]
    pub tenant_id: Option<TenantId>,
    /// Whole credits
    #[schema(
        required = true,
        nullable = false,
        minimum = 1,
        maximum = 1_000_000_000
    )]
    pub amount: Option<i64>,
    /// Why
    #[schema(required = true, nullable = false, min_length = 1, max_length = 500)]
    pub description: Option<String>,
    /// Of a refund: the transaction that is refunded
    #[schema(min_length = 1, max_length = 255)]
    pub transaction_id: Option<String>,
    /// Credits of this server do not expire: only null
    pub expires_at: Option<String>,
}

/// What was given or taken.
#[derive(Serialize, ToSchema)]
pub struct CreditEntry {
    /// As in `GET /credits/transactions`
    id: String,
    tenant_id: TenantId,
    /// grant, refund or deduct
    r#type: &'static str,
    amount: i64,
    amount_credits: i64,
    description: String,
    transaction_id: Option<String>,
    created_at: Timestamp,
    inserted_at: Timestamp,
    /// What is left afterwards.
    balance_credits: i64,
}

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    event: &'static str,
    sign: i64,
}

/// `POST /admin/credits/grant`
pub async fn grant(request: Mutation<Credits>) -> Result<Response> {
    let (name, event) = ("grant", "credits.granted");
    let sign = 1;
    enter(request, Kind { name, event, sign }).await
}

/// `POST /admin/credits/refund`
pub async fn refund(request: Mutation<Credits>) -> Result<Response> {
    let (name, event) = ("refund", "credits.refunded");
    let sign = 1;
    enter(request, Kind { name, event, sign }).await
}

/// `POST /admin/credits/deduct`
pub async fn deduct(request: Mutation<Credits>) -> Result<Response> {
    let (name, event) = ("deduct", "credits.deducted");
    let sign = -1;
    enter(request, Kind { name, event, sign }).await
}

async fn enter(request: Mutation<Credits>, kind: Kind) -> Result<Response> {
    request
        .run(move |tx, caller, input| Ok(Reply::created(post(tx, caller, input?, kind)?)))
        .await
}

fn post(tx: &WriteTx<'_>, caller: &Caller, input: Credits, kind: Kind) -> Result<CreditEntry> {
    let mut fields = Fields::default();
    if input.tenant_id.is_none() {
        fields.push("tenant_id", "can't be blank");
    }
    let amount = input.amount.filter(|n| (1..=MAX_CREDITS).contains(n));
    if amount.is_none() {
        fields.push(
            "amount",
            format!("must be a whole number from 1 to {MAX_CREDITS}"),
        );
    }
    let description = input.description.as_deref().map_or("", str::trim);
    text::limited(
        &mut fields,
        "description",
        Some(description),
        1,
        MAX_DESCRIPTION,
    );
    text::external_id(
        &mut fields,
        "transaction_id",
        input.transaction_id.as_deref(),
    );
    if input.expires_at.is_some() {
        fields.push(
            "expires_at",
            "must be left out: credits of this server do not expire",
        );
    }
    fields.finish()?;
    let (Some(tenant), Some(amount)) = (input.tenant_id, amount) else {
        return Err(Error::internal(
            "credits without a text about what is wrong",
        ));
    };
    let changed = tx.run(
        "UPDATE tenants SET credits_granted = credits_granted + ?1 WHERE id = ?2",
        (amount * kind.sign, tenant),
    )?;
    if changed == 0 {
        return Err(Error::not_found("organization"));
    }
    let sql =
        "INSERT INTO credit_entries (tenant_id, kind, credits, description, refers_to, actor, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    tx.run(
        sql,
        (
            tenant,
            kind.name,
            amount * kind.sign,
            description,
            &input.transaction_id,
            format!("api_key {}", caller.key().prefix),
            tx.now(),
        ),
    )?;
    let seq = tx.last_insert_rowid();
    let granted: i64 = tx.row(
        "SELECT credits_granted FROM tenants WHERE id = ?1",
        [tenant],
        |row| row.get(0),
    )?;
    let entry = CreditEntry {
        id: format!("{tenant}:{seq}"),
        tenant_id: tenant,
        r#type: kind.name,
        amount,
        amount_credits: amount,
        description: description.to_owned(),
        transaction_id: input.transaction_id,
        created_at: tx.now(),
        inserted_at: tx.now(),
        balance_credits: granted - credits_spent(tx, tenant)?,
    };
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: tenant,
            workspace_id: None,
            kind: kind.event,
            resource: tenant.0,
            before: audit::NONE,
            after: Some(&entry),
        },
    )?;
    Ok(entry)
}
