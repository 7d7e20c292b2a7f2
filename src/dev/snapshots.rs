//! Named copies of the whole database, and going back to one.
//!
//! A copy is a database file of its own beside the live one. Going back copies it over the live one
//! on the connection that writes, between two commits: whoever reads sees one or the other, and the
//! clock goes back with it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::emulator::{Emulator, Input, to_its_end};
use super::state;
use crate::clock::{Course, Timestamp};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::store::{self, Signals, copies};

/// The snapshot that is taken of what was seeded.
pub const SEED: &str = "seed";
/// Not a snapshot: a new installation.
const EMPTY: &str = "empty";
/// Snapshots of one installation at most: each is as large as the database.
const MOST: usize = 100;

/// How often a copy waits for another process that is writing.
const TRIES: u32 = 200;

/// One snapshot.
#[derive(Serialize)]
pub(super) struct Snapshot {
    name: String,
    /// What the clock showed when it was taken.
    now: Option<Timestamp>,
    bytes: u64,
}

/// `GET /_dev/snapshots`
#[derive(Serialize)]
pub(super) struct Snapshots {
    data: Vec<Snapshot>,
    total: usize,
}

/// `POST /_dev/snapshots`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    name: String,
}

/// `POST /_dev/reset`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    to: String,
}

/// Where an installation stands after going back.
#[derive(Serialize)]
pub(super) struct Restored {
    restored: String,
    now: Timestamp,
    /// The key of a new installation that nobody had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
}

fn folder(store: &Store) -> PathBuf {
    store.path().with_file_name("snapshots")
}

fn file(store: &Store, name: &str) -> PathBuf {
    folder(store).join(format!("{name}.db"))
}

/// Letters, digits and hyphens: it becomes the name of a file.
fn check_name(field: &'static str, name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    Err(Error::field(field, "must be 1 to 63 of a-z, 0-9 and -"))
}

fn names(store: &Store) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder(store)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::internal(format!("snapshots: {e}"))),
    };
    let name = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".db")?.to_owned();
        check_name("name", &name).is_ok().then_some(name)
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| name(entry.ok()?.path()))
        .collect();
    names.sort();
    Ok(names)
}

/// Takes a snapshot; one of the same name is replaced.
///
/// # Errors
/// When it cannot be written.
pub async fn take(store: &Store, name: &str) -> Result<()> {
    store.exclusive(copy(store, name)).await
}

/// [`take`] for threads outside the runtime, such as the command line.
///
/// # Errors
/// As [`take`].
pub fn take_blocking(store: &Store, name: &str) -> Result<()> {
    store.exclusive_blocking(copy(store, name))
}

fn copy(
    store: &Store,
    name: &str,
) -> impl FnOnce(&mut Connection, &Signals) -> Result<()> + Send + 'static {
    let (folder, path) = (folder(store), file(store, name));
    let clock = store.clock().clone();
    move |conn, _| {
        let failed = |e: std::io::Error| Error::internal(format!("snapshots: {e}"));
        store::make_dir(&folder)?;
        // Written beside and renamed: a copy that was cut short never has the name.
        let draft = path.with_extension("draft");
        let _ = std::fs::remove_file(&draft);
        {
            // SQLite fills an empty file that is there, and gives its log the same mode.
            let private = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&draft);
            private.map_err(failed)?;
            let mut copy = Connection::open(&draft)?;
            // Lost with a power failure, as everything of an emulator may be.
            copy.pragma_update(None, "synchronous", "OFF")?;
            copy_pages(conn, &mut copy)?;
            copy.pragma_update(None, "journal_mode", "DELETE")?;
            if let Some(course) = clock.course() {
                let course = Course::new(course.mode, clock.now(), course.speed);
                state::keep_course(&copy, course)?;
            }
            copies::mark(&copy, 0)?;
        }
        std::fs::rename(&draft, &path).map_err(failed)
    }
}

/// Copies a whole database over another one, in one transaction.
fn copy_pages(from: &Connection, to: &mut Connection) -> Result<()> {
    let backup = Backup::new(from, to)?;
    for _ in 0..TRIES {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            // Another process beside the service is writing.
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Err(Error::unavailable(
        "the database is in use; nothing was changed, try again",
        1,
    ))
}

/// Puts the copy at `path` in place of the live database.
async fn put_back(dev: &Emulator, path: PathBuf) -> Result<()> {
    let looked_at = path.clone();
    let inspection = tokio::task::spawn_blocking(move || store::inspect(&looked_at))
        .await
        .map_err(Error::internal)??;
    if let Some(fault) = inspection.faults.first() {
        return Err(Error::unprocessable(
            "SNAPSHOT_DAMAGED",
            format!(
                "{}: the snapshot is damaged ({fault}); nothing was changed. Take it again, or go back to another one",
                path.display()
            ),
        ));
    }
    let from = move || -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let from = Connection::open_with_flags(&path, flags)?;
        let version: i64 = from.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != store::VERSION {
            return Err(Error::conflict(
                "SNAPSHOT_VERSION",
                "this snapshot was taken by another version of the program; take it again",
            ));
        }
        Ok(from)
    };
    replace(dev, from).await
}

async fn replace(
    dev: &Emulator,
    from: impl FnOnce() -> Result<Connection> + Send + 'static,
) -> Result<()> {
    let (clock, frozen) = (dev.store.clock().clone(), dev.fleet.config.frozen);
    dev.store
        .exclusive(move |conn, signals: &Signals| {
            let from = from()?;
            conn.flush_prepared_statement_cache();
            // Of a damaged database this is what was last written.
            let given = copies::last_number(conn).unwrap_or(0);
            let given = given.max(*signals.log().borrow());
            copy_pages(&from, conn)?;
            copies::go_on(conn, given)?;
            let last: i64 =
                conn.query_row("SELECT coalesce(max(seq), 0) FROM audit_log", [], |row| {
                    row.get(0)
                })?;
            let course =
                state::course(conn)?.unwrap_or_else(|| state::first_course(&clock, frozen));
            clock.steer(course);
            signals.replaced(last);
            Ok(())
        })
        .await?;
    dev.streams.restart();
    Ok(())
}

fn restored(dev: &Emulator, name: &str, api_key: Option<String>) -> Json<Restored> {
    Json(Restored {
        restored: name.to_owned(),
        now: dev.store.now(),
        api_key,
    })
}

/// `GET /_dev/snapshots`
pub(super) async fn list(State(dev): State<Emulator>) -> Result<Json<Snapshots>> {
    let store = dev.store.clone();
    let look = move || -> Result<Vec<Snapshot>> {
        let read = |name: String| {
            let path = file(&store, &name);
            Snapshot {
                now: instant_of(&path),
                bytes: path.metadata().map_or(0, |m| m.len()),
                name,
            }
        };
        Ok(names(&store)?.into_iter().map(read).collect())
    };
    let data = tokio::task::spawn_blocking(look)
        .await
        .map_err(Error::internal)??;
    Ok(Json(Snapshots {
        total: data.len(),
        data,
    }))
}

fn instant_of(path: &Path) -> Option<Timestamp> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    Some(state::course(&conn).ok()??.at)
}

/// `POST /_dev/snapshots`
pub(super) async fn create(
    State(dev): State<Emulator>,
    Input(input): Input<Create>,
) -> Result<(StatusCode, Json<Snapshot>)> {
    let _one = dev.moving.lock().await;
    let name = input.name;
    check_name("name", &name)?;
    if [SEED, EMPTY].contains(&name.as_str()) {
        let text = "seed and empty are names of their own; choose another one";
        return Err(Error::field("name", text));
    }
    let known = names(&dev.store)?;
    if known.len() >= MOST && !known.contains(&name) {
        return Err(Error::conflict(
            "TOO_MANY_SNAPSHOTS",
            format!("there are {MOST} snapshots; take this one under the name of another"),
        ));
    }
    let now = dev.store.now();
    take(&dev.store, &name).await?;
    let bytes = file(&dev.store, &name).metadata().map_or(0, |m| m.len());
    let now = Some(now);
    Ok((StatusCode::CREATED, Json(Snapshot { name, now, bytes })))
}

/// `POST /_dev/snapshots/{name}/restore`
pub(super) async fn restore(
    State(dev): State<Emulator>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Json<Restored>> {
    let _one = dev.moving.lock().await;
    check_name("name", &name)?;
    go_back(&dev, &name).await
}

async fn go_back(dev: &Emulator, name: &str) -> Result<Json<Restored>> {
    let path = file(&dev.store, name);
    if !path.exists() {
        let known = names(&dev.store)?.join(", ");
        let what = if name == SEED {
            "nothing was seeded here; start with `workspaced demo` or `workspaced seed`".to_owned()
        } else {
            format!("there is no snapshot {name}; there are: {known}")
        };
        return Err(Error::no_route(what));
    }
    put_back(dev, path).await?;
    Ok(restored(dev, name, None))
}

/// `POST /_dev/reset`
pub(super) async fn reset(
    State(dev): State<Emulator>,
    Input(input): Input<Reset>,
) -> Result<Json<Restored>> {
    to_its_end(async move { reset_to(&dev, &input.to).await }).await
}

async fn reset_to(dev: &Emulator, to: &str) -> Result<Json<Restored>> {
    let _one = dev.moving.lock().await;
    if to != EMPTY {
        check_name("to", to)?;
        let restored = go_back(dev, to).await?;
        dev.faults.clear();
        return Ok(restored);
    }
    replace(dev, || {
        let fresh = Connection::open_in_memory()?;
        store::create(&fresh)?;
        copies::mark(&fresh, 0)?;
        Ok(fresh)
    })
    .await?;
    dev.faults.clear();
    let config = dev.fleet.config.clone();
    let key = dev
        .store
        .write(move |tx| {
            crate::tenants::first_start::first_start(tx, &config.file, config.dev, None)
        })
        .await?;
    Ok(restored(dev, EMPTY, key))
}
