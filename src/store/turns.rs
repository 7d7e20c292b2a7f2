//! Long changes, turn after turn: a move of twenty thousand computers, an import, a deletion.
//!
//! Each turn is a write like any other, but who writes a little is not to stand behind all of them: there is one
//! such turn at a time, and none while the disk is behind with what was written.

use std::time::Duration;

use super::failure::Failure;
use super::tx::WriteTx;
use super::writer::Message;
use super::{Savepoint, Store, dropped};

/// Pages of the WAL (4 KiB each) that are not in the database file yet, beyond which a turn waits for them to be
/// copied: whoever writes next then does not wait for a disk that has tens of megabytes before it.
const BEHIND_PAGES: u32 = 2000;
/// The same where the WAL has to end: nothing long is added to what the writer must then copy itself.
const LAST_PAGES: u32 = 250;
/// How often it looks, and after how many looks it goes on all the same: a long read may hold the WAL.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 100;

impl<E: Failure> Store<E> {
    /// [`Store::write`] for one turn of something long.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_turn<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let _turn = self.0.turns.lock().await;
        for _ in self.looks() {
            tokio::time::sleep(LOOK).await;
        }
        let answer = self.queue_job(Message::First, Savepoint::Own, f)?;
        answer.await.map_err(|_| E::from(dropped()))?
    }

    /// [`Store::write_turn`] for threads outside the runtime.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_turn_blocking<T, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, E> + Send + 'static,
    {
        let _turn = self.0.turns.blocking_lock();
        for _ in self.looks() {
            std::thread::sleep(LOOK);
        }
        let answer = self.queue_job(Message::First, Savepoint::Own, f)?;
        answer.blocking_recv().map_err(|_| E::from(dropped()))?
    }

    /// One for each time that it is to be waited for the disk.
    fn looks(&self) -> impl Iterator<Item = u32> {
        let commits = &self.0.signals.commits;
        (0..LOOKS).take_while(|_| {
            let behind = if commits.wal_has_to_end() {
                LAST_PAGES
            } else {
                BEHIND_PAGES
            };
            commits.left() > behind
        })
    }
}
