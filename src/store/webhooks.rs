//! Which organizations have an enabled webhook. The writer's thread remembers them, so that a change
//! in an organization without one costs a look at a set and no statement.

use std::collections::HashSet;

use super::memory;
use super::tx::WriteTx;
use crate::error::Result;
use crate::ids::TenantId;

#[derive(Default)]
struct Webhooks {
    /// Who has one, as of the last commit; `None`: not read yet.
    known: Option<HashSet<TenantId>>,
    /// They change with the commit that is under way, if it succeeds.
    changing: bool,
}

impl WriteTx<'_> {
    /// To be called before a webhook is written.
    pub fn webhooks_change(&self) {
        self.remembered(|webhooks: &mut Webhooks| webhooks.changing = true);
    }

    /// Whether an organization may have an enabled webhook; false is certain.
    ///
    /// # Errors
    /// When the store fails.
    pub fn may_have_webhooks(&self, tenant: TenantId) -> Result<bool> {
        self.remembered(|webhooks: &mut Webhooks| {
            if webhooks.changing {
                return Ok(true);
            }
            let tenants = match &mut webhooks.known {
                Some(tenants) => tenants,
                known => {
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
    memory::remembered(|webhooks: &mut Webhooks| {
        if webhooks.changing {
            *webhooks = Webhooks::default();
        }
    });
}
