//! From what users wrote to the one plan that is carried out. Field by field the first of these
//! that speaks wins: the Rollout's spec, the annotations, the named policy, the policy `default` of
//! the namespace, the one of the cluster, the default built in.

use std::collections::BTreeMap;

use crate::annotated;
use crate::created;
pub use crate::plan::{Analysis, Plan, PlannedBlueGreen, PlannedStep};
use crossfade_api::{
    AnalysisSource, CreatedMetadata, Duration, Inconclusive, NoDataThen, PodMetrics, PolicyTraffic,
    RetainedRevisions, RolloutPolicySpec, RolloutSpec, Step, Weight, annotations,
};

/// A plan, or why there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validated {
    pub plan: Plan,
    /// Field → where it came from.
    pub sources: BTreeMap<String, String>,
    /// Each names field, value and mend; with any, no release starts.
    pub problems: Vec<String>,
}

/// The policies of a namespace and of the cluster, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    pub namespaced: BTreeMap<String, RolloutPolicySpec>,
    pub cluster: BTreeMap<String, RolloutPolicySpec>,
    /// Those that cannot be read, by name, and why: a release that they may be meant for does not start without them.
    pub unreadable: BTreeMap<String, String>,
}

/// The name of the policy that applies without being named.
const DEFAULT_POLICY: &str = "default";
/// Stay of a step that names none.
const DEFAULT_STAY: u64 = 60_000;

/// Resolves the plan. Never fails: what is wrong stands in `problems`, and the rest is resolved as
/// far as it goes, so that `crossfade plan` can show it.
#[must_use]
pub fn validate(
    spec: &RolloutSpec,
    annotations: &BTreeMap<String, String>,
    policies: &Policies,
) -> Validated {
    let mut problems = Vec::new();
    let mut layers = vec![(
        "spec".to_owned(),
        RolloutPolicySpec {
            strategy: spec.strategy.clone(),
            warm: spec.warm,
            traffic: spec.traffic.clone().map(|traffic| PolicyTraffic {
                settle: traffic.settle,
                drain: traffic.drain,
            }),
            analysis: spec.analysis.clone(),
            progress_deadline: spec.progress_deadline,
            retained_revisions: spec.retained_revisions,
            created_metadata: spec.created_metadata.clone(),
        },
    )];
    layers.push((
        "annotations".to_owned(),
        annotated::layer(annotations, &mut problems),
    ));
    if let Some(name) = annotations.get(annotations::POLICY) {
        match (policies.namespaced.get(name), policies.cluster.get(name)) {
            (Some(policy), _) => layers.push((format!("RolloutPolicy {name}"), policy.clone())),
            (None, Some(policy)) => layers.push((format!("ClusterRolloutPolicy {name}"), policy.clone())),
            (None, None) if policies.unreadable.contains_key(name) => {}
            (None, None) => problems.push(format!(
                "annotation {}: \"{name}\" is neither a RolloutPolicy of this namespace nor a ClusterRolloutPolicy; create one or correct the name",
                annotations::POLICY
            )),
        }
    }
    for (name, error) in &policies.unreadable {
        let named = annotations.get(annotations::POLICY) == Some(name);
        if named || name == DEFAULT_POLICY {
            problems.push(format!(
                "policy {name} cannot be read: {error}; correct the field it names, or run the version that knows it"
            ));
        }
    }
    if let Some(policy) = policies.namespaced.get(DEFAULT_POLICY) {
        layers.push((format!("RolloutPolicy {DEFAULT_POLICY}"), policy.clone()));
    }
    if let Some(policy) = policies.cluster.get(DEFAULT_POLICY) {
        layers.push((
            format!("ClusterRolloutPolicy {DEFAULT_POLICY}"),
            policy.clone(),
        ));
    }
    let mut resolver = Resolver {
        layers: &layers,
        sources: BTreeMap::new(),
    };
    let plan = resolver.plan(spec, &mut problems);
    Validated {
        plan,
        sources: resolver.sources,
        problems,
    }
}

struct Resolver<'a> {
    layers: &'a [(String, RolloutPolicySpec)],
    sources: BTreeMap<String, String>,
}

impl Resolver<'_> {
    /// The first layer that speaks, else the default built in; notes which it was.
    fn first<T: Clone>(
        &mut self,
        field: &str,
        get: impl Fn(&RolloutPolicySpec) -> Option<T>,
        built_in: T,
    ) -> T {
        let found = self
            .layers
            .iter()
            .find_map(|(name, layer)| get(layer).map(|value| (name.clone(), value)));
        let (source, value) = found.unwrap_or_else(|| ("built in".to_owned(), built_in));
        self.sources.insert(field.to_owned(), source);
        value
    }

    fn plan(&mut self, spec: &RolloutSpec, problems: &mut Vec<String>) -> Plan {
        let canary = |layer: &RolloutPolicySpec| layer.strategy.clone()?.canary;
        let blue_green = self.first(
            "strategy",
            |layer| {
                let strategy = layer.strategy.as_ref()?;
                Some(strategy.blue_green.is_some())
            },
            false,
        );
        let (steps, blue_green) = if blue_green {
            let (steps, plan) = self.blue_green(problems);
            (steps, Some(plan))
        } else {
            let steps = self.first("steps", |layer| canary(layer)?.steps, built_in_steps());
            (planned(&steps, problems), None)
        };
        let analysis = self.analysis(problems);
        Plan {
            steps,
            blue_green,
            min_replicas: self.first("minReplicas", |layer| canary(layer)?.min_replicas, 1),
            warm: self.length("warm", |layer| layer.warm, 300_000),
            settle_floor: self.length(
                "settle.floor",
                |layer| layer.traffic.clone()?.settle?.floor,
                3000,
            ),
            drain: self.length(
                "drain.atLeast",
                |layer| layer.traffic.clone()?.drain?.at_least,
                5000,
            ),
            retained: self.first(
                "retainedRevisions",
                |layer| layer.retained_revisions,
                RetainedRevisions::Short,
            ),
            created: self.created(problems),
            progress_deadline: self.length(
                "progressDeadline",
                |layer| layer.progress_deadline,
                600_000,
            ),
            service: spec
                .traffic
                .as_ref()
                .and_then(|traffic| traffic.service.clone()),
            analysis,
        }
    }

    fn created(&mut self, problems: &mut Vec<String>) -> CreatedMetadata {
        let mut map = |field: &str, get: fn(CreatedMetadata) -> BTreeMap<String, String>| {
            let of = |layer: &RolloutPolicySpec| {
                let map = get(layer.created_metadata.clone()?);
                (!map.is_empty()).then_some(map)
            };
            self.first(&format!("createdMetadata.{field}"), of, BTreeMap::new())
        };
        let created = CreatedMetadata {
            labels: map("labels", |created| created.labels),
            annotations: map("annotations", |created| created.annotations),
        };
        problems.extend(created::problems(&created));
        created
    }

    /// The strategy may come from one layer and its parts from others.
    fn blue_green(&mut self, problems: &mut Vec<String>) -> (Vec<PlannedStep>, PlannedBlueGreen) {
        let of = |layer: &RolloutPolicySpec| layer.strategy.clone()?.blue_green;
        let approval = self.first(
            "blueGreen.approval",
            |layer| of(layer)?.approval.map(Some),
            None,
        );
        let preview = self.first(
            "blueGreen.previewService",
            |layer| of(layer)?.preview_service.map(Some),
            None,
        );
        let steps = match approval {
            None => Vec::new(),
            approval => planned(
                &[Step {
                    approval,
                    ..Step::default()
                }],
                problems,
            ),
        };
        (steps, PlannedBlueGreen { preview })
    }

    fn length(
        &mut self,
        field: &str,
        get: impl Fn(&RolloutPolicySpec) -> Option<Duration>,
        built_in: u64,
    ) -> u64 {
        self.first(field, get, Duration::from_milliseconds(built_in))
            .milliseconds()
    }

    fn analysis(&mut self, problems: &mut Vec<String>) -> Analysis {
        let source = self.first(
            "analysis.source",
            |layer| layer.analysis.as_ref()?.source,
            AnalysisSource::Pods,
        );
        if source == AnalysisSource::Prometheus {
            problems.push("analysis.source: \"prometheus\" is not carried out by this version; use pods or none".to_owned());
        }
        let interval = self.length(
            "analysis.interval",
            |layer| layer.analysis.as_ref()?.interval,
            15_000,
        );
        if interval < 1000 {
            problems.push(format!(
                "analysis.interval: \"{interval}ms\" is under a second; write 1s or more"
            ));
        }
        let alpha = self.first(
            "analysis.alpha",
            |layer| layer.analysis.as_ref()?.alpha,
            0.01,
        );
        if !(0.000_001..=0.5).contains(&alpha) {
            problems.push(format!("analysis.alpha: \"{alpha}\" is not a chance from 0.000001 to 0.5; write for example 0.01"));
        }
        let pods = |field: &str| format!("analysis.pods.{field}");
        Analysis {
            scrape: source == AnalysisSource::Pods,
            pods: PodMetrics {
                port: self.first(
                    &pods("port"),
                    |layer| layer.analysis.as_ref()?.pods.as_ref()?.port.map(Some),
                    None,
                ),
                path: self.first(
                    &pods("path"),
                    |layer| {
                        layer
                            .analysis
                            .as_ref()?
                            .pods
                            .as_ref()?
                            .path
                            .clone()
                            .map(Some)
                    },
                    None,
                ),
                requests: self.first(
                    &pods("requests"),
                    |layer| {
                        layer
                            .analysis
                            .as_ref()?
                            .pods
                            .as_ref()?
                            .requests
                            .clone()
                            .map(Some)
                    },
                    None,
                ),
                code_label: self.first(
                    &pods("codeLabel"),
                    |layer| {
                        layer
                            .analysis
                            .as_ref()?
                            .pods
                            .as_ref()?
                            .code_label
                            .clone()
                            .map(Some)
                    },
                    None,
                ),
                errors: self.first(
                    &pods("errors"),
                    |layer| {
                        layer
                            .analysis
                            .as_ref()?
                            .pods
                            .as_ref()?
                            .errors
                            .clone()
                            .map(Some)
                    },
                    None,
                ),
            },
            interval: interval.max(1000),
            min_requests: self.first(
                "analysis.minRequests",
                |layer| layer.analysis.as_ref()?.min_requests,
                100,
            ),
            no_data_limit: self.length(
                "analysis.noData.limit",
                |layer| layer.analysis.as_ref()?.no_data.as_ref()?.limit,
                1_800_000,
            ),
            no_data_then: self.first(
                "analysis.noData.then",
                |layer| layer.analysis.as_ref()?.no_data.as_ref()?.then,
                NoDataThen::Rollback,
            ),
            inconclusive: self.first(
                "analysis.inconclusive",
                |layer| layer.analysis.as_ref()?.inconclusive,
                Inconclusive::Advance,
            ),
            alpha,
        }
    }
}

/// 5 %, 20 % and 50 % for two minutes each.
fn built_in_steps() -> Vec<Step> {
    [500, 2000, 5000]
        .into_iter()
        .map(|points| Step {
            weight: Weight::from_basis_points(points),
            stay: Some(Duration::from_seconds(120)),
            approval: None,
        })
        .collect()
}

fn planned(steps: &[Step], problems: &mut Vec<String>) -> Vec<PlannedStep> {
    let mut planned = Vec::new();
    let mut highest = Weight::ZERO;
    for (index, step) in steps.iter().enumerate() {
        // Pods that a smaller share does not need would go while proxies still send them the larger one.
        if let Some(weight) = step.weight {
            if weight < highest {
                problems.push(format!(
                    "strategy.canary.steps[{index}].weight is {weight}, less than {highest} before it; weights only rise: leave the step out, or use pause and abort"
                ));
            }
            highest = highest.max(weight);
        }
        match (step.weight, &step.approval) {
            (Some(weight), None) => planned.push(PlannedStep::Weight {
                weight,
                stay: step.stay.map_or(DEFAULT_STAY, Duration::milliseconds),
            }),
            (None, Some(approval)) => {
                if step.stay.is_some() {
                    problems.push(format!(
                        "strategy.canary.steps[{index}].for goes with weight only; write approval.timeout"
                    ));
                }
                planned.push(PlannedStep::Approval {
                    timeout: approval.timeout.map(Duration::milliseconds),
                    then: approval.then.unwrap_or_default(),
                });
            }
            _ => problems.push(format!(
                "strategy.canary.steps[{index}] needs exactly one of weight and approval"
            )),
        }
    }
    if steps.is_empty() {
        problems.push("strategy.canary.steps is empty; leave it out for the default or name at least one step".to_owned());
    }
    planned
}

#[cfg(test)]
#[path = "validated_tests.rs"]
mod tests;
