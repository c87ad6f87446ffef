//! The arguments of every command.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use crossfade_api::Duration;

/// Releases Kubernetes Deployments step by step.
#[derive(Debug, Parser)]
#[command(name = "crossfade", version, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster and namespace.
#[derive(Debug, Args)]
pub struct Global {
    /// Namespace; default: that of the context (install, uninstall: crossfade-system)
    #[arg(short, long, global = true, value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_parser = NonEmptyStringValueParser::new())]
    pub context: Option<String>,
    /// Path of the kubeconfig; default: $KUBECONFIG, then ~/.kube/config
    #[arg(long, global = true)]
    pub kubeconfig: Option<std::path::PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Where a release stands
    Status(Status),
    /// All Rollouts
    List(List),
    /// End the current stay, approval or hold; with --full the whole plan
    Promote(Promote),
    /// Stay where it is until `resume`
    Pause(Control),
    /// Go on after `pause`
    Resume(Control),
    /// Take the new version away, now
    Abort(Abort),
    /// Release the rejected template again
    Retry(Control),
    /// Back to what served before, or to a revision of `kubectl rollout history`
    Undo(Undo),
    /// Why a release stands where it stands, and what gets it moving
    Explain(Look),
    /// Ended releases
    History(Look),
    /// Release another image, gated in the same request; for pipelines with --wait
    Run(Run),
    /// Change a part of the template, gated in the same request
    Set(Set),
    /// What a release would do. Changes nothing
    Plan(Plan),
    /// A whole release on this machine, with real HTTP and no cluster
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Your plan against assumed faults and traffic: how often, how soon and at what cost it rolls back
    #[cfg(feature = "demo")]
    Simulate(Simulate),
    /// Install kinds, rights and admission
    Install(Install),
    /// Remove them
    Uninstall(Uninstall),
    /// Print the completion script of a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// What is true after it was interrupted.
    #[must_use]
    pub const fn stopped(&self) -> &'static str {
        match self {
            #[cfg(feature = "demo")]
            Self::Demo(_) => "stopped. Nothing is left of the demo",
            #[cfg(feature = "demo")]
            Self::Simulate(_) => "stopped",
            Self::Install(_) => {
                "stopped; what is applied stays. Give it again: it applies the rest"
            }
            Self::Uninstall(_) => {
                "stopped; what is deleted is gone, and what is under way goes on. Give it again: it goes on from there"
            }
            Self::List(_)
            | Self::Explain(_)
            | Self::History(_)
            | Self::Plan(_)
            | Self::Completions { .. } => "stopped",
            Self::Status(_)
            | Self::Promote(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Abort(_)
            | Self::Retry(_)
            | Self::Undo(_)
            | Self::Run(_)
            | Self::Set(_) => "stopped. The release itself goes on",
        }
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Yaml,
    Name,
}

#[derive(Debug, Args)]
pub struct Status {
    /// The workload: web, deployment/web or rollout/web; may be left out when there is one only
    pub workload: Option<String>,
    /// Go on showing until the release is over, or waits for an approval; the exit code says how it ended
    #[arg(short, long)]
    pub watch: bool,
    /// Longest wait with --watch; default: none
    #[arg(long, requires = "watch")]
    pub timeout: Option<Duration>,
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Look {
    /// The workload: web, deployment/web or rollout/web; may be left out when there is one only
    pub workload: Option<String>,
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Control {
    /// The workload: web, deployment/web or rollout/web; may be left out when there is one only
    pub workload: Option<String>,
    /// Why, for the record
    #[arg(long)]
    pub reason: Option<String>,
    /// Wait until the release is over; the exit code says how it ended
    #[arg(long)]
    pub wait: bool,
    /// Longest wait for the answer (default 15s), with --wait for the end (default 1h)
    #[arg(long)]
    pub timeout: Option<Duration>,
    /// Print what became of the command, with --wait how the release ended
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    pub control: Control,
    /// Skip every step and the verdict. Recorded with who and why
    #[arg(long)]
    pub full: bool,
}

#[derive(Debug, Args)]
pub struct Abort {
    #[command(flatten)]
    pub control: Control,
    /// Even if the old version has no ready pod
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Undo {
    #[command(flatten)]
    pub control: Control,
    /// The revision to go back to; without it what served before
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u32).range(1..))]
    pub to: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The workload: deployment/web
    pub workload: String,
    /// Container and image: app=registry/app:v2; the container may be left out when there is one only
    #[arg(long, required = true, value_name = "CONTAINER=IMAGE")]
    pub image: Vec<String>,
    /// Wait until the release is over; the exit code says how it ended
    #[arg(long)]
    pub wait: bool,
    /// Longest wait, default 1h
    #[arg(long)]
    pub timeout: Option<Duration>,
    /// Print the Deployment as changed, with --wait how the release ended
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Set {
    #[command(subcommand)]
    pub what: SetWhat,
}

#[derive(Debug, Subcommand)]
pub enum SetWhat {
    /// Another image
    Image {
        /// The workload: deployment/web
        workload: String,
        /// Container and image: app=registry/app:v2
        #[arg(required = true, value_name = "CONTAINER=IMAGE")]
        image: Vec<String>,
        /// Print the Deployment as changed
        #[arg(short, long)]
        output: Option<Format>,
    },
}

#[derive(Debug, Args)]
pub struct Plan {
    /// The workload: web, deployment/web or rollout/web; may be left out when there is one only
    pub workload: Option<String>,
    /// Files instead of a cluster: Rollout, Deployment, Services, policies; - is stdin
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<std::path::PathBuf>,
    /// Another number of pods than the Deployment's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub replicas: Option<u32>,
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// Planner and judge are the shipped ones, in virtual time and without a cluster. Approvals are given at
/// once; pods start within some seconds; errors are independent of each other.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Simulate {
    /// The workload, when the files are about several
    pub workload: Option<String>,
    /// Files with a Rollout, a RolloutPolicy or an annotated Deployment; - is stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    pub filename: Vec<std::path::PathBuf>,
    /// What may be wrong with a new version: error rates, never-ready, crash, no-metrics. Default: all
    #[arg(long, value_delimiter = ',', value_name = "5%,crash,…")]
    pub faults: Vec<crossfade_simulator::simulate::Fault>,
    /// Errors of the old version
    #[arg(long, default_value = "0.1%", value_name = "RATE")]
    pub base_errors: crossfade_simulator::simulate::Fault,
    /// Requests per second of both versions together
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Runs for each fault
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub runs: u32,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Another number of pods than the Deployment's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub replicas: Option<u32>,
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// A demo ends by itself; its exit code is 0 if no request was lost and both releases ended as told.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// How fast: 1 is for watching, 10 for trying out (0.1 to 20)
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Requests per second, 20 to 2000; fewer are too few to judge in the time of a demo
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=2000))]
    pub rate: u32,
    /// Your own steps: "5%, 20% for 3s, approval, 50%"
    #[arg(long)]
    pub steps: Option<String>,
    /// Pods of the workload
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=10))]
    pub replicas: u32,
    /// Lines instead of a picture; so too when stdout is no terminal
    #[arg(long)]
    pub plain: bool,
    /// Print the closing counts as data
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// Which installation.
#[derive(Debug, Args)]
pub struct Which {
    /// Name of the installation
    #[arg(long, default_value = "crossfade")]
    pub name: String,
    /// ServiceAccount of the controller
    #[arg(long, default_value = "crossfade")]
    pub service_account: String,
    /// Serve these namespaces only
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACE,…")]
    pub namespaces: Option<Vec<String>>,
}

#[derive(Debug, Args)]
pub struct Install {
    #[command(flatten)]
    pub which: Which,
    /// Where the API server reaches a controller outside the cluster, for example https://10.0.0.1:9443
    #[arg(long)]
    pub admission_url: Option<String>,
    /// File with the authority of the admission server, PEM; default: the controller fills it in
    #[arg(long)]
    pub ca_file: Option<std::path::PathBuf>,
    /// Leave admission out: for clusters that allow no webhooks. Releases then start by `run` or `set image`
    #[arg(long, conflicts_with_all = ["admission_url", "ca_file"])]
    pub no_admission: bool,
    /// Print instead of applying
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Uninstall {
    #[command(flatten)]
    pub which: Which,
    /// Abort what is under way, wait, and put the old templates back
    #[arg(long, conflicts_with = "release")]
    pub revert: bool,
    /// Promote what is under way, unjudged, and wait
    #[arg(long)]
    pub release: bool,
    /// Remove the kinds too, and with them every Rollout, its history and all policies
    #[arg(long)]
    pub kinds: bool,
    /// Longest wait per release
    #[arg(long, default_value = "10m")]
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_holds_together() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_asked() {
        let parse = |words: &[&str]| {
            let all = std::iter::once("crossfade").chain(words.iter().copied());
            Arguments::try_parse_from(all)
        };
        assert!(parse(&["undo", "--to", "3"]).is_ok());
        // A variable of a pipeline that is empty is no namespace; no revision has the number 0.
        for words in [
            ["list", "-n", ""].as_slice(),
            &["list", "--context", ""],
            &["undo", "--to", "0"],
            // Without webhooks nobody calls that address.
            &["install", "--no-admission", "--admission-url", "https://x"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
