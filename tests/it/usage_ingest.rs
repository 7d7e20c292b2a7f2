//! Reports from outside: what is taken, what is refused, what is shown of limits.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, at};
use crate::usage::{HOUR, event, external, filled, service_at, usage};

fn post_as(s: &Service, kind: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/compute-events")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", kind)
        .body(Body::from(body.to_string()));
    s.send(request.unwrap())
}

#[test]
fn ingest_takes_cloudevents_and_says_what_it_refuses() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    let driven = s.computer(&w, "small");
    let (_, foreign) = s.other_tenant("other");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let mut cloud = event("1", "started", &c, "2026-06-01T01:00:00Z", json!({}));
    cloud["specversion"] = "1.0".into();
    cloud["source"] = "/agents/7".into();
    assert_eq!(
        post_as(&s, "application/cloudevents-batch+json", &json!([cloud])).expect(200)["accepted"],
        1
    );
    assert_eq!(
        post_as(&s, "application/cloudevents+json; charset=utf-8", &cloud).expect(200)["duplicates"],
        1
    );
    post_as(&s, "application/json", &json!([cloud])).invalid(&["body"]);

    let time = "2026-06-01T02:00:00Z";
    let bad = [
        (json!({ "type": "computer.started" }), "has no id"),
        (
            event("x", "melted", &c, time, json!({})),
            "type must be one of",
        ),
        (
            event("x", "started", "pc-1", time, json!({})),
            "subject is not a valid UUID",
        ),
        (
            event("x", "started", &w, time, json!({})),
            "computer not found",
        ),
        (event("x", "started", &c, "noon", json!({})), "RFC 3339"),
        (
            event("x", "started", &c, "2026-05-31T00:00:00Z", json!({})),
            "before the computer was created",
        ),
        (event("x", "resized", &c, time, json!({})), "data.size"),
        (
            event("x", "resized", &c, time, json!({ "size": "huge" })),
            "is not a size",
        ),
        (
            event("x", "moved", &c, time, json!({})),
            "data.workspace_id",
        ),
        (
            event("x", "moved", &c, time, json!({ "workspace_id": foreign })),
            "forbidden",
        ),
        (
            event("x", "started", &driven, time, json!({})),
            "built-in driver",
        ),
        (json!(7), "has no id"),
    ];
    let before = s.fingerprint();
    for (bad, why) in &bad {
        let good = event("1", "started", &c, "2026-06-01T01:00:00Z", json!({}));
        let reply = s
            .post("/compute-events", json!({ "events": [bad, good] }))
            .expect(207);
        let reason = reply["rejected"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{bad}: {reason}");
        assert_eq!(
            (&reply["accepted"], &reply["duplicates"]),
            (&json!(0), &json!(1))
        );
    }
    // Alone, it is the whole request that is refused.
    s.post("/compute-events", json!({ "events": [bad[10].0] }))
        .refused(409, "EVENT_CONFLICT");
    s.post("/compute-events", json!({ "events": [bad[1].0] }))
        .invalid(&["events"]);
    s.post("/compute-events", json!({})).invalid(&["events"]);
    s.post(
        "/compute-events",
        json!({ "events": vec![bad[1].0.clone(); 10_001] }),
    )
    .invalid(&["events"]);
    assert_eq!(s.fingerprint(), before);
    let (other, _) = s.other_tenant("stranger");
    let body = json!({ "events": [event("y", "stopped", &c, time, json!({}))] });
    s.call_as(&other, Method::POST, "/compute-events", Some(body))
        .invalid(&["events"]);
}

#[test]
fn what_happened_beyond_a_limit_is_recorded_and_shown() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let settings = json!({ "max_computers": 1, "max_computer_size": "small" });
    s.put(&format!("/workspaces/{b}/settings"), settings)
        .expect(200);
    external(&s, &b, "small");
    let c = external(&s, &a, "large");
    s.clock.set(at("2026-06-02T00:00:00Z"));
    let events = json!([
        event(
            "1",
            "moved",
            &c,
            "2026-06-01T01:00:00Z",
            json!({ "workspace_id": b })
        ),
        event("2", "started", &c, "2026-06-01T02:00:00Z", json!({})),
    ]);
    let reply = s
        .post("/compute-events", json!({ "events": events }))
        .expect(200);
    assert_eq!(
        (&reply["accepted"], &reply["rejected"]),
        (&json!(2), &json!([]))
    );
    let over: Vec<_> = reply["over_limit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| {
            (
                o["limit"].as_str().unwrap(),
                o["max"].clone(),
                o["current"].clone(),
            )
        })
        .collect();
    assert_eq!(
        over,
        [
            ("max_computers", json!(1), json!(2)),
            ("max_computer_size", json!("small"), json!("large"))
        ]
    );
    assert_eq!(
        s.get(&format!("/workspaces/{b}")).expect(200)["computer_count"],
        2
    );
    assert_eq!(
        s.get(&format!("/workspaces/{b}/settings")).expect(200)["effective"]["over_limit"],
        1
    );
    assert_eq!(
        filled(&usage(&s, &b, "window=24h&granularity=day")),
        [("2026-06-01T00:00:00Z".into(), 22 * HOUR)]
    );

    // Up to a limit is not beyond it.
    let d = external(&s, &a, "small");
    let settings = json!({ "max_computers": 1, "max_computer_size": "medium" });
    s.put(&format!("/workspaces/{a}/settings"), settings)
        .expect(200);
    let time = s.app.store.now().rfc3339();
    let size = json!({ "size": "medium" });
    let events = json!([event("3", "resized", &d, &time, size)]);
    let reply = s.post("/compute-events", json!({ "events": events }));
    assert_eq!(reply.expect(200)["over_limit"], json!([]));
}

#[test]
fn a_batch_is_repeated_under_its_idempotency_key() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    let send = || {
        let body =
            json!({ "events": [event("1", "started", &c, "2026-06-01T00:00:00Z", json!({}))] });
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/compute-events")
            .header("authorization", format!("Bearer {}", s.key))
            .header("content-type", "application/json")
            .header("idempotency-key", "batch-1")
            .body(Body::from(body.to_string()));
        s.send(request.unwrap())
    };
    let first = send().expect(200);
    let again = send();
    assert_eq!(
        (&again.headers["idempotency-replayed"], again.json()),
        (&"true".parse().unwrap(), first)
    );
}

#[test]
fn a_change_through_the_api_does_not_undo_what_is_reported_ahead_of_the_clock() {
    let s = service_at("2026-06-01T00:00:00Z");
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let c = external(&s, &a, "small");
    let ahead = event("1", "started", &c, "2026-06-01T00:04:00Z", json!({}));
    s.post("/compute-events", json!({ "events": [ahead] }))
        .expect(200);
    s.advance(60);
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "large" }),
    )
    .expect(200);
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": b }),
    )
    .expect(200);
    let verified = |s: &Service| {
        let found = s.app.store.read_blocking(workspaced::testing::verify);
        assert!(found.as_ref().unwrap().ok, "{}", found.unwrap());
    };
    verified(&s);
    // From the minute at which it was reported to start on, at the new size and in the new place.
    s.travel_to(at("2026-06-01T01:04:00Z"));
    verified(&s);
    let computer = s.get(&format!("/computers/{c}")).expect(200);
    assert_eq!(
        (&computer["status"], &computer["size"]),
        (&json!("running"), &json!("large"))
    );
    assert_eq!(usage(&s, &a, "")["total_compute_ms"], 0);
    assert_eq!(usage(&s, &b, "")["total_credits_used"], 120);

    // A deletion ends what lies ahead.
    let d = external(&s, &a, "small");
    let ahead = event("2", "started", &d, "2026-06-01T01:08:00Z", json!({}));
    s.post("/compute-events", json!({ "events": [ahead] }))
        .expect(200);
    s.delete(&format!("/computers/{d}")).expect(200);
    verified(&s);
    s.travel_to(at("2026-06-01T03:00:00Z"));
    verified(&s);
    assert_eq!(usage(&s, &a, "")["total_compute_ms"], 0);
}

/// Reports that a computer goes on and off, a minute each.
fn many(computer: &str, count: usize) -> Vec<Value> {
    let kind = |n| if n % 2 == 0 { "started" } else { "stopped" };
    (0..count)
        .map(|n| {
            let time = format!("2026-06-01T{:02}:{:02}:00Z", 1 + n / 60, n % 60);
            event(&format!("e{n}"), kind(n), computer, &time, json!({}))
        })
        .collect()
}

#[test]
fn a_long_call_goes_in_several_commits_and_says_of_all_what_became_of_them() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-03T00:00:00Z"));
    let mut events = many(&c, 1200);
    events[700]["type"] = "computer.melted".into();
    events[1100] = events[3].clone();
    let send = |events: &[Value], key: &str| {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/compute-events")
            .header("authorization", format!("Bearer {}", s.key))
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Body::from(json!({ "events": events }).to_string()));
        s.send(request.unwrap())
    };
    // In the middle the storage fails: what was committed before is there, once.
    let fails = "CREATE TEMP TRIGGER fails AFTER INSERT ON main.compute_events WHEN new.event_id = 'e650' BEGIN
         SELECT RAISE(ABORT, 'test'); END";
    let run = |sql: &'static str| {
        s.app
            .store
            .write_blocking(move |tx| Ok(tx.execute_batch(sql)?))
            .unwrap();
    };
    run(fails);
    send(&events, "a").refused(500, "INTERNAL_ERROR");
    run("DROP TRIGGER temp.fails");
    let stored = || s.count("SELECT count(*) FROM compute_events WHERE event_id IS NOT NULL");
    assert_eq!(stored(), 500);
    let reply = send(&events, "a").expect(207);
    assert_eq!(
        (&reply["accepted"], &reply["duplicates"]),
        (&json!(698), &json!(501))
    );
    assert_eq!(reply["rejected"][0]["id"], "e700");
    assert_eq!(stored(), 1198);
    assert_eq!(
        send(&events, "a").expect(207),
        reply,
        "the same reply again"
    );
    // Another body under that key does nothing at all.
    let mut others = many(&c, 900);
    for (n, event) in others.iter_mut().enumerate() {
        event["id"] = format!("other {n}").into();
    }
    send(&others, "a").refused(409, "IDEMPOTENCY_PAYLOAD_MISMATCH");
    assert_eq!(stored(), 1198);
    // All or nothing is one commit.
    others[899]["type"] = "computer.melted".into();
    let path = "/compute-events?all_or_nothing=1";
    s.post(path, json!({ "events": others }))
        .refused(422, "VALIDATION_FAILED");
    assert_eq!(stored(), 1198);
    let found = s.app.store.read_blocking(workspaced::testing::verify);
    assert!(found.unwrap().ok);
}

#[test]
fn a_long_call_about_many_computers_counts_and_is_told_of_as_sent() {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Clinic");
    let computers: Vec<_> = (0..7).map(|_| external(&s, &w, "small")).collect();
    s.clock.set(at("2026-06-03T00:00:00Z"));
    // Two of one instant each time: the one that was sent last holds, so that each runs every other minute.
    let mut events = Vec::new();
    for n in 0..100 {
        let time = format!("2026-06-01T{:02}:{:02}:00Z", 1 + n / 60, n % 60);
        let (first, then) = if n % 2 == 0 {
            ("stopped", "started")
        } else {
            ("started", "stopped")
        };
        for (turn, kind) in [first, then].into_iter().enumerate() {
            for c in &computers {
                let id = format!("{c} {n} {turn}");
                events.push(event(&id, kind, c, &time, json!({})));
            }
        }
    }
    // Each the first of its instant: without it the other one says the same.
    let bad = [1390, 3, 700, 4];
    for n in bad {
        events[n]["type"] = "computer.melted".into();
    }
    let reply = s
        .post("/compute-events", json!({ "events": events }))
        .expect(207);
    assert_eq!(reply["accepted"], json!(1396));
    let told: Vec<_> = reply["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["id"])
        .collect();
    let sent: Vec<_> = [3, 4, 700, 1390]
        .iter()
        .map(|n| &events[*n]["id"])
        .collect();
    assert_eq!(told, sent);
    let hours = usage(&s, &w, "from=2026-06-01T00:00:00Z&to=2026-06-02T00:00:00Z");
    assert_eq!(hours["total_compute_ms"], 7 * 50 * 60_000);
    let found = s.app.store.read_blocking(workspaced::testing::verify);
    assert!(found.unwrap().ok);
}
