//! How a Service goes from one side to the other behind more than kube-proxy: forward by way of both sides, in three
//! writes, and back in one. Every value of its key is written down and looked at in the end. Flips in one write are in
//! `blue_green`.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::blue_green::spread;
use super::{End, Scenario, Setup};
use crate::json::text;
use crate::trace::lock;
use crate::world::cluster::in_namespace;
use crate::world::manifests::{Spread, WEB};
use crate::world::stage::Stage;

/// The key a Service may have in its selector.
const KEY: &str = "/spec/selector/pod-template-hash";

/// The values of the key of the users' Service one after the other, from now on; empty is none.
fn keys(stage: &Arc<Stage>) -> Arc<Mutex<Vec<String>>> {
    let keys = Arc::new(Mutex::new(vec![String::new()]));
    let told = Arc::clone(&keys);
    stage.api.observe(Arc::new(move |change| {
        if change.key.resource != "services" || change.key.name != WEB {
            return;
        }
        let Some(after) = &change.after else {
            return;
        };
        let key = text(after, KEY);
        let mut keys = lock(&told);
        if keys.last().is_none_or(|last| last != key) {
            keys.push(key.to_owned());
        }
    }));
    keys
}

/// Forward only by way of both sides, and forward it went.
fn widened(keys: &[String]) -> Result<&str, String> {
    let stable = keys.iter().find(|key| !key.is_empty());
    let stable = stable.ok_or("it was never pinned")?;
    let there = |key: &&String| !key.is_empty() && *key != stable;
    let candidate = keys.iter().find(there).ok_or("it never went over")?;
    let straight =
        |pair: &[String]| matches!(pair, [from, to] if from == stable && to == candidate);
    if keys.windows(2).any(straight) {
        return Err(format!("it went over without both sides between: {keys:?}"));
    }
    Ok(candidate)
}

async fn over(stage: Arc<Stage>) -> Result<(), String> {
    let keys = keys(&stage);
    stage.push("v2").await?;
    stage.until_promoted("v2").await?;
    widened(&lock(&keys)).map(|_| ())
}

/// Aborted when everything is on the candidate: no way by both sides, whoever leaves must not wait.
async fn over_and_back(stage: Arc<Stage>) -> Result<(), String> {
    let keys = keys(&stage);
    stage.push("v2").await?;
    stage.until_step(0, "Observing").await?;
    stage.command(json!({ "action": "abort" })).await?;
    stage.until_rolled_back().await?;
    let keys = lock(&keys);
    let candidate = widened(&keys)?;
    let back = |pair: &[String]| matches!(pair, [from, to] if from == candidate && to.is_empty());
    if keys.windows(2).any(back) {
        return Err(format!("it came back by way of both sides: {keys:?}"));
    }
    Ok(())
}

async fn over_behind_an_ingress(stage: Arc<Stage>) -> Result<(), String> {
    let ingress = in_namespace(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "shop" },
        "spec": { "rules": [{ "http": { "paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": { "service": { "name": WEB, "port": { "number": 80 } } },
        }] } }] },
    }));
    stage.create("ingresses", &ingress).await?;
    over(stage).await
}

const fn promoted(name: &'static str, setup: fn(&mut fastrand::Rng) -> Setup) -> Scenario {
    Scenario {
        name,
        setup,
        script: |stage| Box::pin(over(stage)),
        end: End::Promoted("v2"),
        comparable: true,
    }
}

const fn aborted(name: &'static str, setup: fn(&mut fastrand::Rng) -> Setup) -> Scenario {
    Scenario {
        name,
        setup,
        script: |stage| Box::pin(over_and_back(stage)),
        end: End::RolledBack("v1"),
        comparable: true,
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    promoted("blue-green-by-way-of-both-sides", |_| spread(Spread::Local)),
    promoted("blue-green-headless", |_| spread(Spread::Headless)),
    promoted("blue-green-behind-a-load-balancer", |_| {
        spread(Spread::LoadBalancer)
    }),
    aborted("blue-green-local-policy-aborted-in-warm", |_| {
        spread(Spread::Local)
    }),
    aborted("blue-green-headless-aborted-in-warm", |_| {
        spread(Spread::Headless)
    }),
    aborted("blue-green-behind-a-load-balancer-aborted-in-warm", |_| {
        spread(Spread::LoadBalancer)
    }),
    Scenario {
        name: "blue-green-behind-an-ingress",
        setup: |_| spread(Spread::Cluster),
        script: |stage| Box::pin(over_behind_an_ingress(stage)),
        end: End::Promoted("v2"),
        comparable: true,
    },
];
