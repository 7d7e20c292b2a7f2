//! A program in a computer: who may run it, what it says within bounds, and that it is an activity.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::reconcile::{LOOK, bounded};
use super::seam::{Engine, Fault, Output, Program, Running};
use super::spec;
use super::variables;
use crate::access::caller::Caller;
use crate::access::grip::Grip;
use crate::audit::{self, Actor, Entry};
use crate::clock::Stopwatch;
use crate::computers::activity;
pub use crate::computers::activity::Activity;
use crate::computers::lifecycle::touch;
use crate::computers::{self, Fleet, Record};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::ids::ComputerId;
use crate::rules::driven_by::DrivenBy;
use crate::rules::status::Status;
use crate::store::Tx;

/// Bytes of each stream that are kept; the rest is read and dropped.
pub const KEPT: usize = 1 << 20;
/// Characters of a command in the audit log.
const NOTED: usize = 200;
/// An activity is written down this often at most, milliseconds.
const NOTED_MS: i64 = 30_000;
/// While a program runs, its computer is not idle.
const BUSY: Duration = Duration::from_secs(30);
/// The engine may take this longer than a program, whose time it does not watch.
const SLACK: Duration = Duration::from_secs(10);

/// A computer that runs, and a turn in it.
pub struct Inside {
    /// What programs find in their environment.
    pub env: Vec<String>,

    pub store: Store,
    pub fleet: Fleet,
    pub engine: Arc<dyn Engine>,
    pub id: ComputerId,
    pub name: String,
    computer: Record,
    by: Activity,
    _turn: OwnedSemaphorePermit,
}

/// What a program said, and how it ended.
#[derive(Default)]
pub struct Said {
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub truncated: bool,
    /// `None`: it was cut off.
    pub code: Option<i64>,
    pub ms: u64,
}

fn gone(e: &Fault) -> Error {
    match e {
        Fault::Silent(text) => Error::unavailable(text.clone(), 5).with_code("ENGINE_UNAVAILABLE"),
        other => Error::conflict(
            "TARGET_NOT_RUNNING",
            format!("the computer does not take it now: {}", other.text()),
        ),
    }
}

/// Who has a connection into a computer open, and by what.
pub struct Hold {
    pub grip: Grip,
    pub caller: Caller,
}

impl Hold {
    /// Whether whoever opened it still reaches the computer, and may work in it.
    pub async fn lasts(&self, store: &Store, id: ComputerId) -> bool {
        let (grip, caller) = (self.grip.clone(), self.caller.clone());
        let found = store.read(move |tx| {
            let key = grip.holds(tx)?;
            let caller = key.map(|key| caller.with_key(key));
            Ok::<_, Error>(caller.is_some_and(|c| computers::find(tx, &c, id).is_ok()))
        });
        // A store that is too busy now is no reason to throw somebody out.
        found.await.unwrap_or(true)
    }
}

/// A computer of the caller's that a container engine runs.
///
/// # Errors
/// As [`computers::find`]; 404 where there is no machine behind it.
pub fn find(tx: &Tx<'_>, caller: &Caller, id: ComputerId) -> Result<Record> {
    let computer = computers::find(tx, caller, id)?;
    is_machine(&computer)?;
    Ok(computer)
}

/// [`find`], in a read of its own.
///
/// # Errors
/// As [`find`].
pub async fn machine(store: &Store, caller: Caller, id: ComputerId) -> Result<(Caller, Record)> {
    let (caller, computer) = store
        .read(move |tx| {
            let found = find(tx, &caller, id)?;
            Ok::<_, Error>((caller, found))
        })
        .await?;
    Ok((caller, computer))
}

/// # Errors
/// 404 where there is no machine behind it.
pub fn is_machine(computer: &Record) -> Result<()> {
    if computer.driver == DrivenBy::Docker {
        return Ok(());
    }
    Err(Error::no_route(format!(
        "there is no machine behind this computer (driver {}); computers of the driver docker have one",
        computer.driver.as_str()
    )))
}

/// # Errors
/// 409 where it does not run.
pub fn runs(computer: &Record) -> Result<()> {
    match computer.status {
        Status::Running => Ok(()),
        Status::Provisioning | Status::Starting => Err(Error::conflict(
            "COMPUTER_STARTING",
            "computer is still starting; try again when it runs",
        )),
        status => Err(Error::conflict(
            "TARGET_NOT_RUNNING",
            format!("computer is {status}; start it first"),
        )
        .with_details(json!({ "status": status }))),
    }
}

/// Goes inside a running computer. What is `noted` goes to the audit log.
///
/// # Errors
/// As [`machine`]; 409 where it does not run, 429 where too much runs in it, 503 without an engine.
pub async fn enter(
    store: &Store,
    fleet: &Fleet,
    caller: Caller,
    id: ComputerId,
    noted: Option<(&'static str, String)>,
    by: Activity,
) -> Result<Inside> {
    let (caller, computer) = machine(store, caller, id).await?;
    runs(&computer)?;
    let engine = fleet.engine.ready()?;
    let turn = fleet.engine.turn(id)?;
    let inside = Inside {
        env: store.read(move |tx| variables::of(tx, id)).await?,
        by,
        computer,
        store: store.clone(),
        fleet: fleet.clone(),
        engine,
        id,
        name: spec::name(id),
        _turn: turn,
    };
    inside.note(&caller, noted).await?;
    inside.active(by).await?;
    Ok(inside)
}

impl Inside {
    /// A name that no other program of this service has.
    pub fn mark(&self) -> String {
        let number = self.fleet.engine.number();
        format!("{:x}-{number:x}", self.store.now().0)
    }

    /// Writes to the audit log what is done here.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note(&self, caller: &Caller, noted: Option<(&'static str, String)>) -> Result<()> {
        let Some((kind, what)) = noted else {
            return Ok(());
        };
        note(&self.store, caller, &self.computer, kind, &what).await
    }

    pub async fn active(&self, by: Activity) -> Result<()> {
        active(&self.store, &self.fleet, self.id, by).await
    }

    /// Begins a program.
    ///
    /// # Errors
    /// 409 where the container does not take it, 503 where the engine is silent.
    pub async fn begin(&self, program: Program) -> Result<Running> {
        bounded(LOOK, self.engine.exec(&self.name, program))
            .await
            .map_err(|e| gone(&e))
    }

    /// Runs a program to its end, or until `patience` is over.
    ///
    /// # Errors
    /// As [`Inside::begin`]; 503 where the engine breaks off.
    pub async fn run(&self, program: Program, input: &[u8], patience: Duration) -> Result<Said> {
        self.run_up_to(program, input, patience, KEPT).await
    }

    /// [`Inside::run`], keeping so many bytes of each stream.
    ///
    /// # Errors
    /// As [`Inside::run`].
    pub async fn run_up_to(
        &self,
        program: Program,
        input: &[u8],
        patience: Duration,
        most: usize,
    ) -> Result<Said> {
        let watch = Stopwatch::start();
        let mut running = self.begin(program).await?;
        if let Some(to) = running.input.take() {
            let bytes = input.to_vec();
            tokio::spawn(async move {
                for piece in bytes.chunks(64 << 10) {
                    if to.send(piece.to_vec()).await.is_err() {
                        return;
                    }
                }
            });
        }
        let mut said = Said::default();
        let end = tokio::time::sleep(patience + SLACK);
        tokio::pin!(end);
        let mut busy = tokio::time::interval_at(tokio::time::Instant::now() + BUSY, BUSY);
        loop {
            tokio::select! {
                () = &mut end => break,
                _ = busy.tick() => self.active(self.by).await?,
                piece = running.output.recv() => match piece {
                    Some(Output::Out(bytes)) => said.truncated |= keep(&mut said.out, &bytes, most),
                    Some(Output::Err(bytes)) => said.truncated |= keep(&mut said.err, &bytes, most),
                    Some(Output::Exit(code)) => {
                        said.code = Some(code);
                        break;
                    }
                    Some(Output::Lost(e)) => return Err(gone(&e)),
                    None => break,
                },
            }
        }
        said.ms = watch.micros() / 1000;
        Ok(said)
    }
}

/// Who did what in a computer goes into the audit log.
///
/// # Errors
/// When the store fails.
pub async fn note(
    store: &Store,
    caller: &Caller,
    computer: &Record,
    kind: &'static str,
    what: &str,
) -> Result<()> {
    let what: String = what.chars().take(NOTED).collect();
    let (caller, computer) = (caller.clone(), computer.clone());
    store
        .write(move |tx| {
            audit::record(
                tx,
                &Entry {
                    actor: Actor::Key(&caller),
                    tenant_id: computer.tenant_id,
                    workspace_id: Some(computer.workspace_id),
                    kind,
                    resource: computer.id.0,
                    before: audit::NONE,
                    after: Some(&json!({ "name": computer.name, "what": what })),
                },
            )
        })
        .await
}

/// A computer is not idle.
///
/// # Errors
/// When the store fails.
pub async fn active(store: &Store, fleet: &Fleet, id: ComputerId, by: Activity) -> Result<()> {
    fleet.engine.happened(id, store.now(), by);
    let stale = store
        .read(move |tx| {
            let Some(c) = computers::load(tx, id)? else {
                return Ok::<_, Error>(false);
            };
            let noted = activity::is_fresh(tx, id, by, NOTED_MS)?;
            // Written down now and then, and always in time: at most half of what is left goes by before.
            let whole = c.auto_stop_seconds * 1000;
            let fresh = tx.now().0 + whole - (whole / 2).min(NOTED_MS);
            Ok(!noted || c.due_at.is_some_and(|due| due.0 <= fresh))
        })
        .await?;
    if stale {
        let fleet = fleet.clone();
        store.write(move |tx| touch(tx, &fleet, id, by)).await?;
    }
    Ok(())
}

/// Keeps what there is room for; true where something was dropped.
fn keep(kept: &mut Vec<u8>, bytes: &[u8], most: usize) -> bool {
    let room = most - kept.len();
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    bytes.len() > room
}
