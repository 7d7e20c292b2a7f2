//! Backups of the service: by the clock, and when an operator asks. Both go to the directory of
//! `--backup-dir` and nowhere else; a caller never names a path.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::api_keys::carry_revocations;
use crate::audit::{self, Actor, Entry};
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::rules::config::{BackupSettings, Config};
use crate::store::{self, Backup, BackupRecord, Restored, StoreError, Target};

/// What a backup is, for who downloads it.
pub const CONTENT: &str = "application/vnd.sqlite3";

/// The clock is looked at this often at least: the wall clock may jump.
const LOOK: Duration = Duration::from_secs(60);

/// Puts a copy of `backup` in the place of `db`; keys that were revoked since stay so. See [`store::restore`].
///
/// # Errors
/// As [`store::restore`].
pub fn restore(
    backup: &Path,
    db: &Path,
    checksum: bool,
    now: Timestamp,
) -> std::result::Result<Restored, StoreError> {
    store::restore(backup, db, checksum, now, carry_revocations)
}

/// The backups of a running service. Cheap to clone.
#[derive(Clone)]
pub struct Backups(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Option<BackupSettings>,
    /// Held by the one backup that is being made.
    running: AsyncMutex<()>,
    last_error: Mutex<Option<String>>,
}

impl Backups {
    /// As configured; none is made before it is due.
    pub fn new(store: Store, config: &Config) -> Self {
        Backups(Arc::new(Inner {
            store,
            settings: config.backups.clone(),
            running: AsyncMutex::default(),
            last_error: Mutex::default(),
        }))
    }
}

/// One backup.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
pub struct BackupView {
    /// Name of the file in the configured directory.
    name: String,
    /// Its size.
    bytes: u64,
    /// Its SHA-256, hexadecimal; also in the file `NAME.sha256`.
    sha256: String,
    /// The instant whose state it holds.
    created_at: Timestamp,
}

impl From<&Backup> for BackupView {
    fn from(backup: &Backup) -> Self {
        BackupView {
            name: backup
                .file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            bytes: backup.bytes,
            sha256: backup.sha256.clone(),
            created_at: backup.created_at,
        }
    }
}

/// `GET /system/backups`
#[derive(Serialize, ToSchema)]
pub struct BackupList {
    /// The backups that are there, newest first.
    data: Vec<BackupView>,
    total: usize,
    /// The configured directory; null when there is none.
    directory: Option<String>,
    /// Seconds between two backups; null when none are made by the clock.
    every_seconds: Option<u64>,
    /// How many are kept.
    keep: Option<usize>,
    /// One is being made.
    running: bool,
    /// Why the last try failed; null when it did not.
    last_error: Option<String>,
    /// When one was last tried to be made there.
    last_tried_at: Option<Timestamp>,
    /// The instant whose state the last good one holds.
    last_good_at: Option<Timestamp>,
}

/// `GET /system/backups`
pub async fn list(State(backups): State<Backups>, _: Caller) -> Result<Json<BackupList>> {
    let settings = backups.0.settings.as_ref();
    let data: Vec<BackupView> = match settings {
        Some(settings) => blocking(&settings.dir, store::list_backups)
            .await?
            .iter()
            .map(Into::into)
            .collect(),
        None => Vec::new(),
    };
    let record = record(&backups).await?;
    let last_error = backups.0.last_error.lock().clone();
    Ok(Json(BackupList {
        last_error: last_error.or_else(|| record.as_ref()?.error.clone()),
        last_tried_at: record.as_ref().map(|record| record.tried_at),
        last_good_at: record.and_then(|record| record.good_at),
        total: data.len(),
        data,
        directory: settings.map(|s| s.dir.display().to_string()),
        every_seconds: settings.map(|s| s.every.as_secs()).filter(|s| *s > 0),
        keep: settings.map(|s| s.keep),
        running: backups.0.running.try_lock().is_err(),
    }))
}

/// `POST /system/backups`
pub async fn create(
    State(backups): State<Backups>,
    caller: Caller,
) -> Result<(StatusCode, Json<BackupView>)> {
    let backup = make(&backups).await?;
    let view = BackupView::from(&backup);
    let entry = backups.0.store.write(move |tx| {
        audit::record(
            tx,
            &Entry {
                actor: Actor::Key(&caller),
                tenant_id: caller.tenant_id(),
                workspace_id: None,
                kind: "backup.created",
                resource: tx.new_id(),
                before: audit::NONE,
                after: Some(&BackupView::from(&backup)),
            },
        )
    });
    entry.await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// A backup, as SQLite reads it.
#[derive(ToSchema)]
#[schema(value_type = String)]
pub struct BackupFile(#[expect(dead_code, reason = "for the schema only")] String);

/// `GET /system/backups/{name}`: one of the list, as a file. Who took it stands in the audit log, before the first
/// byte: it holds everything of every organization.
pub async fn download(
    State(backups): State<Backups>,
    caller: Caller,
    UrlPath(name): UrlPath<String>,
) -> Result<Response> {
    let all = match &backups.0.settings {
        Some(settings) => blocking(&settings.dir, store::list_backups).await?,
        None => Vec::new(),
    };
    // Only what is in the list: a name leads nowhere else.
    let mut views = all.iter().map(|backup| (backup, BackupView::from(backup)));
    let (backup, view) = views
        .find(|(_, view)| view.name == name)
        .ok_or_else(|| Error::not_found("backup"))?;
    let file = tokio::fs::File::open(&backup.file)
        .await
        .map_err(|e| Error::of_io(&e, &backup.file))?;
    let entry = backups.0.store.write(move |tx| {
        audit::record(
            tx,
            &Entry {
                actor: Actor::Key(&caller),
                tenant_id: caller.tenant_id(),
                workspace_id: None,
                kind: "backup.downloaded",
                resource: tx.new_id(),
                before: audit::NONE,
                after: Some(&view),
            },
        )
    });
    entry.await?;
    let saved = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(CONTENT)),
        (CONTENT_LENGTH, HeaderValue::from(backup.bytes)),
        (
            CONTENT_DISPOSITION,
            HeaderValue::from_str(&saved).map_err(Error::internal)?,
        ),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// What is known of the backups in the configured directory.
async fn record(backups: &Backups) -> Result<Option<BackupRecord>> {
    let Some(settings) = &backups.0.settings else {
        return Ok(None);
    };
    let dir = store::whole(&settings.dir);
    let all = backups.0.store.read(|tx| Ok(store::backup_records_in(tx)?));
    Ok(all.await?.into_iter().find(|one| one.directory == dir))
}

/// How backups go, for those who watch the service.
#[derive(Default)]
pub struct Standing {
    /// Seconds since the state that the last good one holds; `None` = there is none.
    pub age_seconds: Option<i64>,
    /// The last try failed.
    pub failed: bool,
    /// What somebody should look at.
    pub warning: Option<String>,
}

/// How backups go; without a directory there is nothing to say.
///
/// # Errors
/// When the store fails.
pub async fn standing(backups: &Backups) -> Result<Standing> {
    let Some(settings) = &backups.0.settings else {
        return Ok(Standing::default());
    };
    let (record, now) = (record(backups).await?, backups.0.store.now());
    let error = backups.0.last_error.lock().clone();
    let error = error.or_else(|| record.as_ref()?.error.clone());
    let good_at = record.and_then(|record| record.good_at);
    let age = good_at.map(|at| age(at, now));
    let old = age.filter(|age| !settings.every.is_zero() && *age > settings.every * 2);
    let last = good_at.map_or("there is no good one".to_owned(), |at| {
        format!("the last good one is of {at}")
    });
    Ok(Standing {
        age_seconds: age.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        failed: error.is_some(),
        warning: match error {
            Some(error) => Some(format!("the last backup failed ({error}); {last}")),
            None => old.map(|_| format!("no backup is made any more; {last}")),
        },
    })
}

/// Makes a backup in the configured directory.
///
/// # Errors
/// 409 when no directory is configured or a backup is being made; what the storage says.
pub async fn make(backups: &Backups) -> Result<Backup> {
    let Some(BackupSettings { dir, keep, .. }) = backups.0.settings.clone() else {
        return Err(Error::conflict(
            "BACKUPS_NOT_CONFIGURED",
            "this server has no directory for backups; start it with --backup-dir DIR, or use `workspaced backup`",
        ));
    };
    let Ok(_running) = backups.0.running.try_lock() else {
        return Err(Error::conflict(
            "BACKUP_RUNNING",
            "a backup is being made; wait until it is there",
        ));
    };
    let (db, now) = (backups.0.store.path().to_owned(), backups.0.store.now());
    let looked_at = dir.clone();
    let target = Target::Dir {
        dir,
        keep: Some(keep),
    };
    let made = blocking(&db, move |db| store::take_backup(db, &target, now)).await;
    let error = made.as_ref().err().map(|e| e.message().to_owned());
    *backups.0.last_error.lock() = error;
    if let Ok(backup) = &made {
        let ahead = blocking(&looked_at, move |dir| Ok(store::dated_ahead(dir, now))).await?;
        if !ahead.is_empty() {
            tracing::warn!(files = ?ahead, "backups whose names lie ahead of the clock: it was ahead, or is behind");
        }
        tracing::info!(file = %backup.file.display(), bytes = backup.bytes, "backup made");
    }
    made
}

/// Runs `f` on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    path: &Path,
    f: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> Result<T> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || f(&path))
        .await
        .map_err(Error::internal)?;
    Ok(done?)
}

/// Makes a backup whenever the newest one is old enough, until `stop` changes. What counts is the
/// age of the files, so a restart neither forgets a backup nor makes one too many.
pub async fn run(backups: Backups, mut stop: watch::Receiver<bool>) {
    let Some(BackupSettings { dir, every, .. }) = backups.0.settings.clone() else {
        return;
    };
    if every.is_zero() {
        return;
    }
    loop {
        let newest = blocking(&dir, store::list_backups)
            .await
            // One that is dated ahead was made while the clock was wrong, and says nothing of when the next is due.
            .map(|all| {
                all.iter()
                    .map(|b| b.created_at)
                    .find(|at| *at <= backups.0.store.now())
            });
        let mut wait = match newest {
            Ok(Some(at)) => every.saturating_sub(age(at, backups.0.store.now())),
            Ok(None) => Duration::ZERO,
            Err(_) => LOOK,
        };
        if wait.is_zero() {
            wait = every;
            if let Err(e) = make(&backups).await {
                tracing::error!(
                    error = e.message(),
                    detail = e.internal_detail(),
                    "the backup failed"
                );
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait.min(LOOK)) => {}
            _ = stop.changed() => return,
        }
    }
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0))
}
