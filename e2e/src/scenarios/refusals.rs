//! What cannot be released, side by side: a push of it waits gated with the reason, nothing else changes, and the mend that was named starts
//! it by itself. Beside them what passes without analysis, and what does not. What the schema refuses belongs to `bad_input`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::plan::merge;
use crate::fixture::serving::pods_of;
use crate::fixture::{Crossfade, Plan, SOON, WHOLE, snapshot};
use crate::harness::api::{collection, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "refusals",
    control: false,
    pods: 18,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

/// Another workload, whose pods the Service `shared` selects as well.
const NEIGHBOUR: &str = "neighbour";
/// An earlier native rollout of it cannot end.
const STUCK: &str = "stuck";
const BYPASSED: &str = "bypassed";
/// What Kruise Rollouts sets on a Deployment while it releases it.
const KRUISE: &str = "rollouts.kruise.io/in-progressing";
/// No such image can be pulled.
const NOWHERE: &str = "nowhere";

/// A Deployment and a Service before it that cannot be released as they are.
struct Refused {
    name: &'static str,
    deployment: Value,
    service: Value,
    /// Of the template, beside the image.
    pushed: Value,
    /// What the refusal names: what is wrong, and the mend.
    words: &'static [&'static str],
    mend: Mend,
}

enum Mend {
    Deployment(Value),
    Service(Value),
    /// The manifest without what was wrong, applied with the new image.
    Apply,
}

fn all() -> Vec<Refused> {
    let labelled =
        json!({"spec": {"template": {"metadata": {"labels": {"version": "v1", "tier": "front"}}}}});
    vec![
        Refused {
            name: "recreate",
            deployment: json!({"spec": {"strategy": {"type": "Recreate"}}}),
            service: Value::Null,
            pushed: Value::Null,
            words: &["Recreate", "set it to RollingUpdate"],
            mend: Mend::Deployment(json!({"spec": {"strategy": {"type": "RollingUpdate"}}})),
        },
        Refused {
            name: "shared",
            deployment: labelled.clone(),
            service: json!({"spec": {"selector": {"app": null, "tier": "front"}}}),
            pushed: Value::Null,
            words: &[
                "Service shared also selects pods of others (neighbour",
                "give the Service a selector",
            ],
            mend: Mend::Service(json!({"spec": {"selector": {"app": "shared", "tier": null}}})),
        },
        Refused {
            name: "versioned",
            deployment: labelled,
            service: json!({"spec": {"selector": {"version": "v1"}}}),
            pushed: json!({"metadata": {"labels": {"version": "v2"}}}),
            words: &[
                "Service versioned selects the pods that serve now but not those of the new template",
                "version=v1",
            ],
            mend: Mend::Service(json!({"spec": {"selector": {"version": null}}})),
        },
        Refused {
            name: "claimed",
            deployment: json!({"metadata": {"annotations": {KRUISE: "{\"rolloutName\":\"claimed\"}"}}}),
            service: Value::Null,
            pushed: Value::Null,
            words: &[
                "is claimed by Kruise Rollouts",
                "let only one tool release it",
            ],
            mend: Mend::Deployment(json!({"metadata": {"annotations": {KRUISE: null}}})),
        },
        Refused {
            name: "paused",
            deployment: json!({"spec": {"paused": true}}),
            service: Value::Null,
            pushed: Value::Null,
            words: &[
                "the manifest of the Deployment sets spec.paused",
                "remove the field",
            ],
            mend: Mend::Apply,
        },
    ]
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let plan = Plan::default().without_metrics();
    crossfade.plan(&plan).await?;
    let all = all();
    deploy(&crossfade, &all).await?;
    tokio::try_join!(
        async {
            for one in &all {
                refused(&crossfade, one).await?;
            }
            for one in &all {
                mended(&crossfade, one).await?;
            }
            anyhow::Ok(())
        },
        stuck(&crossfade),
        bypassed(&crossfade),
    )?;
    crossfade.check_laws().await
}

async fn deploy(crossfade: &Crossfade, all: &[Refused]) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let mut neighbour = App::new(NEIGHBOUR, 1).deployment();
    merge(
        &mut neighbour,
        &json!({"spec": {"template": {"metadata": {"labels": {"tier": "front"}}}}}),
    );
    context.user.apply(&neighbour).await?.must(NEIGHBOUR)?;
    for one in all {
        let app = App::new(one.name, 1).canary();
        let (mut deployment, mut service) = (app.deployment(), app.service());
        merge(&mut service, &one.service);
        // Its first pods are no matter of a release: a Deployment that is made paused would have none.
        let mut first = one.deployment.clone();
        merge(&mut first, &json!({"spec": {"paused": null}}));
        merge(&mut deployment, &first);
        for object in [&deployment, &service] {
            context.user.apply(object).await?.must(one.name)?;
        }
        context.until_available(one.name, 1).await?;
        merge(&mut deployment, &one.deployment);
        context.user.apply(&deployment).await?.must(one.name)?;
        held(crossfade, one.name).await?;
    }
    context.until_available(NEIGHBOUR, 1).await
}

/// The Rollout is there and nothing goes on.
async fn held(crossfade: &Crossfade, name: &str) -> anyhow::Result<()> {
    crossfade
        .until_of(name, "it is held and at rest", SOON, |rollout| {
            (text(rollout, "/status/phase") == "Idle").then_some(())
        })
        .await
}

/// The template of that version as a strategic patch of the Deployment.
fn template(tag: &str, more: &Value) -> Value {
    let mut template = json!({"spec": {"containers": [{"name": "app", "image": image(tag)}]}});
    merge(&mut template, more);
    json!({"spec": {"template": template}})
}

async fn push(crossfade: &Crossfade, name: &str, patch: &Value) -> anyhow::Result<String> {
    let deployment = format!("deployment/{name}");
    let said = (crossfade.context.user)
        .patch(&deployment, "strategic", patch)
        .await?
        .must(name)?;
    Ok(said.stderr)
}

/// Versions of the pods of a workload that are not in deletion.
async fn versions(crossfade: &Crossfade, name: &str, tag: &str) -> anyhow::Result<usize> {
    let pods = pods_of(&crossfade.context, tag).await?;
    Ok(pods
        .keys()
        .filter(|pod| pod.starts_with(&format!("{name}-")))
        .count())
}

async fn refused(crossfade: &Crossfade, one: &Refused) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let before = snapshot::service(&context.get("services", one.name).await?);
    push(crossfade, one.name, &template("v2", &one.pushed)).await?;
    let said = crossfade
        .until_of(one.name, "the push is refused", SOON, |rollout| {
            let said = text(rollout, "/status/message");
            one.words
                .iter()
                .all(|word| said.contains(word))
                .then(|| said.to_owned())
        })
        .await?;
    let same = snapshot::service(&context.get("services", one.name).await?) == before;
    let started = versions(crossfade, one.name, "v2").await?;
    let (others, _) = context
        .api
        .list(&format!(
            "{}?labelSelector=crossfade.dev/candidate",
            collection(&context.namespace, "deployments")
        ))
        .await?;
    let beside = others
        .iter()
        .filter(|other| text(other, "/metadata/name").starts_with(one.name))
        .count();
    context.check(
        &format!(
            "{}: it waits gated, says why and what to mend, and changes nothing",
            one.name
        ),
        same && started == 0 && beside == 0,
        said,
    );
    Ok(())
}

async fn mended(crossfade: &Crossfade, one: &Refused) -> anyhow::Result<()> {
    let user = &crossfade.context.user;
    match &one.mend {
        Mend::Deployment(patch) => push(crossfade, one.name, patch).await.map(drop)?,
        Mend::Service(patch) => {
            let service = format!("service/{}", one.name);
            user.patch(&service, "merge", patch).await?.must(one.name)?;
        }
        Mend::Apply => {
            let app = App::new(one.name, 1).tag("v2").canary();
            user.apply(&app.deployment()).await?.must(one.name)?;
        }
    }
    let ended = crossfade
        .until_ended_of(one.name, "v2", "promoted", WHOLE)
        .await;
    crossfade.context.check(
        &format!("{}: mended, it starts by itself and is promoted", one.name),
        ended.is_ok(),
        ended
            .err()
            .map_or_else(String::new, |problem| format!("{problem:#}")),
    );
    Ok(())
}

/// A rollout from before the opt-in that cannot end: a push is refused while it moves, and passes natively when it has stood still for a
/// minute, as nobody could compare with two templates at once.
async fn stuck(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let app = App::new(STUCK, 2);
    context.deploy(&app).await?;
    context
        .user
        .set_image(STUCK, &image(NOWHERE))
        .await?
        .must(STUCK)?;
    let two = "two ReplicaSets have pods";
    let sets = context.watch("replicasets").await?;
    sets.until(two, SOON, |sets| {
        let active = |set: &&Value| {
            text(set, "/metadata/name").starts_with(STUCK)
                && set.pointer("/status/replicas").and_then(Value::as_u64) > Some(0)
        };
        (sets.values().filter(active).count() == 2).then_some(())
    })
    .await?;
    context
        .user
        .apply(&app.clone().tag(NOWHERE).canary().deployment())
        .await?
        .must(STUCK)?;
    held(crossfade, STUCK).await?;
    let deployment = format!("deployment/{STUCK}");
    let refused = context
        .user
        .patch(&deployment, "strategic", &template("v2", &Value::Null))
        .await?;
    context.check(
        "stuck: a push beside a rollout that moves is refused",
        !refused.ok
            && refused
                .stderr
                .contains("try again when kubectl rollout status says it is done"),
        refused.stderr.trim().to_owned(),
    );
    // The same answer until it has stood still for a minute; each try is a write that changes nothing.
    let deadline = tokio::time::Instant::now() + SOON * 2;
    let passed = loop {
        let said = context
            .user
            .patch(&deployment, "strategic", &template("v2", &Value::Null))
            .await?;
        if said.ok || tokio::time::Instant::now() > deadline {
            break said;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    context.check(
        "stuck: after a minute without progress it passes, and says that",
        passed.ok && passed.stderr.contains("no progress for 60 s"),
        passed.stderr.trim().to_owned(),
    );
    context.until_available(STUCK, 2).await?;
    crossfade.until_gated(STUCK).await?;
    push(crossfade, STUCK, &template("v3", &Value::Null)).await?;
    crossfade
        .until_ended_of(STUCK, "v3", "promoted", WHOLE)
        .await?;
    Ok(())
}

/// A bypass lets the template pass that it came with, once; nobody unpauses a release by hand.
async fn bypassed(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    crossfade.deploy(&App::new(BYPASSED, 2).canary()).await?;
    let mut with_word = template("v2", &Value::Null);
    merge(
        &mut with_word,
        &json!({"metadata": {"annotations": {"crossfade.dev/bypass": "INC-1"}}}),
    );
    push(crossfade, BYPASSED, &with_word).await?;
    context.until_available(BYPASSED, 2).await?;
    let outcome = crossfade
        .until_of(BYPASSED, "the bypass is written down", SOON, |rollout| {
            rollout
                .pointer("/status/history/0/outcome")
                .and_then(Value::as_str)
                .map(str::to_owned)
        })
        .await?;
    let (old, new) = (
        versions(crossfade, BYPASSED, "v1").await?,
        versions(crossfade, BYPASSED, "v2").await?,
    );
    context.check(
        "bypassed: it goes out natively, without a release",
        (old, new) == (0, 2) && outcome == "bypassed",
        format!("{outcome}; {old} old pods, {new} new ones"),
    );
    // The annotation is still there.
    crossfade.until_gated(BYPASSED).await?;
    push(crossfade, BYPASSED, &template("v3", &Value::Null)).await?;
    crossfade
        .until_of(BYPASSED, "the next one is released", SOON, |rollout| {
            (text(rollout, "/status/step/state") == "Observing").then_some(())
        })
        .await?;
    let deployment = format!("deployment/{BYPASSED}");
    let said = context
        .user
        .kubectl(&["rollout", "resume", &deployment], None)
        .await?;
    let web = context.get("deployments", BYPASSED).await?;
    let paused = web.pointer("/spec/paused") == Some(&json!(true));
    context.check(
        "bypassed: the next one is released, and stays paused whoever resumes it",
        paused,
        format!("{} {}", said.stdout.trim(), said.stderr.trim()),
    );
    crossfade
        .until_ended_of(BYPASSED, "v3", "promoted", WHOLE)
        .await?;
    Ok(())
}
