//! Background work: a static table of jobs and one dull loop.
//!
//! A job is a function of the transaction and the app, without input of its own: it reads the
//! state, does a bounded batch, and says how much it did. It is idempotent and retries nothing;
//! the next round is the retry, and a test calls it directly.

use std::time::Duration;

use tokio::sync::watch;

use crate::access::session;
use crate::api::app::App;
use crate::billing::html::Paper;
use crate::billing::{budgets, monthly};
use crate::clock::{Judgement, Timestamp};
use crate::computers::lifecycle;
use crate::computers::notices;
use crate::db::topics;
use crate::deleted;
use crate::error::Result;
use crate::export::undo::{interrupted, undo};
use crate::http::idempotency;
use crate::outbox::webhooks::queue;
use crate::projects::unfinished::Unfinished;
use crate::refusals;
use crate::store::{WriteTx, give_back};
use crate::usage::ledger::{rates, repair};
use crate::usage::questions::low;
use crate::workspaces::search;
use crate::{api_keys, audit, dev};

/// One kind of background work.
pub struct Job {
    pub name: &'static str,
    /// At least this often, milliseconds.
    pub every_ms: i64,
    /// What one pass does at most, so that requests get their turn between two.
    pub batch: u32,
    /// Deletes what is old by the clock, and so waits until that has been believable for a while.
    pub deletes: bool,
    /// Writes what is billed, and so waits while the clock shows what cannot be.
    pub meters: bool,
    /// Does a batch; returns how much it did. A full batch is followed by another at once.
    pub run: fn(&WriteTx<'_>, &App, u32) -> Result<usize>,
}

/// The usual batch.
const BATCH: u32 = 500;
/// Of an index that may have to catch up in the middle of a burst: what shares a commit with it waits
/// for less than a millisecond more.
const SMALL_BATCH: u32 = 100;

/// Takes computers to where they are going; runs whenever one is due.
pub static DRIVER: &Job = &Job {
    name: "driver",
    every_ms: 1000,
    batch: BATCH,
    deletes: false,
    meters: true,
    run: |tx, app, limit| lifecycle::run_for_a_turn(tx, &app.fleet, limit as usize),
};

/// What runs by the clock.
pub static JOBS: &[Job] = &[
    Job {
        name: "life",
        every_ms: 1000,
        batch: BATCH,
        deletes: false,
        meters: true,
        run: |tx, app, _| dev::live(tx, &app.emulator),
    },
    Job {
        name: "rates",
        every_ms: 1000,
        batch: BATCH,
        deletes: false,
        meters: true,
        run: |tx, app, _| rates::run(tx, &app.catalog),
    },
    Job {
        name: "search",
        every_ms: 1000,
        batch: SMALL_BATCH,
        deletes: false,
        meters: false,
        run: |tx, app, limit| search::index(tx, app.store.is_busy(), limit),
    },
    Job {
        name: "idempotency-index",
        every_ms: 1000,
        batch: SMALL_BATCH,
        deletes: false,
        meters: false,
        run: |tx, app, limit| idempotency::index(tx, app.store.is_busy(), limit),
    },
    Job {
        name: "idempotency",
        every_ms: 60_000,
        batch: BATCH,
        deletes: true,
        meters: false,
        run: |tx, _, limit| idempotency::purge(tx, limit),
    },
    Job {
        name: "sessions",
        every_ms: 60_000,
        batch: BATCH,
        deletes: true,
        meters: false,
        run: |tx, _, limit| session::purge(tx, limit),
    },
    Job {
        name: "audit-retention",
        every_ms: 60_000,
        batch: BATCH,
        deletes: true,
        meters: false,
        run: |tx, app, limit| audit::purge(tx, app.config.audit_retention_days, limit),
    },
    Job {
        name: "webhook-retention",
        every_ms: 60_000,
        batch: BATCH,
        deletes: true,
        meters: false,
        run: |tx, _app, limit| queue::purge(tx, limit),
    },
    Job {
        name: "deleted",
        every_ms: 60_000,
        batch: BATCH,
        deletes: true,
        meters: false,
        run: |tx, _, limit| deleted::forget(tx, limit),
    },
    Job {
        name: "refusals",
        every_ms: 60_000,
        batch: BATCH,
        deletes: true,
        meters: false,
        run: |tx, _, limit| refusals::purge(tx, limit),
    },
    Job {
        name: "auto-stop-notices",
        every_ms: 5000,
        batch: SMALL_BATCH,
        deletes: false,
        meters: true,
        run: |tx, _, limit| notices::run(tx, limit),
    },
    Job {
        name: "free-pages",
        every_ms: 60_000,
        batch: SMALL_BATCH,
        deletes: false,
        meters: false,
        run: |tx, app, limit| give_back(tx, app.store.is_busy(), limit),
    },
    Job {
        name: "throttle",
        every_ms: 60_000,
        batch: BATCH,
        deletes: false,
        meters: false,
        run: |_, app, _| {
            app.throttle.forget();
            Ok(0)
        },
    },
    Job {
        name: "key-uses",
        every_ms: 60_000,
        batch: BATCH,
        deletes: false,
        meters: false,
        run: |tx, app, _| api_keys::record_uses(tx, &app.auth.take_uses()).map(|()| 0),
    },
];

/// Balances are looked at so often.
const LOOK_MS: i64 = 60_000;

/// A clock that was ahead for a moment has made everything old. What deletes waits until the wall clock has
/// gone with the steady one for so long, milliseconds; so it does after a start, too.
const BELIEVABLE_MS: i64 = 3_600_000;

/// Runs one job until it finds nothing more to do. Returns how much it did.
///
/// # Errors
/// The job's, or the store's.
pub async fn run_to_end(app: &App, job: &'static Job) -> Result<usize> {
    let mut all = 0;
    loop {
        let inner = app.clone();
        let done = app
            .store
            .write(move |tx| (job.run)(tx, &inner, job.batch))
            .await?;
        all += done;
        // Fewer than a batch may be all that a turn had time for.
        if done == 0 {
            return Ok(all);
        }
    }
}

/// Runs everything that is due until `stop` changes.
pub async fn run(app: App, mut stop: watch::Receiver<bool>) {
    let mut last: Vec<Option<Timestamp>> = vec![None; JOBS.len()];
    for left in app.store.read(Unfinished::all).await.unwrap_or_default() {
        tracing::info!(?left, "carrying on with what the last run did not finish");
        tokio::spawn(left.finish(app.store.clone(), app.fleet.clone(), None));
    }
    let (mut told, mut set_back) = (None, None);
    for workspace in app.store.read(interrupted).await.unwrap_or_default() {
        tracing::info!(%workspace, "removing what an interrupted import has left");
        tokio::spawn(undo(app.store.clone(), workspace));
    }
    let mut looked: Option<Timestamp> = None;
    loop {
        let now = app.store.now();
        let judged = app.store.clock().judge();
        // A virtual clock goes where it is driven, and is believed.
        let deletes = judged.even_ms >= BELIEVABLE_MS || app.config.virtual_clock;
        let wrong = app.store.clock().is_wrong();
        tell(&judged, &mut told);
        if set_back != Some(judged.set_back) && !app.config.virtual_clock {
            set_back = Some(judged.set_back);
            after_set_back(&app).await;
        }
        for (job, last) in JOBS.iter().zip(&mut last) {
            if job.deletes && !deletes || job.meters && wrong {
                continue;
            }
            // A wall clock that steps back must not silence a job until it has caught up.
            let waited = last.map_or(i64::MAX, |at| now.0.saturating_sub(at.0));
            if (0..job.every_ms).contains(&waited) {
                continue;
            }
            *last = Some(now);
            report(job, run_to_end(&app, job).await);
        }
        // Reads much and seldom finds anything: not a job of the writer's.
        if looked.is_none_or(|at| !(0..LOOK_MS).contains(&(now.0.saturating_sub(at.0)))) {
            looked = Some(now);
            if let Err(e) = low::look(&app.store, app.config.low_credits).await {
                tracing::error!(error = e.message(), "balances were not looked at");
            }
            if let Err(e) = budgets::look_at_all(&app.store, &app.fleet).await {
                tracing::error!(error = e.message(), "budgets were not looked at");
            }
            if let Some(directory) = app.config.statements_dir.as_deref().filter(|_| !wrong)
                && let Err(e) = monthly::look(&app.store, directory, Paper::A4).await
            {
                tracing::error!(error = e.message(), "statements were not looked at");
            }
        }
        // Between two rounds: what falls due, at its instant. A driver that fails waits a second.
        let mut sleep_ms = 1000;
        match app.store.read(lifecycle::next_due).await {
            Ok(Some(at)) if at <= app.store.now() && !wrong => {
                let done = report(DRIVER, run_to_end(&app, DRIVER).await);
                sleep_ms = if done { 0 } else { sleep_ms };
            }
            // A clock that stands still will be moved, and that is announced.
            Ok(Some(at)) => {
                let real = app.store.clock().real_ms_until(at);
                sleep_ms = real.map_or(sleep_ms, |real| real.clamp(1, sleep_ms));
            }
            _ => {}
        }
        let sleep = Duration::from_millis(u64::try_from(sleep_ms).unwrap_or(1000));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = app.store.signals().changed(topics::AGENDA) => {}
            _ = stop.changed() => break,
        }
    }
    // What was used since the last minute.
    let uses = app.auth.take_uses();
    if let Err(e) = app
        .store
        .write(move |tx| api_keys::record_uses(tx, &uses))
        .await
    {
        tracing::warn!(error = e.message(), "last uses of keys were not written");
    }
}

/// Logs what is wrong with the clock, once, and that it is right again.
fn tell(judged: &Judgement, told: &mut Option<bool>) {
    let kind = (judged.wrong || judged.ahead_ms > 0).then_some(judged.wrong);
    if *told == kind {
        return;
    }
    match judged.fault() {
        Some(fault) => tracing::error!("{fault}"),
        None => tracing::info!(now = %judged.now, "the clock is followed again"),
    }
    *told = kind;
}

/// At a start, and when the clock was set back: what was written while it was ahead waits for a time that
/// is far away.
async fn after_set_back(app: &App) {
    loop {
        let inner = app.clone();
        let done = app
            .store
            .write(move |tx| lifecycle::bring_all_nearer(tx, &inner.fleet, BATCH as usize));
        match done.await {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) => {
                tracing::error!(error = e.message(), "what is due was not looked through");
                break;
            }
        }
    }
    match app.store.read(repair::count_ahead).await {
        Ok(0) => {}
        Ok(events) => tracing::warn!(
            events,
            "compute events are dated ahead of the clock: what they end is billed until then. See \
             `workspaced repair-clock`"
        ),
        Err(e) => tracing::error!(error = e.message(), "events ahead were not counted"),
    }
}

/// Logs the outcome; true when the job did its work.
fn report(job: &Job, outcome: Result<usize>) -> bool {
    match &outcome {
        Ok(0) => {}
        Ok(done) => tracing::debug!(job = job.name, done, "job"),
        Err(e) => tracing::error!(
            job = job.name,
            error = e.message(),
            detail = e.internal_detail(),
            "job failed"
        ),
    }
    outcome.is_ok()
}
