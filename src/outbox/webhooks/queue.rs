//! The outbox in the database: what waits, what is due, what became of it.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, named_params};
use serde::Serialize;
use uuid::Uuid;

use super::catalog::TEST;
use super::send::{GONE, Message, Outcome};
use crate::audit::{Recorded, Sink};
use crate::clock::{DAY_MS, Timestamp};
use crate::db::topics;
use crate::error::{Error, Result};
use crate::ids::{DeliveryId, TenantId, WebhookId, WorkspaceId};
use crate::json;
use crate::outbox::events::Globs;
use crate::store::{Tx, WriteTx};

/// Deliveries of one webhook that may wait. What happens beyond that is written down as failed: a
/// receiver that is away for good must not fill the disk.
const QUEUE: i64 = 1000;
/// Tests and replays that may wait besides.
const QUEUE_ASKED: i64 = 100;
/// Deliveries are kept for so long after their last attempt.
pub(super) const KEEP_MS: i64 = 7 * DAY_MS;
/// The wait before the first retry; each further one is four times as long: 30 s, 2 min, 8 min, ...
const FIRST_RETRY_MS: i64 = 30_000;
/// The longest wait before a retry, jitter aside.
const LONGEST_RETRY_MS: i64 = 6 * 3_600_000;
/// After a failure the webhook as a whole rests: a second, doubled by each further failure. Messages that
/// wait behind one that fails then neither hammer its receiver nor wait for all of its retries.
const FIRST_REST_MS: i64 = 1000;
/// The longest such rest.
const LONGEST_REST_MS: i64 = 60_000;

/// What is sent: the event as live streams have it, with the whole resource.
#[derive(Serialize)]
struct Event<'a, D: Serialize> {
    id: &'a str,
    r#type: &'a str,
    tenant_id: TenantId,
    workspace_id: Option<WorkspaceId>,
    ts: Timestamp,
    created_at: Timestamp,
    resource_type: &'a str,
    resource_id: Uuid,
    /// The resource now; as it last was, when it is gone.
    data: Option<D>,
}

/// Queues what a row of the audit log tells, for each enabled webhook of its organization that asks
/// for it; in the transaction of the change itself.
pub struct Queue;

/// Which organizations have an enabled webhook, so that a change in one without costs a look at a set
/// and no statement.
#[derive(Default)]
struct Subscribers {
    /// As of the last commit; `None`: not read yet.
    known: Option<HashSet<TenantId>>,
    /// The transaction in which they change.
    changing: Option<u64>,
}

impl Subscribers {
    /// Forgets what a transaction before this one may have changed.
    fn now(&mut self, transaction: u64) -> &mut Self {
        if self
            .changing
            .is_some_and(|changing| changing != transaction)
        {
            *self = Subscribers::default();
        }
        self
    }
}

/// To be called before a webhook is written.
pub fn webhooks_change(tx: &WriteTx<'_>) {
    let transaction = tx.transaction();
    tx.cached(|subscribers: &mut Subscribers| {
        subscribers.now(transaction).changing = Some(transaction);
    });
}

impl Sink for Queue {
    /// False is certain.
    fn wants(&self, tx: &WriteTx<'_>, tenant: TenantId) -> Result<bool> {
        let transaction = tx.transaction();
        tx.cached(|subscribers: &mut Subscribers| {
            let subscribers = subscribers.now(transaction);
            if subscribers.changing.is_some() {
                return Ok(true);
            }
            let tenants = match &mut subscribers.known {
                Some(tenants) => tenants,
                known => {
                    let sql = "SELECT DISTINCT tenant_id FROM webhooks WHERE enabled = 1";
                    let mut statement = tx.prepare_cached(sql)?;
                    let rows = statement.query_map([], |row| row.get(0))?;
                    known.insert(rows.collect::<rusqlite::Result<_>>()?)
                }
            };
            Ok(tenants.contains(&tenant))
        })
    }

    fn recorded(&self, tx: &WriteTx<'_>, row: &Recorded<'_>) -> Result<()> {
        queue(tx, row)
    }
}

fn queue(tx: &WriteTx<'_>, entry: &Recorded<'_>) -> Result<()> {
    let sql = "SELECT id, events FROM webhooks WHERE tenant_id = ?1 AND enabled = 1
                 AND (workspace_id IS NULL OR workspace_id = ?2)";
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query((entry.tenant_id, entry.workspace_id))?;
    let mut wanted: Vec<WebhookId> = Vec::new();
    while let Some(row) = rows.next()? {
        if Globs::new(json::column(row, "events")?).matches(entry.kind) {
            wanted.push(row.get("id")?);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let id = entry.seq.to_string();
    let body = json::text(&Event {
        id: &id,
        r#type: entry.kind,
        tenant_id: entry.tenant_id,
        workspace_id: entry.workspace_id,
        ts: tx.now(),
        created_at: tx.now(),
        resource_type: entry.resource_type,
        resource_id: entry.resource,
        data: entry.after.as_deref().or(entry.before.as_deref()),
    })?;
    for webhook in wanted {
        let new = New {
            tenant: entry.tenant_id,
            webhook,
            event_id: &id,
            event_type: entry.kind,
            body: &body,
            replay_of: None,
            asked: false,
        };
        insert(tx, &new)?;
    }
    Ok(())
}

struct New<'a> {
    tenant: TenantId,
    webhook: WebhookId,
    event_id: &'a str,
    event_type: &'a str,
    body: &'a str,
    replay_of: Option<DeliveryId>,
    asked: bool,
}

fn insert(tx: &WriteTx<'_>, new: &New<'_>) -> Result<DeliveryId> {
    let (waiting, resume_at): (i64, Option<Timestamp>) = tx.row(
        "SELECT pending_count, resume_at FROM webhooks WHERE id = ?1 AND tenant_id = ?2",
        (new.webhook, new.tenant),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if new.asked && waiting >= QUEUE + QUEUE_ASKED {
        let text = "too many deliveries of this webhook are waiting; wait until some have gone";
        return Err(Error::too_many(text, 60));
    }
    let fits = new.asked || waiting < QUEUE;
    let id: DeliveryId = tx.new_id();
    let sql = "INSERT INTO webhook_deliveries (id, tenant_id, webhook_id, event_id, event_type, body, replay_of, asked,
             state, next_attempt_at, error, finished_at, created_at)
         VALUES (:id, :tenant, :webhook, :event, :type, :body, :replay, :asked, :state, :next, :error, :finished, :now)";
    tx.run(
        sql,
        named_params! {
            ":id": id, ":tenant": new.tenant, ":webhook": new.webhook, ":event": new.event_id, ":type": new.event_type,
            ":body": new.body, ":replay": new.replay_of, ":asked": new.asked,
            ":state": if fits { "pending" } else { "failed" }, ":next": fits.then_some(tx.now()),
            ":error": (!fits).then(|| format!("not sent: {QUEUE} deliveries were waiting already")),
            ":finished": (!fits).then_some(tx.now()), ":now": tx.now(),
        },
    )?;
    if fits {
        // Whoever asked waits for it; everything else waits until the webhook has rested.
        let due = match resume_at {
            Some(at) if !new.asked => at.max(tx.now()),
            _ => tx.now(),
        };
        tx.run("UPDATE webhooks SET due_at = min(coalesce(due_at, ?1), ?1) WHERE id = ?2 AND tenant_id = ?3", (due, new.webhook, new.tenant))?;
        tx.changed(topics::OUTBOX);
    }
    Ok(id)
}

/// Queues a message that tells of nothing but itself. It is tried once.
pub(super) fn test(tx: &WriteTx<'_>, tenant: TenantId, webhook: WebhookId) -> Result<DeliveryId> {
    let event: Uuid = tx.new_id();
    let event_id = event.to_string();
    let body = json::text(&Event {
        id: &event_id,
        r#type: TEST,
        tenant_id: tenant,
        workspace_id: None,
        ts: tx.now(),
        created_at: tx.now(),
        resource_type: "webhook",
        resource_id: webhook.0,
        data: Some(serde_json::json!({ "message": "This is a test: nothing has happened." })),
    })?;
    let new = New {
        tenant,
        webhook,
        event_id: &event_id,
        event_type: TEST,
        body: &body,
        replay_of: None,
        asked: true,
    };
    insert(tx, &new)
}

/// Queues the same message once more, under an id of its own.
pub(super) fn replay(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    webhook: WebhookId,
    delivery: DeliveryId,
) -> Result<DeliveryId> {
    let sql = "SELECT event_id, event_type, body FROM webhook_deliveries
             WHERE id = ?1 AND webhook_id = ?2 AND tenant_id = ?3";
    let (event_id, event_type, body): (String, String, String) = tx
        .row(sql, (delivery, webhook, tenant), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?
        .ok_or_else(|| Error::not_found("delivery"))?;
    let new = New {
        tenant,
        webhook,
        event_id: &event_id,
        event_type: &event_type,
        body: &body,
        replay_of: Some(delivery),
        asked: true,
    };
    insert(tx, &new)
}

/// Queues once more what was given up in this time and has not been taken since: each event once, in its order,
/// as far as there is room. Returns how many, and how many are left.
pub(super) fn replay_failed(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    webhook: WebhookId,
    since: Timestamp,
    until: Timestamp,
) -> Result<(i64, i64)> {
    let waiting: i64 = tx.row(
        "SELECT pending_count FROM webhooks WHERE id = ?1 AND tenant_id = ?2",
        (webhook, tenant),
        |row| row.get(0),
    )?;
    let room = usize::try_from(QUEUE - waiting).unwrap_or(0);
    // What is waiting, or was taken under another id, is not sent twice.
    let sql = "SELECT min(d.id), d.event_id, d.event_type, d.body FROM webhook_deliveries d
         WHERE d.webhook_id = :webhook AND d.tenant_id = :tenant AND d.state = 'failed' AND d.event_type <> :test
             AND d.finished_at >= :since AND d.finished_at < :until
             AND d.event_id NOT IN (
                 SELECT event_id FROM webhook_deliveries
                 WHERE webhook_id = :webhook AND tenant_id = :tenant AND state IN ('pending', 'delivered'))
         GROUP BY d.event_id ORDER BY min(d.created_at), min(d.id)";
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(named_params! {
        ":webhook": webhook, ":tenant": tenant, ":since": since, ":until": until, ":test": TEST,
    })?;
    let (mut again, mut left) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if again.len() == room {
            left += 1;
            continue;
        }
        let one: (DeliveryId, String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        again.push(one);
    }
    for (delivery, event_id, event_type, body) in &again {
        let new = New {
            tenant,
            webhook,
            event_id,
            event_type,
            body,
            replay_of: Some(*delivery),
            asked: false,
        };
        insert(tx, &new)?;
    }
    Ok((i64::try_from(again.len()).unwrap_or(i64::MAX), left))
}

/// Gives up what waits: the webhook does not want it any more.
pub(super) fn give_up(
    tx: &WriteTx<'_>,
    tenant: TenantId,
    webhook: WebhookId,
    why: &str,
) -> Result<()> {
    let sql = "UPDATE webhook_deliveries SET state = 'failed', next_attempt_at = NULL, finished_at = ?1, error = ?2
         WHERE webhook_id = ?3 AND tenant_id = ?4 AND state = 'pending'";
    tx.run(sql, (tx.now(), why, webhook, tenant))?;
    tx.run(
        "UPDATE webhooks SET due_at = NULL WHERE id = ?1 AND tenant_id = ?2",
        (webhook, tenant),
    )?;
    Ok(())
}

/// Sends what waits now, as if nothing had failed: the receiver is another one, or it was looked after.
pub(super) fn begin_anew(tx: &WriteTx<'_>, tenant: TenantId, webhook: WebhookId) -> Result<()> {
    let sql = "UPDATE webhook_deliveries SET next_attempt_at = ?1
         WHERE webhook_id = ?2 AND tenant_id = ?3 AND state = 'pending'";
    tx.run(sql, (tx.now(), webhook, tenant))?;
    let sql = "UPDATE webhooks SET failed_attempts = 0, failing_since = NULL, resume_at = NULL,
             due_at = CASE WHEN pending_count > 0 THEN ?1 END
         WHERE id = ?2 AND tenant_id = ?3";
    tx.run(sql, (tx.now(), webhook, tenant))?;
    tx.changed(topics::OUTBOX);
    Ok(())
}

/// When there is something to send next; what is being sent counts as due.
pub fn next_due(tx: &Tx<'_>) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(due_at) FROM webhooks WHERE due_at IS NOT NULL";
    Ok(tx.row(sql, [], |row| row.get(0))?)
}

/// When something falls due that is not due yet.
pub(super) fn next_later(tx: &Tx<'_>) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(due_at) FROM webhooks WHERE due_at > ?1";
    Ok(tx.row(sql, [tx.now()], |row| row.get(0))?)
}

/// How many deliveries wait, over all organizations.
pub fn waiting(tx: &Tx<'_>) -> Result<i64> {
    let sql = "SELECT coalesce(sum(pending_count), 0) FROM webhooks WHERE due_at IS NOT NULL";
    Ok(tx.row(sql, [], |row| row.get(0))?)
}

/// What is due after this instant was put off while the clock was ahead, since nothing waits for so long:
/// it is due now.
fn beyond(now: Timestamp) -> Timestamp {
    now.plus_ms(2 * LONGEST_RETRY_MS)
}

/// A webhook that has something to send.
pub(super) struct Due {
    pub webhook: WebhookId,
    pub tenant: TenantId,
    /// Its receiver took the last message that was sent to it.
    pub proven: bool,
}

/// The webhooks that have something to send, `each` of an organization at most: the first of every
/// organization before the second of any, those that wait longest first.
pub(super) fn due(tx: &Tx<'_>, each: usize) -> Result<Vec<Due>> {
    let sql = "SELECT id, tenant_id, proven FROM
             (SELECT id, tenant_id, due_at, failed_attempts = 0 AND last_success_at IS NOT NULL AS proven,
                  row_number() OVER (PARTITION BY tenant_id ORDER BY failed_attempts > 0, due_at) AS nth
              FROM webhooks WHERE due_at <= ?1 OR due_at > ?3)
         WHERE nth <= ?2 ORDER BY nth, due_at";
    let each = i64::try_from(each).unwrap_or(i64::MAX);
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map((tx.now(), each, beyond(tx.now())), |row| {
        Ok(Due {
            webhook: row.get(0)?,
            tenant: row.get(1)?,
            proven: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The message of a webhook that is to be sent first; what somebody waits for before all others.
pub(super) fn first(tx: &Tx<'_>, webhook: WebhookId, tenant: TenantId) -> Result<Option<Message>> {
    let sql = "SELECT d.id, d.event_id, d.event_type, d.body, d.attempt_count, w.url, w.secret,
            w.headers, w.scheme, CASE WHEN w.previous_until > ?3 THEN w.previous_secret END
        FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id AND w.tenant_id = d.tenant_id
        WHERE d.webhook_id = ?1 AND d.tenant_id = ?2 AND d.state = 'pending'
            AND (d.next_attempt_at <= ?3 OR d.next_attempt_at > ?4) AND w.deleted_at IS NULL
        ORDER BY d.asked DESC, d.next_attempt_at, d.id LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Message {
            delivery: row.get(0)?,
            webhook,
            tenant,
            event_id: row.get(1)?,
            event_type: row.get(2)?,
            body: row.get(3)?,
            attempt: row.get::<_, i64>(4)? + 1,
            url: row.get(5)?,
            secret: row.get(6)?,
            headers: json::column(row, "headers")?,
            standard: row.get::<_, String>(8)? == "standard",
            previous_secret: row.get(9)?,
            at: tx.now(),
        })
    };
    let params = (webhook, tenant, tx.now(), beyond(tx.now()));
    Ok(tx.row(sql, params, read).optional()?)
}

/// What an attempt led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Delivered,
    Retry,
    Failed,
}

/// Writes down what became of an attempt, and when there is something to do next. `None` when nobody
/// waits for it any more.
pub(super) fn record(
    tx: &WriteTx<'_>,
    message: &Message,
    outcome: &Outcome,
) -> Result<Option<Verdict>> {
    let sql = "SELECT w.retry_count, w.enabled, w.failed_attempts FROM webhook_deliveries d
        JOIN webhooks w ON w.id = d.webhook_id AND w.tenant_id = d.tenant_id
        WHERE d.id = ?1 AND d.tenant_id = ?2 AND d.state = 'pending' AND w.deleted_at IS NULL";
    let found = tx
        .row(sql, (message.delivery, message.tenant), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, bool>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })
        .optional()?;
    let Some((retries, enabled, failures)) = found else {
        return Ok(None);
    };
    let now = tx.now();
    let success = outcome.success();
    let again = !success
        && enabled
        && message.event_type != TEST
        && message.attempt <= retries
        && outcome.status != Some(GONE);
    let next = if again {
        let jitter = u32::from_be_bytes(tx.random()?);
        let wait = retry_ms(message.attempt, jitter).max(outcome.retry_after_ms());
        Some(now.plus_ms(wait))
    } else {
        None
    };
    let (state, result) = match (success, again) {
        (true, _) => ("delivered", Verdict::Delivered),
        (false, true) => ("pending", Verdict::Retry),
        (false, false) => ("failed", Verdict::Failed),
    };
    let sql = "UPDATE webhook_deliveries SET state = :state, asked = 0, attempt_count = :attempts, next_attempt_at = :next,
             attempted_at = :attempted, duration_ms = :duration, response_status = :status,
             response_body = :answer, error = :error, finished_at = :finished
         WHERE id = :id AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":state": state, ":attempts": message.attempt, ":next": next, ":attempted": message.at,
            ":duration": outcome.duration_ms, ":status": outcome.status, ":answer": outcome.body,
            ":error": outcome.error, ":finished": next.is_none().then_some(now), ":id": message.delivery,
            ":tenant": message.tenant,
        },
    )?;
    let rest = if success {
        None
    } else {
        Some(now.plus_ms(rest_ms(failures + 1)))
    };
    // After an attempt it is the others' turn, so nothing is due before now. What somebody asked for
    // meanwhile does not wait for the rest.
    let sql = "UPDATE webhooks SET failed_attempts = CASE WHEN :rest IS NULL THEN 0 ELSE failed_attempts + 1 END,
             failing_since = CASE WHEN :rest IS NULL THEN NULL ELSE coalesce(failing_since, :attempted) END,
             last_success_at = CASE WHEN :rest IS NULL THEN :attempted ELSE last_success_at END,
             resume_at = :rest,
             due_at = coalesce(
                 (SELECT :now FROM webhook_deliveries d WHERE d.webhook_id = :webhook AND d.tenant_id = :tenant
                      AND d.state = 'pending' AND d.asked = 1 LIMIT 1),
                 (SELECT max(d.next_attempt_at, :now, coalesce(:rest, 0)) FROM webhook_deliveries d
                  WHERE d.webhook_id = :webhook AND d.tenant_id = :tenant AND d.state = 'pending' AND d.asked = 0
                  ORDER BY d.next_attempt_at LIMIT 1))
         WHERE id = :webhook AND tenant_id = :tenant";
    tx.run(
        sql,
        named_params! {
            ":rest": rest, ":attempted": message.at, ":now": now, ":webhook": message.webhook,
            ":tenant": message.tenant,
        },
    )?;
    Ok(Some(result))
}

/// The wait before retry `n` (from 1): exponential, with up to a quarter of it on top, so that the
/// messages of an outage do not all come back at once.
fn retry_ms(n: i64, jitter: u32) -> i64 {
    let factor = 4_i64.saturating_pow(u32::try_from(n - 1).unwrap_or(0).min(20));
    let wait = FIRST_RETRY_MS.saturating_mul(factor).min(LONGEST_RETRY_MS);
    wait + i64::from(jitter) % (wait / 4 + 1)
}

fn rest_ms(failures: i64) -> i64 {
    let factor = 1_i64 << (failures - 1).clamp(0, 20);
    (FIRST_REST_MS * factor).min(LONGEST_REST_MS)
}

/// Forgets deliveries past their time and what is left of deleted webhooks; at most `limit` a pass.
/// Returns how many went.
pub fn purge(tx: &WriteTx<'_>, limit: u32) -> Result<usize> {
    let sql = "DELETE FROM webhook_deliveries WHERE rowid IN
             (SELECT rowid FROM webhook_deliveries WHERE finished_at <= ?1 ORDER BY finished_at LIMIT ?2)";
    let old = tx.run(sql, (tx.now().plus_ms(-KEEP_MS), limit))?;
    let left = i64::from(limit) - i64::try_from(old).unwrap_or(i64::MAX);
    let sql = "DELETE FROM webhook_deliveries WHERE rowid IN
             (SELECT d.rowid FROM webhooks w JOIN webhook_deliveries d ON d.webhook_id = w.id
              WHERE w.deleted_at IS NOT NULL LIMIT ?1)";
    let orphans = tx.run(sql, [left])?;
    let sql = "DELETE FROM webhooks WHERE deleted_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = webhooks.id)";
    tx.run(sql, [])?;
    Ok(old + orphans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let least: Vec<i64> = (1..=10).map(|n| retry_ms(n, 0) / 1000).collect();
        assert_eq!(
            least,
            [30, 120, 480, 1920, 7680, 21600, 21600, 21600, 21600, 21600]
        );
        for n in 1..=10 {
            let most = retry_ms(n, u32::MAX);
            assert!((retry_ms(n, 0)..=retry_ms(n, 0) * 5 / 4).contains(&most));
        }
        let rests: Vec<i64> = (1..=8).map(|n| rest_ms(n) / 1000).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
