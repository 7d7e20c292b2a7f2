//! The same POST again without an Idempotency-Key, because its answer was lost: over real connections.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Service, runtime};
use workspaced::testing::{Config, serve};

fn emulator(replay_lost: bool) -> Service {
    Service::with(Config {
        virtual_clock: true,
        replay_lost,
        ..Config::default()
    })
}

/// The next request of this kind is spoiled.
async fn spoil(s: &Service, rule: Value) {
    let request = Request::post("/_dev/faults")
        .header("authorization", format!("Bearer {}", s.key))
        .header("content-type", "application/json")
        .body(Body::from(rule.to_string()));
    s.send_async(request.unwrap()).await.expect(201);
}

async fn drop_after_commit(s: &Service) {
    let rule = json!({ "route": "POST /computers", "when": "after", "drop": true, "times": 1 });
    spoil(s, rule).await;
}

/// Runs `f` against the service on a real listener.
fn served<F: Future<Output = ()>>(s: &Service, f: impl FnOnce(SocketAddr) -> F) {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (router, config) = (s.router.clone(), s.app.config.clone());
        let server = tokio::spawn(async move { serve(listener, router, &config, stopped).await });
        f(address).await;
        stop.send(true).unwrap();
        server.await.unwrap();
    });
}

fn text(key: &str, method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request and reads until the connection ends.
async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    if let Err(e) = stream.read_to_end(&mut got).await {
        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}");
    }
    String::from_utf8(got).unwrap()
}

fn is_replay(answer: &str) -> bool {
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    answer.contains("idempotency-replayed: true")
}

async fn computers(s: &Service) -> i64 {
    let sql = "SELECT count(*) FROM computers";
    let count = s
        .app
        .store
        .read(|tx| Ok(tx.row(sql, [], |row| row.get(0))?));
    count.await.unwrap()
}

#[test]
fn a_repeat_after_a_lost_answer_finds_what_was_made() {
    let s = emulator(true);
    served(&s, async |address| {
        drop_after_commit(&s).await;
        let create = text(&s.key, "POST", "/computers", r#"{"name":"pc"}"#);
        assert_eq!(send(address, &create).await, "");
        assert_eq!(computers(&s).await, 1);
        // The answer to the repeat is lost, too.
        drop_after_commit(&s).await;
        assert_eq!(send(address, &create).await, "");
        let answer = send(address, &create).await;
        assert!(is_replay(&answer));
        assert_eq!(computers(&s).await, 1);
        let shown: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(
            (&shown["name"], shown["id"].as_str().unwrap().len()),
            (&json!("pc"), 36)
        );
        // It has its answer now: the same again is meant.
        assert!(!is_replay(&send(address, &create).await));
        assert_eq!(computers(&s).await, 2);
    });
}

#[test]
fn who_leaves_before_the_answer_finds_it_when_coming_again() {
    let s = emulator(true);
    served(&s, async |address| {
        let rule =
            json!({ "route": "POST /computers", "when": "after", "delay_ms": 60_000, "times": 1 });
        spoil(&s, rule).await;
        let create = text(&s.key, "POST", "/computers", r#"{"name":"pc"}"#);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(create.as_bytes()).await.unwrap();
        while computers(&s).await == 0 {
            tokio::task::yield_now().await;
        }
        drop(stream);
        assert!(is_replay(&send(address, &create).await));
        assert_eq!(computers(&s).await, 1);
    });
}

#[test]
fn what_is_not_certainly_a_repeat_is_executed() {
    let other_key = |s: &Service| {
        let made = s.post("/api-keys", json!({ "name": "other" })).expect(201);
        made["data"]["key"].as_str().unwrap().to_owned()
    };
    let body = r#"{"name":"pc"}"#;
    type Requests = fn(&str, &str) -> Vec<String>;
    let cases: [(&str, Requests); 4] = [
        ("another body", |key, _| {
            vec![text(key, "POST", "/computers", r#"{"name":"pc2"}"#)]
        }),
        ("another path", |key, _| {
            vec![text(key, "POST", "/computers?x=1", r#"{"name":"pc"}"#)]
        }),
        ("another key", |_, other| {
            vec![text(other, "POST", "/computers", r#"{"name":"pc"}"#)]
        }),
        ("something in between", |key, _| {
            vec![
                text(key, "GET", "/whoami", ""),
                text(key, "POST", "/computers", r#"{"name":"pc"}"#),
            ]
        }),
    ];
    for (what, requests) in cases {
        let s = emulator(true);
        let other = other_key(&s);
        served(&s, async |address| {
            drop_after_commit(&s).await;
            let create = text(&s.key, "POST", "/computers", body);
            assert_eq!(send(address, &create).await, "");
            let mut last = String::new();
            for request in requests(&s.key, &other) {
                last = send(address, &request).await;
            }
            assert!(!is_replay(&last), "{what}");
            assert_eq!(computers(&s).await, 2, "{what}");
        });
    }
}

#[test]
fn the_same_twice_on_purpose_is_served_twice() {
    let s = emulator(true);
    served(&s, async |address| {
        let create = text(&s.key, "POST", "/computers", r#"{"name":"pc"}"#);
        for n in 1..=3 {
            assert!(!is_replay(&send(address, &create).await));
            assert_eq!(computers(&s).await, n);
        }
        // At once, too, where none of the answers is there yet.
        let all = tokio::join!(
            send(address, &create),
            send(address, &create),
            send(address, &create)
        );
        for answer in [all.0, all.1, all.2] {
            assert!(!is_replay(&answer));
        }
        assert_eq!(computers(&s).await, 6);
    });
}

#[test]
fn what_was_refused_is_decided_anew_and_a_flag_turns_it_off() {
    let s = emulator(true);
    served(&s, async |address| {
        drop_after_commit(&s).await;
        let wrong = text(
            &s.key,
            "POST",
            "/computers",
            r#"{"name":"pc","size":"huge"}"#,
        );
        assert_eq!(send(address, &wrong).await, "");
        let answer = send(address, &wrong).await;
        assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
        assert!(!answer.contains("idempotency-replayed"), "{answer}");
    });

    let s = emulator(false);
    served(&s, async |address| {
        drop_after_commit(&s).await;
        let create = text(&s.key, "POST", "/computers", r#"{"name":"pc"}"#);
        assert_eq!(send(address, &create).await, "");
        assert!(!is_replay(&send(address, &create).await));
        assert_eq!(computers(&s).await, 2);
    });
}
