//! Timestamps, zones and usage windows. Lines: from, to, time zone, interval, range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use workspaced::testing::Timestamp;

const NAMES: [&str; 5] = ["from", "to", "tz", "interval", "range"];

fuzz_target!(|input: &str| {
    for line in input.lines() {
        if let Some(at) = Timestamp::parse(line) {
            assert_eq!(Timestamp::parse(&at.rfc3339_ms()), Some(at));
        }
    }
    // An empty line is a parameter that is not there.
    let pairs: Vec<_> = NAMES
        .into_iter()
        .zip(input.lines())
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let query = workspaced_fuzz::query(&pairs);
    workspaced_fuzz::with_service(|service| {
        for path in [
            "/workspaces/$W/usage",
            "/usage/series",
            "/usage",
            "/usage/summary",
            "/usage/sessions",
            "/computers/$C/metrics",
        ] {
            let path = service.filled(path);
            service.send(
                "GET",
                &format!("{path}?{query}"),
                "application/json",
                Vec::new(),
            );
        }
        let ts = workspaced_fuzz::query(&[("ts", input.lines().next().unwrap_or(""))]);
        let path = service.filled("/workspaces/$W/usage/explain");
        service.send(
            "GET",
            &format!("{path}?{ts}&{query}"),
            "application/json",
            Vec::new(),
        );
    });
});
