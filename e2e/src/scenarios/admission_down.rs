//! Controller and admission are down: a pushed template is refused, so that nothing goes out unjudged; scaling works as ever; and when they
//! are back the same push is released.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Crossfade, WEB};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "admission-down",
    control: false,
    pods: 14,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    crossfade.deploy(&App::new(WEB, 4).canary()).await?;
    let load = context.load(WEB, Options::default()).await?;
    crossfade.controller.kill().await?;

    let before = context.get("deployments", WEB).await?;
    let said = context.user.set_image(WEB, &image("v2")).await?;
    context.check(
        "the push is refused, by the gate",
        !said.ok && said.stderr.contains("gate.crossfade.dev"),
        said.stderr.trim(),
    );
    let after = context.get("deployments", WEB).await?;
    context.check(
        "nothing was stored",
        before.pointer("/spec") == after.pointer("/spec"),
        format!("generation {:?}", after.pointer("/metadata/generation")),
    );
    for replicas in [6, 4] {
        let said = context.user.scale(WEB, replicas).await?;
        context.check(
            &format!("scaling to {replicas} works"),
            said.ok,
            said.stderr.trim(),
        );
        context.until_available(WEB, replicas).await?;
        context.until_endpoints(WEB, replicas).await?;
    }

    crossfade.start().await?;
    crossfade.release("v2").await?;
    crossfade.until_promoted("v2").await?;
    let end = load.now();
    let outcome = context.finish_load(load).await?;
    let early = outcome.share("v2", Duration::ZERO..end, None);
    context.check(
        "the new version answers in the end",
        early.is_some_and(|share| share > 0.0),
        format!("{early:?}"),
    );
    crossfade.check_laws().await
}
