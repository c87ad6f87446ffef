//! One move of all traffic under load, behind Services of every kind: where kube-proxy alone balances it is one write; where others learn
//! endpoints in their own time the Service names both sides in between. What is shown before the move belongs to `blue_green`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::plan::merge;
use crate::fixture::serving::until_answers;
use crate::fixture::{Crossfade, Plan, SOON, WHOLE};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::watch::Watch;
use crate::load::Options;

const REPLICAS: u32 = 2;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "flips",
    control: false,
    pods: 20,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

/// A Service and who stands in front of it.
struct Kind {
    name: &'static str,
    service: Value,
    ingress: bool,
    /// It has an address that load can be sent to.
    address: bool,
    by_both: bool,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, service, by_both| Kind {
        name,
        service,
        ingress: false,
        address: true,
        by_both,
    };
    vec![
        kind("plain", Value::Null, false),
        kind(
            "local",
            json!({"spec": {"internalTrafficPolicy": "Local"}}),
            true,
        ),
        kind("node-port", json!({"spec": {"type": "NodePort"}}), true),
        Kind {
            ingress: true,
            ..kind("behind-ingress", Value::Null, true)
        },
        Kind {
            address: false,
            ..kind("headless", json!({"spec": {"clusterIP": "None"}}), true)
        },
    ]
}

fn ingress(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"rules": [{"host": "shop.example", "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"number": 80}}},
        }]}}]},
    })
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    crossfade
        .plan(&Plan::blue_green(&json!({})).without_metrics().warm("3s"))
        .await?;
    let kinds = kinds();
    for kind in &kinds {
        let app = App::new(kind.name, REPLICAS).annotation("crossfade.dev/strategy", "blue-green");
        let mut service = app.service();
        merge(&mut service, &kind.service);
        let mut objects = vec![app.deployment(), service];
        if kind.ingress {
            objects.push(ingress(kind.name));
        }
        for object in &objects {
            context.user.apply(object).await?.must(kind.name)?;
        }
    }
    for kind in &kinds {
        context.until_available(kind.name, REPLICAS).await?;
        crossfade
            .until_of(kind.name, "it is held and at rest", SOON, |rollout| {
                (text(rollout, "/status/phase") == "Idle").then_some(())
            })
            .await?;
        crossfade.until_gated(kind.name).await?;
    }
    let mut loads = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.address) {
        let options = Options {
            new_per_second: 40.0,
            keep_alive: 4,
            ..Options::default()
        };
        let load = context.load(kind.name, options).await?;
        until_answers(&load, 20).await?;
        loads.push((kind.name, load));
    }
    let services = context.watch("services").await?;
    for kind in &kinds {
        crossfade.release_of(kind.name, "v2").await?;
    }
    for kind in &kinds {
        crossfade
            .until_ended_of(kind.name, "v2", "promoted", WHOLE)
            .await?;
    }
    for (name, load) in loads {
        context.finish_load_of(name, load).await?;
    }
    for kind in &kinds {
        let seen = pins(&services, kind.name);
        let wanted = if kind.by_both {
            vec!["-", "stable", "-", "candidate", "-"]
        } else {
            vec!["-", "stable", "candidate", "-"]
        };
        context.check(
            &format!(
                "{}: what its selector names, one after the other",
                kind.name
            ),
            seen == wanted,
            seen.join(" "),
        );
    }
    crossfade.check_laws().await
}

/// Which side the selector of a Service named, one after the other; `-`: none, both or as its user wrote it.
fn pins(services: &Watch, name: &str) -> Vec<&'static str> {
    let mut stable: Option<String> = None;
    let mut seen = Vec::new();
    for service in services.history() {
        if text(&service.object, "/metadata/name") != name {
            continue;
        }
        let hash = text(&service.object, "/spec/selector/pod-template-hash").to_owned();
        let side = if hash.is_empty() {
            "-"
        } else if *stable.get_or_insert_with(|| hash.clone()) == hash {
            "stable"
        } else {
            "candidate"
        };
        if seen.last() != Some(&side) {
            seen.push(side);
        }
    }
    seen
}
