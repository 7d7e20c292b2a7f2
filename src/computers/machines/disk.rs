//! What a computer has on its disk, as one tar file: its root file system and its home volume, to be kept or taken
//! elsewhere. It goes out at the pace of whoever reads; nothing of it waits here.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::inside::{self, Activity};
use super::reconcile::{LOOK, bounded};
use super::seam::{Fault, Pieces};
use super::spec;
use crate::access::caller::Caller;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::PathId;
use crate::ids::ComputerId;
use crate::rules::status::Status;

/// Bytes of zeros that a whole tar file ends with.
const END: usize = 1024;

/// A tar file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documents what is sent")]
pub struct Disk(Vec<u8>);

/// `GET /computers/{id}/disk`
pub async fn export(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Response> {
    let (caller, computer) = inside::machine(&store, caller, id).await?;
    let engine = fleet.engine.ready()?;
    let turn = fleet.engine.turn(id)?;
    let found = bounded(LOOK, engine.disk(&spec::name(id))).await;
    let pieces = found.map_err(|e| match e {
        Fault::Silent(text) => Error::unavailable(text, 5).with_code("ENGINE_UNAVAILABLE"),
        Fault::Missing(_) => Error::conflict(
            "RESOURCE_STATE",
            "there is nothing of this computer yet that could be exported; try again when it runs",
        ),
        Fault::Unable(text) => Error::conflict("TARGET_NOT_RUNNING", text),
        Fault::Refused(text) => Error::conflict("RESOURCE_STATE", text),
    })?;
    let name = format!("attachment; filename=\"{}.tar\"", computer.slug);
    inside::note(
        &store,
        &caller,
        &computer,
        "computer.files",
        "exported its disk",
    )
    .await?;
    if computer.status == Status::Running {
        inside::active(&store, &fleet, id, Activity::Files).await?;
    }
    let mut response = Body::from_stream(whole(pieces, turn)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// The pieces of a tar file, broken off where it ends before its end: an engine that dies, or fails halfway, may say
/// nothing of it. Meanwhile it takes a turn in the computer.
fn whole(pieces: Pieces, turn: OwnedSemaphorePermit) -> Pieces {
    let begun = Some((pieces, 0, turn));
    let sent = stream::unfold(begun, |state| async move {
        let (mut pieces, zeros, turn) = state?;
        match pieces.next().await {
            Some(Ok(piece)) => {
                let zeros = zeros_at_end(&piece, zeros);
                Some((Ok(piece), Some((pieces, zeros, turn))))
            }
            Some(Err(e)) => Some((Err(e), None)),
            None if zeros >= END => None,
            None => {
                let why = "the container engine broke off before the end of the disk";
                Some((Err(std::io::Error::other(why)), None))
            }
        }
    });
    Box::pin(sent)
}

/// How many zeros there are at the end by now, up to those that count.
fn zeros_at_end(piece: &Bytes, before: usize) -> usize {
    let own = piece.iter().rev().take_while(|byte| **byte == 0).count();
    match own == piece.len() {
        true => END.min(before + own),
        false => END.min(own),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, END, zeros_at_end};

    #[test]
    fn zeros_of_several_pieces_count_together() {
        let of = |length: usize| Bytes::from(vec![0; length]);
        assert_eq!(zeros_at_end(&of(600), zeros_at_end(&of(500), 0)), END);
        assert_eq!(zeros_at_end(&Bytes::from_static(b"a\0\0"), 600), 2);
        assert_eq!(zeros_at_end(&Bytes::from_static(b"a"), 600), 0);
        assert_eq!(zeros_at_end(&of(0), 600), 600);
    }
}
