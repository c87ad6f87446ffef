//! What cargo knows of the workspace.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

/// The part of `cargo metadata` that is looked at.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    pub dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// `None` is a normal one.
    pub kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let text = cargo(root, &["metadata", "--format-version", "1", "--locked"])?;
        serde_json::from_str(&text).context("cargo metadata is not in the known form")
    }

    /// Our own packages.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Everybody else's.
    pub fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| !self.workspace_members.contains(&package.id))
    }
}

/// Names and versions in the tree of one package with its own features, tests left out.
pub fn tree(root: &Path, package: &str) -> anyhow::Result<BTreeSet<(String, String)>> {
    // Not from the metadata: there the features of the whole workspace are mixed.
    let text = cargo(
        root,
        &[
            "tree", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}", "-p",
            package,
        ],
    )?;
    Ok(pairs(&text))
}

/// The same for the whole workspace, with what building needs.
pub fn whole_tree(root: &Path) -> anyhow::Result<BTreeSet<(String, String)>> {
    let text = cargo(
        root,
        &[
            "tree",
            "--locked",
            "--workspace",
            "-e",
            "normal,build,dev",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ],
    )?;
    Ok(pairs(&text))
}

fn pairs(text: &str) -> BTreeSet<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((
                words.next()?.to_owned(),
                words.next()?.trim_start_matches('v').to_owned(),
            ))
        })
        .collect()
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!(
            "cargo {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).context("cargo printed something that is not text")
}
