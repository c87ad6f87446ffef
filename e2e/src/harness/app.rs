//! The manifests of the test application, as a user would write them. What is asserted about it belongs to the scenarios.

use serde_json::{Map, Value, json};

use crate::cluster::image::REPOSITORY;

pub(crate) const PORT: u16 = 8080;
/// The port of its Service, another than the container's so that mixing them up shows.
pub(crate) const SERVICE_PORT: u16 = 80;

/// The image with a tag: v1 to v9, bad (20 % errors), slow, crash; any other cannot be pulled.
pub(crate) fn image(tag: &str) -> String {
    format!("{REPOSITORY}:{tag}")
}

#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    pub(crate) tag: String,
    /// False: exits at once on SIGTERM.
    pub(crate) drains: bool,
    pub(crate) environment: Vec<(String, String)>,
    /// Of the Deployment, such as the opt-in.
    pub(crate) annotations: Vec<(String, String)>,
    /// The opposite of opting out: where its metrics are, on the pods.
    pub(crate) scraped: bool,
    /// Each version over all nodes that take pods, as evenly as can be.
    pub(crate) spread: bool,
}

impl App {
    pub(crate) fn new(name: &str, replicas: u32) -> Self {
        Self {
            name: name.to_owned(),
            replicas,
            tag: "v1".to_owned(),
            drains: true,
            environment: Vec::new(),
            annotations: Vec::new(),
            scraped: true,
            spread: false,
        }
    }

    pub(crate) fn exits_at_once(mut self) -> Self {
        self.drains = false;
        self
    }

    pub(crate) fn tag(mut self, tag: &str) -> Self {
        self.tag = tag.to_owned();
        self
    }

    pub(crate) fn spread(mut self) -> Self {
        self.spread = true;
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn canary(self) -> Self {
        self.annotation("crossfade.dev/strategy", "canary")
    }

    pub(crate) fn deployment(&self) -> Value {
        let mut environment = vec![
            json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            json!({"name": "MANNER", "value": if self.drains { "drains" } else { "exits" }}),
        ];
        environment.extend(
            self.environment
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        let annotations: Map<String, Value> = self
            .annotations
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let mut pod_metadata = json!({"labels": {"app": self.name}});
        if self.scraped
            && let Some(metadata) = pod_metadata.as_object_mut()
        {
            metadata.insert("annotations".to_owned(), json!({"prometheus.io/scrape": "true", "prometheus.io/port": PORT.to_string(), "prometheus.io/path": "/metrics"}));
        }
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "labels": {"app": self.name}, "annotations": annotations},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": pod_metadata,
                    "spec": {
                        "terminationGracePeriodSeconds": 15,
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        // There is no cluster DNS, and nothing here asks for names.
                        "dnsPolicy": "Default",
                        "containers": [{
                            "name": "app",
                            "image": image(&self.tag),
                            "env": environment,
                            "ports": [{"name": "http", "containerPort": PORT}],
                            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                        }],
                    },
                },
            },
        });
        if self.spread
            && let Some(pod) = object
                .pointer_mut("/spec/template/spec")
                .and_then(Value::as_object_mut)
        {
            // Nodes that are cordoned do not count, or there would be no room beside them.
            let constraint = json!({
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor",
                "labelSelector": {"matchLabels": {"app": self.name}}, "matchLabelKeys": ["pod-template-hash"],
            });
            pod.insert("topologySpreadConstraints".to_owned(), json!([constraint]));
        }
        object
    }

    pub(crate) fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "labels": {"app": self.name}},
            "spec": {"selector": {"app": self.name}, "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http"}]},
        })
    }
}
