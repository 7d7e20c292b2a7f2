//! The screen of a computer: the programs that the verbs run are stand-ins that write down what they are asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_websockets::Message;
use tower::ServiceExt;

use super::terminal::{Wire, listen, noted, open};
use super::{House, pause};
use crate::harness::{Answer, request, runtime};

/// Programs of an image, for one computer.
struct Programs(PathBuf);

impl Programs {
    /// Those of a desktop; each writes its arguments to `said`.
    fn of_a_desktop(h: &House, id: &str) -> Programs {
        Programs::of_a_desktop_of(h, &h.s.key, id)
    }

    fn of_a_desktop_of(h: &House, key: &str, id: &str) -> Programs {
        let programs = Programs::found_by(h, key, id, "/usr/bin:/bin");
        programs.add(
            "xdotool",
            r#"printf '%s\n' "xdotool $*" >> "$D/said"
case $1 in
  getdisplaygeometry) echo 1280 800;;
  getmouselocation) printf 'X=7\nY=8\nSCREEN=0\nWINDOW=1\n';;
  getactivewindow) echo 4194316;;
  getwindowgeometry) printf 'WINDOW=4194316\nX=10\nY=40\nWIDTH=484\nHEIGHT=316\nSCREEN=0\n';;
  type) cat >> "$D/typed";;
  key) case $2 in Nokey) echo "(symbol) No such key name 'Nokey'. Ignoring it." >&2;; esac;;
esac"#,
        );
        programs.add(
            "wmctrl",
            r#"printf '%s\n' "wmctrl $*" >> "$D/said"
case $1 in
  -lx) echo "0x0040000c  0 xterm.XTerm  first user@first: ~";;
  -l) echo "0x0040000c  0 first user@first: ~";;
  -m) echo "Name: IceWM 3";;
esac"#,
        );
        programs.add(
            "scrot",
            r#"printf '%s\n' "scrot $*" >> "$D/said"
for file; do :; done; { printf '\211PNG'; head -c 3000000 /dev/zero; } > "$file""#,
        );
        programs.add(
            "xclip",
            r#"case "$*" in *-i*) cat > "$D/clip";; *) cat "$D/clip";; esac"#,
        );
        // A screen that gives back whatever reaches it.
        programs.add(
            "workspaced-rfb",
            r#"printf 'RFB 003.008\n'; dd bs=1 count=12 2>/dev/null >/dev/null
printf '\001\001'; dd bs=1 count=1 2>/dev/null >/dev/null; printf '\0\0\0\0'
dd bs=1 count=1 2>/dev/null >/dev/null; printf init; exec cat"#,
        );
        programs
    }

    fn none(h: &House, id: &str, path: &str) -> Programs {
        Programs::found_by(h, &h.s.key, id, path)
    }

    fn found_by(h: &House, key: &str, id: &str, path: &str) -> Programs {
        let dir = tempfile::TempDir::new().unwrap().keep();
        let path = format!("{}:{path}", dir.display());
        let body = json!({ "name": "PATH", "value": path });
        let env = format!("/computers/{id}/env");
        h.s.call_as(key, Method::POST, &env, Some(body)).expect(201);
        Programs(dir)
    }

    fn add(&self, name: &str, script: &str) {
        let file = self.0.join(name);
        fs::write(
            &file,
            format!("#!/bin/sh\nD={}\n{script}\n", self.0.display()),
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

/// What is no text: its type and its bytes.
fn picture_at(h: &House, method: Method, path: &str, body: Option<Value>) -> (String, Vec<u8>) {
    let request = request(&h.s.key, &method, path, body);
    runtime().block_on(async {
        let answer = h.s.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (kind, bytes.to_vec())
    })
}

#[test]
fn what_is_done_on_a_screen_is_done_by_programs_of_the_computer() {
    let h = House::new();
    let id = h.computer();
    let programs = Programs::of_a_desktop(&h, &id);
    let post = |verb: &str, body: Value| h.s.post(&format!("/computers/{id}/desktop/{verb}"), body);
    let get = |verb: &str| h.s.get(&format!("/computers/{id}/desktop/{verb}"));
    for (verb, body, told) in [
        (
            "click",
            json!({ "x": 10, "y": 20, "button": "right" }),
            "xdotool mousemove 10 20 click 3",
        ),
        (
            "double-click",
            json!({ "x": 1, "y": 2 }),
            "xdotool mousemove 1 2 click --repeat 2 --delay 60 1",
        ),
        ("move", json!({ "x": 5, "y": 6 }), "xdotool mousemove 5 6"),
        (
            "mouse-down",
            json!({ "x": 5, "y": 6, "button": "left" }),
            "xdotool mousemove 5 6 mousedown 1",
        ),
        (
            "mouse-up",
            json!({ "x": 5, "y": 6 }),
            "xdotool mousemove 5 6 mouseup 1",
        ),
        (
            "scroll",
            json!({ "direction": "up", "clicks": 4 }),
            "xdotool click --repeat 4 --delay 10 4",
        ),
        (
            "scroll",
            json!({ "x": 1, "y": 1 }),
            "xdotool mousemove 1 1 click --repeat 3 --delay 10 5",
        ),
        (
            "drag",
            json!({ "from_x": 0, "from_y": 0, "to_x": 10, "to_y": 20 }),
            "xdotool mousemove 0 0 mousedown 1 sleep 0.05 mousemove 5 10 sleep 0.05 mousemove 10 20 sleep 0.05 mouseup 1",
        ),
        ("key", json!({ "key": "Enter" }), "xdotool key Return"),
        (
            "hotkey",
            json!({ "keys": ["ctrl", "c"] }),
            "xdotool key ctrl+c",
        ),
        (
            "key-down",
            json!({ "key": "shift" }),
            "xdotool keydown shift",
        ),
        ("key-up", json!({ "key": "shift" }), "xdotool keyup shift"),
        (
            "window/focus",
            json!({ "window_id": "4194316" }),
            "wmctrl -i -a 0x0040000c",
        ),
        (
            "window/0x0040000c/resize",
            json!({ "width": 300, "height": 200 }),
            "wmctrl -i -r 0x0040000c -e 0,-1,-1,300,200",
        ),
        (
            "window/0x0040000c/minimize",
            json!({}),
            "xdotool windowminimize 0x0040000c",
        ),
    ] {
        let done = post(verb, body).expect(200);
        assert_eq!(done["success"], true, "{verb}");
        let said = programs.read("said");
        assert_eq!(said.lines().last(), Some(told), "{verb}");
    }
    post("type", json!({ "text": "grüße\n$(x) --help" })).expect(200);
    assert_eq!(programs.read("typed"), "grüße\n$(x) --help");
    post("clipboard", json!({ "text": "copied" })).expect(200);
    assert_eq!(get("clipboard").expect(200), json!({ "text": "copied" }));
    assert_eq!(get("cursor").expect(200), json!({ "x": 7, "y": 8 }));
    assert_eq!(
        get("screen-size").expect(200),
        json!({ "width": 1280, "height": 800 })
    );
    let environment = get("environment").expect(200);
    assert_eq!(
        (&environment["name"], &environment["resolution"]),
        (&json!("IceWM 3"), &json!("1280x800"))
    );
    let window = &get("windows").expect(200)["data"][0];
    assert_eq!(
        (&window["title"], &window["focused"], &window["width"]),
        (&json!("user@first: ~"), &json!(true), &json!(484))
    );
    let size = get("window/0x0040000c/size").expect(200);
    assert_eq!(size, json!({ "width": 484, "height": 316 }));
    assert_eq!(
        get("accessibility-tree").expect(200)["children"][0]["coordinates"],
        json!([252, 198])
    );
    let (kind, picture) = picture_at(
        &h,
        Method::GET,
        &format!("/computers/{id}/desktop/screenshot"),
        None,
    );
    assert_eq!(
        (kind.as_str(), picture.len()),
        ("image/png", 3_000_004),
        "more than a command may say"
    );
    let region = json!({ "x": 1, "y": 2, "width": 3, "height": 4 });
    let path = format!("/computers/{id}/desktop/screenshot/region");
    assert_eq!(
        picture_at(&h, Method::POST, &path, Some(region)).0,
        "image/png"
    );
    assert!(programs.read("said").contains("scrot -a 1,2,3,4 -o /tmp/"));
    post("wait", json!({ "seconds": 0.01 })).expect(200);
    assert_eq!(h.show(&id)["last_activity"]["by"], "desktop");

    // Who did what is written down, what was typed is not.
    let what: Vec<Value> = noted(&h, "computer.desktop")
        .into_iter()
        .map(|n| n["what"].clone())
        .collect();
    for expected in [
        "screenshot",
        "clipboard set to 6 bytes",
        "typed 17 characters",
        "click at 10,20",
        "a key",
    ] {
        assert!(what.contains(&json!(expected)), "{expected}: {what:?}");
    }
    assert!(!json!(what).to_string().contains("help"));
}

#[test]
fn what_a_screen_cannot_do_is_refused_in_words() {
    let h = House::new();
    let id = h.computer();
    let path = |verb: &str| format!("/computers/{id}/desktop/{verb}");
    let programs = Programs::of_a_desktop(&h, &id);
    for (verb, body, field) in [
        ("click", json!({ "x": -1, "y": 2 }), "x"),
        ("click", json!({ "x": 1 }), "y"),
        (
            "click",
            json!({ "x": 1, "y": 2, "button": "back" }),
            "button",
        ),
        ("scroll", json!({ "clicks": 101 }), "clicks"),
        ("scroll", json!({ "direction": "in" }), "direction"),
        ("type", json!({ "text": "" }), "text"),
        ("type", json!({ "text": "x".repeat(10_001) }), "text"),
        (
            "type",
            json!({ "text": "x".repeat(200), "delay": 1000 }),
            "text",
        ),
        ("key", json!({ "key": "--help" }), "key"),
        ("hotkey", json!({ "keys": [] }), "keys"),
        ("wait", json!({ "seconds": 51 }), "seconds"),
        ("launch", json!({ "app": "xterm -e sh" }), "app"),
        ("launch", json!({ "app": "nothing-of-the-kind" }), "app"),
        (
            "clipboard",
            json!({ "text": "x".repeat((256 << 10) + 1) }),
            "text",
        ),
        (
            "screenshot/region",
            json!({ "x": 1, "y": 1, "width": 0, "height": 9 }),
            "width",
        ),
        ("window/focus", json!({ "window_id": "$(x)" }), "window_id"),
    ] {
        h.s.post(&path(verb), body).invalid(&[field]);
    }
    let text =
        h.s.post(&path("key"), json!({ "key": "Nokey" }))
            .refused(409, "DESKTOP_REFUSED");
    assert!(text.contains("Nokey"), "{text}");
    h.s.post(&path("window/focus"), json!({ "window_id": "0x1" }))
        .refused(404, "NOT_FOUND");
    h.s.get(&path("window/77/size")).refused(404, "NOT_FOUND");
    assert!(
        !programs.read("said").contains("0x00000001"),
        "a window that is not there is not touched"
    );

    programs.add(
        "xdotool",
        "echo \"Error: Can't open display: :1\" >&2; exit 1",
    );
    h.s.get(&path("screen-size"))
        .refused(409, "DESKTOP_STARTING");
    let other = h.computer();
    Programs::none(&h, &other, "/nowhere");
    let text =
        h.s.get(&format!("/computers/{other}/desktop/screenshot"))
            .refused(409, "NO_DESKTOP");
    assert!(text.contains("images build desktop"), "{text}");
    assert_eq!(
        h.s.get(&format!("/computers/{other}/viewer-password"))
            .expect(200)["viewer_password_set"],
        false
    );
}

/// Bytes of binary frames, as many as are asked for; `None` where it was closed before.
fn take(wire: &mut Wire, kept: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    runtime().block_on(async {
        while kept.len() < length {
            let next = tokio::time::timeout(Duration::from_secs(20), wire.0.next());
            let message = next.await.expect("a frame")?.ok()?;
            if message.is_close() {
                return None;
            }
            if message.is_binary() {
                kept.extend_from_slice(message.as_payload());
            }
        }
        Some(kept.drain(..length).collect())
    })
}

fn say(wire: &mut Wire, bytes: &[u8]) {
    runtime()
        .block_on(wire.0.send(Message::binary(bytes.to_vec())))
        .unwrap();
}

/// A viewer that has said hello, and what the screen says first.
fn greet(wire: &mut Wire) -> Vec<u8> {
    let mut kept = Vec::new();
    assert_eq!(take(wire, &mut kept, 12).unwrap(), b"RFB 003.008\n");
    say(wire, b"RFB 003.008\n");
    assert_eq!(take(wire, &mut kept, 2).unwrap(), [1, 1], "no password");
    say(wire, &[1]);
    assert_eq!(take(wire, &mut kept, 4).unwrap(), [0; 4]);
    say(wire, &[0]);
    assert_eq!(take(wire, &mut kept, 4).unwrap(), b"init");
    kept
}

/// The page of a link.
fn page(h: &House, token: &str) -> Answer {
    let request = Request::get(format!("/desktop/{token}"));
    h.s.send(request.body(Body::empty()).unwrap())
}

const CLICK: [u8; 6] = [5, 1, 0, 9, 0, 9];
const LOOK: [u8; 10] = [3, 1, 0, 0, 0, 0, 0, 9, 0, 9];
const TEXT: [u8; 10] = [6, 0, 0, 0, 0, 0, 0, 2, 65, 66];

#[test]
fn a_screen_is_shown_to_a_key_and_who_only_looks_touches_nothing() {
    let h = House::new();
    let id = h.computer();
    Programs::of_a_desktop(&h, &id);
    let (address, key) = (listen(&h), format!("Bearer {}", h.s.key));
    let headers = [("authorization", key.as_str())];
    let path = format!("/computers/{id}/desktop/stream");

    let mut wire = open(&address, &path, &headers).unwrap();
    let mut kept = greet(&mut wire);
    // Cut in two, and several at once.
    say(&mut wire, &CLICK[..3]);
    say(&mut wire, &[&CLICK[3..], &LOOK, &TEXT].concat());
    let all = [&CLICK[..], &LOOK, &TEXT].concat();
    assert_eq!(take(&mut wire, &mut kept, all.len()).unwrap(), all);

    let mut watching = open(&address, &format!("{path}?view_only=true"), &headers).unwrap();
    let mut kept = greet(&mut watching);
    say(
        &mut watching,
        &[&CLICK[..], &TEXT, &LOOK, &CLICK, &LOOK].concat(),
    );
    assert_eq!(
        take(&mut watching, &mut kept, 20).unwrap(),
        [LOOK, LOOK].concat()
    );
    // What is no message of the protocol ends it.
    say(&mut watching, &[77]);
    assert_eq!(take(&mut watching, &mut kept, 1), None);
    drop(wire);
    let closed = h.until("both to be noted", || {
        let all = noted(&h, "computer.desktop_closed");
        (all.len() == 2).then_some(all)
    });
    let why: Vec<_> = closed
        .iter()
        .map(|c| (c["view_only"].clone(), c["why"].clone()))
        .collect();
    assert!(
        why.contains(&(json!(true), json!("the viewer does not speak RFB"))),
        "{why:?}"
    );

    // A key that may not, a screen that is not there, too many who look.
    let other = h.computer();
    Programs::none(&h, &other, "/usr/bin:/bin");
    let refused = open(
        &address,
        &format!("/computers/{other}/desktop/stream"),
        &headers,
    );
    assert!(refused.is_err());
    let mut all: Vec<Wire> = (0..8)
        .map(|_| open(&address, &path, &headers).unwrap())
        .collect();
    assert!(open(&address, &path, &headers).is_err(), "eight are enough");
    all.clear();
    // Who looks takes no turn of those that work in it.
    let mut all: Vec<Wire> = (0..8)
        .map(|_| h.until("a place", || open(&address, &path, &headers).ok()))
        .collect();
    h.s.post(
        &format!("/computers/{id}/exec"),
        json!({ "command": "true" }),
    )
    .expect(200);
    all.clear();
}

#[test]
fn a_link_opens_one_screen_until_it_ends() {
    let h = House::new();
    let id = h.computer();
    Programs::of_a_desktop(&h, &id);
    let address = listen(&h);
    let root = address.trim_end_matches("/api/v1").to_owned();
    let links = format!("/computers/{id}/desktop-links");
    let made = h.s.post(&links, json!({ "ttl_seconds": 600 })).expect(201);
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["view_only"], &made["mode"]),
        (&json!(true), &json!("view"))
    );
    assert!(
        made["url"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/desktop/{token}"))
    );
    assert!(made["websocket_url"].as_str().unwrap().starts_with("ws://"));
    let path = format!("/desktop/{token}/stream");
    let mut wire = open(&root, &path, &[]).unwrap();
    let mut kept = greet(&mut wire);
    say(&mut wire, &[&CLICK[..], &LOOK].concat());
    assert_eq!(
        take(&mut wire, &mut kept, 10).unwrap(),
        LOOK,
        "nobody said that it may touch"
    );
    // The secret is stored nowhere, and opens nothing else.
    let shown = page(&h, &token);
    assert_eq!(shown.status, 200);
    let policy = shown.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("frame-ancestors *") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    h.s.call_as(&token, Method::GET, &format!("/computers/{id}"), None)
        .refused(401, "invalid_token");
    let listed = h.s.get(&links).expect(200);
    assert_eq!(listed["data"][0]["id"], made["id"]);
    assert!(!listed.to_string().contains(&token));

    let one = format!("{links}/{}", made["id"].as_str().unwrap());
    h.s.call_as(&h.s.key, Method::DELETE, &one, None)
        .expect(200);
    assert_eq!(
        take(&mut wire, &mut kept, 1),
        None,
        "it ends who looks by it"
    );
    assert!(open(&root, &path, &[]).is_err());
    assert_eq!(page(&h, &token).status, 404);
    h.s.call_as(&h.s.key, Method::DELETE, &one, None)
        .refused(404, "NOT_FOUND");

    // As the published clients ask for one; it ends with its time, and with the key that made it.
    let embed = |query: &str| h.s.get(&format!("/computers/{id}/embed{query}"));
    embed("?ttl=5").invalid(&["ttl"]);
    embed("?mode=x&view_only=maybe").invalid(&["mode", "view_only"]);
    assert_eq!(embed("?view_only=true").expect(200)["view_only"], true);
    let made = embed("?ttl=60").expect(200);
    assert_eq!(
        (&made["view_only"], &made["mode"]),
        (&json!(false), &json!("control"))
    );
    let path = format!("/desktop/{}/stream", made["token"].as_str().unwrap());
    let mut wire = open(&root, &path, &[]).unwrap();
    let mut kept = greet(&mut wire);
    say(&mut wire, &CLICK);
    assert_eq!(take(&mut wire, &mut kept, 6).unwrap(), CLICK);
    h.s.advance(61);
    assert_eq!(take(&mut wire, &mut kept, 1), None);
    let body = json!({ "name": "k", "scopes": ["computers:desktop"] });
    let key = h.s.post("/api-keys", body).expect(201);
    let secret = key["key"]
        .as_str()
        .or(key["data"]["key"].as_str())
        .unwrap()
        .to_owned();
    let key_id = key["id"]
        .as_str()
        .or(key["data"]["id"].as_str())
        .unwrap()
        .to_owned();
    let made =
        h.s.call_as(
            &secret,
            Method::POST,
            &format!("/computers/{id}/stream-token"),
            Some(json!({})),
        )
        .expect(200);
    let path = format!("/desktop/{}/stream", made["token"].as_str().unwrap());
    open(&root, &path, &[]).unwrap();
    h.s.call_as(
        &h.s.key,
        Method::DELETE,
        &format!("/api-keys/{key_id}"),
        None,
    );
    pause(20);
    assert!(open(&root, &path, &[]).is_err(), "its key is gone");
}

#[test]
fn a_link_of_an_operator_who_acts_as_an_organization_opens_and_no_other_organizations_does() {
    let h = House::new();
    h.ready();
    let (key, workspace) = h.s.other_tenant("globex");
    let body = json!({ "name": "first", "size": "small", "workspace_id": workspace });
    let made = h.s.call_as(&key, Method::POST, "/computers", Some(body));
    let id = made.expect(201)["id"].as_str().unwrap().to_owned();
    h.until("it to run", || {
        let shown =
            h.s.call_as(&key, Method::GET, &format!("/computers/{id}"), None);
        (shown.expect(200)["status"] == "running").then_some(())
    });
    Programs::of_a_desktop_of(&h, &key, &id);
    let root = listen(&h).trim_end_matches("/api/v1").to_owned();
    let links = format!("/computers/{id}/desktop-links");
    h.s.post(&links, json!({})).refused(403, "FORBIDDEN");
    let mut asked = request(&h.s.key, &Method::POST, &links, Some(json!({})));
    asked
        .headers_mut()
        .insert("x-miosa-tenant", "globex".parse().unwrap());
    let made = h.s.send(asked).expect(201);
    let path = format!("/desktop/{}/stream", made["token"].as_str().unwrap());
    let mut wire = open(&root, &path, &[]).unwrap();
    greet(&mut wire);
}
