//! Git applies what it has every two seconds during a whole release: the Service as it was, the Deployment as it shall be. Three ways of
//! applying, three rows. It must neither bring traffic to pods not judged nor be stopped by us for longer than between two of our writes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fixture::{Crossfade, SOON, WEB, snapshot, split};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::audit::{reads, writes};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::user::{Said, User};
use crate::harness::watch::Seen;
use crate::load::Options;

const EVERY: Duration = Duration::from_secs(2);
/// A release of this plan writes about half as much when nobody disturbs it.
const WRITES: usize = 100;
/// Pin, widen, flip, give back, each with the patch that puts managedFields back; and as much again for what was disturbed.
const SERVICE_WRITES: usize = 16;

const BASE: Scenario = Scenario {
    name: "git-client-side",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context, How::ClientSide)),
};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    BASE,
    Scenario {
        name: "git-server-side",
        run: |context| Box::pin(run(context, How::ServerSide)),
        ..BASE
    },
    Scenario {
        name: "git-server-side-forced",
        run: |context| Box::pin(run(context, How::Forced)),
        ..BASE
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    ClientSide,
    ServerSide,
    Forced,
}

async fn apply(user: &User, how: How, object: &Value) -> anyhow::Result<Said> {
    match how {
        How::ClientSide => user.apply(object).await,
        How::ServerSide => user.apply_server_side(object, false).await,
        How::Forced => user.apply_server_side(object, true).await,
    }
}

/// One apply of one object.
#[derive(Debug)]
struct Applied {
    what: &'static str,
    from: Instant,
    to: Instant,
    said: Said,
}

/// Applies both until told to stop. The first round is the push.
async fn git(
    user: User,
    how: How,
    objects: [(&'static str, Value); 2],
    mut stop: watch::Receiver<bool>,
    done: watch::Sender<usize>,
) -> anyhow::Result<Vec<Applied>> {
    let mut applied = Vec::new();
    let mut rounds = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(applied),
        }
        for (what, object) in &objects {
            let from = Instant::now();
            let said = apply(&user, how, object).await?;
            applied.push(Applied {
                what,
                from,
                to: Instant::now(),
                said,
            });
        }
        done.send_modify(|rounds| *rounds += 1);
    }
}

async fn run(context: Arc<Context>, how: How) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let old = App::new(WEB, 4).canary();
    let new = old.clone().tag("v2");
    for object in [old.deployment(), old.service()] {
        apply(&context.user, how, &object).await?.must("applying")?;
    }
    context.until_available(WEB, 4).await?;
    context.until_endpoints(WEB, 4).await?;
    crossfade
        .until("it is held and at rest", SOON, |rollout| {
            (text(rollout, "/status/phase") == "Idle").then_some(())
        })
        .await?;
    crossfade.until_gated(WEB).await?;
    let before = context.get("services", WEB).await?;

    let mark = context.audit_mark()?;
    let load = context.load(WEB, Options::default()).await?;
    let split = split::Split::start(&context, WEB).await?;
    let (stop, stopped) = watch::channel(false);
    let objects = [("Service", old.service()), ("Deployment", new.deployment())];
    let (done, mut applied) = watch::channel(0);
    let rounds = tokio::spawn(git(context.user.clone(), how, objects, stopped, done));
    crossfade.until_promoted("v2").await?;
    // Applied at least once more after the end, as Git goes on: a round that was under way does not count.
    let seen = *applied.borrow();
    let again = applied.wait_for(|rounds| *rounds > seen + 1);
    tokio::time::timeout(SOON, again)
        .await
        .context("Git applies nothing any more")?
        .context("the task that applies has ended")?;
    let _ = stop.send(true);
    let applied = rounds.await??;
    let windows = split.windows(&load, WEB);
    let services = split.services();
    let outcome = context.finish_load(load).await?;

    split::check(&context, &outcome, &windows, "v2");
    check_refusals(&context, how, &applied, &services);
    let counts = crossfade.counts(&mark)?;
    let of_services = counts.get("patch services").copied().unwrap_or(0);
    context.check(
        "our writes are bounded",
        writes(&counts) <= WRITES && of_services <= SERVICE_WRITES,
        format!(
            "{} writes, {} reads: {counts:?}",
            writes(&counts),
            reads(&counts)
        ),
    );
    let after = context.get("services", WEB).await?;
    let found = snapshot::differences(&without_times(&before), &without_times(&after));
    context.check(
        "the Service is as before",
        found.is_empty(),
        found.join("; "),
    );
    crossfade.check_laws().await
}

/// Times in managedFields are of whoever applied last.
fn without_times(service: &Value) -> Value {
    let mut service = snapshot::service(service);
    for entry in service
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("time");
        }
    }
    service
}

/// The only refusal is a conflict while a Service is between two of our writes, and the next apply of the same object succeeds.
fn check_refusals(context: &Context, how: How, applied: &[Applied], services: &[Seen]) {
    let (mut conflicts, mut wrong) = (0, Vec::new());
    for (index, one) in applied.iter().enumerate() {
        if one.said.ok {
            continue;
        }
        let next = applied
            .iter()
            .skip(index + 1)
            .find(|other| other.what == one.what);
        let conflict = one.said.stderr.contains("conflict");
        let between = one.what == "Service" && between_two_writes(services, one);
        if how == How::ServerSide && conflict && between && next.is_some_and(|next| next.said.ok) {
            conflicts += 1;
        } else {
            wrong.push(format!(
                "{} (a conflict: {conflict}, between two writes of ours: {between}, the next succeeds: {:?}): {}",
                one.what,
                next.map(|next| next.said.ok),
                one.said.stderr.trim()
            ));
        }
    }
    context.check(
        "Git is refused only between two writes of ours",
        wrong.is_empty(),
        format!(
            "{} applies, {conflicts} conflicts {}",
            applied.len(),
            wrong.join("; ")
        ),
    );
}

/// Whether the Service had an entry of ours in managedFields at any time of the apply.
fn between_two_writes(services: &[Seen], one: &Applied) -> bool {
    services.iter().enumerate().any(|(index, seen)| {
        let until = services.get(index + 1).map(|next| next.at);
        let ours = seen
            .object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|entry| text(entry, "/manager").starts_with("crossfade"));
        // Our sight of a change may be later than the refusal it led to.
        let early = one.to + Duration::from_millis(250);
        ours && seen.at <= early && until.is_none_or(|until| until >= one.from)
    })
}
