//! The commands, one module per family.

mod complete;
mod control;
#[cfg(feature = "demo")]
mod demo;
mod disown;
mod end;
mod gate;
mod install;
mod look;
mod order;
mod plan;
mod run;
#[cfg(feature = "demo")]
mod simulate;
mod uninstall;

use crossfade_api::Action;

use crate::args::{Arguments, Command, SetWhat};
use crate::cluster::Cluster;
use crate::exit::{Exit, Failure};

pub use complete::answer as complete;

/// Runs one command.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments {
        mut global,
        command,
    } = arguments;
    match command {
        Command::Completions { shell } => return complete::script(shell),
        // Needs no cluster when it only prints.
        Command::Install(ref arguments) if arguments.output.is_some() => {
            return install::print(&global, arguments);
        }
        #[cfg(feature = "demo")]
        Command::Demo(ref arguments) => return demo::run(arguments).await,
        #[cfg(feature = "demo")]
        Command::Simulate(ref arguments) => return simulate::run(arguments).await,
        Command::Plan(ref arguments) if !arguments.filename.is_empty() => {
            return plan::from_files(arguments);
        }
        Command::Install(_) | Command::Uninstall(_) => {
            global
                .namespace
                .get_or_insert_with(|| "crossfade-system".to_owned());
        }
        _ => {}
    }
    let cluster = Cluster::connect(&global).await?;
    match command {
        Command::Status(arguments) => look::status(&cluster, &arguments).await,
        Command::List(arguments) => look::list(&cluster, &arguments).await,
        Command::Explain(arguments) => look::explain(&cluster, &arguments).await,
        Command::History(arguments) => look::history(&cluster, &arguments).await,
        Command::Promote(arguments) => {
            let order = order::Order {
                full: arguments.full,
                ..Action::Promote.into()
            };
            control::run(&cluster, order, &arguments.control).await
        }
        Command::Abort(arguments) => {
            let order = order::Order {
                force: arguments.force,
                ..Action::Abort.into()
            };
            control::run(&cluster, order, &arguments.control).await
        }
        Command::Pause(arguments) => control::run(&cluster, Action::Pause.into(), &arguments).await,
        Command::Resume(arguments) => {
            control::run(&cluster, Action::Resume.into(), &arguments).await
        }
        Command::Undo(arguments) => {
            let order = order::Order {
                revision: arguments.to,
                ..Action::Undo.into()
            };
            control::run(&cluster, order, &arguments.control).await
        }
        Command::Retry(arguments) => control::run(&cluster, Action::Retry.into(), &arguments).await,
        Command::Run(arguments) => {
            let release = run::Release {
                workload: &arguments.workload,
                images: &arguments.image,
                wait: arguments.wait,
                timeout: arguments.timeout,
                output: arguments.output,
            };
            run::run(&cluster, &release).await
        }
        Command::Set(set) => {
            let SetWhat::Image {
                workload,
                image,
                output,
            } = set.what;
            let release = run::Release {
                workload: &workload,
                images: &image,
                wait: false,
                timeout: None,
                output,
            };
            run::run(&cluster, &release).await
        }
        Command::Plan(arguments) => plan::run(&cluster, &arguments).await,
        Command::Install(arguments) => install::run(&cluster, &arguments).await,
        Command::Uninstall(arguments) => uninstall::run(&cluster, &arguments).await,
        // Carried out above: they need no cluster.
        Command::Completions { .. } => Ok(Exit::Done),
        #[cfg(feature = "demo")]
        Command::Demo(_) | Command::Simulate(_) => Ok(Exit::Done),
    }
}
