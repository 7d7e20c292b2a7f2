//! Months, weeks and days of the calendar: buckets and windows that begin at midnight of a zone, and the
//! zone that is set for a workspace or its organization.

use serde_json::{Value, json};

use crate::harness::{Service, at};
use crate::usage::{event, external, service_at, usage};

fn starts(reply: &Value) -> Vec<String> {
    let series = reply["series"].as_array().unwrap();
    let text = |bucket: &Value| bucket["ts"].as_str().unwrap().to_owned();
    series.iter().map(text).collect()
}

/// A small computer that has run since the beginning of February 2029; it is the 10th of May.
fn since_february() -> (Service, String) {
    let s = service_at("2029-01-15T00:00:00Z");
    let w = s.workspace("Dr. Smith Clinic");
    let c = external(&s, &w, "small");
    s.clock.set(at("2029-05-10T12:00:00Z"));
    let started = event("1", "started", &c, "2029-02-01T00:00:00Z", json!({}));
    s.post("/compute-events", json!({ "events": [started] }))
        .expect(200);
    (s, w)
}

#[test]
fn months_and_weeks_begin_at_midnight_of_the_zone() {
    let (s, w) = since_february();
    for (query, expected) in [
        (
            "granularity=month&from=2029-02-01&to=2029-05-01",
            &[
                "2029-02-01T00:00:00Z",
                "2029-03-01T00:00:00Z",
                "2029-04-01T00:00:00Z",
            ][..],
        ),
        // The clocks go forward on 2029-03-11.
        (
            "granularity=month&from=2029-02-01&to=2029-05-01&tz=America/New_York",
            &[
                "2029-02-01T05:00:00Z",
                "2029-03-01T05:00:00Z",
                "2029-04-01T04:00:00Z",
            ],
        ),
        (
            "granularity=month&from=2029-03-15&to=2029-04-02&tz=Asia/Kathmandu",
            &["2029-02-28T18:15:00Z", "2029-03-31T18:15:00Z"],
        ),
        // 2029-03-21 is a Wednesday.
        (
            "granularity=week&from=2029-03-21&to=2029-04-04",
            &[
                "2029-03-19T00:00:00Z",
                "2029-03-26T00:00:00Z",
                "2029-04-02T00:00:00Z",
            ],
        ),
        (
            "granularity=week&from=2029-03-21&to=2029-04-04&tz=Europe/Budapest",
            &[
                "2029-03-18T23:00:00Z",
                "2029-03-25T22:00:00Z",
                "2029-04-01T22:00:00Z",
            ],
        ),
    ] {
        let reply = usage(&s, &w, query);
        assert_eq!(starts(&reply), expected, "{query}");
        let series = reply["series"].as_array().unwrap();
        let sum: i64 = series
            .iter()
            .map(|bucket| bucket["credits_micros"].as_i64().unwrap())
            .sum();
        assert_eq!(reply["total_credits_micros"], sum, "{query}");
        let days = usage(
            &s,
            &w,
            &query.replace("month", "day").replace("week", "day"),
        );
        for total in ["total_credits_micros", "total_compute_ms"] {
            assert_eq!(reply[total], days[total], "{query}");
        }
    }
    // March has 743 hours where its clocks go forward.
    let query = "granularity=month&period=2029-03&tz=America/New_York";
    let reply = usage(&s, &w, query);
    assert_eq!(reply["total_compute_ms"], 743 * 3_600_000_i64);
    assert_eq!(reply["series"].as_array().unwrap().len(), 1);
    let explained = s.get(&format!(
        "/workspaces/{w}/usage/explain?ts=2029-03-05T00:00:00Z&granularity=month&tz=America/New_York"
    ));
    let explained = explained.expect(200);
    assert_eq!(explained["compute_ms"], 743 * 3_600_000_i64);
    assert_eq!(explained["start"], "2029-03-01T05:00:00.000Z");
}

#[test]
fn plain_dates_are_midnights_of_the_zone() {
    let (s, w) = since_february();
    let reply = usage(&s, &w, "from=2029-03-10&to=2029-03-12&granularity=day");
    assert_eq!(reply["window_start"], "2029-03-10T00:00:00.000Z");
    let query = "from=2029-03-10&to=2029-03-12&granularity=day&tz=America/New_York";
    let reply = usage(&s, &w, query);
    assert_eq!(reply["window_start"], "2029-03-10T05:00:00.000Z");
    assert_eq!(reply["window_end"], "2029-03-12T04:00:00.000Z");
    assert_eq!(reply["total_compute_ms"], 47 * 3_600_000_i64);
    // An instant stays what it is.
    let query = "from=2029-03-10T00:00:00Z&to=2029-03-12&tz=America/New_York";
    assert_eq!(
        usage(&s, &w, query)["window_start"],
        "2029-03-10T00:00:00.000Z"
    );
    for wrong in ["2029-02-30", "2029-3-1", "2029-13-01", "yesterday"] {
        s.get(&format!("/workspaces/{w}/usage?from={wrong}"))
            .invalid(&["from"]);
    }
}

#[test]
fn windows_of_the_calendar() {
    let (s, w) = since_february();
    for (query, start, end, granularity) in [
        (
            "window=today",
            "2029-05-10T00:00:00.000Z",
            "2029-05-10T12:00:00.000Z",
            "hour",
        ),
        (
            "window=yesterday",
            "2029-05-09T00:00:00.000Z",
            "2029-05-10T00:00:00.000Z",
            "hour",
        ),
        (
            "window=this_month",
            "2029-05-01T00:00:00.000Z",
            "2029-05-10T12:00:00.000Z",
            "day",
        ),
        (
            "window=last_month",
            "2029-04-01T00:00:00.000Z",
            "2029-05-01T00:00:00.000Z",
            "day",
        ),
        (
            "window=last_month&granularity=week&tz=Pacific/Auckland",
            "2029-03-31T11:00:00.000Z",
            "2029-04-30T12:00:00.000Z",
            "week",
        ),
        (
            "window=today&tz=Pacific/Auckland",
            "2029-05-10T12:00:00.000Z",
            "2029-05-10T12:00:00.000Z",
            "hour",
        ),
    ] {
        let reply = usage(&s, &w, query);
        assert_eq!(
            (&reply["window_start"], &reply["window_end"]),
            (&json!(start), &json!(end)),
            "{query}"
        );
        assert_eq!(reply["granularity"], granularity, "{query}");
        let word = query.split(['=', '&']).nth(1).unwrap();
        assert_eq!(reply["window"], word);
        // The organization is asked in the same words.
        let all = s.get(&format!("/usage/series?{query}")).expect(200);
        assert_eq!(all["total_credits_micros"], reply["total_credits_micros"]);
    }
}

#[test]
fn a_zone_is_set_for_the_organization_and_its_workspaces() {
    let (s, w) = since_february();
    let zone = |path: &str| s.get(path).expect(200)["time_zone"].clone();
    let (own, other) = (
        format!("/workspaces/{w}/usage"),
        format!("/workspaces/{}/usage", s.default_workspace),
    );
    assert_eq!(zone(&own), "UTC");
    let settings = format!("/workspaces/{w}/settings");
    assert!(s.get(&settings).expect(200).get("tz").is_none());
    assert_eq!(s.get("/tenant/settings").expect(200)["tz"], json!(null));

    s.put("/tenant/settings", json!({ "tz": "Mars/Olympus" }))
        .invalid(&["tz"]);
    let set = s.put("/tenant/settings", json!({ "tz": "Europe/Budapest" }));
    assert_eq!(set.expect(200)["tz"], "Europe/Budapest");
    assert_eq!(zone(&own), "Europe/Budapest");
    assert_eq!(zone("/usage/series"), "Europe/Budapest");
    assert_eq!(
        s.get(&settings).expect(200)["tz"],
        json!({ "value": "Europe/Budapest", "source": "organization" })
    );

    s.put(&settings, json!({ "tz": "x", "max_computers": -1 }))
        .invalid(&["max_computers", "tz"]);
    let set = s
        .put(&settings, json!({ "tz": "asia/kathmandu" }))
        .expect(200);
    assert_eq!(
        set["tz"],
        json!({ "value": "Asia/Kathmandu", "source": "workspace" })
    );
    assert_eq!(zone(&own), "Asia/Kathmandu");
    assert_eq!(zone(&other), "Europe/Budapest");
    assert_eq!(zone(&format!("{own}?tz=UTC")), "UTC");
    let explain = format!("{own}/explain?ts=2029-03-05T00:00:00Z&granularity=day");
    assert_eq!(zone(&explain), "Asia/Kathmandu");
    let log = s
        .get("/audit-log?type=workspace.settings_updated")
        .expect(200);
    let row = &log["data"][0]["metadata"];
    assert_eq!(row["after"]["tz"], "Asia/Kathmandu");
    assert!(row["before"].get("tz").is_none());

    // Another setting leaves it, null clears it, and a new organization has none.
    s.put(&settings, json!({ "max_computers": 5 })).expect(200);
    assert_eq!(zone(&own), "Asia/Kathmandu");
    s.put(&settings, json!({ "tz": null })).expect(200);
    assert_eq!(zone(&own), "Europe/Budapest");
    let (key, workspace) = s.other_tenant("other");
    let reply = s.call_as(
        &key,
        axum::http::Method::GET,
        &format!("/workspaces/{workspace}/usage"),
        None,
    );
    assert_eq!(reply.expect(200)["time_zone"], "UTC");
}

#[test]
fn the_zone_of_a_workspace_travels_with_it() {
    let (s, w) = since_february();
    s.put("/tenant/settings", json!({ "tz": "Europe/Budapest" }))
        .expect(200);
    let capsule = s.get(&format!("/workspaces/{w}/export")).text;
    assert!(capsule.contains("\"tz\":\"Europe/Budapest\""));
    let there = service_at("2029-05-10T12:00:00Z");
    let send = |capsule: &str| {
        let request = axum::http::Request::post("/api/v1/workspaces/import")
            .header("authorization", format!("Bearer {}", there.key))
            .header("content-type", "application/x-ndjson")
            .body(axum::body::Body::from(capsule.to_owned()))
            .unwrap();
        there.send(request)
    };
    send(&capsule).expect(201);
    let path = format!("/workspaces/{w}/usage?period=2029-03");
    assert_eq!(there.get(&path).expect(200), s.get(&path).expect(200));
    // The same file again changes nothing.
    assert_eq!(send(&capsule).expect(200)["imported"], false);
}
