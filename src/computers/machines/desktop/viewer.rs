//! The screen of a computer as it changes: RFB over a WebSocket, for the admin page, for who has a link, and for
//! viewers of one's own. Who may only look is held to that here: what would change something is read and dropped.
//!
//! Watching is no activity, and takes no turn of those that programs have; pointer and keys are one.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_websockets::{CloseCode, Message};
use utoipa::IntoParams;

use super::super::inside::{self, Activity, Hold};
use super::super::seam::{Output, Program, Running};
use super::links::{self, Opened};
use super::rfb::{self, Failed, Kind, Next};
use super::{RFB, checked, none, not_yet};
use crate::access::auth::Auth;
use crate::access::caller::Caller;
use crate::access::grip::Grip;
use crate::access::session::token_hash;
use crate::audit::{self, Actor, Entry};
use crate::clock::Stopwatch;
use crate::computers::{self, Fleet};
use crate::db::{Store, topics};
use crate::error::{Error, Result};
use crate::http::websocket::{Socket, Switch};
use crate::http::{Param, Params, PathId};
use crate::ids::{ComputerId, DesktopLinkId};

/// Until a screen has begun, and how long a side that does not take what it is sent is waited for.
const BEGINS: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two looks at whether who opened it may still have it; of these, so often one looks though no key was
/// changed here.
const CHECK: Duration = Duration::from_secs(1);
const CLOSER: u32 = 5;
/// Between two questions whether the other side is still there, and how long it may not answer.
const ASK: Duration = Duration::from_secs(20);
const SILENT: Duration = Duration::from_secs(70);
/// Who works in it keeps it awake; that is written down this often.
const NOTED: Duration = Duration::from_secs(10);
/// Bytes of a viewer's that are no whole message yet.
const UNREAD: usize = 512 << 10;

/// `GET /computers/{id}/desktop/stream`
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ViewQuery {
    /// true: what would change something is dropped
    pub view_only: Param<bool>,
}

/// By what a screen is open.
enum Ticket {
    Key(Box<Hold>),
    Link([u8; 32]),
}

impl Ticket {
    async fn lasts(&self, store: &Store, id: ComputerId) -> bool {
        match self {
            Ticket::Key(hold) => hold.lasts(store, id).await,
            Ticket::Link(hash) => {
                let hash = *hash;
                let found = store.read(move |tx| links::opened(tx, &hash)).await;
                // A store that is too busy now is no reason to throw somebody out.
                found.map_or(true, |opened| opened.is_some_and(|o| o.computer == id))
            }
        }
    }
}

/// `GET /computers/{id}/desktop/stream`
pub async fn stream(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<ViewQuery>,
    request: Request,
) -> Result<Response> {
    inside::machine(&store, caller.clone(), id).await?;
    let view_only = query.get()?.view_only.get("view_only")? == Some(true);
    let hold = Hold {
        grip: Grip::of(&auth, &caller, request.headers()),
        caller: caller.clone(),
    };
    let viewer = Viewer {
        store,
        fleet,
        caller,
        id,
        link: None,
        view_only,
        ticket: Ticket::Key(Box::new(hold)),
    };
    viewer.open(request).await
}

/// What the secret of a link opens.
///
/// # Errors
/// 404 where it opens nothing, or nothing any more.
pub async fn by_link(store: &Store, token: &str) -> Result<Opened> {
    let hash = token_hash(token);
    let found = store.look_up(move |tx| links::opened(tx, &hash)).await?;
    found.ok_or_else(|| {
        Error::no_route("this link has ended or was taken back; ask whoever gave it to you")
    })
}

/// `GET /desktop/{token}/stream`
pub async fn stream_by_link(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response> {
    let opened = by_link(&store, &token).await?;
    let viewer = Viewer {
        store,
        fleet,
        caller: opened.caller,
        id: opened.computer,
        link: Some(opened.link),
        view_only: opened.view_only,
        ticket: Ticket::Link(token_hash(&token)),
    };
    viewer.open(request).await
}

/// Somebody who looks at a screen.
struct Viewer {
    store: Store,
    fleet: Fleet,
    caller: Caller,
    id: ComputerId,
    link: Option<DesktopLinkId>,
    view_only: bool,
    ticket: Ticket,
}

impl Viewer {
    async fn open(self, mut request: Request) -> Result<Response> {
        let (caller, id) = (self.caller.clone(), self.id);
        let inside = inside::enter(
            &self.store,
            &self.fleet,
            caller,
            id,
            None,
            Activity::Desktop,
        )
        .await?;
        let switch = Switch::of(&mut request)?;
        let place = self.fleet.engine.viewer(id)?;
        let program = Program {
            command: vec![RFB.into()],
            env: inside.env.clone(),
            input: true,
            ..Program::default()
        };
        let mut running = inside.begin(program).await.map_err(|e| match e.code() {
            // Some engines say so before it runs.
            "TARGET_NOT_RUNNING" if e.message().contains(RFB) => none(),
            _ => e,
        })?;
        let begun = timeout(BEGINS, rfb::begin(&mut running)).await;
        let first = begun.map_err(|_| not_yet())?.map_err(refused)?;
        // From here on it takes no turn: others go on working in the computer.
        drop(inside);
        self.note("computer.desktop_opened", json!({})).await?;
        Ok(switch.begin(move |socket| async move {
            let watch = Stopwatch::start();
            let why = match socket {
                Some(socket) => self.show(socket, running, first, place).await,
                None => "the connection did not switch",
            };
            let after = json!({ "seconds": watch.micros() / 1_000_000, "why": why });
            if let Err(e) = self.note("computer.desktop_closed", after).await {
                tracing::warn!(
                    error = e.message(),
                    "the end of a look at a screen was not noted"
                );
            }
        }))
    }

    /// Writes to the audit log who has the screen, in the name of the key behind a link.
    async fn note(&self, kind: &'static str, more: Value) -> Result<()> {
        let (caller, id) = (self.caller.clone(), self.id);
        let mut after = json!({ "view_only": self.view_only, "link": self.link });
        if let (Value::Object(after), Value::Object(more)) = (&mut after, more) {
            after.extend(more);
        }
        self.store
            .write(move |tx| {
                let Some(computer) = computers::load(tx, id)? else {
                    return Ok(());
                };
                if let Value::Object(after) = &mut after {
                    after.insert("name".into(), computer.name.into());
                }
                audit::record(
                    tx,
                    &Entry {
                        actor: Actor::Key(&caller),
                        tenant_id: computer.tenant_id,
                        workspace_id: Some(computer.workspace_id),
                        kind,
                        resource: id.0,
                        before: audit::NONE,
                        after: Some(&after),
                    },
                )
            })
            .await
    }

    /// Carries everything both ways, and drops what this viewer may not; returns why it ended.
    async fn show(
        &self,
        mut socket: Socket,
        mut running: Running,
        first: Vec<u8>,
        _place: OwnedSemaphorePermit,
    ) -> &'static str {
        let Some(to) = running.input.take() else {
            return "the screen takes nothing";
        };
        let mut sent = Sent::default();
        if !greeted(&mut socket, &mut sent, first).await {
            return "the viewer does not speak RFB";
        }
        let every = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut check, mut ask) = (every(CHECK), every(ASK));
        let (mut checked, mut keys) = (0, self.keys());
        let mut heard = Instant::now();
        let mut noted: Option<Instant> = None;
        let why = loop {
            let room = sent.bytes.len() < UNREAD;
            tokio::select! {
                piece = running.output.recv() => match piece {
                    Some(Output::Out(bytes)) => if !send(&mut socket, Message::binary(bytes)).await {
                        break "the connection ended";
                    },
                    Some(Output::Err(_)) => {}
                    _ => break "the screen ended",
                },
                frame = socket.next(), if room => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(message)) if message.is_close() => break "the viewer closed it",
                        Some(Ok(message)) if message.is_binary() => {
                            sent.bytes.extend_from_slice(message.as_payload());
                            let Some((pass, acts)) = sent.whole(self.view_only) else {
                                break "the viewer does not speak RFB";
                            };
                            if acts && noted.is_none_or(|at| at.elapsed() > NOTED) {
                                noted = Some(Instant::now());
                                let _ = inside::active(&self.store, &self.fleet, self.id, Activity::Desktop).await;
                            }
                            if !pass.is_empty() && !fed(&to, pass).await {
                                break "the screen takes nothing";
                            }
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break "the connection ended",
                    }
                }
                _ = check.tick() => {
                    checked += 1;
                    let late = self.link.is_some() || self.keys() != keys || checked % CLOSER == 0;
                    if late {
                        keys = self.keys();
                        if !self.ticket.lasts(&self.store, self.id).await {
                            break "the key or link opens it no more";
                        }
                    }
                }
                _ = ask.tick() => {
                    if heard.elapsed() > SILENT {
                        break "the viewer is gone";
                    }
                    if !send(&mut socket, Message::ping("")).await {
                        break "the connection ended";
                    }
                }
            }
        };
        let code = match why {
            "the screen ended" => CloseCode::NORMAL_CLOSURE,
            _ => CloseCode::GOING_AWAY,
        };
        if send(&mut socket, Message::close(Some(code), why)).await {
            let _ = timeout(FAREWELL, socket.close()).await;
        }
        why
    }

    fn keys(&self) -> u64 {
        self.store.signals().changes(topics::KEYS)
    }
}

fn refused(e: Failed) -> Error {
    match e {
        Failed::Ended(code, err) => {
            let said = inside::Said {
                err: err.into_bytes(),
                code: Some(code.filter(|code| *code != 0).unwrap_or(1)),
                ..inside::Said::default()
            };
            match checked(said) {
                // A program that finds no screen says so in words of its own.
                Err(e) if e.code() == "DESKTOP_REFUSED" => not_yet(),
                Err(e) => e,
                Ok(_) => not_yet(),
            }
        }
        Failed::Strange(why) => Error::conflict(
            "NO_DESKTOP",
            format!("what the image calls its screen cannot be shown: {why}"),
        ),
    }
}

/// What a viewer has sent that was not taken yet.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
}

impl Sent {
    /// The messages that are there as a whole and may pass, and whether one of them does something; `None`: what
    /// comes is not the protocol.
    fn whole(&mut self, view_only: bool) -> Option<(Vec<u8>, bool)> {
        let (mut at, mut pass, mut acts) = (0, Vec::new(), false);
        loop {
            match rfb::next(&self.bytes[at..]) {
                Next::Message(length, kind) => {
                    if kind == Kind::Looks || !view_only {
                        pass.extend_from_slice(&self.bytes[at..at + length]);
                        acts |= kind == Kind::Acts;
                    }
                    at += length;
                }
                Next::More => break,
                Next::Wrong => return None,
            }
        }
        self.bytes.drain(..at);
        Some((pass, acts))
    }

    /// So many bytes, as soon as they are there.
    async fn take(&mut self, socket: &mut Socket, length: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < length {
            let message = timeout(BEGINS, socket.next()).await.ok()??.ok()?;
            if message.is_close() || self.bytes.len() > UNREAD {
                return None;
            }
            if message.is_binary() {
                self.bytes.extend_from_slice(message.as_payload());
            }
        }
        Some(self.bytes.drain(..length).collect())
    }
}

/// Begins the conversation with a viewer, as if there were a screen behind it that lets everybody in.
async fn greeted(socket: &mut Socket, sent: &mut Sent, first: Vec<u8>) -> bool {
    let done = async {
        send(socket, Message::binary(rfb::VERSION.to_vec()))
            .await
            .then_some(())?;
        let version = sent.take(socket, rfb::VERSION.len()).await?;
        version.starts_with(b"RFB 003.008").then_some(())?;
        send(socket, Message::binary(rfb::SECURITY.to_vec()))
            .await
            .then_some(())?;
        sent.take(socket, 1).await?;
        send(socket, Message::binary(rfb::WELCOME.to_vec()))
            .await
            .then_some(())?;
        // Whether it wants the screen for itself: it does not get that.
        sent.take(socket, 1).await?;
        (first.is_empty() || send(socket, Message::binary(first)).await).then_some(())
    };
    done.await.is_some()
}

async fn send(socket: &mut Socket, message: Message) -> bool {
    matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}

async fn fed(to: &mpsc::Sender<Vec<u8>>, bytes: Vec<u8>) -> bool {
    matches!(timeout(PATIENCE, to.send(bytes)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::Sent;

    #[test]
    fn who_may_only_look_changes_nothing() {
        let look = [3, 1, 0, 0, 0, 0, 0, 9, 0, 9];
        let click = [5, 1, 0, 9, 0, 9];
        let key = [4, 1, 0, 0, 0, 0, 0, 65];
        let bytes = [&click[..], &look, &key, &look[..4]].concat();
        let mut sent = Sent {
            bytes: bytes.clone(),
        };
        assert_eq!(sent.whole(true), Some((look.to_vec(), false)));
        assert_eq!(sent.bytes, look[..4], "the rest waits");
        let mut sent = Sent { bytes };
        assert_eq!(
            sent.whole(false),
            Some(([&click[..], &look, &key].concat(), true))
        );
        let mut sent = Sent {
            bytes: b"GET /".to_vec(),
        };
        assert_eq!(sent.whole(true), None);
    }
}
