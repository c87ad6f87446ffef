//! What a user writes: a Deployment, its Services, a policy with a plan. As JSON, as it would stand in
//! Git. Not here: when it is applied.

use serde_json::{Map, Value, json};

/// The user's Deployment in every world.
pub const WEB: &str = "web";
/// The port of its containers.
pub const PORT: u16 = 8080;

/// A Service in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    pub name: &'static str,
    /// Publishes addresses of pods that are not ready.
    pub publishes_not_ready: bool,
    /// People try the candidate through it.
    pub preview: bool,
    pub spread: Spread,
}

/// Who spreads connections over its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Every node over all pods.
    #[default]
    Cluster,
    /// Every node over its own.
    Local,
    /// Clients, over those they resolve.
    Headless,
    /// Something outside the cluster, over nodes.
    LoadBalancer,
}

impl Front {
    /// An ordinary one.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            publishes_not_ready: false,
            preview: false,
            spread: Spread::Cluster,
        }
    }
}

/// A Deployment and what stands in front of it.
#[derive(Clone, Debug)]
pub struct App {
    pub name: &'static str,
    pub replicas: u32,
    pub image: String,
    pub opted_in: bool,
    /// Value of the opt-in.
    pub strategy: &'static str,
    pub fronts: Vec<Front>,
    pub max_surge: Value,
    pub max_unavailable: Value,
    pub min_ready_seconds: u32,
    /// Of its pods' end, in seconds.
    pub grace: u32,
    /// Fields no type of ours knows, and a null time: they must come through a hand-over.
    pub odd_fields: bool,
}

impl App {
    /// Four pods behind one Service.
    #[must_use]
    pub fn new(replicas: u32) -> Self {
        Self {
            name: WEB,
            replicas,
            image: image("v1"),
            opted_in: true,
            strategy: "canary",
            fronts: vec![Front::named(WEB)],
            max_surge: json!("25%"),
            max_unavailable: json!("25%"),
            min_ready_seconds: 0,
            grace: 15,
            odd_fields: false,
        }
    }

    /// The Deployment as the user writes it.
    #[must_use]
    pub fn deployment(&self) -> Value {
        let mut annotations = Map::new();
        if self.opted_in {
            annotations.insert("crossfade.dev/strategy".to_owned(), json!(self.strategy));
        }
        let mut spec = json!({
            "replicas": self.replicas,
            "selector": { "matchLabels": { "app": self.name } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": self.max_surge, "maxUnavailable": self.max_unavailable } },
            "template": self.template(),
        });
        if self.min_ready_seconds > 0 {
            spec["minReadySeconds"] = json!(self.min_ready_seconds);
        }
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": self.name, "labels": { "app": self.name }, "annotations": annotations },
            "spec": spec,
        })
    }

    /// Its pods.
    #[must_use]
    pub fn template(&self) -> Value {
        let mut container = json!({
            "name": "app",
            "image": self.image,
            "ports": [{ "name": "http", "containerPort": PORT }],
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 1 },
        });
        if self.odd_fields {
            container["env"] = json!([{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
        }
        json!({
            "metadata": {
                "labels": { "app": self.name },
                "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": PORT.to_string(), "prometheus.io/path": "/metrics" },
            },
            "spec": { "terminationGracePeriodSeconds": self.grace, "containers": [container] },
        })
    }

    /// One of its Services.
    #[must_use]
    pub fn service(&self, front: Front) -> Value {
        let mut spec = json!({
            "selector": { "app": self.name },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        });
        if front.publishes_not_ready {
            spec["publishNotReadyAddresses"] = json!(true);
        }
        match front.spread {
            Spread::Cluster => {}
            Spread::Local => spec["internalTrafficPolicy"] = json!("Local"),
            Spread::Headless => spec["clusterIP"] = json!("None"),
            Spread::LoadBalancer => spec["type"] = json!("LoadBalancer"),
        }
        let mut labels = json!({ "app": self.name });
        if front.preview {
            labels["purpose"] = json!("preview");
        }
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": front.name, "labels": labels },
            "spec": spec,
        })
    }
}

/// An image by its tag.
#[must_use]
pub fn image(tag: &str) -> String {
    format!("registry.local/app:{tag}")
}

/// A plan short enough for worlds: 20 % and 50 % for four seconds, warm for six, a look each second.
#[must_use]
pub fn plan() -> Value {
    json!({
        "strategy": { "canary": { "steps": [{ "weight": 20, "for": "4s" }, { "weight": 50, "for": "4s" }] } },
        "warm": "6s",
        "analysis": { "interval": "1s", "minRequests": 20 },
        // Longer than clocks are wrong by: read backwards it would end a release that is on time.
        "progressDeadline": "3m",
    })
}

/// One value over another, map by map.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The policy that carries the plan to every Rollout of the namespace.
#[must_use]
pub fn policy(plan: &Value) -> Value {
    json!({
        "apiVersion": "crossfade.dev/v1alpha1", "kind": "RolloutPolicy",
        "metadata": { "name": "default" },
        "spec": plan,
    })
}
