//! What the table says of the names that requests may use, and of what differs from the hosted service.

use axum::http::Method;
use serde_json::{Value, json};

use super::routes::table;
use crate::dev::differences::DIFFERENCES;
use crate::http::{Known, NamedIn, Treatment, Used};

fn known(method: &Method, path: &str) -> Known {
    let route = table()
        .into_iter()
        .find(|r| r.method == *method && r.path == path);
    route.unwrap().known()
}

fn unknown(used: &Used) -> Vec<(&str, Option<&str>)> {
    let of = |(_, (what, _)): &(_, &(Treatment, _))| *what == Treatment::Unknown;
    let found = used.0.iter().filter(of);
    found
        .map(|((_, name), (_, near))| (name.as_str(), near.as_deref()))
        .collect()
}

#[test]
fn fields_come_from_the_schema_at_every_depth() {
    let create = known(&Method::POST, "/computers");
    let body = json!({
        "name": 1, "workspaceSlug": 2, "metadata": {"anything": {"goes": 1}}, "gpu_count": 1,
        "workspace_slag": 3, "zzz": {"secret": 1},
    });
    let used = create.body(&body);
    assert_eq!(
        unknown(&used),
        [("workspace_slag", Some("workspace_slug")), ("zzz", None)]
    );
    let ignored = &used.0[&(NamedIn::Body, "gpu_count".to_owned())];
    assert_eq!(ignored.0, Treatment::Ignored);
    assert!(
        used.refuse()
            .unwrap_err()
            .message()
            .contains("workspace_slug?")
    );

    let ingest = known(&Method::POST, "/compute-events");
    let body = json!({"events": [{"id": "1", "tipe": "x", "data": {"siez": 1}}, {"tipe": 1}]});
    let used = ingest.body(&body);
    let names: Vec<_> = unknown(&used).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["events[].data.siez", "events[].tipe"]);
}

#[test]
fn parameters_come_from_the_document() {
    let list = known(&Method::GET, "/workspaces");
    assert_eq!(
        unknown(&list.query("page=1&page_size=5&pagesize=1&page=2")),
        [("pagesize", Some("page_size"))]
    );
    let start = known(&Method::POST, "/computers/{id}/start");
    assert!(unknown(&start.body(&json!({"whatever": 1}))).is_empty());
    let delete = known(&Method::DELETE, "/computers/{id}");
    assert_eq!(unknown(&delete.body(&json!({"force": true}))).len(), 1);
}

#[test]
fn what_is_ignored_is_ignored_for_a_reason() {
    for route in table() {
        let known = route.known();
        for name in route.ignored {
            assert!(!name.contains(char::is_uppercase), "{}", route.path);
        }
        assert!(known.parameters().all(|name| !name.is_empty()));
    }
}

#[test]
fn hostile_names_are_cut_and_counted() {
    let create = known(&Method::POST, "/workspaces");
    let body: serde_json::Map<String, Value> = (0..10_000)
        .map(|n| (format!("{n}{}", "x".repeat(1000)), Value::Null))
        .collect();
    let used = create.body(&Value::Object(body));
    assert_eq!(used.0.len(), 500);
    assert!(used.0.keys().all(|(_, name)| name.len() <= 64));
    let message = used.refuse().unwrap_err().message().to_owned();
    assert!(message.len() < 4000, "{}", message.len());
}

#[test]
fn each_difference_is_about_routes_that_are_there_and_only_once() {
    let table = table();
    let mut seen = std::collections::HashSet::new();
    for (method, path) in DIFFERENCES.iter().flat_map(|(routes, _)| *routes) {
        let there = table.iter().any(|r| r.method == *method && r.path == *path);
        assert!(there, "{method} {path}");
        assert!(seen.insert((method, path)), "{method} {path} twice");
    }
}
