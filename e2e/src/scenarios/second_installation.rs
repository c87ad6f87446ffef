//! Two installations that serve one namespace, as when one is to take another's place: whoever begins a release carries it out, the other says
//! so and leaves it alone, also while the first is away, and takes what is given to it or comes later. Two processes of one installation belong to `replicas`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::serving::until_answers;
use crate::fixture::{Crossfade, SOON, Settings, WEB, WHOLE};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::audit::{Mark, writes};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "second-installation",
    control: false,
    pods: 9,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let first = Crossfade::install(&context).await?;
    let settings = Settings {
        suffix: "-second",
        ..Settings::default()
    };
    let second = Crossfade::install_with(&context, settings).await?;
    first.deploy(&App::new(WEB, 4).canary()).await?;
    first.until_rest(SOON).await?;
    let load = context.load(WEB, Options::default()).await?;
    let rest = context.audit_mark()?;
    until_answers(&load, 800).await?;
    let written = writes_of(&first, &rest)? + writes_of(&second, &rest)?;
    context.check(
        "two installations at rest write nothing",
        written == 0,
        format!("{written} writes"),
    );

    let mark = context.audit_mark()?;
    first.release("v2").await?;
    let begun = first.until_step(0, "Observing", SOON).await?;
    let (mut holder, other) = by_holder(first, second, &begun);
    told(&context, &holder, &other).await?;
    // Its holder gone, the release waits for it: the other has not seen what it wrote last.
    holder.controller.kill().await?;
    let before = holder.rollout().await?;
    until_answers(&load, 800).await?;
    let after = holder.rollout().await?;
    context.check(
        "the other does not go on while the holder is away",
        text(&before, "/metadata/resourceVersion") == text(&after, "/metadata/resourceVersion"),
        text(&after, "/status/message").to_owned(),
    );
    holder.start().await?;
    holder.until_phase("Warm", WHOLE).await?;
    // Whoever came second to begin it was refused that one write.
    let written = writes_of(&other, &mark)?;
    holder.until_promoted("v2").await?;
    let by_others = others(&holder);
    context.check(
        "one installation carried the whole release out",
        written <= 1 && by_others.is_empty(),
        format!("{written} writes of the other; {}", by_others.join("; ")),
    );
    holder.until_rest(SOON).await?;

    let mut left = given_on(&context, holder, other).await?;
    left.until_gated(WEB).await?;
    left.release("v4").await?;
    left.until_promoted("v4").await?;
    context.finish_load(load).await?;
    left.check_laws().await?;
    left.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

/// One of the two ends for good in mid-release: its release is given to the other, and then it is taken away.
async fn given_on(context: &Context, one: Crossfade, two: Crossfade) -> anyhow::Result<Crossfade> {
    one.release("v3").await?;
    let begun = one.until_step(0, "Observing", SOON).await?;
    let (mut gone, left) = by_holder(one, two, &begun);
    gone.controller.kill().await?;
    gone.check_log();
    let patch = json!({"status": {"controller": left.installation.name}});
    let rollout = format!("rollout/{WEB}");
    let give = [
        "patch",
        &rollout,
        "--subresource=status",
        "--type=merge",
        "--patch",
    ];
    let patch = patch.to_string();
    context.user.must(&[&give[..], &[&patch]].concat()).await?;
    gone.uninstall(&[])
        .await?
        .must("crossfade uninstall of the one that is gone")?;
    let promoted = left.until_promoted("v3").await?;
    context.check(
        "the one that is left ends the release that was given to it",
        named(&promoted) == left.installation.name,
        named(&promoted).to_owned(),
    );
    Ok(left)
}

/// The two, the one that carries the release out first.
fn by_holder(one: Crossfade, other: Crossfade, rollout: &Value) -> (Crossfade, Crossfade) {
    if named(rollout) == one.installation.name {
        (one, other)
    } else {
        (other, one)
    }
}

fn named(rollout: &Value) -> &str {
    text(rollout, "/status/controller")
}

/// States of a release under way that name another installation.
fn others(crossfade: &Crossfade) -> Vec<String> {
    let states = crossfade.rollouts.history().into_iter().filter_map(|seen| {
        let phase = text(&seen.object, "/status/phase");
        let name = named(&seen.object);
        (!["", "Idle"].contains(&phase) && name != crossfade.installation.name)
            .then(|| format!("{phase}: {name}"))
    });
    states.collect()
}

/// Writes of an installation since a mark but for events, by which it says that it leaves the release alone.
fn writes_of(crossfade: &Crossfade, since: &Mark) -> anyhow::Result<usize> {
    let mut counts = crossfade.counts(since)?;
    counts.retain(|request, _| !request.ends_with(" events"));
    Ok(writes(&counts))
}

/// The user finds out from an event of the Rollout who holds it and what to mend.
async fn told(context: &Context, holder: &Crossfade, other: &Crossfade) -> anyhow::Result<()> {
    let events = context.watch("events").await?;
    let note = events
        .until(
            "the other says that it leaves the release alone",
            SOON,
            |events| {
                let mut held =
                    (events.values()).filter(|event| text(event, "/reason") == "HeldByAnother");
                held.next().map(|event| text(event, "/note").to_owned())
            },
        )
        .await?;
    context.check(
        "the other says who holds the release, and the mend",
        note.contains(&holder.installation.name)
            && note.contains(&other.installation.name)
            && note.contains("give each namespace to one installation"),
        note,
    );
    Ok(())
}
