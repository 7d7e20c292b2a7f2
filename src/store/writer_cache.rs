//! What the writer keeps from one transaction to the next, so that it need not ask the database again.
//!
//! An entry outlives a transaction that is undone: whoever keeps something has to be able to tell that
//! it does not hold any more. After a failed commit all of it is dropped.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::FixedState;

/// One value of each type.
#[derive(Default)]
pub(super) struct WriterCache(RefCell<HashMap<TypeId, Box<dyn Any>, FixedState>>);

impl WriterCache {
    /// Hands `f` the one `M` that is kept, a default one to begin with.
    pub(super) fn with<M: Any + Default, R>(&self, f: impl FnOnce(&mut M) -> R) -> R {
        let mut all = self.0.borrow_mut();
        let entry = all
            .entry(TypeId::of::<M>())
            .or_insert_with(|| Box::new(M::default()));
        match entry.downcast_mut() {
            Some(known) => f(known),
            None => f(&mut M::default()),
        }
    }

    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
