//! The readers: a fixed number of connections in a pool, and as many threads that use them. Large questions
//! have threads of their own, so that small ones do not wait behind them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Signals;
use super::background::{self, stand_back};
use super::failure::Failure;
use super::open::OpenError;
use super::tx::Tx;
use crate::clock::Clock;

/// What a reader thread is told.
pub(super) enum Job {
    Run(Box<dyn FnOnce(&Connection) + Send>),
    Stop,
}

/// Virtual machine instructions of SQLite between two looks whether somebody still waits: about a
/// millisecond.
const LOOK_EVERY: i32 = 20_000;

/// `f` in a read transaction; the answer goes to `answer`. Given up when `asking` has no other holder: the
/// client has left, or was told that it took too long.
pub(super) fn job<T, E, F>(
    clock: Clock,
    signals: Arc<Signals>,
    f: F,
    answer: oneshot::Sender<Result<T, E>>,
    asking: Weak<()>,
    large: bool,
) -> Job
where
    T: Send + 'static,
    E: Failure,
    F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
{
    Job::Run(Box::new(move |conn| {
        if answer.is_closed() {
            return; // The client has left while this waited: reading for nobody helps nobody.
        }
        let given_up = move || {
            if large {
                background::pause();
            }
            asking.strong_count() == 0
        };
        let watched = conn.progress_handler(LOOK_EVERY, Some(given_up));
        let result = super::guard(|| read(conn, &clock, &signals, f));
        let unwatched = conn.progress_handler(0, None::<fn() -> bool>);
        if let Err(error) = watched.and(unwatched) {
            tracing::warn!(%error, "a read was not watched");
        }
        let _ = answer.send(result);
    }))
}

/// `f` in a read transaction of its own.
pub(super) fn read<T, E: Failure>(
    conn: &Connection,
    clock: &Clock,
    signals: &Signals,
    f: impl FnOnce(&Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let in_transaction = || {
        conn.prepare_cached("BEGIN")?.execute([])?;
        let result = super::guard(|| f(&Tx::new(conn, clock.now())));
        conn.prepare_cached("ROLLBACK")?.execute([])?;
        result
    };
    let result = in_transaction();
    if let Some(fault) = result.as_ref().err().and_then(E::fault) {
        signals.health.failed(fault);
    }
    result
}

/// How often, and how many times, a large read looks whether the WAL has begun anew before it begins itself:
/// while one is under way the WAL only grows.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 200;
/// After so many looks it must have grown.
const LOOKS_AT_GROWTH: u32 = 10;

/// Readers for large questions: so many are answered at the same time.
pub(super) const HEAVY_READERS: usize = 2;

/// What the readers are asked by.
pub(super) struct Readers {
    /// Small questions.
    pub light: Sender<Job>,
    /// Large ones.
    pub heavy: Sender<Job>,
    light_count: usize,
}

impl Readers {
    /// Starts `count` threads for small questions and as many for large ones as there are connections left.
    pub fn start(
        pool: &Pool<SqliteConnectionManager>,
        count: usize,
        queue: usize,
        signals: &Arc<Signals>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), OpenError> {
        let light_count = count.max(1);
        let (light, mut threads) = start(pool, light_count, queue, None)?;
        let (heavy, more) = start(pool, HEAVY_READERS, queue, Some(signals))?;
        threads.extend(more);
        let readers = Readers {
            light,
            heavy,
            light_count,
        };
        Ok((readers, threads))
    }

    /// Ends all threads after what is queued.
    pub fn stop(&self) {
        for (queue, count) in [
            (&self.light, self.light_count),
            (&self.heavy, HEAVY_READERS),
        ] {
            for _ in 0..count {
                let _ = queue.send(Job::Stop);
            }
        }
    }
}

/// Starts `count` threads; for large questions where they are to look at `signals`.
fn start(
    pool: &Pool<SqliteConnectionManager>,
    count: usize,
    queue: usize,
    signals: Option<&Arc<Signals>>,
) -> Result<(Sender<Job>, Vec<JoinHandle<()>>), OpenError> {
    let (sender, receiver) = bounded::<Job>(queue);
    let kind = signals.map_or("reader", |_| "large-reader");
    let threads = (0..count).map(|n| {
        let (receiver, pool, signals) = (receiver.clone(), pool.clone(), signals.cloned());
        std::thread::Builder::new()
            .name(format!("{kind}-{n}"))
            .spawn(move || {
                if signals.is_some() {
                    stand_back();
                }
                while let Ok(Job::Run(job)) = receiver.recv() {
                    let _large = signals.as_deref().map(LargeRead::begin);
                    match pool.get() {
                        Ok(conn) => job(&conn),
                        // The job goes unanswered, which its caller reads as 503.
                        Err(error) => tracing::error!(%error, "no connection for a read"),
                    }
                }
            })
            .map_err(|e| OpenError::new(format!("no thread for reader {n}: {e}")))
    });
    Ok((sender, threads.collect::<Result<_, _>>()?))
}

/// A large read under way; counted until this is dropped.
struct LargeRead<'a>(&'a Signals);

impl<'a> LargeRead<'a> {
    /// Waits for a WAL that has to end, but not for ever: another program may hold it. Nor where nobody
    /// writes: it is a commit that ends it.
    fn begin(signals: &'a Signals) -> Self {
        let commits = &signals.commits;
        let mut pages = 0;
        for look in 0..LOOKS {
            let present = commits.pages.load(Ordering::Relaxed);
            let grows = look % LOOKS_AT_GROWTH != 0 || present != pages;
            if !commits.wal_has_to_end() || !grows {
                break;
            }
            if look % LOOKS_AT_GROWTH == 0 {
                pages = present;
            }
            std::thread::sleep(LOOK);
        }
        commits.large_reads.fetch_add(1, Ordering::Relaxed);
        LargeRead(signals)
    }
}

impl Drop for LargeRead<'_> {
    fn drop(&mut self) {
        self.0.commits.large_reads.fetch_sub(1, Ordering::Relaxed);
    }
}
