//! The writer: one thread, one connection, shared durable commits.
//!
//! Whoever waits is run in one IMMEDIATE transaction, each but the first in its own savepoint (or without one,
//! see [`Savepoint`]), and answered after the one commit. While that commit is on its way to the disk the next
//! callers gather, so throughput grows with concurrency by itself; nobody is ever made to wait for company
//! (see [`GroupCommit`] for who is left to the next commit).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::Signals;
use super::attachments::Attachments;
use super::checkpoint::{
    CHECKPOINT_PAGES, Checkpointer, HARD_PAGES, ITSELF_PAGES, KEEP_HELD_BYTES, LEFT_PAGES,
};
use super::failure::{Failure, Fault, StoreError, fault_of};
use super::group_commit::GroupCommit;
use super::home::Home;
use super::id_source::IdSource;
use super::open::KEEP_BYTES;
use super::schema::VERSION;
use super::signals::RESTART_PAGES;
use super::statements::Statements;
use super::tx::{Effects, JOB, LongestJob, Savepoint, Stamp, WAL_PAGES, WriteTx, Writing};
use crate::clock::{Clock, Stopwatch};

/// How long it insists on the end of the WAL: so many looks, a short sleep before each, between which the short
/// reads let go of it. There is often less than a millisecond to be caught.
const RESTART_LOOKS: i32 = 30;
const RESTART_SLEEP: Duration = Duration::from_micros(100);
/// How long it waits before that for the end of the copying beside it.
const COPYING_LOOKS: u32 = 1000;
const COPYING_SLEEP: Duration = Duration::from_millis(1);

/// From so many on, the callers of a commit are woken by a thread that serves requests: the writer goes
/// on, and waking somebody from there costs less.
const MANY: usize = 3;

pub(super) enum Message {
    /// Shares a commit with whoever else waits.
    Job(Job),
    /// Begins a commit that others may share: with nothing before it that has to stay, all of the commit is undone
    /// where it fails, and its pages need not be kept as they were. For what changes many of them.
    First(Job),
    /// Has a commit of its own: it decides what time the next one is at.
    Alone(Job),
    /// Gets the connection with no transaction open, to replace or copy the whole database.
    Exclusive(Exclusive),
    Stop,
}

pub(super) type Exclusive = Box<dyn FnOnce(&mut Connection, &Signals) + Send>;

/// Runs and says how to answer once the commit is known.
pub(super) type Job = Box<dyn FnOnce(&WriteTx<'_>) -> Answer + Send>;
/// Gets `None` when the commit succeeded, else why it did not.
type Answer = Box<dyn FnOnce(Option<&CommitFailure>) + Send>;

/// Why a commit did not succeed.
pub(super) struct CommitFailure {
    error: rusqlite::Error,
    /// Whether the change will be there after a crash is not known.
    undecided: bool,
}

impl CommitFailure {
    fn to_error(&self) -> StoreError {
        let error = copy_of(&self.error);
        if self.undecided {
            StoreError::Undecided(error)
        } else {
            StoreError::Sqlite(error)
        }
    }
}

/// Each caller of a commit is told why it failed; SQLite's error cannot be cloned.
fn copy_of(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            rusqlite::Error::SqliteFailure(*code, text.clone())
        }
        other => rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
            Some(other.to_string()),
        ),
    }
}

pub(super) fn job<T, E, F>(savepoint: Savepoint, f: F, answer: oneshot::Sender<Result<T, E>>) -> Job
where
    T: Send + 'static,
    E: Failure,
    F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
{
    Box::new(move |tx| {
        let watch = Stopwatch::start();
        let savepoint = if tx.writer.first.take() {
            Savepoint::None
        } else {
            savepoint
        };
        let result = tx.undoing(savepoint, &JOB, || super::guard(|| f(tx)));
        let micros = watch.micros();
        if micros > tx.writer.longest.get().micros {
            // The path of the closure names the function that wrote it.
            let name = std::any::type_name::<F>();
            tx.writer.longest.set(LongestJob { name, micros });
        }
        Box::new(move |failure| {
            let result = match failure {
                // What f refused stays refused whatever became of the commit.
                Some(why) if result.is_ok() => Err(why.to_error().into()),
                _ => result,
            };
            let _ = answer.send(result);
        })
    })
}

pub(super) fn start(
    conn: Connection,
    home: Home,
    checkpointer: Checkpointer,
    clock: Clock,
    signals: Arc<Signals>,
    attachments: Arc<Attachments>,
    queue: usize,
) -> (Sender<Message>, JoinHandle<()>) {
    let (sender, receiver) = bounded(queue);
    let waiting = receiver.clone();
    let runtime = Handle::try_current()
        .ok()
        // One that is only driven while somebody waits on it may not be driven now.
        .filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    let run = move || {
        Writer {
            runtime,
            conn,
            home,
            checkpointer,
            clock,
            signals,
            source: IdSource::system(),
            writing: Writing {
                attachments,
                awaited: Some(Box::new(move || !waiting.is_empty())),
                ..Writing::default()
            },
            copy_at: Cell::new(CHECKPOINT_PAGES),
            insist_at: Cell::new(RESTART_PAGES),
            itself_at: Cell::default(),
            keep: Cell::new(KEEP_BYTES),
            was_held: Cell::default(),
            group_commit: Cell::default(),
            turn: Cell::default(),
        }
        .run(&receiver)
    };
    let thread = std::thread::Builder::new().name("writer".into()).spawn(run);
    // Without its only writer the program cannot do anything: the one place where dying is right.
    #[expect(clippy::expect_used, reason = "at start, before any request")]
    (
        sender,
        thread.expect("the operating system gives a thread for the writer"),
    )
}

/// Writes the first page as it is: a change of nothing that the disk must take all the same.
pub(super) fn rewrite_header(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "user_version", VERSION)
}

thread_local! {
    /// Whether anything was written since this was last asked; a commit of nothing proves nothing.
    static WROTE: Cell<bool> = const { Cell::new(false) };
}

/// What the callers of a commit are told, told when this is dropped: also by a runtime that ends before
/// it has run the task.
struct Answers {
    answers: std::vec::IntoIter<Answer>,
    failure: Option<CommitFailure>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        for answer in self.answers.by_ref() {
            answer(self.failure.as_ref());
        }
    }
}

struct Writer {
    /// Whose threads wake the callers; without one the writer does it itself.
    runtime: Option<Handle>,
    conn: Connection,
    home: Home,
    checkpointer: Checkpointer,
    clock: Clock,
    signals: Arc<Signals>,
    source: IdSource,
    writing: Writing,
    /// Pages in the WAL at which they are next copied beside the writer.
    copy_at: Cell<u32>,
    /// Pages in the WAL at which the next checkpoint is the writer's own, and insists.
    insist_at: Cell<u32>,
    /// Pages in the WAL at which the copying beside the writer has had its time to come near its end.
    itself_at: Cell<u32>,
    /// Bytes to which the WAL is cut when it begins anew.
    keep: Cell<i64>,
    /// Whether a large read held it when it had to end.
    was_held: Cell<bool>,
    group_commit: Cell<GroupCommit>,
    /// The last transaction.
    turn: Cell<Turn>,
}

/// What one turn took, in microseconds.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// From the first job until the disk has it.
    transaction: u64,
    /// Of that the waiting for the disk.
    commit: u64,
    writes: usize,
}

/// From here on, microseconds, the longest turn so far is told in the log.
const LONG_TURN: u64 = 100_000;

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        self.conn.wal_hook(Some(|_, pages| {
            WAL_PAGES.set(u32::try_from(pages).unwrap_or(0));
            WROTE.set(true);
            Ok(())
        }));
        let mut next = receiver.recv().ok();
        while let Some(message) = next.take() {
            next = match message {
                Message::Stop => break,
                Message::Exclusive(f) => {
                    f(&mut self.conn, &self.signals);
                    self.writing.cache.clear();
                    self.checkpoint();
                    receiver.recv().ok()
                }
                job => self.serve(job, receiver),
            };
        }
        self.checkpointer.stop();
        // Leave one file behind, so that copying the database after a stop copies everything.
        super::open::fold_log(&self.conn);
    }

    /// Runs jobs, `first` to begin with, until a message comes that is none: that is returned.
    fn serve(&self, first: Message, receiver: &Receiver<Message>) -> Option<Message> {
        let statements = Statements::new(&self.conn);
        let mut next = Some(first);
        loop {
            next = match next {
                Some(Message::Job(job)) => self.batch(&statements, job, false, Some(receiver)),
                Some(Message::First(job)) => self.batch(&statements, job, true, Some(receiver)),
                Some(Message::Alone(job)) => self.batch(&statements, job, false, None),
                other => return other,
            };
            self.copy_back();
            next = next.or_else(|| receiver.recv().ok());
        }
    }

    /// Runs `first` and whoever waits by now; returns the message that came next and is not for this
    /// commit.
    fn batch(
        &self,
        statements: &Statements<'_>,
        first: Job,
        long: bool,
        others: Option<&Receiver<Message>>,
    ) -> Option<Message> {
        let watch = Stopwatch::start();
        let mut answers = Vec::new();
        let mut effects = Effects::default();
        let (mut after, mut committing, mut gone) = (None, false, false);
        // Microseconds of a long first one.
        let mut its_micros = None;
        let mut flush = 0;
        self.writing.longest.take();
        let result = (|| -> rusqlite::Result<()> {
            let mut next = Some(first);
            // If this fails nobody has run: `first` is dropped, and its caller told to try again.
            self.begin(statements)?;
            let of_wall = self.clock.follows_the_wall();
            let judged = of_wall.then(|| self.clock.judge());
            let now = judged.map_or_else(|| self.clock.now(), |judged| judged.now);
            self.writing.stamp.set(Stamp {
                of_wall,
                wrong: judged.is_some_and(|judged| judged.wrong),
                ahead_ms: judged.map_or(0, |judged| judged.ahead_ms),
            });
            self.writing.first.set(true);
            self.writing.turn.replace(Some(Stopwatch::start()));
            self.writing
                .awaited_turn
                .set(self.group_commit.get().awaited_turn());
            while let Some(job) = next.take() {
                let tx = WriteTx::new(
                    &self.conn,
                    Some(statements),
                    now,
                    &self.source,
                    &self.writing,
                );
                answers.push(job(&tx));
                effects.merge(*tx.effects.borrow());
                if self.conn.is_autocommit() {
                    // The engine gave up the whole transaction (disk full, I/O): all of it is undone.
                    let code = match effects.fault {
                        Some(Fault::Full) => rusqlite::ffi::SQLITE_FULL,
                        Some(Fault::Io) => rusqlite::ffi::SQLITE_IOERR,
                        Some(Fault::Damaged) => rusqlite::ffi::SQLITE_CORRUPT,
                        None => rusqlite::ffi::SQLITE_ABORT,
                    };
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(code),
                        Some("the transaction was rolled back".into()),
                    ));
                }
                if effects.half_done && answers.len() == 1 {
                    statements.execute("ROLLBACK", [])?;
                    self.writing.cache.clear();
                    self.begin(statements)?;
                    effects.half_done = false;
                }
                if effects.half_done {
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        Some("a write that shares this commit failed half way".into()),
                    ));
                }
                if long && answers.len() == 1 {
                    its_micros = Some(watch.micros());
                }
                let group_commit = self.group_commit.get();
                if !group_commit.is_full(answers.len(), watch.micros(), its_micros) {
                    match others.and_then(|receiver| receiver.try_recv().ok()) {
                        Some(Message::Job(job)) => next = Some(job),
                        other => after = other,
                    }
                }
            }
            self.home.check()?;
            committing = true;
            let running = watch.micros();
            statements.execute("COMMIT", [])?;
            // What was written into a file that has gone meanwhile is not acknowledged.
            self.home.check().inspect_err(|_| gone = true)?;
            let present = answers.len() + others.map_or(0, Receiver::len);
            flush = watch.micros() - running;
            let group_commit = self.group_commit.get();
            self.group_commit.set(group_commit.after(present, flush));
            Ok(())
        })();
        if let Some(fault) = effects.fault {
            self.signals.health.failed(fault);
        }
        let failure = result.err().map(|error| {
            tracing::error!(error = %error, writes = answers.len(), "commit failed; nothing of it was kept");
            if !self.conn.is_autocommit() {
                let _ = self.conn.execute_batch("ROLLBACK");
            }
            if let Some(fault) = fault_of(&error) {
                self.signals.health.failed(fault);
            }
            // A full disk fails before the commit mark is written: that is decided.
            let full = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
            let undecided = gone || committing && !full && !self.unmake_undecided();
            CommitFailure { error, undecided }
        });
        if failure.is_some() {
            self.writing.cache.clear();
        }
        if failure.is_none() {
            if WROTE.take() {
                self.signals.health.works();
            }
            self.signals.tell(effects.touched, effects.log);
        }
        let commits = &self.signals.commits;
        commits.writes.observe(answers.len() as f64);
        commits.last.store(answers.len(), Ordering::Relaxed);
        let turn = Turn {
            transaction: watch.micros(),
            commit: flush,
            writes: answers.len(),
        };
        commits.duration.observe(turn.transaction as f64 / 1e6);
        self.turn.set(turn);
        let answers = Answers {
            answers: answers.into_iter(),
            failure,
        };
        match &self.runtime {
            Some(runtime) if answers.answers.len() >= MANY => {
                drop(runtime.spawn(async move { drop(answers) }))
            }
            _ => drop(answers),
        }
        after
    }

    fn begin(&self, statements: &Statements<'_>) -> rusqlite::Result<()> {
        statements.execute("BEGIN IMMEDIATE", [])?;
        let transactions = &self.writing.transactions;
        transactions.set(transactions.get() + 1);
        Ok(())
    }

    /// After a commit that failed. Its pages may lie in the log, whole up to the commit mark, with only
    /// their flush missing: reading the log after a crash would then find a change that its caller was
    /// told did not happen. The next commit is written over it from the same place on and so unmakes
    /// it; true when that has been done and has reached the disk.
    fn unmake_undecided(&self) -> bool {
        let settled = self
            .conn
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| rewrite_header(&self.conn))
            .and_then(|()| self.conn.execute_batch("COMMIT"));
        if settled.is_err() && !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        if settled.is_ok() && WROTE.take() {
            self.signals.health.works();
        }
        settled.is_ok()
    }

    /// The end of a turn: what keeps the WAL bounded is a part of it for whoever waits.
    fn copy_back(&self) {
        let watch = Stopwatch::start();
        self.checkpoint();
        let (turn, checkpoint) = (self.turn.get(), watch.micros());
        let all = turn.transaction + checkpoint;
        let longest = &self.signals.commits.longest_turn;
        if all > longest.fetch_max(all, Ordering::Relaxed) && all >= LONG_TURN {
            let job = self.writing.longest.get();
            tracing::info!(
                micros = all,
                commit = turn.commit,
                checkpoint,
                writes = turn.writes,
                longest = job.micros,
                of = job.name,
                "the longest turn of the writer so far"
            );
        }
    }

    /// Keeps the WAL bounded. Failing is no error: the next commit tries again.
    fn checkpoint(&self) {
        let pages = WAL_PAGES.get();
        let commits = &self.signals.commits;
        if pages < commits.pages.swap(pages, Ordering::Relaxed) {
            self.begun_anew();
        }
        let (end, left) = (pages >= self.insist_at.get(), commits.left());
        let held = commits.large_reads.load(Ordering::Relaxed) > 0;
        if held && end {
            self.was_held.set(true);
            self.keep(KEEP_HELD_BYTES);
        }
        if held || !end {
            self.itself_at.set(pages.saturating_add(CHECKPOINT_PAGES));
        }
        // While the rest is being copied beside it, the end is a matter of the next commit.
        let few = left <= LEFT_PAGES && !commits.copying();
        let late = left <= ITSELF_PAGES && pages >= self.itself_at.get();
        if end && (pages >= HARD_PAGES || !held && (few || late)) {
            self.restart(pages);
        } else if pages >= self.copy_at.get() || end && !held {
            self.copy_at.set(pages.saturating_add(CHECKPOINT_PAGES));
            self.checkpointer.wake();
        }
    }

    /// The WAL has begun anew: nothing of it is copied.
    fn begun_anew(&self) {
        self.copy_at.set(CHECKPOINT_PAGES);
        self.insist_at.set(RESTART_PAGES);
        self.signals.commits.copied.store(0, Ordering::Relaxed);
        if !self.was_held.take() {
            self.keep(KEEP_BYTES);
        }
    }

    /// To how many bytes it is cut from now on. It is when the first commit is written into it.
    fn keep(&self, bytes: i64) {
        if self.keep.replace(bytes) != bytes
            && let Err(e) = self.conn.pragma_update(None, "journal_size_limit", bytes)
        {
            tracing::warn!(error = %e, "how long the log may stay was not set");
        }
    }

    /// Copies what is left, and lets the next commit begin the WAL anew.
    fn restart(&self, pages: u32) {
        // There is one who copies at a time.
        for _ in (0..COPYING_LOOKS).take_while(|_| self.signals.commits.copying()) {
            std::thread::sleep(COPYING_SLEEP);
        }
        let wait = |looks| {
            std::thread::sleep(RESTART_SLEEP);
            looks < RESTART_LOOKS
        };
        let done = self.conn.busy_handler(Some(wait)).and_then(|()| {
            self.conn
                .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
                    row.get::<_, bool>(0)
                })
        });
        if matches!(done, Ok(false)) {
            WAL_PAGES.set(0);
            self.signals.commits.pages.store(0, Ordering::Relaxed);
            self.begun_anew();
        } else {
            // A short read did not come to its end on a busy machine, or somebody holds it whom nobody here knows of,
            // such as another program: less and less often.
            self.insist_at.set(pages.saturating_add(pages / 8));
        }
        if let Err(e) = done.and_then(|_| self.conn.busy_timeout(super::open::BUSY_TIMEOUT)) {
            tracing::warn!(error = %e, "checkpoint failed");
        }
    }
}
