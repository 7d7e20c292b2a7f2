//! What the writer's thread remembers from one transaction to the next, so that it need not ask the
//! database again.
//!
//! It outlives a transaction that is undone: whoever remembers something has to be able to tell that
//! it does not hold any more.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::tx::WriteTx;

thread_local! {
    static MEMORY: RefCell<HashMap<TypeId, Box<dyn Any>, FixedState>> = RefCell::default();
}

impl WriteTx<'_> {
    /// Hands `f` the one `M` that is remembered, a default one to begin with. `f` must not ask for
    /// another.
    pub fn remembered<M: Any + Default, R>(&self, f: impl FnOnce(&mut M) -> R) -> R {
        remembered(f)
    }
}

/// [`WriteTx::remembered`] between two transactions.
pub(super) fn remembered<M: Any + Default, R>(f: impl FnOnce(&mut M) -> R) -> R {
    MEMORY.with_borrow_mut(|memory| {
        let entry = memory
            .entry(TypeId::of::<M>())
            .or_insert_with(|| Box::new(M::default()));
        match entry.downcast_mut() {
            Some(known) => f(known),
            None => f(&mut M::default()),
        }
    })
}

/// A commit has failed, or another database has taken the place of the one before.
pub(super) fn forget() {
    MEMORY.with_borrow_mut(HashMap::clear);
}
