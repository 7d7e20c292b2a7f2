//! A container that is made and started when the engine has been found, and removed again: what is broken there is
//! one sentence then, and not the first customer's error.

use std::time::Duration;

use super::reconcile::bounded;
use super::seam::{About, Engine, Fault, Life, Spec};
use super::spec;
use crate::computers::Fleet;
use crate::rules::config::EngineSettings;

/// What one step may take: an image may have to be unpacked.
const STEP: Duration = Duration::from_secs(90);
/// How often the removal is tried again, and after how long.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_millis(500);

/// What the engine cannot do, in a sentence; `Ok`: it makes, starts and removes a container as those of computers
/// are made. Without an image there is nothing to try.
///
/// # Errors
/// When it becomes silent meanwhile.
pub async fn probe(
    engine: &dyn Engine,
    fleet: &Fleet,
    settings: &EngineSettings,
    about: &About,
    install: &str,
) -> Result<Option<String>, Fault> {
    let mut found = None;
    for (template, image) in &settings.images {
        if bounded(STEP, engine.has_image(&image.image)).await? {
            found = Some((template, image));
            break;
        }
    }
    let Some((template, image)) = found else {
        let named: Vec<&str> = settings.images.values().map(|i| i.image.as_str()).collect();
        return Ok(Some(format!(
            "{} has none of the images that are configured ({}): build or load them with the engine",
            about.name,
            named.join(", ")
        )));
    };
    let name = format!("ws-probe-{install}");
    let volume = format!("{name}-home");
    let mut limits = spec::limits(fleet, about, crate::rules::size::Size::Xs);
    limits.cpus.clone_from(&about.pins_to);
    let spec = Spec {
        name: name.clone(),
        host_name: "probe".into(),
        image: image.image.clone(),
        command: image.command.clone(),
        env: Vec::new(),
        labels: [(spec::PROBE.to_owned(), install.to_owned())].into(),
        limits,
        files: spec::files(),
        user_processes: spec::user_processes(),
        network: None,
        runtime: settings.runtime.clone(),
        volume: Some((volume.clone(), image.home.clone())),
        read_only: image.read_only,
        user: image.user.clone(),
    };
    let tried = tried(engine, &spec).await;
    if let Err(e) = clean(engine, &name, &volume).await {
        // The next probe takes away what this one has left.
        tracing::warn!(why = e.text(), "what was tried out could not be removed");
    }
    match tried {
        Ok(()) => Ok(None),
        Err(e @ Fault::Silent(_)) => Err(e),
        Err(e) => Ok(Some(format!(
            "{} cannot run a container of template {template} ({}): {}",
            about.name,
            image.image,
            e.text().trim()
        ))),
    }
}

/// Removes what was tried out. An engine may say for a moment that it is still in use.
async fn clean(engine: &dyn Engine, name: &str, volume: &str) -> Result<(), Fault> {
    let mut tries = 0..TRIES;
    loop {
        let container = gone(bounded(STEP, engine.remove(name)).await);
        let cleaned = match container {
            Ok(()) => gone(bounded(STEP, engine.remove_volume(volume)).await),
            failed => failed,
        };
        match cleaned {
            Err(Fault::Refused(_)) if tries.next().is_some() => tokio::time::sleep(AGAIN).await,
            done => return done,
        }
    }
}

/// What is not there need not be removed.
fn gone(removed: Result<(), Fault>) -> Result<(), Fault> {
    match removed {
        Err(Fault::Missing(_)) => Ok(()),
        other => other,
    }
}

async fn tried(engine: &dyn Engine, spec: &Spec) -> Result<(), Fault> {
    // Left by a probe that was cut off.
    gone(bounded(STEP, engine.remove(&spec.name)).await)?;
    bounded(STEP, engine.create(spec)).await?;
    bounded(STEP, engine.start(&spec.name)).await?;
    let seen = bounded(STEP, engine.inspect(&spec.name)).await?;
    if seen.life == Life::Exited && seen.exit_code != 0 {
        return Err(Fault::Refused(format!(
            "it exits {} right after it was started",
            seen.exit_code
        )));
    }
    Ok(())
}
