//! Ports of a computer: where something listens, by which address it is reached, and who may look.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::links::url;
use super::said::{self, Said, in_path, number};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::computers::machines::{inside, listening, spec};
use crate::computers::{Fleet, Record};
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, NoBody, PathId, PathWord, Reply};
use crate::ids::ComputerId;
use crate::rules::config::Config;
use crate::rules::status::Status;
use crate::store::WriteTx;

/// Ports of a computer of which something is said.
const MOST: i64 = 100;
const VISIBILITIES: [&str; 3] = ["public", "tenant", "key"];
const PROTOCOLS: [&str; 3] = ["http", "https", "tcp"];

/// A port of a computer.
#[derive(Serialize, ToSchema)]
pub struct Port {
    port: u16,
    protocol: String,
    /// By which it is reached.
    url: String,
    /// public, tenant or key: who may look.
    visibility: String,
    /// Something has been said of it; otherwise it is as visible as the computer.
    exposed: bool,
    /// Whether something listens there; null: not known, such as of a computer that does not run.
    listening: Option<bool>,
    /// It listens for the computer itself only (127.0.0.1), and cannot be reached.
    only_inside: bool,
}

/// The ports of a computer.
#[derive(Serialize, ToSchema)]
pub struct PortList {
    data: Vec<Port>,
}

/// `POST /computers/{id}/ports` and `PATCH /computers/{id}/ports/{port}`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetPort {
    /// Which; with PATCH it is in the path
    #[schema(minimum = 1, maximum = 65535, nullable = false)]
    pub port: Option<i64>,
    /// http, https or tcp: for people
    pub protocol: Option<String>,
    /// public, tenant or key; left out: as the computer
    pub visibility: Option<String>,
}

impl SetPort {
    /// What is wrong with it, besides `fields`.
    fn check(&self, mut fields: Fields) -> Result<()> {
        for (name, given, allowed) in [
            ("protocol", &self.protocol, &PROTOCOLS),
            ("visibility", &self.visibility, &VISIBILITIES),
        ] {
            if given
                .as_deref()
                .is_some_and(|given| !allowed.contains(&given))
            {
                fields.push(name, format!("must be one of {}", allowed.join(", ")));
            }
        }
        fields.finish()
    }
}

/// It is as all others again.
#[derive(Serialize, ToSchema)]
pub struct Unset {
    success: bool,
    port: u16,
    computer_id: ComputerId,
}

fn view(config: &Config, c: &Record, port: u16, given: Option<Said>) -> Port {
    Port {
        port,
        url: url(config, c, port),
        exposed: given.is_some(),
        protocol: given.as_ref().map_or("http".into(), |s| s.protocol.clone()),
        visibility: given
            .and_then(|s| s.visibility)
            .unwrap_or_else(|| c.visibility.clone()),
        listening: None,
        only_inside: false,
    }
}

/// `GET /computers/{id}/ports`
pub async fn list(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<PortList>> {
    let (_, computer) = inside::machine(&store, caller, id).await?;
    let mut known = store.read(move |tx| said::all(tx, id)).await?;
    let mut heard = None;
    if computer.status == Status::Running
        && let Ok(engine) = fleet.engine.ready()
    {
        heard = listening::ports(&*engine, &spec::name(id)).await.ok();
    }
    let mut ports: Vec<u16> = known.keys().copied().collect();
    ports.extend(heard.iter().flatten().map(|(port, _)| *port));
    ports.sort_unstable();
    ports.dedup();
    let data = ports.into_iter().map(|port| {
        let mut row = view(&fleet.config, &computer, port, known.remove(&port));
        let there = heard.as_ref().map(|all| all.get(&port));
        row.listening = there.map(|there| there.is_some());
        row.only_inside = there.flatten().copied().unwrap_or(false);
        row
    });
    Ok(Json(PortList {
        data: data.collect(),
    }))
}

fn noted(tx: &WriteTx<'_>, caller: &Caller, c: &Record, port: u16, what: &str) -> Result<()> {
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: c.tenant_id,
            workspace_id: Some(c.workspace_id),
            kind: "computer.port_changed",
            resource: c.id.0,
            before: audit::NONE,
            after: Some(&json!({ "name": c.name, "port": port, "what": what })),
        },
    )
}

fn set(
    tx: &WriteTx<'_>,
    fleet: &Fleet,
    caller: &Caller,
    id: ComputerId,
    port: u16,
    input: SetPort,
) -> Result<Port> {
    let computer = inside::find(tx, caller, id)?;
    let mut known = said::all(tx, id)?;
    let before = known.remove(&port);
    if before.is_none() && i64::try_from(known.len()).unwrap_or(MOST) >= MOST {
        return Err(Error::field(
            "port",
            format!("is one too many; {MOST} are kept"),
        ));
    }
    let (protocol, visibility) = before.map_or((None, None), |s| (Some(s.protocol), s.visibility));
    let now = Said {
        protocol: input.protocol.or(protocol).unwrap_or_else(|| "http".into()),
        visibility: input.visibility.or(visibility),
    };
    let sql = "INSERT INTO computer_ports (computer_id, tenant_id, port, protocol, visibility, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (computer_id, port) DO UPDATE SET protocol = ?4, visibility = ?5, updated_at = ?6";
    tx.run(
        sql,
        (
            id,
            computer.tenant_id,
            port,
            &now.protocol,
            &now.visibility,
            tx.now(),
        ),
    )?;
    let shown = now
        .visibility
        .clone()
        .unwrap_or_else(|| computer.visibility.clone());
    noted(tx, caller, &computer, port, &shown)?;
    Ok(view(&fleet.config, &computer, port, Some(now)))
}

/// `POST /computers/{id}/ports`
pub async fn create(
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<SetPort>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let port = number(&mut fields, input.port);
            input.check(fields)?;
            Ok(Reply::created(set(tx, &fleet, caller, id, port, input)?))
        })
        .await
}

/// `PATCH /computers/{id}/ports/{port}`
pub async fn update(
    State(fleet): State<Fleet>,
    PathWord(id, port): PathWord<ComputerId>,
    request: Mutation<SetPort>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let port = number(&mut fields, port.parse().ok());
            input.check(fields)?;
            if !said::all(tx, id)?.contains_key(&port) {
                return Err(Error::not_found("port"));
            }
            Ok(Reply::ok(set(tx, &fleet, caller, id, port, input)?))
        })
        .await
}

/// `DELETE /computers/{id}/ports/{port}`
pub async fn delete(
    PathWord(id, port): PathWord<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            input?;
            let port = in_path(&port)?;
            let sql = "DELETE FROM computer_ports WHERE computer_id = ?1 AND port = ?2";
            if tx.run(sql, (id, port))? == 0 {
                return Err(Error::not_found("port"));
            }
            noted(tx, caller, &computer, port, "unset")?;
            Ok(Reply::ok(Unset {
                success: true,
                port,
                computer_id: id,
            }))
        })
        .await
}
