//! Two processes of one installation: one leads, the other stands by and answers admission all the while. A clean stop hands the lead over
//! at once; a leader that freezes and wakes again harms nothing; and both show one certificate, also while it is replaced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fixture::laws::bad_lines;
use crate::fixture::plan::weight;
use crate::fixture::serving::{pods_of, serving_uids};
use crate::fixture::{Crossfade, Plan, Replica, SOON, Settings, WEB};
use crate::harness::api::{Patch, collection, object, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::tls;
use crate::harness::watch::Watch;
use crate::load::Options;

/// From the end of a clean stop to the next leader.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// A replica looks at the certificate once a minute; then the API server learns the new authority before anybody serves under it.
const REPLACED: Duration = Duration::from_secs(100);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "replicas",
    control: false,
    pods: 14,
    group: 1,
    alone: false,
    limit: Duration::from_secs(400),
    run: |context| Box::pin(run(context)),
};

struct Pair {
    crossfade: Crossfade,
    leases: Watch,
    one: Replica,
    other: Replica,
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let settings = Settings {
        service: true,
        ..Settings::default()
    };
    let crossfade = Crossfade::install_stopped(&context, settings).await?;
    let (mut one, mut other) = (crossfade.first()?, crossfade.replica("other")?);
    one.start().await?;
    one.serve(&context, &crossfade.installation, true).await?;
    let leases = Watch::start(
        &context.api,
        &collection(&crossfade.installation.namespace, "leases"),
    )
    .await?;
    crossfade
        .plan(&Plan::steps(vec![weight(20, "6s"), weight(50, "6s")]))
        .await?;
    crossfade.deploy(&App::new(WEB, 4).canary()).await?;
    other.start().await?;
    other.serve(&context, &crossfade.installation, true).await?;
    let mut pair = Pair {
        crossfade,
        leases,
        one,
        other,
    };
    let load = context.load(WEB, Options::default()).await?;
    stopped(&mut pair).await?;
    frozen(&mut pair).await?;
    context.finish_load(load).await?;
    replaced(&pair).await?;
    pair.crossfade.check_laws().await?;
    let log = std::fs::read_to_string(pair.other.controller.log())?;
    let bad = bad_lines(&log);
    context.check(
        "the other replica logs no error",
        bad.is_empty() && !log.is_empty(),
        bad.join("\n"),
    );
    for replica in [&mut pair.one, &mut pair.other] {
        replica.controller.stop(Duration::from_secs(10)).await?;
    }
    Ok(())
}

impl Pair {
    /// The leader's name, once it is another than the former.
    async fn leader(&self, former: &str, limit: Duration) -> anyhow::Result<String> {
        self.leases
            .until_object(
                &self.crossfade.installation.name,
                "another process leads",
                limit,
                |lease| {
                    let holder = text(lease, "/spec/holderIdentity");
                    (!holder.is_empty() && holder != former).then(|| holder.to_owned())
                },
            )
            .await
    }

    async fn serve(&self, replica: &Replica, serves: bool) -> anyhow::Result<()> {
        replica
            .serve(
                &self.crossfade.context,
                &self.crossfade.installation,
                serves,
            )
            .await
    }

    /// The release ended with the pods that were there when the lead changed.
    async fn ended(&self, tag: &str, judged: &BTreeSet<String>) -> anyhow::Result<()> {
        self.crossfade.until_promoted(tag).await?;
        let serving = serving_uids(&self.crossfade.context, WEB).await?;
        self.crossfade.context.check(
            &format!("{tag}: the pods that were judged serve"),
            judged.is_subset(&serving) && serving.len() == 4,
            format!("{judged:?} | {serving:?}"),
        );
        Ok(())
    }

    async fn judged(&self, tag: &str) -> anyhow::Result<BTreeSet<String>> {
        let pods = pods_of(&self.crossfade.context, tag).await?;
        Ok(pods.into_values().collect())
    }
}

/// The leader ends in the middle of a step, as in an update of the controller.
async fn stopped(pair: &mut Pair) -> anyhow::Result<()> {
    let context = Arc::clone(&pair.crossfade.context);
    let first = pair.leader("", SOON).await?;
    pair.crossfade.release("v2").await?;
    pair.crossfade.until_step(0, "Observing", SOON).await?;
    let judged = pair.judged("v2").await?;
    pair.serve(&pair.one, false).await?;
    let took = pair.one.controller.stop(Duration::from_secs(15)).await?;
    let ended = Instant::now();
    pair.leader(&first, SOON).await?;
    let lag = ended.elapsed();
    context.check(
        "the standby leads within two seconds of a clean stop",
        lag < TAKE_OVER,
        format!(
            "stopped in {:.3} s, the other led {:.3} s later",
            took.as_secs_f64(),
            lag.as_secs_f64()
        ),
    );
    pair.ended("v2", &judged).await
}

/// The leader stands still for longer than its Lease, as a node without processor time does, and wakes when another has gone on.
async fn frozen(pair: &mut Pair) -> anyhow::Result<()> {
    let context = Arc::clone(&pair.crossfade.context);
    pair.one.start().await?;
    pair.serve(&pair.one, true).await?;
    let second = pair.leader("", SOON).await?;
    pair.crossfade.release("v3").await?;
    pair.crossfade.until_step(0, "Observing", SOON).await?;
    let judged = pair.judged("v3").await?;
    pair.serve(&pair.other, false).await?;
    pair.other.controller.hold(true)?;
    let since = Instant::now();
    let third = pair.leader(&second, SOON).await;
    let lag = since.elapsed();
    let moved = pair.crossfade.until_step(1, "Observing", SOON).await;
    pair.other.controller.hold(false)?;
    let third = third?;
    moved?;
    context.say(&format!(
        "a frozen leader was followed after {:.1} s",
        lag.as_secs_f64()
    ));
    pair.ended("v3", &judged).await?;
    let now = pair.leader("", SOON).await?;
    context.check(
        "the leader that woke up does not lead again",
        now == third && now != second,
        format!("{second} froze, {third} followed, {now} leads"),
    );
    pair.serve(&pair.other, true).await
}

/// The certificate is replaced while both serve: nobody is refused meanwhile.
async fn replaced(pair: &Pair) -> anyhow::Result<()> {
    let (crossfade, context) = (&pair.crossfade, &pair.crossfade.context);
    let installation = &crossfade.installation;
    let before = shown(pair).await?;
    context.check(
        "both replicas show the same certificate, and the API server trusts it",
        before.0 == before.1,
        format!("{} bytes", before.0.len()),
    );
    // As if its time had come.
    let due =
        json!({"metadata": {"annotations": {"crossfade.dev/renew-at": "2020-01-01T00:00:00Z"}}});
    let secret = object(
        &installation.namespace,
        "secrets",
        &installation.secret_name(),
    );
    context.api.patch(&secret, Patch::Merge, &due).await?;
    let since = Instant::now();
    let (mut asked, mut refused) = (0, Vec::new());
    let after = loop {
        if let Err(problem) = crossfade.tried(WEB).await {
            refused.push(format!(
                "after {:.1} s: {problem:#}",
                since.elapsed().as_secs_f64()
            ));
        }
        asked += 1;
        // One of them may be between two certificates, each trusted.
        let now = shown(pair).await?;
        if now.0 != before.0 && now.1 != before.1 {
            break now;
        }
        anyhow::ensure!(
            since.elapsed() < REPLACED,
            "the certificate is not replaced after {} s",
            REPLACED.as_secs()
        );
        sleep(Duration::from_millis(200)).await;
    };
    context.check(
        "both replicas show the new certificate",
        after.0 == after.1,
        format!("after {:.1} s", since.elapsed().as_secs_f64()),
    );
    context.check(
        "no template change was refused while the certificate was replaced",
        refused.is_empty() && asked > 10,
        format!("{asked} tried; {}", refused.join("; ")),
    );
    Ok(())
}

/// What both show, each checked against what the API server trusts.
async fn shown(pair: &Pair) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let installation = &pair.crossfade.installation;
    let path = format!(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{}",
        installation.validating_name()
    );
    let found: Value = pair.crossfade.context.api.must_get(&path).await?;
    let bundle = text(&found, "/webhooks/0/clientConfig/caBundle");
    let host = format!(
        "{}.{}.svc",
        installation.service_name(),
        installation.namespace
    );
    Ok((
        tls::served(pair.one.admission, &host, bundle).await?,
        tls::served(pair.other.admission, &host, bundle).await?,
    ))
}
