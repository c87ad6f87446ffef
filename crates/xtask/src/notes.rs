//! Every dependency is weighed: Cargo.toml.workspace-notes has a line for each.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;

use crate::Findings;

const NOTES: &str = "Cargo.toml.workspace-notes";

/// Packages suggested for this project: chosen or replaced, each with its reason.
const SUGGESTED: &[&str] = &[
    "kube",
    "tokio",
    "reqwest",
    "serde",
    "prometheus-parse",
    "tower",
    "tracing-subscriber",
    "backoff",
];

/// Lines that are missing, and lines about nothing.
pub fn check(root: &Path) -> anyhow::Result<Findings> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).with_context(|| name.to_owned());
    let (manifest, notes) = (read("Cargo.toml")?, read(NOTES)?);
    let declared = declared(&manifest);
    let noted = noted(&notes);
    let mut findings = Findings::new();
    for name in declared.iter().chain(
        SUGGESTED
            .iter()
            .copied()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
            .iter(),
    ) {
        if !noted.contains(name) {
            findings.push(format!(
                "{NOTES} has no line for {name}: add `{name}: what for; weighed against what; why`"
            ));
        }
    }
    for name in &noted {
        if !declared.contains(name) && !SUGGESTED.contains(&name.as_str()) {
            findings.push(format!(
                "{NOTES} has a line for {name}, which is not in [workspace.dependencies]: remove it"
            ));
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Names in [workspace.dependencies].
fn declared(manifest: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| !name.starts_with('#'))
        .collect()
}

fn noted(notes: &str) -> BTreeSet<String> {
    notes
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name.to_owned())
        .collect()
}
