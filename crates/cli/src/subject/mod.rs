//! What `plan` and `simulate` are about: a workload, its plan's sources and what stands in front of it,
//! from a cluster or from files. Reading only; what follows from it is decided by the planner.

mod cluster;
mod files;
mod front;

use crossfade_api::RolloutSpec;
use crossfade_engine::observed::{Observed, Owner, ReplicaSet, Service, Workload};
use crossfade_engine::validated::{Policies, Validated, validate};
use crossfade_engine::{Memory, step};
use crossfade_metrics_analysis::template::problem;
use serde_json::{Map, Value, json};

use self::front::{Front, Look, labels};
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
    /// Services in front of its pods, as the controller sees them.
    pub services: Vec<Service>,
    /// The ReplicaSets that the Deployment controls; none where only files are known.
    pub sets: Vec<ReplicaSet>,
    /// What the controller says of the Rollout where it cannot go on: the condition's reason and message.
    pub stalled: Option<(String, String)>,
    /// Replicas asked for on the command line.
    pub replicas: Option<u32>,
    /// What is missing or assumed.
    pub notes: Vec<String>,
}

impl Subject {
    /// Takes the Services that stand in front of the pods.
    fn look_at(&mut self, fronts: &[Front]) {
        let Some(deployment) = &self.deployment else {
            return;
        };
        let pushed = labels(deployment.pointer("/spec/template").unwrap_or(&Value::Null));
        let mut stable: Vec<Map<String, Value>> = with_pods(&self.sets)
            .map(|set| labels(&set.template))
            .collect();
        if stable.is_empty() {
            stable.push(pushed.clone());
        }
        let plan = self.validated().plan;
        let look = Look {
            workload_uid: text(deployment, "/metadata/uid"),
            candidate: &pushed,
            stable,
            named: plan.service.as_deref(),
        };
        self.services = front::services(&look, fronts);
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

    /// All that keeps a release from starting: of the plan, of what the planner sees, and, where neither says
    /// so, of what the controller says itself.
    pub fn problems(&self, validated: &Validated) -> Vec<String> {
        let mut problems = validated.problems.clone();
        problems.extend(self.refused(validated));
        if let Some((reason, message)) = &self.stalled
            && problems.is_empty()
            && reason == "Refused"
        {
            problems.push(format!("the controller refuses: {message}"));
        }
        problems
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
        let replica_sets = if with_pods(&self.sets).next().is_some() {
            self.sets.clone()
        } else {
            // From files, or at size 0 asked about another size: one that serves is assumed.
            vec![ReplicaSet {
                name: format!("{}-stable", self.name),
                uid: "stable".to_owned(),
                owner: Owner::Workload,
                hash: "stable".to_owned(),
                replicas: count,
                status_replicas: count,
                template: serving.clone(),
                ..ReplicaSet::default()
            }]
        };
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
            replica_sets,
            services: self.services.clone(),
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

/// ReplicaSets that have pods or want some.
fn with_pods(sets: &[ReplicaSet]) -> impl Iterator<Item = &ReplicaSet> {
    sets.iter()
        .filter(|set| set.replicas > 0 || set.status_replicas > 0)
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
    if applied.is_some_and(|manifest| manifest.pointer("/spec/paused") == Some(&Value::Bool(true)))
    {
        return Some("kubectl apply".to_owned());
    }
    let managers = deployment.pointer("/metadata/managedFields");
    (managers.and_then(Value::as_array).into_iter().flatten())
        .find(|entry| {
            text(entry, "/operation") == "Apply"
                && entry.pointer("/fieldsV1/f:spec/f:paused").is_some()
        })
        .map(|entry| text(entry, "/manager").to_owned())
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
