//! Random questions to the API, and the check of its answers against the walk.

use serde_json::Value;
use workspaced::testing::Timestamp;

use super::dice::Dice;
use super::walk::{Exact, History, SIZES, ZONES, edges, minus, numbers, shown};

/// A question, and the check of its answer.
pub struct Question {
    zone: usize,
    day: bool,
    start: i64,
    end: i64,
    pub query: String,
    as_of: i64,
}

impl Question {
    pub fn random(dice: &mut Dice, history: &History, ticks: i64) -> Question {
        let as_of = history.at(ticks);
        let zone = if dice.one_in(2) {
            0
        } else {
            dice.below(ZONES.len())
        };
        let day = dice.one_in(2);
        let (mut start, end, mut query);
        if dice.one_in(3) {
            let ends = i64::try_from(dice.below(usize::try_from(ticks).unwrap() + 40)).unwrap() + 1;
            let length =
                1 + i64::try_from(dice.below(usize::try_from(ends).unwrap() + 20)).unwrap();
            (start, end) = (history.at(ends - length), history.at(ends));
            start = start.max(end - 400 * 86_400_000).min(end - 1);
            let text = |t: i64| Timestamp(t).rfc3339_ms();
            query = format!("from={}&to={}", text(start), text(end));
        } else {
            let (name, days) = dice.pick(&[("24h", 1), ("7d", 7), ("30d", 30)]);
            (start, end) = (as_of - days * 86_400_000, as_of);
            query = format!("window={name}");
        }
        query += if day {
            "&granularity=day"
        } else {
            "&granularity=hour"
        };
        if zone != 0 || dice.one_in(2) {
            query += &format!("&tz={}", ZONES[zone].0);
        }
        Question {
            zone,
            day,
            start,
            end,
            query,
            as_of,
        }
    }

    pub fn check(&self, history: &History, workspace: usize, reply: &Value, why: &str) {
        let edges = edges(self.zone, self.day, self.start, self.end);
        let known = self.end.min(self.as_of);
        let cut = |t: i64| {
            t.clamp(
                self.start.min(self.as_of),
                known.max(self.start.min(self.as_of)),
            )
        };
        let read: Vec<_> = edges
            .iter()
            .map(|t| shown(history.whole(workspace, cut(*t))))
            .collect();
        let series = reply["series"].as_array().unwrap();
        assert_eq!(series.len(), edges.len() - 1, "{why}: buckets of {reply}");
        let mut sum = [0; 4];
        for (n, bucket) in series.iter().enumerate() {
            assert_eq!(
                bucket["ts"],
                Timestamp(edges[n]).rfc3339(),
                "{why}: {bucket}"
            );
            let expected = minus(read[n + 1], read[n]);
            assert_eq!(numbers(bucket, ""), expected, "{why}: {bucket}");
            let partial = edges[n] < self.start || edges[n + 1] > known;
            assert_eq!(bucket["partial"], partial, "{why}: {bucket}");
            (0..4).for_each(|i| sum[i] += expected[i]);
        }
        assert_eq!(numbers(reply, "total_"), sum, "{why}: totals");
    }

    /// The question why a random bucket shows what it shows.
    pub fn why(&self, dice: &mut Dice) -> (usize, String) {
        let edges = edges(self.zone, self.day, self.start, self.end);
        let bucket = dice.below(edges.len() - 1);
        let granularity = if self.day { "day" } else { "hour" };
        let (ts, zone) = (Timestamp(edges[bucket]).rfc3339(), ZONES[self.zone].0);
        let query = format!("ts={ts}&granularity={granularity}&tz={zone}");
        (bucket, query)
    }

    /// An explanation is of the whole bucket, and its parts add up to it.
    pub fn check_why(
        &self,
        history: &History,
        workspace: usize,
        bucket: usize,
        reply: &Value,
        why: &str,
    ) {
        let edges = edges(self.zone, self.day, self.start, self.end);
        let read = |edge: i64| shown(history.whole(workspace, edge.min(self.as_of)));
        let expected = minus(read(edges[bucket + 1]), read(edges[bucket]));
        assert_eq!(numbers(reply, ""), expected, "{why}: {reply}");
        let sum = |list: &str, name: &str| -> i128 {
            let rows = reply[list].as_array().unwrap().iter();
            rows.map(|row| i128::from(row[name].as_i64().unwrap()))
                .sum()
        };
        assert_eq!(sum("intervals", "compute_ms"), expected[3], "{why}");
        let micros = sum("intervals", "credits_micros") + sum("corrections", "credits_micros");
        assert_eq!(micros, expected[1], "{why}");
    }

    pub fn check_groups(
        &self,
        history: &History,
        workspace: usize,
        by: &str,
        names: &Names,
        reply: &Value,
        why: &str,
    ) {
        let series = reply["series"].as_array().unwrap();
        let groups = reply["groups"].as_array().unwrap();
        let mut sums = vec![[0; 4]; series.len()];
        let edges = edges(self.zone, self.day, self.start, self.end);
        let (first, last) = (self.start.min(self.as_of), self.end.min(self.as_of));
        let cut = |t: i64| t.clamp(first, last);
        for group in groups {
            let mut total = [0; 4];
            for (n, bucket) in group["series"].as_array().unwrap().iter().enumerate() {
                let got = numbers(bucket, "");
                (0..4).for_each(|i| sums[n][i] += got[i]);
                (0..4).for_each(|i| total[i] += got[i]);
                let (a, b) = (cut(edges[n]), cut(edges[n + 1]));
                let exact = |t: i64| match group["key"].as_str() {
                    None => Exact {
                        micros: history.corrected(workspace, t),
                        ..Exact::default()
                    },
                    Some(key) => history.reading(t, &|computer, held| {
                        held.workspace == workspace
                            && match by {
                                "computer" => names.computers[computer] == key,
                                "project" => names.projects[held.workspace] == key,
                                _ => SIZES[held.size].0 == key,
                            }
                    }),
                };
                let (a, b) = (exact(a), exact(b));
                assert_eq!(got[3], b.ms - a.ms, "{why}: {by} {} {bucket}", group["key"]);
                // Micro-credits of a part are exact but for the one that makes the parts add up.
                let exact = (b.credit_ms - a.credit_ms) * 10 + (b.micros - a.micros) * 36;
                assert!(
                    (got[1] * 36 - exact).abs() < 36,
                    "{why}: {by} {} {bucket}",
                    group["key"]
                );
            }
            assert_eq!(
                numbers(group, "total_"),
                total,
                "{why}: total of {}",
                group["key"]
            );
        }
        for (n, bucket) in series.iter().enumerate() {
            assert_eq!(sums[n], numbers(bucket, ""), "{why}: parts of {bucket}");
        }
    }
}

/// The metrics of a computer over its days, in all places it was in.
pub fn check_metrics(history: &History, computer: usize, as_of: i64, reply: &Value, why: &str) {
    let start = as_of - 7 * 86_400_000;
    let edges = edges(0, true, start, as_of);
    let read = |edge: i64| shown(history.reading(edge.clamp(start, as_of), &|n, _| n == computer));
    let series = reply["series"].as_array().unwrap();
    assert_eq!(series.len(), edges.len() - 1, "{why}: {reply}");
    for (n, point) in series.iter().enumerate() {
        let expected = minus(read(edges[n + 1]), read(edges[n]));
        let names = ["credits_used", "credits_micros", "compute_ms"];
        let got = names.map(|name| i128::from(point[name].as_i64().unwrap()));
        assert_eq!(
            got,
            [expected[0], expected[1], expected[3]],
            "{why}: {point}"
        );
    }
}

/// The ids of a history's things, by number.
pub struct Names {
    pub workspaces: Vec<String>,
    /// Default project of each workspace, where computers of the histories live.
    pub projects: Vec<String>,
    pub computers: Vec<String>,
}
