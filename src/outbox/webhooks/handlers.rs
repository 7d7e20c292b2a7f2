//! The endpoints.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use rusqlite::types::Value as Sql;
use rusqlite::{ToSql, named_params};

use super::catalog::{self, EventType};
use super::deliver::{self, Outbox};
use super::extra::{self, Headers};
use super::rows::{self, *};
use super::send::WHOLE;
use super::types::*;
use super::{queue, target};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::error::{Error, Fields as Problems, Result};
use crate::http::cursor::Order;
use crate::http::{
    FromText, List, Look, Mutation, NoBody, Page, PageQuery, Params, PathId, PathIds, Reply, Seen,
    Single, linked,
};
use crate::ids::{DeliveryId, WebhookId};
use crate::json::Patch;
use crate::outbox::events::Globs;
use crate::rules::config::WebhookReach;
use crate::rules::grace::grace_ms;
use crate::rules::text;
use crate::store::WriteTx;
use crate::workspaces;

/// Entries of `events`.
const MAX_EVENTS: usize = 50;
/// Retries of a delivery, unless said otherwise.
const RETRIES: i64 = 3;
/// Deliveries of a page when nothing is said.
const PAGE: i64 = 50;
/// How long a test or a replay is waited for: an attempt and its turn.
const WAIT: Duration = Duration::from_secs(WHOLE.as_secs() + 5);

/// `GET /webhooks`
pub async fn list(
    State(outbox): State<Outbox>,
    caller: Caller,
    page: Params<PageQuery>,
    filter: Params<WebhookFilter>,
) -> Result<List<WebhookView>> {
    let (page, active) = (page.get()?.page()?, filter.get()?.active()?);
    let list = outbox.store.read(move |tx| {
        let place =
            "tenant_id = :tenant AND deleted_at IS NULL AND (:active IS NULL OR enabled = :active)";
        let total = tx
            .prepare_cached(&format!("SELECT count(*) FROM webhooks WHERE {place}"))?
            .query_row(
                named_params! { ":tenant": caller.tenant_id(), ":active": active },
                |row| row.get(0),
            )?;
        let order = Order {
            columns: &["created_at", "id"],
            descending: false,
        };
        let tenant = caller.tenant_id();
        let mut place = place.to_owned();
        let mut params: Vec<(&str, &dyn ToSql)> = vec![(":tenant", &tenant), (":active", &active)];
        page.narrow(&order, &mut place, &mut params)?;
        let data: Vec<WebhookView> = tx
            .prepare_cached(&format!(
                "SELECT * FROM webhooks WHERE {place} ORDER BY {} {}",
                order.sql(),
                Page::SQL
            ))?
            .query_map(params.as_slice(), |row| {
                Ok(WebhookView::from_row(row)?.at(tx.now()))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let next = page.next(tx, &order, "webhooks", &data, |last| ("id", &last.id))?;
        Ok(page.linked(data, total, next))
    });
    list.await
}

/// `GET /webhooks/events`
pub async fn event_types(_: Caller) -> Json<List<EventType>> {
    let data = catalog::all();
    Json(List::whole(data))
}

/// `GET /webhooks/{id}`
pub async fn show(
    State(outbox): State<Outbox>,
    caller: Caller,
    PathId(id): PathId<WebhookId>,
) -> Result<Single<WebhookReply>> {
    let data = outbox.store.read(move |tx| find(tx, &caller, id)).await?;
    Ok(Single(WebhookReply { data }))
}

/// A webhook as it is, for `If-Match`.
pub fn look() -> Look {
    Arc::new(|tx, caller, id| {
        let data = find(tx, caller, WebhookId(id))?;
        Seen::of(&WebhookReply { data })
    })
}

fn check_url(problems: &mut Problems, url: &str, reach: WebhookReach) {
    if let Err(why) = target::check(url, reach) {
        problems.push("url", why);
    }
}

fn check_events(problems: &mut Problems, events: Vec<String>) -> Vec<String> {
    let events: Vec<String> = events.into_iter().map(catalog::canonical).collect();
    let known = |glob: &&String| {
        catalog::matching(&Globs::new(vec![(*glob).clone()]))
            .next()
            .is_some()
    };
    if events.is_empty() {
        problems.push(
            "events",
            "can't be blank: name types such as computer.running or workspace.*, or * for all",
        );
    } else if events.len() > MAX_EVENTS {
        problems.push("events", format!("should be at most {MAX_EVENTS}"));
    } else if let Some(bad) = events.iter().find(|glob| glob.len() > 64 || !known(glob)) {
        let shown: String = bad.chars().take(64).collect();
        problems.push(
            "events",
            format!("{shown:?} is no event; GET /api/v1/webhooks/events lists them"),
        );
    }
    events
}

/// The two names of one field.
fn switch(problems: &mut Problems, enabled: Option<bool>, active: Option<bool>) -> Option<bool> {
    if let (Some(enabled), Some(active)) = (enabled, active)
        && enabled != active
    {
        problems.push("active", "is the same as enabled; the two must not differ");
    }
    enabled.or(active)
}

fn check_retries(problems: &mut Problems, retries: Option<i64>) {
    if retries.is_some_and(|n| !(0..=10).contains(&n)) {
        problems.push("retry_count", "must be 0 to 10");
    }
}

fn check_scheme(problems: &mut Problems, given: Option<String>, there: &str) -> String {
    let scheme = given.unwrap_or_else(|| there.to_owned());
    if scheme != "miosa" && scheme != "standard" {
        problems.push("signature_scheme", "must be miosa or standard");
    }
    scheme
}

/// `POST /webhooks`
pub async fn create(State(outbox): State<Outbox>, request: Mutation<Create>) -> Result<Response> {
    let reach = outbox.config.webhook_reach;
    request
        .run(move |tx, caller, input| {
            let input = input?;
            let mut problems = Problems::default();
            let url = input.url.unwrap_or_default();
            check_url(&mut problems, &url, reach);
            let events = check_events(&mut problems, input.events.unwrap_or_default());
            let host = url
                .parse::<axum::http::Uri>()
                .ok()
                .and_then(|uri| Some(uri.host()?.chars().take(text::MAX_NAME).collect::<String>()));
            let given = input.name.as_deref().or(host.as_deref()).or(Some("-"));
            let name = text::name(&mut problems, "name", given);
            let enabled = switch(&mut problems, input.enabled, input.active).unwrap_or(true);
            check_retries(&mut problems, input.retry_count);
            let given = input.headers.unwrap_or_default();
            let headers = extra::check(&mut problems, given, &Headers::new());
            let scheme = check_scheme(&mut problems, input.signature_scheme, "miosa");
            problems.finish()?;
            within(caller, &events)?;
            if let Some(workspace) = input.workspace_id {
                workspaces::reach(tx, caller, workspace)?;
            }
            let new = Fields {
                workspace_id: input.workspace_id,
                headers,
                scheme,
                name,
                url,
                events,
                enabled,
                retry_count: input.retry_count.unwrap_or(RETRIES),
            };
            let (view, secret) = insert(tx, caller.tenant_id(), &new)?;
            audit_webhook(tx, caller, "webhook.created", None, Some(&view))?;
            Ok(Reply::created(NewWebhookReply::new(view, secret)).secret())
        })
        .await
}

/// `PATCH /webhooks/{id}`
pub async fn update(
    State(outbox): State<Outbox>,
    PathId(id): PathId<WebhookId>,
    request: Mutation<Update>,
) -> Result<Response> {
    let reach = outbox.config.webhook_reach;
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let input = input?;
            let mut problems = Problems::default();
            let url = match input.url {
                Patch::Absent => before.url.clone(),
                given => {
                    let url = given.apply(None).unwrap_or_default();
                    check_url(&mut problems, &url, reach);
                    url
                }
            };
            let events = match input.events {
                Patch::Absent => before.events.clone(),
                given => check_events(&mut problems, given.apply(None).unwrap_or_default()),
            };
            let name = match input.name {
                Patch::Absent => before.name.clone(),
                given => text::name(&mut problems, "name", given.value().map(String::as_str)),
            };
            let enabled = switch(&mut problems, input.enabled, input.active);
            check_retries(&mut problems, input.retry_count);
            let there = rows::headers(tx, &before)?;
            let headers = match input.headers {
                Patch::Absent => there,
                given => {
                    let given = given.apply(None).unwrap_or_default();
                    extra::check(&mut problems, given, &there)
                }
            };
            let scheme = check_scheme(
                &mut problems,
                input.signature_scheme,
                &before.signature_scheme,
            );
            problems.finish()?;
            if let Some(workspace) = input.workspace_id.value() {
                workspaces::reach(tx, caller, *workspace)?;
            }
            // Another URL for the same events is as good as asking for them.
            within(caller, &events)?;
            let new = Fields {
                workspace_id: input.workspace_id.apply(before.workspace_id),
                headers,
                scheme,
                name,
                url,
                events,
                enabled: enabled.unwrap_or(before.enabled),
                retry_count: input.retry_count.unwrap_or(before.retry_count),
            };
            let data = set(tx, &before, &new)?;
            audit_webhook(tx, caller, "webhook.updated", Some(&before), Some(&data))?;
            Ok(Reply::ok(WebhookReply { data }))
        })
        .await
}

/// `POST /webhooks/{id}/rotate`
pub async fn rotate(PathId(id): PathId<WebhookId>, request: Mutation<Rotate>) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let before = find(tx, caller, id)?;
            let grace = grace_ms(input?.grace_seconds)?;
            let (view, secret) = rows::rotate(tx, &before, grace)?;
            audit_webhook(tx, caller, "webhook.rotated", Some(&before), Some(&view))?;
            Ok(Reply::ok(NewWebhookReply::new(view, secret)).secret())
        })
        .await
}

/// `DELETE /webhooks/{id}`
pub async fn delete(PathId(id): PathId<WebhookId>, request: Mutation<NoBody>) -> Result<Response> {
    request
        .run(move |tx, caller, _| {
            let before = find(tx, caller, id)?;
            rows::delete(tx, &before)?;
            audit_webhook(tx, caller, "webhook.deleted", Some(&before), None)?;
            Ok(Reply::ok(Deleted {
                data: DeletedId { id, deleted: true },
                deleted: true,
            }))
        })
        .await
}

/// `GET /webhooks/{id}/deliveries`
pub async fn deliveries(
    State(outbox): State<Outbox>,
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    page: Params<PageQuery>,
    filter: Params<DeliveryFilter>,
) -> Result<Response> {
    let list = outbox.store.read(move |tx| {
        find(tx, &caller, id)?;
        let page = page.get()?.page()?;
        let filter = filter.get()?;
        let limit = if page.limit < 0 { PAGE } else { page.limit };
        let mut problems = Problems::default();
        let state = filter.state.as_deref();
        if state.is_some_and(|state| !["pending", "delivered", "failed"].contains(&state)) {
            problems.push("state", "must be pending, delivered or failed");
        }
        let cursor = filter.cursor.text().map(DeliveryId::from_text);
        // One that has been forgotten since is older than all that there are.
        let below = match cursor {
            None => None,
            Some(Some(last)) => {
                Some((queued_at(tx, &caller, id, last)?.unwrap_or(Timestamp(0)), last))
            }
            Some(None) => {
                problems.push("cursor", "must be the next_cursor of a page of this list");
                None
            }
        };
        problems.finish()?;
        let place = match state {
            None => "webhook_id = :webhook AND tenant_id = :tenant AND :state IS NULL",
            Some(_) => "webhook_id = :webhook AND tenant_id = :tenant AND state = :state",
        };
        let total = tx
            .prepare_cached(&format!(
                "SELECT count(*) FROM webhook_deliveries WHERE {place}"
            ))?
            .query_row(
                named_params! { ":webhook": id, ":tenant": caller.tenant_id(), ":state": state },
                |row| row.get(0),
            )?;
        let order = Order {
            columns: &["created_at", "id"],
            descending: true,
        };
        let (at, last) = below.unwrap_or((
            Timestamp(i64::MAX),
            DeliveryId(uuid::Uuid::max()),
        ));
        let (mut at, mut last) = (Sql::Integer(at.0), Sql::Blob(last.0.as_bytes().to_vec()));
        if let Some(values) = page.after(order.columns.len())? {
            (at, last) = (values[0].clone(), values[1].clone());
        }
        let data: Vec<Delivery> = tx
            .prepare_cached(&format!(
                "SELECT * FROM webhook_deliveries WHERE {place} AND (created_at, id) < (:at, :last)
                 ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset"
            ))?
            .query_map(
                named_params! {
                    ":webhook": id, ":tenant": caller.tenant_id(), ":state": state, ":at": at, ":last": last,
                    ":limit": limit, ":offset": page.offset,
                },
                Delivery::from_row,
            )?
            .collect::<rusqlite::Result<_>>()?;
        let full = i64::try_from(data.len()).is_ok_and(|n| n == limit);
        let next = page.next(tx, &order, "webhook_deliveries", &data, |last| ("id", &last.id))?;
        let page = DeliveryPage {
            meta: page.meta(total),
            next_cursor: data.last().filter(|_| full).map(|last| last.id),
            data,
            total,
        };
        Ok((page, next))
    });
    let (page, next) = list.await?;
    Ok(linked(&page, next.as_deref()))
}

/// `GET /webhooks/{id}/deliveries/{did}`
pub async fn delivery(
    State(outbox): State<Outbox>,
    caller: Caller,
    PathIds(id, delivery): PathIds<WebhookId, DeliveryId>,
) -> Result<Single<DeliveryReply>> {
    let data = outbox.store.read(move |tx| {
        find(tx, &caller, id)?;
        rows::delivery(tx, &caller, id, delivery)
    });
    Ok(Single(DeliveryReply { data: data.await? }))
}

/// `POST /webhooks/{id}/test`
pub async fn test(
    State(outbox): State<Outbox>,
    PathId(id): PathId<WebhookId>,
    caller: Caller,
    request: Mutation<NoBody>,
) -> Result<Response> {
    let queue = move |tx: &WriteTx<'_>, caller: &Caller| queue::test(tx, caller.tenant_id(), id);
    send_and_wait(outbox, caller, id, request, queue).await
}

/// `POST /webhooks/{id}/deliveries/{did}/replay`
pub async fn replay(
    State(outbox): State<Outbox>,
    PathIds(id, delivery): PathIds<WebhookId, DeliveryId>,
    caller: Caller,
    request: Mutation<NoBody>,
) -> Result<Response> {
    let queue = move |tx: &WriteTx<'_>, caller: &Caller| {
        queue::replay(tx, caller.tenant_id(), id, delivery)
    };
    send_and_wait(outbox, caller, id, request, queue).await
}

/// `POST /webhooks/{id}/replay-failed`
pub async fn replay_failed(
    PathId(id): PathId<WebhookId>,
    request: Mutation<ReplayFailed>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let webhook = find(tx, caller, id)?;
            let input = input?;
            let mut problems = Problems::default();
            let mut read = |name: &'static str, text: Option<&str>| {
                let at = text.map(Timestamp::from_text);
                if at == Some(None) {
                    problems.push(name, Timestamp::wanted());
                }
                at.flatten()
            };
            let since = read("since", input.since.as_deref());
            let until = read("until", input.until.as_deref());
            if input.since.is_none() {
                problems.push("since", "can't be blank: say from when on");
            }
            problems.finish()?;
            if !webhook.enabled {
                return Err(Error::conflict(
                    "RESOURCE_STATE",
                    "the webhook is disabled; enable it first",
                ));
            }
            // What failed at this very instant did fail.
            let until = until.unwrap_or(Timestamp(i64::MAX));
            let since = since.unwrap_or(Timestamp(0));
            let (queued, left) = queue::replay_failed(tx, caller.tenant_id(), id, since, until)?;
            Ok(Reply::ok(ReplayedReply {
                data: Replayed { queued, left },
            }))
        })
        .await
}

/// Queues a message and answers with what its first attempt came to, or with the message as it waits
/// when that takes too long. A repeated request (Idempotency-Key) sends nothing: it gets what was queued.
async fn send_and_wait<F>(
    outbox: Outbox,
    caller: Caller,
    id: WebhookId,
    request: Mutation<NoBody>,
    queue: F,
) -> Result<Response>
where
    F: FnOnce(&WriteTx<'_>, &Caller) -> Result<DeliveryId> + Send + 'static,
{
    let mut done = outbox.attempts();
    let queued: Arc<OnceLock<DeliveryId>> = Arc::default();
    let inner = queued.clone();
    let response = request
        .run(move |tx, caller, input| {
            find(tx, caller, id)?;
            input?;
            let delivery = queue(tx, caller)?;
            let _ = inner.set(delivery);
            let data = rows::delivery(tx, caller, id, delivery)?;
            Ok(Reply::ok(DeliveryReply { data }))
        })
        .await?;
    let Some(delivery) = queued.get().copied() else {
        return Ok(response);
    };
    let caller = Arc::new(caller);
    let tried = async {
        loop {
            done.borrow_and_update();
            deliver::start_due(&outbox).await?;
            let caller = caller.clone();
            let now = outbox
                .store
                .read(move |tx| rows::delivery(tx, &caller, id, delivery));
            let data = now.await?;
            if data.attempt_count > 0 || data.state != "pending" || done.changed().await.is_err() {
                return Ok::<_, Error>(Json(DeliveryReply { data }));
            }
        }
    };
    // Before the request itself is given up.
    let patience = WAIT.min(outbox.config.request_timeout * 3 / 4);
    match tokio::time::timeout(patience, tried).await {
        Ok(Ok(reply)) => {
            let mut reply = reply.into_response();
            // It is the answer to the same request.
            reply.extensions_mut().extend(response.extensions().clone());
            Ok(reply)
        }
        // It is queued all the same, and its state can be asked for.
        Ok(Err(_)) | Err(_) => Ok(response),
    }
}
