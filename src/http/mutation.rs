//! Requests that change something.
//!
//! The order of checks (api-decisions.md): key, id syntax, existence, tenant, scope, body, state. A
//! body or query that cannot be read is therefore *held* as an error, and the handler asks for it
//! (`?`) after it has found the resource.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::body::{Body, MAX_BODY, body_patience, parse_body};
use super::budget::Held;
use super::etag::{Precondition, Seen};
use super::idempotency::{self, Idempotency, Raw, Reply};
use super::refusals::{Asked, By};
use super::repeats::{Begun, Repeats, ToItsEnd, Wired};
use super::room::Room;
use super::spool::{Source, not_kept};
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
    pub repeats: Arc<Repeats>,
}

/// A request that changes something: who asks, what they send, and whether they may be repeating
/// themselves. Run with [`Mutation::run`] (see [`super::idempotency`]).
pub struct Mutation<T> {
    store: Store,
    pub caller: Caller,
    body: Result<T>,
    idempotency: Option<Idempotency>,
    savepoint: Savepoint,
    /// What the resource has to be for the change to be made.
    precondition: Option<Precondition>,
    /// For a POST without an Idempotency-Key: it may come again because its answer was lost.
    repeat: Option<Repeat>,
    /// The memory that a large body needs until the change is made.
    held: Option<Held>,
    /// What is asked for, in the list of refusals.
    request: Asked,
}

struct Repeat {
    repeats: Arc<Repeats>,
    target: String,
    body: Bytes,
}

/// The body is kept for comparison if it is no longer.
const COMPARED: usize = 64 << 10;

impl Repeat {
    fn of(parts: &Parts, body: &Bytes, kit: &Kit) -> Option<Repeat> {
        let wired = parts.method == Method::POST && parts.extensions.get::<Wired>().is_some();
        (wired && body.len() <= COMPARED).then(|| Repeat {
            repeats: kit.repeats.clone(),
            target: idempotency::target(parts).into_owned(),
            body: body.clone(),
        })
    }
}

impl<T> Mutation<T> {
    /// The body, if it could be read, for who has to look something up before the transaction.
    pub fn peek(&self) -> Option<&T> {
        self.body.as_ref().ok()
    }

    /// What it runs refuses before it changes anything, and so needs no savepoint: see
    /// [`Store::write_validating_first`](crate::store::Store::write_validating_first).
    pub fn validating_first(mut self) -> Self {
        self.savepoint = Savepoint::None;
        self
    }
}

impl<T: Body, S: Send + Sync> FromRequest<S> for Mutation<T>
where
    Kit: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let kit = Kit::from_ref(state);
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, state).await?;
        let precondition = Precondition::of(&mut parts).await?;
        let (bytes, held, idempotency) = receive(&parts, body, &kit).await?;
        let repeat = match &idempotency {
            None => Repeat::of(&parts, &bytes, &kit),
            Some(_) => None,
        };
        let body = parse_body(&parts, &bytes);
        let request = Asked::of(&parts);
        Ok(Mutation {
            store: kit.store,
            caller,
            body,
            idempotency,
            savepoint: Savepoint::Own,
            precondition,
            repeat,
            held,
            request,
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
        let store = self.store.clone();
        let by = By::of(&self.caller, self.request.clone());
        let done = self.run_once(f).await;
        if let Err(error) = &done
            && let Some(refused) = by.refused(error)
        {
            // The refusal stands, whatever becomes of its record.
            if let Err(e) = store.write(move |tx| refused.record(tx)).await {
                tracing::warn!(error = e.message(), "a refusal was not written down");
            }
        }
        done
    }

    async fn run_once<R, F>(self, f: F) -> Result<Response>
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
            precondition,
            repeat,
            held,
            request,
        } = self;
        // Who looks at versions is told the new one.
        let after: Arc<OnceLock<Seen>> = Arc::default();
        let told = after.clone();
        // In use until the writer is done with it, also when the client has left.
        let f = move |tx: &WriteTx<'_>, caller: &Caller, body| {
            let _held = held;
            let Some(seen) = precondition else {
                return f(tx, caller, body);
            };
            // It says first what is not there, and what is out of reach.
            seen.check(seen.look(tx, caller))?;
            let reply = f(tx, caller, body)?;
            if let Ok(now) = seen.look(tx, caller) {
                let _ = told.set(now);
            }
            Ok(reply)
        };
        let tagged = move |mut response: Response| {
            if let Some(now) = after.get() {
                now.tell(&mut response);
            }
            response
        };
        let Some(key) = idempotency else {
            let key = caller.key_id();
            let f = move |tx: &WriteTx<'_>| f(tx, &caller, body);
            let begun = match &repeat {
                Some(Repeat {
                    repeats,
                    target,
                    body,
                }) => repeats.begin(key, (target, body)).await,
                None => None,
            };
            let (raw, token) = match begun {
                None => {
                    let reply = store.write_as(savepoint, f).await?;
                    return Ok(tagged(reply.into_response()));
                }
                Some(Begun::Again(status, body, token)) => {
                    let replayed = true;
                    (
                        Raw {
                            status,
                            body,
                            replayed,
                        },
                        token,
                    )
                }
                Some(Begun::First(finish, token)) => {
                    let work = async move {
                        let raw = store.write_as(savepoint, f).await?.raw()?;
                        finish.made(raw.status, &raw.body);
                        Ok::<_, Error>(raw)
                    };
                    (ToItsEnd::new(work).await?, token)
                }
            };
            let mut response = tagged(raw.into_response());
            response.extensions_mut().insert(token);
            return Ok(response);
        };
        let f = move |tx: &WriteTx<'_>| {
            idempotency::once(tx, &caller, &key, || {
                let done = tx.nested_as(savepoint, || f(tx, &caller, body));
                // The answer is kept, and so is that it was a refusal.
                if let Err(error) = &done
                    && let Some(refused) = By::of(&caller, request).refused(error)
                {
                    refused.record(tx)?;
                }
                done
            })
        };
        let reply = store.write_as(savepoint, f).await?;
        Ok(tagged(reply.into_response()))
    }
}

impl<T> Mutation<T> {
    /// Who asks, and for what: for what is no change of this server's own data, is done outside of any
    /// transaction and cannot be repeated. An Idempotency-Key means nothing to it.
    pub fn outside(self) -> (Caller, Result<T>) {
        (self.caller, self.body)
    }
}

impl<T: Send + 'static> Mutation<T> {
    /// Does what is too much for one turn of the writer in turns of its own, each of them durable: `turn` is run
    /// for as long as there is `more` to do; the rest is for [`Mutation::run`]. Nothing is done for a request whose
    /// Idempotency-Key is known.
    ///
    /// # Errors
    /// A failure of the server; what `prepare` and `turn` refuse is held like a body that cannot be read.
    pub async fn in_turns<S: Send + 'static>(
        self,
        prepare: impl FnOnce(T) -> Result<S>,
        more: fn(&S) -> bool,
        turn: impl Fn(&WriteTx<'_>, &Caller, S) -> Result<S> + Clone + Send + 'static,
    ) -> Result<Mutation<S>> {
        let Mutation {
            store,
            caller,
            body,
            idempotency,
            savepoint,
            precondition,
            repeat,
            held,
            request,
        } = self;
        let mut body = body.and_then(prepare);
        let answered = match (&body, &idempotency) {
            (Ok(todo), Some(key)) if more(todo) => {
                let (asking, key) = (caller.clone(), key.clone());
                let new = store.write(move |tx| idempotency::is_new(tx, &asking, &key));
                !new.await?
            }
            _ => false,
        };
        while !answered && body.as_ref().is_ok_and(more) {
            let (asking, turn) = (caller.clone(), turn.clone());
            let Ok(todo) = body else { break };
            body = store.write_turn(move |tx| turn(tx, &asking, todo)).await;
        }
        match body {
            Err(e) if !e.status().is_client_error() => Err(e),
            body => Ok(Mutation {
                store,
                caller,
                body,
                idempotency,
                savepoint,
                precondition,
                repeat,
                held,
                request,
            }),
        }
    }
}

impl Mutation<Source> {
    /// A request whose body is not JSON, as it is. It may be large, and stays on disk.
    ///
    /// # Errors
    /// As every extractor of a mutation.
    pub async fn raw(request: Request, kit: &Kit) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, &()).await?;
        let precondition = Precondition::of(&mut parts).await?;
        let (limit, patience) = bounds(&parts, kit);
        let source = kit.room.receive_source(&parts, body, limit, patience);
        let request = Asked::of(&parts);
        let mut source = source.await?;
        let hashed = tokio::task::spawn_blocking(move || {
            let key = idempotency::from_headers(&parts, || hash(&mut source))?;
            Ok::<_, Error>((key, source))
        });
        let (idempotency, source) = hashed.await.map_err(Error::internal)??;
        Ok(Mutation {
            store: kit.store.clone(),
            caller,
            body: Ok(source),
            idempotency,
            savepoint: Savepoint::Own,
            precondition,
            repeat: None,
            held: None,
            request,
        })
    }

    /// The body, to make something of it, and the request that is then to be answered.
    pub fn opened(self) -> (Result<Source>, Mutation<()>) {
        let rest = Mutation {
            store: self.store,
            caller: self.caller,
            body: Ok(()),
            idempotency: self.idempotency,
            savepoint: self.savepoint,
            precondition: self.precondition,
            repeat: self.repeat,
            held: self.held,
            request: self.request,
        };
        (self.body, rest)
    }
}

fn hash(source: &mut Source) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut bytes = source.rewound().map_err(not_kept)?;
    loop {
        let piece = bytes.fill_buf().map_err(not_kept)?;
        if piece.is_empty() {
            return Ok(hash.finalize().into());
        }
        hash.update(piece);
        let length = piece.len();
        bytes.consume(length);
    }
}

/// How long a body may be, and how long it may take.
fn bounds(parts: &Parts, kit: &Kit) -> (usize, Duration) {
    let access = parts.extensions.get::<Access>();
    let limit = access.map_or(MAX_BODY, |access| access.max_body);
    (limit, body_patience(kit.request_timeout))
}

/// The body of a mutation within the route's limits, and its Idempotency-Key.
async fn receive(
    parts: &Parts,
    body: axum::body::Body,
    kit: &Kit,
) -> Result<(Bytes, Option<Held>, Option<Idempotency>)> {
    let (limit, patience) = bounds(parts, kit);
    let (bytes, held) = kit.room.receive(parts, body, limit, patience).await?;
    let idempotency = idempotency::from_headers(parts, || Ok(Sha256::digest(&bytes).into()))?;
    Ok((bytes, held, idempotency))
}
