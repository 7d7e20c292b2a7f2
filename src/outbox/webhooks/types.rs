//! What requests and replies look like.

use std::hash::{DefaultHasher, Hash};

use rusqlite::Row;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extra::{self, Headers};
use crate::clock::Timestamp;
use crate::error::{Fields, Result};
use crate::http::{PageMeta, Param, Versioned, etag};
use crate::ids::{DeliveryId, TenantId, WebhookId, WorkspaceId};
use crate::json::{self, Patch};

/// Begins every secret, so that one is recognized where it does not belong.
pub const SECRET_PREFIX: &str = "whsec_";

/// A webhook, without its secret.
#[derive(Serialize, ToSchema, Debug, Clone)]
#[schema(as = Webhook)]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// The organization that it belongs to.
    pub tenant_id: TenantId,
    /// Display name.
    pub name: String,
    /// Where events are sent.
    pub url: String,
    /// Types of events; `*` stands for any text.
    pub events: Vec<String>,
    /// Whether events are sent.
    pub active: bool,
    /// The same.
    pub enabled: bool,
    /// active, failing (the last attempt failed) or disabled.
    pub status: &'static str,
    /// The ends of the secret.
    pub secret_preview: String,
    /// Retries of a delivery that fails, 0 to 10.
    pub retry_count: i64,
    /// Deliveries that wait.
    pub pending_count: i64,
    /// Attempts that failed since the last one that succeeded.
    pub failed_attempts: i64,
    /// The first of them; null when the last attempt succeeded.
    pub failing_since: Option<Timestamp>,
    /// The last attempt that succeeded.
    pub last_success_at: Option<Timestamp>,
    /// Only what happens in this workspace is sent; null = everything.
    pub workspace_id: Option<WorkspaceId>,
    /// Headers that are sent along; their values are not shown again.
    pub headers: Headers,
    /// How messages are signed: miosa or standard.
    pub signature_scheme: String,
    /// Until when is signed with the secret before the last rotation, too; null = it is not.
    pub previous_secret_expires_at: Option<Timestamp>,
    /// Why this server disabled it; null when it did not.
    pub disabled_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl WebhookView {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let enabled: bool = row.get("enabled")?;
        let failing_since = row.get("failing_since")?;
        let secret: String = row.get("secret")?;
        Ok(WebhookView {
            id: row.get("id")?,
            tenant_id: row.get("tenant_id")?,
            name: row.get("name")?,
            url: row.get("url")?,
            events: json::column(row, "events")?,
            active: enabled,
            enabled,
            status: match (enabled, failing_since) {
                (false, _) => "disabled",
                (true, Some(Timestamp(_))) => "failing",
                (true, None) => "active",
            },
            secret_preview: preview(&secret),
            retry_count: row.get("retry_count")?,
            pending_count: row.get("pending_count")?,
            failed_attempts: row.get("failed_attempts")?,
            failing_since,
            last_success_at: row.get("last_success_at")?,
            workspace_id: row.get("workspace_id")?,
            headers: extra::masked(json::column(row, "headers")?),
            signature_scheme: row.get("scheme")?,
            previous_secret_expires_at: row.get("previous_until")?,
            disabled_reason: row.get("disabled_reason")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }
}

impl WebhookView {
    /// As it is at this instant: a secret whose time is over is none.
    pub(super) fn at(mut self, now: Timestamp) -> Self {
        self.previous_secret_expires_at = self.previous_secret_expires_at.filter(|at| *at > now);
        self
    }
}

/// What of a secret may be shown: what it is, and its last four characters.
fn preview(secret: &str) -> String {
    let last = secret.char_indices().rev().nth(3).map_or(0, |(i, _)| i);
    format!("{}…{}", SECRET_PREFIX, &secret[last..])
}

/// One webhook.
#[derive(Serialize, ToSchema)]
pub struct WebhookReply {
    pub(super) data: WebhookView,
}

impl Versioned for WebhookReply {
    /// Not how its deliveries fare.
    fn version(&self, hash: &mut DefaultHasher) {
        let hook = &self.data;
        let what = (
            &hook.events,
            hook.enabled,
            hook.retry_count,
            hook.workspace_id,
        );
        let how = (&hook.headers, &hook.signature_scheme, &hook.secret_preview);
        (hook.id, &hook.name, &hook.url, what, how, hook.updated_at).hash(hash);
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub struct NewWebhook {
    #[serde(flatten)]
    pub(super) view: WebhookView,
    /// Signs what is sent.
    pub(super) secret: String,
}

/// One new webhook; the secret stands in both places where clients look.
#[derive(Serialize, ToSchema)]
pub struct NewWebhookReply {
    pub(super) data: NewWebhook,
    pub(super) secret: String,
}

impl NewWebhookReply {
    pub(super) fn new(view: WebhookView, secret: String) -> Self {
        NewWebhookReply {
            data: NewWebhook {
                view,
                secret: secret.clone(),
            },
            secret,
        }
    }
}

/// A webhook that is not there any more.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedWebhook)]
pub struct Deleted {
    pub(super) data: DeletedId,
    pub(super) deleted: bool,
}

/// Its id.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedWebhookId)]
pub struct DeletedId {
    pub(super) id: WebhookId,
    pub(super) deleted: bool,
}

/// `POST /webhooks`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = CreateWebhook)]
pub struct Create {
    /// Where events are sent: https, with a port of its own or from 1024 on
    #[schema(required = true, nullable = false, max_length = 2048)]
    pub url: Option<String>,
    /// Types of events as `GET /webhooks/events` lists them; `*` stands for any text
    #[schema(required = true, nullable = false, min_items = 1, max_items = 50)]
    pub events: Option<Vec<String>>,
    /// Human-readable name; the host of the URL, if left out
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// Whether events are sent; they are, if left out
    pub enabled: Option<bool>,
    /// The same
    pub active: Option<bool>,
    /// Retries of a delivery that fails; 3, if left out
    #[schema(minimum = 0, maximum = 10)]
    pub retry_count: Option<i64>,
    /// Only what happens in this workspace; everything of the organization, if left out
    pub workspace_id: Option<WorkspaceId>,
    /// Headers to send along: names and values; not those of the connection or of signatures
    #[schema(value_type = Option<Object>)]
    pub headers: Option<Headers>,
    /// miosa (`X-MIOSA-Signature`, `Miosa-Signature`), or standard (Standard Webhooks); miosa, if left out
    #[schema(value_type = Option<Scheme>)]
    pub signature_scheme: Option<String>,
}

/// How messages are signed.
#[expect(dead_code, reason = "documents the values of a field")]
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", as = SignatureScheme)]
pub enum Scheme {
    /// `X-MIOSA-Signature` and `Miosa-Signature`.
    Miosa,
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    Standard,
}

/// `POST /webhooks/{id}/rotate`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = RotateWebhook)]
pub struct Rotate {
    /// For so long messages are signed with the old secret, too; 0, if left out, and 7 days at most
    #[schema(minimum = 0, maximum = 604800)]
    pub grace_seconds: Option<i64>,
}

/// `POST /webhooks/{id}/replay-failed`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct ReplayFailed {
    /// What was given up from here on, inclusive
    #[schema(required = true, nullable = false, value_type = Option<Timestamp>)]
    pub since: Option<String>,
    /// Up to here, exclusive; now, if left out
    #[schema(value_type = Option<Timestamp>)]
    pub until: Option<String>,
}

/// What is sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayedDeliveries)]
pub struct Replayed {
    /// Deliveries that were queued.
    pub(super) queued: i64,
    /// Those for which there was no room; the same request again takes them up when the others have gone.
    pub(super) left: i64,
}

/// What is sent again, under `data`.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayedReply)]
pub struct ReplayedReply {
    pub(super) data: Replayed,
}

/// `PATCH /webhooks/{id}`: what is left out stays as it is.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
#[schema(as = UpdateWebhook)]
pub struct Update {
    /// Where events are sent
    #[schema(value_type = Option<String>, nullable = false, max_length = 2048)]
    pub url: Patch<String>,
    /// Types of events
    #[schema(value_type = Option<Vec<String>>, nullable = false, min_items = 1, max_items = 50)]
    pub events: Patch<Vec<String>>,
    /// New name
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 120)]
    pub name: Patch<String>,
    /// Whether events are sent; to disable it gives up what waits
    pub enabled: Option<bool>,
    /// The same
    pub active: Option<bool>,
    /// Retries of a delivery that fails
    #[schema(minimum = 0, maximum = 10)]
    pub retry_count: Option<i64>,
    /// Only what happens in this workspace; null: everything
    #[schema(value_type = Option<WorkspaceId>)]
    pub workspace_id: Patch<WorkspaceId>,
    /// All headers to send along, in place of those that there were; a value as it is shown stays, null: none
    #[schema(value_type = Option<Object>)]
    pub headers: Patch<Headers>,
    /// How messages are signed
    #[schema(value_type = Option<Scheme>)]
    pub signature_scheme: Option<String>,
}

/// One message to a webhook and what became of it, under all the names that clients look for.
#[derive(Serialize, ToSchema, Debug)]
pub struct Delivery {
    /// Its id, the same for all its attempts.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Id of the event, as in the audit log and in live streams.
    pub event_id: String,
    /// What it tells of.
    pub event_type: String,
    /// The same.
    pub event: String,
    /// pending, delivered or failed.
    pub state: String,
    /// The same.
    pub status: String,
    /// Whether the receiver took it.
    pub success: bool,
    /// Status of the last answer; null when there was none.
    pub status_code: Option<u16>,
    /// The same.
    pub response_status: Option<u16>,
    /// Attempts so far.
    pub attempt_count: i64,
    /// The last attempt.
    pub attempted_at: Option<Timestamp>,
    /// The next attempt; null when there is none.
    pub next_retry_at: Option<Timestamp>,
    /// When the receiver took it.
    pub delivered_at: Option<Timestamp>,
    /// How long the last attempt took, milliseconds.
    pub duration_ms: Option<i64>,
    /// The first KiB of the last answer.
    pub response_body: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// The delivery that this one repeats.
    pub replay_of: Option<DeliveryId>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// What is sent, byte for byte; null in lists, and for keys that may not read what it tells of.
    pub request_body: Option<String>,
}

impl Delivery {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (state, event): (String, String) = (row.get("state")?, row.get("event_type")?);
        let status = row.get("response_status")?;
        let success = state == "delivered";
        let finished: Option<Timestamp> = row.get("finished_at")?;
        Ok(Delivery {
            id: row.get("id")?,
            webhook_id: row.get("webhook_id")?,
            event_id: row.get("event_id")?,
            event_type: event.clone(),
            event,
            success,
            status: state.clone(),
            state,
            status_code: status,
            response_status: status,
            attempt_count: row.get("attempt_count")?,
            attempted_at: row.get("attempted_at")?,
            next_retry_at: row.get("next_attempt_at")?,
            delivered_at: finished.filter(|_| success),
            duration_ms: row.get("duration_ms")?,
            response_body: row.get("response_body")?,
            error: row.get("error")?,
            replay_of: row.get("replay_of")?,
            created_at: row.get("created_at")?,
            request_body: None,
        })
    }
}

/// One delivery.
#[derive(Serialize, ToSchema)]
pub struct DeliveryReply {
    pub(super) data: Delivery,
}

impl Versioned for DeliveryReply {
    fn version(&self, hash: &mut DefaultHasher) {
        etag::whole(self, hash);
    }
}

/// A page of deliveries, newest first.
#[derive(Serialize, ToSchema)]
pub struct DeliveryPage {
    pub(super) data: Vec<Delivery>,
    /// How many there are before paging.
    pub(super) total: i64,
    /// Send it as `cursor` for older ones; null when there are none.
    pub(super) next_cursor: Option<DeliveryId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) meta: Option<PageMeta>,
}

/// `GET /webhooks/{id}/deliveries`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeliveryFilter {
    /// Only those in this state: pending, delivered or failed
    pub state: Option<String>,
    /// `next_cursor` of the page before: older ones than those
    #[param(inline)]
    pub cursor: Param<DeliveryId>,
}

/// `GET /webhooks`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct WebhookFilter {
    /// Only those that are enabled (true), or disabled (false)
    #[param(inline)]
    pub active: Param<bool>,
    /// Another name of `active`
    #[param(inline)]
    pub enabled: Param<bool>,
}

impl WebhookFilter {
    pub(super) fn active(&self) -> Result<Option<bool>> {
        let mut fields = Fields::default();
        let active = self.active.read(&mut fields, "active");
        let enabled = self.enabled.read(&mut fields, "enabled");
        if let (Some(active), Some(enabled)) = (active, enabled)
            && active != enabled
        {
            fields.push("enabled", "is another name of active; send one of them");
        }
        fields.finish()?;
        Ok(active.or(enabled))
    }
}
