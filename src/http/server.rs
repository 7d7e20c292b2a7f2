//! Connections: how many there may be, and how long each may keep us waiting.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::arrival::arrived;
use super::drain_body;
use super::pace::Pace;
use super::paced::Paced;
use super::places::Places;
use super::repeats::{Flushing, Token, Told, Wired};
use crate::access::throttle::neighbourhood;
use crate::rules::config::Config;

/// A request's head must be there after this time (or the request timeout, where that is shorter), and
/// the next one on a connection that stays open: who sends a byte a minute does not hold a connection.
/// Replies wait as long for who does not read (see [`Paced`]).
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a request's head; beyond that hyper answers 431. And of what one connection holds in memory of what
/// came and was not read yet, and of what is to be sent.
const MAX_HEAD: usize = 16 << 10;
/// Bytes of a reply that the kernel holds for a client; it takes twice as many for its own books.
const SEND_BUFFER: usize = 128 << 10;
/// After a failure to accept (no file handles left), before the next try.
const BREATHER: Duration = Duration::from_millis(50);

/// Rides in a reply that is not to be sent: the connection is closed without a byte. Only fault rules
/// of the emulator make one.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut by a fault rule")
    }
}

impl std::error::Error for Cut {}

/// Serves `router` on `listener` until `stop` changes; then no new connections, and the requests
/// under way are finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    stop: watch::Receiver<bool>,
) {
    serve_all(vec![listener], router, config, stop).await;
}

/// [`serve`] on several addresses, which share the connections that there may be.
pub async fn serve_all(
    listeners: Vec<TcpListener>,
    router: Router,
    config: &Config,
    mut stop: watch::Receiver<bool>,
) {
    let config = Arc::new(config.clone());
    let places = Places::new(config.max_connections);
    let pace = Arc::new(Pace::default());
    let patience = config.request_timeout.min(HEAD_PATIENCE);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listeners) => accepted,
            _ = stop.changed() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let shared = config
            .trusted_proxies
            .iter()
            .any(|net| net.contains(&address));
        let from = neighbourhood(address);
        let Some(place) = places.take(from, shared) else {
            tokio::spawn(turn_away(stream));
            continue;
        };
        // Replies are written whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        // What waits in the kernel for who does not read is bounded, too, and soon noticed.
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let flushing = Flushing::default();
        let (router, guest, waiting) = (router.clone(), place.guest.clone(), flushing.clone());
        let (config, pace) = (config.clone(), pace.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            arrived(&mut request, address, &config);
            request
                .extensions_mut()
                .insert(ConnectInfo::<SocketAddr>(peer));
            request.extensions_mut().insert(guest.clone());
            request.extensions_mut().insert(Wired);
            let (waiting, pace) = (waiting.clone(), pace.clone());
            let (request, unread) = drain_body::watch(request);
            let answer = router.clone().oneshot(request);
            async move {
                let mut reply = answer.await.unwrap_or_else(|never| match never {});
                // Whoever was told that the body did not come is not waited for again.
                if reply.status() != StatusCode::REQUEST_TIMEOUT {
                    unread.discard(&pace, from).await;
                }
                // What the service answers with an error, hyper does not answer at all.
                reply
                    .extensions()
                    .get::<Cut>()
                    .map_or(Ok(()), |cut| Err(*cut))?;
                // Who sends the same again is answered by whether all of this was written.
                Ok::<_, Cut>(match reply.extensions_mut().remove::<Token>() {
                    Some(token) => reply.map(|body| Body::new(Told::new(body, token, waiting))),
                    None => reply,
                })
            }
        });
        let stream = TokioIo::new(Paced::new(stream, patience, flushing));
        let connection = builder.serve_connection(stream, service);
        let mut stop = stop.clone();
        connections.spawn(async move {
            // A computer may switch to another protocol on it.
            let mut connection = pin!(connection.with_upgrades());
            let mut stopping = false;
            loop {
                tokio::select! {
                    ended = connection.as_mut() => {
                        if let Err(error) = ended {
                            tracing::debug!(%error, %peer, "connection ended");
                        }
                        break;
                    }
                    () = place.guest.leave() => {
                        tracing::debug!(%peer, "connection ended for another's sake");
                        break;
                    }
                    _ = stop.changed(), if !stopping => {
                        stopping = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
            drop(place);
        });
    }
    drop(listeners);
    connections.close();
    connections.wait().await;
}

/// The next connection, wherever it comes.
async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        let mut found = listeners.iter().map(|listener| listener.poll_accept(cx));
        found.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Says that there are too many, in the one error body, and hangs up.
async fn turn_away(mut stream: TcpStream) {
    let body = crate::error::Error::unavailable(
        "this server has too many connections; nothing was done, try again",
        1,
    )
    .body("")
    .to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
}
