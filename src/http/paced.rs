//! A connection whose other side has to keep up: who takes too little of what is written loses it.
//!
//! Only the time that a write waits for its peer is counted, against an allowance that grows with what
//! is taken. So a connection may rest between two requests, a reply of a gigabyte may take hours, and yet
//! nobody holds a place by reading a byte a minute.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::repeats::{Flushing, flushed};

/// Bytes a second that a peer has to take on average.
const RATE: u32 = 16 << 10;

pub(super) struct Paced<S> {
    stream: S,
    /// The allowance when it is full.
    patience: Duration,
    left: Duration,
    /// Since when a write waits, and the end of the allowance.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Answers that are written when it is flushed.
    flushing: Flushing,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, patience: Duration, flushing: Flushing) -> Self {
        Paced {
            stream,
            patience,
            left: patience,
            waiting: None,
            flushing,
        }
    }

    /// What became of a write, with the time that it took.
    fn count(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(result) => {
                if let Some((since, _)) = self.waiting.take() {
                    self.left = self.left.saturating_sub(since.elapsed());
                }
                if let Ok(bytes) = result {
                    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                    let earned = Duration::from_secs(1) * bytes / RATE;
                    self.left = (self.left + earned).min(self.patience);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                let left = self.left;
                let (_, end) = self.waiting.get_or_insert_with(|| {
                    let now = Instant::now();
                    (now, Box::pin(sleep_until(now + left)))
                });
                ready!(end.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        if done.is_ok() {
            flushed(&self.flushing);
        }
        Poll::Ready(done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn who_does_not_read_loses_the_connection() {
        runtime().block_on(async {
            let (ours, _theirs) = duplex(1000);
            let mut paced = Paced::new(ours, PATIENCE, Flushing::default());
            let began = Instant::now();
            let error = paced.write_all(&[0; 5000]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!((PATIENCE..PATIENCE * 5).contains(&began.elapsed()));
        });
    }

    #[test]
    fn who_reads_a_byte_now_and_then_does_so_too() {
        runtime().block_on(async {
            let (ours, mut theirs) = duplex(1000);
            let mut paced = Paced::new(ours, PATIENCE, Flushing::default());
            let reads = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(40)).await;
                    if theirs.read_u8().await.is_err() {
                        return;
                    }
                }
            });
            let began = Instant::now();
            let error = paced.write_all(&[0; 5000]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!((PATIENCE..PATIENCE * 5).contains(&began.elapsed()));
            reads.abort();
        });
    }

    #[test]
    fn who_reads_slowly_but_enough_gets_all_of_it() {
        runtime().block_on(async {
            let (ours, mut theirs) = duplex(1000);
            let mut paced = Paced::new(ours, PATIENCE, Flushing::default());
            let reads = tokio::spawn(async move {
                let (mut all, mut piece) = (0, vec![0; 100 << 10]);
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    match theirs.read(&mut piece).await {
                        Ok(0) | Err(_) => return all,
                        Ok(n) => all += n,
                    }
                }
            });
            paced.write_all(&vec![0; 1 << 20]).await.unwrap();
            // A rest costs nothing.
            tokio::time::sleep(PATIENCE * 2).await;
            paced.write_all(&vec![0; 1 << 20]).await.unwrap();
            drop(paced);
            assert_eq!(reads.await.unwrap(), 2 << 20);
        });
    }
}
