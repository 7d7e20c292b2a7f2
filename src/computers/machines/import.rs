//! An image out of a file system, given to an engine. By hand: the crate sends what an image says of itself as one
//! text, of which Podman understands the first line only.

use std::path::Path;

use axum::http::Request;
use form_urlencoded::Serializer;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;

/// The oldest API that both speak.
const VERSION: &str = "v1.40";

/// Gives the engine at a socket a file system, as a tar file that comes in pieces.
///
/// # Errors
/// In a sentence: nobody there, or what the engine says.
pub async fn import(
    socket: &Path,
    image: &str,
    changes: &[&str],
    first: Vec<u8>,
    rest: impl AsyncRead + Send + Unpin + 'static,
) -> Result<(), String> {
    let silent = |e: &dyn std::fmt::Display| format!("the container engine broke off: {e}");
    let connection = UnixStream::connect(socket).await.map_err(|e| silent(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|e| silent(&e))?;
    tokio::spawn(connection);
    let mut query = Serializer::new(String::new());
    // Podman does not read a tag of its own.
    query.append_pair("fromSrc", "-").append_pair("repo", image);
    for change in changes {
        query.append_pair("changes", change);
    }
    let begun = stream::iter([Ok(Bytes::from(first))]);
    let pieces = begun.chain(ReaderStream::with_capacity(rest, 256 << 10));
    let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data)));
    let request = Request::post(format!("/{VERSION}/images/create?{}", query.finish()))
        .header("host", "localhost")
        .header("content-type", "application/x-tar")
        .body(body)
        .map_err(|e| silent(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| silent(&e))?;
    let status = answer.status();
    let text = answer.into_body().collect().await.map_err(|e| silent(&e))?;
    let text = String::from_utf8_lossy(&text.to_bytes()).trim().to_owned();
    // What goes wrong after it began to answer stands in the answer.
    if !status.is_success() || text.contains("errorDetail") {
        return Err(format!(
            "the container engine did not take it ({status}): {text}"
        ));
    }
    Ok(())
}
