//! The endpoints of preview domains.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use uuid::Uuid;

use super::change::{Set, clear, set, wanted};
use super::check::{Checked, Domains, conclude};
use super::claims::claimed_by_other;
use super::owner::Level;
use super::status::{self};
use crate::access::caller::Caller;
use crate::domains::DomainStatus;
use crate::error::Result;
use crate::http::{Look, Mutation, NoBody, PathId, Reply, Seen, Single};
use crate::ids::{ProjectId, WorkspaceId};

// ---------------------------------------------------------------------------------------------
// Handlers

impl Level {
    async fn show(self, domains: &Domains, caller: Caller) -> Result<Single<DomainStatus>> {
        let config = domains.config.clone();
        let status = domains
            .store
            .read(move |tx| self.find(tx, &caller)?.status(tx, &config));
        Ok(Single(status.await?))
    }

    /// The domain of a level as it is, for `If-Match`.
    fn look(domains: &Domains, level: fn(Uuid) -> Level) -> Look {
        let config = domains.config.clone();
        Arc::new(move |tx, caller, id| Seen::of(&level(id).find(tx, caller)?.status(tx, &config)?))
    }

    async fn set(self, domains: Domains, request: Mutation<Set>) -> Result<Response> {
        let proven = self.proven(&domains, &request).await?;
        request
            .run(move |tx, caller, input| {
                let owner = self.find(tx, caller)?;
                let domain = wanted(&domains.config, input?)?;
                let proven = proven.as_ref() == Some(&domain);
                set(tx, &domains.config, caller, &owner, &domain, proven).map(Reply::ok)
            })
            .await
    }

    /// The domain that is asked for, if another organization has claimed it without a proof and the DNS has one
    /// for the caller. Asked with no transaction open, before the one that decides.
    async fn proven(self, domains: &Domains, request: &Mutation<Set>) -> Result<Option<String>> {
        let Some(input) = request.peek().cloned() else {
            return Ok(None);
        };
        let (caller, config) = (request.caller.clone(), domains.config.clone());
        let contested = domains.store.read(move |tx| {
            let owner = self.find(tx, &caller)?;
            let Ok(domain) = wanted(&config, input) else {
                return Ok(None);
            };
            let claim = claimed_by_other(tx, owner.tenant, &domain)?;
            let proof = status::proof(owner.tenant, &domain);
            Ok(claim.filter(|claim| claim.yields).map(|_| (domain, proof)))
        });
        let Some((domain, proof)) = contested.await? else {
            return Ok(None);
        };
        let proven = domains.dns.proves(&domain, &proof).await;
        Ok(proven.then_some(domain))
    }

    async fn clear(self, domains: Domains, request: Mutation<NoBody>) -> Result<Response> {
        request
            .run(move |tx, caller, _| {
                let owner = self.find(tx, caller)?;
                clear(tx, &domains.config, caller, &owner).map(Reply::ok)
            })
            .await
    }

    /// Asks the DNS, with no transaction open; `None` when there is no domain to ask for.
    async fn check(self, domains: &Domains, caller: Caller) -> Result<Option<Checked>> {
        let own = domains
            .store
            .read(move |tx| self.find(tx, &caller)?.own(tx))
            .await?;
        match own {
            Some(own) => domains.look(own).await.map(Some),
            None => Ok(None),
        }
    }

    async fn verify(self, domains: Domains, caller: Caller) -> Result<Single<DomainStatus>> {
        let checked = self.check(&domains, caller.clone()).await?;
        if checked.is_none() {
            return self.show(&domains, caller).await;
        }
        let config = domains.config.clone();
        let status = domains.store.write(move |tx| {
            let owner = self.find(tx, &caller)?; // It may have gone meanwhile.
            conclude(tx, &config, Some(&caller), &owner, checked)
        });
        Ok(Single(status.await?))
    }
}

/// `/workspaces/{id}/preview-domain`
pub mod workspace {
    use super::*;

    /// What `If-Match` is compared with.
    pub fn look(domains: &Domains) -> Look {
        Level::look(domains, |id| Level::Workspace(WorkspaceId(id)))
    }

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<WorkspaceId>,
    ) -> Result<Single<DomainStatus>> {
        Level::Workspace(id).show(&domains, caller).await
    }

    /// `PUT`
    pub async fn set(
        State(domains): State<Domains>,
        PathId(id): PathId<WorkspaceId>,
        request: Mutation<Set>,
    ) -> Result<Response> {
        Level::Workspace(id).set(domains, request).await
    }

    /// `DELETE`
    pub async fn clear(
        State(domains): State<Domains>,
        PathId(id): PathId<WorkspaceId>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        Level::Workspace(id).clear(domains, request).await
    }

    /// `GET .../verify`
    pub async fn verify(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<WorkspaceId>,
    ) -> Result<Single<DomainStatus>> {
        Level::Workspace(id).verify(domains, caller).await
    }
}

/// `/projects/{id}/preview-domain`
pub mod project {
    use super::*;

    /// What `If-Match` is compared with.
    pub fn look(domains: &Domains) -> Look {
        Level::look(domains, |id| Level::Project(ProjectId(id)))
    }

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<ProjectId>,
    ) -> Result<Single<DomainStatus>> {
        Level::Project(id).show(&domains, caller).await
    }

    /// `PUT`
    pub async fn set(
        State(domains): State<Domains>,
        PathId(id): PathId<ProjectId>,
        request: Mutation<Set>,
    ) -> Result<Response> {
        Level::Project(id).set(domains, request).await
    }

    /// `DELETE`
    pub async fn clear(
        State(domains): State<Domains>,
        PathId(id): PathId<ProjectId>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        Level::Project(id).clear(domains, request).await
    }

    /// `GET .../verify`
    pub async fn verify(
        State(domains): State<Domains>,
        caller: Caller,
        PathId(id): PathId<ProjectId>,
    ) -> Result<Single<DomainStatus>> {
        Level::Project(id).verify(domains, caller).await
    }
}

/// `/tenant/preview-domain`
pub mod organization {
    use super::*;

    /// What `If-Match` is compared with.
    pub fn look(domains: &Domains) -> Look {
        Level::look(domains, |_| Level::Organization)
    }

    /// `GET`
    pub async fn show(
        State(domains): State<Domains>,
        caller: Caller,
    ) -> Result<Single<DomainStatus>> {
        Level::Organization.show(&domains, caller).await
    }

    /// `PUT`
    pub async fn set(State(domains): State<Domains>, request: Mutation<Set>) -> Result<Response> {
        Level::Organization.set(domains, request).await
    }

    /// `DELETE`
    pub async fn clear(
        State(domains): State<Domains>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        Level::Organization.clear(domains, request).await
    }

    /// `POST .../verify`: the question is asked before the transaction that may find the reply of
    /// an earlier request with the same Idempotency-Key; asking twice changes nothing.
    pub async fn verify(
        State(domains): State<Domains>,
        request: Mutation<NoBody>,
    ) -> Result<Response> {
        let checked = Level::Organization
            .check(&domains, request.caller.clone())
            .await?;
        let config = domains.config;
        request
            .run(move |tx, caller, input| {
                let owner = Level::Organization.find(tx, caller)?;
                input?;
                conclude(tx, &config, Some(caller), &owner, checked).map(Reply::ok)
            })
            .await
    }
}
