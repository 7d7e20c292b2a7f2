//! Share links: what a customer sees without a key, and that nothing else is seen.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use workspaced::testing::{Config, ConfigFile};

use crate::harness::{Answer, Service, at};
use crate::usage::{external, report, service_at};

/// Opens a path outside the API, as somebody without a key.
fn visit(s: &Service, path: &str) -> Answer {
    let request = Request::get(path)
        .header("host", "127.0.0.1")
        .body(Body::empty());
    s.send(request.unwrap())
}

fn link(s: &Service, w: &str, body: Value) -> (String, Value) {
    let made = s
        .post(&format!("/workspaces/{w}/share-links"), body)
        .expect(201);
    (made["path"].as_str().unwrap().to_owned(), made)
}

/// A clinic that used 300 credits on the 10th of January and of February 2029, and a neighbour with as much.
fn clinic() -> (Service, String, String) {
    let s = service_at("2029-01-01T00:00:00Z");
    let (w, other) = (
        s.workspace("Dr. <Smith> & Clinic"),
        s.workspace("Neighbour"),
    );
    let computers = [&w, &other].map(|workspace| external(&s, workspace, "small"));
    s.clock.set(at("2029-03-02T00:00:00Z"));
    for c in computers {
        let times = [
            "2029-01-10T08:00:00Z",
            "2029-01-10T18:00:00Z",
            "2029-02-10T08:00:00Z",
            "2029-02-10T13:00:00Z",
        ];
        report(&s, &c, &times);
    }
    s.post("/statements", json!({ "period": "2029-01" }))
        .expect(200);
    (s, w, other)
}

#[test]
fn a_customer_sees_usage_statements_and_domain_and_nothing_else() {
    let (s, w, other) = clinic();
    s.put(
        &format!("/workspaces/{w}/preview-domain"),
        json!({ "preview_domain": "smith.example" }),
    )
    .expect(200);
    let (path, made) = link(&s, &w, json!({ "label": "for Dr. Smith" }));
    assert_eq!(
        made["url"].as_str().unwrap(),
        format!("http://127.0.0.1:8400{path}")
    );
    let page = visit(&s, &format!("{path}?period=2029-01"));
    assert_eq!(page.status, 200);
    let text = &page.text;
    assert!(text.contains("Dr. &lt;Smith&gt; &amp; Clinic"), "{text}");
    assert!(text.contains("Usage in January 2029"), "{text}");
    assert!(text.contains("<strong>300.00</strong> credits"), "{text}");
    assert!(
        text.contains("10.0000 hours") || text.contains("10 hours"),
        "{text}"
    );
    assert!(text.contains("2029-01-10: 300.00"), "{text}");
    assert!(text.contains("smith.example</bdi> waits"), "{text}");
    assert!(!text.contains("Neighbour"), "{text}");
    for (name, value) in [
        ("x-robots-tag", "noindex, nofollow"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.headers[name], value);
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!text.contains("<script"), "{text}");

    // February, compared with January; months to come are none.
    let february = visit(&s, &format!("{path}?period=2029-02"));
    assert!(
        february
            .text
            .contains("150.00 credits less than in the month before"),
        "{}",
        february.text
    );
    assert_eq!(visit(&s, &format!("{path}?period=2029-04")).status, 422);

    // Its own statement, as a page without links into the API and as PDF; that of the neighbour is none.
    let statements = s.get("/statements").expect(200)["data"].clone();
    let number = |workspace: &str| {
        let all = statements.as_array().unwrap();
        let own = all.iter().find(|row| row["workspace_id"] == workspace);
        own.unwrap()["number"].clone()
    };
    let own = visit(&s, &format!("{path}/statements/{}", number(&w)));
    assert_eq!(own.status, 200);
    assert!(!own.text.contains("<a "), "{}", own.text);
    assert_eq!(own.headers["x-robots-tag"], "noindex, nofollow");
    // As PDF: by its head, since the body is no text.
    let request = Request::head(format!("{path}/statements/{}?format=pdf", number(&w)))
        .header("host", "127.0.0.1")
        .body(Body::empty());
    let pdf = s.send(request.unwrap());
    assert_eq!(pdf.headers["content-type"], "application/pdf");
    let foreign = visit(&s, &format!("{path}/statements/{}", number(&other)));
    assert_eq!(foreign.status, 404);
    for wrong in ["x", "-1", "99999999999999999999", "0"] {
        assert_eq!(visit(&s, &format!("{path}/statements/{wrong}")).status, 404);
    }

    // The secret of a link is no key, in any place where keys are looked for.
    let token = path.rsplit('/').next().unwrap();
    for name in ["authorization", "x-api-key", "cookie"] {
        let value = match name {
            "authorization" => format!("Bearer {token}"),
            "cookie" => format!("workspaced_session={token}"),
            _ => token.to_owned(),
        };
        let request = Request::get(format!("/api/v1/workspaces/{w}"))
            .header("host", "127.0.0.1")
            .header(name, value)
            .body(Body::empty());
        assert_eq!(s.send(request.unwrap()).status, 401, "{name}");
    }
}

#[test]
fn a_link_shows_what_it_names_until_it_ends_or_is_revoked() {
    let (s, w, _) = clinic();
    let links = format!("/workspaces/{w}/share-links");
    let (path, made) = link(&s, &w, json!({ "shows": ["domain"], "ttl_seconds": 3600 }));
    let text = visit(&s, &path).text;
    assert!(text.contains("Previews are shown under"), "{text}");
    assert!(
        !text.contains("Usage in") && !text.contains("Statements"),
        "{text}"
    );
    assert_eq!(visit(&s, &format!("{path}/statements/1")).status, 404);

    let (all, _) = link(&s, &w, json!({}));
    let listed = s.get(&links).expect(200);
    assert_eq!(listed["total"], 2);
    let secret = path.rsplit('/').next().unwrap();
    assert!(!listed.to_string().contains(secret), "shown once");
    // Who looked, to the minute: reloading counts once.
    let seen = |listed: &Value| {
        let rows = listed["data"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == made["id"]).unwrap();
        (row["last_opened_at"].clone(), row["opened"].clone())
    };
    assert_eq!(seen(&listed), (json!("2029-03-02T00:00:00Z"), json!(1)));
    visit(&s, &path);
    s.advance(90);
    visit(&s, &path);
    let listed = s.get(&links).expect(200);
    assert_eq!(seen(&listed), (json!("2029-03-02T00:01:30Z"), json!(2)));

    // Its end.
    s.advance(3600);
    let gone = visit(&s, &path);
    assert_eq!(gone.status, 404);
    assert!(gone.text.contains("has ended"), "{}", gone.text);
    assert_eq!(visit(&s, &all).status, 200);
    assert_eq!(s.get(&links).expect(200)["total"], 1);

    // Revoked; of another workspace it is none.
    let id = s.get(&links).expect(200)["data"][0]["id"].clone();
    let id = id.as_str().unwrap();
    let elsewhere = s.workspace("elsewhere");
    s.delete(&format!("/workspaces/{elsewhere}/share-links/{id}"))
        .refused(404, "NOT_FOUND");
    s.delete(&format!("{links}/{id}")).expect(200);
    s.delete(&format!("{links}/{id}")).refused(404, "NOT_FOUND");
    assert_eq!(visit(&s, &all).status, 404);
    assert_eq!(visit(&s, "/share/").status, 404);
    assert_eq!(visit(&s, &format!("/share/{}", "0".repeat(48))).status, 404);

    // With its workspace it goes.
    let (path, _) = link(&s, &w, json!({}));
    assert_eq!(visit(&s, &path).status, 200);
    s.delete(&format!("/workspaces/{w}?force=true")).expect(200);
    assert_eq!(visit(&s, &path).status, 404);
}

#[test]
fn making_links_is_for_who_administers_the_organization() {
    let (s, w, _) = clinic();
    let links = format!("/workspaces/{w}/share-links");
    s.post(
        &links,
        json!({ "shows": ["keys"], "ttl_seconds": 5, "label": "a\nb" }),
    )
    .invalid(&["label", "shows", "ttl_seconds"]);
    s.post(&links, json!({ "shows": [] })).invalid(&["shows"]);
    let scopes = ["workspaces:read", "workspaces:write", "usage:read"];
    let body = json!({ "name": "reader", "scopes": scopes });
    let made = s.post("/api-keys", body).expect(201);
    let key = made["data"]["key"].as_str().unwrap();
    for (method, body) in [(Method::GET, None), (Method::POST, Some(json!({})))] {
        let answer = s.call_as(key, method, &links, body);
        assert_eq!(answer.status, 403);
    }
    let (other, _) = s.other_tenant("globex");
    let answer = s.call_as(&other, Method::POST, &links, Some(json!({})));
    assert!([403, 404].contains(&answer.status.as_u16()));
    let count = |kind: &str| {
        s.count(&format!(
            "SELECT count(*) FROM audit_log WHERE type = '{kind}'"
        ))
    };
    let (_, made) = link(&s, &w, json!({}));
    s.delete(&format!("{links}/{}", made["id"].as_str().unwrap()))
        .expect(200);
    assert_eq!(count("workspace.share_link_created"), 1);
    assert_eq!(count("workspace.share_link_revoked"), 1);
}

#[test]
fn the_page_is_in_the_operators_name_and_colour() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("workspaced.toml");
    std::fs::write(
        dir.path().join("logo.svg"),
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
    )
    .unwrap();
    let brand = |text: &str| {
        std::fs::write(&file, format!("[brand]\n{text}")).unwrap();
        ConfigFile::load(&file)
    };
    let config = brand("name = 'Hosting & Sons'\ncolor = '#0a7d5a'\nlogo = 'logo.svg'\n").unwrap();
    let s = Service::with(Config {
        file: config,
        ..Config::default()
    });
    let w = s.workspace("Clinic");
    let (path, _) = link(&s, &w, json!({}));
    let page = visit(&s, &path);
    assert!(page.text.contains("Hosting &amp; Sons"));
    assert!(page.text.contains(":root{--brand:#0a7d5a}"));
    assert!(page.text.contains("src=\"data:image/svg+xml;base64,"));
    for (text, why) in [
        ("color = 'red;}'\n", "hexadecimal"),
        ("logo = 'logo.exe'\n", ".svg, .png"),
        ("logo = 'none.png'\n", "none.png"),
    ] {
        let refused = brand(text).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}
