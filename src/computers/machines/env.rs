//! Variables of a computer's environment: what is run in it from now on has them, and its own program when its
//! container is made anew.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::inside;
use super::variables::{Variable, all, is_name};
use crate::access::caller::Caller;
use crate::audit::{self, Actor, Entry};
use crate::computers::Record;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, NoBody, PathId, PathWord, Reply};
use crate::ids::ComputerId;
use crate::store::{Tx, WriteTx};

/// Variables of a computer.
const MOST: i64 = 100;
/// Bytes of a value.
const LONGEST: usize = 32 << 10;

/// The variables of a computer.
#[derive(Serialize, ToSchema)]
pub struct VariableList {
    data: Vec<Variable>,
}

/// `POST /computers/{id}/env` and `PATCH /computers/{id}/env/{name}`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct SetVariable {
    /// Letters, digits and `_`; with PATCH it is in the path
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// Any text without zero bytes
    #[schema(required = true, nullable = false)]
    pub value: Option<String>,
}

/// It is gone.
#[derive(Serialize, ToSchema)]
pub struct Unset {
    success: bool,
    name: String,
    computer_id: ComputerId,
}

/// `GET /computers/{id}/env`
pub async fn list(
    State(store): State<Store>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<VariableList>> {
    let found = store.read(move |tx| {
        inside::find(tx, &caller, id)?;
        all(tx, id)
    });
    Ok(Json(VariableList { data: found.await? }))
}

/// The audit log has which one, never what is in it.
fn noted(
    tx: &WriteTx<'_>,
    caller: &Caller,
    computer: &Record,
    name: &str,
    what: &str,
) -> Result<()> {
    audit::record(
        tx,
        &Entry {
            actor: Actor::Key(caller),
            tenant_id: computer.tenant_id,
            workspace_id: Some(computer.workspace_id),
            kind: "computer.env_changed",
            resource: computer.id.0,
            before: audit::NONE,
            after: Some(&json!({ "name": computer.name, "what": format!("{name} {what}") })),
        },
    )
}

fn is_set(tx: &Tx<'_>, id: ComputerId, name: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM computer_env WHERE computer_id = ?1 AND name = ?2";
    Ok(tx.row(sql, (id, name), |_| Ok(())).optional()?.is_some())
}

fn set(
    tx: &WriteTx<'_>,
    caller: &Caller,
    computer: &Record,
    name: String,
    value: String,
) -> Result<Variable> {
    let sql = "INSERT INTO computer_env (computer_id, tenant_id, name, value, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (computer_id, name) DO UPDATE SET value = ?4, updated_at = ?5";
    tx.run(
        sql,
        (computer.id, computer.tenant_id, &name, &value, tx.now()),
    )?;
    noted(tx, caller, computer, &name, "set")?;
    Ok(Variable {
        name,
        value,
        computer_id: computer.id,
        updated_at: tx.now(),
    })
}

fn value(fields: &mut Fields, given: Option<String>) -> String {
    match given {
        Some(value) if value.len() <= LONGEST && !value.contains('\0') => return value,
        Some(_) => fields.push(
            "value",
            format!("should be at most {LONGEST} bytes, none of them zero"),
        ),
        None => fields.push("value", "can't be blank"),
    }
    String::new()
}

/// `POST /computers/{id}/env`
pub async fn create(
    PathId(id): PathId<ComputerId>,
    request: Mutation<SetVariable>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let name = input.name.unwrap_or_default();
            if !is_name(&name) {
                fields.push(
                    "name",
                    "must be letters, digits and _, and begin with no digit",
                );
            }
            let value = value(&mut fields, input.value);
            fields.finish()?;
            let sql = "SELECT count(*) FROM computer_env WHERE computer_id = ?1";
            let there: i64 = tx.row(sql, [id], |row| row.get(0))?;
            if there >= MOST && !is_set(tx, id, &name)? {
                return Err(Error::field(
                    "name",
                    format!("is one too many; {MOST} are kept"),
                ));
            }
            Ok(Reply::created(set(tx, caller, &computer, name, value)?))
        })
        .await
}

/// `PATCH /computers/{id}/env/{name}`
pub async fn update(
    PathWord(id, name): PathWord<ComputerId>,
    request: Mutation<SetVariable>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            let input = input?;
            let mut fields = Fields::default();
            let value = value(&mut fields, input.value);
            fields.finish()?;
            if !is_set(tx, id, &name)? {
                return Err(Error::not_found("variable"));
            }
            Ok(Reply::ok(set(tx, caller, &computer, name, value)?))
        })
        .await
}

/// `DELETE /computers/{id}/env/{name}`
pub async fn delete(
    PathWord(id, name): PathWord<ComputerId>,
    request: Mutation<NoBody>,
) -> Result<Response> {
    request
        .run(move |tx, caller, input| {
            let computer = inside::find(tx, caller, id)?;
            input?;
            let sql = "DELETE FROM computer_env WHERE computer_id = ?1 AND name = ?2";
            if tx.run(sql, (id, &name))? == 0 {
                return Err(Error::not_found("variable"));
            }
            noted(tx, caller, &computer, &name, "unset")?;
            Ok(Reply::ok(Unset {
                success: true,
                name,
                computer_id: id,
            }))
        })
        .await
}
