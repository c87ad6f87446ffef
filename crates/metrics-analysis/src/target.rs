//! Where a pod's metrics are: from the Rollout's `analysis.pods`, else from the pod's `prometheus.io/*` annotations.
//!
//! Does not belong here: the request itself, its time limit and its size limit (the controller's feed).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use crossfade_api::PodMetrics;

use crate::{
    counters::Selection,
    pattern::{Pattern, PatternError},
};

const MEND: &str = "annotate the pods with prometheus.io/port, set spec.analysis.pods.port, or set spec.analysis.source: none";

/// The Rollout's `analysis.pods`; what is `None` comes from the pod's annotations or the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsSource {
    /// Port; no default.
    pub port: Option<u16>,
    /// Path, with a query if needed. Default `/metrics`.
    pub path: Option<String>,
    /// The counter of requests. Default `http_requests_total`.
    pub requests: Option<String>,
    /// The label that holds the code. Default `code`.
    pub code_label: Option<String>,
    /// Which codes are errors. Default `5..`.
    pub errors: Option<String>,
}

impl From<&PodMetrics> for PodsSource {
    fn from(metrics: &PodMetrics) -> Self {
        Self {
            port: metrics.port,
            path: metrics.path.clone(),
            requests: metrics.requests.clone(),
            code_label: metrics.code_label.clone(),
            errors: metrics.errors.clone(),
        }
    }
}

impl PodsSource {
    /// What to count, with defaults filled in.
    ///
    /// # Errors
    /// `errors` is not of the language of [`Pattern`].
    pub fn selection(&self) -> Result<Selection, PatternError> {
        let or = |value: &Option<String>, default: &str| {
            value.clone().unwrap_or_else(|| default.to_owned())
        };
        Ok(Selection {
            requests: or(&self.requests, "http_requests_total"),
            code_label: or(&self.code_label, "code"),
            errors: Pattern::new(
                "spec.analysis.pods.errors",
                self.errors.as_deref().unwrap_or("5.."),
            )?,
        })
    }
}

/// What is read from a pod.
#[derive(Clone, Copy, Debug)]
pub struct PodFacts<'a> {
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
    /// `status.podIP`; absent until the network is up.
    pub ip: Option<&'a str>,
    /// `metadata.annotations`.
    pub annotations: &'a BTreeMap<String, String>,
    /// All `containerPort`s with protocol TCP, in order.
    pub container_ports: &'a [u16],
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// TLS. A pod's certificate does not name its address; the caller decides what to check.
    Https,
}

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeTarget {
    /// The pod's uid.
    pub pod_uid: String,
    /// The pod's name, for reports.
    pub pod_name: String,
    /// Its address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Begins with `/`; may have a query.
    pub path: String,
    /// Scheme.
    pub scheme: Scheme,
}

impl ScrapeTarget {
    /// The address to ask, an IPv6 one in brackets.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let host = match self.ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => bracketed(ip),
        };
        format!("{scheme}://{host}:{}{}", self.port, self.path)
    }
}

fn bracketed(ip: Ipv6Addr) -> String {
    format!("[{ip}]")
}

/// Why a pod cannot be asked. Each says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither field nor annotation names a port.
    #[error("no metrics port found: {MEND}")]
    NoPort,
    /// The pod says that it is not to be scraped, and the Rollout does not name a port.
    #[error("the pods say prometheus.io/scrape: {0:?}: {MEND}")]
    NotScraped(String),
    /// `prometheus.io/scrape: "true"`, no port, and more than one to choose from.
    #[error(
        "prometheus.io/scrape is set without prometheus.io/port, and the pod has the ports {0}: {MEND}"
    )]
    Ambiguous(String),
    /// A field or annotation cannot be what it says.
    #[error("{field} is {value:?}: it must be {limits}")]
    Invalid {
        /// Field or annotation.
        field: &'static str,
        /// What it says.
        value: String,
        /// What is allowed.
        limits: &'static str,
    },
    /// The pod has no address yet. Passes by itself.
    #[error("the pod has no address yet")]
    NoAddress,
}

/// Finds the target of one pod. A field of the Rollout goes before an annotation.
///
/// # Errors
/// See [`TargetError`]; all but `NoAddress` are known from the pod template, so that they can be refused before the release starts:
/// see [`check_template`].
pub fn target(pod: PodFacts<'_>, source: &PodsSource) -> Result<ScrapeTarget, TargetError> {
    let (port, path, scheme) = place(pod.annotations, pod.container_ports, source)?;
    let ip = pod
        .ip
        .filter(|ip| !ip.is_empty())
        .ok_or(TargetError::NoAddress)?;
    let ip = ip.parse().map_err(|_| TargetError::Invalid {
        field: "status.podIP",
        value: ip.to_owned(),
        limits: "an IP address",
    })?;
    Ok(ScrapeTarget {
        pod_uid: pod.uid.to_owned(),
        pod_name: pod.name.to_owned(),
        ip,
        port,
        path,
        scheme,
    })
}

/// Whether pods of a template can be asked, before there are any.
///
/// # Errors
/// As [`target`].
pub fn check_template(
    annotations: &BTreeMap<String, String>,
    container_ports: &[u16],
    source: &PodsSource,
) -> Result<(), TargetError> {
    place(annotations, container_ports, source).map(|_| ())
}

fn place(
    annotations: &BTreeMap<String, String>,
    container_ports: &[u16],
    source: &PodsSource,
) -> Result<(u16, String, Scheme), TargetError> {
    let annotation = |name: &str| annotations.get(name).map(String::as_str);
    let port = match source.port {
        Some(0) => return Err(invalid("spec.analysis.pods.port", "0", PORT)),
        Some(port) => port,
        None => annotated_port(annotations, container_ports)?,
    };
    let (field, path) = match (&source.path, annotation("prometheus.io/path")) {
        (Some(path), _) => ("spec.analysis.pods.path", path.as_str()),
        (None, Some(path)) => ("prometheus.io/path", path),
        (None, None) => ("spec.analysis.pods.path", "/metrics"),
    };
    let plain = |char: char| char.is_ascii_graphic() && char != '#';
    if !path.starts_with('/') || !path.chars().all(plain) {
        return Err(invalid(
            field,
            path,
            "a path that begins with '/', without blanks and '#'",
        ));
    }
    let scheme = match annotation("prometheus.io/scheme") {
        None | Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => return Err(invalid("prometheus.io/scheme", other, "http or https")),
    };
    Ok((port, path.to_owned(), scheme))
}

const PORT: &str = "a number from 1 to 65535";

fn annotated_port(
    annotations: &BTreeMap<String, String>,
    container_ports: &[u16],
) -> Result<u16, TargetError> {
    let annotation = |name: &str| annotations.get(name).map(String::as_str);
    let scrape = annotation("prometheus.io/scrape");
    if let Some(value) = scrape.filter(|&value| value != "true") {
        return Err(TargetError::NotScraped(value.to_owned()));
    }
    if let Some(value) = annotation("prometheus.io/port") {
        let port = value.parse::<u16>().ok().filter(|&port| port > 0);
        return port.ok_or_else(|| invalid("prometheus.io/port", value, PORT));
    }
    // By the convention behind these annotations every port of the pod would be asked; with one there is nothing to guess.
    match (scrape, container_ports) {
        (Some(_), [port]) => Ok(*port),
        (Some(_), [_, _, ..]) => {
            let ports: Vec<_> = container_ports.iter().map(u16::to_string).collect();
            Err(TargetError::Ambiguous(ports.join(", ")))
        }
        _ => Err(TargetError::NoPort),
    }
}

fn invalid(field: &'static str, value: &str, limits: &'static str) -> TargetError {
    TargetError::Invalid {
        field,
        value: value.to_owned(),
        limits,
    }
}
