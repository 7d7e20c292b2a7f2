//! Every flag and variable, with its default, its unit and why; and the configuration file. The
//! only reader of the environment (through clap).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::rules::driven_by::DrivenBy;
use crate::rules::listen::Listen;
use crate::rules::public_url::PublicUrl;
use crate::rules::size::Size;

/// Where the data lives unless it is said.
pub const DATA_DIR: &str = "workspaced-data";

/// Where the data lives; shared by every subcommand.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Directory of the database `workspaced.db`; made with mode 0700 when missing
    #[arg(
        long,
        env = "WORKSPACED_DATA_DIR",
        value_name = "DIR",
        default_value = DATA_DIR
    )]
    pub data_dir: PathBuf,
    /// TOML file with sizes, rates, templates and tenant ceilings
    #[arg(long, env = "WORKSPACED_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `serve` takes.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    /// The data directory and the configuration file.
    pub data: DataArgs,
    /// Where to listen: an address or a name, whose addresses are all listened on; port 0 picks a free one; repeat for
    /// more
    #[arg(
        long,
        env = "WORKSPACED_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8400",
        value_delimiter = ',',
        value_parser = crate::rules::listen::parse
    )]
    pub listen: Vec<Listen>,
    /// Address of a listener of their own for the admin page and the metrics, which need no key there
    #[arg(long, env = "WORKSPACED_ADMIN_LISTEN", value_name = "ADDR:PORT", value_parser = crate::rules::listen::parse)]
    pub admin_listen: Option<Listen>,
    /// Where people and programs reach it, such as https://example.com/workspaced behind a proxy with TLS, with or
    /// without a path
    #[arg(long, env = "WORKSPACED_PUBLIC_URL", value_name = "URL", value_parser = crate::rules::public_url::parse)]
    pub public_url: Option<PublicUrl>,
    /// Development mode: the fixed key `msk_u_dev` has operator rights; loopback addresses only
    #[arg(long, env = "WORKSPACED_DEV", value_parser = boolish())]
    pub dev: bool,
    /// A further name by which this machine's programs and pages reach it with --dev; repeat for more
    #[arg(
        long = "dev-host",
        env = "WORKSPACED_DEV_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub dev_hosts: Vec<String>,
    /// The operator's key of the first start, instead of a random one that is shown; better given in the variable, or
    /// in a file
    #[arg(
        long,
        env = "WORKSPACED_BOOTSTRAP_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub bootstrap_key: Option<String>,
    /// A file that holds that key
    #[arg(long, env = "WORKSPACED_BOOTSTRAP_KEY_FILE", value_name = "FILE")]
    pub bootstrap_key_file: Option<PathBuf>,
    /// Refuse unknown fields and parameters (422) instead of ignoring them
    #[arg(long, env = "WORKSPACED_STRICT", value_parser = boolish())]
    pub strict: bool,
    /// A POST that comes again without an Idempotency-Key because its answer was lost is executed again
    #[arg(long, env = "WORKSPACED_NO_REPLAY_LOST", value_parser = boolish())]
    pub no_replay_lost: bool,
    /// The clock: that of this machine, or one that `/_dev/clock` drives and that stands still until then
    #[arg(
        long,
        env = "WORKSPACED_CLOCK",
        value_name = "CLOCK",
        default_value = "real"
    )]
    pub clock: ClockKind,
    /// Keep nothing: the data lives in a temporary directory that goes when the service stops
    #[arg(long, env = "WORKSPACED_EPHEMERAL", value_parser = boolish())]
    pub ephemeral: bool,
    /// How the log on standard error is written
    #[arg(
        long,
        env = "WORKSPACED_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or per module (`workspaced=debug`)
    #[arg(
        long,
        env = "WORKSPACED_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
    /// Domain of previews where neither project, workspace nor organization has one
    #[arg(
        long,
        env = "WORKSPACED_BASE_DOMAIN",
        value_name = "HOST",
        default_value = "miosa.ai"
    )]
    pub base_domain: String,
    /// CNAME target that customers point their preview domains at
    #[arg(
        long,
        env = "WORKSPACED_PROXY_HOST",
        value_name = "HOST",
        default_value = "proxy.miosa.ai"
    )]
    pub proxy_host: String,
    /// Resolver that preview domains are checked with; the system's when not given
    #[arg(long, env = "WORKSPACED_DNS_RESOLVER", value_name = "IP:PORT")]
    pub dns_resolver: Option<SocketAddr>,
    /// Milliseconds that a new computer provisions (0 to 3600000)
    #[arg(long, env = "WORKSPACED_PROVISION_MS", allow_negative_numbers = true, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub provision_ms: u32,
    /// Milliseconds that a computer takes to start (0 to 3600000)
    #[arg(long, env = "WORKSPACED_START_MS", allow_negative_numbers = true, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub start_ms: u32,
    /// Milliseconds that a computer takes to stop (0 to 3600000)
    #[arg(long, env = "WORKSPACED_STOP_MS", allow_negative_numbers = true, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub stop_ms: u32,
    /// Reader threads, each with one connection (1 to 64)
    #[arg(long, env = "WORKSPACED_READERS", allow_negative_numbers = true, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub readers: u16,
    /// Requests a minute that a key may send unless it has a limit of its own; 0 = no limit. None of
    /// the limits holds with --dev
    #[arg(
        long,
        env = "WORKSPACED_RATE_LIMIT",
        allow_negative_numbers = true,
        value_name = "N",
        default_value_t = 60_000
    )]
    pub rate_limit: u32,
    /// Requests a minute that an address may send, counted before its key is looked at; 0 = no limit
    #[arg(
        long,
        env = "WORKSPACED_ADDRESS_RATE_LIMIT",
        allow_negative_numbers = true,
        value_name = "N",
        default_value_t = 120_000
    )]
    pub address_rate_limit: u32,
    /// A proxy that is believed when it says who the client is and which host it asks (X-Forwarded-For, -Host, -Proto); an address or a
    /// network such as 10.0.0.0/8; repeat for more
    #[arg(long = "trusted-proxy", env = "WORKSPACED_TRUSTED_PROXY", value_name = "IP|NET", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at once; one more is answered 503. Each needs a file handle (1 to 100000)
    #[arg(long, env = "WORKSPACED_MAX_CONNECTIONS", allow_negative_numbers = true, value_name = "N", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_connections: u32,
    /// How long a request may take, such as 60s; then it is answered 503
    #[arg(long, env = "WORKSPACED_REQUEST_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub request_timeout: Duration,
    /// Days that rows of the audit log are kept; 0 = for ever
    #[arg(long, env = "WORKSPACED_AUDIT_RETENTION_DAYS", allow_negative_numbers = true, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub audit_retention_days: u32,
    /// Whole credits: an organization that was granted some and has fewer left is told so (credits.low)
    #[arg(
        long,
        env = "WORKSPACED_LOW_CREDITS",
        allow_negative_numbers = true,
        value_name = "N",
        default_value_t = 100
    )]
    pub low_credits: u32,
    /// Webhooks may lead to this machine and to private networks, there also by plain HTTP; with --dev
    /// they may lead to this machine anyway
    #[arg(long, env = "WORKSPACED_WEBHOOK_ALLOW_PRIVATE", value_parser = boolish())]
    pub webhook_allow_private: bool,
    /// Who moves new computers: the clock, without machines behind them, or a container engine (Docker or
    /// Podman) that runs the images of the configuration file
    #[arg(
        long,
        env = "WORKSPACED_DRIVER",
        value_name = "DRIVER",
        default_value = "simulated"
    )]
    pub driver: DrivenBy,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Directory into which the statements of each month are written, an hour after it is over
    #[arg(long, env = "WORKSPACED_STATEMENTS_DIR", value_name = "DIR")]
    pub statements_dir: Option<PathBuf>,
    /// Directory of the backups; without it there are none but those of the command line
    #[arg(long, env = "WORKSPACED_BACKUP_DIR", value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Time between two backups, such as 24h or 30m; 0s = only when asked for [default: 24h]
    #[arg(long, env = "WORKSPACED_BACKUP_EVERY", value_name = "TIME", requires = "backup_dir", value_parser = duration)]
    pub backup_every: Option<Duration>,
    /// Backups that are kept in the directory (1 to 10000) [default: 7]
    #[arg(long, env = "WORKSPACED_BACKUP_KEEP", allow_negative_numbers = true, value_name = "N", requires = "backup_dir", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub backup_keep: Option<u16>,
}

/// Where a container engine may listen.
#[derive(Args, Clone, Debug, Default)]
pub struct EngineArgs {
    /// Socket of the container engine, such as unix:///run/podman/podman.sock; instead of [engine] socket
    #[arg(long, env = "DOCKER_HOST", value_name = "SOCKET")]
    pub engine_socket: Option<String>,
    /// Where a container engine of one's own has its socket
    #[arg(long, env = "XDG_RUNTIME_DIR", hide = true, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
}

/// How often all containers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked at what computers use.
const SAMPLE_EVERY: Duration = Duration::from_secs(15);
/// The usual places, in the order in which they are tried.
const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];

impl EngineArgs {
    /// The sockets to try, in order.
    ///
    /// # Errors
    /// The name of what cannot be a socket, and what is allowed.
    pub fn sockets(&self, file: &ConfigFile) -> Result<Vec<PathBuf>, String> {
        let configured = file.engine.socket.as_deref().filter(|s| *s != "auto");
        let (name, given) = match (&self.engine_socket, configured) {
            (Some(given), _) => ("--engine-socket (DOCKER_HOST)", given.as_str()),
            (None, Some(given)) => ("engine.socket", given),
            (None, None) => {
                let own = self
                    .runtime_dir
                    .iter()
                    .map(|dir| dir.join("podman/podman.sock"));
                return Ok(SOCKETS.iter().map(PathBuf::from).chain(own).collect());
            }
        };
        match given.strip_prefix("unix://").unwrap_or(given) {
            path if path.starts_with('/') => Ok(vec![path.into()]),
            _ => Err(format!(
                "{name} {given:?}: allowed are sockets of this machine, such as unix:///var/run/docker.sock"
            )),
        }
    }
}

/// Why a key could be found by guessing; `None` for one that is long and looks random.
fn too_simple(key: &str) -> Option<&'static str> {
    let Some(secret) = key.strip_prefix("msk_") else {
        return Some("does not begin with msk_");
    };
    let bytes = secret.as_bytes();
    if !bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    {
        return Some("holds something else than letters, digits, _ and -");
    }
    if !(32..=200).contains(&bytes.len()) {
        return Some("is too short, or too long");
    }
    // What repeats itself has few different triples; what is written with few characters few bits in each.
    let triples: BTreeSet<&[u8]> = bytes.windows(3).collect();
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let length = f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    let bits: f64 = counts
        .into_iter()
        .filter(|n| *n > 0)
        .map(|n| f64::from(n) * (length / f64::from(n)).log2())
        .sum();
    (bits < MIN_BITS || triples.len() * 4 < bytes.len() * 3).then_some(
        "could be guessed: too few different characters, or a pattern that repeats itself",
    )
}

/// Bits that a chosen key has at least, by the characters that it uses.
const MIN_BITS: f64 = 100.0;

/// A length of time with its unit, such as 24h, 1h30m or 90s; whole seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let given = text.parse::<jiff::SignedDuration>().ok();
    given
        .and_then(|d| u64::try_from(d.as_secs()).ok())
        .filter(|seconds| *seconds <= 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| {
            "allowed are hours, minutes and seconds up to a year, such as 24h, 1h30m or 90s".into()
        })
}

/// On or off, for a flag's variable; what else is given is refused with the list of what is allowed.
fn boolish() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["1", "true", "yes", "0", "false", "no"])
        .map(|given| ["1", "true", "yes"].contains(&given.as_str()))
}

/// An address, or a network in CIDR notation.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "allowed are addresses and networks, such as 127.0.0.1 or 10.0.0.0/8".into())
}

/// Which service the client commands talk to.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Address of the service
    #[arg(
        long,
        env = "MIOSA_BASE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8400"
    )]
    pub base_url: String,
    /// API key; better given in the variable, where other users of the machine do not see it
    #[arg(
        long,
        env = "MIOSA_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,
    /// Print the reply as JSON, as --output json
    #[arg(long)]
    pub json: bool,
    /// Print rows for a spreadsheet, as --output csv
    #[arg(long)]
    pub csv: bool,
    /// How to print the reply [default: table]
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    /// Colours in tables; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Any text: no colours
    #[arg(long, env = "NO_COLOR", hide = true)]
    pub no_color: Option<String>,
}

/// A form of replies.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputFormat {
    /// Lines for people.
    Table,
    /// The reply itself.
    Json,
    /// Rows for a spreadsheet.
    Csv,
    /// The reply itself.
    Yaml,
}

/// When there are colours.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which service `health` asks, and how long it waits for it.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// Address of the service; without it that of --listen on this machine
    #[arg(value_name = "URL")]
    pub base: Option<String>,
    /// Where the service listens, as it is told itself
    #[arg(
        long,
        env = "WORKSPACED_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8400",
        value_delimiter = ',',
        value_parser = crate::rules::listen::parse
    )]
    pub listen: Vec<Listen>,
    /// How long to wait until it is ready, such as 30s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
}

impl Asked {
    /// The address without anything behind it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn url(&self) -> Result<String, String> {
        match &self.base {
            Some(base) => Ok(base.trim_end_matches('/').to_owned()),
            None => self
                .listen
                .iter()
                .find_map(Listen::own_address)
                .map(|address| format!("http://{address}"))
                .ok_or_else(|| "--listen: name an address".into()),
        }
    }
}

/// Where the time comes from.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockKind {
    /// The clock of this machine; with --dev it can be driven all the same.
    Real,
    /// Stands still until it is driven.
    Virtual,
}

/// The form of the log.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One line a record, for people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Everything the service needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub dev: bool,
    /// Names that development mode goes by besides those of loopback.
    pub dev_hosts: Vec<String>,
    /// Where it is reached, if that was said.
    pub public_url: Option<PublicUrl>,
    /// The port of the first `--listen`, which stands in addresses of this machine.
    pub port: u16,
    /// The clock can be driven: everything below `/_dev` is there.
    pub virtual_clock: bool,
    /// The clock of a new installation stands still.
    pub frozen: bool,
    /// Unknown fields and parameters are refused.
    pub strict: bool,
    /// A POST whose answer was lost is answered again, not executed again.
    pub replay_lost: bool,
    /// Effective domain where nobody set one.
    pub base_domain: String,
    /// CNAME target of preview domains.
    pub proxy_host: String,
    /// Resolver for domain checks; `None` = the system's.
    pub dns_resolver: Option<SocketAddr>,
    /// Delays of the built-in driver, milliseconds.
    pub delays: Delays,
    pub readers: usize,
    /// Sizes, rates, templates, ceilings.
    pub file: ConfigFile,
    /// Requests a minute of a key without a limit of its own; `None` = no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// Requests a minute of an address; `None` = no limit.
    pub address_rate_limit: Option<NonZeroU32>,
    /// Who is believed about `X-Forwarded-For`, `-Host` and `-Proto`.
    pub trusted_proxies: Vec<IpNet>,
    pub max_connections: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Days that rows of the audit log are kept; `None` = for ever.
    pub audit_retention_days: Option<NonZeroU32>,
    /// Whole credits below which an organization's balance is low.
    pub low_credits: i64,
    /// Where the statements of each month are written; `None` = they are made when asked for.
    pub statements_dir: Option<PathBuf>,
    /// Where webhooks may lead.
    pub webhook_reach: WebhookReach,
    /// The container engine that runs computers; `None` = they are simulated.
    pub engine: Option<EngineSettings>,
    /// Where backups go and when they are made; `None` = nowhere.
    pub backups: Option<BackupSettings>,
}

impl Config {
    /// A path of this service as a browser asks for it.
    pub fn path(&self, path: &str) -> String {
        let prefix = self.public_url.as_ref().map_or("", PublicUrl::prefix);
        format!("{prefix}{path}")
    }

    /// The names by which this server may be reached, where they matter: besides those of loopback.
    pub fn own_names(&self) -> Option<&[String]> {
        self.dev.then_some(&self.dev_hosts)
    }
}

/// Which addresses webhooks may lead to, besides public ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebhookReach {
    Public,
    /// This machine: development mode.
    Loopback,
    /// This machine and private networks.
    Private,
}

/// The container engine that runs computers.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Where it may listen; the first that answers.
    pub sockets: Vec<PathBuf>,
    pub network: Network,
    pub runtime: Option<String>,
    pub on_boot: OnBoot,
    pub allow_unlimited: bool,
    /// A terminal in which nothing is typed and nothing said for so long is closed.
    pub terminal_idle: Duration,
    /// How often all containers are looked at: what a loss of power can hide at most.
    pub look_every: Duration,
    /// How often it is looked at what they use.
    pub sample_every: Duration,
    /// Images by template.
    pub images: BTreeMap<String, Image>,
}

/// The backups that the service makes.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    pub dir: PathBuf,
    /// Time between two of them; zero = only when asked for.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

/// How long the built-in driver takes, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub provision_ms: i64,
    pub start_ms: i64,
    pub stop_ms: i64,
}

/// The configuration file. Everything has a default; an unknown key is an error, since a misspelt
/// ceiling would otherwise be no ceiling.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Per size: hardware and credits per hour.
    pub sizes: BTreeMap<Size, SizeConfig>,
    /// Dated changes of rates: `[[rates]]` with `effective_from` and credits per hour by size.
    pub rates: Vec<RateChange>,
    /// Templates that computers may be created from.
    pub templates: Option<Vec<String>>,
    /// The container engine, with `--driver docker`.
    pub engine: EngineConfig,
    /// Images of the templates, with `--driver docker`.
    pub images: BTreeMap<String, ImageConfig>,
    /// Ceilings of every tenant.
    pub limits: Limits,
    /// Ceilings of one tenant, by its slug; what is not given there comes from `limits`.
    pub tenants: BTreeMap<String, TenantConfig>,
}

/// `[engine]`
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// `auto`, or the socket.
    pub socket: Option<String>,
    pub network: Network,
    /// Another runtime that the engine has, such as `runsc` or `kata`.
    pub runtime: Option<String>,
    pub on_boot: OnBoot,
    /// Go on where the engine cannot limit memory, CPU or processes, or filters no system calls.
    pub allow_unlimited: bool,
    /// Seconds after which a terminal is closed in which nothing is typed and nothing said; 1800 if left out.
    pub terminal_idle_seconds: Option<u32>,
}

/// What computers reach.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A network of each workspace's own, with a way out.
    #[default]
    Workspace,
    /// A network of each workspace's own, without.
    Internal,
    /// Nothing.
    None,
}

/// What becomes of computers that ran when the host went down.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum OnBoot {
    /// They are started again.
    #[default]
    Restore,
    /// They stay down.
    Stay,
}

/// An image, or more about it.
#[derive(Deserialize, Clone, Debug)]
#[serde(untagged)]
pub enum ImageConfig {
    Name(String),
    Full(Image),
}

/// What a template is on an engine.
#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub image: String,
    /// What runs in it; empty: what the image says. Left out, it waits until it is stopped.
    #[serde(default = "wait")]
    pub command: Vec<String>,
    /// Where the volume lies that outlives the container.
    #[serde(default = "home")]
    pub home: String,
    /// Nothing but the volume and /tmp can be written.
    #[serde(default)]
    pub read_only: bool,
    /// As whom it runs; left out: as the image says.
    pub user: Option<String>,
}

/// A program that does nothing until it is told to end.
fn wait() -> Vec<String> {
    [
        "/bin/sh",
        "-c",
        "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done",
    ]
    .map(String::from)
    .into()
}

fn home() -> String {
    "/home".into()
}

impl From<ImageConfig> for Image {
    fn from(config: ImageConfig) -> Self {
        match config {
            ImageConfig::Full(image) => image,
            ImageConfig::Name(image) => Image {
                image,
                command: wait(),
                home: home(),
                read_only: false,
                user: None,
            },
        }
    }
}

/// One size in the file; what is left out keeps its default.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SizeConfig {
    pub vcpus: Option<u32>,
    pub memory_mb: Option<u32>,
    pub disk_gb: Option<u32>,
    /// Credits per hour of running, 0 to 100,000: beyond that a century of usage would not fit 64 bits.
    pub credits_per_hour: Option<u32>,
}

/// New rates from an instant on; what is left out keeps its rate. The past keeps its price: a change
/// that is configured after its date holds from when the service first sees it.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct RateChange {
    /// RFC 3339, such as `2026-12-01T00:00:00Z`.
    #[serde(deserialize_with = "instant")]
    pub effective_from: Timestamp,
    /// Credits per hour of `xs`, 0 to 100,000.
    pub xs: Option<u32>,
    /// Credits per hour of `small`.
    pub small: Option<u32>,
    /// Credits per hour of `medium`.
    pub medium: Option<u32>,
    /// Credits per hour of `large`.
    pub large: Option<u32>,
    /// Credits per hour of `xl`.
    pub xl: Option<u32>,
}

impl RateChange {
    /// The new rate of a size, if it gets one.
    pub fn of(&self, size: Size) -> Option<u32> {
        match size {
            Size::Xs => self.xs,
            Size::Small => self.small,
            Size::Medium => self.medium,
            Size::Large => self.large,
            Size::Xl => self.xl,
        }
    }
}

fn instant<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(d)?;
    let at = Timestamp::parse(&text).filter(|at| at.0 > 0);
    at.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is not an RFC 3339 time such as 2026-12-01T00:00:00Z"
        ))
    })
}

/// Ceilings of a tenant; `None` = no ceiling.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub max_workspaces: Option<i64>,
    /// Live projects in all workspaces.
    pub max_projects: Option<i64>,
    /// Live computers in all workspaces.
    pub max_computers: Option<i64>,
    /// Largest size of any computer.
    pub max_computer_size: Option<Size>,
}

/// A tenant's own section.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    /// Ceilings that replace the general ones.
    pub limits: Limits,
}

/// The highest rate that keeps a century of 10,000 computers inside 64-bit sums.
pub const MAX_CREDITS_PER_HOUR: u32 = 100_000;

impl ConfigFile {
    /// Reads and checks a file; the text says what is wrong and what is allowed.
    pub fn load(path: &std::path::Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("--config {}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("--config {}: {e}", path.display()))
    }

    /// [`ConfigFile::load`] from text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: ConfigFile = toml::from_str(text).map_err(|e| e.to_string())?;
        for (size, given) in &file.sizes {
            if given
                .credits_per_hour
                .is_some_and(|c| c > MAX_CREDITS_PER_HOUR)
            {
                return Err(format!(
                    "sizes.{size}.credits_per_hour: allowed are 0 to {MAX_CREDITS_PER_HOUR}"
                ));
            }
            for (name, value) in [
                ("vcpus", given.vcpus),
                ("memory_mb", given.memory_mb),
                ("disk_gb", given.disk_gb),
            ] {
                if value.is_some_and(|v| v == 0 || v > 1 << 24) {
                    return Err(format!("sizes.{size}.{name}: allowed are 1 to {}", 1 << 24));
                }
            }
        }
        for change in &file.rates {
            let too_high = |size: &Size| change.of(*size).is_some_and(|c| c > MAX_CREDITS_PER_HOUR);
            if let Some(size) = Size::ALL.into_iter().find(too_high) {
                return Err(format!(
                    "rates.{size}: allowed are 0 to {MAX_CREDITS_PER_HOUR} credits per hour"
                ));
            }
        }
        if file
            .templates
            .as_ref()
            .is_some_and(|t| t.is_empty() || t.iter().any(|n| n.trim().is_empty()))
        {
            return Err("templates: name at least one template, none of them blank".into());
        }
        let all = file
            .tenants
            .iter()
            .map(|(slug, t)| (format!("tenants.{slug}.limits"), &t.limits));
        for (place, limits) in std::iter::once(("limits".to_string(), &file.limits)).chain(all) {
            for (name, value) in [
                ("max_workspaces", limits.max_workspaces),
                ("max_projects", limits.max_projects),
                ("max_computers", limits.max_computers),
            ] {
                if value.is_some_and(|v| v < 0) {
                    return Err(format!(
                        "{place}.{name}: allowed are whole numbers from 0; leave it out for no ceiling"
                    ));
                }
            }
        }
        Ok(file)
    }

    /// Whether any organization at all has such a limit; if not, nobody's has to be looked up.
    pub fn any_limit<T>(&self, limit: impl Fn(&Limits) -> Option<T>) -> bool {
        limit(&self.limits).is_some() || self.tenants.values().any(|t| limit(&t.limits).is_some())
    }

    /// The ceilings of the tenant with this slug.
    pub fn limits_of(&self, slug: &str) -> Limits {
        let own = self.tenants.get(slug).map(|t| t.limits).unwrap_or_default();
        Limits {
            max_workspaces: own.max_workspaces.or(self.limits.max_workspaces),
            max_projects: own.max_projects.or(self.limits.max_projects),
            max_computers: own.max_computers.or(self.limits.max_computers),
            max_computer_size: own.max_computer_size.or(self.limits.max_computer_size),
        }
    }
}

impl ServeArgs {
    /// Checks what clap cannot and makes the [`Config`]. The text names the flag and what is allowed.
    pub fn check(&self) -> Result<Config, String> {
        // Who names the names by which others reach it means it: a container in a network of its own.
        let open = self.dev && self.dev_hosts.is_empty();
        if let Some(listen) = self.listen.iter().find(|l| open && !l.is_loopback()) {
            return Err(format!(
                "--listen {listen}: with --dev only loopback addresses are allowed (127.0.0.1, [::1]), because everybody knows \
                 the key; in a network that is yours alone, such as that of a container, name with --dev-host how it is reached"
            ));
        }
        if let Some(admin) = self
            .admin_listen
            .as_ref()
            .filter(|a| open && !a.is_loopback())
        {
            return Err(format!(
                "--admin-listen {admin}: with --dev only loopback addresses are allowed (127.0.0.1, [::1])"
            ));
        }
        let mut file = self
            .data
            .config
            .as_deref()
            .map_or(Ok(ConfigFile::default()), ConfigFile::load)?;
        let engine = self.engine_settings(&mut file)?;
        let host = |flag: &str, value: &str| {
            crate::rules::host::normalize_host(value)
                .map_err(|why| format!("{flag} {value:?}: {why}"))
        };
        // Who says how it is reached from outside does not have to say it again.
        let public_name = self.public_url.as_ref().map(|url| {
            let host = url.host();
            match host.rsplit_once(':') {
                Some((name, port)) if !port.ends_with(']') => name.to_owned(),
                _ => host.to_owned(),
            }
        });
        Ok(Config {
            dev: self.dev,
            dev_hosts: self.dev_hosts.iter().cloned().chain(public_name).collect(),
            public_url: self.public_url.clone(),
            port: self.listen.first().map_or(0, Listen::port),
            // Nobody drives the time in which a machine runs.
            virtual_clock: engine.is_none() && (self.dev || self.clock == ClockKind::Virtual),
            frozen: self.clock == ClockKind::Virtual,
            strict: self.strict,
            replay_lost: !self.no_replay_lost,
            base_domain: host("--base-domain", &self.base_domain)?,
            proxy_host: host("--proxy-host", &self.proxy_host)?,
            dns_resolver: self.dns_resolver,
            delays: Delays {
                provision_ms: self.provision_ms.into(),
                start_ms: self.start_ms.into(),
                stop_ms: self.stop_ms.into(),
            },
            readers: self.readers.into(),
            rate_limit: NonZeroU32::new(self.rate_limit),
            address_rate_limit: NonZeroU32::new(self.address_rate_limit),
            trusted_proxies: self.trusted_proxies.clone(),
            max_connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            request_timeout: self.request_timeout,
            audit_retention_days: NonZeroU32::new(self.audit_retention_days),
            low_credits: self.low_credits.into(),
            statements_dir: self.statements_dir.clone(),
            webhook_reach: match (self.webhook_allow_private, self.dev) {
                (true, _) => WebhookReach::Private,
                (false, true) => WebhookReach::Loopback,
                (false, false) => WebhookReach::Public,
            },
            backups: self.backup_dir.clone().map(|dir| BackupSettings {
                dir,
                every: self.backup_every.unwrap_or(Duration::from_secs(86_400)),
                keep: self.backup_keep.unwrap_or(7).into(),
            }),
            engine,
            file,
        })
    }

    /// The key that was chosen before the first start, if one was.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn bootstrap(&self) -> Result<Option<String>, String> {
        let (name, given) = match (&self.bootstrap_key, &self.bootstrap_key_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err("give one of --bootstrap-key (WORKSPACED_BOOTSTRAP_KEY) and --bootstrap-key-file \
                    (WORKSPACED_BOOTSTRAP_KEY_FILE), not both"
                    .into());
            }
            (Some(key), None) => ("WORKSPACED_BOOTSTRAP_KEY".to_owned(), key.clone()),
            (None, Some(file)) => {
                let name = format!("WORKSPACED_BOOTSTRAP_KEY_FILE {}", file.display());
                let text = std::fs::read_to_string(file).map_err(|e| format!("{name}: {e}"))?;
                (name, text)
            }
        };
        if self.dev {
            return Err(format!(
                "{name}: --dev has a key of its own that everybody knows; leave one of them out"
            ));
        }
        let key = given.trim();
        match too_simple(key) {
            None => Ok(Some(key.to_owned())),
            Some(why) => Err(format!(
                "{name}: {why}; allowed is msk_ and then 32 to 200 random letters, digits, _ and -, such as from: \
                 echo \"msk_a_$(openssl rand -hex 24)\""
            )),
        }
    }

    /// The engine that is to run computers. Without templates of its own, the file offers those with images.
    fn engine_settings(&self, file: &mut ConfigFile) -> Result<Option<EngineSettings>, String> {
        if self.driver != DrivenBy::Docker {
            return Ok(None);
        }
        for (flag, given) in [
            ("--clock virtual", self.clock == ClockKind::Virtual),
            ("--ephemeral", self.ephemeral),
        ] {
            if given {
                return Err(format!(
                    "--driver docker does not go with {flag}: machines run in real time and outlive this process; leave one of them out"
                ));
            }
        }
        let sockets = self.engine.sockets(file)?;
        if file.images.is_empty() {
            return Err(
                "--driver docker: which image is a computer? Name one in the file of --config, such as: [images] miosa-desktop = \"localhost/workspaced/base:1\""
                    .into(),
            );
        }
        let images: BTreeMap<String, Image> = file
            .images
            .iter()
            .map(|(template, image)| (template.clone(), image.clone().into()))
            .collect();
        if let Some(image) = images.values().find(|image| !image.home.starts_with('/')) {
            return Err(format!(
                "images: home {:?} must be a path from the root, such as /home",
                image.home
            ));
        }
        if file.templates.is_none() {
            file.templates = Some(images.keys().cloned().collect());
        }
        Ok(Some(EngineSettings {
            sockets,
            network: file.engine.network,
            runtime: file.engine.runtime.clone(),
            on_boot: file.engine.on_boot,
            allow_unlimited: file.engine.allow_unlimited,
            terminal_idle: Duration::from_secs(u64::from(
                file.engine.terminal_idle_seconds.unwrap_or(1800),
            )),
            look_every: LOOK_EVERY,
            sample_every: SAMPLE_EVERY,
            images,
        }))
    }
}

impl Default for Config {
    /// What tests start from: the defaults of the flags, but with two readers and no rate limits.
    fn default() -> Self {
        Config {
            dev: false,
            dev_hosts: Vec::new(),
            public_url: None,
            port: 8400,
            virtual_clock: false,
            frozen: false,
            strict: false,
            replay_lost: true,
            base_domain: "miosa.ai".into(),
            proxy_host: "proxy.miosa.ai".into(),
            dns_resolver: None,
            delays: Delays {
                provision_ms: 1000,
                start_ms: 1000,
                stop_ms: 1000,
            },
            readers: 2,
            rate_limit: None,
            address_rate_limit: None,
            trusted_proxies: Vec::new(),
            max_connections: 900,
            request_timeout: Duration::from_secs(60),
            audit_retention_days: None,
            low_credits: 100,
            statements_dir: None,
            webhook_reach: WebhookReach::Public,
            engine: None,
            backups: None,
            file: ConfigFile::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::too_simple;

    #[test]
    fn a_key_that_could_be_guessed_is_told_from_a_random_one() {
        for key in [
            "msk_a_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c",
            "msk_u_qQ4BA9Qa8mrTTJX25qiB2Rho83I1GvrrLXtdgSad",
            "msk_5up-J0q8Qv_1x2ZkTnW3bLr9YdCfGhKe",
        ] {
            assert_eq!(too_simple(key), None, "{key}");
        }
        for (key, why) in [
            ("", "msk_"),
            ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c", "msk_"),
            ("msk_u_dev", "short"),
            ("msk_9f86d081884c7d659a2feaa0c55ad01", "short"),
            (
                "msk_9f86d081884c7d659a2f eaa0c55ad015a3bf4f1b2b0b",
                "letters",
            ),
            ("msk_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "guessed"),
            ("msk_0123456789012345678901234567890123456789", "guessed"),
            ("msk_password-password-password-password-1", "guessed"),
            ("msk_0000000000000000000000000000000000000001", "guessed"),
        ] {
            let found = too_simple(key).unwrap();
            assert!(found.contains(why), "{key}: {found}");
        }
    }
}
