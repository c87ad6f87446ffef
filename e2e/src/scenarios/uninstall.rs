//! Taking Crossfade away while a candidate is held: refused, then once with the candidate taken back and once with it kept; and while a
//! template is gated whose release cannot begin. What is left works as if Crossfade had never been there.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::plan::{approval, weight};
use crate::fixture::serving::serving_uids;
use crate::fixture::{Crossfade, Plan, SOON, WEB};
use crate::harness::api::text;
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

const BASE: Scenario = Scenario {
    name: "uninstall-revert",
    control: false,
    pods: 8,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context, Held::Candidate, "--revert")),
};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    BASE,
    Scenario {
        name: "uninstall-release",
        run: |context| Box::pin(run(context, Held::Candidate, "--release")),
        ..BASE
    },
    Scenario {
        name: "uninstall-gated",
        run: |context| Box::pin(run(context, Held::Template, "--revert")),
        ..BASE
    },
];

/// What is held when Crossfade is to go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// A candidate that waits for its approval.
    Candidate,
    /// A template whose release cannot begin.
    Template,
}

async fn run(context: Arc<Context>, held: Held, flag: &str) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(50, "1s"), approval()]).warm("3s");
    crossfade.plan(&plan).await?;
    let app = App::new(WEB, 2).canary();
    crossfade.deploy(&app).await?;
    let load = context.load(WEB, Options::default()).await?;
    let before = serving_uids(&context, WEB).await?;
    match held {
        Held::Candidate => {
            crossfade.release("v2").await?;
            crossfade.until_step(1, "AwaitingApproval", SOON).await?;
        }
        Held::Template => {
            // A source that is not carried out.
            let annotation = "crossfade.dev/analysis=prometheus";
            let deployment = format!("deployment/{WEB}");
            let annotate = ["annotate", deployment.as_str(), annotation];
            context.user.must(&annotate).await?;
            crossfade.release("v2").await?;
            crossfade.until_held(SOON).await?;
        }
    }

    let refused = crossfade.uninstall(&[]).await?;
    context.check(
        "with something held it is refused, and both mends are named",
        refused.code == 1
            && ["--revert", "--release", WEB]
                .iter()
                .all(|word| refused.stderr.contains(word)),
        refused.words(),
    );
    context.check(
        "nothing was removed",
        crossfade.remains().await? > 0 && crossfade.tried(WEB).await.is_ok(),
        "",
    );
    if held == Held::Template {
        let kept = crossfade.uninstall(&["--release"]).await?;
        context.check(
            "a release that has not begun cannot be kept, and nothing was removed",
            kept.code == 1 && kept.stderr.contains("--revert") && crossfade.remains().await? > 0,
            kept.words(),
        );
    }
    let done = crossfade.uninstall(&[flag]).await?;
    context.check("then it is done", done.code == 0, done.words());
    let remains = crossfade.remains().await?;
    context.check(
        "nothing of the installation is left outside its namespace",
        remains == 0,
        format!("{remains} objects"),
    );
    // It cannot renew a Lease it has no right to any more, and says so: what it logs from here on is not looked at.
    crossfade.check_log();
    crossfade.controller.kill().await?;

    let web = context.get("deployments", WEB).await?;
    let wanted = image(if flag == "--revert" { "v1" } else { "v2" });
    let found = text(&web, "/spec/template/spec/containers/0/image");
    let paused = web.pointer("/spec/paused").is_some();
    context.check(
        "the Deployment has the right template and is not paused",
        found == wanted && !paused,
        format!("{found}, paused: {paused}"),
    );
    let after = serving_uids(&context, WEB).await?;
    context.check(
        "no pod was replaced on the way",
        after.len() == 2 && (flag != "--revert" || after == before),
        format!("{before:?} | {after:?}"),
    );
    context.finish_load(load).await?;
    crossfade.check_leftovers().await?;
    // A native rollout again: nobody gates it.
    crossfade.release("v3").await?;
    context.until_available(WEB, 2).await?;
    crossfade.check_restarts().await
}
