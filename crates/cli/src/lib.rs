//! The command line: shows what a release does and passes on what people want.
//!
//! Decides nothing: commands are written into the Rollout and carried out by the controller; the
//! plan is resolved by the same planner. Data goes to stdout, words for people to stderr or, in a
//! terminal, to the screen.

pub mod args;
mod called;
mod clock;
mod cluster;
mod commands;
mod exit;
mod find;
mod follow;
mod output;
mod raw;
mod rollout;
mod screen;
mod show;
mod subject;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::Arguments;
use called::{Called, Caller};
use exit::{Exit, Failure};

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let called = Called::now();
    if called == Called::Completion {
        let words: Vec<String> = std::env::args_os()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return end(block_on(commands::complete(&words)));
    }
    let parsed = Arguments::command()
        .bin_name(called.typed())
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
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
    called::remember(Caller::new(called, &arguments.global));
    let stopped = arguments.command.stopped();
    end(block_on(async {
        tokio::select! {
            result = commands::run(arguments) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(stopped).exit(Exit::Error)),
        }
    }))
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    // Fails only when one is installed already, and then that one serves.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(command)
}
