//! Rows: finding, making and changing them.

use data_encoding::HEXLOWER;
use rusqlite::{OptionalExtension, named_params};

use super::catalog;
use super::extra::Headers;
use super::queue::{self, webhooks_change};
use super::types::{Delivery, SECRET_PREFIX, WebhookView};
use crate::access::caller::Caller;
use crate::access::scopes::covers;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{DeliveryId, TenantId, WebhookId, WorkspaceId};
use crate::json;
use crate::outbox::events::{Globs, scope_of};
use crate::store::{Tx, WriteTx};

/// Webhooks of one organization.
pub(super) const MOST: i64 = 20;

/// What of a webhook can be set.
pub(super) struct Fields {
    pub name: String,
    pub url: String,
    pub events: Vec<String>,
    pub enabled: bool,
    pub retry_count: i64,
    pub workspace_id: Option<WorkspaceId>,
    pub headers: Headers,
    pub scheme: String,
}

/// A secret of 256 random bits.
fn new_secret(tx: &WriteTx<'_>) -> Result<String> {
    let bytes: [u8; 32] = tx.random()?;
    Ok(format!("{SECRET_PREFIX}{}", HEXLOWER.encode(&bytes)))
}

fn load(tx: &Tx<'_>, id: WebhookId) -> Result<Option<WebhookView>> {
    let sql = "SELECT * FROM webhooks WHERE id = ?1 AND deleted_at IS NULL";
    let webhook = tx.row(sql, [id], WebhookView::from_row).optional()?;
    Ok(webhook.map(|webhook| webhook.at(tx.now())))
}

/// The webhook with this id, if the caller may see it: 404, 403, then the route's scope.
pub(super) fn find(tx: &Tx<'_>, caller: &Caller, id: WebhookId) -> Result<WebhookView> {
    let webhook = load(tx, id)?.ok_or_else(|| Error::not_found("webhook"))?;
    if webhook.tenant_id != caller.tenant_id() {
        return Err(Error::forbidden());
    }
    caller.check_scope()?;
    Ok(webhook)
}

/// A webhook is told no more than the key that sets it could read.
pub(super) fn within(caller: &Caller, events: &[String]) -> Result<()> {
    let scopes = &caller.key().scopes;
    let needs = |kind: &&str| !covers(scopes, scope_of(catalog::resource_of(kind)));
    match catalog::matching(&Globs::new(events.to_vec())).find(needs) {
        None => Ok(()),
        Some(kind) => {
            let scope = scope_of(catalog::resource_of(kind));
            let text = format!(
                "a webhook is told no more than its maker may read: {kind} needs the scope {scope}; name the \
                 events one by one"
            );
            Err(Error::denied("insufficient_scope", text)
                .with_details(serde_json::json!({ "required": scope })))
        }
    }
}

pub(super) fn insert(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    new: &Fields,
) -> Result<(WebhookView, String)> {
    let there: i64 = tx.row(
        "SELECT count(*) FROM webhooks WHERE tenant_id = ?1 AND deleted_at IS NULL",
        [tenant],
        |row| row.get(0),
    )?;
    if there >= MOST {
        return Err(Error::limit(
            format!(
                "the organization has {there} webhooks, the most that one may have; delete one, or give one more events"
            ),
            serde_json::json!({ "limit": "max_webhooks", "max": MOST, "current": there }),
        ));
    }
    let (id, secret): (WebhookId, _) = (tx.new_id(), new_secret(tx)?);
    webhooks_change(tx);
    let sql = "INSERT INTO webhooks (id, tenant_id, name, url, events, enabled, secret, retry_count, created_at, updated_at,
             workspace_id, headers, scheme)
         VALUES (:id, :tenant, :name, :url, :events, :enabled, :secret, :retries, :now, :now, :workspace, :headers, :scheme)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": tenant, ":name": new.name, ":url": new.url, ":events": json::text(&new.events)?,
            ":enabled": new.enabled, ":secret": secret, ":retries": new.retry_count, ":now": tx.now(),
            ":workspace": new.workspace_id, ":headers": json::text(&new.headers)?, ":scheme": new.scheme,
        },
    )?;
    Ok((there_now(tx, id)?, secret))
}

pub(super) fn set(tx: &WriteTx<'_>, before: &WebhookView, new: &Fields) -> Result<WebhookView> {
    webhooks_change(tx);
    let sql = "UPDATE webhooks SET name = :name, url = :url, events = :events, enabled = :enabled,
             retry_count = :retries, updated_at = :now, workspace_id = :workspace, headers = :headers, scheme = :scheme,
             disabled_reason = CASE WHEN :enabled THEN NULL ELSE disabled_reason END
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":name": new.name, ":url": new.url, ":events": json::text(&new.events)?, ":enabled": new.enabled,
            ":retries": new.retry_count, ":now": tx.now(), ":id": before.id, ":tenant": before.tenant_id,
            ":workspace": new.workspace_id, ":headers": json::text(&new.headers)?, ":scheme": new.scheme,
        },
    )?;
    if before.enabled && !new.enabled {
        queue::give_up(tx, before.tenant_id, before.id, "the webhook was disabled")?;
    } else if before.url != new.url || (!before.enabled && new.enabled) {
        queue::begin_anew(tx, before.tenant_id, before.id)?;
    }
    there_now(tx, before.id)
}

/// A new secret; for the time of grace the old one signs as well.
pub(super) fn rotate(
    tx: &WriteTx<'_>,
    before: &WebhookView,
    grace_ms: Option<i64>,
) -> Result<(WebhookView, String)> {
    let secret = new_secret(tx)?;
    let until = grace_ms.map(|grace| tx.now().plus_ms(grace));
    let sql = "UPDATE webhooks SET secret = ?1, updated_at = ?2, previous_until = ?5,
             previous_secret = CASE WHEN ?5 IS NOT NULL THEN secret END
         WHERE id = ?3 AND tenant_id = ?4";
    tx.run(sql, (&secret, tx.now(), before.id, before.tenant_id, until))?;
    Ok((there_now(tx, before.id)?, secret))
}

/// Its deliveries, which may be many, go in the background; nothing of it is sent or shown any more.
pub(super) fn delete(tx: &WriteTx<'_>, before: &WebhookView) -> Result<()> {
    webhooks_change(tx);
    let sql = "UPDATE webhooks SET deleted_at = ?1, updated_at = ?1, enabled = 0, due_at = NULL, secret = '', headers = '{}',
             previous_secret = NULL, previous_until = NULL
         WHERE id = ?2 AND tenant_id = ?3";
    tx.run(sql, (tx.now(), before.id, before.tenant_id))?;
    Ok(())
}

/// The receiver said that it is gone for good: nothing more is sent until somebody enables the webhook.
pub(super) fn gone(tx: &WriteTx<'_>, tenant: TenantId, id: WebhookId) -> Result<()> {
    let Some(before) =
        load(tx, id)?.filter(|webhook| webhook.tenant_id == tenant && webhook.enabled)
    else {
        return Ok(());
    };
    webhooks_change(tx);
    let why = "the receiver answered 410 Gone; enable the webhook again when it is there";
    tx.run(
        "UPDATE webhooks SET enabled = 0, updated_at = ?1, disabled_reason = ?2 WHERE id = ?3 AND tenant_id = ?4",
        (tx.now(), why, id, tenant),
    )?;
    queue::give_up(
        tx,
        tenant,
        id,
        "the receiver answered 410 Gone, and the webhook was disabled",
    )?;
    let after = there_now(tx, id)?;
    audit::record(
        tx,
        &Entry {
            actor: Actor::System,
            tenant_id: tenant,
            workspace_id: None,
            kind: "webhook.updated",
            resource: id.0,
            before: Some(&before),
            after: Some(&after),
        },
    )
}

/// The headers that are sent along, with their values.
pub(super) fn headers(tx: &Tx<'_>, webhook: &WebhookView) -> Result<Headers> {
    let sql = "SELECT headers FROM webhooks WHERE id = ?1 AND tenant_id = ?2";
    Ok(tx.row(sql, (webhook.id, webhook.tenant_id), |row| {
        json::column(row, "headers")
    })?)
}

fn there_now(tx: &Tx<'_>, id: WebhookId) -> Result<WebhookView> {
    load(tx, id)?.ok_or_else(|| Error::internal("a webhook that was written is not there"))
}

pub(super) fn delivery(
    tx: &Tx<'_>,
    caller: &Caller,
    webhook: WebhookId,
    id: DeliveryId,
) -> Result<Delivery> {
    let sql =
        "SELECT * FROM webhook_deliveries WHERE id = ?1 AND webhook_id = ?2 AND tenant_id = ?3";
    tx.row(sql, (id, webhook, caller.tenant_id()), |row| {
        let mut delivery = Delivery::from_row(row)?;
        let scope = scope_of(catalog::resource_of(&delivery.event_type));
        if covers(&caller.key().scopes, scope) {
            delivery.request_body = row.get("body")?;
        }
        Ok(delivery)
    })
    .optional()?
    .ok_or_else(|| Error::not_found("delivery"))
}

/// When a delivery was queued: where a page goes on from.
pub(super) fn queued_at(
    tx: &Tx<'_>,
    caller: &Caller,
    webhook: WebhookId,
    id: DeliveryId,
) -> Result<Option<Timestamp>> {
    let sql = "SELECT created_at FROM webhook_deliveries WHERE id = ?1 AND webhook_id = ?2 AND tenant_id = ?3";
    Ok(tx
        .row(sql, (id, webhook, caller.tenant_id()), |row| row.get(0))
        .optional()?)
}

pub(super) fn audit_webhook(
    tx: &WriteTx<'_>,
    caller: &Caller,
    kind: &str,
    before: Option<&WebhookView>,
    after: Option<&WebhookView>,
) -> Result<()> {
    let Some(webhook) = after.or(before) else {
        return Ok(());
    };
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: webhook.tenant_id,
            workspace_id: None,
            kind,
            resource: webhook.id.0,
            before,
            after,
        },
    )
}
