//! Webhooks end to end: the router, the outbox in a real database, and receivers on loopback.

mod narrowed;
mod outbox;
mod sending;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Answer, START, Service, at, runtime};
use workspaced::testing::App;
use workspaced::testing::Error;
use workspaced::testing::Store;
use workspaced::testing::audit;
use workspaced::testing::catalog;
use workspaced::testing::deliver::deliver_due;
use workspaced::testing::queue::purge;
use workspaced::testing::{Actor, Entry};
use workspaced::testing::{Clock, Timestamp};
use workspaced::testing::{Config, WebhookReach};
use workspaced::testing::{dev, router};

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
    assert!(
        runtime()
            .block_on(deliver_due(&s.app.outbox, PATIENCE))
            .unwrap()
    );
}

/// Moves the clock, and lets happen what falls due on the way.
fn pass(s: &Service, until: Timestamp) {
    runtime()
        .block_on(dev::advance(&s.app.emulator, until))
        .unwrap();
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
            "created_at": "[time]", "updated_at": "[time]", "workspace_id": null, "headers": {},
            "signature_scheme": "miosa", "previous_secret_expires_at": null, "disabled_reason": null,
        })
    );
    let list = s.get("/webhooks").expect(200);
    assert_eq!(
        (&list["total"], &list["data"][0]),
        (&json!(1), &shown["data"])
    );

    let changes = json!({ "events": ["computer.started"] });
    let changed = s.patch(&path(&hook, ""), changes).expect(200);
    assert_eq!(
        changed["data"]["events"],
        json!(["computer.running"]),
        "another name of it"
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

#[test]
fn the_catalogue_has_every_event_that_the_sources_name() {
    fn kinds(dir: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("usage/ledger") {
                // Compute events, which are a log of their own.
            } else if path.is_dir() {
                kinds(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for after in text.split("kind: \"").skip(1) {
                    found.insert(after.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    let mut found = std::collections::BTreeSet::new();
    kinds(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.retain(|kind| kind.contains('.'));
    assert!(found.len() > 15, "{found:?}");
    let known: std::collections::BTreeSet<&str> = workspaced::testing::catalog::EVENTS
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    found.retain(|kind| !known.contains(kind.as_str()));
    assert_eq!(found, std::collections::BTreeSet::new());
}
