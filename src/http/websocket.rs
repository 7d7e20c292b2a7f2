//! Requests that switch to WebSocket (RFC 6455): the handshake, and what comes after it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use data_encoding::BASE64;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1_smol::Sha1;
use tokio_websockets::{Limits, ServerBuilder, WebSocketStream};

use crate::error::{Error, Result};

/// What goes over the connection after the switch.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Bytes of a message that a client may send.
const LARGEST: usize = 1 << 20;
/// What the two keys of a handshake have in common (RFC 6455, section 1.3).
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Until the reply that switches is written.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that asks for a WebSocket.
pub struct Switch {
    connection: OnUpgrade,
    accept: HeaderValue,
}

impl Switch {
    /// Takes the switch out of a request.
    ///
    /// # Errors
    /// 400 `UPGRADE_REQUIRED` where it asks for none.
    pub fn of(request: &mut Request) -> Result<Self> {
        let wrong = || {
            Error::bad_request(
                "UPGRADE_REQUIRED",
                "this is a WebSocket: send Upgrade: websocket, Connection: Upgrade and Sec-WebSocket-Version: 13, and let a \
                 proxy in between pass them on",
            )
        };
        let headers = request.headers();
        let asked = says(headers, &CONNECTION, "upgrade")
            && says(headers, &UPGRADE, "websocket")
            && says(headers, &SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|k| k.to_str().ok());
        let key = key.filter(|_| asked).ok_or_else(wrong)?;
        let digest = Sha1::from(format!("{}{SALT}", key.trim())).digest().bytes();
        let accept = HeaderValue::from_str(&BASE64.encode(&digest)).map_err(Error::internal)?;
        let connection = request.extensions_mut().remove::<OnUpgrade>();
        Ok(Switch {
            connection: connection.ok_or_else(wrong)?,
            accept,
        })
    }

    /// The reply that switches; then `work` is done with the connection.
    pub fn begin<W: Future<Output = ()> + Send>(
        self,
        work: impl FnOnce(Option<Socket>) -> W + Send + 'static,
    ) -> Response {
        let Switch { connection, accept } = self;
        tokio::spawn(async move {
            let switched = tokio::time::timeout(PATIENCE, connection).await;
            let socket = switched.ok().and_then(Result::ok).map(|upgraded| {
                ServerBuilder::new()
                    .limits(Limits::default().max_payload_len(Some(LARGEST)))
                    .serve(TokioIo::new(upgraded))
            });
            work(socket).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        response
    }
}

/// Whether a header has this word among those that it lists.
fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(word))
}
