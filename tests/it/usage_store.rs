//! The meter in the database: identical however it came to be, found out when it is wrong, never
//! scanned.

use std::path::Path;

use axum::http::Method;
use rusqlite::Connection;
use serde_json::json;
use workspaced::testing::Clock;
use workspaced::testing::{SCHEMA, Store, VERSION};
use workspaced::testing::{rebuild, verify};

use crate::harness::{Service, at, keyed};
use crate::usage::{event, external, report, service_at, usage};

const DERIVED: [&str; 4] = [
    "metered_computers",
    "meter_steps",
    "meter_hours",
    "meter_eras",
];

/// A table as text, row by row in the order of its key.
fn dump(conn: &Connection, table: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let width = statement.column_count();
    let mut rows: Vec<String> = statement
        .query_map([], |row| {
            (0..width)
                .map(|n| Ok(format!("{:?}", row.get_ref(n)?)))
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .unwrap()
        .map(|row| row.unwrap().join(" | "))
        .collect();
    rows.sort();
    rows
}

pub fn dumps(s: &Service) -> Vec<Vec<String>> {
    s.app
        .store
        .read_blocking(|tx| Ok(DERIVED.map(|table| dump(tx, table)).into()))
        .unwrap()
}

/// A service with moves, resizes, late events, a correction and a deletion behind it.
fn eventful() -> Service {
    let s = service_at("2026-04-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let driven = s.running(&a, "small");
    let c = external(&s, &a, "medium");
    s.travel_to(at("2026-06-02T00:00:00Z"));
    s.post(
        &format!("/computers/{driven}/move"),
        json!({ "workspace_id": b }),
    )
    .expect(200);
    report(
        &s,
        &c,
        &[
            "2026-05-01T00:00:00Z",
            "2026-05-20T12:34:56.789Z",
            "2026-06-01T07:00:00Z",
        ],
    );
    let late = event(
        "late",
        "moved",
        &c,
        "2026-05-02T00:00:00Z",
        json!({ "workspace_id": b }),
    );
    s.post("/compute-events", json!({ "events": [late] }))
        .expect(200);
    let gone = external(&s, &b, "xl");
    s.advance(3600);
    report(&s, &gone, &["2026-06-02T00:10:00Z"]);
    s.delete(&format!("/computers/{gone}")).expect(200);
    s.post(
        "/usage/adjustments",
        json!({ "workspace_id": a, "amount_micros": 5, "reason": "test" }),
    )
    .expect(201);
    s
}

#[test]
fn a_rebuild_is_identical_row_for_row() {
    let s = eventful();
    let before = dumps(&s);
    assert!(before.iter().all(|table| !table.is_empty()));
    let rows = s.app.store.write_blocking(rebuild).unwrap();
    assert_eq!(
        usize::try_from(rows).unwrap(),
        before.iter().map(Vec::len).sum::<usize>()
    );
    assert_eq!(dumps(&s), before);
}

#[test]
fn verify_proves_the_books_and_finds_every_kind_of_damage() {
    let s = eventful();
    let clean = s.get("/usage/verify").expect(200);
    assert_eq!(
        (
            &clean["ok"],
            &clean["differences"],
            &clean["unexplained_ms"]
        ),
        (&json!(true), &json!(0), &json!(0))
    );
    assert_eq!(
        clean["events"],
        s.count("SELECT count(*) FROM compute_events")
    );
    for (damage, what, ms) in [
        // In two workspaces.
        (
            "UPDATE meter_hours SET running_ms = running_ms + 7 WHERE hour = (SELECT max(hour) FROM meter_hours)",
            "meter_hours",
            14,
        ),
        (
            "UPDATE meter_steps SET running_ms = running_ms - 1 WHERE seq = (SELECT max(seq) FROM meter_steps)",
            "meter_steps",
            0,
        ),
        (
            "DELETE FROM meter_eras WHERE era = (SELECT min(era) FROM meter_eras)",
            "meter_eras",
            0,
        ),
        ("DELETE FROM metered_computers", "metered_computers", 0),
        (
            "UPDATE computers SET status = 'stopped' WHERE status = 'running'",
            "computers and their last event",
            0,
        ),
        (
            "UPDATE computers SET size = 'xs' WHERE deleted_at IS NOT NULL",
            "computers and their last event",
            0,
        ),
        (
            "UPDATE computers SET workspace_id = (SELECT id FROM workspaces WHERE is_default = 1) WHERE deleted_at IS NOT NULL",
            "computers and their last event",
            0,
        ),
        (
            "UPDATE workspaces SET computer_count = computer_count + 1",
            "workspaces.computer_count",
            0,
        ),
        (
            "UPDATE tenants SET project_count = 77",
            "tenants.project_count",
            0,
        ),
    ] {
        let s = eventful();
        s.app
            .store
            .write_blocking(move |tx| Ok(tx.execute(damage, [])?))
            .unwrap();
        let found = s.app.store.read_blocking(verify).unwrap();
        assert!(!found.ok && found.differences > 0, "{damage}: {found}");
        assert!(
            found.found.iter().any(|d| d.what == what),
            "{damage}: {found}"
        );
        assert_eq!(found.unexplained_ms, ms, "{damage}: {found}");
    }
}

/// Runs the program on the data of a service, beside it: exit code, and what it printed.
fn program(s: &Service, command: &str) -> (Option<i32>, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_workspaced"))
        .arg(command)
        .arg("--data-dir")
        .arg(s.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    (done.status.code(), text)
}

#[test]
fn the_commands_verify_and_rebuild_a_live_database() {
    let s = eventful();
    let before = dumps(&s);
    let rows: usize = before.iter().map(Vec::len).sum();
    let events = s.count("SELECT count(*) FROM compute_events");
    let clean = format!("{events} events, {rows} meter rows: 0 differences, 0 ms unexplained\n");
    assert_eq!(program(&s, "verify"), (Some(0), clean.clone()));

    let damage = "UPDATE meter_hours SET running_ms = running_ms + 7 WHERE hour = (SELECT min(hour) FROM meter_hours)";
    s.app
        .store
        .write_blocking(move |tx| Ok(tx.execute(damage, [])?))
        .unwrap();
    let (code, text) = program(&s, "verify");
    assert_eq!(code, Some(1));
    assert!(
        text.contains("2 differences, 7 ms unexplained\n  meter_hours: 1 row(s) differ"),
        "{text}"
    );
    assert_eq!(
        program(&s, "rebuild-usage"),
        (Some(0), format!("{rows} meter rows built\n{clean}"))
    );
    assert_eq!(dumps(&s), before);
}

#[test]
fn a_transition_writes_one_row_of_each_kind() {
    let s = service_at("2026-04-01T00:00:00Z");
    let w = s.workspace("A");
    s.running(&w, "small");
    let rows = |s: &Service| {
        ["meter_steps", "meter_hours", "meter_eras"]
            .map(|t| s.count(&format!("SELECT count(*) FROM {t}")))
    };
    assert_eq!(
        rows(&s),
        [1, 1, 1],
        "provisioning changes no flow and writes nothing"
    );
    // Ten years later it has run for ten years, and nothing had to be written meanwhile.
    s.clock.set(at("2036-04-01T00:00:01Z"));
    assert_eq!(rows(&s), [1, 1, 1]);
    assert_eq!(usage(&s, &w, "window=30d")["total_compute_hours"], 720.0);
}

/// Windows that begin before, at and after the edges of an era (two weeks from 2026-06-04 on), with
/// changes in its first and its last hour.
#[test]
fn a_window_may_begin_anywhere_in_an_era() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("A");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-20T00:00:00Z"));
    let times = [
        "2026-06-04T00:10:00Z",
        "2026-06-17T23:30:00Z",
        "2026-06-17T23:50:00Z",
        "2026-06-18T00:15:00Z",
        "2026-06-18T00:20:00Z",
    ];
    report(&s, &c, &times);
    let end = s.app.store.now();
    let ends = [times[1], times[3]].map(|t| at(t).0);
    let stints = [
        (at(times[0]).0, ends[0]),
        (at(times[2]).0, ends[1]),
        (at(times[4]).0, end.0),
    ];
    for from in [
        "2026-06-03T23:59:59.999Z",
        "2026-06-04T00:00:00Z",
        "2026-06-04T00:20:00Z",
        "2026-06-04T01:00:00Z",
        "2026-06-10T12:34:56.789Z",
        "2026-06-17T23:00:00Z",
        "2026-06-17T23:45:00Z",
        "2026-06-18T00:00:00Z",
        "2026-06-18T00:17:00Z",
        "2026-06-18T01:00:00Z",
    ] {
        let start = at(from).0;
        let overlap = |(a, b): &(i64, i64)| (b - start.max(*a)).max(0);
        let expected: i64 = stints.iter().map(overlap).sum();
        let shown = usage(&s, &w, &format!("from={from}&to={}", end.rfc3339()));
        assert_eq!(shown["total_compute_ms"], expected, "{from}");
    }
}

// ---------------------------------------------------------------------------------------------
// Upgrades

fn schema_of(conn: &Connection) -> Vec<String> {
    let mut rows = conn
        .prepare("SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema")
        .unwrap();
    let clean = |sql: String| {
        let lines = sql.lines().map(|line| {
            line.split("--")
                .next()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        });
        lines
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
            // A column that was added stands behind the line break of the last one.
            .replace(" ,", ",")
            .replace(" )", ")")
            .replace("( ", "(")
    };
    let mut all: Vec<String> = rows
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(|sql| clean(sql.unwrap()))
        .collect();
    all.sort();
    all
}

/// Released schemas, and what each of them did not have yet.
const RELEASED: [(i64, &str); 6] = [
    (1, include_str!("../fixtures/schema-v1.sql")), // the meter
    (4, include_str!("../fixtures/schema-v4.sql")), // webhooks
    (6, include_str!("../fixtures/schema-v6.sql")), // the search index by number
    (7, include_str!("../fixtures/schema-v7.sql")), // what held in the past
    (8, include_str!("../fixtures/schema-v8.sql")), // statements and budgets
    (9, include_str!("../fixtures/schema-v9.sql")), // work in machines
];

/// A file of an older version with everything that `from` has and that version had a table for.
fn older(version: i64, schema: &str, from: &Service, path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(schema).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA application_id = 2003530608; PRAGMA user_version = {version}"
    ))
    .unwrap();
    let triggers: Vec<(String, String)> = conn
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    triggers
        .iter()
        .for_each(|(name, _)| conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    conn.execute(
        "ATTACH ?1 AS live",
        [from.app.store.path().to_str().unwrap()],
    )
    .unwrap();
    let tables: Vec<String> = conn
        .prepare(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'workspace_search%'
             AND name NOT IN ('searchable_workspaces', 'workspaces_to_index')",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for table in tables {
        let columns: String = conn
            .query_row(
                "SELECT group_concat(name) FROM pragma_table_info(?1, 'main')",
                [&table],
                |row| row.get(0),
            )
            .unwrap();
        conn.execute_batch(&format!(
            "INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM live.{table}"
        ))
        .unwrap();
    }
    triggers
        .iter()
        .for_each(|(_, sql)| conn.execute_batch(sql).unwrap());
}

#[test]
fn an_upgraded_file_equals_a_fresh_one_and_its_meter_is_filled() {
    let s = eventful();
    let once = json!({ "name": "Once" });
    keyed(&s, &s.key, Method::POST, "/workspaces", "once", once).expect(201);
    let index = |tx: &workspaced::testing::WriteTx<'_>| {
        workspaced::testing::idempotency::index(tx, false, 9)
    };
    s.app.store.write_blocking(index).unwrap();
    let replies = |conn: &Connection| {
        [
            dump(conn, "idempotency_index"),
            dump(conn, "idempotency ORDER BY seq"),
        ]
    };
    let expected = dumps(&s);
    for (version, schema) in RELEASED {
        let path = s.dir.path().join(format!("version-{version}.db"));
        older(version, schema, &s, &path);
        let store = Store::open(&path, Clock::manual(s.app.store.now()), 1).unwrap();
        store.close();

        let upgraded = Connection::open(&path).unwrap();
        let fresh = Connection::open_in_memory().unwrap();
        fresh.execute_batch(SCHEMA).unwrap();
        assert_eq!(schema_of(&upgraded), schema_of(&fresh));
        let now: i64 = upgraded
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!((now, VERSION), (10, 10));
        let sound: String = upgraded
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
        let live = Connection::open(s.app.store.path()).unwrap();
        assert_eq!(replies(&upgraded), replies(&live));
        assert_eq!(replies(&live)[0].len(), 1);
        let wrong = upgraded.execute("UPDATE computers SET size = 'huge'", []);
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("CHECK constraint failed")
        );
        assert_eq!(
            DERIVED.map(|table| dump(&upgraded, table)).to_vec(),
            expected
        );
    }
}

#[test]
fn a_report_that_version_7_had_forgotten_is_taken_up_after_the_upgrade() {
    let s = service_at("2026-06-01T00:00:00Z");
    let c = external(&s, &s.workspace("A"), "small");
    let settled = external(&s, &s.workspace("B"), "small");
    report(&s, &c, &["2026-06-01T00:00:00Z", "2026-06-01T00:02:00Z"]);
    report(&s, &settled, &["2026-06-01T00:00:00Z"]);
    let due = |conn: &Connection, id: &str| -> Option<i64> {
        let sql = "SELECT due_at FROM computers WHERE lower(hex(id)) = replace(?1, '-', '')";
        conn.query_row(sql, [id], |row| row.get(0)).unwrap()
    };
    let path = s.dir.path().join("version-7.db");
    let (_, schema) = RELEASED[3];
    older(7, schema, &s, &path);
    // A change through the API overwrote when the computer was to be looked at again.
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE computers SET due_at = NULL", [])
        .unwrap();
    drop(conn);
    Store::open(&path, Clock::manual(s.app.store.now()), 1)
        .unwrap()
        .close();
    let upgraded = Connection::open(&path).unwrap();
    assert_eq!(due(&upgraded, &c), Some(at("2026-06-01T00:02:00Z").0));
    assert_eq!(due(&upgraded, &settled), None);
    let live = Connection::open(s.app.store.path()).unwrap();
    for table in ["computers", "compute_events"] {
        assert_eq!(dump(&upgraded, table), dump(&live, table));
    }
}

// ---------------------------------------------------------------------------------------------
// Plans

/// Parts of statements of src/usage that may read a whole table, and why. Besides them `verify.rs`, which
/// reads everything because that is its purpose.
const MAY_SCAN: [(&str, &str); 5] = [
    (
        "FROM tenants WHERE credits_granted",
        "once a minute, of those that were granted credits; the largest installation has some thousands",
    ),
    (" FROM rates", "a handful of rows"),
    (" FROM size_vcpus", "a handful of rows"),
    (
        "computer_id IS NULL AND (?2 IS NULL",
        "corrections have an index of their own; the few that are found are put in order",
    ),
    (
        "SELECT DISTINCT tenant_id, computer_id FROM metered_computers",
        "on the day of a new price",
    ),
];

/// Every SQL text in the sources of usage: literals that begin with a verb, and the files of reads.
fn statements() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/usage")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            if matches!(name.as_str(), "series.sql" | "step.sql") {
                found.push((name, text));
            } else if name.ends_with(".rs") && name != "verify.rs" {
                for verb in ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE "] {
                    for (start, _) in text.match_indices(verb) {
                        let sql = text[start + 1..].split('"').next().unwrap();
                        let sql = sql
                            .replace("{table}", "meter_hours")
                            .replace("{key}", "hour")
                            .replace("{beyond}", "")
                            .replace("ORDER BY {} {}", "ORDER BY at DESC, seq DESC")
                            .replace("{}", "*");
                        found.push((name.clone(), sql));
                    }
                }
            }
        }
    }
    found
}

#[test]
fn no_statement_of_usage_scans_a_table() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    let all = statements();
    assert!(all.len() > 40, "statements are found: {}", all.len());
    for (file, sql) in all {
        if MAY_SCAN.iter().any(|(part, _)| sql.contains(part)) {
            continue;
        }
        let mut plan = conn
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap_or_else(|e| panic!("{file}: {e}: {sql}"));
        let lines: Vec<String> = plan
            .raw_query()
            .mapped(|row| row.get("detail"))
            .collect::<Result<_, _>>()
            .unwrap();
        for line in &lines {
            let scans = line.starts_with("SCAN ")
                && !line.starts_with("SCAN head")
                && !line.contains("CONSTANT ROW");
            assert!(!scans, "{file}: {lines:?}: {sql}");
        }
        let sorts = lines
            .iter()
            .filter(|line| line.contains("TEMP B-TREE"))
            .count();
        let one_row = usize::from(file == "series.sql");
        let distinct = usize::from(sql.contains("DISTINCT") || sql.contains("UNION"));
        assert!(
            sorts <= one_row + 2 * distinct,
            "{file} sorts: {lines:?}: {sql}"
        );
    }
}
