//! Random requests on every route, by keys of three organizations with every reach, with ids, slugs and
//! names of all of them: nothing that an answer shows belongs to somebody whom the key does not reach,
//! and nothing that belongs to another organization changes.
//!
//! `PROPTEST_CASES` (default 256) sets how many rounds of requests are fired: a sixteenth of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::harness::{Service, runtime};
use workspaced::testing::Reach;
use workspaced::testing::routes;
use workspaced::testing::routes::Route;
use workspaced::testing::{Config, WebhookReach};

/// Requests of one round.
const REQUESTS: usize = 120;
const TENANTS: usize = 3;

/// Who asks, and what is in reach.
struct Asker {
    key: String,
    tenant: usize,
    tenant_id: String,
    workspace: Option<String>,
    user: Option<String>,
}

/// What a tenant has: `(kind, id)`; kinds as in the paths.
type Things = Vec<(&'static str, String)>;

struct World {
    s: Service,
    askers: Vec<Asker>,
    things: Vec<Things>,
    words: Vec<String>,
    /// By tenant: those words of others that it has sent itself, and may therefore own now.
    told: Vec<BTreeSet<String>>,
    /// Whose an id is; filled from the database when it is first seen.
    owners: HashMap<String, Option<Owner>>,
}

#[derive(Clone, Debug)]
struct Owner {
    tenant: String,
    workspace: Option<String>,
    user: Option<String>,
    kind: &'static str,
}

fn secret(tenant: usize) -> String {
    format!("hush{tenant}")
}

impl World {
    fn new() -> World {
        let s = Service::with(Config {
            webhook_reach: WebhookReach::Loopback,
            ..Config::default()
        });
        let mut world = World {
            s,
            askers: vec![],
            things: vec![vec![]; TENANTS],
            words: vec![],
            told: vec![BTreeSet::new(); TENANTS],
            owners: HashMap::new(),
        };
        for tenant in 0..TENANTS {
            world.populate(tenant);
        }
        world
    }

    fn populate(&mut self, tenant: usize) {
        let (s, hush) = (&self.s, secret(tenant));
        let (key, tenant_id, default) = {
            let new = workspaced::testing::NewKey {
                key_type: workspaced::testing::KeyType::Admin,
                ..workspaced::testing::NewKey::named(&format!("{hush} first"))
            };
            s.tenant(&format!("{hush}-inc"), new)
        };
        let post = |path: &str, body: Value| {
            s.call_as(&key, "POST".parse().unwrap(), path, Some(body))
                .expect(201)
        };
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let mut things: Things = vec![("workspaces", default), ("tenants", tenant_id.clone())];
        let mut asker = |key: String, workspace: Option<String>, user: Option<String>| {
            self.askers.push(Asker {
                key,
                tenant,
                tenant_id: tenant_id.clone(),
                workspace,
                user,
            });
        };
        asker(key.clone(), None, None);
        for n in 0..2 {
            let workspace = id(&post(
                "/workspaces",
                json!({ "name": format!("{hush} clinic {n}"), "external_workspace_id": format!("{hush}-ext-{n}") }),
            ));
            let project = id(&post(
                "/projects",
                json!({ "name": format!("{hush} site {n}"), "workspace_id": workspace, "external_project_id": format!("{hush}-p-{n}") }),
            ));
            for user in ["ann", "bob"] {
                let computer = post(
                    "/computers",
                    json!({ "name": format!("{hush} pc {n} {user}"), "project_id": project, "external_user_id": format!("{hush}-{user}"),
                            "driver": if n == 0 { "external" } else { "simulated" }, "metadata": { "note": format!("{hush} note") } }),
                );
                things.push(("computers", id(&computer)));
            }
            let limited = post(
                "/api-keys",
                json!({ "name": format!("{hush} limited {n}"), "workspace_id": workspace }),
            );
            things.push(("api-keys", id(&limited["data"])));
            asker(
                limited["data"]["key"].as_str().unwrap().into(),
                Some(workspace.clone()),
                None,
            );
            things.push(("projects", project));
            things.push(("workspaces", workspace));
        }
        let user = format!("{hush}-ann");
        let scoped = post(
            "/api-keys/scoped",
            json!({ "name": format!("{hush} ann"), "external_user_id": user, "scopes": ["computers:*", "projects:*", "workspaces:read", "usage:read", "audit:read"] }),
        );
        asker(
            scoped["data"]["key"].as_str().unwrap().into(),
            None,
            Some(user),
        );
        // Nobody listens there; what is sent and what became of it is written down all the same.
        let hook = json!({ "name": format!("{hush} hook"), "url": format!("http://127.0.0.1:1024/{hush}"), "events": ["*"] });
        let hook = id(&post("/webhooks", hook)["data"]);
        let told = s.call_as(
            &key,
            "GET".parse().unwrap(),
            &format!("/webhooks/{hook}/deliveries"),
            None,
        );
        things.push(("deliveries", id(&told.expect(200)["data"][0])));
        things.push(("webhooks", hook));
        let reader = post(
            "/api-keys",
            json!({ "name": format!("{hush} reader"), "scopes": ["workspaces:read", "computers:read", "usage:read", "audit:read", "webhooks:write"] }),
        );
        asker(reader["data"]["key"].as_str().unwrap().into(), None, None);
        self.words.extend(
            [
                "-inc",
                "-clinic-0",
                "-clinic-1",
                "-ext-0",
                "-ext-1",
                "-site-0",
                "-p-1",
                "-ann",
                "-bob",
                "-pc-0-ann",
            ]
            .map(|rest| format!("{hush}{rest}")),
        );
        self.things[tenant] = things;
        self.s.advance(5);
    }

    /// Whose this id is, if it is anybody's.
    fn owner(&mut self, id: &str) -> Option<Owner> {
        if let Some(known) = self.owners.get(id) {
            return known.clone();
        }
        let sql = "SELECT 'tenants', hex(id), NULL, NULL FROM tenants WHERE id = ?1
            UNION ALL SELECT 'workspaces', hex(tenant_id), hex(id), NULL FROM workspaces WHERE id = ?1
            UNION ALL SELECT 'projects', hex(tenant_id), hex(workspace_id), NULL FROM projects WHERE id = ?1
            UNION ALL SELECT 'computers', hex(tenant_id), hex(workspace_id), external_user_id FROM computers WHERE id = ?1
            UNION ALL SELECT 'api-keys', hex(tenant_id), hex(workspace_id), external_user_id FROM api_keys WHERE id = ?1
            UNION ALL SELECT 'webhooks', hex(tenant_id), NULL, NULL FROM webhooks WHERE id = ?1
            UNION ALL SELECT 'deliveries', hex(tenant_id), NULL, NULL FROM webhook_deliveries WHERE id = ?1";
        let bytes = uuid::Uuid::parse_str(id).unwrap().into_bytes();
        let found = self.s.app.store.read_blocking(move |tx| {
            let mut statement = tx.prepare(sql)?;
            let rows = statement.query_map([bytes.as_slice()], |row| {
                let hyphenated = |text: Option<String>| {
                    text.filter(|t| !t.is_empty())
                        .map(|t| uuid::Uuid::parse_str(&t).unwrap().to_string())
                };
                Ok(Owner {
                    kind: match row.get::<_, String>(0)?.as_str() {
                        "tenants" => "tenants",
                        "workspaces" => "workspaces",
                        "projects" => "projects",
                        "computers" => "computers",
                        "webhooks" => "webhooks",
                        "deliveries" => "deliveries",
                        _ => "api-keys",
                    },
                    tenant: hyphenated(row.get(1)?).unwrap_or_default(),
                    workspace: hyphenated(row.get(2)?),
                    user: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.pop())
        });
        let found = found.unwrap();
        // What moves is looked up again.
        if found.as_ref().is_none_or(|owner| owner.kind == "tenants") {
            self.owners.insert(id.to_owned(), found.clone());
        }
        found
    }

    /// What the answer shows that it must not. What tells of the past may show things that have since
    /// been moved out of a limited key's reach, but never out of its organization.
    fn leaks(&mut self, asker: usize, sent: &str, shown: &str, past: bool) -> Vec<String> {
        let asker = &self.askers[asker];
        let (tenant, tenant_id) = (asker.tenant, asker.tenant_id.clone());
        let (workspace, user) = (asker.workspace.clone(), asker.user.clone());
        let words = self
            .words
            .iter()
            .filter(|word| sent.contains(word.as_str()));
        self.told[tenant].extend(words.cloned());
        let foreign_words = self.told[tenant]
            .iter()
            .rev() // the longer of two that begin alike first
            .fold(shown.to_owned(), |text, word| {
                text.replace(word.as_str(), "")
            });
        let mut leaks: Vec<String> = (0..TENANTS)
            .filter(|owner| *owner != tenant)
            .map(secret)
            .filter(|word| foreign_words.contains(word.as_str()))
            .collect();
        for id in uuids(shown).difference(&uuids(sent)) {
            let Some(owner) = self.owner(id) else {
                continue;
            };
            let foreign = owner.tenant != tenant_id;
            let elsewhere = matches!(owner.kind, "workspaces" | "projects" | "computers")
                && workspace.is_some()
                && owner.workspace != workspace;
            let anothers = owner.kind == "computers" && user.is_some() && owner.user != user;
            if foreign || (!past && (elsewhere || anothers)) {
                leaks.push(format!("{id} {owner:?}"));
            }
        }
        leaks
    }

    /// All rows of everybody else, for "nothing of it has changed".
    fn others(&self, tenant: usize) -> String {
        let own: Vec<u8> = uuid::Uuid::parse_str(&self.things[tenant][1].1)
            .unwrap()
            .into_bytes()
            .into();
        let read = self.s.app.store.read_blocking(move |tx| {
            let mut all = String::new();
            for table in ["workspaces", "projects", "computers", "api_keys", "preview_domains", "compute_events"] {
                let columns: String = tx.query_row(
                    "SELECT group_concat('quote(' || name || ')', '||') FROM pragma_table_info(?1) WHERE name <> 'last_used_at'",
                    [table],
                    |row| row.get(0),
                )?;
                let sql = format!("SELECT coalesce(group_concat({columns}), '') FROM {table} WHERE tenant_id <> ?1");
                all += &tx.query_row(&sql, [&own], |row| row.get::<_, String>(0))?;
            }
            // Whoever sends something sends what waits for others too; what they set and what is told stays.
            for sql in [
                "SELECT coalesce(group_concat(quote(id) || name || url || events || enabled || secret || retry_count), '')
                 FROM webhooks WHERE tenant_id <> ?1",
                "SELECT coalesce(group_concat(quote(id) || quote(webhook_id) || body), '')
                 FROM webhook_deliveries WHERE tenant_id <> ?1",
            ] {
                all += &tx.query_row(sql, [&own], |row| row.get::<_, String>(0))?;
            }
            Ok(all)
        });
        read.unwrap()
    }
}

fn uuids(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_hexdigit() && c != '-')
        .filter(|part| part.len() == 36 && uuid::Uuid::parse_str(part).is_ok())
        .map(str::to_owned)
        .collect()
}

/// The dice of one round.
struct Dice(TestRng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Any id of any tenant, or of the kind that is asked for.
fn some_id(world: &World, dice: &mut Dice, kind: &str) -> String {
    let tenant = dice.below(TENANTS);
    let all = &world.things[tenant];
    let fitting: Vec<_> = all.iter().filter(|(of, _)| *of == kind).collect();
    if fitting.is_empty() || dice.one_in(12) {
        return dice.pick(all).1.clone();
    }
    dice.pick(&fitting).1.clone()
}

/// One value of a field or parameter, by its name.
fn value(world: &World, dice: &mut Dice, name: &str) -> Value {
    match name {
        "workspace_id" | "to_workspace_id" | "target_workspace_id" => {
            some_id(world, dice, "workspaces").into()
        }
        "project_id" => some_id(world, dice, "projects").into(),
        "computer_id" | "subject" => some_id(world, dice, "computers").into(),
        "actor_id" => some_id(world, dice, "api-keys").into(),
        "resource_id" => some_id(world, dice, "projects").into(),
        "size" => (*dice.pick(&["xs", "small", "large"])).into(),
        "url" => format!("http://127.0.0.1:1024/{}", dice.pick(&world.words)).into(),
        "events" => json!(["*"]),
        "enabled" => dice.one_in(2).into(),
        "cursor" => some_id(world, dice, "deliveries").into(),
        "format" => "csv".into(),
        "group_by" => (*dice.pick(&["workspace", "project", "computer", "external_user"])).into(),
        "range" => (*dice.pick(&["24h", "7d", "30d"])).into(),
        "limit" | "page" | "page_size" => dice.below(6).to_string().into(),
        "force" | "dry_run" => (*dice.pick(&["true", "false"])).into(),
        _ => dice.pick(&world.words).clone().into(),
    }
}

const FIELDS: [&str; 19] = [
    "url",
    "events",
    "enabled",
    "name",
    "slug",
    "workspace_id",
    "workspace_slug",
    "external_workspace_id",
    "project_id",
    "project_slug",
    "external_project_id",
    "external_user_id",
    "size",
    "description",
    "domain",
    "computer_id",
    "resource_id",
    "capability",
    "key",
];
const PARAMETERS: [&str; 21] = [
    "cursor",
    "workspace_id",
    "project_id",
    "computer_id",
    "external_user_id",
    "external_workspace_id",
    "external_project_id",
    "q",
    "search",
    "actor_id",
    "resource_id",
    "format",
    "group_by",
    "range",
    "limit",
    "page",
    "page_size",
    "force",
    "dry_run",
    "slug",
    "name",
];

/// A request on a route, its text for "this was sent", and its headers.
fn request(
    world: &World,
    dice: &mut Dice,
    route: &Route,
) -> (String, Option<Value>, Option<String>) {
    let kind = route
        .path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or("")
        .to_owned();
    let mut path = route
        .path
        .replace("{id}", &some_id(world, dice, &kind))
        .replace("{did}", &some_id(world, dice, "deliveries"))
        .replace("{lid}", &some_id(world, dice, "deliveries"))
        .replace("{name}", "small")
        .replace("{number}", "1");
    let query: Vec<String> = PARAMETERS
        .iter()
        .filter(|_| dice.one_in(8))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|name| format!("{name}={}", value(world, dice, name).as_str().unwrap_or("")))
        .collect();
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let body = (route.method != "GET").then(|| {
        let mut body = Map::new();
        for name in FIELDS {
            if dice.one_in(3) {
                body.insert(name.into(), value(world, dice, name));
            }
        }
        if route.path == "/compute-events" {
            let event = |dice: &mut Dice| json!({
                "id": format!("e{}", dice.below(50)), "type": "computer.started", "subject": value(world, dice, "subject"), "time": "2026-05-20T10:16:00Z",
                "data": { "workspace_id": value(world, dice, "workspace_id") },
            });
            body.insert("events".into(), json!([event(dice), event(dice)]));
        }
        Value::Object(body)
    });
    let repeat = dice.one_in(4).then(|| format!("key-{}", dice.below(3)));
    (path, body, repeat)
}

#[test]
fn no_answer_shows_what_is_somebody_elses() {
    let rounds = (Cases::default().cases / 16).max(1);
    let mut runner = TestRunner::new(Cases {
        cases: rounds,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Cases::default()
    });
    let table: Vec<Route> = routes::table();
    let fired = std::cell::RefCell::new(BTreeMap::<u16, usize>::new());
    runner
        .run(&any::<[u8; 32]>(), |seed| {
            let mut dice = Dice(TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
            let mut world = World::new();
            let streams: Vec<_> = (0..world.askers.len()).map(|n| stream(&world, n)).collect();
            for _ in 0..REQUESTS {
                let route = dice.pick(&table);
                if route.content != "application/json"
                    || route.access.reach == Reach::Operator && !dice.one_in(5)
                {
                    continue;
                }
                let asker = dice.below(world.askers.len());
                let (path, body, repeat) = request(&world, &mut dice, route);
                let mut request = crate::harness::request(
                    &world.askers[asker].key,
                    &route.method,
                    &path,
                    body.clone(),
                );
                if let Some(key) = &repeat {
                    request
                        .headers_mut()
                        .insert("idempotency-key", key.parse().unwrap());
                }
                let tenant = world.askers[asker].tenant;
                let writes = route.method != "GET";
                let before = if writes {
                    world.others(tenant)
                } else {
                    String::new()
                };
                let answer = world.s.send(request);
                *fired
                    .borrow_mut()
                    .entry(answer.status.as_u16())
                    .or_default() += 1;
                let sent = format!("{path} {}", body.unwrap_or_default());
                let told = format!("{} {} {sent}: {}", route.method, answer.status, answer.text);
                prop_assert!(answer.status.as_u16() < 500, "{told}");
                let shown = format!("{} {:?}", answer.text, answer.headers);
                let leaks = world.leaks(asker, &sent, &shown, route.path == "/audit-log");
                prop_assert!(leaks.is_empty(), "tenant {tenant} saw {leaks:?} in {told}");
                if writes {
                    prop_assert!(
                        before == world.others(tenant),
                        "tenant {tenant} changed what is not its own: {told}"
                    );
                }
            }
            for (asker, body) in streams.into_iter().enumerate() {
                let shown = drain(body);
                let leaks = world.leaks(asker, "", &shown, true);
                prop_assert!(
                    leaks.is_empty(),
                    "asker {asker} was streamed {leaks:?}: {shown}"
                );
            }
            Ok(())
        })
        .unwrap();
    let fired = fired.into_inner();
    println!(
        "{} requests by status: {fired:?}",
        fired.values().sum::<usize>()
    );
    for status in [200, 201, 403, 404, 422] {
        assert!(
            fired.contains_key(&status),
            "{status} never came: {fired:?}"
        );
    }
}

/// A live stream that begins before the first request.
fn stream(world: &World, asker: usize) -> Option<Body> {
    let request = Request::get("/api/v1/events/stream")
        .header(
            "authorization",
            format!("Bearer {}", world.askers[asker].key),
        )
        .body(Body::empty())
        .unwrap();
    let response = runtime()
        .block_on(world.s.router.clone().oneshot(request))
        .unwrap();
    (response.status() == 200).then(|| response.into_body())
}

/// What has been streamed so far.
fn drain(body: Option<Body>) -> String {
    let Some(mut body) = body else {
        return String::new();
    };
    runtime().block_on(async {
        let mut text = String::new();
        while let Ok(Some(Ok(frame))) =
            tokio::time::timeout(std::time::Duration::from_millis(20), body.frame()).await
        {
            text += &frame
                .data_ref()
                .map(|data| String::from_utf8_lossy(data))
                .unwrap_or_default();
        }
        text
    })
}
