//! What scripts act with: the user's calls, waiting for what the cluster shows, and the knobs of the
//! actors. A user tries again what fails for a reason that passes, as people and pipelines do.

use crossfade_fakeapi::At;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_fakeapi::{Caller, FakeApi};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::install::NAMESPACE;
use super::manifests::{App, Front, WEB, image, policy};
use super::processes::Processes;
use crate::actors::{Client, Delay, Manner, Patch, Refused, path};
use crate::json::{annotation, controller, deleting, entries, label, number, text};
use crate::oracles::Oracles;
use crate::oracles::model::{can_serve, size};
use crate::scenario::Setup;
use crate::trace::{Trace, lock};
use crate::webhooks::Webhooks;

/// How long a script waits for something that must come, faults included.
pub const SOON: Duration = Duration::from_secs(900);
/// Between two tries of a user.
const AGAIN: Duration = Duration::from_millis(700);

/// The stage of one world.
pub struct Stage {
    pub api: FakeApi,
    pub trace: Arc<Trace>,
    pub oracles: Arc<Oracles>,
    pub webhooks: Arc<Webhooks>,
    pub cluster: Cluster,
    pub processes: Arc<Processes>,
    pub setup: Setup,
    pub user: Client,
    /// Of the script's own choices.
    pub draw: Mutex<fastrand::Rng>,
    /// The Services before the first release.
    pub before: Mutex<BTreeMap<String, Value>>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stage")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// The user's client: kubectl in the hands of jane.
#[must_use]
pub fn client(api: &FakeApi, draw: fastrand::Rng) -> Client {
    Client::new(
        api,
        Caller::new("jane", "kubectl/v1.34.4 (linux/amd64)"),
        Delay::millis(1, 3),
        draw,
    )
}

/// Whether the same request may succeed a moment later.
fn passes(refused: &Refused) -> bool {
    matches!(refused.status, 409 | 429 | 500 | 503 | 504) && !refused.already_exists()
        || refused.message.contains("try again")
        || refused.message.contains("Try again")
}

impl Stage {
    /// Path of an object of the namespace.
    #[must_use]
    pub fn path(resource: &str, name: &str) -> String {
        path(resource, NAMESPACE, name, "")
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, name: &str) -> Option<Arc<Value>> {
        self.api
            .get(&crossfade_fakeapi::Key::new(resource, NAMESPACE, name))
    }

    /// Objects of a kind.
    #[must_use]
    pub fn list(&self, resource: &str) -> Vec<Arc<Value>> {
        self.api.list(resource, Some(NAMESPACE))
    }

    /// Patches as kubectl does, until it is accepted or refused for good.
    ///
    /// # Errors
    /// The refusal.
    pub async fn patch(
        &self,
        how: Patch,
        resource: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let query: &[(&str, &str)] = match how {
            Patch::Apply | Patch::ApplyForced => &[("fieldManager", "kubectl")],
            Patch::Json | Patch::Merge => &[],
        };
        let began = tokio::time::Instant::now();
        loop {
            match self
                .user
                .patch(how, &Self::path(resource, name), query, body.clone())
                .await
            {
                Ok(object) => return Ok(object),
                Err(refused) if passes(&refused) && began.elapsed() < SOON => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(refused) => {
                    return Err(format!(
                        "PATCH {resource} {name}: {} {}",
                        refused.status, refused.message
                    ));
                }
            }
        }
    }

    /// Patches once; the refusal is what is asked for.
    ///
    /// # Errors
    /// The refusal.
    pub async fn patch_once(
        &self,
        resource: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, Refused> {
        self.user
            .patch(Patch::Merge, &Self::path(resource, name), &[], body.clone())
            .await
    }

    /// Creates, or takes what is there already.
    ///
    /// # Errors
    /// The refusal.
    pub async fn create(&self, resource: &str, object: &Value) -> Result<(), String> {
        let began = tokio::time::Instant::now();
        loop {
            match self.user.create(resource, NAMESPACE, object.clone()).await {
                Ok(_) => return Ok(()),
                Err(refused) if passes(&refused) && began.elapsed() < SOON => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(refused) => {
                    return Err(format!(
                        "POST {resource}: {} {}",
                        refused.status, refused.message
                    ));
                }
            }
        }
    }

    /// Deletes.
    ///
    /// # Errors
    /// The refusal.
    pub async fn delete(
        &self,
        resource: &str,
        name: &str,
        propagation: &str,
    ) -> Result<(), Refused> {
        self.user
            .delete(
                resource,
                NAMESPACE,
                name,
                json!({ "propagationPolicy": propagation }),
            )
            .await
            .map(|_| ())
    }

    /// Creates as the setup says: by kubectl or by server-side apply.
    async fn place(&self, resource: &str, object: &Value) -> Result<(), String> {
        let Some(manager) = self.setup.applied_by else {
            return self.create(resource, object).await;
        };
        let path = Self::path(resource, text(object, "/metadata/name"));
        let query = [("fieldManager", manager)];
        self.user
            .patch(Patch::Apply, &path, &query, object.clone())
            .await
            .map(|_| ())
            .map_err(|refused| format!("apply {path}: {}", refused.message))
    }

    /// Creates the app, its Services and the policy, and waits until it serves.
    ///
    /// # Errors
    /// What did not come about.
    pub async fn deploy(&self) -> Result<(), String> {
        self.create("rolloutpolicies", &policy(&self.setup.plan))
            .await?;
        for app in &self.setup.apps {
            for front in &app.fronts {
                self.place("services", &app.service(*front)).await?;
            }
            self.place("deployments", &app.deployment()).await?;
        }
        for app in &self.setup.apps {
            let replicas = i64::from(app.replicas);
            self.until(&format!("{} serves", app.name), move |stage| {
                stage.get("deployments", app.name).is_some_and(|object| {
                    number(&object, "/status/availableReplicas") == replicas
                        && number(&object, "/status/updatedReplicas") == replicas
                })
            })
            .await?;
        }
        let services = self.list("services");
        *lock(&self.before) = services
            .iter()
            .map(|service| {
                (
                    text(service, "/metadata/name").to_owned(),
                    service.as_ref().clone(),
                )
            })
            .collect();
        Ok(())
    }

    /// Pushes a version: `kubectl set image`.
    ///
    /// # Errors
    /// The refusal.
    pub async fn push(&self, tag: &str) -> Result<(), String> {
        self.trace.line(&format_args!("user pushes {tag}"));
        let body =
            json!({ "spec": { "template": { "spec": { "containers": [self.container(tag)] } } } });
        self.patch(Patch::Merge, "deployments", WEB, &body)
            .await
            .map(|_| ())
    }

    fn container(&self, tag: &str) -> Value {
        // A merge patch replaces lists whole.
        let app = self.app(tag);
        app.template()
            .at("/spec/containers/0")
            .cloned()
            .unwrap_or_default()
    }

    /// The first app with this version.
    #[must_use]
    pub fn app(&self, tag: &str) -> App {
        let mut app = self
            .setup
            .apps
            .first()
            .cloned()
            .unwrap_or_else(|| App::new(4));
        app.image = image(tag);
        app
    }

    /// The Services of the first app.
    #[must_use]
    pub fn fronts(&self) -> Vec<Front> {
        self.setup
            .apps
            .first()
            .map(|app| app.fronts.clone())
            .unwrap_or_default()
    }

    /// Scales by `/scale`, as an autoscaler or `kubectl scale` does.
    ///
    /// # Errors
    /// The refusal.
    pub async fn scale(&self, replicas: u32) -> Result<(), String> {
        self.trace.line(&format_args!("user scales to {replicas}"));
        let body = json!({ "spec": { "replicas": replicas } });
        let path = path("deployments", NAMESPACE, WEB, "scale");
        let began = tokio::time::Instant::now();
        loop {
            match self
                .user
                .patch(Patch::Merge, &path, &[], body.clone())
                .await
            {
                Ok(_) => return Ok(()),
                Err(refused) if passes(&refused) && began.elapsed() < SOON => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(refused) => {
                    return Err(format!("scale: {} {}", refused.status, refused.message));
                }
            }
        }
    }

    /// Writes a command, as the command line does.
    ///
    /// # Errors
    /// The refusal.
    pub async fn command(&self, fields: Value) -> Result<(), String> {
        self.trace.line(&format_args!("user commands {fields}"));
        let mut control = fields;
        if let Some(map) = control.as_object_mut()
            && !map.contains_key("id")
        {
            let id = format!("{:016x}", lock(&self.draw).u64(..));
            map.insert("id".to_owned(), json!(id));
        }
        // The whole field: what an earlier command said must not stay beside it.
        let body = json!([{ "op": "add", "path": "/spec/control", "value": control }]);
        self.patch(Patch::Json, "rollouts", WEB, &body)
            .await
            .map(|_| ())
    }

    /// The Rollout.
    #[must_use]
    pub fn rollout(&self) -> Arc<Value> {
        self.get("rollouts", WEB).unwrap_or_default()
    }

    /// Its phase.
    #[must_use]
    pub fn phase(&self) -> String {
        text(&self.rollout(), "/status/phase").to_owned()
    }

    /// Waits until the objects show something.
    ///
    /// # Errors
    /// When they do not within [`SOON`].
    pub async fn until(&self, what: &str, shown: impl Fn(&Self) -> bool) -> Result<(), String> {
        let mut changes = self.api.changes();
        let waited = tokio::time::timeout(SOON, async {
            loop {
                changes.borrow_and_update();
                if shown(self) {
                    return;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        waited.await.map_err(|_| {
            let rollout = self.rollout();
            format!(
                "not within {} s: {what}; phase {}, {}",
                SOON.as_secs(),
                text(&rollout, "/status/phase"),
                text(&rollout, "/status/message")
            )
        })
    }

    /// Waits for a phase.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn until_phase(&self, phase: &str) -> Result<(), String> {
        self.until(&format!("phase {phase}"), |stage| stage.phase() == phase)
            .await
    }

    /// Waits for a step, counted from 0, in a state such as `Observing`.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn until_step(&self, index: i64, state: &str) -> Result<(), String> {
        self.until(&format!("step {index} {state}"), |stage| {
            let rollout = stage.rollout();
            number(&rollout, "/status/step/index") == index
                && text(&rollout, "/status/step/state") == state
        })
        .await
    }

    /// Waits until a version is promoted and its release at rest.
    ///
    /// # Errors
    /// When it does not come, or something else does.
    pub async fn until_promoted(&self, tag: &str) -> Result<(), String> {
        self.until(&format!("{tag} is promoted"), |stage| {
            let rollout = stage.rollout();
            text(&rollout, "/status/phase") == "Idle"
                && text(&rollout, "/status/history/0/outcome") == "promoted"
                && text(&rollout, "/status/history/0/images/0") == image(tag)
        })
        .await
    }

    /// Waits until a release has been taken back.
    ///
    /// # Errors
    /// When it is not.
    pub async fn until_rolled_back(&self) -> Result<(), String> {
        self.until_phase("RolledBack").await
    }

    /// Whether a ReplicaSet is parked: the hand-over is between parking and transfer or later.
    #[must_use]
    pub fn parked(&self) -> bool {
        self.list("replicasets")
            .iter()
            .any(|set| controller(set).is_some_and(|(kind, _)| kind == "Rollout"))
    }

    /// The parallel Deployment, if there is one.
    #[must_use]
    pub fn parallel(&self) -> Option<Arc<Value>> {
        self.list("deployments")
            .into_iter()
            .find(|object| !label(object, "crossfade.dev/rollout-uid").is_empty())
    }

    /// Pods that can serve, by image.
    #[must_use]
    pub fn serving(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for pod in self.list("pods") {
            if can_serve(&pod) {
                *count
                    .entry(text(&pod, "/spec/containers/0/image").to_owned())
                    .or_default() += 1;
            }
        }
        count
    }

    /// A version answers so many of a hundred requests with an error.
    pub fn errors(&self, tag: &str, percent: u32) {
        self.cluster.errors(&image(tag), percent);
    }

    /// What an image does from now on.
    pub fn manner(&self, tag: &str, manner: Manner) {
        self.cluster.manner(&image(tag), manner);
    }

    /// Whether the end is as a scenario says; what is wrong otherwise.
    #[must_use]
    pub fn wrong_end(&self, end: crate::scenario::End) -> Vec<String> {
        use crate::scenario::End;
        let mut wrong = Vec::new();
        let phase = self.phase();
        let (tag, wanted, paused) = match end {
            End::Promoted(tag) => (tag, "Idle", false),
            End::RolledBack(tag) => (tag, "RolledBack", true),
            End::Gone => {
                if !self.list("pods").is_empty() || !self.list("deployments").is_empty() {
                    wrong.push("something is left".to_owned());
                }
                return wrong;
            }
            End::AnyRest => return wrong,
        };
        if phase != wanted {
            wrong.push(format!(
                "phase {phase} instead of {wanted}: {}",
                text(&self.rollout(), "/status/message")
            ));
        }
        let Some(web) = self.get("deployments", WEB) else {
            wrong.push("the Deployment is gone".to_owned());
            return wrong;
        };
        let replicas = usize::try_from(size(&web)).unwrap_or(0);
        let serving = self.serving();
        if serving.get(&image(tag)).copied().unwrap_or(0) < replicas || serving.len() != 1 {
            wrong.push(format!(
                "serving {serving:?} instead of {replicas} of {tag}"
            ));
        }
        if crate::json::flag(&web, "/spec/paused") != paused {
            wrong.push(format!("paused is {}", !paused));
        }
        wrong
    }

    /// Services that differ from what they were before the first release.
    #[must_use]
    pub fn changed_services(&self) -> Vec<String> {
        let before = lock(&self.before);
        let mut changed = Vec::new();
        for (name, service) in before.iter() {
            let Some(now) = self.get("services", name) else {
                changed.push(format!("Service {name} is gone"));
                continue;
            };
            let (mut service, mut now) = (service.clone(), now.as_ref().clone());
            for object in [&mut service, &mut now] {
                if let Some(map) = object
                    .pointer_mut("/metadata")
                    .and_then(Value::as_object_mut)
                {
                    map.remove("resourceVersion");
                }
            }
            changed.extend(
                crate::json::differences(&service, &now)
                    .into_iter()
                    .map(|difference| format!("Service {name}{difference}")),
            );
        }
        changed
    }

    /// Revisions of the Deployment's ReplicaSets, by number, with their image.
    #[must_use]
    pub fn revisions(&self) -> BTreeMap<i64, String> {
        self.list("replicasets")
            .iter()
            .filter(|set| !deleting(set))
            .map(|set| {
                let revision = annotation(set, "deployment.kubernetes.io/revision")
                    .parse()
                    .unwrap_or(0);
                let image = entries(set, "/spec/template/spec/containers")
                    .next()
                    .map_or("", |container| text(container, "/image"));
                (revision, image.to_owned())
            })
            .collect()
    }
}
