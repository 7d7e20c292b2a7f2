//! The store: durable shared commits, refusals that undo themselves alone, a WAL that stays small,
//! and a schema that is the same whichever way a file came to it.

use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::harness::{START, at, runtime};
use workspaced::testing::Clock;
use workspaced::testing::Error;
use workspaced::testing::store::lock_data_dir;
use workspaced::testing::{SCHEMA, Store, VERSION, WriteTx};

fn open(dir: &TempDir) -> Store {
    Store::open(
        &dir.path().join("workspaced.db"),
        Clock::manual(at(START)),
        2,
    )
    .unwrap()
}

/// A table to write to that no rule of the product touches.
fn scratch(store: &Store) {
    store
        .write_blocking(|tx| {
            Ok(tx.execute_batch("CREATE TABLE scratch (n INTEGER PRIMARY KEY, t BLOB)")?)
        })
        .unwrap();
}

fn count(store: &Store) -> i64 {
    store
        .read_blocking(|tx| Ok(tx.query_row("SELECT count(*) FROM scratch", [], |row| row.get(0))?))
        .unwrap()
}

#[test]
fn a_reader_is_let_go_when_nobody_waits_any_more() {
    const ENDLESS: &str =
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    threads().block_on(async {
        for _ in 0..4 {
            let read = store.read(|tx| Ok(tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?));
            let patience = std::time::Duration::from_millis(50);
            assert!(tokio::time::timeout(patience, read).await.is_err());
        }
        // Both readers have been asked for more than they could ever do.
        let read = store.read(|tx| Ok(tx.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?));
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), read).await;
        assert_eq!(answer.expect("a reader is free").unwrap(), 1);
    });
    store.close();
}

#[test]
fn ok_commits_err_rolls_back_and_a_panic_is_an_error() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let insert = |n: i64, end: fn() -> Result<(), Error>| {
        store.write_blocking(move |tx| {
            tx.execute("INSERT INTO scratch (n) VALUES (?1)", [n])?;
            end()
        })
    };
    assert!(insert(1, || Ok(())).is_ok());
    assert_eq!(
        insert(2, || Err(Error::not_found("it")))
            .unwrap_err()
            .code(),
        "NOT_FOUND"
    );
    assert_eq!(
        insert(3, || panic!("a defect")).unwrap_err().code(),
        "INTERNAL_ERROR"
    );
    assert_eq!(count(&store), 1);
    assert!(insert(4, || Ok(())).is_ok(), "the writer lives on");
    let panic = store
        .read_blocking::<(), _>(|_| panic!("a defect"))
        .unwrap_err();
    assert!(panic.internal_detail().unwrap().contains("a defect"));
    assert_eq!(count(&store), 2);
    let write = store.read_blocking(|tx| Ok(tx.execute("INSERT INTO scratch (n) VALUES (9)", [])?));
    assert!(write.is_err(), "readers cannot write");
    store.close();
    assert_eq!(store.write_blocking(|_| Ok(())).unwrap_err().status(), 503);
}

#[test]
fn waiting_writes_share_a_commit_and_a_refusal_undoes_itself_alone() {
    let runtime = threads();
    // Answered by the writer's own thread, and by the runtime in which the store was opened.
    for inside in [false, true] {
        let _entered = inside.then(|| runtime.enter());
        share_a_commit(&runtime);
    }
}

fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}

fn share_a_commit(runtime: &tokio::runtime::Runtime) {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    // Hold the writer until everybody waits.
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let held = {
        let store = store.clone();
        std::thread::spawn(move || {
            store.write_blocking(move |tx| {
                tx.execute("INSERT INTO scratch (n) VALUES (-1)", [])?;
                gate.recv().ok();
                Err::<(), _>(Error::forbidden())
            })
        })
    };
    let calls: Vec<_> = (0..200_i64)
        .map(|n| {
            let store = store.clone();
            runtime.spawn(async move {
                store
                    .write(move |tx| {
                        tx.execute("INSERT INTO scratch (n) VALUES (?1)", [n])?;
                        // The number of this transaction's neighbours so far.
                        if n % 3 == 0 {
                            Err(Error::forbidden())
                        } else {
                            Ok(tx.now())
                        }
                    })
                    .await
                    .is_ok()
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(50));
    release.send(()).unwrap();
    let done: Vec<bool> = calls
        .into_iter()
        .map(|call| runtime.block_on(call).unwrap())
        .collect();
    assert_eq!(held.join().unwrap().unwrap_err().status(), 403);
    for (n, ok) in done.iter().enumerate() {
        assert_eq!(*ok, n % 3 != 0, "{n}");
    }
    assert_eq!(count(&store), 133);
    store.close();
}

#[test]
fn who_waits_is_answered_by_a_runtime_that_has_ended_too() {
    let dir = TempDir::new().unwrap();
    let runtime = threads();
    let store = {
        let _entered = runtime.enter();
        open(&dir)
    };
    scratch(&store);
    runtime.shutdown_background();
    let callers: Vec<_> = (0..8_i64)
        .map(|caller| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    let n = caller * 50 + n;
                    store
                        .write_blocking(move |tx| {
                            Ok(tx.execute("INSERT INTO scratch (n) VALUES (?1)", [n])?)
                        })
                        .unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(count(&store), 400);
    store.close();
}

#[test]
fn a_statement_that_stays_compiled_is_what_it_was_written_as() {
    const INSERT: &str = "INSERT INTO scratch (n) VALUES (?1)";
    const NEXT: &str = "SELECT n FROM scratch WHERE n > ?1 ORDER BY n LIMIT 1";
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let write = |n: i64| store.write_blocking(move |tx| Ok(tx.run(INSERT, [n])?));
    assert_eq!(write(1).unwrap(), 1);
    assert!(write(1).is_err(), "there already");
    assert_eq!(write(2).unwrap(), 1, "after it has failed");
    // While it is in use, and after a panic in the middle of it.
    let next = |after: i64| {
        store.write_blocking(move |tx| {
            let row = |n: i64| tx.row(NEXT, [n], |row| row.get::<_, i64>(0));
            Ok(tx.row(NEXT, [after], |outer| {
                assert!(after >= 0, "a defect");
                Ok((outer.get::<_, i64>(0)?, row(outer.get(0)?)?))
            })?)
        })
    };
    assert_eq!(next(0).unwrap(), (1, 2));
    assert!(next(-1).is_err());
    assert_eq!(next(0).unwrap(), (1, 2));
    assert!(next(1).is_err(), "there is no third");
    // When the table is another one, and where nothing is kept.
    store
        .write_blocking(|tx| {
            Ok(tx.execute_batch(
                "DROP TABLE scratch; CREATE TABLE scratch (t BLOB, n INTEGER PRIMARY KEY); INSERT INTO scratch VALUES ('a', 7)",
            )?)
        })
        .unwrap();
    assert_eq!(write(9).unwrap(), 1);
    assert_eq!(next(0).unwrap(), (7, 9));
    let read = store.read_blocking(|tx| Ok(tx.row(NEXT, [7], |row| row.get::<_, i64>(0))?));
    assert_eq!(read.unwrap(), 9);
    store.close();
}

/// What decides first has no savepoint. Should it break its promise, nobody's write is half there.
#[test]
fn a_write_that_fails_half_way_without_a_savepoint_undoes_all_that_share_its_commit() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let insert = |n: i64| {
        move |tx: &workspaced::testing::WriteTx<'_>| {
            Ok(tx.execute("INSERT INTO scratch (n) VALUES (?1)", [n])?)
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // The writer has seen eight at a time: it does not leave the second half of four to the next commit.
    let (crowd, gone) = std::sync::mpsc::channel::<()>();
    let nothing = || store.write(|_| Ok(()));
    runtime.block_on(async {
        let first = store.write(move |_| {
            gone.recv().ok();
            Ok(())
        });
        let _ = tokio::join!(
            first,
            async { tokio::join!(nothing(), nothing(), nothing(), nothing()) },
            async { tokio::join!(nothing(), nothing(), nothing(), nothing()) },
            async { crowd.send(()).unwrap() }
        );
    });
    // In this order, and all before the first one ends.
    let (before, broken, refused, after, ()) = runtime.block_on(async {
        tokio::join!(
            store.write(move |tx| {
                gate.recv().ok();
                insert(1)(tx)
            }),
            store.write_validating_first(move |tx| {
                insert(2)(tx)?;
                Err::<usize, _>(Error::forbidden())
            }),
            store.write_validating_first(|_| Err::<usize, _>(Error::forbidden())),
            store.write_validating_first(insert(3)),
            async {
                release.send(()).unwrap();
            }
        )
    });
    let before = before.unwrap_err();
    assert_eq!(
        (before.status().as_u16(), before.retry_after()),
        (503, Some(1))
    );
    assert_eq!(broken.unwrap_err().status(), 403);
    assert_eq!(refused.unwrap_err().status(), 403);
    assert_eq!(after.unwrap(), 1);
    let kept = store.read_blocking(|tx| {
        Ok(tx.query_row("SELECT sum(n) FROM scratch", [], |r| r.get::<_, i64>(0))?)
    });
    assert_eq!(kept.unwrap(), 3);
    store.close();
}

#[test]
fn a_full_queue_answers_503_and_nothing_has_happened() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let held = {
        let store = store.clone();
        std::thread::spawn(move || {
            store.write_blocking(move |_| {
                gate.recv().ok();
                Ok(())
            })
        })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let calls: Vec<_> = (0..5000_i64)
        .map(|n| {
            let store = store.clone();
            runtime.spawn(async move {
                let write = store
                    .write(move |tx| Ok(tx.execute("INSERT INTO scratch (n) VALUES (?1)", [n])?));
                write
                    .await
                    .map_err(|e| (e.status().as_u16(), e.retry_after()))
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(200));
    release.send(()).unwrap();
    let results: Vec<_> = calls
        .into_iter()
        .map(|call| runtime.block_on(call).unwrap())
        .collect();
    held.join().unwrap().unwrap();
    let ok = results.iter().filter(|r| r.is_ok()).count();
    assert!(ok < 5000, "the queue is bounded");
    assert!(
        results
            .iter()
            .all(|r| matches!(r, Ok(1) | Err((503, Some(1)))))
    );
    assert_eq!(count(&store), i64::try_from(ok).unwrap());
    store.close();
}

#[test]
fn a_long_change_begins_a_commit_that_others_share() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (running, runs) = std::sync::mpsc::channel();
    let held = {
        let store = store.clone();
        std::thread::spawn(move || {
            store.write_blocking(move |_| {
                running.send(()).ok();
                gate.recv().ok();
                Ok(())
            })
        })
    };
    runs.recv().unwrap();
    // One after the other into the queue: a write, a turn of a long change, a write.
    let mut waiting = Vec::new();
    for turn in [false, true, false] {
        let queue = store.clone();
        let before = waiting.len();
        waiting.push(std::thread::spawn(move || {
            let number = |tx: &WriteTx<'_>| Ok(tx.transaction());
            if turn {
                queue.write_turn_blocking(number)
            } else {
                queue.write_blocking(number)
            }
        }));
        while store.writes_waiting() <= before {
            std::thread::yield_now();
        }
    }
    release.send(()).unwrap();
    held.join().unwrap().unwrap();
    let numbers: Vec<u64> = waiting
        .into_iter()
        .map(|waiting| waiting.join().unwrap().unwrap())
        .collect();
    assert_ne!(numbers[0], numbers[1], "it has nobody before it");
    assert_eq!(numbers[1], numbers[2], "and others beside it");
    store.close();
}

#[test]
fn what_a_savepoint_has_to_undo_may_be_large() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let fill = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000)
                INSERT INTO scratch (n, t) SELECT n, zeroblob(3000) FROM c";
    store
        .write_blocking(move |tx| Ok(tx.execute(fill, [])?))
        .unwrap();
    let (undone, zeros) = store
        .write_blocking(move |tx| {
            // A thousand pages as they were: 4 MB.
            let undone = tx.nested(|| -> Result<(), Error> {
                tx.execute("UPDATE scratch SET t = randomblob(3000)", [])?;
                Err(Error::not_found("nothing"))
            });
            let sql = "SELECT count(*) FROM scratch WHERE t = zeroblob(3000)";
            Ok((undone, tx.query_row(sql, [], |row| row.get::<_, i64>(0))?))
        })
        .unwrap();
    assert_eq!(undone.unwrap_err().status().as_u16(), 404);
    assert_eq!(zeros, 1000);
    store.close();
}

/// Writes so much, 40 KB at a time; returns how long the WAL was at the most.
fn write_60_mb(store: &Store, dir: &TempDir) -> u64 {
    let wal = dir.path().join("workspaced.db-wal");
    let sql = "INSERT INTO scratch (n, t) VALUES (?1, zeroblob(40000))";
    let lengths = (0..1500_i64).map(|n| {
        store
            .write_blocking(move |tx| Ok(tx.execute(sql, [n])?))
            .unwrap();
        std::fs::metadata(&wal).unwrap().len()
    });
    lengths.max().unwrap()
}

#[test]
fn the_wal_stays_small_under_steady_reads_and_writes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    count(&store);
                }
            })
        })
        .collect();
    let largest = write_60_mb(&store, &dir);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    readers.into_iter().for_each(|r| r.join().unwrap());
    assert!(largest < 40 << 20, "the WAL grew to {largest} bytes");
    store.close();
    let wal = std::fs::metadata(dir.path().join("workspaced.db-wal"));
    assert_eq!(wal.map_or(0, |m| m.len()), 0, "a stop leaves one file");
}

#[test]
fn large_reads_one_after_the_other_do_not_keep_the_wal_from_ending() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Two that overlap: there is always one of them under way.
    let readers: Vec<_> = (0..2)
        .map(|n| {
            let (store, stop) = (store.clone(), stop.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                let mut reads = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let read = store.read(move |tx| {
                        let sql = "SELECT count(*) FROM scratch";
                        let counted: i64 = tx.query_row(sql, [], |row| row.get(0))?;
                        std::thread::sleep(std::time::Duration::from_millis(40 + 20 * n));
                        Ok(counted)
                    });
                    runtime
                        .block_on(workspaced::testing::store::heavy(read))
                        .unwrap();
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let largest = write_60_mb(&store, &dir);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 3, "they go on");
    }
    assert!(largest < 40 << 20, "the WAL grew to {largest} bytes");
    store.close();
}

#[test]
fn a_wal_that_large_reads_hold_is_cut_only_when_they_hold_it_no_longer() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let wal = dir.path().join("workspaced.db-wal");
    let write = || {
        let sql = "INSERT INTO scratch (n, t) SELECT count(*), zeroblob(400000) FROM scratch";
        store
            .write_blocking(move |tx| Ok(tx.execute(sql, [])?))
            .unwrap();
        std::fs::metadata(&wal).unwrap().len()
    };
    // Which one it is stands in its header.
    let which = || {
        let mut header = [0; 24];
        let mut file = std::fs::File::open(&wal).unwrap();
        std::io::Read::read_exact(&mut file, &mut header).unwrap();
        header
    };
    let next = || {
        let before = which();
        for _ in 0..500 {
            let length = write();
            if which() != before {
                return length;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("it does not begin anew");
    };
    let held = || {
        let (began, begins) = std::sync::mpsc::channel();
        let (let_go, waits) = std::sync::mpsc::channel::<()>();
        let store = store.clone();
        let reader = std::thread::spawn(move || {
            let read = store.read(move |tx| {
                let count: i64 =
                    tx.query_row("SELECT count(*) FROM scratch", [], |row| row.get(0))?;
                began.send(()).unwrap();
                let _ = waits.recv();
                Ok(count)
            });
            runtime()
                .block_on(workspaced::testing::store::heavy(read))
                .unwrap();
        });
        begins.recv().unwrap();
        (let_go, reader)
    };
    let mut longest = 0;
    for _ in 0..2 {
        let (let_go, reader) = held();
        for _ in 0..60 {
            longest = write();
        }
        drop(let_go);
        reader.join().unwrap();
        assert!(longest > 20 << 20, "held: {longest} bytes");
        let kept = next();
        assert!(kept >= longest, "it keeps what it had: {kept} bytes");
    }
    next();
    assert!(next() <= 16 << 20, "nobody holds it");
    store.close();
}

#[test]
fn a_long_turn_ends_sooner_where_somebody_waits() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    // Microseconds until it is over, with somebody in the queue or not.
    let turn = |awaited: bool| {
        let other = store.clone();
        store
            .write_blocking(move |tx| {
                let watch = workspaced::testing::Stopwatch::start();
                let waiting = awaited.then(|| {
                    let queue = other.clone();
                    let waiting = std::thread::spawn(move || queue.write_blocking(|_| Ok(())));
                    while other.writes_waiting() == 0 {
                        std::thread::yield_now();
                    }
                    waiting
                });
                while !tx.turn_is_over() {}
                Ok((watch.micros(), waiting))
            })
            .map(|(micros, waiting)| {
                if let Some(waiting) = waiting {
                    waiting.join().unwrap().unwrap();
                }
                micros
            })
            .unwrap()
    };
    let alone = (0..5).map(|_| turn(false)).min().unwrap();
    // On a busy machine one or the other takes longer.
    let awaited = (0..50).map(|_| turn(true)).min().unwrap();
    assert!(alone > 9_000, "{alone} us");
    assert!(awaited < alone / 2, "{awaited} of {alone} us");
    store.close();
}

#[test]
fn whoever_holds_the_wal_holds_up_neither_its_end_nor_the_stop() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    scratch(&store);
    let hold = || {
        let other = rusqlite::Connection::open(dir.path().join("workspaced.db")).unwrap();
        other.execute_batch("BEGIN; SELECT * FROM scratch").unwrap();
        other
    };
    let write = || {
        let sql = "INSERT INTO scratch (n, t) SELECT count(*), zeroblob(400000) FROM scratch";
        store
            .write_blocking(move |tx| Ok(tx.execute(sql, [])?))
            .unwrap();
        let wal = dir.path().join("workspaced.db-wal");
        std::fs::metadata(wal).unwrap().len()
    };
    let other = hold();
    let mut largest = 0;
    for _ in 0..60 {
        largest = write();
    }
    assert!(largest > 20 << 20, "held: {largest} bytes");
    drop(other);
    for _ in 0..20 {
        largest = write();
    }
    assert!(largest <= 16 << 20, "let go: {largest} bytes");

    let _other = hold();
    write();
    let watch = workspaced::testing::Stopwatch::start();
    store.close();
    // Waiting for the other to let go would take the five seconds of a busy database.
    assert!(watch.micros() < 5_000_000, "{} us", watch.micros());
}

#[test]
fn every_connection_is_durable_and_in_wal_mode() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let pragmas = |tx: &workspaced::testing::Tx<'_>| {
        let get =
            |name: &str| tx.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let mode: String = tx.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok((
            mode,
            get("synchronous")?,
            get("foreign_keys")?,
            get("busy_timeout")?,
        ))
    };
    let expected = ("wal".to_owned(), 2, 1, 5000);
    for _ in 0..8 {
        assert_eq!(store.read_blocking(pragmas).unwrap(), expected);
    }
    assert_eq!(
        store.write_blocking(move |tx| pragmas(tx)).unwrap(),
        expected
    );
    store.close();
}

#[test]
fn one_service_per_directory() {
    let dir = TempDir::new().unwrap();
    let (lock, _) = lock_data_dir(dir.path()).unwrap();
    let refused = lock_data_dir(dir.path()).unwrap_err().to_string();
    assert!(
        refused.contains("another workspaced is running"),
        "{refused}"
    );
    drop(lock);
    lock_data_dir(dir.path()).unwrap();
}

#[test]
fn a_newer_or_foreign_file_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("workspaced.db");
    open(&dir).close();
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    drop(conn);
    let refused = Store::open(&path, Clock::System, 1)
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("Nothing was changed"), "{refused}");
    let version: i64 = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA user_version", [], |r| r.get(0))
        .unwrap();
    assert_eq!(version, VERSION + 1);

    let foreign = dir.path().join("other.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(
        Store::open(&foreign, Clock::System, 1)
            .err()
            .unwrap()
            .to_string()
            .contains("not a workspaced database")
    );
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, vec![7; 8192]).unwrap();
    assert!(Store::open(&garbage, Clock::System, 1).is_err());
    assert_eq!(std::fs::read(&garbage).unwrap(), vec![7; 8192]);
}

#[test]
fn the_schema_is_strict_and_says_what_it_is() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    let loose: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite_%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(loose, Vec::<String>::new());
    assert!(!SCHEMA.to_lowercase().contains("strftime(") && !SCHEMA.contains("CURRENT_TIMESTAMP"));
}

/// However many long changes there are, who writes a little comes after the one turn that is under way, and waits
/// with it for the disk, not once more after it.
#[test]
fn a_small_write_waits_for_one_turn_of_something_long() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let note = |name: &'static str| {
        let order = order.clone();
        move || order.lock().push(name)
    };
    threads().block_on(async {
        let first = tokio::spawn({
            let (store, note) = (store.clone(), note("a turn"));
            async move {
                let turn = move |tx: &WriteTx<'_>| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    note();
                    Ok(tx.transaction())
                };
                store.write_turn(turn).await.unwrap()
            }
        });
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
            .await
            .unwrap();
        let others = (0..8).map(|_| {
            let (store, note) = (store.clone(), note("a turn"));
            async move {
                let turn = move |_: &WriteTx<'_>| {
                    note();
                    Ok(())
                };
                store.write_turn(turn).await.unwrap();
            }
        });
        let others: Vec<_> = others.map(tokio::spawn).collect();
        // Were they not made to wait for each other, they would be in the queue by now.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let small = tokio::spawn({
            let (store, note) = (store.clone(), note("a small write"));
            async move {
                let write = move |tx: &WriteTx<'_>| {
                    note();
                    Ok(tx.transaction())
                };
                store.write(write).await.unwrap()
            }
        });
        while store.writes_waiting() == 0 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
        assert_eq!(small.await.unwrap(), first.await.unwrap(), "one commit");
        for other in others {
            other.await.unwrap();
        }
    });
    let order = order.lock();
    assert_eq!(order[..2], ["a turn", "a small write"]);
    assert_eq!(order.len(), 10);
}
