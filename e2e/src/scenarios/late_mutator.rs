//! A mutating webhook of somebody else, called after ours, that changes the image. In a write that should change no template and in our
//! unpause the backstop refuses; in a push the changed template is stored paused, and what is stored is what is judged and serves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Crossfade, SOON, WEB, serving::pods_of, serving::serving_uids};
use crate::harness::api::{collection, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::webhook::Webhook;
use crate::load::Options;

const IMAGE: &str = "/spec/template/spec/containers/0/image";

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "late-mutator",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context)),
};

fn object<'a>(asked: &'a Value, key: &str, pointer: &str) -> &'a str {
    asked.get(key).map_or("", |object| text(object, pointer))
}

fn paused(asked: &Value, key: &str) -> bool {
    asked
        .pointer(&format!("/{key}/spec/paused"))
        .and_then(Value::as_bool)
        == Some(true)
}

fn to(tag: &str) -> Option<Vec<Value>> {
    Some(vec![
        json!({"op": "replace", "path": IMAGE, "value": image(tag)}),
    ])
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    crossfade.deploy(&App::new(WEB, 4).canary()).await?;
    let webhook = Webhook::start(&context, &format!("zzz-{}", context.namespace)).await?;
    let load = context.load(WEB, Options::default()).await?;

    // (a) A label, and the webhook makes a new version of it.
    webhook.set(|asked| {
        let label = "/metadata/labels/e2e-tried";
        (object(asked, "object", label) != object(asked, "oldObject", label))
            .then(|| to("v5"))
            .flatten()
    });
    let mut said = label(&context, "0").await?;
    // The API server asks a new webhook a moment after it was made; until then it is the user's own write that passes.
    for round in 1..50 {
        if !said.ok {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        said = label(&context, &round.to_string()).await?;
    }
    context.check(
        "(a) in a label-only write: refused by the backstop",
        !said.ok && said.stderr.contains("backstop.crossfade.dev"),
        said.stderr.trim(),
    );
    let stored = context.get("deployments", WEB).await?;
    context.check(
        "(a) nothing is stored",
        text(&stored, IMAGE) == image("v1") && stored.pointer("/spec/paused").is_none(),
        text(&stored, IMAGE),
    );

    // (c) A push of v2 becomes one of v3.
    let pushed = image("v2");
    webhook.set(move |asked| {
        (object(asked, "object", IMAGE) == pushed)
            .then(|| to("v3"))
            .flatten()
    });
    crossfade.release("v2").await?;
    let stored = context.get("deployments", WEB).await?;
    context.check(
        "(c) in a push: stored as changed, and paused",
        text(&stored, IMAGE) == image("v3")
            && stored.pointer("/spec/paused").and_then(Value::as_bool) == Some(true),
        format!(
            "{} {:?}",
            text(&stored, IMAGE),
            stored.pointer("/spec/paused")
        ),
    );
    crossfade.until_step(1, "Observing", SOON).await?;

    // (b) Our unpause, and the webhook makes yet another version of it.
    let us = crossfade.user();
    webhook.set(move |asked| {
        let unpauses = paused(asked, "oldObject") && !paused(asked, "object");
        (object(asked, "userInfo", "/username") == us && unpauses)
            .then(|| to("v4"))
            .flatten()
    });
    crossfade.until_phase("HandingOver", SOON).await?;
    let judged = pods_of(&context, "v3").await?;
    let shown = crossfade
        .until("it says why it cannot unpause", SOON, |rollout| {
            let said = text(rollout, "/status/message");
            said.contains("backstop.crossfade.dev")
                .then(|| said.to_owned())
        })
        .await;
    let told = events(&context).await?;
    context.check(
        "(b) in our unpause: refused by the backstop, and the Rollout shows it",
        shown.is_ok() && told.iter().any(|event| event.contains("backstop")),
        shown.unwrap_or_else(|problem| format!("{problem:#}; events: {}", told.join("; "))),
    );
    let stays = context.get("deployments", WEB).await?;
    context.check(
        "(b) it stays paused on what was judged",
        stays.pointer("/spec/paused").and_then(Value::as_bool) == Some(true)
            && text(&stays, IMAGE) == image("v3"),
        format!(
            "{} after {} tries",
            text(&stays, IMAGE),
            webhook.changed().len()
        ),
    );
    webhook.remove(&context).await?;
    crossfade.until_promoted("v3").await?;
    let serving = serving_uids(&context, WEB).await?;
    let judged: std::collections::BTreeSet<String> = judged.into_values().collect();
    context.check(
        "the pods that were judged serve, on the stored image",
        serving == judged && serving.len() == 4,
        format!("{serving:?} | {judged:?}"),
    );
    let outcome = context.finish_load(load).await?;
    let strangers: Vec<&str> = ["v2", "v4", "v5"]
        .into_iter()
        .filter(|tag| outcome.seen(tag, None).is_some())
        .collect();
    context.check(
        "no other version answered",
        strangers.is_empty(),
        strangers.join(", "),
    );
    crossfade.check_laws().await
}

async fn label(context: &Context, value: &str) -> anyhow::Result<crate::harness::user::Said> {
    context
        .user
        .kubectl(
            &[
                "label",
                "--overwrite",
                &format!("deployment/{WEB}"),
                &format!("e2e-tried={value}"),
            ],
            None,
        )
        .await
}

/// What was told about the Rollout.
async fn events(context: &Context) -> anyhow::Result<Vec<String>> {
    let (events, _) = context
        .api
        .list(&collection(&context.namespace, "events"))
        .await?;
    Ok(events
        .iter()
        .filter(|event| text(event, "/regarding/kind") == "Rollout")
        .map(|event| text(event, "/note").to_owned())
        .collect())
}
