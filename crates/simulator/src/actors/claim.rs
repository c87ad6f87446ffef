//! Which objects belong to a controller by its selector: adopting orphans, releasing what no longer
//! fits. Shared by the Deployment and the ReplicaSet controller, as in Kubernetes
//! (`pkg/controller/controller_ref_manager.go`). What is done with them is not decided here.

use crossfade_fakeapi::At;
use std::sync::Arc;

use serde_json::Value;

use super::client::{Client, Refused};
use super::object::{
    controller_of, controller_reference, deleting, fits, labels, name, namespace, text, uid,
};

/// Who claims, and what.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// The controller as its cache holds it.
    pub object: &'a Value,
    /// `Deployment` or `ReplicaSet`, both apps/v1.
    pub kind: &'static str,
    /// Plural of the controller's kind.
    pub resource: &'static str,
    /// Plural of what is claimed.
    pub claims: &'static str,
}

impl Claimant<'_> {
    /// What belongs to it, in the order given. Every object is tried before an error is told, so
    /// that one that is refused does not keep the others from being claimed.
    ///
    /// # Errors
    /// The first refusal; whoever asked does nothing in this pass then.
    pub async fn claim(
        &self,
        client: &Client,
        candidates: Vec<Arc<Value>>,
    ) -> Result<Vec<Arc<Value>>, Refused> {
        let selector = self.object.at("/spec/selector");
        let mut claimed = Vec::new();
        let mut failure = None;
        let mut may_adopt: Option<Result<(), Refused>> = None;
        for candidate in candidates {
            let fitting = fits(selector, labels(&candidate));
            if let Some(owner) = controller_of(&candidate) {
                if text(owner, "/uid") != uid(self.object) {
                    continue;
                }
                if fitting {
                    claimed.push(candidate);
                } else if !deleting(self.object)
                    && let Err(refused) = self.release(client, &candidate).await
                {
                    failure.get_or_insert(refused);
                }
                continue;
            }
            if deleting(self.object) || !fitting || deleting(&candidate) {
                continue;
            }
            // Asked once in a pass, and live: the cache may not know yet that it is being deleted.
            let allowed = match &may_adopt {
                Some(known) => known.clone(),
                None => {
                    let asked = self.may_adopt(client).await;
                    may_adopt = Some(asked.clone());
                    asked
                }
            };
            let adopted = match allowed {
                Ok(()) => self.adopt(client, &candidate).await,
                Err(refused) => Err(refused),
            };
            match adopted {
                Ok(()) => claimed.push(candidate),
                Err(refused) if refused.not_found() => {}
                Err(refused) => {
                    failure.get_or_insert(refused);
                }
            }
        }
        failure.map_or(Ok(claimed), Err)
    }

    async fn may_adopt(&self, client: &Client) -> Result<(), Refused> {
        let fresh = client
            .get(self.resource, namespace(self.object), name(self.object), "")
            .await?;
        let why = if uid(&fresh) != uid(self.object) {
            "is another one by now"
        } else if deleting(&fresh) {
            "has just been deleted"
        } else {
            return Ok(());
        };
        Err(Refused {
            // Not the answer of a server: 409 makes the pass start again.
            status: 409,
            reason: "Conflict".to_owned(),
            message: format!("can't adopt: {} {} {why}", self.kind, name(self.object)),
            causes: Vec::new(),
        })
    }

    async fn adopt(&self, client: &Client, candidate: &Value) -> Result<(), Refused> {
        let reference = controller_reference(self.object, "apps/v1", self.kind);
        client
            .patch_owners(self.claims, candidate, |owners| {
                let mut owners: Vec<Value> = owners
                    .iter()
                    .filter(|owner| text(owner, "/uid") != uid(self.object))
                    .cloned()
                    .collect();
                owners.push(reference.clone());
                Some(owners)
            })
            .await
            .map(|_| ())
    }

    async fn release(&self, client: &Client, candidate: &Value) -> Result<(), Refused> {
        let released = client
            .patch_owners(self.claims, candidate, |owners| {
                let left: Vec<Value> = owners
                    .iter()
                    .filter(|owner| text(owner, "/uid") != uid(self.object))
                    .cloned()
                    .collect();
                (left.len() < owners.len()).then_some(left)
            })
            .await;
        match released {
            // Gone, or no longer the same one: nothing is left to release.
            Err(refused) if refused.not_found() || refused.status == 422 => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
