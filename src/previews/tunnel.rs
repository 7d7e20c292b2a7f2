//! Bytes to a port of a computer and back, over a WebSocket: for what is no HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_websockets::{CloseCode, Message};

use super::said::in_path;
use crate::access::auth::Auth;
use crate::access::caller::Caller;
use crate::access::grip::Grip;
use crate::computers::Fleet;
use crate::computers::machines::inside::{self, Activity, Hold, Inside};
use crate::computers::machines::reconcile::{LOOK, bounded};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::PathWord;
use crate::http::websocket::{Socket, Switch};
use crate::ids::ComputerId;

/// Until a program in a computer has taken a connection, and how long a side that takes nothing is waited for.
const CONNECT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the other side may take to say goodbye, too.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two looks at whether whoever opened it may still have it.
const CHECK: Duration = Duration::from_secs(5);
const PIECE: usize = 16 << 10;

/// `GET /computers/{id}/tunnel/{port}`
pub async fn tunnel(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    PathWord(id, port): PathWord<ComputerId>,
    mut request: Request,
) -> Result<Response> {
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let port = in_path(&port)?;
    let noted = Some(("computer.exec", format!("tunnel to port {port}")));
    let entered =
        inside::enter(&store, &fleet, caller.clone(), id, None, Activity::Terminal).await?;
    let switch = Switch::of(&mut request)?;
    let seen = bounded(LOOK, entered.engine.inspect(&entered.name)).await;
    let address = seen.ok().and_then(|seen| seen.address).ok_or_else(|| {
        Error::conflict(
            "RESOURCE_STATE",
            "it is in no network that this server can reach",
        )
    })?;
    let connect = TcpStream::connect(SocketAddr::new(address, port));
    let stream = timeout(CONNECT, connect).await.ok().and_then(Result::ok);
    let stream = stream.ok_or_else(|| {
        Error::conflict(
            "RESOURCE_STATE",
            format!("nothing answers at port {port}; the program has to listen on 0.0.0.0"),
        )
    })?;
    entered.note(&caller, noted).await?;
    let hold = Hold {
        grip: Grip::of(&auth, &caller, request.headers()),
        caller,
    };
    Ok(switch.begin(move |socket| async move {
        if let Some(socket) = socket {
            carry(socket, stream, entered, hold).await;
        }
    }))
}

async fn carry(mut socket: Socket, stream: TcpStream, inside: Inside, hold: Hold) {
    let (mut from, mut to) = stream.into_split();
    let mut piece = vec![0; PIECE];
    let mut check = interval(CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used = Instant::now();
    let mut noted = used;
    let code = loop {
        tokio::select! {
            read = from.read(&mut piece) => match read {
                Ok(n) if n > 0 => {
                    used = Instant::now();
                    let message = Message::binary(piece[..n].to_vec());
                    if !matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(()))) {
                        break CloseCode::GOING_AWAY;
                    }
                }
                _ => break CloseCode::NORMAL_CLOSURE,
            },
            frame = socket.next() => match frame {
                Some(Ok(message)) if message.is_binary() || message.is_text() => {
                    used = Instant::now();
                    let bytes: &[u8] = message.as_payload();
                    if !matches!(timeout(PATIENCE, to.write_all(bytes)).await, Ok(Ok(()))) {
                        break CloseCode::GOING_AWAY;
                    }
                }
                Some(Ok(message)) if message.is_close() => break CloseCode::NORMAL_CLOSURE,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break CloseCode::GOING_AWAY,
            },
            _ = check.tick() => {
                // Bytes are an activity, an open connection alone is none.
                if used > noted {
                    noted = Instant::now();
                    let _ = inside.active(Activity::Terminal).await;
                }
                if !hold.lasts(&inside.store, inside.id).await {
                    break CloseCode::GOING_AWAY;
                }
            }
        }
    };
    let end = Message::close(Some(code), "");
    if matches!(timeout(PATIENCE, socket.send(end)).await, Ok(Ok(()))) {
        let _ = timeout(FAREWELL, socket.close()).await;
    }
}
