//! What the service is told at its start: flags and variables ([`flags`]), the configuration file ([`file`]), and what they
//! come to together. The only reader of the environment (through clap).

mod bootstrap;
mod file;
mod flags;
mod oidc;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use file::*;
pub use flags::*;
pub use oidc::*;

use crate::rules::driven_by::DrivenBy;
use crate::rules::listen::{Bound, Listen};
use crate::rules::public_url::PublicUrl;
use bootstrap::too_simple;

/// How often all containers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(8);
/// How often it is looked whether their processes are there.
const PULSE_EVERY: Duration = Duration::from_secs(3);
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
    /// The address of the first `--listen` by which it can be opened.
    pub own_url: String,
    /// What it was started with: every flag and its value, none of them secret.
    pub told: Vec<(String, String)>,
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
    /// How long what was deleted can be restored, milliseconds; 0 = not at all.
    pub keep_deleted_ms: i64,
    /// Whole credits below which an organization's balance is low.
    pub low_credits: i64,
    /// Where the statements of each month are written; `None` = they are made when asked for.
    pub statements_dir: Option<PathBuf>,
    /// Where webhooks may lead.
    pub webhook_reach: WebhookReach,
    /// The container engine that runs computers; `None` = they are simulated.
    pub engine: Option<EngineSettings>,
    /// The provider with which people sign in by name; `None` = with keys only.
    pub oidc: Option<OidcSettings>,
    /// Where backups go and when they are made; `None` = nowhere.
    pub backups: Option<BackupSettings>,
}

impl Config {
    /// A path of this service as a browser asks for it.
    pub fn path(&self, path: &str) -> String {
        let prefix = self.public_url.as_ref().map_or("", PublicUrl::prefix);
        format!("{prefix}{path}")
    }

    /// The same with the address of this service, to be sent to somebody.
    pub fn url(&self, path: &str) -> String {
        match &self.public_url {
            Some(public) => format!("{}{path}", public.base()),
            None => format!("{}{path}", self.own_url),
        }
    }

    /// Takes over where it does listen: the port that was free, and an address for a wildcard.
    pub fn listens(&mut self, first: &Bound) {
        self.port = first.port();
        self.own_url = first.usable_url();
    }

    /// Shows a flag as what came of it.
    pub fn tell(&mut self, name: &str, value: String) {
        if let Some((_, told)) = self.told.iter_mut().find(|(flag, _)| flag == name) {
            *told = value;
        }
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
    /// Each computer runs on as many CPUs of the host as it has.
    pub pin_cpus: bool,
    /// A terminal in which nothing is typed and nothing said for so long is closed.
    pub terminal_idle: Duration,
    /// How often all containers are looked at, and whether their processes are there: what a loss of power can hide.
    pub look_every: Duration,
    pub pulse_every: Duration,
    /// How often it is looked at what they use.
    pub sample_every: Duration,
    /// A container is tried out when the engine has been found.
    pub probe: bool,
    /// What is left to the host.
    pub reserve: Reserve,
    /// Rules of this program's own that keep computers apart, and ports of the host that they reach all the same.
    pub firewall: Firewall,
    pub host_ports: Vec<u16>,
    /// How many snapshots are kept.
    pub snapshots: Snapshots,
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
            own_url: self
                .listen
                .first()
                .map(|at| format!("http://{at}"))
                .unwrap_or_default(),
            told: self.told.clone(),
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
            keep_deleted_ms: i64::try_from(self.keep_deleted.as_millis()).unwrap_or(0),
            low_credits: self.low_credits.into(),
            statements_dir: self.statements_dir.clone(),
            oidc: self.oidc.check(self.public_url.as_ref())?,
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
            pin_cpus: file.engine.pin_cpus.unwrap_or(true),
            terminal_idle: Duration::from_secs(u64::from(
                file.engine.terminal_idle_seconds.unwrap_or(1800),
            )),
            look_every: LOOK_EVERY,
            pulse_every: PULSE_EVERY,
            sample_every: SAMPLE_EVERY,
            probe: true,
            reserve: file.engine.reserve,
            firewall: file.engine.firewall,
            host_ports: file.engine.host_ports.clone(),
            snapshots: file.engine.snapshots,
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
            own_url: "http://127.0.0.1:8400".into(),
            told: Vec::new(),
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
            keep_deleted_ms: 30 * 86_400_000,
            low_credits: 100,
            statements_dir: None,
            oidc: None,
            webhook_reach: WebhookReach::Public,
            engine: None,
            backups: None,
            file: ConfigFile::default(),
        }
    }
}
