//! The command line as people and pipelines use it: what it says, what it does, and its exit codes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::outputs;
use crate::fixture::plan::{approval, weight};
use crate::fixture::{Answer, Crossfade, Plan, SOON, WEB};
use crate::harness::api::text;
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "commands",
    control: false,
    pods: 6,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(50, "1s"), approval()])
        .warm("600s")
        .without_metrics();
    crossfade.plan(&plan).await?;
    crossfade.deploy(&App::new(WEB, 2)).await?;
    outputs::plans(&crossfade).await?;
    outputs::completions(&crossfade).await?;
    forward(&crossfade).await?;
    back(&crossfade).await?;
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

fn expect(crossfade: &Crossfade, what: &str, answer: &Answer, code: i32) {
    crossfade.context.check(
        &format!("{what}: exit code {code}"),
        answer.code == code,
        answer.words(),
    );
}

/// `run` waits for an approval, gets it, is paused and resumed in warm, and promotes.
async fn forward(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let none = crossfade.cli(&["promote", WEB]).await?;
    expect(crossfade, "promote without a release", &none, 1);
    let wrong = crossfade.cli(&["promote", WEB, "--sideways"]).await?;
    expect(crossfade, "an unknown option", &wrong, 2);

    let v2 = format!("app={}", image("v2"));
    let run = ["run", "deployment/web", "--image", &v2, "--wait"];
    let asked = crossfade.cli(&run).await?;
    expect(crossfade, "run --wait at an approval", &asked, 6);
    let shown = crossfade.cli(&["status", WEB, "-o", "json"]).await?;
    let status: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
    context.check(
        "status -o json says what it waits for",
        shown.code == 0 && text(&status, "/status/step/state") == "AwaitingApproval",
        format!("{} {}", text(&status, "/status/message"), shown.code),
    );
    outputs::formats(crossfade).await?;
    outputs::views(crossfade).await?;
    let list = crossfade.cli(&["list"]).await?;
    context.check(
        "list has the workload",
        list.code == 0 && list.stdout.contains(WEB) && list.stdout.contains("Progressing"),
        list.words(),
    );
    let explained = crossfade.cli(&["explain", WEB]).await?;
    context.check(
        "explain names the way on",
        explained.code == 0 && explained.stdout.contains("promote"),
        explained.words(),
    );

    // As docs/commands.md writes it, without the command line.
    let patch = r#"{"spec": {"control": {"id": "approve-42", "action": "promote", "candidate": null, "step": null, "full": null, "force": null, "revision": null, "reason": "looks good", "author": null}}}"#;
    let name = format!("rollout.crossfade.dev/{WEB}");
    context
        .user
        .must(&["patch", &name, "--type", "merge", "-p", patch])
        .await?;
    let warm = crossfade.until_step(2, "Observing", SOON).await?;
    context.check(
        "kubectl patch gives the approval",
        text(&warm, "/status/control/id") == "approve-42"
            && text(&warm, "/status/control/outcome") == "done",
        warm.pointer("/status/control")
            .map(Value::to_string)
            .unwrap_or_default(),
    );
    outputs::follows(crossfade).await?;
    let by = text(&warm, "/status/control/by");
    context.check(
        "who approved is recorded",
        !by.is_empty() && by != "unverified",
        by,
    );
    let paused = crossfade.cli(&["pause", WEB]).await?;
    expect(crossfade, "pause", &paused, 0);
    crossfade.until_step(2, "Paused", SOON).await?;
    let resumed = crossfade.cli(&["resume", WEB]).await?;
    expect(crossfade, "resume", &resumed, 0);
    crossfade.until_step(2, "Observing", SOON).await?;
    let again = crossfade.cli(&["resume", WEB]).await?;
    expect(crossfade, "resume what is not paused", &again, 1);
    let promoted = crossfade.cli(&["promote", WEB, "--wait"]).await?;
    expect(crossfade, "promote --wait to the end", &promoted, 0);
    crossfade.until_promoted("v2").await?;
    let history = crossfade.cli(&["history", WEB]).await?;
    context.check(
        "history names the release",
        history.code == 0 && history.stdout.contains("promoted"),
        history.words(),
    );
    Ok(())
}

/// What is rolled back, retried, aborted, superseded, not over in time.
async fn back(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let plan = Plan::steps(vec![weight(50, "600s")])
        .without_metrics()
        .more(&json!({"progressDeadline": "4s"}));
    crossfade.plan(&plan).await?;
    let missing = format!("app={}", image("cannot-be-pulled"));
    let run = ["run", "deployment/web", "--image", &missing, "--wait"];
    let rolled_back = crossfade.cli(&run).await?;
    expect(
        crossfade,
        "run --wait of what cannot start",
        &rolled_back,
        3,
    );
    let retried = crossfade.cli(&["retry", WEB]).await?;
    expect(crossfade, "retry", &retried, 0);
    crossfade
        .until("the rejected template is released again", SOON, |rollout| {
            ["Preparing", "Progressing", "RollingBack"]
                .contains(&text(rollout, "/status/phase"))
                .then_some(())
        })
        .await?;
    crossfade
        .until_ended("cannot-be-pulled", "rolled-back", SOON)
        .await?;
    // Whoever runs what is held means it.
    let taken_back = |rollout: &Value| {
        let history = rollout.pointer("/status/history").and_then(Value::as_array);
        let of_it = |entry: &&Value| text(entry, "/images/0") == image("cannot-be-pulled");
        history.map_or(0, |history| history.iter().filter(of_it).count())
    };
    let before = taken_back(&crossfade.rollout().await?);
    let again = crossfade.cli(&run).await?;
    expect(crossfade, "run --wait of what is held", &again, 3);
    let after = taken_back(&crossfade.rollout().await?);
    context.check(
        "run releases the held template again",
        after == before + 1,
        format!("taken back {before} times before, {after} times now"),
    );

    let plan = Plan::steps(vec![weight(50, "600s")]).without_metrics();
    crossfade.plan(&plan).await?;
    let v3 = format!("app={}", image("v3"));
    let impatient = crossfade
        .cli(&[
            "run",
            "deployment/web",
            "--image",
            &v3,
            "--wait",
            "--timeout",
            "1s",
        ])
        .await?;
    expect(crossfade, "run --wait with too little time", &impatient, 5);
    crossfade.until_step(0, "Observing", SOON).await?;
    // One waits for the release, another aborts it.
    let run = ["run", "deployment/web", "--image", &v3, "--wait"];
    let waiting = crossfade.cli_begun(&run, "Progressing").await?;
    let aborted = crossfade.cli(&["abort", WEB, "--wait"]).await?;
    let waited = waiting.end().await?;
    expect(crossfade, "run --wait of what is aborted", &waited, 4);
    expect(crossfade, "abort --wait", &aborted, 0);
    crossfade.until_ended("v3", "aborted", SOON).await?;
    let late = crossfade.cli(&["promote", WEB]).await?;
    expect(crossfade, "promote after the abort", &late, 1);

    let plan = Plan::steps(vec![weight(50, "0s")])
        .warm("1s")
        .without_metrics();
    crossfade.plan(&plan).await?;
    let v4 = format!("app={}", image("v4"));
    let whole = crossfade
        .cli(&["run", "deployment/web", "--image", &v4, "--wait"])
        .await?;
    expect(crossfade, "run --wait to the end", &whole, 0);
    crossfade.until_promoted("v4").await?;
    context.until_available(WEB, 2).await?;

    // The whole plan at once, on somebody's word.
    let plan = Plan::steps(vec![weight(50, "600s"), approval()])
        .warm("600s")
        .without_metrics();
    crossfade.plan(&plan).await?;
    crossfade.release("v5").await?;
    crossfade.until_step(0, "Observing", SOON).await?;
    let full = crossfade
        .cli(&["promote", WEB, "--full", "--reason", "it cannot wait"])
        .await?;
    expect(crossfade, "promote --full", &full, 0);
    let ended = crossfade.until_promoted("v5").await?;
    let said = ended
        .pointer("/status/history/0")
        .map(ToString::to_string)
        .unwrap_or_default();
    context.check(
        "promote --full is recorded with its reason",
        said.contains("it cannot wait"),
        said,
    );
    context.until_available(WEB, 2).await
}
