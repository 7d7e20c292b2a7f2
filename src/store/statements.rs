//! Statements that stay compiled for as long as the writer has its connection.
//!
//! The cache of the connection finds a statement by its text, and takes longer for that than a small
//! statement takes to run. A text that is part of the program is found by where it lies.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use rusqlite::{Connection, Params, PrepFlags, Statement};

/// Where a text of the program lies, and its length. One text may lie in several places, but no two at
/// one.
type Key = (usize, usize);

/// The statements of one connection.
pub(super) struct Statements<'c> {
    conn: &'c Connection,
    kept: RefCell<HashMap<Key, Option<Statement<'c>>, FixedState>>,
}

impl<'c> Statements<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Statements {
            conn,
            kept: RefCell::default(),
        }
    }

    pub(super) fn execute(
        &self,
        sql: &'static str,
        params: impl Params,
    ) -> rusqlite::Result<usize> {
        execute(self, sql, params)
    }
}

/// [`Statements`], whatever their connection.
pub(super) trait Keep {
    /// Hands `f` the statement, compiled now if it was not before.
    fn with(
        &self,
        sql: &'static str,
        f: &mut dyn FnMut(&mut Statement<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;
}

impl Keep for Statements<'_> {
    fn with(
        &self,
        sql: &'static str,
        f: &mut dyn FnMut(&mut Statement<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let key = (sql.as_ptr().addr(), sql.len());
        let kept = self.kept.borrow_mut().get_mut(&key).and_then(Option::take);
        let mut statement = match kept {
            Some(statement) => statement,
            None => self
                .conn
                .prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?,
        };
        let result = f(&mut statement);
        self.kept.borrow_mut().insert(key, Some(statement));
        result
    }
}

pub(super) fn execute(
    keep: &dyn Keep,
    sql: &'static str,
    params: impl Params,
) -> rusqlite::Result<usize> {
    let (mut params, mut changed) = (Some(params), 0);
    keep.with(sql, &mut |statement| {
        if let Some(params) = params.take() {
            changed = statement.execute(params)?;
        }
        Ok(())
    })?;
    Ok(changed)
}
