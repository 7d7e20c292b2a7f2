//! Organizations and API keys from the command line.

use clap::{Args, Subcommand};

use super::{Failure, with_store};
use crate::access::key::KeyType;
use crate::api_keys::{self, NewKey};
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::db::Store;
use crate::error::Fields;
use crate::ids::{ApiKeyId, TenantId, parse_uuid};
use crate::rules::config::{ConfigFile, DataArgs};
use crate::rules::text::{self, printable};
use crate::tenants;

#[derive(Subcommand)]
pub(super) enum TenantsCommand {
    /// Create an organization with its default workspace and its first key, which is printed once
    Create {
        #[command(flatten)]
        data: DataArgs,
        /// Name of the organization, 1 to 120 characters
        #[arg(long)]
        name: String,
        /// Its slug; derived from the name when left out
        #[arg(long)]
        slug: Option<String>,
        /// Whole credits that it starts with
        #[arg(long, allow_negative_numbers = true, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        credits: i64,
    },
    /// List the organizations
    List {
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Create an API key, which is printed once
    Create(KeyArgs),
    /// List the API keys, without their secrets
    List {
        #[command(flatten)]
        data: DataArgs,
        /// Only those of this organization, by slug
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Take an API key out of use for good
    Revoke {
        #[command(flatten)]
        data: DataArgs,
        /// Id of the key, as `keys list` shows it
        id: String,
    },
}

#[derive(Args)]
pub(super) struct KeyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Name of the key
    #[arg(long)]
    name: String,
    /// Organization, by slug; may be left out where there is only one
    #[arg(long)]
    tenant: Option<String>,
    /// What it may do (workspaces:read, computers:*, ...); repeat for more, leave out for everything
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// May act on the installation itself: create organizations, post corrections
    #[arg(long)]
    operator: bool,
    /// When it ends, RFC 3339
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
}

/// `workspaced tenants`
pub(super) fn tenants(command: TenantsCommand) -> Result<(), Failure> {
    match command {
        TenantsCommand::Create {
            data,
            name,
            slug,
            credits,
        } => create_tenant(&data, &name, slug, credits),
        TenantsCommand::List { data } => list_tenants(&data),
    }
}

/// `workspaced keys`
pub(super) fn keys(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create_key(args),
        KeysCommand::List { data, tenant } => list_keys(&data, tenant.as_deref()),
        KeysCommand::Revoke { data, id } => revoke_key(&data, &id),
    }
}

fn create_tenant(
    data: &DataArgs,
    name: &str,
    slug: Option<String>,
    credits: i64,
) -> Result<(), Failure> {
    let mut fields = Fields::default();
    let name = text::name(&mut fields, "--name", Some(name));
    if let Some(slug) = &slug {
        text::slug(&mut fields, "--slug", slug);
    }
    fields.finish()?;
    let file = data
        .config
        .as_deref()
        .map_or(Ok(ConfigFile::default()), ConfigFile::load)
        .map_err(Failure::Usage)?;
    with_store(data, |store| {
        let key = NewKey {
            key_type: KeyType::Admin,
            ..NewKey::named("first key")
        };
        let new = store.write_blocking(move |tx| {
            let slug = slug
                .clone()
                .map_or_else(|| tenants::derived_slug(tx, &name), Ok)?;
            tenants::insert(tx, &file, Actor::Operator, &name, &slug, credits, key)
        })?;
        println!("organization       {}", new.id);
        println!("default workspace  {}", new.default_workspace);
        println!("export MIOSA_API_KEY={}", new.key.secret());
        Ok(())
    })
}

fn list_tenants(data: &DataArgs) -> Result<(), Failure> {
    with_store(data, |store| {
        println!(
            "{:36}  {:20}  {:>10}  {:>9}  NAME",
            "ID", "SLUG", "WORKSPACES", "COMPUTERS"
        );
        for tenant in store.read_blocking(tenants::all)? {
            println!(
                "{}  {:20}  {:>10}  {:>9}  {}",
                tenant.id,
                tenant.slug,
                tenant.workspaces,
                tenant.computers,
                printable(&tenant.name)
            );
        }
        Ok(())
    })
}

/// The organization with this slug, or the only one.
pub(super) fn tenant_of(store: &Store, slug: Option<&str>) -> Result<TenantId, Failure> {
    let all = store.read_blocking(tenants::all)?;
    let names = || {
        all.iter()
            .map(|t| t.slug.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match slug {
        Some(slug) => all
            .iter()
            .find(|t| t.slug == slug)
            .map(|t| t.id)
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "--tenant {slug}: there is no such organization; there are {}",
                    names()
                ))
            }),
        None if all.len() == 1 => Ok(all[0].id),
        None => Err(Failure::Usage(format!("--tenant: name one of {}", names()))),
    }
}

fn create_key(args: KeyArgs) -> Result<(), Failure> {
    let expires_at = match args.expires_at.as_deref().map(|t| (t, Timestamp::parse(t))) {
        None => None,
        Some((_, Some(at))) => Some(at),
        Some((given, None)) => {
            return Err(Failure::Usage(format!(
                "--expires-at {given}: allowed is RFC 3339, such as 2027-01-31T00:00:00Z"
            )));
        }
    };
    with_store(&args.data, |store| {
        let tenant = tenant_of(store, args.tenant.as_deref())?;
        let base = if args.operator {
            NewKey::operator()
        } else {
            NewKey::named("")
        };
        let mut fields = Fields::default();
        let name = text::name(&mut fields, "--name", Some(&args.name));
        api_keys::check_scopes(&mut fields, "--scope", &args.scopes);
        fields.finish()?;
        let key = NewKey {
            name,
            scopes: args.scopes,
            expires_at,
            ..base
        };
        let new =
            store.write_blocking(move |tx| api_keys::insert(tx, tenant, Actor::Operator, key))?;
        println!("export MIOSA_API_KEY={}", new.secret());
        Ok(())
    })
}

fn list_keys(data: &DataArgs, tenant: Option<&str>) -> Result<(), Failure> {
    with_store(data, |store| {
        let tenant = tenant
            .map(|slug| tenant_of(store, Some(slug)))
            .transpose()?;
        println!(
            "{:36}  {:12}  {:8}  {:8}  {:20}  NAME",
            "ID", "PREFIX", "TYPE", "STATUS", "LAST USED"
        );
        for key in store.read_blocking(move |tx| api_keys::all(tx, tenant))? {
            let kind = if key.operator {
                "operator"
            } else {
                key.key_type.as_str()
            };
            let used = key.last_used_at.map_or("never".into(), Timestamp::rfc3339);
            println!(
                "{}  {:12}  {kind:8}  {:8}  {used:20}  {}",
                key.id,
                key.key_prefix,
                key.status,
                printable(&key.name)
            );
        }
        Ok(())
    })
}

fn revoke_key(data: &DataArgs, id: &str) -> Result<(), Failure> {
    let key = parse_uuid(id)
        .map(ApiKeyId)
        .ok_or_else(|| Failure::Usage(format!("{id}: is not the id of a key; see `keys list`")))?;
    with_store(data, |store| {
        if store.write_blocking(move |tx| api_keys::revoke_key(tx, Actor::Operator, key))? {
            println!("revoked {id}");
            Ok(())
        } else {
            Err(Failure::Usage(format!(
                "{id}: there is no such key; see `keys list`"
            )))
        }
    })
}
