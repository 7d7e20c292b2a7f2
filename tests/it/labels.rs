//! Labels: usage by what metadata said when it ran.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Service, at};
use crate::usage::{event, report, service_at, usage};

/// A clinic whose only computer runs for ten hours from midnight of the first of June on.
fn clinic() -> (Service, String, String, String) {
    let s = service_at("2029-05-31T00:00:00Z");
    let w = s.workspace("Clinic");
    let project = json!({ "name": "Site", "workspace_id": w, "metadata": { "department": "radiology", "floor": 2 } });
    let p = s.post("/projects", project).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let pc = json!({ "name": "pc", "project_id": p, "size": "small", "driver": "external", "metadata": { "owner": "ann" } });
    let c = s.post("/computers", pc).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    s.clock.set(at("2029-06-01T00:00:30Z"));
    report(&s, &c, &["2029-06-01T00:00:00Z"]);
    (s, w, p, c)
}

/// Credits by the value of a label.
fn by(s: &Service, w: &str, key: &str) -> Vec<(Value, i64)> {
    let reply = usage(
        s,
        w,
        &format!("from=2029-06-01&to=2029-06-02&group_by=metadata.{key}"),
    );
    assert_eq!(reply["group_by"], format!("metadata.{key}"));
    let groups = reply["groups"].as_array().unwrap();
    let each: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                group["key"].clone(),
                group["total_credits_micros"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        reply["total_credits_micros"],
        each.iter().map(|(_, micros)| micros).sum::<i64>()
    );
    each
}

#[test]
fn what_held_when_it_ran_counts() {
    let (s, w, p, c) = clinic();
    let patch = |time: &str, path: String, metadata: Value| {
        s.clock.set(at(time));
        s.patch(&path, json!({ "metadata": metadata })).expect(200);
    };
    // The label of the computer stands over that of its project, and that over the workspace's.
    patch(
        "2029-06-01T02:00:00Z",
        format!("/workspaces/{w}"),
        json!({ "department": "all", "region": "north" }),
    );
    patch(
        "2029-06-01T04:00:00Z",
        format!("/projects/{p}"),
        json!({ "department": "surgery" }),
    );
    patch(
        "2029-06-01T07:00:00Z",
        format!("/computers/{c}"),
        json!({ "department": "lab", "owner": "ann" }),
    );
    patch(
        "2029-06-01T08:00:00Z",
        format!("/computers/{c}"),
        json!({ "owner": "ann" }),
    );
    patch("2029-06-01T09:00:00Z", format!("/projects/{p}"), json!({}));
    s.clock.set(at("2029-06-01T10:00:00Z"));
    report(&s, &c, &["2029-06-01T10:00:00Z"]);
    report(
        &s,
        &c,
        &["2029-06-01T09:59:59.999Z", "2029-06-01T10:00:00Z"],
    );
    let credits = |hours: i64| hours * 30_000_000;
    let expected = [
        (json!("all"), credits(1)),
        (json!("lab"), credits(1)),
        (json!("radiology"), credits(4)),
        (json!("surgery"), credits(4)),
    ];
    assert_eq!(by(&s, &w, "department"), expected);
    assert_eq!(
        by(&s, &w, "floor"),
        [(json!(null), credits(6)), (json!("2"), credits(4))]
    );
    assert_eq!(
        by(&s, &w, "region"),
        [(json!(null), credits(2)), (json!("north"), credits(8))]
    );
    assert_eq!(by(&s, &w, "nothing"), [(json!(null), credits(10))]);

    // The organization, split by it and filtered by it; all rows are the whole.
    let rollup = |query: &str| {
        s.get(&format!("/usage?start=2029-06-01&{query}"))
            .expect(200)
    };
    let all = rollup("group_by=metadata.department");
    let rows = all["results"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter()
            .any(|row| row["label"] == "lab" && row["credits_micros"] == credits(1))
    );
    assert_eq!(all["total_credits"], 300);
    let one = rollup("group_by=workspace_id&label=metadata.department%3Dsurgery");
    assert_eq!(one["results"][0]["credits_micros"], credits(4));
    assert_eq!(one["total_credits"], 120);
    let csv = s
        .get("/usage?start=2029-06-01&group_by=metadata.department&format=csv")
        .text;
    assert!(csv.starts_with("label,compute_ms"), "{csv}");
    let csv = s
        .get(&format!(
            "/workspaces/{w}/usage?group_by=metadata.department&format=csv"
        ))
        .text;
    assert!(
        csv.contains(",metadata.department,surgery,surgery,"),
        "{csv}"
    );
    s.get("/usage?group_by=metadata.").invalid(&["group_by"]);
    s.get("/usage?label=department").invalid(&["label"]);
    s.get(&format!("/workspaces/{w}/usage?group_by=metadata."))
        .invalid(&["group_by"]);

    // They travel with the workspace.
    let capsule = s.get(&format!("/workspaces/{w}/export")).text;
    let there = service_at("2029-06-01T10:00:00Z");
    let send = || {
        let request = axum::http::Request::post("/api/v1/workspaces/import")
            .header("authorization", format!("Bearer {}", there.key))
            .header("content-type", "application/x-ndjson")
            .body(axum::body::Body::from(capsule.clone()))
            .unwrap();
        there.send(request)
    };
    send().expect(201);
    assert_eq!(by(&there, &w, "department"), expected);
    assert_eq!(send().expect(200)["imported"], false);
}

/// Whose label a change is about, in the order in which they stand over each other.
const WHOSE: [&str; 3] = ["computers", "projects", "workspaces"];
const LABELS: [&str; 3] = ["lab", "surgery", "ward"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Minute by minute: what it said then counts, whatever is said later and however late it is known what ran.
    #[test]
    fn labels_of_the_past_stay(
        mut changes in prop::collection::vec((1..600_i64, 0..3_usize, prop::option::of(0..3_usize)), 0..12),
        (stop, start) in (1..300_i64, 300..600_i64),
    ) {
        let (s, w, p, c) = clinic();
        let ids = [&c, &p, &w];
        changes.sort();
        changes.dedup_by_key(|(minute, ..)| *minute);
        let midnight = at("2029-06-01T00:00:00Z");
        let mut said = [None, Some("radiology"), None];
        let mut minutes: BTreeMap<Option<&str>, i64> = BTreeMap::new();
        let mut changes = changes.into_iter().peekable();
        for minute in 0..600 {
            while let Some((_, whose, label)) = changes.next_if(|(at, ..)| *at == minute) {
                said[whose] = label.map(|n| LABELS[n]);
                s.clock.set(midnight.plus_ms(minute * 60_000));
                let metadata = said[whose].map_or(json!({}), |label| json!({ "department": label }));
                s.patch(&format!("/{}/{}", WHOSE[whose], ids[whose]), json!({ "metadata": metadata })).expect(200);
            }
            if minute < stop || minute >= start {
                *minutes.entry(said.into_iter().flatten().next()).or_default() += 1;
            }
        }
        s.clock.set(at("2029-06-01T10:00:00Z"));
        for (id, kind, minute) in [("late-2", "started", start), ("late-1", "stopped", stop)] {
            let time = midnight.plus_ms(minute * 60_000).rfc3339_ms();
            let late = event(id, kind, &c, &time, json!({}));
            s.post("/compute-events", json!({ "events": [late] })).expect(200);
        }
        let mut found = by(&s, &w, "department");
        found.retain(|(_, micros)| *micros != 0);
        let expected: Vec<(Value, i64)> = minutes
            .into_iter()
            .map(|(label, minutes)| (json!(label), minutes * 500_000))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
