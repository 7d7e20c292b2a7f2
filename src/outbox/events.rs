//! Live events: the audit log as server-sent events.
//!
//! Each stream is a task that reads on from the last event it has sent, whenever a commit is
//! announced, and hands what it reads to the connection through a small bounded buffer. The log
//! itself is the queue: nothing is ever skipped, and a client that comes back names the last event
//! it has seen. A reader that does not keep up is cut, and resumes like any other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::auth::Auth;
use crate::access::caller::Caller;
use crate::access::grip::Grip;
use crate::access::scopes::covers;
use crate::clock::Timestamp;
use crate::computers;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::{DeletedQuery, PageQuery, Params, PathId};
use crate::ids::{ApiKeyId, ComputerId, TenantId, WorkspaceId};
use crate::store::Tx;
use crate::usage::questions::events as computer_events;

/// Streams of one key at most.
const PER_KEY: usize = 32;
/// Streams at most.
const ALL: usize = 1024;
/// Events of one read, and of one write to the connection.
const BATCH: u32 = 50;
/// Batches that may wait for the connection.
const BUFFER: usize = 8;
/// How long a full buffer is waited for before the reader is cut.
const PATIENCE: Duration = Duration::from_secs(15);
/// A comment goes out after this long without an event.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the log and the key are looked at without being told to: the command line beside the
/// service commits too, and announces nothing.
const LOOK: Duration = Duration::from_secs(5);
/// Patterns of one request, and characters of each.
const PATTERNS: usize = 20;
const PATTERN_LENGTH: usize = 64;

/// The streams that are open.
pub struct Streams {
    stop: watch::Sender<bool>,
    recheck: watch::Sender<()>,
    restart: watch::Sender<()>,
    patience: Duration,
    open: Mutex<HashMap<ApiKeyId, usize>>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams::new(PATIENCE)
    }
}

impl Streams {
    /// With a patience of its own for readers that do not keep up.
    pub fn new(patience: Duration) -> Self {
        Streams {
            patience,
            stop: watch::Sender::new(false),
            recheck: watch::Sender::new(()),
            restart: watch::Sender::new(()),
            open: Mutex::default(),
        }
    }
}

impl Streams {
    /// Ends all streams, and every later one at once: the service stops.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Makes every stream look whether its key and its session still hold.
    pub fn recheck(&self) {
        self.recheck.send_replace(());
    }

    /// Ends the streams that are open; their readers come again. Another database has taken the place
    /// of the one before, and its log is another one.
    pub(crate) fn restart(&self) {
        self.restart.send_replace(());
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        let open = self.open.lock();
        open.values().sum()
    }

    fn enter(self: &Arc<Self>, key: ApiKeyId) -> Result<StreamSlot> {
        let mut open = self.open.lock();
        let all: usize = open.values().sum();
        let own = open.entry(key).or_default();
        if *own >= PER_KEY || all >= ALL {
            let text = "too many event streams are open; close one, or try again later";
            return Err(Error::too_many(text, 5));
        }
        *own += 1;
        Ok(StreamSlot {
            streams: self.clone(),
            key,
        })
    }
}

/// One stream's place among those that may be open.
struct StreamSlot {
    streams: Arc<Streams>,
    key: ApiKeyId,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        if let Some(own) = open.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.key);
            }
        }
    }
}

/// `GET /events/stream`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct StreamQuery {
    /// Only types that match one of these, separated by commas; `*` stands for any text
    #[param(example = "computer.*,workspace.created")]
    pub types: Option<String>,
    /// The last event seen: the stream goes on behind it. Also as the header `Last-Event-ID`.
    #[param(value_type = Option<i64>)]
    pub last_event_id: Option<String>,
}

/// The data of one event.
#[derive(Serialize, ToSchema)]
pub struct StreamEvent {
    /// What happened: computer.running, workspace.updated, ...
    r#type: String,
    /// Id of the event; ascends.
    id: String,
    /// The organization.
    tenant_id: TenantId,
    /// When.
    ts: Timestamp,
    /// workspace, project, computer, api_key, ...
    resource_type: String,
    /// Id of that resource.
    resource_id: Uuid,
    /// The workspace that it is in.
    workspace_id: Option<WorkspaceId>,
    /// What it is now, in short; null when it is gone, or out of this key's reach.
    after: Option<Map<String, Value>>,
}

/// Patterns of event types.
pub struct Globs(Vec<String>);

impl Globs {
    /// Reads patterns that are separated by commas; nothing given matches everything.
    ///
    /// # Errors
    /// 422 on `field`.
    pub fn parse(field: &'static str, text: Option<&str>) -> Result<Self> {
        let globs: Vec<String> = text
            .unwrap_or("")
            .split(',')
            .map(|glob| glob.trim().to_owned())
            .filter(|glob| !glob.is_empty())
            .collect();
        let fits = |glob: &String| {
            glob.len() <= PATTERN_LENGTH
                && glob.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'*')
                })
        };
        if globs.len() > PATTERNS || !globs.iter().all(fits) {
            return Err(Error::field(
                field,
                format!(
                    "must be at most {PATTERNS} patterns such as computer.* or workspace.created, separated by commas"
                ),
            ));
        }
        Ok(Globs(globs))
    }

    /// Patterns that were checked before.
    pub fn new(patterns: Vec<String>) -> Self {
        Globs(patterns)
    }

    /// Whether a type matches one of them.
    pub fn matches(&self, kind: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob_matches(glob, kind))
    }
}

/// `*` stands for any text, everything else for itself. Greedy with one point of return: linear in
/// practice and never worse than the product of both lengths.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if g < glob.len() && glob[g] == b'*' {
            star = Some((g, t));
            g += 1;
        } else if g < glob.len() && glob[g] == text[t] {
            (g, t) = (g + 1, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (g, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

/// What one stream shows of whose log.
struct View {
    tenant: TenantId,
    key: ApiKeyId,
    workspace: Option<WorkspaceId>,
    user: Option<String>,
    scopes: Vec<String>,
    types: Globs,
    /// Only what happens to this computer.
    computer: Option<ComputerId>,
    /// What it was opened with, whose end is the end of the stream too.
    grip: Grip,
}

/// What is in the log behind an event.
struct Found {
    /// What it was opened with opens nothing any more.
    over: bool,
    last: i64,
    more: bool,
    events: Vec<(i64, StreamEvent)>,
}

impl View {
    fn read(&self, tx: &Tx<'_>, last: i64) -> Result<Found> {
        let mut found = Found {
            over: self.grip.holds(tx)?.is_none(),
            last,
            more: false,
            events: Vec::new(),
        };
        if found.over {
            return Ok(found);
        }
        let sql = "SELECT seq, workspace_id, at, type, resource_type, resource_id, before, after FROM audit_log
             WHERE tenant_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let mut statement = tx.prepare_cached(sql)?;
        let mut rows = statement.query((self.tenant, last, BATCH))?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            found.last = row.get("seq")?;
            let kind: String = row.get("type")?;
            if !self.types.matches(&kind) {
                continue;
            }
            let object = |name: &str| -> Result<Option<Map<String, Value>>> {
                let text: Option<String> = row.get(name)?;
                text.map(|text| serde_json::from_str(&text).map_err(Error::internal))
                    .transpose()
            };
            let event = StreamEvent {
                r#type: kind,
                id: found.last.to_string(),
                tenant_id: self.tenant,
                ts: row.get("at")?,
                resource_type: row.get("resource_type")?,
                resource_id: Uuid::from_bytes(row.get("resource_id")?),
                workspace_id: row.get("workspace_id")?,
                after: object("after")?,
            };
            if let Some(event) = self.shown(event, object("before")?) {
                found.events.push((found.last, event));
            }
        }
        found.more = seen == BATCH;
        Ok(found)
    }

    /// The event as this key may see it.
    fn shown(
        &self,
        mut event: StreamEvent,
        before: Option<Map<String, Value>>,
    ) -> Option<StreamEvent> {
        if !covers(&self.scopes, scope_of(&event.resource_type)) {
            return None;
        }
        if let Some(computer) = self.computer
            && (event.resource_type != "computer" || event.resource_id != computer.0)
        {
            return None;
        }
        if let Some(only) = self.workspace
            && event.workspace_id != Some(only)
        {
            // What left this workspace is news here; where it went is not.
            let was_here = text(before.as_ref(), "workspace_id") == Some(only.to_string().as_str());
            if !was_here {
                return None;
            }
            event.workspace_id = None;
            event.after = None;
        }
        if let Some(user) = &self.user {
            let theirs = |side: Option<&Map<String, Value>>| {
                text(side, "external_user_id") == Some(user.as_str())
            };
            if event.resource_type != "computer"
                || !(theirs(event.after.as_ref()) || theirs(before.as_ref()))
            {
                return None;
            }
            if !theirs(event.after.as_ref()) {
                event.after = None;
            }
        }
        // In short: no nested objects, which may be large, and no long texts.
        if let Some(after) = &mut event.after {
            after.retain(|name, value| {
                name != "description" && !matches!(value, Value::Object(_) | Value::Array(_))
            });
        }
        Some(event)
    }
}

/// The scope that a key needs to hear of a kind of resource.
pub fn scope_of(resource_type: &str) -> &'static str {
    match resource_type {
        "workspace" | "domain" | "preview_domain" => "workspaces:read",
        "project" => "projects:read",
        "computer" => "computers:read",
        "api_key" => "keys:admin",
        "usage" | "credits" | "statement" | "prices" | "rates" | "budget" => "usage:read",
        "webhook" => "webhooks:read",
        _ => "audit:read",
    }
}

fn text<'a>(object: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a str> {
    object?.get(name)?.as_str()
}

/// `GET /events/stream`
pub async fn stream(
    State(store): State<Store>,
    State(streams): State<Arc<Streams>>,
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    headers: HeaderMap,
    query: Params<StreamQuery>,
) -> Result<Response> {
    let grip = Grip::of(&auth, &caller, &headers);
    open(store, streams, caller, grip, &headers, query.get()?, None).await
}

/// `GET /computers/{id}/events`: the compute events behind its usage; its live events for who asks for a
/// stream, as published clients do under this path.
#[expect(
    clippy::too_many_arguments,
    reason = "each is what one of the two answers needs"
)]
pub async fn of_computer(
    State(store): State<Store>,
    State(streams): State<Arc<Streams>>,
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    headers: HeaderMap,
    page: Params<PageQuery>,
    query: Params<StreamQuery>,
    deleted: Params<DeletedQuery>,
) -> Result<Response> {
    let accepts = headers.get_all(ACCEPT).iter();
    let streamed = accepts
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("text/event-stream"));
    if !streamed {
        let list = computer_events::list(State(store), caller, PathId(id), page, deleted).await?;
        return Ok(list.into_response());
    }
    let asking = caller.clone();
    store
        .read(move |tx| computers::find(tx, &asking, id).map(drop))
        .await?;
    let grip = Grip::of(&auth, &caller, &headers);
    open(
        store,
        streams,
        caller,
        grip,
        &headers,
        query.get()?,
        Some(id),
    )
    .await
}

async fn open(
    store: Store,
    streams: Arc<Streams>,
    caller: Caller,
    grip: Grip,
    headers: &HeaderMap,
    query: StreamQuery,
    computer: Option<ComputerId>,
) -> Result<Response> {
    let types = Globs::parse("types", query.types.as_deref())?;
    // A browser that resumes by itself sends the header, and the query that it began with.
    let header = headers.get("last-event-id");
    let given = match header {
        Some(value) => Some(value.to_str().unwrap_or("?")),
        None => query.last_event_id.as_deref(),
    };
    let given = given.map(str::trim).filter(|text| !text.is_empty());
    let from = match given.map(str::parse::<i64>) {
        None => None,
        Some(Ok(id)) if id >= 0 => Some(id),
        Some(_) => {
            return Err(Error::field(
                "last_event_id",
                "must be the id of an event of this stream",
            ));
        }
    };
    let place = streams.enter(caller.key_id())?;
    let view = Arc::new(View {
        tenant: caller.tenant_id(),
        key: caller.key_id(),
        workspace: caller.only_workspace(),
        user: caller.only_user().map(str::to_owned),
        scopes: caller.key().scopes.clone(),
        types,
        computer,
        grip,
    });
    let end = store
        .read(|tx| {
            let sql = "SELECT coalesce(max(seq), 0) FROM audit_log";
            Ok(tx.row(sql, [], |row| row.get::<_, i64>(0))?)
        })
        .await?;
    let last = from.map_or(end, |from| from.min(end));

    let (sender, body) = Channel::<Bytes, std::io::Error>::new(BUFFER);
    // Dropped with the body: a reader that leaves gives its place free at once.
    let (there, left) = oneshot::channel::<()>();
    let body = body.map_frame(move |frame| {
        let _ = &there;
        frame
    });
    tokio::spawn(feed(store, streams, view, place, sender, left, last));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Asks a reverse proxy not to hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(body)).into_response())
}

/// Why a stream ends before its reader does.
enum End {
    /// The service stops, the reader has left, or its key is no longer valid.
    Quiet,
    /// The reader does not keep up.
    Slow,
}

async fn feed(
    store: Store,
    streams: Arc<Streams>,
    view: Arc<View>,
    place: StreamSlot,
    mut sender: Sender<Bytes, std::io::Error>,
    left: oneshot::Receiver<()>,
    last: i64,
) {
    let ended = tokio::select! {
        ended = run(&store, &streams, &view, &mut sender, last) => ended,
        _ = left => Err(End::Quiet),
    };
    drop(place);
    if let Err(End::Slow) = ended {
        tracing::info!(key = %view.key, "a reader of live events was too slow and was cut");
        // Not a proper end of the reply: the reader sees that something is missing, and resumes.
        sender.abort(std::io::ErrorKind::TimedOut.into());
    }
}

async fn run(
    store: &Store,
    streams: &Streams,
    view: &Arc<View>,
    sender: &mut Sender<Bytes, std::io::Error>,
    mut last: i64,
) -> std::result::Result<(), End> {
    let mut committed = store.signals().log().subscribe();
    let mut stop = streams.stop.subscribe();
    let mut recheck = streams.recheck.subscribe();
    let mut restart = streams.restart.subscribe();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An id without data moves the client's mark, so that it can resume even before its first event.
    let hello = format!("retry: 2000\n: connected\nid: {last}\n\n");
    let patience = streams.patience;
    put(sender, &mut stop, patience, hello).await?;
    let mut sent = Instant::now();
    loop {
        if *stop.borrow() {
            return Ok(());
        }
        let reader = view.clone();
        let found = match store.read(move |tx| reader.read(tx, last)).await {
            Ok(found) => found,
            Err(e) => {
                // Too busy now: the log keeps, and the next look finds the same.
                tracing::warn!(
                    error = e.message(),
                    detail = e.internal_detail(),
                    "live events were not read"
                );
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if found.over {
            return Ok(());
        }
        last = found.last;
        let text = frames(&found.events);
        if !text.is_empty() {
            put(sender, &mut stop, patience, text).await?;
            sent = Instant::now();
        } else if sent.elapsed() >= HEARTBEAT {
            // The id goes along: what this reader may not see need not be read again either.
            put(
                sender,
                &mut stop,
                patience,
                format!(": heartbeat\nid: {last}\n\n"),
            )
            .await?;
            sent = Instant::now();
        }
        if found.more {
            continue;
        }
        tokio::select! {
            _ = committed.changed() => {}
            _ = recheck.changed() => {}
            _ = restart.changed() => return Ok(()),
            _ = stop.changed() => {}
            _ = look.tick() => {}
        }
    }
}

/// Hands a text to the connection; waits while the buffer is full, but not for ever.
async fn put(
    sender: &mut Sender<Bytes, std::io::Error>,
    stop: &mut watch::Receiver<bool>,
    patience: Duration,
    text: String,
) -> std::result::Result<(), End> {
    tokio::select! {
        sent = timeout(patience, sender.send_data(text.into())) => match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Quiet),
            Err(_) => Err(End::Slow),
        },
        _ = stop.wait_for(|stop| *stop) => Err(End::Quiet),
    }
}

fn frames(events: &[(i64, StreamEvent)]) -> String {
    let mut text = String::new();
    for (seq, event) in events {
        // JSON has no line breaks, and a type has none either: three lines are three fields.
        let Ok(data) = serde_json::to_string(event) else {
            continue;
        };
        text += &format!("id: {seq}\nevent: {}\ndata: {data}\n\n", event.r#type);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (globs, kind, expected) in [
            ("", "computer.running", true),
            ("*", "computer.running", true),
            ("computer.*", "computer.running", true),
            ("computer.*", "workspace.created", false),
            ("workspace.*, *.running", "computer.running", true),
            ("c*r.r*g", "computer.running", true),
            ("c*r.r*x", "computer.running", false),
            ("computer.running", "computer.running", true),
            ("computer.runnin", "computer.running", false),
            ("computer.running**", "computer.running", true),
        ] {
            let parsed = Globs::parse("types", Some(globs)).unwrap();
            assert_eq!(parsed.matches(kind), expected, "{globs} {kind}");
        }
        assert!(Globs::parse("types", Some("a b")).is_err());
        assert!(Globs::parse("types", Some(&"a,".repeat(21))).is_err());
    }
}
