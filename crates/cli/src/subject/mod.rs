//! What `plan` and `simulate` are about: a workload, its plan's sources and what stands in front of it,
//! from a cluster or from files. Reading only; what follows from it is decided by the planner.

mod cluster;
mod files;

use crossfade_api::RolloutSpec;
use crossfade_engine::observed::{Observed, Owner, ReplicaSet, Service, Workload};
use crossfade_engine::validated::{Policies, Validated, validate};
use crossfade_engine::{Memory, step};
use crossfade_metrics_analysis::template::problem;
use crossfade_traffic_switching::service;
use serde_json::{Map, Value, json};

use crate::clock;

/// Pods assumed where no Deployment says.
const REPLICAS: u32 = 4;

/// A workload and all that its plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    pub name: String,
    pub spec: RolloutSpec,
    /// The Deployment as it is; nothing when the files have none.
    pub deployment: Option<Value>,
    pub policies: Policies,
    /// Services that select its pods, and why one of them cannot be used.
    pub services: Vec<(String, Option<String>)>,
    /// Replicas asked for on the command line.
    pub replicas: Option<u32>,
    /// What is missing or assumed.
    pub notes: Vec<String>,
}

/// A Service and pods of others it selects.
struct Front {
    object: Value,
    strangers: Vec<String>,
}

impl Subject {
    /// Takes the Services that select the pods.
    fn look_at(&mut self, fronts: &[Front]) {
        let Some(deployment) = &self.deployment else {
            return;
        };
        let labels = map(deployment, "/spec/template/metadata/labels");
        for front in fronts {
            let name = text(&front.object, "/metadata/name");
            let seen = service::read(&front.object, "", "");
            let asked = self
                .spec
                .traffic
                .as_ref()
                .and_then(|traffic| traffic.service.as_deref())
                == Some(name);
            // An alias selects nothing; it matters only when it is asked for.
            let alias = asked && seen.external_name;
            if !alias && !service::selects(&seen.selector, &labels) {
                continue;
            }
            let refusal = if seen.external_name {
                Some("it is an ExternalName and selects no pods; name another Service in spec.traffic.service".to_owned())
            } else if front.strangers.is_empty() {
                None
            } else {
                Some(format!(
                    "it also selects pods of others ({}): pinning it would cut them off; give it a selector that only this Deployment's pods have",
                    front.strangers.join(", ")
                ))
            };
            self.services.push((name.to_owned(), refusal));
        }
        if self.services.is_empty() {
            self.notes.push("no Service selects the pods: shares are those of the pods, and an abort takes the candidate's pods away".to_owned());
        }
    }

    /// N.
    pub fn replicas(&self) -> u32 {
        let written = self.deployment.as_ref().map(|deployment| {
            deployment
                .pointer("/spec/replicas")
                .and_then(Value::as_u64)
                .map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
        });
        self.replicas.or(written).unwrap_or(REPLICAS)
    }

    /// maxUnavailable in pods, as the Deployment controller resolves it: a quarter where nothing is said,
    /// rounded down; one if no surge is allowed either.
    pub fn max_unavailable(&self) -> u32 {
        let replicas = u64::from(self.replicas());
        let value = |name: &str| {
            let found = self
                .deployment
                .as_ref()
                .and_then(|deployment| deployment.pointer("/spec/strategy/rollingUpdate"))
                .and_then(|update| update.get(name))
                .filter(|value| !value.is_null());
            match found {
                None => (25, true),
                Some(Value::String(text)) => match text.strip_suffix('%') {
                    Some(percent) => (percent.parse().unwrap_or(0), true),
                    None => (text.parse().unwrap_or(0), false),
                },
                Some(number) => (number.as_u64().unwrap_or(0), false),
            }
        };
        let pods = |(number, percent): (u64, bool)| {
            if percent {
                number.saturating_mul(replicas) / 100
            } else {
                number
            }
        };
        let unavailable = pods(value("maxUnavailable"));
        let unavailable = if unavailable == 0 && value("maxSurge").0 == 0 {
            1
        } else {
            unavailable.min(replicas.max(1))
        };
        u32::try_from(unavailable).unwrap_or(u32::MAX)
    }

    /// The plan, resolved by the planner.
    pub fn validated(&self) -> Validated {
        let annotations = self
            .deployment
            .as_ref()
            .map(|deployment| {
                map(deployment, "/metadata/annotations")
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())))
                    .collect()
            })
            .unwrap_or_default();
        let mut validated = validate(&self.spec, &annotations, &self.policies);
        let template = (self.deployment.as_ref()).and_then(|it| it.pointer("/spec/template"));
        if let Some(template) = template.filter(|_| validated.plan.analysis.scrape) {
            let metrics = &validated.plan.analysis.pods;
            validated.problems.extend(problem(template, metrics));
        }
        validated
    }

    /// Why the planner would refuse a new template now, beside problems of the plan itself: it is asked
    /// with a template that differs from the one that serves.
    pub fn refused(&self, validated: &Validated) -> Option<String> {
        let deployment = self.deployment.as_ref()?;
        let serving = deployment.pointer("/spec/template")?;
        let mut pushed = serving.clone();
        let mut annotations = map(&pushed, "/metadata/annotations");
        annotations.insert(
            "crossfade.dev/what-if".to_owned(),
            json!("another template"),
        );
        pushed["metadata"]["annotations"] = annotations.into();
        let count = self.replicas();
        let uid = "workload";
        let seen = Observed {
            workload: Some(Workload {
                name: self.name.clone(),
                uid: uid.to_owned(),
                replicas: count,
                paused: true,
                paused_by_manifest: asks_for_pause(deployment),
                strategy_annotation: Some("canary".to_owned()),
                rolling_update: matches!(
                    text(deployment, "/spec/strategy/type"),
                    "" | "RollingUpdate"
                ),
                max_unavailable: self.max_unavailable(),
                template: pushed,
                available: true,
                ..Workload::default()
            }),
            replica_sets: vec![ReplicaSet {
                name: format!("{}-stable", self.name),
                uid: "stable".to_owned(),
                owner: Owner::Workload,
                hash: "stable".to_owned(),
                replicas: count,
                status_replicas: count,
                template: serving.clone(),
                ..ReplicaSet::default()
            }],
            services: self
                .services
                .iter()
                .map(|(name, refusal)| Service {
                    name: name.clone(),
                    uid: name.clone(),
                    selects_workload: true,
                    refusal: refusal.clone(),
                    ..Service::default()
                })
                .collect(),
            fresh_candidate: "candidate".to_owned(),
            from_watches: false,
            ..Observed::default()
        };
        // Problems of the plan are told by themselves.
        let sound = Validated {
            problems: Vec::new(),
            ..validated.clone()
        };
        let memory = Memory {
            workload_uid: uid.to_owned(),
            ..Memory::default()
        };
        step(&sound, &seen, &memory, clock::now()).memory.refused
    }
}

/// Who asks for `paused`: the manifest in a file itself, or who applied it to the cluster. The gate's own
/// pause is in no manifest.
fn asks_for_pause(deployment: &Value) -> Option<String> {
    let paused = deployment.pointer("/spec/paused") == Some(&Value::Bool(true));
    let in_cluster = !text(deployment, "/metadata/uid").is_empty();
    if !in_cluster {
        return paused.then(|| "the file".to_owned());
    }
    let applied = deployment
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get("kubectl.kubernetes.io/last-applied-configuration"))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    applied
        .is_some_and(|manifest| manifest.pointer("/spec/paused") == Some(&Value::Bool(true)))
        .then(|| "kubectl apply".to_owned())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn map(object: &Value, pointer: &str) -> Map<String, Value> {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}
