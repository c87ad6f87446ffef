//! A Git tool: applies its manifests again and again, in one of the three ways such tools do. What is in
//! the manifests is the world's.

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Patch, Refused, lock, path};
use super::delay::Delay;
use super::object::{annotate, annotation, name, namespace, text};
use super::three_way;

/// Annotation in which client-side apply remembers.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Compares with what it applied last and patches the difference.
    ClientSide,
    /// Server-side apply; conflicts are refused.
    ServerSide,
    /// Server-side apply that takes fields from others.
    ServerSideForced,
}

/// One manifest that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub at: Instant,
    /// `Deployment shop/web`.
    pub what: String,
    /// How it went; nothing is well.
    pub refused: Option<Refused>,
}

#[derive(Debug, Default)]
struct Inner {
    manifests: Vec<Value>,
    log: Vec<Applied>,
}

/// What the tool applies, and how that went; a handle.
#[derive(Clone, Debug, Default)]
pub struct Repository(Arc<Mutex<Inner>>);

impl Repository {
    /// Puts a manifest in, in place of the one of the same kind, namespace and name.
    pub fn push(&self, manifest: Value) {
        let mut inner = lock(&self.0);
        let key = |object: &Value| {
            (
                text(object, "/kind").to_owned(),
                namespace(object).to_owned(),
                name(object).to_owned(),
            )
        };
        let wanted = key(&manifest);
        match inner
            .manifests
            .iter_mut()
            .find(|known| key(known) == wanted)
        {
            Some(known) => *known = manifest,
            None => inner.manifests.push(manifest),
        }
    }

    /// The manifests, in the order they came.
    #[must_use]
    pub fn manifests(&self) -> Vec<Value> {
        lock(&self.0).manifests.clone()
    }

    /// What was applied so far.
    #[must_use]
    pub fn log(&self) -> Vec<Applied> {
        lock(&self.0).log.clone()
    }
}

/// The tool.
#[derive(Debug)]
pub struct Git {
    pub client: Client,
    pub repository: Repository,
    pub applies: Applies,
    /// Field manager of its server-side apply.
    pub manager: String,
    /// Between two rounds.
    pub every: Delay,
    pub random: Rng,
}

/// The plural of a kind in a manifest.
#[must_use]
pub fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if let Some(stem) = lower.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{lower}s")
    }
}

impl Git {
    /// Works until dropped.
    pub async fn run(mut self) {
        loop {
            self.round().await;
            tokio::time::sleep(self.every.draw(&mut self.random)).await;
        }
    }

    /// Applies everything once.
    pub async fn round(&self) {
        for manifest in self.repository.manifests() {
            let outcome = match self.applies {
                Applies::ClientSide => self.client_side(&manifest).await,
                Applies::ServerSide => self.server_side(&manifest, Patch::Apply).await,
                Applies::ServerSideForced => self.server_side(&manifest, Patch::ApplyForced).await,
            };
            let applied = Applied {
                at: Instant::now(),
                what: format!(
                    "{} {}/{}",
                    text(&manifest, "/kind"),
                    namespace(&manifest),
                    name(&manifest)
                ),
                refused: outcome.err(),
            };
            lock(&self.repository.0).log.push(applied);
        }
    }

    async fn server_side(&self, manifest: &Value, how: Patch) -> Result<(), Refused> {
        let resource = plural(text(manifest, "/kind"));
        let path = path(&resource, namespace(manifest), name(manifest), "");
        self.client
            .patch(
                how,
                &path,
                &[("fieldManager", self.manager.as_str())],
                manifest.clone(),
            )
            .await
            .map(|_| ())
    }

    async fn client_side(&self, manifest: &Value) -> Result<(), Refused> {
        let resource = plural(text(manifest, "/kind"));
        let (space, own) = (namespace(manifest), name(manifest));
        let mut wanted = manifest.clone();
        annotate(&mut wanted, LAST_APPLIED, &manifest.to_string());
        match self.client.get(&resource, space, own, "").await {
            Ok(live) => {
                let last: Option<Value> = annotation(&live, LAST_APPLIED)
                    .and_then(|text| serde_json::from_str(text).ok());
                let mut last = last.unwrap_or_else(|| json!({}));
                // What was applied before does not hold the annotation itself.
                if let Some(annotations) = last
                    .pointer_mut("/metadata/annotations")
                    .and_then(Value::as_object_mut)
                {
                    annotations.remove(LAST_APPLIED);
                }
                let Some(patch) = three_way::patch(Some(&last), &wanted, &live) else {
                    return Ok(());
                };
                let path = path(&resource, space, own, "");
                let query = [("fieldManager", "kubectl-client-side-apply")];
                self.client
                    .patch(Patch::Merge, &path, &query, patch)
                    .await
                    .map(|_| ())
            }
            Err(refused) if refused.not_found() => self
                .client
                .create(&resource, space, wanted)
                .await
                .map(|_| ()),
            Err(refused) => Err(refused),
        }
    }
}
