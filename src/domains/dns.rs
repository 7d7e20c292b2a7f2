//! What the DNS says about a preview domain.
//!
//! A wildcard cannot be looked up as such, so a random name under it is: an answer for a name that
//! nobody can have made before comes from the wildcard. Names are only ever asked for in the DNS;
//! nothing is fetched from them. An answer ("there is no such name") is kept apart from no answer
//! (timeout, SERVFAIL, REFUSED): only the first says something about the domain.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{Error, Result};

/// The wildcards of a preview domain: previews and deployments under the domain itself, ports
/// under `sandbox`.
const WILDCARDS: [&str; 2] = ["*", "*.sandbox"];
/// How long one question waits for its answer before it is asked once more.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Repetitions of a question that was not answered.
const REPEATS: usize = 1;
/// How long a whole check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a check waits for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Checks at the same time. Each of them may send a dozen packets; nobody is to be flooded.
const MAX_CHECKS: usize = 16;
/// CNAME records that are followed. Resolvers give up at about as many.
const MAX_HOPS: usize = 8;

/// One DNS record that a preview domain needs, and what the last check found in its place.
#[derive(Serialize, Deserialize, ToSchema, Debug, Clone, PartialEq)]
pub struct DnsRecord {
    /// Always CNAME
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in the zone of the domain: `*` or `*.sandbox`
    pub name: String,
    /// Its whole name
    pub host: String,
    /// The value that it must have
    pub expected: String,
    /// What is there: a host name, or addresses; null when nothing is there or nobody looked yet
    #[schema(required = true)]
    pub found: Option<String>,
    /// What that means
    pub status: RecordStatus,
    /// What to do about it; null when there is nothing to do
    #[schema(required = true)]
    pub hint: Option<String>,
}

/// What was found in place of a record.
#[derive(Serialize, Deserialize, ToSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RecordStatus {
    /// Nobody looked since the domain was set.
    Unchecked,
    /// It leads to the expected host.
    Ok,
    /// Nothing is there.
    Missing,
    /// Something else is there.
    Wrong,
    /// The DNS did not answer, so nothing is known.
    Error,
}

impl DnsRecord {
    /// The records that `domain` needs to lead to `target`, before anybody looked.
    pub fn required(domain: &str, target: &str) -> [DnsRecord; 2] {
        WILDCARDS.map(|name| DnsRecord {
            kind: "CNAME".into(),
            name: name.into(),
            host: format!("{name}.{domain}"),
            expected: target.into(),
            found: None,
            status: RecordStatus::Unchecked,
            hint: Some(format!(
                "add this record in the zone of {domain}, then verify"
            )),
        })
    }

    /// The records of `domain`, the first `found` of them in place and the others missing.
    pub(super) fn as_found(domain: &str, target: &str, found: usize) -> [DnsRecord; 2] {
        let mut n = 0;
        Self::required(domain, target).map(|record| {
            n += 1;
            record.with(Ok(if n <= found {
                Seen::Target(target.to_owned())
            } else {
                Seen::Nothing
            }))
        })
    }

    /// The record with what was found in its place.
    fn with(self, seen: Result<Seen, String>) -> DnsRecord {
        let DnsRecord {
            name,
            host,
            expected,
            ..
        } = &self;
        let (status, found, hint) = match seen {
            Ok(Seen::Target(found)) => (RecordStatus::Ok, Some(found), None),
            Ok(Seen::Nothing) => (
                RecordStatus::Missing,
                None,
                Some(format!(
                    "nothing was found: add a CNAME record with the name {name} and the value {expected}, and \
                     verify again; a new record can take minutes to be seen"
                )),
            ),
            Ok(Seen::Else { found, why }) => (
                RecordStatus::Wrong,
                Some(found),
                Some(format!(
                    "{host} {why}: change it to a CNAME record with the value {expected}"
                )),
            ),
            Err(why) => (
                RecordStatus::Error,
                None,
                Some(format!("could not be looked up: {why}; verify again later")),
            ),
        };
        DnsRecord {
            found,
            status,
            hint,
            ..self
        }
    }
}

/// What a name leads to.
enum Seen {
    /// The target, by this host name or by these addresses.
    Target(String),
    /// No such name, or none with a record of use.
    Nothing,
    /// Something else, and why that is not the target.
    Else { found: String, why: String },
}

/// Asks the DNS about preview domains.
pub struct Dns {
    resolver: Option<SocketAddr>,
    turns: Semaphore,
}

impl Dns {
    /// Asks `resolver`, or the system's when there is none.
    pub fn new(resolver: Option<SocketAddr>) -> Self {
        Dns {
            resolver,
            turns: Semaphore::new(MAX_CHECKS),
        }
    }

    /// Looks for the records that `domain` needs to lead to `target`. `random` makes the names
    /// that are asked for; it must be new for every check. Takes ten seconds at most once it
    /// is this check's turn.
    ///
    /// # Errors
    /// 503 when too many checks wait. That the DNS gives no answer is no error but the
    /// [`RecordStatus::Error`] of a record.
    pub async fn check(&self, domain: &str, target: &str, random: Uuid) -> Result<[DnsRecord; 2]> {
        let busy = || {
            Error::unavailable(
                "too many domains are being checked; nothing was changed, try again",
                5,
            )
        };
        let _turn = timeout(QUEUE_TIMEOUT, self.turns.acquire())
            .await
            .map_err(|_| busy())?
            .map_err(Error::internal)?;
        // A new resolver for every check: it remembers nothing, and a changed system configuration
        // holds from the next check on.
        let resolver = self.resolver();
        let label = format!("check-{}", random.simple());
        let [first, second] = DnsRecord::required(domain, target);
        Ok(<[DnsRecord; 2]>::from(tokio::join!(
            look(&resolver, &label, first),
            look(&resolver, &label, second)
        )))
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let mut builder = match self.resolver {
            Some(address) => {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                server
                    .connections
                    .iter_mut()
                    .for_each(|connection| connection.port = address.port());
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().map_err(|e| {
                format!(
                    "this server knows no DNS resolver, start it with --dns-resolver IP:PORT: {e}"
                )
            })?,
        };
        let options = builder.options_mut();
        options.timeout = QUERY_TIMEOUT;
        options.attempts = REPEATS;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        builder
            .build()
            .map_err(|e| format!("the DNS resolver cannot be used: {e}"))
    }
}

/// The record, after a name with `label` in the place of its wildcard was looked up.
async fn look(
    resolver: &Result<TokioResolver, String>,
    label: &str,
    record: DnsRecord,
) -> DnsRecord {
    let seen = match resolver {
        Ok(resolver) => {
            let host = record.host.replacen('*', label, 1);
            let seen = timeout(CHECK_TIMEOUT, look_up(resolver, &host, &record.expected)).await;
            seen.unwrap_or_else(|_| Err("the DNS did not answer in time".into()))
        }
        Err(why) => Err(why.clone()),
    };
    record.with(seen)
}

/// Where `host` leads, seen from `target`. Of the names on the way only the first is told, which whoever set
/// the record wrote there: what comes behind it may be names of a network that is not theirs. `Err` says why that could not be found out.
async fn look_up(resolver: &TokioResolver, host: &str, target: &str) -> Result<Seen, String> {
    let name =
        |text: &str| Name::from_ascii(format!("{text}.")).map_err(|e| format!("{text}: {e}"));
    let (start, target) = (name(host)?, name(target)?);
    let mut hops: Vec<Name> = Vec::new();
    let mut last = start.clone();
    while let Some(next) = cname(resolver, &last).await? {
        let found = || text(hops.first().unwrap_or(&next));
        if next == target {
            return Ok(Seen::Target(found()));
        }
        if next == start || hops.contains(&next) {
            return Ok(Seen::Else {
                why: format!("leads in a circle through {}", found()),
                found: found(),
            });
        }
        if hops.len() == MAX_HOPS {
            let why = format!("leads through more than {MAX_HOPS} other names");
            return Ok(Seen::Else {
                found: found(),
                why,
            });
        }
        hops.push(next.clone());
        last = next;
    }
    // Where no CNAME is allowed or wanted, DNS providers answer with the addresses of its target.
    let there = addresses(resolver, &last).await?;
    let first = hops.first().map(text);
    if there.is_empty() {
        return Ok(match first {
            Some(found) => Seen::Else {
                why: format!("leads to {found}, which has no address"),
                found,
            },
            None => Seen::Nothing,
        });
    }
    let wanted = addresses(resolver, &target).await?;
    let list = there
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if there.iter().all(|address| wanted.contains(address)) {
        return Ok(Seen::Target(first.unwrap_or(list)));
    }
    let why = match &first {
        Some(found) => format!("leads to {found}"),
        None => format!("has addresses that are not those of {}", text(&target)),
    };
    Ok(Seen::Else {
        found: first.unwrap_or(list),
        why,
    })
}

/// The CNAME of a name, if it has one.
async fn cname(resolver: &TokioResolver, name: &Name) -> Result<Option<Name>, String> {
    let answers = ask(resolver, name, RecordType::CNAME).await?;
    Ok(answers.into_iter().find_map(|record| match record.data {
        RData::CNAME(to) if record.name == *name => Some(to.0),
        _ => None,
    }))
}

/// The addresses of a name, in order.
async fn addresses(resolver: &TokioResolver, name: &Name) -> Result<Vec<IpAddr>, String> {
    let (v4, v6) = tokio::join!(
        ask(resolver, name, RecordType::A),
        ask(resolver, name, RecordType::AAAA)
    );
    let mut addresses: Vec<IpAddr> = v4?
        .into_iter()
        .chain(v6?)
        .filter_map(|record| record.data.ip_addr())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The answers to one question; none when the DNS says that there are none.
async fn ask(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<Record>, String> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(lookup.answers().to_vec()),
        Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NXDomain | ResponseCode::NoError,
            ..
        }))) => Ok(Vec::new()),
        Err(NetError::Dns(DnsError::ResponseCode(code))) => {
            Err(format!("the DNS answered {code} for {}", text(name)))
        }
        Err(NetError::Timeout) => Err(format!("the DNS did not answer for {}", text(name))),
        Err(e) => Err(format!(
            "the DNS could not be asked for {}: {e}",
            text(name)
        )),
    }
}

/// A name as people write it.
fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
