//! Whose a domain is, where several organizations share a server; and what is looked at without being asked.

use axum::http::Method;
use serde_json::{Value, json};

use super::dns_server::Says;
use super::{ORGANIZATION, PROXY, World};
use crate::harness::runtime;

/// Another organization, and what it is told of its domain.
struct Other {
    key: String,
}

impl Other {
    fn of(w: &World) -> Other {
        Other {
            key: w.service.other_tenant("rival").0,
        }
    }

    fn call(&self, w: &World, method: Method, path: &str, body: Option<Value>) -> Value {
        w.service.call_as(&self.key, method, path, body).expect(200)
    }

    fn put(&self, w: &World, domain: &str) -> Value {
        let body = json!({ "preview_domain": domain });
        self.call(w, Method::PUT, ORGANIZATION, Some(body))
    }

    fn refused(&self, w: &World, domain: &str) -> String {
        let body = json!({ "preview_domain": domain });
        let reply = w
            .service
            .call_as(&self.key, Method::PUT, ORGANIZATION, Some(body))
            .invalid(&["preview_domain"]);
        reply["errors"]["preview_domain"][0]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn verify(&self, w: &World) -> Value {
        self.call(w, Method::POST, &format!("{ORGANIZATION}/verify"), None)
    }
}

/// The record that says whose the domain is.
fn challenge(body: &Value) -> &'static str {
    let records = body["records"].as_array().unwrap();
    let record = records.iter().find(|r| r["type"] == "TXT").unwrap();
    record["expected"].as_str().unwrap().to_owned().leak()
}

#[test]
fn records_that_lead_here_prove_nothing_about_who() {
    let w = World::new();
    let other = Other::of(&w);
    w.wildcards("acme.com", Says::Cname(PROXY));
    let shown = w.set("acme.com");
    assert_eq!(shown["records"].as_array().unwrap().len(), 3, "{shown}");
    assert_eq!(
        w.verify()["verified"],
        false,
        "only who put it there is not known"
    );
    let proof = challenge(&shown);
    w.dns
        .set("_workspaced-challenge.acme.com", Says::Text(proof));
    assert_eq!(w.verify()["verified"], true);
    // Once it is verified, the proof may go.
    w.dns.set("_workspaced-challenge.acme.com", Says::NoName);
    assert_eq!(w.verify()["verified"], true);

    // Let go; the next one is not verified by the records of the one before.
    w.clear(&w.workspace_path());
    let theirs = other.put(&w, "acme.com");
    w.dns
        .set("_workspaced-challenge.acme.com", Says::Text(proof));
    let checked = other.verify(&w);
    assert_eq!(
        (&checked["verified"], &checked["dns_status"]),
        (&json!(false), &json!("failed"))
    );
    assert_ne!(challenge(&theirs), proof);
    w.dns.set(
        "_workspaced-challenge.acme.com",
        Says::Text(challenge(&theirs)),
    );
    assert_eq!(other.verify(&w)["verified"], true);
}

#[test]
fn a_claim_without_a_proof_yields_to_who_has_one() {
    let w = World::new();
    let other = Other::of(&w);
    w.wildcards("acme.com", Says::Cname(PROXY));
    w.set("acme.com");
    let text = other.refused(&w, "acme.com");
    let proof = text
        .split("the value ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(text.contains("_workspaced-challenge.acme.com"), "{text}");
    w.dns.set(
        "_workspaced-challenge.acme.com",
        Says::Text(proof.to_owned().leak()),
    );
    other.put(&w, "acme.com");
    assert_eq!(other.verify(&w)["verified"], true);
    assert_eq!(w.get(&w.workspace_path())["preview_domain"], Value::Null);
    // Both are told.
    assert_eq!(
        w.audited(),
        [
            "workspace.preview_domain_updated",
            "workspace.preview_domain_cleared",
            "organization.preview_domain_updated",
            "organization.preview_domain_checked",
        ]
    );
    w.service
        .put(&w.workspace_path(), json!({ "preview_domain": "acme.com" }))
        .invalid(&["preview_domain"]);
}

#[test]
fn a_claim_without_a_proof_lapses() {
    let w = World::new();
    let other = Other::of(&w);
    w.set("acme.com");
    w.service.advance(72 * 3600 - 1);
    other.refused(&w, "acme.com");
    w.service.advance(2);
    other.put(&w, "acme.com");
    assert_eq!(w.get(&w.workspace_path())["preview_domain"], Value::Null);
}

#[test]
fn domains_are_looked_at_without_being_asked() {
    let w = World::new();
    let round = || {
        runtime()
            .block_on(w.service.app.domains.check_due())
            .unwrap()
    };
    let state = || w.get(&w.workspace_path())["dns_status"].clone();
    w.set("acme.com");
    assert_eq!(round(), 1);
    assert_eq!(
        (state(), round()),
        (json!("pending"), 0),
        "not again at once"
    );
    w.wildcards("acme.com", Says::Cname(PROXY));
    w.service.advance(6 * 60);
    assert_eq!((round(), state()), (1, json!("verified")));
    // Gone for a while, and for good.
    w.wildcards("acme.com", Says::NoName);
    w.service.advance(7 * 3600);
    assert_eq!((round(), state()), (1, json!("degraded")));
    assert_eq!(w.get(&w.workspace_path())["verified"], true);
    w.service.advance(73 * 3600);
    assert_eq!((round(), state()), (1, json!("failed")));
    assert_eq!(w.get(&w.workspace_path())["verified"], false);
    w.wildcards("acme.com", Says::Cname(PROXY));
    w.service.advance(27 * 3600);
    assert_eq!((round(), state()), (1, json!("verified")));
    let checked = w.audited();
    let checked = checked
        .iter()
        .filter(|kind| kind.ends_with("_checked"))
        .count();
    assert_eq!(checked, 4, "one event for each change");
    // No answer is no wrong one.
    w.wildcards("acme.com", Says::ServerFailure);
    w.service.advance(7 * 3600);
    assert_eq!(round(), 1);
    assert_eq!(w.get(&w.workspace_path())["verified"], true);
}

#[test]
fn a_clock_that_was_ahead_holds_up_neither_checks_nor_claims() {
    let w = World::new();
    let round = || {
        runtime()
            .block_on(w.service.app.domains.check_due())
            .unwrap()
    };
    let now = w.service.app.store.now();
    w.service.clock.set(now.plus_seconds(400 * 86_400));
    w.set("acme.com");
    assert_eq!((round(), round()), (1, 0));
    w.service.clock.set(now);
    assert_eq!((round(), round()), (1, 0), "not in a year");
    // What was claimed then does not hold until then.
    Other::of(&w).put(&w, "acme.com");
}

#[test]
fn answers_of_the_wild() {
    let w = World::new();
    w.set("acme.com");
    // The provider flattens the record, and each answer shows a part of the pool.
    const POOL: &[&str] = &["192.0.2.10", "192.0.2.11", "192.0.2.12"];
    w.dns.set(PROXY, Says::Rotating(POOL));
    for _ in 0..5 {
        w.wildcards("acme.com", Says::Rotating(POOL));
        assert_eq!(w.verify()["verified"], true);
    }
    // A server that takes EDNS for a mistake.
    w.wildcards("acme.com", Says::WithoutEdns(PROXY));
    assert_eq!(w.verify()["verified"], true);
    let hint = |says: fn(&World)| {
        says(&w);
        w.verify()["records"][0]["hint"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let text = hint(|w| w.wildcards("acme.com", Says::Addresses(&["104.21.3.4", "172.67.1.2"])));
    assert!(text.contains("the proxy of Cloudflare"), "{text}");
    let text = hint(|w| {
        w.wildcards("acme.com", Says::NoName);
        w.wildcards("acme.com.acme.com", Says::Cname(PROXY));
    });
    assert!(text.contains("enter only * as its name"), "{text}");
}

#[test]
fn a_proxy_asks_before_it_orders_a_certificate() {
    let w = World::new();
    let ask = |domain: &str| {
        let uri = format!("/domains/ask?domain={domain}");
        let request = axum::http::Request::get(uri).body(axum::body::Body::empty());
        w.service.send(request.unwrap()).status.as_u16()
    };
    w.set("acme.com");
    assert_eq!(ask("shop.acme.com"), 404, "not verified");
    w.wildcards("acme.com", Says::Cname(PROXY));
    w.verify();
    for host in ["acme.com", "shop.acme.com", "3000-shop.sandbox.acme.com"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for (host, status) in [
        ("acme.net", 404),
        ("notacme.com", 404),
        ("", 422),
        ("a%20b", 422),
    ] {
        assert_eq!(ask(host), status, "{host}");
    }
    w.service
        .delete(&format!("/workspaces/{}?force=true", w.workspace))
        .expect(200);
    assert_eq!(ask("shop.acme.com"), 404, "its workspace is gone");
}
