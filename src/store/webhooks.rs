//! Which organizations have an enabled webhook. The writer's thread remembers them, so that a change
//! in an organization without one costs a look at a set and no statement.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::tx::WriteTx;
use crate::error::Result;
use crate::ids::TenantId;

thread_local! {
    /// As of the last commit; `None`: not read yet.
    static KNOWN: RefCell<Option<HashSet<TenantId>>> = const { RefCell::new(None) };
    /// Webhooks change with the commit that is under way, if it succeeds.
    static CHANGING: Cell<bool> = const { Cell::new(false) };
}

impl WriteTx<'_> {
    /// To be called before a webhook is written.
    pub fn webhooks_change(&self) {
        CHANGING.set(true);
    }

    /// Whether an organization may have an enabled webhook; false is certain.
    ///
    /// # Errors
    /// When the store fails.
    pub fn may_have_webhooks(&self, tenant: TenantId) -> Result<bool> {
        if CHANGING.get() {
            return Ok(true);
        }
        KNOWN.with_borrow_mut(|known| {
            let tenants = match known {
                Some(tenants) => tenants,
                None => {
                    let sql = "SELECT DISTINCT tenant_id FROM webhooks WHERE enabled = 1";
                    let mut statement = self.prepare_cached(sql)?;
                    let rows = statement.query_map([], |row| row.get(0))?;
                    known.insert(rows.collect::<rusqlite::Result<_>>()?)
                }
            };
            Ok(tenants.contains(&tenant))
        })
    }
}

/// After every commit, whether it succeeded or not.
pub(super) fn committed() {
    if CHANGING.take() {
        KNOWN.take();
    }
}

/// Another database has taken the place of the one before.
pub(super) fn replaced() {
    KNOWN.take();
}
