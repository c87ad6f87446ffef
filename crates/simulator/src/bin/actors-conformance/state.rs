//! What is in a script's namespace: read, judged whether it can be at rest, and made comparable. Names,
//! uids, times and hashes become what they stand for; nothing else is left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::course::Sizes;
use crate::operation::{Which, Whose, template_number};
use crate::server::Server;

/// The ConfigMap that holds parked ReplicaSets.
pub const PARKING: &str = "parking";

/// All workloads of a namespace.
#[derive(Clone, Debug)]
pub struct State {
    pub deployments: Vec<Value>,
    /// By creation.
    pub sets: Vec<Value>,
    pub pods: Vec<Value>,
    parking: String,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub fn deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

fn owners(object: &Value) -> &[Value] {
    object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// uid of the controller, empty without one.
pub fn controller(object: &Value) -> &str {
    owners(object)
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
        .map_or("", |owner| text(owner, "/uid"))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

pub fn ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| text(ready, "/status") == "True")
}

pub fn finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

pub fn active(pod: &Value) -> bool {
    !finished(pod) && !deleting(pod)
}

pub fn assigned(pod: &Value) -> bool {
    !text(pod, "/spec/nodeName").is_empty()
}

pub fn created(object: &Value) -> &str {
    text(object, "/metadata/creationTimestamp")
}

impl State {
    /// # Errors
    /// When the server does not answer.
    pub async fn read(server: &Server, namespace: &str, parking: &str) -> anyhow::Result<Self> {
        let apps = format!("/apis/apps/v1/namespaces/{namespace}");
        // The owners last: whatever a dependent names is then still seen, or is gone.
        let pods = server
            .list(&format!("/api/v1/namespaces/{namespace}/pods"))
            .await?;
        let mut sets = server.list(&format!("{apps}/replicasets")).await?;
        let deployments = server.list(&format!("{apps}/deployments")).await?;
        sets.sort_by_cached_key(|set| {
            (
                created(set).to_owned(),
                of_template(set),
                name(set).to_owned(),
            )
        });
        Ok(Self {
            deployments,
            sets,
            pods,
            parking: parking.to_owned(),
        })
    }

    pub fn deployment(&self, which: Which) -> Option<&Value> {
        self.deployments
            .iter()
            .find(|found| name(found) == which.name())
    }

    /// Whose a ReplicaSet is; nothing for an owner that is gone.
    pub fn whose(&self, set: &Value) -> Option<Whose> {
        let owner = controller(set);
        if owner.is_empty() {
            return Some(Whose::Nobody);
        }
        if owner == self.parking {
            return Some(Whose::Parked);
        }
        [Which::Web, Which::Candidate]
            .into_iter()
            .find(|which| {
                self.deployment(*which)
                    .is_some_and(|found| uid(found) == owner)
            })
            .map(Whose::Of)
    }

    pub fn pods_of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Value> {
        self.pods.iter().filter(move |pod| controller(pod) == owner)
    }

    /// Why it cannot be at rest yet: what controllers must still do. Nothing found is no proof of rest.
    pub fn unrest(&self) -> Option<String> {
        let known = |uid: &str| {
            uid == self.parking
                || self
                    .deployments
                    .iter()
                    .chain(&self.sets)
                    .any(|object| self::uid(object) == uid)
        };
        let dangling = self.sets.iter().chain(&self.pods).find(|object| {
            !deleting(object)
                && owners(object)
                    .iter()
                    .any(|owner| !known(text(owner, "/uid")))
        });
        if let Some(object) = dangling {
            return Some(format!("an owner of {} is gone", name(object)));
        }
        let behind = self.deployments.iter().chain(&self.sets).find(|object| {
            number(object, "/status/observedGeneration") != number(object, "/metadata/generation")
        });
        if let Some(object) = behind {
            return Some(format!("{} is not observed", name(object)));
        }
        for set in &self.sets {
            let active: Vec<&Value> = self.pods_of(uid(set)).filter(|pod| active(pod)).collect();
            let count = |keep: &dyn Fn(&Value) -> bool| {
                i64::try_from(active.iter().filter(|pod| keep(pod)).count()).unwrap_or(i64::MAX)
            };
            if number(set, "/status/replicas") != count(&|_| true)
                || number(set, "/status/readyReplicas") != count(&ready)
                || (!deleting(set) && number(set, "/spec/replicas") != count(&|_| true))
            {
                return Some(format!("{} does not count its pods", name(set)));
            }
        }
        // A deadline of a second is met or missed before rest.
        let hurries = self.deployments.iter().find(|deployment| {
            let number = |pointer| number(deployment, pointer);
            let reason =
                condition(deployment, "Progressing").map_or("", |found| text(found, "/reason"));
            number("/spec/progressDeadlineSeconds") == 1
                && deployment.pointer("/spec/paused") != Some(&Value::Bool(true))
                && !deleting(deployment)
                && !matches!(
                    reason,
                    "NewReplicaSetAvailable" | "ProgressDeadlineExceeded"
                )
        });
        if let Some(deployment) = hurries {
            return Some(format!("the deadline of {} may pass", name(deployment)));
        }
        let miscounted = self.deployments.iter().find(|deployment| {
            ["/status/replicas", "/status/readyReplicas"]
                .iter()
                .any(|field| {
                    let sum: i64 = self
                        .sets
                        .iter()
                        .filter(|set| controller(set) == uid(deployment))
                        .map(|set| number(set, field))
                        .sum();
                    sum != number(deployment, field)
                })
        });
        miscounted.map(|deployment| format!("{} does not count its sets", name(deployment)))
    }

    /// What is compared.
    pub fn normal(&self, sizes: &Sizes) -> Value {
        let deployments: Map<String, Value> = self
            .deployments
            .iter()
            .map(|found| (name(found).to_owned(), self.normal_deployment(found)))
            .collect();
        let mut by_template: BTreeMap<usize, Vec<(String, String, Value)>> = BTreeMap::new();
        for set in &self.sets {
            let normal = self.normal_set(set, sizes);
            by_template.entry(of_template(set)).or_default().push((
                created(set).to_owned(),
                normal.to_string(),
                normal,
            ));
        }
        let mut sets = Map::new();
        for (template, mut same) in by_template {
            same.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
            for (index, (_, _, normal)) in same.into_iter().enumerate() {
                sets.insert(format!("template {template}, number {}", index + 1), normal);
            }
        }
        let loose = self
            .pods
            .iter()
            .filter(|pod| !self.sets.iter().any(|set| uid(set) == controller(pod)));
        json!({"deployments": deployments, "sets": sets, "loose pods": tally(loose)})
    }

    fn normal_deployment(&self, deployment: &Value) -> Value {
        let mut status = deployment.get("status").cloned().unwrap_or_default();
        let generation = number(deployment, "/metadata/generation");
        if let Some(status) = status.as_object_mut() {
            let lag = generation
                - status
                    .remove("observedGeneration")
                    .and_then(|seen| seen.as_i64())
                    .unwrap_or(0);
            status.insert("lag".to_owned(), lag.into());
            let conditions = self.conditions(deployment);
            status.insert("conditions".to_owned(), conditions);
        }
        json!({
            "replicas": deployment.pointer("/spec/replicas"),
            "paused": deployment.pointer("/spec/paused"),
            "annotations": deployment.pointer("/metadata/annotations"),
            "finalizers": deployment.pointer("/metadata/finalizers"),
            "deleting": deleting(deployment),
            "status": status,
        })
    }

    /// Their order is left out: it is that of the last changes, and two may come in one write or in two.
    fn conditions(&self, object: &Value) -> Value {
        let conditions = object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let normal: Map<String, Value> = conditions
            .into_iter()
            .flatten()
            .map(|condition| {
                let value = json!({
                    "status": condition.get("status"),
                    "reason": condition.get("reason"),
                    "message": self.plain(text(condition, "/message")),
                });
                (text(condition, "/type").to_owned(), value)
            })
            .collect();
        normal.into()
    }

    /// A message with the hash at the end of a ReplicaSet's name left out.
    fn plain(&self, message: &str) -> String {
        message
            .split('"')
            .enumerate()
            .map(|(index, part)| match part.rsplit_once('-') {
                Some((before, _))
                    if index % 2 == 1
                        && before.starts_with("web")
                        && part != Which::Candidate.name() =>
                {
                    format!("{before}-<hash>")
                }
                _ => part.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\"")
    }

    fn normal_set(&self, set: &Value, sizes: &Sizes) -> Value {
        let mut labels = set.pointer("/metadata/labels").cloned().unwrap_or_default();
        let hash = text(set, "/spec/selector/matchLabels/pod-template-hash");
        if let Some(label) = labels.get_mut("pod-template-hash")
            && label.as_str() == Some(hash)
        {
            *label = "<own>".into();
        }
        let owners: Vec<String> = owners(set)
            .iter()
            .map(|owner| {
                let kind = text(owner, "/kind");
                let flags = ["controller", "blockOwnerDeletion"]
                    .map(|flag| {
                        owner
                            .get(flag)
                            .map_or_else(String::new, |value| format!(" {flag}={value}"))
                    })
                    .concat();
                let known = text(owner, "/uid") == self.parking
                    || self
                        .deployments
                        .iter()
                        .any(|found| uid(found) == text(owner, "/uid"));
                let gone = if known { "" } else { " (gone)" };
                format!("{kind} {}{flags}{gone}", text(owner, "/name"))
            })
            .collect();
        let status = |field: &str| number(set, &format!("/status/{field}"));
        json!({
            "labels": labels,
            "own name": name(set).rsplit_once('-').map(|(before, after)| {
                if after == hash { format!("{before}-<hash>") } else { name(set).to_owned() }
            }),
            "owners": owners,
            "replicas": set.pointer("/spec/replicas"),
            "sizes on the way": sizes.get(uid(set)),
            "annotations": set.pointer("/metadata/annotations"),
            "finalizers": set.pointer("/metadata/finalizers"),
            "deleting": deleting(set),
            "status": {
                "replicas": status("replicas"),
                "fullyLabeledReplicas": status("fullyLabeledReplicas"),
                "readyReplicas": status("readyReplicas"),
                "availableReplicas": status("availableReplicas"),
                "lag": number(set, "/metadata/generation") - status("observedGeneration"),
                "conditions": self.conditions(set),
            },
            "pods": tally(self.pods_of(uid(set))),
        })
    }
}

fn of_template(set: &Value) -> usize {
    set.pointer("/spec/template").map_or(0, template_number)
}

/// How many pods there are of each sort.
fn tally<'a>(pods: impl Iterator<Item = &'a Value>) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods {
        let mut sort = vec![text(pod, "/status/phase")];
        for (holds, word) in [
            (ready(pod), "ready"),
            (deleting(pod), "deleting"),
            (assigned(pod), "assigned"),
        ] {
            if holds {
                sort.push(word);
            }
        }
        *counts.entry(sort.join(" ")).or_default() += 1;
    }
    json!(counts)
}
