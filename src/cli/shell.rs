//! `workspaced computers shell`: this terminal, in a computer.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;

use axum::http::{HeaderName, HeaderValue};
use futures_util::{SinkExt, StreamExt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_websockets::{ClientBuilder, Error, Message};

use super::Failure;
use super::service::{Service, with_query};

/// The terminal as it was, again when this is dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Option<Raw> {
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let stdin = std::io::stdin();
        let _ = tcsetattr(stdin.as_fd(), OptionalActions::Now, &self.0);
    }
}

/// Columns and rows of this terminal.
fn extent() -> (u16, u16) {
    let found = tcgetwinsize(std::io::stdout().as_fd());
    found.map_or((80, 24), |size| (size.ws_col.max(1), size.ws_row.max(1)))
}

/// Opens a terminal, or without one here a shell that reads what comes.
pub(super) fn run(service: &Service, id: &str) -> Result<(), Failure> {
    let here = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (cols, rows) = extent();
    let (cols, rows) = (cols.to_string(), rows.to_string());
    let query: &[(&str, &str)] = if here {
        &[("cols", &cols), ("rows", &rows)]
    } else {
        &[("command", "exec sh")]
    };
    // What refuses it is said in words here, and only as a status by the WebSocket.
    service.get(&format!("/computers/{id}/terminal"))?;
    let path = with_query(&format!("/computers/{id}/exec/stream"), query);
    let (address, headers) = service.socket(&path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Fatal(e.to_string()))?;
    let ended = runtime.block_on(attend(&address, headers, here));
    // The thread that reads what is typed waits for more.
    runtime.shutdown_background();
    match ended? {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

async fn attend(
    address: &str,
    headers: Vec<(&'static str, String)>,
    here: bool,
) -> Result<i32, Failure> {
    let failed = |e: Error| match e {
        Error::Upgrade(e) => Failure::Fatal(format!(
            "{address}: {e}; a proxy in between has to pass WebSockets on, and 4 terminals of a computer can be open"
        )),
        e => Failure::Fatal(format!("{address}: {e}")),
    };
    let mut client = ClientBuilder::new()
        .uri(address)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).map_err(|e| Failure::Usage(e.to_string()))?;
        client = client
            .add_header(HeaderName::from_static(name), value)
            .map_err(failed)?;
    }
    let (mut socket, _) = client.connect().await.map_err(failed)?;
    let raw = here.then(Raw::begin).flatten();
    let (typed, mut keys) = mpsc::channel::<Option<Vec<u8>>>(16);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            let read = std::io::stdin().read(&mut piece).unwrap_or(0);
            let some = (read > 0).then(|| piece[..read].to_vec());
            if typed.blocking_send(some).is_err() || read == 0 {
                return;
            }
        }
    });
    let mut window =
        signal(SignalKind::window_change()).map_err(|e| Failure::Fatal(e.to_string()))?;
    let mut said = "the connection ended".to_owned();
    let code = loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(message)) => {
                    if let Some((_, why)) = message.as_close() {
                        why.clone_into(&mut said);
                        continue;
                    }
                    let frame: Value = message
                        .as_text()
                        .and_then(|text| serde_json::from_str(text).ok())
                        .unwrap_or_default();
                    let data = frame["data"].as_str().unwrap_or_default().as_bytes();
                    match frame["type"].as_str() {
                        Some("stdout") => shown(&mut std::io::stdout(), data),
                        Some("stderr") => shown(&mut std::io::stderr(), data),
                        Some("exit") => break frame["code"].as_i64(),
                        Some("error") => {
                            frame["message"].as_str().unwrap_or_default().clone_into(&mut said);
                        }
                        _ => {}
                    }
                }
                Some(Err(_)) | None => break None,
            },
            Some(bytes) = keys.recv() => {
                let message = match bytes {
                    Some(bytes) => Message::binary(bytes),
                    None => Message::text(json!({ "type": "stdin_close" }).to_string()),
                };
                if socket.send(message).await.is_err() {
                    break None;
                }
            }
            _ = window.recv() => {
                let (cols, rows) = extent();
                let frame = json!({ "type": "resize", "cols": cols, "rows": rows });
                let _ = socket.send(Message::text(frame.to_string())).await;
            }
        }
    };
    drop(raw);
    let _ = socket.close().await;
    match code {
        Some(code) => Ok(i32::try_from(code).unwrap_or(1)),
        None => Err(Failure::Fatal(said)),
    }
}

fn shown(to: &mut impl Write, data: &[u8]) {
    let _ = to.write_all(data);
    let _ = to.flush();
}
