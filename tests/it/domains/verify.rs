//! Checks of preview domains: what the DNS says, and what becomes of it.

use axum::http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::dns_server::Says;
use super::{ORGANIZATION, PROXY, World, service, statuses};
use crate::harness::{request, runtime};

#[test]
fn what_the_dns_says_decides() {
    use Says::{Addresses, Cname, NoData, NoName, Refused, ServerFailure};
    let w = World::new();
    w.dns.set("alias.example", Cname(PROXY));
    w.dns.set("flat.example", Addresses(&["192.0.2.11"]));
    w.dns.set("old.example", Addresses(&["198.51.100.7"]));
    w.dns.set("broken.example", ServerFailure);
    w.dns.set("loop-a.example", Cname("loop-b.example"));
    w.dns.set("loop-b.example", Cname("loop-a.example"));
    for n in 0..20 {
        w.dns.set(
            &format!("hop{n}.example"),
            Cname(format!("hop{}.example", n + 1).leak()),
        );
    }
    let (old, flat) = (
        Cname("old.example"),
        Addresses(&["192.0.2.11", "2001:db8::10"]),
    );
    let (other, mixed) = (
        Addresses(&["198.51.100.7"]),
        Addresses(&["192.0.2.10", "198.51.100.7"]),
    );
    // What the two wildcards answer; the domain's dns_status; status of both records, and what
    // was found in place of the first.
    let cases = [
        (
            Cname(PROXY),
            Cname(PROXY),
            "verified",
            ["ok", "ok"],
            Some(PROXY),
        ),
        (
            Cname("PROXY.selfhost.EXAMPLE"),
            Cname(PROXY),
            "verified",
            ["ok", "ok"],
            Some(PROXY),
        ),
        (
            Cname("alias.example"),
            Cname(PROXY),
            "verified",
            ["ok", "ok"],
            Some("alias.example"),
        ),
        (
            flat,
            Cname(PROXY),
            "verified",
            ["ok", "ok"],
            Some("192.0.2.11, 2001:db8::10"),
        ),
        (
            Cname("flat.example"),
            Cname(PROXY),
            "verified",
            ["ok", "ok"],
            Some("flat.example"),
        ),
        (NoName, NoName, "pending", ["missing", "missing"], None),
        (NoData, NoData, "pending", ["missing", "missing"], None),
        (
            Cname(PROXY),
            NoName,
            "pending",
            ["ok", "missing"],
            Some(PROXY),
        ),
        (old, old, "failed", ["wrong", "wrong"], Some("old.example")),
        (
            old,
            Cname(PROXY),
            "failed",
            ["wrong", "ok"],
            Some("old.example"),
        ),
        (
            old,
            NoName,
            "failed",
            ["wrong", "missing"],
            Some("old.example"),
        ),
        (
            Cname("gone.example"),
            NoName,
            "failed",
            ["wrong", "missing"],
            Some("gone.example"),
        ),
        (
            other,
            NoName,
            "failed",
            ["wrong", "missing"],
            Some("198.51.100.7"),
        ),
        (
            mixed,
            NoName,
            "failed",
            ["wrong", "missing"],
            Some("192.0.2.10, 198.51.100.7"),
        ),
        (
            Cname("loop-a.example"),
            NoName,
            "failed",
            ["wrong", "missing"],
            Some("loop-a.example"),
        ),
        (
            Cname("hop0.example"),
            NoName,
            "failed",
            ["wrong", "missing"],
            Some("hop0.example"),
        ),
        (
            ServerFailure,
            ServerFailure,
            "error",
            ["error", "error"],
            None,
        ),
        (Refused, NoName, "error", ["error", "missing"], None),
        (ServerFailure, Cname(PROXY), "error", ["error", "ok"], None),
        (ServerFailure, old, "error", ["error", "wrong"], None),
        (
            Cname("broken.example"),
            NoName,
            "error",
            ["error", "missing"],
            None,
        ),
    ];
    for (n, (first, second, dns_status, records, found)) in cases.into_iter().enumerate() {
        let domain = format!("case{n}.test");
        w.dns.set(&format!("*.{domain}"), first);
        w.dns.set(&format!("*.sandbox.{domain}"), second);
        w.set(&domain);
        let body = w.verify();
        let case = format!("{first:?}, {second:?}: {body}");
        let verified = dns_status == "verified";
        assert_eq!(body["dns_status"], dns_status, "{case}");
        assert_eq!(
            body["status"],
            if verified {
                "configured"
            } else {
                "pending_dns"
            },
            "{case}"
        );
        assert_eq!(body["verified"], verified, "{case}");
        assert_eq!(statuses(&body), records, "{case}");
        assert_eq!(body["records"][0]["found"].as_str(), found, "{case}");
        assert_eq!(
            body["last_error"].is_string(),
            dns_status == "error",
            "{case}"
        );
        assert_eq!(body["checked_at"], w.now(), "{case}");
        for record in body["records"].as_array().unwrap() {
            assert_eq!(record["hint"].is_null(), record["status"] == "ok", "{case}");
        }
        assert_eq!(w.get(&w.workspace_path()), body, "{case}");
    }
}

#[test]
fn a_hint_says_what_stands_in_the_way() {
    let w = World::new();
    w.dns.set("old.example", Says::Addresses(&["198.51.100.7"]));
    w.dns
        .set("behind.example", Says::Cname("db7.internal.example"));
    w.dns
        .set("db7.internal.example", Says::Addresses(&["10.1.2.3"]));
    w.dns.set("circle.example", Says::Cname("back.example"));
    w.dns.set("back.example", Says::Cname("circle.example"));
    for n in 0..20 {
        let next = format!("hop{}.example", n + 1).leak();
        w.dns.set(&format!("hop{n}.example"), Says::Cname(next));
    }
    let value = format!("CNAME record with the value {PROXY}");
    for (says, why, advice) in [
        (
            Says::NoName,
            "nothing was found",
            "name * and the value proxy.selfhost.example",
        ),
        (Says::Cname("old.example"), "leads to old.example", &value),
        // What comes behind the name that the customer wrote is not told.
        (
            Says::Cname("behind.example"),
            "leads to behind.example",
            &value,
        ),
        (
            Says::Cname("gone.example"),
            "gone.example, which has no address",
            &value,
        ),
        (
            Says::Cname("circle.example"),
            "in a circle through circle.example",
            &value,
        ),
        (
            Says::Cname("hop0.example"),
            "more than 8 other names",
            &value,
        ),
        (
            Says::Addresses(&["198.51.100.7"]),
            "are not those of proxy.selfhost.example",
            &value,
        ),
        (
            Says::Refused,
            "could not be looked up",
            "verify again later",
        ),
    ] {
        w.wildcards("harbor.example", says);
        w.set("harbor.example");
        let body = w.verify();
        assert!(!body.to_string().contains("internal"), "{body}");
        let hint = body["records"][0]["hint"].as_str().unwrap();
        assert!(
            hint.contains(why) && hint.contains(advice),
            "{says:?}: {hint}"
        );
    }
}

#[test]
fn every_check_asks_for_names_that_nobody_asked_for_before() {
    let w = World::new();
    w.wildcards("harbor.example", Says::Cname(PROXY));
    w.set("harbor.example");
    w.verify();
    w.verify();
    let mut names = w.dns.asked();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(
        names.iter().all(|name| name.ends_with(".harbor.example")),
        "{names:?}"
    );
    assert_eq!(
        w.dns.asked().len(),
        4,
        "one question each: the CNAME was the right one"
    );
}

#[test]
fn nothing_set_is_nothing_to_ask() {
    let w = World::new();
    w.put(ORGANIZATION, "org.example");
    assert_eq!(w.verify(), w.get(&w.workspace_path()));
    let body = w.verify();
    assert_eq!(body["status"], "not_configured");
    assert_eq!(body["verified"], false);
    assert_eq!(body["records"], json!([]));
    assert_eq!(body["effective_domain"], "org.example");
    assert_eq!(w.dns.asked(), Vec::<String>::new());
}

#[test]
fn silence_keeps_the_last_answer_and_a_loss_is_remembered() {
    let w = World::new();
    let domain = "harbor.example";
    let start = w.now();
    w.wildcards(domain, Says::Cname(PROXY));
    w.set(domain);
    assert_eq!(w.verify()["verified_at"], start);

    // Verified again: since the first time.
    w.service.advance(60);
    let again = w.verify();
    assert_eq!(again["verified_at"], start);
    assert_eq!(again["checked_at"], w.now());

    // No answer within the time for it: all that was known stays.
    w.wildcards(domain, Says::Nothing);
    let silent = w.verify();
    assert_eq!(silent["dns_status"], "error");
    assert_eq!(silent["status"], "configured");
    assert_eq!(silent["verified"], true);
    assert_eq!(silent["verified_at"], start);
    assert!(
        silent["last_error"]
            .as_str()
            .unwrap()
            .contains("did not answer"),
        "{silent}"
    );

    // The same name again is no new domain.
    assert_eq!(w.set(domain), silent);

    // Gone: that is an answer, and it stays one.
    w.wildcards(domain, Says::NoName);
    for _ in 0..2 {
        let lost = w.verify();
        assert_eq!(lost["dns_status"], "failed");
        assert_eq!(lost["status"], "pending_dns");
        assert_eq!(lost["verified"], false);
        assert_eq!(lost["verified_at"], Value::Null);
        assert_eq!(lost["last_error"], Value::Null);
    }
    w.wildcards(domain, Says::Cname(PROXY));
    assert_eq!(w.verify()["verified_at"], w.now());

    // Another domain starts from nothing.
    w.wildcards("other.example", Says::NoName);
    assert_eq!(w.set("other.example")["verified"], false);
    assert_eq!(w.verify()["dns_status"], "pending");
    let checked = w
        .audited()
        .into_iter()
        .filter(|kind| kind == "workspace.preview_domain_checked")
        .count();
    assert_eq!(
        checked, 3,
        "verified, lost, verified: a check that changes nothing leaves no trace"
    );
}

#[test]
fn a_resolver_that_is_not_there_is_no_answer() {
    let closed = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let s = service(closed);
    s.put(ORGANIZATION, json!({"preview_domain": "org.example"}))
        .expect(200);
    let body = s
        .post(&format!("{ORGANIZATION}/verify"), json!({}))
        .expect(200);
    assert_eq!(body["dns_status"], "error");
    assert_eq!(body["status"], "pending_dns");
    assert_eq!(statuses(&body), ["error", "error"]);
}

#[test]
fn checks_beyond_what_is_asked_at_once_are_told_to_come_back() {
    let w = World::new();
    w.wildcards("harbor.example", Says::Nothing);
    w.set("harbor.example");
    let path = format!("{}/verify", w.workspace_path());
    let statuses = runtime().block_on(async {
        let mut checks = JoinSet::new();
        for _ in 0..20 {
            let request = request(&w.service.key, &Method::GET, &path, None);
            checks.spawn(w.service.router.clone().oneshot(request));
        }
        let replies = checks.join_all().await;
        replies
            .into_iter()
            .map(|reply| reply.unwrap().status().as_u16())
            .collect::<Vec<_>>()
    });
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!((count(200), count(503)), (16, 4), "{statuses:?}");
}

#[test]
fn a_domain_that_changes_during_a_check_is_not_judged_by_it() {
    let w = World::new();
    w.wildcards("old.test", Says::CnameOnceOpen(PROXY));
    w.set("old.test");
    let send = async |method: Method, path: String, body: Option<Value>| {
        w.service
            .send_async(request(&w.service.key, &method, &path, body))
            .await
            .expect(200)
    };
    let check = send(Method::GET, format!("{}/verify", w.workspace_path()), None);
    let change = async {
        w.dns.gate().asked().await;
        // The check holds nothing of the store while it waits.
        let set = send(
            Method::PUT,
            w.workspace_path(),
            Some(json!({"preview_domain": "new.test"})),
        )
        .await;
        w.dns.gate().open();
        set
    };
    let (checked, set) = runtime().block_on(async { tokio::join!(check, change) });
    assert_eq!(checked, set);
    assert_eq!(w.get(&w.workspace_path()), set);
    assert_eq!(set["dns_status"], "pending");
    assert_eq!(set["checked_at"], Value::Null);
}
