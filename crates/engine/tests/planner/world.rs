//! A cluster small enough to reason about: objects, time, and what the API server does with an effect.
//!
//! Knows Kubernetes, not Crossfade: what the controllers do with the objects stands in `controllers`,
//! what the planner gets to see in `view`.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_api::ControlSpec;
use crossfade_engine::observed::KeptTemplate;
use crossfade_judge::Tick;
use serde_json::{Value, json};

pub use crate::objects::{Dep, Manner, Own, PodState, Set, Svc};

/// Milliseconds since the scenario began.
pub type Millis = i64;

#[derive(Clone, Debug)]
pub struct World {
    pub now: Millis,
    pub counter: u64,
    /// Grows with every change that moves no resourceVersion.
    pub moves: u64,
    pub names: u64,
    pub generation: i64,
    pub control: Option<ControlSpec>,
    pub workload: Option<Dep>,
    pub parallels: Vec<Dep>,
    pub sets: Vec<Set>,
    pub pods: Vec<PodState>,
    pub services: Vec<Svc>,
    pub kept: Vec<KeptTemplate>,
    /// Deployments and pods whose owner is gone: collected then.
    pub doomed: Vec<(Millis, String)>,
    pub manners: BTreeMap<String, Manner>,
    pub fence: Option<Millis>,
    /// Watches of pods lag: those of the candidate are seen by who reads the server only.
    pub pods_unseen: bool,
    /// What is looked at comes from watches, unless the pass before asked for more.
    pub watched: bool,
    pub quota: Option<usize>,
    /// Pods there is room for on the nodes; the rest are pending.
    pub room: Option<usize>,
    /// No ReplicaSet can be created: a policy, a quota of objects.
    pub refuses_sets: bool,
    /// No ControllerRevision can be created.
    pub refuses_copies: bool,
    /// The Deployment controller is away.
    pub deployments_rest: bool,
    /// No Service can be written.
    pub refuses_services: bool,
    pub metrics: bool,
    /// Stable's pods give none.
    pub stable_is_silent: bool,
    pub rate: u64,
    pub ticks: Vec<Tick>,
    pub tick_number: u64,
    pub next_tick: Millis,
    /// Somebody asks the pods for their metrics.
    pub feeding: bool,
    pub answered: BTreeMap<String, Millis>,
    pub error_rest: u64,
    /// Requests the candidate under way has answered.
    pub judged_requests: u64,
    pub judged_candidate: String,
    /// Endpoints follow pods this much later.
    pub lag: Millis,
    pub grace: Millis,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Conflict,
    /// By a rule of the cluster, and again when it is tried again.
    Refused,
}

pub const ROLLOUT_UID: &str = "rollout-uid";
pub const OURSELVES: &str = "crossfade";

pub fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"prometheus.io/port": "8080"}, "creationTimestamp": null},
        "spec": {"containers": [{"name": "app", "image": image}]},
    })
}

/// The template as the Deployment controller compares it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| !value.is_null() && *key != "pod-template-hash")
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
        Value::Array(list) => list.iter().map(plain).collect(),
        other => other.clone(),
    }
}

pub fn same(left: &Value, right: &Value) -> bool {
    plain(left) == plain(right)
}

pub fn image(template: &Value) -> String {
    template["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

pub fn hash(template: &Value) -> String {
    let mut sum: u32 = 2_166_136_261;
    for byte in plain(template).to_string().bytes() {
        sum = (sum ^ u32::from(byte)).wrapping_mul(16_777_619);
    }
    let tag = image(template).replace([':', '.'], "");
    format!("{tag}{:02x}", sum % 256)
}

impl World {
    pub fn new(replicas: u32) -> Self {
        Self {
            now: 0,
            counter: 0,
            moves: 0,
            names: 0,
            generation: 1,
            control: None,
            workload: None,
            parallels: Vec::new(),
            sets: Vec::new(),
            pods: Vec::new(),
            services: Vec::new(),
            kept: Vec::new(),
            doomed: Vec::new(),
            manners: BTreeMap::new(),
            fence: None,
            pods_unseen: false,
            watched: false,
            quota: None,
            room: None,
            refuses_sets: false,
            refuses_copies: false,
            deployments_rest: false,
            refuses_services: false,
            metrics: true,
            stable_is_silent: false,
            rate: 1200,
            ticks: Vec::new(),
            tick_number: 0,
            next_tick: 5000,
            feeding: false,
            answered: BTreeMap::new(),
            error_rest: 0,
            judged_requests: 0,
            judged_candidate: String::new(),
            lag: 1000,
            grace: 2000,
        }
        .with_workload(replicas)
    }

    fn with_workload(mut self, replicas: u32) -> Self {
        self.create_workload(replicas, "app:1");
        self
    }

    pub fn create_workload(&mut self, replicas: u32, image: &str) {
        let uid = self.id("web");
        let rv = self.rv();
        self.workload = Some(Dep {
            name: "web".to_owned(),
            uid,
            rv,
            generation: 1,
            observed: 0,
            deleting: false,
            replicas,
            paused: false,
            template: template(image),
            strategy_annotation: Some("canary".to_owned()),
            bypass: None,
            bypass_template: None,
            in_managed_fields: false,
            rolling_update: true,
            paused_by_manifest: None,
            claimed_by: None,
            surge: 1,
            unavailable: 1,
            revision: 0,
            history_limit: 10,
            candidate: String::new(),
            originals: None,
            status_replicas: 0,
            failure: None,
        });
    }

    pub fn id(&mut self, kind: &str) -> String {
        self.counter += 1;
        format!("{kind}-{}", self.counter)
    }

    pub fn rv(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn web(&mut self) -> &mut Dep {
        self.workload.as_mut().expect("there is a workload")
    }

    /// Somebody writes the workload's spec.
    pub fn edit(&mut self, change: impl FnOnce(&mut Dep)) {
        let rv = self.rv();
        let web = self.web();
        change(web);
        web.generation += 1;
        web.rv = rv;
    }

    /// A template and a bypass in one write, through the gate.
    pub fn push_past(&mut self, template: Value, reason: String) {
        let used = self
            .sets
            .iter()
            .any(|set| set.bypass.as_ref() == Some(&reason));
        let counts = !used && self.web().bypass.as_ref() != Some(&reason);
        let print = crossfade_engine::identity::fingerprint(&template);
        self.web().bypass = Some(reason);
        self.push(template);
        self.web().bypass_template = counts.then_some(print);
    }

    /// A template is pushed through the gate.
    pub fn push(&mut self, template: Value) {
        self.edit(|web| {
            if !same(&web.template, &template) {
                web.bypass_template = None;
            }
            if web.strategy_annotation.is_some() && !same(&web.template, &template) {
                web.paused = true;
            }
            web.template = template;
        });
    }

    pub fn add_service(&mut self, name: &str) {
        let uid = self.id("svc");
        let rv = self.rv();
        self.services.push(Svc {
            name: name.to_owned(),
            uid,
            rv,
            hash: None,
            held: None,
            fields: json!([{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}}]),
            endpoints: BTreeSet::new(),
            pending: None,
            refusal: None,
            publish_not_ready: false,
            local_policy: false,
            headless: false,
            balanced: false,
            preview: false,
            created: self.now,
        });
    }

    /// The Services that users come through.
    pub fn fronts(&self) -> impl Iterator<Item = &Svc> {
        self.services.iter().filter(|service| !service.preview)
    }

    pub fn manner(&self, image: &str) -> Manner {
        self.manners.get(image).cloned().unwrap_or(Manner {
            start: Some(3000),
            crash: false,
            errors: 0,
        })
    }

    /// A time the world moves by itself at, after now.
    pub fn next_event(&self) -> Option<Millis> {
        let pods = self
            .pods
            .iter()
            .flat_map(|pod| [pod.ready_at.filter(|_| !pod.ready), pod.gone_at]);
        let services = self
            .services
            .iter()
            .map(|service| service.pending.as_ref().map(|(at, _)| *at));
        pods.chain(services)
            .chain(self.doomed.iter().map(|(at, _)| Some(*at)))
            .chain([self.fence, Some(self.next_tick).filter(|_| self.feeding)])
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// Background deletion: the collector takes the ReplicaSet a second later, its pods another one.
    pub fn delete_parallel(&mut self, uid: &str) {
        self.parallels.retain(|known| known.uid != uid);
        let at = self.now + 1000;
        let sets: Vec<String> = self
            .sets
            .iter()
            .filter(|set| set.own == Own::Deployment(uid.to_owned()))
            .map(|set| set.uid.clone())
            .collect();
        self.doomed.extend(sets.into_iter().map(|set| (at, set)));
    }

    pub fn delete_workload(&mut self) {
        let Some(web) = self.workload.take() else {
            return;
        };
        let at = self.now + 1000;
        let mut doomed: Vec<String> = self
            .parallels
            .iter()
            .map(|known| known.uid.clone())
            .collect();
        doomed.extend(
            self.sets
                .iter()
                .filter(|set| set.own == Own::Deployment(web.uid.clone()))
                .map(|set| set.uid.clone()),
        );
        self.doomed.extend(doomed.into_iter().map(|uid| (at, uid)));
        self.kept.clear();
    }
}
