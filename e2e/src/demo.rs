//! `make demo`: a good release and a bad one on a real cluster under load, told as they happen. A demonstration, not a test:
//! what must hold is checked by the scenarios.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::fixture::{Crossfade, Plan, WEB, WHOLE};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::{Load, Options};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "demo",
    control: false,
    pods: 12,
    group: 9,
    alone: true,
    limit: Duration::from_secs(400),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    tell(
        "",
        "Four pods of version v1, and 200 requests per second through their Service.",
    );
    let crossfade = Crossfade::install(&context).await?;
    crossfade.plan(&Plan::default()).await?;
    crossfade.deploy(&App::new(WEB, 4)).await?;
    let load = context.load(WEB, Options::default()).await?;

    tell(
        "",
        "A good version: kubectl set image deployment/web app=…:v2",
    );
    crossfade.release("v2").await?;
    follow(&crossfade, &load, "promoted").await?;
    tell(
        "",
        "The pods that serve now are the ones that were judged; web is unpaused, its Service as it was.",
    );

    tell(
        "",
        "A bad version, every fifth answer an error: kubectl set image deployment/web app=…:bad",
    );
    crossfade.release("bad").await?;
    follow(&crossfade, &load, "rolled-back").await?;
    let explained = crossfade.cli(&["explain", WEB]).await?;
    tell("", "crossfade explain web:");
    for line in explained.words().lines() {
        tell("    ", line);
    }
    let outcome = context.finish_load(load).await?;
    tell(
        "",
        &format!(
            "{} requests, {} failed (the bad version's own errors are not counted as lost).",
            outcome.requests(),
            outcome.failed()
        ),
    );
    Ok(())
}

/// Prints what the Rollout says whenever it says something else, with who answers, until a release ended so.
async fn follow(crossfade: &Crossfade, load: &Load, outcome: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let ended_before = ended(&crossfade.rollout().await?);
    let mut last = String::new();
    loop {
        let rollout = crossfade
            .until("it says something new", WHOLE, |rollout| {
                (line(rollout) != last || ended(rollout) > ended_before).then(|| rollout.clone())
            })
            .await?;
        if line(&rollout) != last {
            last = line(&rollout);
            let now = load.now();
            let versions = load.peek(|outcome| {
                outcome.versions(now.saturating_sub(Duration::from_secs(1))..now, None)
            });
            let answers: Vec<String> = versions
                .iter()
                .map(|(version, count)| format!("{version} {count}"))
                .collect();
            tell(
                &format!("{:>6.1} s  ", began.elapsed().as_secs_f64()),
                &format!(
                    "{last}  [answers in the last second: {}]",
                    answers.join(", ")
                ),
            );
        }
        if ended(&rollout) > ended_before {
            let entry = rollout
                .pointer("/status/history/0")
                .cloned()
                .unwrap_or_default();
            anyhow::ensure!(
                text(&entry, "/outcome") == outcome,
                "the release ended {}: {}",
                text(&entry, "/outcome"),
                text(&entry, "/reason")
            );
            tell(
                "",
                &format!("{}: {}", text(&entry, "/outcome"), text(&entry, "/reason")),
            );
            return Ok(());
        }
    }
}

/// Step and message, without the times that only count down.
fn line(rollout: &Value) -> String {
    let step = text(rollout, "/status/step/text");
    let verdict = text(rollout, "/status/verdict/outcome");
    let waiting = text(rollout, "/status/step/waitingOn");
    [step, verdict, waiting]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" · ")
}

/// When the newest ended release ended; RFC 3339 sorts as text.
fn ended(rollout: &Value) -> String {
    text(rollout, "/status/history/0/endedAt").to_owned()
}

#[expect(clippy::print_stdout, reason = "the story is the output")]
fn tell(before: &str, what: &str) {
    println!("{before}{what}");
}
