//! Which crate may depend on which: the arrows between our own, what pure crates must not reach,
//! and what nobody may use.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Findings;
use crate::metadata::{self, Metadata};

/// Every crate of ours and those of ours it may use; nothing else.
const ARROWS: &[(&str, &[&str])] = &[
    ("crossfade-api", &[]),
    ("crossfade-judge", &[]),
    ("crossfade-engine", &["crossfade-api", "crossfade-judge"]),
    (
        "crossfade-metrics-analysis",
        &["crossfade-api", "crossfade-judge"],
    ),
    ("crossfade-traffic-switching", &["crossfade-api"]),
    ("crossfade-controller", FIVE),
    ("crossfade-cli", SEVEN),
    ("crossfade-fakeapi", &[]),
    (
        "crossfade-simulator",
        &[
            "crossfade-api",
            "crossfade-controller",
            "crossfade-engine",
            "crossfade-fakeapi",
            "crossfade-judge",
        ],
    ),
    ("crossfade-e2e", &["crossfade-api"]),
    ("crossfade-e2e-app", &[]),
    ("xtask", &["crossfade-api"]),
];

const FIVE: &[&str] = &[
    "crossfade-api",
    "crossfade-engine",
    "crossfade-judge",
    "crossfade-metrics-analysis",
    "crossfade-traffic-switching",
];
const SEVEN: &[&str] = &[
    "crossfade-api",
    "crossfade-engine",
    "crossfade-judge",
    "crossfade-metrics-analysis",
    "crossfade-traffic-switching",
    "crossfade-controller",
    "crossfade-simulator",
];

/// No async, no sockets, no clock: the same input gives the same output.
const PURE: &[&str] = FIVE;
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "reqwest",
    "kube-client",
    "kube-runtime",
    "axum",
    "rustls",
    "rand",
];

/// Nowhere in the tree, with the reason.
const BANNED: &[(&str, &str)] = &[
    (
        "ring",
        "aws-lc-rs is the one TLS provider; switch the feature that brings ring off",
    ),
    (
        "openssl",
        "rustls is the one TLS; switch the feature that brings openssl off",
    ),
    (
        "openssl-sys",
        "rustls is the one TLS; switch the feature that brings openssl off",
    ),
    (
        "native-tls",
        "rustls is the one TLS; switch the feature that brings it off",
    ),
    (
        "prometheus-parse",
        "it drops samples silently; use metrics-analysis",
    ),
    (
        "backoff",
        "unmaintained (RUSTSEC-2025-0012); compute delays from attempt and uid",
    ),
    ("serde_yaml", "archived; use serde-saphyr"),
];

/// Not in our manifests, though others may bring them.
const BANNED_DIRECTLY: &[(&str, &str)] = &[("chrono", "jiff is the one time type")];

/// At most one version: their types cross crates.
const ONCE: &[&str] = &[
    "kube",
    "kube-core",
    "kube-client",
    "k8s-openapi",
    "schemars",
    "rustls",
    "jiff",
    "http",
    "hyper",
];

/// All of it.
pub fn check(root: &Path, metadata: &Metadata) -> anyhow::Result<Findings> {
    let mut findings = arrows(metadata);
    for package in PURE {
        for (name, _) in metadata::tree(root, package)? {
            if IMPURE.contains(&name.as_str()) {
                findings.push(format!(
                    "{package} is pure but reaches {name}: move the code that needs it to the controller, or switch the feature off \
                     (`cargo tree -e normal -p {package} -i {name}` shows the way)"
                ));
            }
        }
    }
    let tree = metadata::whole_tree(root)?;
    for (banned, why) in BANNED {
        if tree.iter().any(|(name, _)| name == banned) {
            findings.push(format!(
                "{banned} is banned: {why} (`cargo tree --workspace -i {banned}`)"
            ));
        }
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in &tree {
        versions.entry(name).or_default().push(version);
    }
    for once in ONCE {
        if let Some(found) = versions.get(once).filter(|found| found.len() > 1) {
            findings.push(format!(
                "{once} is in the tree {} times ({}): bring its users to one version (`cargo tree --workspace -d`)",
                found.len(),
                found.join(", ")
            ));
        }
    }
    Ok(findings)
}

fn arrows(metadata: &Metadata) -> Findings {
    let mut findings = Findings::new();
    let ours: Vec<&str> = metadata
        .members()
        .map(|package| package.name.as_str())
        .collect();
    for package in metadata.members() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!("{} has no line in ARROWS of crates/xtask/src/dependencies.rs: say there what it may use", package.name));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        {
            let name = dependency.name.as_str();
            if ours.contains(&name) && !allowed.contains(&name) {
                findings.push(format!("{} must not depend on {name}: move what both need to a crate below, or pass it in", package.name));
            }
            if let Some((_, why)) = BANNED_DIRECTLY.iter().find(|(banned, _)| *banned == name) {
                findings.push(format!("{} names {name}: {why}", package.name));
            }
        }
    }
    findings
}
