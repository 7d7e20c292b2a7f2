//! What every target stands on: the whole service behind its router, over a database file that is
//! made anew after some thousand inputs, so that a crash does not depend on hours of them.

use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, Uri};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use workspaced::testing::NewKey;
use workspaced::testing::App;
use workspaced::testing::{Actor, router, tenants};
use workspaced::testing::{Clock, Timestamp};
use workspaced::testing::Config;
use workspaced::testing::Store;

/// Inputs after which the service is made anew.
const INPUTS: u32 = 2000;
/// Inputs after which the usage is computed again from the events and compared.
const CHECKED: u32 = 250;

/// A service with one organization that has a workspace, a project and an external computer.
pub struct Service {
    router: Router,
    runtime: Runtime,
    key: String,
    /// What a target may name in its input, and what stands there for it: `$W` the workspace, `$P`
    /// the project, `$C` the computer, `$T` the organization.
    ids: [(&'static str, String); 4],
    inputs: u32,
    _dir: TempDir,
}

/// An answer, read to its end.
pub struct Answer {
    /// Below 500, always.
    pub status: StatusCode,
    /// The body.
    pub body: Vec<u8>,
}

impl Service {
    fn new() -> Service {
        let dir = TempDir::new().unwrap();
        let clock = Clock::manual(Timestamp::parse("2026-05-20T10:15:30Z").unwrap());
        let config = Config {
            readers: 1,
            ..Config::default()
        };
        let store = Store::open(&dir.path().join("workspaced.db"), clock.clone(), 1).unwrap();
        let file = config.file.clone();
        let first = store
            .write_blocking(move |tx| {
                tenants::insert(
                    tx,
                    &file,
                    Actor::Operator,
                    "acme",
                    "acme",
                    0,
                    NewKey::operator(),
                )
            })
            .unwrap();
        let mut service = Service {
            router: router(App::new(store, config)),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            key: first.key.secret().to_owned(),
            ids: ["$W", "$P", "$C", "$T"].map(|name| (name, String::new())),
            inputs: 0,
            _dir: dir,
        };
        let workspace = service.made("/workspaces", r#"{"name":"Fuzzed"}"#.to_owned());
        let project = format!(r#"{{"name":"p","workspace_id":"{workspace}"}}"#);
        let project = service.made("/projects", project);
        let computer =
            format!(r#"{{"name":"pc","workspace_id":"{workspace}","driver":"external"}}"#);
        let computer = service.made("/computers", computer);
        for ((_, id), made) in
            service
                .ids
                .iter_mut()
                .zip([workspace, project, computer, first.id.to_string()])
        {
            *id = made;
        }
        clock.set(clock.now().plus_seconds(3600));
        service
    }

    fn made(&self, path: &str, body: String) -> String {
        let answer = self.send("POST", path, "application/json", body.into_bytes());
        let answer: Value = serde_json::from_slice(&answer.unwrap().body).unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    /// The text with ids in the place of their names.
    pub fn filled(&self, text: &str) -> String {
        self.ids
            .iter()
            .fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    /// Whatever was taken has to add up.
    fn adds_up(&self) {
        let answer = self.send("GET", "/usage/verify", "application/json", Vec::new());
        let answer: Value = serde_json::from_slice(&answer.unwrap().body).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
    }

    /// Sends one request; `None` where the path is no part of an address. Whatever it was, the
    /// service has to answer it, with the one error body where it refuses.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Option<Answer> {
        let uri: Uri = format!("/api/v1{path}").parse().ok()?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", content_type)
            .body(Body::from(body))
            .ok()?;
        self.runtime.block_on(async {
            let reply = self.router.clone().oneshot(request).await.unwrap();
            let status = reply.status();
            let body = reply
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec();
            let text = String::from_utf8_lossy(&body);
            assert!(status.as_u16() < 500, "{method} {path}: {status} {text}");
            if !status.is_success() {
                let error: Value = serde_json::from_slice(&body).unwrap();
                for member in ["code", "message", "request_id"] {
                    assert!(
                        error["error"][member].is_string(),
                        "{method} {path}: {status} {text}"
                    );
                }
            }
            Some(Answer { status, body })
        })
    }
}

/// Never dropped: at the end of the process its runtime could not end in order.
static SERVICE: Mutex<Option<Service>> = Mutex::new(None);

/// Runs `f` on the service of this process.
pub fn with_service(f: impl FnOnce(&Service)) {
    let mut slot = SERVICE.lock().unwrap();
    if slot
        .as_ref()
        .is_some_and(|service| service.inputs >= INPUTS)
    {
        *slot = None;
    }
    let service = slot.get_or_insert_with(Service::new);
    service.inputs += 1;
    f(service);
    if service.inputs % CHECKED == 0 {
        service.adds_up();
    }
}

/// A text as a query parameter.
pub fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}
