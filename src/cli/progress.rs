//! How far long work has come, on a terminal; nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for work of so many equal parts.
pub(super) fn bar(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}");
    let bar = ProgressBar::new(length).with_message(what);
    style.map_or(bar.clone(), |style| {
        bar.with_style(style.progress_chars("=> "))
    })
}

/// [`bar`] for work in a few long parts: it also turns, and tells the time that has passed.
pub(super) fn parts(what: &'static str, length: usize) -> ProgressBar {
    let bar = bar(what, u64::try_from(length).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{spinner} {msg} [{bar:40}] {pos}/{len}, {elapsed}");
    bar.enable_steady_tick(Duration::from_millis(100));
    style.map_or(bar.clone(), |style| {
        bar.with_style(style.progress_chars("=> "))
    })
}

/// Something that turns while work without a known end goes on.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
