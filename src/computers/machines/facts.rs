//! What the engine saw, on its way into the history that is billed.
//!
//! A run of a container begins and ends where the engine says. The id of each such event follows from the
//! container and the nanosecond, so that it is told as often as it is seen and counted once.
//!
//! An engine does not know when a container ended that a loss of power has ended: Docker dates it to its own
//! restart (exit code 255), Podman 4 goes on calling it running, or forgets that it ran. Then it ends when it
//! was last seen alive: at most ten seconds early while this service runs, never late.

use rusqlite::OptionalExtension;

use super::seam::{Life, Seen};
use super::wanted::{self, Desired};
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::computers::{self, Fleet, lifecycle};
use crate::error::Result;
use crate::ids::{ComputerId, TenantId};
use crate::rules::config::OnBoot;
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::{Tx, WriteTx};
use crate::usage::ledger::held;
use crate::usage::ledger::history::{self, Fact};
use crate::usage::ledger::tariff::Tariff;
use crate::usage::meter::{self, Changes};

/// What Docker says of a container whose end it has not seen.
const UNSEEN: i64 = 255;
/// So much later than the last look at everything, an end was seen by nobody.
const UNWATCHED_MS: i64 = 15_000;
/// So long after its start an engine dates ends to its start.
const RETURN_MS: i64 = 60_000;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// As the engine says: at this nanosecond, with this code.
    Seen {
        at: i64,
        code: i64,
        out_of_memory: bool,
    },
    /// With its host, or without anybody knowing when.
    Lost,
    /// Its container is not there any more.
    Vanished,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub container: Option<String>,
    /// Nanoseconds; its last run.
    pub began: Option<i64>,
    /// `None`: it runs.
    pub ended: Option<End>,
}

/// What is known besides what an engine says.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When everything was last seen to run that should, or this one.
    pub seen_at: Timestamp,
    /// The host has been started since then.
    pub rebooted: bool,
    /// When the engine itself was started, where that can be known.
    pub engine_since: Option<Timestamp>,
}

/// What a look at a container means. `dead`: it is said to run, and does not.
pub fn judge(seen: Option<&Seen>, dead: bool, now: &Circumstances) -> Observation {
    let Some(seen) = seen else {
        return Observation {
            container: None,
            began: None,
            ended: Some(End::Vanished),
        };
    };
    let ended = match seen.life {
        Life::Running if !dead => None,
        Life::Exited => seen
            .finished
            .filter(|at| seen.started.is_none_or(|began| *at >= began))
            .filter(|at| !unseen(seen.exit_code, at / 1_000_000, now))
            .map_or(Some(End::Lost), |at| {
                Some(End::Seen {
                    at,
                    code: seen.exit_code,
                    out_of_memory: seen.out_of_memory,
                })
            }),
        Life::Running | Life::Created | Life::Stuck => Some(End::Lost),
    };
    Observation {
        container: Some(seen.id.clone()),
        // Before the first run there is none; after a restart of the host Podman keeps the old one.
        began: seen.started.filter(|_| seen.life != Life::Created),
        ended,
    }
}

/// Whether the instant of an end is only that at which the engine came back.
fn unseen(code: i64, at_ms: i64, now: &Circumstances) -> bool {
    code == UNSEEN
        && at_ms > now.seen_at.0
        && (now.rebooted
            || match now.engine_since {
                Some(since) => (since.0 - 1000..since.0 + RETURN_MS).contains(&at_ms),
                None => at_ms > now.seen_at.0 + UNWATCHED_MS,
            })
}

/// A computer of the driver docker, also a deleted one.
struct Subject {
    tenant: TenantId,
    created_at: i64,
}

fn subject(tx: &Tx<'_>, id: ComputerId) -> Result<Option<Subject>> {
    let found = tx.row(
        "SELECT tenant_id, created_at FROM computers WHERE id = ?1 AND driver = 'docker'",
        [id],
        |row| {
            Ok(Subject {
                tenant: row.get(0)?,
                created_at: row.get(1)?,
            })
        },
    );
    Ok(found.optional()?)
}

fn is_told(tx: &Tx<'_>, tenant: TenantId, event: &str) -> Result<bool> {
    Ok(tx.row(
        "SELECT EXISTS (SELECT 1 FROM compute_events WHERE tenant_id = ?1 AND event_id = ?2)",
        (tenant, event),
        |row| row.get(0),
    )?)
}

/// Takes what is known of a computer's container into its history, its row, and what is wanted of it. By `seen_at`,
/// or its own last sign of life, it was alive if it ran. Repeating it changes nothing.
///
/// # Errors
/// When the store fails.
pub fn take(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    id: ComputerId,
    what: &Observation,
    seen_at: Timestamp,
) -> Result<()> {
    let Some(subject) = subject(tx, id)? else {
        return Ok(());
    };
    let wanted = wanted::load(tx, id)?;
    // One that lies ahead was written down by a clock that was ahead.
    let sign = wanted.as_ref().and_then(|w| w.seen_at);
    let sign = sign.filter(|sign| *sign <= tx.now());
    let seen_at = seen_at.max(sign.unwrap_or(seen_at));
    let mut facts = Vec::new();
    // The engine reads the same clock; where that stepped back, nothing lies before the computer or ahead.
    let within = |nanos: i64| {
        (nanos / 1_000_000).clamp(subject.created_at, tx.now().0.max(subject.created_at))
    };
    if let (Some(container), Some(began)) = (&what.container, what.began) {
        let event = format!("docker:{container}:start:{began}");
        if !is_told(tx, subject.tenant, &event)? {
            facts.push(fact(
                event,
                "computer.started",
                within(began),
                Status::Running,
            ));
        }
    }
    let runs = held(tx, id)?.is_some_and(|held| held.status.billable()) || !facts.is_empty();
    let mut end = None;
    if let Some(how) = what.ended.filter(|_| runs) {
        let container = what
            .container
            .as_deref()
            .or_else(|| wanted.as_ref()?.engine_ref.as_deref());
        let (nanos, code) = match how {
            End::Seen { at, code, .. } => (at, code),
            // Not before it began.
            End::Lost | End::Vanished => {
                let began = what.began.unwrap_or(0);
                let known = held(tx, id)?.map_or(0, |held| held.at.0 * 1_000_000);
                ((seen_at.0 * 1_000_000).max(began).max(known), 0)
            }
        };
        let event = format!("docker:{}:end:{nanos}", container.unwrap_or("unknown"));
        if !is_told(tx, subject.tenant, &event)? {
            let expected = wanted
                .as_ref()
                .is_none_or(|w| w.desired != Desired::Running || (w.restart && w.pending()));
            let crashed = !expected && (code != 0 || how == End::Vanished);
            let (kind, status) = if crashed {
                ("computer.errored", Status::Error)
            } else {
                ("computer.stopped", Status::Stopped)
            };
            facts.push(fact(event, kind, within(nanos), status));
            end = Some((how, expected));
        }
    }
    if !facts.is_empty() {
        facts.sort_by_key(|fact| fact.at);
        let tariff = Tariff::load(tx, &fleet.catalog)?;
        let mut changes = Changes::default();
        history::insert(tx, subject.tenant, id, facts, &tariff, &mut changes)?;
        meter::apply(tx, changes)?;
    }
    if let (Some((how, false)), Some(w)) = (end, &wanted)
        && (!w.pending() || started_for(w, what))
    {
        ended_unasked(tx, fleet, id, w.op, how)?;
    }
    lifecycle::follow_events(tx, fleet, Actor::System, id)
}

/// Whether the run that was seen is the one that was asked for last.
pub fn started_for(w: &wanted::Wanted, what: &Observation) -> bool {
    what.began
        .is_some_and(|began| began / 1_000_000 >= w.op_at.0)
}

/// Nobody asked for this end.
fn ended_unasked(tx: &WriteTx<'_>, fleet: &Fleet, id: ComputerId, op: i64, how: End) -> Result<()> {
    let on_boot = fleet.config.engine.as_ref().map(|engine| engine.on_boot);
    let fault = match how {
        End::Lost if on_boot == Some(OnBoot::Restore) => {
            if let Some(c) = computers::load(tx, id)? {
                // Had it stood idle for too long by now, it would have been stopped.
                if c.due_at.is_none_or(|due| due > tx.now()) {
                    return wanted::ask(tx, &c, Desired::Running, false);
                }
            }
            None
        }
        End::Lost => None,
        End::Vanished => Some(
            "its container was removed from the engine by somebody else, and what was written outside its home \
             directory with it; start makes a new one"
                .to_owned(),
        ),
        End::Seen {
            out_of_memory: true,
            code,
            ..
        } => Some(format!("exited {code}: out of memory; a larger size has more")),
        End::Seen { code: 0, .. } => None,
        End::Seen { code, .. } => Some(format!(
            "exited {code}; its logs may say why, start runs it again"
        )),
    };
    wanted::give_up(tx, id, op, fault.as_deref())
}

fn fact(event: String, kind: &'static str, at: i64, status: Status) -> Fact {
    Fact {
        event_id: Some(event),
        kind: kind.into(),
        at,
        status: Some(status),
        size: None,
        place: None,
    }
}

/// From now on the engine holds a container to another size, which from now on is billed.
///
/// # Errors
/// When the store fails.
pub fn resized(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    id: ComputerId,
    container: &str,
    size: Size,
) -> Result<()> {
    let Some(subject) = subject(tx, id)? else {
        return Ok(());
    };
    if held(tx, id)?.is_some_and(|held| held.size != size) {
        let at = tx.now().0;
        let fact = Fact {
            event_id: Some(format!("docker:{container}:size:{at}000000")),
            kind: "computer.resized".into(),
            at,
            status: None,
            size: Some(size),
            place: None,
        };
        history::put_in(tx, &fleet.catalog, subject.tenant, id, fact)?;
    }
    wanted::known_as(tx, id, container, size)?;
    lifecycle::follow_events(tx, fleet, Actor::System, id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Circumstances, End, Observation, judge};
    use crate::clock::Timestamp;
    use crate::computers::machines::seam::{Life, Seen};

    fn seen(life: Life, finished_s: i64, exit_code: i64) -> Seen {
        Seen {
            id: "c".into(),
            life,
            pid: Some(1),
            started: Some(100_000_000_000),
            finished: Some(finished_s * 1_000_000_000),
            exit_code,
            out_of_memory: false,
            cpus: Vec::new(),
            address: None,
            networks: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn an_end_is_believed_unless_the_engine_cannot_have_seen_it() {
        let calm = Circumstances {
            seen_at: Timestamp(150_000),
            rebooted: false,
            engine_since: Some(Timestamp(10_000)),
        };
        let ended = |at: i64, code| {
            Some(End::Seen {
                at: at * 1_000_000_000,
                code,
                out_of_memory: false,
            })
        };
        let judged = |seen: &Seen, now: &Circumstances| judge(Some(seen), false, now).ended;
        assert_eq!(judged(&seen(Life::Exited, 155, 0), &calm), ended(155, 0));
        assert_eq!(judged(&seen(Life::Exited, 500, 1), &calm), ended(500, 1));
        // The engine lived on: what it saw it saw, also with this code.
        assert_eq!(
            judged(&seen(Life::Exited, 500, 255), &calm),
            ended(500, 255)
        );
        // It came back at 500, and dates everything to that.
        let back = Circumstances {
            engine_since: Some(Timestamp(499_500)),
            ..calm
        };
        assert_eq!(
            judged(&seen(Life::Exited, 500, 255), &back),
            Some(End::Lost)
        );
        // After a while it sees what it says again.
        assert_eq!(
            judged(&seen(Life::Exited, 600, 255), &back),
            ended(600, 255)
        );
        let rebooted = Circumstances {
            rebooted: true,
            ..calm
        };
        assert_eq!(
            judged(&seen(Life::Exited, 500, 255), &rebooted),
            Some(End::Lost)
        );
        // The end of the run before says nothing about this one.
        assert_eq!(judged(&seen(Life::Exited, 90, 0), &calm), Some(End::Lost));
        assert_eq!(judged(&seen(Life::Running, 90, 0), &calm), None);
        assert_eq!(
            judge(Some(&seen(Life::Running, 90, 0)), true, &calm).ended,
            Some(End::Lost)
        );
        assert_eq!(judged(&seen(Life::Created, 90, 0), &calm), Some(End::Lost));
        let gone = Observation {
            container: None,
            began: None,
            ended: Some(End::Vanished),
        };
        assert_eq!(judge(None, false, &calm), gone);
    }
}
