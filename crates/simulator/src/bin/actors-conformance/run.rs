//! Plays scripts on both sides and collects what differs. Does not judge differences.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt};

use crate::compare::{Difference, accepted, differences};
use crate::fake;
use crate::generate::{Script, script};
use crate::operation::Operation;
use crate::real::Real;
use crate::step::Step;

/// Other delays of the actors that are tried where the order of two events decides.
const DELAYS: u64 = 12;
/// Runs of one script while it is made shorter.
const SHRINKING_RUNS: usize = 40;

pub struct Runner {
    pub real: kube::Client,
    /// Of namespaces.
    pub number: AtomicUsize,
    /// Print every operation of a script as it is played.
    pub verbose: bool,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Counts {
    pub scripts: usize,
    /// By name of the operation.
    pub operations: BTreeMap<String, usize>,
    /// By index into the table of accepted differences.
    pub accepted: BTreeMap<usize, usize>,
    /// Steps where only other delays of the actors gave the real outcome.
    pub delayed: usize,
    /// Reports, by seed.
    pub unexplained: BTreeMap<u64, String>,
}

/// Where a script failed.
struct Failure {
    index: usize,
    differences: Vec<Difference>,
    unrest: (Option<String>, Option<String>),
}

async fn actors(script: &Script, seed: u64) -> anyhow::Result<Vec<Step>> {
    let script = script.clone();
    tokio::task::spawn_blocking(move || fake::play(&script, seed)).await?
}

impl Runner {
    /// Plays the scripts of these seeds.
    ///
    /// # Errors
    /// When a server does not answer, or one of the sides never rests.
    pub async fn all(
        &self,
        seeds: Range<u64>,
        jobs: usize,
        shorten: bool,
    ) -> anyhow::Result<Counts> {
        let results = futures::stream::iter(seeds)
            .map(|seed| async move {
                let drawn = script(seed);
                let mut counts = Counts::default();
                let failure = self.script(&drawn, &mut counts).await;
                anyhow::Ok((seed, drawn, counts, failure))
            })
            .buffered(jobs);
        tokio::pin!(results);
        let mut total = Counts::default();
        while let Some((seed, drawn, counts, failure)) = results.try_next().await? {
            total.scripts += 1;
            total.delayed += counts.delayed;
            for (key, number) in counts.operations {
                *total.operations.entry(key).or_default() += number;
            }
            for (key, number) in counts.accepted {
                *total.accepted.entry(key).or_default() += number;
            }
            let report = match failure {
                Ok(None) => continue,
                Ok(Some(failure)) => self.report(&drawn, failure, shorten).await?,
                Err(problem) => format!("  {problem:#}\n"),
            };
            eprintln!("seed {seed}\n{report}");
            total.unexplained.insert(seed, report);
        }
        Ok(total)
    }

    /// Up to the first unexplained difference.
    async fn script(
        &self,
        script: &Script,
        counts: &mut Counts,
    ) -> anyhow::Result<Option<Failure>> {
        // By process, because the real server may have seen others.
        let namespace = format!(
            "actors-{}-{}",
            std::process::id(),
            self.number.fetch_add(1, Ordering::Relaxed)
        );
        let mut faked = actors(script, 1).await?;
        let mut real = Real::new(self.real.clone(), namespace, script).await?;
        let mut path: Vec<Step> = Vec::new();
        for (index, operation) in script.operations.iter().enumerate() {
            let Some(expected) = faked.get(index).cloned() else {
                break;
            };
            let step = real.play(operation, &expected).await?;
            if self.verbose {
                eprintln!("{operation:?}\n  {}", step.outcome);
            }
            let name = format!("{operation:?}");
            let name = name.split(' ').next().unwrap_or_default();
            *counts.operations.entry(name.to_owned()).or_default() += 1;
            let mut open = self.open(operation, &expected, &step, counts);
            path.push(step.clone());
            if !open.is_empty() {
                // Both sides are free in the order of what happens at once: some order must give the real outcome.
                if let Some(other) = self.with_other_delays(script, &path).await? {
                    counts.delayed += 1;
                    faked = other;
                    open.clear();
                }
            }
            if !open.is_empty() {
                return Ok(Some(Failure {
                    index,
                    differences: open,
                    unrest: (expected.unrest, step.unrest),
                }));
            }
        }
        Ok(None)
    }

    fn open(
        &self,
        operation: &Operation,
        expected: &Step,
        step: &Step,
        counts: &mut Counts,
    ) -> Vec<Difference> {
        let mut open = Vec::new();
        for difference in differences(expected, step) {
            match accepted(operation, &difference) {
                Some(entry) => *counts.accepted.entry(entry).or_default() += 1,
                None => open.push(difference),
            }
        }
        open
    }

    async fn with_other_delays(
        &self,
        script: &Script,
        path: &[Step],
    ) -> anyhow::Result<Option<Vec<Step>>> {
        for seed in 2..2 + DELAYS {
            let steps = actors(script, seed).await?;
            let fits = script.operations.iter().zip(path.iter().zip(&steps)).all(
                |(operation, (real, faked))| {
                    self.open(operation, faked, real, &mut Counts::default())
                        .is_empty()
                },
            );
            if fits {
                return Ok(Some(steps));
            }
        }
        Ok(None)
    }

    async fn report(
        &self,
        script: &Script,
        mut failure: Failure,
        shorten: bool,
    ) -> anyhow::Result<String> {
        let mut shorter = Script {
            operations: script
                .operations
                .iter()
                .take(failure.index + 1)
                .cloned()
                .collect(),
            ..script.clone()
        };
        if shorten {
            let mut tries = SHRINKING_RUNS;
            // From the end: what comes late rarely prepares what comes early. The last one shows it.
            let mut index = shorter.operations.len().saturating_sub(1);
            while index > 0 && tries > 0 {
                index -= 1;
                tries -= 1;
                let mut candidate = shorter.clone();
                candidate.operations.remove(index);
                if let Ok(Some(found)) = self.script(&candidate, &mut Counts::default()).await {
                    candidate.operations.truncate(found.index + 1);
                    index = index.min(candidate.operations.len().saturating_sub(1));
                    shorter = candidate;
                    failure = found;
                }
            }
        }
        let mut report = format!(
            "  shared selector {}, prompt kubelet {}\n",
            shorter.shared, shorter.prompt
        );
        for operation in &shorter.operations {
            writeln!(report, "  {operation:?}")?;
        }
        for difference in failure.differences.iter().take(16) {
            writeln!(report, "    {difference}")?;
        }
        writeln!(
            report,
            "    unrest: actors {:?}, real {:?}",
            failure.unrest.0, failure.unrest.1
        )?;
        Ok(report)
    }
}
