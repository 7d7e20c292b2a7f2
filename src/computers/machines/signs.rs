//! Signs of life: who is alive is written down every few seconds, all of them in one transaction.
//!
//! What a loss of power ends was alive until its last sign. A look at all containers takes as long as the engine
//! does, and there is none while the engine is down; a process is looked at in no time.

use std::time::Duration;

use super::host::boot_id;
use super::wanted;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::Error;

/// Looks at the processes for as long as it is let, and writes down who was alive.
pub async fn follow(store: &Store, fleet: &Fleet, every: Duration) {
    let boot = boot_id();
    match store.read(wanted::processes).await {
        Ok(known) => {
            for (id, text) in known {
                fleet.engine.pulses.remember(id, &text, &boot);
            }
        }
        Err(e) => unwritten(&e),
    }
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        // Taken first: whoever ends in between was alive then.
        let at = store.now();
        let alive = fleet.engine.pulses.alive(&boot);
        if alive.is_empty() {
            continue;
        }
        if let Err(e) = store.write(move |tx| wanted::alive(tx, at, &alive)).await {
            unwritten(&e);
        }
    }
}

fn unwritten(e: &Error) {
    tracing::warn!(
        error = e.message(),
        detail = e.internal_detail(),
        "machines: signs of life could not be kept"
    );
}
