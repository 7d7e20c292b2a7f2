//! Backups, restoring them, and damage: nothing is lost, nothing is overwritten, and what cannot be
//! trusted is refused with what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::harness::{START, Service, at, request, runtime};
use workspaced::testing::Clock;
use workspaced::testing::store::{
    Target, checksum_file, give_back, inspect, list_backups, restore, sha256, take_backup,
};
use workspaced::testing::{BackupSettings, Config, Error};
use workspaced::testing::{Store, VERSION};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A data directory with some history, closed; what its database holds.
fn data_dir() -> (TempDir, PathBuf) {
    let s = Service::new();
    let workspace = s.workspace("Kept");
    s.running(&workspace, "small");
    s.app.store.close();
    let dir = TempDir::new().unwrap();
    let db = dir.path().join("workspaced.db");
    fs::copy(s.app.store.path(), &db).unwrap();
    (dir, db)
}

/// Names of the workspaces in a database file that nobody serves.
fn workspaces(db: &Path) -> Vec<String> {
    let conn = Connection::open(db).unwrap();
    let mut statement = conn
        .prepare("SELECT name FROM workspaces ORDER BY rowid")
        .unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn add_workspace(db: &Path, name: &str) {
    let conn = Connection::open(db).unwrap();
    let sql = "INSERT INTO workspaces (id, tenant_id, name, slug, created_at, updated_at)
               SELECT randomblob(16), id, ?1, ?1, 9e12, 9e12 FROM tenants";
    conn.execute(sql, [name]).unwrap();
}

#[test]
fn a_backup_under_writes_is_sound_and_holds_all_that_was_answered_before() {
    let s = Service::new();
    let workspace = s.workspace("Busy");
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicI64::new(0)),
    );
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, answered, store) = (stop.clone(), answered.clone(), s.app.store.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let sql = "UPDATE workspaces SET description = coalesce(description, 0) + 1 WHERE name = 'Busy'";
                    store.write_blocking(|tx| Ok(tx.execute(sql, [])?)).unwrap();
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let dir = TempDir::new().unwrap();
    for n in 0..5 {
        let before = answered.load(Ordering::SeqCst);
        let file = dir.path().join(format!("{n}.db"));
        let backup =
            take_backup(s.app.store.path(), &Target::File(file.clone()), at(START)).unwrap();
        assert_eq!(inspect(&file).unwrap().faults, Vec::<String>::new());
        assert_eq!(backup.bytes, fs::metadata(&file).unwrap().len());
        let held: i64 = Connection::open(&file)
            .unwrap()
            .query_row("SELECT cast(coalesce(description, 0) AS INTEGER) FROM workspaces WHERE name = 'Busy'", [], |r| r.get(0))
            .unwrap();
        // A writer counts after it was answered, so the copy may be ahead of the count, never behind.
        assert!(held >= before, "{held} of {before}");
        while answered.load(Ordering::SeqCst) == before {
            std::thread::yield_now(); // the writers go on
        }
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|w| w.join().unwrap());
    s.get(&format!("/workspaces/{workspace}")).expect(200);
}

#[test]
fn a_backup_is_private_has_its_checksum_and_replaces_nothing() {
    let (dir, db) = data_dir();
    let file = dir.path().join("copy.db");
    let backup = take_backup(&db, &Target::File(file.clone()), at(START)).unwrap();
    assert_eq!(backup.sha256, sha256(&file).unwrap());
    let line = fs::read_to_string(checksum_file(&file)).unwrap();
    assert_eq!(
        line,
        format!("{}  copy.db\n", backup.sha256),
        "what sha256sum --check reads"
    );
    assert_eq!((mode(&file), mode(&checksum_file(&file))), (0o600, 0o600));
    let again = take_backup(&db, &Target::File(file.clone()), at(START))
        .map_err(workspaced::testing::Error::from)
        .unwrap_err();
    assert_eq!(
        (again.status().as_u16(), again.code()),
        (409, "BACKUP_EXISTS")
    );
    assert_eq!(sha256(&file).unwrap(), backup.sha256);
    let nowhere = dir.path().join("no/such/dir.db");
    assert_eq!(
        take_backup(&db, &Target::File(nowhere), at(START))
            .map_err(workspaced::testing::Error::from)
            .unwrap_err()
            .status(),
        503
    );
    let other = dir.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert_eq!(
        take_backup(&other, &Target::File(dir.path().join("x.db")), at(START))
            .map_err(workspaced::testing::Error::from)
            .unwrap_err()
            .code(),
        "NOT_A_DATABASE"
    );
    assert_eq!(
        names(dir.path()),
        ["copy.db", "copy.db.sha256", "other.db", "workspaced.db"],
        "a failure leaves nothing behind"
    );
}

#[test]
fn a_directory_keeps_the_newest_and_forgets_what_a_crash_left() {
    let (dir, db) = data_dir();
    let to = dir.path().join("backups");
    let target = Target::Dir {
        dir: to.clone(),
        keep: Some(2),
    };
    take_backup(&db, &target, at(START)).unwrap();
    assert_eq!(mode(&to), 0o700);
    let stranger = "workspaced-yesterday.db";
    for name in [stranger, "workspaced-20260101T000000000Z.db.partial"] {
        fs::write(to.join(name), "").unwrap();
    }
    for hours in 1..4 {
        take_backup(&db, &target, at(START).plus_seconds(hours * 3600)).unwrap();
    }
    assert_eq!(
        names(&to),
        [
            "workspaced-20260520T121530000Z.db",
            "workspaced-20260520T121530000Z.db.sha256",
            "workspaced-20260520T131530000Z.db",
            "workspaced-20260520T131530000Z.db.sha256",
            stranger,
        ]
    );
    let listed: Vec<_> = list_backups(&to)
        .unwrap()
        .iter()
        .map(|b| b.created_at)
        .collect();
    assert_eq!(
        listed,
        [at("2026-05-20T13:15:30Z"), at("2026-05-20T12:15:30Z")]
    );
    assert!(
        list_backups(&dir.path().join("nothing"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn restoring_brings_back_the_copy_and_keeps_what_was_there() {
    let (dir, db) = data_dir();
    let file = dir.path().join("copy.db");
    take_backup(&db, &Target::File(file.clone()), at(START)).unwrap();
    // As a killed process leaves it: the last change is in the log only.
    add_workspace(&db, "later");
    let kept = {
        let holder = Connection::open(&db).unwrap();
        holder.pragma_update(None, "journal_mode", "wal").unwrap();
        add_workspace(&db, "latest");
        assert!(
            fs::metadata(dir.path().join("workspaced.db-wal"))
                .unwrap()
                .len()
                > 0
        );
        let (killed, log) = (
            fs::read(&db).unwrap(),
            fs::read(dir.path().join("workspaced.db-wal")).unwrap(),
        );
        drop(holder);
        fs::write(&db, killed).unwrap();
        fs::write(dir.path().join("workspaced.db-wal"), log).unwrap();
        restore(&file, &db, true, at(START)).unwrap().kept.unwrap()
    };
    assert_eq!(workspaces(&db), ["default", "Kept"]);
    assert_eq!(workspaces(&kept), ["default", "Kept", "later", "latest"]);
    assert_eq!(mode(&db), 0o600);
    assert!(
        names(dir.path())
            .iter()
            .all(|name| !name.contains("restoring"))
    );
    let store = Store::open(&db, Clock::manual(at(START)), 1).unwrap();
    assert!(store.read_blocking(workspaced::testing::verify).unwrap().ok);
    store.close();

    // Into an empty directory.
    let fresh = TempDir::new().unwrap();
    let db = fresh.path().join("workspaced.db");
    assert!(restore(&file, &db, true, at(START)).unwrap().kept.is_none());
    assert_eq!(workspaces(&db), ["default", "Kept"]);
}

#[test]
fn what_cannot_be_trusted_is_not_restored() {
    let (dir, db) = data_dir();
    let good = dir.path().join("good.db");
    take_backup(&db, &Target::File(good.clone()), at(START)).unwrap();
    let before = sha256(&db).unwrap();
    let with_checksum = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        fs::write(
            checksum_file(&file),
            format!("{}  {name}\n", sha256(&file).unwrap()),
        )
        .unwrap();
        file
    };
    let bytes = fs::read(&good).unwrap();
    let mut torn = bytes.clone();
    let middle = torn.len() / 2 / 4096 * 4096;
    torn[middle..middle + 4096].fill(0xa5);
    let changed = dir.path().join("changed.db");
    fs::write(&changed, &torn).unwrap();
    fs::copy(checksum_file(&good), checksum_file(&changed)).unwrap();
    let newer = dir.path().join("newer");
    fs::copy(&good, &newer).unwrap();
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    let plain = dir.path().join("plain.db");
    fs::copy(&good, &plain).unwrap();
    for (file, why) in [
        (dir.path().join("nothing.db"), "no such file"),
        (plain.clone(), "checksum"),
        (changed, "does not have the checksum"),
        (with_checksum("torn.db", &torn), ""),
        (with_checksum("cut.db", &bytes[..bytes.len() / 2]), ""),
        (with_checksum("empty.db", b""), "not a workspaced database"),
        (with_checksum("text.db", &[b'x'; 5000]), "not a database"),
        (
            with_checksum("newer.db", &fs::read(&newer).unwrap()),
            "schema version",
        ),
    ] {
        let refused = restore(&file, &db, true, at(START))
            .map_err(workspaced::testing::Error::from)
            .unwrap_err();
        assert_eq!(refused.code(), "BACKUP_REFUSED", "{file:?}");
        assert!(
            refused.message().contains(why),
            "{file:?}: {}",
            refused.message()
        );
        assert!(
            refused.message().contains("Nothing was changed"),
            "{}",
            refused.message()
        );
    }
    assert_eq!(sha256(&db).unwrap(), before);
    assert!(
        names(dir.path())
            .iter()
            .all(|name| !name.contains("restor"))
    );
    restore(&plain, &db, false, at(START)).unwrap();
}

#[test]
fn the_api_makes_backups_in_the_configured_directory_only() {
    let s = Service::new();
    s.post("/system/backups", json!({}))
        .refused(409, "BACKUPS_NOT_CONFIGURED");
    assert_eq!(
        s.get("/system/backups").expect(200)["directory"],
        json!(null)
    );

    let dir = TempDir::new().unwrap();
    let to = dir.path().join("b");
    let s = Service::with(Config {
        backups: Some(BackupSettings {
            dir: to.clone(),
            every: std::time::Duration::from_secs(3600),
            keep: 1,
        }),
        ..Config::default()
    });
    let (other, _) = s.other_tenant("globex");
    for method in [Method::GET, Method::POST] {
        s.call_as(&other, method, "/system/backups", None)
            .refused(403, "FORBIDDEN");
    }
    assert!(!to.exists());
    s.workspace("In it");
    // A path in the body is nothing that this route knows.
    let made = s
        .post(
            "/system/backups",
            json!({ "path": "/etc/x", "name": "../x" }),
        )
        .expect(201);
    assert_eq!(made["name"], "workspaced-20260520T101530000Z.db");
    let list = s.get("/system/backups").expect(200);
    assert_eq!((&list["data"], &list["total"]), (&json!([made]), &json!(1)));
    assert_eq!(
        (&list["every_seconds"], &list["keep"], &list["running"]),
        (&json!(3600), &json!(1), &json!(false))
    );
    assert_eq!(
        workspaces(&to.join(made["name"].as_str().unwrap())),
        ["default", "default", "In it"]
    );
    let audit = s.get("/audit-log?type=backup.created").expect(200);
    assert_eq!(
        audit["data"][0]["metadata"]["after"]["sha256"], made["sha256"],
        "{audit}"
    );
    // It can be had as a file, by operators, and that is written down.
    let path = format!("/system/backups/{}", made["name"].as_str().unwrap());
    s.call_as(&other, Method::GET, &path, None)
        .refused(403, "FORBIDDEN");
    let asked = s
        .router
        .clone()
        .oneshot(request(&s.key, &Method::GET, &path, None));
    let reply = runtime().block_on(asked).unwrap();
    assert_eq!(reply.headers()["content-length"], made["bytes"].to_string());
    let file = runtime()
        .block_on(reply.into_body().collect())
        .unwrap()
        .to_bytes();
    assert_eq!(
        file,
        fs::read(to.join(made["name"].as_str().unwrap())).unwrap()
    );
    let audit = s.get("/audit-log?type=backup.downloaded").expect(200);
    assert_eq!(audit["data"][0]["metadata"]["after"], made);
    for elsewhere in ["nothing.db", "..%2Fworkspaced.db", "%2Fetc%2Fpasswd"] {
        s.get(&format!("/system/backups/{elsewhere}"))
            .refused(404, "NOT_FOUND");
    }
    // At the same instant there is one already.
    s.post("/system/backups", json!({}))
        .refused(409, "BACKUP_EXISTS");
    assert!(s.get("/system/backups").expect(200)["last_error"].is_string());
    s.advance(60);
    s.post("/system/backups", json!({})).expect(201);
    assert_eq!(names(&to).len(), 2, "keep = 1");
    assert_eq!(
        s.get("/system/backups").expect(200)["last_error"],
        json!(null)
    );
}

/// An empty database as version 1 of the schema left it.
fn first_release(db: &Path) {
    let conn = Connection::open(db).unwrap();
    conn.execute_batch(include_str!("../fixtures/schema-v1.sql"))
        .unwrap();
    conn.pragma_update(None, "application_id", 0x776b_7370)
        .unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
}

#[test]
fn an_older_schema_is_backed_up_before_it_is_upgraded() {
    let dir = TempDir::new().unwrap();
    let db = dir.path().join("workspaced.db");
    first_release(&db);
    Store::open(&db, Clock::manual(at(START)), 1)
        .unwrap()
        .close();
    let backup = dir
        .path()
        .join("workspaced.db.version-1-20260520T101530000Z");
    let found = inspect(&backup).unwrap();
    assert_eq!((found.schema_version, found.faults), (Some(1), vec![]));
    assert!(checksum_file(&backup).exists());
    assert_eq!(inspect(&db).unwrap().schema_version, Some(VERSION));
    Store::open(&db, Clock::manual(at(START)), 1)
        .unwrap()
        .close();
    let copies = names(dir.path())
        .into_iter()
        .filter(|name| name.contains("version"))
        .count();
    assert_eq!(copies, 2, "the copy and its checksum: only then");

    // No backup, no upgrade.
    let dir = TempDir::new().unwrap();
    let db = dir.path().join("workspaced.db");
    first_release(&db);
    fs::write(
        dir.path()
            .join("workspaced.db.version-1-20260520T101530000Z"),
        "in the way",
    )
    .unwrap();
    let refused = Store::open(&db, Clock::manual(at(START)), 1)
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("nothing was changed"), "{refused}");
    assert_eq!(inspect(&db).unwrap().schema_version, Some(1));
}

// ---------------------------------------------------------------------------------------------
// Damage

/// The first page of a table (1-based), and the size of a page.
fn root_page(db: &Path, table: &str) -> (usize, usize) {
    let conn = Connection::open(db).unwrap();
    let sql = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?1";
    conn.query_row(sql, [table], |row| {
        Ok((
            row.get::<_, u32>(0)? as usize,
            row.get::<_, u32>(1)? as usize,
        ))
    })
    .unwrap()
}

fn damage(db: &Path, page: usize, size: usize) {
    let mut bytes = fs::read(db).unwrap();
    bytes[(page - 1) * size..page * size].fill(0xa5);
    fs::write(db, bytes).unwrap();
}

#[test]
fn a_damaged_database_is_refused_at_the_start_and_left_as_it_is() {
    for how in ["header", "schema", "table", "cut"] {
        let (dir, db) = data_dir();
        let (page, size) = root_page(&db, "computers");
        match how {
            "header" => damage(&db, 1, 16),
            "schema" => damage(&db, 1, size),
            "table" => damage(&db, page, size),
            _ => fs::File::options()
                .write(true)
                .open(&db)
                .unwrap()
                .set_len((page * size / 2) as u64)
                .unwrap(),
        }
        let before = fs::read(&db).unwrap();
        let refused = Store::open(&db, Clock::manual(at(START)), 1)
            .err()
            .unwrap()
            .to_string();
        for part in [
            "is damaged",
            "Nothing was changed",
            "workspaced check",
            "workspaced restore BACKUP --data-dir",
        ] {
            assert!(refused.contains(part), "{how}: {refused}");
        }
        if how == "table" {
            assert!(refused.contains(&format!("page {page}")), "{refused}");
        }
        assert_eq!(fs::read(&db).unwrap(), before, "{how}");
        let left: Vec<_> = names(dir.path())
            .into_iter()
            .filter(|n| !n.ends_with("-shm") && !n.ends_with("-wal"))
            .collect();
        assert_eq!(left, ["workspaced.db"], "{how}");
        assert!(!inspect(&db).unwrap().faults.is_empty(), "{how}");
    }
}

#[test]
fn damage_that_is_met_later_ends_the_writes_and_shows_in_the_health() {
    let mut s = Service::new();
    for n in 0..300 {
        s.workspace(&format!("workspace {n}"));
    }
    s.app.store.close();
    let db = s.app.store.path().to_owned();
    // The last page of the table: the start reads only the first ones.
    let (_, size) = root_page(&db, "workspaces");
    let bytes = fs::read(&db).unwrap();
    let page = bytes
        .windows(26)
        .rposition(|w| w == b"workspace 299workspace-299")
        .unwrap()
        / size
        + 1;
    damage(&db, page, size);
    let store = Store::open(&db, s.clock.clone(), 1).unwrap();
    let app = workspaced::testing::App::new(store.clone(), Config::default());
    (s.router, s.app) = (workspaced::testing::router(app.clone()), app);
    let get = |path: &str| s.send(Request::get(path).body(Body::empty()).unwrap());
    assert_eq!(get("/health").expect(200)["status"], "ok");
    get("/readyz").expect(200);
    s.get("/workspaces").refused(503, "DATABASE_DAMAGED");
    assert_eq!(get("/health").expect(200)["status"], "damaged");
    get("/readyz").refused(503, "DATABASE_DAMAGED");
    s.post("/workspaces", json!({ "name": "no" }))
        .refused(503, "DATABASE_DAMAGED");
    s.get("/whoami").expect(200);
    store.close();
}

#[test]
fn health_says_that_it_lives_and_readyz_that_it_writes() {
    let s = Service::new();
    let get = |path: &str| s.send(Request::get(path).body(Body::empty()).unwrap());
    let health = get("/health").expect(200);
    assert_eq!(
        (&health["status"], &health["storage"]),
        (&json!("ok"), &json!("works"))
    );
    assert_eq!(get("/readyz").expect(200), json!({ "status": "ready" }));
    s.app.health.stopping();
    assert_eq!(get("/health").expect(200)["status"], "stopping");
    get("/readyz").refused(503, "STOPPING");
}

// ---------------------------------------------------------------------------------------------
// The order of backups, and whether they are made at all

#[test]
fn the_backup_just_made_stays_whatever_the_clock_showed_when_others_were() {
    let (dir, db) = data_dir();
    let to = dir.path().join("backups");
    let take = |now: &str, keep| {
        let target = Target::Dir {
            dir: to.clone(),
            keep: Some(keep),
        };
        take_backup(&db, &target, at(now)).unwrap()
    };
    let ahead = [
        take("2040-01-01T00:00:00Z", 3),
        take("2040-01-02T00:00:00Z", 3),
    ];
    let first = take("2026-05-20T11:00:00Z", 3);
    assert!(first.file.exists());
    assert_eq!(
        list_backups(&to).unwrap()[0].file,
        first.file,
        "the last made"
    );
    // One that is older than their numbers, and has none: a copy of such a one in its name only.
    let second = take("2026-05-20T12:00:00Z", 3);
    let third = take("2026-05-20T10:00:00Z", 3);
    assert!(first.file.exists() && second.file.exists() && third.file.exists());
    assert!(
        !ahead[0].file.exists() && !ahead[1].file.exists(),
        "they were made before"
    );
    let listed: Vec<_> = list_backups(&to)
        .unwrap()
        .into_iter()
        .map(|b| b.file)
        .collect();
    assert_eq!(listed, [third.file.clone(), second.file, first.file]);

    // All others are dated ahead and cannot say when they were made: the one just made stays all the same.
    for day in 1..=3 {
        let name = format!("workspaced-2041010{day}T000000000Z.db");
        fs::write(to.join(name), "not even a database").unwrap();
    }
    let last = take("2026-05-20T09:00:00Z", 1);
    let names: Vec<_> = list_backups(&to)
        .unwrap()
        .into_iter()
        .map(|b| b.file)
        .collect();
    assert_eq!(names, [last.file]);
}

#[test]
fn how_backups_go_is_told_and_a_directory_that_has_gone_is_not_made_again() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("mounted");
    let s = Service::with(Config {
        backups: Some(BackupSettings {
            dir: to.clone(),
            every: std::time::Duration::from_secs(3600),
            keep: 2,
        }),
        ..Config::default()
    });
    let ask = |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {}", s.key));
        s.send(request.body(Body::empty()).unwrap())
    };
    let warnings = || ask("/readyz").expect(200)["warnings"].to_string();
    assert!(
        ask("/metrics")
            .text
            .contains("workspaced_backup_age_seconds -1")
    );
    s.post("/system/backups", json!({})).expect(201);
    assert_eq!(warnings(), "null");
    s.clock.set(at(START).plus_seconds(3600));
    let text = ask("/metrics").text;
    assert!(
        text.contains("workspaced_backup_age_seconds 3600"),
        "{text}"
    );
    assert!(text.contains("workspaced_backup_failed 0"), "{text}");
    assert_eq!(s.get("/system/backups").expect(200)["last_good_at"], START);
    s.clock.set(at(START).plus_seconds(3 * 3600));
    assert!(
        warnings().contains("no backup is made any more"),
        "{}",
        warnings()
    );

    // What was mounted there has gone.
    fs::remove_dir_all(&to).unwrap();
    let why = s
        .post("/system/backups", json!({}))
        .refused(400, "BACKUP_DIR_GONE");
    assert!(why.contains("not there any more"), "{why}");
    assert!(!to.exists());
    assert!(warnings().contains("not there any more"), "{}", warnings());
    assert!(ask("/metrics").text.contains("workspaced_backup_failed 1"));
    let listed = s.get("/system/backups").expect(200);
    assert!(
        listed["last_error"].as_str().unwrap().contains("not there"),
        "{listed}"
    );
    assert_eq!(listed["last_good_at"], START);
    // By hand it begins anew.
    fs::create_dir(&to).unwrap();
    s.post("/system/backups", json!({})).expect(201);
    assert_eq!(warnings(), "null");

    // The directory is a mount point, and its disk has gone: what is left is empty and on another disk.
    let was_mounted = "UPDATE backup_dirs SET mounted = 1";
    let done = s.app.store.write_blocking(move |tx| {
        tx.execute(was_mounted, [])
            .map_err(workspaced::testing::Error::from)
    });
    assert_eq!(done.unwrap(), 1);
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir(&to).unwrap();
    let why = s
        .post("/system/backups", json!({}))
        .refused(400, "BACKUP_DIR_GONE");
    assert!(why.contains("not mounted any more"), "{why}");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    assert!(
        warnings().contains("not mounted any more"),
        "{}",
        warnings()
    );
}

#[test]
fn events_after_a_restore_have_numbers_that_no_event_had() {
    let (dir, db) = data_dir();
    let seqs = |db: &Path| -> Vec<i64> {
        let conn = Connection::open(db).unwrap();
        let mut statement = conn
            .prepare("SELECT seq FROM audit_log ORDER BY seq")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let write = |db: &Path, slug: &'static str| {
        let store = Store::open(db, Clock::manual(at(START)), 1).unwrap();
        let file = Config::default().file;
        store
            .write_blocking(move |tx| {
                let key = workspaced::testing::NewKey::operator();
                workspaced::testing::tenants::insert(
                    tx,
                    &file,
                    workspaced::testing::Actor::Operator,
                    slug,
                    slug,
                    0,
                    key,
                )
                .map(drop)
            })
            .unwrap();
        store.close();
    };
    let target = Target::Dir {
        dir: dir.path().join("b"),
        keep: None,
    };
    let backup = take_backup(&db, &target, at(START)).unwrap().file;
    let before = seqs(&db);
    write(&db, "lost");
    let mut given = seqs(&db);
    assert!(given.len() > before.len());
    // Restored twice, and put in place by hand on another machine.
    for (n, slug) in ["one", "two"].into_iter().enumerate() {
        restore(&backup, &db, true, at(START).plus_seconds(n as i64)).unwrap();
        assert_eq!(seqs(&db), before);
        write(&db, slug);
        let new = seqs(&db).split_off(before.len());
        assert!(
            !new.is_empty() && new.iter().all(|seq| seq > given.last().unwrap()),
            "{new:?}"
        );
        assert!(new.windows(2).all(|two| two[1] == two[0] + 1), "{new:?}");
        assert!(
            new.iter().all(|seq| *seq < 1 << 53),
            "a number for JavaScript too"
        );
        given.extend(new);
    }
    let elsewhere = dir.path().join("elsewhere.db");
    fs::copy(&backup, &elsewhere).unwrap();
    write(&elsewhere, "three");
    let new = seqs(&elsewhere).split_off(before.len());
    assert!(
        !new.is_empty() && new.iter().all(|seq| !given.contains(seq)),
        "{new:?}"
    );
    // A start that is none of these leaves the numbers alone.
    write(&elsewhere, "four");
    let all = seqs(&elsewhere).split_off(before.len());
    assert_eq!(all[new.len()], new.last().unwrap() + 1);
}

#[test]
fn a_file_that_is_mostly_free_gives_pages_back_by_itself() {
    let s = Service::new();
    s.workspace("Kept");
    let pragma = |name: &str| s.count(&format!("SELECT * FROM pragma_{name}"));
    let store = &s.app.store;
    let fill = store.write_blocking(|tx| {
        tx.execute_batch(
            "CREATE TABLE much (what BLOB);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO much SELECT randomblob(100000) FROM n;
             DROP TABLE much",
        )
        .map_err(Error::from)
    });
    fill.unwrap();
    let (pages, free) = (pragma("page_count"), pragma("freelist_count"));
    assert!(free > 4500, "{free} of {pages}");
    let give = |busy| {
        store
            .write_blocking(move |tx| give_back::<Error>(tx, busy, 100))
            .unwrap()
    };
    assert_eq!(give(true), 0, "not while somebody wants to write");
    let mut passes = 0;
    while give(false) > 0 {
        passes += 1;
    }
    assert!(passes >= 30, "so many pages a pass: {passes}");
    // What comes next has a place: 4 MiB stay, or a quarter.
    assert!(
        (1000..=1024).contains(&pragma("freelist_count")),
        "{}",
        pragma("freelist_count")
    );
    assert!(pragma("page_count") < pages - 3500, "the file is shorter");
    assert_eq!(s.get("/workspaces").expect(200)["total"], 2);
}
