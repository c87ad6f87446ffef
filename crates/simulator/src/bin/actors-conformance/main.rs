//! Plays random scripts about Deployments and ReplicaSets on the API in memory with our actors, and on a
//! real API server with its controller manager, and compares where both come to rest. The real side must
//! have no scheduler and no kubelet: the script plays them on both sides. Which operations belongs to
//! `generate`, which differences are accepted to `compare`.

mod compare;
mod course;
mod fake;
mod generate;
mod operation;
mod player;
mod real;
mod run;
mod server;
mod state;
mod step;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;

use anyhow::Context;
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};

use run::{Counts, Runner};

/// Compare our Deployment and ReplicaSet controllers with the real ones, by random scripts.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many scripts; their seeds are SEED, SEED + 1, …
    #[arg(long, default_value_t = 50)]
    scripts: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of the real server; whoever it names must be allowed everything
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Scripts at the same time
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Print the first difference of each script as it is, without looking for a shorter one
    #[arg(long)]
    no_shrink: bool,
    /// Print each operation and where it led
    #[arg(long)]
    verbose: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let read = Kubeconfig::read_from(&arguments.kubeconfig)
        .with_context(|| format!("cannot read {}", arguments.kubeconfig.display()))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    // A watch may be silent for as long as a script is.
    config.read_timeout = None;
    let runner = Runner {
        real: kube::Client::try_from(config)?,
        number: AtomicUsize::new(0),
        verbose: arguments.verbose,
    };
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.scripts);
    let began = tokio::time::Instant::now();
    let counts = runner
        .all(seeds, arguments.jobs.max(1), !arguments.no_shrink)
        .await?;
    print(&counts);
    println!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(if counts.unexplained.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(counts: &Counts) {
    println!(
        "{} scripts, {} operations",
        counts.scripts,
        counts.operations.values().sum::<usize>()
    );
    let operations: Vec<String> = counts
        .operations
        .iter()
        .map(|(name, number)| format!("{name} {number}"))
        .collect();
    println!("  {}", operations.join(", "));
    println!(
        "{} steps agreed at another pace of the actors only",
        counts.delayed
    );
    for (index, number) in &counts.accepted {
        if let Some(entry) = compare::ACCEPTED.get(*index) {
            println!("accepted ×{number}: {}", entry.reason);
        }
    }
    let seeds: Vec<String> = counts.unexplained.keys().map(u64::to_string).collect();
    println!(
        "{} scripts with unexplained differences: {}",
        seeds.len(),
        seeds.join(" ")
    );
}
