//! One pass over one workload: snapshot, observe, validate, plan, status, effects. On an abort the
//! effects come before the status. Everything that can be decided is decided by the planner.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossfade_api::{Action, ControlSpec, Phase};
use crossfade_engine::observed::Observed;
use crossfade_engine::{Decision, Memory};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::around::{behind_ingresses, departed, foreign};
use crate::compile::Names;
use crate::context::Context;
use crate::error::{Class, Failure, delay};
use crate::intake::{annotations, metrics_problem, policies, read, twin};
use crate::leftovers;
use crate::lock;
use crate::observe::read::{deleting, label, text};
use crate::observe::{self, Extras};
use crate::perform::{perform, write};
use crate::queue::Key;
use crate::release::{folded, keep_open, under_way};
use crate::snapshot::{self, Depth, Snapshot, Whose};
use crate::state::KeyState;
use crate::status::{self, Change};
use crate::watch::{deployment_of, store};
use crate::wire::{JSON, Link, WireRequest, path};

/// Numbers of the analysis are written at least this often while they change.
const QUIET: Duration = Duration::from_secs(60);
/// The attempt in a row whose failure is shown to users.
const LASTING: u32 = 2;
/// The soonest look after a refusal at what was decided beside it.
const REFUSED: Duration = Duration::from_secs(1);
/// Between two looks at a namespace that has not been listed.
const UNLISTED: Duration = Duration::from_secs(1);
/// Passes in a row that each ask for the next one at once: more than any healthy chain of effects.
const SPINS: u32 = 40;
/// Then one pass per this time.
const SPIN_WAIT: Duration = Duration::from_millis(500);

/// Runs one pass; returns when the next is due.
pub async fn pass(context: Arc<Context>, key: Key) -> Option<Instant> {
    let state = context.states.of(&key);
    let began = Instant::now();
    let result = attempt(&context, &key, &state).await;
    let seconds = began.elapsed().as_secs_f64();
    match result {
        Ok(Next::Now) => {
            state.attempts.store(0, Ordering::Relaxed);
            context.metrics.passed("acted", seconds);
            let spins = state.spins.fetch_add(1, Ordering::Relaxed);
            let wait = if spins >= SPINS {
                SPIN_WAIT
            } else {
                Duration::ZERO
            };
            if spins == SPINS {
                tracing::warn!(workload = %key, "{SPINS} passes in a row changed something; slowing down");
            }
            Some(Instant::now() + wait)
        }
        Ok(Next::At(at)) => {
            state.attempts.store(0, Ordering::Relaxed);
            context.metrics.passed("rested", seconds);
            // A time that has passed is no rest.
            if at.is_none_or(|at| at > Instant::now()) {
                state.spins.store(0, Ordering::Relaxed);
                return at;
            }
            let spins = state.spins.fetch_add(1, Ordering::Relaxed);
            at.map(|at| {
                if spins >= SPINS {
                    Instant::now() + SPIN_WAIT
                } else {
                    at
                }
            })
        }
        Ok(Next::Held(at)) => {
            context.metrics.passed("held", seconds);
            Some(at.max(Instant::now() + REFUSED))
        }
        Err(failure) => {
            let attempt = state.attempts.fetch_add(1, Ordering::Relaxed);
            context.metrics.passed(failure.class.as_str(), seconds);
            if matches!(
                failure.class,
                Class::Conflict | Class::NotFound | Class::Invalid
            ) {
                state.read_live.store(true, Ordering::Relaxed);
            }
            let wait = delay(failure.class, attempt, &key.name);
            if attempt == LASTING {
                say_what_fails(&context, &key, &state, &failure).await;
            }
            if failure.class == Class::Conflict && attempt < 3 {
                tracing::debug!(workload = %key, %failure, ?wait, "again");
            } else {
                tracing::warn!(workload = %key, %failure, attempt, ?wait, "a pass failed");
            }
            let now = Instant::now();
            let due = lock(&state.due).take().map(|due| due.max(now + REFUSED));
            Some(due.map_or(now + wait, |due| due.min(now + wait)))
        }
    }
}

/// What fails again and again is shown to whoever looks at the Rollout: a read, too, without which nothing is decided.
async fn say_what_fails(
    context: &Arc<Context>,
    key: &Key,
    state: &Arc<KeyState>,
    failure: &Failure,
) {
    let Some(rollout) = context.always.rollouts.get(&key.namespace, &key.name) else {
        return;
    };
    let text = failure.to_string();
    context.events.tell(&rollout, true, "Failing", &text);
    show_refusal(context, key, state, failure).await;
}

enum Next {
    /// Something was done: what it led to may already be visible.
    Now,
    At(Option<Instant>),
    /// What is to be done was refused a moment ago.
    Held(Instant),
}

async fn attempt(
    context: &Arc<Context>,
    key: &Key,
    state: &Arc<KeyState>,
) -> Result<Next, Failure> {
    let listed = context.always.synced_in(&key.namespace);
    let unlisted = || Ok(Next::At(Some(Instant::now() + UNLISTED)));
    if key.name.is_empty() {
        return give_leftovers_back(context, key, state).await;
    }
    let Some(rollout) = context.always.rollouts.get(&key.namespace, &key.name) else {
        state.close_release();
        return if listed {
            adopt(context, key, state).await
        } else {
            unlisted()
        };
    };
    if let Some(holder) = observe::claimed(&rollout, &context.settings.installation) {
        // Two that act on one release undo each other's writes without end.
        let text = format!(
            "{holder} carries this release out; this one, {}, serves the namespace too and leaves it alone: at rest, give each namespace to one installation",
            context.settings.installation
        );
        context.events.tell(&rollout, true, "HeldByAnother", &text);
        tracing::warn!(workload = %key, "{text}");
        state.close_release();
        return Ok(Next::At(None));
    }
    if let Some(twin) = twin(context, key, deployment_of(&rollout)) {
        let text = format!(
            "Rollout {twin} is for the Deployment {} too and was there first; this one does nothing: delete one of them",
            deployment_of(&rollout)
        );
        context.events.tell(&rollout, true, "TwoRollouts", &text);
        tracing::warn!(workload = %key, "{text}");
        state.close_release();
        return Ok(Next::At(None));
    }
    let (spec, memory, problem) = match read(&rollout) {
        Ok((spec, memory, None)) => (spec, memory, None),
        // What is under way keeps its plan, and must hear an abort; nothing else starts.
        Ok((spec, memory, Some(why))) if under_way(&memory) => {
            context.events.tell(&rollout, true, "Unreadable", &why);
            (spec, memory, Some(why))
        }
        Ok((_, _, Some(why))) => return unreadable(context, state, &rollout, &why).await,
        Err(why) => return unreadable(context, state, &rollout, &why).await,
    };
    if !listed && !under_way(&memory) {
        // Without its policies a release would begin by another plan; one under way keeps its own.
        let text = "not all that says how it is released could be listed in this namespace; see the controller's /readyz and log";
        context.events.tell(&rollout, true, "NotListed", text);
        return unlisted();
    }
    // Before the look: what it shows must be fresh.
    let behind_ingresses = behind_ingresses(context, key, state, &rollout, &memory).await;
    let snapshot = look(context, key, state, &rollout, &memory).await?;
    let mut extras = Extras {
        installation: context.settings.installation.clone(),
        foreign: foreign(context, key, state, &snapshot).await?,
        departed: departed(context, key, &snapshot, &memory).await?,
        behind_ingresses,
        fresh_candidate: context.ports.ids.candidate(),
        ..Extras::default()
    };
    let folded = folded(&memory);
    if let Some(feed) = lock(&state.feed).as_ref() {
        let (ticks, view) = feed.offer(folded);
        (extras.ticks, extras.feed) = (ticks, Some(view));
    }
    // Last, so that the time of the reads above does not count.
    if !under_way(&memory) {
        state.set_clock();
    }
    let now = state.now(&*context.ports.clock);
    extras.fenced_until = state.fenced_until(now);
    let seen = observe::observe(&rollout, &spec, &memory, &snapshot, extras);
    let annotations = annotations(snapshot.workload.as_deref());
    let mut validated =
        context
            .ports
            .planner
            .validate(&spec, &annotations, &policies(context, &key.namespace));
    validated.problems.extend(problem);
    let unreadable = metrics_problem(&validated, snapshot.workload.as_deref());
    validated.problems.extend(unreadable);
    let decision = context.ports.planner.step(&validated, &seen, &memory, now);
    if decision.memory.handled != memory.handled {
        state.forget_refusal();
    }
    carry_out(context, key, state, &rollout, &snapshot, &seen, decision).await
}

/// Writes down what was decided, does it, tells it, and says when to look again.
async fn carry_out(
    context: &Arc<Context>,
    key: &Key,
    state: &Arc<KeyState>,
    rollout: &Value,
    snapshot: &Snapshot,
    seen: &Observed,
    mut decision: Decision,
) -> Result<Next, Failure> {
    let now = state.now(&*context.ports.clock);
    // The planner has just decided; only writes of this pass make it old.
    let observed = Instant::now();
    let names = Names {
        namespace: key.namespace.clone(),
        workload: seen.workload.as_ref().map_or_else(
            || deployment_of(rollout).to_owned(),
            |workload| workload.name.clone(),
        ),
        workload_uid: seen.workload.as_ref().map_or_else(
            || decision.memory.workload_uid.clone(),
            |workload| workload.uid.clone(),
        ),
        rollout: key.name.clone(),
        rollout_uid: text(rollout, "/metadata/uid").to_owned(),
        installation: context.settings.installation.clone(),
    };
    let mut after = status::build(
        std::mem::take(&mut decision.report.status),
        &decision.memory,
        rollout,
        &context.settings,
        now,
    )
    .map_err(|error| Failure::bug("write the status", error.to_string()))?;
    // It stands there until it is tried again.
    if let Some((_, why)) = (decision.effects.iter()).find_map(|effect| state.held_back(effect)) {
        status::refused(&mut after, &why);
    }
    let change = status::change(rollout.get("status").unwrap_or(&Value::Null), &after);
    let quiet_due = lock(&state.written_at).map_or_else(Instant::now, |at| at + QUIET);
    let due = match change {
        Change::None => false,
        Change::Quiet => quiet_due <= Instant::now(),
        Change::Loud => true,
    };
    // A Rollout being deleted still gets its effects, and its status as long as it is there.
    let (first, last) = match (due, decision.effects_first) {
        (false, _) => (None, None),
        (true, false) => (Some(after), None),
        (true, true) => (None, Some(after)),
    };
    if let Some(after) = first {
        write_status(context, state, rollout, after).await?;
    }
    if decision.read_live {
        state.read_live.store(true, Ordering::Relaxed);
    }
    let performed = perform(context, state, &names, &decision.effects, observed).await;
    if let Some(after) = last {
        write_status(context, state, rollout, after).await?;
    }
    for event in &decision.report.events {
        context
            .events
            .tell(rollout, event.warning, &event.reason, &event.message);
        tracing::info!(workload = %key, reason = %event.reason, "{}", event.message);
    }
    keep_open(context, key, state, &decision.memory, snapshot, seen);
    let planned = decision
        .wake_at
        .map(|at| Instant::now() + Duration::try_from(at.duration_since(now)).unwrap_or_default());
    if let Some(failure) = performed.refused {
        // A conflict is tried again on newer sight.
        if failure.class != Class::Conflict {
            context
                .events
                .tell(rollout, true, "Refused", &failure.to_string());
        }
        if matches!(
            failure.class,
            Class::Forbidden | Class::Invalid | Class::Bug
        ) {
            show_refusal(context, key, state, &failure).await;
        }
        *lock(&state.due) = planned;
        return Err(failure);
    }
    // At rest a pass reads live: it is not repeated for the sake of words in the status.
    let before = rollout
        .pointer("/status/memory/phase")
        .and_then(Value::as_str)
        .unwrap_or("Idle");
    let on_the_move = under_way(&decision.memory) || before != decision.memory.phase.as_str();
    if performed.done > 0 || performed.stale || (change == Change::Loud && on_the_move) {
        return Ok(Next::Now);
    }
    if let Some(until) = performed.held {
        return Ok(Next::Held(planned.map_or(until, |at| at.min(until))));
    }
    let quiet = (change == Change::Quiet && !due).then_some(quiet_due);
    Ok(Next::At(planned.into_iter().chain(quiet).min()))
}

/// Puts what holds a release up into its status, for whoever looks there: a write that was refused for
/// good reasons is refused again. The next other change of the status takes it out.
async fn show_refusal(context: &Arc<Context>, key: &Key, state: &Arc<KeyState>, failure: &Failure) {
    // As our own write of this pass left it.
    let Some(rollout) = context.always.rollouts.get(&key.namespace, &key.name) else {
        return;
    };
    let Some(mut status) = rollout.get("status").cloned() else {
        return;
    };
    if status::refused(&mut status, &failure.to_string())
        && let Err(failure) = write_status(context, state, &rollout, status).await
    {
        tracing::debug!(workload = %key, %failure, "the refusal is not in the status");
    }
}

/// Says so, and leaves it alone until it is mended.
async fn unreadable(
    context: &Arc<Context>,
    state: &Arc<KeyState>,
    rollout: &Value,
    why: &str,
) -> Result<Next, Failure> {
    context.events.tell(rollout, true, "Unreadable", why);
    let after = status::unreadable(rollout, why, context.ports.clock.now());
    if status::change(rollout.get("status").unwrap_or(&Value::Null), &after) != Change::None {
        write_status(context, state, rollout, after).await?;
    }
    Ok(Next::At(None))
}

fn depth(memory: &Memory, control: Option<&ControlSpec>) -> Depth {
    // An undo at rest chooses among the revisions.
    let undo = control.is_some_and(|control| control.action == Action::Undo)
        && control != memory.handled.as_ref();
    let settled = memory.phase == Phase::Idle
        && memory.release.is_none()
        && memory.refused.is_none()
        && memory.undo.is_none()
        && !undo
        && memory.originals.is_empty()
        && !memory.workload_uid.is_empty();
    if under_way(memory) {
        Depth::Everything
    } else if settled {
        Depth::Marks
    } else {
        Depth::Objects
    }
}

/// The snapshot: from the release's watches if they stand, else live.
async fn look(
    context: &Arc<Context>,
    key: &Key,
    state: &Arc<KeyState>,
    rollout: &Value,
    memory: &Memory,
) -> Result<Snapshot, Failure> {
    let live = state.read_live.swap(false, Ordering::Relaxed);
    let watches = lock(&state.watches).clone();
    if let Some(watches) = watches
        && !live
        && watches.usable()
    {
        return Ok(watches.snapshot());
    }
    let control = rollout
        .pointer("/spec/control")
        .and_then(|control| ControlSpec::deserialize(control).ok());
    let whose = Whose {
        namespace: &key.namespace,
        deployment: deployment_of(rollout),
        remembered_uid: &memory.workload_uid,
        depth: depth(memory, control.as_ref()),
    };
    let snapshot = snapshot::live(&context.wire, &whose).await;
    if snapshot.is_err() && live {
        state.read_live.store(true, Ordering::Relaxed);
    }
    snapshot
}

/// Nobody is left who remembers: what the namespace's Services still carry is given back.
async fn give_leftovers_back(
    context: &Arc<Context>,
    key: &Key,
    state: &Arc<KeyState>,
) -> Result<Next, Failure> {
    if leftovers::give_back(context, state, &key.namespace).await? {
        return Ok(Next::Now);
    }
    context.states.forget(key);
    Ok(Next::At(None))
}

async fn write_status(
    context: &Arc<Context>,
    state: &Arc<KeyState>,
    rollout: &Value,
    status: Value,
) -> Result<(), Failure> {
    // All but the status that stands there.
    let mut object: Map<String, Value> = rollout
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "status")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    object.insert("apiVersion".to_owned(), json!("crossfade.dev/v1alpha1"));
    object.insert("kind".to_owned(), json!("Rollout"));
    object.insert("status".to_owned(), status);
    let (namespace, name) = store::place(rollout);
    // A whole PUT with the resourceVersion the pass began with: a command or spec written since then
    // refuses it, so that nothing is latched on an older word.
    let request = WireRequest {
        method: Method::PUT,
        path: format!(
            "{}/status?fieldManager={}",
            path::rollouts(&namespace, &name),
            crossfade_api::FIELD_MANAGER
        ),
        content_type: JSON,
        body: Some(Value::Object(object)),
        purpose: "write the status",
        link: Link::None,
    };
    write(context, state, "Rollout", request).await?;
    *lock(&state.written_at) = Some(Instant::now());
    context.metrics.status_write();
    Ok(())
}

/// A Deployment that is opted in and has no Rollout gets one.
async fn adopt(context: &Arc<Context>, key: &Key, state: &Arc<KeyState>) -> Result<Next, Failure> {
    if context
        .always
        .workloads
        .get(&key.namespace, &key.name)
        .is_none()
    {
        return give_leftovers_back(context, key, state).await;
    }
    // Read live: a Rollout owned by a Deployment that is gone would be collected at once.
    let Some(workload) = context
        .wire
        .get(
            &path::deployments(&key.namespace, &key.name),
            "read the workload",
        )
        .await?
    else {
        return Ok(Next::At(None));
    };
    if !label(&workload, crossfade_api::annotations::ROLLOUT_UID).is_empty() {
        return Ok(Next::At(None));
    }
    if deleting(&workload) {
        return give_leftovers_back(context, key, state).await;
    }
    if let Some(other) = twin(context, key, &key.name) {
        tracing::debug!(workload = %key, %other, "it has a Rollout of another name");
        return Ok(Next::At(None));
    }
    let request = WireRequest {
        method: Method::POST,
        path: format!(
            "{}?fieldManager={}",
            path::rollouts(&key.namespace, ""),
            crossfade_api::FIELD_MANAGER
        ),
        content_type: JSON,
        body: Some(json!({
            "apiVersion": "crossfade.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "ownerReferences": [{
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": key.name,
                    "uid": text(&workload, "/metadata/uid"),
                    "controller": false,
                    "blockOwnerDeletion": false,
                }],
            },
            "spec": { "deployment": key.name },
        })),
        purpose: "create a Rollout",
        link: Link::None,
    };
    match write(context, state, "Rollout", request).await {
        Ok(_) => Ok(Next::Now),
        // A user was faster; the watch will show it.
        Err(failure) if failure.already_exists => Ok(Next::At(None)),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
