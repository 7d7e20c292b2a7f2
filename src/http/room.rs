//! Room for what is large: memory to work in, and disk where bodies and replies wait for their clients.
//!
//! Requests that read much, lists that are long and asked for whole, and large bodies get their turn here;
//! what they answer is written to disk as it is made. So what the service needs in memory does not depend
//! on how many of them there are, nor on whether anybody reads the replies.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::body::too_long;
use super::budget::{Budget, Held};
use super::paging::{List, Page};
use super::spool::{Broken, MEMORY, Received, Source, Spool, Spools, not_kept};
use crate::access::caller::Identity;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::{self, Tx};

/// Memory for all large requests together.
const WHOLE: usize = 64 << 20;
/// Of this for one organization, and what a request that reads much counts for: so many are under way at
/// the same time, each of another organization.
const HEAVY: usize = WHOLE / 2;
/// Rows of a whole list that is read without waiting for a turn.
const SHORT: i64 = 200;
/// Of a longer one, the rows that are in memory at the same time: as many as give so many bytes, within bounds.
const PIECE: usize = 1 << 20;
const ROWS: std::ops::RangeInclusive<usize> = 50..=1000;
/// Bytes of a body that needs no memory worth counting.
const SMALL_BODY: usize = 8 << 10;
/// How much larger a body is once it has been taken apart.
const GROWS: usize = 8;

/// The room of one service.
#[derive(Clone)]
pub struct Room {
    store: Store,
    memory: Arc<Budget>,
    spools: Arc<Spools>,
}

impl Room {
    /// Beside the database of a store.
    pub fn new(store: &Store) -> Self {
        Room {
            store: store.clone(),
            memory: Budget::new(WHOLE, HEAVY),
            spools: Arc::new(Spools::new(store.path())),
        }
    }

    /// Where a reply is written to before it is sent.
    pub fn writer(&self, owner: TenantId) -> Spool {
        self.spools.writer(owner)
    }

    /// Reads a body of at most `limit` bytes, for as long as `patience`. While a large one comes it waits
    /// on disk; then it waits for the memory that it needs, which is to be held as long as anything is
    /// made of it.
    pub(super) async fn receive(
        &self,
        parts: &Parts,
        body: Body,
        limit: usize,
        patience: Duration,
    ) -> Result<(Bytes, Option<Held>)> {
        let (received, owner) = self.spooled(parts, body, limit, patience).await?;
        let held = match owner {
            Some(owner) if received.len() > SMALL_BODY => {
                Some(self.memory.take(owner, received.len() * GROWS).await?)
            }
            _ => None,
        };
        Ok((received.bytes().await?, held))
    }

    /// [`Room::receive`] for a body that stays where it is.
    pub(super) async fn receive_source(
        &self,
        parts: &Parts,
        body: Body,
        limit: usize,
        patience: Duration,
    ) -> Result<Source> {
        let (received, _) = self.spooled(parts, body, limit, patience).await?;
        Ok(received.source())
    }

    async fn spooled(
        &self,
        parts: &Parts,
        body: Body,
        limit: usize,
        patience: Duration,
    ) -> Result<(Received, Option<TenantId>)> {
        if too_long(parts, limit) {
            return Err(Error::too_large(limit));
        }
        let owner = parts.extensions.get::<Identity>().map(Identity::tenant_id);
        let whole = self.spools.receive(owner, Limited::new(body, limit));
        let Ok(read) = tokio::time::timeout(patience, whole).await else {
            return Err(Error::too_slow(patience));
        };
        let received = read.map_err(|broken| match broken {
            Broken::Store(error) => error,
            Broken::Body(e) if e.is::<LengthLimitError>() => Error::too_large(limit),
            Broken::Body(_) => Error::bad_request(
                "INVALID_BODY",
                "the request body ended early; send it again",
            ),
        })?;
        Ok((received, owner))
    }

    /// Answers with a list. One that is long and asked for whole is as heavy as any large request.
    ///
    /// # Errors
    /// What `read` returns, or the store; 503 where too many such requests of the organization wait.
    pub async fn list<T, F>(
        &self,
        store: &Store,
        owner: TenantId,
        page: Page,
        read: F,
    ) -> Result<Response>
    where
        T: Serialize + Send + 'static,
        F: Fn(&Tx<'_>, Page) -> Result<List<T>> + Clone + Send + 'static,
    {
        let whole = page.limit < 0;
        let limit = if whole { SHORT + 1 } else { page.limit };
        let (first, part) = (read.clone(), page.part(limit, page.offset));
        let list = store.read(move |tx| first(tx, part)).await?;
        if !whole || i64::try_from(list.data.len()).is_ok_and(|rows| rows <= SHORT) {
            return Ok(list.into_response());
        }
        drop(list);
        let _held = self.memory.take(owner, HEAVY).await?;
        let mut spool = self.writer(owner);
        // Piece by piece from one snapshot of the database to the disk.
        let pieces = store.read(move |tx| {
            let mut start = "{\"data\":[";
            let mut written = 0;
            let total = loop {
                let rows = piece(spool.len(), written);
                let from = page.offset.saturating_add(count(written));
                let list = read(tx, page.part(count(rows), from))?;
                for row in &list.data {
                    spool.write_all(start.as_bytes()).map_err(not_kept)?;
                    serde_json::to_writer(&mut spool, row).map_err(|e| not_kept(e.into()))?;
                    start = ",";
                }
                written += list.data.len();
                if list.data.len() < rows {
                    break list.total;
                }
            };
            write!(spool, "],\"total\":{total}}}").map_err(not_kept)?;
            Ok(spool)
        });
        from_spool(store::heavy(pieces).await?)
    }

    /// Answers with JSON that may be large and never is in memory as a whole.
    ///
    /// # Errors
    /// When there is no room for it.
    pub async fn json<T: Serialize + Send + 'static>(
        &self,
        owner: TenantId,
        value: T,
    ) -> Result<Response> {
        let mut spool = self.writer(owner);
        // By those who read what is large: to write it down is as much work.
        let written = self.store.read(move |_| {
            serde_json::to_writer(&mut spool, &value).map_err(|e| not_kept(e.into()))?;
            Ok(spool)
        });
        from_spool(store::heavy(written).await?)
    }

    /// Takes the body of a reply out of the memory, if it is a large one and others wait there already.
    pub async fn lay_aside(&self, owner: TenantId, response: Response) -> Result<Response> {
        let length = response.body().size_hint().exact();
        if length.is_none_or(|length| length <= MEMORY as u64) {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map_err(Error::internal)?.to_bytes();
        let body = match self.spools.keep(owner, bytes) {
            Ok(bytes) => bytes.into(),
            Err(bytes) => {
                let write = move |out: &mut dyn Write| out.write_all(&bytes);
                self.spools.reply(owner, write).await?.0
            }
        };
        let mut response = Response::from_parts(parts, body);
        if let Some(length) = length {
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(response)
    }
}

/// How many rows to read next, after so many bytes of so many rows.
fn piece(bytes: usize, rows: usize) -> usize {
    let fit = PIECE.saturating_mul(rows) / bytes.max(1);
    fit.clamp(*ROWS.start(), *ROWS.end())
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn from_spool(spool: Spool) -> Result<Response> {
    let length = spool.len();
    let mut response = Response::new(spool.into_body()?);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// Whether a request of a route may read so much that it has to wait for its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heavy {
    No,
    /// It may read much.
    Yes,
    /// Only with this parameter.
    With(&'static str),
    /// Only where this parameter is one of these.
    Asks(&'static str, &'static [&'static str]),
}

impl Heavy {
    fn is(self, query: Option<&str>) -> bool {
        match self {
            Heavy::No => false,
            Heavy::Yes => true,
            Heavy::With(name) => {
                form_urlencoded::parse(query.unwrap_or("").as_bytes()).any(|(key, _)| key == name)
            }
            Heavy::Asks(name, words) => form_urlencoded::parse(query.unwrap_or("").as_bytes())
                .any(|(key, value)| key == name && words.contains(&&*value)),
        }
    }
}

/// Makes a request wait until there is room for it, where it is a heavy one.
pub async fn in_turn(
    State((room, heavy)): State<(Room, Heavy)>,
    request: Request,
    next: Next,
) -> Response {
    let owner = request
        .extensions()
        .get::<Identity>()
        .map(Identity::tenant_id);
    let Some(owner) = owner.filter(|_| heavy.is(request.uri().query())) else {
        return next.run(request).await;
    };
    let answer = async {
        let _held = room.memory.take(owner, HEAVY).await?;
        // By readers of its own, who leave the processors to the others.
        // Here, so that the next one begins when the reply of this one is out of the memory.
        let response = store::heavy(next.run(request)).await;
        room.lay_aside(owner, response).await
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}
