//! Terminals in a computer, and programs whose streams are open both ways, over a WebSocket.
//!
//! Text frames are JSON: `stdout` and `stderr` with `data`, at last `exit` with `code`; to the program `stdin` with
//! `data`, `stdin_close`, `resize` with `rows` and `cols`, `signal`. Binary frames are input as it is. What goes over
//! the connection is written down nowhere; who opened it, and when and why it ended, is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_websockets::{CloseCode, Message};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::inside::{self, Activity, Hold, Inside};
use super::reconcile::{LOOK, bounded};
use super::seam::{Engine, Output, Program, Running};
use super::seats::{Extent, KEPT_S, Plan, Seat, Taken};
use crate::access::auth::Auth;
use crate::access::caller::Caller;
use crate::access::grip::Grip;
use crate::audit::{self, Actor, Entry};
use crate::clock::{Stopwatch, Timestamp};
use crate::computers::{Fleet, Record};
use crate::db::{Store, topics};
use crate::error::{Error, Fields, Result};
use crate::http::websocket::{Socket, Switch};
use crate::http::{Mutation, NoBody, Params, PathId, PathIds};
use crate::ids::ComputerId;

/// Columns and rows of a terminal of which nothing else is said.
const USUAL: Extent = (80, 24);
/// How long a side that does not take what it is sent is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the other side may take to say goodbye, too.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two looks at whether whoever opened it may still have it.
const CHECK: Duration = Duration::from_secs(1);
/// Of these, so often one looks although no key was changed here: the command line changes keys, too.
const CLOSER: u32 = 5;
/// Between two questions whether the other side is still there, and how long it may not answer.
const ASK: Duration = Duration::from_secs(20);
const SILENT: Duration = Duration::from_secs(70);
/// While it is open, its computer is not idle.
const BUSY: Duration = Duration::from_secs(30);
/// Frames that wait for a program that does not read.
const WAITING: usize = 64;
/// Bytes of a command, a directory, and all of the environment.
const LONGEST: usize = 32 << 10;
/// Characters of a command in the audit log.
const NOTED: usize = 200;

/// Says which process it is, so that it can be sent signals, and becomes the program.
const NAMED: &str = r#"[ "$1" = 0 ] || stty cols "$1" rows "$2" 2>/dev/null
shift 2; printf 'ws-%s\n' "$$"; exec "$@""#;
const MARK: &str = "ws-";
/// The shell of a terminal: the best that the image has.
const SHELL: &str = r#"export TERM="${TERM:-xterm-256color}"; cd "${HOME:-/}" 2>/dev/null
if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi"#;
/// To all that it has begun, or to it alone.
const KILL: &str = r#"kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "$2""#;
/// When nobody listens any more.
const HANG_UP: &str = r#"kill -s HUP -- "-$1" 2>/dev/null || kill -s HUP "$1"; sleep 1
kill -s KILL -- "-$1" 2>/dev/null || kill -s KILL "$1""#;

/// `GET /computers/{id}/exec/stream`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct StreamQuery {
    /// The program, with `args`; without them a line for the shell. Left out, a shell
    pub command: Option<String>,
    /// Its arguments, separated by commas
    pub args: Option<String>,
    /// Where it begins
    pub cwd: Option<String>,
    /// What is in its environment besides, as a JSON object of texts
    pub env: Option<String>,
    /// Rows of its terminal; with them, or `cols`, or no command, it has one
    #[param(value_type = Option<u16>)]
    pub rows: Option<String>,
    /// Columns of its terminal
    #[param(value_type = Option<u16>)]
    pub cols: Option<String>,
    /// A terminal that was made before, instead of all these
    #[param(value_type = Option<Uuid>)]
    pub session: Option<String>,
}

/// `POST /computers/{id}/terminal`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Open {
    /// Columns; 80 if left out
    #[schema(minimum = 1, maximum = 1000)]
    pub cols: Option<i64>,
    /// Rows; 24 if left out
    #[schema(minimum = 1, maximum = 1000)]
    pub rows: Option<i64>,
    /// A program instead of the shell
    pub shell: Option<String>,
    /// Where it begins
    pub cwd: Option<String>,
    /// What is in its environment besides
    pub env: Option<BTreeMap<String, String>>,
}

/// `POST /computers/{id}/pty/{sid}/resize`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Resize {
    /// Columns
    #[schema(minimum = 1, maximum = 1000)]
    pub cols: Option<i64>,
    /// Rows
    #[schema(minimum = 1, maximum = 1000)]
    pub rows: Option<i64>,
}

/// A terminal, or a program whose streams are open.
#[derive(Serialize, ToSchema)]
pub struct Terminal {
    id: Uuid,
    /// The same.
    session_id: Uuid,
    computer_id: ComputerId,
    /// What runs in it.
    command: String,
    /// Whether it has a terminal, instead of two streams.
    terminal: bool,
    cols: u16,
    rows: u16,
    /// The beginning of the key that opened it.
    opened_by: String,
    opened_at: Timestamp,
    /// Somebody is connected; nothing runs before.
    connected: bool,
    /// Until then somebody has to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<Timestamp>,
    /// The WebSocket, below the address of the API.
    stream_path: String,
}

/// Terminals of a computer that are open.
#[derive(Serialize, ToSchema)]
pub struct TerminalList {
    data: Vec<Terminal>,
}

/// It is ended.
#[derive(Serialize, ToSchema)]
pub struct Ended {
    success: bool,
    id: Uuid,
    computer_id: ComputerId,
}

impl Terminal {
    fn of(seat: &Seat) -> Self {
        let (cols, rows) = *seat.extent.borrow();
        Terminal {
            id: seat.id,
            session_id: seat.id,
            computer_id: seat.computer,
            command: seat.plan.shown.clone(),
            terminal: seat.plan.terminal,
            cols,
            rows,
            opened_by: seat.by.clone(),
            opened_at: seat.since,
            connected: seat.is_taken(),
            expires_at: (!seat.is_taken()).then(|| seat.since.plus_seconds(KEPT_S)),
            stream_path: format!(
                "/computers/{}/exec/stream?session={}",
                seat.computer, seat.id
            ),
        }
    }
}

fn size(fields: &mut Fields, name: &'static str, given: Option<i64>) -> Option<u16> {
    let size = given?;
    match u16::try_from(size).ok().filter(|n| (1..=1000).contains(n)) {
        Some(size) => Some(size),
        None => {
            fields.push(name, "must be from 1 to 1000");
            None
        }
    }
}

/// Variables of an environment, `NAME=value`.
fn variables(fields: &mut Fields, given: BTreeMap<String, String>) -> Vec<String> {
    let all: usize = given.iter().map(|(k, v)| k.len() + v.len()).sum();
    let fits = |(name, value): (&String, &String)| {
        super::variables::is_name(name) && !value.contains('\0')
    };
    if all > LONGEST || !given.iter().all(fits) {
        fields.push(
            "env",
            format!("must be names of variables with texts, together at most {LONGEST} bytes"),
        );
    }
    given.iter().map(|(k, v)| format!("{k}={v}")).collect()
}

fn fitting(fields: &mut Fields, name: &'static str, given: Option<String>) -> Option<String> {
    let given = given.filter(|text| !text.is_empty());
    if given
        .as_ref()
        .is_some_and(|text| text.len() > LONGEST || text.contains('\0'))
    {
        fields.push(
            name,
            format!("should be at most {LONGEST} bytes, none of them zero"),
        );
    }
    given
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// A shell, or what is to run in its place.
fn shell(given: Option<&str>) -> (Vec<String>, String) {
    match given {
        None => (words(&["/bin/sh", "-c", SHELL]), "shell".into()),
        Some(line) => (words(&["/bin/sh", "-lc", line]), line.to_owned()),
    }
}

impl StreamQuery {
    fn plan(self) -> Result<(Plan, Extent)> {
        let mut fields = Fields::default();
        let number = |fields: &mut Fields, name: &'static str, text: Option<String>| {
            let text = text?;
            size(fields, name, Some(text.parse().unwrap_or(0)))
        };
        let cols = number(&mut fields, "cols", self.cols);
        let rows = number(&mut fields, "rows", self.rows);
        let command = fitting(&mut fields, "command", self.command);
        let arguments = fitting(&mut fields, "args", self.args);
        let dir = fitting(&mut fields, "cwd", self.cwd);
        let env = match self.env.as_deref().map(serde_json::from_str) {
            None => BTreeMap::new(),
            Some(Ok(env)) => env,
            Some(Err(_)) => {
                fields.push("env", "must be a JSON object of texts");
                BTreeMap::new()
            }
        };
        let env = variables(&mut fields, env);
        fields.finish()?;
        let terminal = cols.is_some() || rows.is_some() || command.is_none();
        let (command, shown) = match (command, arguments) {
            (Some(program), Some(arguments)) => {
                let shown = format!("{program} {}", arguments.replace(',', " "));
                let all = std::iter::once(program.as_str()).chain(arguments.split(','));
                (all.map(str::to_owned).collect(), shown)
            }
            (command, _) => shell(command.as_deref()),
        };
        let plan = Plan {
            command,
            shown,
            dir,
            env,
            terminal,
        };
        Ok((plan, (cols.unwrap_or(USUAL.0), rows.unwrap_or(USUAL.1))))
    }
}

async fn new_id(store: &Store) -> Result<Uuid> {
    let random = store.write(|tx| Ok(tx.random::<16>()?)).await?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid())
}

/// `POST /computers/{id}/terminal`
pub async fn open(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Open>,
) -> Result<Json<Terminal>> {
    let (caller, input) = request.outside();
    let (caller, computer) = inside::machine(&store, caller, id).await?;
    let input = input?;
    let mut fields = Fields::default();
    let cols = size(&mut fields, "cols", input.cols);
    let rows = size(&mut fields, "rows", input.rows);
    let given = fitting(&mut fields, "shell", input.shell);
    let dir = fitting(&mut fields, "cwd", input.cwd);
    let env = variables(&mut fields, input.env.unwrap_or_default());
    fields.finish()?;
    inside::runs(&computer)?;
    fleet.engine.ready()?;
    let (command, shown) = shell(given.as_deref());
    let plan = Plan {
        command,
        shown,
        dir,
        env,
        terminal: true,
    };
    let extent = (cols.unwrap_or(USUAL.0), rows.unwrap_or(USUAL.1));
    let by = caller.key().prefix.clone();
    let seat = Seat::new(new_id(&store).await?, id, plan, by, store.now(), extent);
    let seat = fleet.engine.seats.reserve(seat)?;
    Ok(Json(Terminal::of(&seat)))
}

/// `GET /computers/{id}/terminal`
pub async fn list(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<TerminalList>> {
    let (_, computer) = inside::machine(&store, caller, id).await?;
    inside::runs(&computer)?;
    let here = fleet.engine.seats.of(id, store.now());
    let data = here.iter().map(|seat| Terminal::of(seat)).collect();
    Ok(Json(TerminalList { data }))
}

/// `POST /computers/{id}/pty/{sid}/resize`
pub async fn resize(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathIds(id, session): PathIds<ComputerId, Uuid>,
    request: Mutation<Resize>,
) -> Result<Json<Terminal>> {
    let (caller, input) = request.outside();
    let (_, computer) = inside::machine(&store, caller, id).await?;
    let input = input?;
    let mut fields = Fields::default();
    let cols = size(&mut fields, "cols", input.cols);
    let rows = size(&mut fields, "rows", input.rows);
    fields.finish()?;
    inside::runs(&computer)?;
    let seat = fleet.engine.seats.find(id, session, store.now())?;
    let (old_cols, old_rows) = *seat.extent.borrow();
    let extent = (cols.unwrap_or(old_cols), rows.unwrap_or(old_rows));
    seat.extent.send_replace(extent);
    Ok(Json(Terminal::of(&seat)))
}

/// `DELETE /computers/{id}/terminal/{sid}`
pub async fn end(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathIds(id, session): PathIds<ComputerId, Uuid>,
    request: Mutation<NoBody>,
) -> Result<Json<Ended>> {
    let (caller, input) = request.outside();
    let (_, computer) = inside::machine(&store, caller, id).await?;
    input?;
    inside::runs(&computer)?;
    let seat = fleet.engine.seats.find(id, session, store.now())?;
    fleet.engine.seats.end(&seat);
    Ok(Json(Ended {
        success: true,
        id: session,
        computer_id: id,
    }))
}

/// `GET /computers/{id}/exec/stream`
pub async fn stream(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<StreamQuery>,
    mut request: Request,
) -> Result<Response> {
    let (caller, computer) = inside::machine(&store, caller, id).await?;
    let query = query.get()?;
    let session = query.session.as_deref().map(Uuid::parse_str);
    let known = match session {
        None => None,
        Some(Ok(session)) => Some(session),
        Some(Err(_)) => return Err(Error::field("session", "must be the id of a terminal")),
    };
    let planned = known.is_none().then(|| query.plan()).transpose()?;
    let inside =
        inside::enter(&store, &fleet, caller.clone(), id, None, Activity::Terminal).await?;
    let switch = Switch::of(&mut request)?;
    let seats = &fleet.engine.seats;
    let seat = match (known, planned) {
        (Some(session), _) => seats.find(id, session, store.now())?,
        (None, Some((plan, extent))) => {
            let by = caller.key().prefix.clone();
            let new = Seat::new(new_id(&store).await?, id, plan, by, store.now(), extent);
            seats.reserve(new)?
        }
        (None, None) => return Err(Error::internal("a stream of nothing")),
    };
    let taken = seats.take(seat)?;
    let hold = Hold {
        grip: Grip::of(&auth, &caller, request.headers()),
        caller: caller.clone(),
    };
    let plan = &taken.seat.plan;
    let (cols, rows) = match plan.terminal {
        true => *taken.seat.extent.borrow(),
        false => (0, 0),
    };
    let (cols, rows) = (cols.to_string(), rows.to_string());
    let program = Program {
        command: words(&["/bin/sh", "-c", NAMED, "sh", &cols, &rows])
            .into_iter()
            .chain(plan.command.clone())
            .collect(),
        dir: plan.dir.clone(),
        env: inside.env.iter().chain(&plan.env).cloned().collect(),
        input: true,
        terminal: plan.terminal,
    };
    let running = inside.begin(program).await?;
    let noted = Noted {
        id: taken.seat.id,
        caller,
        computer,
        shown: plan.shown.chars().take(NOTED).collect(),
    };
    noted
        .write(&store, "computer.terminal_opened", json!({}))
        .await?;
    Ok(switch.begin(move |socket| async move {
        let watch = Stopwatch::start();
        let mut attended = Attended::new(inside, running, taken, hold);
        let why = match socket {
            Some(socket) => attended.run(socket).await,
            None => "the connection did not switch",
        };
        attended.hang_up().await;
        let store = attended.inside.store.clone();
        drop(attended);
        let after = json!({ "seconds": watch.micros() / 1_000_000, "why": why });
        if let Err(e) = noted.write(&store, "computer.terminal_closed", after).await {
            tracing::warn!(error = e.message(), "the end of a terminal was not noted");
        }
    }))
}

/// What the audit log says of a terminal.
struct Noted {
    id: Uuid,
    caller: Caller,
    computer: Record,
    shown: String,
}

impl Noted {
    async fn write(&self, store: &Store, kind: &'static str, more: Value) -> Result<()> {
        let mut after =
            json!({ "name": self.computer.name, "session": self.id, "what": self.shown });
        if let (Value::Object(after), Value::Object(more)) = (&mut after, more) {
            after.extend(more);
        }
        let (caller, tenant_id, workspace_id, id) = (
            self.caller.clone(),
            self.computer.tenant_id,
            self.computer.workspace_id,
            self.computer.id,
        );
        store
            .write(move |tx| {
                audit::record(
                    tx,
                    &Entry {
                        actor: Actor::Key(&caller),
                        tenant_id,
                        workspace_id: Some(workspace_id),
                        kind,
                        resource: id.0,
                        before: audit::NONE,
                        after: Some(&after),
                    },
                )
            })
            .await
    }
}

/// Bytes of a stream as text: a letter that is cut in two waits for its rest.
#[derive(Default)]
struct Letters(Vec<u8>);

impl Letters {
    fn take(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            Ok(_) => self.0.len(),
            // Not wrong, but not at its end.
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(_) => {
                let cut = self.0.len().saturating_sub(3);
                let tail = &self.0[cut..];
                let begun = tail.iter().rposition(|b| *b >= 0xc0);
                match begun.map(|at| std::str::from_utf8(&tail[at..])) {
                    Some(Err(e)) if e.error_len().is_none() => cut + begun.unwrap_or(0),
                    _ => self.0.len(),
                }
            }
        };
        let rest = self.0.split_off(whole);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }
}

/// What a client may send as text.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    Stdin {
        data: String,
    },
    StdinClose,
    Resize {
        rows: u16,
        cols: u16,
    },
    Signal {
        signal: String,
    },
    #[serde(other)]
    Unknown,
}

/// A program with somebody at the other end.
struct Attended {
    inside: Inside,
    running: Running,
    taken: Taken,
    hold: Hold,
    /// The process, as the computer counts.
    pid: Option<u32>,
    /// What it said before it had said that.
    head: Vec<u8>,
    out: Letters,
    err: Letters,
    over: bool,
    /// What waits until the program reads.
    typed: VecDeque<Vec<u8>>,
    closing: bool,
}

impl Attended {
    fn new(inside: Inside, running: Running, taken: Taken, hold: Hold) -> Self {
        Attended {
            inside,
            running,
            taken,
            hold,
            pid: None,
            head: Vec::new(),
            out: Letters::default(),
            err: Letters::default(),
            over: false,
            typed: VecDeque::new(),
            closing: false,
        }
    }

    /// Carries everything both ways; returns why it ended.
    async fn run(&mut self, mut socket: Socket) -> &'static str {
        let idle = self.inside.fleet.config.engine.as_ref();
        let idle = idle.map_or(Duration::from_secs(1800), |engine| engine.terminal_idle);
        let mut over = self.taken.seat.over.subscribe();
        let mut extent = self.taken.seat.extent.subscribe();
        extent.mark_changed();
        let every = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut check, mut ask, mut busy) = (every(CHECK), every(ASK), every(BUSY));
        let (mut checked, mut keys) = (0, self.keys());
        let (mut heard, mut used) = (Instant::now(), Instant::now());
        let why = loop {
            // A program that asks for its size first thing has it by then.
            let ready = !self.taken.seat.plan.terminal
                || (self.pid.is_some() && !extent.has_changed().unwrap_or(false));
            let input = self.running.input.clone();
            let input = input.filter(|_| ready && !self.typed.is_empty());
            let waits = self.typed.len() >= WAITING;
            tokio::select! {
                piece = self.running.output.recv() => {
                    used = Instant::now();
                    let end = matches!(piece, Some(Output::Exit(_) | Output::Lost(_)) | None);
                    for message in self.said(piece) {
                        if !send(&mut socket, message).await {
                            break;
                        }
                    }
                    if end {
                        self.over = true;
                        break "it ended";
                    }
                }
                Some(room) = reserve(input) => if let Some(bytes) = self.typed.pop_front() {
                    room.send(bytes);
                    self.close_if_done();
                },
                frame = socket.next(), if !waits => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(message)) if message.is_close() => break "the client closed it",
                        Some(Ok(message)) if message.is_text() || message.is_binary() => {
                            used = heard;
                            self.heard(&message);
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break "the connection ended",
                    }
                }
                Ok(()) = extent.changed(), if self.pid.is_some() => {
                    let (cols, rows) = *extent.borrow_and_update();
                    if self.taken.seat.plan.terminal {
                        let resized = self.inside.engine.resize(&self.running.id, cols, rows);
                        let _ = bounded(PATIENCE, resized).await;
                    }
                }
                Ok(()) = over.changed() => if let Some(why) = *over.borrow() {
                    break why;
                },
                _ = check.tick() => {
                    checked += 1;
                    if used.elapsed() > idle {
                        break "nothing was typed or said for too long";
                    }
                    if self.keys() != keys || checked % CLOSER == 0 {
                        keys = self.keys();
                        if !self.hold.lasts(&self.inside.store, self.inside.id).await {
                            break "the key opens it no more";
                        }
                    }
                }
                _ = ask.tick() => {
                    if heard.elapsed() > SILENT {
                        break "the client is gone";
                    }
                    if !send(&mut socket, Message::ping("")).await {
                        break "the connection ended";
                    }
                }
                _ = busy.tick() => {
                    let _ = self.inside.active(Activity::Terminal).await;
                }
            }
        };
        let code = if self.over {
            CloseCode::NORMAL_CLOSURE
        } else {
            CloseCode::GOING_AWAY
        };
        if send(&mut socket, Message::close(Some(code), why)).await {
            let _ = timeout(FAREWELL, socket.close()).await;
        }
        why
    }

    fn keys(&self) -> u64 {
        self.inside.store.signals().changes(topics::KEYS)
    }

    /// What a piece of the program's is to who listens.
    fn said(&mut self, piece: Option<Output>) -> Vec<Message> {
        let text = |kind: &str, text: String| {
            let message = Message::text(json!({ "type": kind, "data": text }).to_string());
            (!text.is_empty()).then_some(message)
        };
        let message = match piece {
            Some(Output::Out(bytes)) => {
                let bytes = self.without_name(bytes);
                text("stdout", self.out.take(&bytes))
            }
            Some(Output::Err(bytes)) => text("stderr", self.err.take(&bytes)),
            Some(Output::Exit(code)) => {
                let end = json!({ "type": "exit", "code": code });
                let left = std::mem::take(&mut self.head);
                let left = text("stdout", String::from_utf8_lossy(&left).into_owned());
                return left
                    .into_iter()
                    .chain([Message::text(end.to_string())])
                    .collect();
            }
            Some(Output::Lost(e)) => {
                let end = json!({ "type": "error", "message": e.text() });
                Some(Message::text(end.to_string()))
            }
            None => None,
        };
        message.into_iter().collect()
    }

    /// Takes the number of the process out of the first line.
    fn without_name(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.pid.is_some() {
            return bytes;
        }
        self.head.extend(bytes);
        let Some(end) = self.head.iter().position(|b| *b == b'\n') else {
            let begun = self.head.len() <= 16
                && MARK
                    .as_bytes()
                    .starts_with(&self.head[..self.head.len().min(3)]);
            // An image without a shell says what it has to say.
            return if begun {
                Vec::new()
            } else {
                std::mem::take(&mut self.head)
            };
        };
        let line = String::from_utf8_lossy(&self.head[..end]).trim().to_owned();
        match line.strip_prefix(MARK).and_then(|pid| pid.parse().ok()) {
            Some(pid) => {
                self.pid = Some(pid);
                let rest = self.head.split_off(end + 1);
                self.head = Vec::new();
                rest
            }
            None => std::mem::take(&mut self.head),
        }
    }

    fn heard(&mut self, message: &Message) {
        if message.is_binary() {
            self.typed.push_back(message.as_payload().to_vec());
            return;
        }
        let frame = message.as_text().map(serde_json::from_str);
        match frame {
            Some(Ok(Frame::Stdin { data })) => self.typed.push_back(data.into_bytes()),
            Some(Ok(Frame::StdinClose)) => {
                self.closing = true;
                self.close_if_done();
            }
            Some(Ok(Frame::Resize { rows, cols }))
                if (1..=1000).contains(&rows) && (1..=1000).contains(&cols) =>
            {
                self.taken.seat.extent.send_replace((cols, rows));
            }
            Some(Ok(Frame::Signal { signal })) => {
                let name = signal.trim_start_matches("SIG").to_ascii_uppercase();
                let known = name.len() <= 8 && name.bytes().all(|b| b.is_ascii_alphanumeric());
                if let Some(pid) = self.pid.filter(|_| known && !name.is_empty()) {
                    let command = words(&["/bin/sh", "-c", KILL, "sh", &name, &pid.to_string()]);
                    let (engine, at) = (self.inside.engine.clone(), self.inside.name.clone());
                    tokio::spawn(async move { quietly(&*engine, &at, command).await });
                }
            }
            _ => {}
        }
    }

    /// Ends its input when all that was typed before is there.
    fn close_if_done(&mut self) {
        if self.closing && self.typed.is_empty() {
            self.running.input = None;
        }
    }

    /// Ends what still runs: nobody listens any more.
    async fn hang_up(&mut self) {
        if self.over {
            return;
        }
        // What it says meanwhile has to go somewhere, or it would never say who it is.
        let named = async {
            while self.pid.is_none() {
                match self.running.output.recv().await {
                    Some(Output::Out(bytes)) => drop(self.without_name(bytes)),
                    Some(Output::Err(_)) => {}
                    _ => return,
                }
            }
        };
        let _ = timeout(Duration::from_secs(5), named).await;
        self.running.input = None;
        if let Some(pid) = self.pid {
            let command = words(&["/bin/sh", "-c", HANG_UP, "sh", &pid.to_string()]);
            quietly(&*self.inside.engine, &self.inside.name, command).await;
        }
    }
}

/// Room for one more piece of input, should there be something to send.
async fn reserve(to: Option<mpsc::Sender<Vec<u8>>>) -> Option<mpsc::OwnedPermit<Vec<u8>>> {
    match to {
        Some(to) => to.reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}

async fn send(socket: &mut Socket, message: Message) -> bool {
    matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}

/// Runs a program of which nothing is wanted but its end.
async fn quietly(engine: &dyn Engine, name: &str, command: Vec<String>) {
    let program = Program {
        command,
        ..Program::default()
    };
    if let Ok(mut running) = bounded(LOOK, engine.exec(name, program)).await {
        let end = async { while running.output.recv().await.is_some() {} };
        tokio::select! {
            () = end => {}
            () = sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_is_cut_in_two_waits_for_its_rest() {
        let mut letters = Letters::default();
        let text = "grüße €";
        for cut in 0..text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            let whole = letters.take(a) + &letters.take(b);
            assert_eq!(whole, text, "{cut}");
        }
        // What is no text at all does not wait for ever.
        assert_eq!(letters.take(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!(letters.take(b"\xff\xe2\x82"), "\u{fffd}");
        assert_eq!(letters.take(b"\xac"), "€");
    }

    #[test]
    fn a_stream_runs_what_it_is_asked_for() {
        let plan = |query: StreamQuery| {
            query
                .plan()
                .map(|(plan, extent)| (plan.command, plan.terminal, extent))
        };
        let given = |command: &str| StreamQuery {
            command: Some(command.into()),
            ..StreamQuery::default()
        };
        assert_eq!(
            plan(given("ls -la")).unwrap(),
            (words(&["/bin/sh", "-lc", "ls -la"]), false, USUAL)
        );
        let query = StreamQuery {
            args: Some("-i,-u".into()),
            rows: Some("40".into()),
            ..given("python3")
        };
        assert_eq!(
            plan(query).unwrap(),
            (words(&["python3", "-i", "-u"]), true, (80, 40))
        );
        assert!(plan(StreamQuery::default()).unwrap().1);
        for (rows, env) in [
            ("0", "{}"),
            ("x", "{}"),
            ("1", "[]"),
            ("1", "{\"a b\":\"\"}"),
        ] {
            let query = StreamQuery {
                rows: Some(rows.into()),
                env: Some(env.into()),
                ..StreamQuery::default()
            };
            assert!(plan(query).is_err(), "{rows} {env}");
        }
    }
}
