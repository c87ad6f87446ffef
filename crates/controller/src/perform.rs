//! Carries effects out, in order, and stops at the first refusal, but for splits to stable: those are tried
//! all the same, and over every Service. A write that was sent is never cancelled: it runs on in a task of its own,
//! takes its answer in, and counts as one that may still land until it is answered.

use std::sync::Arc;
use std::time::Duration;

use crossfade_api::FIELD_MANAGER;
use crossfade_engine::Effect;
use crossfade_engine::effect::SplitTo;
use crossfade_traffic_switching::managed_fields;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::compile::{Names, compile, kind_of};
use crate::context::Context;
use crate::error::{Class, Failure};
use crate::lock;
use crate::state::KeyState;
use crate::watch::store;
use crate::wire::{Link, WireRequest};

/// What was observed longer ago than this is looked at again before more is done: an API that answers
/// slowly must not make a decision about capacity land long after it was taken.
const FRESH: Duration = Duration::from_secs(1);

/// What came of a pass's effects.
#[derive(Debug, Default)]
pub struct Performed {
    /// Requests that were answered as wanted.
    pub done: usize,
    /// The first refusal.
    pub refused: Option<Failure>,
    /// The rest was put off, for it rests on what was observed too long ago.
    pub stale: bool,
    /// The rest waits until then, for its first was refused a moment ago.
    pub held: Option<Instant>,
}

/// Carries effects out.
pub async fn perform(
    context: &Arc<Context>,
    state: &Arc<KeyState>,
    names: &Names,
    effects: &[Effect],
    observed: Instant,
) -> Performed {
    let mut performed = Performed::default();
    for effect in effects {
        let to_stable = matches!(
            effect,
            Effect::Split {
                to: SplitTo::Stable { .. },
                ..
            }
        );
        // Whatever else is refused or has to wait, traffic goes to stable.
        let stopped = performed.refused.is_some() || performed.held.is_some() || performed.stale;
        if stopped && !to_stable {
            continue;
        }
        if observed.elapsed() > FRESH && !to_stable {
            tracing::info!(workload = %names.workload, effect = effect.name(), "not yet: what it rests on is observed again first");
            performed.stale = true;
            continue;
        }
        if let Some((until, _)) = state.held_back(effect) {
            performed.held = Some(until);
            continue;
        }
        let mut previous: Option<Value> = None;
        let mut refused = None;
        for request in compile(effect, names) {
            let Some(request) = follow(request, previous.as_ref()) else {
                continue;
            };
            let follows = matches!(request.link, Link::AfterPrevious | Link::Disown);
            match write(context, state, kind_of(effect), request).await {
                Ok(answer) => {
                    performed.done += 1;
                    previous = Some(answer);
                }
                Err(failure) if follows => {
                    // Somebody wrote in between: what stands there now is looked at by the next pass.
                    tracing::info!(workload = %names.workload, %failure, "managedFields were not put back");
                    state
                        .read_live
                        .store(true, std::sync::atomic::Ordering::Relaxed);
                    previous = None;
                }
                Err(failure) => {
                    tracing::info!(workload = %names.workload, effect = effect.name(), %failure, "refused");
                    previous = None;
                    refused.get_or_insert(failure);
                    if !to_stable {
                        break;
                    }
                }
            }
        }
        if let Some(failure) = refused {
            let again = matches!(failure.class, Class::Forbidden | Class::Invalid);
            if again && effect.may_wait() {
                state.refused(effect, failure.class, failure.to_string(), &names.workload);
            }
            performed.refused.get_or_insert(failure);
            continue;
        }
        context.metrics.effect(effect.name());
        tracing::info!(namespace = %names.namespace, workload = %names.workload, effect = effect.name(), "carried out");
    }
    performed
}

/// Fills in the resourceVersion a following request waits for; `None`: there is nothing to follow.
fn follow(mut request: WireRequest, previous: Option<&Value>) -> Option<WireRequest> {
    if matches!(request.link, Link::AfterPrevious | Link::Disown) {
        let version = previous?.pointer("/metadata/resourceVersion")?.clone();
        *request.body.as_mut()?.pointer_mut("/0/value")? = version;
    }
    if request.link == Link::Disown {
        let (others, _) = managed_fields::of_others(previous?, FIELD_MANAGER);
        *request.body.as_mut()?.pointer_mut("/1/value")? = others;
    }
    Some(request)
}

/// Sends one write in a task of its own and takes its answer in.
///
/// # Errors
/// By class.
pub async fn write(
    context: &Arc<Context>,
    state: &Arc<KeyState>,
    kind: &'static str,
    request: WireRequest,
) -> Result<Value, Failure> {
    let purpose = request.purpose;
    let (context, state) = (Arc::clone(context), Arc::clone(state));
    let until = Instant::now() + context.settings.write_timeout;
    let id = state.write_begins(until);
    let task = tokio::spawn(async move {
        let result = send(&context, &request).await;
        let late = match &result {
            Err(failure) if failure.unanswered => {
                Some(Instant::now() + context.settings.write_timeout)
            }
            _ => None,
        };
        state.write_ended(id, late);
        match &result {
            Ok(answer) => absorb(&context, &state, kind, &request, answer),
            Err(failure) => {
                if kind == "Rollout" && failure.class == Class::NotFound {
                    forget(&context, &request);
                }
                context.metrics.failure(failure.class.as_str());
            }
        }
        result
    });
    match task.await {
        Ok(result) => result,
        Err(error) => Err(Failure {
            unanswered: true,
            ..Failure::bug(purpose, error.to_string())
        }),
    }
}

async fn send(context: &Context, request: &WireRequest) -> Result<Value, Failure> {
    context.metrics.write(request.purpose);
    match context.wire.write(request).await {
        // What shall be gone is gone.
        Err(failure) if failure.class == Class::NotFound && request.method == Method::DELETE => {
            Ok(json!({ "kind": "Status", "status": "Success" }))
        }
        Err(failure) if failure.already_exists && request.link == Link::Create => {
            already_there(context, request, failure).await
        }
        result => result,
    }
}

/// An object of the name is there: as good as made if it carries the same labels of ours.
async fn already_there(
    context: &Context,
    request: &WireRequest,
    failure: Failure,
) -> Result<Value, Failure> {
    let body = request.body.as_ref().unwrap_or(&Value::Null);
    let name = body
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let collection = request.path.split('?').next().unwrap_or_default();
    let there = context
        .wire
        .get(&format!("{collection}/{name}"), request.purpose)
        .await?;
    match there {
        Some(object) if object.pointer("/metadata/labels") == body.pointer("/metadata/labels") => {
            Ok(object)
        }
        _ => Err(failure),
    }
}

/// A Rollout that the server says is not there is not shown any longer, whatever its watch has missed.
fn forget(context: &Context, request: &WireRequest) {
    if let Some(object) = &request.body {
        let (at, uid) = (store::place(object), store::uid(object));
        context.always.rollouts.absent(&at, uid);
    }
}

/// Makes the answer visible to the next pass before any event of it arrives.
fn absorb(context: &Context, state: &KeyState, kind: &str, request: &WireRequest, answer: &Value) {
    if kind == "Rollout" {
        let mut object = answer.clone();
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        context.always.rollouts.own_write(&object);
        return;
    }
    let watches = lock(&state.watches).clone();
    let Some(watches) = watches else { return };
    let is_object = answer.pointer("/metadata/uid").is_some();
    if is_object {
        watches.own_write(kind, answer);
    } else if request.method == Method::DELETE {
        let name = request
            .path
            .split('?')
            .next()
            .and_then(|path| path.rsplit('/').next())
            .unwrap_or_default();
        let uid = request
            .body
            .as_ref()
            .and_then(|body| body.pointer("/preconditions/uid"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        watches.own_delete(kind, name, uid);
    }
}

#[cfg(test)]
mod tests {
    use crossfade_engine::effect::{ServiceWrite, Target};

    use super::*;
    use crate::testing;
    use crate::wire::{JSON, JSON_PATCH};

    /// Writes the status of a Rollout that the store shows; whether it is shown afterwards.
    async fn shown_after(code: u16, uid: &str) -> bool {
        let (context, _) = testing::context(move |_, _, _| testing::status(code));
        let rollout = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "r1", "resourceVersion": "7"}});
        context.always.rollouts.apply("", rollout.clone());
        let mut body = rollout;
        body["metadata"]["uid"] = json!(uid);
        let request = WireRequest {
            method: Method::PUT,
            path: "/apis/crossfade.dev/v1alpha1/namespaces/shop/rollouts/web/status".to_owned(),
            content_type: JSON,
            body: Some(body),
            purpose: "write the status",
            link: Link::None,
        };
        let answer = write(&context, &Arc::default(), "Rollout", request).await;
        assert!(answer.is_err());
        context.always.rollouts.get("shop", "web").is_some()
    }

    #[tokio::test]
    async fn a_rollout_that_the_server_does_not_have_is_not_shown_any_longer() {
        assert!(!shown_after(404, "r1").await);
        assert!(shown_after(409, "r1").await, "it may be there");
        assert!(shown_after(404, "r0").await, "another one was meant");
    }

    fn split(to: SplitTo) -> Effect {
        let service = ServiceWrite {
            service: Target {
                name: "web".to_owned(),
                uid: "s1".to_owned(),
                resource_version: "7".to_owned(),
            },
            from: Some("old".to_owned()),
            held: true,
            managed_fields: json!([]),
        };
        Effect::Split {
            services: vec![service],
            to,
        }
    }

    fn names() -> Names {
        Names {
            namespace: "shop".to_owned(),
            workload: "web".to_owned(),
            workload_uid: "w1".to_owned(),
            rollout: "web".to_owned(),
            rollout_uid: "r1".to_owned(),
            installation: "crossfade".to_owned(),
        }
    }

    /// An API that answers slowly makes all effects of a pass but the first old.
    #[tokio::test(start_paused = true)]
    async fn what_was_decided_long_ago_is_decided_again_but_for_traffic_to_stable() {
        let names = names();
        let hash = || "abc".to_owned();
        for (to, late, sent) in [
            (SplitTo::Candidate { hash: hash() }, Duration::ZERO, true),
            (SplitTo::Candidate { hash: hash() }, FRESH * 2, false),
            (SplitTo::Stable { hash: hash() }, FRESH * 2, true),
        ] {
            let (context, asked) = testing::context(|_, _, body| (200, body.clone()));
            let observed = Instant::now();
            tokio::time::advance(late).await;
            let effects = [split(to)];
            let done = perform(&context, &Arc::default(), &names, &effects, observed).await;
            assert_eq!(done.stale, !sent, "{effects:?} after {late:?}");
            assert_eq!(
                !crate::lock(&asked).is_empty(),
                sent,
                "{effects:?} after {late:?}"
            );
        }
    }

    /// Scrapes wake a release each second; a policy that says no is not asked that often.
    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_held_back_until_it_or_its_object_changes_or_somebody_speaks() {
        let (context, asked) = testing::context(|_, _, _| testing::status(403));
        let state = Arc::default();
        let names = names();
        let hash = || "abc".to_owned();
        let to_candidate = [split(SplitTo::Candidate { hash: hash() })];
        let mut newer = to_candidate.clone();
        if let [Effect::Split { services, .. }] = &mut newer {
            services[0].service.resource_version = "8".to_owned();
        }
        let sent = async |effects: &[Effect], later: u64| {
            tokio::time::advance(Duration::from_secs(later)).await;
            let before = crate::lock(&asked).len();
            let done = perform(&context, &state, &names, effects, Instant::now()).await;
            let sent = crate::lock(&asked).len() > before;
            assert_eq!(done.held.is_some(), !sent, "{effects:?}");
            sent
        };
        // It doubles from a second on, to a minute; the jitter takes up to half of it away.
        assert!(sent(&to_candidate, 0).await);
        for (refused, wait) in (1..=6).zip([1_u64, 2, 4, 8, 16, 32]) {
            assert!(!sent(&to_candidate, 0).await, "after {refused} refusals");
            assert!(sent(&to_candidate, wait).await, "after {refused} refusals");
        }
        assert!(!sent(&to_candidate, 25).await);
        assert!(sent(&newer, 0).await, "the Service is another one now");
        assert!(!sent(&newer, 0).await);
        state.forget_refusal();
        assert!(sent(&newer, 0).await);
        for to in [SplitTo::Stable { hash: hash() }, SplitTo::Released] {
            for _ in 0..2 {
                assert!(sent(&[split(to.clone())], 0).await, "{to:?} never waits");
            }
        }
    }

    /// Nothing that is refused or held back stands before weight 0.
    #[tokio::test(start_paused = true)]
    async fn traffic_goes_to_stable_past_what_is_refused_or_held_back() {
        let (context, asked) = testing::context(|_, path, body| match path {
            path if path.contains("/deployments/") => testing::status(403),
            _ => (200, body.clone()),
        });
        let state = Arc::default();
        let grow = Effect::ScaleParallel {
            target: Target {
                name: "web-c0".to_owned(),
                uid: "d1".to_owned(),
                resource_version: "3".to_owned(),
            },
            from: 1,
            to: 2,
        };
        let hash = || "abc".to_owned();
        let to_stable = split(SplitTo::Stable { hash: hash() });
        let effects = [grow, to_stable, split(SplitTo::Candidate { hash: hash() })];
        for held in [false, true] {
            crate::lock(&asked).clear();
            let done = perform(&context, &state, &names(), &effects, Instant::now()).await;
            assert_eq!((done.refused.is_some(), done.held.is_some()), (!held, held));
            let asked = crate::lock(&asked);
            let services = asked
                .iter()
                .filter(|(_, path, _)| path.contains("/services/"));
            // The pin, and managedFields put back.
            assert_eq!(services.count(), 2, "{asked:?}");
        }
    }

    #[test]
    fn a_following_request_tests_the_answered_version() {
        let request = WireRequest {
            method: Method::PATCH,
            path: "/x".to_owned(),
            content_type: JSON_PATCH,
            body: Some(json!([{ "op": "test", "path": "/metadata/resourceVersion", "value": "" }])),
            purpose: "test",
            link: Link::AfterPrevious,
        };
        assert_eq!(follow(request.clone(), None), None);
        let followed = follow(
            request,
            Some(&json!({"metadata": {"resourceVersion": "12"}})),
        )
        .unwrap();
        assert_eq!(followed.body.unwrap()[0]["value"], "12");
    }

    #[test]
    fn what_is_left_to_others_has_no_entry_of_ours() {
        let request = WireRequest {
            method: Method::PATCH,
            path: "/x".to_owned(),
            content_type: JSON_PATCH,
            body: Some(managed_fields::restore_patch("", &json!([]))),
            purpose: "test",
            link: Link::Disown,
        };
        let answer = json!({"metadata": {"resourceVersion": "12", "managedFields": [{"manager": "kubectl"}, {"manager": FIELD_MANAGER}]}});
        let body = follow(request, Some(&answer)).unwrap().body.unwrap();
        assert_eq!(body[0]["value"], "12");
        assert_eq!(body[1]["value"], json!([{"manager": "kubectl"}]));
    }
}
