//! `crossfade undo` in warm, at rest after a promotion, and the apply of the user's own manifest after it: no request is lost, stable's pods
//! stay in the first, the short plan brings the earlier version back in the second.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::fixture::plan::weight;
use crate::fixture::serving::{pods_of, until_answers};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::{Kind, Options};

const REPLICAS: u32 = 3;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "undo",
    control: false,
    pods: 9,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    crossfade
        .plan(&Plan::steps(vec![weight(50, "0s")]).warm("600s"))
        .await?;
    let app = App::new(WEB, REPLICAS).canary();
    crossfade.deploy(&app).await?;
    let stable = pods_of(&context, "v1").await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;

    crossfade.release("v2").await?;
    crossfade.until_step(1, "Observing", WHOLE).await?;
    let mark = context.audit_mark()?;
    let (asked, asked_at) = (load.at(Instant::now()), Timestamp::now());
    let undone = crossfade.cli(&["undo", WEB, "--wait"]).await?;
    let over = load.now();
    let writes = mark.writes(&crossfade.user())?;
    context.check("undo in warm", undone.code == 0, undone.words());
    let now = pods_of(&context, "v1").await?;
    context.check(
        "stable's pods are untouched",
        now == stable,
        format!("{stable:?} | {now:?}"),
    );
    let web = context.get("deployments", WEB).await?;
    context.check(
        "the Deployment has its template again, unpaused",
        text(&web, "/spec/template/spec/containers/0/image").ends_with(":v1")
            && web.pointer("/spec/paused").is_none(),
        text(&web, "/spec/template/spec/containers/0/image").to_owned(),
    );
    until_answers(&load, 100).await?;

    crossfade
        .plan(&Plan::steps(vec![weight(50, "0s")]).warm("1s"))
        .await?;
    // Another version: the one that was undone would be one more release of it, and counted above.
    crossfade.release("v3").await?;
    crossfade.until_ended("v3", "promoted", WHOLE).await?;
    let undone = crossfade
        .cli(&[
            "undo",
            WEB,
            "--to",
            "1",
            "--wait",
            "--reason",
            "it was better",
        ])
        .await?;
    let rollout = crossfade.rollout().await?;
    context.check(
        "undo to a revision, by the short plan",
        undone.code == 0 && text(&rollout, "/status/history/0/outcome") == "promoted",
        undone.words(),
    );
    context.until_available(WEB, REPLICAS).await?;
    // What stands in Git is applied again: no conflict, and nothing changes.
    let before = context.get("deployments", WEB).await?;
    let applied = context.user.apply(&app.deployment()).await?;
    context.check(
        "the user's manifest applies without a conflict",
        applied.ok,
        applied.stderr.clone(),
    );
    let after = context.get("deployments", WEB).await?;
    context.check(
        "and changes no template",
        before.pointer("/spec/template") == after.pointer("/spec/template"),
        "",
    );
    crossfade.until_phase("Idle", SOON).await?;
    until_answers(&load, 100).await?;
    let outcome = context.finish_load(load).await?;
    let last = outcome
        .seen("v2", Some(Kind::New))
        .map_or(Duration::ZERO, |(_, last)| last);
    // Under a second with nothing beside it. It is said and not held to a limit: kube-proxy writes its rules once a second when the rows
    // beside this one have just made it write them, and that second is not Crossfade's. What is Crossfade's, is that nothing is before it.
    let own = ["rollouts", "rollouts/status", "events", "leases"];
    let first = writes.iter().find(|write| {
        !own.iter()
            .any(|own| write.key.ends_with(&format!(" {own}")))
    });
    context.check(
        "of all that an undo in warm writes, the Service comes first",
        first.is_some_and(|write| write.key.ends_with(" services") && write.name == WEB),
        format!("{first:?}"),
    );
    context.check(
        "the new version answers no new connection after the end of the undo",
        last < over,
        format!("{last:?} of {over:?}"),
    );
    if let Some(first) = first {
        context.say(&format!(
            "the Service was written {:.3} s after the undo was asked for, the last answer of the new version on a new connection came \
             {:.3} s after it",
            first.received.duration_since(asked_at).as_secs_f64(),
            last.as_secs_f64() - asked.as_secs_f64(),
        ));
    }
    crossfade.check_laws().await
}
