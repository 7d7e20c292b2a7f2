//! The manual: every page is served and listed, links lead somewhere, the search finds, and the program
//! prints pages in the terminal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::body::Body;
use axum::http::Request;

use crate::harness::{Answer, Service};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the files of the manual.
fn files() -> BTreeSet<String> {
    fs::read_dir(root().join("assets/manual"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .collect()
}

fn source(name: &str) -> String {
    fs::read_to_string(root().join(format!("assets/manual/{name}.md"))).unwrap()
}

fn get(s: &Service, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    s.send(request)
}

fn url(name: &str) -> String {
    match name {
        "index" => "/docs/manual".to_owned(),
        name => format!("/docs/manual/{name}"),
    }
}

/// What stands between `before` and the next `after`, wherever that is in a text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.split_once(after).map(|(found, _)| found))
        .collect()
}

#[test]
fn the_index_lists_every_page_and_each_is_served() {
    let s = Service::new();
    let listed: BTreeSet<String> = between(&source("index"), "](", ".md")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut expected = files();
    assert!(expected.len() > 8, "{expected:?}");
    assert!(expected.remove("index"));
    assert_eq!(listed, expected);

    for name in files() {
        let page = get(&s, &url(&name));
        assert_eq!(page.status.as_u16(), 200, "{name}");
        let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
             form-action 'self'; frame-ancestors 'none'"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-cache");
        // What the policy forbids is not there; the text holds no tag that was not meant as one.
        assert!(
            !page.text.contains(" style=") && !page.text.contains("<!--"),
            "{name}"
        );
        assert_eq!(page.text.matches("<script").count(), 1, "{name}");
        let title = source(&name).lines().next().unwrap()[2..].to_owned();
        assert!(page.text.contains(&format!("<title>{title} · ")), "{name}");
        for other in files() {
            let link = format!("href=\"{}\"", url(&other));
            assert!(page.text.contains(&link), "{name} lacks {link}");
        }

        let etag = header("etag");
        let again = Request::get(url(&name))
            .header("if-none-match", &etag)
            .body(Body::empty())
            .unwrap();
        let again = s.send(again);
        assert_eq!(
            (again.status.as_u16(), again.text.as_str()),
            (304, ""),
            "{name}"
        );
    }
}

#[test]
fn every_link_of_the_manual_leads_to_a_place_that_is_there() {
    let s = Service::new();
    for name in files() {
        let page = get(&s, &url(&name)).text;
        for href in between(&page, "href=\"", "\"") {
            if href.starts_with("https://") {
                continue;
            }
            let (path, id) = href.split_once('#').unwrap_or((href, ""));
            let target = match path {
                "" => page.clone(),
                path => {
                    let target = get(&s, path);
                    assert_eq!(target.status.as_u16(), 200, "{name}: {href}");
                    target.text
                }
            };
            let place = format!("id=\"{id}\"");
            assert!(id.is_empty() || target.contains(&place), "{name}: {href}");
        }
        for src in between(&page, "src=\"", "\"") {
            // Of this repository, hence embedded; a picture is no text that could be read here.
            assert!(root().join(&src[1..]).exists(), "{name}: {src}");
        }
    }
}

/// README and the like are read on their own, where links are files.
#[test]
fn links_of_the_other_documents_lead_to_files() {
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for link in between(&text, "](", ")") {
            let file = link.split('#').next().unwrap();
            let there = link.starts_with("https://") || root().join(file).exists();
            assert!(there, "{document}: {link}");
        }
        // And so are paths of this repository that are named in passing.
        for path in between(&text, "`", "`") {
            let ours = ["src/", "tests/", "assets/", "benches/"];
            if ours.iter().any(|start| path.starts_with(start))
                && !path.contains([' ', '*'])
                && !path.contains("N.")
            {
                assert!(Path::new(&root().join(path)).exists(), "{document}: {path}");
            }
        }
    }
}

#[test]
fn the_search_finds_sections_that_have_every_word() {
    let s = Service::new();
    let found = get(&s, "/docs/manual?q=Late+reports").text;
    let first = between(&found, "<li><a href=\"/docs/manual/", "</li>")
        .into_iter()
        .find(|hit| hit.contains("›"))
        .unwrap();
    assert!(first.starts_with("metering#"), "{first}");
    assert!(first.contains("<mark>late</mark>"), "{first}");

    let nothing = get(&s, "/docs/manual?q=metering+zyzzyva");
    assert_eq!(nothing.status.as_u16(), 200);
    assert!(nothing.text.contains("Nothing was found"));
    // A question is shown as it was asked, and does nothing.
    let odd = get(
        &s,
        "/docs/manual?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%20onfocus%3D%22",
    )
    .text;
    assert_eq!(odd.matches("<script").count(), 1);
    assert!(odd.contains("&lt;script&gt;alert(1)") && !odd.contains("\" onfocus"));
    // An empty one is none.
    assert!(get(&s, "/docs/manual?q=+").text.contains("<h1 id="));
}

#[test]
fn a_page_that_is_not_there_says_so_and_names_the_nearest() {
    let s = Service::new();
    let missing = get(&s, "/docs/manual/metring");
    assert_eq!(missing.status.as_u16(), 404);
    assert!(
        missing
            .text
            .contains("<a href=\"/docs/manual/metering\">metering</a>?")
    );
    let odd = get(&s, "/docs/manual/%3Cb%3E");
    assert_eq!(odd.status.as_u16(), 404);
    assert!(odd.text.contains("<code>&lt;b&gt;</code>"));
    // As the files link to each other.
    assert_eq!(get(&s, "/docs/manual/metering.md").status.as_u16(), 200);
    for other in [
        "/docs/manual/",
        "/docs/manual/index",
        "/docs/manual/index.md",
    ] {
        let answer = get(&s, other);
        assert_eq!(answer.status.as_u16(), 307, "{other}");
        assert_eq!(answer.headers["location"], "/docs/manual");
    }
}

/// Runs `workspaced help`: exit code, standard output, standard error.
fn help(words: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_workspaced"))
        .arg("help")
        .args(words)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_program_prints_pages_and_explains_commands() {
    let (code, page, _) = help(&["metering"]);
    assert_eq!(code, Some(0));
    assert!(page.starts_with("Metering\n========\n"), "{page}");
    assert!(page.contains("late reports"), "{page}");
    // No marks of the source.
    assert!(
        !page.contains("](") && !page.contains("**") && !page.contains("|---"),
        "{page}"
    );

    let (code, all, _) = help(&[]);
    assert_eq!(code, Some(0));
    assert!(
        all.contains("Usage: workspaced") && all.contains("--data-dir"),
        "{all}"
    );
    for name in files() {
        assert!(all.contains(&format!("\n  {name} ")), "{name}: {all}");
        assert_eq!(help(&[&name]).0, Some(0), "{name}");
    }

    for (words, usage) in [
        (vec!["serve"], "Usage: workspaced serve"),
        (vec!["ws", "usage"], "Usage: workspaced ws usage"),
    ] {
        let (code, text, _) = help(&words);
        assert_eq!(code, Some(0), "{words:?}");
        assert!(text.contains(usage), "{text}");
    }

    let (code, out, text) = help(&["metring"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(text.contains("did you mean \"metering\"?"), "{text}");
}

/// A topic must not be hidden by a command of the same name.
#[test]
fn no_topic_has_the_name_of_a_command() {
    for name in files() {
        let (_, page, _) = help(&[&name]);
        assert!(!page.contains("Usage: workspaced "), "{name}");
    }
}

#[test]
fn the_other_pages_lead_to_the_manual() {
    let s = Service::new();
    assert!(get(&s, "/docs").text.contains("href=\"docs/manual\""));
    assert!(get(&s, "/assets/app.js").text.contains("\"docs/manual\""));
    assert!(
        get(&s, "/assets/lib/shortcuts.js")
            .text
            .contains("\"docs/manual\"")
    );
}

/// What `metering.md` promises is tested under the name that it has there.
#[test]
fn every_rule_of_metering_has_a_test_of_its_name() {
    let page = source("metering");
    let tests: String = ["usage.rs", "usage_rules.rs", "usage_invariants.rs"]
        .map(|file| fs::read_to_string(root().join("tests/it").join(file)).unwrap())
        .concat();
    let mut rules = 0;
    for section in page.split("\n## ") {
        if !section.starts_with("Invariants") && !section.starts_with("Rules for edge cases") {
            continue;
        }
        for row in section.lines().filter(|line| line.starts_with("| ")) {
            let name = row.split('|').nth(1).unwrap().trim();
            if name == "Name" {
                continue;
            }
            rules += 1;
            let start = format!("fn {}_", name.replace([' ', '-'], "_"));
            assert!(tests.contains(&start), "no test begins with {start}");
        }
    }
    assert_eq!(rules, 8 + 28);
}
