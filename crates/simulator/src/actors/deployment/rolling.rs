//! How an unpaused Deployment moves from old to new: RollingUpdate and Recreate. After
//! `pkg/controller/deployment/rolling.go` and `recreate.go` of Kubernetes 1.34. What a paused one
//! does is in `scale`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::numbers::{asked, max_unavailable, replicas_of_new, reported};
use super::scale::{active, by_creation};
use super::status::is_complete;
use super::{Pass, Sets};
use crate::actors::client::Refused;
use crate::actors::object::{controller_uid, namespace, number, pod_finished, replicas, uid};

impl Pass<'_> {
    /// One pass of RollingUpdate: first up, else down, else clean up.
    ///
    /// # Errors
    /// Any refusal ends the pass.
    pub async fn rolling_update(&mut self, owned: &[Arc<Value>]) -> Result<(), Refused> {
        let sets = self.sets(owned, true).await?;
        let Some(new) = sets.new.clone() else {
            return Ok(());
        };
        let wanted = replicas(&self.deployment);
        let size = replicas(&new);
        let grown = if size > wanted {
            wanted
        } else {
            replicas_of_new(&self.deployment, &sets.old, size)
        };
        if size != wanted && self.resize(&new, grown).await?.is_some() {
            return self.rollout_status(&sets).await;
        }
        if self.shrink_old(&new, &sets.old).await? {
            return self.rollout_status(&sets).await;
        }
        if is_complete(&self.deployment) {
            self.clean_up(&sets.old).await?;
        }
        self.rollout_status(&sets).await
    }

    async fn shrink_old(&mut self, new: &Arc<Value>, old: &[Arc<Value>]) -> Result<bool, Refused> {
        let mut running: Vec<Arc<Value>> = old.iter().filter(|set| active(set)).cloned().collect();
        if asked(&running) == 0 {
            return Ok(false);
        }
        let least = replicas(&self.deployment) - max_unavailable(&self.deployment);
        let missing = replicas(new) - number(new, "/status/availableReplicas");
        let spare = asked(&running) + replicas(new) - least - missing;
        if spare <= 0 {
            return Ok(false);
        }
        // Pods that serve nobody first: they would keep the rollout from moving.
        running.sort_by(|left, right| by_creation(left, right));
        let mut down = 0;
        for set in &mut running {
            let useless = replicas(set) - number(set, "/status/availableReplicas");
            let step = useless.min(spare - down);
            if step > 0
                && let Some(written) = self.resize(set, replicas(set) - step).await?
            {
                down += step;
                *set = written;
            }
        }
        let available =
            reported(&running, "availableReplicas") + number(new, "/status/availableReplicas");
        let mut spare = available - least;
        for set in &running {
            let step = replicas(set).min(spare);
            if step > 0 {
                self.resize(set, replicas(set) - step).await?;
                spare -= step;
                down += step;
            }
        }
        Ok(down > 0)
    }

    /// One pass of Recreate: all old ones down, wait until their pods are gone, then the new one.
    ///
    /// # Errors
    /// Any refusal ends the pass.
    pub async fn recreate(&mut self, owned: &[Arc<Value>]) -> Result<(), Refused> {
        let mut sets = self.sets(owned, false).await?;
        let mut down = false;
        for set in sets.old.iter().filter(|set| active(set)) {
            down |= self.resize(set, 0).await?.is_some();
        }
        if down || self.old_pods_run(&sets) {
            return self.rollout_status(&sets).await;
        }
        if sets.new.is_none() {
            sets = self.sets(owned, true).await?;
        }
        if let Some(new) = sets.new.clone() {
            let wanted = replicas(&self.deployment);
            self.resize(&new, wanted).await?;
        }
        if is_complete(&self.deployment) {
            self.clean_up(&sets.old).await?;
        }
        self.rollout_status(&sets).await
    }

    /// Whether a pod of an old ReplicaSet is left; one on its way out counts.
    fn old_pods_run(&self, sets: &Sets) -> bool {
        if reported(&sets.old, "replicas") > 0 {
            return true;
        }
        let old: BTreeSet<&str> = sets.old.iter().map(|set| uid(set)).collect();
        self.informer
            .list("pods", namespace(&self.deployment))
            .any(|pod| old.contains(controller_uid(pod)) && !pod_finished(pod))
    }
}
