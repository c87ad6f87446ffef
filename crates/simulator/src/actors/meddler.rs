//! Another controller that thinks the same fields are its own: writes one of its patches at drawn times,
//! a Service's selector or a route's weights. It reads nothing and keeps no promise.

use fastrand::Rng;
use serde_json::Value;

use super::client::{Client, Patch, path};
use super::delay::Delay;
use super::informer::Name;

/// One such controller.
#[derive(Debug)]
pub struct Meddler {
    pub client: Client,
    /// Plural of the kind it writes.
    pub resource: String,
    pub object: Name,
    pub every: Delay,
    /// Writes at most.
    pub times: u32,
    /// Merge patches; one is drawn each time.
    pub patches: Vec<Value>,
    pub random: Rng,
}

impl Meddler {
    /// Works until its writes are used up.
    pub async fn run(mut self) {
        let path = path(&self.resource, &self.object.0, &self.object.1, "");
        for _ in 0..self.times {
            tokio::time::sleep(self.every.draw(&mut self.random)).await;
            let Some(patch) = self.random.choice(&self.patches).cloned() else {
                return;
            };
            // Refused or not, it comes back.
            let _ = self.client.patch(Patch::Merge, &path, &[], patch).await;
        }
    }
}
