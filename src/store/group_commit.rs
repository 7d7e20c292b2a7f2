//! Who shares a commit: the rule of the writer.
//!
//! With everybody who waits in every commit, the callers of a busy server fall into step: the threads that
//! serve requests have nothing to do while the writer runs all of them, and the writer nothing while all of
//! them get their answers and ask again. So a commit takes one half of those who are there, and the two
//! halves take turns. That costs a flush more, and is therefore only done where running the writes takes
//! long in comparison: on a slow disk everybody shares.

/// Writes that share one commit at most: bounds how long the first of them waits.
const MOST: usize = 256;

/// How long a turn lasts, microseconds since its transaction began: whoever can leave something to the next
/// turn does so from here on. Others may still share the commit, which costs them less than one of their own.
pub(super) const TURN_MICROS: u64 = 10_000;
/// The least that it lasts where somebody waits.
const AWAITED_TURN_MICROS: u64 = 2_000;

/// What the writer has seen of its callers and of its disk.
#[derive(Clone, Copy, Default)]
pub(super) struct GroupCommit {
    /// How many write at the same time.
    callers: usize,
    /// How long a commit takes the disk, microseconds.
    flush: u64,
}

impl GroupCommit {
    /// Whether whoever comes next is left to the next commit: after `writes`, which took `micros` to run. What a long
    /// change took that was the first of them says nothing of how many are to share the commit with it: it has ended
    /// for them, and left to the next commit they would wait for the disk twice.
    pub(super) fn is_full(self, writes: usize, micros: u64, long: Option<u64>) -> bool {
        let (writes, micros) = match long {
            Some(its_micros) => (writes - 1, micros - its_micros),
            None => (writes, micros),
        };
        let half = writes > 0 && 2 * writes >= self.callers;
        let worth_a_flush = 2 * micros >= self.flush;
        writes >= MOST || (half && worth_a_flush)
    }

    /// How long a turn lasts where somebody waits: as long as a flush, which each of the more turns costs.
    pub(super) fn awaited_turn(self) -> u64 {
        self.flush.clamp(AWAITED_TURN_MICROS, TURN_MICROS)
    }

    /// After a commit that took the disk `flush` microseconds, with so many in it or waiting for the next.
    pub(super) fn after(self, present: usize, flush: u64) -> GroupCommit {
        GroupCommit {
            // Slowly down: who is missing may only be late.
            callers: present.max(self.callers - self.callers / 8),
            flush: (3 * self.flush + flush) / 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AWAITED_TURN_MICROS, GroupCommit, MOST, TURN_MICROS};

    /// After many commits of the same kind.
    fn steady(policy: GroupCommit, present: usize, flush: u64) -> GroupCommit {
        (0..100).fold(policy, |policy, _| policy.after(present, flush))
    }

    #[test]
    fn one_half_shares_a_commit() {
        let policy = steady(GroupCommit::default(), 64, 400);
        assert!(!policy.is_full(31, 1000, None));
        assert!(policy.is_full(32, 1000, None));
    }

    #[test]
    fn all_share_what_takes_the_disk_longer_than_them() {
        let policy = steady(GroupCommit::default(), 64, 10_000);
        assert!(!policy.is_full(64, 1300, None));
        assert!(!policy.is_full(MOST - 1, 4000, None));
        assert!(policy.is_full(MOST, 4000, None));
    }

    #[test]
    fn an_awaited_turn_is_not_cut_into_flushes() {
        let turn = |flush| steady(GroupCommit::default(), 4, flush).awaited_turn();
        assert_eq!(turn(300), AWAITED_TURN_MICROS);
        assert!((4_900..=5_000).contains(&turn(5_000)));
        assert_eq!(turn(80_000), TURN_MICROS);
    }

    #[test]
    fn a_long_change_leaves_nobody_to_the_next_commit() {
        let alone = GroupCommit::default();
        assert!(alone.is_full(1, 10_000, None));
        assert!(
            !alone.is_full(1, 10_000, Some(10_000)),
            "nobody has shared it"
        );
        let policy = steady(alone, 64, 400);
        assert!(!policy.is_full(32, 11_000, Some(10_000)));
        assert!(policy.is_full(33, 11_000, Some(10_000)));
    }

    #[test]
    fn those_who_have_left_are_forgotten() {
        let busy = steady(GroupCommit::default(), 200, 400);
        assert!(!busy.after(2, 400).is_full(64, 2000, None));
        let quiet = steady(busy, 2, 400);
        assert!(quiet.is_full(8, 2000, None));
    }
}
