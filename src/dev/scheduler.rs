//! What falls due when the clock is moved: everything in between happens, in order, at its instant.

use super::emulator::Emulator;
use super::simulation::Simulation;
use super::state;
use crate::clock::Timestamp;
use crate::computers::{lifecycle, notices};
use crate::error::{Error, Result};
use crate::outbox::webhooks::queue;
use crate::store::WriteTx;
use crate::usage::ledger::{rates, reprice};

/// How far a pass came.
pub struct Progress {
    /// Everything up to here has happened.
    pub at: Timestamp,
    /// Instants at which something fell due.
    pub done: usize,
    /// Nothing is left to do before the end that was asked for.
    pub finished: bool,
    /// Something is to be sent to a webhook now, which cannot be done inside a transaction.
    pub to_send: bool,
}

/// Lets happen what falls due after the transaction's instant and until `until`, inclusive; at most
/// `limit` instants of it. Transitions and auto-stops, changes of prices, word of auto-stops, and what the scenario's
/// people do; of those at the same instant in this order. With `stop_to_send` it ends where something
/// is to be sent to a webhook, be it a retry or what has just happened.
pub fn run(
    tx: &WriteTx<'_>,
    dev: &Emulator,
    until: Timestamp,
    limit: usize,
    stop_to_send: bool,
) -> Result<Progress> {
    let mut simulation = Simulation::load(tx)?;
    let mut at = tx.now();
    let (mut done, mut to_send) = (0, false);
    // Prices that the configuration announces are on the agenda from here on.
    while rates::run(tx, &dev.fleet.catalog)? > 0 {}
    let finished = loop {
        let due = lifecycle::next_due(tx)?;
        let price = reprice::next_change(tx)?;
        let word = notices::next_at(tx)?;
        let action = match &mut simulation {
            Some(simulation) => simulation.next(tx, until)?,
            None => None,
        };
        let send = if stop_to_send {
            queue::next_due(tx)?
        } else {
            None
        };
        let first = [due, price, word, action].into_iter().flatten().min();
        if let Some(send) = send.filter(|send| *send <= until && first.is_none_or(|f| *send <= f)) {
            at = at.max(send);
            to_send = true;
            break false;
        }
        let Some(first) = first.filter(|first| *first <= until) else {
            at = at.max(until);
            break true;
        };
        if done == limit {
            break false;
        }
        // What was due before the clock began to move happens now.
        at = at.max(first);
        tx.at(at, None, |tx| {
            if due.is_some_and(|due| due <= at) {
                while lifecycle::run_due(tx, &dev.fleet, 100)? > 0 {}
            }
            if price.is_some_and(|price| price <= at) {
                while rates::run(tx, &dev.fleet.catalog)? > 0 {}
            }
            if word.is_some_and(|word| word <= at) {
                while notices::run(tx, 100)? > 0 {}
            }
            if let Some(simulation) = &mut simulation {
                simulation.act(tx, dev, at)?;
            }
            Ok::<_, Error>(())
        })?;
        done += 1;
    };
    if simulation.is_some() {
        state::keep_simulated_until(tx, at)?;
    }
    Ok(Progress {
        at,
        done,
        finished,
        to_send,
    })
}
