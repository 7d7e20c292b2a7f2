//! Anything at all into everything that reads text: no panic, no 5xx, and what is promised about what
//! comes out. `PROPTEST_CASES` (default 256) sets how much: `PROPTEST_CASES=100000 cargo test fuzz`.

use axum::body::Body;
use axum::http::{Method, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};

use crate::harness::{Answer, Service};
use workspaced::testing::ConfigFile;
use workspaced::testing::Timestamp;
use workspaced::testing::normalize_host;
use workspaced::testing::text;

/// Runs `check` on as many values as are asked for, and says how many that were.
fn fuzz<S: Strategy>(what: &str, input: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let cases = Cases {
        failure_persistence: None,
        ..Cases::default()
    };
    let count = cases.cases;
    TestRunner::new(cases).run(&input, check).unwrap();
    println!("{what}: {count} inputs");
}

/// Texts of every kind: any characters, and near misses of what is expected.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9.-]{0,90}",
        "\\PC{0,40}",
        "[0-9+-]{0,25}",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})?",
        "[A-Z][a-z]+/[A-Z][a-z_]+",
        Just("xn--a".to_owned()),
        Just("\u{0}\u{202e}\u{feff}".to_owned()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any_text(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object with the fields of the API, each with anything in it.
fn any_body() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "name",
        "slug",
        "description",
        "metadata",
        "external_workspace_id",
        "workspace_id",
        "workspace_slug",
        "project_slug",
        "size",
        "template_type",
        "auto_stop_seconds",
        "max_computers",
        "max_computer_size",
        "allowed_template_types",
        "domain",
        "scopes",
        "expires_at",
        "rate_limit_rpm",
        "external_user_id",
        "driver",
        "events",
        "amount_micros",
        "reason",
        "at",
        "capability",
        "credits",
    ]);
    prop_oneof![
        4 => vec((field, any_json()), 0..6).prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        1 => any_json(),
    ]
}

const WRITES: [(&str, &str); 16] = [
    ("POST", "/workspaces"),
    ("PATCH", "/workspaces/{w}"),
    ("PUT", "/workspaces/{w}/settings"),
    ("PUT", "/workspaces/{w}/preview-domain"),
    ("POST", "/projects"),
    ("POST", "/computers"),
    ("PATCH", "/computers/{c}"),
    ("POST", "/computers/{c}/resize"),
    ("POST", "/computers/{c}/move"),
    ("POST", "/computers/{c}/clone"),
    ("PATCH", "/computers/{c}/auto-stop"),
    ("POST", "/api-keys"),
    ("POST", "/usage/adjustments"),
    ("POST", "/compute-events"),
    ("POST", "/platform/tenants"),
    ("POST", "/actions/authorize"),
];

fn sound(answer: &Answer) -> Result<(), TestCaseError> {
    let status = answer.status.as_u16();
    prop_assert!(status < 500, "{status} {}", answer.text);
    if status >= 400 {
        let body: Value =
            serde_json::from_str(&answer.text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(
            body["error"]["code"].is_string() && body["error"]["request_id"].is_string(),
            "{body}"
        );
    }
    Ok(())
}

fn world() -> (Service, String, String) {
    let s = Service::new();
    let workspace = s.workspace("Fuzzed");
    let body = json!({ "name": "pc", "workspace_id": workspace, "driver": "external" });
    let computer = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    (s, workspace, computer)
}

#[test]
fn json_bodies() {
    let (s, workspace, computer) = world();
    let path = |path: &str| path.replace("{w}", &workspace).replace("{c}", &computer);
    fuzz(
        "JSON bodies",
        (prop::sample::select(WRITES.to_vec()), any_body()),
        |((method, to), body)| {
            sound(&s.call_as(&s.key, method.parse().unwrap(), &path(to), Some(body)))
        },
    );
    let whole =
        json!({ "name": "a", "metadata": { "b": [1, 2.5, "\u{e9}", null] }, "slug": "a-b" })
            .to_string()
            .into_bytes();
    let broken = (
        prop::sample::select(WRITES.to_vec()),
        vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        any::<prop::sample::Index>(),
    );
    fuzz("broken bodies", broken, |((method, to), changes, cut)| {
        let mut bytes = whole.clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(whole.len()) + 1);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{}", path(to)))
            .header("authorization", format!("Bearer {}", s.key))
            .header("content-type", "application/json")
            .header("idempotency-key", "same")
            .body(Body::from(bytes));
        sound(&s.send(request.unwrap()))
    });
    assert_eq!(s.get("/usage/verify").expect(200)["ok"], true);
}

#[test]
fn queries_cursors_times_and_zones() {
    let (s, workspace, computer) = world();
    let paths = [
        "/workspaces".into(),
        "/computers".into(),
        "/projects".into(),
        "/api-keys".into(),
        "/audit-log".into(),
        "/usage".into(),
        "/usage/summary".into(),
        "/usage/sessions".into(),
        "/credits/transactions".into(),
        format!("/workspaces/{workspace}/usage"),
        format!("/workspaces/{workspace}/usage/explain"),
        format!("/computers/{computer}/metrics"),
        format!("/computers/{computer}/events"),
    ];
    let names = vec![
        "cursor",
        "after",
        "before",
        "page",
        "page_size",
        "per_page",
        "limit",
        "offset",
        "from",
        "to",
        "since",
        "until",
        "tz",
        "interval",
        "range",
        "group_by",
        "bucket",
        "ts",
        "q",
        "search",
        "sort",
        "status",
        "type",
        "workspace_id",
        "metadata.a",
        "format",
        "period",
    ];
    let query = vec((prop::sample::select(names), any_text()), 1..4);
    fuzz(
        "queries",
        (prop::sample::select(paths.to_vec()), query),
        |(path, query)| {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .finish();
            sound(&s.call_as(&s.key, Method::GET, &format!("{path}?{query}"), None))
        },
    );
    fuzz("timestamps", any_text(), |text| {
        if let Some(at) = Timestamp::parse(&text) {
            prop_assert_eq!(Timestamp::parse(&at.rfc3339_ms()), Some(at));
        }
        Ok(())
    });
    fuzz("instants", any::<i64>(), |ms| {
        let at = Timestamp(ms).rfc3339();
        prop_assert!(Timestamp::parse(&at).is_some(), "{at}");
        Ok(())
    });
}

#[test]
fn reports() {
    let (s, workspace, computer) = world();
    let kinds = prop::sample::select(vec![
        "started", "stopped", "errored", "resized", "moved", "deleted", "melted",
    ]);
    let subject = prop::sample::select(vec![computer.clone(), workspace.clone(), "x".into()]);
    let time = prop_oneof![
        4 => (0_i64..100_000).prop_map(|s| Timestamp(1_779_272_130_000 + s * 100).rfc3339_ms()),
        1 => any_text(),
    ];
    let size = prop::sample::select(vec!["xs", "large", "?"]);
    let event = (any_text(), kinds, subject, time, size, any_json()).prop_map(|(id, kind, subject, time, size, extra)| {
        json!({ "id": id, "type": format!("computer.{kind}"), "subject": subject, "time": time, "data": { "size": size, "workspace_id": extra }, "extra": extra })
    });
    let event = prop_oneof![9 => event, 1 => any_json()];
    s.advance(20_000);
    fuzz("CloudEvents batches", vec(event, 0..8), |events| {
        sound(&s.post("/compute-events", json!({ "events": events })))
    });
    assert_eq!(
        s.get("/usage/verify").expect(200)["ok"],
        true,
        "whatever was taken adds up"
    );
}

#[test]
fn slugs_and_hosts() {
    fuzz("slugs", (any_text(), "[a-z0-9]{1,8}"), |(name, suffix)| {
        let slug = text::slugify(&name, "workspace");
        prop_assert!(text::is_slug(&slug), "{slug:?}");
        prop_assert!(text::is_slug(&text::with_suffix(&slug, &suffix)));
        prop_assert_eq!(text::slugify(&slug, "workspace"), slug);
        Ok(())
    });
    fuzz("domains", any_text(), |host| {
        if let Ok(normal) = normalize_host(&host) {
            prop_assert!(
                normal.is_ascii() && normal.len() <= 253 && normal == normal.to_ascii_lowercase(),
                "{normal:?}"
            );
            prop_assert_eq!(normalize_host(&normal), Ok(normal.clone()));
        }
        Ok(())
    });
}

#[test]
fn configuration() {
    let whole = "templates = [\"a\"]\n[limits]\nmax_workspaces = 5\n[sizes.small]\ncredits_per_hour = 7\n[tenants.acme.limits]\nmax_computers = 1\n[[rates]]\neffective_from = \"2026-12-01T00:00:00Z\"\nsmall = 9\n";
    ConfigFile::parse(whole).unwrap();
    fuzz("configuration files", any_text(), |text| {
        let _ = ConfigFile::parse(&text);
        Ok(())
    });
    let changes = vec((any::<prop::sample::Index>(), any_text()), 1..4);
    fuzz("changed configuration files", changes, |changes| {
        let mut text = whole.to_owned();
        for (place, with) in changes {
            // The text that is changed is ASCII up to what has been put in.
            let place = place.index(whole.len());
            let place = (0..=place)
                .rev()
                .find(|n| text.is_char_boundary(*n))
                .unwrap_or(0);
            text.insert_str(place, &with);
        }
        if let Ok(file) = ConfigFile::parse(&text) {
            prop_assert!(file.limits.max_workspaces.is_none_or(|n| n >= 0));
        }
        Ok(())
    });
}
