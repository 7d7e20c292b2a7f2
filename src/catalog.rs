//! What there is to run: sizes with their rates, templates, one region. From the configuration;
//! nothing here touches the store.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::clock::Timestamp;
use crate::config::{ConfigFile, RateChange, SizeConfig};
use crate::error::{Error, Result};
use crate::http::{Caller, List};

/// A size of computer. Ordered: xs < small < medium < large < xl (CONTRACT §4.5).
#[derive(Serialize, ToSchema, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Extra small.
    Xs,
    /// Small.
    Small,
    /// Medium.
    Medium,
    /// Large.
    Large,
    /// Extra large.
    Xl,
}

impl Size {
    /// All of them, smallest first.
    pub const ALL: [Size; 5] = [Size::Xs, Size::Small, Size::Medium, Size::Large, Size::Xl];

    /// The word of the API and of the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Size::Xs => "xs",
            Size::Small => "small",
            Size::Medium => "medium",
            Size::Large => "large",
            Size::Xl => "xl",
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Size {
    type Err = String;

    /// Also reads `xlarge`, which older clients say for `xl`.
    fn from_str(text: &str) -> Result<Self, String> {
        Size::ALL
            .into_iter()
            .find(|size| size.as_str() == text || (text == "xlarge" && *size == Size::Xl))
            .ok_or_else(|| "is not a size; allowed are xs, small, medium, large, xl".into())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl ToSql for Size {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Size {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value
            .as_str()?
            .parse()
            .map_err(|e: String| FromSqlError::Other(e.into()))
    }
}

/// The hardware of a size and what an hour of it costs.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// Virtual CPUs.
    pub vcpus: i64,
    /// Memory, MB.
    pub memory_mb: i64,
    /// Disk, GB.
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
    /// The defaults of CONTRACT §4.5 and §0.4 no. 9, changed by what the file says.
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

    /// Credits per hour of a size at an instant, by the configuration (USAGE U17).
    pub fn rate_at(&self, size: Size, at: i64) -> i64 {
        let dated = self.rates.range((size, i64::MIN)..=(size, at)).next_back();
        dated.map_or(self.sizes[&size].rate, |(_, rate)| *rate)
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

/// A row that never comes: the lists of products that are not part of this server.
#[derive(Serialize, ToSchema, Debug, Clone)]
pub struct Empty {}

/// A size, as listed.
#[derive(Serialize, ToSchema)]
pub struct SizeRow {
    id: Size,
    slug: Size,
    name: Size,
    vcpus: i64,
    cpu: i64,
    memory_mb: i64,
    disk_gb: i64,
    /// Credits per hour.
    price_hour: i64,
    credits_per_hour: i64,
}

/// A region as `/compute/regions` shows it.
#[derive(Serialize, ToSchema)]
pub struct ComputeRegion {
    id: &'static str,
    name: &'static str,
    slug: &'static str,
    country: Option<&'static str>,
    city: Option<&'static str>,
    available: bool,
}

/// A region as `/regions` shows it.
#[derive(Serialize, ToSchema)]
pub struct Region {
    id: &'static str,
    label: &'static str,
    name: &'static str,
    status: &'static str,
    active_nodes: i64,
    small_slots_free: i64,
}

/// A template.
#[derive(Serialize, ToSchema)]
pub struct Template {
    id: String,
    template_id: String,
    name: String,
    slug: String,
    description: String,
    default_size: Size,
    size_ids: Vec<Size>,
    supported_sizes: Vec<Size>,
    artifact_readiness: Vec<Empty>,
    created_at: Timestamp,
}

/// One template under `data`.
#[derive(Serialize, ToSchema)]
pub struct TemplateReply {
    data: Template,
}

/// The templates under both keys that clients look for.
#[derive(Serialize, ToSchema)]
pub struct Templates {
    templates: Vec<Template>,
    data: Vec<Template>,
    total: i64,
}

/// What can be created.
#[derive(Serialize, ToSchema)]
pub struct Product {
    id: &'static str,
    product_id: &'static str,
    name: &'static str,
    description: &'static str,
    default_template: String,
    default_template_id: String,
    default_size: Size,
    size_ids: Vec<Size>,
    templates: Vec<Template>,
}

/// Products, templates and sizes.
#[derive(Serialize, ToSchema)]
pub struct CatalogData {
    products: Vec<Product>,
    sizes: Vec<SizeRow>,
    generated_at: Timestamp,
}

/// [`CatalogData`] under `data`.
#[derive(Serialize, ToSchema)]
pub struct CatalogReply {
    data: CatalogData,
}

/// The rates in force.
#[derive(Serialize, ToSchema)]
pub struct Pricing {
    /// What a credit is worth is up to the operator.
    unit: &'static str,
    /// Only running computers are billed.
    billed_status: &'static str,
    /// Credits per hour, by size.
    rates: BTreeMap<&'static str, i64>,
}

impl App {
    fn size_rows(&self) -> Vec<SizeRow> {
        let now = self.store.now().0;
        let row = |size| {
            let h = self.catalog.hardware(size);
            SizeRow {
                id: size,
                slug: size,
                name: size,
                vcpus: h.vcpus,
                cpu: h.vcpus,
                memory_mb: h.memory_mb,
                disk_gb: h.disk_gb,
                price_hour: self.catalog.rate_at(size, now),
                credits_per_hour: self.catalog.rate_at(size, now),
            }
        };
        Size::ALL.into_iter().map(row).collect()
    }

    fn template_rows(&self) -> Vec<Template> {
        let row = |name: &String| Template {
            id: name.clone(),
            template_id: name.clone(),
            name: name.clone(),
            slug: name.clone(),
            description: format!("Template {name}"),
            default_size: Size::Small,
            size_ids: Size::ALL.to_vec(),
            supported_sizes: Size::ALL.to_vec(),
            artifact_readiness: Vec::new(),
            created_at: Timestamp(0),
        };
        self.catalog.templates.iter().map(row).collect()
    }
}

fn list<T>(data: Vec<T>) -> Json<List<T>> {
    let total = i64::try_from(data.len()).unwrap_or(i64::MAX);
    Json(List { data, total })
}

/// `GET /compute/sizes`
pub async fn sizes(State(app): State<App>, _: Caller) -> Json<List<SizeRow>> {
    list(app.size_rows())
}

/// `GET /compute/templates`
pub async fn templates(State(app): State<App>, _: Caller) -> Json<List<Template>> {
    list(app.template_rows())
}

/// `GET /compute/templates/{name}`
pub async fn template(
    State(app): State<App>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<TemplateReply>> {
    let found = app.template_rows().into_iter().find(|t| t.id == name);
    found
        .map(|data| Json(TemplateReply { data }))
        .ok_or_else(|| Error::not_found("template"))
}

/// `GET /templates`
pub async fn templates_legacy(State(app): State<App>, _: Caller) -> Json<Templates> {
    let data = app.template_rows();
    let total = i64::try_from(data.len()).unwrap_or(i64::MAX);
    Json(Templates {
        templates: app.template_rows(),
        data,
        total,
    })
}

/// `GET /compute/catalog`
pub async fn catalog(State(app): State<App>, _: Caller) -> Json<CatalogReply> {
    let default = app.catalog.default_template().to_owned();
    let product = Product {
        id: "computer",
        product_id: "computer",
        name: "Computer",
        description: "A machine inside a project",
        default_template: default.clone(),
        default_template_id: default,
        default_size: Size::Small,
        size_ids: Size::ALL.to_vec(),
        templates: app.template_rows(),
    };
    let data = CatalogData {
        products: vec![product],
        sizes: app.size_rows(),
        generated_at: app.store.now(),
    };
    Json(CatalogReply { data })
}

/// `GET /compute/pricing`
pub async fn pricing(State(app): State<App>, _: Caller) -> Json<Pricing> {
    let now = app.store.now().0;
    let rates = Size::ALL
        .into_iter()
        .map(|size| (size.as_str(), app.catalog.rate_at(size, now)))
        .collect();
    Json(Pricing {
        unit: "credit",
        billed_status: "running",
        rates,
    })
}

/// `GET /compute/regions`
pub async fn compute_regions(_: Caller) -> Json<List<ComputeRegion>> {
    let region = ComputeRegion {
        id: REGION,
        name: "This machine",
        slug: REGION,
        country: None,
        city: None,
        available: true,
    };
    list(vec![region])
}

fn local_region() -> Region {
    Region {
        id: REGION,
        label: "This machine",
        name: REGION,
        status: "active",
        active_nodes: 1,
        small_slots_free: 0,
    }
}

/// `GET /regions`
pub async fn regions(_: Caller) -> Json<List<Region>> {
    list(vec![local_region()])
}

/// `GET /regions/{name}`
pub async fn region(_: Caller, Path(name): Path<String>) -> Result<Json<Region>> {
    if name == REGION {
        Ok(Json(local_region()))
    } else {
        Err(Error::not_found("region"))
    }
}

/// `GET` of a list of another product
pub async fn nothing(_: Caller) -> Json<List<Empty>> {
    list(Vec::new())
}
