//! The store: one SQLite file, one writer, a fixed number of readers.
//!
//! Guaranteed here:
//! * There are two ways in, [`Store::read`] (with [`Store::look_up`]) and [`Store::write`]. The closure's `Ok` commits, its
//!   `Err` rolls back; a panic rolls back too and becomes a 500.
//! * A write that was answered `Ok` is on disk (`synchronous=FULL`). Writes that wait at the same
//!   time share one commit, and one refusal undoes itself alone: by a savepoint of its own, because
//!   nobody has written before it, or because it comes before any change (see [`Store::write_validating_first`]).
//! * A full queue answers 503 and nothing has happened. Once queued, a write runs to its end even
//!   if the client has left.
//! * Readers never wait for the writer and share no lock with it; each read sees one snapshot.
//! * A write that was answered "nothing was changed" is not there after a crash either (see
//!   `writer::Writer::unmake_undecided`). A damaged page ends all writes, so that nothing is built on it.
//!
//! Dangerous here: a closure runs on the writer's own thread. It must not block on anything but
//! the database, and must only use the transaction that it is given.

mod attachments;
mod background;
mod backup;
mod checkpoint;
pub(crate) mod columns;
mod compact;
pub(crate) mod copies;
mod failure;
mod group_commit;
mod health;
mod home;
mod id_source;
mod open;
mod readers;
mod restore;
mod schema;
mod signals;
mod statements;
mod turns;
mod tx;
mod upgrade;
mod writer;
mod writer_cache;

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use attachments::Attachments;
use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};

pub use background::{heavy, in_background, pause};
pub use backup::{
    Backup, Record as BackupRecord, Target, checksum_file, dated_ahead, inspect,
    list as list_backups, make_dir, read_file, recorded_checksum, records as backup_records,
    records_in as backup_records_in, sha256, take as take_backup, whole,
};
pub use columns::Columns;
pub(crate) use columns::columns;
pub use compact::{compact, give_back};
pub use failure::{Failure, Fault, StoreError};
pub(crate) use id_source::IdSource;
pub use open::{OpenError, OpenErrorKind, is_abandoned, lock_data_dir, readable};
pub use restore::{Restored, restore};
pub(crate) use schema::create;
pub use schema::{SCHEMA, VERSION};
pub use signals::{Signals, Topic};
pub(crate) use tx::Savepoint;
pub use tx::{Tx, WriteTx};

/// Rows that one turn of the writer changes at most, or fewer once [`WriteTx::turn_is_over`]. Where there are
/// more, the others follow in turns of their own, so that nobody else waits for all of them.
pub const TURN: usize = 50;
/// Where the result of a job arrives.
type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

/// How many reads may wait for a reader. Beyond that the server is too busy to promise an answer.
const READ_QUEUE: usize = 4096;
/// How many writes may wait for the writer.
const WRITE_QUEUE: usize = 4096;

/// The open database, whose users fail with an `E`. Cheap to clone.
pub struct Store<E>(Arc<Inner>, PhantomData<fn() -> E>);

impl<E> Clone for Store<E> {
    fn clone(&self) -> Self {
        Store(self.0.clone(), PhantomData)
    }
}

struct Inner {
    path: PathBuf,
    clock: Clock,
    readers: readers::Readers,
    /// The connections of the readers; `None` once closed.
    pool: RwLock<Option<Pool<SqliteConnectionManager>>>,
    writer: Sender<writer::Message>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    signals: Arc<Signals>,
    attachments: Arc<Attachments>,
    /// Held by whoever has a turn of something long with the writer.
    turns: tokio::sync::Mutex<()>,
}

impl<E: Failure> Store<E> {
    /// Opens (or creates, or upgrades) the database file and starts the threads.
    ///
    /// # Errors
    /// When the file is not ours, is newer than this program, is damaged as far as can be seen without
    /// reading all of it, or cannot be used in WAL mode. It is then left as it is.
    pub fn open(path: &Path, clock: Clock, readers: usize) -> Result<Self, OpenError> {
        path.parent().map(backup::sweep);
        let signals = Arc::new(Signals::default());
        let writer_conn = open::writer(path)
            .and_then(|conn| upgrade::upgrade(&conn, path, clock.now()).map(|()| conn))
            .map_err(|e| about(e, path))?;
        if copies::number(&writer_conn)?.is_some() {
            let far = copies::far_away().map_err(|e| OpenError::new(e.to_string()))?;
            copies::go_on(&writer_conn, copies::last_number(&writer_conn)? + far)?;
        }
        open::fold_log(&writer_conn);
        let checkpointer =
            checkpoint::Checkpointer::start(open::for_checkpoints(path)?, signals.clone())?;
        let attachments = Arc::new(Attachments::default());
        let (writer, writer_thread) = writer::start(
            writer_conn,
            home::Home::of(path),
            checkpointer,
            clock.clone(),
            signals.clone(),
            attachments.clone(),
            WRITE_QUEUE,
        );
        let pool = open::pool(path, readers.max(1) + readers::HEAVY_READERS)?;
        let (reader, mut threads) = readers::Readers::start(&pool, readers, READ_QUEUE, &signals)?;
        threads.push(writer_thread);
        Ok(Store(
            Arc::new(Inner {
                path: path.to_owned(),
                clock,
                readers: reader,
                pool: RwLock::new(Some(pool)),
                writer,
                threads: Mutex::new(threads),
                signals,
                attachments,
                turns: tokio::sync::Mutex::default(),
            }),
            PhantomData,
        ))
    }

    /// Runs `f` in a read transaction on one of the readers.
    ///
    /// # Errors
    /// What `f` returns; 503 when too many reads wait.
    pub async fn read<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (_asking, answer) = self.queue_read(f)?;
        answer.await.map_err(|_| E::from(dropped()))?
    }

    /// [`Store::read`] for a row or two by key: done at once on the caller's own thread where a
    /// connection is free, since handing it to another thread costs more than the look-up itself.
    /// Not for anything whose cost depends on how much there is.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn look_up<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let free = {
            let pool = self.0.pool.read();
            pool.as_ref().and_then(Pool::try_get)
        };
        match free {
            Some(conn) => guard(|| readers::read(&conn, &self.0.clock, &self.0.signals, f)),
            None => self.read(f).await,
        }
    }

    /// Runs `f` in a write transaction and returns when it is durable.
    ///
    /// # Errors
    /// What `f` returns; 503 when too many writes wait, 503 or 507 when the storage fails.
    pub async fn write<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_as(Savepoint::Own, f).await
    }

    /// [`Store::write`] for an `f` that decides first: it returns what the caller did wrong before it
    /// changes anything, and then fails only if the store does. Saves the savepoint, which is a
    /// quarter of a small write's cost. An `f` that breaks this is found out: the whole commit is
    /// undone, and all who share it are told to try again.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_validating_first<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_as(Savepoint::None, f).await
    }

    /// [`Store::write`] or [`Store::write_validating_first`].
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn write_as<T, F>(&self, savepoint: Savepoint, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.queue_write(savepoint, f)?
            .await
            .map_err(|_| E::from(dropped()))?
    }

    /// [`Store::write`] in a commit of its own, so that `f` may move the clock: what is written next
    /// is stamped after it.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn write_alone<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, receive) = oneshot::channel();
        self.queue(writer::Message::Alone(writer::job(
            Savepoint::Own,
            f,
            answer,
        )))?;
        receive.await.map_err(|_| E::from(dropped()))?
    }

    /// Runs `f` between two commits on the connection that writes, with no transaction open: for
    /// copying or replacing the whole database.
    ///
    /// # Errors
    /// What `f` returns; 503 when too many writes wait.
    pub(crate) async fn exclusive<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &Signals) -> Result<T, E> + Send + 'static,
    {
        self.queue_exclusive(f)?
            .await
            .map_err(|_| E::from(dropped()))?
    }

    /// [`Store::exclusive`] for threads outside the runtime, such as the command line.
    ///
    /// # Errors
    /// As [`Store::exclusive`].
    pub(crate) fn exclusive_blocking<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &Signals) -> Result<T, E> + Send + 'static,
    {
        self.queue_exclusive(f)?
            .blocking_recv()
            .map_err(|_| E::from(dropped()))?
    }

    fn queue_exclusive<T, F>(&self, f: F) -> Result<oneshot::Receiver<Result<T, E>>, E>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &Signals) -> Result<T, E> + Send + 'static,
    {
        let (answer, receive) = oneshot::channel();
        self.queue(writer::Message::Exclusive(Box::new(
            move |conn, signals| {
                let _ = answer.send(guard(|| f(conn, signals)));
            },
        )))?;
        Ok(receive)
    }

    fn queue(&self, message: writer::Message) -> Result<(), StoreError> {
        self.0.writer.try_send(message).map_err(|_| busy())
    }

    /// [`Store::read`] for threads outside the runtime, such as the command line.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_blocking<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (_asking, answer) = self.queue_read(f)?;
        answer.blocking_recv().map_err(|_| E::from(dropped()))?
    }

    /// [`Store::write`] for threads outside the runtime, such as the command line.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_blocking<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.queue_write(Savepoint::Own, f)?
            .blocking_recv()
            .map_err(|_| E::from(dropped()))?
    }

    /// Runs for as long as somebody holds the first of what is returned.
    fn queue_read<T, F>(&self, f: F) -> Result<(Arc<()>, Answer<T, E>), E>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, receive) = oneshot::channel();
        let asking = Arc::new(());
        let (clock, signals) = (self.0.clock.clone(), self.0.signals.clone());
        let large = background::is_heavy();
        let job = readers::job(clock, signals, f, answer, Arc::downgrade(&asking), large);
        let queue = if large {
            &self.0.readers.heavy
        } else {
            &self.0.readers.light
        };
        queue.try_send(job).map_err(|_| E::from(busy()))?;
        Ok((asking, receive))
    }

    fn queue_write<T, F>(
        &self,
        savepoint: Savepoint,
        f: F,
    ) -> Result<oneshot::Receiver<Result<T, E>>, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.queue_job(writer::Message::Job, savepoint, f)
    }

    /// Queues a write as one or the other kind of message.
    fn queue_job<T, F>(
        &self,
        message: fn(writer::Job) -> writer::Message,
        savepoint: Savepoint,
        f: F,
    ) -> Result<Answer<T, E>, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        if self.0.signals.health.is_damaged() {
            return Err(StoreError::Damaged.into());
        }
        let (answer, receive) = oneshot::channel();
        self.queue(message(writer::job(savepoint, f, answer)))?;
        Ok(receive)
    }

    /// A write that changes nothing and yet goes to the disk: `Ok` says that writes are kept.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn probe(&self) -> Result<(), E> {
        self.write(|tx| Ok(writer::rewrite_header(tx)?)).await
    }

    /// Hands the store a value that write transactions can ask for by its type; one of the same type
    /// is replaced.
    pub fn attach<T: std::any::Any + Send + Sync>(&self, value: T) {
        self.0.attachments.put(value);
    }

    /// The instant that the next transaction would be stamped with.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The clock behind [`Store::now`].
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What is heard of commits.
    pub fn signals(&self) -> &Signals {
        &self.0.signals
    }

    /// How many writes wait for the writer.
    pub fn writes_waiting(&self) -> usize {
        self.0.writer.len()
    }

    /// Whether several want to write at the same time: some wait, or the last commit was shared. In
    /// the middle of a burst the queue is often empty for a moment.
    pub fn is_busy(&self) -> bool {
        self.writes_waiting() > 0 || self.signals().commits.last.load(Ordering::Relaxed) > 1
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Finishes what is queued, moves the WAL into the database file and ends the threads.
    /// Later calls of `read` and `write` answer 503.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *self.0.threads.lock());
        if threads.is_empty() {
            return;
        }
        *self.0.pool.write() = None;
        // Readers first: the writer's last checkpoint then finds nobody in the WAL.
        self.0.readers.stop();
        let mut threads = threads.into_iter();
        let writer = threads.next_back();
        threads.for_each(|t| drop(t.join()));
        let _ = self.0.writer.send(writer::Message::Stop);
        writer.map(JoinHandle::join);
    }
}

/// Whether the file has an older schema than [`VERSION`].
///
/// # Errors
/// When it cannot be read.
pub fn is_older(path: &Path) -> Result<bool, OpenError> {
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let version = Connection::open_with_flags(path, flags)
        .and_then(|conn| conn.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)));
    Ok(version.map_err(|e| about(e.into(), path))? < VERSION)
}

/// About this database, and with what to do where it is damaged. A small one is looked through
/// for the pages; a large one would keep the person waiting for the message.
pub(crate) fn about(error: OpenError, path: &Path) -> OpenError {
    const SMALL: u64 = 64 << 20;
    match error.kind {
        OpenErrorKind::Damaged => {}
        // From the file system, which says it all, or from SQLite.
        OpenErrorKind::Closed if !error.text.contains("uid") => {
            return OpenError {
                text: open::closed(path, &error.text),
                kind: error.kind,
            };
        }
        _ => return error,
    }
    let (file, dir) = (
        path.display(),
        path.parent().unwrap_or(Path::new(".")).display(),
    );
    let mut text = format!("{file}: the database is damaged: {}", error.text);
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() <= SMALL) {
        for fault in backup::inspect(path)
            .map(|i| i.faults)
            .unwrap_or_default()
            .iter()
            .take(5)
        {
            text.push_str("\n  ");
            text.push_str(fault);
        }
    }
    text.push_str(&format!(
        "\nNothing was changed. See all of it with:  workspaced check {file}\n\
         Go back to a backup with:  workspaced restore BACKUP --data-dir {dir}\n\
         (the damaged database is kept beside the restored one)"
    ));
    OpenError {
        text,
        kind: OpenErrorKind::Damaged,
    }
}

fn busy() -> StoreError {
    StoreError::Busy(
        "too many requests are waiting for the database; nothing was changed, try again",
        1,
    )
}

fn dropped() -> StoreError {
    StoreError::Busy(
        "the database is busy or the server is stopping; nothing was changed, try again",
        2,
    )
}

/// Turns a panic inside a transaction into an error for the log, so that one bad request cannot
/// take a database thread down.
fn guard<T, E: From<StoreError>>(f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("panic");
        Err(StoreError::Internal(format!("panic in a transaction: {text}")).into())
    })
}
