//! Every flag and variable, with its default, its unit and why.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, ArgMatches, Args, ValueEnum};
use ipnet::IpNet;

use super::oidc::OidcArgs;
use super::values::duration;
use crate::rules::driven_by::DrivenBy;
use crate::rules::listen::Listen;
use crate::rules::public_url::PublicUrl;

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
    /// How long deleted workspaces, projects and computers can be restored, such as 30d or 12h; containers and
    /// volumes stay on the disk as long; 0 = what is deleted is gone at once
    #[arg(long, env = "WORKSPACED_KEEP_DELETED", value_name = "TIME", default_value = "30d", value_parser = days_or_less)]
    pub keep_deleted: Duration,
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
    #[command(flatten)]
    pub oidc: OidcArgs,
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
    /// All of them as they were given, for people to look at
    #[arg(skip)]
    pub told: Vec<(String, String)>,
}

impl ServeArgs {
    /// Every flag by its name with its value; of a secret only whether there is one.
    pub fn told(given: &ArgMatches) -> Vec<(String, String)> {
        let all = ServeArgs::augment_args(clap::Command::new("serve"));
        let value = |arg: &clap::Arg| {
            let id = arg.get_id().as_str();
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                return given.get_flag(id).to_string();
            }
            let Some(values) = given.get_raw(id) else {
                return "none".to_owned();
            };
            if arg.is_hide_env_values_set() {
                return "given, not shown".to_owned();
            }
            let values: Vec<_> = values.map(|one| one.to_string_lossy()).collect();
            values.join(", ")
        };
        all.get_arguments()
            .filter(|arg| !arg.is_hide_set())
            .filter_map(|arg| Some((format!("--{}", arg.get_long()?), value(arg))))
            .collect()
    }
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

/// As [`duration`], also in days; 0 needs no unit.
fn days_or_less(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').unwrap_or(text).parse::<u64>().ok();
    match days.filter(|days| *days == 0 || text.ends_with('d') && *days <= 366) {
        Some(days) => Ok(Duration::from_secs(days * 86_400)),
        None => duration(text).map_err(|_| {
            "allowed are days, hours and minutes up to a year, such as 30d or 12h, and 0".into()
        }),
    }
}

/// On or off, for a flag's variable; what else is given is refused with the list of what is allowed.
pub(super) fn boolish() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["1", "true", "yes", "0", "false", "no"])
        .map(|given| ["1", "true", "yes"].contains(&given.as_str()))
}

/// An address, or a network in CIDR notation.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
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
    /// The organization that is meant, by its slug or id; another one than the key's own needs an operator key
    #[arg(long, env = "MIOSA_TENANT", value_name = "ORGANIZATION")]
    pub tenant: Option<String>,
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
