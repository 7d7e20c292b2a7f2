//! `workspaced ws` and `workspaced computers`: the API for people and scripts, on this machine or
//! another one. A line a row for people, the reply itself with `--json`; exit codes tell scripts
//! what happened (see [`super::Failure`]).

use std::io::{Read, Write};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::{Failure, chart};
use crate::ids::parse_uuid;
use crate::rules::config::ClientArgs;
use crate::rules::hosted::BASE;
use crate::rules::text::printable;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows of a page.
const PAGE: usize = 100;

/// `workspaced ws`
#[derive(Subcommand)]
pub(super) enum WsCommand {
    /// List workspaces
    Ls {
        #[command(flatten)]
        client: ClientArgs,
        /// Only those whose name, slug, id or external id contains this
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show a workspace with its settings and counts
    Show {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
    },
    /// Create a workspace
    Create {
        #[command(flatten)]
        client: ClientArgs,
        /// Its name
        name: String,
        /// Its slug; derived from the name when left out
        #[arg(long)]
        slug: Option<String>,
        /// Your own id for it; a workspace that has it already is returned instead
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
    },
    /// Set limits and defaults; `none` clears one
    Set {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
        /// Computers at most
        #[arg(long, value_name = "N|none")]
        max_computers: Option<String>,
        /// Largest size: small, medium, large
        #[arg(long, value_name = "SIZE|none")]
        max_size: Option<String>,
        /// Size of computers that name none
        #[arg(long, value_name = "SIZE|none")]
        default_size: Option<String>,
        /// Idle seconds after which new computers stop; 0 = never
        #[arg(long, value_name = "SECONDS|none")]
        auto_stop: Option<String>,
    },
    /// Draw a workspace's usage
    Usage {
        #[command(flatten)]
        client: ClientArgs,
        /// Id, slug, or external:YOUR-ID
        workspace: String,
        /// How far back: 24h, 7d, 30d; or today, yesterday, this_month, last_month
        #[arg(long, default_value = "7d")]
        window: String,
        /// Width of a bar: hour, day, week, month
        #[arg(long, default_value = "day")]
        by: String,
        /// Time zone of the days, such as Europe/Budapest
        #[arg(long, default_value = "UTC")]
        tz: String,
    },
}

/// `workspaced computers`
#[derive(Subcommand)]
pub(super) enum ComputersCommand {
    /// List computers
    Ls {
        #[command(flatten)]
        client: ClientArgs,
        /// Only those of this workspace: id, slug, or external:YOUR-ID
        #[arg(long)]
        workspace: Option<String>,
        /// Only those with this status
        #[arg(long)]
        status: Option<String>,
    },
    /// Create a computer
    Create {
        #[command(flatten)]
        client: ClientArgs,
        /// Its name
        name: String,
        /// Workspace: id, slug, or external:YOUR-ID; the default one when left out
        #[arg(long)]
        workspace: Option<String>,
        /// Project by slug; made if missing
        #[arg(long)]
        project: Option<String>,
        /// Size: xs, small, medium, large, xl
        #[arg(long)]
        size: Option<String>,
        /// Idle seconds after which it stops; 0 = never
        #[arg(long, value_name = "SECONDS")]
        auto_stop: Option<i64>,
    },
    /// Start a computer
    Start(One),
    /// Stop a computer
    Stop(One),
    /// Remove a computer for good
    Rm(One),
    /// Run a command in a computer that has a machine; ends with the command's exit code
    Exec {
        #[command(flatten)]
        one: One,
        /// Seconds that it may take (1 to 3600)
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
        /// The command, after `--`; one word is a line for the shell
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Show what a computer's own program wrote last
    Logs {
        #[command(flatten)]
        one: One,
        /// Lines from the end (1 to 10000)
        #[arg(long, value_name = "N", default_value_t = 100)]
        lines: u32,
    },
    /// Copy a file into a computer, or out of one
    Cp {
        #[command(flatten)]
        client: ClientArgs,
        /// A file, or COMPUTER:/PATH
        from: String,
        /// A file, or COMPUTER:/PATH; a path that ends in / keeps the file's name
        to: String,
    },
}

/// A command about one computer.
#[derive(clap::Args)]
pub(super) struct One {
    #[command(flatten)]
    client: ClientArgs,
    /// Id, name or slug
    computer: String,
}

pub(super) fn workspaces(command: WsCommand) -> Result<(), Failure> {
    match command {
        WsCommand::Ls { client, search } => {
            let service = Service::new(client)?;
            let query: Vec<_> = search.iter().map(|text| ("q", text.as_str())).collect();
            let rows = service.all("/workspaces", &query)?;
            service.list(
                &rows,
                &[
                    "id",
                    "slug",
                    "computer_count",
                    "external_workspace_id",
                    "name",
                ],
            )
        }
        WsCommand::Show { client, workspace } => {
            let service = Service::new(client)?;
            let path = format!("/workspaces/{}", service.workspace(&workspace)?);
            let mut whole = service.get(&path)?;
            whole["settings"] = service.get(&format!("{path}/settings"))?["settings"].take();
            whole["stats"] = service.get(&format!("{path}/stats"))?["computers"].take();
            service.one(&whole)
        }
        WsCommand::Create {
            client,
            name,
            slug,
            external_id,
        } => {
            let service = Service::new(client)?;
            let body = given(&[
                ("name", Some(json!(name))),
                ("slug", slug.map(Value::from)),
                ("external_workspace_id", external_id.map(Value::from)),
            ]);
            let made = service.send(Method::POST, "/workspaces", Some(&body))?;
            service.made(&made)
        }
        WsCommand::Set {
            client,
            workspace,
            max_computers,
            max_size,
            default_size,
            auto_stop,
        } => {
            let service = Service::new(client)?;
            let body = given(&[
                ("max_computers", max_computers.map(number)),
                ("max_computer_size", max_size.map(word)),
                ("default_computer_size", default_size.map(word)),
                ("default_auto_stop_seconds", auto_stop.map(number)),
            ]);
            if body.as_object().is_none_or(Map::is_empty) {
                return Err(Failure::Usage(
                    "nothing to set: name at least one of --max-computers, --max-size, --default-size, --auto-stop".into(),
                ));
            }
            let path = format!("/workspaces/{}/settings", service.workspace(&workspace)?);
            let set = service.send(Method::PUT, &path, Some(&body))?;
            service.one(if service.args.json {
                &set
            } else {
                &set["settings"]
            })
        }
        WsCommand::Usage {
            client,
            workspace,
            window,
            by,
            tz,
        } => {
            let service = Service::new(client)?;
            let query = [
                ("window", window.as_str()),
                ("granularity", by.as_str()),
                ("tz", tz.as_str()),
            ];
            let path = format!("/workspaces/{}/usage", service.workspace(&workspace)?);
            let usage = service.get(&with_query(&path, &query))?;
            if service.args.json {
                return service.one(&usage);
            }
            print!("{}", draw(&usage));
            Ok(())
        }
    }
}

pub(super) fn computers(command: ComputersCommand) -> Result<(), Failure> {
    match command {
        ComputersCommand::Ls {
            client,
            workspace,
            status,
        } => {
            let service = Service::new(client)?;
            let workspace = workspace.map(|w| service.workspace(&w)).transpose()?;
            let query: Vec<_> = [("workspace_id", &workspace), ("status", &status)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let rows = service.all("/computers", &query)?;
            service.list(&rows, &["id", "status", "size", "started_at", "name"])
        }
        ComputersCommand::Create {
            client,
            name,
            workspace,
            project,
            size,
            auto_stop,
        } => {
            let service = Service::new(client)?;
            let workspace = workspace.map(|w| service.workspace(&w)).transpose()?;
            let body = given(&[
                ("name", Some(json!(name))),
                ("workspace_id", workspace.map(Value::from)),
                ("project_slug", project.map(Value::from)),
                ("size", size.map(Value::from)),
                ("auto_stop_seconds", auto_stop.map(Value::from)),
            ]);
            let made = service.send(Method::POST, "/computers", Some(&body))?;
            service.made(&made)
        }
        ComputersCommand::Start(one) => act(one, Method::POST, "/start"),
        ComputersCommand::Stop(one) => act(one, Method::POST, "/stop"),
        ComputersCommand::Rm(one) => act(one, Method::DELETE, ""),
        ComputersCommand::Exec {
            one,
            timeout,
            command,
        } => exec(one, timeout, &command),
        ComputersCommand::Logs { one, lines } => {
            let service = Service::new(one.client)?;
            let id = service.computer(&one.computer)?;
            let found = service.get(&format!("/computers/{id}/logs?lines={lines}"))?;
            if service.args.json {
                return service.one(&found);
            }
            let empty = Vec::new();
            for line in found["lines"].as_array().unwrap_or(&empty) {
                println!("{}", text(line));
            }
            Ok(())
        }
        ComputersCommand::Cp { client, from, to } => copy(client, &from, &to),
    }
}

/// A word for the shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn exec(one: One, timeout: u64, command: &[String]) -> Result<(), Failure> {
    let service = Service::patient(one.client, PATIENCE + Duration::from_secs(timeout))?;
    let id = service.computer(&one.computer)?;
    let line = match command {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let body = json!({ "command": line, "timeout": timeout });
    let ran = service.send(Method::POST, &format!("/computers/{id}/exec"), Some(&body))?;
    if service.args.json {
        service.one(&ran)?;
    } else {
        print!("{}", ran["stdout"].as_str().unwrap_or(""));
        eprint(ran["stderr"].as_str().unwrap_or(""));
        if ran["truncated"] == true {
            eprint("workspaced: it wrote more than is shown\n");
        }
        if ran["timed_out"] == true {
            eprint("workspaced: it took too long and was ended\n");
        }
    }
    match ran["exit_code"].as_i64() {
        Some(0) => Ok(()),
        code => std::process::exit(code.and_then(|code| i32::try_from(code).ok()).unwrap_or(1)),
    }
}

fn eprint(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A place in a computer, `COMPUTER:/PATH`.
fn place(text: &str) -> Option<(&str, &str)> {
    text.split_once(':')
        .filter(|(computer, path)| !computer.contains('/') && path.starts_with('/'))
}

/// Copies a file between this machine and a computer.
fn copy(client: ClientArgs, from: &str, to: &str) -> Result<(), Failure> {
    let service = Service::patient(client, Duration::from_secs(3600))?;
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let whole = |to: &str, from: &str| {
        if to.ends_with('/') {
            format!("{to}{}", file_name(from))
        } else {
            to.to_owned()
        }
    };
    let failed = |path: &str, e: &dyn std::fmt::Display| Failure::Fatal(format!("{path}: {e}"));
    match (place(from), place(to)) {
        (None, Some((computer, path))) => {
            let id = service.computer(computer)?;
            let path = whole(path, from);
            let file = std::fs::File::open(from).map_err(|e| failed(from, &e))?;
            service.form(&format!("/computers/{id}/files/upload"), &path, file)
        }
        (Some((computer, path)), None) => {
            let id = service.computer(computer)?;
            let query = with_query(
                &format!("/computers/{id}/files/download"),
                &[("path", path)],
            );
            let to = whole(to, path);
            let mut reply = service.bytes(&query)?;
            let mut file = std::fs::File::create(&to).map_err(|e| failed(&to, &e))?;
            std::io::copy(&mut reply, &mut file).map_err(|e| failed(&to, &e))?;
            Ok(())
        }
        _ => Err(Failure::Usage(
            "one of the two must be in a computer, such as web:/home/notes.txt, and the other here"
                .into(),
        )),
    }
}

fn act(one: One, method: Method, verb: &str) -> Result<(), Failure> {
    let service = Service::new(one.client)?;
    let id = service.computer(&one.computer)?;
    let reply = service.send(method, &format!("/computers/{id}{verb}"), None)?;
    if service.args.json {
        return service.one(&reply);
    }
    println!("{id} {}", reply["status"].as_str().unwrap_or("destroyed"));
    Ok(())
}

/// The usage of a window as bars, and its totals.
fn draw(usage: &Value) -> String {
    let by_day = usage["granularity"] == "day";
    let empty = Vec::new();
    let rows: Vec<_> = usage["series"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|bucket| {
            let ts = bucket["ts"].as_str().unwrap_or("");
            let label = ts
                .get(..if by_day { 10 } else { 16 })
                .unwrap_or(ts)
                .replace('T', " ");
            let used = bucket["credits_used"].as_f64().unwrap_or(0.0);
            // A refund is shown to the cent.
            let shown = if bucket["credits_micros"].as_i64() < Some(0) {
                credits(&bucket["credits_micros"])
            } else {
                format!("{used}")
            };
            (label, used, shown)
        })
        .collect();
    format!(
        "Credits per {}, {} to {} ({})\n\n{}\n{} credits, {} compute hours\n",
        usage["granularity"].as_str().unwrap_or("day"),
        text(&usage["window_start"]),
        text(&usage["window_end"]),
        text(&usage["time_zone"]),
        chart::bars(&rows),
        credits(&usage["total_credits_micros"]),
        text(&usage["total_compute_hours"]),
    )
}

/// Micro-credits as credits with two decimals, cut off: a refund of less than one is one, too.
pub(super) fn credits(micros: &Value) -> String {
    let cents = micros.as_i64().unwrap_or(0) / 10_000;
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

/// `none` clears a setting.
fn word(text: String) -> Value {
    if text == "none" {
        Value::Null
    } else {
        text.into()
    }
}

/// As [`word`]; what is no number is sent as it is, and the service says what it wants.
fn number(text: String) -> Value {
    text.parse::<i64>().map_or_else(|_| word(text), Value::from)
}

/// The fields that were given.
fn given(fields: &[(&str, Option<Value>)]) -> Value {
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

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// The service that is talked to.
pub(super) struct Service {
    agent: Agent,
    args: ClientArgs,
    key: String,
}

impl Service {
    pub(super) fn new(args: ClientArgs) -> Result<Self, Failure> {
        Service::patient(args, PATIENCE)
    }

    fn patient(args: ClientArgs, patience: Duration) -> Result<Self, Failure> {
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
        Ok(Service { agent, args, key })
    }

    /// A request with whatever body; a reply of 2xx.
    fn exchange(
        &self,
        request: Builder,
        path: &str,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, Failure> {
        let base = self.args.base_url.trim().trim_end_matches('/');
        let base = base.strip_suffix(BASE).unwrap_or(base);
        let failed = |e: &dyn std::fmt::Display| {
            Failure::Fatal(format!(
                "{base}: {e}; is the service running, and MIOSA_BASE_URL its address?"
            ))
        };
        let request = request
            .uri(format!("{base}{BASE}{path}"))
            .header("authorization", format!("Bearer {}", self.key))
            .body(body)
            .map_err(|e| failed(&e))?;
        let mut reply = self.agent.run(request).map_err(|e| failed(&e))?;
        let status = reply.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(reply);
        }
        let body: Value = reply.body_mut().read_json().map_err(|e| failed(&e))?;
        let message = format!(
            "{} ({}, request {})",
            body["message"].as_str().unwrap_or("refused"),
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

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
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
    fn bytes(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let reply = self.exchange(Request::builder(), path, SendBody::none())?;
        Ok(reply.into_body().into_reader())
    }

    /// A file as a form.
    fn form(&self, path: &str, to: &str, file: impl Read) -> Result<(), Failure> {
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

    /// The reply itself is wanted.
    pub(super) fn json(&self) -> bool {
        self.args.json
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None)
    }

    /// All rows of a list.
    fn all(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
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
    fn computer(&self, name: &str) -> Result<String, Failure> {
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

    /// Rows for people, or as JSON.
    fn list(&self, rows: &[Value], columns: &[&str]) -> Result<(), Failure> {
        if self.args.json {
            return self.one(&json!({ "data": rows, "total": rows.len() }));
        }
        let head: Vec<String> = columns
            .iter()
            .map(|name| name.to_uppercase().replace('_', " "))
            .collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let cells = |row: &Value| columns.iter().map(|name| text(&row[*name])).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
        print!("{}", chart::table(&head, &rows));
        Ok(())
    }

    /// What was made: its id, or all of it as JSON.
    fn made(&self, made: &Value) -> Result<(), Failure> {
        if self.args.json {
            return self.one(made);
        }
        println!("{}", text(&made["id"]));
        Ok(())
    }

    /// One object: a line a field, or as JSON.
    pub(super) fn one(&self, object: &Value) -> Result<(), Failure> {
        match object.as_object().filter(|_| !self.args.json) {
            Some(fields) => {
                let width = fields.keys().map(String::len).max().unwrap_or(0);
                for (name, value) in fields {
                    println!("{name:width$}  {}", text(value));
                }
            }
            None => println!(
                "{}",
                serde_json::to_string_pretty(object).map_err(|e| Failure::Fatal(e.to_string()))?
            ),
        }
        Ok(())
    }
}
