//! Sign-in sessions of the admin page: an API key, exchanged once for a cookie that scripts cannot
//! read.
//!
//! * The cookie holds 256 random bits; the store holds their SHA-256 only.
//! * A session ends 12 hours after its last use, 7 days after its start at the latest, and at once
//!   when its key is revoked, disabled, rotated or expires: the row names the secret it was made of.
//! * `SameSite=Strict` keeps the cookie out of what other sites send. Beyond that a request that is
//!   known by its cookie only must carry [`HEADER`], which another site's page cannot add without a
//!   preflight that is never granted, and a change must carry an `Origin` equal to its `Host`.
//! * Wrong keys cost an address a growing delay, a minute at most; the right key passes all the same.

use axum::http::header::{HOST, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use data_encoding::HEXLOWER;
use rusqlite::OptionalExtension;
use sha2::{Digest, Sha256};

use crate::access::key::Key;
use crate::clock::{DAY_MS, HOUR_MS, Timestamp};
use crate::db::Store;
use crate::error::{Error, Result};
use crate::ids::ApiKeyId;
use crate::rules::public_url::{PublicUrl, is_same};
use crate::store::{Tx, WriteTx};

/// The header that a request with a cookie must carry.
pub const HEADER: &str = "x-workspaced-admin";
/// The cookie's name over plain HTTP (loopback, or a trusted network). Over TLS it begins with `__Host-`: browsers
/// take such a cookie from this very host only.
const COOKIE_NAME: &str = "workspaced_session";
/// That of a sign-in that has begun at a provider.
const ATTEMPT_NAME: &str = "workspaced_signin";
/// The port that the name leaves out.
const USUAL_PORT: &str = "8400";
/// By which scheme a trusted proxy was asked; of others it is taken off on arrival.
pub const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// How long a session lasts without use.
const IDLE_MS: i64 = 12 * HOUR_MS;
/// How long it lasts however much it is used.
pub const WHOLE_MS: i64 = 7 * DAY_MS;
/// A use is written down at most this often.
const TOUCH_MS: i64 = 10 * 60_000;
/// Sessions of one key at most; the oldest go.
const PER_KEY: i64 = 50;

// ---------------------------------------------------------------------------------------------
// The cookie of a request

/// The cookie of this installation. Browsers send a host's cookies to all of its ports, so the name holds the port,
/// as far as it is not the usual one, and the path of `--public-url`: two installations on one host do not
/// sign each other out.
#[derive(Clone, Debug, Default)]
pub struct Cookies {
    public: Option<PublicUrl>,
}

impl Cookies {
    /// Of an installation that is reached at `public`.
    pub fn new(public: Option<PublicUrl>) -> Self {
        Cookies { public }
    }

    /// The cookie by which a browser is known that went to a sign-in provider.
    pub fn attempt(&self, headers: &HeaderMap) -> Option<String> {
        let jar = CookieJar::from_headers(headers);
        [true, false]
            .into_iter()
            .filter_map(|secure| jar.get(&self.attempt_name(headers, secure)))
            .map(|cookie| cookie.value().to_owned())
            .find(|value| !value.is_empty())
    }

    fn attempt_name(&self, headers: &HeaderMap, secure: bool) -> String {
        self.name(headers, secure)
            .replace(COOKIE_NAME, ATTEMPT_NAME)
    }

    /// Sets that cookie, which comes along when the provider sends the browser back; an age of 0 ends it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_attempt(
        &self,
        response: &mut Response,
        headers: &HeaderMap,
        value: &str,
        max_age: i64,
    ) -> Result<()> {
        let secure = self.is_secure(headers);
        let name = self.attempt_name(headers, secure);
        self.append(response, (name, value), (secure, SameSite::Lax), max_age)
    }

    fn prefix(&self) -> &str {
        self.public.as_ref().map_or("", PublicUrl::prefix)
    }

    /// Its name, over TLS or not.
    fn name(&self, headers: &HeaderMap, secure: bool) -> String {
        let host = match &self.public {
            Some(public) => public.host(),
            None => header(headers, HOST).unwrap_or(""),
        };
        // What follows the last colon, unless that is one of an IPv6 address.
        let port = host.rsplit_once(':').map(|(_, port)| port);
        let port = port.filter(|port| !port.is_empty() && !port.ends_with(']'));
        let port = port.unwrap_or(if secure { "443" } else { "80" });
        let mut name = match (secure, self.prefix()) {
            (false, _) => COOKIE_NAME.to_owned(),
            (true, "") => format!("__Host-{COOKIE_NAME}"),
            // That of a host belongs to all of it.
            (true, _) => format!("__Secure-{COOKIE_NAME}"),
        };
        if port != USUAL_PORT {
            name = format!("{name}_{port}");
        }
        name + &self.prefix().replace('/', "_")
    }

    /// The session token that a request carries, if any.
    pub fn token(&self, headers: &HeaderMap) -> Option<String> {
        let jar = CookieJar::from_headers(headers);
        if self.public.is_none() && !headers.contains_key(HOST) {
            // Which one is meant is not said; a browser always says it.
            let ours = |name: &str| name.trim_start_matches("__Host-").starts_with(COOKIE_NAME);
            return jar
                .iter()
                .find(|cookie| ours(cookie.name()))
                .map(|cookie| cookie.value().to_owned())
                .filter(|token| !token.is_empty());
        }
        [true, false]
            .into_iter()
            .filter_map(|secure| jar.get(&self.name(headers, secure)))
            .map(|cookie| cookie.value().to_owned())
            .find(|token| !token.is_empty())
    }

    /// Adds the cookie that no script reads and no other site sends; an age of 0 ends it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set(
        &self,
        response: &mut Response,
        headers: &HeaderMap,
        secure: bool,
        token: &str,
        max_age: i64,
    ) -> Result<()> {
        let name = self.name(headers, secure);
        self.append(response, (name, token), (secure, SameSite::Strict), max_age)
    }

    fn append(
        &self,
        response: &mut Response,
        (name, value): (String, &str),
        (secure, same_site): (bool, SameSite),
        max_age: i64,
    ) -> Result<()> {
        let cookie = Cookie::build((name, value))
            .path(format!("{}/", self.prefix()))
            .http_only(true)
            .same_site(same_site)
            .secure(secure)
            .max_age(time::Duration::seconds(max_age));
        let value = HeaderValue::from_str(&cookie.to_string()).map_err(Error::internal)?;
        response.headers_mut().append(SET_COOKIE, value);
        Ok(())
    }

    /// Whether the browser asks over TLS, as far as that is known here.
    pub fn is_secure(&self, headers: &HeaderMap) -> bool {
        self.public.as_ref().is_some_and(PublicUrl::is_https)
            || header(headers, ORIGIN).is_some_and(|origin| origin.starts_with("https://"))
            || headers
                .get(FORWARDED_PROTO)
                .is_some_and(|proto| proto.as_bytes() == b"https")
    }

    /// What a request that is known by its cookie must bring along so that no other site can have sent it.
    ///
    /// # Errors
    /// 403.
    pub fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<()> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let own_origin = self.own_origin(headers);
        // An event stream or a download that the browser itself asks for cannot carry a header of ours;
        // `Sec-Fetch-Site` cannot be set by any script, so it proves the same.
        let proved = headers.contains_key(HEADER)
            || (reads
                && (text("sec-fetch-site") == Some("same-origin") || own_origin == Some(true)));
        if !proved {
            return Err(Error::denied(
                "FORBIDDEN",
                "a request with a session cookie needs the header X-Workspaced-Admin: 1; programs send a key instead: Authorization: Bearer msk_...",
            ));
        }
        // `Origin` comes with every change that a browser sends; with a read it need not.
        if own_origin == Some(false) || (!reads && own_origin.is_none()) {
            return Err(Error::denied(
                "FORBIDDEN",
                "the Origin of this request is not this server; if a proxy stands in between, name the address that people use with \
                 --public-url, or let it pass the Host header on, with its port",
            ));
        }
        Ok(())
    }

    /// Whether `Origin` is this server's own; `None` when there is none.
    fn own_origin(&self, headers: &HeaderMap) -> Option<bool> {
        let origin = headers.get(ORIGIN)?.to_str().unwrap_or("");
        let public = self.public.as_ref();
        let host = header(headers, HOST).unwrap_or("");
        Some(
            is_same(origin, host)
                || public.is_some_and(|public| {
                    let scheme = if public.is_https() {
                        "https://"
                    } else {
                        "http://"
                    };
                    origin.starts_with(scheme) && is_same(origin, public.host())
                }),
        )
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The hash under which a token is stored.
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The key behind a live session, and when the session ends.
pub fn find(tx: &Tx<'_>, token: &[u8; 32]) -> Result<Option<(Key, Session)>> {
    let sql =
        "SELECT k.*, t.slug AS tenant_slug, s.created_at AS session_at, s.expires_at AS session_end,
                 s.ends_at AS session_whole
             FROM sessions s
             JOIN api_keys k ON k.id = s.key_id AND k.secret_hash = s.secret_hash
             JOIN tenants t ON t.id = k.tenant_id
             WHERE s.token_hash = ?1 AND s.expires_at > ?2 AND k.status = 'active'
                 AND (k.expires_at IS NULL OR k.expires_at > ?2)";
    Ok(tx
        .row(sql, (token, tx.now()), |row| {
            let session = Session {
                created_at: row.get("session_at")?,
                expires_at: row.get("session_end")?,
                ends_at: row.get("session_whole")?,
            };
            Ok((Key::from_row(row)?, session))
        })
        .optional()?)
}

/// When a session began and when it ends.
#[derive(Clone, Copy)]
pub struct Session {
    created_at: Timestamp,
    /// When it ends if it is not used again.
    pub expires_at: Timestamp,
    /// However much it is used.
    ends_at: Option<Timestamp>,
}

impl Session {
    fn next_end(&self, now: Timestamp) -> Timestamp {
        let whole = self.created_at.plus_ms(WHOLE_MS);
        now.plus_ms(IDLE_MS).min(self.ends_at.unwrap_or(whole))
    }
}

/// The key behind a cookie's token. Looked up every time: what a person clicks is rare, and a key
/// that was revoked a moment ago must not pass.
///
/// # Errors
/// 401 when the session is over.
pub async fn identify(store: &Store, token: &str) -> Result<Key> {
    let hash = token_hash(token);
    let found = store.read(move |tx| find(tx, &hash)).await?;
    let (key, session) = found.ok_or_else(over)?;
    let end = session.next_end(store.now());
    if end.0 - session.expires_at.0 >= TOUCH_MS {
        let sql = "UPDATE sessions SET expires_at = ?1 WHERE token_hash = ?2";
        let extended = store.write(move |tx| Ok(tx.run(sql, (end, hash))?)).await;
        if let Err(e) = extended {
            // The request itself is fine, and the next one tries again.
            tracing::warn!(error = e.message(), "a session was not extended");
        }
    }
    Ok(key)
}

fn over() -> Error {
    Error::unauthorized("the session is over; sign in again")
}

/// Forgets sessions that are over; at most `limit` a pass. Returns how many went.
pub fn purge(tx: &WriteTx<'_>, limit: u32) -> Result<usize> {
    let sql = "DELETE FROM sessions WHERE token_hash IN
             (SELECT token_hash FROM sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
    Ok(tx.run(sql, (tx.now(), limit))?)
}

/// A new session of a key; its token is in the reply only.
pub fn start(tx: &WriteTx<'_>, key: ApiKeyId, secret: &[u8; 32]) -> Result<(String, Timestamp)> {
    start_for(tx, key, secret, None)
}

/// The same for so long at most, milliseconds.
pub fn start_for(
    tx: &WriteTx<'_>,
    key: ApiKeyId,
    secret: &[u8; 32],
    whole_ms: Option<i64>,
) -> Result<(String, Timestamp)> {
    let token = HEXLOWER.encode(&tx.random::<32>()?);
    let ends_at = whole_ms.map(|ms| tx.now().plus_ms(ms));
    let idle = tx.now().plus_ms(IDLE_MS);
    let end = ends_at.map_or(idle, |at| at.min(idle));
    let sql =
        "INSERT INTO sessions (token_hash, key_id, secret_hash, created_at, expires_at, ends_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    tx.run(
        sql,
        (token_hash(&token), key, secret, tx.now(), end, ends_at),
    )?;
    let sql = "DELETE FROM sessions WHERE token_hash IN
         (SELECT token_hash FROM sessions WHERE key_id = ?1 ORDER BY created_at DESC, token_hash LIMIT -1 OFFSET ?2)";
    tx.run(sql, (key, PER_KEY))?;
    Ok((token, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_str(value).unwrap();
                (axum::http::HeaderName::from_static(name), value)
            })
            .collect()
    }

    #[test]
    fn cookies_are_found_among_others() {
        let token = |list: &[(&'static str, &str)]| {
            let mut list = list.to_vec();
            list.push(("host", "box:8400"));
            Cookies::default().token(&headers(&list))
        };
        assert_eq!(token(&[]), None);
        assert_eq!(
            token(&[("cookie", "a=b; workspaced_session=t; c=d")]).as_deref(),
            Some("t")
        );
        assert_eq!(token(&[("cookie", "workspaced_session=")]), None);
        assert_eq!(token(&[("cookie", "xworkspaced_session=t")]), None);
        let both = "workspaced_session=t; __Host-workspaced_session=u";
        assert_eq!(token(&[("cookie", both)]).as_deref(), Some("u"));
    }

    #[test]
    fn what_another_site_can_send_is_refused() {
        let host = ("host", "box:8400");
        let own = ("origin", "http://box:8400");
        let other = ("origin", "http://evil:8400");
        let mark = (HEADER, "1");
        for (method, list, allowed) in [
            (Method::GET, &[host][..], false),
            (Method::GET, &[host, mark], true),
            (
                Method::GET,
                &[host, ("sec-fetch-site", "same-origin")],
                true,
            ),
            (
                Method::GET,
                &[host, ("sec-fetch-site", "cross-site")],
                false,
            ),
            (Method::GET, &[host, other, mark], false),
            (Method::POST, &[host, mark], false),
            (Method::POST, &[host, own], false),
            (Method::POST, &[host, own, mark], true),
            (Method::POST, &[host, other, mark], false),
            (Method::POST, &[host, ("origin", "null"), mark], false),
            (
                Method::DELETE,
                &[host, ("origin", "http://box"), mark],
                false,
            ),
            (
                Method::PATCH,
                &[host, ("origin", "https://box:8400"), mark],
                true,
            ),
        ] {
            let checked = Cookies::default().check_origin(&method, &headers(list));
            assert_eq!(checked.is_ok(), allowed, "{method} {list:?}");
        }
    }

    #[test]
    fn each_installation_on_a_host_has_a_cookie_of_its_own() {
        let name = |public: Option<&str>, host: &str, secure: bool| {
            let public = public.map(|url| crate::rules::public_url::parse(url).unwrap());
            Cookies::new(public).name(&headers(&[("host", host)]), secure)
        };
        for (public, host, secure, expected) in [
            (None, "box:8400", false, "workspaced_session"),
            (None, "box:8401", false, "workspaced_session_8401"),
            (None, "[::1]:8401", false, "workspaced_session_8401"),
            (None, "[::1]", false, "workspaced_session_80"),
            (None, "box", false, "workspaced_session_80"),
            (None, "box", true, "__Host-workspaced_session_443"),
            (None, "box:443", true, "__Host-workspaced_session_443"),
            (
                Some("https://box"),
                "127.0.0.1:8400",
                true,
                "__Host-workspaced_session_443",
            ),
            (
                Some("https://box/a"),
                "box",
                true,
                "__Secure-workspaced_session_443_a",
            ),
            (
                Some("https://box/b/c"),
                "box",
                true,
                "__Secure-workspaced_session_443_b_c",
            ),
            (
                Some("http://box:8400/a"),
                "box",
                false,
                "workspaced_session_a",
            ),
        ] {
            assert_eq!(name(public, host, secure), expected);
        }
    }

    #[test]
    fn the_public_address_is_an_origin_of_ours_whatever_the_proxy_says() {
        let public = crate::rules::public_url::parse("https://box.example/ws").unwrap();
        let cookies = Cookies::new(Some(public));
        for (host, origin, allowed) in [
            ("127.0.0.1:8400", "https://box.example", true),
            ("box.example", "https://box.example:443", true),
            ("127.0.0.1:8400", "http://box.example", false),
            ("127.0.0.1:8400", "https://evil.example", false),
            ("127.0.0.1:8400", "http://127.0.0.1:8400", true),
        ] {
            let list = [("host", host), ("origin", origin), (HEADER, "1")];
            let checked = cookies.check_origin(&Method::POST, &headers(&list));
            assert_eq!(checked.is_ok(), allowed, "{host} {origin}");
        }
    }
}
