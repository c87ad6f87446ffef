//! Runs scenarios: at most three at once and sixty pods, each with a row whatever becomes of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Surroundings;
use super::context::Context;
use super::report::{self, Row};

const AT_ONCE: usize = 3;
const PODS: u32 = 60;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Also its namespace, after `e2e-`.
    pub(crate) name: &'static str,
    /// Must show failures: then it is a control run.
    pub(crate) control: bool,
    /// The most pods it has at any time, those in deletion included.
    pub(crate) pods: u32,
    /// 1: part of every run; 2: only when asked for.
    pub(crate) group: u8,
    /// Runs after all others, and by itself.
    pub(crate) alone: bool,
    pub(crate) limit: Duration,
    pub(crate) run: fn(Arc<Context>) -> BoxFuture<'static, anyhow::Result<()>>,
}

/// Runs them all and gives their rows in the order given; writes the report after each, so that a broken run leaves what it had.
pub(crate) async fn run(
    scenarios: &[Scenario],
    surroundings: Arc<Surroundings>,
    report_path: &Path,
) -> anyhow::Result<Vec<Row>> {
    let mut rows: Vec<(usize, Row)> = Vec::new();
    let (alone, together): (Vec<_>, Vec<_>) = scenarios
        .iter()
        .copied()
        .enumerate()
        .partition(|(_, scenario)| scenario.alone);
    let (places, pods) = (
        Arc::new(Semaphore::new(AT_ONCE)),
        Arc::new(Semaphore::new(PODS as usize)),
    );
    let mut running = JoinSet::new();
    for (index, scenario) in together {
        let (places, pods, surroundings) = (
            Arc::clone(&places),
            Arc::clone(&pods),
            Arc::clone(&surroundings),
        );
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let _pods = pods.acquire_many_owned(scenario.pods.min(PODS)).await;
            (index, run_one(scenario, surroundings).await)
        });
    }
    while let Some(done) = running.join_next().await {
        keep(&mut rows, done?, report_path)?;
    }
    for (index, scenario) in alone {
        keep(
            &mut rows,
            (index, run_one(scenario, Arc::clone(&surroundings)).await),
            report_path,
        )?;
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn keep(rows: &mut Vec<(usize, Row)>, row: (usize, Row), report_path: &Path) -> anyhow::Result<()> {
    println!("{}", row.1.line());
    rows.push(row);
    rows.sort_by_key(|(index, _)| *index);
    report::write(
        report_path,
        &rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(),
    )
}

async fn run_one(scenario: Scenario, surroundings: Arc<Surroundings>) -> Row {
    let keep = surroundings.keep;
    let context = match Context::create(scenario.name, scenario.control, surroundings).await {
        Ok(context) => Arc::new(context),
        Err(problem) => {
            let mut row = Row {
                name: scenario.name.to_owned(),
                control: scenario.control,
                ..Row::default()
            };
            row.check("ran to its end", false, format!("{problem:#}"));
            return row;
        }
    };
    // A scenario that panics is one red row and must not take the others with it.
    let body = std::panic::AssertUnwindSafe((scenario.run)(Arc::clone(&context))).catch_unwind();
    let problem = match timeout(scenario.limit, body).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(problem))) => Some(format!("{problem:#}")),
        Ok(Err(_)) => Some("it panicked".to_owned()),
        Err(_) => Some(format!(
            "it was not done within {} s",
            scenario.limit.as_secs()
        )),
    };
    context.check(
        "ran to its end",
        problem.is_none(),
        problem.unwrap_or_default(),
    );
    let mut row = context.finish();
    if scenario.control {
        let detail = if row.failed > 0 {
            format!("{} of {} requests failed", row.failed, row.requests)
        } else {
            "the measuring is broken: nothing failed".to_owned()
        };
        row.check("failures are seen", row.failed > 0, detail);
    }
    if !keep && let Err(problem) = context.clean_up().await {
        row.check("its namespace goes away", false, format!("{problem:#}"));
    }
    row
}
