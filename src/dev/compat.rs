//! `/_dev/compat`: what an application used of the API, and which of it this server does not have or
//! treats differently from the hosted service.
//!
//! Only names are kept, never values, and only so many of them: an application may be hostile. Of a
//! path that is not there, what stands in the place of a name and looks like one is taken for one.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use super::differences;
use crate::clock::Timestamp;
use crate::http::{Known, NamedIn, Treatment, Used};
use crate::ids::parse_uuid;
use crate::rules::hosted::{BASE, other_product};

/// Routes that are not there, at most.
const UNKNOWN_ROUTES: usize = 200;
/// Names of one route that it does not know, at most.
const UNKNOWN_NAMES: usize = 100;
/// Clients at most.
const CLIENTS: usize = 50;
/// Characters of a client's name.
const CLIENT: usize = 100;
/// Segments of a path that are shown.
const SEGMENTS: usize = 8;
/// Characters of a segment that is taken for a name.
const SEGMENT: usize = 40;

/// What was used since the start, or since it was begun afresh.
#[derive(Default)]
pub struct Compat(Mutex<Record>);

#[derive(Default)]
struct Record {
    since: Option<Timestamp>,
    requests: u64,
    served: BTreeMap<(&'static str, String), Route>,
    missing: BTreeMap<(String, String), Missing>,
    clients: BTreeMap<String, u64>,
    left_out: u64,
}

#[derive(Default)]
struct Route {
    count: u64,
    statuses: BTreeMap<u16, u64>,
    names: BTreeMap<(NamedIn, String), Name>,
    unknown: usize,
}

struct Name {
    treatment: Treatment,
    nearest: Option<String>,
    count: u64,
}

#[derive(Default)]
struct Missing {
    count: u64,
    statuses: BTreeMap<u16, u64>,
    product: Option<String>,
}

/// `GET /_dev/compat`
#[derive(Serialize)]
pub(super) struct Report {
    /// Nothing that was used is missing here: no unknown route, no unknown field.
    ok: bool,
    /// Routes that were asked for and are not there.
    unknown_routes: usize,
    /// Query parameters and body fields that are not there, over all routes.
    unknown_fields: usize,
    /// Fields that are accepted without effect.
    ignored_fields: usize,
    /// Routes that were used and answer otherwise than the hosted service.
    differences: usize,
    requests: u64,
    since: Timestamp,
    routes: Vec<RouteView>,
    clients: Vec<ClientView>,
    /// Names that were not recorded because there were too many.
    left_out: u64,
}

/// One route.
#[derive(Serialize)]
struct RouteView {
    method: String,
    route: String,
    /// served, different, or missing.
    treatment: &'static str,
    /// What is different, or what it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    count: u64,
    statuses: BTreeMap<u16, u64>,
    fields: Vec<FieldView>,
}

/// One parameter, or one field by its path.
#[derive(Serialize)]
struct FieldView {
    #[serde(rename = "in")]
    place: NamedIn,
    name: String,
    treatment: Treatment,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    count: u64,
}

/// One client program.
#[derive(Serialize)]
struct ClientView {
    user_agent: String,
    count: u64,
}

impl Compat {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock()
    }

    /// Names that a request of a known route used.
    pub(crate) fn names(&self, route: &Known, used: &Used) {
        if used.0.is_empty() {
            return;
        }
        let mut record = self.record();
        let mut left_out = 0;
        let at = (route.path, route.method.to_string());
        let entry = record.served.entry(at).or_default();
        for (name, (treatment, nearest)) in &used.0 {
            if let Some(known) = entry.names.get_mut(name) {
                known.count += 1;
                continue;
            }
            if *treatment == Treatment::Unknown {
                if entry.unknown >= UNKNOWN_NAMES {
                    left_out += 1;
                    continue;
                }
                entry.unknown += 1;
            }
            let name_of = Name {
                treatment: *treatment,
                nearest: nearest.clone(),
                count: 1,
            };
            entry.names.insert(name.clone(), name_of);
        }
        record.left_out += left_out;
    }

    /// A request that was answered; `status` is absent where a fault rule closed the connection.
    pub(super) fn answered(
        &self,
        method: &Method,
        route: Option<&'static str>,
        path: &str,
        status: Option<StatusCode>,
        agent: Option<&str>,
    ) {
        let mut record = self.record();
        record.requests += 1;
        let agent = printable(agent.unwrap_or("(none)"));
        if record.clients.len() < CLIENTS || record.clients.contains_key(&agent) {
            *record.clients.entry(agent).or_default() += 1;
        } else {
            record.left_out += 1;
        }
        let (count, statuses) = match route {
            Some(route) => {
                // HEAD comes with GET.
                let method = if *method == Method::HEAD {
                    "GET"
                } else {
                    method.as_str()
                };
                let entry = record.served.entry((route, method.to_owned())).or_default();
                (&mut entry.count, &mut entry.statuses)
            }
            None => {
                let at = (shape(path), method.as_str().chars().take(SEGMENT).collect());
                if record.missing.len() >= UNKNOWN_ROUTES && !record.missing.contains_key(&at) {
                    record.left_out += 1;
                    return;
                }
                let entry = record.missing.entry(at).or_default();
                entry.product = other_product(path).map(ToOwned::to_owned);
                (&mut entry.count, &mut entry.statuses)
            }
        };
        *count += 1;
        if let Some(status) = status {
            *statuses.entry(status.as_u16()).or_default() += 1;
        }
    }
}

fn printable(text: &str) -> String {
    let plain = text.chars().filter(|c| *c == ' ' || c.is_ascii_graphic());
    plain.take(CLIENT).collect()
}

/// A path without values: in the paths of the API names and values take turns, and what does not look
/// like a name is none.
fn shape(path: &str) -> String {
    let is_name = |text: &str| {
        let mut bytes = text.bytes();
        text.len() <= SEGMENT
            && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
            && parse_uuid(text).is_none()
    };
    let path = path.trim_start_matches(BASE).trim_start_matches('/');
    let mut shown = String::new();
    for (n, segment) in path.split('/').take(SEGMENTS).enumerate() {
        shown.push('/');
        shown.push_str(if n % 2 == 0 && is_name(segment) {
            segment
        } else {
            "{}"
        });
    }
    shown
}

fn report(started_at: Timestamp, record: &Record) -> Report {
    let mut routes = Vec::new();
    for ((path, method), route) in &record.served {
        let note = differences::of(method, path);
        let field = |((place, name), of): (&(NamedIn, String), &Name)| FieldView {
            place: *place,
            name: name.clone(),
            treatment: of.treatment,
            nearest: of.nearest.clone(),
            count: of.count,
        };
        routes.push(RouteView {
            method: method.clone(),
            route: (*path).to_owned(),
            treatment: if note.is_some() {
                "different"
            } else {
                "served"
            },
            note: note.map(ToOwned::to_owned),
            count: route.count,
            statuses: route.statuses.clone(),
            fields: route.names.iter().map(field).collect(),
        });
    }
    for ((path, method), missing) in &record.missing {
        let note = missing.product.as_ref().map(|product| {
            format!("{product} is a feature of the hosted platform that is not part of this server")
        });
        routes.push(RouteView {
            method: method.clone(),
            route: path.clone(),
            treatment: "missing",
            note,
            count: missing.count,
            statuses: missing.statuses.clone(),
            fields: Vec::new(),
        });
    }
    let treated = |treatment| routes.iter().filter(|r| r.treatment == treatment).count();
    let fields = |treatment| {
        let all = routes.iter().flat_map(|route| &route.fields);
        all.filter(|field| field.treatment == treatment).count()
    };
    let (unknown_routes, unknown_fields) = (treated("missing"), fields(Treatment::Unknown));
    let (ignored_fields, differences) = (fields(Treatment::Ignored), treated("different"));
    Report {
        ok: unknown_routes == 0 && unknown_fields == 0,
        unknown_routes,
        unknown_fields,
        ignored_fields,
        differences,
        requests: record.requests,
        since: record.since.unwrap_or(started_at),
        routes,
        clients: record
            .clients
            .iter()
            .map(|(user_agent, count)| ClientView {
                user_agent: user_agent.clone(),
                count: *count,
            })
            .collect(),
        left_out: record.left_out,
    }
}

impl Compat {
    /// What was used; `started_at` where nothing was begun afresh since.
    pub(super) fn report(&self, started_at: Timestamp) -> Report {
        report(started_at, &self.record())
    }

    /// Begins afresh, and reports what there was until then.
    pub(super) fn restart(&self, started_at: Timestamp, now: Timestamp) -> Report {
        let mut record = self.record();
        let before = report(started_at, &record);
        *record = Record {
            since: Some(now),
            ..Record::default()
        };
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_without_their_values() {
        for (path, expected) in [
            ("/api/v1/sandboxes", "/sandboxes"),
            ("/api/v1/api/v1/sandboxes/a-name", "/sandboxes/{}"),
            (
                "/api/v1/computers/550e8400-e29b-41d4-a716-446655440000/exec",
                "/computers/{}/exec",
            ),
            ("/api/v1/users/alice@example.com/keys", "/users/{}/keys"),
            ("/api/v1/msk_u_12345/secret", "/{}/{}"),
            ("/api/v1/a/b/c/d/e/f/g/h/i/j", "/a/{}/c/{}/e/{}/g/{}"),
            ("/api/v1/", "/{}"),
        ] {
            assert_eq!(shape(path), expected, "{path}");
        }
    }
}
