//! Labels: usage by what metadata said when it ran.

use serde_json::{Value, json};

use crate::harness::{Service, at};
use crate::usage::{report, service_at, usage};

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
