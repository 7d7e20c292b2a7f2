//! The same request again without an `Idempotency-Key`, because the answer to the first one was lost.
//!
//! Some clients send a POST again when its answer did not come. Where that is certain here, the repeat gets what the
//! first one made: the same key sends the same method, path and body within [`WITHIN`] s; the connection of the first
//! one ended before its answer was fully written to the socket; and that key has sent nothing else in between. Who sends
//! the same twice on purpose has the first answer before, and is served twice.
//!
//! This is known in memory only, of requests that came over a connection; a restart forgets it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Stopwatch;
use crate::ids::ApiKeyId;

/// Seconds after which the same request is another one.
const WITHIN: u64 = 30;
/// How long a repeat waits for what becomes of the first one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Keys that are remembered before those whose time is over go.
const TIDY: usize = 1024;
/// Longer answers are not kept.
const LONGEST: usize = 256 << 10;

/// What each key has sent last, of requests that make something.
#[derive(Default)]
pub struct Repeats {
    off: bool,
    last: Mutex<HashMap<ApiKeyId, Arc<Sent>>>,
    any: AtomicBool,
}

/// A request and what became of it.
struct Sent {
    fingerprint: u64,
    began: Stopwatch,
    /// Requests of its key since.
    since: AtomicU32,
    now: watch::Sender<Progress>,
}

#[derive(Clone, Default)]
struct Progress {
    answer: Answer,
    outcome: Outcome,
}

/// What is known of the answer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Answer {
    /// It may still be written.
    #[default]
    Open,
    /// It never will be.
    Lost,
    /// The kernel has all of it.
    Written,
}

/// What the request did.
#[derive(Clone, Default)]
enum Outcome {
    #[default]
    Running,
    Made(u16, Bytes),
    /// It was refused, or failed: nothing stands in the way of doing it again.
    Nothing,
}

/// The one answer to a request. Dropped before it was written, it is lost.
pub struct Unwritten(Arc<Sent>);

impl Unwritten {
    fn written(&self) {
        self.0.now.send_modify(|now| {
            now.answer = Answer::Written;
            // Nobody will ask for it.
            now.outcome = Outcome::Nothing;
        });
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.0.now.send_if_modified(|now| {
            let open = now.answer == Answer::Open;
            if open {
                now.answer = Answer::Lost;
            }
            open
        });
    }
}

/// Rides in a response to the connection.
pub(super) type Token = Arc<Unwritten>;

/// Rides in requests that came over a connection.
#[derive(Clone)]
pub(super) struct Wired;

/// What a request is to do.
pub(super) enum Begun {
    /// Itself. `Finish` is told what came of it.
    First(Finish, Token),
    /// Answer with this.
    Again(u16, Bytes, Token),
}

/// Where what became of a request is told.
pub(super) struct Finish(Arc<Sent>);

impl Finish {
    pub fn made(self, status: u16, body: &Bytes) {
        let kept = body.len() <= LONGEST;
        self.0.now.send_modify(|now| {
            now.outcome = match now.answer {
                Answer::Open | Answer::Lost if kept => Outcome::Made(status, body.clone()),
                _ => Outcome::Nothing,
            };
        });
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.now.send_modify(|now| {
            if matches!(now.outcome, Outcome::Running) {
                now.outcome = Outcome::Nothing;
            }
        });
    }
}

impl Repeats {
    pub fn new(off: bool) -> Self {
        Repeats {
            off,
            ..Repeats::default()
        }
    }

    /// A request of this key came.
    pub fn passed(&self, key: ApiKeyId) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        if let Some(sent) = self.last.lock().get(&key) {
            sent.since.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes up a request; `None` where this is off.
    pub(super) async fn begin(&self, key: ApiKeyId, what: (&str, &[u8])) -> Option<Begun> {
        if self.off {
            return None;
        }
        let mut hash = DefaultHasher::new();
        what.hash(&mut hash);
        let fingerprint = hash.finish();
        if let Some(first) = self.candidate(key, fingerprint) {
            let mut progress = first.now.subscribe();
            let decided = progress.wait_for(|now| {
                let running = matches!(now.outcome, Outcome::Running);
                now.answer == Answer::Written || (now.answer == Answer::Lost && !running)
            });
            let decided = tokio::time::timeout(PATIENCE, decided).await;
            let made = match decided {
                Ok(Ok(now)) if now.answer == Answer::Lost => match &now.outcome {
                    Outcome::Made(status, body) => Some((*status, body.clone())),
                    _ => None,
                },
                _ => None,
            };
            if let Some((status, body)) = made {
                first.now.send_modify(|now| now.answer = Answer::Open);
                return Some(Begun::Again(status, body, Arc::new(Unwritten(first))));
            }
        }
        let sent = Arc::new(Sent {
            fingerprint,
            began: Stopwatch::start(),
            since: AtomicU32::new(0),
            now: watch::Sender::default(),
        });
        let mut last = self.last.lock();
        if last.len() >= TIDY {
            last.retain(|_, sent| sent.is_recent());
        }
        last.insert(key, sent.clone());
        self.any.store(true, Ordering::Relaxed);
        Some(Begun::First(
            Finish(sent.clone()),
            Arc::new(Unwritten(sent)),
        ))
    }

    /// What this key sent just before, if it was the same.
    fn candidate(&self, key: ApiKeyId, fingerprint: u64) -> Option<Arc<Sent>> {
        let last = self.last.lock();
        let sent = last.get(&key)?;
        let same = sent.fingerprint == fingerprint && sent.is_recent();
        // This one was counted when it came.
        let alone = sent.since.swap(0, Ordering::Relaxed) == 1;
        (same && alone).then(|| sent.clone())
    }
}

impl Sent {
    fn is_recent(&self) -> bool {
        self.began.micros() < WITHIN * 1_000_000
    }
}

/// Work that goes on when nobody waits for it any more: the client has left, and what is being written is
/// written all the same.
pub(super) struct ToItsEnd<F: Future + Send + 'static>(Option<Pin<Box<F>>>)
where
    F::Output: Send;

impl<F> ToItsEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    pub fn new(work: F) -> Self {
        ToItsEnd(Some(Box::pin(work)))
    }
}

impl<F> Future for ToItsEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F> Drop for ToItsEnd<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

/// The answers of a connection whose bytes wait to be flushed.
pub(super) type Flushing = Arc<Mutex<Vec<Token>>>;

/// All that was handed over is with the kernel.
pub(super) fn flushed(waiting: &Flushing) {
    for token in waiting.lock().drain(..) {
        token.written();
    }
}

/// A body that hands its token on with its last byte.
pub(super) struct Told {
    body: Body,
    token: Option<Token>,
    flushing: Flushing,
}

impl Told {
    pub fn new(body: Body, token: Token, flushing: Flushing) -> Self {
        let mut told = Told {
            body,
            token: Some(token),
            flushing,
        };
        if told.body.is_end_stream() {
            told.ended();
        }
        told
    }

    fn ended(&mut self) {
        if let Some(token) = self.token.take() {
            self.flushing.lock().push(token);
        }
    }
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            _ => false,
        };
        if ended {
            self.ended();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
