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
        // Failing is no error: the pages stay in the WAL, and the next one tries again.
        let done = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            row.get::<_, i64>(2)
        });
        match done {
            Ok(pages) => {
                let pages = u32::try_from(pages).unwrap_or(0);
                commits.copied.store(pages, Ordering::Relaxed);
            }
            Err(e) => tracing::warn!(error = %e, "checkpoint failed"),
        }
    }
}
