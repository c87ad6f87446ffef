//! The worker: items on its standard input, results on its standard output, a line each. Every world
//! begins with the same count of tokio's seeds, so that its order of tasks does not depend on the worlds
//! before it.

use std::io::{BufRead, Write};
use std::sync::mpsc;
use std::time::Duration;

use super::{Done, Item};
use crate::run::{install, run};

/// Seeds tokio draws for one world: one for its runtime, one for its thread.
const SEEDS: u64 = 2;
/// A world that takes longer of real time goes round in circles.
const LONGEST: Duration = Duration::from_secs(120);

/// Draws tokio's seeds until so many have been drawn.
///
/// Tokio mixes a counter of the whole process into the seed of each runtime and offers no stable way to
/// set that seed; so the counter is moved to where it stands in every run of this world.
fn draw_seeds(drawn: &mut u64, until: u64) {
    while *drawn < until {
        drop(tokio::runtime::Builder::new_current_thread());
        *drawn += 1;
    }
}

/// Works until there are no more items. `pin` seeds the process's entropy for the calling thread.
///
/// # Errors
/// When the installation fails or the pipes break.
pub fn work(input: impl BufRead, mut output: impl Write, pin: fn(u64)) -> Result<(), String> {
    pin(0);
    let snapshot = install()?;
    let mut drawn = SEEDS;
    for line in input.lines() {
        let line = line.map_err(|error| error.to_string())?;
        let item: Item = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let begin = SEEDS * (1 + item.place());
        if drawn > begin {
            return Err(format!("items out of order: {line}"));
        }
        draw_seeds(&mut drawn, begin);
        let watch = watchdog(&item);
        let done = one(item, &snapshot, pin);
        drop(watch);
        drawn += SEEDS;
        let text = serde_json::to_string(&done).map_err(|error| error.to_string())?;
        writeln!(output, "{text}").map_err(|error| error.to_string())?;
        output.flush().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Ends the process when a world does not; the parent tells which.
fn watchdog(item: &Item) -> mpsc::Sender<()> {
    let (alive, watched) = mpsc::channel::<()>();
    let line = serde_json::to_string(item).unwrap_or_default();
    std::thread::spawn(move || {
        if watched.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("world-runner: {line} does not end");
            std::process::abort();
        }
    });
    alive
}

/// Runs one.
#[must_use]
pub fn one(item: Item, snapshot: &crossfade_fakeapi::Snapshot, pin: fn(u64)) -> Done {
    let world = match item.world() {
        Ok(world) => world,
        Err(what) => {
            return Done {
                item,
                violations: vec![("world".to_owned(), what)],
                ..Done::default()
            };
        }
    };
    let outcome = run(&world, snapshot, pin);
    let violated = !outcome.violations.is_empty();
    let kept = if item.whole {
        outcome.trace
    } else if violated {
        // Renewals of the lease say nothing, and there are hundreds of them at the end.
        let telling = |line: &&String| !(line.contains("/leases/") && line.ends_with("-> 200"));
        let told: Vec<&String> = outcome.trace.iter().filter(telling).collect();
        let from = told.len().saturating_sub(50);
        told.into_iter().skip(from).cloned().collect()
    } else {
        Vec::new()
    };
    Done {
        scenario: world.scenario.name.to_owned(),
        violations: outcome
            .violations
            .iter()
            .map(|violation| (violation.law.to_owned(), violation.to_string()))
            .collect(),
        calls: outcome.counts.calls,
        writes: outcome.counts.writes,
        lease: outcome.counts.lease,
        crashes: outcome.crashes,
        simulated_seconds: outcome.simulated.as_secs(),
        lines: outcome.lines,
        digest: outcome.digest,
        ending: outcome.ending,
        faults: world.faults.iter().map(ToString::to_string).collect(),
        trace: kept,
        item,
    }
}
