//! Snapshots: taken, begun with by another computer, counted, limited, and gone without a rest.

use axum::http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use workspaced::testing::forget_deleted;

use super::House;
use crate::harness::{request, runtime};

/// How far a snapshot has come, when it has.
#[track_caller]
fn taken(h: &House, computer: &str, snapshot: &str) -> Value {
    h.until("the snapshot", || {
        let path = format!("/computers/{computer}/snapshots/{snapshot}");
        let found = h.s.get(&path).expect(200);
        (found["status"] != "creating").then_some(found)
    })
}

fn take(h: &House, computer: &str) -> String {
    let made =
        h.s.post(
            &format!("/computers/{computer}/snapshots"),
            json!({ "comment": "before" }),
        )
        .expect(201);
    assert_eq!(
        (&made["status"], &made["comment"]),
        (&json!("creating"), &json!("before"))
    );
    assert_eq!(made["computer_id"], computer);
    let id = made["id"].as_str().unwrap().to_owned();
    let found = taken(h, computer, &id);
    assert_eq!(found["status"], "ready", "{found}");
    id
}

fn image(snapshot: &str) -> String {
    format!("localhost/workspaced/snapshot:{snapshot}")
}

/// All of a stream of events that ends.
fn stream(h: &House, path: &str) -> String {
    let path = format!("/api/v1{path}");
    runtime().block_on(async {
        let asked = request(&h.s.key, &Method::GET, &path, None);
        let answer = h.s.router.clone().oneshot(asked).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    })
}

/// What the engine has of snapshots: images, and containers that they are made in.
fn left(h: &House) -> Vec<String> {
    h.fake.inside(|i| {
        let images = i.images.iter().filter(|name| name.contains("snapshot"));
        let containers = i.containers.keys().filter(|name| name.contains("snapshot"));
        images.chain(containers).cloned().collect()
    })
}

#[test]
fn a_snapshot_is_an_image_with_what_is_in_the_volume_and_another_computer_begins_with_it() {
    let h = House::new();
    let original = h.computer();
    let path = format!("/computers/{original}");
    h.s.post(&format!("{path}/env"), json!({ "name": "A", "value": "1" }))
        .expect(201);
    let id = take(&h, &original);
    assert_eq!(left(&h), [image(&id)]);
    let container = format!("ws-snapshot-{id}");
    let laid = h.fake.inside(|i| i.laid.clone());
    assert_eq!(
        laid,
        [(container, "/".to_owned(), "all below /home".to_owned())]
    );
    let all = h.s.get(&format!("{path}/snapshots")).expect(200);
    assert_eq!(all["data"][0]["rootfs_size_bytes"], 1_000_000);
    let told = stream(&h, &format!("{path}/snapshots/{id}/events"));
    assert!(told.contains("\"status\":\"ready\""), "{told}");

    let restored =
        h.s.post(&format!("{path}/restore/{id}"), json!({}))
            .expect(201);
    assert_eq!(restored["snapshot"]["id"], json!(id));
    let copy = restored["data"]["id"].as_str().unwrap();
    assert_ne!(copy, original);
    assert!(
        restored["data"]["name"]
            .as_str()
            .unwrap()
            .ends_with("-restored")
    );
    h.becomes(copy, "running");
    let made = h.fake.of(copy).unwrap().body;
    assert_eq!(made["Image"], json!(image(&id)));
    assert_eq!(
        made["HostConfig"]["Mounts"][0]["Source"],
        json!(format!("ws-{copy}-home"))
    );
    assert_eq!(
        made["Env"],
        json!(["A=1"]),
        "variables are part of what it was"
    );
    let clone =
        h.s.post(
            &format!("{path}/clone"),
            json!({ "snapshot_id": id, "name": "Again" }),
        )
        .expect(201);
    let clone = clone["id"].as_str().unwrap();
    h.becomes(clone, "running");
    assert_eq!(h.fake.of(clone).unwrap().body["Image"], json!(image(&id)));
    // What begins with it still begins with it where its container is made anew.
    let next = take(&h, copy);
    let found =
        h.s.get(&format!("/computers/{copy}/snapshots/{next}"))
            .expect(200);
    assert_eq!(found["parent_snapshot_id"], json!(id));

    let text =
        h.s.delete(&format!("{path}/snapshots/{id}"))
            .refused(409, "SNAPSHOT_IN_USE");
    assert!(
        text.contains("2 computer(s) began with this snapshot"),
        "{text}"
    );
    for gone in [copy, clone] {
        h.s.delete(&format!("/computers/{gone}")).expect(200);
    }
    // The engine may not have removed them yet: the image waits for that, nobody else does.
    let gone = h.s.delete(&format!("{path}/snapshots/{id}")).expect(200);
    assert_eq!(gone["status"], "deleted");
    h.s.get(&format!("{path}/snapshots/{id}"))
        .refused(404, "NOT_FOUND");
    h.until("its image to go, and the snapshot of one", || {
        left(&h).is_empty().then_some(())
    });
    let log = h.s.get("/audit-log?limit=100").expect(200).to_string();
    for kind in ["created", "ready", "restored", "deleted"] {
        assert!(log.contains(&format!("computer.snapshot_{kind}")), "{kind}");
    }
}

#[test]
fn a_computer_that_may_come_back_keeps_the_image_and_not_the_snapshot() {
    let h = House::keeping(30 * 86_400_000, |_| {});
    let original = h.computer();
    let path = format!("/computers/{original}");
    let id = take(&h, &original);
    let copy = h.s.post(&format!("{path}/restore/{id}"), json!({}));
    let copy = copy.expect(201)["data"]["id"].as_str().unwrap().to_owned();
    h.becomes(&copy, "running");
    let stops = || {
        h.s.advance(60);
        h.s.delete(&format!("/computers/{copy}")).expect(200);
        h.until("its container to stop", || {
            (h.fake.of(&copy)?.state == "exited").then_some(())
        });
        h.s.advance(60);
    };
    stops();
    h.s.delete(&format!("{path}/snapshots/{id}")).expect(200);
    h.looked();
    assert_eq!(left(&h), [image(&id)]);
    h.s.post(&format!("/computers/{copy}/restore"), json!({}))
        .expect(200);
    h.act(&copy, "start");
    h.becomes(&copy, "running");
    stops();
    h.s.clock.set(h.s.app.store.now().plus_seconds(31 * 86_400));
    let forget = |tx: &workspaced::testing::WriteTx<'_>| forget_deleted(tx, 100);
    assert_eq!(h.s.app.store.write_blocking(forget).unwrap(), 1);
    h.until("its image to go", || left(&h).is_empty().then_some(()));
}

#[test]
fn what_is_kept_is_limited_and_counts_on_a_line_of_its_own() {
    let h = House::with(|engine| engine.snapshots.per_computer = 1);
    let id = h.computer();
    let path = format!("/computers/{id}");
    let snapshot = take(&h, &id);
    let text =
        h.s.post(&format!("{path}/snapshots"), json!({}))
            .refused(422, "LIMIT_EXCEEDED");
    assert!(text.contains("max_snapshots_per_computer is 1"), "{text}");
    let refusals = h.s.get("/refusals").expect(200);
    assert_eq!(refusals["data"][0]["limit"], "max_snapshots_per_computer");
    let before = h.s.get("/usage/summary").expect(200)["total_credits_micros"].clone();
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    let storage = || {
        let usage = format!("/workspaces/{}/usage?window=24h", h.s.default_workspace);
        let of_workspace = h.s.get(&usage).expect(200)["storage"].clone();
        assert_eq!(
            of_workspace,
            h.s.get("/usage/summary").expect(200)["storage"]
        );
        of_workspace
    };
    h.s.clock.set(h.s.app.store.now().plus_seconds(7200));
    assert_eq!(
        storage(),
        json!({ "gb_hours": 0.002, "gb": 0.001, "price": "free", "credits_used": 0 })
    );
    h.s.delete(&format!("{path}/snapshots/{snapshot}"))
        .expect(200);
    h.s.clock.set(h.s.app.store.now().plus_seconds(7200));
    assert_eq!(
        storage(),
        json!({ "gb_hours": 0.002, "gb": 0.0, "price": "free", "credits_used": 0 })
    );
    let after = h.s.get("/usage/summary").expect(200)["total_credits_micros"].clone();
    assert_eq!(before, after, "what is kept costs nothing");
    // One that is deleted makes room.
    take(&h, &id);
}

#[test]
fn a_snapshot_that_fails_says_why_and_leaves_nothing() {
    let h = House::new();
    let id = h.computer();
    let path = format!("/computers/{id}");
    let broken = (500, "no space left on device".to_owned(), 1);
    h.fake.inside(|i| i.fails.insert("lay".into(), broken));
    let made =
        h.s.post(&format!("{path}/snapshots"), json!({}))
            .expect(201);
    let snapshot = made["id"].as_str().unwrap();
    let found = taken(&h, &id, snapshot);
    assert_eq!(found["status"], "failed");
    assert!(
        found["error"].as_str().unwrap().contains("no space left"),
        "{found}"
    );
    assert!(left(&h).is_empty(), "{:?}", left(&h));
    let text =
        h.s.post(&format!("{path}/restore/{snapshot}"), json!({}))
            .refused(409, "SNAPSHOT_NOT_READY");
    assert!(text.contains("no space left"), "{text}");
    h.s.post(
        &format!("{path}/snapshots"),
        json!({ "comment": "x".repeat(501) }),
    )
    .invalid(&["comment"]);
    h.s.delete(&format!("{path}/snapshots/{snapshot}"))
        .expect(200);
    // The computer goes on as if nothing had been.
    assert_eq!(h.show(&id)["status"], "running");
}

#[test]
fn a_kill_while_a_snapshot_is_taken_leaves_one_and_no_rest() {
    for verb in ["commit", "create", "archive", "lay", "remove image"] {
        let mut h = House::new();
        let id = h.computer();
        h.fake.inside(|i| i.hangs.insert(verb.into()));
        let made =
            h.s.post(&format!("/computers/{id}/snapshots"), json!({}))
                .expect(201);
        let snapshot = made["id"].as_str().unwrap().to_owned();
        super::pause(100);
        h.sleep();
        h.fake.inside(|i| i.hangs.clear());
        h.restart();
        let found = taken(&h, &id, &snapshot);
        assert_eq!(found["status"], "ready", "{verb}: {found}");
        h.until("one image and nothing else", || {
            (left(&h) == [image(&snapshot)]).then_some(())
        });
    }
}

#[test]
fn snapshots_go_with_their_computer_unless_another_one_began_with_them() {
    let h = House::new();
    let id = h.computer();
    let kept = take(&h, &id);
    take(&h, &id);
    let copy =
        h.s.post(&format!("/computers/{id}/restore/{kept}"), json!({}))
            .expect(201);
    let copy = copy["data"]["id"].as_str().unwrap();
    h.becomes(copy, "running");
    h.s.delete(&format!("/computers/{id}")).expect(200);
    h.until("one of them to go", || {
        (left(&h) == [image(&kept)]).then_some(())
    });
    h.act(copy, "restart");
    h.becomes(copy, "running");
    h.s.delete(&format!("/computers/{copy}")).expect(200);
    h.until("the copy to go", || h.fake.of(copy).is_none().then_some(()));
    h.until("the other to go", || {
        h.s.clock.set(h.s.app.store.now().plus_seconds(1));
        left(&h).is_empty().then_some(())
    });
    assert_eq!(h.s.count("SELECT count(*) FROM computer_origins"), 0);
}

#[test]
fn where_there_is_no_machine_there_is_nothing_to_keep() {
    let h = House::new();
    h.ready();
    let made =
        h.s.post("/computers", json!({ "name": "S", "driver": "simulated" }))
            .expect(201);
    let path = format!("/computers/{}/snapshots", made["id"].as_str().unwrap());
    let text = h.s.post(&path, json!({})).refused(404, "NOT_FOUND");
    assert!(text.contains("no machine behind this computer"), "{text}");
    h.s.get(&path).refused(404, "NOT_FOUND");
}
