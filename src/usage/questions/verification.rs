//! `GET /usage/verify`: the proof, on demand.

use axum::Json;
use axum::extract::State;

use crate::access::caller::Caller;
use crate::db::Store;
use crate::error::Result;
use crate::usage::ledger::verify::{Verification, verify};

/// `GET /usage/verify`
pub async fn show(State(store): State<Store>, _: Caller) -> Result<Json<Verification>> {
    Ok(Json(store.read(verify).await?))
}
