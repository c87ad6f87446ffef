//! What `plan` and `simulate` are about: a workload, its plan's sources and what stands in front of it,
//! from a cluster or from files. Reading only; what follows from it is decided by the planner.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use crossfade_api::{
    ClusterRolloutPolicy, Rollout, RolloutPolicy, RolloutPolicySpec, RolloutSpec, annotations,
};
use crossfade_engine::observed::{Observed, Owner, ReplicaSet, Service, Workload};
use crossfade_engine::validated::{Policies, Validated, validate};
use crossfade_engine::{Memory, step};
use crossfade_traffic_switching::service;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, call};
use crate::exit::{Exit, Failure};
use crate::{clock, find};

/// Largest file.
const FILE_BYTES: u64 = 16 << 20;
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
    /// Reads a cluster.
    pub async fn from_cluster(cluster: &Cluster, workload: Option<&str>) -> Result<Self, Failure> {
        let (name, rollout) = match workload {
            Some(workload) => {
                let name = find::bare(workload)?;
                (name.to_owned(), find::rollout_of(cluster, name).await?)
            }
            None => {
                let rollout = find::rollout(cluster, None).await?;
                (find::deployment(&rollout), Some(rollout))
            }
        };
        let name = rollout.as_ref().map_or(name, find::deployment);
        let namespace = &cluster.namespace;
        let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
        let deployment = call("read the Deployment", deployments.get_opt(&name))
            .await?
            .ok_or_else(|| {
                Failure::new(format!(
                    "there is no Deployment {name} in namespace {namespace}"
                ))
                .next("name the namespace with -n")
            })?;
        let mut notes = Vec::new();
        if rollout.is_none() && !deployment.annotations().contains_key(annotations::STRATEGY) {
            notes.push(format!(
                "{name} is not opted in; this is what would happen after: kubectl -n {namespace} annotate deployment/{name} {}=canary",
                annotations::STRATEGY
            ));
        }
        let deployment = value(&deployment)?;
        let all = ListParams::default();
        let services: Api<core::Service> = Api::namespaced(cluster.client.clone(), namespace);
        let services = call("list the Services", services.list(&all)).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let pods = call("list the pods", pods.list(&all)).await?;
        let mut fronts = Vec::new();
        for object in services {
            let object = value(&object)?;
            let seen = service::read(&object, "", "");
            let strangers = pods
                .iter()
                .filter(|pod| {
                    let labels = labels_of(pod.labels());
                    service::selects(&seen.selector, &labels)
                        && !matches_selector(&deployment, &labels)
                })
                .map(ResourceExt::name_any)
                .collect();
            fronts.push(Front { object, strangers });
        }
        let mut subject = Self {
            name,
            spec: rollout.map_or_else(RolloutSpec::default, |rollout| rollout.spec),
            deployment: Some(deployment),
            policies: policies(cluster).await?,
            notes,
            ..Self::default()
        };
        subject.look_at(&fronts);
        Ok(subject)
    }

    /// Reads files; `-` is stdin.
    pub fn from_files(
        files: &[PathBuf],
        workload: Option<&str>,
        replicas: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut objects = Vec::new();
        for file in files {
            objects.extend(read(file)?);
        }
        let wanted = workload.map(find::bare).transpose()?;
        Self::from_objects(objects, wanted, replicas)
    }

    /// From objects as they stand in files.
    fn from_objects(
        objects: Vec<Value>,
        wanted: Option<&str>,
        replicas: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut subject = Self {
            replicas,
            ..Self::default()
        };
        let (mut rollouts, mut deployments, mut fronts) = (Vec::new(), Vec::new(), Vec::new());
        let mut named: Vec<RolloutPolicySpec> = Vec::new();
        for object in objects {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            match kind.as_str() {
                "Rollout" => rollouts.push(typed::<Rollout>(object)?),
                "Deployment" => deployments.push(object),
                "Service" => fronts.push(Front {
                    object,
                    strangers: Vec::new(),
                }),
                "RolloutPolicy" => {
                    let policy: RolloutPolicy = typed(object)?;
                    named.push(policy.spec.clone());
                    subject
                        .policies
                        .namespaced
                        .insert(policy.name_any(), policy.spec);
                }
                "ClusterRolloutPolicy" => {
                    let policy: ClusterRolloutPolicy = typed(object)?;
                    named.push(policy.spec.clone().into());
                    let name = policy.name_any();
                    subject.policies.cluster.insert(name, policy.spec.into());
                }
                _ => {}
            }
        }
        let name_of = |object: &Value| text(object, "/metadata/name").to_owned();
        let mut names: Vec<String> = rollouts
            .iter()
            .map(find::deployment)
            .chain(deployments.iter().map(name_of))
            .collect();
        names.sort();
        names.dedup();
        let name = match (wanted, names.as_slice()) {
            (Some(wanted), names) if names.iter().any(|name| name == wanted) => wanted.to_owned(),
            (Some(wanted), _) => {
                return Err(Failure::new(format!(
                    "the files have neither a Rollout nor a Deployment for {wanted}"
                )));
            }
            (None, [only]) => only.clone(),
            (None, []) if !named.is_empty() => "workload".to_owned(),
            (None, []) => {
                return Err(
                    Failure::new("the files have no Rollout, RolloutPolicy or Deployment")
                        .next("name a file with one of them"),
                );
            }
            (None, several) => {
                return Err(Failure::new(format!(
                    "the files are about several workloads: {}",
                    several.join(", ")
                ))
                .next("name one of them")
                .exit(Exit::Usage));
            }
        };
        // A policy alone is asked about itself.
        if names.is_empty()
            && let [only] = named.as_slice()
        {
            subject.policies.namespaced = BTreeMap::from([("default".to_owned(), only.clone())]);
        }
        subject.spec = rollouts
            .into_iter()
            .find(|rollout| find::deployment(rollout) == name)
            .map_or_else(RolloutSpec::default, |rollout| rollout.spec);
        subject.deployment = deployments
            .into_iter()
            .find(|deployment| name_of(deployment) == name);
        subject.name = name;
        if subject.deployment.is_none() {
            subject.notes.push(format!(
                "the files have no Deployment: {} pods are assumed, and nothing is known of them or their Services",
                subject.replicas()
            ));
        }
        subject.look_at(&fronts);
        Ok(subject)
    }

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
            } else if seen.headless {
                Some("it is headless: its clients resolve pods themselves, a split would not hold; give it a cluster IP, or a selector that does not select these pods".to_owned())
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
        validate(&self.spec, &annotations, &self.policies)
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

fn labels_of(labels: &BTreeMap<String, String>) -> Map<String, Value> {
    labels
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect()
}

/// Whether the labels fit `matchLabels`; expressions can only narrow that and are not looked at.
fn matches_selector(deployment: &Value, labels: &Map<String, Value>) -> bool {
    map(deployment, "/spec/selector/matchLabels")
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn value(object: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| Failure::new(error.to_string()))
}

fn typed<T: DeserializeOwned>(object: Value) -> Result<T, Failure> {
    let title = crate::raw::title(&object);
    serde_json::from_value(object)
        .map_err(|error| Failure::new(format!("{title}: {error}")).exit(Exit::Usage))
}

/// All objects of a file: YAML documents or JSON, lists taken apart.
fn read(file: &PathBuf) -> Result<Vec<Value>, Failure> {
    let fail = |why: String| Failure::new(format!("{}: {why}", file.display())).exit(Exit::Usage);
    let mut content = String::new();
    let stdin = file.as_os_str() == "-";
    let source: Box<dyn Read> = if stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| fail(error.to_string()))?)
    };
    source
        .take(FILE_BYTES + 1)
        .read_to_string(&mut content)
        .map_err(|error| fail(error.to_string()))?;
    if content.len() as u64 > FILE_BYTES {
        return Err(fail(format!("is larger than {} MiB", FILE_BYTES >> 20)));
    }
    objects(&content).map_err(fail)
}

fn objects(content: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(content).map_err(|error| error.to_string())?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if text(&document, "/kind").ends_with("List") => {
                objects.extend(items.iter().cloned());
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

async fn policies(cluster: &Cluster) -> Result<Policies, Failure> {
    let all = ListParams::default();
    let namespaced: Api<RolloutPolicy> =
        Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let namespaced = call("list the RolloutPolicies", namespaced.list(&all)).await?;
    let cluster_wide: Api<ClusterRolloutPolicy> = Api::all(cluster.client.clone());
    let cluster_wide = call("list the ClusterRolloutPolicies", cluster_wide.list(&all)).await?;
    Ok(Policies {
        namespaced: namespaced
            .into_iter()
            .map(|policy| (policy.name_any(), policy.spec))
            .collect(),
        cluster: cluster_wide
            .into_iter()
            .map(|policy| (policy.name_any(), policy.spec.into()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {crossfade.dev/strategy: canary, crossfade.dev/steps: "10% for 1m"}
spec:
  replicas: 8
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {prometheus.io/port: "8080"}}
    spec: {containers: [{name: app, image: "web:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{port: 80}]}
---
apiVersion: crossfade.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: default}
spec: {warm: 90s}
"#;

    fn subject(content: &str) -> Subject {
        Subject::from_objects(objects(content).unwrap(), None, None).unwrap()
    }

    #[test]
    fn an_annotated_deployment_with_service_and_policy() {
        let subject = subject(FILES);
        let validated = subject.validated();
        assert_eq!(validated.problems, Vec::<String>::new());
        assert_eq!(
            (validated.plan.warm, validated.plan.steps.len()),
            (90_000, 1)
        );
        assert_eq!((subject.replicas(), subject.max_unavailable()), (8, 2));
        assert_eq!(subject.services, [("web".to_owned(), None)]);
        assert_eq!(subject.notes, Vec::<String>::new());
        assert_eq!(subject.refused(&validated), None);
    }

    #[test]
    fn what_the_planner_refuses_is_told_with_its_own_words() {
        for (from, to, part) in [
            (
                "replicas: 8",
                "replicas: 0",
                "replicas of the Deployment is 0",
            ),
            ("replicas: 8", "paused: true", "sets spec.paused (the file)"),
            ("replicas: 8", "strategy: {type: Recreate}", "Recreate"),
            (
                "prometheus.io/port",
                "prometheus.io/portal",
                "no metrics port is known",
            ),
            (
                "ports: [{port: 80}]}\n---\napiVersion: v1",
                "clusterIP: None}\n---\napiVersion: v1",
                "headless",
            ),
        ] {
            let subject = subject(&FILES.replacen(from, to, 1));
            let refused = subject.refused(&subject.validated()).unwrap_or_default();
            assert!(refused.contains(part), "{part} in {refused}");
        }
    }

    #[test]
    fn a_policy_or_a_rollout_alone_is_enough() {
        let policy = "kind: RolloutPolicy\nmetadata: {name: careful}\nspec: {warm: 7m}";
        assert_eq!(subject(policy).validated().plan.warm, 420_000);
        let rollout = "kind: Rollout\napiVersion: crossfade.dev/v1alpha1\nmetadata: {name: web}\nspec: {warm: 8m}";
        let subject = subject(rollout);
        assert_eq!(subject.validated().plan.warm, 480_000);
        assert_eq!(subject.replicas(), REPLICAS);
        assert!(subject.notes.iter().any(|note| note.contains("assumed")));
    }

    #[test]
    fn several_or_none_are_no_answer() {
        let fail = |content: &str| {
            Subject::from_objects(objects(content).unwrap(), None, None)
                .unwrap_err()
                .to_string()
        };
        assert!(fail("kind: ConfigMap").contains("no Rollout"));
        let two = FILES.replace(
            "kind: Service\nmetadata: {name: other}",
            "kind: Deployment\nmetadata: {name: other}",
        );
        assert!(fail(&two).contains("other, web"));
        assert!(fail("kind: Rollout\nmetadata: {name: web}\nspec: {worm: 8m}").contains("worm"));
    }
}
