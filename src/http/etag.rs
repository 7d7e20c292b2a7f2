//! Versions of single resources: `ETag`, `If-Match`, `If-None-Match`.
//!
//! A tag has two halves: one of what can be changed, and one of the reply as a whole with all that is counted
//! in it. `If-None-Match` goes by both; `If-Match` by the first alone, so that a new computer in a workspace does not
//! refuse the renaming of it. Nothing is stored for it: the halves are made of the resource itself, in the transaction
//! of the change, and so hold under a clock that stands still, too.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use foldhash::quality::FixedState;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::error::{Error, Result};
use crate::ids::parse_uuid;
use crate::store::Tx;

/// What can be changed of a resource.
pub trait Versioned: Serialize {
    /// Feeds it to `hash`: all that a change can set, and nothing that is counted or happens by itself.
    fn version(&self, hash: &mut DefaultHasher);
}

/// What has no version of its own is what it shows.
pub fn whole(value: &impl Serialize, hash: &mut DefaultHasher) {
    hash.write(&serde_json::to_vec(value).unwrap_or_default());
}

/// A single resource, with its tag.
pub struct Single<T>(pub T);

impl<T: Versioned> IntoResponse for Single<T> {
    fn into_response(self) -> Response {
        let bytes = match serde_json::to_vec(&self.0) {
            Ok(bytes) => bytes,
            Err(e) => return Error::internal(e).into_response(),
        };
        let tag = HeaderValue::from_str(&tag(&self.0, &bytes));
        let mut response = bytes.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(tag) = tag {
            headers.insert(ETAG, tag);
        }
        response
    }
}

fn tag(value: &impl Versioned, bytes: &[u8]) -> String {
    // Of every reply that shows one resource: what costs least.
    let all = FixedState::default().hash_one(bytes);
    let mut halves = [0; 16];
    halves[..8].copy_from_slice(&version(value).to_be_bytes());
    halves[8..].copy_from_slice(&all.to_be_bytes());
    let hex = HEXLOWER.encode(&halves);
    ["\"", &hex[..16], "-", &hex[16..], "\""].concat()
}

fn version(value: &impl Versioned) -> u64 {
    let mut hash = DefaultHasher::new();
    value.version(&mut hash);
    hash.finish()
}

/// A resource as it is now.
pub struct Seen {
    version: u64,
    tag: String,
    body: Value,
}

impl Seen {
    /// Says in a reply which version there is now.
    pub(super) fn tell(&self, response: &mut Response) {
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            response.headers_mut().insert(ETAG, tag);
        }
    }

    pub fn of(value: &impl Versioned) -> Result<Seen> {
        let bytes = serde_json::to_vec(value).map_err(Error::internal)?;
        Ok(Seen {
            version: version(value),
            tag: tag(value, &bytes),
            body: serde_json::from_slice(&bytes).map_err(Error::internal)?,
        })
    }
}

/// Reads the resource that a path names, as its caller sees it.
pub type Look = Arc<dyn Fn(&Tx<'_>, &Caller, Uuid) -> Result<Seen> + Send + Sync>;

/// Rides in the requests of a route that changes a resource with versions.
#[derive(Clone)]
pub struct Guarded(pub Look);

/// `If-Match` of a request.
#[derive(Clone)]
pub(super) struct Precondition {
    look: Look,
    id: Uuid,
    given: String,
}

impl Precondition {
    /// `None` when it was not sent.
    ///
    /// # Errors
    /// 422 where the request has no version to compare with: a condition is not to be ignored.
    pub async fn of(parts: &mut Parts) -> Result<Option<Precondition>> {
        if !parts.headers.contains_key(IF_MATCH) {
            return Ok(None);
        }
        let Some(Guarded(look)) = parts.extensions.get::<Guarded>().cloned() else {
            return Err(Error::field(
                "If-Match",
                "is for PATCH, PUT and DELETE of a resource that has an ETag; this request looks at no version",
            ));
        };
        let given = texts(&parts.headers, &IF_MATCH)
            .collect::<Vec<_>>()
            .join(",");
        let params = RawPathParams::from_request_parts(parts, &()).await;
        let id = params
            .iter()
            .flat_map(|params| params.iter())
            .find(|(name, _)| *name == "id")
            .and_then(|(_, text)| parse_uuid(text))
            .unwrap_or(Uuid::nil());
        Ok(Some(Precondition { look, id, given }))
    }

    /// What there is before the change.
    pub fn look(&self, tx: &Tx<'_>, caller: &Caller) -> Result<Seen> {
        (self.look)(tx, caller, self.id)
    }

    /// Whether that is what the caller saw.
    ///
    /// # Errors
    /// 412 with both versions, and the resource as it is.
    pub fn check(&self, seen: Result<Seen>) -> Result<()> {
        let seen = seen?;
        let fits = self.given.split(',').map(str::trim).any(|given| {
            let text = given.strip_prefix("W/").unwrap_or(given);
            let version = text.trim_matches('"').split('-').next().unwrap_or("");
            given == "*" || version == format!("{:016x}", seen.version)
        });
        if fits {
            return Ok(());
        }
        Err(Error::stale(
            json!({ "if_match": self.given, "etag": seen.tag }),
            seen.body,
        ))
    }
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(name).iter();
    all.map(|value| value.to_str().unwrap_or("?"))
}

/// 304 in place of what the caller has already.
pub fn unless_known(known: &HeaderValue, response: Response) -> Response {
    let (Some(tag), StatusCode::OK) = (response.headers().get(ETAG), response.status()) else {
        return response;
    };
    let tag = tag.to_str().unwrap_or("?");
    let mut all = known.to_str().unwrap_or("").split(',').map(str::trim);
    if !all.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag) {
        return response;
    }
    let mut same = StatusCode::NOT_MODIFIED.into_response();
    if let Some(tag) = response.headers().get(ETAG) {
        same.headers_mut().insert(ETAG, tag.clone());
    }
    same
}
