//! Every month by itself: an hour after a month is over for all workspaces of an organization that has a price
//! list, its statements are made and written into the configured directory. A repeat finds what is there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::document::Statement;
use super::handlers::{file_name, of_month, write_csv};
use super::html::Paper;
use super::make::make_all;
use super::pdf;
use super::sheet::Sheet;
use crate::clock::HOUR_MS;
use crate::db::Store;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::Tx;
use crate::usage::questions::window::{Granularity, Zone};

/// How long reports of a month that is over are waited for.
const PATIENCE_MS: i64 = HOUR_MS;

/// Makes and writes what is due. Returns of how many months.
///
/// # Errors
/// Where the store fails. What cannot be written is logged, and tried again.
pub async fn look(store: &Store, directory: &Path, paper: Paper) -> Result<usize> {
    let mut done = 0;
    for (tenant, slug, period) in store.read(due).await? {
        match close(store, directory, paper, tenant, &slug, &period).await {
            Ok(()) => {
                done += 1;
                tracing::info!(organization = %slug, %period, "statements were made and written");
            }
            // Not over in the zone of one of its workspaces: in a while.
            Err(e) if e.status().is_client_error() => {}
            Err(e) => tracing::error!(
                organization = %slug, %period, error = e.message(), detail = e.internal_detail(),
                "statements were not written; they are tried again in a minute"
            ),
        }
    }
    Ok(done)
}

/// The last month of each organization with a price list, where it is over and not written.
fn due(tx: &Tx<'_>) -> Result<Vec<(TenantId, String, String)>> {
    let mut statement = tx.prepare_cached(
        "SELECT id, slug FROM tenants t WHERE EXISTS (SELECT 1 FROM price_lists p WHERE p.tenant_id = t.id)",
    )?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (tenant, slug): (TenantId, String) = (row.get(0)?, row.get(1)?);
        let zone = Zone::of(tx, tenant, None)?;
        let this = zone.start(tx.now().0 - PATIENCE_MS, Granularity::Month);
        let period = zone.month_of(this - 1);
        let sql = "SELECT EXISTS (SELECT 1 FROM closed_months
             WHERE tenant_id = ?1 AND period = ?2 AND written_at IS NOT NULL)";
        if !tx.row(sql, (tenant, &period), |row| row.get::<_, bool>(0))? {
            all.push((tenant, slug, period));
        }
    }
    Ok(all)
}

async fn close(
    store: &Store,
    directory: &Path,
    paper: Paper,
    tenant: TenantId,
    slug: &str,
    period: &str,
) -> Result<()> {
    make_all(store, tenant, period, None).await?;
    let (to, month) = (directory.join(slug).join(period), period.to_owned());
    store
        .read(move |tx| write(tx, &to, paper, &of_month(tx, tenant, &month)?))
        .await?;
    let period = period.to_owned();
    store
        .write(move |tx| {
            tx.run(
                "UPDATE closed_months SET written_at = ?3 WHERE tenant_id = ?1 AND period = ?2",
                (tenant, &period, tx.now()),
            )?;
            Ok(())
        })
        .await
}

/// A PDF of each, and one table of all. Each has its name only when it is complete.
fn write(tx: &Tx<'_>, to: &Path, paper: Paper, statements: &[Statement]) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| Error::of_io(&e, to))?;
    for statement in statements {
        let bytes = pdf::document(&Sheet::new(statement, &statement.lines(tx)?), paper)?;
        whole(&to.join(file_name(statement, "pdf")), |out| {
            out.write_all(&bytes).map_err(crate::http::not_kept)
        })?;
    }
    whole(&to.join("statements.csv"), |out| {
        write_csv(tx, statements, out)
    })
}

fn whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let failed = |e| Error::of_io(&e, path);
    let partial: PathBuf = path.with_added_extension("partial");
    let file = fs::File::create(&partial).map_err(failed)?;
    let mut out = std::io::BufWriter::new(file);
    write(&mut out)?;
    out.into_inner()
        .map_err(|e| failed(e.into_error()))?
        .sync_all()
        .map_err(failed)?;
    fs::rename(&partial, path).map_err(failed)
}
