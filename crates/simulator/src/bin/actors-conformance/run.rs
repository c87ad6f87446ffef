//! Plays scripts on both sides and collects what differs. Does not judge differences.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt};

use crate::compare::{Difference, accepted, differences};
use crate::fake::{self, Origin, Played};
use crate::generate::{Script, script};
use crate::operation::Operation;
use crate::real::Real;
use crate::step::Step;

/// Paces of the actors that are tried where the order of two events decides.
const PACES: u64 = 40;
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
    /// Steps where the actors came to the real outcome at another pace only.
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

/// The actors' part, on a thread of its own.
async fn actors(
    script: &Script,
    from: &Origin,
    operations: &[Operation],
    pace: u64,
) -> anyhow::Result<Vec<Played>> {
    let (script, from, operations) = (script.clone(), from.clone(), operations.to_vec());
    tokio::task::spawn_blocking(move || fake::play(&script, &from, &operations, pace)).await?
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
        let begin = script.clone();
        let mut before = tokio::task::spawn_blocking(move || fake::begin(&begin)).await??;
        let mut faked: VecDeque<Played> =
            actors(script, &before, &script.operations, 1).await?.into();
        let mut real = Real::new(self.real.clone(), namespace, script).await?;
        for (index, operation) in script.operations.iter().enumerate() {
            let Some(mut expected) = faked.pop_front() else {
                break;
            };
            let step = real.play(operation, &expected.step).await?;
            if self.verbose {
                eprintln!("{operation:?}\n  {}", step.outcome);
            }
            let name = format!("{operation:?}");
            let name = name.split(' ').next().unwrap_or_default();
            *counts.operations.entry(name.to_owned()).or_default() += 1;
            let open = self.open(operation, &expected.step, &step, counts);
            if !open.is_empty() {
                let left = script.operations.get(index..).unwrap_or_default();
                match self.at_another_pace(script, &before, left, &step).await? {
                    Some(other) => {
                        counts.delayed += 1;
                        faked = other.into();
                        let Some(first) = faked.pop_front() else {
                            break;
                        };
                        expected = first;
                    }
                    None => {
                        return Ok(Some(Failure {
                            index,
                            differences: open,
                            unrest: (expected.step.unrest, step.unrest),
                        }));
                    }
                }
            }
            before = expected.after;
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

    /// Both sides are free in the order of what happens at once: at some pace the actors must come where the real
    /// ones came. What they then make of all that is left.
    async fn at_another_pace(
        &self,
        script: &Script,
        before: &Origin,
        left: &[Operation],
        step: &Step,
    ) -> anyhow::Result<Option<Vec<Played>>> {
        let Some((operation, _)) = left.split_first() else {
            return Ok(None);
        };
        for pace in 1..=PACES {
            let played = actors(script, before, std::slice::from_ref(operation), pace).await?;
            let fits = played.first().is_some_and(|played| {
                self.open(operation, &played.step, step, &mut Counts::default())
                    .is_empty()
            });
            if fits {
                return actors(script, before, left, pace).await.map(Some);
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
