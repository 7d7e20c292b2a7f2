//! What was deleted comes back, with everything that a customer could be billed for unchanged.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::Service;
use crate::usage::{event, external, total_ms};
use workspaced::testing::{Config, forget_deleted, verify};

const DAY: i64 = 86_400;

fn forget(s: &Service) -> usize {
    let mut all = 0;
    loop {
        let forget = |tx: &workspaced::testing::WriteTx<'_>| forget_deleted(tx, 100);
        let done = s.app.store.write_blocking(forget).unwrap();
        all += done;
        if done == 0 {
            return all;
        }
    }
}

fn proven(s: &Service) {
    let findings = s.app.store.read_blocking(verify).unwrap();
    assert!(findings.ok, "{findings}");
}

fn usage(s: &Service) -> Value {
    s.get("/usage?group_by=workspace_id&period=30d").expect(200)["results"].clone()
}

fn restore(s: &Service, what: &str) -> Value {
    s.post(&format!("{what}/restore"), json!({})).expect(200)
}

#[test]
fn a_workspace_comes_back_with_what_went_with_it() {
    let s = Service::new();
    let ws = s.workspace("Clinic");
    let path = format!("/workspaces/{ws}");
    s.put(&format!("{path}/settings"), json!({ "max_computers": 3 }))
        .expect(200);
    let project = s
        .post("/projects", json!({ "name": "Site", "workspace_id": ws }))
        .expect(201);
    let runs = s.running(&ws, "small");
    let sleeps = s.computer(&ws, "xs");
    let before = s.computer(&ws, "xs");
    s.advance(3600);
    s.delete(&format!("/computers/{before}")).expect(200);
    s.advance(1);
    let was = s.get(&path).expect(200);
    s.delete(&format!("{path}?force=1")).expect(200);
    let bill = usage(&s);
    s.get(&path).refused(404, "NOT_FOUND");
    let bin = s.get("/deleted").expect(200);
    assert_eq!(
        (&bin["total"], &bin["data"][0]["type"]),
        (&json!(2), &json!("workspace"))
    );
    let row = &bin["data"][0];
    assert_eq!(
        (&row["computers"], &row["projects"]),
        (&json!(2), &json!(2)),
        "{row}"
    );
    assert_eq!(bin["data"][1]["parent_deleted"], true, "{bin}");
    assert_eq!(s.get("/deleted?type=computer").expect(200)["total"], 1);
    s.get("/deleted?type=key").invalid(&["type"]);

    // What lies in it says what to do first.
    for inside in [
        format!("/computers/{runs}"),
        format!("/computers/{before}"),
        format!("/projects/{}", project["id"].as_str().unwrap()),
    ] {
        let told = s.post(&format!("{inside}/restore"), json!({}));
        told.refused(409, "PARENT_DELETED");
        assert_eq!(
            told.json()["error"]["details"]["restore_first"]["id"],
            json!(ws)
        );
    }
    s.advance(DAY);
    let back = restore(&s, &path);
    assert_eq!(back["restored"], json!({ "computers": 2, "projects": 2 }));
    assert_eq!(
        (&back["id"], &back["slug"], &back["computer_count"]),
        (&was["id"], &was["slug"], &json!(2))
    );
    assert_eq!(back["not_restored"], json!([]));
    assert_eq!(
        s.get(&format!("{path}/settings")).expect(200)["settings"]["max_computers"],
        3
    );
    for id in [&runs, &sleeps] {
        assert_eq!(
            s.get(&format!("/computers/{id}")).expect(200)["status"],
            "stopped"
        );
    }
    s.get(&format!("/computers/{before}"))
        .refused(404, "NOT_FOUND");
    assert_eq!(
        usage(&s),
        bill,
        "a day as deleted costs nothing, and nothing before it changed"
    );
    assert_eq!(
        restore(&s, &path)["restored"]["computers"],
        0,
        "said twice, done once"
    );
    assert_eq!(
        restore(&s, &format!("/computers/{before}"))["status"],
        "stopped"
    );
    assert_eq!(s.get("/deleted").expect(200)["total"], 0);
    proven(&s);
    s.post(&format!("/computers/{runs}/start"), json!({}))
        .expect(200);
    s.advance(3600);
    proven(&s);
    let log = s.get("/audit-log?limit=100").expect(200).to_string();
    for kind in [
        "workspace.restored",
        "project.restored",
        "computer.restored",
    ] {
        assert!(log.contains(kind), "{kind}");
    }
    // And once more.
    s.delete(&format!("{path}?force=1")).expect(200);
    assert_eq!(restore(&s, &path)["restored"]["computers"], 3);
    proven(&s);
}

#[test]
fn more_than_one_turn_of_the_writer_comes_back_too() {
    let s = Service::new();
    let ws = s.workspace("Large");
    for _ in 0..120 {
        s.computer(&ws, "xs");
    }
    s.delete(&format!("/workspaces/{ws}?force=1")).expect(200);
    let back = restore(&s, &format!("/workspaces/{ws}"));
    assert_eq!(
        (&back["restored"]["computers"], &back["computer_count"]),
        (&json!(120), &json!(120))
    );
    assert_eq!(
        s.get(&format!("/workspaces/{ws}")).expect(200)["computer_count"],
        120
    );
    proven(&s);
}

#[test]
fn what_others_have_by_now_is_said() {
    let s = Service::new();
    let body = json!({ "name": "Clinic", "external_workspace_id": "c1" });
    let ws = s.post("/workspaces", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/workspaces/{ws}");
    s.put(
        &format!("{path}/preview-domain"),
        json!({ "domain": "clinic.example" }),
    )
    .expect(200);
    s.post("/api-keys", json!({ "name": "theirs", "workspace_id": ws }))
        .expect(201);
    s.post(&format!("{path}/share-links"), json!({}))
        .expect(201);
    let pc = |place: &str| {
        s.post("/computers", json!({ "name": "pc", "workspace_id": place }))
            .expect(201)
    };
    let computer = pc(&ws)["id"].as_str().unwrap().to_owned();
    s.delete(&format!("{path}?force=1")).expect(200);
    let other = json!({ "name": "Other", "slug": "clinic", "external_workspace_id": "c1" });
    let other = s.post("/workspaces", other).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(pc(&other)["slug"], "pc");
    let (theirs, _) = s.other_tenant("rival");
    let claim = json!({ "domain": "clinic.example" });
    s.call_as(&theirs, Method::PUT, "/tenant/preview-domain", Some(claim))
        .expect(200);

    let told = s
        .post(&format!("{path}/restore"), json!({}))
        .invalid(&["external_workspace_id", "slug"]);
    assert!(
        told["errors"]["slug"][0]
            .as_str()
            .unwrap()
            .contains("\"Other\""),
        "{told}"
    );
    let body = json!({ "slug": "clinic-2", "external_workspace_id": null });
    let back = s.post(&format!("{path}/restore"), body).expect(200);
    assert_eq!(
        (&back["slug"], &back["external_workspace_id"]),
        (&json!("clinic-2"), &Value::Null)
    );
    let lost: Vec<_> = back["not_restored"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| lost["what"].as_str().unwrap())
        .collect();
    assert_eq!(lost, ["api_keys", "share_links", "preview_domain"]);
    assert_eq!(
        s.get(&format!("{path}/share-links")).expect(200)["total"],
        0
    );
    let keys = s.get("/api-keys").expect(200).to_string();
    assert!(!keys.contains("theirs"), "a key stays revoked: {keys}");
    // Its label is taken; it has another one.
    let slug = s.get(&format!("/computers/{computer}")).expect(200)["slug"].clone();
    assert_ne!(slug, "pc");
    // A foreign key may neither look nor restore.
    s.delete(&format!("/computers/{computer}")).expect(200);
    s.call_as(
        &theirs,
        Method::POST,
        &format!("/computers/{computer}/restore"),
        None,
    )
    .refused(403, "FORBIDDEN");
    assert_eq!(
        s.call_as(&theirs, Method::GET, "/deleted", None)
            .expect(200)["total"],
        0
    );
    proven(&s);
}

#[test]
fn a_domain_comes_back_to_be_checked() {
    let s = Service::new();
    let ws = s.workspace("Clinic");
    s.put(
        &format!("/workspaces/{ws}/preview-domain"),
        json!({ "domain": "clinic.example" }),
    )
    .expect(200);
    let project = s
        .post("/projects", json!({ "name": "Site", "workspace_id": ws }))
        .expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    s.put(
        &format!("/projects/{project}/preview-domain"),
        json!({ "domain": "site.example" }),
    )
    .expect(200);
    s.delete(&format!("/workspaces/{ws}?force=1")).expect(200);
    assert_eq!(
        restore(&s, &format!("/workspaces/{ws}"))["not_restored"],
        json!([])
    );
    for (place, domain) in [
        (format!("/workspaces/{ws}"), "clinic.example"),
        (format!("/projects/{project}"), "site.example"),
    ] {
        let shown = s.get(&format!("{place}/preview-domain")).expect(200);
        assert_eq!(
            (&shown["preview_domain"], &shown["dns_status"]),
            (&json!(domain), &json!("pending"))
        );
    }
    s.delete(&format!("/projects/{project}")).expect(200);
    assert_eq!(restore(&s, &format!("/projects/{project}"))["slug"], "site");
    let shown = s
        .get(&format!("/projects/{project}/preview-domain"))
        .expect(200);
    assert_eq!(shown["preview_domain"], "site.example");
}

#[test]
fn limits_hold_again() {
    let s = Service::new();
    let ws = s.workspace("Clinic");
    let settings = format!("/workspaces/{ws}/settings");
    let gone = s.computer(&ws, "large");
    s.delete(&format!("/computers/{gone}")).expect(200);
    s.put(&settings, json!({ "max_computers": 0 })).expect(200);
    let path = format!("/computers/{gone}/restore");
    s.post(&path, json!({})).refused(422, "LIMIT_EXCEEDED");
    s.put(
        &settings,
        json!({ "max_computers": 1, "max_computer_size": "small" }),
    )
    .expect(200);
    s.post(&path, json!({})).invalid(&["size"]);
    s.put(&settings, json!({ "max_computer_size": null }))
        .expect(200);
    s.post(&path, json!({})).expect(200);
    s.post("/computers", json!({ "name": "pc", "workspace_id": ws }))
        .refused(422, "LIMIT_EXCEEDED");
    proven(&s);
}

#[test]
fn a_project_that_moved_takes_its_deleted_computer_along() {
    let s = Service::new();
    let (from, to) = (s.workspace("From"), s.workspace("To"));
    let project = s
        .post("/projects", json!({ "name": "Site", "workspace_id": from }))
        .expect(201)["id"]
        .clone();
    let computer = s
        .post("/computers", json!({ "name": "pc", "project_id": project }))
        .expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    s.advance(60);
    s.delete(&format!("/computers/{computer}")).expect(200);
    s.post(
        &format!("/projects/{}/move", project.as_str().unwrap()),
        json!({ "target_workspace_id": to }),
    )
    .expect(200);
    let back = restore(&s, &format!("/computers/{computer}"));
    assert_eq!(back["workspace_id"], json!(to));
    proven(&s);
    // A project that is deleted alone comes before what was in it.
    s.delete(&format!("/computers/{computer}")).expect(200);
    s.delete(&format!("/projects/{}", project.as_str().unwrap()))
        .expect(200);
    let told = s.post(&format!("/computers/{computer}/restore"), json!({}));
    told.refused(409, "PARENT_DELETED");
    assert_eq!(
        told.json()["error"]["details"]["restore_first"]["type"],
        "project"
    );
    restore(&s, &format!("/projects/{}", project.as_str().unwrap()));
    restore(&s, &format!("/computers/{computer}"));
    proven(&s);
}

#[test]
fn after_thirty_days_it_is_forgotten_and_not_before_the_job_has_done_so() {
    let s = Service::new();
    let ws = s.workspace("Clinic");
    let computer = s.computer(&ws, "xs");
    s.delete(&format!("/workspaces/{ws}?force=1")).expect(200);
    s.advance(29 * DAY);
    assert_eq!(forget(&s), 0);
    s.advance(2 * DAY);
    // The clock alone takes nothing: it may be wrong, and the job waits until it is believed.
    assert_eq!(s.get("/deleted").expect(200)["total"], 1);
    assert_eq!(forget(&s), 3, "the workspace, its project and its computer");
    assert_eq!(s.get("/deleted").expect(200)["total"], 0);
    s.post(&format!("/workspaces/{ws}/restore"), json!({}))
        .refused(409, "NOT_RESTORABLE");
    s.post(&format!("/computers/{computer}/restore"), json!({}))
        .refused(409, "NOT_RESTORABLE");
    proven(&s);
}

#[test]
fn where_nothing_is_kept_nothing_comes_back() {
    let s = Service::with(Config {
        keep_deleted_ms: 0,
        ..Config::default()
    });
    let ws = s.workspace("Clinic");
    s.delete(&format!("/workspaces/{ws}")).expect(200);
    s.post(&format!("/workspaces/{ws}/restore"), json!({}))
        .refused(409, "NOT_RESTORABLE");
    assert_eq!(s.get("/deleted").expect(200)["total"], 0);
    let unknown = "/workspaces/7a1f0000-0000-4000-8000-00000000dead/restore";
    s.post(unknown, json!({})).refused(404, "NOT_FOUND");
}

#[test]
fn what_is_reported_late_does_not_undo_a_restore() {
    let s = Service::new();
    let ws = s.workspace("Clinic");
    let id = external(&s, &ws, "small");
    let (began, between) = (
        s.app.store.now().plus_seconds(60),
        s.app.store.now().plus_seconds(5400),
    );
    s.advance(3600);
    s.delete(&format!("/computers/{id}")).expect(200);
    s.advance(3600);
    restore(&s, &format!("/computers/{id}"));
    s.advance(60);
    // It ran before it was deleted, and was said to run while it was.
    let events = [
        event("a", "started", &id, &began.to_string(), json!({})),
        event("b", "started", &id, &between.to_string(), json!({})),
    ];
    s.post("/compute-events", json!({ "events": events }))
        .expect(200);
    assert_eq!(
        s.get(&format!("/computers/{id}")).expect(200)["status"],
        "stopped"
    );
    assert_eq!(total_ms(&s, &ws, "window=24h"), 3_540_000);
    proven(&s);
}

#[test]
fn a_delegated_key_restores_its_users_computers_only() {
    let s = Service::new();
    let body = json!({ "external_user_id": "u1", "scopes": ["computers:*", "workspaces:read"], "name": "for the user" });
    let made = s.post("/api-keys/scoped", body).expect(201);
    let key = made["data"]["token"].as_str().unwrap();
    let mut gone = Vec::new();
    for user in ["u1", "u2"] {
        let body = json!({ "name": format!("of {user}"), "external_user_id": user });
        let made = s.post("/computers", body).expect(201);
        let path = format!("/computers/{}", made["id"].as_str().unwrap());
        s.delete(&path).expect(200);
        gone.push(path);
    }
    assert_eq!(s.get("/deleted").expect(200)["total"], 2);
    s.call_as(key, Method::GET, "/deleted", None)
        .refused(403, "FORBIDDEN");
    let theirs = format!("{}/restore", gone[1]);
    s.call_as(key, Method::POST, &theirs, None)
        .refused(403, "FORBIDDEN");
    let own = format!("{}/restore", gone[0]);
    s.call_as(key, Method::POST, &own, None).expect(200);
}
