//! What there is to run: sizes with their rates, templates, one region. From the configuration;
//! nothing here touches the store.

use std::collections::BTreeMap;

use crate::rules::config::{ConfigFile, RateChange, SizeConfig};
use crate::rules::size::Size;

/// The hardware of a size and what an hour of it costs.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    pub vcpus: i64,
    pub memory_mb: i64,
    pub disk_gb: i64,
    /// Credits per hour of running.
    pub rate: i64,
}

/// Sizes and templates of this installation.
#[derive(Debug)]
pub struct Catalog {
    sizes: BTreeMap<Size, Hardware>,
    /// Dated changes of rates, credits per hour.
    rates: BTreeMap<(Size, i64), i64>,
    /// Names of the templates, the first one being the default.
    pub templates: Vec<String>,
}

/// The template that the API page and the clients use.
pub const DEFAULT_TEMPLATE: &str = "miosa-desktop";
/// The only region.
pub const REGION: &str = "local";

impl Catalog {
    /// The defaults (configuration.md, "The configuration file"), changed by what the file says.
    pub fn new(file: &ConfigFile) -> Self {
        let defaults = [
            (1, 2048, 10, 15),
            (1, 4096, 20, 30),
            (2, 8192, 50, 60),
            (4, 16384, 100, 120),
            (8, 32768, 200, 240),
        ];
        let sizes =
            Size::ALL
                .into_iter()
                .zip(defaults)
                .map(|(size, (vcpus, memory_mb, disk_gb, rate))| {
                    let none = SizeConfig::default();
                    let own = file.sizes.get(&size).unwrap_or(&none);
                    let hardware = Hardware {
                        vcpus: own.vcpus.map_or(vcpus, i64::from),
                        memory_mb: own.memory_mb.map_or(memory_mb, i64::from),
                        disk_gb: own.disk_gb.map_or(disk_gb, i64::from),
                        rate: own.credits_per_hour.map_or(rate, i64::from),
                    };
                    (size, hardware)
                });
        let change = |change: &RateChange, size| {
            Some(((size, change.effective_from.0), change.of(size)?.into()))
        };
        let rates = file.rates.iter().flat_map(|c| {
            Size::ALL
                .into_iter()
                .filter_map(move |size| change(c, size))
        });
        Catalog {
            sizes: sizes.collect(),
            rates: rates.collect(),
            templates: file
                .templates
                .clone()
                .unwrap_or_else(|| vec![DEFAULT_TEMPLATE.into()]),
        }
    }

    /// The hardware of a size.
    pub fn hardware(&self, size: Size) -> Hardware {
        self.sizes[&size]
    }

    /// Credits per hour of a size at an instant, by the configuration.
    pub fn rate_at(&self, size: Size, at: i64) -> i64 {
        let dated = self.rates.range((size, i64::MIN)..=(size, at)).next_back();
        dated.map_or(self.sizes[&size].rate, |(_, rate)| *rate)
    }

    /// The date of the price that [`Catalog::rate_at`] says, where it has one.
    pub fn dated(&self, size: Size, at: i64) -> Option<i64> {
        let dated = self.rates.range((size, i64::MIN)..=(size, at)).next_back();
        dated.map(|((_, from), _)| *from)
    }

    /// The changes of rates that lie ahead: size, instant, credits per hour.
    pub fn announced(&self, now: i64) -> Vec<(Size, i64, i64)> {
        let ahead = self.rates.iter().filter(|((_, from), _)| *from > now);
        ahead
            .map(|((size, from), rate)| (*size, *from, *rate))
            .collect()
    }

    /// The template of a computer that names none.
    pub fn default_template(&self) -> &str {
        let usual = self.templates.iter().find(|t| *t == DEFAULT_TEMPLATE);
        usual
            .or(self.templates.first())
            .map_or(DEFAULT_TEMPLATE, String::as_str)
    }
}
