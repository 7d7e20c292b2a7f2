//! A computer's disk as a file, and the snapshots of a whole organization.

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::House;
use crate::harness::{request, runtime};

/// The reply, and its body or that it was broken off.
fn disk(h: &House, key: &str, id: &str) -> (StatusCode, Option<Bytes>) {
    let path = format!("/api/v1/computers/{id}/disk");
    runtime().block_on(async {
        let asked = request(key, &Method::GET, &path, None);
        let answer = h.s.router.clone().oneshot(asked).await.unwrap();
        let status = answer.status();
        (
            status,
            answer
                .into_body()
                .collect()
                .await
                .ok()
                .map(|b| b.to_bytes()),
        )
    })
}

#[test]
fn the_disk_of_a_computer_is_one_file_and_what_breaks_off_is_no_file() {
    let h = House::new();
    let id = h.computer();
    let (status, whole) = disk(&h, &h.s.key, &id);
    let whole = whole.unwrap();
    let begin = format!("the files of ws-{id}");
    assert_eq!(status, 200);
    assert!(whole.starts_with(begin.as_bytes()) && whole.len() == begin.len() + 1024);
    let log = h.s.get("/audit-log").expect(200).to_string();
    assert!(log.contains("exported its disk"), "{log}");
    // Also one that does not run.
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    assert_eq!(disk(&h, &h.s.key, &id).1.unwrap().len(), whole.len());
    h.fake.inside(|i| i.breaks_off = true);
    assert_eq!(disk(&h, &h.s.key, &id), (StatusCode::OK, None));
    // Nothing that was read stands in the way of the next one.
    for _ in 0..20 {
        disk(&h, &h.s.key, &id);
    }
    let body = json!({ "name": "reads", "scopes": ["computers:read"] });
    let made = h.s.post("/api-keys", body).expect(201);
    let (flat, nested) = (&made["key"], &made["data"]["key"]);
    let reader = flat.as_str().or(nested.as_str()).unwrap().to_owned();
    assert_eq!(disk(&h, &reader, &id).0, 403);
}

#[test]
fn podman_would_leave_out_the_home_of_a_computer_that_does_not_run() {
    let mut h = House::new();
    h.fake.inside(|i| i.podman = true);
    h.restart();
    let id = h.computer();
    assert_eq!(disk(&h, &h.s.key, &id).0, 200);
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    let path = format!("/computers/{id}/disk");
    let text = h.s.get(&path).refused(409, "TARGET_NOT_RUNNING");
    assert!(text.contains("start it, then export"), "{text}");
    let simulated = json!({ "name": "S", "driver": "simulated" });
    let made = h.s.post("/computers", simulated).expect(201);
    let path = format!("/computers/{}/disk", made["id"].as_str().unwrap());
    h.s.get(&path).refused(404, "NOT_FOUND");
}

#[test]
fn snapshots_of_an_organization_come_in_pages_and_of_no_other() {
    let h = House::new();
    let (one, two) = (h.computer(), h.computer());
    let mut made = Vec::new();
    for id in [&one, &two, &one] {
        let path = format!("/computers/{id}/snapshots");
        let found = h.s.post(&path, json!({})).expect(201);
        made.insert(0, found["id"].as_str().unwrap().to_owned());
        h.s.clock.set(h.s.app.store.now().plus_seconds(1));
    }
    let ids = |path: &str| -> (Vec<String>, i64) {
        let found = h.s.get(path).expect(200);
        let rows = found["data"].as_array().unwrap().iter();
        let ids = rows.map(|row| row["id"].as_str().unwrap().to_owned());
        (ids.collect(), found["total"].as_i64().unwrap())
    };
    assert_eq!(ids("/snapshots"), (made.clone(), 3));
    assert_eq!(ids("/snapshots?limit=2"), (made[..2].to_vec(), 3));
    assert_eq!(ids("/snapshots?limit=2&offset=2"), (made[2..].to_vec(), 3));
    let here = format!("/snapshots?workspace_id={}", h.s.default_workspace);
    assert_eq!(ids(&here).1, 3);
    let other = h.s.workspace("Other");
    assert_eq!(ids(&format!("/snapshots?workspace_id={other}")).1, 0);
    h.s.delete(&format!("/computers/{two}/snapshots/{}", made[1]))
        .expect(200);
    assert_eq!(ids("/snapshots").1, 2);
    let (stranger, _) = h.s.other_tenant("strangers");
    let seen =
        h.s.call_as(&stranger, Method::GET, "/snapshots", None)
            .expect(200);
    assert_eq!(seen["total"], 0, "{seen}");
}
