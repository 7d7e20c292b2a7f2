//! What every test stands on: the whole service behind its router, a real database file in a
//! temporary directory, and a clock held by hand. Nothing sleeps and nothing listens.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use workspaced::testing::App;
use workspaced::testing::Config;
use workspaced::testing::KeyType;
use workspaced::testing::NewKey;
use workspaced::testing::Store;
use workspaced::testing::{Actor, BASE, router, run_due, tenants};
use workspaced::testing::{Clock, Timestamp};

/// Where every clock starts: a Wednesday, a quarter past ten, off every boundary.
pub const START: &str = "2026-05-20T10:15:30Z";

/// The instant of a text in RFC 3339.
pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|| panic!("{text} is not RFC 3339"))
}

/// A service with one organization (`acme`) and one key that may do everything in it.
pub struct Service {
    pub app: App,
    pub router: Router,
    pub clock: Clock,
    /// Operator key of `acme`.
    pub key: String,
    pub tenant_id: String,
    pub default_workspace: String,
    pub dir: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text))
    }

    /// The body, if the status is `status`.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// Checks status, code and the one error body; returns the message.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> String {
        let body = self.expect(status);
        let id = self.headers["x-request-id"].to_str().unwrap();
        assert!(id.starts_with("req_"), "{id}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty());
        assert_eq!(body["code"], code, "{}", self.text);
        assert_eq!(body["error"]["code"], code);
        assert_eq!(body["error"]["request_id"], id);
        assert_eq!(body["request_id"], id);
        assert_eq!(body["message"], message);
        assert!(body["error"]["details"].is_object(), "{}", self.text);
        message.to_owned()
    }

    /// Checks a 422 with texts on these fields, and returns the body.
    #[track_caller]
    pub fn invalid(&self, fields: &[&str]) -> Value {
        self.refused(422, "VALIDATION_FAILED");
        let body = self.json();
        let named: Vec<_> = body["errors"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(named, fields, "{}", self.text);
        assert_eq!(body["errors"], body["error"]["details"]);
        body
    }
}

impl Service {
    /// With the defaults: each transition takes a second of the clock.
    pub fn new() -> Service {
        Service::with(Config::default())
    }

    /// With a configuration of its own.
    pub fn with(config: Config) -> Service {
        Service::by(Clock::manual(at(START)), config)
    }

    /// By another clock.
    pub fn by(clock: Clock, config: Config) -> Service {
        let dir = TempDir::new().unwrap();
        let store = Store::open(
            &dir.path().join("workspaced.db"),
            clock.clone(),
            config.readers,
        )
        .unwrap();
        let app = App::new(store, config);
        let router = router(app.clone());
        let mut service = Service {
            app,
            router,
            clock,
            key: String::new(),
            tenant_id: String::new(),
            default_workspace: String::new(),
            dir,
        };
        let (key, tenant, workspace) = service.tenant("acme", NewKey::operator());
        (service.key, service.tenant_id, service.default_workspace) = (key, tenant, workspace);
        service
    }

    /// Stops it and starts it again.
    pub fn restart(&mut self) {
        self.app.store.close();
        let path = self.dir.path().join("workspaced.db");
        let config = (*self.app.config).clone();
        let store = Store::open(&path, self.clock.clone(), config.readers).unwrap();
        self.app = App::new(store, config);
        self.router = router(self.app.clone());
    }

    /// Another organization: its first key, its id, its default workspace.
    pub fn tenant(&self, slug: &str, key: NewKey) -> (String, String, String) {
        let (file, slug) = (self.app.config.file.clone(), slug.to_owned());
        let new = self
            .app
            .store
            .write_blocking(move |tx| {
                tenants::insert(tx, &file, Actor::Operator, &slug, &slug, 0, key)
            })
            .unwrap();
        (
            new.key.secret().to_owned(),
            new.id.to_string(),
            new.default_workspace.to_string(),
        )
    }

    /// Another organization with an ordinary key: `(key, default workspace)`.
    pub fn other_tenant(&self, slug: &str) -> (String, String) {
        let key = NewKey {
            key_type: KeyType::Admin,
            ..NewKey::named("first")
        };
        let (key, _, workspace) = self.tenant(slug, key);
        (key, workspace)
    }

    /// Sends a request as it is.
    pub fn send(&self, request: Request<Body>) -> Answer {
        runtime().block_on(self.send_async(request))
    }

    /// [`Service::send`] from inside a runtime.
    pub async fn send_async(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        // A stream of events has no end; who wants its events reads them itself.
        let endless = parts
            .headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/event-stream");
        let bytes = if endless {
            Default::default()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// A request under a key of its own. A path that does not start with `/api` is one of the API.
    pub fn call_as(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(request(key, &method, path, body))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call_as(&self.key, Method::GET, path, None)
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.call_as(&self.key, Method::POST, path, Some(body))
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.call_as(&self.key, Method::PUT, path, Some(body))
    }

    pub fn patch(&self, path: &str, body: Value) -> Answer {
        self.call_as(&self.key, Method::PATCH, path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call_as(&self.key, Method::DELETE, path, None)
    }

    /// Sets the clock, and lets everything happen that falls due until then.
    pub fn travel_to(&self, to: Timestamp) {
        self.clock.set(to);
        self.run_due();
    }

    /// Moves the clock on, and lets everything happen that falls due until then.
    pub fn advance(&self, seconds: i64) {
        self.travel_to(self.app.store.now().plus_seconds(seconds));
    }

    /// What the driver's loop does, once.
    pub fn run_due(&self) {
        loop {
            let app = self.app.clone();
            let done = self
                .app
                .store
                .write_blocking(move |tx| run_due(tx, &app.fleet, 500))
                .unwrap();
            if done < 500 {
                break;
            }
        }
    }

    /// A new workspace; its id.
    pub fn workspace(&self, name: &str) -> String {
        let body = self
            .post("/workspaces", json!({ "name": name }))
            .expect(201);
        body["id"].as_str().unwrap().to_owned()
    }

    /// A new computer of a workspace, still provisioning; its id.
    pub fn computer(&self, workspace: &str, size: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("pc-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let body = json!({ "name": name, "workspace_id": workspace, "size": size });
        self.post("/computers", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A new computer that runs, a second later.
    pub fn running(&self, workspace: &str, size: &str) -> String {
        let id = self.computer(workspace, size);
        self.advance(1);
        assert_eq!(
            self.get(&format!("/computers/{id}")).expect(200)["status"],
            "running"
        );
        id
    }

    /// One number from the database.
    pub fn count(&self, sql: &str) -> i64 {
        let sql = sql.to_owned();
        self.app
            .store
            .read_blocking(move |tx| Ok(tx.query_row(&sql, [], |row| row.get(0))?))
            .unwrap()
    }

    /// All rows that a customer could miss or find too many, for "nothing has changed".
    pub fn fingerprint(&self) -> Vec<i64> {
        [
            "workspaces",
            "projects",
            "computers",
            "compute_events",
            "api_keys",
            "preview_domains",
            "webhooks",
            "webhook_deliveries",
            "audit_log",
        ]
        .map(|table| self.count(&format!("SELECT count(*) FROM {table}")))
        .into()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.app.store.close();
    }
}

/// A request of the API under a key; JSON if there is a body.
pub fn request(key: &str, method: &Method, path: &str, body: Option<Value>) -> Request<Body> {
    let prefix = if path.starts_with("/api") && !path.starts_with("/api-keys") {
        ""
    } else {
        BASE
    };
    let builder = Request::builder()
        .method(method)
        .uri(format!("{prefix}{path}"));
    let builder = if key.is_empty() {
        builder
    } else {
        builder.header("authorization", format!("Bearer {key}"))
    };
    match body {
        Some(body) => builder
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
        None => builder.body(Body::empty()),
    }
    .unwrap()
}

/// One runtime a thread: tests are plain functions.
pub fn runtime() -> std::rc::Rc<tokio::runtime::Runtime> {
    thread_local! {
        static RUNTIME: std::rc::Rc<tokio::runtime::Runtime> =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().into();
    }
    RUNTIME.with(std::rc::Rc::clone)
}

/// Replaces ids and times by their kind, after checking that they are of that kind.
pub fn redact(mut value: Value) -> Value {
    fn walk(key: &str, value: &mut Value) {
        match value {
            Value::Array(rows) => rows.iter_mut().for_each(|row| walk(key, row)),
            Value::Object(map) => map.iter_mut().for_each(|(key, value)| walk(key, value)),
            Value::String(text)
                if key == "id" || key.ends_with("_id") && uuid::Uuid::try_parse(text).is_ok() =>
            {
                assert!(uuid::Uuid::try_parse(text).is_ok(), "{key}: {text}");
                *text = "[uuid]".into();
            }
            Value::String(text) if key.ends_with("_at") => {
                assert!(
                    text.ends_with('Z') && Timestamp::parse(text).is_some(),
                    "{key}: {text}"
                );
                *text = "[time]".into();
            }
            _ => {}
        }
    }
    walk("", &mut value);
    value
}

/// A request with an Idempotency-Key.
pub fn keyed(
    s: &Service,
    api_key: &str,
    method: Method,
    path: &str,
    key: &str,
    body: Value,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {api_key}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()))
        .unwrap();
    s.send(request)
}
