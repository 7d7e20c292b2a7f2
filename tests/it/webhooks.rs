//! Webhooks end to end: the router, the outbox in a real database, and receivers on loopback.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Answer, START, Service, at, runtime};
use workspaced::app::App;
use workspaced::audit::{self, Actor, Entry};
use workspaced::clock::{Clock, Timestamp};
use workspaced::config::{Config, WebhookReach};
use workspaced::error::Error;
use workspaced::store::Store;
use workspaced::webhooks::{catalog, deliver_due, purge};
use workspaced::{dev, http};

/// Longer than any of these tests lets a receiver take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a receiver got.
#[derive(Debug, Clone)]
struct Got {
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        &found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// A receiver on a port of its own, which answers each request with the next of its answers and then
/// always with the last one.
struct Inbox {
    url: String,
    got: Receiver<Got>,
}

impl Inbox {
    /// Answers 204.
    fn new() -> Inbox {
        Inbox::answering(&["HTTP/1.1 204 No Content\r\n\r\n"])
    }

    fn answering(answers: &[&str]) -> Inbox {
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        Inbox::with(move |n, _| answers[n.min(answers.len() - 1)].clone())
    }

    /// Asks `answer` for what to say to request number `n`; each request has a thread of its own.
    fn with(answer: impl Fn(usize, &Got) -> String + Send + Sync + 'static) -> Inbox {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hooks?x=1", listener.local_addr().unwrap());
        let (tell, got) = channel();
        let answer = std::sync::Arc::new(answer);
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let (tell, answer) = (tell.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Ok(mut stream) = stream else { return };
                    let Some(request) = read(&stream) else { return };
                    let text = answer(n, &request);
                    // Whoever looks at what was got finds it there when the sender has its answer.
                    let _ = tell.send(request);
                    let _ = stream.write_all(text.as_bytes());
                });
            }
        });
        Inbox { url, got }
    }

    /// What has come by now.
    fn all(&self) -> Vec<Got> {
        self.got.try_iter().collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.all().iter().map(Got::kind).collect()
    }

    /// Waits for one.
    fn next(&self) -> Got {
        self.got.recv_timeout(PATIENCE).unwrap()
    }
}

fn read(stream: &TcpStream) -> Option<Got> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    if line != "POST /hooks?x=1 HTTP/1.1\r\n" {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Got { headers, body })
}

fn config() -> Config {
    Config {
        webhook_reach: WebhookReach::Loopback,
        ..Config::default()
    }
}

fn service() -> Service {
    Service::with(config())
}

/// A webhook that is told of these events; its view with the secret.
fn hook_as(s: &Service, key: &str, url: &str, events: &[&str]) -> Value {
    let body = json!({ "url": url, "events": events });
    let made = s.call_as(key, Method::POST, "/webhooks", Some(body));
    made.expect(201)["data"].clone()
}

fn hook(s: &Service, url: &str, events: &[&str]) -> Value {
    hook_as(s, &s.key, url, events)
}

fn path(hook: &Value, rest: &str) -> String {
    format!("/webhooks/{}{rest}", hook["id"].as_str().unwrap())
}

/// Sends what is due and waits until it has been.
fn deliver(s: &Service) {
    assert!(runtime().block_on(deliver_due(&s.app, PATIENCE)).unwrap());
}

/// Moves the clock, and lets happen what falls due on the way.
fn pass(s: &Service, until: Timestamp) {
    runtime().block_on(dev::advance(&s.app, until)).unwrap();
}

fn deliveries(s: &Service, hook: &Value) -> Vec<Value> {
    let list = s.get(&path(hook, "/deliveries")).expect(200);
    list["data"].as_array().unwrap().clone()
}

/// HMAC-SHA256 as RFC 2104 writes it down.
fn hmac(key: &str, text: &str) -> String {
    let mut block = [0_u8; 64];
    // A key that is longer than a block is hashed first.
    assert!(key.len() > block.len());
    block[..32].copy_from_slice(&Sha256::digest(key));
    let pad = |byte: u8| block.map(|b| b ^ byte);
    let mut inner = Sha256::new();
    inner.update(pad(0x36));
    inner.update(text);
    let mut outer = Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    let hash = outer.finalize();
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

// ---------------------------------------------------------------------------------------------
// The resource

#[test]
fn a_secret_is_shown_once() {
    let s = service();
    let body = json!({ "url": "http://localhost:9999/h", "events": ["computer.*"] });
    let made = s.post("/webhooks", body).expect(201);
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(made["data"]["secret"], secret);
    assert!(secret.starts_with("whsec_") && secret.len() == 70);
    let hook = made["data"].clone();
    let last4 = &secret[66..];
    let shown = s.get(&path(&hook, "")).expect(200);
    assert_eq!(
        crate::harness::redact(shown["data"].clone()),
        json!({
            "id": "[uuid]", "tenant_id": "[uuid]", "name": "localhost", "url": "http://localhost:9999/h",
            "events": ["computer.*"], "active": true, "enabled": true, "status": "active",
            "secret_preview": format!("whsec_…{last4}"), "retry_count": 3, "pending_count": 0,
            "failed_attempts": 0, "failing_since": null, "last_success_at": null,
            "created_at": "[time]", "updated_at": "[time]",
        })
    );
    let list = s.get("/webhooks").expect(200);
    assert_eq!(
        (&list["total"], &list["data"][0]),
        (&json!(1), &shown["data"])
    );

    let changes = json!({ "name": "orders", "retry_count": 0, "events": ["*"], "active": false });
    let changed = s.patch(&path(&hook, ""), changes).expect(200)["data"].clone();
    assert_eq!(changed["name"], "orders");
    assert_eq!(changed["status"], "disabled");
    assert_eq!(
        (&changed["active"], &changed["enabled"]),
        (&json!(false), &json!(false))
    );

    let rotated = s.post(&path(&hook, "/rotate"), json!({})).expect(200);
    assert_ne!(rotated["secret"], secret);
    let gone = s.delete(&path(&hook, "")).expect(200);
    assert_eq!(gone["data"], json!({ "id": hook["id"], "deleted": true }));
    s.get(&path(&hook, "")).refused(404, "NOT_FOUND");
    assert_eq!(s.get("/webhooks").expect(200)["total"], 0);

    let log = s.get("/audit-log?type=webhook.*").expect(200);
    let kinds: Vec<_> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["type"])
        .collect();
    assert_eq!(
        kinds,
        [
            "webhook.deleted",
            "webhook.rotated",
            "webhook.updated",
            "webhook.created"
        ]
    );
    let all = log.to_string();
    assert!(!all.contains(secret) && !all.contains(rotated["secret"].as_str().unwrap()));
}

#[test]
fn what_is_wrong_is_said_at_the_field() {
    let s = service();
    let post = |body: Value| s.post("/webhooks", body);
    let good = "http://127.0.0.1:1025/";
    post(json!({})).invalid(&["events", "url"]);
    for url in [
        "https://10.0.0.1/",
        "http://example.com/",
        "https://u:p@example.com/",
        "nonsense",
    ] {
        post(json!({ "url": url, "events": ["*"] })).invalid(&["url"]);
    }
    for events in [
        json!([]),
        json!(["computer.flew"]),
        json!(["*", ""]),
        json!(["web hook"]),
    ] {
        post(json!({ "url": good, "events": events })).invalid(&["events"]);
    }
    post(json!({ "url": good, "events": vec!["*"; 51] })).invalid(&["events"]);
    post(json!({ "url": good, "events": ["*"], "name": "" })).invalid(&["name"]);
    for retries in [-1, 11] {
        post(json!({ "url": good, "events": ["*"], "retry_count": retries }))
            .invalid(&["retry_count"]);
    }
    post(json!({ "url": good, "events": ["*"], "active": true, "enabled": false }))
        .invalid(&["active"]);
    let made = hook(&s, good, &["*"]);
    s.patch(&path(&made, ""), json!({ "url": null }))
        .invalid(&["url"]);
    s.patch(&path(&made, ""), json!({ "events": null }))
        .invalid(&["events"]);
    s.get(&path(&made, "/deliveries?state=lost"))
        .invalid(&["state"]);
    s.get(&path(&made, "/deliveries?cursor=x"))
        .invalid(&["cursor"]);
    s.get(&path(&made, "/deliveries/x"))
        .refused(400, "INVALID_ID");
    s.get(&path(&made, &format!("/deliveries/{}", s.tenant_id)))
        .refused(404, "NOT_FOUND");
    s.post(
        &path(&made, &format!("/deliveries/{}/replay", s.tenant_id)),
        json!({}),
    )
    .refused(404, "NOT_FOUND");
    for _ in 1..20 {
        hook(&s, good, &["*"]);
    }
    post(json!({ "url": good, "events": ["*"] })).refused(422, "LIMIT_EXCEEDED");
}

#[test]
fn nobody_is_told_more_than_their_key_may_read() {
    let s = service();
    let key = |scopes: &[&str]| {
        let made = s
            .post("/api-keys", json!({ "name": "k", "scopes": scopes }))
            .expect(201);
        made["data"]["key"].as_str().unwrap().to_owned()
    };
    let inbox = Inbox::new();
    let call = |key: &str, method, path: &str, body| s.call_as(key, method, path, Some(body));
    let weak = key(&["webhooks:write", "computers:read"]);
    let ask = |events: Value| json!({ "url": inbox.url, "events": events });
    for events in [json!(["*"]), json!(["computer.*", "workspace.created"])] {
        call(&weak, Method::POST, "/webhooks", ask(events)).refused(403, "insufficient_scope");
    }
    call(&weak, Method::POST, "/webhooks", ask(json!(["computer.*"]))).expect(201);
    // Nor does a stronger key's webhook become theirs by another URL.
    let strong = hook(&s, &inbox.url, &["workspace.*"]);
    call(
        &weak,
        Method::PATCH,
        &path(&strong, ""),
        json!({ "url": "http://127.0.0.1:1025/" }),
    )
    .refused(403, "insufficient_scope");
    // They see that something was sent, but not what.
    s.workspace("W");
    deliver(&s);
    let sent = deliveries(&s, &strong)[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = path(&strong, &format!("/deliveries/{sent}"));
    let shown = |key: &str| {
        s.call_as(key, Method::GET, &one, None).expect(200)["data"]["request_body"].clone()
    };
    assert_eq!(shown(&weak), Value::Null);
    let body = shown(&s.key);
    assert!(
        body.as_str().unwrap().contains("workspace.created"),
        "{body}"
    );
}

#[test]
fn the_catalogue_has_every_event_that_is_written_down() {
    let s = service();
    let w = s.workspace("W");
    let v = s.workspace("V");
    let c = s.running(&w, "small");
    s.patch(&format!("/workspaces/{w}"), json!({ "name": "X" }))
        .expect(200);
    s.put(
        &format!("/workspaces/{w}/settings"),
        json!({ "max_computers": 9 }),
    )
    .expect(200);
    for owner in [format!("/workspaces/{w}"), "/tenant".into()] {
        let body = json!({ "preview_domain": "clinic.example.com" });
        s.put(&format!("{owner}/preview-domain"), body);
        s.delete(&format!("{owner}/preview-domain")).expect(200);
    }
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "medium" }),
    )
    .expect(200);
    s.patch(&format!("/computers/{c}"), json!({ "name": "n" }))
        .expect(200);
    s.post(&format!("/computers/{c}/restart"), json!({}))
        .expect(200);
    s.advance(2);
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": v }),
    )
    .expect(200);
    s.post(&format!("/computers/{c}/stop"), json!({}))
        .expect(200);
    s.advance(2);
    s.post(&format!("/computers/{c}/start"), json!({}))
        .expect(200);
    s.delete(&format!("/computers/{c}")).expect(200);
    let p = s
        .post("/projects", json!({ "name": "P", "workspace_id": w }))
        .expect(201);
    let p = p["id"].as_str().unwrap().to_owned();
    s.patch(&format!("/projects/{p}"), json!({ "name": "Q" }))
        .expect(200);
    s.post(&format!("/projects/{p}/move"), json!({ "workspace_id": v }))
        .expect(200);
    s.delete(&format!("/projects/{p}")).expect(200);
    s.delete(&format!("/workspaces/{v}?force=true")).expect(200);
    s.put(
        &format!("/tenants/{}", s.tenant_id),
        json!({ "name": "Acme" }),
    )
    .expect(200);
    let key = s.post("/api-keys", json!({ "name": "k" })).expect(201)["data"]["id"].clone();
    let key = format!("/api-keys/{}", key.as_str().unwrap());
    s.patch(&key, json!({ "name": "l" })).expect(200);
    s.post(&format!("{key}/rotate"), json!({})).expect(200);
    s.delete(&key).expect(200);
    let written = s.app.store.read_blocking(|tx| {
        let mut statement = tx.prepare("SELECT DISTINCT type FROM audit_log")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<BTreeSet<String>, _>>()?)
    });
    let written = written.unwrap();
    assert!(written.len() > 25, "{written:?}");
    let known: BTreeSet<String> = catalog::EVENTS
        .iter()
        .map(|(n, _)| (*n).to_owned())
        .collect();
    let missing: Vec<_> = written.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let listed = s.get("/webhooks/events").expect(200);
    assert_eq!(listed["total"], known.len());
    assert_eq!(listed["data"][0]["type"], "workspace.created");
}

// ---------------------------------------------------------------------------------------------
// What is sent

#[test]
fn a_change_is_told_signed_both_ways() {
    let s = service();
    let inbox = Inbox::new();
    let hook = hook(&s, &inbox.url, &["workspace.*"]);
    let secret = hook["secret"].as_str().unwrap();
    let id = s.workspace("Dr. Smith");
    deliver(&s);
    let got = inbox.next();
    assert!(inbox.all().is_empty());

    assert_eq!(got.header("content-type"), "application/json");
    assert!(got.header("user-agent").starts_with("workspaced/"));
    assert_eq!(got.header("x-miosa-event"), "workspace.created");
    assert_eq!(
        got.header("x-miosa-webhook-id"),
        hook["id"].as_str().unwrap()
    );
    assert_eq!(got.header("x-miosa-attempt"), "1");
    assert_eq!(
        got.header("x-miosa-signature"),
        format!("sha256={}", hmac(secret, &got.body))
    );
    let timed = got.header("miosa-signature");
    let (t, v1) = timed
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    assert_eq!(v1, hmac(secret, &format!("{t}.{}", got.body)));
    // The receiver compares it with the wall clock, however the clock of the service is driven.
    let age = Clock::System.now().0 / 1000 - t.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");

    let event = got.json();
    let row = s
        .get("/audit-log?type=workspace.created&limit=1")
        .expect(200)["data"][0]
        .clone();
    assert_eq!(
        event["id"], row["id"],
        "as the audit log and live streams have it"
    );
    assert_eq!(event["id"], got.header("x-miosa-event-id"));
    assert_eq!(
        (&event["ts"], &event["created_at"]),
        (&json!(START), &json!(START))
    );
    assert_eq!(event["tenant_id"], s.tenant_id);
    assert_eq!(
        (&event["workspace_id"], &event["resource_id"]),
        (&json!(id), &json!(id))
    );
    assert_eq!(event["data"]["name"], "Dr. Smith");
    assert_eq!(event["data"], row["metadata"]["after"]);

    let list = s.get(&path(&hook, "/deliveries")).expect(200);
    assert_eq!(
        (&list["total"], &list["next_cursor"]),
        (&json!(1), &Value::Null)
    );
    let mut one = list["data"][0].clone();
    assert_eq!(one["id"], got.header("x-miosa-delivery-id"));
    assert!(one["duration_ms"].take().is_i64());
    assert_eq!(
        crate::harness::redact(one),
        json!({
            "id": "[uuid]", "webhook_id": "[uuid]", "event_id": event["id"], "event_type": "workspace.created",
            "event": "workspace.created", "state": "delivered", "success": true, "status_code": 204,
            "response_status": 204, "attempt_count": 1, "attempted_at": "[time]", "next_retry_at": null,
            "delivered_at": "[time]", "duration_ms": null, "response_body": "", "error": null, "replay_of": null,
            "created_at": "[time]", "request_body": null,
        })
    );
    // What is gone is told as it last was.
    s.delete(&format!("/workspaces/{id}")).expect(200);
    deliver(&s);
    let gone = inbox.next().json();
    assert_eq!(
        (&gone["type"], &gone["data"]["name"]),
        (&json!("workspace.deleted"), &json!("Dr. Smith"))
    );
}

#[test]
fn retries_come_at_their_time_with_the_same_bytes() {
    let s = service();
    let inbox = Inbox::answering(&["HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"]);
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    s.workspace("W");
    deliver(&s);
    let mut last = s.app.store.now();
    let first = inbox.next();
    // The wait before each of the three retries, seconds; up to a quarter more by chance.
    for (n, wait) in [30, 120, 480].into_iter().enumerate() {
        let row = deliveries(&s, &hook)[0].clone();
        assert_eq!(
            (&row["state"], &row["attempt_count"]),
            (&json!("pending"), &json!(n + 1))
        );
        assert_eq!(
            (&row["status_code"], &row["response_body"]),
            (&json!(503), &json!("busy"))
        );
        assert_eq!(row["error"], "answered 503");
        let next = at(row["next_retry_at"].as_str().unwrap());
        assert!(
            (wait..=wait * 5 / 4 + 1).contains(&((next.0 - last.0) / 1000)),
            "{row}"
        );
        pass(&s, next.plus_seconds(-1));
        assert!(inbox.all().is_empty(), "not before its time");
        pass(&s, next.plus_seconds(1));
        let again = inbox.next();
        assert!(inbox.all().is_empty());
        assert_eq!(again.body, first.body);
        for same in [
            "x-miosa-delivery-id",
            "x-miosa-event-id",
            "x-miosa-signature",
        ] {
            assert_eq!(again.header(same), first.header(same));
        }
        assert_eq!(again.header("x-miosa-attempt"), (n + 2).to_string());
        last = at(deliveries(&s, &hook)[0]["attempted_at"].as_str().unwrap());
    }
    let row = deliveries(&s, &hook)[0].clone();
    assert_eq!(
        (&row["state"], &row["attempt_count"]),
        (&json!("failed"), &json!(4))
    );
    assert_eq!(
        (&row["success"], &row["next_retry_at"]),
        (&json!(false), &Value::Null)
    );
    let shown = s.get(&path(&hook, "")).expect(200)["data"].clone();
    assert_eq!(
        (&shown["status"], &shown["failed_attempts"]),
        (&json!("failing"), &json!(4))
    );
    assert_eq!(shown["failing_since"], START);
    pass(&s, s.app.store.now().plus_seconds(86_400));
    assert!(inbox.all().is_empty(), "given up");
    assert_eq!(
        s.count("SELECT count(*) FROM webhooks WHERE due_at IS NOT NULL"),
        0
    );
}

#[test]
fn a_receiver_may_ask_for_time_and_comes_back() {
    let s = service();
    let inbox = Inbox::answering(&[
        "HTTP/1.1 429 Slow\r\nretry-after: 3600\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ]);
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    s.workspace("W");
    deliver(&s);
    let row = deliveries(&s, &hook)[0].clone();
    assert_eq!(row["next_retry_at"], at(START).plus_seconds(3600).rfc3339());
    pass(&s, at(START).plus_seconds(3601));
    assert_eq!(inbox.all().len(), 2);
    let shown = s.get(&path(&hook, "")).expect(200)["data"].clone();
    assert_eq!(
        (&shown["status"], &shown["failed_attempts"]),
        (&json!("active"), &json!(0))
    );
    assert_eq!(
        shown["last_success_at"],
        at(START).plus_seconds(3600).rfc3339()
    );
}

#[test]
fn a_driven_clock_sends_at_each_instant() {
    let s = service();
    let inbox = Inbox::new();
    hook(&s, &inbox.url, &["computer.*"]);
    let w = s.workspace("W");
    let body = json!({ "name": "c", "workspace_id": w, "auto_stop_seconds": 3600 });
    s.post("/computers", body).expect(201);
    pass(&s, at(START).plus_seconds(86_400));
    let told: Vec<(String, String)> = inbox
        .all()
        .iter()
        .map(|got| (got.kind(), got.json()["ts"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ("computer.created", 0),
        ("computer.running", 1),
        ("computer.stopping", 3601),
        ("computer.stopped", 3602),
    ];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(kind, s)| ((*kind).to_owned(), at(START).plus_seconds(*s).rfc3339()))
        .collect();
    assert_eq!(told, expected);
    let when = "SELECT count(*) FROM webhook_deliveries WHERE attempted_at <> created_at";
    assert_eq!(
        s.count(when),
        0,
        "each was sent at the instant of its event"
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let s = service();
    let target = Inbox::new();
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}\r\n\r\n",
            target.url
        );
        let inbox = Inbox::answering(&[&answer]);
        let hook = hook(&s, &inbox.url, &["workspace.created"]);
        let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
        assert_eq!(
            (&sent["success"], &sent["status_code"]),
            (&json!(false), &json!(status))
        );
        assert!(
            sent["error"].as_str().unwrap().contains("not followed"),
            "{sent}"
        );
        s.delete(&path(&hook, "")).expect(200);
    }
    assert!(target.all().is_empty());
}

#[test]
fn what_an_answer_says_is_kept_within_bounds() {
    let s = service();
    // No length, and more than anybody wants to read.
    let inbox = Inbox::with(|_, _| format!("HTTP/1.1 500 Oops\r\n\r\n{}", "x".repeat(3_000_000)));
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(sent["response_body"], "x".repeat(1024));
    // Not HTTP at all; nobody there.
    let inbox = Inbox::answering(&["SSH-2.0-OpenSSH_9.9\r\n"]);
    s.patch(&path(&hook, ""), json!({ "url": inbox.url }))
        .expect(200);
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(
        (&sent["state"], &sent["status_code"]),
        (&json!("failed"), &Value::Null)
    );
    s.patch(&path(&hook, ""), json!({ "url": "http://127.0.0.1:1025/" }))
        .expect(200);
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(sent["error"], "the connection was refused");
}

// ---------------------------------------------------------------------------------------------
// Where it may lead

#[test]
fn addresses_are_judged_when_a_connection_is_made() {
    let dir = tempfile::TempDir::new().unwrap();
    let inbox = Inbox::new();
    let by_name = inbox.url.replace("127.0.0.1", "localhost");
    let s = service();
    hook(&s, &by_name, &["workspace.created"]);
    let w = json!({ "name": "W" });
    s.post("/workspaces", w).expect(201);
    let copy = dir.path().join("workspaced.db");
    s.app.store.close();
    std::fs::copy(s.app.store.path(), &copy).unwrap();
    // The same installation without leave to reach this machine: the name leads here all the same.
    for (reach, taken) in [(WebhookReach::Public, 0), (WebhookReach::Loopback, 1)] {
        let store = Store::open(&copy, Clock::manual(at(START).plus_seconds(3600)), 1).unwrap();
        let config = Config {
            webhook_reach: reach,
            ..Config::default()
        };
        let app = App::new(store, config);
        runtime().block_on(deliver_due(&app, PATIENCE)).unwrap();
        assert_eq!(inbox.all().len(), taken, "{reach:?}");
        let why: Option<String> = app
            .store
            .read_blocking(|tx| {
                Ok(tx.query_row("SELECT error FROM webhook_deliveries", [], |row| row.get(0))?)
            })
            .unwrap();
        if taken == 0 {
            assert!(why.unwrap().contains("does not send to"));
            // Its retry is due when the other one looks.
            let again = "UPDATE webhook_deliveries SET next_attempt_at = 0";
            app.store
                .write_blocking(move |tx| Ok(tx.execute(again, [])?))
                .unwrap();
            let again = "UPDATE webhooks SET due_at = 0, resume_at = NULL";
            app.store
                .write_blocking(move |tx| Ok(tx.execute(again, [])?))
                .unwrap();
        }
        app.store.close();
    }
}

// ---------------------------------------------------------------------------------------------
// The outbox

#[test]
fn nothing_is_told_that_did_not_happen_and_nothing_lost_that_did() {
    let s = service();
    let inbox = Inbox::new();
    let told = hook(&s, &inbox.url, &["workspace.*", "organization.updated"]);
    let waiting = || s.count("SELECT count(*) FROM webhook_deliveries");
    s.post("/workspaces", json!({ "name": "" }))
        .invalid(&["name"]);
    assert_eq!(waiting(), 0);
    // Written down and then undone.
    let tenant = workspaced::ids::TenantId(uuid::Uuid::parse_str(&s.tenant_id).unwrap());
    let entry = move |tx: &workspaced::store::WriteTx<'_>| {
        let entry = Entry {
            actor: Actor::System,
            tenant_id: tenant,
            workspace_id: None,
            kind: "organization.updated",
            resource: tenant.0,
            before: audit::NONE,
            after: audit::NONE,
        };
        audit::record(tx, &entry)
    };
    let undone = s.app.store.write_blocking(move |tx| {
        entry(tx)?;
        let all: i64 = tx.query_row("SELECT count(*) FROM webhook_deliveries", [], |r| r.get(0))?;
        assert_eq!(all, 1);
        Err::<(), _>(Error::forbidden())
    });
    assert!(undone.is_err());
    assert_eq!(waiting(), 0);
    // A webhook's end that was undone: it is still told.
    let id = told["id"].as_str().unwrap().to_owned();
    let undone = s.app.store.write_blocking(move |tx| {
        tx.webhooks_change();
        tx.execute("UPDATE webhooks SET enabled = 0", [])?;
        entry(tx)?;
        Err::<(), _>(Error::forbidden())
    });
    assert!(undone.is_err() && !id.is_empty());
    s.workspace("W");
    deliver(&s);
    assert_eq!(inbox.kinds(), ["workspace.created"]);
    // An answer that repeats an earlier one tells nothing again.
    let send = || {
        let mut again = crate::harness::request(
            &s.key,
            &Method::POST,
            "/workspaces",
            Some(json!({ "name": "X" })),
        );
        again
            .headers_mut()
            .insert("idempotency-key", "once".parse().unwrap());
        s.send(again).expect(201)
    };
    assert_eq!(send(), send());
    deliver(&s);
    assert_eq!(inbox.kinds(), ["workspace.created"]);
}

#[test]
fn what_waits_survives_a_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let db = dir.path().join("workspaced.db");
    let inbox = Inbox::answering(&["HTTP/1.1 500 No\r\n\r\n", "HTTP/1.1 200 Yes\r\n\r\n"]);
    let clock = Clock::manual(at(START));
    let start = || App::new(Store::open(&db, clock.clone(), 1).unwrap(), config());
    let app = start();
    let file = app.config.file.clone();
    let key = app
        .store
        .write_blocking(move |tx| {
            let key = workspaced::api_keys::NewKey::operator();
            let new =
                workspaced::tenants::insert(tx, &file, Actor::Operator, "acme", "acme", 0, key)?;
            Ok(new.key.secret().to_owned())
        })
        .unwrap();
    let call = |app: &App, path: &str, body: Value| {
        use tower::ServiceExt;
        let request = crate::harness::request(&key, &Method::POST, path, Some(body));
        let reply = runtime()
            .block_on(http::router(app.clone()).oneshot(request))
            .unwrap();
        assert_eq!(reply.status(), 201);
    };
    call(
        &app,
        "/webhooks",
        json!({ "url": inbox.url, "events": ["workspace.created"] }),
    );
    // One is tried and fails, one waits behind it, and then the service is gone.
    call(&app, "/workspaces", json!({ "name": "A" }));
    runtime().block_on(deliver_due(&app, PATIENCE)).unwrap();
    call(&app, "/workspaces", json!({ "name": "B" }));
    assert_eq!(inbox.all().len(), 1);
    app.store.close();
    drop(app);

    let app = start();
    clock.set(at(START).plus_seconds(60));
    runtime().block_on(deliver_due(&app, PATIENCE)).unwrap();
    let mut names: Vec<Value> = inbox
        .all()
        .iter()
        .map(|got| got.json()["data"]["name"].clone())
        .collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["A", "B"]);
    app.store.close();
}

#[test]
fn a_slow_receiver_holds_up_nobody_else() {
    let s = service();
    let (slow_entered, entered) = channel::<()>();
    let (release, gate) = channel::<()>();
    let (slow_entered, gate) = (
        std::sync::Mutex::new(slow_entered),
        std::sync::Mutex::new(gate),
    );
    let slow = Inbox::with(move |_, _| {
        slow_entered.lock().unwrap().send(()).unwrap();
        let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        "HTTP/1.1 200 OK\r\n\r\n".into()
    });
    let (quick, beside) = (Inbox::new(), Inbox::new());
    let (other, _) = s.other_tenant("other");
    hook(&s, &slow.url, &["workspace.created"]);
    hook(&s, &beside.url, &["workspace.created"]);
    hook_as(&s, &other, &quick.url, &["workspace.created"]);
    s.workspace("A");
    s.workspace("B");
    for name in ["C", "D"] {
        s.call_as(
            &other,
            Method::POST,
            "/workspaces",
            Some(json!({ "name": name })),
        )
        .expect(201);
    }
    let app = s.app.clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = runtime().block_on(async {
        let running = tokio::task::spawn_blocking(move || {
            let own = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            own.block_on(workspaced::webhooks::run(app, stopped));
        });
        entered.recv_timeout(PATIENCE).unwrap();
        running
    });
    // While the first message of the slow one is under way all others come through, in order.
    let names =
        |inbox: &Inbox| [inbox.next(), inbox.next()].map(|got| got.json()["data"]["name"].clone());
    assert_eq!(names(&quick), ["C", "D"]);
    assert_eq!(names(&beside), ["A", "B"]);
    assert!(entered.try_recv().is_err(), "one at a time");
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(names(&slow), ["A", "B"]);
    stop.send(true).unwrap();
    runtime().block_on(running).unwrap();
    assert_eq!(
        s.count("SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'"),
        6
    );
}

#[test]
fn one_organization_does_not_take_all_threads() {
    let s = service();
    let (open, gate) = channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let slow = Inbox::with(move |_, _| {
        let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        "HTTP/1.1 200 OK\r\n\r\n".into()
    });
    for _ in 0..20 {
        hook(&s, &slow.url, &["workspace.created"]);
    }
    let (other, _) = s.other_tenant("other");
    let quick = Inbox::new();
    hook_as(&s, &other, &quick.url, &["workspace.created"]);
    s.workspace("A");
    s.call_as(
        &other,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "B" })),
    )
    .expect(201);
    let all = runtime()
        .block_on(deliver_due(&s.app, Duration::from_millis(300)))
        .unwrap();
    assert!(!all, "20 receivers do not answer");
    quick.next();
    assert!(s.app.outbox.under_way() <= 5);
    for _ in 0..20 {
        open.send(()).unwrap();
    }
    deliver(&s);
    assert_eq!(slow.all().len(), 20);
}

#[test]
fn a_failing_message_holds_the_others_up_for_a_moment_only() {
    let s = service();
    let inbox = Inbox::with(|_, got| {
        let poison = got.body.contains("poison");
        format!("HTTP/1.1 {} X\r\n\r\n", if poison { 500 } else { 200 })
    });
    hook(&s, &inbox.url, &["workspace.created"]);
    for name in ["poison", "A", "B"] {
        s.workspace(name);
    }
    deliver(&s);
    assert_eq!(
        inbox.all().len(),
        1,
        "after a failure the receiver has a rest"
    );
    pass(&s, at(START).plus_seconds(1));
    let names: Vec<Value> = inbox
        .all()
        .iter()
        .map(|got| got.json()["data"]["name"].clone())
        .collect();
    assert_eq!(names, ["A", "B"]);
}

#[test]
fn a_queue_is_bounded() {
    let s = service();
    let inbox = Inbox::new();
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    let set = |n: i64| {
        let sql = "UPDATE webhooks SET pending_count = ?1";
        s.app
            .store
            .write_blocking(move |tx| Ok(tx.execute(sql, [n])?))
            .unwrap()
    };
    set(1000);
    s.workspace("W");
    let row = deliveries(&s, &hook)[0].clone();
    assert_eq!(
        (&row["state"], &row["attempt_count"]),
        (&json!("failed"), &json!(0))
    );
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .contains("1000 deliveries were waiting")
    );
    let again = path(
        &hook,
        &format!("/deliveries/{}/replay", row["id"].as_str().unwrap()),
    );
    set(1100);
    s.post(&again, json!({}))
        .refused(429, "rate_limit_exceeded");
    set(0);
    assert_eq!(
        s.post(&again, json!({})).expect(200)["data"]["success"],
        true
    );
}

#[test]
fn disabling_gives_up_and_a_new_url_begins_anew() {
    let s = service();
    let inbox = Inbox::answering(&["HTTP/1.1 500 No\r\n\r\n"]);
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    s.workspace("A");
    deliver(&s);
    let better = Inbox::new();
    s.patch(&path(&hook, ""), json!({ "url": better.url }))
        .expect(200);
    deliver(&s);
    assert_eq!(
        better.kinds(),
        ["workspace.created"],
        "at once, not at the time of the retry"
    );
    assert_eq!(inbox.all().len(), 1);
    s.patch(&path(&hook, ""), json!({ "url": inbox.url }))
        .expect(200);
    s.workspace("B");
    deliver(&s);
    let off = s
        .patch(&path(&hook, ""), json!({ "enabled": false }))
        .expect(200);
    assert_eq!(off["data"]["pending_count"], 0);
    s.workspace("C");
    pass(&s, at(START).plus_seconds(86_400));
    assert_eq!(inbox.all().len(), 1);
    let rows = deliveries(&s, &hook);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["error"], "the webhook was disabled");
    // A test is sent all the same: to look before it is enabled.
    s.post(&path(&hook, "/test"), json!({})).expect(200);
    assert_eq!(inbox.kinds(), ["webhook.test"]);
    s.patch(
        &path(&hook, ""),
        json!({ "enabled": true, "url": better.url }),
    )
    .expect(200);
    s.workspace("D");
    deliver(&s);
    assert_eq!(better.kinds(), ["workspace.created"]);
}

#[test]
fn tests_and_replays_answer_with_what_came_of_them() {
    let s = service();
    let inbox = Inbox::answering(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 500 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ]);
    let hook = hook(&s, &inbox.url, &["computer.*"]);
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(
        (&sent["success"], &sent["response_body"]),
        (&json!(true), &json!("ok"))
    );
    let got = inbox.next();
    assert_eq!(
        (got.kind(), got.header("x-miosa-event")),
        ("webhook.test".into(), "webhook.test")
    );
    assert_eq!(sent["request_body"], got.body);
    // A test is tried once; while the receiver fails a replay is not made to wait either.
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(
        (&sent["state"], &sent["attempt_count"]),
        (&json!("failed"), &json!(1))
    );
    let id = sent["id"].as_str().unwrap();
    let again = s
        .post(&path(&hook, &format!("/deliveries/{id}/replay")), json!({}))
        .expect(200)["data"]
        .clone();
    assert_eq!(
        (&again["success"], &again["replay_of"]),
        (&json!(true), &json!(id))
    );
    assert_ne!(again["id"], id);
    let got = inbox.all();
    assert_eq!(got[0].body, got[1].body);
    assert_eq!(
        got[0].header("x-miosa-event-id"),
        got[1].header("x-miosa-event-id")
    );
    // Repeated under the same key it is not sent again.
    let repeat = || {
        let to = path(&hook, "/test");
        let mut request = crate::harness::request(&s.key, &Method::POST, &to, Some(json!({})));
        request
            .headers_mut()
            .insert("idempotency-key", "once".parse().unwrap());
        s.send(request)
    };
    let (first, second): (Answer, Answer) = (repeat(), repeat());
    assert_eq!(
        first.expect(200)["data"]["id"],
        second.expect(200)["data"]["id"]
    );
    assert!(second.headers.contains_key("idempotency-replayed"));
    assert_eq!(inbox.all().len(), 1);
}

#[test]
fn deliveries_are_paged_and_forgotten() {
    let s = service();
    let inbox = Inbox::new();
    let told = hook(&s, &inbox.url, &["workspace.created"]);
    for n in 0..5 {
        s.workspace(&format!("W{n}"));
        deliver(&s);
    }
    let all: Vec<Value> = deliveries(&s, &told)
        .iter()
        .map(|d| d["id"].clone())
        .collect();
    assert_eq!(all.len(), 5);
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = s
            .get(&path(&told, &format!("/deliveries?limit=2{cursor}")))
            .expect(200);
        assert_eq!(page["total"], 5);
        paged.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["id"].clone()),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    let page = s
        .get(&path(&told, "/deliveries?page=2&per_page=3"))
        .expect(200);
    assert_eq!(page["data"][1]["id"], all[4]);
    assert_eq!(
        s.get(&path(&told, "/deliveries?state=failed")).expect(200)["total"],
        0
    );

    let forget = || {
        let app = s.app.clone();
        s.app
            .store
            .write_blocking(move |tx| purge(tx, &app, 2))
            .unwrap()
    };
    s.clock.set(at(START).plus_seconds(7 * 86_400 - 1));
    assert_eq!(forget(), 0);
    s.clock.set(at(START).plus_seconds(7 * 86_400));
    assert_eq!((forget(), forget(), forget()), (2, 2, 1));
    assert!(deliveries(&s, &told).is_empty());
    // What is left of a deleted webhook goes at once, waiting or not.
    s.workspace("last");
    s.delete(&path(&told, "")).expect(200);
    deliver(&s);
    assert_eq!(forget(), 1);
    assert_eq!(s.count("SELECT count(*) FROM webhooks"), 0);
    assert_eq!(inbox.all().len(), 5);
}

#[test]
fn each_organization_hears_of_itself_only() {
    let s = service();
    let (mine, theirs) = (Inbox::new(), Inbox::new());
    let (other, _) = s.other_tenant("other");
    let own = hook(&s, &mine.url, &["*"]);
    hook_as(&s, &other, &theirs.url, &["*"]);
    s.workspace("mine");
    s.call_as(
        &other,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "theirs" })),
    )
    .expect(201);
    deliver(&s);
    let tenants = |inbox: &Inbox| -> BTreeSet<String> {
        inbox
            .all()
            .iter()
            .map(|got| got.json()["tenant_id"].to_string())
            .collect()
    };
    assert_eq!(
        tenants(&mine),
        BTreeSet::from([format!("{:?}", s.tenant_id)])
    );
    let heard = tenants(&theirs);
    assert!(heard.len() == 1 && !heard.contains(&format!("{:?}", s.tenant_id)));
    for (method, rest) in [
        (Method::GET, String::new()),
        (Method::PATCH, String::new()),
        (Method::DELETE, String::new()),
        (Method::POST, "/rotate".into()),
        (Method::POST, "/test".into()),
        (Method::GET, "/deliveries".into()),
        (
            Method::GET,
            format!(
                "/deliveries/{}",
                deliveries(&s, &own)[0]["id"].as_str().unwrap()
            ),
        ),
        (
            Method::POST,
            format!(
                "/deliveries/{}/replay",
                deliveries(&s, &own)[0]["id"].as_str().unwrap()
            ),
        ),
    ] {
        let body = (method != Method::GET).then(|| json!({}));
        s.call_as(&other, method, &path(&own, &rest), body)
            .refused(403, "FORBIDDEN");
    }
}

#[test]
fn another_database_brings_its_own_webhooks() {
    let s = Service::with(Config {
        dev: true,
        driven: true,
        ..config()
    });
    let inbox = Inbox::new();
    let post = |path: &str, body: Value| {
        let mut request = crate::harness::request(
            &s.key,
            &Method::POST,
            &format!("/api/../_dev{path}"),
            Some(body),
        );
        *request.uri_mut() = format!("/_dev{path}").parse().unwrap();
        s.send(request)
    };
    post("/snapshots", json!({ "name": "without" })).expect(201);
    hook(&s, &inbox.url, &["workspace.created"]);
    post("/snapshots", json!({ "name": "with" })).expect(201);
    post("/snapshots/without/restore", json!({})).expect(200);
    s.workspace("A");
    deliver(&s);
    assert!(inbox.all().is_empty());
    post("/snapshots/with/restore", json!({})).expect(200);
    s.workspace("B");
    deliver(&s);
    assert_eq!(inbox.all().len(), 1);
}
