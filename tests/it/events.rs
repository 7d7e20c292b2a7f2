//! Live events: what is streamed to whom, from where on, and when a stream ends.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use workspaced::testing::App;
use workspaced::testing::Streams;
use workspaced::testing::router;

use crate::harness::{Service, request, runtime};

/// An open stream, read inside the test's runtime.
struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    fn open(s: &Service, key: &str, path: &str) -> Stream {
        Stream::of(s, request(key, &Method::GET, path, None))
    }

    fn of(s: &Service, request: Request<Body>) -> Stream {
        let (headers, mut stream) = runtime().block_on(async {
            let response = s.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let (parts, body) = response.into_parts();
            (
                parts.headers,
                Stream {
                    body,
                    text: String::new(),
                },
            )
        });
        check(&headers);
        // The first frame says that it is there, and where it begins.
        stream.next_chunk().expect("a first frame");
        assert!(stream.text.starts_with("retry: "), "{}", stream.text);
        stream
    }

    fn next_chunk(&mut self) -> Option<()> {
        runtime().block_on(async {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame())
                .await
                .expect("nothing for 10 s");
            let bytes = frame?.ok()?.into_data().ok()?;
            self.text += std::str::from_utf8(&bytes).unwrap();
            Some(())
        })
    }

    /// The events up to one of this type.
    fn until(&mut self, kind: &str) -> Vec<Value> {
        while !self.text.contains(&format!("event: {kind}\n")) {
            self.next_chunk()
                .unwrap_or_else(|| panic!("the stream ended before {kind}: {}", self.text));
        }
        let events = self.events();
        self.text.clear();
        events
    }

    fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        for frame in self.text.split("\n\n") {
            let field = |name: &str| {
                frame
                    .lines()
                    .find_map(|l| l.strip_prefix(&format!("{name}: ")))
                    .map(str::to_owned)
            };
            let Some(data) = field("data") else { continue };
            let data: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(data["id"], json!(field("id").unwrap()));
            assert_eq!(data["type"], json!(field("event").unwrap()));
            events.push(data);
        }
        events
    }

    fn ends(&mut self) -> bool {
        while self.next_chunk().is_some() {}
        true
    }
}

fn check(headers: &HeaderMap) {
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store");
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["type"].as_str().unwrap()).collect()
}

fn key(s: &Service, body: Value) -> String {
    s.post("/api-keys", body).expect(201)["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn what_happens_is_streamed() {
    let s = Service::new();
    s.workspace("Before");
    let mut stream = Stream::open(&s, &s.key, "/events/stream");
    let w = s.workspace("Clinic");
    let c = s.running(&w, "small");
    let events = stream.until("computer.running");
    assert_eq!(
        kinds(&events),
        [
            "workspace.created",
            "project.created",
            "computer.created",
            "computer.running"
        ]
    );
    let last = &events[3];
    assert_eq!(
        (
            &last["tenant_id"],
            &last["workspace_id"],
            &last["resource_id"],
            &last["resource_type"],
            &last["ts"]
        ),
        (
            &json!(s.tenant_id),
            &json!(w),
            &json!(c),
            &json!("computer"),
            &json!("2026-05-20T10:15:31Z")
        )
    );
    assert_eq!(
        (&last["after"]["status"], &last["after"]["size"]),
        (&json!("running"), &json!("small"))
    );
    assert!(last["after"].get("metadata").is_none(), "in short");
    s.delete(&format!("/computers/{c}")).expect(200);
    assert_eq!(stream.until("computer.deleted")[0]["after"], Value::Null);
}

#[test]
fn a_stream_is_resumed_where_it_broke() {
    let s = Service::new();
    let mut stream = Stream::open(&s, &s.key, "/tenant/events/stream?types=workspace.*");
    s.workspace("A");
    let id = stream.until("workspace.created")[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    drop(stream);
    s.workspace("B");
    s.computer(&s.default_workspace, "small");
    s.workspace("C");
    let names = |events: &[Value]| {
        events
            .iter()
            .map(|e| e["after"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut by_query = Stream::open(
        &s,
        &s.key,
        &format!("/events/stream?types=workspace.*&last_event_id={id}"),
    );
    assert_eq!(names(&by_query.until("workspace.created")), ["B", "C"]);
    let mut with_header = request(
        &s.key,
        &Method::GET,
        "/events/stream?types=workspace.*&last_event_id=0",
        None,
    );
    with_header
        .headers_mut()
        .insert("last-event-id", id.parse().unwrap());
    assert_eq!(
        names(&Stream::of(&s, with_header).until("workspace.created")),
        ["B", "C"]
    );
    // More than one read holds.
    for n in 0..130 {
        s.workspace(&format!("w{n}"));
    }
    let mut many = Stream::open(
        &s,
        &s.key,
        "/events/stream?types=workspace.created&last_event_id=0",
    );
    let mut seen = 0;
    while seen < 134 {
        seen += many.until("workspace.created").len();
    }
    assert_eq!(seen, 134);
    s.get("/events/stream?last_event_id=x")
        .invalid(&["last_event_id"]);
    s.get("/events/stream?types=a%20b").invalid(&["types"]);
}

#[test]
fn everybody_hears_their_own() {
    let s = Service::new();
    let (mine, other) = (s.workspace("Mine"), s.workspace("Other"));
    let limited = key(&s, json!({ "name": "limited", "workspace_id": mine }));
    let reader = key(
        &s,
        json!({ "name": "reader", "scopes": ["workspaces:read"] }),
    );
    let (stranger, _) = s.other_tenant("stranger");
    let body = json!({ "external_user_id": "u1", "scopes": ["computers:read"] });
    let user = s.post("/api-keys/scoped", body).expect(201)["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut streams =
        [&limited, &reader, &stranger, &user].map(|key| Stream::open(&s, key, "/events/stream"));

    let c = s.computer(&mine, "small");
    s.computer(&other, "small");
    s.post(
        "/computers",
        json!({ "name": "theirs", "workspace_id": other, "external_user_id": "u1" }),
    )
    .expect(201);
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": other }),
    )
    .expect(200);
    s.patch(&format!("/workspaces/{mine}"), json!({ "name": "Mine 2" }))
        .expect(200);
    s.call_as(
        &stranger,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "X" })),
    )
    .expect(201);

    let heard = streams[0].until("workspace.updated");
    assert_eq!(
        kinds(&heard),
        [
            "project.created",
            "computer.created",
            "computer.moved",
            "workspace.updated"
        ]
    );
    assert_eq!(
        (&heard[2]["workspace_id"], &heard[2]["after"]),
        (&Value::Null, &Value::Null),
        "it left; where to is not told"
    );
    assert_eq!(
        kinds(&streams[1].until("workspace.updated")),
        ["workspace.updated"]
    );
    assert_eq!(
        kinds(&streams[2].until("workspace.created")),
        ["workspace.created"]
    );
    s.patch(
        &format!("/computers/{c}"),
        json!({ "external_user_id": "u1" }),
    )
    .expect(200);
    let heard = streams[3].until("computer.updated");
    assert_eq!(kinds(&heard), ["computer.created", "computer.updated"]);
    assert_eq!(heard[0]["after"]["name"], "theirs");
}

#[test]
fn a_stream_ends_with_its_key_its_session_and_the_service() {
    let s = Service::new();
    let made = s.post("/api-keys", json!({ "name": "page" })).expect(201)["data"].clone();
    let mut stream = Stream::open(&s, made["key"].as_str().unwrap(), "/events/stream");
    s.delete(&format!("/api-keys/{}", made["id"].as_str().unwrap()))
        .expect(200);
    assert!(stream.ends(), "the key is revoked");

    // By cookie, as EventSource sends it: no header of ours, but the browser's own word.
    let sign_in = Request::post("/admin/session")
        .header("host", "h")
        .header("origin", "http://h")
        .header("x-workspaced-admin", "1");
    let answer = s.send(
        sign_in
            .body(Body::from(json!({ "key": s.key }).to_string()))
            .unwrap(),
    );
    let cookie = answer.headers["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let get = || {
        Request::get("/api/v1/events/stream")
            .header("host", "h")
            .header("cookie", &cookie)
    };
    s.send(get().body(Body::empty()).unwrap())
        .refused(403, "FORBIDDEN");
    let mut stream = Stream::of(
        &s,
        get()
            .header("sec-fetch-site", "same-origin")
            .body(Body::empty())
            .unwrap(),
    );
    let sign_out = Request::delete("/admin/session")
        .header("host", "h")
        .header("origin", "http://h")
        .header("x-workspaced-admin", "1");
    s.send(
        sign_out
            .header("cookie", &cookie)
            .body(Body::empty())
            .unwrap(),
    )
    .expect(200);
    assert!(stream.ends(), "signed out");

    let mut stream = Stream::open(&s, &s.key, "/events/stream");
    assert_eq!(s.app.streams.count(), 1);
    s.app.streams.stop();
    assert!(stream.ends(), "the service stops");
    assert_eq!(s.app.streams.count(), 0);
}

#[test]
fn streams_are_bounded_and_make_room_when_they_end() {
    let s = Service::new();
    let open: Vec<_> = (0..32)
        .map(|_| Stream::open(&s, &s.key, "/events/stream"))
        .collect();
    let refused = s.get("/events/stream");
    refused.refused(429, "rate_limit_exceeded");
    assert!(refused.headers.contains_key("retry-after"));
    drop(open);
    // The tasks only need a turn of their runtime to notice.
    runtime().block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
    assert_eq!(s.app.streams.count(), 0);
}

/// What is kept of a stream that nobody reads is bounded, and its reader is cut.
#[test]
fn a_reader_that_does_not_keep_up_is_cut() {
    let s = Service::new();
    for n in 0..600 {
        s.workspace(&format!("w{n}"));
    }
    let app = App::with_streams(
        s.app.store.clone(),
        (*s.app.config).clone(),
        Streams::new(Duration::from_millis(100)),
    );
    let streams = app.streams.clone();
    let get = request(&s.key, &Method::GET, "/events/stream?last_event_id=0", None);
    let (bytes, broken) = runtime().block_on(async {
        let response = router(app).oneshot(get).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(streams.count(), 0, "its place is free again");
        let mut body = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes += frame.into_data().map_or(0, |data| data.len()),
                Err(_) => return (bytes, true),
            }
        }
        (bytes, false)
    });
    assert!(broken, "not a proper end: something is missing");
    assert!(bytes < 400_000, "{bytes} bytes were buffered");
}
