//! The emulator: the driven clock, scenarios, snapshots, and who may use them.

use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tempfile::TempDir;

use workspaced::testing::App;
use workspaced::testing::Config;
use workspaced::testing::DEV_KEY;
use workspaced::testing::NewKey;
use workspaced::testing::Store;
use workspaced::testing::dev;
use workspaced::testing::dev::{Seeded, scenario};
use workspaced::testing::{Clock, Course, Mode, Stopwatch, Ticks, Timestamp};
use workspaced::testing::{router, verify};

use crate::harness::{Answer, Service, at, runtime};

/// Everything below `/_dev`.
const ROUTES: [(Method, &str); 13] = [
    (Method::GET, "/_dev/clock"),
    (Method::POST, "/_dev/clock"),
    (Method::GET, "/_dev/snapshots"),
    (Method::POST, "/_dev/snapshots"),
    (Method::POST, "/_dev/snapshots/one/restore"),
    (Method::POST, "/_dev/reset"),
    (Method::GET, "/_dev/faults"),
    (Method::POST, "/_dev/faults"),
    (Method::DELETE, "/_dev/faults"),
    (Method::DELETE, "/_dev/faults/f1"),
    (Method::GET, "/_dev/compat"),
    (Method::POST, "/_dev/compat"),
    (Method::DELETE, "/_dev/compat"),
];

fn virtual_clock() -> Config {
    Config {
        virtual_clock: true,
        frozen: true,
        ..Config::default()
    }
}

fn emulator() -> Service {
    Service::with(virtual_clock())
}

/// A service on a database that a scenario has filled; its clock stands at the scenario's end.
fn seeded(file: &str, seed: u64) -> (Service, Seeded) {
    let dir = TempDir::new().unwrap();
    let config = Config {
        dev: true,
        ..virtual_clock()
    };
    let clock = Clock::manual(at("2020-01-01T00:00:00Z"));
    let store = Store::open(&dir.path().join("workspaced.db"), clock.clone(), 2).unwrap();
    let app = App::new(store, config);
    let made = fill(&app, file, seed);
    dev::resume(&app.store, true).unwrap();
    clock.steer(Course::new(Mode::Frozen, made.end, 1));
    dev::take_snapshot_blocking(&app.store, dev::SEED).unwrap();
    let service = Service {
        router: router(app.clone()),
        app,
        clock,
        key: DEV_KEY.into(),
        tenant_id: String::new(),
        default_workspace: String::new(),
        dir,
    };
    (service, made)
}

fn fill(app: &App, file: &str, seed: u64) -> Seeded {
    let (inner, file) = (app.clone(), file.to_owned());
    app.store
        .write_blocking(move |tx| dev::seed(tx, &inner.emulator, &file, seed, &|_| ()))
        .unwrap()
}

fn clinic() -> &'static str {
    scenario::BUILT_IN[0].1
}

/// A request below `/_dev`.
fn request(s: &Service, method: Method, path: &str, body: Option<Value>) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json");
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    request.body(body).unwrap()
}

fn call(s: &Service, method: Method, path: &str, body: Option<Value>) -> Answer {
    s.send(request(s, method, path, body))
}

fn post(s: &Service, path: &str, body: Value) -> Answer {
    call(s, Method::POST, path, Some(body))
}

fn texts(s: &Service, sql: &str) -> Vec<String> {
    let sql = sql.to_owned();
    s.app
        .store
        .read_blocking(move |tx| {
            let mut statement = tx.prepare(&sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

/// Every compute event, as text: when, which computer, what.
fn events(s: &Service) -> Vec<String> {
    texts(
        s,
        "SELECT at || ' ' || hex(computer_id) || ' ' || type || ' ' || size FROM compute_events ORDER BY at, computer_id, seq",
    )
}

#[track_caller]
fn proved(s: &Service) {
    let found = s.app.store.read_blocking(verify).unwrap();
    assert!(found.ok, "{found}");
}

// ---------------------------------------------------------------------------------------------
// Who may

#[test]
fn without_a_clock_to_drive_there_is_nothing() {
    let s = Service::new();
    for (method, path) in ROUTES {
        call(&s, method.clone(), path, Some(json!({}))).refused(404, "NOT_FOUND");
        s.send(
            Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .unwrap(),
        )
        .refused(404, "NOT_FOUND");
    }
}

#[test]
fn only_an_operator_and_no_page_of_another_site_may() {
    let s = emulator();
    let (_, other) = s.other_tenant("clinics");
    assert!(!other.is_empty());
    let (ordinary, _) = s.other_tenant("others");
    for (method, path) in ROUTES {
        let ask = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method.clone()).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            s.send(request.body(Body::from("{}")).unwrap())
        };
        let json = ("content-type", "application/json");
        let mine = format!("Bearer {}", s.key);
        let mine = ("authorization", mine.as_str());
        ask(&[json]).refused(401, "invalid_token");
        let theirs = format!("Bearer {ordinary}");
        ask(&[json, ("authorization", &theirs)]).refused(403, "FORBIDDEN");
        ask(&[
            json,
            mine,
            ("host", "localhost:1"),
            ("origin", "https://evil.example"),
        ])
        .refused(403, "FORBIDDEN");
        if method == Method::POST {
            // What a form of another site can send without being asked.
            ask(&[mine, ("content-type", "text/plain")]).refused(415, "UNSUPPORTED_MEDIA_TYPE");
            ask(&[mine]).refused(415, "UNSUPPORTED_MEDIA_TYPE");
        }
    }
    assert_eq!(s.app.store.now(), at(crate::harness::START));
}

#[test]
fn in_development_mode_a_foreign_host_name_is_refused() {
    let s = Service::with(Config {
        dev: true,
        ..virtual_clock()
    });
    let request = Request::get("/_dev/clock")
        .header("authorization", format!("Bearer {}", s.key))
        .header("host", "rebound.example:8400");
    s.send(request.body(Body::empty()).unwrap())
        .refused(403, "FORBIDDEN");
}

// ---------------------------------------------------------------------------------------------
// The clock

#[test]
fn what_falls_due_on_the_way_happens_in_order_at_its_instant() {
    let s = emulator();
    let body = json!({ "name": "idle", "auto_stop_seconds": 600 });
    let idle = s.post("/computers", body).expect(201)["id"].clone();
    let id = idle.as_str().unwrap();
    let body = json!({ "name": "short", "expires_at": "2026-05-20T12:00:00Z" });
    let short = s.post("/api-keys", body).expect(201)["data"]["key"].clone();
    let short = short.as_str().unwrap();
    s.call_as(short, Method::GET, "/whoami", None).expect(200);

    let moved = post(&s, "/_dev/clock", json!({ "advance_seconds": 86_400 })).expect(200);
    assert_eq!(moved["now"], "2026-05-21T10:15:30Z");
    assert_eq!(
        (&moved["mode"], &moved["steps"]),
        (&json!("frozen"), &json!(4))
    );
    let computer = s.get(&format!("/computers/{id}")).expect(200);
    assert_eq!(computer["status"], "stopped");
    assert_eq!(computer["started_at"], "2026-05-20T10:15:31Z");
    // Provisioned in a second, idle for ten minutes, stopped in a second.
    assert_eq!(computer["stopped_at"], "2026-05-20T10:25:32Z");
    s.call_as(short, Method::GET, "/whoami", None)
        .refused(401, "invalid_token");
    let dated = texts(
        &s,
        "SELECT datetime(at / 1000, 'unixepoch') || ' ' || type FROM audit_log WHERE resource_type = 'computer' ORDER BY seq",
    );
    assert_eq!(
        dated,
        [
            "2026-05-20 10:15:30 computer.created",
            "2026-05-20 10:15:31 computer.running",
            // Five minutes before.
            "2026-05-20 10:20:31 computer.stop_soon",
            "2026-05-20 10:25:31 computer.stopping",
            "2026-05-20 10:25:32 computer.stopped",
        ]
    );
    proved(&s);
}

#[test]
fn it_goes_forward_only_and_says_what_is_wrong() {
    let s = emulator();
    let shown = call(&s, Method::GET, "/_dev/clock", None).expect(200);
    assert_eq!(shown["now"], crate::harness::START);
    let set = |body| post(&s, "/_dev/clock", body);
    set(json!({ "now": "2026-05-20T10:15:29Z" })).invalid(&["now"]);
    set(json!({ "advance_seconds": -1 })).invalid(&["advance_seconds"]);
    set(json!({ "advance_seconds": 1, "now": "2026-06-01T00:00:00Z" })).invalid(&["now"]);
    set(json!({ "now": "tomorrow" })).invalid(&["now"]);
    set(json!({ "now": "2090-01-01T00:00:00Z" })).invalid(&["now"]);
    set(json!({ "speed": 0 })).invalid(&["speed"]);
    set(json!({ "sped": 60 })).refused(422, "VALIDATION_FAILED");
    set(json!({ "mode": "backwards" })).invalid(&["mode"]);
    assert_eq!(s.app.store.now(), at(crate::harness::START));
    let there = set(json!({ "now": "2030-01-01T00:00:00Z" })).expect(200);
    assert_eq!(there["now"], "2030-01-01T00:00:00Z");
    // The wall clock is behind now.
    set(json!({ "mode": "real" })).invalid(&["mode"]);
}

#[test]
fn it_runs_at_a_speed_and_stops_again() {
    let s = emulator();
    let start = at(crate::harness::START);
    let body = json!({ "mode": "running", "speed": 86_400 });
    let running = post(&s, "/_dev/clock", body).expect(200);
    assert_eq!(
        (&running["mode"], &running["speed"]),
        (&json!("running"), &json!(86_400))
    );
    // An hour of it is 42 ms of the wall clock.
    let patience = Stopwatch::start();
    while s.app.store.now() < start.plus_seconds(3600) {
        assert!(patience.micros() < 20_000_000, "it stands still");
        std::thread::yield_now();
    }
    post(&s, "/_dev/clock", json!({ "mode": "frozen" })).expect(200);
    let stopped = s.app.store.now();
    assert_eq!(
        call(&s, Method::GET, "/_dev/clock", None).expect(200)["now"],
        json!(stopped)
    );
    assert_eq!(s.app.store.now(), stopped);
}

#[test]
fn a_clock_at_wall_time_runs_beside_it_once_it_was_moved() {
    let s = emulator();
    s.clock.steer(Course::new(Mode::Real, Timestamp(0), 1));
    let wall = s.app.store.now();
    let moved = post(&s, "/_dev/clock", json!({ "advance_seconds": 3600 })).expect(200);
    assert_eq!(moved["mode"], "running");
    assert!(s.app.store.now() >= wall.plus_seconds(3600));
    assert!(s.app.store.now() < wall.plus_seconds(3600 + 600));
}

#[test]
fn a_client_that_leaves_half_way_leaves_no_clock_behind_that_stands_still() {
    let s = emulator();
    let from = s.app.store.now();
    s.clock.steer(Course::new(Mode::Running, from, 1));
    let mode = || s.clock.course().map(|course| course.mode);
    let body = Some(json!({ "advance_seconds": 86_400 }));
    let request = request(&s, Method::POST, "/_dev/clock", body);
    runtime().block_on(async {
        let mut asked = Box::pin(s.send_async(request));
        // While it is moved the clock does not run by itself: that is when the client leaves.
        while mode() != Some(Mode::Frozen) {
            let once = std::future::poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_ready()));
            assert!(!once.await, "answered before anybody could leave");
            tokio::task::yield_now().await;
        }
        drop(asked);
        let moved = async {
            while mode() != Some(Mode::Running) || s.app.store.now() < from.plus_seconds(86_400) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(20), moved).await;
        end.expect("the clock has come to its end and runs again");
    });
}

#[test]
fn where_it_stands_outlives_a_restart() {
    let s = emulator();
    post(&s, "/_dev/clock", json!({ "advance_seconds": 86_400 })).expect(200);
    runtime().block_on(dev::keep(&s.app.store)).unwrap();
    s.app.store.close();
    let clock = Clock::controlled(Course::new(Mode::Real, Timestamp(0), 1));
    let again = Store::open(s.app.store.path(), clock, 1).unwrap();
    dev::resume(&again, true).unwrap();
    assert_eq!(again.now(), at(crate::harness::START).plus_seconds(86_400));
    again.close();
}

#[test]
fn who_is_signed_in_stays_so_when_the_clock_is_moved() {
    let s = emulator();
    let request = Request::post("/admin/session")
        .header("content-type", "application/json")
        .header("x-workspaced-admin", "1")
        .header("host", "localhost:1")
        .header("origin", "http://localhost:1");
    let answer = s.send(
        request
            .body(Body::from(json!({ "key": s.key }).to_string()))
            .unwrap(),
    );
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    post(&s, "/_dev/clock", json!({ "advance_seconds": 40 * 86_400 })).expect(200);
    let request = Request::get("/admin/session").header("cookie", cookie);
    let who = s.send(request.body(Body::empty()).unwrap()).expect(200);
    assert_eq!(who["signed_in"], true);
}

// ---------------------------------------------------------------------------------------------
// Scenarios

fn file_of(seed: u64) -> Vec<u8> {
    let (s, _) = seeded(clinic(), seed);
    s.app.store.close();
    std::fs::read(s.app.store.path()).unwrap()
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_one_others() {
    let first = file_of(42);
    assert!(first == file_of(42), "the same seed, another file");
    assert!(first != file_of(43), "another seed, the same file");
}

#[test]
fn the_clinic_platform_is_as_promised() {
    let (s, made) = seeded(clinic(), 42);
    assert_eq!((made.workspaces, made.computers), (13, 40));
    assert_eq!(made.end, at("2026-05-20T09:40:00Z"));
    proved(&s);
    let all = s.get("/workspaces?limit=100").expect(200)["data"].clone();
    let id_of = |name: &str| {
        let all = all.as_array().unwrap();
        let found = all.iter().find(|w| w["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    // At its limit.
    let full = id_of("Lakeside Pediatrics");
    s.post(
        "/computers",
        json!({ "name": "one-more", "workspace_id": full }),
    )
    .refused(422, "LIMIT_EXCEEDED");
    // Half verified.
    let domain = s
        .get(&format!(
            "/workspaces/{}/preview-domain",
            id_of("Old Town Dermatology")
        ))
        .expect(200);
    assert_eq!(
        (&domain["dns_status"], &domain["verified"]),
        (&json!("pending"), &json!(false))
    );
    let states: Vec<&str> = domain["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["ok", "missing"]);
    // The runaway costs more than any other.
    let runaway = texts(
        &s,
        "SELECT name || ' ' || status || ' ' || datetime(started_at / 1000, 'unixepoch') FROM computers WHERE size = 'xl' AND metadata = '{}'",
    );
    assert_eq!(
        runaway,
        ["gpu-retrain-DELETE-ME running 2026-05-09 16:42:01"]
    );
    // Nights and weekends: offices are closed on Sunday, the sleep lab records by night.
    let started = |weekday: u8, hours: &str| {
        s.count(&format!(
            "SELECT count(*) FROM compute_events WHERE type = 'computer.starting'
                 AND strftime('%w', at / 1000, 'unixepoch') = '{weekday}'
                 AND CAST(strftime('%H', at / 1000, 'unixepoch') AS INTEGER) {hours}"
        ))
    };
    assert_eq!(started(0, "BETWEEN 6 AND 12"), 0);
    assert!(started(1, "BETWEEN 6 AND 12") > 50);
    assert!(started(0, "BETWEEN 19 AND 23") > 5);
}

#[test]
fn what_goes_on_does_not_depend_on_the_steps_of_the_clock() {
    let (whole, _) = seeded(clinic(), 7);
    post(
        &whole,
        "/_dev/clock",
        json!({ "advance_seconds": 14 * 86_400 }),
    )
    .expect(200);
    let (stepped, _) = seeded(clinic(), 7);
    for _ in 0..14 {
        for seconds in [3_601, 40_000, 42_799] {
            post(
                &stepped,
                "/_dev/clock",
                json!({ "advance_seconds": seconds }),
            )
            .expect(200);
        }
    }
    assert_eq!(whole.app.store.now(), stepped.app.store.now());
    let events_of_both = (events(&whole), events(&stepped));
    assert!(events_of_both.0.len() > 3_000);
    assert_eq!(events_of_both.0, events_of_both.1);
    proved(&whole);
}

/// A year in less than a minute, so a quarter in a quarter of it; a build without optimization may
/// take four times as long.
#[test]
fn a_quarter_passes_in_a_quarter_of_a_minute() {
    let (s, _) = seeded(clinic(), 42);
    let patience = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 15 });
    let watch = Stopwatch::start();
    let moved = post(&s, "/_dev/clock", json!({ "advance_seconds": 92 * 86_400 })).expect(200);
    let took = Duration::from_micros(watch.micros());
    assert_eq!(moved["now"], "2026-08-20T09:40:00Z");
    assert!(moved["steps"].as_i64().unwrap() > 5_000, "{moved}");
    assert!(took < patience, "a quarter took {took:?}");
    proved(&s);
}

#[test]
fn a_scenario_wants_an_empty_database() {
    let s = emulator();
    let app = s.app.clone();
    let refused = s
        .app
        .store
        .write_blocking(move |tx| dev::seed(tx, &app.emulator, clinic(), 1, &|_| ()))
        .unwrap_err();
    assert_eq!(refused.code(), "NOT_EMPTY");
}

#[test]
fn a_saved_scenario_brings_the_present_state_back() {
    let (s, _) = seeded(clinic(), 42);
    let tenant = texts(&s, "SELECT hex(id) FROM tenants")[0].clone();
    let tenant = uuid::Uuid::parse_str(&tenant).unwrap().into();
    let text = s
        .app
        .store
        .read_blocking(move |tx| dev::save(tx, tenant))
        .unwrap();
    let (again, made) = seeded(&text, 42);
    assert_eq!((made.workspaces, made.computers), (13, 40));
    let usage = "SELECT w.name || ' ' || sum(h.running_ms) || ' ' || sum(h.credit_ms) || ' ' || sum(h.running)
         FROM meter_hours h JOIN workspaces w ON w.id = h.workspace_id GROUP BY w.name ORDER BY w.name";
    assert_eq!(texts(&s, usage), texts(&again, usage));
    let state = "SELECT name || ' ' || size || ' ' || status || ' ' || coalesce(started_at, 0) || metadata FROM computers ORDER BY name";
    assert_eq!(texts(&s, state), texts(&again, state));
    proved(&again);
}

// ---------------------------------------------------------------------------------------------
// Snapshots and reset

#[test]
fn going_back_brings_everything_back_and_the_clock() {
    let (s, made) = seeded(clinic(), 42);
    let before = (s.fingerprint(), events(&s));
    assert_eq!(
        post(&s, "/_dev/snapshots", json!({ "name": "noon" })).expect(201)["name"],
        "noon"
    );

    post(&s, "/_dev/clock", json!({ "advance_seconds": 86_400 })).expect(200);
    s.workspace("Made later");
    let key = s.post("/api-keys", json!({ "name": "later" })).expect(201)["data"]["key"].clone();
    let key = key.as_str().unwrap();
    s.call_as(key, Method::GET, "/whoami", None).expect(200);
    assert_ne!(s.fingerprint(), before.0);

    for to in ["/_dev/snapshots/noon/restore", "/_dev/reset"] {
        let back = post(&s, to, json!({ "to": "seed" })).expect(200);
        assert_eq!(back["now"], json!(made.end));
        assert_eq!(s.app.store.now(), made.end);
        assert_eq!((s.fingerprint(), events(&s)), before);
        // A key that was remembered a moment ago is gone with the rest.
        s.call_as(key, Method::GET, "/whoami", None)
            .refused(401, "invalid_token");
        proved(&s);
        s.workspace("Made after going back");
        post(&s, "/_dev/clock", json!({ "advance_seconds": 3600 })).expect(200);
    }
    let list = call(&s, Method::GET, "/_dev/snapshots", None).expect(200);
    assert_eq!(list["total"], 2);
    assert_eq!(list["data"][0]["name"], "noon");
    assert_eq!(list["data"][0]["now"], json!(made.end));
    assert_eq!(list["data"][1]["name"], "seed");
}

#[test]
fn a_snapshot_is_a_whole_database() {
    let (s, _) = seeded(clinic(), 42);
    post(&s, "/_dev/snapshots", json!({ "name": "copy" })).expect(201);
    let path = s.dir.path().join("snapshots/copy.db");
    let copy = Store::open(Path::new(&path), Clock::manual(s.app.store.now()), 1).unwrap();
    assert!(copy.read_blocking(verify).unwrap().ok);
    copy.close();
}

#[test]
fn events_after_going_back_have_numbers_that_no_event_had() {
    let s = emulator();
    let ids = |s: &Service| -> Vec<i64> {
        let log = s.get("/audit-log?limit=100").expect(200);
        let rows = log["data"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    s.workspace("Before");
    post(&s, "/_dev/snapshots", json!({ "name": "noon" })).expect(201);
    let mut last = 0;
    for round in 0..3 {
        s.workspace(&format!("Round {round}"));
        let now = ids(&s);
        assert!(now[0] > last, "{now:?}, {last} was given");
        last = now[0];
        post(&s, "/_dev/snapshots/noon/restore", json!({})).expect(200);
    }
    let rows = s.get("/system").expect(200)["counts"]["audit_events"].clone();
    assert_eq!(rows, s.count("SELECT count(*) FROM audit_log"));
    s.workspace("Last");
    let rows = s.get("/system").expect(200)["counts"]["audit_events"].clone();
    assert_eq!(rows, s.count("SELECT count(*) FROM audit_log"));
    let last = ids(&s)[0];
    post(&s, "/_dev/reset", json!({ "to": "empty" })).expect(200);
    assert!(s.count("SELECT min(seq) FROM audit_log") > last);
}

/// Fills a page of a database with what is none; `table`'s first one.
fn damage(db: &Path, table: &str) {
    let conn = rusqlite::Connection::open(db).unwrap();
    let sql = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?1";
    let (page, size): (usize, usize) = conn
        .query_row(sql, [table], |row| {
            Ok((
                row.get::<_, u32>(0)? as usize,
                row.get::<_, u32>(1)? as usize,
            ))
        })
        .unwrap();
    drop(conn);
    let mut bytes = std::fs::read(db).unwrap();
    bytes[(page - 1) * size..page * size].fill(0xa5);
    std::fs::write(db, bytes).unwrap();
}

#[test]
fn a_damaged_snapshot_changes_nothing_and_a_good_one_mends_damage() {
    let (s, _) = seeded(clinic(), 42);
    for name in ["page", "rows", "table", "good"] {
        post(&s, "/_dev/snapshots", json!({ "name": name })).expect(201);
    }
    let file = |name: &str| s.dir.path().join(format!("snapshots/{name}.db"));
    damage(&file("page"), "computers");
    for (name, sql) in [
        ("rows", "PRAGMA foreign_keys = off; DELETE FROM projects"),
        (
            "table",
            "PRAGMA foreign_keys = off; DROP TABLE webhook_deliveries",
        ),
    ] {
        rusqlite::Connection::open(file(name))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    }
    let before = s.fingerprint();
    for name in ["page", "rows", "table"] {
        let path = format!("/_dev/snapshots/{name}/restore");
        let why = post(&s, &path, json!({})).refused(422, "SNAPSHOT_DAMAGED");
        assert!(
            why.contains(&format!("snapshots/{name}.db")) && why.contains("nothing was changed"),
            "{why}"
        );
        post(&s, "/_dev/reset", json!({ "to": name })).refused(422, "SNAPSHOT_DAMAGED");
        assert_eq!(s.fingerprint(), before);
    }
    s.workspace("It goes on");

    // The database itself is damaged: no more writes, until a good one takes its place.
    let fault = |s: &Service| s.app.store.signals().health.is_damaged();
    let broken = s
        .app
        .store
        .write_blocking(|_| -> Result<(), workspaced::testing::Error> {
            Err(workspaced::testing::Error::damaged())
        });
    assert!(broken.is_err() && fault(&s));
    s.post("/workspaces", json!({ "name": "Refused" }))
        .refused(503, "DATABASE_DAMAGED");
    post(&s, "/_dev/snapshots/good/restore", json!({})).expect(200);
    assert!(!fault(&s));
    s.workspace("Again");
    let broken = s
        .app
        .store
        .write_blocking(|_| -> Result<(), workspaced::testing::Error> {
            Err(workspaced::testing::Error::damaged())
        });
    assert!(broken.is_err() && fault(&s));
    post(&s, "/_dev/reset", json!({ "to": "empty" })).expect(200);
    assert_eq!(
        s.get("/workspaces").expect(200)["total"],
        1,
        "with its organization"
    );
}

#[test]
fn a_reset_to_empty_is_a_new_installation() {
    let (s, _) = seeded(clinic(), 42);
    let back = post(&s, "/_dev/reset", json!({ "to": "empty" })).expect(200);
    assert_eq!(
        (&back["restored"], &back["api_key"]),
        (&json!("empty"), &json!(DEV_KEY))
    );
    let all = s.get("/workspaces").expect(200);
    assert_eq!(
        (&all["total"], &all["data"][0]["is_default"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(s.count("SELECT count(*) FROM compute_events"), 0);
    let all_there = post(&s, "/_dev/reset", json!({ "to": "seed" })).expect(200);
    assert_eq!(all_there["restored"], "seed");
    assert_eq!(s.get("/workspaces").expect(200)["total"], 13);
}

#[test]
fn names_of_snapshots_are_checked() {
    let s = emulator();
    for name in [
        "",
        "Upper",
        "../up",
        "a/b",
        "empty",
        "seed",
        &"x".repeat(64),
    ] {
        post(&s, "/_dev/snapshots", json!({ "name": name })).invalid(&["name"]);
    }
    post(&s, "/_dev/snapshots", json!({})).refused(422, "VALIDATION_FAILED");
    post(&s, "/_dev/reset", json!({ "to": "nowhere" })).refused(404, "NOT_FOUND");
    post(&s, "/_dev/reset", json!({ "to": "../up" })).invalid(&["to"]);
    let seed = post(&s, "/_dev/reset", json!({ "to": "seed" })).refused(404, "NOT_FOUND");
    assert!(seed.contains("workspaced seed"), "{seed}");
}

#[test]
fn an_operator_key_of_another_organization_may_too() {
    let s = emulator();
    let (key, ..) = s.tenant("second", NewKey::operator());
    let request = Request::get("/_dev/clock").header("authorization", format!("Bearer {key}"));
    s.send(request.body(Body::empty()).unwrap()).expect(200);
}

/// Limits of requests go by the time of this machine: the clock may stand still for hours.
#[test]
fn a_clock_that_stands_still_shuts_nobody_out() {
    let still = Clock::controlled(Course::new(Mode::Frozen, at(crate::harness::START), 1));
    assert!(matches!(still.ticks(), Ticks::System(_)));
    let by_hand = Clock::manual(at(crate::harness::START));
    assert!(matches!(by_hand.ticks(), Ticks::Manual(_)));
}
