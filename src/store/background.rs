//! Work that stands behind all other: what is large, and for which nobody else is to wait.

use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::StoreError;

tokio::task_local! {
    /// This task asks for much.
    static HEAVY: ();
}

/// What `asking` reads is read by the readers for large questions, which leave the processors to the others.
pub async fn heavy<F: Future>(asking: F) -> F::Output {
    HEAVY.scope((), asking).await
}

/// Whose readers a task asks.
pub(super) fn is_heavy() -> bool {
    HEAVY.try_with(|()| ()).is_ok()
}

/// How far their threads stand behind the others: they get a tenth where somebody else has something to do.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How long a thread that does much for one question sleeps, about once a millisecond.
const PAUSE: Duration = Duration::from_micros(50);

/// Lets those come up who wait for a processor: the system leaves a thread its slice, of several milliseconds, also
/// where it stands behind them.
pub fn pause() {
    std::thread::sleep(PAUSE);
}

/// Lets this thread stand behind the others.
pub(super) fn stand_back() {
    // Elsewhere this would be about the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "a thread for large questions has the priority of all others");
    }
}

/// Runs `f` on a thread of its own that stands behind the others.
///
/// # Errors
/// When there is no thread, or `f` panics.
pub async fn in_background<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let (answer, receive) = oneshot::channel();
    let run = move || {
        stand_back();
        let _ = answer.send(f());
    };
    std::thread::Builder::new()
        .name("background".into())
        .spawn(run)
        .map_err(|e| StoreError::Internal(format!("no thread: {e}")))?;
    receive
        .await
        .map_err(|_| StoreError::Internal("panic in the background".into()))
}
