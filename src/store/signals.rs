//! What the rest of the program hears of commits, before the callers get their answers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use super::health::Health;

/// A kind of change that somebody waits for, or remembers something of. `crate::db::topics` names them all;
/// the store only tells that it happened.
#[derive(Clone, Copy, Debug)]
pub struct Topic(usize);

/// How many topics there can be.
const TOPICS: usize = 8;

impl Topic {
    /// The topic with this number, below eight.
    pub const fn new(number: usize) -> Self {
        assert!(number < TOPICS);
        Topic(number)
    }
}

/// The topics that a commit touches.
#[derive(Clone, Copy, Default)]
pub(super) struct Touched(u8);

impl Touched {
    pub fn touch(&mut self, topic: Topic) {
        self.0 |= 1 << topic.0;
    }

    pub fn merge(&mut self, other: Touched) {
        self.0 |= other.0;
    }

    fn has(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }
}

#[derive(Default)]
struct Changes {
    count: AtomicU64,
    wake: Notify,
}

impl Changes {
    fn tell(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
    }
}

/// What the rest of the program hears of commits.
#[derive(Default)]
pub struct Signals {
    changes: [Changes; TOPICS],
    /// The last `seq` of the audit log that is committed.
    log: watch::Sender<i64>,
    /// What is known of the storage.
    pub health: Health,
    pub commits: Commits,
}

impl Signals {
    /// Goes up with every commit that changed `topic`.
    pub fn changes(&self, topic: Topic) -> u64 {
        self.changes[topic.0].count.load(Ordering::Acquire)
    }

    /// Waits for the next change of `topic`, or one since the last wait. For a single waiter.
    pub fn changed(&self, topic: Topic) -> Notified<'_> {
        self.changes[topic.0].wake.notified()
    }

    /// Wakes whoever waits for `topic`, though no commit changed it.
    pub fn wake(&self, topic: Topic) {
        self.changes[topic.0].wake.notify_one();
    }

    /// The end of the audit log, as far as it is committed.
    pub fn log(&self) -> &watch::Sender<i64> {
        &self.log
    }

    /// Before the callers are answered: whoever is told "revoked" finds the key revoked.
    pub(super) fn tell(&self, touched: Touched, log: Option<i64>) {
        for (number, changes) in self.changes.iter().enumerate() {
            if touched.has(number) {
                changes.tell();
            }
        }
        if let Some(seq) = log {
            self.log.send_replace(seq);
        }
    }

    /// Another database has taken the place of the one before: nothing that was remembered holds.
    pub(crate) fn replaced(&self, log: i64) {
        self.health.replaced();
        self.changes.iter().for_each(Changes::tell);
        self.log.send_replace(log);
    }
}

/// From here on (16 MiB) the WAL has to begin anew; without that it only ever grows under steady reads. Large
/// reads do not begin and long changes pause until it has.
pub(super) const RESTART_PAGES: u32 = 4000;
/// What is measured of every commit.
pub struct Commits {
    /// How many writes shared it.
    pub writes: Histogram,
    /// How many shared the last one.
    pub last: AtomicUsize,
    /// Seconds that it took, waiting for the disk included.
    pub duration: Histogram,
    /// Microseconds of the longest turn of the writer so far: for so long all others waited.
    pub longest_turn: AtomicU64,
    /// Pages in the WAL.
    pub(super) pages: AtomicU32,
    /// Of these the ones that are in the database file, as far as is known.
    pub(super) copied: AtomicU32,
    /// Whether some are being copied, beside the writer.
    pub(super) copying: AtomicBool,
    /// Large reads under way: each holds the WAL as it was when it began.
    pub(super) large_reads: AtomicU32,
}

impl Commits {
    /// Pages of the WAL that are not in the database file yet.
    pub(super) fn left(&self) -> u32 {
        let copied = self.copied.load(Ordering::Relaxed);
        self.pages.load(Ordering::Relaxed).saturating_sub(copied)
    }

    /// Whether pages are being copied, beside the writer.
    pub(super) fn copying(&self) -> bool {
        self.copying.load(Ordering::Relaxed)
    }

    /// Whether the WAL is so long that it has to begin anew.
    pub(super) fn wal_has_to_end(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= RESTART_PAGES
    }
}

impl Default for Commits {
    fn default() -> Self {
        Commits {
            writes: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            last: AtomicUsize::new(0),
            longest_turn: AtomicU64::new(0),
            pages: AtomicU32::new(0),
            copied: AtomicU32::new(0),
            copying: AtomicBool::new(false),
            large_reads: AtomicU32::new(0),
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 17)),
        }
    }
}
