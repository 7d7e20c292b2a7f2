//! Sending what is due: a fixed number of threads, and who gets one of them.
//!
//! A webhook has one message under way at most and an organization a few; of what is due, every
//! organization has its first message sent before another has its second. A receiver that did not take
//! its last message, or never took any, gets no thread of those that are kept for the others: so those
//! that hang, however many there are and whosever, do not hold up those that work. What is under way is known in memory only: after a crash it is still pending.

use std::collections::HashMap;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender as Queue, bounded};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::watch;

use super::queue::{self, Verdict};
use super::rows;
use super::send::{GONE, Message, Outcome, Sender, WHOLE};
use crate::db::{Store, topics};
use crate::error::{Error, Result};
use crate::ids::{TenantId, WebhookId};
use crate::rules::config::Config;

/// Threads that send, and so messages under way at most.
const THREADS: usize = 64;
/// Of these for receivers that are not known to work.
const UNPROVEN: usize = 48;
/// Of these for one organization.
const PER_TENANT: usize = 4;
/// Webhooks of an organization that are looked at for the next ones to send from: those under way are
/// still due, and must not hide the others.
const LOOK: usize = 2 * PER_TENANT;
/// How long a thread whose result could not be written waits before its webhook is taken up again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often the outbox is looked at without being told to.
const IDLE: Duration = Duration::from_secs(5);

/// What is being sent. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

impl Deref for Outbox {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The parts of an [`Outbox`].
pub struct Inner {
    pub(super) store: Store,
    pub(super) config: Arc<Config>,
    /// What became of attempts.
    pub results: Family<[(&'static str, &'static str); 1], Counter>,
    sender: Sender,
    busy: Mutex<HashMap<WebhookId, Busy>>,
    /// One look at what is due at a time.
    taking: tokio::sync::Mutex<()>,
    threads: OnceLock<Queue<Job>>,
    /// Moves with every attempt that has been written down.
    done: watch::Sender<u64>,
}

/// Whose message is under way.
#[derive(Clone, Copy)]
struct Busy {
    tenant: TenantId,
    proven: bool,
}

struct Job {
    outbox: Outbox,
    message: Message,
}

impl Outbox {
    /// An outbox at rest; its threads start with the first message.
    pub fn new(store: Store, config: Arc<Config>) -> Self {
        Outbox(Arc::new(Inner {
            sender: Sender::new(config.webhook_reach),
            store,
            config,
            results: Family::default(),
            busy: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            threads: OnceLock::new(),
            done: watch::Sender::new(0),
        }))
    }

    /// How many messages are under way.
    pub fn under_way(&self) -> usize {
        self.busy().len()
    }

    /// Moves whenever an attempt has been written down.
    pub(super) fn attempts(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }

    fn busy(&self) -> parking_lot::MutexGuard<'_, HashMap<WebhookId, Busy>> {
        self.busy.lock()
    }

    fn release(&self, webhook: WebhookId) {
        self.busy().remove(&webhook);
        self.done.send_modify(|n| *n += 1);
    }

    fn threads(&self) -> Result<&Queue<Job>> {
        if let Some(queue) = self.threads.get() {
            return Ok(queue);
        }
        let (queue, jobs) = bounded::<Job>(THREADS);
        for _ in 0..THREADS {
            let jobs = jobs.clone();
            std::thread::Builder::new()
                .name("webhook".into())
                .spawn(move || work(&jobs))
                .map_err(Error::internal)?;
        }
        Ok(self.threads.get_or_init(|| queue))
    }
}

/// Ends with the outbox whose queue it reads.
fn work(jobs: &Receiver<Job>) {
    while let Ok(Job { outbox, message }) = jobs.recv() {
        let webhook = message.webhook;
        // A defect in sending must not take the thread and the webhook with it.
        let wall = outbox.store.clock().wall();
        let attempt = AssertUnwindSafe(|| outbox.sender.send(&message, wall));
        let outcome = catch_unwind(attempt).unwrap_or_else(|_| Outcome::broken());
        let written = outbox.store.write_blocking(move |tx| {
            let verdict = queue::record(tx, &message, &outcome)?;
            if verdict.is_some() && outcome.status == Some(GONE) {
                rows::gone(tx, message.tenant, message.webhook)?;
            }
            tracing::debug!(webhook = %message.webhook, delivery = %message.delivery, attempt = message.attempt,
                status = outcome.status, error = outcome.error, "webhook");
            Ok(verdict)
        });
        match written {
            Ok(Some(verdict)) => {
                let result = match verdict {
                    Verdict::Delivered => "delivered",
                    Verdict::Retry => "retry",
                    Verdict::Failed => "failed",
                };
                outbox.results.get_or_create(&[("result", result)]).inc();
            }
            Ok(None) => {}
            Err(e) => {
                tracing::error!(webhook = %webhook, error = e.message(), detail = e.internal_detail(),
                    "the outcome of a delivery was not written; it will be sent again");
                std::thread::sleep(AFTER_FAILURE);
            }
        }
        outbox.release(webhook);
    }
}

/// Hands what is due to the threads, as far as there is room. Returns how many.
pub(super) async fn start_due(outbox: &Outbox) -> Result<usize> {
    let _one = outbox.taking.lock().await;
    // Before the read: whoever is not in here by now has written down how its last attempt ended.
    let busy = outbox.busy().clone();
    let messages = outbox.store.read(move |tx| {
        let mut of_tenant: HashMap<TenantId, usize> = HashMap::new();
        for one in busy.values() {
            *of_tenant.entry(one.tenant).or_default() += 1;
        }
        let mut room = THREADS.saturating_sub(busy.len());
        let unproven = busy.values().filter(|one| !one.proven).count();
        let mut for_unproven = UNPROVEN.saturating_sub(unproven);
        let mut messages = Vec::new();
        if room == 0 {
            return Ok(messages);
        }
        for due in queue::due(tx, LOOK)? {
            let under_way = of_tenant.entry(due.tenant).or_default();
            let full = room == 0 || (!due.proven && for_unproven == 0);
            if full || *under_way >= PER_TENANT || busy.contains_key(&due.webhook) {
                continue;
            }
            if let Some(message) = queue::first(tx, due.webhook, due.tenant)? {
                messages.push((message, due.proven));
                *under_way += 1;
                room -= 1;
                for_unproven -= usize::from(!due.proven);
            }
        }
        Ok(messages)
    });
    let messages = messages.await?;
    let started = messages.len();
    if started > 0 {
        let threads = outbox.threads()?;
        for (message, proven) in messages {
            let (webhook, tenant) = (message.webhook, message.tenant);
            outbox.busy().insert(webhook, Busy { tenant, proven });
            let outbox = outbox.clone();
            // As many places as threads, and no more than that are under way.
            if threads
                .try_send(Job {
                    outbox: outbox.clone(),
                    message,
                })
                .is_err()
            {
                outbox.release(webhook);
            }
        }
    }
    Ok(started)
}

/// Sends what is due by now and waits until it has been, for as long as `patience`; true when nothing
/// that is due is left.
pub async fn deliver_due(outbox: &Outbox, patience: Duration) -> Result<bool> {
    let mut done = outbox.attempts();
    let all = async {
        loop {
            done.borrow_and_update();
            if start_due(outbox).await? == 0 && outbox.under_way() == 0 {
                let left = outbox
                    .store
                    .read(|tx| Ok(queue::next_due(tx)?.is_some_and(|at| at <= tx.now())));
                return Ok(!left.await?);
            }
            let _ = done.changed().await;
        }
    };
    match tokio::time::timeout(patience, all).await {
        Ok(result) => result,
        Err(_) => Ok(false),
    }
}

/// Sends whatever is due until `stop` changes, and then lets end what is under way.
pub async fn run(outbox: Outbox, mut stop: watch::Receiver<bool>) {
    let mut done = outbox.attempts();
    loop {
        done.borrow_and_update();
        if let Err(e) = start_due(&outbox).await {
            tracing::error!(
                error = e.message(),
                detail = e.internal_detail(),
                "webhooks"
            );
        }
        // What is due and was passed over goes on when something has ended.
        let later = outbox.store.read(queue::next_later).await.ok().flatten();
        let real = later.and_then(|at| outbox.store.clock().real_ms_until(at));
        let wait = real.map_or(IDLE, |ms| {
            Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1)).min(IDLE)
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = outbox.store.signals().changed(topics::OUTBOX) => {}
            _ = done.changed() => {}
            _ = stop.changed() => break,
        }
    }
    let _ = tokio::time::timeout(WHOLE, async {
        while outbox.under_way() > 0 && done.changed().await.is_ok() {}
    })
    .await;
}
