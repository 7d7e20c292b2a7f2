//! `Idempotency-Key`: the same request again gets the same reply again, for 24 hours.
//!
//! The reply is stored in the transaction of the mutation itself, so a crash cannot separate the
//! two, and a duplicate that arrives while the first one runs waits behind it in the writer's
//! queue and then finds its reply. Replies of 2xx and 4xx are stored; 5xx are not, since a repeat
//! is what they ask for. A reply that holds a secret (a new API key) is stored encrypted under the
//! caller's own Idempotency-Key, of which only a hash is stored.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::store::Stored;
use crate::access::caller::{Caller, Identity};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::WriteTx;

mod store;

pub use store::{index, purge};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What identifies a repeated request.
#[derive(Clone)]
pub struct Idempotency {
    /// SHA-256 of method, path with query, and key.
    request: [u8; 32],
    /// SHA-256 of the body.
    body: [u8; 32],
    /// Encrypts a stored secret; never stored itself.
    seal: [u8; 32],
}

/// The header, checked, with what the SHA-256 of the body is; `None` when it was not sent.
pub(super) fn from_headers(
    parts: &Parts,
    body: impl FnOnce() -> Result<[u8; 32]>,
) -> Result<Option<Idempotency>> {
    let Some(value) = parts.headers.get(HEADER) else {
        return Ok(None);
    };
    let key = value.as_bytes();
    if key.is_empty() || key.len() > 255 {
        return Err(Error::field(
            "Idempotency-Key",
            "must have 1 to 255 characters",
        ));
    }
    let hash = |label: &str| {
        let mut h = Sha256::new();
        for part in [
            label.as_bytes(),
            parts.method.as_str().as_bytes(),
            target(parts).as_bytes(),
            key,
        ] {
            h.update((part.len() as u64).to_be_bytes());
            h.update(part);
        }
        h.finalize().into()
    };
    Ok(Some(Idempotency {
        request: hash("request"),
        seal: hash("seal"),
        body: body()?,
    }))
}

/// What a request is to: its path, and for an operator who acts as another organization that one, too.
pub(super) fn target(parts: &Parts) -> Cow<'_, str> {
    // Inside a nested router the URI is cut; the original one is what the client sent.
    let uri = parts
        .extensions
        .get::<axum::extract::OriginalUri>()
        .map_or(&parts.uri, |o| &o.0);
    let path = uri.path_and_query().map_or("", |p| p.as_str());
    let key = parts
        .extensions
        .get::<Identity>()
        .map(|identity| &identity.key);
    match key.filter(|key| key.acts_from.is_some()) {
        Some(key) => format!("{} {path}", key.tenant_id).into(),
        None => path.into(),
    }
}

/// What a mutation answers.
pub struct Reply<R> {
    status: StatusCode,
    body: R,
    secret: bool,
}

impl<R> Reply<R> {
    /// 200.
    pub fn ok(body: R) -> Self {
        Reply {
            status: StatusCode::OK,
            body,
            secret: false,
        }
    }

    /// 207: a part of what was asked for was done, and the body says which.
    pub fn partly(body: R) -> Self {
        Reply {
            status: StatusCode::MULTI_STATUS,
            body,
            secret: false,
        }
    }

    /// 201.
    pub fn created(body: R) -> Self {
        Reply {
            status: StatusCode::CREATED,
            body,
            secret: false,
        }
    }

    /// As bytes.
    pub(super) fn raw(self) -> Result<Raw>
    where
        R: Serialize,
    {
        Ok(Raw {
            status: self.status.as_u16(),
            body: serde_json::to_vec(&self.body)
                .map_err(Error::internal)?
                .into(),
            replayed: false,
        })
    }

    /// The body shows a secret that must not lie in the database in the clear.
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// A reply as bytes, as stored.
pub(super) struct Raw {
    pub status: u16,
    pub body: Bytes,
    pub replayed: bool,
}

/// The stored reply to a request with this key, or what `f` replies, which is stored.
///
/// # Errors
/// 409 `IDEMPOTENCY_PAYLOAD_MISMATCH` when the key came with another body; a failure of the server in
/// `f`, which is not stored, since a repeat is what it asks for.
pub(super) fn once<R: Serialize>(
    tx: &WriteTx<'_>,
    caller: &Caller,
    key: &Idempotency,
    f: impl FnOnce() -> Result<Reply<R>>,
) -> Result<Raw> {
    match stored(tx, caller, key)? {
        Some(raw) => Ok(raw),
        None => first_time(tx, caller, key, f),
    }
}

impl IntoResponse for Raw {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(CONTENT_TYPE, "application/json")], self.body).into_response();
        if self.replayed {
            response
                .headers_mut()
                .insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

impl<R: Serialize> IntoResponse for Reply<R> {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body)).into_response()
    }
}

/// Whether no request with this key has been answered yet.
pub(super) fn is_new(tx: &WriteTx<'_>, caller: &Caller, key: &Idempotency) -> Result<bool> {
    Ok(store::find(tx, caller.key_id(), &key.request)?.is_none())
}

fn stored(tx: &WriteTx<'_>, caller: &Caller, key: &Idempotency) -> Result<Option<Raw>> {
    let Some(found) = store::find(tx, caller.key_id(), &key.request)? else {
        return Ok(None);
    };
    if found.body_hash != key.body {
        return Err(Error::conflict(
            "IDEMPOTENCY_PAYLOAD_MISMATCH",
            "this Idempotency-Key was used with another payload; send the same payload, or a new key",
        ));
    }
    let body = if found.sealed {
        cipher(key)
            .decrypt(&nonce(found.created_at), found.body.as_ref())
            .map_err(Error::internal)?
            .into()
    } else {
        found.body
    };
    Ok(Some(Raw {
        status: found.status,
        body,
        replayed: true,
    }))
}

fn first_time<R: Serialize>(
    tx: &WriteTx<'_>,
    caller: &Caller,
    key: &Idempotency,
    f: impl FnOnce() -> Result<Reply<R>>,
) -> Result<Raw> {
    let (status, body, secret) = match f() {
        Ok(reply) => (
            reply.status,
            Bytes::from(serde_json::to_vec(&reply.body).map_err(Error::internal)?),
            reply.secret,
        ),
        Err(e) if e.status().is_client_error() => (
            e.status(),
            Bytes::from(e.body(caller.request_id()).to_string()),
            false,
        ),
        Err(e) => return Err(e),
    };
    let kept = if secret {
        cipher(key)
            .encrypt(&nonce(tx.now()), body.as_ref())
            .map_err(Error::internal)?
            .into()
    } else {
        body.clone()
    };
    let reply = Stored {
        body_hash: key.body,
        status: status.as_u16(),
        body: kept,
        sealed: secret,
        created_at: tx.now(),
    };
    store::keep(tx, caller.key_id(), &key.request, &reply)?;
    Ok(Raw {
        status: status.as_u16(),
        body,
        replayed: false,
    })
}

fn cipher(key: &Idempotency) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&Key::from(key.seal))
}

/// The instant of the reply: after a day the same request may be executed again, and one cipher
/// key must never encrypt two texts under one nonce.
fn nonce(created_at: Timestamp) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..8].copy_from_slice(&created_at.0.to_be_bytes());
    nonce
}
