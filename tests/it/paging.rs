//! Lists page by page, by their `Link` headers, while rows come and go.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Answer, Service};

/// Where the next page is.
fn next(path: &str, answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let query = link.strip_prefix("<?").unwrap();
    let query = query.strip_suffix(">; rel=\"next\"").unwrap();
    let path = path.split('?').next().unwrap();
    Some(format!("{path}?{query}"))
}

fn id(row: &Value) -> String {
    let id = if row["id"].is_null() {
        &row["seq"]
    } else {
        &row["id"]
    };
    id.to_string().trim_matches('"').to_owned()
}

/// All pages; `between` sees what has been shown so far.
fn walk(s: &Service, first: &str, mut between: impl FnMut(&[String])) -> Vec<String> {
    let mut shown = Vec::new();
    let mut path = first.to_owned();
    loop {
        let answer = s.get(&path);
        let rows = answer.expect(200)["data"].as_array().unwrap().clone();
        shown.extend(rows.iter().map(id));
        assert!(shown.len() < 500, "it ends");
        let Some(more) = next(&path, &answer) else {
            return shown;
        };
        between(&shown);
        path = more;
    }
}

fn all(s: &Service, path: &str) -> Vec<String> {
    let rows = s.get(path).expect(200);
    rows["data"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn what_is_deleted_between_pages_skips_and_repeats_nothing() {
    let s = Service::new();
    let w = s.workspace("home");
    for n in 0..23 {
        s.workspace(&format!("w {:02}", (n * 7) % 23));
        s.advance(1);
        let project = json!({ "name": format!("p {n}"), "workspace_id": w });
        s.post("/projects", project).expect(201);
        s.computer(&w, "small");
        s.post("/api-keys", json!({ "name": format!("k {n}") }))
            .expect(201);
        if n < 19 {
            let hook = json!({ "url": format!("https://example.com/{n}"), "events": ["*"], "enabled": false });
            s.post("/webhooks", hook).expect(201);
        }
    }
    s.advance(10);
    for (list, resource) in [
        ("/workspaces", "workspaces"),
        ("/workspaces?sort=name", "workspaces"),
        ("/workspaces?sort=-name", "workspaces"),
        ("/workspaces?sort=-created_at", "workspaces"),
        ("/workspaces?sort=updated_at", "workspaces"),
        ("/workspaces?sort=computer_count", "workspaces"),
        ("/workspaces?q=w%20", "workspaces"),
        ("/projects", "projects"),
        (&format!("/workspaces/{w}/projects"), "projects"),
        ("/computers", "computers"),
        ("/computers?status=running", "computers"),
        (&format!("/workspaces/{w}/computers"), "computers"),
        ("/api-keys", "api-keys"),
        ("/webhooks?active=false", "webhooks"),
    ] {
        let glue = if list.contains('?') { '&' } else { '?' };
        let whole = all(&s, list);
        assert!(whole.len() > 4, "{list}");
        let mut gone = BTreeSet::new();
        let first = format!("{list}{glue}limit=4");
        let shown = walk(&s, &first, |shown| {
            // One that has been shown goes: by offsets another one would be skipped.
            let last = shown.last().unwrap();
            let kept = [&w, &s.default_workspace].contains(&last);
            let own = resource == "api-keys" && all(&s, list).first() == Some(last);
            if !kept && !own && gone.len() < 2 {
                s.delete(&format!("/{resource}/{last}")).expect(200);
                gone.insert(last.clone());
            }
        });
        assert_eq!(shown, whole, "{list}");
        assert!(!gone.is_empty(), "{list}");
        // And one that has not been shown yet is not shown when it is gone.
        let whole = all(&s, list);
        let mut last = None;
        let shown = walk(&s, &first, |shown| {
            let candidate = whole.last().unwrap();
            let kept = [&w, &s.default_workspace].contains(&candidate);
            if last.is_none() && !shown.contains(candidate) && !kept {
                s.delete(&format!("/{resource}/{candidate}")).expect(200);
                last = Some(candidate.clone());
            }
        });
        let left: Vec<_> = whole
            .iter()
            .filter(|id| Some(*id) != last.as_ref())
            .cloned()
            .collect();
        assert_eq!(shown, left, "{list}");
    }
}

#[test]
fn lists_of_what_happened_have_cursors_too() {
    let s = Service::new();
    let w = s.workspace("w");
    let c = s.computer(&w, "small");
    for n in 0..9 {
        s.advance(40);
        s.post(&format!("/computers/{c}/stop"), json!({}))
            .expect(200);
        s.advance(40);
        s.post(&format!("/computers/{c}/start"), json!({}))
            .expect(200);
        let adjusted = json!({
            "workspace_id": w, "amount_micros": 1_000_000, "reason": format!("r{n}"),
            "at": s.app.store.now().rfc3339(),
        });
        s.post("/usage/adjustments", adjusted).expect(201);
        let credits = json!({ "tenant_id": s.tenant_id, "amount": 5, "description": "d" });
        s.post("/admin/credits/grant", credits).expect(201);
    }
    s.advance(100);
    for list in [
        format!("/computers/{c}/events"),
        "/usage/adjustments".to_owned(),
        "/credits/transactions".to_owned(),
        "/usage/sessions".to_owned(),
        "/audit-log?type=computer.*".to_owned(),
    ] {
        let glue = if list.contains('?') { '&' } else { '?' };
        let whole = all(&s, &list);
        assert!(whole.len() >= 9, "{list} {whole:?}");
        assert_eq!(
            walk(&s, &format!("{list}{glue}limit=4"), |_| {}),
            whole,
            "{list}"
        );
        // New ones come before those that have been shown.
        let mut once = true;
        let shown = walk(&s, &format!("{list}{glue}limit=4"), |_| {
            if std::mem::take(&mut once) {
                s.post(&format!("/computers/{c}/stop"), json!({}))
                    .expect(200);
                s.advance(40);
                s.post(&format!("/computers/{c}/start"), json!({}))
                    .expect(200);
                s.advance(40);
            }
        });
        assert_eq!(shown, whole, "{list}");
    }
}

#[test]
fn a_cursor_is_good_for_its_list_only() {
    let s = Service::new();
    for n in 0..5 {
        s.workspace(&format!("w {n}"));
    }
    let first = s.get("/workspaces?limit=2&q=w%20");
    let path = next("/workspaces", &first).unwrap();
    s.get(&path).expect(200);
    let after = path.split("after=").nth(1).unwrap();
    for other in [
        "/workspaces?limit=2",
        "/workspaces?limit=2&q=w",
        "/workspaces?limit=2&q=w%20&sort=name",
        "/projects?limit=2",
        "/computers?limit=2",
        "/api-keys?limit=2",
    ] {
        s.get(&format!("{other}&after={after}")).invalid(&["after"]);
    }
    for wrong in ["x", "", "AAAA", "%00"] {
        s.get(&format!("/workspaces?limit=2&after={wrong}"))
            .invalid(&["after"]);
    }
    s.get(&format!("{path}&offset=1")).invalid(&["after"]);
    s.get(&format!("/workspaces?q=w%20&page=2&after={after}"))
        .invalid(&["after"]);
    // Another size of the page is the same list, and all the rest is, too.
    let rest = s
        .get(&format!("/workspaces?q=w%20&after={after}"))
        .expect(200);
    assert_eq!(rest["data"].as_array().unwrap().len(), 3);
    assert_eq!(rest["total"], 5);
    // Those who count pages and those who skip are led on as well.
    let numbered = s.get("/workspaces?page=1&per_page=2&q=w%20");
    let on = s.get(&next("/workspaces", &numbered).unwrap()).expect(200);
    let two = rest["data"].as_array().unwrap()[..2].to_vec();
    assert_eq!(on["data"], json!(two));
    assert!(s.get("/workspaces").headers.get("link").is_none());
    s.get("/workspaces?%00target=/api/v1/x&limit=1")
        .invalid(&["\0target"]);
}
