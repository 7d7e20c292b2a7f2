//! How fast large bodies are taken from the wire: each of those who send has a rate, so that who sends much, or the
//! same again and again, leaves the processors and the disk to the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Bytes a second.
const RATE: u32 = 32 << 20;
/// Who has rested may send as much at once as comes in this time, 8 MB: one large body now and then waits for nothing.
const BURST: Duration = Duration::from_millis(250);
/// So many are remembered before those who have rested are forgotten.
const REMEMBERED: usize = 1024;

/// Until when what each of them has sent is paid for by the rate.
pub(super) struct Pace<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Pace<K> {
    fn default() -> Self {
        Pace(Mutex::default())
    }
}

impl<K: Eq + Hash> Pace<K> {
    /// Waits until `who` sent no more than the rate allows, these bytes included.
    pub(super) async fn sent(&self, who: K, bytes: usize) {
        let now = Instant::now();
        let rested = now.checked_sub(BURST).unwrap_or(now);
        let until = {
            let mut paid = self.0.lock();
            if paid.len() >= REMEMBERED {
                paid.retain(|_, until| *until > rested);
            }
            let until = paid.entry(who).or_insert(rested);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            *until = (*until).max(rested) + Duration::from_secs(1) * bytes / RATE;
            *until
        };
        if until > now {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_has_the_rate_and_who_rested_a_burst() {
        let pace = Pace::default();
        // 64 MB, or fewer.
        let took = async |who, times: usize| {
            let began = Instant::now();
            for _ in 0..times {
                pace.sent(who, 1 << 20).await;
            }
            began.elapsed()
        };
        assert!(took("one", 8).await < Duration::from_millis(1));
        let two_seconds = Duration::from_millis(1990)..Duration::from_millis(2010);
        assert!(two_seconds.contains(&took("one", 64).await));
        let (one, other) = tokio::join!(took("one", 64), took("other", 72));
        assert!(two_seconds.contains(&one) && two_seconds.contains(&other));
        // However long one rests, there is one burst, and all that come at once share it.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (one, same) = tokio::join!(took("one", 36), took("one", 36));
        assert!(two_seconds.contains(&one.max(same)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_rested_is_forgotten() {
        let pace = Pace::default();
        for n in 0..10 * REMEMBERED {
            pace.sent(n, 16 << 20).await;
        }
        assert!(pace.0.lock().len() <= REMEMBERED);
    }
}
