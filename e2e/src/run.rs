//! Picks scenarios, enters the cluster's network and runs them there. How one runs belongs to `harness::runner`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::cluster::parts::Extent;
use crate::cluster::{Cluster, NODE_ADDRESS, guard};
use crate::harness::Surroundings;
use crate::harness::runner::{self, Scenario};
use crate::load::{Load, Options};
use crate::scenarios;

/// Set in the process that already is in the cluster's network.
const INSIDE: &str = "CROSSFADE_E2E_INSIDE";

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) report: Option<PathBuf>,
    pub(crate) keep: bool,
    pub(crate) controller: Option<PathBuf>,
}

/// By name or its beginning; without names, by group. A name that fits nothing is an error, not an empty run.
pub(crate) fn pick(only: &[String], group: u8) -> anyhow::Result<Vec<Scenario>> {
    let all = scenarios::all();
    if only.is_empty() {
        return Ok(all
            .into_iter()
            .filter(|scenario| scenario.group <= group)
            .collect());
    }
    if let Some(stranger) = only.iter().find(|name| {
        !all.iter()
            .any(|scenario| scenario.name.starts_with(name.as_str()))
    }) {
        bail!(
            "no scenario is called {stranger:?}; there are:\n{}",
            describe(&all)
        );
    }
    Ok(all
        .into_iter()
        .filter(|scenario| {
            only.iter()
                .any(|name| scenario.name.starts_with(name.as_str()))
        })
        .collect())
}

pub(crate) fn describe(scenarios: &[Scenario]) -> String {
    let line = |scenario: &Scenario| {
        format!(
            "{}{}\n",
            scenario.name,
            if scenario.control {
                " (control: must show failures)"
            } else {
                ""
            }
        )
    };
    scenarios.iter().map(line).collect()
}

/// The demonstration leaves the report of the tests alone.
pub(crate) fn demo_report() -> anyhow::Result<PathBuf> {
    Ok(target_folder()?.join("e2e").join("demo.json"))
}

fn target_folder() -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Ok(workspace
        .canonicalize()
        .context("the workspace is gone")?
        .join("target"))
}

/// A cluster that is there already, instead of one of our own.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    pub(crate) kubeconfig: PathBuf,
    /// This machine's address as that API server reaches it.
    pub(crate) address: IpAddr,
    pub(crate) audit_log: Option<PathBuf>,
}

/// With a cluster of our own: brings it up, and goes on as the same program within its network. Does not return then.
fn enter(cluster: &Cluster, foreign: Option<&Foreign>) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    if foreign.is_some() || std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    cluster.up(Extent::Whole)?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let problem = cluster
        .exec(own.as_os_str())?
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(problem).context("cannot enter the cluster's network")
}

pub(crate) fn scenarios(
    cluster: &Cluster,
    foreign: Option<Foreign>,
    picked: &[Scenario],
    settings: Settings,
) -> anyhow::Result<ExitCode> {
    enter(cluster, foreign.as_ref())?;
    let target = target_folder()?;
    let folder = target.join(cluster.results());
    let controller_binary = settings
        .controller
        .unwrap_or_else(|| target.join("debug/crossfade-controller"));
    let (keep, own) = (settings.keep, folder.clone());
    let own_cluster = foreign.is_none();
    let surroundings = match foreign {
        Some(foreign) => Surroundings {
            kubeconfig: foreign.kubeconfig,
            audit_log: foreign.audit_log,
            node_address: foreign.address,
            controller_binary,
            keep,
            cluster: None,
            folder: own,
        },
        None => Surroundings {
            kubeconfig: cluster.kubeconfig(),
            audit_log: Some(cluster.audit_log()),
            node_address: NODE_ADDRESS.parse().context("the node's address")?,
            controller_binary,
            keep,
            cluster: Some(cluster.clone()),
            folder: own,
        },
    };
    let report = settings
        .report
        .unwrap_or_else(|| folder.join("report.json"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let rows = runtime.block_on(runner::run(picked, Arc::new(surroundings), &report))?;
    if own_cluster {
        println!(
            "first packets that met rules in the making and were sent again: {}",
            guard::dropped()?
        );
    }
    let (good, all) = (rows.iter().filter(|row| row.ok()).count(), rows.len());
    println!(
        "report: {}\n{good} passed, {} failed",
        report.display(),
        all - good
    );
    Ok(if good == all && all > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) fn load(
    cluster: &Cluster,
    foreign: Option<&Foreign>,
    target: SocketAddr,
    options: Options,
    records: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    enter(cluster, foreign)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let longest = options.longest;
    let outcome = runtime.block_on(async {
        let load = Load::start(target, options)?;
        tokio::time::sleep(longest).await;
        load.stop().await
    })?;
    println!("{}", outcome.summary());
    for detail in outcome.details() {
        println!(
            "  at {:.3} s, {}: {} ({})",
            detail.at.as_secs_f64(),
            detail.kind.name(),
            detail.failure.name(),
            detail.text
        );
    }
    if let Some(path) = records {
        std::fs::write(path, outcome.json_lines())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if outcome.failed() == 0 && outcome.measured() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
