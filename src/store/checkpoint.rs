//! Checkpoints beside the writer: a thread with a connection of its own copies the pages of the WAL
//! into the database file, and waits for the disk, while the writer goes on appending. What it leaves
//! to the writer is the little that has come since, when the WAL has to begin anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;

use super::open::OpenError;
use super::signals::{Commits, Signals};

/// After so many new pages in the WAL (4 KiB each) they are copied into the database file.
pub(super) const CHECKPOINT_PAGES: u32 = 1000;
/// Pages that are not copied yet, with which the writer does not end the WAL: it would have to copy them itself
/// while everybody waits.
pub(super) const LEFT_PAGES: u32 = 500;
/// The same where the copying beside it did not come near the end in another [`CHECKPOINT_PAGES`].
pub(super) const ITSELF_PAGES: u32 = 8000;
/// From here on (256 MiB) the writer ends it whatever is left.
pub(super) const HARD_PAGES: u32 = 64_000;

/// Bytes to which a WAL that begins anew is cut while large reads hold it again and again: to cut it, and to let it
/// grow again, waits for the file system's own log, for hundreds of milliseconds where the disk is busy; what is
/// written over does not.
pub(super) const KEEP_HELD_BYTES: i64 = HARD_PAGES as i64 * 4096;

/// The thread, as the writer sees it.
pub(super) struct Checkpointer {
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread; `conn` is its own from now on.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(super) fn start(
        conn: Connection,
        signals: Arc<Signals>,
    ) -> Result<Checkpointer, OpenError> {
        let (wake, wanted) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || run(&conn, &wanted, &signals.commits))
            .map_err(|e| OpenError::new(format!("no thread for checkpoints: {e}")))?;
        Ok(Checkpointer { wake, thread })
    }

    /// Asks for a checkpoint and does not wait for it.
    pub(super) fn wake(&self) {
        match self.wake.try_send(()) {
            // One that has not begun yet will see these pages, too.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => {
                tracing::error!("the thread for checkpoints has ended");
            }
        }
    }

    /// Ends the thread after what it is doing, and with it its connection.
    pub(super) fn stop(self) {
        drop(self.wake);
        let _ = self.thread.join();
    }
}

fn run(conn: &Connection, wanted: &Receiver<()>, commits: &Commits) {
    while wanted.recv().is_ok() {
        commits.copying.store(true, Ordering::Relaxed);
        while copy(conn, commits) && commits.wal_has_to_end() && commits.left() > LEFT_PAGES / 2 {}
        commits.copying.store(false, Ordering::Relaxed);
    }
}

/// Copies what is in the WAL by now, as far as no read holds it; whether that was anything.
fn copy(conn: &Connection, commits: &Commits) -> bool {
    let done = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        row.get::<_, i64>(2)
    });
    match done {
        Ok(pages) => {
            let pages = u32::try_from(pages).unwrap_or(0);
            commits.copied.swap(pages, Ordering::Relaxed) < pages
        }
        // Failing is no error: the pages stay in the WAL, and the next one tries again.
        Err(e) => {
            tracing::warn!(error = %e, "checkpoint failed");
            false
        }
    }
}
