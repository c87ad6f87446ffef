//! The command line: shows what a release does and passes on what people want.
//!
//! Decides nothing: commands are written into the Rollout and carried out by the controller; the
//! plan is resolved by the same planner. Data goes to stdout, words for people to stderr or, in a
//! terminal, to the screen.

pub mod args;
mod clock;
mod cluster;
mod commands;
mod exit;
mod find;
mod follow;
mod output;
mod raw;
mod screen;
mod show;
mod subject;

use std::process::ExitCode;

use clap::Parser;

use args::Arguments;
use exit::{Exit, Failure};

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be said when the terminal itself is gone.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    match run(arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    // Fails only when one is installed already, and then that one serves.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let stopped = arguments.command.stopped();
    runtime.block_on(async {
        tokio::select! {
            result = commands::run(arguments) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(stopped).exit(Exit::Error)),
        }
    })
}
