//! A row as the API shows it.

use super::activity::LastActivity;
use super::rows::{Record, load};
use super::simulation::Fleet;
use super::types::Computer;
use crate::error::{Error, Result};
use crate::ids::ComputerId;
use crate::rules::catalog::REGION;
use crate::rules::driven_by::DrivenBy;
use crate::rules::status::Status;
use crate::store::Tx;

impl Record {
    /// As the API shows it.
    pub fn view(self, fleet: &Fleet) -> Computer {
        let hardware = fleet.catalog.hardware(self.size);
        let domain = self
            .domain
            .unwrap_or_else(|| fleet.config.base_domain.clone());
        let docker = self.driver == DrivenBy::Docker;
        let resize_pending =
            self.status == Status::Running && self.held_to.is_some_and(|size| size != self.size);
        let url = format!("https://{}.sandbox.{domain}", self.slug);
        Computer {
            id: self.id,
            tenant_id: self.tenant_id,
            workspace_id: self.workspace_id,
            project_id: self.project_id,
            owner_user_id: None,
            name: self.name,
            template_type: self.template_type,
            size: self.size,
            vcpus: hardware.vcpus,
            cpu_count: hardware.vcpus,
            memory_mb: hardware.memory_mb,
            disk_gb: hardware.disk_gb,
            status: self.status,
            driver: self.driver.as_str().into(),
            metadata: self.metadata,
            external_workspace_id: self.external_workspace_id,
            external_user_id: self.external_user_id,
            external_project_id: self.external_project_id,
            vm_id: self.engine_ref,
            ip_address: None,
            region: REGION,
            desktop_url: format!("https://{}.computer.{domain}/desktop/index.html", self.slug),
            public_url: (self.visibility == "public").then(|| url.clone()),
            sandbox_url: url,
            slug: self.slug,
            visibility: self.visibility,
            preview_domain: domain,
            selected_apps: self.selected_apps,
            settings: self.settings,
            auto_stop_seconds: self.auto_stop_seconds,
            auto_stop_at: self.due_at.filter(|_| self.status == Status::Running),
            created_at: self.created_at,
            updated_at: self.updated_at,
            started_at: self.started_at,
            stopped_at: self.stopped_at,
            resize_pending: resize_pending.then_some(true),
            disk_limit: docker.then_some("advisory"),
            fault: self.fault,
            fault_since: self.fault_since,
            last_activity: self
                .active_at
                .zip(self.active_by)
                .map(|(at, by)| LastActivity { at, by }),
        }
    }
}

/// The view of a computer that this transaction has just changed.
pub fn changed(tx: &Tx<'_>, fleet: &Fleet, id: ComputerId) -> Result<Computer> {
    load(tx, id)?
        .map(|record| record.view(fleet))
        .ok_or_else(|| Error::not_found("computer"))
}
