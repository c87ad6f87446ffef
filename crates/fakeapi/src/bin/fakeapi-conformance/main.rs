//! Sends random scripts of requests to the fake API and to a real kube-apiserver and compares the
//! answers. The real one must run without controllers: nothing else may write. Which requests belongs to
//! `generate`, which differences are accepted to `compare`.

mod compare;
mod generate;
mod normalise;
mod random;
mod run;
mod script;
mod setup;
mod shrink;
mod side;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};

use generate::Source;
use run::{Counts, Runner};

/// Compare the fake API with a real one, by random scripts.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many scripts; their seeds are SEED, SEED + 1, …
    #[arg(long, default_value_t = 300)]
    scripts: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of the real server; whoever it names must be allowed everything
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Only scripts about these kinds (plurals, separated by commas)
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// YAML files whose CustomResourceDefinitions and ValidatingAdmissionPolicies both servers get
    #[arg(long)]
    manifests: Vec<PathBuf>,
    /// Scripts at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Print the first difference of each script as it is, without looking for a shorter one
    #[arg(long)]
    no_shrink: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let read = Kubeconfig::read_from(&arguments.kubeconfig)
        .with_context(|| format!("cannot read {}", arguments.kubeconfig.display()))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    // What is compared is one answer to one request.
    config.default_retry = false;
    let real = kube::Client::try_from(config)?;

    let setup = setup::Setup::read(&arguments.manifests)?;
    let mut kinds = generate::kinds::built_in();
    kinds.extend(setup.kinds.iter().cloned());
    if !arguments.kinds.is_empty() {
        kinds.retain(|kind| arguments.kinds.contains(&kind.plural));
        anyhow::ensure!(!kinds.is_empty(), "none of these kinds is known");
    }
    let source = Source {
        kinds,
        keys: setup.keys.clone(),
    };
    let runner = Runner::new(real, setup).await?;
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.scripts);
    let counts = runner
        .all(seeds, &source, arguments.jobs.max(1), !arguments.no_shrink)
        .await?;
    print(&counts);
    Ok(if counts.unexplained.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(counts: &Counts) {
    for (signature, (scripts, report)) in &counts.unexplained {
        println!("DIFFERENCE in {scripts} scripts: {signature}\n{report}");
    }
    println!(
        "{} scripts, {} requests",
        counts.scripts,
        counts.requests.values().sum::<usize>()
    );
    let mut kind = "";
    for ((of, verb), number) in &counts.requests {
        if of != kind {
            print!("{}{of}:", if kind.is_empty() { "  " } else { "\n  " });
            kind = of;
        }
        print!(" {verb} {number},");
    }
    println!();
    println!(
        "  answers by status: {}",
        counts
            .statuses
            .iter()
            .map(|(status, number)| format!("{status} ×{number}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for (index, number) in &counts.accepted {
        if let Some(entry) = compare::ACCEPTED.get(*index) {
            println!("accepted ×{number}: {}", entry.reason);
        }
    }
    println!(
        "{} kinds of unexplained differences; {} scripts begun again because the real server gave up",
        counts.unexplained.len(),
        counts.stalls
    );
}
