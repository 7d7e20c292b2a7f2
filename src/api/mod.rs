//! The assembly: what the parts are, which route leads where, and what every request passes.

pub mod app;
mod attention;
mod csp;
pub mod edge;
mod engine;
mod forms;
pub mod health;
mod instead;
pub mod jobs;
pub mod log_filter;
pub mod manual;
pub mod metrics;
mod metrics_page;
mod named;
#[cfg(test)]
mod names_tests;
mod oidc;
pub mod openapi;
pub mod pages;
pub mod routes;
pub mod sign_in;
mod socket_tenant;
pub mod system;
