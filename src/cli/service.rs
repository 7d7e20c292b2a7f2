//! A service as its clients reach it: over HTTP, with a key.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::Failure;
use super::output::Output;
use crate::ids::parse_uuid;
use crate::rules::config::ClientArgs;
use crate::rules::hosted::BASE;
use crate::rules::text::printable;

/// How long a reply may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Rows of a page.
const PAGE: usize = 100;

/// The fields that were given.
pub(super) fn given(fields: &[(&str, Option<Value>)]) -> Value {
    let given = fields
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
    Value::Object(given.collect())
}

pub(super) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// The service that is talked to.
pub(super) struct Service {
    agent: Agent,
    /// Its address, without the prefix of the API.
    base: String,
    key: String,
    /// As which organization an operator acts.
    tenant: Option<String>,
    /// How what it answers is shown.
    pub(super) out: Output,
}

impl Service {
    pub(super) fn new(args: ClientArgs) -> Result<Self, Failure> {
        Service::patient(args, PATIENCE)
    }

    pub(super) fn patient(args: ClientArgs, patience: Duration) -> Result<Self, Failure> {
        // A key from a file of secrets often has the end of its line along.
        let key = args
            .api_key
            .as_deref()
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let key = key.map(str::to_owned).ok_or_else(|| {
            Failure::Usage("there is no API key: export MIOSA_API_KEY=msk_...".into())
        })?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            // What is asked is named; a proxy of the environment is not.
            .proxy(None)
            .user_agent(concat!("workspaced/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let base = args.base_url.trim().trim_end_matches('/');
        let base = base.strip_suffix(BASE).unwrap_or(base).to_owned();
        Ok(Service {
            agent,
            base,
            key,
            out: Output::new(&args)?,
            tenant: args.tenant.filter(|tenant| !tenant.is_empty()),
        })
    }

    /// What says who asks, and for which organization.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let key = ("authorization", format!("Bearer {}", self.key));
        let tenant = self.tenant.clone().map(|tenant| ("x-miosa-tenant", tenant));
        [key].into_iter().chain(tenant).collect()
    }

    /// A request to the API with whatever body; a reply of 2xx.
    fn exchange(
        &self,
        request: Builder,
        path: &str,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, Failure> {
        self.reach(request, &format!("{BASE}{path}"), body)
    }

    /// A request to whatever the service has.
    fn reach(
        &self,
        request: Builder,
        path: &str,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, Failure> {
        let base = &self.base;
        let failed = |e: &dyn std::fmt::Display| {
            Failure::Fatal(format!(
                "{base}: {e}; is the service running, and MIOSA_BASE_URL its address?"
            ))
        };
        let mut request = request.uri(format!("{base}{path}"));
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|e| failed(&e))?;
        let mut reply = self.agent.run(request).map_err(|e| failed(&e))?;
        let status = reply.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(reply);
        }
        let body: Value = reply.body_mut().read_json().map_err(|e| failed(&e))?;
        let message = format!(
            "{} ({}, request {})",
            printable(body["message"].as_str().unwrap_or("refused")),
            body["code"].as_str().unwrap_or("no code"),
            body["request_id"].as_str().unwrap_or("unknown"),
        );
        Err(match status {
            401 | 403 => Failure::Denied(message),
            404 => Failure::Missing(message),
            400..500 => Failure::Usage(message),
            _ => Failure::Fatal(message),
        })
    }

    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let request = Request::builder()
            .method(method)
            .header("content-type", "application/json");
        let mut reply = match body {
            Some(body) => self.exchange(request, path, body.to_string().as_str().as_body())?,
            None => self.exchange(request, path, SendBody::none())?,
        };
        reply
            .body_mut()
            .read_json()
            .map_err(|e| Failure::Fatal(e.to_string()))
    }

    /// A reply that is no JSON, compressed.
    pub(super) fn download(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let request = Request::builder().header("accept-encoding", "gzip");
        let reply = self.exchange(request, path, SendBody::none())?;
        Ok(reply.into_body().into_reader())
    }

    /// A reply that is a file.
    pub(super) fn bytes(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let reply = self.exchange(Request::builder(), path, SendBody::none())?;
        Ok(reply.into_body().into_reader())
    }

    /// A file as a form.
    pub(super) fn form(&self, path: &str, to: &str, file: impl Read) -> Result<(), Failure> {
        const MARK: &str = "workspaced-4f1d9b7a0c52-end-of-part";
        let head = format!(
            "--{MARK}\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n{to}\r\n--{MARK}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\r\n"
        );
        let tail = format!("\r\n--{MARK}--\r\n");
        let mut body = head.as_bytes().chain(file).chain(tail.as_bytes());
        let request = Request::builder().method(Method::POST).header(
            "content-type",
            format!("multipart/form-data; boundary={MARK}"),
        );
        self.exchange(request, path, SendBody::from_reader(&mut body))?;
        Ok(())
    }

    /// A body that is no JSON.
    pub(super) fn upload(&self, path: &str, mut body: impl Read) -> Result<Value, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .header("content-type", crate::export::CONTENT);
        let mut reply = self.exchange(request, path, SendBody::from_reader(&mut body))?;
        reply
            .body_mut()
            .read_json()
            .map_err(|e| Failure::Fatal(e.to_string()))
    }

    /// The address of a page that signs its first visitor in.
    pub(super) fn sign_in_link(&self) -> Result<String, Failure> {
        let request = Request::builder().method(Method::POST);
        let reply = self.reach(request, "/admin/session/link", SendBody::none());
        let mut reply = reply.map_err(|e| match e {
            Failure::Missing(_) => Failure::Missing(
                "the admin page is not at this address: give that of --admin-listen with --base-url".into(),
            ),
            e => e,
        })?;
        let body: Value = reply
            .body_mut()
            .read_json()
            .map_err(|e| Failure::Fatal(e.to_string()))?;
        let path = body["path"].as_str().unwrap_or("/admin");
        Ok(format!("{}{path}", self.base))
    }

    /// The address of a WebSocket, and the headers that open it.
    pub(super) fn socket(&self, path: &str) -> (String, Vec<(&'static str, String)>) {
        let base = match self.base.strip_prefix("https://") {
            Some(rest) => format!("wss://{rest}"),
            None => format!("ws://{}", self.base.trim_start_matches("http://")),
        };
        (format!("{base}{BASE}{path}"), self.headers())
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None)
    }

    /// All rows of a list.
    pub(super) fn all(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        let mut rows = Vec::new();
        loop {
            let (limit, offset) = (PAGE.to_string(), rows.len().to_string());
            let mut query = query.to_vec();
            query.extend([("limit", limit.as_str()), ("offset", offset.as_str())]);
            let mut page = self.get(&with_query(path, &query))?;
            let Value::Array(found) = page["data"].take() else {
                return Ok(rows);
            };
            let last = found.len() < PAGE;
            rows.extend(found);
            if last {
                return Ok(rows);
            }
        }
    }

    /// The id of a workspace that is named by id, slug or external id.
    pub(super) fn workspace(&self, name: &str) -> Result<String, Failure> {
        if parse_uuid(name).is_some() {
            return Ok(name.to_owned());
        }
        let query = match name.strip_prefix("external:") {
            Some(external) => ("external_workspace_id", external),
            None => ("slug", name),
        };
        let found = self.get(&with_query("/workspaces", &[query]))?;
        let id = found["data"][0]["id"].as_str();
        id.map(str::to_owned).ok_or_else(|| {
            Failure::Missing(format!(
                "there is no workspace {name}; see `workspaced ws ls`"
            ))
        })
    }

    /// The id of a computer that is named by id, name or slug.
    pub(super) fn computer(&self, name: &str) -> Result<String, Failure> {
        if parse_uuid(name).is_some() {
            return Ok(name.to_owned());
        }
        let rows = self.all("/computers", &[])?;
        let ids = |field: &str| -> Vec<&str> {
            let same = rows.iter().filter(|row| row[field] == name);
            same.filter_map(|row| row["id"].as_str()).collect()
        };
        match (ids("slug").as_slice(), ids("name").as_slice()) {
            ([id], _) | ([], [id]) => Ok((*id).to_owned()),
            ([], []) => Err(Failure::Missing(format!(
                "there is no computer {name}; see `workspaced computers ls`"
            ))),
            (_, ids) => Err(Failure::Usage(format!(
                "{} computers are called {name}; name one by its id: {}",
                ids.len(),
                ids.join(", ")
            ))),
        }
    }
}
