//! Runs scripts on both servers, step by step, and collects what differs. Does not judge differences.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossfade_fakeapi::{FakeApi, Options, Snapshot};
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use serde_json::Value;

use crate::compare::{Answers, Difference, differences, signature};
use crate::generate::{self, Source};
use crate::script::Step;
use crate::setup::Setup;
use crate::shrink::shrink;
use crate::side::{Answer, Patience, Side, fake_client};

/// Runs of one script while it is made shorter.
const SHRINKING_RUNS: usize = 80;

/// Both servers, set up.
pub struct Runner {
    real: Client,
    setup: Setup,
    /// The fake server as it is before a script.
    fake: Snapshot,
    /// Of namespaces.
    number: AtomicUsize,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Counts {
    pub scripts: usize,
    /// By kind and verb.
    pub requests: BTreeMap<(String, &'static str), usize>,
    pub statuses: BTreeMap<u16, usize>,
    /// By index into the table of accepted differences.
    pub accepted: BTreeMap<usize, usize>,
    /// Scripts that were begun again because the real server gave up.
    pub stalls: usize,
    /// By signature: in how many scripts, and the report of the first.
    pub unexplained: BTreeMap<String, (usize, String)>,
}

/// Where a script failed.
struct Failure {
    step: Step,
    index: usize,
    differences: Vec<Difference>,
    /// The real server gave up on its own work; that says nothing about the other one.
    stalled: bool,
}

/// A read that asks for no more than "not older than" may be answered by a cache that lags behind: it is
/// asked again so often, after so long each.
const CACHE_LOOKS: usize = 3;
const CACHE_LAG: Duration = Duration::from_millis(100);

/// How often a script is begun again when the real server gave up.
const REPETITIONS: usize = 3;

fn options() -> Options {
    Options {
        clock: Arc::new(|| jiff::Timestamp::from_second(1_750_000_000).unwrap_or_default()),
        seed: 1,
        history: 10_000,
    }
}

impl Runner {
    /// Sets both up.
    ///
    /// # Errors
    /// When one refuses.
    pub async fn new(real: Client, setup: Setup) -> anyhow::Result<Self> {
        let fake = FakeApi::new(options());
        setup.install(&fake_client(&fake)).await?;
        setup.install(&real).await?;
        Ok(Self {
            real,
            setup,
            fake: fake.snapshot(),
            number: AtomicUsize::new(0),
        })
    }

    /// Runs the scripts of these seeds.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn all(
        &self,
        seeds: Range<u64>,
        source: &Source,
        jobs: usize,
        shorten: bool,
    ) -> anyhow::Result<Counts> {
        let results = futures::stream::iter(seeds)
            .map(|seed| async move {
                let script = generate::script(seed, source);
                let mut counts = Counts::default();
                let mut failure = self.script(&script, &mut counts).await?;
                let mut stalls = 0;
                while failure.as_ref().is_some_and(|failure| failure.stalled)
                    && stalls < REPETITIONS
                {
                    stalls += 1;
                    counts = Counts::default();
                    failure = self.script(&script, &mut counts).await?;
                }
                counts.stalls = stalls;
                anyhow::Ok((seed, script, counts, failure))
            })
            .buffered(jobs);
        tokio::pin!(results);
        let mut total = Counts::default();
        while let Some((seed, script, counts, failure)) = results.try_next().await? {
            total.scripts += 1;
            total.stalls += counts.stalls;
            for (key, number) in counts.requests {
                *total.requests.entry(key).or_default() += number;
            }
            for (key, number) in counts.statuses {
                *total.statuses.entry(key).or_default() += number;
            }
            for (key, number) in counts.accepted {
                *total.accepted.entry(key).or_default() += number;
            }
            let Some(failure) = failure else { continue };
            let Some(first) = failure.differences.first() else {
                continue;
            };
            let signature = signature(&failure.step, first);
            if let Some((scripts, _)) = total.unexplained.get_mut(&signature) {
                *scripts += 1;
                continue;
            }
            let report = self.report(seed, &script, failure, shorten).await?;
            eprintln!("{signature}\n{report}");
            total.unexplained.insert(signature, (1, report));
        }
        Ok(total)
    }

    /// Up to the first unexplained difference.
    async fn script(
        &self,
        script: &[Step],
        counts: &mut Counts,
    ) -> anyhow::Result<Option<Failure>> {
        // By process, because the real server may have seen others.
        let namespace = format!(
            "conf-{}-{}",
            std::process::id(),
            self.number.fetch_add(1, Ordering::Relaxed)
        );
        let fake_client = fake_client(&FakeApi::restore(&self.fake, options()));
        let begin = self.setup.namespace(&fake_client, &namespace).await?;
        let mut fake = Side::new(fake_client, &namespace, &begin);
        let begin = self.setup.namespace(&self.real, &namespace).await?;
        let mut real = Side::new(self.real.clone(), &namespace, &begin);
        for (index, step) in script.iter().enumerate() {
            let mut patience = Patience {
                events: 0,
                limit: Duration::from_secs(5),
                quiet: Duration::from_millis(10),
            };
            let faked = fake.send(step, patience).await?;
            if step.is_watch() {
                patience.events = faked.body.as_array().map_or(0, Vec::len);
                patience.quiet = Duration::from_millis(60);
            }
            let mut answered = real.send(step, patience).await?;
            *counts
                .requests
                .entry((step.kind().to_owned(), step.verb))
                .or_default() += 1;
            *counts.statuses.entry(answered.status).or_default() += 1;
            let compared = |answered: &Answer| {
                let answers = Answers {
                    fake: &faked,
                    real: answered,
                };
                differences(step, &answers)
            };
            let mut found = compared(&answered);
            for _ in 0..CACHE_LOOKS {
                let differs = found.iter().any(|(_, accepted)| accepted.is_none());
                if !differs || !step.may_be_old() {
                    break;
                }
                tokio::time::sleep(CACHE_LAG).await;
                answered = real.send(step, patience).await?;
                found = compared(&answered);
            }
            let mut unexplained = Vec::new();
            for (difference, accepted) in found {
                match accepted {
                    Some(entry) => *counts.accepted.entry(entry).or_default() += 1,
                    None => unexplained.push(difference),
                }
            }
            if !unexplained.is_empty() {
                return Ok(Some(Failure {
                    step: step.clone(),
                    index,
                    differences: unexplained,
                    stalled: answered.status == 504
                        && answered
                            .body
                            .get("message")
                            .and_then(Value::as_str)
                            .is_some_and(|text| text.contains("within requested timeout")),
                }));
            }
        }
        Ok(None)
    }

    async fn report(
        &self,
        seed: u64,
        script: &[Step],
        mut failure: Failure,
        shorten: bool,
    ) -> anyhow::Result<String> {
        let mut steps: Vec<Step> = script.iter().take(failure.index + 1).cloned().collect();
        if shorten {
            steps = shrink(&steps, SHRINKING_RUNS, async |part: &[Step]| {
                matches!(self.script(part, &mut Counts::default()).await, Ok(Some(_)))
            })
            .await;
            if let Some(shorter) = self.script(&steps, &mut Counts::default()).await? {
                failure = shorter;
            }
        }
        let mut report = format!("  seed {seed}\n");
        for step in &steps {
            write!(report, "  {} {}", step.method, step.path)?;
            if step.content_type != "application/json" {
                write!(report, " [{}]", step.content_type)?;
            }
            if step.accept != "application/json" {
                write!(report, " accepts {}", step.accept)?;
            }
            let body = step.body.as_ref().map(Value::to_string).unwrap_or_default();
            writeln!(report, " {body}")?;
        }
        for difference in failure.differences.iter().take(12) {
            writeln!(report, "    {difference}")?;
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "tests stop at the first thing that is wrong"
    )]
    use super::*;

    /// Two fakes that give out different uids and revisions, the second with a life before.
    async fn runner() -> Runner {
        let other = FakeApi::new(Options {
            seed: 2,
            ..options()
        });
        let setup = Setup::read(&[]).unwrap();
        for name in ["before", "long-before"] {
            setup.namespace(&fake_client(&other), name).await.unwrap();
        }
        Runner::new(fake_client(&other), setup).await.unwrap()
    }

    fn source(runner: &Runner) -> Source {
        let mut kinds = generate::kinds::built_in();
        kinds.extend(runner.setup.kinds.iter().cloned());
        Source {
            kinds,
            keys: Vec::new(),
        }
    }

    #[tokio::test]
    async fn two_servers_of_the_same_kind_answer_alike() {
        let runner = runner().await;
        let counts = runner.all(1..81, &source(&runner), 2, true).await.unwrap();
        assert!(counts.unexplained.is_empty(), "{:?}", counts.unexplained);
        assert_eq!(counts.scripts, 80);
        // Scripts that are only refused would compare little.
        let of = |range: Range<u16>| -> usize {
            let within = counts.statuses.range(range);
            within.map(|(_, number)| number).sum()
        };
        assert!(of(200..300) * 3 > of(300..600) * 2, "{:?}", counts.statuses);
        for status in [200, 201, 404, 409, 422] {
            assert!(counts.statuses.contains_key(&status), "{status}");
        }
    }
}
