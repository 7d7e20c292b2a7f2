//! Tells the program the day of its build: a clock that shows an earlier one is surely wrong.

use std::time::{SystemTime, UNIX_EPOCH};

#[expect(
    clippy::disallowed_methods,
    reason = "the time and environment of the build, not of the program"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // As reproducible builds hand it over; the day only, so that two builds of a day are the same.
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let seconds = given.and_then(|text| text.parse().ok()).or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    });
    let seconds: u64 = seconds.unwrap_or(0);
    println!(
        "cargo:rustc-env=WORKSPACED_BUILT_ON={}",
        seconds - seconds % 86_400
    );
}
