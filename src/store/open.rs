//! Opening: the data directory, its lock, the pragmas.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use scheduled_thread_pool::ScheduledThreadPool;

/// Why a database could not be opened; the text is for the person who started the program.
#[derive(Debug)]
pub struct OpenError {
    pub(super) text: String,
    pub(super) damaged: bool,
}

impl OpenError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        OpenError {
            text: text.into(),
            damaged: false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for OpenError {}

impl From<rusqlite::Error> for OpenError {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        if matches!(e.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) {
            OpenError {
                text: e.to_string(),
                damaged: true,
            }
        } else {
            OpenError::new(format!("the database cannot be used: {e}"))
        }
    }
}

/// The file whose lock says that a data directory is served.
pub(super) const LOCK: &str = "workspaced.lock";
/// Waits this long for another process (the command line beside the service) to finish a write.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of the writer, KiB. Readers get less, since each has its own.
const WRITER_CACHE_KIB: i64 = 8192;
const READER_CACHE_KIB: i64 = 2048;
/// Compiled statements kept per connection; more than the program has.
const STATEMENTS: usize = 256;
/// A WAL that was reset is cut to this size, bytes.
const WAL_KEEP_BYTES: i64 = 16 << 20;

/// Makes the data directory (mode 0700) and takes its lock, which lasts as long as the returned
/// file is open. The lock belongs to the process: it goes with a crash.
///
/// # Errors
/// When the directory cannot be made, or another process serves it.
pub fn lock_data_dir(dir: &Path) -> Result<(File, PathBuf), OpenError> {
    let say = |what: &str, e: &dyn fmt::Display| {
        OpenError::new(format!("--data-dir {}: {what}: {e}", dir.display()))
    };
    if !dir.exists() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(dir)
            .map_err(|e| say("cannot be created", &e))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options
        .open(dir.join(LOCK))
        .map_err(|e| say("cannot be written", &e))?;
    match lock.try_lock() {
        Ok(()) => Ok((lock, dir.join("workspaced.db"))),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(format!(
            "--data-dir {}: another workspaced is running on this directory; stop it, or choose another directory",
            dir.display()
        ))),
        Err(TryLockError::Error(e)) => Err(say("cannot be locked", &e)),
    }
}

/// Whether a data directory is one that no process serves any more.
pub fn is_abandoned(dir: &Path) -> bool {
    File::open(dir.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// Pragmas are per connection, so every connection comes through here; the timeout first, since
/// the others may already have to wait.
fn pragmas(conn: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    // A plan that depends on a bound value (a LIMIT, say) is made anew at each use of the statement.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // SQLite's own lower() knows only ASCII.
    conn.create_scalar_function(
        "folded",
        1,
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC,
        |args| {
            Ok(args
                .get::<Option<String>>(0)?
                .map(|text| text.to_lowercase()))
        },
    )?;
    Ok(())
}

/// The one connection that writes.
pub(super) fn writer(path: &Path) -> Result<Connection, OpenError> {
    // Created with its mode rather than changed to it: there is no moment at which others can read
    // it. SQLite gives the WAL the mode of the database.
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|e| OpenError::new(format!("{}: {e}", path.display())))?;
    let conn = Connection::open(path)?;
    // Until it is known to be sound, not a byte of it is changed; not even by closing it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    pragmas(&conn, WRITER_CACHE_KIB)?;
    // What undoes a statement: SQLite walks through all of it at the end of each, if it is in memory.
    conn.pragma_update(None, "temp_store", "FILE")?;
    // Finds a damaged page when it is read, not when it is used.
    conn.pragma_update(None, "cell_size_check", true)?;
    glance(&conn)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::new(format!(
            "{}: write-ahead logging cannot be used here (SQLite answered {mode:?}); put the data directory on a local disk",
            path.display()
        )));
    }
    conn.pragma_update(None, "journal_size_limit", WAL_KEEP_BYTES)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(conn)
}

/// Reads the header (with it SQLite compares the size of the file), the schema, and the first pages
/// of every table: what can be seen of damage without reading all data.
fn glance(conn: &Connection) -> rusqlite::Result<()> {
    let tables: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        let mut first = conn.prepare(&format!(
            "SELECT * FROM \"{}\" LIMIT 1",
            table.replace('"', "\"\"")
        ))?;
        first.query([])?.next()?;
    }
    Ok(())
}

/// Moves everything into the database file and begins a new log: at start and at stop. Whoever else
/// holds the log, such as Litestream, is not waited for; the data is as safe there.
///
/// What a crashed process left in the log was perhaps never on the disk: it may have died because a
/// flush failed, and the kernel forgets that it did. Copied and flushed once more, it is.
pub(super) fn fold_log(conn: &Connection) {
    let done = conn
        .busy_timeout(Duration::from_millis(100))
        .and_then(|()| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
        .and_then(|()| conn.busy_timeout(BUSY_TIMEOUT));
    if let Err(e) = done {
        tracing::warn!(error = %e, "the checkpoint of the whole WAL failed; the WAL keeps the data");
    }
}

/// A connection beside the writer's and the readers'.
fn beside(path: &Path, cache_kib: i64) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    pragmas(&conn, cache_kib)?;
    Ok(conn)
}

/// A connection for one backup.
pub(super) fn for_backup(path: &Path) -> rusqlite::Result<Connection> {
    beside(path, READER_CACHE_KIB)
}

/// The connection that only copies pages of the WAL: it reads no page through a cache.
pub(super) fn for_checkpoints(path: &Path) -> rusqlite::Result<Connection> {
    let conn = beside(path, 0)?;
    // It knows that this is WAL only once it has read something.
    conn.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))?;
    Ok(conn)
}

/// The connections that read. `query_only` makes a write through them an error.
pub(super) fn pool(path: &Path, size: usize) -> Result<Pool<SqliteConnectionManager>, OpenError> {
    let manager = SqliteConnectionManager::file(path)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(|conn| {
            pragmas(conn, READER_CACHE_KIB)?;
            conn.pragma_update(None, "query_only", true)
        });
    let size = u32::try_from(size).unwrap_or(1).max(1);
    Pool::builder()
        .max_size(size)
        .min_idle(Some(size))
        // A reader keeps its connection for ever: no check on each use, no retirement.
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        // Three threads of the pool's own would have nothing to do.
        .thread_pool(Arc::new(ScheduledThreadPool::new(1)))
        .build(manager)
        .map_err(|e| OpenError::new(format!("{}: {e}", path.display())))
}
