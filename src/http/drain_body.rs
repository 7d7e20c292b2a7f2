//! Bodies that nobody reads: of requests that are refused before, or as too long.
//!
//! Whatever of a body arrives after its reply ends the connection, and a client loses the reply or the
//! next request that it sends there. So the rest is read, within reason, before the reply goes out.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

use super::pace::Pace;

/// Bytes of a refused body that are still read.
const MOST: usize = 16 << 20;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that comes back where it was not read to its end.
struct Watched {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

/// Where an unread body arrives.
pub(super) struct Unread(Option<oneshot::Receiver<Incoming>>);

/// Takes a request's body under watch. One without a body, and one that waits for leave to send it,
/// pass as they are.
pub(super) fn watch(request: Request<Incoming>) -> (Request, Unread) {
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return (request.map(Body::new), Unread(None));
    }
    let (back, unread) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Watched {
            body: Some(body),
            back: Some(back),
        })
    });
    (request, Unread(Some(unread)))
}

impl Unread {
    /// Reads what is left of a body that was not read, once there is a reply; at the pace of those who send from there.
    pub(super) async fn discard(self, pace: &Pace<IpAddr>, from: IpAddr) {
        let Some(mut body) = self.0.and_then(|mut unread| unread.try_recv().ok()) else {
            return;
        };
        let all = async {
            let mut left = MOST;
            while let Some(Ok(frame)) = body.frame().await {
                let came = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(came) {
                    Some(less) => left = less,
                    None => return,
                }
                pace.sent(from, came).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            let _ = back.send(body);
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}
