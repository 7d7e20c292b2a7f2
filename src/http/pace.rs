//! How fast large bodies are taken from the wire: each of those who send has a rate, so that who sends much, or the
//! same again and again, leaves the processors and the disk to the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Bytes a second.
const RATE: u32 = 32 << 20;
/// Whoever is ahead by no more does not wait: timers are no finer.
const GRAIN: Duration = Duration::from_millis(2);
/// So many are remembered before those who are not ahead any more are forgotten.
const REMEMBERED: usize = 1024;

/// Until when each of those who sent is ahead.
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
        let until = {
            let mut ahead = self.0.lock();
            if ahead.len() >= REMEMBERED {
                ahead.retain(|_, until| *until > now);
            }
            let until = ahead.entry(who).or_insert(now);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            *until = (*until).max(now) + Duration::from_secs(1) * bytes / RATE;
            *until
        };
        if until > now + GRAIN {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_has_the_rate_and_who_rested_saved_nothing() {
        let pace = Pace::default();
        let took = async |who| {
            let began = Instant::now();
            for _ in 0..64 {
                pace.sent(who, 1 << 20).await;
            }
            began.elapsed().as_secs_f64()
        };
        assert!((1.9..2.1).contains(&took("one").await));
        let (one, other) = tokio::join!(took("one"), took("other"));
        assert!((1.9..2.1).contains(&one) && (1.9..2.1).contains(&other));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (one, same) = tokio::join!(took("one"), took("one"));
        assert!(one.max(same) > 3.9, "{one} {same}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_ahead_is_forgotten() {
        let pace = Pace::default();
        for n in 0..10 * REMEMBERED {
            pace.sent(n, 1 << 20).await;
        }
        assert!(pace.0.lock().len() <= REMEMBERED);
    }
}
