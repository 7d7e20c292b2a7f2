//! Who sits in front of a computer: terminals and programs whose streams somebody has open, or is about to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::ComputerId;

/// Seats at one computer.
const MOST: usize = 4;
/// Seconds that a seat is kept for who asked for it.
pub const KEPT_S: i64 = 60;
/// Between two looks at whether all have left.
const A_MOMENT: Duration = Duration::from_millis(20);

/// What is to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    pub command: Vec<String>,
    /// As it is shown.
    pub shown: String,
    pub dir: Option<String>,
    pub env: Vec<String>,
    /// In a terminal, instead of over two streams.
    pub terminal: bool,
}

/// Columns and rows.
pub type Extent = (u16, u16);

/// A seat at a computer.
pub struct Seat {
    pub id: Uuid,
    pub computer: ComputerId,
    pub plan: Plan,
    /// The beginning of the key that opened it.
    pub by: String,
    pub since: Timestamp,
    pub extent: watch::Sender<Extent>,
    /// Why it is to end.
    pub over: watch::Sender<Option<&'static str>>,
    taken: AtomicBool,
}

impl Seat {
    pub fn new(
        id: Uuid,
        computer: ComputerId,
        plan: Plan,
        by: String,
        since: Timestamp,
        extent: Extent,
    ) -> Self {
        Seat {
            id,
            computer,
            plan,
            by,
            since,
            extent: watch::Sender::new(extent),
            over: watch::Sender::new(None),
            taken: AtomicBool::new(false),
        }
    }

    /// Somebody sits here.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}

/// All seats.
#[derive(Default)]
pub struct Seats {
    all: Mutex<HashMap<Uuid, Arc<Seat>>>,
    closed: AtomicBool,
}

impl Seats {
    /// Keeps a seat.
    ///
    /// # Errors
    /// 429 where too many are taken, 503 where the service stops.
    pub fn reserve(&self, seat: Seat) -> Result<Arc<Seat>> {
        let mut all = self.all.lock();
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::unavailable("this server stops", 5));
        }
        all.retain(|_, s| s.is_taken() || s.since.plus_seconds(KEPT_S) > seat.since);
        let here = all.values().filter(|s| s.computer == seat.computer).count();
        if here >= MOST {
            return Err(Error::too_many(
                format!("{MOST} terminals of this computer are open already; close one of them"),
                5,
            ));
        }
        let seat = Arc::new(seat);
        all.insert(seat.id, seat.clone());
        Ok(seat)
    }

    /// The seats at a computer, oldest first.
    pub fn of(&self, computer: ComputerId, now: Timestamp) -> Vec<Arc<Seat>> {
        let all = self.all.lock();
        let mut here: Vec<_> = all
            .values()
            .filter(|s| s.computer == computer)
            .filter(|s| s.is_taken() || s.since.plus_seconds(KEPT_S) > now)
            .cloned()
            .collect();
        here.sort_by_key(|s| (s.since, s.id));
        here
    }

    /// How many are taken.
    pub fn count(&self) -> usize {
        let all = self.all.lock();
        all.values().filter(|seat| seat.is_taken()).count()
    }

    /// A seat at a computer.
    ///
    /// # Errors
    /// 404.
    pub fn find(&self, computer: ComputerId, id: Uuid, now: Timestamp) -> Result<Arc<Seat>> {
        let here = self.of(computer, now);
        let found = here.into_iter().find(|s| s.id == id);
        found.ok_or_else(|| Error::not_found("terminal"))
    }

    /// Sits down.
    ///
    /// # Errors
    /// 404 where there is no such seat, 409 where somebody sits there.
    pub fn take(self: &Arc<Self>, seat: Arc<Seat>) -> Result<Taken> {
        if seat.taken.swap(true, Ordering::Relaxed) {
            return Err(Error::conflict(
                "RESOURCE_STATE",
                "somebody has this terminal open; make another one",
            ));
        }
        Ok(Taken {
            seats: self.clone(),
            seat,
        })
    }

    /// Gives a seat up that nobody has taken, or asks who sits there to leave.
    pub fn end(&self, seat: &Seat) {
        if seat.is_taken() {
            seat.over.send_replace(Some("closed"));
        } else {
            self.all.lock().remove(&seat.id);
        }
    }

    /// Asks all to leave, waits until they have, though not for ever, and lets nobody in any more.
    pub async fn close(&self, patience: Duration) {
        self.closed.store(true, Ordering::Relaxed);
        let wait = async {
            loop {
                {
                    let mut all = self.all.lock();
                    all.retain(|_, s| s.is_taken());
                    if all.is_empty() {
                        return;
                    }
                    for seat in all.values() {
                        seat.over.send_replace(Some("the server stops"));
                    }
                }
                tokio::time::sleep(A_MOMENT).await;
            }
        };
        let _ = tokio::time::timeout(patience, wait).await;
    }
}

/// A seat that somebody sits on; free again when this is dropped.
pub struct Taken {
    seats: Arc<Seats>,
    pub seat: Arc<Seat>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.all.lock().remove(&self.seat.id);
    }
}
