//! Every flag and variable, with its default, its unit and why; and the configuration file. The
//! only reader of the environment (through clap).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::catalog::Size;
use crate::clock::Timestamp;

/// Where the data lives; shared by every subcommand.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Directory of the database `workspaced.db`; made with mode 0700 when missing
    #[arg(
        long,
        env = "WORKSPACED_DATA_DIR",
        value_name = "DIR",
        default_value = "workspaced-data"
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
    /// Address to listen on; port 0 picks a free one
    #[arg(
        long,
        env = "WORKSPACED_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8400"
    )]
    pub listen: SocketAddr,
    /// Address of a listener of their own for the admin page and the metrics, which need no key there
    #[arg(long, env = "WORKSPACED_ADMIN_LISTEN", value_name = "ADDR:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// Development mode: the fixed key `msk_u_dev` has operator rights; loopback addresses only
    #[arg(long, env = "WORKSPACED_DEV", value_parser = boolish())]
    pub dev: bool,
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
}

/// On or off, for a flag's variable; what else is given is refused with the list of what is allowed.
fn boolish() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["1", "true", "yes", "0", "false", "no"])
        .map(|given| ["1", "true", "yes"].contains(&given.as_str()))
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
    /// Print the reply as JSON
    #[arg(long)]
    pub json: bool,
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
    /// Development mode.
    pub dev: bool,
    /// The clock can be driven: everything below `/_dev` is there.
    pub driven: bool,
    /// The clock of a new installation stands still.
    pub frozen: bool,
    /// Effective domain where nobody set one.
    pub base_domain: String,
    /// CNAME target of preview domains.
    pub proxy_host: String,
    /// Resolver for domain checks; `None` = the system's.
    pub dns_resolver: Option<SocketAddr>,
    /// Delays of the built-in driver, milliseconds.
    pub delays: Delays,
    /// Reader threads.
    pub readers: usize,
    /// Sizes, rates, templates, ceilings.
    pub file: ConfigFile,
}

/// How long the built-in driver takes, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// provisioning → running
    pub provision_ms: i64,
    /// starting → running
    pub start_ms: i64,
    /// stopping → stopped
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
    /// Ceilings of every tenant.
    pub limits: Limits,
    /// Ceilings of one tenant, by its slug; what is not given there comes from `limits`.
    pub tenants: BTreeMap<String, TenantConfig>,
}

/// One size in the file; what is left out keeps its default.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SizeConfig {
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// Memory, MB.
    pub memory_mb: Option<u32>,
    /// Disk, GB.
    pub disk_gb: Option<u32>,
    /// Credits per hour of running, 0 to 100,000: beyond that a century of usage would not fit 64 bits.
    pub credits_per_hour: Option<u32>,
}

/// New rates from an instant on; what is left out keeps its rate. The past keeps its price: a change
/// that is configured after its date holds from when the service first sees it (USAGE U17).
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
    /// Live workspaces.
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
        if self.dev && !self.listen.ip().is_loopback() {
            return Err(format!(
                "--listen {}: with --dev only loopback addresses are allowed (127.0.0.1, [::1]), because everybody knows the key",
                self.listen
            ));
        }
        if let Some(admin) = self
            .admin_listen
            .filter(|a| self.dev && !a.ip().is_loopback())
        {
            return Err(format!(
                "--admin-listen {admin}: with --dev only loopback addresses are allowed (127.0.0.1, [::1])"
            ));
        }
        let host = |flag: &str, value: &str| {
            crate::domains::normalize_host(value).map_err(|why| format!("{flag} {value:?}: {why}"))
        };
        Ok(Config {
            dev: self.dev,
            driven: self.dev || self.clock == ClockKind::Virtual,
            frozen: self.clock == ClockKind::Virtual,
            base_domain: host("--base-domain", &self.base_domain)?,
            proxy_host: host("--proxy-host", &self.proxy_host)?,
            dns_resolver: self.dns_resolver,
            delays: Delays {
                provision_ms: self.provision_ms.into(),
                start_ms: self.start_ms.into(),
                stop_ms: self.stop_ms.into(),
            },
            readers: self.readers.into(),
            file: self
                .data
                .config
                .as_deref()
                .map_or(Ok(ConfigFile::default()), ConfigFile::load)?,
        })
    }
}

impl Default for Config {
    /// The defaults of the flags, without delays: what tests start from.
    fn default() -> Self {
        Config {
            dev: false,
            driven: false,
            frozen: false,
            base_domain: "miosa.ai".into(),
            proxy_host: "proxy.miosa.ai".into(),
            dns_resolver: None,
            delays: Delays {
                provision_ms: 1000,
                start_ms: 1000,
                stop_ms: 1000,
            },
            readers: 2,
            file: ConfigFile::default(),
        }
    }
}
