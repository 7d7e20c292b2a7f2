//! The endpoints of budgets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::budget::{Budget, BudgetView, free};
use super::rule::{Rule, SetBudget};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::billing::owner::{Named, Owner};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{List, Mutation, NoBody, Reply};
use crate::http::{Look, Seen, Single};
use crate::json;
use crate::store::WriteTx;

/// A budget that is gone.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetDeleted)]
pub struct Gone {
    deleted: bool,
}

fn unknown() -> Error {
    Error::not_found("budget")
}

fn put(tx: &WriteTx<'_>, caller: &Caller, owner: Owner, input: SetBudget) -> Result<BudgetView> {
    let rule = input.check()?;
    let tenant = caller.tenant_id();
    let before = Budget::load(tx, tenant, owner)?;
    let id = owner.id(tenant);
    let sql = "INSERT INTO budgets (owner_id, tenant_id, scope, credits, period, notify_at, on_exceeded, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET credits = excluded.credits, period = excluded.period,
             notify_at = excluded.notify_at, on_exceeded = excluded.on_exceeded, updated_at = excluded.updated_at";
    tx.run(
        sql,
        (
            id.as_bytes().as_slice(),
            tenant,
            owner.scope(),
            rule.credits,
            rule.period,
            json::text(&rule.notify_at)?,
            rule.on_exceeded,
            tx.now(),
        ),
    )?;
    record(
        tx,
        caller,
        owner,
        "budget.updated",
        before.as_ref().map(|b| &b.rule),
        Some(&rule),
    )?;
    let budget = Budget {
        tenant_id: tenant,
        owner,
        rule,
    };
    budget.settle(tx)?;
    budget.view(tx)
}

fn remove(tx: &WriteTx<'_>, caller: &Caller, owner: Owner) -> Result<Gone> {
    let tenant = caller.tenant_id();
    let before = Budget::load(tx, tenant, owner)?.ok_or_else(unknown)?;
    let id = owner.id(tenant);
    tx.run(
        "DELETE FROM budgets WHERE owner_id = ?1 AND tenant_id = ?2",
        (id.as_bytes().as_slice(), tenant),
    )?;
    free(tx, tenant, id)?;
    record(
        tx,
        caller,
        owner,
        "budget.deleted",
        Some(&before.rule),
        None,
    )?;
    Ok(Gone { deleted: true })
}

fn record(
    tx: &WriteTx<'_>,
    caller: &Caller,
    owner: Owner,
    kind: &str,
    before: Option<&Rule>,
    after: Option<&Rule>,
) -> Result<()> {
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: caller.tenant_id(),
            workspace_id: owner.workspace(),
            kind,
            resource: owner.id(caller.tenant_id()),
            before,
            after,
        },
    )
}

/// The budget of an owner as it is, for `If-Match`.
pub fn look<O: Named>() -> Look {
    Arc::new(|tx, caller, id| {
        let owner = O::by_id(id).find(tx, caller)?;
        let budget = Budget::load(tx, caller.tenant_id(), owner)?;
        Seen::of(&budget.ok_or_else(unknown)?.view(tx)?)
    })
}

/// `GET /budgets`
pub async fn list(State(store): State<Store>, caller: Caller) -> Result<Json<List<BudgetView>>> {
    let list = store.read(move |tx| {
        let all = Budget::all(tx, caller.tenant_id())?;
        let data = all
            .iter()
            .map(|budget| budget.view(tx))
            .collect::<Result<Vec<_>>>()?;
        Ok(List::whole(data))
    });
    Ok(Json(list.await?))
}

/// `GET …/budget`
pub async fn show<O: Named>(
    State(store): State<Store>,
    caller: Caller,
    owner: O,
) -> Result<Single<BudgetView>> {
    let view = store.read(move |tx| {
        let owner = owner.find(tx, &caller)?;
        let budget = Budget::load(tx, caller.tenant_id(), owner)?;
        budget.ok_or_else(unknown)?.view(tx)
    });
    Ok(Single(view.await?))
}

/// `PUT …/budget`
pub async fn set<O: Named>(owner: O, request: Mutation<SetBudget>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let owner = owner.find(tx, caller)?;
            put(tx, caller, owner, input?).map(Reply::ok)
        })
        .await
}

/// `DELETE …/budget`
pub async fn delete<O: Named>(owner: O, request: Mutation<NoBody>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let owner = owner.find(tx, caller)?;
            input?;
            remove(tx, caller, owner).map(Reply::ok)
        })
        .await
}
