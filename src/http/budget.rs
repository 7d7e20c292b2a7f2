//! Memory and disk for requests that are large: what is to be had of it, and whose turn it is.
//!
//! Small requests need none of this. A large one, by its body or by what it asks for, waits until there
//! is memory to work in: in the order of arrival, except that an organization which has its share already
//! is passed over. So one organization never has more than its share, however much it asks for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::ids::TenantId;

/// Large requests of one organization that may wait.
const WAITING: usize = 64;

/// Bytes that are shared among organizations.
pub struct Budget {
    whole: usize,
    /// Of this for one organization.
    share: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    held: HashMap<TenantId, usize>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    owner: TenantId,
    bytes: usize,
    turn: oneshot::Sender<Held>,
}

/// Bytes of a budget, free again when this is dropped.
pub struct Held {
    budget: Arc<Budget>,
    owner: TenantId,
    bytes: usize,
}

impl Budget {
    /// A budget of which one organization has `share` at most.
    pub fn new(whole: usize, share: usize) -> Arc<Self> {
        Arc::new(Budget {
            whole,
            share,
            state: Mutex::default(),
        })
    }

    /// Waits for so many bytes; what is more than a share counts as one.
    ///
    /// # Errors
    /// 503 where too many of the same organization wait.
    pub async fn take(self: &Arc<Self>, owner: TenantId, bytes: usize) -> Result<Held> {
        let bytes = bytes.min(self.share);
        let turn = {
            let mut state = self.state();
            state.waiting.retain(|waiting| !waiting.turn.is_closed());
            if state.waiting.is_empty() && self.fits(&state, owner, bytes) {
                return Ok(self.give(&mut state, owner, bytes));
            }
            let before = state
                .waiting
                .iter()
                .filter(|waiting| waiting.owner == owner);
            if before.count() >= WAITING {
                return Err(Error::unavailable(
                    "too many large requests of this organization are waiting; nothing was done, try again",
                    1,
                ));
            }
            let (send, turn) = oneshot::channel();
            state.waiting.push_back(Waiting {
                owner,
                bytes,
                turn: send,
            });
            self.turns(&mut state);
            turn
        };
        turn.await.map_err(Error::internal)
    }

    /// So many bytes at once, or nothing.
    pub fn try_take(self: &Arc<Self>, owner: TenantId, bytes: usize) -> Option<Held> {
        let mut state = self.state();
        self.fits(&state, owner, bytes)
            .then(|| self.give(&mut state, owner, bytes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn has_share(&self, state: &State, owner: TenantId, bytes: usize) -> bool {
        state.held.get(&owner).copied().unwrap_or(0) + bytes > self.share
    }

    fn fits(&self, state: &State, owner: TenantId, bytes: usize) -> bool {
        state.used + bytes <= self.whole && !self.has_share(state, owner, bytes)
    }

    fn give(self: &Arc<Self>, state: &mut State, owner: TenantId, bytes: usize) -> Held {
        state.used += bytes;
        *state.held.entry(owner).or_default() += bytes;
        Held {
            budget: self.clone(),
            owner,
            bytes,
        }
    }

    /// Gives to those who wait. Nobody overtakes one who waits for more than is free: he would wait for
    /// ever.
    fn turns(self: &Arc<Self>, state: &mut State) {
        let mut n = 0;
        while let Some(next) = state.waiting.get(n) {
            if next.turn.is_closed() {
                state.waiting.remove(n);
            } else if self.has_share(state, next.owner, next.bytes) {
                n += 1;
            } else if state.used + next.bytes > self.whole {
                return;
            } else if let Some(next) = state.waiting.remove(n) {
                let held = self.give(state, next.owner, next.bytes);
                // Who has left since gives it back, which must not ask for the lock again here.
                if let Err(mut held) = next.turn.send(held) {
                    release(state, held.owner, std::mem::take(&mut held.bytes));
                }
            }
        }
    }
}

fn release(state: &mut State, owner: TenantId, bytes: usize) {
    state.used -= bytes;
    if let Some(held) = state.held.get_mut(&owner) {
        *held -= bytes;
        if *held == 0 {
            state.held.remove(&owner);
        }
    }
}

impl Held {
    /// So many bytes more; false when they are not to be had.
    pub fn grow(&mut self, bytes: usize) -> bool {
        match self.budget.try_take(self.owner, bytes) {
            Some(mut more) => {
                self.bytes += std::mem::take(&mut more.bytes);
                true
            }
            None => false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = self.budget.state();
            release(&mut state, self.owner, self.bytes);
            self.budget.turns(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn owner(n: u128) -> TenantId {
        TenantId(uuid::Uuid::from_u128(n))
    }

    fn now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_organization_that_has_its_share_is_passed_over() {
        let budget = Budget::new(100, 50);
        let first = now(pin!(budget.take(owner(1), 50))).unwrap().unwrap();
        let mut again = pin!(budget.take(owner(1), 10));
        assert!(now(again.as_mut()).is_none(), "it has its share");
        let mut other = pin!(budget.take(owner(2), 40));
        let other = now(other.as_mut()).unwrap().unwrap();
        let mut third = pin!(budget.take(owner(3), 30));
        assert!(now(third.as_mut()).is_none(), "there is not enough");
        drop(other);
        let third = now(third.as_mut()).unwrap().unwrap();
        assert!(now(again.as_mut()).is_none());
        drop(first);
        drop((now(again.as_mut()).unwrap().unwrap(), third));
        assert_eq!(budget.state().used, 0);
        assert!(budget.state().held.is_empty());
    }

    #[test]
    fn nobody_overtakes_who_waits_for_much() {
        let budget = Budget::new(100, 100);
        let small = now(pin!(budget.take(owner(1), 30))).unwrap().unwrap();
        let mut large = pin!(budget.take(owner(2), 90));
        assert!(now(large.as_mut()).is_none());
        let mut late = pin!(budget.take(owner(3), 10));
        assert!(now(late.as_mut()).is_none());
        drop(small);
        let large = now(large.as_mut()).unwrap().unwrap();
        assert!(now(late.as_mut()).unwrap().is_ok(), "both fit");
        drop(large);
    }

    #[test]
    fn who_has_left_holds_nothing() {
        let budget = Budget::new(100, 100);
        let held = now(pin!(budget.take(owner(1), 100))).unwrap().unwrap();
        {
            let mut gone = pin!(budget.take(owner(2), 100));
            assert!(now(gone.as_mut()).is_none());
        }
        let mut next = pin!(budget.take(owner(3), 100));
        assert!(now(next.as_mut()).is_none());
        drop(held);
        drop(now(next.as_mut()).unwrap().unwrap());
        assert_eq!(budget.state().used, 0);
    }

    #[test]
    fn what_is_more_than_a_share_counts_as_one_and_too_many_are_told() {
        let budget = Budget::new(100, 50);
        let mut held = now(pin!(budget.take(owner(1), 1000))).unwrap().unwrap();
        assert!(!held.grow(1));
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|_| Box::pin(budget.take(owner(1), 1)))
            .collect();
        assert!(waiting.iter_mut().all(|one| now(one.as_mut()).is_none()));
        let more = now(pin!(budget.take(owner(1), 1))).unwrap();
        assert_eq!(more.err().unwrap().status().as_u16(), 503);
        assert!(
            now(pin!(budget.take(owner(2), 1))).unwrap().is_ok(),
            "nobody else is told so"
        );
        drop(waiting);
        drop(held);
        assert_eq!(budget.state().used, 0);
    }
}
