//! The configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::rules::size::Size;

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
    /// Whose pages customers see.
    pub brand: Brand,
}

/// `[brand]`: whose pages customers see under share links.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Brand {
    /// Instead of the organization's name.
    pub name: Option<String>,
    /// Such as `#0a7d5a`.
    pub color: Option<String>,
    /// A file beside this one: SVG, PNG, JPEG or WebP.
    pub logo: Option<PathBuf>,
    /// The logo as it stands in a page.
    #[serde(skip)]
    pub image: Option<String>,
}

/// Bytes of a logo: it is in every page.
const MAX_LOGO: usize = 64 << 10;

impl Brand {
    fn load(&mut self, beside: &Path) -> Result<(), String> {
        let hex = |color: &str| {
            color.strip_prefix('#').is_some_and(|digits| {
                digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit())
            })
        };
        if let Some(color) = self.color.as_ref().filter(|color| !hex(color)) {
            return Err(format!(
                "brand.color {color:?}: allowed are six hexadecimal digits, such as #0a7d5a"
            ));
        }
        let Some(logo) = &self.logo else {
            return Ok(());
        };
        let kind = match logo.extension().and_then(|ext| ext.to_str()) {
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("jpg" | "jpeg") => "image/jpeg",
            Some("webp") => "image/webp",
            _ => {
                return Err(format!(
                    "brand.logo {}: allowed are files that end in .svg, .png, .jpg or .webp",
                    logo.display()
                ));
            }
        };
        let path = beside.parent().unwrap_or(Path::new(".")).join(logo);
        let bytes =
            std::fs::read(&path).map_err(|e| format!("brand.logo {}: {e}", path.display()))?;
        if bytes.len() > MAX_LOGO {
            return Err(format!(
                "brand.logo {}: has {} bytes; allowed are {MAX_LOGO}, since it is in every page",
                path.display(),
                bytes.len()
            ));
        }
        self.image = Some(format!(
            "data:{kind};base64,{}",
            data_encoding::BASE64.encode(&bytes)
        ));
        Ok(())
    }
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
    /// Each computer runs on as many CPUs of the host as it has; yes if left out.
    pub pin_cpus: Option<bool>,
    /// Seconds after which a terminal is closed in which nothing is typed and nothing said; 1800 if left out.
    pub terminal_idle_seconds: Option<u32>,
    pub reserve: Reserve,
    /// Whether rules of this program's own in the host's packet filter keep computers apart.
    pub firewall: Firewall,
    /// Ports of the host that computers reach all the same.
    pub host_ports: Vec<u16>,
    pub snapshots: Snapshots,
}

/// How many snapshots are kept.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    pub per_computer: i64,
    pub per_workspace: i64,
    /// GB in a workspace, of 10^9 bytes: none is begun where there are as many.
    pub gb_per_workspace: i64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Snapshots {
            per_computer: 10,
            per_workspace: 100,
            gb_per_workspace: 50,
        }
    }
}

/// Whether rules of this program's own in the host's packet filter keep computers apart.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    /// Where it may set them; else it is said that there are none.
    #[default]
    Auto,
    /// Without them nothing is created or started.
    Required,
    /// Only the engine's.
    Off,
}

/// What is left to the host: nothing is created or started that would take of it.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Reserve {
    /// MB of memory that stay available, besides what the computers that run may still take.
    pub memory_mb: u64,
    /// MB of disk where containers lie; at least 5 % of it in any case.
    pub disk_mb: u64,
    /// How much memory may be promised to all that run, in times of what the host has; 0: as much as there is at
    /// present, whatever was promised.
    pub memory_ratio: f64,
    /// Virtual CPUs that may be promised to all that run, for each CPU of the host; 0: any number.
    pub cpu_ratio: f64,
}

impl Default for Reserve {
    fn default() -> Self {
        Reserve {
            memory_mb: 512,
            disk_mb: 2048,
            memory_ratio: 0.0,
            cpu_ratio: 0.0,
        }
    }
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
    /// What runs in it; empty: what the image says. Left out, the image's `workspaced-session`, or nothing until it is stopped.
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

/// The session of an image that has one, else a program that does nothing until it is told to end.
pub(super) fn wait() -> Vec<String> {
    [
        "/bin/sh",
        "-c",
        "command -v workspaced-session >/dev/null 2>&1 && exec workspaced-session
trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done",
    ]
    .map(String::from)
    .into()
}

pub(super) fn home() -> String {
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

pub(super) fn instant<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
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
        let mut file =
            Self::parse(&text).map_err(|e| format!("--config {}: {e}", path.display()))?;
        file.brand
            .load(path)
            .map_err(|e| format!("--config {}: {e}", path.display()))?;
        Ok(file)
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
