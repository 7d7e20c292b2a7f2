//! What higher floors hand to the store, to be found again inside its write transactions.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// One value of each type.
#[derive(Default)]
pub(super) struct Attachments(RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Attachments {
    pub(super) fn put<T: Any + Send + Sync>(&self, value: T) {
        let mut all = self.0.write();
        all.insert(TypeId::of::<T>(), Arc::new(value));
    }

    pub(super) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let all = self.0.read();
        all.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }
}
