//! An autoscaler: writes the size of a Deployment through `/scale` at drawn times. What the size should
//! be is drawn, not measured.

use std::ops::RangeInclusive;

use fastrand::Rng;
use serde_json::Value;

use super::client::Client;
use super::delay::Delay;
use super::informer::Name;
use super::object::number;

/// One autoscaler.
#[derive(Debug)]
pub struct Autoscaler {
    pub client: Client,
    pub deployment: Name,
    /// Between two writes.
    pub every: Delay,
    pub sizes: RangeInclusive<u32>,
    /// Writes at most.
    pub times: u32,
    pub random: Rng,
}

impl Autoscaler {
    /// Works until its writes are used up. A refused write is dropped: the next one comes anyway.
    pub async fn run(mut self) {
        for _ in 0..self.times {
            tokio::time::sleep(self.every.draw(&mut self.random)).await;
            let size = self.random.u32(self.sizes.clone());
            let (namespace, name) = (&self.deployment.0, &self.deployment.1);
            let Ok(mut scale) = self
                .client
                .get("deployments", namespace, name, "scale")
                .await
            else {
                continue;
            };
            if number(&scale, "/spec/replicas") == i64::from(size) {
                continue;
            }
            if !scale["spec"].is_object() {
                scale["spec"] = Value::Object(serde_json::Map::new());
            }
            scale["spec"]["replicas"] = size.into();
            let _ = self.client.replace("deployments", "scale", scale).await;
        }
    }
}
