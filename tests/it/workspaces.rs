//! Workspaces: every statement of the public API page, endpoint by endpoint.

use axum::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Service, redact};
use workspaced::testing::search;

const UNKNOWN: &str = "7a1f0000-0000-4000-8000-00000000dead";

fn workspace(name: &str, slug: &str, is_default: bool) -> Value {
    json!({
        "id": "[uuid]", "tenant_id": "[uuid]", "name": name, "slug": slug, "external_workspace_id": null,
        "description": null, "metadata": {}, "is_default": is_default, "computer_count": 0,
        "created_at": "[time]", "updated_at": "[time]",
    })
}

#[test]
fn the_curl_of_the_api_page() {
    let s = Service::new();
    let body = json!({
        "name": "Dr. Smith Clinic", "slug": "dr-smith-clinic", "external_workspace_id": "clinic_123",
        "description": "Client workspace for Dr. Smith Clinic",
    });
    let mut expected = workspace("Dr. Smith Clinic", "dr-smith-clinic", false);
    expected["external_workspace_id"] = "clinic_123".into();
    expected["description"] = "Client workspace for Dr. Smith Clinic".into();
    let created = s.post("/workspaces", body).expect(201);
    assert_eq!(redact(created.clone()), expected);
    assert_eq!(created["created_at"], "2026-05-20T10:15:30Z");
    let id = created["id"].as_str().unwrap();
    assert_eq!(s.get(&format!("/workspaces/{id}")).expect(200), created);
}

#[test]
fn the_list_shows_the_default_first_and_has_two_keys() {
    let s = Service::new();
    s.workspace("Zeta");
    s.workspace("Alpha");
    assert_eq!(
        redact(s.get("/workspaces").expect(200)),
        json!({
            "data": [workspace("default", "default", true), workspace("Zeta", "zeta", false),
                     workspace("Alpha", "alpha", false)],
            "total": 3,
        })
    );
    let page = s.get("/workspaces?page=2&page_size=2").expect(200);
    assert_eq!(
        (page["total"].clone(), page["data"][0]["name"].clone()),
        (json!(3), json!("Alpha"))
    );
    let slice = s.get("/workspaces?limit=1&offset=1").expect(200);
    assert_eq!(
        (slice["total"].clone(), slice["data"][0]["name"].clone()),
        (json!(3), json!("Zeta"))
    );
    assert_eq!(
        s.get("/workspaces?limit=1&offset=9").expect(200),
        json!({ "data": [], "total": 3 })
    );
    s.get("/workspaces?page=0&page_size=101")
        .invalid(&["page", "page_size"]);
    let found = s.get("/workspaces?q=ALP").expect(200);
    assert_eq!(
        (found["total"].clone(), found["data"][0]["slug"].clone()),
        (json!(1), json!("alpha"))
    );
}

#[test]
fn a_slug_is_derived_from_the_name() {
    let s = Service::new();
    let created = s
        .post("/workspaces", json!({ "name": "  Dr. Smith Clinic " }))
        .expect(201);
    assert_eq!(
        redact(created),
        workspace("Dr. Smith Clinic", "dr-smith-clinic", false)
    );
}

#[test]
fn slugs_are_unique_and_have_a_format() {
    let s = Service::new();
    s.post("/workspaces", json!({ "name": "A", "slug": "taken" }))
        .expect(201);
    let before = s.fingerprint();
    let body = s
        .post("/workspaces", json!({ "name": "B", "slug": "taken" }))
        .invalid(&["slug"]);
    assert_eq!(body["errors"]["slug"], json!(["has already been taken"]));
    for bad in ["-bad", "Bad_Slug", "", "a b", &"a".repeat(81)] {
        let body = s
            .post("/workspaces", json!({ "name": "B", "slug": bad }))
            .invalid(&["slug"]);
        assert_eq!(
            body["errors"]["slug"],
            json!(["must start with alphanumeric and contain only a-z 0-9 -"])
        );
    }
    assert_eq!(s.fingerprint(), before);
    s.post(
        "/workspaces",
        json!({ "name": "B", "slug": "a".repeat(80) }),
    )
    .expect(201);
}

#[test]
fn names_have_1_to_120_characters() {
    let s = Service::new();
    let before = s.fingerprint();
    for bad in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": "  " }),
        json!({ "name": null }),
    ] {
        let body = s.post("/workspaces", bad).invalid(&["name"]);
        assert_eq!(body["errors"]["name"], json!(["can't be blank"]));
    }
    let body = s
        .post("/workspaces", json!({ "name": "ä".repeat(121) }))
        .invalid(&["name"]);
    assert_eq!(
        body["errors"]["name"],
        json!(["should be at most 120 character(s)"])
    );
    s.post("/workspaces", json!({ "name": 5 }))
        .invalid(&["name"]);
    s.post("/workspaces", json!({ "name": "a\u{0}b" }))
        .invalid(&["name"]);
    s.post("/workspaces", json!([1])).invalid(&["body"]);
    assert_eq!(s.fingerprint(), before);
    s.post("/workspaces", json!({ "name": "ä".repeat(120) }))
        .expect(201);
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let s = Service::new();
    let body = json!({
        "name": "", "slug": "-", "external_workspace_id": "", "description": "d".repeat(2001),
        "metadata": { "k": "v".repeat(17_000) }, "external_user_id": "u".repeat(256),
    });
    let fields = [
        "description",
        "external_user_id",
        "external_workspace_id",
        "metadata",
        "name",
        "slug",
    ];
    s.post("/workspaces", body).invalid(&fields);
}

#[test]
fn foreign_is_403_and_unknown_is_404_on_every_endpoint() {
    let s = Service::new();
    let (_, foreign) = s.other_tenant("other");
    let bodies = json!({ "name": "x", "preview_domain": "example.com", "max_computers": 1 });
    let endpoints = [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::GET, "/settings"),
        (Method::PUT, "/settings"),
        (Method::GET, "/stats"),
        (Method::GET, "/usage"),
        (Method::GET, "/usage?window=nonsense"),
        (Method::GET, "/computers"),
        (Method::GET, "/computers?status=nonsense"),
        (Method::GET, "/projects"),
        (Method::GET, "/preview-domain"),
        (Method::PUT, "/preview-domain"),
        (Method::DELETE, "/preview-domain"),
        (Method::GET, "/preview-domain/verify"),
        (Method::GET, "/sandboxes"),
    ];
    let before = s.fingerprint();
    for (method, path) in endpoints {
        let call = |id: &str| {
            let body = (method != Method::GET).then(|| bodies.clone());
            s.call_as(
                &s.key,
                method.clone(),
                &format!("/workspaces/{id}{path}"),
                body,
            )
        };
        assert_eq!(
            call(UNKNOWN).refused(404, "NOT_FOUND"),
            "workspace not found",
            "{method} {path}"
        );
        assert_eq!(
            call(&foreign).refused(403, "FORBIDDEN"),
            "forbidden",
            "{method} {path}"
        );
        for malformed in [
            "nothing-is-called-so",
            "123",
            "%20",
            "7a1f0000000040008000000000000001",
        ] {
            call(malformed).refused(400, "INVALID_ID");
        }
    }
    assert_eq!(s.fingerprint(), before);
}

#[test]
fn patch_changes_what_is_given() {
    let s = Service::new();
    let created = s
        .post(
            "/workspaces",
            json!({ "name": "A", "description": "d", "external_workspace_id": "x", "metadata": { "a": 1, "b": 2 } }),
        )
        .expect(201);
    let path = format!("/workspaces/{}", created["id"].as_str().unwrap());
    s.advance(5);
    assert_eq!(
        s.patch(&path, json!({})).expect(200),
        created,
        "nothing given, nothing moved"
    );

    let patched = s
        .patch(
            &path,
            json!({ "description": null, "metadata": { "c": [1.5, null] } }),
        )
        .expect(200);
    assert_eq!(patched["description"], Value::Null);
    assert_eq!(patched["metadata"], json!({ "c": [1.5, null] }));
    for kept in ["name", "slug", "external_workspace_id", "created_at", "id"] {
        assert_eq!(patched[kept], created[kept], "{kept}");
    }
    assert_eq!(patched["updated_at"], "2026-05-20T10:15:35Z");

    s.workspace("Other");
    let body = s
        .patch(&path, json!({ "slug": "other" }))
        .invalid(&["slug"]);
    assert_eq!(body["errors"]["slug"], json!(["has already been taken"]));
    s.patch(&path, json!({ "slug": null })).invalid(&["slug"]);
    s.patch(&path, json!({ "name": null })).invalid(&["name"]);
    let renamed = s
        .patch(&path, json!({ "name": "Other", "slug": "b" }))
        .expect(200);
    assert_eq!(
        (&renamed["name"], &renamed["slug"]),
        (&json!("Other"), &json!("b"))
    );
    let cleared = s
        .patch(&path, json!({ "externalWorkspaceId": null }))
        .expect(200);
    assert_eq!(cleared["external_workspace_id"], Value::Null);
    s.post(
        "/workspaces",
        json!({ "name": "C", "external_workspace_id": "y" }),
    )
    .expect(201);
    s.patch(&path, json!({ "external_workspace_id": "y" }))
        .invalid(&["external_workspace_id"]);
    assert_eq!(
        s.get(&path).expect(200),
        cleared,
        "a refused change leaves everything"
    );
}

#[test]
fn settings_and_their_limits() {
    let s = Service::new();
    let id = s.workspace("A");
    let path = format!("/workspaces/{id}/settings");
    let initial = json!({
        "max_computers": null, "max_computer_size": null, "default_computer_size": "small",
        "default_auto_stop_seconds": 0, "allowed_template_types": [],
    });
    assert_eq!(s.get(&path).expect(200)["settings"], initial);
    s.advance(7);
    let body = json!({ "max_computers": 10, "max_computer_size": "large", "default_auto_stop_seconds": 3600 });
    let reply = s.put(&path, body).expect(200);
    assert_eq!(reply["workspace_id"], id);
    assert_eq!(
        reply["id"], id,
        "the workspace itself too, for the client that parses it"
    );
    assert_eq!(reply["name"], "A");
    assert_eq!(reply["updated_at"], "2026-05-20T10:15:37Z");
    let expected = json!({
        "max_computers": 10, "max_computer_size": "large", "default_computer_size": "small",
        "default_auto_stop_seconds": 3600, "allowed_template_types": [],
    });
    assert_eq!(reply["settings"], expected);
    assert_eq!(
        reply["effective"]["max_computers"],
        json!({ "value": 10, "source": "workspace" })
    );
    assert_eq!(reply["effective"]["headroom_computers"], 10);

    for (field, bad) in [
        ("max_computers", json!(-1)),
        ("max_computers", json!("10")),
        ("max_computers", json!(1.5)),
        ("max_computer_size", json!("huge")),
        ("max_computer_size", json!("xl")),
        ("default_computer_size", json!("huge")),
        ("default_auto_stop_seconds", json!(-1)),
        ("default_auto_stop_seconds", json!(2_592_001)),
        ("allowed_template_types", json!(["unknown"])),
        ("allowed_template_types", json!("miosa-desktop")),
    ] {
        let mut body = json!({});
        body[field] = bad;
        s.put(&path, body).invalid(&[field]);
    }
    s.put(
        &path,
        json!({ "max_computer_size": "small", "default_computer_size": "large" }),
    )
    .invalid(&["default_computer_size", "max_computer_size"]);
    assert_eq!(s.get(&path).expect(200)["settings"], expected);
    let nulls = json!({
        "max_computers": null, "max_computer_size": null, "default_computer_size": null,
        "default_auto_stop_seconds": null, "allowed_template_types": null,
    });
    assert_eq!(s.put(&path, nulls).expect(200)["settings"], initial);
}

#[test]
fn delete_empties_nothing_by_itself() {
    let s = Service::new();
    let id = s.workspace("A");
    let path = format!("/workspaces/{id}");
    let computer = s.running(&id, "small");
    let message = s.delete(&path).refused(409, "WORKSPACE_HAS_COMPUTERS");
    assert_eq!(message, "workspace has computers");
    s.delete(&format!("/computers/{computer}")).expect(200);
    let project = s
        .post("/projects", json!({ "workspace_id": id, "name": "P" }))
        .expect(201);
    assert_eq!(
        s.delete(&path).refused(409, "WORKSPACE_HAS_PROJECTS"),
        "workspace has projects"
    );
    s.delete(&format!("/projects/{}", project["id"].as_str().unwrap()))
        .expect(200);
    // The automatic project of the first computer is still there, and goes along.
    assert_eq!(s.get(&format!("{path}/projects")).expect(200)["total"], 1);
    assert_eq!(s.delete(&path).expect(200), json!({ "deleted": true }));
    assert_eq!(
        s.delete(&path).refused(404, "NOT_FOUND"),
        "workspace not found"
    );
    assert_eq!(
        s.count("SELECT count(*) FROM projects WHERE deleted_at IS NULL"),
        0
    );
    s.delete(&format!("/workspaces/{}", s.default_workspace))
        .refused(409, "WORKSPACE_IS_DEFAULT");
    // Slug and external id are free again.
    s.post("/workspaces", json!({ "name": "A" })).expect(201);
}

#[test]
fn delete_with_force_and_dry_run_says_what_goes() {
    let s = Service::new();
    let id = s.workspace("A");
    s.running(&id, "small");
    s.computer(&id, "small");
    let path = format!("/workspaces/{id}");
    let before = s.fingerprint();
    assert_eq!(
        s.delete(&format!("{path}?dry_run=true&force=true"))
            .expect(200),
        json!({ "deleted": false, "dry_run": true, "would_delete": { "computers": 2, "projects": 1 } })
    );
    s.delete(&format!("{path}?force=maybe")).invalid(&["force"]);
    assert_eq!(s.fingerprint(), before);
    assert_eq!(
        s.delete(&format!("{path}?force=true")).expect(200),
        json!({ "deleted": true, "force": true, "resources": { "computers": 2, "projects": 1 } })
    );
    assert_eq!(s.get("/computers").expect(200)["total"], 0);
}

#[test]
fn the_stats_of_the_api_page() {
    let s = Service::new();
    let id = s.workspace("A");
    for size in ["small", "small", "small"] {
        s.computer(&id, size);
    }
    for _ in 0..2 {
        let computer = s.computer(&id, "medium");
        s.advance(1);
        s.post(&format!("/computers/{computer}/stop"), json!({}))
            .expect(200);
    }
    s.advance(1);
    s.put(
        &format!("/workspaces/{id}/settings"),
        json!({ "max_computers": 10, "max_computer_size": "large" }),
    )
    .expect(200);
    assert_eq!(
        s.get(&format!("/workspaces/{id}/stats")).expect(200),
        json!({
            "workspace_id": id,
            "computers": {
                "total": 5,
                "by_status": { "error": 0, "provisioning": 0, "running": 3, "stopped": 2 },
            },
            "resources": { "total_vcpus": 7, "total_memory_mb": 28672, "total_disk_gb": 160 },
            "settings": {
                "max_computers": 10, "max_computer_size": "large", "default_computer_size": "small",
                "default_auto_stop_seconds": 0, "allowed_template_types": [],
            },
        })
    );
}

#[test]
fn a_known_external_id_answers_the_workspace_that_has_it() {
    let s = Service::new();
    let first = s
        .post(
            "/workspaces",
            json!({ "name": "A", "external_workspace_id": "c1" }),
        )
        .expect(201);
    let before = s.fingerprint();
    let again = s
        .post(
            "/workspaces",
            json!({ "name": "Z", "slug": "z", "externalWorkspaceId": "c1" }),
        )
        .expect(200);
    let mut expected = first;
    expected["reused"] = true.into();
    assert_eq!(again, expected);
    assert_eq!(s.fingerprint(), before);
}

#[test]
fn the_same_name_again_is_told_from_a_collision_of_slugs() {
    let s = Service::new();
    let first = s
        .post("/workspaces", json!({ "name": "Harbor Dental" }))
        .expect(201);
    let answer = s.post("/workspaces", json!({ "name": "Harbor Dental" }));
    assert!(
        answer
            .refused(422, "WORKSPACE_NAME_EXISTS")
            .contains("has already been taken")
    );
    let body = answer.json();
    assert_eq!(body["error"]["existing"], first);
    assert_eq!(body["errors"]["slug"], json!(["has already been taken"]));
    // Another name with the same slug is a collision of slugs only, and gets the next one, unless it names it.
    let other = s
        .post("/workspaces", json!({ "name": "harbor dental!" }))
        .expect(201);
    assert_eq!(other["slug"], "harbor-dental-2");
    s.post(
        "/workspaces",
        json!({ "name": "harbor-dental", "slug": "harbor-dental" }),
    )
    .invalid(&["slug"]);
    // So does who says that the name is not new; who names a free slug means it.
    for slug in ["harbor-dental-3", "harbor-dental-4", "harbor-dental-5"] {
        let body = json!({ "name": "Harbor Dental", "allow_duplicate_name": true });
        assert_eq!(s.post("/workspaces", body).expect(201)["slug"], slug);
    }
    s.post(
        "/workspaces",
        json!({ "name": "Harbor Dental", "slug": "mine" }),
    )
    .expect(201);
}

#[test]
fn names_in_any_writing_have_slugs_of_their_own() {
    let s = Service::new();
    for (name, slug) in [
        ("日本", "ri-ben"),
        ("東京", "dong-jing"),
        ("Клиника", "klinika"),
        ("Klinika", "klinika-2"),
        ("עיר", "yr"),
        ("\u{e000}", "workspace"),
        ("\u{e001}", "workspace-2"),
    ] {
        let made = s.post("/workspaces", json!({ "name": name })).expect(201);
        assert_eq!(made["slug"], slug, "{name}");
        s.post("/workspaces", json!({ "name": name }))
            .refused(422, "WORKSPACE_NAME_EXISTS");
    }
    // Projects and organizations alike; the same name again is refused there, too.
    let workspace = s.workspace("W");
    for (name, slug) in [("Лендинг", "lending"), ("Lending", "lending-2")] {
        let body = json!({ "name": name, "workspace_id": workspace });
        assert_eq!(s.post("/projects", body).expect(201)["slug"], slug);
    }
    s.post(
        "/projects",
        json!({ "name": "Лендинг", "workspace_id": workspace }),
    )
    .invalid(&["slug"]);
    for (name, slug) in [("Акме", "akme"), ("Akme", "akme-2")] {
        let made = s
            .post("/platform/tenants", json!({ "name": name }))
            .expect(201);
        assert_eq!(made["slug"], slug);
    }
    s.post("/platform/tenants", json!({ "name": "Акме" }))
        .invalid(&["slug"]);
}

#[test]
fn without_a_key_nothing_else_is_said() {
    let s = Service::new();
    let id = s.workspace("A");
    for path in [
        format!("/workspaces/{id}"),
        "/workspaces/nonsense".into(),
        "/nothing/here".into(),
        String::new(),
    ] {
        for key in ["", "msk_u_unknown", "msk_u_dev"] {
            let answer = s.call_as(key, Method::GET, &path, None);
            answer.refused(401, "invalid_token");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        s.call_as("", Method::POST, &path, Some(json!("not an object")))
            .refused(401, "invalid_token");
    }
}

#[test]
fn two_tenants_may_use_the_same_slugs_and_ids() {
    let s = Service::new();
    let (other, _) = s.other_tenant("other");
    let body = json!({ "name": "A", "slug": "a", "external_workspace_id": "e" });
    let mine = s.post("/workspaces", body.clone()).expect(201);
    let theirs = s
        .call_as(&other, Method::POST, "/workspaces", Some(body))
        .expect(201);
    assert_ne!(mine["id"], theirs["id"]);
    let list = s
        .call_as(&other, Method::GET, "/workspaces", None)
        .expect(200);
    assert_eq!(list["total"], 2);
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["id"].clone())
        .collect();
    assert!(ids.contains(&theirs["id"]) && !ids.contains(&mine["id"]));
    assert!(
        Uuid::try_parse(mine["id"].as_str().unwrap())
            .unwrap()
            .get_version_num()
            == 7
    );
}

#[test]
fn a_search_finds_any_part_of_what_people_know_a_workspace_by() {
    a_search_finds(|_| {});
}

#[test]
fn a_search_finds_the_same_once_everything_is_indexed() {
    a_search_finds(|s| {
        let new = s.count(
            "SELECT count(*) FROM workspaces WHERE number > (SELECT indexed_to FROM workspace_search_state)",
        );
        let waiting = new.max(s.count("SELECT count(*) FROM workspaces_to_index"));
        let done = s
            .app
            .store
            .write_blocking(|tx| search::index(tx, false, 500));
        assert_eq!(done.unwrap(), usize::try_from(waiting).unwrap());
        let live = s.count("SELECT count(*) FROM workspaces WHERE deleted_at IS NULL");
        assert_eq!(s.count("SELECT count(*) FROM workspace_search"), live);
        assert_eq!(s.count("SELECT count(*) FROM workspaces_to_index"), 0);
    });
}

/// With `settle` before each round of searches.
#[test]
fn a_busy_writer_puts_the_search_index_off_until_too_many_wait() {
    let s = Service::new();
    let index = |busy| {
        let done = s
            .app
            .store
            .write_blocking(move |tx| search::index(tx, busy, 500));
        done.unwrap()
    };
    index(false);
    s.workspace("Clinic");
    assert_eq!((index(true), index(false)), (0, 1));
    let crowd = |tx: &workspaced::testing::WriteTx<'_>| {
        tx.execute_batch(
            "INSERT INTO workspaces_to_index (number)
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
             SELECT n FROM n",
        )?;
        Ok(())
    };
    s.app.store.write_blocking(crowd).unwrap();
    assert_eq!((index(true), index(true)), (500, 0));
}

fn a_search_finds(settle: impl Fn(&Service)) {
    let s = Service::new();
    let new = |name: &str, slug: &str, external: &str| {
        let body = json!({ "name": name, "slug": slug, "external_workspace_id": external });
        s.post("/workspaces", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let smith = new("Dr. Smith \"Clinic\"", "dr-smith", "CRM/4711");
    let jones = new("Zahnärzte Jones", "jones", "CRM/4712");
    let (stranger, _) = s.other_tenant("other");
    let find = |key: &str, q: &str| {
        let q: String = form_urlencoded::byte_serialize(q.as_bytes()).collect();
        let reply = s
            .call_as(key, Method::GET, &format!("/workspaces?q={q}"), None)
            .expect(200);
        let ids: Vec<String> = reply["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(reply["total"], ids.len());
        ids
    };
    settle(&s);
    for q in [
        "smith",
        "SMITH \"cl",
        "r-sm",
        "m/4711",
        "th",
        " dr. ",
        &smith,
        &smith[..30].to_uppercase(),
        &smith.replace('-', ""),
    ] {
        assert_eq!(find(&s.key, q), [smith.as_str()], "{q}");
        assert!(find(&stranger, q).is_empty(), "{q}");
    }
    assert_eq!(find(&s.key, "hnÄrz"), [jones.as_str()]);
    assert_eq!(find(&s.key, "crm/"), [smith.as_str(), jones.as_str()]);
    for q in [
        "smith OR jones",
        "na*",
        "name:jones",
        "NEAR(dr)",
        "\"\"\"",
        "%",
        "--",
        "\u{0}abc",
    ] {
        assert!(find(&s.key, q).is_empty(), "{q:?} is text, no syntax");
    }
    // The index follows.
    s.patch(
        &format!("/workspaces/{jones}"),
        json!({ "name": "Smithers" }),
    )
    .expect(200);
    assert_eq!(find(&s.key, "smith"), [smith.as_str(), jones.as_str()]);
    assert!(find(&s.key, "zahn").is_empty());
    s.delete(&format!("/workspaces/{smith}")).expect(200);
    settle(&s);
    assert_eq!(find(&s.key, "smith"), [jones.as_str()]);
}

#[test]
fn a_path_may_name_what_is_meant_by_slug_or_by_the_callers_own_id() {
    let s = Service::new();
    let made = s
        .post(
            "/workspaces",
            json!({ "name": "Acme", "external_workspace_id": "site/7" }),
        )
        .expect(201);
    let id = made["id"].as_str().unwrap();
    for name in ["acme", "external:site%2F7", "external%3Asite%2F7", id] {
        let path = format!("/workspaces/{name}");
        assert_eq!(s.get(&path).expect(200), made, "{name}");
        s.put(&format!("{path}/settings"), json!({ "max_computers": 3 }))
            .expect(200);
        assert_eq!(
            s.get(&format!("{path}/stats")).expect(200)["workspace_id"],
            id
        );
        assert_eq!(
            s.get(&format!("{path}/projects?limit=1")).expect(200)["total"],
            0
        );
    }
    s.get("/workspaces/external:nobody")
        .refused(404, "NOT_FOUND");
    let why = s.get("/workspaces/nobody").refused(400, "INVALID_ID");
    assert!(why.contains("slug"), "{why}");
    // A project, as long as one only is called so.
    let project = |workspace: &str, slug: &str, external: &str| {
        let body = json!({ "name": slug, "slug": slug, "workspace_id": workspace, "external_project_id": external });
        s.post("/projects", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let site = project(id, "site", "p1");
    for name in ["site", "external:p1"] {
        assert_eq!(s.get(&format!("/projects/{name}")).expect(200)["id"], *site);
    }
    let other = s.workspace("Other");
    project(&other, "site", "p2");
    s.get("/projects/site").refused(400, "AMBIGUOUS_ID");
    s.patch("/projects/external:p1", json!({ "name": "Mine" }))
        .expect(200);
    // A key of one workspace means what is in there.
    let body = json!({ "name": "k", "workspace_id": id });
    let key = s.post("/api-keys", body).expect(201)["data"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let get = |path: &str| s.call_as(&key, Method::GET, path, None);
    assert_eq!(get("/projects/site").expect(200)["id"], *site);
    get("/workspaces/other").refused(403, "FORBIDDEN");
    // Another organization has names of its own.
    let (stranger, _) = s.other_tenant("stranger");
    for path in ["/workspaces/acme", "/projects/site"] {
        s.call_as(&stranger, Method::GET, path, None)
            .refused(400, "INVALID_ID");
    }
    s.call_as(
        &stranger,
        Method::GET,
        "/workspaces/external:site%2F7",
        None,
    )
    .refused(404, "NOT_FOUND");
    s.delete("/workspaces/other?force=1").expect(200);
    s.get("/workspaces/other").refused(400, "INVALID_ID");
    assert_eq!(
        s.get("/projects/site").expect(200)["id"],
        *site,
        "what is gone is not meant"
    );
}

#[test]
fn a_field_without_effect_is_named_in_the_reply() {
    let s = Service::new();
    let answer = s.post(
        "/workspaces",
        json!({ "name": "A", "max_computer": 3, "externalWorkspaceId": "x", "é,": 1, "metadata": { "mine": 1 } }),
    );
    answer.expect(201);
    assert_eq!(answer.headers["x-workspaced-ignored"], "max_computer, ??");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let answer = s.put(
        &format!("/workspaces/{id}/settings"),
        json!({ "max_computer": 3, "max_computers": 2 }),
    );
    assert_eq!(answer.headers["x-workspaced-ignored"], "max_computer");
    // What is accepted for the sake of clients has no effect either.
    let answer = s.post("/computers", json!({ "name": "c", "gpu_count": 1 }));
    answer.expect(201);
    assert_eq!(answer.headers["x-workspaced-ignored"], "gpu_count");
    for answer in [
        s.post("/workspaces", json!({ "name": "B" })),
        s.get("/workspaces"),
    ] {
        assert!(!answer.headers.contains_key("x-workspaced-ignored"));
    }
}

#[test]
fn a_path_with_a_slip_is_told_the_one_that_was_meant() {
    let s = Service::new();
    let id = s.workspace("A");
    for (path, meant) in [
        ("/overvew", "/api/v1/overview"),
        (
            &format!("/workspaces/{id}/setings"),
            "/api/v1/workspaces/{id}/settings",
        ),
        (
            &format!("/workspaces/{id}/preview-domains"),
            "/api/v1/workspaces/{id}/preview-domain",
        ),
        ("/audit-logs", "/api/v1/audit-log"),
    ] {
        let why = s.get(path).refused(404, "NOT_FOUND");
        assert!(
            why.contains(&format!("did you mean {meant}?")),
            "{path}: {why}"
        );
    }
    for path in ["/nothing/here", "/zzz", &format!("/workspaces/{id}/zzz")] {
        let why = s.get(path).refused(404, "NOT_FOUND");
        assert!(!why.contains("did you mean"), "{path}: {why}");
    }
}
