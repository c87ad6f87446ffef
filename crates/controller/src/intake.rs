//! What a pass is decided by beside the objects: spec, memory and annotations of one Rollout, the policies in reach, and whether
//! another Rollout is for the same Deployment. Reading objects is `snapshot`'s, deciding the planner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossfade_api::{ControlSpec, Phase, RolloutPolicySpec, RolloutSpec};
use crossfade_engine::Memory;
use crossfade_engine::validated::{Policies, Validated};
use crossfade_metrics_analysis::template::problem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::observe::read::{deleting, text};
use crate::queue::Key;
use crate::watch::{deployment_of, phase_of};

/// Another Rollout for the same Deployment that was there first: two would take each other's candidates away.
pub(crate) fn twin(context: &Context, key: &Key, deployment: &str) -> Option<String> {
    let age = |object: &Value| {
        let of = |pointer| text(object, pointer).to_owned();
        (of("/metadata/creationTimestamp"), of("/metadata/name"))
    };
    let ours = context.always.rollouts.get(&key.namespace, &key.name);
    // One that is going and carries nothing out leaves it to the other.
    let leaves = (ours.as_deref()).is_some_and(|ours| {
        deleting(ours) && matches!(phase_of(ours), Phase::Idle | Phase::RolledBack)
    });
    let ours = ours.map(|object| age(&object));
    (context.always.rollouts.within(&key.namespace).into_iter())
        .filter(|other| {
            text(other, "/metadata/name") != key.name
                && !deleting(other)
                && deployment_of(other) == deployment
        })
        .map(|other| age(&other))
        .filter(|other| leaves || ours.as_ref().is_none_or(|ours| other < ours))
        .min()
        .map(|(_, name)| name)
}

/// Spec and memory of a Rollout. What the spec alone makes unreadable is the third: then the first holds its control only.
pub(crate) fn read(rollout: &Value) -> Result<(RolloutSpec, Memory, Option<String>), String> {
    let empty = json!({});
    let spec = rollout.get("spec").unwrap_or(&empty);
    let (spec, why) = match RolloutSpec::deserialize(spec) {
        Ok(spec) => (spec, None),
        Err(error) => {
            let control = spec.get("control").map(ControlSpec::deserialize);
            let rest = RolloutSpec {
                deployment: spec["deployment"].as_str().map(str::to_owned),
                control: control.and_then(Result::ok),
                ..RolloutSpec::default()
            };
            let why = format!("spec cannot be read: {error}; correct the field it names");
            (rest, Some(why))
        }
    };
    let memory = match rollout.pointer("/status/memory") {
        Some(memory) => Memory::deserialize(memory)
            .map_err(|error| format!("status.memory cannot be read: {error}; it was written by another version, or by hand: run that version, or remove status.memory"))?,
        None => Memory::default(),
    };
    Ok((spec, memory, why))
}

pub(crate) fn annotations(workload: Option<&Value>) -> BTreeMap<String, String> {
    workload
        .and_then(|object| object.pointer("/metadata/annotations"))
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("crossfade.dev/"))
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Why what the plan wants counted can never be read from the pods of a gated template. Of one that serves already nothing
/// is to be released.
pub(crate) fn metrics_problem(validated: &Validated, workload: Option<&Value>) -> Option<String> {
    let workload =
        workload.filter(|workload| workload.pointer("/spec/paused") == Some(&Value::Bool(true)))?;
    let template = workload.pointer("/spec/template")?;
    let analysis = &validated.plan.analysis;
    (analysis.scrape)
        .then(|| problem(template, &analysis.pods))
        .flatten()
}

/// The policies in reach of a namespace. One that cannot be read, because it is newer than we are or says more than the CRD's
/// schema can refuse, holds the releases it may be meant for.
pub(crate) fn policies(context: &Context, namespace: &str) -> Policies {
    let empty = json!({});
    let mut unreadable = BTreeMap::new();
    let mut read = |objects: Vec<Arc<Value>>| -> BTreeMap<String, RolloutPolicySpec> {
        objects
            .into_iter()
            .filter(|object| {
                let home = text(object, "/metadata/namespace");
                home.is_empty() || home == namespace
            })
            .filter_map(|object| {
                let name = text(&object, "/metadata/name").to_owned();
                match RolloutPolicySpec::deserialize(object.get("spec").unwrap_or(&empty)) {
                    Ok(spec) => Some((name, spec)),
                    Err(error) => {
                        tracing::warn!(policy = %name, %error, "a policy cannot be read");
                        unreadable.insert(name, error.to_string());
                        None
                    }
                }
            })
            .collect()
    };
    let namespaced = read(context.always.policies.all());
    let cluster = read(context.always.cluster_policies.all());
    Policies {
        namespaced,
        cluster,
        unreadable,
    }
}

#[cfg(test)]
mod tests {
    use crossfade_engine::validated::validate;

    use super::*;
    use crate::testing;

    /// Of two for one Deployment the older acts, of two as old the first by name; one that is going
    /// leaves it to the other.
    #[tokio::test]
    async fn of_two_rollouts_for_one_deployment_one_acts() {
        let rollout = |namespace: &str, name: &str, deployment: &str, created: &str| {
            json!({
                "metadata": {
                    "namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"),
                    "resourceVersion": "5", "creationTimestamp": created,
                },
                "spec": { "deployment": deployment },
            })
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let going = |mut rollout: Value| {
            rollout["metadata"]["deletionTimestamp"] = json!(late);
            rollout
        };
        let web = || rollout("shop", "web", "web", late);
        for (others, expected) in [
            (vec![], None),
            (vec![rollout("shop", "first", "web", early)], Some("first")),
            (vec![rollout("shop", "also", "web", late)], Some("also")),
            (vec![rollout("shop", "zoo", "web", late)], None),
            (vec![going(rollout("shop", "first", "web", early))], None),
            (vec![rollout("shop", "first", "api", early)], None),
            (vec![rollout("stop", "first", "web", early)], None),
        ] {
            let (context, _) = testing::context(|_, _, _| testing::status(404));
            context.always.rollouts.apply("", web());
            for other in &others {
                context.always.rollouts.apply("", other.clone());
            }
            let found = twin(&context, &Key::new("shop", "web"), "web");
            assert_eq!(found.as_deref(), expected, "{others:?}");
        }
    }

    #[test]
    fn an_abort_is_heard_beside_a_spec_that_cannot_be_read() {
        let rollout = json!({
            "spec": {
                "deployment": "web", "warm": "no time at all",
                "control": { "id": "a", "action": "abort" },
            },
            "status": { "memory": {} },
        });
        let (spec, _, why) = read(&rollout).unwrap();
        assert!(why.unwrap().contains("cannot be read"));
        assert_eq!(spec.deployment.as_deref(), Some("web"));
        assert_eq!(spec.control.unwrap().id.as_deref(), Some("a"));
    }

    #[test]
    fn metrics_that_can_never_be_read_are_a_problem_unless_none_are_wanted() {
        let workload = |paused: bool| {
            json!({ "spec": { "paused": paused, "template": {
                "metadata": { "annotations": { "prometheus.io/port": "metrics" } },
            } } })
        };
        let told = |spec: Value, paused: bool| {
            let spec = RolloutSpec::deserialize(spec).unwrap();
            let validated = validate(&spec, &BTreeMap::new(), &Policies::default());
            metrics_problem(&validated, Some(&workload(paused))).unwrap_or_default()
        };
        assert!(told(json!({}), true).contains("prometheus.io/port is \"metrics\""));
        assert_eq!(told(json!({}), false), "", "it serves");
        assert_eq!(told(json!({ "analysis": { "source": "none" } }), true), "");
    }

    #[test]
    fn memory_of_another_version_is_an_error() {
        let rollout = json!({ "spec": {}, "status": { "memory": { "phase": 7 } } });
        assert!(read(&rollout).unwrap_err().contains("status.memory"));
    }
}
