//! The domain of a workspace or project that was deleted and is there again.

use uuid::Uuid;

use super::change::set;
use super::owner::Owner;
use crate::access::caller::Caller;
use crate::deleted::Lost;
use crate::domains::Scope;
use crate::error::Result;
use crate::rules::config::Config;
use crate::store::WriteTx;

/// Sets the domain that it had, unless somebody else has it by now; it is checked anew. Says so where it has none.
pub fn bring_back(
    tx: &WriteTx<'_>,
    config: &Config,
    caller: &Caller,
    (scope, id): (Scope, Uuid),
    domain: Option<String>,
) -> Result<Option<Lost>> {
    let Some(domain) = domain else {
        return Ok(None);
    };
    let owner = Owner::of_row(tx, scope, id, caller.tenant_id())?;
    match set(tx, config, caller, &owner, &domain, false) {
        Ok(_) => Ok(None),
        Err(e) if e.status().is_client_error() => {
            let why = e.message();
            let text = format!("{domain} is not set again: {why}");
            Ok(Some(Lost::new("preview_domain", text)))
        }
        Err(e) => Err(e),
    }
}
