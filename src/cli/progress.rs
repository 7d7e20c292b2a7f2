//! How far long work has come, on a terminal; nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for work of so many equal parts.
pub(super) fn bar(what: &'static str, length: u64) -> ProgressBar {
    styled(what, length, "{msg} [{bar:40}] {pos}/{len}")
}

/// [`bar`] for work in a few long parts: it also turns, and tells the time that has passed.
pub(super) fn parts(what: &'static str, length: usize) -> ProgressBar {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let template = "{spinner} {msg} [{bar:40}] {pos}/{len}, {elapsed}";
    let bar = styled(what, length, template);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn styled(what: &'static str, length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what);
    ProgressStyle::with_template(template).map_or(bar.clone(), |style| {
        bar.with_style(style.progress_chars("=> "))
    })
}

/// Something that turns while work without a known end goes on.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
