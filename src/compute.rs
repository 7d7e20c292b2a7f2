//! What an installation offers: sizes, templates, prices, regions. Read-only, from the configuration; prices as the meter
//! has them for the organization that asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::http::List;
use crate::ids::TenantId;
use crate::rules::catalog::{Catalog, REGION};
use crate::rules::size::Size;
use crate::usage::ledger::tariff;

/// The one product that there is here.
const PRODUCT: &str = "computer";

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
    product: &'static str,
    artifact_readiness: Vec<Readiness>,
    /// The same.
    sizes: Vec<Readiness>,
    created_at: Timestamp,
}

/// That a template can be started in a size: here always, on the one machine that there is.
#[derive(Serialize, ToSchema, Clone)]
pub struct Readiness {
    template_id: String,
    size: Size,
    /// Always ready.
    state: &'static str,
    ready: bool,
    ready_nodes: i64,
    checked_nodes: i64,
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
    /// Of all templates.
    artifact_readiness: Vec<Readiness>,
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

/// What is shown of the configuration now.
#[derive(Clone)]
pub struct Offer {
    catalog: Arc<Catalog>,
    store: Store,
}

impl Offer {
    pub fn new(catalog: Arc<Catalog>, store: Store) -> Self {
        Offer { catalog, store }
    }

    /// What an hour of each size costs an organization now.
    async fn rates(&self, tenant: TenantId) -> Result<BTreeMap<Size, i64>> {
        let catalog = self.catalog.clone();
        let rates = self.store.read(move |tx| {
            let now = tx.now().0;
            let rate = |size| {
                let agreed = tariff::at(tx, tenant, None, size, now)?;
                Ok((size, agreed.unwrap_or_else(|| catalog.rate_at(size, now))))
            };
            Size::ALL.into_iter().map(rate).collect::<Result<_>>()
        });
        rates.await
    }

    async fn size_rows(&self, tenant: TenantId) -> Result<Vec<SizeRow>> {
        let rates = self.rates(tenant).await?;
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
                price_hour: rates[&size],
                credits_per_hour: rates[&size],
            }
        };
        Ok(Size::ALL.into_iter().map(row).collect())
    }

    fn template_rows(&self) -> Vec<Template> {
        let ready = |name: &String| -> Vec<Readiness> {
            let row = |size| Readiness {
                template_id: name.clone(),
                size,
                state: "ready",
                ready: true,
                ready_nodes: 1,
                checked_nodes: 1,
            };
            Size::ALL.into_iter().map(row).collect()
        };
        let row = |name: &String| Template {
            id: name.clone(),
            template_id: name.clone(),
            name: name.clone(),
            slug: name.clone(),
            description: format!("Template {name}"),
            default_size: Size::Small,
            size_ids: Size::ALL.to_vec(),
            supported_sizes: Size::ALL.to_vec(),
            product: PRODUCT,
            artifact_readiness: ready(name),
            sizes: ready(name),
            created_at: Timestamp(0),
        };
        self.catalog.templates.iter().map(row).collect()
    }
}

fn list<T>(data: Vec<T>) -> Json<List<T>> {
    Json(List::whole(data))
}

/// `GET /compute/sizes`
pub async fn sizes(State(offer): State<Offer>, caller: Caller) -> Result<Json<List<SizeRow>>> {
    Ok(list(offer.size_rows(caller.tenant_id()).await?))
}

/// `GET /compute/templates`
pub async fn templates(State(offer): State<Offer>, _: Caller) -> Json<List<Template>> {
    list(offer.template_rows())
}

/// `GET /compute/templates/{name}`
pub async fn template(
    State(offer): State<Offer>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<TemplateReply>> {
    let found = offer.template_rows().into_iter().find(|t| t.id == name);
    found
        .map(|data| Json(TemplateReply { data }))
        .ok_or_else(|| Error::not_found("template"))
}

/// `GET /templates`
pub async fn templates_legacy(State(offer): State<Offer>, _: Caller) -> Json<Templates> {
    let data = offer.template_rows();
    let total = i64::try_from(data.len()).unwrap_or(i64::MAX);
    Json(Templates {
        templates: offer.template_rows(),
        data,
        total,
    })
}

/// `GET /compute/catalog`
pub async fn catalog(State(offer): State<Offer>, caller: Caller) -> Result<Json<CatalogReply>> {
    let default = offer.catalog.default_template().to_owned();
    let product = Product {
        id: PRODUCT,
        product_id: PRODUCT,
        name: "Computer",
        description: "A machine inside a project",
        default_template: default.clone(),
        default_template_id: default,
        default_size: Size::Small,
        size_ids: Size::ALL.to_vec(),
        templates: offer.template_rows(),
    };
    let readiness = |template: &Template| template.artifact_readiness.clone();
    let data = CatalogData {
        artifact_readiness: product.templates.iter().flat_map(readiness).collect(),
        products: vec![product],
        sizes: offer.size_rows(caller.tenant_id()).await?,
        generated_at: offer.store.now(),
    };
    Ok(Json(CatalogReply { data }))
}

/// `GET /compute/pricing`
pub async fn pricing(State(offer): State<Offer>, caller: Caller) -> Result<Json<Pricing>> {
    let rates = offer.rates(caller.tenant_id()).await?.into_iter();
    Ok(Json(Pricing {
        unit: "credit",
        billed_status: "running",
        rates: rates.map(|(size, rate)| (size.as_str(), rate)).collect(),
    }))
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
