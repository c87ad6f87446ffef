//! How many pods a namespace may have: what the ResourceQuota admission of a real server would refuse,
//! told in its words. The API in memory has no quota of its own; only the ReplicaSet controller
//! makes pods in a world, so it asks here before each one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::client::{Client, Refused, lock};
use super::object::{namespace, pod_finished, text};

/// Limits by namespace; a handle.
#[derive(Clone, Debug, Default)]
pub struct Quotas(Arc<Mutex<BTreeMap<String, usize>>>);

impl Quotas {
    /// At most this many pods that have not ended; pods on their way out count, as they do in a
    /// real quota. `None` takes the limit away.
    pub fn set(&self, namespace: &str, pods: Option<usize>) {
        let mut limits = lock(&self.0);
        match pods {
            Some(pods) => limits.insert(namespace.to_owned(), pods),
            None => limits.remove(namespace),
        };
    }

    /// The refusal this pod would meet now.
    #[must_use]
    pub fn refuse(&self, client: &Client, pod: &Value) -> Option<Refused> {
        let limit = *lock(&self.0).get(namespace(pod))?;
        let used = client
            .raw()
            .list("pods", Some(namespace(pod)))
            .iter()
            .filter(|pod| !pod_finished(pod))
            .count();
        (used >= limit).then(|| Refused {
            status: 403,
            reason: "Forbidden".to_owned(),
            message: format!(
                "pods \"{}\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={used}, limited: pods={limit}",
                text(pod, "/metadata/generateName"),
            ),
            causes: Vec::new(),
        })
    }
}
