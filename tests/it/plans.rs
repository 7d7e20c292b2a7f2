//! What a request costs must not depend on how many rows there are: each statement that any
//! endpoint really runs is caught as it runs, and its plan may not read a whole table.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::http::Method;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use serde_json::json;

use crate::harness::Service;
use workspaced::testing::queue;
use workspaced::testing::routes::table;
use workspaced::testing::{Config, WebhookReach};

/// Steps that may read all rows of something: the step, a part of the statement, and why it may.
const MAY_SCAN: &[(&str, &str, &str)] = &[
    (
        "SCAN rates",
        "FROM rates WHERE effective_from",
        "a handful of rows, a row for each change of the configuration",
    ),
    (
        "SCAN rates",
        "effective_from, rate FROM rates",
        "a handful of rows, a row for each change of the configuration",
    ),
    ("SCAN CONSTANT ROW", "", "one row, which is no table's"),
    (
        "SCAN newest",
        "LIMIT :look",
        "rows that the index has picked and counted before",
    ),
    (
        "SCAN workspaces_to_index",
        ":phrase",
        "what was written in the last second",
    ),
    (
        "SCAN size_vcpus",
        "ORDER BY size",
        "a handful of rows, a row for each change of the configuration",
    ),
    (
        "SCAN (subquery",
        "nth <= ?2",
        "webhooks that are due, found by the index before",
    ),
    (
        "SCAN (subquery",
        "restorable_until",
        "what the indexes of three tables found",
    ),
    ("SCAN found", ":phrase", "what the search index found"),
    (
        "SCAN workspace_search_state",
        "indexed_to",
        "one row: how far the search index has come",
    ),
    (
        "SCAN f VIRTUAL TABLE INDEX",
        "MATCH :phrase",
        "the search index answers by the text",
    ),
    (
        "SCAN main.workspace_search_config",
        "",
        "one row that the search index keeps for itself",
    ),
    (
        "SCAN tenants",
        "SELECT * FROM tenants",
        "an operator's list of organizations has them all",
    ),
    (
        "SCAN tenants",
        "sum(workspace_count)",
        "totals of the installation, for its operator",
    ),
    (
        "SCAN sessions",
        "count(*) FROM sessions",
        "people who are signed in to the admin page",
    ),
    (
        "SCAN webhooks USING COVERING INDEX webhooks_enabled",
        "SELECT DISTINCT tenant_id",
        "once, and again after a webhook has changed: who has one",
    ),
    (
        "SCAN w USING COVERING INDEX",
        "CROSS JOIN meter_steps",
        "a look into the index of each workspace, for operators",
    ),
    // Of the children of a new row there are none; SQLite looks only while a violation is open.
    ("SCAN computers", "INSERT INTO", "foreign keys"),
    ("SCAN projects", "INSERT INTO workspaces", "foreign keys"),
    ("SCAN api_keys", "INSERT INTO workspaces", "foreign keys"),
];

/// Statements seen by all connections of this process, which runs this test only once.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn note(event: TraceEvent<'_>) {
    if let TraceEvent::Stmt(statement, _) = event {
        SEEN.lock().unwrap().insert(statement.sql().into_owned());
    }
}

#[test]
fn no_endpoint_reads_a_whole_table() {
    // One reader: its connection is the one that is watched.
    let s = Service::with(Config {
        readers: 1,
        webhook_reach: WebhookReach::Loopback,
        ..Config::default()
    });
    s.app
        .store
        .read_blocking(|tx| {
            tx.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note));
            Ok(())
        })
        .unwrap();
    s.app
        .store
        .write_blocking(|tx| {
            tx.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note));
            Ok(())
        })
        .unwrap();

    // Nobody listens there, so that retries are written too.
    let hook = json!({ "url": "http://127.0.0.1:1024/", "events": ["*"] });
    let hook = s.post("/webhooks", hook).expect(201)["data"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = |query: &str| {
        s.get(&format!("/webhooks/{hook}/deliveries?limit=2{query}"))
            .expect(200)
    };
    let workspace = s.workspace("W");
    let computer = s.running(&workspace, "small");
    let project = s.get(&format!("/computers/{computer}")).expect(200)["project_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // To verify is to read everything.
    for route in table()
        .iter()
        .filter(|r| r.method == Method::GET && r.path != "/usage/verify")
    {
        let id = match route.path.split('/').nth(1).unwrap() {
            "workspaces" => &workspace,
            "projects" => &project,
            "computers" => &computer,
            "webhooks" => &hook,
            _ => &s.tenant_id,
        };
        let delivery = told("")["data"][0]["id"].as_str().unwrap().to_owned();
        let path = route
            .path
            .replace("{id}", id)
            .replace("{did}", &delivery)
            .replace("{lid}", &delivery);
        s.get(&path.replace("{name}", "local").replace("{number}", "1"));
    }
    let sorts = ["name", "created_at", "updated_at", "computer_count"];
    let sorts = sorts
        .iter()
        .flat_map(|sort| [format!("sort={sort}"), format!("sort=-{sort}")]);
    let filters = [
        "q=clinic",
        "q=0199aabbccdd",
        "slug=w",
        "external_workspace_id=x",
        "q=clinic&sort=name",
    ];
    for query in filters.iter().map(|f| (*f).to_owned()).chain(sorts) {
        s.get(&format!("/workspaces?{query}&limit=50&offset=100"))
            .expect(200);
    }
    for query in [
        "status=running".to_owned(),
        "external_user_id=u".into(),
        format!("workspace_id={workspace}&status=running"),
        format!("project_id={project}&status=running"),
    ] {
        s.get(&format!("/computers?{query}&limit=50")).expect(200);
    }
    s.get(&format!("/projects?workspace_id={workspace}&limit=50"))
        .expect(200);
    s.get("/projects?external_project_id=x").expect(200);
    for (path, body) in [
        ("stop", json!({})),
        ("start", json!({})),
        ("resize", json!({ "size": "medium" })),
        ("clone", json!({ "name": "copy" })),
    ] {
        s.advance(2);
        s.post(&format!("/computers/{computer}/{path}"), body);
    }
    s.patch(&format!("/workspaces/{workspace}"), json!({ "name": "V" }))
        .expect(200);
    s.delete(&format!("/workspaces/{workspace}?force=true"))
        .expect(200);

    let last = told("&state=pending")["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    told(&format!("&state=pending&cursor={last}"));
    told(&format!("&cursor={last}"));
    s.post(
        &format!("/webhooks/{hook}/deliveries/{last}/replay"),
        json!({}),
    )
    .expect(200);
    for (path, body) in [("/test", json!({})), ("/rotate", json!({}))] {
        s.post(&format!("/webhooks/{hook}{path}"), body).expect(200);
    }
    for change in [json!({ "enabled": false }), json!({ "enabled": true })] {
        s.patch(&format!("/webhooks/{hook}"), change).expect(200);
    }
    s.delete(&format!("/webhooks/{hook}")).expect(200);
    let _app = s.app.clone();
    s.app
        .store
        .write_blocking(move |tx| queue::purge(tx, 10))
        .unwrap();
    s.app
        .store
        .read_blocking(|tx| Ok((queue::next_due(tx)?, queue::waiting(tx)?)))
        .unwrap();

    let seen = SEEN.lock().unwrap().clone();
    assert!(
        seen.len() > 60,
        "only {} statements were seen: the trace does not work",
        seen.len()
    );
    let steps = s.app.store.read_blocking(move |tx| {
        let mut steps = Vec::new();
        for sql in seen.iter().filter(|sql| !sql.starts_with("--")) {
            let mut statement = tx.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                steps.push((row.get::<_, String>("detail")?, sql.clone()));
            }
        }
        Ok(steps)
    });
    let bad: Vec<String> = steps
        .unwrap()
        .into_iter()
        .filter(|(step, sql)| {
            let may = |(start, part, _): &(&str, &str, &str)| {
                step.starts_with(start) && sql.contains(part)
            };
            // A page of a list comes in its order from an index; only the finds of a search are sorted.
            let sorts = step.contains("TEMP B-TREE FOR ORDER BY")
                && sql.contains(":offset")
                && !sql.contains("MATCH");
            sorts || step.starts_with("SCAN") && !MAY_SCAN.iter().any(may)
        })
        .map(|(step, sql)| format!("{step}\n    in {sql}"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
