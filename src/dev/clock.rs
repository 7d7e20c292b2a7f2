//! `/_dev/clock`: where the clock stands, and moving it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::emulator::{Emulator, Input, to_its_end};
use super::{scheduler, state};
use crate::clock::{Course, Mode, Stopwatch, Timestamp};
use crate::db::topics;
use crate::error::{Error, Fields, Result};
use crate::outbox::webhooks::deliver::deliver_due;

/// Instants that one commit passes at most: readers see the clock move, and the log stays small.
const PER_COMMIT: usize = 2000;
/// How long one request waits for receivers of webhooks; what they have not taken by then is sent after
/// the clock has moved.
const SEND_PATIENCE: Duration = Duration::from_secs(20);
/// The furthest that one request moves the clock: ten years.
const MAX_ADVANCE_SECONDS: i64 = 10 * 366 * 86_400;
/// The fastest that it runs: a day a second.
const MAX_SPEED: u32 = 86_400;

/// `GET /_dev/clock`
#[derive(Serialize)]
pub(super) struct View {
    /// The present instant, which every new row is stamped with.
    now: Timestamp,
    /// real: with the wall clock; frozen: not at all; running: by itself.
    mode: Mode,
    /// Seconds that it goes in one of the wall clock.
    speed: u32,
    /// What the wall clock shows.
    wall: Timestamp,
    /// Instants at which something fell due on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
}

/// `POST /_dev/clock`: first the clock is moved, then it goes on as told.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Drive {
    advance_seconds: Option<i64>,
    now: Option<String>,
    mode: Option<Mode>,
    speed: Option<u32>,
}

fn view(dev: &Emulator, steps: Option<usize>) -> Json<View> {
    let clock = dev.store.clock();
    let course = clock.course();
    let running = course.filter(|course| course.mode == Mode::Running);
    Json(View {
        now: clock.now(),
        mode: course.map_or(Mode::Real, |course| course.mode),
        speed: running.map_or(1, |course| course.speed),
        wall: clock.wall(),
        steps,
    })
}

/// `GET /_dev/clock`
pub(super) async fn show(State(dev): State<Emulator>) -> Json<View> {
    view(&dev, None)
}

/// `POST /_dev/clock`
pub(super) async fn drive(
    State(dev): State<Emulator>,
    Input(input): Input<Drive>,
) -> Result<Json<View>> {
    to_its_end(async move { set(&dev, &input).await }).await
}

async fn set(dev: &Emulator, input: &Drive) -> Result<Json<View>> {
    let _one = dev.moving.lock().await;
    let clock = dev.store.clock();
    let now = clock.now();
    let target = check(input, now, clock.wall())?;
    let steps = match target {
        Some(target) => Some(advance(dev, target).await?),
        None => None,
    };
    let course = clock.course();
    if let Some(course) = course {
        let mode = input.mode.unwrap_or(course.mode);
        let speed = input.speed.unwrap_or(match course.mode {
            Mode::Running => course.speed,
            _ => 1,
        });
        let course = Course::new(mode, clock.now(), speed);
        clock.steer(course);
        dev.store
            .write(move |tx| state::keep_course(tx, course))
            .await?;
        dev.store.signals().wake(topics::AGENDA);
        dev.store.signals().wake(topics::OUTBOX);
    }
    Ok(view(dev, steps))
}

/// Where the clock is to be moved to, if it is.
fn check(input: &Drive, now: Timestamp, wall: Timestamp) -> Result<Option<Timestamp>> {
    let mut fields = Fields::default();
    let mut target = None;
    if let Some(seconds) = input.advance_seconds {
        if !(0..=MAX_ADVANCE_SECONDS).contains(&seconds) {
            fields.push(
                "advance_seconds",
                format!("must be 0 to {MAX_ADVANCE_SECONDS}; the clock goes forward only, POST /_dev/reset goes back"),
            );
        }
        target = Some(now.plus_seconds(seconds));
    }
    if let Some(text) = &input.now {
        match Timestamp::parse(text) {
            _ if input.advance_seconds.is_some() => {
                fields.push("now", "cannot be given together with advance_seconds");
            }
            None => fields.push("now", "must be RFC 3339, such as 2027-01-31T00:00:00Z"),
            Some(at) if at < now => fields.push(
                "now",
                format!("lies before the present ({now}); the clock goes forward only, POST /_dev/reset goes back"),
            ),
            Some(at) if at.0 - now.0 > MAX_ADVANCE_SECONDS * 1000 => {
                fields.push("now", "lies more than ten years ahead; go there in steps");
            }
            at => target = at,
        }
    }
    if input
        .speed
        .is_some_and(|speed| !(1..=MAX_SPEED).contains(&speed))
    {
        fields.push(
            "speed",
            format!("must be 1 to {MAX_SPEED} seconds a second"),
        );
    }
    if input.speed.is_some_and(|speed| speed != 1) && input.mode == Some(Mode::Real) {
        fields.push("speed", "is 1 in the mode real");
    }
    if input.mode == Some(Mode::Real) && target.unwrap_or(now) > wall {
        fields.push(
            "mode",
            "cannot be real while the clock is ahead of the wall clock: it would go back; POST /_dev/reset goes back",
        );
    }
    fields.finish().map(|()| target)
}

/// Moves the clock to `until`; everything that falls due on the way happens, in order, at its instant.
/// Returns at how many instants something did.
///
/// # Errors
/// When the store fails; the clock then stands where everything before has happened.
pub async fn advance(dev: &Emulator, until: Timestamp) -> Result<usize> {
    let clock = dev.store.clock();
    let Some(course) = clock.course() else {
        return Err(Error::internal("the system's clock cannot be driven"));
    };
    let from = clock.now();
    // It must not run by itself meanwhile, or it would be past what has not happened yet.
    clock.steer(Course::new(Mode::Frozen, from, 1));
    let result = advance_in_steps(dev, from, until).await;
    let mode = match course.mode {
        // From now on it is not the wall clock's time any more.
        Mode::Real if clock.now() > from => Mode::Running,
        mode => mode,
    };
    clock.steer(Course::new(mode, clock.now(), course.speed));
    result
}

async fn advance_in_steps(dev: &Emulator, from: Timestamp, until: Timestamp) -> Result<usize> {
    let mut steps = 0;
    let patience = Stopwatch::start();
    let mut send = true;
    loop {
        let inner = dev.clone();
        let progress = dev
            .store
            .write_alone(move |tx| {
                let progress = scheduler::run(tx, &inner, until, PER_COMMIT, send)?;
                // Who signed in did so in front of a screen, where less time has passed.
                let sql =
                    "UPDATE sessions SET created_at = created_at + ?1, expires_at = expires_at + ?1
                     WHERE expires_at > ?2";
                tx.execute(sql, (progress.at.0 - tx.now().0, from))?;
                inner.store.clock().set(progress.at);
                Ok(progress)
            })
            .await?;
        steps += progress.done;
        if progress.to_send {
            // Webhooks hear of it at its instant; but an hour must not take an hour because of one that
            // does not answer.
            let left = SEND_PATIENCE.saturating_sub(Duration::from_micros(patience.micros()));
            send = deliver_due(&dev.outbox, left).await?;
        }
        if progress.finished {
            return Ok(steps);
        }
    }
}
