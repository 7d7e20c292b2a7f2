//! Random questions to the API, and the check of its answers against the walk.

use serde_json::Value;
use workspaced::clock::Timestamp;

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
                    Some(key) => history.reading(workspace, t, &|computer, held| match by {
                        "computer" => names.computers[computer] == key,
                        "project" => names.projects[held.workspace] == key,
                        _ => SIZES[held.size].0 == key,
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

/// The ids of a history's things, by number.
pub struct Names {
    pub workspaces: Vec<String>,
    /// Default project of each workspace, where computers of the histories live.
    pub projects: Vec<String>,
    pub computers: Vec<String>,
}
