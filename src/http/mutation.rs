//! Requests that change something.
//!
//! The order of checks (api-decisions.md): key, id syntax, existence, tenant, scope, body, state. A
//! body or query that cannot be read is therefore *held* as an error, and the handler asks for it
//! (`?`) after it has found the resource.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{MAX_BODY, body_patience, parse_body};
use super::budget::Held;
use super::idempotency::{self, Idempotency, Reply};
use super::room::Room;
use crate::access::caller::Caller;
use crate::access::scopes::Access;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::store::{Savepoint, WriteTx};

/// What [`Mutation`] needs of the service.
pub struct Kit {
    pub store: Store,
    pub request_timeout: Duration,
    pub room: Room,
}

/// A request that changes something: who asks, what they send, and whether they may be repeating
/// themselves. Run with [`Mutation::run`] (see [`super::idempotency`]).
pub struct Mutation<T> {
    store: Store,
    pub caller: Caller,
    body: Result<T>,
    idempotency: Option<Idempotency>,
    savepoint: Savepoint,
    /// The memory that a large body needs until the change is made.
    held: Option<Held>,
}

impl<T> Mutation<T> {
    /// What it runs refuses before it changes anything, and so needs no savepoint: see
    /// [`Store::write_validating_first`](crate::store::Store::write_validating_first).
    pub fn validating_first(mut self) -> Self {
        self.savepoint = Savepoint::None;
        self
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Mutation<T>
where
    Kit: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let kit = Kit::from_ref(state);
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, state).await?;
        let (bytes, held, idempotency) = receive(&parts, body, &kit).await?;
        let body = parse_body(&parts, &bytes);
        Ok(Mutation {
            store: kit.store,
            caller,
            body,
            idempotency,
            savepoint: Savepoint::Own,
            held,
        })
    }
}

impl<T: Send + 'static> Mutation<T> {
    /// Runs `f` in a write transaction, once per Idempotency-Key.
    ///
    /// `f` gets the body as a `Result`, to be asked for after the resource has been found.
    ///
    /// # Errors
    /// What `f` returns; 409 `IDEMPOTENCY_PAYLOAD_MISMATCH` when the key came with another body.
    pub async fn run<R, F>(self, f: F) -> Result<Response>
    where
        R: Serialize + Send + 'static,
        F: FnOnce(&WriteTx<'_>, &Caller, Result<T>) -> Result<Reply<R>> + Send + 'static,
    {
        let Mutation {
            store,
            caller,
            body,
            idempotency,
            savepoint,
            held,
        } = self;
        // In use until the writer is done with it, also when the client has left.
        let f = move |tx: &WriteTx<'_>, caller: &Caller, body| {
            let _held = held;
            f(tx, caller, body)
        };
        let Some(key) = idempotency else {
            let f = move |tx: &WriteTx<'_>| f(tx, &caller, body);
            return Ok(store.write_as(savepoint, f).await?.into_response());
        };
        let f = move |tx: &WriteTx<'_>| {
            idempotency::once(tx, &caller, &key, || {
                tx.nested_as(savepoint, || f(tx, &caller, body))
            })
        };
        Ok(store.write_as(savepoint, f).await?.into_response())
    }
}

impl<T> Mutation<T> {
    /// Who asks, and for what: for what is no change of this server's own data, is done outside of any
    /// transaction and cannot be repeated. An Idempotency-Key means nothing to it.
    pub fn outside(self) -> (Caller, Result<T>) {
        (self.caller, self.body)
    }
}

impl Mutation<Bytes> {
    /// A request whose body is not JSON, as it is.
    ///
    /// # Errors
    /// As every extractor of a mutation.
    pub async fn raw(request: Request, kit: &Kit) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, &()).await?;
        let (bytes, held, idempotency) = receive(&parts, body, kit).await?;
        Ok(Mutation {
            store: kit.store.clone(),
            caller,
            body: Ok(bytes),
            idempotency,
            savepoint: Savepoint::Own,
            held,
        })
    }

    /// With what `parse` makes of the body, off the threads that serve requests: it may take a while.
    ///
    /// # Errors
    /// When `parse` panics; what it returns is held like any other body.
    pub async fn parsed<T: Send + 'static>(
        self,
        parse: impl FnOnce(Bytes) -> Result<T> + Send + 'static,
    ) -> Result<Mutation<T>> {
        let body = match self.body {
            Ok(bytes) => tokio::task::spawn_blocking(move || parse(bytes))
                .await
                .map_err(Error::internal)?,
            Err(e) => Err(e),
        };
        Ok(Mutation {
            store: self.store,
            caller: self.caller,
            body,
            idempotency: self.idempotency,
            savepoint: self.savepoint,
            held: self.held,
        })
    }
}

/// The body of a mutation within the route's limits, and its Idempotency-Key.
async fn receive(
    parts: &Parts,
    body: axum::body::Body,
    kit: &Kit,
) -> Result<(Bytes, Option<Held>, Option<Idempotency>)> {
    let limit = parts
        .extensions
        .get::<Access>()
        .map_or(MAX_BODY, |access| access.max_body);
    let patience = body_patience(kit.request_timeout);
    let (bytes, held) = kit.room.receive(parts, body, limit, patience).await?;
    let idempotency = idempotency::from_headers(parts, &bytes)?;
    Ok((bytes, held, idempotency))
}
