//! "The meter on one screen" of the manual: every digit of its worked example is what the database and
//! the API say.

use std::fmt::Write;

use serde_json::json;
use workspaced::testing::Timestamp;

use crate::harness::at;
use crate::usage::{HOUR, event, external, service_at, usage};

/// The tables of the manual, worked out by hand.
const EXAMPLE: &str = "\
| hour | running | running_ms | rate | credit_ms |
|---|---|---|---|---|
| 09:00 | 1 | 1200000 | 30 | 36000000 |
| 11:00 | 0 | 0 | 90 | 243000000 |
| 12:00 | -1 | -1800000 | -120 | -216000000 |

| bucket | running_before × 3600000 + running_ms | rate_before × 3600000 + credit_ms | compute_hours | credits_micros | credits_used |
|---|---|---|---|---|---|
| 09:00 | 0 × 3600000 + 1200000 = 1200000 | 0 × 3600000 + 36000000 = 36000000 | 0.3333 | 10000000 | 10 |
| 10:00 | 1 × 3600000 + 0 = 3600000 | 30 × 3600000 + 0 = 108000000 | 1.0000 | 30000000 | 30 |
| 11:00 | 1 × 3600000 + 0 = 3600000 | 30 × 3600000 + 243000000 = 351000000 | 1.0000 | 97500000 | 97 |
| 12:00 | 1 × 3600000 + -1800000 = 1800000 | 120 × 3600000 + -216000000 = 216000000 | 0.5000 | 60000000 | 60 |
| total | 10200000 | 711000000 | 2.8333 | 197500000 | 197 |
";

/// A small computer starts at 09:40, is made large at 11:15 and stops at 12:30.
fn tables() -> String {
    let s = service_at("2026-06-01T00:00:00Z");
    let w = s.workspace("Dr. Smith Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2026-06-01T14:00:00Z"));
    let large = json!({ "size": "large" });
    let events = json!([
        event("1", "started", &c, "2026-06-01T09:40:00Z", json!({})),
        event("2", "resized", &c, "2026-06-01T11:15:00Z", large),
        event("3", "stopped", &c, "2026-06-01T12:30:00Z", json!({})),
    ]);
    s.post("/compute-events", json!({ "events": events }))
        .expect(200);

    let mut out = EXAMPLE
        .lines()
        .take(2)
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let rows = s.app.store.read_blocking(|tx| {
        let mut rows = tx.prepare(
            "SELECT hour, running, running_ms, rate, credit_ms FROM meter_hours ORDER BY hour",
        )?;
        let rows = rows.query_map([], |row| {
            let numbers: [i64; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            Ok((row.get::<_, i64>(0)?, numbers))
        })?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    });
    let rows = rows.unwrap();
    for (hour, [running, running_ms, rate, credit_ms]) in &rows {
        let hour = &Timestamp(*hour).rfc3339()[11..16];
        writeln!(
            out,
            "| {hour} | {running} | {running_ms} | {rate} | {credit_ms} |"
        )
        .unwrap();
    }

    let lines = EXAMPLE.lines().skip(5).take(3);
    out.extend(lines.map(|line| format!("{line}\n")));
    let reply = usage(&s, &w, "from=2026-06-01T09:00:00Z&to=2026-06-01T13:00:00Z");
    let (mut flow, mut sums) = ((0, 0), (0, 0));
    for bucket in reply["series"].as_array().unwrap() {
        let ts = bucket["ts"].as_str().unwrap();
        let row = rows.iter().find(|(hour, _)| *hour == at(ts).0);
        let [running, running_ms, rate, credit_ms] = row.map_or([0; 4], |(_, numbers)| *numbers);
        let (ms, credits) = (flow.0 * HOUR + running_ms, flow.1 * HOUR + credit_ms);
        assert_eq!(bucket["compute_ms"], ms);
        writeln!(
            out,
            "| {} | {} × {HOUR} + {running_ms} = {ms} | {} × {HOUR} + {credit_ms} = {credits} | {:.4} | {} | {} |",
            &ts[11..16],
            flow.0,
            flow.1,
            bucket["compute_hours"].as_f64().unwrap(),
            bucket["credits_micros"],
            bucket["credits_used"],
        )
        .unwrap();
        flow = (flow.0 + running, flow.1 + rate);
        sums = (sums.0 + ms, sums.1 + credits);
    }
    assert_eq!((flow, &reply["total_compute_ms"]), ((0, 0), &json!(sums.0)));
    writeln!(
        out,
        "| total | {} | {} | {:.4} | {} | {} |",
        sums.0,
        sums.1,
        reply["total_compute_hours"].as_f64().unwrap(),
        reply["total_credits_micros"],
        reply["total_credits_used"],
    )
    .unwrap();
    out
}

#[test]
fn the_worked_example_is_what_the_meter_does() {
    assert_eq!(tables(), EXAMPLE);
}

#[test]
fn the_manual_shows_the_worked_example() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/manual/metering.md");
    let page = std::fs::read_to_string(path).unwrap();
    for table in EXAMPLE.split("\n\n") {
        assert!(
            page.contains(table.trim_end()),
            "metering.md lacks:\n{table}"
        );
    }
}
