//! Opening: the data directory, its lock, the pragmas.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use scheduled_thread_pool::ScheduledThreadPool;

use super::failure::StoreError;

/// `PRAGMA auto_vacuum` where pages can be given back one by one.
pub(super) const INCREMENTAL: i64 = 2;

/// Why a database could not be opened; the text is for the person who started the program.
#[derive(Debug)]
pub struct OpenError {
    pub(super) text: String,
    pub(super) kind: OpenErrorKind,
}

/// What kind of reason it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenErrorKind {
    /// The database is not sound.
    Damaged,
    /// This process may not open it, or not write to it: nothing is known of the database.
    Closed,
    Other,
}

impl OpenError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        OpenError {
            text: text.into(),
            kind: OpenErrorKind::Other,
        }
    }

    /// What kind of reason it is.
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// Where the file system does not let this process have a file: that; else what `other` says.
    fn of_io(path: &Path, e: &io::Error, other: impl FnOnce() -> Self) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) {
            OpenError {
                text: closed(path, &e.to_string()),
                kind: OpenErrorKind::Closed,
            }
        } else {
            other()
        }
    }
}

/// That a file cannot be opened, who wants to, and whose it is. It says nothing of what is in the file.
pub(super) fn closed(path: &Path, why: &str) -> String {
    let me = rustix::process::geteuid().as_raw();
    // Of what can be looked at.
    let whose = path.ancestors().find_map(|at| {
        let meta = at.metadata().ok()?;
        let (uid, mode) = (meta.uid(), meta.mode() & 0o777);
        Some(format!(
            "{} belongs to uid {uid} (mode {mode:o})",
            at.display()
        ))
    });
    format!(
        "{}: it cannot be opened: {why}. This process runs as uid {me}; {}. Nothing was changed, and whether the \
         database is sound was not looked at",
        path.display(),
        whose.unwrap_or_default()
    )
}

/// Whether this process may read a file; it is not opened for that.
///
/// # Errors
/// Why not: [`StoreError::Closed`], or that there is no such file.
pub fn readable(path: &Path) -> Result<(), StoreError> {
    match path.metadata() {
        Ok(meta) if meta.is_file() => {}
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Err(StoreError::Closed(closed(path, &e.to_string())));
        }
        _ => {
            return Err(StoreError::Refused(
                "NO_SUCH_FILE",
                format!("{}: there is no such file", path.display()),
            ));
        }
    }
    rustix::fs::access(path, rustix::fs::Access::READ_OK)
        .map_err(|e| StoreError::Closed(closed(path, &io::Error::from(e).to_string())))
}

/// A connection that only reads. A database that nobody serves and whose log is empty is read without a
/// trace: also from where nothing can be written.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    readable(path)?;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log).metadata().map_or(0, |meta| meta.len());
    let served = path
        .parent()
        .is_some_and(|dir| dir.join(LOCK).exists() && !is_abandoned(dir));
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match path.to_str() {
        Some(text) if log == 0 && !served => {
            flags |= OpenFlags::SQLITE_OPEN_URI;
            let text = text
                .replace('%', "%25")
                .replace('?', "%3f")
                .replace('#', "%23");
            Connection::open_with_flags(format!("file:{text}?immutable=1"), flags)
        }
        _ => Connection::open_with_flags(path, flags),
    };
    let ready = opened.and_then(|conn| {
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // What cannot be opened is found out by reading.
        conn.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
        Ok(conn)
    });
    ready.map_err(|e| match e.sqlite_error_code() {
        Some(code) if is_closed(code) && log > 0 => StoreError::Closed(closed(
            path,
            &format!(
                "{e}; its log {}-wal has to be read too, for which a file is made beside it. Copy both to where this \
                 process may write",
                path.display()
            ),
        )),
        Some(code) if is_closed(code) => StoreError::Closed(closed(path, &e.to_string())),
        _ => e.into(),
    })
}

fn is_closed(code: rusqlite::ErrorCode) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    matches!(code, CannotOpen | PermissionDenied | ReadOnly)
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
                kind: OpenErrorKind::Damaged,
            }
        } else if e.sqlite_error_code().is_some_and(is_closed) {
            OpenError {
                text: e.to_string(),
                kind: OpenErrorKind::Closed,
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
/// A WAL that begins anew is cut to so many bytes.
pub(super) const KEEP_BYTES: i64 = 16 << 20;

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
            .map_err(|e| OpenError::of_io(dir, &e, || say("cannot be created", &e)))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options
        .open(dir.join(LOCK))
        .map_err(|e| OpenError::of_io(&dir.join(LOCK), &e, || say("cannot be written", &e)))?;
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
    // Large sorts go to the disk: a proof of ten million events is not to need gigabytes. And what undoes a
    // statement: SQLite walks through all of it at the end of each, if it is in memory.
    conn.pragma_update(None, "temp_store", "FILE")?;
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
    options.open(path).map_err(|e| {
        OpenError::of_io(path, &e, || {
            OpenError::new(format!("{}: {e}", path.display()))
        })
    })?;
    let conn = Connection::open(path)?;
    // Until it is known to be sound, not a byte of it is changed; not even by closing it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    pragmas(&conn, WRITER_CACHE_KIB)?;
    // Finds a damaged page when it is read, not when it is used.
    conn.pragma_update(None, "cell_size_check", true)?;
    glance(&conn)?;
    // Of a file that is made now; another one learns it when it is written anew.
    conn.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::new(format!(
            "{}: write-ahead logging cannot be used here (SQLite answered {mode:?}); put the data directory on a local disk",
            path.display()
        )));
    }
    conn.pragma_update(None, "journal_size_limit", KEEP_BYTES)?;
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
