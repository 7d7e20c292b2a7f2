//! An engine that runs nothing: the part of Docker's API that is used, on a unix socket, over containers
//! that are rows in a map. It tells the time of the test's clock, and it can lie, hang, lose events, refuse
//! an update, and die.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as Segments, Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use workspaced::testing::machines::online_cpus;
use workspaced::testing::{Clock, Timestamp};

use crate::harness::runtime;

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    pub id: String,
    pub body: Value,
    /// created, running, exited, stopping.
    pub state: String,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub exit_code: i64,
    pub oom: bool,
    /// Its process is there, whatever the state says.
    pub alive: bool,
    pub networks: BTreeSet<String>,
    pub memory: i64,
    /// Nanoseconds of CPU that it has used, and bytes of memory that it does use.
    pub used: (u64, u64),
}

/// What the engine has, does and pretends.
#[derive(Default)]
pub struct Inside {
    pub containers: BTreeMap<String, Container>,
    pub volumes: BTreeSet<String>,
    pub networks: BTreeSet<String>,
    pub images: BTreeSet<String>,
    /// What was laid into a container: its name, the directory and the bytes.
    pub laid: Vec<(String, String, String)>,
    /// Verbs that never answer.
    pub hangs: BTreeSet<String>,
    /// Verbs that fail with this status and text; counted down.
    pub fails: BTreeMap<String, (u16, String, usize)>,
    pub mute: bool,
    pub podman: bool,
    /// It has the CPUs of this machine, and holds containers to some of them.
    pub pins: bool,
    /// What is read of a disk ends before its end.
    pub breaks_off: bool,
    /// What was done, in order.
    pub calls: Vec<String>,
    /// Programs in containers: they run on the machine of the test.
    pub programs: BTreeMap<String, Ran>,
    next: u64,
}

/// A program in a container.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    pub body: Value,
    pub exit_code: Option<i64>,
    /// Columns and rows.
    pub extent: Option<(u16, u16)>,
}

impl Inside {
    /// How often that was done.
    pub fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|c| *c == call).count()
    }
}

#[derive(Clone)]
struct Shared {
    inside: Arc<Mutex<Inside>>,
    events: broadcast::Sender<String>,
    clock: Clock,
}

/// An engine at a socket.
pub struct Fake {
    shared: Shared,
    pub socket: PathBuf,
    task: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn start(dir: &Path, clock: &Clock) -> Fake {
        let mut inside = Inside::default();
        inside.images.insert("localhost/box:1".into());
        let mut fake = Fake {
            shared: Shared {
                inside: Arc::new(Mutex::new(inside)),
                events: broadcast::channel(64).0,
                clock: clock.clone(),
            },
            socket: dir.join("engine.sock"),
            task: None,
        };
        fake.come_back();
        fake
    }

    /// Listens again.
    pub fn come_back(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let _entered = runtime().enter();
        let listener = UnixListener::bind(&self.socket).unwrap();
        let router = Router::new()
            .fallback(any(answer))
            .with_state(self.shared.clone());
        self.task = Some(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
    }

    /// Answers nobody any more; what it runs goes on.
    pub fn die(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.shared.events = broadcast::channel(64).0;
    }

    pub fn inside<T>(&self, f: impl FnOnce(&mut Inside) -> T) -> T {
        f(&mut self.shared.inside.lock())
    }

    /// The container of a computer.
    pub fn of(&self, computer: &str) -> Option<Container> {
        let name = format!("ws-{computer}");
        self.inside(|inside| inside.containers.get(&name).cloned())
    }

    /// A container ends by itself.
    pub fn ends(&self, computer: &str, exit_code: i64, oom: bool) {
        let name = format!("ws-{computer}");
        let now = self.shared.clock.now();
        let id = self.inside(|inside| {
            let c = inside.containers.get_mut(&name).unwrap();
            (c.state, c.finished, c.exit_code) = ("exited".into(), Some(now), exit_code);
            (c.oom, c.alive) = (oom, false);
            c.id.clone()
        });
        self.tell("die", &id);
    }

    /// An engine says that something happened, though nothing did.
    pub fn whispers(&self, computer: &str) {
        let id = self.of(computer).unwrap().id;
        self.tell("start", &id);
    }

    fn tell(&self, action: &str, id: &str) {
        tell(&self.shared, action, id);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.die();
    }
}

fn tell(shared: &Shared, action: &str, id: &str) {
    if !shared.inside.lock().mute {
        let event = json!({
            "Type": "container", "Action": action, "Actor": { "ID": id, "Attributes": {} },
            "time": shared.clock.now().0 / 1000, "timeNano": shared.clock.now().0 * 1_000_000,
        });
        let _ = shared.events.send(format!("{event}\n"));
    }
}

fn refused(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(json!({ "message": message }))).into_response()
}

fn state_of(c: &Container) -> Value {
    let time = |at: Option<Timestamp>| {
        at.map_or("0001-01-01T00:00:00Z".to_owned(), |at| {
            at.rfc3339_ms().replace('Z', "000007Z")
        })
    };
    json!({
        "Status": c.state, "Running": c.state == "running", "Pid": 0, "ExitCode": c.exit_code,
        "OOMKilled": c.oom, "StartedAt": time(c.started), "FinishedAt": time(c.finished),
    })
}

/// The verb of a request, as `hangs`, `fails` and `calls` name it.
fn verb(method: &Method, parts: &[&str]) -> String {
    match (method.as_str(), parts) {
        (_, ["containers", "json"]) => "list".into(),
        (_, ["containers", "create"]) => "create".into(),
        ("DELETE", ["containers", _]) => "remove".into(),
        ("DELETE", ["images", ..]) => "remove image".into(),
        ("PUT", ["containers", _, "archive"]) => "lay".into(),
        (_, ["containers", _, "json"]) => "inspect".into(),
        (_, ["containers", _, verb]) => (*verb).into(),
        (_, ["exec", _, verb]) => format!("exec {verb}"),
        ("DELETE", [kind, _]) => format!("remove {kind}"),
        (_, ["networks", "create"]) => "create network".into(),
        (_, ["networks", _, verb]) => (*verb).into(),
        (_, parts) => parts.first().copied().unwrap_or_default().to_owned(),
    }
}

async fn answer(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    _: Option<Segments<String>>,
    request: Request,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (mut parts, body) = request.into_parts();
    let switch = parts.extensions.remove::<OnUpgrade>();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let sent = String::from_utf8_lossy(&body).into_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = path.trim_start_matches('/');
    let path = path
        .strip_prefix("v1.")
        .and_then(|rest| rest.split_once('/'))
        .map_or(path, |(_, rest)| rest);
    let parts: Vec<&str> = path.split('/').collect();
    let verb = verb(&method, &parts);
    loop {
        let hangs = shared.inside.lock().hangs.contains(&verb);
        if !hangs {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    if verb == "events" {
        let mut events = shared.events.subscribe();
        let (write, read) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let mut write = write;
            while let Ok(event) = events.recv().await {
                if write.write_all(event.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        return Body::from_stream(tokio_util::io::ReaderStream::new(read)).into_response();
    }
    if verb == "exec start" {
        return run_program(&shared, parts[1], switch);
    }
    if verb == "lay" {
        let laid = (parts[1].to_owned(), query["path"].clone(), sent);
        shared.inside.lock().laid.push(laid);
    }
    let (response, event) = act(&shared, &verb, &parts, &query, &body);
    if let Some((action, id)) = event {
        tell(&shared, action, &id);
    }
    response
}

/// Runs a program on this machine, with its streams as an engine sends them.
fn run_program(shared: &Shared, id: &str, switch: Option<OnUpgrade>) -> Response {
    let Some(ran) = shared.inside.lock().programs.get(id).cloned() else {
        return refused(404, "no such exec");
    };
    let list = |name: &str| -> Vec<String> {
        let all = ran.body[name].as_array().into_iter().flatten();
        all.map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let (command, tty) = (list("Cmd"), ran.body["Tty"] == true);
    let mut program = tokio::process::Command::new(&command[0]);
    program
        .args(&command[1..])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0);
    for variable in list("Env") {
        let (name, value) = variable.split_once('=').unwrap();
        program.env(name, value);
    }
    if let Some(dir) = ran.body["WorkingDir"].as_str().filter(|d| !d.is_empty()) {
        program.current_dir(dir);
    }
    let Ok(mut child) = program.spawn() else {
        return refused(500, "no such program");
    };
    let (shared, id) = (shared.clone(), id.to_owned());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let connection = TokioIo::new(switch.unwrap().await.unwrap());
        let (mut typed, mut pipe) = tokio::io::split(connection);
        let mut stdin = child.stdin.take().unwrap();
        let input = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut typed, &mut stdin).await;
        });
        let (send, mut pieces) = tokio::sync::mpsc::channel::<(u8, Vec<u8>)>(4);
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let second = send.clone();
        tokio::spawn(async move {
            let mut piece = vec![0; 4096];
            while let Ok(n @ 1..) = out.read(&mut piece).await {
                let _ = send.send((1, piece[..n].to_vec())).await;
            }
        });
        tokio::spawn(async move {
            let mut piece = vec![0; 4096];
            while let Ok(n @ 1..) = err.read(&mut piece).await {
                let _ = second.send((2, piece[..n].to_vec())).await;
            }
        });
        while let Some((kind, bytes)) = pieces.recv().await {
            let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            let mut frame = vec![kind, 0, 0, 0];
            frame.extend(length);
            let head: &[u8] = if tty { &[] } else { &frame };
            if pipe.write_all(head).await.is_err() || pipe.write_all(&bytes).await.is_err() {
                break;
            }
            let _ = pipe.flush().await;
        }
        let status = child.wait().await.unwrap();
        let code = std::os::unix::process::ExitStatusExt::signal(&status).map_or_else(
            || i64::from(status.code().unwrap_or(-1)),
            |signal| 128 + i64::from(signal),
        );
        if let Some(ran) = shared.inside.lock().programs.get_mut(&id) {
            ran.exit_code = Some(code);
        }
        let _ = pipe.shutdown().await;
        input.abort();
    });
    Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "tcp")
        .body(Body::empty())
        .unwrap()
}

type Event = Option<(&'static str, String)>;

fn act(
    shared: &Shared,
    verb: &str,
    parts: &[&str],
    query: &BTreeMap<String, String>,
    body: &Value,
) -> (Response, Event) {
    let now = shared.clock.now();
    let mut inside = shared.inside.lock();
    let inside = &mut *inside;
    let tried = query.get("name").map(String::as_str);
    let tried = tried.or(parts.get(1).copied()).unwrap_or_default();
    if !tried.starts_with("ws-probe") {
        inside.calls.push(verb.to_owned());
    }
    if let Some((status, text, left)) = inside.fails.get_mut(verb)
        && *left > 0
    {
        *left -= 1;
        return (refused(*status, text), None);
    }
    let done = |status: StatusCode| (status.into_response(), None);
    match (verb, parts) {
        ("_ping", _) => return ("OK".into_response(), None),
        ("version", _) => {
            let name = if inside.podman {
                "Podman Engine"
            } else {
                "Engine"
            };
            let body = json!({ "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "1.2.3",
                "Components": [{ "Name": name, "Version": "1.2.3" }] });
            return (Json(body).into_response(), None);
        }
        ("info", _) => {
            let body = json!({ "ID": "fake", "MemoryLimit": true, "CpuCfsQuota": true, "CpuCfsPeriod": true,
                "PidsLimit": true, "CPUSet": inside.pins, "NCPU": if inside.pins { online_cpus().len() } else { 64 },
                "SecurityOptions": ["name=seccomp,profile=default"],
                "Runtimes": { "runc": {} } });
            return (Json(body).into_response(), None);
        }
        ("list", _) => {
            let list: Vec<Value> = inside
                .containers
                .iter()
                .map(|(name, c)| {
                    json!({ "Id": c.id, "Names": [format!("/{name}")], "Labels": c.body["Labels"],
                        "State": c.state, "Created": now.0 / 1000 })
                })
                .collect();
            return (Json(list).into_response(), None);
        }
        ("images", _) => {
            let name = parts[1..parts.len() - 1].join("/");
            // Each is a megabyte more than what it was made from.
            let size = 10_000_000 + 1_000_000 * name.matches("snapshot").count();
            let known = inside.images.contains(&name);
            return match known {
                true => (
                    Json(json!({ "Id": "sha256:1", "Size": size })).into_response(),
                    None,
                ),
                false => (refused(404, "no such image"), None),
            };
        }
        ("remove image", _) => {
            let name = parts[1..].join("/");
            let used = inside.containers.values().any(|c| c.body["Image"] == name);
            return match (used, inside.images.remove(&name)) {
                (true, _) => {
                    inside.images.insert(name);
                    (refused(409, "a container uses it"), None)
                }
                (false, true) => (Json(json!([])).into_response(), None),
                (false, false) => (refused(404, "no such image"), None),
            };
        }
        ("commit", _) => {
            if !inside.containers.contains_key(&query["container"]) {
                return (refused(404, "no such container"), None);
            }
            let image = format!("{}:{}", query["repo"], query["tag"]);
            inside.images.insert(image);
            let made = (StatusCode::CREATED, Json(json!({ "Id": "sha256:2" })));
            return (made.into_response(), None);
        }
        ("networks", [_]) => {
            let all: Vec<Value> = inside
                .networks
                .iter()
                .map(|name| json!({ "Name": name, "Id": name }))
                .collect();
            return (Json(all).into_response(), None);
        }
        ("networks", [_, name]) => {
            return match inside.networks.contains(*name) {
                true => (
                    Json(json!({ "Name": name, "Id": name })).into_response(),
                    None,
                ),
                false => (refused(404, "no such network"), None),
            };
        }
        ("create network", _) => {
            inside
                .networks
                .insert(body["Name"].as_str().unwrap().into());
            return (
                (
                    StatusCode::CREATED,
                    Json(json!({ "Id": "n", "Warning": "" })),
                )
                    .into_response(),
                None,
            );
        }
        ("connect" | "disconnect", [_, network, _]) => {
            let name = body["Container"].as_str().unwrap();
            let c = inside.containers.get_mut(name).unwrap();
            if verb == "connect" {
                c.networks.insert((*network).into());
            } else {
                c.networks.remove(*network);
            }
            return done(StatusCode::OK);
        }
        ("exec json", [_, id, _]) => {
            let code = inside.programs.get(*id).and_then(|ran| ran.exit_code);
            let body = json!({ "ID": id, "Running": code.is_none(), "ExitCode": code.unwrap_or(0), "Pid": 1 });
            return (Json(body).into_response(), None);
        }
        ("exec resize", [_, id, _]) => {
            let size = |name: &str| query[name].parse::<u16>().unwrap();
            if let Some(ran) = inside.programs.get_mut(*id) {
                ran.extent = Some((size("w"), size("h")));
            }
            return done(StatusCode::OK);
        }
        ("remove volumes", [_, name]) => {
            return match inside.volumes.remove(*name) {
                true => done(StatusCode::NO_CONTENT),
                false => (refused(404, "no such volume"), None),
            };
        }
        ("create", _) => {
            let name = query["name"].clone();
            if inside.containers.contains_key(&name) {
                return (refused(409, "the name is in use"), None);
            }
            inside.next += 1;
            let id = format!("c{}", inside.next);
            let host = &body["HostConfig"];
            for mount in host["Mounts"].as_array().into_iter().flatten() {
                inside
                    .volumes
                    .insert(mount["Source"].as_str().unwrap().into());
            }
            let container = Container {
                id: id.clone(),
                state: "created".into(),
                started: None,
                finished: None,
                exit_code: 0,
                oom: false,
                alive: false,
                networks: [host["NetworkMode"].as_str().unwrap().to_owned()].into(),
                memory: host["Memory"].as_i64().unwrap(),
                used: (0, 0),
                body: body.clone(),
            };
            inside.containers.insert(name, container);
            let made = json!({ "Id": id, "Warnings": [] });
            return ((StatusCode::CREATED, Json(made)).into_response(), None);
        }
        _ => {}
    }
    let Some(named) = parts.get(1).map(|name| (*name).to_owned()) else {
        return (refused(404, "page not found"), None);
    };
    let name = inside
        .containers
        .iter()
        .find(|(name, c)| **name == named || c.id == named)
        .map(|(name, _)| name.clone());
    let Some(name) = name else {
        return (refused(404, "no such container"), None);
    };
    let podman = inside.podman;
    if verb == "exec" {
        if inside.containers[&name].state != "running" {
            return (refused(409, "the container is not running"), None);
        }
        inside.next += 1;
        let id = format!("e{}", inside.next);
        let ran = Ran {
            body: body.clone(),
            ..Ran::default()
        };
        inside.programs.insert(id.clone(), ran);
        let made = (StatusCode::CREATED, Json(json!({ "Id": id })));
        return (made.into_response(), None);
    }
    let c = inside.containers.get_mut(&name).unwrap();
    let id = c.id.clone();
    match verb {
        "inspect" => {
            let networks: BTreeMap<&String, Value> = c
                .networks
                .iter()
                .map(|n| (n, json!({ "IPAddress": "127.0.0.1" })))
                .collect();
            let body = json!({ "Id": c.id, "Name": format!("/{name}"), "State": state_of(c),
                "HostConfig": { "CpusetCpus": c.body["HostConfig"]["CpusetCpus"] },
                "Config": { "Labels": c.body["Labels"] }, "NetworkSettings": { "Networks": networks } });
            (Json(body).into_response(), None)
        }
        // A tar file ends with a kilobyte of zeros.
        "archive" if query["path"] == "/" => {
            let end = if inside.breaks_off { 0 } else { 1024 };
            let mut disk = b"the files of ".to_vec();
            disk.extend(name.bytes().chain(std::iter::repeat_n(0, end)));
            (disk.into_response(), None)
        }
        "archive" => (format!("all below {}", query["path"]).into_response(), None),
        "lay" => done(StatusCode::OK),
        "stats" => {
            let body = json!({ "cpu_stats": { "cpu_usage": { "total_usage": c.used.0 } },
                "memory_stats": { "usage": c.used.1 + (1 << 20), "limit": c.memory, "stats": { "inactive_file": 1 << 20 } },
                "pids_stats": { "current": 3 }, "networks": { "eth0": { "rx_bytes": 5, "tx_bytes": 6 } } });
            (Json(body).into_response(), None)
        }
        "top" if c.alive => (
            Json(json!({ "Titles": ["PID"], "Processes": [["1"]] })).into_response(),
            None,
        ),
        "top" => (refused(500, "the container is not running"), None),
        "start" if c.state == "running" => done(StatusCode::NOT_MODIFIED),
        "start" if c.state == "stopping" => (
            refused(500, "must be in Created or Stopped state to be started"),
            None,
        ),
        "start" => {
            (c.state, c.started, c.alive) = ("running".into(), Some(now), true);
            (StatusCode::NO_CONTENT.into_response(), Some(("start", id)))
        }
        "stop" if c.state == "running" && !c.alive => {
            c.state = "stopping".into();
            (refused(500, "given PID did not die"), None)
        }
        "stop" if c.state != "running" => done(StatusCode::NOT_MODIFIED),
        "stop" => {
            (c.state, c.finished, c.exit_code, c.alive) = ("exited".into(), Some(now), 0, false);
            (StatusCode::NO_CONTENT.into_response(), Some(("die", id)))
        }
        "update" if podman => (refused(404, "Not Found"), None),
        "update" => {
            c.memory = body["Memory"].as_i64().unwrap();
            c.body["HostConfig"]["CpusetCpus"] = body["CpusetCpus"].clone();
            (Json(json!({ "Warnings": [] })).into_response(), None)
        }
        "remove" => {
            inside.containers.remove(&name);
            (
                StatusCode::NO_CONTENT.into_response(),
                Some(("destroy", id)),
            )
        }
        _ => (refused(404, "page not found"), None),
    }
}
