//! What can go wrong in the store, in its own words. What a client is told of it is decided above.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// What can fail of the storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No space, or no space that this process may use.
    Full,
    /// The disk or the file system refuses.
    Io,
    /// The database file is damaged.
    Damaged,
}

/// Why the store did not do what it was asked for. Nothing of it was done, unless it says otherwise.
#[derive(Debug)]
pub enum StoreError {
    /// Too much is waiting; try again after so many seconds.
    Busy(&'static str, u32),
    /// The storage failed in the moment of the commit, and has not worked since: whether the change was
    /// kept will be seen when it works again.
    Undecided(rusqlite::Error),
    /// A page of the database is damaged: nothing is written any more.
    Damaged,
    Sqlite(rusqlite::Error),
    /// What the file system says of a file.
    Io(io::Error, PathBuf),
    /// A file is there that must not be overwritten.
    Exists(String),
    /// This process may not open a file: who it is, and whose the file is.
    Closed(String),
    /// It cannot be done as asked: a word for programs, and why.
    Refused(&'static str, String),
    /// A defect, of the program or of the machine.
    Internal(String),
}

impl StoreError {
    pub(super) fn io(error: io::Error, path: &Path) -> Self {
        StoreError::Io(error, path.to_owned())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Busy(text, _) => f.write_str(text),
            StoreError::Undecided(e) | StoreError::Sqlite(e) => e.fmt(f),
            StoreError::Damaged => f.write_str("the database is damaged"),
            StoreError::Io(e, path) => write!(f, "{}: {e}", path.display()),
            StoreError::Exists(text)
            | StoreError::Closed(text)
            | StoreError::Refused(_, text)
            | StoreError::Internal(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        StoreError::Sqlite(e)
    }
}

/// The error of those who use the store: its closures return it, and what the store itself has to say
/// becomes one.
pub trait Failure: From<StoreError> + From<rusqlite::Error> + Send + 'static {
    /// What of the storage failed, where it was that.
    fn fault(&self) -> Option<Fault>;
}

/// What of the storage a failure of SQLite means.
pub fn fault_of(e: &rusqlite::Error) -> Option<Fault> {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly, SystemIoFailure,
    };
    match e.sqlite_error_code()? {
        DiskFull => Some(Fault::Full),
        SystemIoFailure | ReadOnly | CannotOpen => Some(Fault::Io),
        DatabaseCorrupt | NotADatabase => Some(Fault::Damaged),
        _ => None,
    }
}
