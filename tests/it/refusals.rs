//! What limits refused, and what others would have refused.

use proptest::prelude::*;
use serde_json::{Value, json};
use workspaced::testing::{Config, ConfigFile};

use crate::harness::{Service, request};
use axum::http::Method;

fn rows(s: &Service, path: &str) -> Vec<Value> {
    s.get(path).expect(200)["data"].as_array().unwrap().clone()
}

#[test]
fn what_a_limit_refuses_is_counted_by_the_hour() {
    let file = ConfigFile::parse("[limits]\nmax_workspaces = 2\n").unwrap();
    let s = Service::with(Config {
        file,
        ..Config::default()
    });
    let w = s.workspace("Clinic");
    let settings = json!({ "max_computers": 1, "max_computer_size": "medium" });
    s.put(&format!("/workspaces/{w}/settings"), settings)
        .expect(200);
    let c = s.running(&w, "small");
    let refusals = format!("/workspaces/{w}/refusals");
    assert!(rows(&s, &refusals).is_empty());

    let create = |size: &str| {
        s.post(
            "/computers",
            json!({ "name": "x", "workspace_id": w, "size": size }),
        )
    };
    let said = create("small").refused(422, "LIMIT_EXCEEDED");
    s.advance(60);
    create("small").refused(422, "LIMIT_EXCEEDED");
    // With a key the refusal is kept and answered again: it is one.
    for _ in 0..2 {
        let mut again = request(
            &s.key,
            &Method::POST,
            "/computers",
            Some(json!({ "name": "x", "workspace_id": w, "size": "small" })),
        );
        again
            .headers_mut()
            .insert("idempotency-key", "k".parse().unwrap());
        assert_eq!(s.send(again).status, 422);
    }
    create("large").invalid(&["size"]);
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "large" }),
    )
    .invalid(&["size"]);
    // What was only rehearsed was refused to nobody; what is wrong in itself is no limit's doing.
    let dry = json!({ "name": "x", "workspace_id": w });
    s.post("/computers?dry_run=true", dry)
        .refused(422, "LIMIT_EXCEEDED");
    s.post(
        "/computers",
        json!({ "name": "", "workspace_id": w, "size": "huge" }),
    )
    .invalid(&["name", "size"]);

    let found = rows(&s, &refusals);
    let count = found
        .iter()
        .find(|row| row["limit"] == "max_computers")
        .unwrap();
    assert_eq!(
        (
            &count["count"],
            &count["max"],
            &count["current"],
            &count["scope"]
        ),
        (&json!(3), &json!(1), &json!(1), &json!("workspace"))
    );
    assert_eq!(count["request"], "POST /computers");
    assert_eq!(count["message"], said);
    assert_ne!(count["first_at"], count["last_at"]);
    let size = rows(&s, &format!("{refusals}?limit_name=max_computer_size"));
    assert!(
        size.iter()
            .all(|row| (&row["max"], &row["current"], &row["count"])
                == (&json!("medium"), &json!("large"), &json!(1))),
        "{size:?}"
    );

    assert_eq!(size.len(), 2, "{found:?}");

    // The next hour begins a row of its own; that of the organization names no workspace.
    s.advance(3600);
    create("small").refused(422, "LIMIT_EXCEEDED");
    s.post("/workspaces", json!({ "name": "one too many" }))
        .refused(422, "LIMIT_EXCEEDED");
    let all = rows(&s, "/refusals");
    assert_eq!(
        (&all[0]["limit"], &all[0]["scope"], &all[0]["workspace_id"]),
        (&json!("max_workspaces"), &json!("tenant"), &Value::Null)
    );
    assert_eq!(
        rows(&s, &format!("{refusals}?limit_name=max_computers")).len(),
        2
    );
    let (other, _) = s.other_tenant("globex");
    let foreign = s
        .call_as(&other, Method::GET, "/refusals", None)
        .expect(200);
    assert_eq!(foreign["total"], 0);
}

#[test]
fn a_budget_that_is_used_up_is_a_limit_like_the_others() {
    let s = Service::new();
    let w = s.workspace("Clinic");
    let c = s.running(&w, "large");
    s.advance(36_000);
    let budget = json!({ "credits": 1, "period": "month", "on_exceeded": "refuse_start" });
    s.put(&format!("/workspaces/{w}/budget"), budget)
        .expect(200);
    s.post(&format!("/computers/{c}/stop"), json!({}))
        .expect(200);
    s.advance(5);
    s.post(&format!("/computers/{c}/start"), json!({}))
        .refused(422, "LIMIT_EXCEEDED");
    let found = rows(&s, &format!("/workspaces/{w}/refusals"));
    assert_eq!(
        (&found[0]["limit"], &found[0]["request"]),
        (&json!("budget"), &json!("POST /computers/{id}/start"))
    );
}

#[derive(Clone, Debug)]
enum Act {
    Create(&'static str),
    Delete(usize),
    Resize(usize, &'static str),
    Stop(usize),
    Start(usize),
}

fn acts() -> impl Strategy<Value = Vec<(Act, i64)>> {
    let size = || prop::sample::select(vec!["small", "medium", "large"]);
    let act = prop_oneof![
        4 => size().prop_map(Act::Create),
        2 => (0usize..8).prop_map(Act::Delete),
        1 => ((0usize..8), size()).prop_map(|(n, size)| Act::Resize(n, size)),
        1 => (0usize..8).prop_map(Act::Stop),
        1 => (0usize..8).prop_map(Act::Start),
    ];
    prop::collection::vec((act, 10i64..5000), 1..25)
}

/// Does all of it. Returns what was refused, by limit, and what was used.
fn play(s: &Service, w: &str, acts: &[(Act, i64)]) -> (Vec<(String, &'static str)>, i64) {
    let mut computers: Vec<Option<String>> = Vec::new();
    let mut refused = Vec::new();
    let limit = |body: &Value| match body["error"]["details"]["limit"].as_str() {
        Some(limit) => limit.to_owned(),
        None => "max_computer_size".to_owned(),
    };
    for (act, seconds) in acts {
        let of = |n: &usize| computers.get(*n).cloned().flatten();
        match act {
            Act::Create(size) => {
                let body = json!({ "name": "c", "workspace_id": w, "size": size });
                let answer = s.post("/computers", body);
                let made = answer.json();
                if answer.status == 422 {
                    refused.push((limit(&made), "create"));
                }
                computers
                    .push((answer.status == 201).then(|| made["id"].as_str().unwrap().to_owned()));
            }
            Act::Delete(n) => {
                if let Some(id) = of(n) {
                    s.delete(&format!("/computers/{id}"));
                }
            }
            Act::Resize(n, size) => {
                if let Some(id) = of(n) {
                    let answer = s.patch(&format!("/computers/{id}"), json!({ "size": size }));
                    if answer.status == 422 {
                        refused.push((limit(&answer.json()), "resize"));
                    }
                }
            }
            Act::Stop(n) | Act::Start(n) => {
                let verb = if matches!(act, Act::Stop(_)) {
                    "stop"
                } else {
                    "start"
                };
                if let Some(id) = of(n) {
                    s.post(&format!("/computers/{id}/{verb}"), json!({}));
                }
            }
        }
        s.advance(*seconds);
    }
    let usage = s
        .get(&format!("/workspaces/{w}/usage?window=30d"))
        .expect(200);
    (refused, usage["total_credits_micros"].as_i64().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against the limits themselves: the same acts with them set from the beginning.
    #[test]
    fn what_if_says_what_the_limits_refuse(acts in acts(), max in prop::option::of(0i64..4), size in prop::option::of(prop::sample::select(vec!["small", "medium"]))) {
        let caps = json!({ "max_computers": max, "max_computer_size": size, "default_computer_size": "small" });
        let free = Service::new();
        let w = free.workspace("w");
        let (nothing, used) = play(&free, &w, &acts);
        prop_assert_eq!(nothing, vec![]);
        let before = free.fingerprint();
        let said = free.post(&format!("/workspaces/{w}/settings/what-if"), caps.clone()).expect(200);
        prop_assert_eq!(free.fingerprint(), before, "it changes nothing");

        let capped = Service::new();
        let w = capped.workspace("w");
        capped.put(&format!("/workspaces/{w}/settings"), caps).expect(200);
        let (refused, less) = play(&capped, &w, &acts);
        let told: Vec<(String, String)> = said["data"].as_array().unwrap().iter()
            .map(|row| (row["limit"].as_str().unwrap().to_owned(), row["action"].as_str().unwrap().to_owned()))
            .collect();
        let real: Vec<(String, String)> = refused.iter().map(|(limit, action)| (limit.clone(), (*action).to_owned())).collect();
        prop_assert_eq!(&told, &real, "{}", said);
        if refused.iter().all(|(_, action)| *action == "create") {
            // Each row begins its micro-credits anew.
            let credits = said["credits_micros"].as_i64().unwrap();
            prop_assert!((used - less - credits).abs() <= refused.len() as i64 + 1, "{} {}", used - less, said);
        }
    }
}
