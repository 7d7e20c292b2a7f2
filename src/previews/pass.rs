//! A request, passed on to a computer, and what it answers: streamed both ways, protocols that are switched to
//! included. Nothing of this server's own goes along: no key, no session.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri, Version};
use axum::response::Response;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::links;
use super::pages::Page;
use super::target::Target;
use crate::access::session::FORWARDED_PROTO;

/// Until a program in a computer has taken a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Until it begins its answer.
const ANSWER: Duration = Duration::from_secs(120);
/// How often a connection that stays open is looked at for whether it is used.
const LOOK: Duration = Duration::from_secs(30);
const PIECE: usize = 16 << 10;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Takes out what concerns only the connection that it came over (RFC 9110, section 7.6.1). Returns the
/// protocol to which the connection is to switch.
fn end_to_end(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let switch = named
        .contains(&UPGRADE)
        .then(|| headers.get(UPGRADE).cloned());
    for name in named.iter().chain(&[
        CONNECTION,
        UPGRADE,
        KEEP_ALIVE,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ]) {
        headers.remove(name);
    }
    switch.flatten()
}

/// What a computer is sent in place of what came.
fn outgoing(headers: &mut HeaderMap, ip: Option<IpAddr>) {
    // A key of this server opens more than this computer; another's credentials are for the program there.
    let ours = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("msk_"));
    if ours {
        headers.remove(AUTHORIZATION);
    }
    let cookies: Vec<String> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|cookie| !cookie.contains("workspaced_"))
        .map(ToOwned::to_owned)
        .collect();
    headers.remove(COOKIE);
    if let Ok(rest) = HeaderValue::from_str(&cookies.join("; "))
        && !rest.is_empty()
    {
        headers.insert(COOKIE, rest);
    }
    headers.remove(FORWARDED);
    headers.remove(FORWARDED_FOR);
    if let Some(ip) = ip.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok()) {
        headers.insert(FORWARDED_FOR, ip);
    }
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

/// What a browser is sent in place of what a computer answered: a cookie stays with the name that it came from,
/// since others below the same domain belong to others.
fn incoming(headers: &mut HeaderMap) {
    let cookies: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| {
            let kept: Vec<&str> = value
                .to_str()
                .ok()?
                .split(';')
                .filter(|part| !part.trim().to_ascii_lowercase().starts_with("domain="))
                .collect();
            let kept = kept.join(";");
            let ours = kept.trim_start().starts_with(links::COOKIE_NAME);
            (!ours).then(|| HeaderValue::from_str(&kept).ok())?
        })
        .collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Passes a request on. As long as a connection that it leaves open is used, `used` is told now and then.
pub async fn pass<F, U>(
    target: &Target,
    address: IpAddr,
    ip: Option<IpAddr>,
    mut request: Request,
    used: F,
) -> Result<Response, Page>
where
    F: Fn() -> U + Send + Sync + 'static,
    U: Future<Output = ()> + Send,
{
    let unreachable = |why: &dyn std::fmt::Display| Page::unreachable(target, &why.to_string());
    let connect = TcpStream::connect(SocketAddr::new(address, target.port));
    let stream = tokio::time::timeout(CONNECT, connect)
        .await
        .map_err(|_| unreachable(&"it does not take connections"))?
        .map_err(|e| unreachable(&e))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|e| unreachable(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a computer ended");
        }
    });

    let visitor = request.extensions_mut().remove::<OnUpgrade>();
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    let switch = end_to_end(request.headers_mut()).filter(|_| visitor.is_some());
    outgoing(request.headers_mut(), ip);
    if let Some(protocol) = &switch {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    let mut answer = tokio::time::timeout(ANSWER, sender.send_request(request))
        .await
        .map_err(|_| unreachable(&"it took the request and does not answer"))?
        .map_err(|e| unreachable(&e))?;
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let theirs = switched.then(|| hyper::upgrade::on(&mut answer));
    let protocol = end_to_end(answer.headers_mut());
    incoming(answer.headers_mut());
    if let (Some(theirs), Some(visitor), Some(protocol)) = (theirs, visitor, protocol) {
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        tokio::spawn(async move {
            if let (Ok(visitor), Ok(theirs)) = tokio::join!(visitor, theirs) {
                both_ways(visitor, theirs, used).await;
            }
        });
    } else if switched {
        return Err(unreachable(
            &"it switched to a protocol that nobody asked for",
        ));
    }
    Ok(answer.map(Body::new))
}

/// Carries bytes both ways until both sides have ended. As long as there are any, the computer is in use.
async fn both_ways<U: Future<Output = ()>>(
    visitor: Upgraded,
    theirs: Upgraded,
    used: impl Fn() -> U,
) {
    let (from_visitor, to_visitor) = tokio::io::split(TokioIo::new(visitor));
    let (from_theirs, to_theirs) = tokio::io::split(TokioIo::new(theirs));
    let carried = Arc::new(AtomicU64::new(0));
    let there = carry(from_visitor, to_theirs, &carried);
    let back = carry(from_theirs, to_visitor, &carried);
    let watched = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = carried.load(Ordering::Relaxed);
            if now != before {
                before = now;
                used().await;
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(there, back); } => {}
        () = watched => {}
    }
}

async fn carry(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    carried: &AtomicU64,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(read) = from.read(&mut piece).await {
        if read == 0 || to.write_all(&piece[..read]).await.is_err() {
            break;
        }
        carried.fetch_add(read as u64, Ordering::Relaxed);
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn nothing_of_ours_goes_along_and_nobody_is_believed() {
        let mut sent = headers(&[
            ("host", "3000-a.sandbox.localhost"),
            ("authorization", "Bearer msk_a_secret"),
            (
                "cookie",
                "theirs=1; workspaced_preview=x; __Host-workspaced_session=y",
            ),
            ("x-forwarded-for", "8.8.8.8"),
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("te", "trailers"),
        ]);
        assert_eq!(end_to_end(&mut sent), None);
        outgoing(&mut sent, Some("127.0.0.9".parse().unwrap()));
        let mut left: Vec<String> = sent
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "cookie: theirs=1",
                "host: 3000-a.sandbox.localhost",
                "x-forwarded-for: 127.0.0.9",
                "x-forwarded-host: 3000-a.sandbox.localhost",
                "x-forwarded-proto: http",
            ]
        );
        let mut theirs = headers(&[("authorization", "Basic dTpw")]);
        outgoing(&mut theirs, None);
        assert!(theirs.contains_key("authorization"));
    }

    #[test]
    fn a_cookie_stays_with_the_name_it_came_from() {
        let mut came = headers(&[
            ("set-cookie", "a=1; Domain=acme.com; Path=/"),
            ("set-cookie", "workspaced_preview=forged"),
            ("set-cookie", "b=2"),
        ]);
        incoming(&mut came);
        let left: Vec<&HeaderValue> = came.get_all("set-cookie").iter().collect();
        assert_eq!(left, ["a=1; Path=/", "b=2"]);
    }

    #[test]
    fn a_switch_of_protocols_is_asked_for_by_both_headers() {
        let mut one = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(end_to_end(&mut one).unwrap(), "websocket");
        assert!(one.is_empty());
        assert_eq!(end_to_end(&mut headers(&[("upgrade", "h2c")])), None);
    }
}
