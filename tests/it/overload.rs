//! More than there should be: too many requests, too many wrong keys, requests that take too long.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use serde_json::json;

use crate::harness::{Answer, START, Service, at};
use workspaced::testing::{Clock, Config, Wall};

/// A read from an address, with headers of its own.
fn from(s: &Service, peer: &str, key: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request =
        Request::get("/api/v1/whoami").header("authorization", format!("Bearer {key}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
    request.extensions_mut().insert(ConnectInfo(peer));
    s.send(request)
}

#[track_caller]
fn too_many(answer: &Answer, seconds: &str) {
    let message = answer.refused(429, "rate_limit_exceeded");
    assert!(
        message.contains(&format!("try again in {seconds} s")),
        "{message}"
    );
    assert_eq!(answer.headers["retry-after"], seconds);
    assert_eq!(answer.json()["retry_after"].to_string(), seconds);
}

#[test]
fn a_key_has_its_requests_a_minute_and_nobody_elses() {
    let s = Service::with(Config {
        rate_limit: NonZeroU32::new(6),
        ..Config::default()
    });
    let (other, _) = s.other_tenant("globex");
    for _ in 0..6 {
        s.get("/whoami").expect(200);
    }
    let before = s.fingerprint();
    too_many(&s.get("/whoami"), "10");
    too_many(&s.post("/workspaces", json!({ "name": "no" })), "10");
    assert_eq!(s.fingerprint(), before);
    s.call_as(&other, Method::GET, "/whoami", None).expect(200);
    s.advance(9);
    too_many(&s.get("/whoami"), "1");
    s.advance(1);
    s.get("/whoami").expect(200);
    too_many(&s.get("/whoami"), "10");
    s.advance(3600);
    for _ in 0..6 {
        s.get("/whoami").expect(200);
    }
    too_many(&s.get("/whoami"), "10");
}

/// What may be asked for goes by the steady clock, whatever the wall clock shows.
#[test]
fn a_clock_that_jumps_gives_nobody_more_requests_and_takes_none_away() {
    const SECOND: i64 = 1000;
    let wall = Wall::told(at(START));
    let config = Config {
        rate_limit: NonZeroU32::new(6),
        ..Config::default()
    };
    let s = Service::by(Clock::Told(wall.clone()), config);
    for _ in 0..6 {
        s.get("/whoami").expect(200);
    }
    too_many(&s.get("/whoami"), "10");
    let hour = 3600 * SECOND;
    for by in [60 * SECOND, hour, 365 * 24 * hour] {
        for by in [by, -by] {
            wall.pass(0, by);
            too_many(&s.get("/whoami"), "10");
            // Time that really passes counts, there and back.
            wall.pass(9 * SECOND, 9 * SECOND);
            too_many(&s.get("/whoami"), "1");
            wall.pass(SECOND, SECOND);
            s.get("/whoami").expect(200);
            too_many(&s.get("/whoami"), "10");
        }
    }
    wall.pass(60 * SECOND, -hour);
    for _ in 0..6 {
        s.get("/whoami").expect(200);
    }
    too_many(&s.get("/whoami"), "10");
}

#[test]
fn a_keys_own_limit_replaces_the_servers() {
    let s = Service::with(Config {
        rate_limit: NonZeroU32::new(20),
        ..Config::default()
    });
    let new = s
        .post("/api-keys", json!({ "name": "slow", "rate_limit_rpm": 2 }))
        .expect(201);
    let slow = new["data"]["key"].as_str().unwrap();
    let ask = || s.call_as(slow, Method::GET, "/whoami", None);
    ask().expect(200);
    ask().expect(200);
    too_many(&ask(), "30");
    s.get("/whoami").expect(200);
    s.app.throttle.forget();
    too_many(&ask(), "30"); // what is forgotten is who has all of it again
}

#[test]
fn an_address_is_counted_before_its_key_and_as_its_network() {
    let s = Service::with(Config {
        address_rate_limit: NonZeroU32::new(3),
        ..Config::default()
    });
    for key in [s.key.as_str(), "msk_u_wrong", s.key.as_str()] {
        from(&s, "2001:db8::1", key, &[]);
    }
    too_many(&from(&s, "2001:db8::2:1", &s.key, &[]), "20");
    from(&s, "2001:db8:0:1::1", &s.key, &[]).expect(200);
    s.get("/whoami").expect(200);
}

#[test]
fn wrong_keys_are_slowed_down_and_lock_nobody_out() {
    let s = Service::new();
    let attacker = "192.0.2.66";
    for n in 0..60 {
        // A header that anybody can write does not make another client of it.
        let lie = format!("198.51.100.{n}");
        from(
            &s,
            attacker,
            &format!("msk_u_{n}"),
            &[("x-forwarded-for", &lie)],
        )
        .refused(401, "invalid_token");
    }
    too_many(
        &from(
            &s,
            attacker,
            "msk_u_x",
            &[("x-forwarded-for", "198.51.100.99")],
        ),
        "1",
    );
    from(&s, attacker, &s.key, &[]).expect(200);
    from(&s, "192.0.2.67", "msk_u_x", &[]).refused(401, "invalid_token");
    s.advance(1);
    from(&s, attacker, "msk_u_x", &[]).refused(401, "invalid_token");
    too_many(&from(&s, attacker, "msk_u_x", &[]), "1");
}

#[test]
fn behind_a_trusted_proxy_clients_are_told_apart() {
    let s = Service::with(Config {
        address_rate_limit: NonZeroU32::new(1),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Config::default()
    });
    from(&s, "10.0.0.1", &s.key, &[("x-forwarded-for", "192.0.2.1")]).expect(200);
    from(&s, "10.0.0.1", &s.key, &[("x-forwarded-for", "192.0.2.2")]).expect(200);
    too_many(
        &from(
            &s,
            "10.0.0.2",
            &s.key,
            &[("x-forwarded-for", "8.8.8.8, 192.0.2.1")],
        ),
        "60",
    );
    from(&s, "10.0.0.1", &s.key, &[]).expect(200);
    // The audit log has the client's address, not the proxy's.
    let mut request = crate::harness::request(
        &s.key,
        &Method::POST,
        "/workspaces",
        Some(json!({ "name": "w" })),
    );
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 1))));
    request
        .headers_mut()
        .insert("x-forwarded-for", "192.0.2.3".parse().unwrap());
    s.send(request).expect(201);
    let log = s
        .get("/audit-log?type=workspace.created&limit=1")
        .expect(200);
    assert_eq!(log["data"][0]["ip_address"], "192.0.2.3");
}

#[test]
fn development_mode_has_no_limits() {
    let s = Service::with(Config {
        dev: true,
        rate_limit: NonZeroU32::new(1),
        address_rate_limit: NonZeroU32::new(1),
        ..Config::default()
    });
    for _ in 0..70 {
        from(&s, "192.0.2.1", &s.key, &[]).expect(200);
        from(&s, "192.0.2.1", "msk_u_wrong", &[]).refused(401, "invalid_token");
    }
}

#[test]
fn a_request_that_takes_too_long_is_answered_and_its_repeat_is_not_executed_twice() {
    let s = Service::with(Config {
        request_timeout: Duration::from_millis(100),
        ..Config::default()
    });
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (started, running) = std::sync::mpsc::channel::<()>();
    let store = s.app.store.clone();
    let held = std::thread::spawn(move || {
        store.write_blocking(move |_| {
            started.send(()).ok();
            gate.recv().ok();
            Ok(())
        })
    });
    running.recv().unwrap();
    let create = || {
        let mut request = crate::harness::request(
            &s.key,
            &Method::POST,
            "/workspaces",
            Some(json!({ "name": "once" })),
        );
        request
            .headers_mut()
            .insert("idempotency-key", "k".parse().unwrap());
        s.send(request)
    };
    let late = create();
    assert!(
        late.refused(503, "REQUEST_TIMEOUT")
            .contains("same Idempotency-Key")
    );
    assert_eq!(late.headers["retry-after"], "1");
    release.send(()).unwrap();
    held.join().unwrap().unwrap();
    s.app.store.write_blocking(|_| Ok(())).unwrap(); // whatever was queued before has run
    let again = create();
    again.expect(201);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(
        s.count("SELECT count(*) FROM workspaces WHERE name = 'once'"),
        1
    );
}
