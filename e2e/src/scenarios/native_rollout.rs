//! Control run: a native rolling update of pods that exit at once loses requests. If none is seen to fail, the measuring is broken.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use crate::fixture::serving::until_answers;
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "control-native-rollout",
    control: true,
    pods: 9,
    group: 1,
    alone: false,
    limit: Duration::from_secs(180),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let app = App::new("web", 4).exits_at_once();
    context.deploy(&app).await?;
    let load = context.load("web", Options::default()).await?;
    until_answers(&load, 600).await?;
    let before = load.peek(|outcome| outcome.failed());
    // Twice, since one update of four pods may be lucky.
    for tag in ["v2", "v3"] {
        context
            .user
            .set_image("web", &image(tag))
            .await?
            .must("kubectl set image")?;
        context.until_available("web", 4).await?;
    }
    until_answers(&load, 600).await?;
    let outcome = context.finish_load(load).await?;
    ensure!(
        outcome.seen("v3", None).is_some(),
        "the new version never answered"
    );
    context.check(
        "calm before the update",
        before == 0,
        format!("{before} requests failed before anything happened"),
    );
    Ok(())
}
