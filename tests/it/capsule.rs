//! A workspace as one file: out of one installation, into another.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, at};
use crate::metering_oracle::histories;
use workspaced::testing::BASE;
use workspaced::testing::{Config, ConfigFile};

/// The file of a workspace.
#[track_caller]
pub fn export(s: &Service, key: &str, id: &str) -> String {
    let path = format!("/workspaces/{id}/export");
    let answer = s.call_as(key, Method::GET, &path, None);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    answer.text
}

pub fn import_bytes(s: &Service, key: &str, bytes: impl Into<Body>, query: &str) -> Answer {
    let request = Request::builder()
        .method("POST")
        .uri(format!("{BASE}/workspaces/import{query}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/x-ndjson");
    s.send(request.body(bytes.into()).unwrap())
}

pub fn import(s: &Service, file: &str, query: &str) -> Answer {
    import_bytes(s, &s.key, file.to_owned(), query)
}

/// Counts of every table that an import writes, and that the books add up.
#[track_caller]
pub fn state(s: &Service) -> Vec<i64> {
    let found = s
        .app
        .store
        .read_blocking(workspaced::testing::verify)
        .unwrap();
    assert!(found.ok, "{found}");
    let mut state = s.fingerprint();
    state.extend([found.rows, found.events]);
    state
}

/// An installation whose clock shows what that of another one does.
fn beside(s: &Service, config: Config) -> Service {
    let other = Service::with(config);
    other.clock.set(s.app.store.now());
    other
}

/// The usage of a workspace in many ways. What has left it has new ids in a copy, and by its id a part
/// gets the last digit of a share or does not: of parts the exact milliseconds are compared then.
fn usage(s: &Service, id: &str, left: bool) -> Vec<Value> {
    let exact = |part: &mut Value| {
        let part = part.as_object_mut().unwrap();
        part.retain(|name, _| {
            matches!(
                &**name,
                "name" | "series" | "ts" | "compute_ms" | "total_compute_ms"
            )
        });
    };
    let mut all = Vec::new();
    for (window, zone) in [
        ("window=30d&granularity=day", "Asia/Kathmandu"),
        (
            "from=2026-03-01T00:00:00Z&to=2027-03-01T00:00:00Z&granularity=day",
            "UTC",
        ),
        (
            "from=2026-03-01T00:00:00Z&to=2027-03-01T00:00:00Z&granularity=day",
            "America/New_York",
        ),
        (
            "from=2026-09-26T11:17:03.250Z&to=2026-10-06T00:00:00Z&granularity=hour",
            "Australia/Lord_Howe",
        ),
    ] {
        for by in [
            "",
            "&group_by=computer",
            "&group_by=project",
            "&group_by=size",
        ] {
            let path = format!("/workspaces/{id}/usage?{window}&tz={zone}{by}");
            let mut reply = s.get(&path).expect(200);
            if let (true, Some(groups)) = (left, reply["groups"].as_array_mut()) {
                for group in groups.iter_mut() {
                    exact(group);
                    group["series"]
                        .as_array_mut()
                        .unwrap()
                        .iter_mut()
                        .for_each(exact);
                }
                groups.sort_by_key(Value::to_string);
            }
            all.push(reply);
        }
    }
    all
}

/// The first place at which two replies differ.
fn difference(a: &Value, b: &Value, path: &str) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) if x.len() == y.len() => x
            .iter()
            .find_map(|(key, value)| difference(value, &y[key], &format!("{path}.{key}"))),
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => (x.iter().zip(y))
            .enumerate()
            .find_map(|(n, (x, y))| difference(x, y, &format!("{path}[{n}]"))),
        _ => (a != b).then(|| format!("{path} was {a}, is {b}")),
    }
}

fn ids(s: &Service, path: &str) -> Vec<String> {
    let rows = s.get(path).expect(200)["data"].clone();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

/// After the last event of any history of the oracle.
const LATER: &str = "2027-02-01T00:00:00Z";

#[test]
fn the_usage_of_every_history_is_the_same_in_the_copy() {
    let a = Service::new();
    histories(&a, &a.key, 1..23);
    a.travel_to(at(LATER));
    state(&a);
    let b = beside(&a, Config::default());
    let mut workspaces = ids(&a, "/workspaces");
    // Computers have moved between them: neither order may matter.
    workspaces.sort_by_key(|id| id.chars().rev().collect::<String>());
    let (mut ms, mut moved) = (0, 0);
    for id in &workspaces {
        let file = export(&a, &a.key, id);
        if *id == a.default_workspace {
            // Its name is taken: everybody has one.
            import(&b, &file, "").refused(409, "CAPSULE_CONFLICT");
            import(&b, &file, "?slug=formerly-default").expect(201);
            continue;
        }
        let left = file.contains("destroyed");
        moved += file.matches("computer.moved").count();
        let imported = import(&b, &file, "").expect(201);
        ms += imported["usage"]["compute_ms"].as_i64().unwrap();
        for (was, is) in usage(&a, id, left).iter().zip(usage(&b, id, left)) {
            if let Some(what) = difference(was, &is, "") {
                panic!(
                    "workspace {id}, {} by {}: {what}",
                    was["window"], was["group_by"]
                );
            }
        }
        let again = export(&b, &b.key, id);
        let body = |file: &str| -> Vec<Value> {
            let lines = file.lines().skip(1).map(serde_json::from_str);
            let mut lines = lines.collect::<Result<Vec<Value>, _>>().unwrap();
            // The prices that hold in the copy are shown there; here nobody has looked at the configuration.
            lines[0]["workspace"]
                .as_object_mut()
                .unwrap()
                .remove("prices");
            lines
        };
        // What ran is stopped in the copy; the others are the same.
        if imported["stopped"].as_array().unwrap().is_empty() {
            let (was, is) = (body(&file), body(&again));
            assert_eq!(was[..was.len() - 1], is[..is.len() - 1], "{id}");
        }
    }
    assert!(ms > 1_000_000_000 && moved > 20, "{ms} ms, {moved} moves");
    state(&b);
    let totals = |s: &Service| {
        let path =
            "/usage/series?from=2026-01-01T00:00:00Z&to=2027-02-01T00:00:00Z&granularity=day";
        s.get(path).expect(200)["total_credits_micros"].clone()
    };
    assert_eq!(totals(&a), totals(&b));
    for id in &workspaces {
        let answer = import(&b, &export(&a, &a.key, id), "");
        // The same instant, the same file.
        assert_eq!(answer.expect(200)["imported"], false);
    }
}

/// An installation with a workspace that has something of everything; its id.
pub fn furnished() -> (Service, String) {
    let s = Service::new();
    let body = json!({
        "name": "Dr. Smith", "external_workspace_id": "clinic_1", "description": "two\nlines",
        "metadata": { "tier": "gold", "n": 1.5 },
    });
    let made = s.post("/workspaces", body).expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let path = |rest: &str| format!("/workspaces/{id}{rest}");
    s.put(
        &path("/settings"),
        json!({ "max_computers": 2, "max_computer_size": "large" }),
    )
    .expect(200);
    s.put(
        &path("/preview-domain"),
        json!({ "preview_domain": "clinic.example.org" }),
    )
    .expect(200);
    let project = s
        .post(
            "/projects",
            json!({ "name": "Site", "workspace_id": id, "external_project_id": "p" }),
        )
        .expect(201);
    let project = project["id"].as_str().unwrap();
    s.put(
        &format!("/projects/{project}/preview-domain"),
        json!({ "preview_domain": "site.example.net" }),
    )
    .expect(200);
    let computer = json!({ "name": "Kept", "project_id": project, "size": "medium", "metadata": { "a": [1] } });
    let kept = s.post("/computers", computer).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    s.advance(600);
    s.post(
        &format!("/computers/{kept}/resize"),
        json!({ "size": "large" }),
    )
    .expect(200);
    let gone = s.running(&id, "small");
    s.advance(3601);
    s.delete(&format!("/computers/{gone}")).expect(200);
    let still = s.running(&id, "small");
    s.advance(5);
    s.post(&format!("/computers/{still}/stop"), json!({}))
        .expect(200);
    s.advance(7);
    (s, id)
}

#[test]
fn everything_comes_along_and_the_same_file_again_changes_nothing() {
    let (a, id) = furnished();
    let file = export(&a, &a.key, &id);
    let b = beside(&a, Config::default());
    b.clock.set(b.app.store.now().plus_seconds(60));
    let imported = import(&b, &file, "").expect(201);
    assert_eq!(imported["imported"], true);
    assert_eq!(imported["rows"]["computers"], 3);
    let same = |path: &str, fields: &[&str]| {
        let (was, is) = (a.get(path).expect(200), b.get(path).expect(200));
        for field in fields {
            assert_eq!(was[field], is[field], "{path} {field}");
        }
    };
    let path = |rest: &str| format!("/workspaces/{id}{rest}");
    same(
        &path(""),
        &[
            "id",
            "name",
            "slug",
            "external_workspace_id",
            "description",
            "metadata",
            "computer_count",
            "created_at",
            "updated_at",
        ],
    );
    same(&path("/settings"), &["settings", "effective"]);
    same(&path("/preview-domain"), &["preview_domain"]);
    assert_eq!(
        b.get(&path("/preview-domain")).expect(200)["status"],
        "pending_dns"
    );
    for project in ids(&a, &path("/projects")) {
        let path = format!("/projects/{project}");
        same(
            &path,
            &[
                "name",
                "slug",
                "external_project_id",
                "is_default",
                "computer_count",
                "workspace_id",
            ],
        );
        same(&format!("{path}/preview-domain"), &["preview_domain"]);
    }
    for computer in ids(&a, &path("/computers")) {
        let path = format!("/computers/{computer}");
        same(
            &path,
            &[
                "name",
                "slug",
                "size",
                "metadata",
                "project_id",
                "template_type",
                "visibility",
                "created_at",
            ],
        );
    }
    assert_eq!(
        b.get(&path("")).expect(200)["tenant_id"],
        b.tenant_id.as_str()
    );

    let before = state(&b);
    let again = import(&b, &file, "").expect(200);
    assert_eq!(again["imported"], false);
    assert_eq!(state(&b), before);
    // Also when the workspace has lived on since.
    b.put(&path("/settings"), json!({ "max_computers": 9 }))
        .expect(200);
    b.running(&id, "small");
    b.patch(&path(""), json!({ "name": "Dr. Jones" }))
        .expect(200);
    let before = state(&b);
    assert_eq!(import(&b, &file, "").expect(200)["imported"], false);
    assert_eq!(state(&b), before);
    // Where it comes from it is there, too.
    let before = state(&a);
    assert_eq!(import(&a, &file, "").expect(200)["imported"], false);
    assert_eq!(state(&a), before);
    a.patch(&path(""), json!({ "name": "Dr. Jones" }))
        .expect(200);
    let text = import(&a, &file, "").refused(409, "CAPSULE_CONFLICT");
    assert!(text.contains("other content"), "{text}");

    // And with an Idempotency-Key even the reply is the same.
    let c = beside(&a, Config::default());
    let send = || {
        let request = Request::builder()
            .method("POST")
            .uri(format!("{BASE}/workspaces/import"))
            .header("authorization", format!("Bearer {}", c.key))
            .header("idempotency-key", "once");
        c.send(request.body(file.clone().into()).unwrap())
    };
    assert_eq!(send().expect(201), send().expect(201));
}

#[test]
fn what_runs_is_billed_in_one_place_only() {
    let a = Service::new();
    let id = a.workspace("W");
    let on = a.running(&id, "small");
    let body = json!({ "name": "agent", "workspace_id": id, "driver": "external" });
    let agent = a.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let report = |id: &str, kind: &str, seconds: i64| {
        let time = a.app.store.now().plus_seconds(seconds).rfc3339();
        json!({ "events": [{ "id": id, "type": format!("computer.{kind}"), "subject": agent, "time": time }] })
    };
    a.post("/compute-events", report("e1", "started", 0))
        .expect(200);
    a.advance(3600);
    // Dated ahead: it does not hold at the export, and is for the agent to report where it will be.
    a.post("/compute-events", report("e2", "stopped", 200))
        .expect(200);
    a.patch(
        &format!("/computers/{on}/auto-stop"),
        json!({ "auto_stop_seconds": 7200 }),
    )
    .expect(200);
    let file = export(&a, &a.key, &id);
    assert!(file.contains("\"e1\"") && !file.contains("\"e2\""));
    let used = |s: &Service| {
        s.get(&format!("/workspaces/{id}/usage?window=30d"))
            .expect(200)["total_compute_ms"]
            .clone()
    };
    let exported = used(&a);
    a.advance(1800);

    let stopped = beside(&a, Config::default());
    let reply = import(&stopped, &file, "").expect(201);
    assert_eq!(reply["stopped"].as_array().unwrap().len(), 2);
    stopped.advance(3600);
    assert_eq!(used(&stopped), exported);
    let computer = stopped.get(&format!("/computers/{on}")).expect(200);
    assert_eq!(computer["status"], "stopped");
    assert_eq!(computer["stopped_at"], reply["exported_at"]);
    state(&stopped);

    // Started again where it is now: the time in between is the original's.
    let running = beside(&a, Config::default());
    let reply = import(&running, &file, "?keep_running=true").expect(201);
    assert_eq!(reply["kept_running"], json!([on]));
    assert_eq!(reply["stopped"], json!([agent]));
    assert_eq!(used(&running), exported);
    running.advance(3600);
    assert_eq!(
        used(&running).as_i64(),
        exported.as_i64().map(|ms| ms + 3_600_000)
    );
    running.advance(3601);
    let computer = running.get(&format!("/computers/{on}")).expect(200);
    assert_ne!(
        computer["status"], "running",
        "its idle auto-stop goes on here"
    );
    state(&running);
    // The agent goes on here.
    let time = running.app.store.now().rfc3339();
    let event = json!({ "events": [{ "id": "e3", "type": "computer.started", "subject": agent, "time": time }] });
    assert_eq!(
        running.post("/compute-events", event).expect(200)["accepted"],
        1
    );
    state(&running);
}

#[test]
fn agents_go_on_reporting_about_what_moved_in() {
    let a = Service::new();
    let (elsewhere, id) = (a.workspace("Elsewhere"), a.workspace("W"));
    let body = json!({ "name": "agent", "workspace_id": elsewhere, "driver": "external" });
    let agent = a.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let born = a.app.store.now();
    let report = |s: &Service, event: &str, kind: &str, seconds: i64| {
        let time = born.plus_seconds(seconds).rfc3339();
        let event = json!({ "id": event, "type": format!("computer.{kind}"), "subject": agent, "time": time });
        s.post("/compute-events", json!({ "events": [event] }))
            .expect(200)
    };
    report(&a, "e1", "started", 0);
    a.advance(1000);
    a.post(
        &format!("/computers/{agent}/move"),
        json!({ "workspace_id": id }),
    )
    .expect(200);
    a.advance(1000);
    let file = export(&a, &a.key, &id);
    let b = beside(&a, Config::default());
    assert_eq!(
        import(&b, &file, "").expect(201)["usage"]["compute_ms"],
        1_000_000
    );
    // Late, about the time in the other workspace: it did not run here then.
    assert_eq!(report(&b, "e2", "stopped", 500)["accepted"], 1);
    assert_eq!(report(&b, "e3", "started", 2500 - 500)["accepted"], 1);
    b.advance(100);
    let used = b
        .get(&format!("/workspaces/{id}/usage?window=24h"))
        .expect(200);
    assert_eq!(used["total_compute_ms"], 1_100_000);
    state(&b);
}

#[test]
fn refused_whole_with_what_to_do() {
    let (a, id) = furnished();
    let file = export(&a, &a.key, &id);
    let limited = |text: &str| Config {
        file: ConfigFile::parse(text).unwrap(),
        ..Config::default()
    };
    let refused = |s: &Service, query: &str, status: u16, code: &str, says: &str| {
        let before = state(s);
        let text = import(s, &file, query).refused(status, code);
        assert!(text.contains(says), "{text}");
        assert_eq!(state(s), before, "{text}");
    };
    let conflict =
        |s: &Service, query: &str, says: &str| refused(s, query, 409, "CAPSULE_CONFLICT", says);

    // Another organization of the same installation.
    let (other, _) = a.other_tenant("beta");
    let answer = import_bytes(&a, &other, file.clone(), "?slug=x&external_workspace_id=");
    answer.refused(409, "CAPSULE_CONFLICT");

    // Everything that must be unique is taken; each refusal names the way out.
    let b = beside(&a, Config::default());
    let taken = b
        .post(
            "/workspaces",
            json!({ "name": "Dr. Smith", "external_workspace_id": "clinic_1" }),
        )
        .expect(201)["id"]
        .clone();
    b.post(
        "/computers",
        json!({ "name": "Kept", "workspace_id": taken }),
    )
    .expect(201);
    let (c, workspace) = b.other_tenant("beta");
    let body = json!({ "preview_domain": "site.example.net" });
    b.call_as(
        &c,
        Method::PUT,
        &format!("/workspaces/{workspace}/preview-domain"),
        Some(body),
    )
    .expect(200);
    b.advance(5);
    conflict(&b, "", "--slug");
    conflict(&b, "?slug=smith", "--external-id");
    conflict(
        &b,
        "?slug=smith&external_workspace_id=",
        "--without-domains",
    );
    conflict(
        &b,
        "?slug=smith&external_workspace_id=&without_domains=true",
        "--rename-computers",
    );
    refused(&b, "?slug=Not%20A%20Slug", 422, "VALIDATION_FAILED", "slug");
    let before = state(&b);
    import(&b, &file, "?keep_running=perhaps").invalid(&["keep_running"]);
    assert_eq!(state(&b), before);
    let all =
        "?slug=smith&external_workspace_id=clinic_9&without_domains=true&rename_computers=true";
    assert_eq!(import(&b, &file, all).expect(201)["slug"], "smith");
    state(&b);

    // The ceilings of the organization; the workspace's own caps come with it.
    for (limit, text) in [
        ("max_workspaces", "[limits]\nmax_workspaces = 1"),
        ("max_projects", "[limits]\nmax_projects = 1"),
        ("max_computers", "[limits]\nmax_computers = 1"),
    ] {
        refused(&beside(&a, limited(text)), "", 422, "LIMIT_EXCEEDED", limit);
    }
    let small = beside(&a, limited("[limits]\nmax_computer_size = \"medium\""));
    refused(&small, "", 422, "VALIDATION_FAILED", "max_computer_size");
    // What is here already is no growth.
    let full = beside(&a, limited("[limits]\nmax_workspaces = 2"));
    import(&full, &file, "").expect(201);
    assert_eq!(import(&full, &file, "").expect(200)["imported"], false);

    // Deleted here: its usage stays under its id.
    full.delete(&format!("/workspaces/{id}?force=true"))
        .expect(200);
    conflict(&full, "", "has been deleted");

    // A clock that is behind.
    let early = Service::new();
    refused(&early, "", 422, "CAPSULE_INVALID", "clock");

    // A correction is money: only an operator may bring one.
    a.post(
        "/usage/adjustments",
        json!({ "workspace_id": id, "amount_micros": -5_000_000, "reason": "goodwill" }),
    )
    .expect(201);
    let corrected = export(&a, &a.key, &id);
    let d = beside(&a, Config::default());
    let (admin, _) = d.other_tenant("beta");
    let before = state(&d);
    let text = import_bytes(&d, &admin, corrected.clone(), "").refused(403, "FORBIDDEN");
    assert!(text.contains("operator"), "{text}");
    assert_eq!(state(&d), before);
    let imported = import(&d, &corrected, "").expect(201);
    assert_eq!(imported["corrections_micros"], -5_000_000);
    state(&d);
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let (a, id) = furnished();
    let file = export(&a, &a.key, &id);
    for (table, nth) in [
        ("projects", 2),
        ("preview_domains", 1),
        ("compute_events", 5),
        ("meter_hours", 1),
        ("computers", 3),
        ("audit_log", 4),
    ] {
        let b = beside(&a, Config::default());
        let before = state(&b);
        let trigger = format!(
            "CREATE TEMP TABLE seen (n); CREATE TEMP TRIGGER fails AFTER INSERT ON main.{table} BEGIN
             INSERT INTO seen VALUES (1);
             SELECT CASE WHEN (SELECT count(*) FROM seen) = {nth} THEN RAISE(ABORT, 'test') END; END"
        );
        b.app
            .store
            .write_blocking(move |tx| Ok(tx.execute_batch(&trigger)?))
            .unwrap();
        import(&b, &file, "").refused(500, "INTERNAL_ERROR");
        assert_eq!(state(&b), before, "{table}");
        let remove = "DROP TRIGGER temp.fails";
        b.app
            .store
            .write_blocking(move |tx| Ok(tx.execute_batch(remove)?))
            .unwrap();
        import(&b, &file, "").expect(201);
        state(&b);
    }
}

#[test]
fn the_audit_log_comes_along_as_what_was_before() {
    let (a, id) = furnished();
    let rows = |s: &Service, query: &str| {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = s
                .get(&format!("/audit-log?limit=4&{query}{cursor}"))
                .expect(200);
            found.extend(page["data"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let types = |rows: &[Value]| -> Vec<String> {
        rows.iter()
            .map(|row| row["type"].as_str().unwrap().to_owned())
            .collect()
    };
    let query = format!("workspace_id={id}");
    let was = types(&rows(&a, &query));
    let file = export(&a, &a.key, &id);
    assert_eq!(types(&rows(&a, &query))[0], "workspace.exported");
    let b = beside(&a, Config::default());
    let newest = b.count("SELECT max(seq) FROM audit_log");
    import(&b, &file, "").expect(201);
    let is = rows(&b, &query);
    assert_eq!(types(&is)[0], "workspace.imported");
    assert_eq!(types(&is)[1..], was);
    // One new number: streams, which go on from the newest, show one event.
    assert_eq!(b.count("SELECT max(seq) FROM audit_log"), newest + 1);
    let told = &is[0]["metadata"]["after"];
    assert_eq!(told["audit_rows"]["count"], was.len());
    assert_eq!(told["audit_rows"]["first"], is.last().unwrap()["id"]);
    assert_eq!(
        told["usage"],
        serde_json::from_str::<Value>(file.lines().last().unwrap()).unwrap()["end"]["usage"]
    );
    // In the list of the organization they are before everything that happened here.
    let all = types(&rows(&b, ""));
    assert_eq!(all[all.len() - was.len()..], was);
    // And they go first.
    let keeps = Service::with(Config {
        audit_retention_days: std::num::NonZeroU32::new(30),
        ..Config::default()
    });
    keeps.clock.set(a.app.store.now());
    import(&keeps, &file, "").expect(201);
    keeps
        .clock
        .set(keeps.app.store.now().plus_seconds(40 * 86_400));
    let app = keeps.app.clone();
    let gone = keeps
        .app
        .store
        .write_blocking(move |tx| {
            workspaced::testing::audit::purge(tx, app.config.audit_retention_days, 500)
        })
        .unwrap();
    assert!(gone >= was.len(), "{gone}");
    assert_eq!(
        keeps.count("SELECT count(*) FROM audit_log WHERE seq < 1"),
        0
    );
}

#[test]
fn who_may() {
    let (a, id) = furnished();
    let file = export(&a, &a.key, &id);
    let make = |body: Value| {
        a.post("/api-keys", body).expect(201)["data"]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let path = format!("/workspaces/{id}/export");
    for (body, code) in [
        (
            json!({ "name": "r", "scopes": ["workspaces:*", "usage:read", "audit:read"] }),
            "insufficient_scope",
        ),
        (json!({ "name": "w", "workspace_id": id }), "FORBIDDEN"),
    ] {
        let key = make(body);
        a.call_as(&key, Method::GET, &path, None).refused(403, code);
        import_bytes(&a, &key, file.clone(), "").refused(403, code);
    }
    let admin = make(json!({ "name": "a", "scopes": ["tenant:admin"] }));
    assert!(!export(&a, &admin, &id).is_empty());
    let (stranger, _) = a.other_tenant("beta");
    a.call_as(&stranger, Method::GET, &path, None)
        .refused(403, "FORBIDDEN");
    // Keys stay where they are.
    let made = a
        .post("/api-keys", json!({ "name": "hush", "workspace_id": id }))
        .expect(201);
    let secret = made["data"]["key"].as_str().unwrap();
    let file = export(&a, &a.key, &id);
    assert!(!file.contains(secret) && !file.contains("secret_hash"));
    let b = beside(&a, Config::default());
    let keys = b.count("SELECT count(*) FROM api_keys");
    import(&b, &file, "").expect(201);
    assert_eq!(b.count("SELECT count(*) FROM api_keys"), keys);
}
