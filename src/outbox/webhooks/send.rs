//! One attempt: a signed POST, within limits.

use std::io::{self, Read};
use std::time::Duration;

use axum::http::Uri;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::config::Config as Settings;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::extra::Headers;
use super::target;
use super::types::SECRET_PREFIX;
use crate::clock::{Stopwatch, Timestamp};
use crate::ids::{DeliveryId, TenantId, WebhookId};
use crate::rules::config::WebhookReach;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an attempt may take as a whole.
pub(super) const WHOLE: Duration = Duration::from_secs(10);
/// Bytes of the answer that are read and kept.
const ANSWER: u64 = 1024;
/// The longest wait that a receiver may ask for, seconds.
const LONGEST_RETRY_AFTER: i64 = 6 * 3600;

/// The status by which a receiver says that it is gone for good.
pub(super) const GONE: u16 = 410;

/// What is sent where.
pub(super) struct Message {
    pub delivery: DeliveryId,
    pub webhook: WebhookId,
    pub tenant: TenantId,
    pub event_id: String,
    pub event_type: String,
    pub body: String,
    /// Which attempt this is, from 1.
    pub attempt: i64,
    pub url: String,
    pub secret: String,
    /// The one before, where it still signs as well.
    pub previous_secret: Option<String>,
    /// Headers of the webhook's own.
    pub headers: Headers,
    /// Signed as Standard Webhooks has it.
    pub standard: bool,
    /// When it was taken up.
    pub at: Timestamp,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// `None`: there was no answer.
    pub status: Option<u16>,
    pub body: Option<String>,
    /// `None`: it was taken.
    pub error: Option<String>,
    pub duration_ms: i64,
    /// Seconds that the receiver asked to be left alone for.
    retry_after: Option<i64>,
}

impl Outcome {
    /// Of an attempt that a defect of ours ended.
    pub fn broken() -> Self {
        Outcome {
            error: Some("the attempt broke off inside this service; its log says where".into()),
            ..Outcome::default()
        }
    }

    pub fn success(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    pub fn retry_after_ms(&self) -> i64 {
        self.retry_after
            .unwrap_or(0)
            .clamp(0, LONGEST_RETRY_AFTER)
            .saturating_mul(1000)
    }
}

/// The value of `X-MIOSA-Signature`: HMAC-SHA256 of the body under the secret as text.
pub fn signature(secret: &str, body: &str) -> String {
    format!("sha256={}", hmac(secret, &[body]))
}

/// The value of `Miosa-Signature`: the same over `<t>.<body>`, with which a receiver can refuse what is
/// older than some minutes.
pub fn timed_signature(secret: &str, body: &str, unix_seconds: i64) -> String {
    let t = unix_seconds.to_string();
    format!("t={t},v1={}", hmac(secret, &[&t, ".", body]))
}

/// The value of `webhook-signature`, as Standard Webhooks has it: over `<id>.<t>.<body>`, the key being what
/// the secret is the base64 of.
pub fn standard_signature(secret: &str, id: &str, unix_seconds: i64, body: &str) -> String {
    let text = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
    let key = BASE64
        .decode(text.as_bytes())
        .unwrap_or_else(|_| text.as_bytes().to_vec());
    let t = unix_seconds.to_string();
    format!(
        "v1,{}",
        BASE64.encode(&mac(&key, &[id, ".", &t, ".", body]))
    )
}

fn hmac(secret: &str, parts: &[&str]) -> String {
    HEXLOWER.encode(&mac(secret.as_bytes(), parts))
}

fn mac(key: &[u8], parts: &[&str]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

/// The headers that sign a message. While the secret before the last rotation is still good, a receiver that has
/// it finds its signature where it finds it otherwise: the one header that holds a single one has that of the
/// old secret, and so does the last place of those that hold several.
fn signatures(message: &Message, wall: Timestamp) -> Vec<(&'static str, String)> {
    let (body, t) = (&message.body, wall.0.div_euclid(1000));
    let (secret, previous) = (&message.secret, &message.previous_secret);
    if message.standard {
        let id = format!("evt_{}", message.event_id);
        let mut all = standard_signature(secret, &id, t, body);
        if let Some(previous) = previous {
            all.push(' ');
            all.push_str(&standard_signature(previous, &id, t, body));
        }
        return vec![
            ("webhook-id", id),
            ("webhook-timestamp", t.to_string()),
            ("webhook-signature", all),
        ];
    }
    let mut timed = timed_signature(secret, body, t);
    if let Some(previous) = previous {
        let text = t.to_string();
        timed.push_str(",v1=");
        timed.push_str(&hmac(previous, &[&text, ".", body]));
    }
    let plain = signature(previous.as_ref().unwrap_or(secret), body);
    vec![("x-miosa-signature", plain), ("miosa-signature", timed)]
}

/// Looks a name up once and judges every address; the connection goes to what was judged.
#[derive(Debug)]
struct Judging {
    reach: WebhookReach,
    resolver: DefaultResolver,
}

impl Resolver for Judging {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Settings,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let tls = uri.scheme_str() == Some("https");
        // One address that is not allowed spoils all: a name that leads to both has a hidden purpose.
        match found
            .iter()
            .find(|a| !target::may_reach(a.ip(), self.reach, tls))
        {
            None => Ok(found),
            Some(bad) => Err(Error::Other(Box::new(io::Error::other(format!(
                "the host leads to {}, which this installation does not send to",
                bad.ip()
            ))))),
        }
    }
}

/// Sends messages. Nothing is carried over from one to the next: no connection, no cookie.
pub(super) struct Sender(Agent);

impl Sender {
    pub fn new(reach: WebhookReach) -> Self {
        let settings = Agent::config_builder()
            // Neither a proxy of the environment nor a redirect leads past the addresses that were judged.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(WHOLE))
            .user_agent(concat!("workspaced/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = Judging {
            reach,
            resolver: DefaultResolver::default(),
        };
        Sender(Agent::with_parts(
            settings,
            DefaultConnector::new(),
            resolver,
        ))
    }

    /// Makes one attempt. `wall` is the wall clock, which is also the receiver's: a driven clock would
    /// make a fresh signature look old.
    pub fn send(&self, message: &Message, wall: Timestamp) -> Outcome {
        let watch = Stopwatch::start();
        let mut outcome = self.attempt(message, wall);
        outcome.duration_ms = i64::try_from(watch.micros() / 1000).unwrap_or(i64::MAX);
        outcome
    }

    fn attempt(&self, message: &Message, wall: Timestamp) -> Outcome {
        let mut request = self.0.post(&message.url);
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        for (name, value) in signatures(message, wall) {
            request = request.header(name, value);
        }
        let sent = request
            .header("content-type", "application/json")
            .header("x-miosa-webhook-id", message.webhook.to_string())
            .header("x-miosa-delivery-id", message.delivery.to_string())
            .header("x-miosa-event-id", &message.event_id)
            .header("x-miosa-event", &message.event_type)
            .header("x-miosa-attempt", message.attempt.to_string())
            .send(&message.body);
        let response = match sent {
            Ok(response) => response,
            Err(e) => {
                return Outcome {
                    error: Some(why(&e)),
                    ..Outcome::default()
                };
            }
        };
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut answer = Vec::new();
        // What was answered counts, even if its body never ends.
        let _ = response
            .into_body()
            .into_reader()
            .take(ANSWER)
            .read_to_end(&mut answer);
        let error = match status {
            200..=299 => None,
            300..=399 => Some(format!(
                "answered {status}; redirects are not followed, give the webhook the final URL"
            )),
            _ => Some(format!("answered {status}")),
        };
        Outcome {
            status: Some(status),
            body: Some(String::from_utf8_lossy(&answer).into_owned()),
            error,
            retry_after,
            ..Outcome::default()
        }
    }
}

/// For the person who looks after the receiver.
fn why(error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} s", WHOLE.as_secs()),
        Error::HostNotFound => "the host name leads to no address".into(),
        Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            "the connection was refused".into()
        }
        Error::Other(e) => e.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_a_library_of_standard_webhooks_makes() {
        let secret = format!("whsec_{}", "0123456789abcdef".repeat(4));
        let made = standard_signature(&secret, "evt_1", 1_700_000_000, r#"{"id":"1"}"#);
        assert_eq!(made, "v1,7cdPBaeHW9VfsWV+AsHB1Uld6Cyks3cOb6SZxiJan5M=");
    }
}
