//! Names and slugs: what is made of them, and what the service takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use workspaced::testing::text;

fuzz_target!(|input: &str| {
    let (name, slug) = input.split_once('\n').unwrap_or((input, ""));
    let made = text::slugify(name, "workspace");
    assert!(text::is_slug(&made), "{made:?}");
    assert_eq!(text::slugify(&made, "workspace"), made);
    assert!(text::is_slug(&text::with_suffix(&made, "2")));

    workspaced_fuzz::with_service(|service| {
        let body = if slug.is_empty() {
            json!({ "name": name })
        } else {
            json!({ "name": name, "slug": slug })
        };
        let body = body.to_string().into_bytes();
        let answer = service
            .send("POST", "/workspaces", "application/json", body)
            .unwrap();
        if answer.status == 201 {
            let workspace: Value = serde_json::from_slice(&answer.body).unwrap();
            let slug = workspace["slug"].as_str().unwrap();
            assert!(text::is_slug(slug), "{slug:?}");
            let path = format!("/workspaces?{}", workspaced_fuzz::query(&[("q", name)]));
            service.send("GET", &path, "application/json", Vec::new());
        }
    });
});
