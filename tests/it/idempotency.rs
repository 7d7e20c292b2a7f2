//! `Idempotency-Key`: executed once, answered as often as asked.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, keyed};
use workspaced::testing::Error;
use workspaced::testing::WriteTx;
use workspaced::testing::idempotency;

fn replayed(answer: &Answer) -> bool {
    answer
        .headers
        .get("idempotency-replayed")
        .is_some_and(|v| v == "true")
}

#[test]
fn the_same_request_is_executed_once() {
    let s = Service::new();
    let create = |key: &str, name: &str| {
        keyed(
            &s,
            &s.key,
            Method::POST,
            "/workspaces",
            key,
            json!({ "name": name }),
        )
    };
    let first = create("k1", "A");
    let after = s.fingerprint();
    let second = create("k1", "A");
    assert_eq!(
        (first.expect(201), replayed(&first)),
        (second.expect(201), false)
    );
    assert!(replayed(&second));
    assert_eq!(s.fingerprint(), after);

    create("k1", "B").refused(409, "IDEMPOTENCY_PAYLOAD_MISMATCH");
    create("k2", "B").expect(201);
    // Another path, another request.
    let path = format!(
        "/workspaces/{}/settings",
        first.json()["id"].as_str().unwrap()
    );
    let settings = keyed(
        &s,
        &s.key,
        Method::PUT,
        &path,
        "k1",
        json!({ "max_computers": 1 }),
    );
    assert!(settings.expect(200)["settings"]["max_computers"] == 1 && !replayed(&settings));
    // Another API key, another request, even in the same organization.
    let other = s.post("/api-keys", json!({ "name": "o" })).expect(201)["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    keyed(
        &s,
        &other,
        Method::POST,
        "/workspaces",
        "k2",
        json!({ "name": "B" }),
    )
    .refused(422, "WORKSPACE_NAME_EXISTS");
}

#[test]
fn refusals_are_answered_again_word_by_word() {
    let s = Service::new();
    let body = json!({ "name": "" });
    let first = keyed(&s, &s.key, Method::POST, "/workspaces", "k", body.clone());
    first.expect(422);
    let second = keyed(&s, &s.key, Method::POST, "/workspaces", "k", body);
    assert_eq!(
        (first.text, second.status),
        (second.text.clone(), first.status)
    );
    assert!(replayed(&second));
}

#[test]
fn a_delete_that_is_repeated_is_no_404() {
    let s = Service::new();
    let id = s.workspace("A");
    for _ in 0..2 {
        let answer = keyed(
            &s,
            &s.key,
            Method::DELETE,
            &format!("/workspaces/{id}"),
            "d",
            Value::Null,
        );
        assert_eq!(answer.expect(200), json!({ "deleted": true }));
    }
    s.delete(&format!("/workspaces/{id}"))
        .refused(404, "NOT_FOUND");
}

#[test]
fn a_reply_is_kept_for_a_day() {
    let s = Service::new();
    let create = || {
        keyed(
            &s,
            &s.key,
            Method::POST,
            "/workspaces",
            "k",
            json!({ "name": "A", "slug": "a" }),
        )
    };
    create().expect(201);
    s.advance(86_399);
    assert!(replayed(&create()));
    s.advance(1);
    assert!(!replayed(&create()));
    create().expect(422);
    assert_eq!(s.count("SELECT count(*) FROM idempotency"), 1);
    s.advance(86_400);
    s.app
        .store
        .write_blocking(|tx| workspaced::testing::idempotency::purge(tx, 500))
        .unwrap();
    assert_eq!(s.count("SELECT count(*) FROM idempotency"), 0);
}

fn create(s: &Service, n: usize) -> Answer {
    let body = json!({ "name": format!("W {n}") });
    keyed(
        s,
        &s.key,
        Method::POST,
        "/workspaces",
        &format!("k{n}"),
        body,
    )
}

/// That these requests are known, whoever is asked for them.
fn all_known(s: &Service, count: usize) {
    for n in 0..count {
        assert!(replayed(&create(s, n)), "{n}");
    }
}

fn index(s: &Service, busy: bool, limit: u32) -> usize {
    let step = move |tx: &WriteTx<'_>| idempotency::index(tx, busy, limit);
    s.app.store.write_blocking(step).unwrap()
}

/// How many the index has, and whether it has all.
fn indexed(s: &Service) -> (i64, bool) {
    let all =
        "SELECT (SELECT indexed_to FROM idempotency_state) = (SELECT max(seq) FROM idempotency)";
    (
        s.count("SELECT count(*) FROM idempotency_index"),
        s.count(all) == 1,
    )
}

#[test]
fn a_reply_is_found_before_and_after_it_is_indexed_and_after_a_restart() {
    let mut s = Service::new();
    (0..7).for_each(|n| drop(create(&s, n).expect(201)));
    all_known(&s, 7);
    assert_eq!(index(&s, true, 3), 0, "a busy writer puts it off");
    // In the middle of a round, with one more that is not in it.
    assert_eq!(index(&s, false, 3), 3);
    create(&s, 7).expect(201);
    all_known(&s, 8);
    assert_eq!(indexed(&s), (3, false));
    s.restart();
    all_known(&s, 8);
    assert_eq!(indexed(&s), (3, false));
    // Begun, it goes on to its end.
    assert_eq!((index(&s, false, 5), index(&s, true, 5)), (5, 3));
    assert_eq!(indexed(&s), (8, true));
    all_known(&s, 8);
    s.restart();
    all_known(&s, 8);
    assert_eq!(index(&s, false, 5), 0);
}

#[test]
fn a_step_of_the_index_that_is_undone_loses_nothing() {
    let mut s = Service::new();
    (0..5).for_each(|n| drop(create(&s, n).expect(201)));
    assert_eq!(index(&s, false, 2), 2);
    let undone = |tx: &WriteTx<'_>| {
        idempotency::index(tx, false, 2)?;
        Err::<(), _>(Error::forbidden())
    };
    s.app.store.write_blocking(undone).unwrap_err();
    all_known(&s, 5);
    while index(&s, false, 2) > 0 {}
    assert_eq!(indexed(&s), (5, true));
    all_known(&s, 5);
    s.restart();
    all_known(&s, 5);
}

#[test]
fn a_reply_after_all_others_have_gone_is_kept_over_a_restart() {
    let mut s = Service::new();
    (0..3).for_each(|n| drop(create(&s, n).expect(201)));
    assert_eq!(index(&s, false, 500), 3);
    s.advance(86_400);
    let purge = |tx: &WriteTx<'_>| idempotency::purge(tx, 500);
    assert_eq!(s.app.store.write_blocking(purge).unwrap(), 3);
    assert_eq!(s.count("SELECT count(*) FROM idempotency_index"), 0);
    create(&s, 9).expect(201);
    s.restart();
    assert!(replayed(&create(&s, 9)));
}

#[test]
fn a_new_key_is_replayed_but_its_secret_is_not_stored() {
    let s = Service::new();
    let create = || {
        keyed(
            &s,
            &s.key,
            Method::POST,
            "/api-keys",
            "0123456789abcdef",
            json!({ "name": "k" }),
        )
    };
    let (first, second) = (create().expect(201), create().expect(201));
    assert_eq!(first, second);
    assert_eq!(s.count("SELECT count(*) FROM api_keys"), 2);
    let secret = first["data"]["key"].as_str().unwrap();
    s.app.store.close();
    for file in std::fs::read_dir(s.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
}

#[test]
fn a_header_that_is_empty_or_too_long_is_refused() {
    let s = Service::new();
    for bad in [String::new(), "k".repeat(256)] {
        keyed(
            &s,
            &s.key,
            Method::POST,
            "/workspaces",
            &bad,
            json!({ "name": "A" }),
        )
        .invalid(&["Idempotency-Key"]);
    }
    keyed(
        &s,
        &s.key,
        Method::POST,
        "/workspaces",
        &"k".repeat(255),
        json!({ "name": "A" }),
    )
    .expect(201);
}

#[test]
fn duplicates_at_the_same_time_execute_once() {
    let s = Service::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let ids = runtime.block_on(async {
        let calls: Vec<_> = (0..32)
            .map(|_| {
                let request = Request::post("/api/v1/computers")
                    .header("authorization", format!("Bearer {}", s.key))
                    .header("content-type", "application/json")
                    .header("idempotency-key", "same")
                    .body(Body::from(json!({ "name": "pc" }).to_string()))
                    .unwrap();
                let router = s.router.clone();
                tokio::spawn(async move {
                    let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
                    assert_eq!(response.status(), 201);
                    let body = http_body_util::BodyExt::collect(response.into_body())
                        .await
                        .unwrap()
                        .to_bytes();
                    serde_json::from_slice::<Value>(&body).unwrap()["id"].clone()
                })
            })
            .collect();
        let mut ids = Vec::new();
        for call in calls {
            ids.push(call.await.unwrap());
        }
        ids
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(s.count("SELECT count(*) FROM computers"), 1);
}
