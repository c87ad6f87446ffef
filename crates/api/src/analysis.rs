//! What is measured during a release and what missing or unclear measurements lead to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// The analysis of a release. Every absent field falls back to the policies, then to the default
/// named beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalysisSpec {
    /// Where counters come from, default `pods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<AnalysisSource>,
    /// How pods are scraped; absent fields come from the `prometheus.io/*` annotations of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodMetrics>,
    /// Time between two looks at the counters, default 15 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Requests the candidate must have answered in a step before the step may end, default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub min_requests: Option<u32>,
    /// What happens without data, default: wait 30 minutes, then roll back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data: Option<NoData>,
    /// What a stay that is over with an unclear verdict leads to, default advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<Inconclusive>,
    /// Chance of rolling back a candidate within tolerance, over the whole release, default 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 0.5))]
    pub alpha: Option<f64>,
}

/// Where counters come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AnalysisSource {
    /// The pods' own metrics endpoint.
    #[default]
    Pods,
    /// A Prometheus server. Not carried out by this version: refused with a condition.
    Prometheus,
    /// Nothing: the health of the pods is the verdict.
    None,
}

/// How pods are scraped and which of their series count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodMetrics {
    /// Port of the metrics endpoint; absent: annotation `prometheus.io/port` of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Path, default annotation `prometheus.io/path`, else `/metrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// Counter of requests, default `http_requests_total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub requests: Option<String>,
    /// Label that carries the status code, default `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub code_label: Option<String>,
    /// Codes that are errors, default `5..`; a dot is any one character, `|` separates alternatives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub errors: Option<String>,
}

/// What happens while metrics are missing, stale or broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoData {
    /// Longest hold for want of data, default 30 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Duration>,
    /// What happens then, default rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<NoDataThen>,
}

/// What the limit of a hold without data leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NoDataThen {
    /// Roll back.
    #[default]
    Rollback,
    /// Stay at the weight until a person decides.
    Stay,
}

/// What a stay that is over with an unclear verdict leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Inconclusive {
    /// Go on.
    #[default]
    Advance,
    /// Stay until the verdict is clear or a person decides.
    Hold,
    /// Roll back.
    Rollback,
}
