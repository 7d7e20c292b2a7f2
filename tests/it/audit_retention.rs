//! The audit log is only added to, and goes from its old end when a retention is configured.

use std::num::NonZeroU32;

use serde_json::json;

use crate::harness::Service;
use workspaced::testing::Config;
use workspaced::testing::audit;

const DAY: i64 = 86_400;

fn purge(s: &Service, limit: u32) -> usize {
    let app = s.app.clone();
    s.app
        .store
        .write_blocking(move |tx| audit::purge(tx, app.config.audit_retention_days, limit))
        .unwrap()
}

fn rows(s: &Service) -> i64 {
    s.count("SELECT count(*) FROM audit_log")
}

#[test]
fn rows_past_their_days_go_oldest_first_and_the_newest_stays() {
    let s = Service::with(Config {
        audit_retention_days: NonZeroU32::new(30),
        ..Config::default()
    });
    for n in 0..5 {
        s.workspace(&format!("w{n}"));
        s.advance(10 * DAY);
    }
    let all = rows(&s);
    // Day 50: those of the days 0 and 10 are older than 30 days; that of day 20 is exactly as old.
    assert_eq!(purge(&s, 1), 1, "as many as one pass may");
    while purge(&s, 100) > 0 {}
    let left = rows(&s);
    assert!(left < all);
    let log = s.get("/audit-log").expect(200);
    let oldest = log["data"].as_array().unwrap().last().unwrap();
    assert_eq!(oldest["metadata"]["after"]["name"], "w2", "{log}");
    let newest = log["data"][0]["id"].clone();

    s.advance(1000 * DAY);
    while purge(&s, 100) > 0 {}
    assert_eq!(rows(&s), 1);
    let log = s.get("/audit-log").expect(200);
    assert_eq!(
        (&log["data"][0]["id"], log["data"].as_array().unwrap().len()),
        (&newest, 1)
    );
    s.workspace("after it all");
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<i64>().unwrap();
    let next = s.get("/audit-log?limit=1").expect(200)["data"][0]["id"].clone();
    assert_eq!(
        number(&next),
        number(&newest) + 1,
        "no number is given twice"
    );
}

#[test]
fn without_retention_nothing_goes() {
    let s = Service::new();
    s.workspace("w");
    s.advance(36_500 * DAY);
    let before = rows(&s);
    assert_eq!((purge(&s, 100), rows(&s)), (0, before));
}

#[test]
fn no_statement_changes_a_row_or_takes_one_out_of_the_middle() {
    let s = Service::new();
    for n in 0..3 {
        s.workspace(&format!("w{n}"));
    }
    let before = s.get("/audit-log").expect(200);
    for sql in [
        "UPDATE audit_log SET actor_label = 'somebody else'",
        "UPDATE audit_log SET seq = seq + 100",
        "DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)",
        "DELETE FROM audit_log WHERE seq > 1",
        "REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 2",
    ] {
        let refused = s.app.store.write_blocking(move |tx| {
            // Otherwise REPLACE deletes without asking the triggers.
            tx.pragma_update(None, "recursive_triggers", true)?;
            Ok(tx.execute(sql, [])?)
        });
        let detail = refused.unwrap_err();
        assert!(
            detail.internal_detail().unwrap().contains("audit log"),
            "{sql}: {detail:?}"
        );
    }
    assert_eq!(s.get("/audit-log").expect(200), before);
    s.post("/workspaces", json!({ "name": "goes on" }))
        .expect(201);
}

#[test]
fn imported_rows_and_own_ones_go_by_their_dates_and_hold_nobody_up() {
    let s = Service::with(Config {
        audit_retention_days: NonZeroU32::new(30),
        ..Config::default()
    });
    s.workspace("old");
    let day = s.app.store.now().0;
    let import = |seq: i64, at: i64| {
        s.app
            .store
            .write_blocking(move |tx| {
                Ok(tx.execute(
                    "INSERT INTO audit_log (seq, tenant_id, at, actor_type, type, resource_type, resource_id)
                     SELECT ?1, tenant_id, ?2, 'operator', 'workspace.created', 'workspace', resource_id
                     FROM audit_log WHERE seq = 1",
                    (seq, at),
                )?)
            })
            .unwrap()
    };
    s.advance(50 * DAY);
    // By its number it is the oldest of all, by its date it is young; and the other way round.
    import(-1, s.app.store.now().0);
    import(0, day - 400 * DAY * 1000);
    s.workspace("new");
    while purge(&s, 2) > 0 {}
    let log = s.get("/audit-log").expect(200);
    let left: Vec<(&str, bool)> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["id"].as_str().unwrap(),
                row["imported"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(left.len(), 2, "{log}");
    assert_eq!(left[1], ("-1", true));
    assert!(!left[0].1, "what happened here is not marked");
    s.advance(31 * DAY);
    while purge(&s, 2) > 0 {}
    assert_eq!(s.count("SELECT count(*) FROM audit_log WHERE seq < 1"), 0);
}
