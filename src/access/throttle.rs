//! How much one key and one address may ask for: token buckets, refilled by a clock that only goes
//! forward. None of this in development mode.
//!
//! * A key: `--rate-limit`, or its own `rate_limit_rpm` where that is less.
//! * An organization: what [`KEYS`] keys may, however many it has.
//! * An address, before its key is looked at: `--address-rate-limit`.
//! * Wrong keys of an address: [`WRONG_KEYS`] a minute are answered 401, more of them 429. A right key
//!   passes however many wrong ones its address has sent: nobody can lock out a neighbour.
//!
//! An address of version 6 counts as its /64, which one customer of a provider has for himself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;

use super::key::Key;
use crate::clock::Ticks;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, TenantId};
use crate::rules::config::Config;

/// An organization may ask for as much as so many keys at their limit.
const KEYS: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// Wrong keys of one address a minute that are answered 401.
const WRONG_KEYS: NonZeroU32 = NonZeroU32::new(60).unwrap();

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, Ticks, NoOpMiddleware<Nanos>>;

/// All the buckets.
pub struct Throttle {
    clock: Ticks,
    off: bool,
    default_rpm: Option<NonZeroU32>,
    /// By requests a minute: keys with the same limit share a table, not a bucket.
    keys: Mutex<HashMap<NonZeroU32, Arc<Limiter<ApiKeyId>>>>,
    organizations: Option<Limiter<TenantId>>,
    addresses: Option<Limiter<IpAddr>>,
    wrong_keys: Limiter<IpAddr>,
}

impl Throttle {
    /// From the configuration.
    pub fn new(config: &Config, clock: Ticks) -> Self {
        Throttle {
            off: config.dev,
            default_rpm: config.rate_limit,
            keys: Mutex::default(),
            organizations: config
                .rate_limit
                .map(|rpm| limiter(rpm.saturating_mul(KEYS), &clock)),
            addresses: config.address_rate_limit.map(|rpm| limiter(rpm, &clock)),
            wrong_keys: limiter(WRONG_KEYS, &clock),
            clock,
        }
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// 429.
    pub fn address(&self, ip: Option<IpAddr>) -> Result<()> {
        match (ip, &self.addresses) {
            (Some(ip), Some(limiter)) if !self.off => self.count(
                limiter,
                &neighbourhood(ip),
                "this address sends too many requests",
            ),
            _ => Ok(()),
        }
    }

    /// Counts a request of a key, and of its organization.
    ///
    /// # Errors
    /// 429.
    pub fn key(&self, key: &Key) -> Result<()> {
        if self.off {
            return Ok(());
        }
        if let Some(limiter) = &self.organizations {
            let text = "this organization sends too many requests";
            self.count(limiter, &key.tenant_id, text)?;
        }
        // Who may make keys gives none more than the operator allows.
        let limits = [key.rate_limit_rpm, self.default_rpm];
        let Some(rpm) = limits.into_iter().flatten().min() else {
            return Ok(());
        };
        let limiter = {
            let mut keys = self.keys.lock();
            keys.entry(rpm)
                .or_insert_with(|| Arc::new(limiter(rpm, &self.clock)))
                .clone()
        };
        self.count(&limiter, &key.id, "this key sends too many requests")
    }

    /// Counts a wrong key: the answer in place of `unauthorized` when there were too many.
    pub fn wrong_key(&self, ip: Option<IpAddr>, unauthorized: Error) -> Error {
        match ip {
            Some(ip) if !self.off => self
                .count(
                    &self.wrong_keys,
                    &neighbourhood(ip),
                    "this address sends too many wrong keys",
                )
                .err()
                .unwrap_or(unauthorized),
            _ => unauthorized,
        }
    }

    fn count<K: std::hash::Hash + Eq + Clone>(
        &self,
        limiter: &Limiter<K>,
        key: &K,
        what: &str,
    ) -> Result<()> {
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until
                .wait_time_from(self.clock.now())
                .as_millis()
                .div_ceil(1000)
                .max(1);
            let seconds = u32::try_from(wait).unwrap_or(u32::MAX);
            Error::too_many(
                format!("{what}; nothing was done, try again in {seconds} s"),
                seconds,
            )
        })
    }

    /// Forgets whoever has not asked for so long that the bucket is full again.
    pub fn forget(&self) {
        let mut keys = self.keys.lock();
        keys.retain(|_, limiter| {
            limiter.retain_recent();
            !limiter.is_empty()
        });
        if let Some(limiter) = &self.organizations {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        for limiter in self.addresses.iter().chain([&self.wrong_keys]) {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

fn limiter<K: std::hash::Hash + Eq + Clone>(rpm: NonZeroU32, clock: &Ticks) -> Limiter<K> {
    RateLimiter::new(
        Quota::per_minute(rpm),
        HashMapStateStore::default(),
        clock.clone(),
    )
}

/// The part of an address that one customer of a provider has.
pub fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX))),
        ip => ip,
    }
}

/// Where a request comes from; in its extensions.
#[derive(Clone, Copy)]
pub struct ClientIp(pub Option<IpAddr>);

impl ClientIp {
    /// The address of the connection; behind a trusted proxy the last one in `X-Forwarded-For` that
    /// is not a trusted proxy itself. What a client writes there stands before what a proxy adds, so
    /// it is never believed.
    pub fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip().to_canonical());
        let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
        if !peer.as_ref().is_some_and(is_trusted) {
            return ClientIp(peer);
        }
        let forwarded: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .into_iter()
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .collect();
        let mut client = peer;
        for hop in forwarded.iter().rev() {
            // What cannot be read came through the hop before it, which is then all that is known.
            let Ok(ip) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            let ip = ip.to_canonical();
            client = Some(ip);
            if !is_trusted(&ip) {
                break;
            }
        }
        ClientIp(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "::1/128"]
            .map(|net| net.parse().unwrap())
            .into();
        for (peer, forwarded, expected) in [
            ("192.0.2.9", &["198.51.100.1"][..], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["1.1.1.1, 198.51.100.1, 10.2.3.4"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("::1", &["2001:db8::7"], "2001:db8::7"),
        ] {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let found = ClientIp::of(&extensions, &headers, &trusted).0;
            assert_eq!(
                found,
                Some(expected.parse().unwrap()),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn neighbours_share_a_bucket() {
        let of = |text: &str| neighbourhood(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }
}
