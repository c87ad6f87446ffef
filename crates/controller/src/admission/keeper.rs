//! Keeps the certificate: in one Secret, in our webhook configurations, in the running server.
//!
//! Replicas agree through the Secret: it is created or replaced under a precondition, and whoever
//! loses takes the other's. The configurations learn a new authority before anybody serves under
//! it. Not here: how a certificate is made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Now;
use super::certificate::{Certificate, CertificateError};

/// Longest wait for one call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Between looks once everything is in place.
const STEADY: Duration = Duration::from_secs(60);
/// The shortest and first time between looks until then.
const SOON: Duration = Duration::from_secs(1);
/// API servers learn of a changed configuration a moment after it was written.
const SPREAD: Duration = Duration::from_secs(5);

/// Where the certificate belongs.
#[derive(Clone, Debug)]
pub struct Place {
    /// Our namespace.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Names or addresses the API server calls us by.
    pub hosts: BTreeSet<String>,
    /// Names of our mutating configurations.
    pub mutating: Vec<String>,
    /// Name of our validating configuration.
    pub validating: String,
}

impl Place {
    /// The place of an installation reached by these hosts; without any, by its Service.
    #[must_use]
    pub fn of(
        installation: &crossfade_api::install::Installation,
        hosts: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut hosts: BTreeSet<String> = hosts.into_iter().collect();
        if hosts.is_empty() {
            let (service, namespace) = (installation.service_name(), &installation.namespace);
            hosts.insert(format!("{service}.{namespace}.svc"));
            hosts.insert(format!("{service}.{namespace}.svc.cluster.local"));
        }
        Self {
            namespace: installation.namespace.clone(),
            secret: installation.secret_name(),
            hosts,
            mutating: installation.mutating_names(),
            validating: installation.validating_name(),
        }
    }
}

/// Why the certificate is not in place.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The API server refused or could not be reached.
    #[error("{what}: {error}")]
    Api {
        /// What was tried.
        what: String,
        /// Its answer.
        error: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("{0}: no answer within {limit} s", limit = CALL_LIMIT.as_secs())]
    Silent(String),
    /// The content.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The TLS of the running server; changes when the certificate does.
pub type Tls = watch::Receiver<Option<Arc<rustls::ServerConfig>>>;

/// Keeps the certificate until `stop` turns true.
pub struct Keeper {
    client: Client,
    place: Place,
    tls: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
    serving: Option<Certificate>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Keeper")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// A keeper and what it keeps; `None` until the first certificate is there.
    #[must_use]
    pub fn new(client: Client, place: Place) -> (Self, Tls) {
        let (tls, receiver) = watch::channel(None);
        (
            Self {
                client,
                place,
                tls,
                serving: None,
            },
            receiver,
        )
    }

    /// Runs until `stop` turns true.
    pub async fn run(mut self, now: Now, mut stop: watch::Receiver<bool>) {
        let mut pause = SOON;
        loop {
            match self.look(&now).await {
                Ok(true) => pause = STEADY,
                // A configuration is missing: perhaps not applied yet, perhaps never.
                Ok(false) => pause = (pause * 2).min(STEADY),
                Err(error) => {
                    tracing::warn!(%error, "certificate of the admission server");
                    pause = (pause * 2).min(STEADY / 4);
                }
            }
            // An error means the sender is gone: stopping is right then too.
            let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped => return,
            }
        }
    }

    /// One look; true: everything is in place.
    async fn look(&mut self, now: &Now) -> Result<bool, KeeperError> {
        let certificate = self.agreed(now).await?;
        let complete = self.bundle(&certificate.ca_bundle()).await?;
        if self.serving.as_ref() != Some(&certificate) {
            if self.serving.is_some() {
                tokio::time::sleep(SPREAD).await;
            }
            let config = certificate.server_config()?;
            tracing::info!(?certificate, "serving admission with this certificate");
            self.tls.send_replace(Some(config));
            self.serving = Some(certificate);
        }
        Ok(complete)
    }

    /// The certificate in the Secret, made or replaced first if need be.
    async fn agreed(&self, now: &Now) -> Result<Certificate, KeeperError> {
        let base = format!("/api/v1/namespaces/{}/secrets", self.place.namespace);
        let own = format!("{base}/{}", self.place.secret);
        // Twice: another replica may be first, and then its certificate counts.
        for last in [false, true] {
            let stored = self.call(Method::GET, &own, None).await?;
            let at = now();
            let (written, certificate) = match &stored {
                None => {
                    let made = Certificate::make(&self.place.hosts, at, None)?;
                    let secret = made.secret(&self.place.namespace, &self.place.secret, None);
                    (self.call(Method::POST, &base, Some(&secret)).await, made)
                }
                Some(secret) => {
                    let present = Certificate::from_secret(secret).ok();
                    if let Some(present) = &present
                        && !present.due(&self.place.hosts, at)
                    {
                        return Ok(present.clone());
                    }
                    // Hosts of other replicas stay in.
                    let mut hosts = self.place.hosts.clone();
                    hosts.extend(
                        present
                            .iter()
                            .flat_map(|present| present.hosts().iter().cloned()),
                    );
                    let made = Certificate::make(&hosts, at, present.as_ref())?;
                    let version = secret["metadata"]["resourceVersion"].as_str();
                    let secret = made.secret(&self.place.namespace, &self.place.secret, version);
                    (self.call(Method::PUT, &own, Some(&secret)).await, made)
                }
            };
            match written {
                Ok(_) => return Ok(certificate),
                Err(KeeperError::Api { error, .. })
                    if !last
                        && matches!(&*error, kube::Error::Api(status) if status.code == 409) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KeeperError::Silent("agreeing on a certificate".to_owned()))
    }

    /// Puts the bundle into each of our configurations that has another; true: none is missing.
    async fn bundle(&self, bundle: &str) -> Result<bool, KeeperError> {
        let base = "/apis/admissionregistration.k8s.io/v1";
        let mut paths: Vec<String> = self
            .place
            .mutating
            .iter()
            .map(|name| format!("{base}/mutatingwebhookconfigurations/{name}"))
            .collect();
        paths.push(format!(
            "{base}/validatingwebhookconfigurations/{}",
            self.place.validating
        ));
        let mut complete = true;
        for path in paths {
            let Some(configuration) = self.call(Method::GET, &path, None).await? else {
                complete = false;
                continue;
            };
            let operations = bundle_patch(&configuration, bundle);
            if !operations.is_empty() {
                self.call(Method::PATCH, &path, Some(&Value::Array(operations)))
                    .await?;
                tracing::info!(
                    path,
                    "put the certificate's authority into a webhook configuration"
                );
            }
        }
        Ok(complete)
    }

    /// One call; `None`: not found.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, KeeperError> {
        let what = format!("{method} {path}");
        let kind = if method == Method::PATCH {
            "application/json-patch+json"
        } else {
            "application/json"
        };
        let query = if method == Method::GET {
            String::new()
        } else {
            format!("?timeout={}s&fieldManager=crossfade", CALL_LIMIT.as_secs())
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}{query}"))
            .header(http::header::CONTENT_TYPE, kind)
            .body(
                body.map(|body| body.to_string().into_bytes())
                    .unwrap_or_default(),
            )
            .map_err(|error| KeeperError::Api {
                what: what.clone(),
                error: Box::new(kube::Error::HttpError(error)),
            })?;
        match tokio::time::timeout(CALL_LIMIT, self.client.request::<Value>(request)).await {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(error)) => Err(KeeperError::Api {
                what,
                error: Box::new(error),
            }),
            Err(_) => Err(KeeperError::Silent(what)),
        }
    }
}

/// The patch that puts the bundle where another is, guarded by the hook's name.
fn bundle_patch(configuration: &Value, bundle: &str) -> Vec<Value> {
    let mut operations = Vec::new();
    for (index, hook) in configuration["webhooks"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if hook["clientConfig"]["caBundle"] != bundle {
            operations.push(json!({ "op": "test", "path": format!("/webhooks/{index}/name"), "value": hook["name"] }));
            operations.push(json!({ "op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle }));
        }
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_written_only_where_it_differs() {
        let configuration = json!({ "webhooks": [
            { "name": "a", "clientConfig": { "caBundle": "new" } },
            { "name": "b", "clientConfig": { "url": "https://x" } },
        ] });
        let patch = bundle_patch(&configuration, "new");
        assert_eq!(patch.len(), 2);
        assert_eq!(
            patch[0],
            json!({ "op": "test", "path": "/webhooks/1/name", "value": "b" })
        );
        assert_eq!(patch[1]["path"], "/webhooks/1/clientConfig/caBundle");
    }

    #[test]
    fn without_hosts_the_service_is_meant() {
        let installation = crossfade_api::install::Installation::default();
        let place = Place::of(&installation, []);
        assert!(
            place
                .hosts
                .contains("crossfade-admission.crossfade-system.svc")
        );
        assert_eq!(
            Place::of(&installation, ["10.0.0.1".to_owned()])
                .hosts
                .len(),
            1
        );
    }
}
