//! The emulator's fault rules: what they spoil, when, how often, and what they leave alone.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use workspaced::testing::Config;
use workspaced::testing::serve;

use crate::harness::{Answer, Service, runtime};

fn emulator() -> Service {
    Service::with(Config {
        virtual_clock: true,
        ..Config::default()
    })
}

fn faults(s: &Service, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/_dev/faults{path}"))
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json");
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    s.send(request.body(body).unwrap())
}

/// Adds a rule; its id.
#[track_caller]
fn add(s: &Service, rule: Value) -> String {
    let body = faults(s, Method::POST, "", Some(rule)).expect(201);
    body["id"].as_str().unwrap().to_owned()
}

fn rules(s: &Service) -> Value {
    faults(s, Method::GET, "", None).expect(200)
}

fn create(s: &Service, name: &str, key: &str) -> Request<Body> {
    Request::post("/api/v1/workspaces")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Body::from(json!({ "name": name }).to_string()))
        .unwrap()
}

fn fault_of(answer: &Answer) -> Option<&str> {
    answer
        .headers
        .get("x-workspaced-fault")
        .map(|value| value.to_str().unwrap())
}

// ---------------------------------------------------------------------------------------------
// Before and after the commit

#[test]
fn before_means_that_nothing_has_happened() {
    let s = emulator();
    let rule = add(
        &s,
        json!({ "route": "POST /workspaces", "status": 503, "retry_after": 7, "times": 1 }),
    );
    let before = s.fingerprint();
    let lost = s.send(create(&s, "Acme Dental", "k1"));
    let message = lost.refused(503, "UNAVAILABLE");
    assert!(message.contains("not executed"), "{message}");
    assert_eq!(fault_of(&lost), Some(rule.as_str()));
    assert_eq!(lost.headers["retry-after"], "7");
    assert_eq!(s.fingerprint(), before);
    assert_eq!(s.count("SELECT count(*) FROM idempotency"), 0);

    let again = s.send(create(&s, "Acme Dental", "k1"));
    again.expect(201);
    assert_eq!(fault_of(&again), None);
    assert!(!again.headers.contains_key("idempotency-replayed"));
}

#[test]
fn after_means_that_only_the_answer_is_lost() {
    let s = emulator();
    let rule = add(
        &s,
        json!({ "route": "post /workspaces", "when": "after", "status": 500, "code": "GATEWAY_LOST", "times": 1 }),
    );
    let lost = s.send(create(&s, "Acme Dental", "k1"));
    let message = lost.refused(500, "GATEWAY_LOST");
    assert!(message.contains("was executed"), "{message}");
    assert_eq!(fault_of(&lost), Some(rule.as_str()));
    assert!(!lost.text.contains("Acme"));
    let rows = "SELECT count(*) FROM workspaces WHERE slug = 'acme-dental'";
    assert_eq!(s.count(rows), 1);
    assert_eq!(s.count("SELECT count(*) FROM idempotency"), 1);

    let again = s.send(create(&s, "Acme Dental", "k1"));
    let id = again.expect(201)["id"].clone();
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(s.count(rows), 1);
    assert_eq!(
        s.get(&format!("/workspaces/{}", id.as_str().unwrap()))
            .expect(200)["name"],
        "Acme Dental"
    );
    // Without its key a repeat is a second request, as everywhere.
    s.send(create(&s, "Acme Dental", "k2"))
        .refused(422, "WORKSPACE_NAME_EXISTS");
}

/// Sends bytes to the service on a real connection, and reads until it is closed.
async fn wire(address: std::net::SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    match stream.read_to_end(&mut got).await {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
    }
    got
}

#[test]
fn a_dropped_connection_is_really_cut_and_the_repeat_finds_the_one_row() {
    for when in ["before", "after"] {
        let s = emulator();
        add(
            &s,
            json!({ "route": "POST /workspaces", "when": when, "drop": true, "times": 1 }),
        );
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let (router, config) = (s.router.clone(), s.app.config.clone());
            let server =
                tokio::spawn(async move { serve(listener, router, &config, stopped).await });
            let body = r#"{"name":"Acme Dental"}"#;
            let request = format!(
                "POST /api/v1/workspaces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
                 content-type: application/json\r\nidempotency-key: k1\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                s.key,
                body.len()
            );
            assert_eq!(wire(address, &request).await, b"", "{when}");
            let answer = wire(address, &request).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 201 "), "{when}: {answer}");
            assert_eq!(answer.contains("idempotency-replayed: true"), when == "after");
            stop.send(true).unwrap();
            server.await.unwrap();
        });
        let rows = s.count("SELECT count(*) FROM workspaces WHERE slug = 'acme-dental'");
        assert_eq!(rows, 1, "{when}");
    }
}

#[test]
fn a_delay_waits_and_then_answers_as_ever() {
    let s = emulator();
    let rule = add(&s, json!({ "route": "GET /whoami", "delay_ms": 60 }));
    let watch = workspaced::testing::Stopwatch::start();
    let answer = s.get("/whoami");
    assert!(watch.micros() >= 60_000);
    answer.expect(200);
    assert_eq!(fault_of(&answer), Some(rule.as_str()));
}

// ---------------------------------------------------------------------------------------------
// What a rule is about

#[test]
fn a_rule_is_about_its_routes_key_and_workspace_only() {
    let s = emulator();
    let clinic = s.workspace("Clinic");
    let other = s.workspace("Other");
    let computer = s.computer(&clinic, "small");
    let spared = s.computer(&other, "small");
    let hit = |answer: Answer| fault_of(&answer).is_some();

    let rule = add(&s, json!({ "route": "* /workspaces/*", "status": 500 }));
    assert!(hit(s.get(&format!("/workspaces/{clinic}"))));
    assert!(hit(s.get(&format!("/workspaces/{clinic}/stats"))));
    assert!(hit(s.get(&format!("/api/v1/api/v1/workspaces/{clinic}"))));
    assert!(!hit(s.get("/workspaces")));
    assert!(!hit(s.get(&format!("/computers/{computer}"))));
    faults(&s, Method::DELETE, &format!("/{rule}"), None).expect(200);
    assert!(!hit(s.get(&format!("/workspaces/{clinic}"))));

    for workspace in ["clinic", clinic.as_str()] {
        add(&s, json!({ "workspace": workspace, "status": 500 }));
        assert!(hit(s.get(&format!("/workspaces/{clinic}"))));
        assert!(hit(s.get(&format!("/computers/{computer}"))));
        assert!(hit(s.get(&format!("/computers?workspace_id={clinic}"))));
        assert!(hit(s.post(
            "/computers",
            json!({ "name": "a", "workspace_id": clinic })
        )));
        assert!(hit(s.post(
            "/computers",
            json!({ "name": "a", "workspaceSlug": "clinic" })
        )));
        assert!(!hit(s.get(&format!("/workspaces/{other}"))));
        assert!(!hit(s.get(&format!("/computers/{spared}"))));
        assert!(!hit(s.get("/whoami")));
        assert_eq!(
            faults(&s, Method::DELETE, "", None).expect(200)["deleted"],
            1
        );
    }
    // The body is handed on as it was.
    add(&s, json!({ "workspace": "somewhere-else", "status": 500 }));
    let body = json!({ "name": "desk", "workspace_id": other });
    assert_eq!(s.post("/computers", body).expect(201)["name"], "desk");
    faults(&s, Method::DELETE, "", None).expect(200);

    let theirs = s.post("/api-keys", json!({ "name": "app" })).expect(201);
    let (id, secret) = (
        &theirs["data"]["id"],
        theirs["data"]["key"].as_str().unwrap(),
    );
    for key in [id.as_str().unwrap(), &secret[..12], secret] {
        let rule = add(&s, json!({ "key": key, "status": 429 }));
        assert!(!rules(&s).to_string().contains(secret));
        assert!(hit(s.call_as(secret, Method::GET, "/whoami", None)));
        assert!(!hit(s.get("/whoami")), "{rule}");
        faults(&s, Method::DELETE, "", None).expect(200);
    }
}

#[test]
fn what_runs_the_service_is_never_spoiled() {
    let s = emulator();
    add(&s, json!({ "status": 500 }));
    add(&s, json!({ "drop": true }));
    let get = |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {}", s.key));
        s.send(request.body(Body::empty()).unwrap())
    };
    for path in [
        "/health",
        "/readyz",
        "/metrics",
        "/admin",
        "/assets/app.js",
        "/admin/session",
        "/openapi.json",
        "/_dev/clock",
        "/_dev/faults",
        "/_dev/compat",
    ] {
        let answer = get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(fault_of(&answer), None, "{path}");
    }
    assert!(fault_of(&s.get("/whoami")).is_some());
    // Without a key there is nothing to spoil.
    let stranger = s.call_as("", Method::GET, "/whoami", None);
    stranger.refused(401, "invalid_token");
    assert_eq!(fault_of(&stranger), None);
}

// ---------------------------------------------------------------------------------------------
// How often

#[test]
fn the_same_seed_spoils_the_same_requests() {
    let sequence = |seed: u64| -> String {
        let s = emulator();
        add(
            &s,
            json!({ "route": "GET /whoami", "status": 503, "probability": 0.3, "seed": seed }),
        );
        let one = |_| match s.get("/whoami").status.as_u16() {
            503 => 'x',
            _ => '.',
        };
        (0..40).map(one).collect()
    };
    let first = sequence(42);
    assert_eq!(first, sequence(42));
    assert_ne!(first, sequence(43));
    let spoiled = first.matches('x').count();
    assert!((5..=20).contains(&spoiled), "{first}");
}

#[test]
fn a_rule_counts_and_ends() {
    let s = emulator();
    add(
        &s,
        json!({ "route": "GET /whoami", "status": 500, "times": 2 }),
    );
    add(
        &s,
        json!({ "route": "GET /regions", "status": 500, "expires_in_seconds": 60 }),
    );
    let statuses = [(); 4].map(|()| s.get("/whoami").status.as_u16());
    assert_eq!(statuses, [500, 500, 200, 200]);
    assert_eq!(s.get("/system").expect(200)["faults"], 1);
    s.get("/regions").expect(500);
    s.advance(60);
    s.get("/regions").expect(200);
    let found = rules(&s);
    assert_eq!((&found["total"], &found["active"]), (&json!(2), &json!(0)));
    assert_eq!(
        (&found["data"][0]["matched"], &found["data"][0]["fired"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&found["data"][1]["matched"], &found["data"][1]["fired"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(s.get("/system").expect(200)["faults"], 0);
    faults(&s, Method::DELETE, "/f99", None).refused(404, "NOT_FOUND");
}

#[test]
fn reset_removes_them() {
    let s = emulator();
    add(&s, json!({ "status": 500 }));
    let reset = Request::post("/_dev/reset")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json")
        .body(Body::from(r#"{"to":"empty"}"#))
        .unwrap();
    s.send(reset).expect(200);
    assert_eq!(s.app.emulator.faults.active(s.app.store.now()), 0);
}

// ---------------------------------------------------------------------------------------------
// Provisioning

fn status(s: &Service, id: &str) -> String {
    let computer = s.get(&format!("/computers/{id}")).expect(200);
    computer["status"].as_str().unwrap().to_owned()
}

#[test]
fn provisioning_can_be_slow_or_fail() {
    let s = emulator();
    let clinic = s.workspace("Clinic");
    let other = s.workspace("Other");
    add(
        &s,
        json!({ "provisioning": "create", "workspace": "clinic", "delay_ms": 30_000 }),
    );
    let (slow, quick) = (s.computer(&clinic, "small"), s.computer(&other, "small"));
    s.advance(1);
    assert_eq!(
        (status(&s, &slow), status(&s, &quick)),
        ("provisioning".into(), "running".into())
    );
    s.advance(29);
    assert_eq!(status(&s, &slow), "running");
    faults(&s, Method::DELETE, "", None).expect(200);

    add(
        &s,
        json!({ "provisioning": "any", "size": "large", "error": true, "delay_ms": 5000, "times": 2 }),
    );
    let (broken, fine) = (s.computer(&clinic, "large"), s.computer(&clinic, "small"));
    s.advance(1);
    assert_eq!(
        (status(&s, &broken), status(&s, &fine)),
        ("provisioning".into(), "running".into())
    );
    s.advance(4);
    assert_eq!(status(&s, &broken), "error");
    // Broken ones can be started again; the rule fires a second time, and then no more.
    s.post(&format!("/computers/{broken}/start"), json!({}))
        .expect(200);
    s.advance(5);
    assert_eq!(status(&s, &broken), "error");
    s.post(&format!("/computers/{broken}/start"), json!({}))
        .expect(200);
    s.advance(1);
    assert_eq!(status(&s, &broken), "running");
    let found = s
        .app
        .store
        .read_blocking(workspaced::testing::verify)
        .unwrap();
    assert!(found.ok, "{found}");
    let log = s.get("/audit-log?limit=100").expect(200).to_string();
    assert_eq!(
        log.matches(r#""type":"computer.error""#).count(),
        2,
        "{log}"
    );
}

#[test]
fn removing_the_rule_saves_the_computers_on_their_way() {
    let s = emulator();
    let rule = add(&s, json!({ "provisioning": "any", "error": true }));
    let id = s.computer(&s.default_workspace.clone(), "small");
    faults(&s, Method::DELETE, &format!("/{rule}"), None).expect(200);
    s.advance(1);
    assert_eq!(status(&s, &id), "running");
}

// ---------------------------------------------------------------------------------------------
// What is refused

#[test]
fn a_wrong_rule_is_refused_at_its_field() {
    let s = emulator();
    for (rule, field) in [
        (json!({}), "status"),
        (json!({ "status": 200 }), "status"),
        (json!({ "status": 503, "drop": true }), "drop"),
        (json!({ "status": 503, "route": "GET /workspace" }), "route"),
        (json!({ "status": 503, "route": "" }), "route"),
        (json!({ "status": 503, "probability": 0 }), "probability"),
        (json!({ "status": 503, "probability": 1.5 }), "probability"),
        (json!({ "status": 503, "times": 0 }), "times"),
        (json!({ "status": 503, "when": "during" }), "when"),
        (json!({ "status": 503, "code": "no spaces" }), "code"),
        (json!({ "status": 503, "retry_after": -1 }), "retry_after"),
        (json!({ "drop": true, "code": "X" }), "code"),
        (json!({ "delay_ms": 600_001 }), "delay_ms"),
        (json!({ "delay_ms": -1 }), "delay_ms"),
        (
            json!({ "status": 503, "expires_in_seconds": -1 }),
            "expires_in_seconds",
        ),
        (json!({ "status": 503, "size": "small" }), "size"),
        (json!({ "error": true }), "error"),
        (json!({ "status": 503, "key": "" }), "key"),
        (
            json!({ "status": 503, "workspace": "x".repeat(256) }),
            "workspace",
        ),
        (json!({ "provisioning": "any" }), "error"),
        (
            json!({ "provisioning": "stop", "error": true }),
            "provisioning",
        ),
        (
            json!({ "provisioning": "any", "error": true, "size": "huge" }),
            "size",
        ),
        (
            json!({ "provisioning": "any", "error": true, "route": "GET /whoami" }),
            "route",
        ),
        (
            json!({ "provisioning": "any", "delay_ms": 1, "drop": true }),
            "drop",
        ),
    ] {
        let answer = faults(&s, Method::POST, "", Some(rule.clone()));
        answer.refused(422, "VALIDATION_FAILED");
        let body = answer.json();
        assert!(body["errors"][field].is_array(), "{rule}: {body}");
    }
    let hint = faults(
        &s,
        Method::POST,
        "",
        Some(json!({ "status": 503, "route": "GET /workspace" })),
    );
    assert!(
        hint.text.contains("did you mean GET /workspaces?"),
        "{}",
        hint.text
    );
    let unknown = faults(
        &s,
        Method::POST,
        "",
        Some(json!({ "status": 503, "probabillity": 1 })),
    );
    assert!(
        unknown
            .refused(422, "VALIDATION_FAILED")
            .contains("probability")
    );
    assert_eq!(rules(&s)["total"], 0);

    for _ in 0..100 {
        add(&s, json!({ "route": "GET /whoami", "status": 500 }));
    }
    faults(&s, Method::POST, "", Some(json!({ "status": 500 }))).refused(409, "TOO_MANY_FAULTS");
}
