//! Transactions: a connection, the one `now`, and for writers new ids and what to tell after commit.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::sync::Arc;

use rusqlite::{Connection, Params, Row};
use uuid::Uuid;

use super::attachments::Attachments;
use super::failure::{Failure, Fault, StoreError};
use super::group_commit::TURN_MICROS;
use super::id_source::IdSource;
use super::signals::{Topic, Touched};
use super::statements::{self, Keep};
use super::writer_cache::WriterCache;
use crate::clock::{Stopwatch, Timestamp};

/// A read transaction: one snapshot at one instant.
pub struct Tx<'a> {
    conn: &'a Connection,
    now: Timestamp,
    /// What the writer keeps compiled; a reader's connection is not its thread's own.
    pub(super) statements: Option<&'a dyn Keep>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: &'a Connection, now: Timestamp) -> Self {
        Tx {
            conn,
            now,
            statements: None,
        }
    }

    /// The instant of this transaction. All that it writes carries the same one.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

impl Tx<'_> {
    /// As [`Connection::execute`], for a text of the program: on the writer's thread it stays compiled.
    ///
    /// # Errors
    /// What SQLite returns.
    pub fn run(&self, sql: &'static str, params: impl Params) -> rusqlite::Result<usize> {
        match self.statements {
            Some(statements) => statements::execute(statements, sql, params),
            None => self.prepare_cached(sql)?.execute(params),
        }
    }

    /// As [`Connection::query_row`], for a text of the program: on the writer's thread it stays compiled.
    ///
    /// # Errors
    /// What SQLite or `f` returns; `QueryReturnedNoRows` when there is none.
    pub fn row<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        f: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let Some(statements) = self.statements else {
            return self.prepare_cached(sql)?.query_row(params, f);
        };
        let (mut asked, mut found) = (Some((params, f)), None);
        statements.with(sql, &mut |statement| {
            if let Some((params, f)) = asked.take() {
                found = Some(statement.query_row(params, f)?);
            }
            Ok(())
        })?;
        found.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// As [`Tx::row`], of all rows. For few: they lie in memory.
    ///
    /// # Errors
    /// What SQLite or `f` returns.
    pub fn rows<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        f: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let Some(statements) = self.statements else {
            return self.prepare_cached(sql)?.query_map(params, f)?.collect();
        };
        let (mut asked, mut found) = (Some((params, f)), Vec::new());
        statements.with(sql, &mut |statement| {
            if let Some((params, f)) = asked.take() {
                found = statement
                    .query_map(params, f)?
                    .collect::<rusqlite::Result<_>>()?;
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.conn
    }
}

/// What the writer has beside its connection.
#[derive(Default)]
pub(super) struct Writing {
    pub cache: WriterCache,
    pub attachments: Arc<Attachments>,
    /// How many transactions it has begun.
    pub transactions: Cell<u64>,
    /// Nobody has run in the present one yet: what is undone by undoing all of it needs no savepoint.
    pub first: Cell<bool>,
    /// Since the last of them began.
    pub turn: RefCell<Option<Stopwatch>>,
    /// How many microseconds it lasts where somebody waits.
    pub awaited_turn: Cell<u64>,
    /// Whether somebody waits for the writer.
    pub awaited: Option<Box<dyn Fn() -> bool + Send>>,
    /// What is known of the clock by which the present one is stamped.
    pub stamp: Cell<Stamp>,
    /// Of the jobs in it the one that took longest.
    pub longest: Cell<LongestJob>,
}

/// A job and the microseconds that it took.
#[derive(Clone, Copy, Default)]
pub(super) struct LongestJob {
    pub name: &'static str,
    pub micros: u64,
}

/// What is known of the clock that a transaction is stamped by.
#[derive(Clone, Copy, Default)]
pub struct Stamp {
    /// It shows what the wall clock does: what was dated by it may lie ahead because it was wrong. A clock
    /// that is driven goes where it is told.
    pub of_wall: bool,
    /// It shows a time that cannot be.
    pub wrong: bool,
    /// The wall clock jumped ahead by so much and is not followed.
    pub ahead_ms: i64,
}

/// A write transaction: one job's part of the shared one.
pub struct WriteTx<'a> {
    tx: Tx<'a>,
    source: &'a IdSource,
    pub(super) writer: &'a Writing,
    pub(super) effects: RefCell<Effects>,
}

/// What a committed write has to make known.
#[derive(Default, Clone, Copy)]
pub(super) struct Effects {
    pub touched: Touched,
    pub log: Option<i64>,
    /// What of the storage failed in a job.
    pub fault: Option<Fault>,
    /// A job without a savepoint has changed something and then failed: nothing can undo it alone.
    pub half_done: bool,
}

impl Effects {
    pub(super) fn merge(&mut self, other: Effects) {
        self.touched.merge(other.touched);
        self.log = self.log.max(other.log);
        self.fault = self.fault.or(other.fault);
        self.half_done |= other.half_done;
    }
}

impl<'a> WriteTx<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        statements: Option<&'a dyn Keep>,
        now: Timestamp,
        source: &'a IdSource,
        writer: &'a Writing,
    ) -> Self {
        WriteTx {
            tx: Tx {
                conn,
                now,
                statements,
            },
            source,
            writer,
            effects: RefCell::default(),
        }
    }

    /// A new UUID of version 7, later than every earlier one of this process at the same instant.
    pub fn new_id<T: From<Uuid>>(&self) -> T {
        T::from(self.source.id(self.now()))
    }

    /// The number of the shared transaction that this one is a part of: what differs may have been
    /// committed in between, or undone.
    pub fn transaction(&self) -> u64 {
        self.writer.transactions.get()
    }

    /// What is known of the clock by which this is stamped.
    pub fn clock(&self) -> Stamp {
        self.writer.stamp.get()
    }

    /// Whether this turn of the writer has taken so long that what can be left to another turn is left:
    /// sooner where somebody waits for the writer.
    pub fn turn_is_over(&self) -> bool {
        let turn = self.writer.turn.borrow();
        let Some(micros) = turn.as_ref().map(Stopwatch::micros) else {
            return false;
        };
        let awaited = || {
            self.writer
                .awaited
                .as_ref()
                .is_some_and(|awaited| awaited())
        };
        micros >= TURN_MICROS || micros >= self.writer.awaited_turn.get() && awaited()
    }

    /// What [`Store::attach`](super::Store::attach) was given.
    pub fn attachment<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.writer.attachments.get()
    }

    /// Hands `f` the one `M` that is kept, a default one to begin with. `f` must not ask for another.
    pub fn cached<M: Any + Default, R>(&self, f: impl FnOnce(&mut M) -> R) -> R {
        self.writer.cache.with(f)
    }

    /// `N` random bytes from the operating system.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn random<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        self.source.random()
    }

    /// Runs `f` in this transaction, but at another instant: for a driven clock that passes many in
    /// one commit, and for a seed, which has its ids from elsewhere too. Nothing else may write at
    /// an instant that is not the transaction's own.
    ///
    /// # Errors
    /// What `f` returns.
    pub(crate) fn at<T, E: Failure>(
        &self,
        now: Timestamp,
        source: Option<&IdSource>,
        f: impl FnOnce(&WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let then = WriteTx::new(
            self.conn,
            self.statements,
            now,
            source.unwrap_or(self.source),
            self.writer,
        );
        let result = f(&then);
        self.effects.borrow_mut().merge(*then.effects.borrow());
        result
    }

    /// This commit changes what `topic` names.
    pub fn changed(&self, topic: Topic) {
        self.effects.borrow_mut().touched.touch(topic);
    }

    /// This commit appends up to this row of the audit log.
    pub fn logged(&self, seq: i64) {
        let mut effects = self.effects.borrow_mut();
        effects.log = effects.log.max(Some(seq));
    }

    /// Runs `f` in a savepoint of its own: its `Err` undoes what it did, and nothing else.
    ///
    /// # Errors
    /// What `f` returns, or the failure to undo.
    pub fn nested<T, E: Failure>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.nested_as(Savepoint::Own, f)
    }

    /// Runs `f` and undoes what it did, whatever came of it: for what is asked and not to be done.
    ///
    /// # Errors
    /// What `f` returns, or the failure to undo.
    pub fn rehearsed<T, E: Failure>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let before = *self.effects.borrow();
        self.run(NESTED.open, [])?;
        let result = f();
        // A failure such as a full disk ends the whole transaction: there is no savepoint left then.
        if !self.is_autocommit() {
            self.run(NESTED.undo, [])?;
            self.run(NESTED.close, [])?;
        }
        let mut effects = self.effects.borrow_mut();
        *effects = before;
        if let Err(e) = &result {
            effects.fault = effects.fault.or(e.fault());
        }
        result
    }

    /// [`WriteTx::nested`] with or without the savepoint.
    ///
    /// # Errors
    /// As [`WriteTx::nested`].
    pub(crate) fn nested_as<T, E: Failure>(
        &self,
        savepoint: Savepoint,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.undoing(savepoint, &NESTED, f)
    }

    /// Runs `f`, and undoes what it did if it fails.
    pub(super) fn undoing<T, E: Failure>(
        &self,
        savepoint: Savepoint,
        sql: &SavepointSql,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let own = matches!(savepoint, Savepoint::Own);
        let (before, changes) = (*self.effects.borrow(), self.total_changes());
        if own {
            self.run(sql.open, [])?;
        }
        let result = f();
        // A failure such as a full disk ends the whole transaction: there is no savepoint left then.
        if own && !self.is_autocommit() {
            if result.is_err() {
                self.run(sql.undo, [])?;
            }
            self.run(sql.close, [])?;
        }
        if let Err(e) = &result {
            let mut effects = self.effects.borrow_mut();
            let half_done = !own && (effects.half_done || self.total_changes() != changes);
            *effects = before;
            effects.half_done |= half_done;
            effects.fault = effects.fault.or(e.fault());
        }
        result
    }
}

/// How the changes of what fails are undone.
#[derive(Clone, Copy)]
pub(crate) enum Savepoint {
    /// By a savepoint of its own. It keeps a copy of every page that is touched.
    Own,
    /// There is none: it validates first. Should it have changed something after all, all who share
    /// the commit are told that nothing was changed. Who is the first of a transaction never has one:
    /// the transaction itself is begun anew.
    None,
}

/// The statements of a savepoint.
pub(super) struct SavepointSql {
    open: &'static str,
    undo: &'static str,
    close: &'static str,
}

/// Around a whole job.
pub(super) const JOB: SavepointSql = SavepointSql {
    open: "SAVEPOINT job",
    undo: "ROLLBACK TO job",
    close: "RELEASE job",
};

/// Inside one.
const NESTED: SavepointSql = SavepointSql {
    open: "SAVEPOINT nested",
    undo: "ROLLBACK TO nested",
    close: "RELEASE nested",
};

impl<'a> Deref for WriteTx<'a> {
    type Target = Tx<'a>;
    fn deref(&self) -> &Tx<'a> {
        &self.tx
    }
}

thread_local! {
    /// Pages in the WAL after the last commit of this thread that wrote any; set by SQLite's hook.
    pub(super) static WAL_PAGES: Cell<u32> = const { Cell::new(0) };
}
