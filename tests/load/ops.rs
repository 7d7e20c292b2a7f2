//! Hot operations, each done a given number of times through the router: what `tests/load/instructions`
//! counts the instructions of.
//!
//! `ops OPERATION COUNT`

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that fails has nothing to say"
)]

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use workspaced::testing::App;
use workspaced::testing::NewKey;
use workspaced::testing::Store;
use workspaced::testing::{Actor, router, run_due, tenants};
use workspaced::testing::{Clock, Timestamp};
use workspaced::testing::{Config, Delays};

const WORKSPACES: usize = 60;

struct Service {
    app: App,
    clock: Clock,
    router: Router,
    key: String,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Service {
    fn new() -> Service {
        let dir = tempfile::TempDir::new().unwrap();
        let clock = Clock::manual(Timestamp::parse("2026-05-20T10:15:30Z").unwrap());
        let delays = Delays {
            provision_ms: 0,
            start_ms: 0,
            stop_ms: 0,
        };
        let config = Config {
            delays,
            readers: 1,
            ..Config::default()
        };
        let store = Store::open(&dir.path().join("workspaced.db"), clock.clone(), 1).unwrap();
        let file = config.file.clone();
        let first = store.write_blocking(move |tx| {
            tenants::insert(
                tx,
                &file,
                Actor::Operator,
                "acme",
                "acme",
                0,
                NewKey::operator(),
            )
        });
        let app = App::new(store, config);
        Service {
            router: router(app.clone()),
            app,
            clock,
            key: first.unwrap().key.secret().to_owned(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            _dir: dir,
        }
    }

    fn call(&self, method: Method, path: &str, body: Option<&str>) -> Vec<u8> {
        self.call_once(method, path, body, None)
    }

    /// With an Idempotency-Key.
    fn call_once(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        once: Option<String>,
    ) -> Vec<u8> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        if let Some(once) = once {
            request = request.header("idempotency-key", once);
        }
        let request = request
            .body(body.map_or_else(Body::empty, |text| Body::from(text.to_owned())))
            .unwrap();
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            assert!(
                response.status().is_success(),
                "{path}: {}",
                response.status()
            );
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec()
        })
    }

    fn id_of(&self, path: &str, body: &Value) -> String {
        let reply = self.call(Method::POST, path, Some(&body.to_string()));
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        reply["id"].as_str().unwrap().to_owned()
    }

    /// Lets what is due happen.
    fn run_due(&self) {
        let app = self.app.clone();
        self.app
            .store
            .write_blocking(move |tx| run_due(tx, &app.fleet, 500))
            .unwrap();
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let operation = arguments.next().expect("an operation");
    let count: usize = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .expect("how many times");

    let s = Service::new();
    let new = |n: usize| json!({ "name": format!("Clinic {n}"), "slug": format!("clinic-{n}") });
    let workspaces: Vec<String> = (0..WORKSPACES)
        .map(|n| s.id_of("/workspaces", &new(n)))
        .collect();
    let machine = |n: usize, driver: &str| json!({ "name": format!("pc-{n}"), "workspace_id": workspaces[0], "size": "small", "driver": driver });
    let computer = s.id_of("/computers", &machine(0, "simulated"));
    let agents: Vec<String> = (1..=10)
        .map(|n| s.id_of("/computers", &machine(n, "external")))
        .collect();
    s.run_due();
    let mut events = 0;
    // In order, a second apart, as an agent reports them: the newest end of an hour.
    let mut batch = || {
        let events: Vec<Value> = (0..100)
            .map(|_| {
                events += 1;
                let turn = events / agents.len();
                let at = s.clock.now().0 - 3_600_000 + i64::try_from(turn).unwrap() * 1000;
                json!({
                    "id": format!("e-{events}"), "type": if turn.is_multiple_of(2) { "computer.started" } else { "computer.stopped" },
                    "subject": agents[events % agents.len()], "time": Timestamp(at).to_string(), "data": {},
                })
            })
            .collect();
        json!({ "events": events }).to_string()
    };
    s.clock.set(s.clock.now().plus_seconds(31 * 86_400));
    for _ in 0..10 {
        s.call(Method::POST, "/compute-events", Some(&batch()));
    }

    let one = format!("/workspaces/{}", workspaces[30]);
    let usage = format!(
        "/workspaces/{}/usage?window=30d&granularity=hour",
        workspaces[0]
    );
    for n in 0..count {
        match operation.as_str() {
            "get_workspace" => drop(s.call(Method::GET, &one, None)),
            "list_50" => drop(s.call(Method::GET, "/workspaces?limit=50", None)),
            "create_workspace" | "create_once" => {
                let once = (operation == "create_once").then(|| format!("key-{n}"));
                let body = new(WORKSPACES + n).to_string();
                drop(s.call_once(Method::POST, "/workspaces", Some(&body), once));
            }
            "stop_and_start" => {
                for turn in ["stop", "start"] {
                    s.call(
                        Method::POST,
                        &format!("/computers/{computer}/{turn}"),
                        Some("{}"),
                    );
                    s.run_due();
                }
            }
            "ingest_100" => drop(s.call(Method::POST, "/compute-events", Some(&batch()))),
            "usage_30d_hour" => drop(s.call(Method::GET, &usage, None)),
            other => panic!("there is no operation {other}"),
        }
    }
    s.app.store.close();
}
