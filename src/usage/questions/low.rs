//! Who runs out of credits: an organization that was granted some is told once when its balance falls below
//! the threshold of the installation, and again only after it was above it.

use rusqlite::OptionalExtension;
use serde_json::json;

use crate::audit::{self, Actor, Entry};
use crate::db::Store;
use crate::error::Result;
use crate::ids::TenantId;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::intervals::credits_spent;

/// Looks at all organizations, each in a read of its own, and tells those whose balance has crossed the
/// threshold. Returns how many have.
///
/// # Errors
/// When the store fails.
pub async fn look(store: &Store, threshold: i64) -> Result<usize> {
    let mut crossed = 0;
    for tenant in store.read(granted).await? {
        let (was, is) = store
            .read(move |tx| Ok((told(tx, tenant)?, balance(tx, tenant)? < threshold)))
            .await?;
        if was != is {
            crossed += 1;
            store.write(move |tx| tell(tx, tenant, threshold)).await?;
        }
    }
    Ok(crossed)
}

/// The organizations that were granted credits.
fn granted(tx: &Tx<'_>) -> Result<Vec<TenantId>> {
    Ok(tx
        .prepare_cached("SELECT id FROM tenants WHERE credits_granted <> 0")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

fn balance(tx: &Tx<'_>, tenant: TenantId) -> Result<i64> {
    let sql = "SELECT credits_granted FROM tenants WHERE id = ?1";
    let granted: i64 = tx.row(sql, [tenant], |row| row.get(0))?;
    Ok(granted - credits_spent(tx, tenant)?)
}

fn told(tx: &Tx<'_>, tenant: TenantId) -> Result<bool> {
    let sql = "SELECT 1 FROM low_credits WHERE tenant_id = ?1";
    Ok(tx.row(sql, [tenant], |_| Ok(())).optional()?.is_some())
}

/// Notes on which side of the threshold the balance is.
fn tell(tx: &WriteTx<'_>, tenant: TenantId, threshold: i64) -> Result<()> {
    let balance = balance(tx, tenant)?;
    if balance >= threshold {
        tx.run("DELETE FROM low_credits WHERE tenant_id = ?1", [tenant])?;
        return Ok(());
    }
    let new = tx.run(
        "INSERT OR IGNORE INTO low_credits (tenant_id, since) VALUES (?1, ?2)",
        (tenant, tx.now()),
    )?;
    if new == 0 {
        return Ok(());
    }
    audit::record(
        tx,
        &Entry {
            actor: Actor::System,
            tenant_id: tenant,
            workspace_id: None,
            kind: "credits.low",
            resource: tenant.0,
            before: audit::NONE,
            after: Some(&json!({ "balance_credits": balance, "threshold_credits": threshold })),
        },
    )
}
