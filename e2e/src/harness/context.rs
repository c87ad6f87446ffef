//! What one scenario has: its namespace, its user, the API, its load, its row of the report.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Surroundings;
use super::api::{Api, collection, number, object, text};
use super::app::App;
use super::audit::Mark;
use super::controller::Controller;
use super::plain_http;
use super::report::Row;
use super::user::User;
use super::watch::Watch;
use crate::load::{Load, Options, Outcome};

pub(crate) const READY: Duration = Duration::from_secs(60);
/// So many connections that one of several equal endpoints is missed once in 10^10 rounds: (1 − 1/n)^(25·n) < e^−25.
const TRIES_PER_POD: usize = 25;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// As the cluster's administrator.
    pub(crate) api: Api,
    pub(crate) user: User,
    pub(crate) surroundings: Arc<Surroundings>,
    control: bool,
    started: Instant,
    row: Mutex<Row>,
    /// Paths of objects outside the namespace, removed before it.
    outside: Mutex<Vec<String>>,
    /// Whether it asked for a second node.
    pub(super) second_node: AtomicBool,
}

impl Context {
    pub(super) async fn create(
        name: &str,
        control: bool,
        surroundings: Arc<Surroundings>,
    ) -> anyhow::Result<Self> {
        let api = Api::connect(&surroundings.kubeconfig).await?;
        let namespace = format!("e2e-{name}");
        let user = User {
            kubeconfig: surroundings.kubeconfig.clone(),
            namespace: namespace.clone(),
            cache: surroundings.folder.join("kubectl-cache"),
        };
        let row = Mutex::new(Row {
            name: name.to_owned(),
            control,
            ..Row::default()
        });
        let made = Self {
            name: name.to_owned(),
            namespace,
            api,
            user,
            surroundings,
            control,
            started: Instant::now(),
            row,
            outside: Mutex::default(),
            second_node: AtomicBool::new(false),
        };
        std::fs::create_dir_all(made.folder())
            .with_context(|| format!("cannot make {}", made.folder().display()))?;
        // A run that crashed may have left it.
        made.remove_namespace().await?;
        let path = format!("/api/v1/namespaces/{}", made.namespace);
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace, "labels": {"crossfade.dev/e2e": "true"}}});
        made.api
            .create("/api/v1/namespaces", &body)
            .await
            .with_context(|| format!("cannot make {path}"))?;
        // Pods are refused until it is there, and a ReplicaSet that was refused waits before it tries again.
        let accounts = made.watch("serviceaccounts").await?;
        accounts
            .until_object(
                "default",
                "the namespace has its ServiceAccount",
                READY,
                |_| Some(()),
            )
            .await?;
        Ok(made)
    }

    /// For logs, records and kubeconfigs of this scenario.
    pub(crate) fn folder(&self) -> PathBuf {
        self.surroundings.folder.join(&self.name)
    }

    pub(crate) fn say(&self, text: &str) {
        eprintln!(
            "[{:>7.1} s] {}: {text}",
            self.started.elapsed().as_secs_f64(),
            self.name
        );
    }

    /// Adds a check to the row; the scenario goes on whether it holds or not.
    pub(crate) fn check(&self, name: &str, ok: bool, detail: impl Into<String>) {
        let detail = detail.into();
        if !ok {
            self.say(&format!("check fails: {name}: {detail}"));
        }
        self.row(|row| row.check(name, ok, detail));
    }

    fn row<T>(&self, change: impl FnOnce(&mut Row) -> T) -> T {
        change(&mut self.row.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn finish(&self) -> Row {
        self.row(|row| {
            row.seconds = self.started.elapsed().as_secs_f64();
            row.clone()
        })
    }

    // Objects

    pub(crate) fn path(&self, resource: &str, name: &str) -> String {
        object(&self.namespace, resource, name)
    }

    pub(crate) async fn get(&self, resource: &str, name: &str) -> anyhow::Result<Value> {
        self.api.must_get(&self.path(resource, name)).await
    }

    /// Watches a resource of this namespace from now on.
    pub(crate) async fn watch(&self, resource: &str) -> anyhow::Result<Watch> {
        Watch::start(&self.api, &collection(&self.namespace, resource)).await
    }

    /// Applies Deployment and Service as a user does and waits until all pods serve.
    pub(crate) async fn deploy(&self, app: &App) -> anyhow::Result<()> {
        self.user
            .apply(&app.deployment())
            .await?
            .must("applying the Deployment")?;
        self.user
            .apply(&app.service())
            .await?
            .must("applying the Service")?;
        self.until_available(&app.name, app.replicas).await?;
        self.until_endpoints(&app.name, app.replicas).await
    }

    /// Waits until the Deployment's newest template runs on so many available pods and no others are left.
    pub(crate) async fn until_available(
        &self,
        deployment: &str,
        replicas: u32,
    ) -> anyhow::Result<()> {
        let deployments = self.watch("deployments").await?;
        deployments
            .until_object(
                deployment,
                &format!("{deployment} has {replicas} available pods, and no others"),
                READY,
                |found| {
                    let all = i64::from(replicas);
                    let done = number(found, "/status/observedGeneration")
                        >= number(found, "/metadata/generation")
                        && [
                            "/status/updatedReplicas",
                            "/status/availableReplicas",
                            "/status/replicas",
                        ]
                        .iter()
                        .all(|field| number(found, field) == all);
                    done.then_some(())
                },
            )
            .await
    }

    /// Waits until a Service has so many ready endpoints.
    pub(crate) async fn until_endpoints(&self, service: &str, ready: u32) -> anyhow::Result<()> {
        let slices = self.watch("endpointslices").await?;
        slices
            .until(
                &format!("{service} has {ready} ready endpoints"),
                READY,
                |slices| {
                    let of_service = slices.values().filter(|slice| {
                        text(slice, "/metadata/labels/kubernetes.io~1service-name") == service
                    });
                    let found: usize = of_service.map(|slice| ready_endpoints(slice).len()).sum();
                    (found == ready as usize).then_some(())
                },
            )
            .await
    }

    // Load

    /// Load on a Service of this namespace, from now until it is finished. The first request waits until the Service answers with each of its
    /// ready pods and nothing else: kube-proxy writes its rules up to a second after the EndpointSlices, and what it has not done yet about a
    /// change before the load is not counted against anybody.
    pub(crate) async fn load(&self, service: &str, options: Options) -> anyhow::Result<Load> {
        let found = self.get("services", service).await?;
        let address: IpAddr = text(&found, "/spec/clusterIP")
            .parse()
            .with_context(|| format!("the Service {service} has no address"))?;
        let port = u16::try_from(number(&found, "/spec/ports/0/port"))?;
        let target = SocketAddr::new(address, port);
        self.until_answering(service, target).await?;
        Load::start(target, options)
    }

    /// Waits until connections to a Service reach all pods behind its ready endpoints, and no others.
    async fn until_answering(&self, service: &str, target: SocketAddr) -> anyhow::Result<()> {
        let query = format!(
            "{}?labelSelector=kubernetes.io/service-name={service}",
            collection(&self.namespace, "endpointslices")
        );
        let deadline = Instant::now() + READY;
        loop {
            let (slices, _) = self.api.list(&query).await?;
            let wanted: BTreeSet<String> = slices.iter().flat_map(ready_endpoints).collect();
            let round = plain_http::pods_behind(target, TRIES_PER_POD * wanted.len().max(1)).await;
            match round {
                Ok(pods) if pods == wanted => return Ok(()),
                other if Instant::now() > deadline => anyhow::bail!(
                    "the Service {service} at {target} does not answer with {wanted:?}: {other:?}"
                ),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Ends a load and puts it into the row: requests, failures, whether it was measured and, outside control runs, that nothing failed.
    pub(crate) async fn finish_load(&self, load: Load) -> anyhow::Result<Outcome> {
        self.end_load("requests", "", load, &[]).await
    }

    /// The same for one of several loads: `name` is that of its records, and stands before its checks.
    pub(crate) async fn finish_load_of(&self, name: &str, load: Load) -> anyhow::Result<Outcome> {
        self.end_load(name, &format!("{name}: "), load, &[]).await
    }

    /// As `finish_load`, but for requests sent in these times, in which they were lost to something that no controller can do anything about.
    pub(crate) async fn finish_load_but(
        &self,
        load: Load,
        lost: &[Range<Duration>],
    ) -> anyhow::Result<Outcome> {
        self.end_load("requests", "", load, lost).await
    }

    async fn end_load(
        &self,
        records: &str,
        before: &str,
        load: Load,
        lost: &[Range<Duration>],
    ) -> anyhow::Result<Outcome> {
        let outcome = load.stop().await?;
        self.row(|row| {
            row.requests += outcome.requests();
            row.failed += outcome.failed();
        });
        self.say(&outcome.summary());
        self.check(
            &format!("{before}measured"),
            outcome.measured(),
            if outcome.measured() {
                outcome.summary()
            } else {
                format!("not measured: {}", outcome.summary())
            },
        );
        if !self.control {
            let mut words = outcome.summary();
            let counts = |at: Duration| !lost.iter().any(|time| time.contains(&at));
            let failed = outcome.count(|record| record.failure.is_some() && counts(record.sent()));
            for detail in outcome
                .details()
                .iter()
                .filter(|detail| counts(detail.at))
                .take(8)
            {
                words.push_str(&format!(
                    "; at {:.3} s {} ({}): {}",
                    detail.at.as_secs_f64(),
                    detail.failure.name(),
                    detail.kind.name(),
                    detail.text
                ));
            }
            self.check(&format!("{before}no failed request"), failed == 0, words);
        }
        let file = self.folder().join(format!("{records}.jsonl"));
        std::fs::write(&file, outcome.json_lines())
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(outcome)
    }

    // Controllers

    /// A ServiceAccount in a namespace of its choice, bound to a ClusterRole, and a kubeconfig with its token (valid for two hours).
    pub(crate) async fn service_account(
        &self,
        namespace: &str,
        name: &str,
        cluster_role: &str,
    ) -> anyhow::Result<PathBuf> {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let accounts = collection(namespace, "serviceaccounts");
        if self.api.get(&format!("{accounts}/{name}")).await?.is_none() {
            self.api.create(&accounts, &account).await?;
        }
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let binding_name = format!("{namespace}-{name}-{cluster_role}");
        if self
            .api
            .get(&format!("{bindings}/{binding_name}"))
            .await?
            .is_none()
        {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": binding_name, "labels": {"crossfade.dev/e2e": "true"}},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster_role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            });
            self.remove_at_the_end(&format!("{bindings}/{binding_name}"));
            self.api.create(bindings, &binding).await?;
        }
        self.kubeconfig_of(namespace, name).await
    }

    /// A kubeconfig with a token of a ServiceAccount that is there, valid for two hours.
    pub(crate) async fn kubeconfig_of(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<PathBuf> {
        let accounts = collection(namespace, "serviceaccounts");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let token = self
            .api
            .create(&format!("{accounts}/{name}/token"), &request)
            .await?;
        let kubeconfig = self.folder().join(format!("{namespace}-{name}.kubeconfig"));
        let text = kubeconfig_with_token(&self.user, text(&token, "/status/token")).await?;
        std::fs::write(&kubeconfig, text)
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        Ok(kubeconfig)
    }

    /// A controller process, not yet started; its log is `controller.log` (or another name) in the scenario's folder.
    pub(crate) fn controller(
        &self,
        name: &str,
        arguments: Vec<String>,
    ) -> anyhow::Result<Controller> {
        let binary = &self.surroundings.controller_binary;
        if !binary.is_file() {
            anyhow::bail!(
                "{} is missing: build it with `cargo build --package crossfade-controller`",
                binary.display()
            );
        }
        let log = self.folder().join(format!("{name}.log"));
        let _ = std::fs::remove_file(&log);
        Ok(Controller::new(binary.clone(), arguments, log))
    }

    /// A place in the audit log; an error on a cluster that is not ours, as its log cannot be read.
    pub(crate) fn audit_mark(&self) -> anyhow::Result<Mark> {
        Mark::now(
            self.surroundings
                .audit_log
                .as_ref()
                .context("this cluster's audit log cannot be read")?,
        )
    }

    // The end

    /// An object outside the namespace (a webhook configuration, a binding), removed when the scenario ends, however it ends. To be said
    /// before the object is made.
    pub(crate) fn remove_at_the_end(&self, path: &str) {
        self.outside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.to_owned());
    }

    pub(super) async fn clean_up(&self) -> anyhow::Result<()> {
        let outside =
            std::mem::take(&mut *self.outside.lock().unwrap_or_else(PoisonError::into_inner));
        // Webhooks first: one that is answered by nobody would refuse the rest.
        for path in outside {
            self.api.delete(&path).await?;
        }
        if self.second_node.load(Ordering::Relaxed) {
            self.clear_second_node().await?;
        }
        self.remove_namespace().await
    }

    /// Removes the namespace and waits until it is gone. Pods get one second: they have served their purpose.
    async fn remove_namespace(&self) -> anyhow::Result<()> {
        let namespaces = Watch::start(
            &self.api,
            &format!(
                "/api/v1/namespaces?fieldSelector=metadata.name={}",
                self.namespace
            ),
        )
        .await?;
        if namespaces.objects().is_empty() {
            return Ok(());
        }
        // The namespace first: nothing can be made in it any more, and nothing may refuse a deletion. The rest only makes it go faster.
        self.api
            .delete(&format!("/api/v1/namespaces/{}", self.namespace))
            .await?;
        for resource in ["deployments", "replicasets"] {
            let _ = self
                .api
                .delete(&collection(&self.namespace, resource))
                .await;
        }
        let pods = collection(&self.namespace, "pods");
        let _ = self
            .api
            .delete(&format!("{pods}?gracePeriodSeconds=1"))
            .await;
        namespaces
            .until_gone(&self.namespace, Duration::from_secs(90))
            .await
    }
}

/// The pods (by name) behind a slice that are ready and not in deletion.
pub(crate) fn ready_endpoints(slice: &Value) -> Vec<String> {
    let endpoints = slice.get("endpoints").and_then(Value::as_array);
    let ready = |endpoint: &&Value| {
        endpoint
            .pointer("/conditions/ready")
            .and_then(Value::as_bool)
            == Some(true)
    };
    endpoints
        .map(|all| {
            all.iter()
                .filter(ready)
                .map(|endpoint| text(endpoint, "/targetRef/name").to_owned())
                .collect()
        })
        .unwrap_or_default()
}

async fn kubeconfig_with_token(user: &User, token: &str) -> anyhow::Result<String> {
    let flat = user
        .must(&[
            "config",
            "view",
            "--raw",
            "--flatten",
            "--minify",
            "--output",
            "json",
        ])
        .await?;
    let mut config: Value =
        serde_json::from_str(&flat.stdout).context("kubectl config view gave no JSON")?;
    let name = text(&config, "/contexts/0/context/user").to_owned();
    if let Some(users) = config.get_mut("users") {
        *users = json!([{"name": name, "user": {"token": token}}]);
    }
    Ok(config.to_string())
}
