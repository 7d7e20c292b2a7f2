//! What may still be created, and requests that are only rehearsed.

use serde_json::{Value, json};
use workspaced::testing::{Config, ConfigFile};

use crate::harness::{Service, redact};

fn headroom(s: &Service, w: &str) -> Value {
    s.get(&format!("/workspaces/{w}/headroom")).expect(200)["sizes"].clone()
}

fn of<'a>(sizes: &'a Value, size: &str) -> &'a Value {
    let all = sizes.as_array().unwrap();
    all.iter().find(|row| row["size"] == size).unwrap()
}

#[test]
fn headroom_is_what_creates_are_let_through() {
    let file = ConfigFile::parse("[limits]\nmax_computers = 4\n").unwrap();
    let s = Service::with(Config {
        file,
        ..Config::default()
    });
    let w = s.workspace("Clinic");
    let settings = format!("/workspaces/{w}/settings");
    let sizes = headroom(&s, &w);
    assert_eq!(sizes.as_array().unwrap().len(), 5);
    let small = of(&sizes, "small");
    assert_eq!(
        (&small["computers"], &small["stopped_by"]["scope"]),
        (&json!(4), &json!("tenant"))
    );
    s.put(
        &settings,
        json!({ "max_computers": 2, "max_computer_size": "medium" }),
    )
    .expect(200);
    let sizes = headroom(&s, &w);
    let small = of(&sizes, "small");
    assert_eq!(small["computers"], 2);
    let by = &small["stopped_by"];
    assert_eq!(
        (&by["limit"], &by["scope"], &by["max"]),
        (&json!("max_computers"), &json!("workspace"), &json!(2))
    );
    let large = of(&sizes, "large");
    assert_eq!(large["computers"], 0);
    let by = &large["stopped_by"];
    assert_eq!(
        (&by["limit"], &by["max"]),
        (&json!("max_computer_size"), &json!("medium"))
    );
    // As many, and no more; the next one is told what was said.
    for _ in 0..2 {
        s.computer(&w, "small");
    }
    let sizes = headroom(&s, &w);
    let small = of(&sizes, "small");
    assert_eq!(small["computers"], 0);
    let refused = s.post(
        "/computers",
        json!({ "name": "more", "workspace_id": w, "size": "small" }),
    );
    assert_eq!(
        small["stopped_by"]["message"],
        refused.refused(422, "LIMIT_EXCEEDED")
    );
    // A budget that is used up stops all of them.
    s.put(&settings, json!({ "max_computers": null }))
        .expect(200);
    s.advance(2 * 3600);
    let budget = json!({ "credits": 1, "on_exceeded": "refuse_start" });
    s.put(&format!("/workspaces/{w}/budget"), budget)
        .expect(200);
    let sizes = headroom(&s, &w);
    let small = of(&sizes, "small");
    assert_eq!(
        (&small["computers"], &small["stopped_by"]["limit"]),
        (&json!(0), &json!("budget"))
    );
    let free = Service::new();
    let sizes = headroom(&free, &free.default_workspace);
    assert_eq!(
        of(&sizes, "xl"),
        &json!({ "size": "xl", "computers": null, "stopped_by": null })
    );
}

/// Every row of every table.
pub fn everything(s: &Service) -> Vec<String> {
    s.app
        .store
        .read_blocking(|tx| {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'workspace_search%'";
            let mut names = tx.prepare(sql)?;
            let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut all = Vec::new();
            for name in names {
                let mut statement = tx.prepare(&format!("SELECT * FROM {name}"))?;
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let cells: Vec<_> = (0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap())).collect();
                    all.push(format!("{name}: {}", cells.join(" | ")));
                }
            }
            Ok::<_, workspaced::testing::Error>(all)
        })
        .unwrap()
}

#[test]
fn a_dry_run_answers_as_the_real_request_and_changes_nothing() {
    let s = Service::new();
    let w = s.workspace("Clinic");
    s.post(
        "/webhooks",
        json!({ "url": "https://hooks.example.com/", "events": ["*"] }),
    )
    .expect(201);
    let settings = format!("/workspaces/{w}/settings");
    let before = everything(&s);
    let body = json!({ "name": "pc", "workspace_id": w, "project_slug": "new-site", "size": "large", "metadata": { "a": 1 } });
    let dry = s.post("/computers?dry_run=true", body.clone()).expect(201);
    let caps = json!({ "max_computers": 1, "tz": "Europe/Budapest" });
    let dry_caps = s
        .put(&format!("{settings}?dry_run=true"), caps.clone())
        .expect(200);
    s.post("/computers?dry_run=true", json!({}))
        .invalid(&["name"]);
    s.post("/computers?dry_run=perhaps", body.clone())
        .invalid(&["dry_run"]);
    assert_eq!(everything(&s), before);

    let real = s.post("/computers", body.clone()).expect(201);
    assert_eq!(redact(dry), redact(real));
    let real_caps = s.put(&settings, caps).expect(200);
    let mut expected = redact(dry_caps);
    // By now there is a computer.
    for (path, value) in [
        ("/computer_count", json!(1)),
        ("/effective/headroom_computers", json!(0)),
    ] {
        *expected.pointer_mut(path).unwrap() = value;
    }
    assert_eq!(expected, redact(real_caps));
    // What the real one would be refused, the rehearsal is refused.
    let before = everything(&s);
    let dry = s.post("/computers?dry_run=1", body.clone());
    assert_eq!(everything(&s), before);
    let real = s.post("/computers", body);
    assert_eq!(
        dry.refused(422, "LIMIT_EXCEEDED"),
        real.refused(422, "LIMIT_EXCEEDED")
    );
    // Of the real one stays that it was refused, and nothing else.
    let mut after = everything(&s);
    after.retain(|row| !row.starts_with("refusals"));
    assert_eq!(after, before);
    assert_eq!(s.count("SELECT sum(count) FROM refusals"), 1);
}
