//! What the DNS says about a preview domain.
//!
//! A wildcard cannot be looked up as such, so a random name under it is: an answer for a name that
//! nobody can have made before comes from the wildcard. Names are only ever asked for in the DNS;
//! nothing is fetched from them. An answer ("there is no such name") is kept apart from no answer
//! (timeout, SERVFAIL, REFUSED): only the first says something about the domain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
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

/// Where the record stands that says whose a domain is.
const CHALLENGE: &str = "_workspaced-challenge";
/// Times that a pool of addresses is asked for: one that rotates shows a part of itself at a time.
const POOL_ROUNDS: usize = 6;
/// Networks of proxies that answer with their own addresses for a name that they stand in front of.
const PROXIES: &[(&str, IpAddr, u8)] = &[
    ("Cloudflare", v4(104, 16, 0), 12),
    ("Cloudflare", v4(172, 64, 0), 13),
    ("Cloudflare", v4(188, 114, 96), 20),
    ("Cloudflare", v4(162, 158, 0), 15),
    ("Fastly", v4(151, 101, 0), 16),
    (
        "Cloudflare",
        IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0)),
        32,
    ),
    (
        "Fastly",
        IpAddr::V6(Ipv6Addr::new(0x2a04, 0x4e42, 0, 0, 0, 0, 0, 0)),
        32,
    ),
];

const fn v4(a: u8, b: u8, c: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
}

/// The proxy that an address belongs to.
fn proxy_of(address: IpAddr) -> Option<&'static str> {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    PROXIES
        .iter()
        .find(|(_, network, length)| {
            network.is_ipv4() == address.is_ipv4()
                && (bits(address) ^ bits(*network)) >> (128 - length) == 0
        })
        .map(|(name, _, _)| *name)
}

/// One DNS record that a preview domain needs, and what the last check found in its place.
#[derive(Serialize, Deserialize, ToSchema, Debug, Clone, PartialEq)]
pub struct DnsRecord {
    /// CNAME, or TXT for the proof of whose the domain is
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in the zone of the domain: `*`, `*.sandbox` or `_workspaced-challenge`
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
    /// The records that `domain` needs to lead to `target`, before anybody looked; the last is `proof`,
    /// where there is somebody else whose the domain might be.
    pub fn required(domain: &str, target: &str, proof: Option<&str>) -> Vec<DnsRecord> {
        let record = |kind: &str, name: &str, expected: &str| DnsRecord {
            kind: kind.into(),
            name: name.into(),
            host: format!("{name}.{domain}"),
            expected: expected.into(),
            found: None,
            status: RecordStatus::Unchecked,
            hint: Some(format!(
                "add this record in the zone of {domain}, then verify"
            )),
        };
        let wildcards = WILDCARDS.map(|name| record("CNAME", name, target));
        let proof = proof.map(|proof| record("TXT", CHALLENGE, proof));
        wildcards.into_iter().chain(proof).collect()
    }

    /// The name of the record that says whose `domain` is.
    pub fn challenge(domain: &str) -> String {
        format!("{CHALLENGE}.{domain}")
    }

    /// The records of `domain`, the first `found` of them in place and the others missing.
    pub(super) fn as_found(domain: &str, target: &str, found: usize) -> Vec<DnsRecord> {
        let required = Self::required(domain, target, None).into_iter();
        let seen = |n: usize| {
            if n < found {
                Seen::Target(target.to_owned())
            } else {
                Seen::Nothing
            }
        };
        required
            .enumerate()
            .map(|(n, record)| record.with(Ok(seen(n))))
            .collect()
    }

    /// The record with what was found in its place.
    fn with(self, seen: Result<Seen, String>) -> DnsRecord {
        let DnsRecord {
            kind,
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
                    "nothing was found: add a {kind} record with the name {name} and the value {expected}, and \
                     verify again; a new record can take minutes to be seen"
                )),
            ),
            Ok(Seen::Twice) => (
                RecordStatus::Missing,
                None,
                Some(format!(
                    "the record stands under {host} with the zone once more behind it, since the registrar adds the \
                     zone by itself: enter only {name} as its name"
                )),
            ),
            Ok(Seen::Else { found, why }) => (
                RecordStatus::Wrong,
                Some(found),
                Some(format!(
                    "{host} {why}: change it to a {kind} record with the value {expected}"
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
    /// Nothing there, but the record stands under the name with the zone once more behind it.
    Twice,
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
    pub async fn check(
        &self,
        domain: &str,
        target: &str,
        proof: Option<&str>,
        random: Uuid,
    ) -> Result<Vec<DnsRecord>> {
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
        let resolver = self.asker();
        let label = format!("check-{}", random.simple());
        let mut looks = JoinSet::new();
        for (n, record) in DnsRecord::required(domain, target, proof)
            .into_iter()
            .enumerate()
        {
            let (resolver, label, domain) = (resolver.clone(), label.clone(), domain.to_owned());
            looks.spawn(async move { (n, look(&resolver, &label, &domain, record).await) });
        }
        let mut records = looks.join_all().await;
        records.sort_by_key(|(n, _)| *n);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Whether the domain says by `proof` whose it is. No answer is no proof.
    pub async fn proves(&self, domain: &str, proof: &str) -> bool {
        let Ok(Ok(_turn)) = timeout(QUEUE_TIMEOUT, self.turns.acquire()).await else {
            return false;
        };
        let Ok(asker) = self.asker() else {
            return false;
        };
        let name = DnsRecord::challenge(domain);
        let seen = timeout(CHECK_TIMEOUT, text_of(&asker, &name, proof)).await;
        matches!(seen, Ok(Ok(Seen::Target(_))))
    }

    fn asker(&self) -> Result<Asker, String> {
        Ok(Asker {
            usual: self.resolver(true)?,
            plain: self.resolver(false)?,
        })
    }

    fn resolver(&self, edns: bool) -> Result<TokioResolver, String> {
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
        options.edns0 = edns;
        options.use_hosts_file = ResolveHosts::Never;
        builder
            .build()
            .map_err(|e| format!("the DNS resolver cannot be used: {e}"))
    }
}

/// The record, after a name with `label` in the place of its wildcard was looked up.
async fn look(
    asker: &Result<Asker, String>,
    label: &str,
    domain: &str,
    record: DnsRecord,
) -> DnsRecord {
    let seen = match asker {
        Ok(asker) => {
            let host = record.host.replacen('*', label, 1);
            let seen = timeout(CHECK_TIMEOUT, async {
                if record.kind == "TXT" {
                    return text_of(asker, &host, &record.expected).await;
                }
                let seen = look_up(asker, &host, &record.expected).await?;
                // Some registrars complete every name by the zone, also one that was complete. A wildcard above
                // it would answer for that name as for any other.
                let (twice, any) = (
                    format!("{host}.{domain}"),
                    format!("{label}.{label}.{domain}"),
                );
                if matches!(seen, Seen::Nothing)
                    && let Ok(Seen::Target(_)) = look_up(asker, &twice, &record.expected).await
                    && !matches!(
                        look_up(asker, &any, &record.expected).await,
                        Ok(Seen::Target(_))
                    )
                {
                    return Ok(Seen::Twice);
                }
                Ok(seen)
            })
            .await;
            seen.unwrap_or_else(|_| Err("the DNS did not answer in time".into()))
        }
        Err(why) => Err(why.clone()),
    };
    record.with(seen)
}

/// What a TXT record says, seen from the text that is to be there; there may be others beside it.
async fn text_of(asker: &Asker, host: &str, wanted: &str) -> Result<Seen, String> {
    let name = Name::from_ascii(format!("{host}.")).map_err(|e| format!("{host}: {e}"))?;
    let mut found: Vec<String> = Vec::new();
    for record in asker.ask(&name, RecordType::TXT).await? {
        if let RData::TXT(txt) = record.data {
            found.push(txt.to_string());
        }
    }
    if let Some(text) = found.iter().find(|text| text.trim_matches('"') == wanted) {
        return Ok(Seen::Target(text.clone()));
    }
    Ok(match found.into_iter().next() {
        None => Seen::Nothing,
        Some(text) => Seen::Else {
            found: text.chars().take(255).collect(),
            why: "says something else".into(),
        },
    })
}

/// Where `host` leads, seen from `target`. Of the names on the way only the first is told, which whoever set
/// the record wrote there: what comes behind it may be names of a network that is not theirs. `Err` says why that could not be found out.
async fn look_up(resolver: &Asker, host: &str, target: &str) -> Result<Seen, String> {
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
    let mut wanted = addresses(resolver, &target).await?;
    for _ in 1..POOL_ROUNDS {
        if there.iter().all(|address| wanted.contains(address)) {
            break;
        }
        let more = addresses(resolver, &target).await?;
        wanted.extend(more);
    }
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
    let why = match there.iter().find_map(|address| proxy_of(*address)) {
        Some(proxy) => format!(
            "{why}: those of the proxy of {proxy}, which hides where the record leads; switch the proxy off for it"
        ),
        None => why,
    };
    Ok(Seen::Else {
        found: first.unwrap_or(list),
        why,
    })
}

/// The CNAME of a name, if it has one.
async fn cname(resolver: &Asker, name: &Name) -> Result<Option<Name>, String> {
    let answers = resolver.ask(name, RecordType::CNAME).await?;
    Ok(answers.into_iter().find_map(|record| match record.data {
        RData::CNAME(to) if record.name == *name => Some(to.0),
        _ => None,
    }))
}

/// The addresses of a name, in order.
async fn addresses(resolver: &Asker, name: &Name) -> Result<Vec<IpAddr>, String> {
    let (v4, v6) = tokio::join!(
        resolver.ask(name, RecordType::A),
        resolver.ask(name, RecordType::AAAA)
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

/// One way to the DNS, and another for servers that do not know EDNS and say so instead of leaving it out.
#[derive(Clone)]
struct Asker {
    usual: TokioResolver,
    plain: TokioResolver,
}

impl Asker {
    /// The answers to one question; none when the DNS says that there are none.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, String> {
        let first = self.usual.lookup(name.clone(), kind).await;
        let answer = match first {
            Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::FormErr)))
            | Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code: ResponseCode::FormErr | ResponseCode::NotImp,
                ..
            }))) => self.plain.lookup(name.clone(), kind).await,
            answer => answer,
        };
        answers(answer, name)
    }
}

fn answers(answer: Result<Lookup, NetError>, name: &Name) -> Result<Vec<Record>, String> {
    match answer {
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
