//! What is sent, when, and where it may lead.

use super::*;

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
            "event": "workspace.created", "state": "delivered", "status": "delivered", "success": true, "status_code": 204,
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
        ("computer.stop_soon", 3301),
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
        runtime()
            .block_on(deliver_due(&app.outbox, PATIENCE))
            .unwrap();
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

#[test]
fn https_is_never_sent_in_the_clear() {
    let s = service();
    let inbox = Inbox::new();
    let hook = hook(
        &s,
        &inbox.url.replace("http:", "https:"),
        &["workspace.created"],
    );
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(
        (&sent["state"], &sent["status_code"]),
        (&json!("failed"), &Value::Null)
    );
    assert!(inbox.all().is_empty());
}
