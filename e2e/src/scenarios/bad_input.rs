//! What cannot be carried out: a condition and an event name field, value and mend, nothing is changed, and once it is mended everything goes
//! on by itself. What the schema can tell is refused before it is stored.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Crossfade, SOON, WEB, snapshot};
use crate::harness::api::{collection, condition, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "bad-input",
    control: false,
    pods: 8,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context)),
};

const STEPS: &str = "crossfade.dev/steps";

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    crossfade.deploy(&App::new(WEB, 2).canary()).await?;
    let load = context.load(WEB, Options::default()).await?;
    at_rest(&crossfade).await?;
    gated(&crossfade).await?;
    by_the_schema(&crossfade).await?;
    context.finish_load(load).await?;
    crossfade.check_laws().await
}

async fn annotate(crossfade: &Crossfade, annotation: &str) -> anyhow::Result<()> {
    let deployment = format!("deployment/{WEB}");
    crossfade
        .context
        .user
        .must(&["annotate", "--overwrite", &deployment, annotation])
        .await?;
    Ok(())
}

/// Waits until the Rollout says that all of these words are wrong, and checks that an event says so too.
async fn told(crossfade: &Crossfade, what: &str, words: &[&str]) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let has = |text: &str| words.iter().all(|word| text.contains(word));
    let said = crossfade
        .until(what, SOON, |rollout| {
            let message = stalled(rollout);
            has(&message).then_some(message)
        })
        .await?;
    context.check(&format!("{what}: the condition names it"), true, said);
    let events = context.watch("events").await?;
    let event = events
        .until(what, SOON, |events| {
            let mut notes = events.values().filter_map(|event| {
                let ours = text(event, "/regarding/name") == WEB
                    && text(event, "/regarding/kind") == "Rollout";
                ours.then(|| text(event, "/note").to_owned())
            });
            notes.find(|note| has(note))
        })
        .await;
    context.check(
        &format!("{what}: an event names it"),
        event.is_ok(),
        event.unwrap_or_else(|problem| format!("{problem:#}")),
    );
    Ok(())
}

/// The message of the condition Stalled, empty unless it is true.
fn stalled(rollout: &Value) -> String {
    if condition(rollout, "Stalled") != "True" {
        return String::new();
    }
    let conditions = rollout
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions
        .and_then(|all| all.iter().find(|one| text(one, "/type") == "Stalled"))
        .map(|one| text(one, "/message").to_owned())
        .unwrap_or_default()
}

/// A wrong annotation is told before anything is pushed, and is forgotten when it is mended.
async fn at_rest(crossfade: &Crossfade) -> anyhow::Result<()> {
    annotate(crossfade, &format!("{STEPS}=5%, 200%")).await?;
    told(
        crossfade,
        "a weight of 200%",
        &["entry 2 of crossfade.dev/steps", "\"200%\"", "write"],
    )
    .await?;
    annotate(crossfade, &format!("{STEPS}-")).await?;
    crossfade
        .until("it is mended", SOON, |rollout| {
            (condition(rollout, "Ready") == "True").then_some(())
        })
        .await
}

/// A source that is not carried out: a push stays gated, nothing of the user's changes, and the mend starts it.
async fn gated(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    annotate(crossfade, "crossfade.dev/analysis=prometheus").await?;
    let words = ["prometheus", "write pods or none"];
    told(crossfade, "analysis prometheus", &words).await?;
    let service = snapshot::service(&context.get("services", WEB).await?);
    crossfade.release("v2").await?;
    crossfade.until_held(SOON).await?;
    let (pods, _) = context
        .api
        .list(&collection(&context.namespace, "pods"))
        .await?;
    let started = pods
        .iter()
        .filter(|pod| text(pod, "/spec/containers/0/image") == image("v2"))
        .count();
    let same = snapshot::service(&context.get("services", WEB).await?) == service;
    let (others, _) = context
        .api
        .list(&collection(&context.namespace, "deployments"))
        .await?;
    context.check(
        "nothing is changed but the pushed template, which waits",
        started == 0 && same && others.len() == 1,
        format!(
            "{started} pods of it, {} Deployments, Service as before: {same}",
            others.len()
        ),
    );
    let explained = crossfade.cli(&["explain", WEB]).await?;
    context.check(
        "explain names value and mend",
        explained.code == 0 && words.iter().all(|word| explained.stdout.contains(word)),
        explained.words(),
    );
    annotate(crossfade, "crossfade.dev/analysis-").await?;
    crossfade.until_promoted("v2").await?;
    Ok(())
}

/// Never stored: kubectl says which field, which value and what is allowed.
async fn by_the_schema(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let policy = |spec: Value| json!({"apiVersion": "crossfade.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "broken"}, "spec": spec});
    let step = |step: Value| policy(json!({"strategy": {"canary": {"steps": [step]}}}));
    let cases = [
        ("a weight of 101", step(json!({"weight": 101})), "weight"),
        (
            "weight and approval in one step",
            step(json!({"weight": 5, "approval": {}})),
            "each entry of spec.strategy.canary.steps needs exactly one of",
        ),
        (
            "a stay that is no time",
            step(json!({"weight": 5, "for": "soon"})),
            "spec.strategy.canary.steps[0].for",
        ),
        (
            "an unknown source",
            policy(json!({"analysis": {"source": "guess"}})),
            "spec.analysis.source",
        ),
    ];
    for (what, object, field) in cases {
        let said = context.user.apply(&object).await?;
        context.check(
            &format!("{what} is refused"),
            !said.ok && said.stderr.contains(field),
            said.stderr.trim(),
        );
    }
    Ok(())
}
