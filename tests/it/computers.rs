//! Computers: creation with what holds them, the life of a machine, size, place and end.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Service, at, redact};
use workspaced::testing::{Config, ConfigFile};

fn id(body: &Value) -> String {
    body["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_computer_in_full() {
    let s = Service::new();
    let workspace = s
        .post(
            "/workspaces",
            json!({ "name": "Harbor", "external_workspace_id": "cust_88" }),
        )
        .expect(201);
    s.put(
        &format!("/workspaces/{}/settings", id(&workspace)),
        json!({ "default_auto_stop_seconds": 3600 }),
    )
    .expect(200);
    let body = json!({
        "name": "Front Desk", "workspace_id": workspace["id"], "selected_apps": ["chrome"],
        "metadata": { "floor": 2 }, "external_user_id": "u1", "skip_agent_runtime_profile": true,
    });
    let created = s.post("/computers", body).expect(201);
    assert_eq!(
        redact(created.clone()),
        json!({
            "id": "[uuid]", "tenant_id": "[uuid]", "workspace_id": "[uuid]", "project_id": "[uuid]",
            "owner_user_id": null, "name": "Front Desk", "slug": "front-desk", "template_type": "miosa-desktop",
            "size": "small", "vcpus": 1, "cpu_count": 1, "memory_mb": 4096, "disk_gb": 20,
            "status": "provisioning", "driver": "simulated", "visibility": "public", "metadata": { "floor": 2 },
            "external_workspace_id": "cust_88", "external_user_id": "u1", "external_project_id": null,
            "vm_id": null, "ip_address": null, "region": "local",
            "sandbox_url": "https://front-desk.sandbox.miosa.ai",
            "desktop_url": "https://front-desk.computer.miosa.ai/desktop/index.html",
            "public_url": "https://front-desk.sandbox.miosa.ai", "preview_domain": "miosa.ai",
            "selected_apps": ["chrome"], "settings": {}, "auto_stop_seconds": 3600, "auto_stop_at": null,
            "created_at": "[time]", "updated_at": "[time]", "started_at": null, "stopped_at": null,
        })
    );
    assert_eq!(
        s.get(&format!("/computers/{}", id(&created))).expect(200),
        created
    );
    // A namesake gets a host name of its own.
    let twin = s
        .post("/computers", json!({ "name": "Front Desk" }))
        .expect(201);
    let slug = twin["slug"].as_str().unwrap();
    assert!(
        slug.starts_with("front-desk-") && slug.len() == "front-desk-".len() + 6,
        "{slug}"
    );
}

#[test]
fn workspace_defaults_apply_and_the_request_wins() {
    let s = Service::new();
    let w = s.workspace("A");
    let settings = json!({ "default_computer_size": "medium", "default_auto_stop_seconds": 60 });
    s.put(&format!("/workspaces/{w}/settings"), settings)
        .expect(200);
    let plain = s
        .post("/computers", json!({ "name": "a", "workspace_id": w }))
        .expect(201);
    assert_eq!(
        (&plain["size"], &plain["auto_stop_seconds"]),
        (&json!("medium"), &json!(60))
    );
    let own = json!({ "name": "b", "workspace_id": w, "size": "xlarge", "auto_stop_seconds": 0 });
    let own = s.post("/computers", own).expect(201);
    assert_eq!(
        (&own["size"], &own["auto_stop_seconds"]),
        (&json!("xl"), &json!(0))
    );
}

#[test]
fn workspace_and_project_are_found_or_made() {
    let s = Service::new();
    let w = s.workspace("Clinic");
    let body = json!({ "name": "a", "workspaceId": w, "projectSlug": "lead-magnet", "projectName": "Lead Magnet" });
    let first = s.post("/computers", body.clone()).expect(201);
    let second = s.post("/computers", body).expect(201);
    assert_eq!(first["project_id"], second["project_id"]);
    let projects = s.get(&format!("/workspaces/{w}/projects")).expect(200);
    assert_eq!(projects["total"], 1);
    assert_eq!(
        (&projects["data"][0]["name"], &projects["data"][0]["slug"]),
        (&json!("Lead Magnet"), &json!("lead-magnet"))
    );
    assert_eq!(projects["data"][0]["computer_count"], 2);

    // Nothing named: the default workspace and its default project, made on first need.
    let plain = s.post("/computers", json!({ "name": "a" })).expect(201);
    assert_eq!(plain["workspace_id"], s.default_workspace);
    let project = s
        .get(&format!(
            "/projects/{}",
            plain["project_id"].as_str().unwrap()
        ))
        .expect(200);
    assert_eq!(
        (&project["is_default"], &project["slug"]),
        (&json!(true), &json!("default"))
    );

    // By slug and name, and again; by the caller's own ids, and again.
    let by_slug = json!({ "name": "a", "workspace_slug": "new-one", "workspace_name": "New One" });
    let made = s.post("/computers", by_slug.clone()).expect(201);
    assert_eq!(
        s.post("/computers", by_slug).expect(201)["workspace_id"],
        made["workspace_id"]
    );
    let made = s
        .get(&format!(
            "/workspaces/{}",
            made["workspace_id"].as_str().unwrap()
        ))
        .expect(200);
    assert_eq!(
        (&made["name"], &made["slug"], &made["computer_count"]),
        (&json!("New One"), &json!("new-one"), &json!(2))
    );
    let by_external =
        json!({ "name": "a", "external_workspace_id": "Cust 9", "external_project_id": "P/1" });
    let made = s.post("/computers", by_external.clone()).expect(201);
    let again = s.post("/computers", by_external).expect(201);
    assert_eq!(
        (&made["workspace_id"], &made["project_id"]),
        (&again["workspace_id"], &again["project_id"])
    );
    assert_eq!(
        (&made["external_workspace_id"], &made["external_project_id"]),
        (&json!("Cust 9"), &json!("P/1"))
    );
    let workspace = s
        .get(&format!(
            "/workspaces/{}",
            made["workspace_id"].as_str().unwrap()
        ))
        .expect(200);
    assert_eq!(workspace["slug"], "cust-9");
}

#[test]
fn unknown_and_foreign_ids_in_a_body_are_told() {
    let s = Service::new();
    let (other, foreign) = s.other_tenant("other");
    let theirs = s
        .call_as(
            &other,
            Method::POST,
            "/computers",
            Some(json!({ "name": "x" })),
        )
        .expect(201);
    let mine = s.post("/computers", json!({ "name": "x" })).expect(201);
    let elsewhere = s.workspace("Elsewhere");
    let unknown = "7a1f0000-0000-4000-8000-00000000dead";
    let before = s.fingerprint();
    let create = |body: Value| s.post("/computers", body);
    create(json!({ "name": "a", "workspace_id": unknown })).refused(404, "NOT_FOUND");
    create(json!({ "name": "a", "workspace_id": foreign })).refused(403, "FORBIDDEN");
    create(json!({ "name": "a", "project_id": unknown })).refused(404, "NOT_FOUND");
    create(json!({ "name": "a", "project_id": theirs["project_id"] })).refused(403, "FORBIDDEN");
    create(json!({ "name": "a", "workspace_id": elsewhere, "project_id": mine["project_id"] }))
        .invalid(&["project_id"]);
    create(json!({ "name": "a", "workspace_id": "nonsense" })).invalid(&["workspace_id"]);
    create(json!({ "name": "a", "size": "huge", "template_type": "no", "visibility": "x", "auto_stop_seconds": -1 }))
        .invalid(&["auto_stop_seconds", "size", "template_type", "visibility"]);
    create(json!({ "name": "a", "workspaceId": elsewhere, "workspace_id": s.default_workspace }))
        .invalid(&["workspace_id"]);
    assert_eq!(s.fingerprint(), before);
}

#[test]
fn a_life() {
    let s = Service::new();
    let c = s.computer(&s.default_workspace, "small");
    let path = format!("/computers/{c}");
    let status = || {
        s.get(&path).expect(200)["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let act = |verb: &str| s.call_as(&s.key, Method::POST, &format!("{path}/{verb}"), None);

    // On the way up: start is no error, stop and restart must wait.
    assert_eq!(act("start").expect(200)["status"], "provisioning");
    act("stop").refused(409, "COMPUTER_STARTING");
    act("restart").refused(409, "COMPUTER_STARTING");
    s.advance(1);
    let running = s.get(&path).expect(200);
    assert_eq!(
        (&running["status"], &running["started_at"]),
        (&json!("running"), &json!("2026-05-20T10:15:31Z"))
    );
    let started = act("start").expect(200);
    assert_eq!(
        (&started["status"], &started["success"]),
        (&json!("running"), &json!(true))
    );
    assert!(started["message"].is_string() && started["id"] == c && started.get("data").is_none());

    // Down, and again.
    assert_eq!(act("stop").expect(200)["status"], "stopping");
    assert_eq!(act("stop").expect(200)["status"], "stopping");
    act("start").refused(409, "RESOURCE_STATE");
    s.advance(1);
    let stopped = s.get(&path).expect(200);
    assert_eq!(
        (&stopped["status"], &stopped["stopped_at"]),
        (&json!("stopped"), &json!("2026-05-20T10:15:32Z"))
    );
    assert_eq!(act("stop").expect(200)["status"], "stopped");
    act("restart").refused(409, "TARGET_NOT_RUNNING");

    // Up again, restart, gone.
    assert_eq!(act("start").expect(200)["status"], "starting");
    s.advance(1);
    assert_eq!(act("restart").expect(200)["status"], "starting");
    s.advance(1);
    assert_eq!(status(), "running");
    assert_eq!(
        s.delete(&path).expect(200),
        json!({ "deleted": true, "success": true, "id": c, "status": "destroyed" })
    );
    assert_eq!(s.get(&path).refused(404, "NOT_FOUND"), "computer not found");
    assert_eq!(
        s.delete(&path).refused(404, "NOT_FOUND"),
        "computer not found"
    );

    let kinds = s.app.store.read_blocking(|tx| {
        let mut rows = tx.prepare("SELECT type FROM compute_events ORDER BY seq")?;
        let kinds = rows
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(kinds.join(" ").replace("computer.", ""))
    });
    assert_eq!(
        kinds.unwrap(),
        "created running stopping stopped starting running starting running deleted"
    );
}

#[test]
fn actions_accept_no_body_null_and_an_object() {
    let s = Service::new();
    let c = s.running(&s.default_workspace, "small");
    for body in [
        None,
        Some(Value::Null),
        Some(json!({})),
        Some(json!({ "env": { "A": "b" } })),
    ] {
        s.call_as(&s.key, Method::POST, &format!("/computers/{c}/start"), body)
            .expect(200);
    }
}

#[test]
fn idle_computers_stop_at_their_deadline() {
    let s = Service::new();
    let body = json!({ "name": "a", "auto_stop_seconds": 600 });
    let c = id(&s.post("/computers", body).expect(201));
    let path = format!("/computers/{c}");
    s.advance(1);
    assert_eq!(
        s.get(&path).expect(200)["auto_stop_at"],
        "2026-05-20T10:25:31Z"
    );
    // An activity starts the time again.
    s.advance(500);
    s.patch(&path, json!({ "metadata": { "seen": true } }))
        .expect(200);
    s.advance(599);
    assert_eq!(s.get(&path).expect(200)["status"], "running");
    s.advance(1);
    assert_eq!(s.get(&path).expect(200)["status"], "stopping");
    s.advance(1);
    let stopped = s.get(&path).expect(200);
    assert_eq!(
        (&stopped["status"], &stopped["stopped_at"]),
        (&json!("stopped"), &json!("2026-05-20T10:33:52Z"))
    );
    assert_eq!(stopped["auto_stop_at"], Value::Null);

    let auto_stop = format!("{path}/auto-stop");
    assert_eq!(
        s.patch(&auto_stop, json!({ "seconds": 0 })).expect(200),
        json!({ "computer_id": c, "seconds": 0, "enabled": false, "auto_stop_seconds": 0, "auto_stop_at": null })
    );
    assert_eq!(s.get(&auto_stop).expect(200)["enabled"], false);
    s.patch(&auto_stop, json!({ "seconds": -1 }))
        .invalid(&["seconds"]);
    s.patch(&auto_stop, json!({})).invalid(&["seconds"]);
}

#[test]
fn what_fell_due_while_the_service_was_down_is_dated_at_its_deadline() {
    let s = Service::new();
    let first = id(&s
        .post(
            "/computers",
            json!({ "name": "a", "auto_stop_seconds": 3600 }),
        )
        .expect(201));
    let second = id(&s
        .post(
            "/computers",
            json!({ "name": "b", "auto_stop_seconds": 1800 }),
        )
        .expect(201));
    // A day without the driver, then one look.
    s.travel_to(at("2026-05-21T10:15:30Z"));
    let rows = s.app.store.read_blocking(|tx| {
        let mut rows = tx.prepare(
            "SELECT c.name || ' ' || e.status, e.at FROM compute_events e
            JOIN computers c ON c.id = e.computer_id ORDER BY e.seq",
        )?;
        let rows = rows
            .query_map([], |r| Ok((r.get::<_, String>(0)?, r.get(1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(rows)
    });
    let expected = [
        ("a provisioning", "2026-05-20T10:15:30Z"),
        ("b provisioning", "2026-05-20T10:15:30Z"),
        ("a running", "2026-05-20T10:15:31Z"),
        ("b running", "2026-05-20T10:15:31Z"),
        ("b stopping", "2026-05-20T10:45:31Z"),
        ("b stopped", "2026-05-20T10:45:32Z"),
        ("a stopping", "2026-05-20T11:15:31Z"),
        ("a stopped", "2026-05-20T11:15:32Z"),
    ];
    assert_eq!(
        rows.unwrap(),
        expected.map(|(what, when)| (what.to_owned(), at(when)))
    );
    for (computer, when) in [
        (first, "2026-05-20T11:15:32Z"),
        (second, "2026-05-20T10:45:32Z"),
    ] {
        assert_eq!(
            s.get(&format!("/computers/{computer}")).expect(200)["stopped_at"],
            when
        );
    }
}

#[test]
fn a_computer_moves_and_patch_cannot_move_it() {
    let s = Service::new();
    let (from, to) = (s.workspace("From"), s.workspace("To"));
    let c = s.running(&from, "small");
    let count = |w: &str| {
        s.get(&format!("/workspaces/{w}")).expect(200)["computer_count"]
            .as_i64()
            .unwrap()
    };
    let body = s
        .patch(&format!("/computers/{c}"), json!({ "workspace_id": to }))
        .invalid(&["workspace_id"]);
    assert!(body["message"].as_str().unwrap().contains("/move"));
    s.patch(&format!("/computers/{c}"), json!({ "workspace_id": from }))
        .expect(200);

    let moved = s
        .post(
            &format!("/computers/{c}/move"),
            json!({ "workspace_id": to }),
        )
        .expect(200);
    assert_eq!(moved["workspace_id"], to);
    assert_eq!(moved["status"], "running");
    assert_eq!(moved["data"]["id"], moved["id"]);
    let mut flat = moved.clone();
    let data = flat.as_object_mut().unwrap().remove("data").unwrap();
    flat.as_object_mut().unwrap().remove("success");
    assert_eq!(flat, data, "both levels carry every field");
    assert_eq!((count(&from), count(&to)), (0, 1));
    // Again: nothing happens.
    let before = s.fingerprint();
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": to }),
    )
    .expect(200);
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "host_id": "h", "region": "r" }),
    )
    .expect(200);
    s.post(&format!("/computers/{c}/move"), json!({}))
        .invalid(&["workspace_id"]);
    assert_eq!(s.fingerprint(), before);
    // Into a project of the target.
    let project = s
        .post("/projects", json!({ "workspace_id": from, "name": "P" }))
        .expect(201);
    let moved = s
        .post(
            &format!("/computers/{c}/move"),
            json!({ "project_id": project["id"] }),
        )
        .expect(200);
    assert_eq!(
        (&moved["workspace_id"], &moved["project_id"]),
        (&json!(from), &project["id"])
    );
    let (_, foreign) = s.other_tenant("other");
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": foreign }),
    )
    .refused(403, "FORBIDDEN");
    let unknown = "7a1f0000-0000-4000-8000-00000000dead";
    s.post(
        &format!("/computers/{c}/move"),
        json!({ "workspace_id": unknown }),
    )
    .refused(404, "NOT_FOUND");
}

#[test]
fn resize_and_clone() {
    let s = Service::new();
    let c = s.running(&s.default_workspace, "small");
    let resized = s
        .post(
            &format!("/computers/{c}/resize"),
            json!({ "size": "medium", "cpu_count": 9 }),
        )
        .expect(200);
    assert_eq!(
        (
            &resized["data"]["size"],
            &resized["vcpus"],
            &resized["status"]
        ),
        (&json!("medium"), &json!(2), &json!("running"))
    );
    s.patch(
        &format!("/computers/{c}/resize"),
        json!({ "size": "large" }),
    )
    .expect(200);
    s.post(&format!("/computers/{c}/resize"), json!({ "size": "huge" }))
        .invalid(&["size"]);
    s.post(&format!("/computers/{c}/resize"), json!({}))
        .invalid(&["size"]);
    let copy = s
        .call_as(&s.key, Method::POST, &format!("/computers/{c}/clone"), None)
        .expect(201);
    assert_ne!(copy["id"], c);
    assert_eq!(copy["data"]["id"], copy["id"]);
    assert!(copy["name"].as_str().unwrap().ends_with("-copy"));
    assert_eq!(
        (&copy["size"], &copy["status"]),
        (&json!("large"), &json!("provisioning"))
    );
}

#[test]
fn caps_bite_everywhere_and_leave_nothing_behind() {
    let s = Service::new();
    let (w, roomy) = (s.workspace("Tight"), s.workspace("Roomy"));
    let set = |body: Value| {
        s.put(&format!("/workspaces/{w}/settings"), body)
            .expect(200)
    };
    set(json!({ "max_computers": 1 }));
    let c = s.running(&w, "small");
    let outside = s.running(&roomy, "large");
    let project = s
        .post("/projects", json!({ "workspace_id": roomy, "name": "P" }))
        .expect(201);
    let project_path = format!("/projects/{}", id(&project));
    s.post(
        &format!("/computers/{outside}/move"),
        json!({ "project_id": project["id"] }),
    )
    .expect(200);
    let before = s.fingerprint();

    let create =
        json!({ "name": "x", "workspace_id": w, "project_slug": "new", "project_name": "New" });
    let answer = s.post("/computers", create.clone());
    let message = answer.refused(422, "LIMIT_EXCEEDED");
    assert!(
        message.contains("delete or move a computer") && message.contains("raise max_computers"),
        "{message}"
    );
    assert_eq!(
        answer.json()["error"]["details"],
        json!({ "limit": "max_computers", "scope": "workspace", "max": 1, "current": 1, "source": "workspace settings" })
    );
    let to_tight = json!({ "workspace_id": w });
    s.post(&format!("/computers/{c}/clone"), json!({}))
        .refused(422, "LIMIT_EXCEEDED");
    s.post(&format!("/computers/{outside}/move"), to_tight.clone())
        .refused(422, "LIMIT_EXCEEDED");
    s.post(
        &format!("{project_path}/move"),
        json!({ "target_workspace_id": w }),
    )
    .refused(422, "LIMIT_EXCEEDED");
    assert_eq!(s.fingerprint(), before, "no project, no event, nothing");

    set(json!({ "max_computers": 5, "max_computer_size": "small" }));
    let mut large = create;
    large["size"] = "large".into();
    let before = s.fingerprint();
    let body = s.post("/computers", large).invalid(&["size"]);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("max_computer_size small")
    );
    s.post(&format!("/computers/{outside}/move"), to_tight)
        .invalid(&["size"]);
    s.post(
        &format!("{project_path}/move"),
        json!({ "target_workspace_id": w }),
    )
    .invalid(&["size"]);
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "medium" }),
    )
    .invalid(&["size"]);
    assert_eq!(s.fingerprint(), before);
}

#[test]
fn lowering_a_cap_blocks_growth_only() {
    let s = Service::new();
    let w = s.workspace("A");
    let c = s.running(&w, "large");
    s.running(&w, "large");
    let settings = json!({ "max_computers": 1, "max_computer_size": "small" });
    let reply = s
        .put(&format!("/workspaces/{w}/settings"), settings)
        .expect(200);
    assert_eq!(
        (
            &reply["effective"]["over_limit"],
            &reply["effective"]["headroom_computers"]
        ),
        (&json!(1), &json!(0))
    );
    for verb in ["stop", "start"] {
        s.post(&format!("/computers/{c}/{verb}"), json!({}))
            .expect(200);
        s.advance(1);
    }
    s.patch(&format!("/computers/{c}"), json!({ "name": "still mine" }))
        .expect(200);
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "medium" }),
    )
    .expect(200);
    s.post(
        &format!("/computers/{c}/resize"),
        json!({ "size": "large" }),
    )
    .invalid(&["size"]);
    s.post(
        "/computers",
        json!({ "name": "x", "workspace_id": w, "size": "small" }),
    )
    .refused(422, "LIMIT_EXCEEDED");
}

#[test]
fn the_organization_is_a_ceiling_over_every_workspace() {
    let file = ConfigFile::parse(
        "templates = [\"miosa-desktop\", \"bare\"]\n[limits]\nmax_computers = 2\nmax_computer_size = \"medium\"\nmax_workspaces = 3\nmax_projects = 3",
    );
    let s = Service::with(Config {
        file: file.unwrap(),
        ..Config::default()
    });
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    s.put(&format!("/workspaces/{a}/settings"), json!({ "max_computers": 9, "max_computer_size": "large", "allowed_template_types": ["bare"] })).expect(200);
    let effective = s.get(&format!("/workspaces/{a}/settings")).expect(200)["effective"].clone();
    assert_eq!(
        effective["max_computers"],
        json!({ "value": 2, "source": "organization" })
    );
    assert_eq!(
        effective["max_computer_size"],
        json!({ "value": "medium", "source": "organization" })
    );
    let create = |w: &str, size: &str, template: &str| {
        s.post(
            "/computers",
            json!({ "name": "x", "workspace_id": w, "size": size, "template_type": template }),
        )
    };
    create(&a, "large", "bare").invalid(&["size"]);
    create(&a, "small", "miosa-desktop").invalid(&["template_type"]);
    create(&a, "small", "bare").expect(201);
    create(&b, "medium", "miosa-desktop").expect(201);
    let answer = create(&b, "small", "bare");
    answer.refused(422, "LIMIT_EXCEEDED");
    assert_eq!(answer.json()["error"]["details"]["scope"], "tenant");
    s.post("/workspaces", json!({ "name": "C" }))
        .refused(422, "LIMIT_EXCEEDED");
    s.post("/projects", json!({ "workspace_id": a, "name": "P" }))
        .expect(201);
    s.post("/projects", json!({ "workspace_id": a, "name": "Q" }))
        .refused(422, "LIMIT_EXCEEDED");
    let plan = s.get("/tenant/plan").expect(200);
    assert_eq!(
        plan["limits"],
        json!({ "max_computers": 2, "max_projects": 3, "max_workspaces": 3 })
    );
    assert_eq!(
        plan["usage"],
        json!({ "max_computers": 2, "max_projects": 3, "max_workspaces": 3 })
    );
    // Deleting makes room again.
    let list = s.get("/computers").expect(200);
    s.delete(&format!("/computers/{}", id(&list["data"][0])))
        .expect(200);
    create(&b, "small", "bare").expect(201);
}

#[test]
fn sixty_four_creates_at_a_cap_of_one_make_one_computer() {
    let s = Service::new();
    let w = s.workspace("A");
    s.put(
        &format!("/workspaces/{w}/settings"),
        json!({ "max_computers": 1 }),
    )
    .expect(200);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let statuses = runtime.block_on(async {
        let calls: Vec<_> = (0..64)
            .map(|n| {
                let body =
                    json!({ "name": format!("pc {n}"), "workspace_id": w, "project_slug": "p" });
                let request =
                    crate::harness::request(&s.key, &Method::POST, "/computers", Some(body));
                let router = s.router.clone();
                tokio::spawn(async move {
                    tower::ServiceExt::oneshot(router, request)
                        .await
                        .unwrap()
                        .status()
                        .as_u16()
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.await.unwrap());
        }
        statuses
    });
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|s| **s == 422).count(), 63);
    assert_eq!(
        s.get(&format!("/workspaces/{w}")).expect(200)["computer_count"],
        1
    );
    assert_eq!(
        s.get(&format!("/workspaces/{w}/projects")).expect(200)["total"],
        1
    );
    assert_eq!(s.count("SELECT count(*) FROM compute_events"), 1);
}

#[test]
fn lists_are_filtered_newest_first_and_paged() {
    let s = Service::new();
    let w = s.workspace("A");
    let mut made = Vec::new();
    for n in 0..5 {
        s.clock.set(at("2026-05-20T11:00:00Z").plus_seconds(n));
        made.push(s.computer(&w, "small"));
    }
    s.run_due();
    made.reverse();
    s.post(
        "/computers",
        json!({ "name": "other", "external_user_id": "u9" }),
    )
    .expect(201);
    let ids = |path: &str| -> (Vec<String>, i64) {
        let body = s.get(path).expect(200);
        (
            body["data"].as_array().unwrap().iter().map(id).collect(),
            body["total"].as_i64().unwrap(),
        )
    };
    assert_eq!(
        ids(&format!("/workspaces/{w}/computers")),
        (made.clone(), 5)
    );
    assert_eq!(
        ids(&format!("/computers?workspace_id={w}&page=2&per_page=2")),
        (made[2..4].to_vec(), 5)
    );
    assert_eq!(ids("/computers").1, 6);
    assert_eq!(ids("/computers?external_user_id=u9").1, 1);
    assert_eq!(
        ids(&format!("/workspaces/{w}/computers?status=running")).1,
        4
    );
    s.get("/computers?status=up").invalid(&["status"]);
    s.get("/computers?workspace_id=x")
        .invalid(&["workspace_id"]);
    s.get("/computers?status=running&status=stopped")
        .invalid(&["status"]);
}

#[test]
fn a_project_moves_with_its_computers() {
    let s = Service::new();
    let (from, to) = (s.workspace("From"), s.workspace("To"));
    let project = s
        .post("/projects", json!({ "workspace_id": from, "name": "Site" }))
        .expect(201);
    let path = format!("/projects/{}", id(&project));
    for n in 0..3 {
        let body = json!({ "name": format!("pc {n}"), "project_id": project["id"] });
        assert_eq!(s.post("/computers", body).expect(201)["workspace_id"], from);
    }
    s.advance(1);
    let moved = s
        .post(
            &format!("{path}/move"),
            json!({ "target_workspace_id": to }),
        )
        .expect(200);
    assert_eq!(
        (&moved["workspace_id"], &moved["computer_count"]),
        (&json!(to), &json!(3))
    );
    let count = |w: &str| s.get(&format!("/workspaces/{w}")).expect(200)["computer_count"].clone();
    assert_eq!((count(&from), count(&to)), (json!(0), json!(3)));
    let counts = "SELECT count(*) FROM workspaces w WHERE computer_count <>
        (SELECT count(*) FROM computers c WHERE c.workspace_id = w.id AND c.deleted_at IS NULL)
        OR project_count <> (SELECT count(*) FROM projects p WHERE p.workspace_id = w.id AND p.deleted_at IS NULL)";
    assert_eq!(s.count(counts), 0);
    s.delete(&path).refused(409, "PROJECT_HAS_COMPUTERS");
    // A slug that the target has already.
    s.post("/projects", json!({ "workspace_id": from, "name": "Site" }))
        .expect(201);
    let clash = s.get(&format!("/projects?workspace_id={from}")).expect(200)["data"][0].clone();
    s.post(
        &format!("/projects/{}/move", id(&clash)),
        json!({ "target_workspace_id": to }),
    )
    .invalid(&["slug"]);
}

#[test]
fn what_fell_due_before_a_large_change_does_not_happen_in_one_turn_of_the_writer() {
    let s = Service::new();
    let w = s.workspace("Fleet");
    for n in 0..120 {
        let body = json!({ "name": format!("c{n}"), "workspace_id": w, "auto_stop_seconds": 60 });
        s.post("/computers", body).expect(201);
    }
    s.advance(10);
    let other = s.workspace("Other");
    let body = json!({ "name": "Empty", "workspace_id": other });
    let project = id(&s.post("/projects", body).expect(201));
    let transactions = || {
        let count = |tx: &workspaced::testing::WriteTx<'_>| Ok(tx.transaction());
        s.app.store.write_blocking(count).unwrap()
    };
    // Nobody has looked at what is due by now.
    s.clock.set(s.app.store.now().plus_seconds(3600));
    let before = transactions();
    s.delete(&format!("/projects/{project}")).expect(200);
    let turns = transactions() - before;
    assert!(turns > 5, "{turns} turns for 120 computers that stop");
    let stopped =
        "SELECT count(DISTINCT computer_id) FROM compute_events WHERE type = 'computer.stopped'";
    assert_eq!(s.count(stopped), 120);
}

#[test]
fn computers_are_found_by_any_part_of_their_name() {
    let s = Service::new();
    let make = |name: &str| {
        let made = s.post("/computers", json!({ "name": name })).expect(201);
        made["id"].as_str().unwrap().to_owned()
    };
    let (gpu, zahn) = (make("GPU retrain"), make("Zahnärzte"));
    let found = |query: &str| {
        let list = s.get(&format!("/computers?{query}")).expect(200);
        let rows = list["data"].as_array().unwrap().clone();
        assert_eq!(list["total"], rows.len());
        let ids = rows
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(found("q=gpu"), std::slice::from_ref(&gpu));
    assert_eq!(found("q=u-RE"), std::slice::from_ref(&gpu), "the slug");
    assert_eq!(found("q=N%C3%84R"), std::slice::from_ref(&zahn));
    assert_eq!(
        found(&format!("q={}", &gpu[..18])),
        found("q="),
        "made in one moment"
    );
    assert_eq!(found(&format!("q={gpu}")), std::slice::from_ref(&gpu));
    assert_eq!(found("q=%25"), [""; 0]);
    assert_eq!(found("q=gpu&status=stopped"), [""; 0]);
    assert_eq!(found("q=").len(), 2);
    let inside = format!("/workspaces/{}/computers?q=zahn", s.default_workspace);
    assert_eq!(s.get(&inside).expect(200)["total"], 1);
}

// ---------------------------------------------------------------------------------------------
// Auto-stops that are announced, and put off

/// What the log has of auto-stops, oldest first: type and instant.
fn notices(s: &Service) -> Vec<(String, String)> {
    let log = s
        .get("/audit-log?type=computer.stop_*&limit=100")
        .expect(200);
    let rows = log["data"].as_array().unwrap().iter().rev();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| (text(&row["type"]), text(&row["ts"])))
        .collect()
}

fn pass(s: &Service, until: &str) {
    let until = crate::harness::at(until);
    crate::harness::runtime()
        .block_on(workspaced::testing::dev::advance(&s.app.emulator, until))
        .unwrap();
}

/// Under a clock that is driven: each notice is written at its instant.
fn driven() -> Service {
    Service::with(Config {
        virtual_clock: true,
        ..Config::default()
    })
}

#[test]
fn an_auto_stop_is_announced_and_can_be_put_off() {
    let s = driven();
    let body = json!({ "name": "pc", "auto_stop_seconds": 1800 });
    let id = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let alive = format!("/computers/{id}/keep-alive");
    s.post(&alive, json!({})).refused(409, "TARGET_NOT_RUNNING");
    // It runs from 10:15:31 on.
    pass(&s, "2026-05-20T10:40:30Z");
    assert_eq!(notices(&s), []);
    pass(&s, "2026-05-20T10:41:00Z");
    let row = |kind: &str, at: &str| (kind.to_owned(), at.to_owned());
    let first = row("computer.stop_soon", "2026-05-20T10:40:31Z");
    assert_eq!(notices(&s), std::slice::from_ref(&first));
    let shown = s.get("/audit-log?type=computer.stop_soon").expect(200);
    let after = &shown["data"][0]["metadata"]["after"];
    assert_eq!(after["auto_stop_at"], "2026-05-20T10:45:31Z");
    assert_eq!(shown["data"][0]["actor_type"], "system");

    let before = s.get(&format!("/computers/{id}")).expect(200);
    let kept = s.post(&alive, json!({})).expect(200);
    assert_eq!(kept["auto_stop_at"], "2026-05-20T11:11:00Z");
    // Whoever put it off let it be billed on: the log has who.
    let shown = s.get("/audit-log?type=computer.kept_alive").expect(200);
    let entry = &shown["data"][0];
    assert_eq!(entry["actor_type"], "api_key");
    assert_eq!(
        entry["metadata"]["after"]["auto_stop_at"],
        "2026-05-20T11:11:00Z"
    );
    let now = s.get(&format!("/computers/{id}")).expect(200);
    assert_eq!(now["auto_stop_at"], "2026-05-20T11:11:00Z");
    assert_eq!(
        now["updated_at"], before["updated_at"],
        "nothing of it has changed"
    );
    pass(&s, "2026-05-20T11:10:59Z");
    assert_eq!(
        s.get(&format!("/computers/{id}")).expect(200)["status"],
        "running"
    );
    let second = row("computer.stop_soon", "2026-05-20T11:06:00Z");
    assert_eq!(
        notices(&s),
        [first.clone(), second.clone()],
        "once for each"
    );
    pass(&s, "2026-05-20T12:00:00Z");
    assert_eq!(
        s.get(&format!("/computers/{id}")).expect(200)["status"],
        "stopped"
    );
    assert_eq!(notices(&s), [first, second]);

    // One that is never idle for long enough to be told before is not.
    let short = json!({ "name": "short", "auto_stop_seconds": 300 });
    s.post("/computers", short).expect(201);
    pass(&s, "2026-05-20T13:00:00Z");
    assert_eq!(notices(&s).len(), 2);
    // The scope is that of starting and stopping.
    let read = json!({ "name": "r", "scopes": ["computers:read"] });
    let key = s.post("/api-keys", read).expect(201)["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    s.call_as(&key, Method::POST, &alive, Some(json!({})))
        .refused(403, "insufficient_scope");
}

#[test]
fn an_agent_is_told_when_its_computer_is_to_stop() {
    let s = driven();
    let body = json!({ "name": "pc", "driver": "external", "auto_stop_seconds": 1200 });
    let id = s.post("/computers", body).expect(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let started = json!({ "events": [{
        "id": "e1", "type": "computer.started", "subject": id, "time": "2026-05-20T10:15:30Z",
    }] });
    s.post("/compute-events", started).expect(200);
    let stops = |s: &Service| {
        s.get(&format!("/computers/{id}/auto-stop")).expect(200)["auto_stop_at"].clone()
    };
    assert_eq!(stops(&s), "2026-05-20T10:35:30Z");
    pass(&s, "2026-05-20T10:31:00Z");
    let alive = s
        .post(&format!("/computers/{id}/keep-alive"), json!({}))
        .expect(200);
    assert_eq!(alive["auto_stop_at"], "2026-05-20T10:51:00Z");
    assert_eq!(stops(&s), "2026-05-20T10:51:00Z");
    pass(&s, "2026-05-20T12:00:00Z");
    let row = |kind: &str, at: &str| (kind.to_owned(), at.to_owned());
    assert_eq!(
        notices(&s),
        [
            row("computer.stop_soon", "2026-05-20T10:30:30Z"),
            row("computer.stop_soon", "2026-05-20T10:46:00Z"),
            row("computer.stop_due", "2026-05-20T10:51:00Z"),
        ]
    );
    // The agent stops it, not this server.
    assert_eq!(
        s.get(&format!("/computers/{id}")).expect(200)["status"],
        "running"
    );
    s.delete(&format!("/computers/{id}")).expect(200);
    assert_eq!(s.count("SELECT count(*) FROM stop_notices"), 0);
}
