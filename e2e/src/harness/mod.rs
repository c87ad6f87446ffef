//! What scenarios are made with: their context, the API as raw JSON, a user with kubectl, watches, controllers, and the report.
//!
//! No scenario lives here, and nothing here knows one.

#![allow(
    dead_code,
    reason = "a library for scenarios: some of it is used only by those still to come"
)]

pub(crate) mod api;
pub(crate) mod app;
pub(crate) mod audit;
pub(crate) mod context;
pub(crate) mod controller;
pub(crate) mod https;
pub(crate) mod nodes;
pub(crate) mod plain_http;
pub(crate) mod pod_metrics;
pub(crate) mod report;
pub(crate) mod runner;
pub(crate) mod tls;
pub(crate) mod user;
pub(crate) mod watch;
pub(crate) mod webhook;

use std::path::PathBuf;

use crate::cluster::Cluster;

/// Where things are, for all scenarios of one run.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) kubeconfig: PathBuf,
    /// For logs, kubeconfigs and records of the scenarios.
    pub(crate) folder: PathBuf,
    pub(crate) controller_binary: PathBuf,
    /// Always with a cluster of our own; with another only where it was named.
    pub(crate) audit_log: Option<PathBuf>,
    pub(crate) keep: bool,
    /// Ours, if it is: only such a one can be given another node, and its API server reaches what scenarios serve for it.
    pub(crate) cluster: Option<Cluster>,
    /// This machine's address as the API server reaches it: webhooks of the scenarios are served there.
    pub(crate) node_address: std::net::IpAddr,
}
