//! The controller is killed thirty times within one release, as a lost node does it: at drawn times, after drawn numbers of writes, and at
//! the first sight of every phase and stage of the hand-over. The release ends as a calm one does, and no request is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::plan::{approval, weight};
use crate::fixture::serving::{largest_sizes, owner, pods_of, revisions, serving_uids};
use crate::fixture::{Crossfade, Plan, SOON, WEB, snapshot};
use crate::harness::api::{collection, number, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::watch::Watch;
use crate::load::Options;

const KILLS: usize = 30;
/// The next kill comes within so many milliseconds of the lease.
const DRAWN: u64 = 4000;
/// From the push to the end.
const WITHIN: Duration = Duration::from_secs(360);
const SEED: u64 = 0x0c05_5fad_e000_0003;

const BASE: Scenario = Scenario {
    name: "killed-drains",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(540),
    run: |context| Box::pin(run(context, true)),
};

pub(crate) const SCENARIOS: [Scenario; 2] = [
    BASE,
    Scenario {
        name: "killed-exits",
        run: |context| Box::pin(run(context, false)),
        ..BASE
    },
];

/// The stages of the hand-over by what the Rollout says it waits for. Each is written before what it stands for is done.
const STAGES: [(&str, &str); 12] = [
    ("to be paused", "pause the parallel Deployment"),
    (
        "to see that the parallel Deployment is paused",
        "its pause is seen",
    ),
    ("to be parked", "park"),
    ("the judged ReplicaSet to be the Deployment's", "transfer"),
    ("to count the judged ReplicaSet", "the transfer is seen"),
    (
        "the parallel Deployment to be deleted",
        "orphan the parallel Deployment",
    ),
    (
        "the old ReplicaSet to be emptied",
        "empty the old ReplicaSet",
    ),
    ("pods of the old ReplicaSet", "the old pods end"),
    ("to be given back as history", "return the old ReplicaSets"),
    ("to take its history back", "their return is seen"),
    ("the Services to be given back", "give the Services back"),
    ("to be unpaused", "unpause"),
];

/// Those that wait for a write of ours: no release is without them. The others wait for somebody else, who may be faster.
const ALWAYS: [&str; 13] = [
    "Preparing",
    "Progressing Scaling",
    "Progressing Settling",
    "Progressing Observing",
    "Progressing AwaitingApproval",
    "Warm Settling",
    "Warm Observing",
    "HandingOver: pause the parallel Deployment",
    "HandingOver: park",
    "HandingOver: transfer",
    "HandingOver: orphan the parallel Deployment",
    "HandingOver: empty the old ReplicaSet",
    "HandingOver: unpause",
];

/// Where a release stands, as far as kills are told apart.
fn place(rollout: &Value) -> Option<String> {
    let (phase, state) = (
        text(rollout, "/status/phase"),
        text(rollout, "/status/step/state"),
    );
    Some(match phase {
        "Preparing" => phase.to_owned(),
        "Progressing" | "Warm" => format!("{phase} {state}"),
        "HandingOver" => {
            let waits = text(rollout, "/status/step/waitingOn");
            let (_, stage) = STAGES.iter().find(|(words, _)| waits.contains(words))?;
            format!("{phase}: {stage}")
        }
        _ => return None,
    })
}

/// Numbers that look drawn and are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

struct Killer {
    crossfade: Crossfade,
    leases: Watch,
    holder: String,
    draw: Draw,
    hit: BTreeMap<String, usize>,
    timed: usize,
    kills: usize,
}

impl Killer {
    async fn until_led(&mut self) -> anyhow::Result<()> {
        let (name, former) = (&self.crossfade.installation.name, &self.holder);
        self.holder = self
            .leases
            .until_object(name, "another process leads", SOON, |lease| {
                let holder = text(lease, "/spec/holderIdentity");
                (!holder.is_empty() && holder != former).then(|| holder.to_owned())
            })
            .await?;
        Ok(())
    }

    /// Kills at the first sight of a place not hit yet; with `timed` also by the clock or by the number of writes to the Rollout. Without a
    /// kill when the release is over.
    async fn kill_next(&mut self, timed: bool) -> anyhow::Result<bool> {
        self.until_led().await?;
        let time = Duration::from_millis(self.draw.below(DRAWN));
        let by_writes = self.draw.below(3) == 0;
        let writes = 1 + self.draw.below(4) as usize;
        let limit = match (timed, by_writes) {
            (true, false) => time,
            (true, true) => Duration::from_millis(DRAWN),
            (false, _) => SOON,
        };
        let hit = &self.hit;
        let counted = Mutex::new((String::new(), 0));
        let seen = self
            .crossfade
            .rollouts
            .until_object(WEB, "the next kill", limit, |rollout| {
                let over = text(rollout, "/status/history/0/outcome") == "promoted"
                    && text(rollout, "/status/phase") == "Idle";
                let fresh = place(rollout).is_some_and(|place| !hit.contains_key(&place));
                let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
                let version = text(rollout, "/metadata/resourceVersion");
                if counted.0 != version {
                    *counted = (version.to_owned(), counted.1 + 1);
                }
                // What stood there already counts as one.
                let written = by_writes && timed && counted.1 > writes;
                (over || fresh || written).then_some(over)
            })
            .await;
        if matches!(seen, Ok(true)) {
            return Ok(false);
        }
        anyhow::ensure!(
            timed || seen.is_ok(),
            "nothing new for {} s",
            SOON.as_secs()
        );
        self.crossfade.controller.kill().await?;
        self.kills += 1;
        // What it had written when it died.
        let now = self.crossfade.rollout().await?;
        let place = place(&now).unwrap_or_else(|| text(&now, "/status/phase").to_owned());
        self.timed += usize::from(seen.is_err());
        *self.hit.entry(place).or_insert(0) += 1;
        self.crossfade.controller.start()?;
        Ok(true)
    }

    /// Places every release has that no kill has hit.
    fn missing(&self) -> Vec<&'static str> {
        ALWAYS
            .into_iter()
            .filter(|place| !self.hit.contains_key(*place))
            .collect()
    }
}

async fn run(context: Arc<Context>, drains: bool) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(20, "3s"), approval(), weight(50, "3s")]);
    crossfade.plan(&plan).await?;
    // With a history: a ReplicaSet of it must not come up, and parking takes more than one write.
    let app = App {
        drains,
        ..App::new(WEB, 4)
    };
    context.deploy(&app).await?;
    context
        .user
        .set_image(WEB, &image("v2"))
        .await?
        .must("kubectl set image")?;
    context.until_available(WEB, 4).await?;
    crossfade.deploy(&app.tag("v2").canary()).await?;
    let options = if drains {
        Options::default()
    } else {
        Options::new_connections_only()
    };
    let load = context.load(WEB, options).await?;
    let sets = context.watch("replicasets").await?;
    let pods = context.watch("pods").await?;
    let leases = Watch::start(
        &context.api,
        &collection(&crossfade.installation.namespace, "leases"),
    )
    .await?;

    let mut killer = Killer {
        crossfade,
        leases,
        holder: String::new(),
        draw: Draw(SEED),
        hit: BTreeMap::new(),
        timed: 0,
        kills: 0,
    };
    let pushed = killer.crossfade.release("v3").await?;
    let mut approved = false;
    while killer.kills < KILLS || !killer.missing().is_empty() {
        anyhow::ensure!(pushed.elapsed() < WITHIN, "the release takes too long");
        // As many kills are kept as there are places still to come; until then the release waits at the approval.
        let enough = killer.kills + killer.missing().len() >= KILLS;
        let waits = killer.hit.contains_key("Progressing AwaitingApproval");
        if enough && waits && !approved {
            killer.crossfade.command("promote").await?;
            approved = true;
        }
        if !killer.kill_next(!enough).await? {
            break;
        }
    }
    context.say(&format!("{} kills: {:?}", killer.kills, killer.hit));
    let rest = WITHIN.saturating_sub(pushed.elapsed());
    killer
        .crossfade
        .until_ended(WEB_TAG, "promoted", rest)
        .await?;
    let took = pushed.elapsed();
    context.check(
        "thirty kills within one release, which ends promoted",
        killer.kills >= KILLS && took <= WITHIN,
        format!(
            "{} kills ({} by the clock), promoted after {:.1} s, the controller was started {} times",
            killer.kills,
            killer.timed,
            took.as_secs_f64(),
            killer.crossfade.controller.starts
        ),
    );
    let missing = killer.missing();
    context.check(
        "every phase and stage was hit",
        missing.is_empty(),
        format!("hit: {:?}; not hit: {missing:?}", killer.hit),
    );
    let judged: BTreeSet<String> = pods
        .history()
        .iter()
        .filter(|seen| text(&seen.object, "/spec/containers/0/image") == image(WEB_TAG))
        .map(|seen| text(&seen.object, "/metadata/uid").to_owned())
        .collect();
    let serving = serving_uids(&context, WEB).await?;
    context.check(
        "the pods that were judged serve, and there never were others",
        judged == serving && serving.len() == 4,
        format!("{judged:?} | {serving:?}"),
    );
    let sizes = largest_sizes(&sets.history());
    let active = sizes.values().filter(|size| **size > 0).count();
    context.check(
        "no ReplicaSet of the history came up",
        active == 2 && sizes.values().all(|size| *size <= 4),
        format!("{sizes:?}"),
    );
    killer.crossfade.until_rest(SOON).await?;
    let killed = end_state(&context).await?;

    // The calm run, of the same plan, on what the first one left.
    let crossfade = killer.crossfade;
    crossfade.release("v4").await?;
    crossfade.until_step(1, "AwaitingApproval", SOON).await?;
    crossfade.command("promote").await?;
    crossfade.until_promoted("v4").await?;
    context.finish_load(load).await?;
    crossfade.until_rest(SOON).await?;
    let calm = end_state(&context).await?;
    let differences = snapshot::differences(&killed, &calm);
    context.check(
        "it ends as a calm run does",
        differences.is_empty(),
        differences.join("; "),
    );
    crossfade.check_laws().await
}

const WEB_TAG: &str = "v3";

/// What is there at the end, but for what two releases in a row differ in: names, versions and times.
async fn end_state(context: &Context) -> anyhow::Result<Value> {
    let mut state = json!({});
    for resource in [
        "deployments",
        "services",
        "controllerrevisions",
        "configmaps",
        "secrets",
        "rollouts",
    ] {
        let (items, _) = context
            .api
            .list(&collection(&context.namespace, resource))
            .await?;
        let names: Vec<&str> = items
            .iter()
            .map(|item| text(item, "/metadata/name"))
            .collect();
        put(&mut state, resource, json!(names));
    }
    let (sets, _) = context
        .api
        .list(&collection(&context.namespace, "replicasets"))
        .await?;
    let owners: BTreeSet<String> = sets.iter().map(|set| format!("{:?}", owner(set))).collect();
    let sizes: Vec<i64> = sets
        .iter()
        .map(|set| number(set, "/spec/replicas"))
        .filter(|size| *size > 0)
        .collect();
    let history = revisions(context, WEB).await?;
    let counted: Vec<u64> = history.keys().copied().collect();
    let in_order = counted == (1..=counted.len() as u64).collect::<Vec<_>>();
    put(
        &mut state,
        "sets",
        json!({"owners": owners, "active": sizes, "revisions in order": in_order}),
    );
    let web = context.get("deployments", WEB).await?;
    let managers = |object: &Value| {
        let mut all: Vec<String> = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|entry| {
                format!(
                    "{} {} {}",
                    text(entry, "/manager"),
                    text(entry, "/operation"),
                    entry.get("fieldsV1").unwrap_or(&Value::Null)
                )
            })
            .collect();
        all.sort();
        all
    };
    let mut spec = web.get("spec").cloned().unwrap_or_default();
    if let Some(image) = spec.pointer_mut("/template/spec/containers/0/image") {
        *image = Value::Null;
    }
    let conditions: BTreeMap<String, String> = web
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|one| {
            (
                text(one, "/type").to_owned(),
                text(one, "/reason").to_owned(),
            )
        })
        .collect();
    put(
        &mut state,
        "web",
        json!({"spec": spec, "conditions": conditions, "managers": managers(&web)}),
    );
    let service = context.get("services", WEB).await?;
    put(&mut state, "service", snapshot::service(&service));
    let pods = pods_of(context, WEB_TAG).await?.len() + pods_of(context, "v4").await?.len();
    put(&mut state, "pods", json!(pods));
    let rollout = context.get("rollouts", WEB).await?;
    put(
        &mut state,
        "rollout",
        json!({
            "phase": rollout.pointer("/status/phase"), "step": rollout.pointer("/status/step"), "candidate": rollout.pointer("/status/candidate"),
            "message": rollout.pointer("/status/message"), "outcome": rollout.pointer("/status/history/0/outcome"),
            "replaced": rollout.pointer("/status/history/0/replacedPods"), "rejected": rollout.pointer("/status/rejected"),
        }),
    );
    Ok(state)
}

fn put(state: &mut Value, key: &str, value: Value) {
    if let Some(state) = state.as_object_mut() {
        state.insert(key.to_owned(), value);
    }
}
