//! Terminals and programs with open streams, over a real connection; the programs run on this machine.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_websockets::{ClientBuilder, Error, MaybeTlsStream, Message, WebSocketStream};

use workspaced::testing::serve;

use super::{House, pause};
use crate::harness::runtime;

/// A connection into a computer.
pub struct Wire(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

/// The service on an address of this machine.
pub fn listen(h: &House) -> String {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (service, config) = (h.s.router.clone(), h.s.app.config.clone());
        tokio::spawn(async move {
            serve(listener, service, &config, stopped).await;
            drop(stop);
        });
        format!("ws://{address}/api/v1")
    })
}

pub fn open(address: &str, path: &str, headers: &[(&'static str, &str)]) -> Result<Wire, Error> {
    runtime().block_on(async {
        let mut builder = ClientBuilder::new()
            .uri(&format!("{address}{path}"))
            .unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            builder = builder.add_header(HeaderName::from_static(name), value)?;
        }
        let (socket, answer) = builder.connect().await?;
        assert_eq!(answer.status(), 101);
        Ok(Wire(socket))
    })
}

impl Wire {
    fn send(&mut self, frame: &Value) {
        let message = Message::text(frame.to_string());
        runtime().block_on(self.0.send(message)).unwrap();
    }

    /// The next frame that is text; `None` when it was closed.
    fn next(&mut self) -> Option<Value> {
        runtime().block_on(async {
            loop {
                let next = tokio::time::timeout(Duration::from_secs(20), self.0.next());
                let message = next.await.expect("a frame")?.ok()?;
                if let Some((_, why)) = message.as_close() {
                    return Some(json!({ "type": "close", "why": why }));
                }
                if let Some(text) = message.as_text() {
                    return Some(serde_json::from_str(text).unwrap());
                }
            }
        })
    }

    /// What it says until it has said that.
    fn until(&mut self, what: &str) -> String {
        let mut said = String::new();
        while !said.contains(what) {
            let frame = self.next().unwrap_or_else(|| panic!("{what}: {said}"));
            said += frame["data"].as_str().unwrap_or("");
            assert_ne!(frame["type"], "close", "{frame} {said}");
        }
        said
    }

    /// Why it was closed.
    fn end(&mut self) -> String {
        loop {
            let frame = self.next().expect("a reason");
            if frame["type"] == "close" {
                return frame["why"].as_str().unwrap().to_owned();
            }
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The audit log's entries of a type, newest first.
pub fn noted(h: &House, kind: &str) -> Vec<Value> {
    let rows = h.s.get(&format!("/audit-log?type={kind}")).expect(200);
    let each = rows["data"].as_array().unwrap().iter();
    each.map(|row| row["metadata"]["after"].clone()).collect()
}

#[test]
fn a_program_is_talked_with_and_its_end_is_told() {
    let h = House::new();
    let id = h.computer();
    let (address, key) = (listen(&h), format!("Bearer {}", h.s.key));
    h.s.post(
        &format!("/computers/{id}/env"),
        json!({ "name": "GREETING", "value": "grüße" }),
    )
    .expect(201);
    let command = "echo $GREETING $MORE; echo oops >&2; read line; echo got $line; cat; exit 7";
    let path = format!(
        "/computers/{id}/exec/stream?command={}&env={}&cwd=/tmp",
        encoded(command),
        encoded(r#"{"MORE":"x"}"#)
    );
    let mut wire = open(&address, &path, &[("authorization", &key)]).unwrap();
    let mut said = [String::new(), String::new()];
    while said[0].is_empty() || said[1].is_empty() {
        let frame = wire.next().unwrap();
        let stream = usize::from(frame["type"] == "stderr");
        said[stream] += frame["data"].as_str().unwrap();
    }
    assert_eq!(said, ["grüße x\n", "oops\n"]);
    wire.send(&json!({ "type": "stdin", "data": "a b\n" }));
    assert_eq!(wire.until("b\n"), "got a b\n");
    runtime()
        .block_on(wire.0.send(Message::binary(&b"raw\n"[..])))
        .unwrap();
    assert_eq!(wire.until("raw"), "raw\n");
    wire.send(&json!({ "type": "stdin_close" }));
    assert_eq!(wire.next().unwrap(), json!({ "type": "exit", "code": 7 }));
    assert_eq!(wire.end(), "it ended");
    let opened = noted(&h, "computer.terminal_opened");
    assert_eq!(opened[0]["what"], command);
    let closed = h.until("the end to be noted", || {
        noted(&h, "computer.terminal_closed").first().cloned()
    });
    assert_eq!(
        (&closed["why"], &closed["session"]),
        (&json!("it ended"), &opened[0]["session"])
    );
    assert!(!closed.to_string().contains("raw"));
    assert_eq!(h.show(&id)["last_activity"]["by"], "terminal");
}

#[test]
fn a_terminal_is_prepared_resized_sent_a_signal_and_hung_up() {
    let h = House::new();
    let id = h.computer();
    let (address, key) = (listen(&h), format!("Bearer {}", h.s.key));
    let body = json!({ "cols": 100, "rows": 30, "shell": "trap 'echo caught' USR1; while :; do sleep 0.05; done" });
    let made =
        h.s.post(&format!("/computers/{id}/terminal"), body)
            .expect(200);
    assert_eq!(
        (&made["cols"], &made["connected"]),
        (&json!(100), &json!(false))
    );
    let session = made["session_id"].as_str().unwrap().to_owned();
    let path = made["stream_path"].as_str().unwrap().to_owned();
    let mut wire = open(&address, &path, &[("authorization", &key)]).unwrap();
    let extent = || {
        h.fake
            .inside(|i| i.programs.values().find_map(|ran| ran.extent))
    };
    assert_eq!(h.until("its size", extent), (100, 30));
    let resize = format!("/computers/{id}/pty/{session}/resize");
    h.s.post(&resize, json!({ "cols": 90, "rows": 20 }))
        .expect(200);
    h.until("another size", || {
        (extent() == Some((90, 20))).then_some(())
    });
    wire.send(&json!({ "type": "resize", "cols": 80, "rows": 25 }));
    h.until("another size", || {
        (extent() == Some((80, 25))).then_some(())
    });
    wire.send(&json!({ "type": "signal", "signal": "SIGUSR1" }));
    wire.until("caught");
    let open_now = h.s.get(&format!("/computers/{id}/terminal")).expect(200);
    assert_eq!(open_now["data"][0]["connected"], true);
    // Nobody else sits down there.
    open(&address, &path, &[("authorization", &key)])
        .err()
        .unwrap();
    let end = format!("/computers/{id}/terminal/{session}");
    h.s.delete(&end).expect(200);
    assert_eq!(wire.end(), "closed");
    // What ran in it is gone with it.
    let ended = |i: &mut super::fake::Inside| {
        let shell = i.programs.values().find(|ran| ran.extent.is_some());
        shell.and_then(|ran| ran.exit_code)
    };
    let code = h.until("the shell to end", || h.fake.inside(ended));
    assert!([129, 137].contains(&code), "{code}");
    h.until("the seat to be free", || {
        let left = h.s.get(&format!("/computers/{id}/terminal")).expect(200);
        (left["data"] == json!([])).then_some(())
    });
    h.s.delete(&end).refused(404, "NOT_FOUND");
    h.s.post(&resize, json!({})).refused(404, "NOT_FOUND");
}

#[test]
fn terminals_are_few_and_need_who_may_open_them() {
    let h = House::new();
    let id = h.computer();
    let address = listen(&h);
    let path = format!("/computers/{id}/exec/stream?command=cat");
    let mint = |scopes: Value| {
        let made =
            h.s.post("/api-keys", json!({ "name": "k", "scopes": scopes }))
                .expect(201);
        let data = &made["data"];
        (
            data["key"].as_str().unwrap().to_owned(),
            data["id"].as_str().unwrap().to_owned(),
        )
    };
    let ((reader, _), (worker, worker_id)) = (
        mint(json!(["computers:read"])),
        mint(json!(["computers:exec"])),
    );
    let (stranger, _) = h.s.other_tenant("other");
    for key in [&reader, &stranger, &"msk_u_wrong".to_owned()] {
        let refused = open(
            &address,
            &path,
            &[("authorization", &format!("Bearer {key}"))],
        );
        assert!(refused.is_err(), "{key}");
    }
    // A page of another site has the cookie sent along, and not the origin.
    let key = format!("Bearer {worker}");
    let mut wire = open(&address, &path, &[("authorization", &key)]).unwrap();
    wire.send(&json!({ "type": "stdin", "data": "x\n" }));
    wire.until("x\n");
    // Without the headers of the protocol it is none.
    h.s.get(&path).refused(400, "UPGRADE_REQUIRED");
    let others: Vec<Wire> = (0..3)
        .map(|_| open(&address, &path, &[("authorization", &key)]).unwrap())
        .collect();
    assert!(open(&address, &path, &[("authorization", &key)]).is_err());
    let fifth = h.s.post(&format!("/computers/{id}/terminal"), json!({}));
    assert_eq!(fifth.status, 429, "{}", fifth.text);
    drop(others);
    h.until("places to be free", || {
        let left = h.s.get(&format!("/computers/{id}/terminal")).expect(200);
        (left["data"].as_array().unwrap().len() == 1).then_some(())
    });
    // The key goes, and what it had opened.
    h.s.delete(&format!("/api-keys/{worker_id}")).expect(200);
    assert_eq!(wire.end(), "the key opens it no more");
    h.until("the end to be noted", || {
        let closed = noted(&h, "computer.terminal_closed");
        (closed[0]["why"] == "the key opens it no more").then_some(())
    });
}

#[test]
fn a_terminal_in_which_nothing_happens_is_closed_and_one_ends_with_its_computer() {
    let h = House::with(|engine| engine.terminal_idle = Duration::from_secs(2));
    let id = h.computer();
    let (address, key) = (listen(&h), format!("Bearer {}", h.s.key));
    let path = format!("/computers/{id}/exec/stream?command=cat");
    let mut wire = open(&address, &path, &[("authorization", &key)]).unwrap();
    assert_eq!(wire.end(), "nothing was typed or said for too long");
    // An open terminal keeps its computer awake.
    let body = json!({ "auto_stop_seconds": 60 });
    h.s.patch(&format!("/computers/{id}/auto-stop"), body)
        .expect(200);
    let before = h.show(&id)["auto_stop_at"].clone();
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    let _wire = open(&address, &path, &[("authorization", &key)]).unwrap();
    h.until("it to be noted", || {
        (h.show(&id)["auto_stop_at"] != before).then_some(())
    });
}

#[test]
fn a_tunnel_carries_bytes_to_a_port() {
    let h = House::new();
    let id = h.computer();
    let (address, key) = (listen(&h), format!("Bearer {}", h.s.key));
    let port = runtime().block_on(async {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = there.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = there.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        port
    });
    let path = format!("/computers/{id}/tunnel/{port}");
    let mut wire = open(&address, &path, &[("authorization", &key)]).unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    runtime()
        .block_on(wire.0.send(Message::binary(bytes.clone())))
        .unwrap();
    let back = runtime().block_on(wire.0.next()).unwrap().unwrap();
    assert_eq!(&back.as_payload()[..], &bytes);
    let nobody = format!("/computers/{id}/tunnel/1");
    assert!(open(&address, &nobody, &[("authorization", &key)]).is_err());
}

#[test]
fn variables_of_an_environment_are_kept_and_never_in_the_log() {
    let h = House::new();
    let id = h.computer();
    let env = format!("/computers/{id}/env");
    let set = json!({ "name": "TOKEN", "value": "hush" });
    let made = h.s.post(&env, set).expect(201);
    assert_eq!(
        (&made["name"], &made["value"]),
        (&json!("TOKEN"), &json!("hush"))
    );
    h.s.post(&env, json!({ "name": "A=B", "value": "" }))
        .invalid(&["name"]);
    h.s.post(&env, json!({ "name": "A" })).invalid(&["value"]);
    h.s.patch(&format!("{env}/NONE"), json!({ "value": "" }))
        .refused(404, "NOT_FOUND");
    h.s.patch(&format!("{env}/TOKEN"), json!({ "value": "hush2" }))
        .expect(200);
    let said =
        h.s.post(
            &format!("/computers/{id}/exec"),
            json!({ "command": "echo $TOKEN" }),
        )
        .expect(200);
    assert_eq!(said["output"], "hush2\n");
    let all = h.s.get(&env).expect(200);
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
    h.s.delete(&format!("{env}/TOKEN")).expect(200);
    h.s.delete(&format!("{env}/TOKEN"))
        .refused(404, "NOT_FOUND");
    let log = h.s.get("/audit-log?limit=100").expect(200).to_string();
    assert!(log.contains("TOKEN set") && log.contains("TOKEN unset") && !log.contains("hush"));
    let (stranger, _) = h.s.other_tenant("other");
    h.s.call_as(&stranger, Method::GET, &env, None)
        .refused(403, "FORBIDDEN");
    // It goes with the computer.
    h.s.post(&env, json!({ "name": "X", "value": "1" }))
        .expect(201);
    h.s.delete(&format!("/computers/{id}")).expect(200);
    h.until("its rest to go", || {
        (h.s.count("SELECT count(*) FROM computer_env") == 0).then_some(())
    });
    pause(1);
}

#[test]
fn ports_say_where_something_listens_and_who_may_look() {
    let h = House::new();
    let id = h.computer();
    let ports = format!("/computers/{id}/ports");
    let there = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = there.local_addr().unwrap().port();
    let before = h.show(&id)["last_activity"].clone();
    h.s.clock.set(h.s.app.store.now().plus_seconds(60));
    let found = h.s.get(&ports).expect(200);
    let row = |found: &Value| {
        let rows = found["data"].as_array().unwrap().iter();
        rows.clone()
            .find(|row| row["port"] == port)
            .cloned()
            .unwrap()
    };
    let listens = row(&found);
    assert_eq!(
        (
            &listens["listening"],
            &listens["only_inside"],
            &listens["exposed"]
        ),
        (&json!(true), &json!(false), &json!(false))
    );
    assert_eq!(
        h.show(&id)["last_activity"],
        before,
        "looking is no activity"
    );
    h.s.patch(
        &format!("/computers/{id}"),
        json!({ "visibility": "tenant" }),
    )
    .expect(200);
    h.s.post(&ports, json!({ "port": 0 })).invalid(&["port"]);
    h.s.post(&ports, json!({ "port": port, "visibility": "world" }))
        .invalid(&["visibility"]);
    let set =
        h.s.post(&ports, json!({ "port": port, "visibility": "public" }))
            .expect(201);
    assert!(set["url"].as_str().unwrap().contains(&format!("{port}-")));
    assert_eq!(row(&h.s.get(&ports).expect(200))["visibility"], "public");
    // That one is open, and only that one.
    let slug = h.show(&id)["slug"].as_str().unwrap().to_owned();
    let status = |port: u16| {
        let request = axum::extract::Request::builder()
            .uri("/")
            .header("host", format!("{port}-{slug}.sandbox.localhost"));
        let request = request.body(axum::body::Body::empty()).unwrap();
        h.s.send(request).status.as_u16()
    };
    assert_eq!(status(1), 401);
    drop(there);
    assert_eq!(status(port), 502);
    let one = format!("{ports}/{port}");
    h.s.patch(&one, json!({ "visibility": "key" })).expect(200);
    assert_eq!(status(port), 401);
    h.s.delete(&one).expect(200);
    h.s.delete(&one).refused(404, "NOT_FOUND");
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    h.s.post(&ports, json!({ "port": 3000 })).expect(201);
    let found = h.s.get(&ports).expect(200);
    assert_eq!(found["data"][0]["listening"], Value::Null);
}
