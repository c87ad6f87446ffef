//! Plays operations on one of the servers, the kubelet's part included. Does not wait and does not compare.

use serde_json::{Value, json};

use crate::operation::{Operation, Pick, PodState, Propagation, Which, Whose, app, template};
use crate::server::Server;
use crate::state::{self, PARKING, State, active, assigned, deleting, finished, name, ready, uid};

/// Annotations about sizes and revisions.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// One namespace of one server.
#[derive(Clone)]
pub struct Player {
    pub server: Server,
    pub namespace: String,
    /// Both Deployments have the same selector.
    pub shared: bool,
    /// uid of the ConfigMap that holds parked ReplicaSets.
    pub parking: String,
}

impl Player {
    /// Makes the namespace.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn new(server: Server, namespace: String, shared: bool) -> anyhow::Result<Self> {
        let core = format!("/api/v1/namespaces/{namespace}");
        // Without its ServiceAccount a namespace takes no pods; on the real side a controller is as fast.
        for (path, object) in [
            (
                "/api/v1/namespaces".to_owned(),
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            ),
            (
                format!("{core}/serviceaccounts"),
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
            ),
        ] {
            let (status, body) = server.post(&path, object).await?;
            anyhow::ensure!(matches!(status, 201 | 409), "{path}: {body}");
        }
        let parking =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PARKING}});
        let (status, body) = server.post(&format!("{core}/configmaps"), parking).await?;
        anyhow::ensure!(status == 201, "the parking: {body}");
        let parking = uid(&body).to_owned();
        Ok(Self {
            server,
            namespace,
            shared,
            parking,
        })
    }

    /// # Errors
    /// When the server does not answer.
    pub async fn read(&self) -> anyhow::Result<State> {
        State::read(&self.server, &self.namespace, &self.parking).await
    }

    fn apps(&self, resource: &str, name: &str) -> String {
        format!(
            "/apis/apps/v1/namespaces/{}/{resource}/{name}",
            self.namespace
        )
    }

    fn pod(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.namespace)
    }

    /// What the operation does in this state; the status codes of the answers. One that names nothing does nothing.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn play(&self, operation: &Operation, state: &State) -> anyhow::Result<Vec<u16>> {
        match operation {
            Operation::Create { .. }
            | Operation::Template { .. }
            | Operation::Scale { .. }
            | Operation::Pause { .. }
            | Operation::Strategy { .. }
            | Operation::History { .. }
            | Operation::Annotate { .. }
            | Operation::DeleteDeployment { .. } => Ok(vec![self.on_deployment(operation).await?]),
            Operation::Pods {
                set,
                count,
                state: wanted,
            } => match pick(state, *set) {
                Some(set) => self.change_pods(state, set, *count, *wanted).await,
                None => Ok(Vec::new()),
            },
            Operation::AllReady => {
                // In one order on both sides: controllers act in between.
                for set in &state.sets {
                    for pod in state.pods_of(uid(set)) {
                        if active(pod) && !ready(pod) {
                            self.make(pod, PodState::Ready).await?;
                        }
                    }
                }
                // And may delete some: their answers say nothing.
                Ok(Vec::new())
            }
            Operation::Finish => self.finish(state).await,
            Operation::CreateSet {
                template: number,
                replicas,
                number: count,
                dressed,
            } => {
                let set = self.extra(*number, *replicas, *count, *dressed);
                let path = self.apps("replicasets", "");
                Ok(vec![
                    self.server.post(path.trim_end_matches('/'), set).await?.0,
                ])
            }
            Operation::DeleteSet { set, .. }
            | Operation::Own { set, .. }
            | Operation::Relabel { set, .. }
            | Operation::Unlabel { set, .. }
            | Operation::SizeSet { set, .. }
            | Operation::Strip { set } => match pick(state, *set) {
                Some(set) => self.on_set(operation, state, set).await,
                None => Ok(Vec::new()),
            },
        }
    }

    async fn on_deployment(&self, operation: &Operation) -> anyhow::Result<u16> {
        let path = |which: Which| self.apps("deployments", which.name());
        let labels = |which| app(which, self.shared);
        let (which, body) = match operation {
            Operation::Create {
                which,
                template: number,
                replicas,
                strategy,
                history,
                paused,
                hasty,
            } => {
                let mut strategy = strategy.json();
                if let Some(strategy) = strategy.as_object_mut() {
                    strategy.retain(|_, value| !value.is_null());
                }
                let body = json!({
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": which.name()},
                    "spec": {
                        "replicas": replicas, "paused": paused, "strategy": strategy, "revisionHistoryLimit": history,
                        "progressDeadlineSeconds": if *hasty { 1 } else { 600 },
                        "selector": {"matchLabels": {"app": labels(*which)}},
                        "template": template(*number, labels(*which)),
                    },
                });
                let path = self.apps("deployments", "");
                return Ok(self.server.post(path.trim_end_matches('/'), body).await?.0);
            }
            Operation::Template {
                which,
                template: number,
                pause,
            } => {
                let mut body = json!({"spec": {"template": template(*number, labels(*which))}});
                // A merge patch keeps what it does not name.
                if *number != 5 {
                    body["spec"]["template"]["metadata"]["labels"]["track"] = Value::Null;
                }
                if let Some(pause) = pause {
                    body["spec"]["paused"] = (*pause).into();
                }
                (which, body)
            }
            Operation::Scale { which, replicas } => {
                let path = format!("{}/scale", path(*which));
                return Ok(self
                    .server
                    .patch(&path, json!({"spec": {"replicas": replicas}}))
                    .await?
                    .0);
            }
            Operation::Pause { which, paused } => (which, json!({"spec": {"paused": paused}})),
            Operation::Strategy { which, strategy } => {
                (which, json!({"spec": {"strategy": strategy.json()}}))
            }
            Operation::History { which, limit } => {
                (which, json!({"spec": {"revisionHistoryLimit": limit}}))
            }
            Operation::Annotate { which, value } => (
                which,
                json!({"metadata": {"annotations": {"note": value.to_string()}}}),
            ),
            Operation::DeleteDeployment { which, how } => {
                return Ok(self.server.delete(&path(*which), options(*how)).await?.0);
            }
            _ => return Ok(0),
        };
        Ok(self.server.patch(&path(*which), body).await?.0)
    }

    async fn on_set(
        &self,
        operation: &Operation,
        state: &State,
        set: &Value,
    ) -> anyhow::Result<Vec<u16>> {
        let path = self.apps("replicasets", name(set));
        let body = match operation {
            Operation::DeleteSet { how, .. } => {
                return Ok(vec![self.server.delete(&path, options(*how)).await?.0]);
            }
            Operation::Own { by, dressed, .. } => match self.owned(state, *by, *dressed) {
                Some(body) => body,
                None => return Ok(Vec::new()),
            },
            Operation::Relabel { hash, .. } => {
                let hash = hash.map(|hash| format!("other{hash}"));
                json!({"metadata": {"labels": {"pod-template-hash": hash}}})
            }
            Operation::Unlabel { app, .. } => {
                json!({"metadata": {"labels": {"app": app.then_some("web")}}})
            }
            Operation::SizeSet { replicas, .. } => json!({"spec": {"replicas": replicas}}),
            Operation::Strip { .. } => {
                json!({"metadata": {"annotations": {DESIRED: null, MAXIMUM: null}}})
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![self.server.patch(&path, body).await?.0])
    }

    /// The patch that makes somebody the controller; nothing if there is no such Deployment.
    fn owned(&self, state: &State, by: Whose, dressed: bool) -> Option<Value> {
        let owner = match by {
            Whose::Nobody => return Some(json!({"metadata": {"ownerReferences": null}})),
            Whose::Parked => {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": PARKING, "uid": self.parking, "controller": true, "blockOwnerDeletion": true})
            }
            Whose::Of(which) => {
                let found = state.deployment(which)?;
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": which.name(), "uid": uid(found), "controller": true, "blockOwnerDeletion": true})
            }
        };
        let mut body = json!({"metadata": {"ownerReferences": [owner]}});
        if let (true, Whose::Of(which)) = (dressed, by) {
            let found = state.deployment(which)?;
            let replicas = found
                .pointer("/spec/replicas")
                .and_then(Value::as_i64)
                .unwrap_or(1);
            let revision: i64 = found
                .pointer("/metadata/annotations")
                .and_then(|annotations| annotations.get(REVISION)?.as_str()?.parse().ok())
                .unwrap_or(0);
            body["spec"] = json!({"replicas": replicas});
            body["metadata"]["annotations"] = json!({
                DESIRED: replicas.to_string(),
                // One more: what a surge of a quarter is for the sizes scripts use.
                MAXIMUM: (replicas + 1).to_string(),
                REVISION: (revision + 1).to_string(),
            });
        }
        Some(body)
    }

    fn extra(&self, number: usize, replicas: u32, count: usize, dressed: bool) -> Value {
        let hash = format!("extra{count}");
        let mut template = template(number, "web");
        template["metadata"]["labels"]["pod-template-hash"] = hash.clone().into();
        let annotations = if dressed {
            json!({REVISION: count.to_string()})
        } else {
            json!({})
        };
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("made-{hash}"), "labels": {"app": "web", "pod-template-hash": hash}, "annotations": annotations},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web", "pod-template-hash": hash}}, "template": template},
        })
    }

    async fn change_pods(
        &self,
        state: &State,
        set: &Value,
        count: usize,
        wanted: PodState,
    ) -> anyhow::Result<Vec<u16>> {
        let mut pods: Vec<&Value> = state.pods_of(uid(set)).filter(|pod| active(pod)).collect();
        match wanted {
            PodState::Ready => pods.retain(|pod| !ready(pod)),
            PodState::Unready => pods.retain(|pod| ready(pod)),
            PodState::Failed | PodState::Deleted => {}
        }
        // Pods of one sort are the same to a script: which one of them it is must not matter.
        pods.sort_by_key(|pod| (!assigned(pod), !ready(pod), state::created(pod), name(pod)));
        let mut answers = Vec::new();
        for pod in pods.into_iter().take(count) {
            answers.extend(self.make(pod, wanted).await?);
        }
        Ok(answers)
    }

    async fn make(&self, pod: &Value, wanted: PodState) -> anyhow::Result<Vec<u16>> {
        let path = self.pod(name(pod));
        let mut answers = Vec::new();
        if wanted == PodState::Deleted {
            return Ok(vec![self.server.delete(&path, json!({})).await?.0]);
        }
        if !assigned(pod) {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name(pod)}, "target": {"kind": "Node", "name": "node-1"}});
            answers.push(
                self.server
                    .post(&format!("{path}/binding"), binding)
                    .await?
                    .0,
            );
        }
        let mut fresh = self
            .server
            .call(crossfade_fakeapi::Call::get(path.clone()))
            .await?
            .1;
        let status = fresh.get_mut("status").map(Value::take).unwrap_or_default();
        let body = json!({"status": changed(&status, wanted)});
        answers.push(self.server.patch(&format!("{path}/status"), body).await?.0);
        Ok(answers)
    }

    /// Ends all pods that are being deleted.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn finish(&self, state: &State) -> anyhow::Result<Vec<u16>> {
        let mut answers = Vec::new();
        for pod in state.pods.iter().filter(|pod| deleting(pod)) {
            let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid(pod)}});
            answers.push(self.server.delete(&self.pod(name(pod)), options).await?.0);
        }
        Ok(answers)
    }

    /// Whether a pod waits for the kubelet to end.
    pub fn unfinished(state: &State) -> bool {
        state.pods.iter().any(|pod| deleting(pod) && !finished(pod))
    }
}

fn changed(status: &Value, wanted: PodState) -> Value {
    let known = status.get("conditions").and_then(Value::as_array);
    let mut conditions: Vec<Value> = known
        .into_iter()
        .flatten()
        .filter(|condition| condition.get("type") != Some(&"Ready".into()))
        .cloned()
        .collect();
    let ready = if wanted == PodState::Ready {
        "True"
    } else {
        "False"
    };
    // One time for all: how long a pod has been ready decides which goes first, by the second.
    conditions.push(
        json!({"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}),
    );
    let phase = if wanted == PodState::Failed {
        "Failed"
    } else {
        "Running"
    };
    json!({"phase": phase, "conditions": conditions})
}

fn options(how: Propagation) -> Value {
    json!({"propagationPolicy": format!("{how:?}")})
}

fn pick(state: &State, pick: Pick) -> Option<&Value> {
    let fitting: Vec<&Value> = state
        .sets
        .iter()
        .filter(|set| {
            pick.whose
                .is_none_or(|whose| state.whose(set) == Some(whose))
        })
        .collect();
    let index = pick.index.checked_rem(fitting.len())?;
    fitting.get(index).copied()
}
