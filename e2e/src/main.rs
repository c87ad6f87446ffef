//! `crossfade-e2e`: the cluster, the load and the scenarios of the end-to-end tests, from the command line.
//!
//! This file reads arguments and picks; what is done belongs to the modules.

mod cluster;
mod demo;
mod fixture;
mod harness;
mod load;
mod run;
mod scenarios;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use cluster::parts::Extent;
use cluster::{Cluster, NODE_ADDRESS};

#[derive(Debug, Parser)]
#[command(
    name = "crossfade-e2e",
    about = "End-to-end tests of Crossfade on a real cluster"
)]
struct Arguments {
    /// Which cluster; several may exist side by side.
    #[arg(long, global = true, default_value = Cluster::USUAL)]
    cluster: String,
    /// An existing cluster instead of one of our own. Its nodes must hold the images of `image --archive`, and this machine must reach its
    /// Service and pod addresses, as a node does.
    #[arg(long, global = true, env = "CROSSFADE_E2E_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: this machine's address as that API server reaches it; the scenarios' webhooks are served there.
    #[arg(long, global = true, env = "CROSSFADE_E2E_ADDRESS", default_value = NODE_ADDRESS)]
    address: std::net::IpAddr,
    /// With --kubeconfig: that API server's audit log, of level Metadata or more, in JSON. Scenarios that count requests fail without it.
    #[arg(long, global = true, env = "CROSSFADE_E2E_AUDIT_LOG")]
    audit_log: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The cluster itself.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Build the test application's image and import it into the cluster.
    Image {
        /// Only build it, and say where the archive is.
        #[arg(long)]
        archive: bool,
    },
    /// Run scenarios; brings the cluster up if it is not.
    Run(RunArguments),
    /// Run only the control runs and those beside them in which nothing may fail.
    Control {
        #[arg(long)]
        report: Option<PathBuf>,
    },
    /// A good release and a bad one, told as they happen.
    Demo,
    /// Load on one address within the cluster's network, until its time is over.
    Load(LoadArguments),
    #[command(hide = true)]
    Hold,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Make what is missing and start it; says where its kubeconfig is.
    Up {
        /// Only etcd and the API server: no controller writes anything.
        #[arg(long)]
        api_only: bool,
        /// Only etcd, the API server and the controller manager: workloads, but nobody to run pods.
        #[arg(long, conflicts_with = "api_only")]
        controllers_only: bool,
    },
    /// End it and remove everything of it.
    Down,
    /// Which parts run.
    Status,
    /// Run a command in its network, with its KUBECONFIG and kubectl.
    Exec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Only these scenarios, or those whose name begins so.
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
    /// Say which there are, and run none.
    #[arg(long)]
    list: bool,
    /// Default: target/e2e/report.json.
    #[arg(long)]
    report: Option<PathBuf>,
    /// 1: what every run has; 2: the longer ones as well.
    #[arg(long, default_value_t = 1)]
    group: u8,
    /// Leave the namespaces of the scenarios for a look.
    #[arg(long)]
    keep: bool,
    /// Default: the debug build.
    #[arg(long)]
    controller: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// Address and port, such as a Service's cluster address.
    #[arg(long)]
    target: std::net::SocketAddr,
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Requests per second on connections of their own.
    #[arg(long, default_value_t = 150.0)]
    new: f64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 20)]
    keep_alive: u32,
    /// Host header, for routers.
    #[arg(long)]
    host: Option<String>,
    /// Write one line of JSON per request there.
    #[arg(long)]
    records: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments {
        cluster,
        kubeconfig,
        address,
        audit_log,
        what,
    } = Arguments::parse();
    let foreign = kubeconfig.map(|kubeconfig| run::Foreign {
        kubeconfig,
        address,
        audit_log,
    });
    let cluster = Cluster::named(&cluster)?;
    match what {
        What::Cluster(ClusterCommand::Up {
            api_only,
            controllers_only,
        }) => {
            cluster.up(match (api_only, controllers_only) {
                (true, _) => Extent::ApiOnly,
                (_, true) => Extent::Controllers,
                _ => Extent::Whole,
            })?;
            println!("{}", cluster.kubeconfig().display());
        }
        What::Cluster(ClusterCommand::Down) => cluster.down()?,
        What::Cluster(ClusterCommand::Status) => print!("{}", cluster.status()?),
        What::Cluster(ClusterCommand::Exec { command }) => {
            let (program, rest) = command
                .split_first()
                .ok_or_else(|| anyhow::anyhow!("no command"))?;
            let status = cluster.exec(program)?.args(rest).status()?;
            return Ok(ExitCode::from(
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(1),
            ));
        }
        What::Image { archive: true } => println!("{}", cluster::image::build()?.display()),
        What::Image { archive: false } => cluster.image()?,
        What::Run(arguments) => {
            let RunArguments {
                only,
                list,
                report,
                group,
                keep,
                controller,
            } = arguments;
            let picked = run::pick(&only, group)?;
            if list {
                print!("{}", run::describe(&picked));
                return Ok(ExitCode::SUCCESS);
            }
            return run::scenarios(
                &cluster,
                foreign,
                &picked,
                run::Settings {
                    report,
                    keep,
                    controller,
                },
            );
        }
        What::Control { report } => {
            let picked = run::pick(&["control-".to_owned(), "steady-".to_owned()], 1)?;
            return run::scenarios(
                &cluster,
                foreign,
                &picked,
                run::Settings {
                    report,
                    keep: false,
                    controller: None,
                },
            );
        }
        What::Demo => {
            return run::scenarios(
                &cluster,
                foreign,
                &[demo::SCENARIO],
                run::Settings {
                    report: Some(run::demo_report()?),
                    keep: false,
                    controller: None,
                },
            );
        }
        What::Load(LoadArguments {
            target,
            seconds,
            new,
            keep_alive,
            host,
            records,
        }) => {
            let longest = std::time::Duration::from_secs(seconds);
            let options = load::Options {
                new_per_second: new,
                keep_alive,
                host,
                longest,
                ..load::Options::default()
            };
            return run::load(
                &cluster,
                foreign.as_ref(),
                target,
                options,
                records.as_deref(),
            );
        }
        What::Hold => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(cluster::namespace::hold())?,
    }
    Ok(ExitCode::SUCCESS)
}
