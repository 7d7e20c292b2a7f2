//! A link that signs its first visitor in: how `workspaced demo` opens the admin page.
//!
//! The token is made at the start, 256 random bits, and good for one visit. It is not asked for a
//! key: it is one.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};

use super::emulator::{Emulator, check_site};
use crate::access::key::{DEV_KEY, find_key, hash};
use crate::access::session;
use crate::error::{Error, Result};

/// `GET /_dev/visit/{token}`: to the admin page, signed in with the key of development mode.
pub(super) async fn enter(
    State(dev): State<Emulator>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    check_site(dev.fleet.config.own_names(), &headers)?;
    // Who comes again is signed in already, or signs in by hand.
    let mut response = Redirect::to(&dev.fleet.config.path("/admin")).into_response();
    if dev.fleet.config.dev && dev.login_links.take(&token) {
        let secret = hash(DEV_KEY);
        let (token, _) = dev
            .store
            .write(move |tx| {
                let key = find_key(tx, &secret)?.ok_or_else(|| {
                    Error::unauthorized("the key of development mode is not there")
                })?;
                session::start(tx, key.id, &secret)
            })
            .await?;
        let cookies = &dev.auth.cookies;
        let secure = cookies.is_secure(&headers);
        cookies.set(
            &mut response,
            &headers,
            secure,
            &token,
            session::WHOLE_MS / 1000,
        )?;
    }
    Ok(response)
}
