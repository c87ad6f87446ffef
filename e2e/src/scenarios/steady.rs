//! The opposite of a control run: nothing happens to the application, so nothing may fail, with both manners and while pods of others start.
//! A third row scales draining pods away and up again: with a well-behaved application the cluster itself loses nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::serving::{until_answers, until_pods};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::{Kind, Options};

const BASE: Scenario = Scenario {
    name: "steady-drains",
    control: false,
    pods: 4,
    group: 1,
    alone: false,
    limit: Duration::from_secs(120),
    run: |context| Box::pin(untouched(context, true)),
};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    BASE,
    Scenario {
        name: "steady-exits",
        run: |context| Box::pin(untouched(context, false)),
        ..BASE
    },
    Scenario {
        name: "steady-scaling",
        pods: 10,
        run: |context| Box::pin(scaled(context)),
        ..BASE
    },
];

async fn untouched(context: Arc<Context>, drains: bool) -> anyhow::Result<()> {
    let app = App {
        drains,
        ..App::new("web", 4)
    };
    context.deploy(&app).await?;
    let load = context.load("web", Options::default()).await?;
    until_answers(&load, 4000).await?;
    let end = load.now();
    let outcome = context.finish_load(load).await?;
    let rate = outcome.requests() as f64 / end.as_secs_f64();
    context.check(
        "200 requests per second",
        rate >= 195.0,
        format!("{rate:.1} requests per second"),
    );
    let pods = outcome.pods(Duration::ZERO..end);
    context.check("all pods answer", pods.len() == 4, format!("{pods:?}"));
    let share = outcome.share("v1", Duration::ZERO..end, Some(Kind::New));
    context.check(
        "only this version answers",
        share == Some(1.0),
        format!("{share:?}"),
    );
    Ok(())
}

async fn scaled(context: Arc<Context>) -> anyhow::Result<()> {
    context.deploy(&App::new("web", 4)).await?;
    let load = context.load("web", Options::default()).await?;
    for replicas in [6, 3, 4] {
        until_answers(&load, 400).await?;
        context
            .user
            .scale("web", replicas)
            .await?
            .must("kubectl scale")?;
        context.until_available("web", replicas).await?;
    }
    // What was scaled away drains; then whoever still held a connection to it has to show that it does without.
    until_pods(&context, 4).await?;
    until_answers(&load, 400).await?;
    context.finish_load(load).await?;
    Ok(())
}
