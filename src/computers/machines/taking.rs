//! How a snapshot is taken, and how it goes.
//!
//! It is one image: what the computer has written outside its volume, and what is in the volume, laid where the
//! volume belongs. A container that is made from it with a new volume finds that filled by the engine. Names follow
//! from the snapshot, and every step may be done again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::kept::{self, Snapshot, Stage};
use super::reconcile::{Kit, LOOK, Trouble, bounded};
use super::seam::{Fault, Spec};
use super::spec;
use crate::audit::{self, Actor, Entry};
use crate::error::Error;
use crate::ids::SnapshotId;
use crate::store::WriteTx;

/// What writing down or carrying what a computer has may take.
const COPY: Duration = Duration::from_secs(590);
/// Until it is looked again whether something is still made from what is to go.
const AGAIN_MS: i64 = 5_000;

/// Does what there is to do with a snapshot.
///
/// # Errors
/// Only what is not about this one: the engine is silent, the store fails.
pub async fn work(kit: &Kit, id: SnapshotId) -> Result<(), Trouble> {
    let Some(snapshot) = kit.store.read(move |tx| kept::load(tx, id)).await? else {
        return Ok(());
    };
    match snapshot.status {
        Stage::Creating => {
            let taken = take(kit, &snapshot).await;
            if let Err(e @ Fault::Silent(_)) = taken {
                return Err(e.into());
            }
            kit.store
                .write(move |tx| written(tx, &snapshot, taken))
                .await?;
            Ok(())
        }
        Stage::Deleting => remove(kit, id).await,
        Stage::Ready | Stage::Failed | Stage::Deleted => Ok(()),
    }
}

/// What becomes of it goes to its row and to the audit log, unless nobody wants it any more.
fn written(tx: &WriteTx<'_>, snapshot: &Snapshot, taken: Result<i64, Fault>) -> Result<(), Error> {
    let (kind, wanted, why) = match &taken {
        Ok(bytes) => (
            "computer.snapshot_ready",
            kept::ready(tx, snapshot.id, *bytes)?,
            None,
        ),
        Err(e) => {
            tracing::warn!(snapshot = %snapshot.id, why = e.text(), "a snapshot could not be taken");
            let wanted = kept::failed(tx, snapshot.id, e.text())?;
            ("computer.snapshot_failed", wanted, Some(e.text()))
        }
    };
    if !wanted {
        return Ok(());
    }
    tx.changed(crate::db::topics::MACHINES);
    let shown = json!({ "snapshot_id": snapshot.id, "bytes": taken.as_ref().ok(), "error": why });
    audit::record(
        tx,
        &Entry {
            actor: Actor::System,
            tenant_id: snapshot.tenant_id,
            workspace_id: Some(snapshot.workspace_id),
            kind,
            resource: snapshot.computer_id.0,
            before: audit::NONE,
            after: Some(&shown),
        },
    )
}

/// Takes it; returns how many bytes are kept besides the image of the template.
async fn take(kit: &Kit, snapshot: &Snapshot) -> Result<i64, Fault> {
    let engine = kit.engine.as_ref();
    let names = Names::of(snapshot.id);
    let kept = gather(kit, snapshot, &names).await;
    // What was only needed on the way.
    let _ = bounded(LOOK, engine.remove(&names.container)).await;
    let _ = bounded(LOOK, engine.remove(&names.reader)).await;
    let _ = bounded(LOOK, engine.remove_image(&names.half)).await;
    if kept.is_err() {
        let _ = bounded(LOOK, engine.remove_image(&names.image)).await;
    }
    kept
}

struct Names {
    container: String,
    /// Runs, so that what is in the volume can be read there, whether or not the computer does.
    reader: String,
    half: String,
    image: String,
}

impl Names {
    fn of(id: SnapshotId) -> Names {
        Names {
            container: format!("ws-snapshot-{id}"),
            reader: format!("ws-snapshot-{id}-reader"),
            half: format!("{}-half", spec::snapshot(id)),
            image: spec::snapshot(id),
        }
    }
}

async fn gather(kit: &Kit, snapshot: &Snapshot, names: &Names) -> Result<i64, Fault> {
    let engine = kit.engine.as_ref();
    let settings = kit.fleet.config.engine.as_ref();
    let template = settings.and_then(|engine| engine.images.get(&snapshot.template_type));
    let Some(template) = template else {
        let text = format!("template {} has no image any more", snapshot.template_type);
        return Err(Fault::Refused(text));
    };
    // Left by one that was cut off.
    for left in [&names.container, &names.reader] {
        match bounded(LOOK, engine.remove(left)).await {
            Ok(()) | Err(Fault::Missing(_)) => {}
            Err(e) => return Err(e),
        }
    }
    let name = spec::name(snapshot.computer_id);
    bounded(COPY, engine.commit(&name, &names.half)).await?;
    bounded(COPY, engine.create(&shell(kit, names))).await?;
    let reader = Spec {
        name: names.reader.clone(),
        command: ["/bin/sh", "-c", "sleep 600"].map(str::to_owned).into(),
        volume: Some((spec::volume(snapshot.computer_id), template.home.clone())),
        user: Some("0".into()),
        ..shell(kit, names)
    };
    bounded(COPY, engine.create(&reader)).await?;
    bounded(LOOK, engine.start(&names.reader)).await?;
    bounded(
        COPY,
        engine.carry(&names.reader, &names.container, &template.home),
    )
    .await?;
    bounded(COPY, engine.commit(&names.container, &names.image)).await?;
    let whole = bounded(LOOK, engine.image_size(&names.image)).await?;
    let before = bounded(LOOK, engine.image_size(&template.image)).await;
    let before = before.ok().flatten().unwrap_or(0);
    let more = whole.unwrap_or(0).saturating_sub(before);
    Ok(i64::try_from(more).unwrap_or(i64::MAX))
}

/// A container that never runs: something to lay files into. It is nobody's, whatever its image says.
fn shell(kit: &Kit, names: &Names) -> Spec {
    let labels = [
        (spec::INSTALL, String::new()),
        (spec::COMPUTER, String::new()),
        (spec::PROBE, kit.install.clone()),
    ];
    Spec {
        name: names.container.clone(),
        host_name: "snapshot".into(),
        image: names.half.clone(),
        command: Vec::new(),
        env: Vec::new(),
        labels: labels
            .map(|(k, v)| (k.to_owned(), v))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        limits: spec::limits(&kit.fleet, &kit.about, crate::rules::size::Size::Xs),
        files: spec::files(),
        user_processes: spec::user_processes(),
        network: None,
        runtime: None,
        volume: None,
        read_only: false,
        user: None,
    }
}

/// Removes its image, when nothing is made from it any more.
async fn remove(kit: &Kit, id: SnapshotId) -> Result<(), Trouble> {
    // Seen and put off in one transaction: the end of what needs it would be missed between the two.
    let put_off = kit.store.write(move |tx| {
        let needed = kept::is_needed(tx, id)?;
        if needed {
            kept::later(tx, id, AGAIN_MS)?;
        }
        Ok::<_, Error>(needed)
    });
    if put_off.await? {
        return Ok(());
    }
    match bounded(COPY, kit.engine.remove_image(&spec::snapshot(id))).await {
        Ok(()) | Err(Fault::Missing(_)) => kit.store.write(move |tx| kept::gone(tx, id)).await?,
        Err(e @ Fault::Silent(_)) => return Err(e.into()),
        Err(e) => {
            tracing::warn!(snapshot = %id, why = e.text(), "the image of a snapshot cannot be removed yet");
            kit.store
                .write(move |tx| kept::later(tx, id, AGAIN_MS))
                .await?;
        }
    }
    Ok(())
}
