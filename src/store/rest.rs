//! How long a long change rests between two turns: what one of them took, while others write.

use std::time::Duration;

/// After a turn the writer and the disk are left to the others for as long as it took, or at most this.
const REST: Duration = Duration::from_millis(50);
/// Unless in so many turns nobody else has written.
const ALONE: u32 = 50;

/// What the turns have seen of other writes.
#[derive(Default)]
pub(super) struct Turns {
    /// How many there had been at the last turn.
    others: u64,
    /// Turns since there was one.
    alone: u32,
}

impl Turns {
    /// After a turn that took so long, with so many other writes up to now: how long to rest.
    pub(super) fn rest(&mut self, took: Duration, others: u64) -> Duration {
        self.alone = if self.others == others {
            self.alone.saturating_add(1)
        } else {
            0
        };
        self.others = others;
        if self.alone < ALONE {
            took.min(REST)
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_while_others_write() {
        let took = Duration::from_millis(7);
        let mut turns = Turns::default();
        for n in 1..=3 * u64::from(ALONE) {
            assert_eq!(
                turns.rest(took, n / 10),
                took,
                "one in ten turns sees another write"
            );
        }
        let last = 3 * u64::from(ALONE) / 10;
        let rests = (0..2 * ALONE).filter(|_| !turns.rest(took, last).is_zero());
        assert!(
            rests.count() < ALONE as usize,
            "nobody has written for long"
        );
        assert_eq!(turns.rest(Duration::from_secs(3), last + 1), REST);
    }
}
