//! Faults that teach: rules that spoil answers, or the provisioning of computers, on purpose.
//!
//! A rule fires *before* the request is executed, so nothing happens, or *after* its commit, so that
//! only the answer is lost: what a caller does about that shows whether its retries are right. Which
//! of the matching requests it fires on is decided by a seed, the same on every machine.
//!
//! Rules live in memory: they end with the process and with `POST /_dev/reset`.

pub mod handlers;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::access::key::Key;
use crate::clock::Timestamp;
use crate::computers::Record;
use crate::computers::simulation::Simulation;
use crate::error::Result;
use crate::ids::{ComputerId, WorkspaceId};
use crate::rules::size::Size;
use crate::rules::status::Status;
use crate::store::Tx;

/// The rules, and what they have in hand.
#[derive(Default)]
pub struct Faults {
    /// How many rules there are; a request looks further only where there is one.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    added: u64,
    rules: Vec<Rule>,
    /// Computers on their way that will not arrive, by the rule that decided so.
    doomed: HashMap<ComputerId, String>,
}

impl Simulation for Faults {
    fn delay(
        &self,
        tx: &Tx<'_>,
        computer: &Record,
        at: Timestamp,
        due: Timestamp,
    ) -> Result<Timestamp> {
        self.provision(tx, computer, at, due)
    }

    fn arrive(&self, id: ComputerId, status: Status) -> Status {
        self.doom(id, status)
    }
}

/// When a rule does what it does.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    /// Nothing of the request has happened.
    #[default]
    Before,
    /// All of it has, durably.
    After,
}

/// What a rule of provisioning is about.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Provisioning {
    Create,
    /// Computers that are started or restarted.
    Start,
    Any,
}

/// What happens to an answer, or to a computer on its way.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Effect {
    /// The status of the answer; absent leaves it as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The code in its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// How much later it comes, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u32>,
    /// The connection is closed instead of an answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop: bool,
    /// The computer goes to `error` instead of `running`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    error: bool,
}

/// One rule, as it is shown.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Rule {
    id: String,
    /// `METHOD /pattern` of the route table, with `*` for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    /// The routes that this matches.
    #[serde(skip)]
    routes: Vec<(Method, &'static str)>,
    /// An API key: its id or how it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// A workspace: its id or slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provisioning: Option<Provisioning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<When>,
    #[serde(flatten)]
    effect: Effect,
    probability: f64,
    seed: u64,
    /// How often it fires at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Requests, or computers, that it was about since it was added.
    matched: u64,
    /// Those that it spoiled.
    fired: u64,
}

/// A request as rules see it.
pub(super) struct Subject<'a> {
    pub method: &'a Method,
    /// Of the route table.
    pub path: &'static str,
    pub key: &'a Key,
}

/// What one rule does to one request.
#[derive(Debug)]
pub(super) struct Fired {
    pub rule: String,
    pub when: When,
    pub effect: Effect,
}

impl Rule {
    fn active(&self, now: Timestamp) -> bool {
        self.times.is_none_or(|times| self.fired < times)
            && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether it is about a request, its workspace aside.
    fn about(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        let route = |(method, path): &(Method, &str)| {
            // HEAD comes with GET.
            let same = method == subject.method
                || (*method == Method::GET && *subject.method == Method::HEAD);
            same && *path == subject.path
        };
        self.provisioning.is_none()
            && self.active(now)
            && (self.route.is_none() || self.routes.iter().any(route))
            && self.key.as_deref().is_none_or(|key| {
                subject.key.prefix.starts_with(key) || subject.key.id.to_string() == key
            })
    }

    /// Whether it is about one of these workspaces, given by ids and slugs.
    fn within(&self, places: &[String]) -> bool {
        self.workspace
            .as_ref()
            .is_none_or(|workspace| places.contains(workspace))
    }

    /// Counts one match, and decides whether it fires: the nth decision of a seed is always the same.
    fn draw(&mut self) -> bool {
        let n = self.matched;
        self.matched += 1;
        let mut hash = Sha256::new_with_prefix(b"workspaced fault");
        hash.update(self.seed.to_be_bytes());
        hash.update(n.to_be_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let bits = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let fires = f64::from(bits) < self.probability * 4_294_967_296.0;
        self.fired += u64::from(fires);
        fires
    }
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether there is any rule at all.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// How many rules may still fire.
    pub fn active(&self, now: Timestamp) -> usize {
        if !self.any() {
            return 0;
        }
        let state = self.state();
        state.rules.iter().filter(|rule| rule.active(now)).count()
    }

    /// Whether it matters which workspace a request is about.
    pub(super) fn asks_for_workspace(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        let state = self.state();
        let mut rules = state.rules.iter();
        rules.any(|rule| rule.workspace.is_some() && rule.about(subject, now))
    }

    /// The first rule that is about a request and fires.
    pub(super) fn decide(
        &self,
        subject: &Subject<'_>,
        places: &[String],
        now: Timestamp,
    ) -> Option<Fired> {
        let mut state = self.state();
        let rules = state.rules.iter_mut();
        rules
            .filter(|rule| rule.about(subject, now) && rule.within(places))
            .find_map(|rule| {
                rule.draw().then(|| Fired {
                    rule: rule.id.clone(),
                    when: rule.when.unwrap_or_default(),
                    effect: rule.effect.clone(),
                })
            })
    }

    /// When a computer that has just set out at `at` arrives, if a rule has a say in it.
    fn provision(
        &self,
        tx: &Tx<'_>,
        computer: &Record,
        at: Timestamp,
        due: Timestamp,
    ) -> Result<Timestamp> {
        let kind = match computer.status {
            Status::Provisioning => Provisioning::Create,
            Status::Starting => Provisioning::Start,
            _ => return Ok(due),
        };
        if !self.any() {
            return Ok(due);
        }
        let slug: String = tx.row(
            "SELECT slug FROM workspaces WHERE id = ?1 AND tenant_id = ?2",
            (computer.workspace_id, computer.tenant_id),
            |row| row.get(0),
        )?;
        let places = [computer.workspace_id.to_string(), slug];
        let mut state = self.state();
        state.doomed.remove(&computer.id);
        let about = |rule: &Rule| {
            rule.provisioning
                .is_some_and(|of| of == kind || of == Provisioning::Any)
                && rule.active(at)
                && rule.size.is_none_or(|size| size == computer.size)
                && rule.within(&places)
        };
        let mut rules = state.rules.iter_mut().filter(|rule| about(rule));
        let Some(rule) = rules.find_map(|rule| rule.draw().then(|| rule.clone())) else {
            return Ok(due);
        };
        tracing::warn!(rule = rule.id, computer = %computer.id, error = rule.effect.error,
            delay_ms = rule.effect.delay_ms, "fault rule: a computer on its way");
        if rule.effect.error {
            state.doomed.insert(computer.id, rule.id);
        }
        Ok(match rule.effect.delay_ms {
            Some(ms) => at.plus_ms(ms.into()),
            None => due,
        })
    }

    /// Where a computer that is to run arrives.
    fn doom(&self, computer: ComputerId, at: Status) -> Status {
        if at == Status::Running && self.any() && self.state().doomed.remove(&computer).is_some() {
            return Status::Error;
        }
        at
    }

    /// Removes all rules; what they have in hand goes as if they had never been.
    pub(super) fn clear(&self) -> usize {
        let mut state = self.state();
        state.doomed.clear();
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut state.rules).len()
    }
}

/// Ids and slugs of the workspaces that a request of a key is about, from what it names: `ids` of
/// workspaces, `slugs`, and a row whose workspace it is.
pub(super) fn places(
    tx: &Tx<'_>,
    key: &Key,
    mut names: Vec<String>,
    row: Option<(&'static str, Uuid)>,
) -> Result<Vec<String>> {
    use rusqlite::OptionalExtension;
    if let Some((kind, id)) = row {
        let sql = match kind {
            "computers" => "SELECT workspace_id FROM computers WHERE id = ?1 AND tenant_id = ?2",
            _ => "SELECT workspace_id FROM projects WHERE id = ?1 AND tenant_id = ?2",
        };
        let found: Option<WorkspaceId> = tx
            .row(sql, (id.as_bytes(), key.tenant_id), |row| row.get(0))
            .optional()?;
        names.extend(found.map(|id| id.to_string()));
    }
    names.extend(key.workspace_id.map(|id| id.to_string()));
    let mut statement = tx.prepare_cached(
        "SELECT id, slug FROM workspaces WHERE tenant_id = ?1 AND deleted_at IS NULL AND (id = ?2 OR slug = ?3)",
    )?;
    let mut all = names.clone();
    for name in &names {
        let id = crate::ids::parse_uuid(name).map(|id| id.into_bytes());
        let found = statement
            .query_row((key.tenant_id, id, name), |row| {
                Ok((row.get::<_, WorkspaceId>(0)?, row.get::<_, String>(1)?))
            })
            .optional()?;
        all.extend(
            found
                .into_iter()
                .flat_map(|(id, slug)| [id.to_string(), slug]),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decisions_of_a_seed_stay_what_they_are() {
        let sequence = |seed| {
            let mut rule = handlers::rule_for_tests(seed, 0.5);
            (0..24)
                .map(|_| if rule.draw() { '1' } else { '0' })
                .collect::<String>()
        };
        assert_eq!(sequence(42), sequence(42));
        assert_ne!(sequence(42), sequence(43));
        assert_eq!(sequence(42), "100011111111011110101000");
        let mut often = handlers::rule_for_tests(7, 0.25);
        let fired = (0..4000).filter(|_| often.draw()).count();
        assert!((900..1100).contains(&fired), "{fired}");
        let mut always = handlers::rule_for_tests(7, 1.0);
        assert!((0..100).all(|_| always.draw()));
        assert_eq!((always.matched, always.fired), (100, 100));
    }
}
