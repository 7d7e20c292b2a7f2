//! What computers serve, by their host names: passed on and back, and never mixed with what is ours.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use workspaced::testing::serve;

use super::House;
use crate::harness::{Answer, runtime};

/// A program in a computer: it says what came. The fake engine's containers are reached on this machine.
fn program() -> u16 {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let headers: serde_json::Map<String, Value> = parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
                .collect();
            let said = json!({ "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers, "bytes": body.len() });
            let mut reply = HeaderMap::new();
            reply.append("set-cookie", "a=1; Domain=localhost".parse().unwrap());
            reply.append("x-frame-options", "DENY".parse().unwrap());
            (StatusCode::IM_A_TEAPOT, reply, said.to_string())
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(says)).await });
        port
    })
}

fn visit(h: &House, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    h.s.send(request.body(Body::from("12345")).unwrap())
}

fn slug(h: &House, id: &str) -> String {
    h.show(id)["slug"].as_str().unwrap().to_owned()
}

#[test]
fn what_a_computer_serves_is_reached_by_its_host_name() {
    let h = House::new();
    let (id, port) = (h.computer(), program());
    let slug = slug(&h, &id);
    for host in [
        format!("{port}-{slug}.sandbox.localhost:8400"),
        format!("{port}-{slug}.sandbox.miosa.ai"),
        format!("{port}-{}.SANDBOX.miosa.ai.", slug.to_uppercase()),
    ] {
        let sent = [("authorization", "Bearer msk_a_x"), ("x-own", "1")];
        let answer = visit(&h, &host, "/api/v1/whoami?x=1", &sent);
        assert_eq!(answer.status, 418, "{}", answer.text);
        let said = answer.json();
        assert_eq!(
            (&said["method"], &said["uri"], &said["bytes"]),
            (&json!("POST"), &json!("/api/v1/whoami?x=1"), &json!(5))
        );
        assert_eq!(said["headers"]["host"], host);
        assert_eq!(said["headers"]["x-own"], "1");
        assert_eq!(said["headers"]["authorization"], Value::Null);
        assert_eq!(answer.headers["set-cookie"], "a=1");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert!(!answer.headers.contains_key("x-request-id"));
    }
    let urls = h.s.get(&format!("/computers/{id}/urls")).expect(200);
    assert_eq!(
        urls["data"][0]["url"],
        format!("http://3000-{slug}.sandbox.localhost:8400")
    );
    let url =
        h.s.get(&format!("/computers/{id}/ports/{port}/url"))
            .expect(200);
    assert_eq!(
        url["url"],
        format!("http://{port}-{slug}.sandbox.localhost:8400")
    );
    h.s.get(&format!("/computers/{id}/ports/70000/url"))
        .invalid(&["port"]);
}

#[test]
fn the_api_and_the_page_are_not_served_below_a_name_of_computers() {
    let h = House::new();
    let id = h.computer();
    let slug = slug(&h, &id);
    for (host, status) in [
        ("nobody.sandbox.localhost".to_owned(), 404),
        ("nobody.miosa.ai".to_owned(), 404),
        ("a.b.c.miosa.ai".to_owned(), 404),
        ("x.sandbox.sandbox.localhost".to_owned(), 404),
        // There is such a computer, and nothing listens in it.
        (format!("1-{slug}.sandbox.localhost"), 502),
    ] {
        for path in [
            "/api/v1/whoami",
            "/",
            "/_dev/clock",
            "/openapi.json",
            "/metrics",
            "/health",
        ] {
            let key = format!("Bearer {}", h.s.key);
            let answer = visit(&h, &host, path, &[("authorization", &key)]);
            assert_eq!(answer.status, status, "{host} {path}");
            assert!(
                answer.text.starts_with("<!doctype html>"),
                "{}",
                answer.text
            );
            assert_eq!(
                answer.headers["content-security-policy"],
                "default-src 'none'"
            );
        }
    }
    let get = |host: &str| {
        let request = Request::builder().uri("/health").header("host", host);
        h.s.send(request.body(Body::empty()).unwrap()).status
    };
    for host in ["localhost:8400", "127.0.0.1", "api.example.com", "miosa.ai"] {
        assert_eq!(get(host), 200, "{host}");
    }
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    let answer = visit(&h, &format!("{slug}.sandbox.localhost"), "/", &[]);
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (503, &"30".parse().unwrap())
    );
}

#[test]
fn what_is_not_public_is_opened_by_a_key_that_reaches_it_or_by_a_link() {
    let h = House::new();
    let (id, port) = (h.computer(), program());
    h.s.patch(
        &format!("/computers/{id}"),
        json!({ "visibility": "tenant" }),
    )
    .expect(200);
    let host = format!("{port}-{}.sandbox.localhost", slug(&h, &id));
    let status =
        |headers: &[(&str, &str)], path: &str| visit(&h, &host, path, headers).status.as_u16();
    assert_eq!(status(&[], "/"), 401);
    let own = format!("Bearer {}", h.s.key);
    assert_eq!(status(&[("authorization", &own)], "/"), 418);
    let (other, _) = h.s.other_tenant("other");
    assert_eq!(
        status(&[("authorization", &format!("Bearer {other}"))], "/"),
        403
    );
    assert_eq!(status(&[("authorization", "Bearer msk_a_wrong")], "/"), 401);

    let link = h.s.post(
        &format!("/computers/{id}/preview-links"),
        json!({ "port": port, "ttl_seconds": 60 }),
    );
    let link = link.expect(201);
    let url = link["url"].as_str().unwrap();
    let token = url.split_once("ws_token=").unwrap().1.to_owned();
    let first = visit(&h, &host, &format!("/a?x=1&ws_token={token}"), &[]);
    assert_eq!(
        (first.status.as_u16(), &first.headers["location"]),
        (303, &"/a?x=1".parse().unwrap())
    );
    let cookie = first.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && !cookie.contains("Domain"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let inside = visit(&h, &host, "/a?x=1", &[("cookie", cookie)]);
    assert_eq!(inside.status, 418);
    assert_eq!(
        inside.json()["headers"]["cookie"],
        Value::Null,
        "the program does not learn the link"
    );
    // It opens this computer, and for so long.
    let another = h.computer();
    h.s.patch(
        &format!("/computers/{another}"),
        json!({ "visibility": "key" }),
    )
    .expect(200);
    let elsewhere = format!("{port}-{}.sandbox.localhost", slug(&h, &another));
    assert_eq!(
        visit(&h, &elsewhere, "/", &[("cookie", cookie)]).status,
        401
    );
    h.s.clock.set(h.s.app.store.now().plus_seconds(61));
    assert_eq!(status(&[("cookie", cookie)], "/"), 401);
    assert_eq!(status(&[], &format!("/?ws_token={token}")), 401);
}

#[test]
fn a_visit_starts_a_computer_that_says_so_and_no_other() {
    let h = House::new();
    let (sleeper, waker, port) = (h.computer(), h.computer(), program());
    let path = format!("/computers/{waker}");
    let set =
        h.s.patch(&path, json!({ "wake_on_request": true }))
            .expect(200);
    assert_eq!(set["settings"]["wake_on_request"], true);
    for id in [&sleeper, &waker] {
        h.act(id, "stop");
        h.becomes(id, "stopped");
    }
    let starts = |id: &str| {
        let host = format!("{port}-{}.sandbox.localhost", slug(&h, id));
        visit(&h, &host, "/", &[])
    };
    let answer = starts(&sleeper);
    assert_eq!(answer.status, 503);
    assert!(!answer.text.contains("refresh"));
    assert_eq!(h.show(&sleeper)["status"], "stopped");
    // What refuses a start refuses this one.
    let full = workspaced::testing::machines::Host {
        available_mb: Some(1),
        ..Default::default()
    };
    let link = &h.s.app.fleet.engine;
    let empty = link.pretended.lock().replace(full);
    let answer = starts(&waker);
    assert!(answer.text.contains("memory left"), "{}", answer.text);
    assert_eq!(h.show(&waker)["status"], "stopped");
    *link.pretended.lock() = empty;
    // Who may not look does not start it.
    h.s.patch(&path, json!({ "visibility": "tenant" }))
        .expect(200);
    assert_eq!(starts(&waker).status, 401);
    assert_eq!(h.show(&waker)["status"], "stopped");
    h.s.patch(&path, json!({ "visibility": "public" }))
        .expect(200);
    h.s.clock.set(h.s.app.store.now().plus_seconds(1));
    let answer = starts(&waker);
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (503, &"2".parse().unwrap())
    );
    assert!(
        answer.text.contains("http-equiv=\"refresh\""),
        "{}",
        answer.text
    );
    let shown = h.becomes(&waker, "running");
    assert_eq!(shown["last_activity"]["by"], "visit");
    assert_eq!(starts(&waker).status, 418);
}

#[test]
fn a_visit_does_not_start_what_a_budget_refuses_and_says_so_to_both_sides() {
    let h = House::new();
    let (waker, port) = (h.computer(), program());
    h.s.patch(
        &format!("/computers/{waker}"),
        json!({ "wake_on_request": true }),
    )
    .expect(200);
    h.s.clock.set(h.s.app.store.now().plus_seconds(3600 * 100));
    h.act(&waker, "stop");
    h.becomes(&waker, "stopped");
    let visits = || {
        let host = format!("{port}-{}.sandbox.localhost", slug(&h, &waker));
        visit(&h, &host, "/", &[])
    };
    let workspace = h.s.default_workspace.clone();
    let budget = json!({ "credits": 1, "period": "month", "on_exceeded": "refuse_start" });
    for path in ["/tenant/budget", &format!("/workspaces/{workspace}/budget")] {
        h.s.put(path, budget.clone()).expect(200);
        look_at_budgets(&h);
        for _ in 0..2 {
            let answer = visits();
            assert_eq!(answer.status, 503);
            assert_eq!(answer.headers["retry-after"], "600");
            assert!(
                answer.text.contains("a limit of its owner is reached"),
                "{}",
                answer.text
            );
            // How much was spent is nobody's business, and the page does not ask on and on.
            assert!(!answer.text.contains("credits") && !answer.text.contains("refresh"));
        }
        assert_eq!(h.show(&waker)["status"], "stopped");
        h.s.delete(path).expect(200);
    }
    let refusals =
        h.s.get(&format!(
            "/workspaces/{workspace}/refusals?limit_name=budget"
        ))
        .expect(200);
    let rows: Vec<(&str, &str, i64, bool)> = refusals["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["request"].as_str().unwrap(),
                row["scope"].as_str().unwrap(),
                row["count"].as_i64().unwrap(),
                row["key_id"].is_null(),
            )
        })
        .collect();
    let by_visit = |scope| ("visit of a preview address", scope, 2, true);
    assert_eq!(rows.len(), 2, "{refusals}");
    assert!(
        rows.contains(&by_visit("tenant")) && rows.contains(&by_visit("workspace")),
        "{rows:?}"
    );
    // A cap below what there is refuses no start, and no visit either.
    h.s.put(
        &format!("/workspaces/{workspace}/settings"),
        json!({ "max_computers": 0 }),
    )
    .expect(200);
    look_at_budgets(&h);
    assert!(visits().text.contains("is starting"));
    h.becomes(&waker, "running");
}

fn look_at_budgets(h: &House) {
    let looked = workspaced::testing::look_at_budgets(&h.s.app.store, &h.s.app.fleet);
    runtime().block_on(looked).unwrap();
}

#[test]
fn two_organizations_have_no_host_name_in_common() {
    let h = House::new();
    let (other, _) = h.s.other_tenant("other");
    h.ready();
    let long = "x".repeat(100);
    for name in ["Front", &long] {
        let make = |key: &str| {
            let made = h.s.call_as(
                key,
                Method::POST,
                "/computers",
                Some(json!({ "name": name })),
            );
            made.expect(201)["slug"].as_str().unwrap().to_owned()
        };
        let (first, second) = (make(&h.s.key), make(&other));
        assert_ne!(first, second);
        assert!(first.len() <= 57 && second.len() <= 57, "{first} {second}");
    }
}

#[test]
fn a_protocol_that_is_switched_to_goes_both_ways() {
    let h = House::new();
    let id = h.computer();
    let slug = slug(&h, &id);
    runtime().block_on(async {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = there.local_addr().unwrap().port();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = there.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(switch.as_bytes()).await.unwrap();
            let mut piece = [0; 4];
            for _ in 0..2 {
                stream.read_exact(&mut piece).await.unwrap();
                stream.write_all(&piece).await.unwrap();
            }
            String::from_utf8(head).unwrap()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (service, config) = (h.s.router.clone(), h.s.app.config.clone());
        let served = tokio::spawn(async move { serve(listener, service, &config, stopped).await });
        let mut visitor = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {port}-{slug}.sandbox.localhost\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: echo\r\nSec-WebSocket-Key: abc\r\n\r\n"
        );
        visitor.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(visitor.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101"), "{answer}");
        assert!(answer.contains("upgrade: echo"), "{answer}");
        for piece in [b"ping", b"pong"] {
            visitor.write_all(piece).await.unwrap();
            let mut back = [0; 4];
            visitor.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, piece);
        }
        let sent = echo.await.unwrap().to_ascii_lowercase();
        assert!(sent.contains("sec-websocket-key: abc") && sent.contains("upgrade: echo"), "{sent}");
        drop(visitor);
        stop.send(true).unwrap();
        served.await.unwrap();
    });
}
