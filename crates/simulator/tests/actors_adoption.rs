//! What a paused or unpaused Deployment makes of a ReplicaSet that is handed to it: the measured rows of
//! the hand-over's matrix, with the actors' controllers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod actors_support;

use actors_support::{DESIRED, Lab, MAXIMUM, SPACE, quick};
use crossfade_simulator::actors::{Delay, Fate, Manner};
use serde_json::{Value, json};

const OLD: &str = "app:1";
const NEW: &str = "app:2";

/// `web` with N pods of the old image, gated on the new one; beside it `web-canary` with C.
struct Hand {
    lab: Lab,
    old: String,
    new: String,
}

struct Plan {
    size: i64,
    canary: i64,
    surge: Value,
    canary_surge: Value,
    /// One candidate pod never becomes ready.
    one_unready: bool,
    /// N is changed to this before the hand-over.
    resized: Option<i64>,
    more: Value,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            size: 10,
            canary: 10,
            surge: json!("25%"),
            canary_surge: json!("25%"),
            one_unready: false,
            resized: None,
            more: json!({}),
        }
    }
}

fn rolling(surge: &Value) -> Value {
    json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": "25%"}}})
}

async fn prepare(plan: Plan) -> Hand {
    let mut lab = Lab::new(1).await;
    let mut more = rolling(&plan.surge);
    actors_support::merge(&mut more, &plan.more);
    lab.deploy("web", plan.size, OLD, more).await;
    lab.until_complete("web").await;
    lab.gate("web", NEW).await;
    let mut more = rolling(&plan.canary_surge);
    actors_support::merge(&mut more, &plan.more);
    if plan.one_unready {
        lab.cluster.manners.set_image(NEW, quick());
        lab.deploy("web-canary", plan.canary - 1, NEW, more).await;
        lab.until_complete("web-canary").await;
        let never = Manner {
            fate: Fate::NeverReady,
            ..quick()
        };
        lab.cluster.manners.set_image(NEW, never);
        lab.scale("web-canary", plan.canary).await;
        lab.seconds(20).await;
        assert_eq!(lab.pods(NEW).len(), usize::try_from(plan.canary).unwrap());
    } else {
        lab.deploy("web-canary", plan.canary, NEW, more).await;
        lab.until_complete("web-canary").await;
    }
    if let Some(size) = plan.resized {
        lab.scale("web", size).await;
        lab.seconds(20).await;
    }
    let name = |set: Value| set["metadata"]["name"].as_str().unwrap().to_owned();
    let (old, new) = (name(lab.set("web", OLD)), name(lab.set("web-canary", NEW)));
    lab.forget_history();
    Hand { lab, old, new }
}

impl Hand {
    /// By orphaning: the canary's Deployment goes, its ReplicaSet is left and adopted.
    async fn over(&mut self) {
        self.lab.delete("deployments", "web-canary", "Orphan").await;
        let new = self.new.clone();
        self.lab
            .until("web adopts", move |lab| {
                let set = lab.object("replicasets", &new);
                set["metadata"]["ownerReferences"][0]["name"] == "web"
            })
            .await;
        self.lab.seconds(20).await;
    }

    fn sizes(&self) -> (i64, i64) {
        let size = |name: &str| {
            self.lab.object("replicasets", name)["spec"]["replicas"]
                .as_i64()
                .unwrap()
        };
        (size(&self.old), size(&self.new))
    }

    /// Smallest and largest size the new one was written to; what it has if nothing was written.
    fn range(&self) -> (i64, i64) {
        let mut sizes = self.lab.history(&self.new);
        sizes.push(self.sizes().1);
        (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn row_0_a_full_candidate_is_the_cut_over_itself() {
    let mut hand = prepare(Plan::default()).await;
    let before = hand.lab.pods(NEW);
    hand.over().await;
    assert_eq!(hand.sizes(), (0, 10), "{}", hand.lab.picture());
    assert_eq!(hand.range(), (10, 10));
    assert_eq!(hand.lab.pods(NEW), before, "the judged pods serve");
    assert_eq!(hand.lab.deployment("web")["spec"]["paused"], true);
    // Unpausing changes nothing.
    hand.lab.pause("web", false).await;
    hand.lab.seconds(20).await;
    assert_eq!(hand.sizes(), (0, 10));
    assert_eq!(hand.lab.pods(NEW), before);
}

#[tokio::test(start_paused = true)]
async fn row_1_fewer_replicas_before_the_hand_over_shrink_the_candidate() {
    let mut hand = prepare(Plan {
        resized: Some(8),
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (8, 2), "{}", hand.lab.picture());
    let before = hand.lab.pods(NEW);
    hand.lab.pause("web", false).await;
    hand.lab.until_complete("web").await;
    assert_eq!(hand.sizes(), (0, 8));
    let after = hand.lab.pods(NEW);
    assert!(
        before.iter().all(|uid| after.contains(uid)),
        "six pods nobody judged joined two"
    );
}

#[tokio::test(start_paused = true)]
async fn row_2_a_larger_candidate_shrinks() {
    let mut hand = prepare(Plan {
        canary: 12,
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (10, 3), "{}", hand.lab.picture());
}

#[tokio::test(start_paused = true)]
async fn row_3_another_surge_and_one_pod_not_ready() {
    let mut hand = prepare(Plan {
        canary_surge: json!("100%"),
        one_unready: true,
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (6, 7), "{}", hand.lab.picture());
}

#[tokio::test(start_paused = true)]
async fn row_4_another_surge_and_all_available_is_safe() {
    let mut hand = prepare(Plan {
        canary_surge: json!("100%"),
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (0, 10), "{}", hand.lab.picture());
    assert_eq!(hand.range(), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn row_5_one_pod_not_ready_leaves_the_surge_of_the_old() {
    let mut hand = prepare(Plan {
        one_unready: true,
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (3, 10), "{}", hand.lab.picture());
    assert_eq!(hand.range(), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn row_6_more_replicas_before_the_hand_over() {
    let mut hand = prepare(Plan {
        resized: Some(12),
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.range().0, 12, "never below");
    assert_eq!(hand.lab.history(&hand.old), [3, 0]);
    assert_eq!(hand.sizes(), (0, 12), "{}", hand.lab.picture());
}

#[tokio::test(start_paused = true)]
async fn row_7_half_a_candidate_grows_by_pods_nobody_judged() {
    let mut hand = prepare(Plan {
        canary: 5,
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (4, 9), "{}", hand.lab.picture());
}

#[tokio::test(start_paused = true)]
async fn row_8_history_with_the_same_template_wins() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 10, NEW, rolling(&json!("25%"))).await;
    lab.until_complete("web").await;
    lab.image("web", OLD).await;
    lab.until_complete("web").await;
    // Creation times have whole seconds: the order must not hang on names.
    lab.seconds(2).await;
    lab.gate("web", NEW).await;
    lab.deploy("web-canary", 10, NEW, rolling(&json!("25%")))
        .await;
    lab.until_complete("web-canary").await;
    let name = |set: Value| set["metadata"]["name"].as_str().unwrap().to_owned();
    let historic = name(lab.set("web", NEW));
    let mut hand = Hand {
        old: name(lab.set("web", OLD)),
        new: name(lab.set("web-canary", NEW)),
        lab,
    };
    let judged = hand.lab.pods(NEW);
    hand.over().await;
    assert_eq!(hand.sizes(), (3, 10), "{}", hand.lab.picture());
    hand.lab.pause("web", false).await;
    hand.lab.until_complete("web").await;
    assert_eq!(hand.sizes(), (0, 0), "the judged one is old");
    assert_eq!(
        hand.lab.object("replicasets", &historic)["spec"]["replicas"],
        10
    );
    let serving = hand.lab.pods(NEW);
    assert!(
        serving.iter().all(|uid| !judged.contains(uid)),
        "ten fresh pods"
    );
}

#[tokio::test(start_paused = true)]
async fn row_9_without_annotations_it_overshoots() {
    let mut hand = prepare(Plan::default()).await;
    // The canary's own controller would write them back.
    hand.lab.pause("web-canary", true).await;
    hand.lab.seconds(5).await;
    let body = json!({"metadata": {"annotations": {DESIRED: null, MAXIMUM: null}}});
    hand.lab
        .patch("replicasets", &hand.new.clone(), body)
        .await
        .unwrap();
    hand.over().await;
    assert_eq!(
        hand.lab.history(&hand.new),
        [13, 10],
        "{}",
        hand.lab.picture()
    );
    assert_eq!(hand.sizes(), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn row_10_no_surge_takes_the_old_at_once() {
    let mut hand = prepare(Plan {
        surge: json!(0),
        canary_surge: json!(0),
        one_unready: true,
        ..Plan::default()
    })
    .await;
    hand.over().await;
    assert_eq!(hand.sizes(), (0, 10), "{}", hand.lab.picture());
}

#[tokio::test(start_paused = true)]
async fn row_11_another_template_makes_the_judged_one_old() {
    let mut hand = prepare(Plan::default()).await;
    hand.lab.image("web", "app:3").await;
    hand.lab.seconds(5).await;
    hand.over().await;
    assert_eq!(hand.sizes(), (3, 10), "{}", hand.lab.picture());
    assert!(hand.lab.pods("app:3").is_empty(), "still gated");
    // A later change of N shrinks both.
    hand.lab.scale("web", 5).await;
    hand.lab.seconds(20).await;
    let (old, new) = hand.sizes();
    assert!(old < 3 && new < 10 && old + new == 7, "{old} {new}");
}

#[tokio::test(start_paused = true)]
async fn row_12_a_paused_native_rollout_scales_both_alike() {
    let mut lab = Lab::new(1).await;
    let never = Manner {
        fate: Fate::NeverReady,
        ..quick()
    };
    lab.cluster.manners.set_image(NEW, never);
    lab.deploy("web", 10, OLD, rolling(&json!("25%"))).await;
    lab.until_complete("web").await;
    lab.image("web", NEW).await;
    lab.seconds(20).await;
    assert_eq!(
        lab.sets("web"),
        [(OLD.to_owned(), 8), (NEW.to_owned(), 5)].into()
    );
    lab.pause("web", true).await;
    lab.scale("web", 8).await;
    lab.seconds(20).await;
    assert_eq!(
        lab.sets("web"),
        [(OLD.to_owned(), 6), (NEW.to_owned(), 4)].into()
    );
}

#[tokio::test(start_paused = true)]
async fn row_13_unpaused_too_early_it_makes_its_own_and_the_older_wins() {
    let mut hand = prepare(Plan::default()).await;
    hand.lab.seconds(2).await;
    let judged = hand.lab.pods(NEW);
    hand.lab.pause("web", false).await;
    hand.lab
        .until("a ReplicaSet of its own", |lab| {
            lab.sets("web").contains_key(NEW)
        })
        .await;
    let own = hand.lab.set("web", NEW);
    let hash = |set: &Value| set["metadata"]["labels"]["pod-template-hash"].clone();
    let canary = hand.lab.object("replicasets", &hand.new.clone());
    assert_eq!(
        hash(&own),
        hash(&canary),
        "a Service cannot tell them apart"
    );
    hand.over().await;
    hand.lab.until_complete("web").await;
    assert_eq!(hand.sizes().1, 10, "{}", hand.lab.picture());
    assert_eq!(hand.lab.pods(NEW), judged);
    let own = own["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(hand.lab.object("replicasets", &own)["spec"]["replicas"], 0);
}

#[tokio::test(start_paused = true)]
async fn row_14_recreate_is_stuck_with_both() {
    let mut lab = Lab::new(1).await;
    let recreate = json!({"strategy": {"type": "Recreate"}});
    lab.deploy("web", 4, OLD, recreate.clone()).await;
    lab.until_complete("web").await;
    lab.gate("web", NEW).await;
    lab.deploy("web-canary", 3, NEW, recreate).await;
    lab.until_complete("web-canary").await;
    let name = |set: Value| set["metadata"]["name"].as_str().unwrap().to_owned();
    let mut hand = Hand {
        old: name(lab.set("web", OLD)),
        new: name(lab.set("web-canary", NEW)),
        lab,
    };
    hand.over().await;
    assert_eq!(hand.sizes(), (4, 3), "paused: nothing");
    hand.lab.pause("web", false).await;
    hand.lab.seconds(300).await;
    assert_eq!(hand.sizes(), (4, 3), "unpaused: stuck");
}

#[tokio::test(start_paused = true)]
async fn recreate_when_saturated_ends_the_old() {
    let mut lab = Lab::new(1).await;
    let recreate = json!({"strategy": {"type": "Recreate"}});
    lab.deploy("web", 4, OLD, recreate.clone()).await;
    lab.until_complete("web").await;
    lab.gate("web", NEW).await;
    lab.deploy("web-canary", 4, NEW, recreate).await;
    lab.until_complete("web-canary").await;
    let name = |set: Value| set["metadata"]["name"].as_str().unwrap().to_owned();
    let mut hand = Hand {
        old: name(lab.set("web", OLD)),
        new: name(lab.set("web-canary", NEW)),
        lab,
    };
    hand.over().await;
    assert_eq!(hand.sizes(), (0, 4), "{}", hand.lab.picture());
}

#[tokio::test(start_paused = true)]
async fn a_release_in_the_wrong_order_is_not_adopted_by_a_deployment_on_its_way_out() {
    // An orphan with another template is scaled away by an unpaused Deployment at once.
    let mut lab = Lab::new(1).await;
    lab.cluster.manners.set_default(Manner {
        start: Delay::millis(500, 500),
        ..quick()
    });
    lab.deploy("web", 3, OLD, json!({})).await;
    lab.until_complete("web").await;
    lab.deploy("other", 3, NEW, json!({})).await;
    lab.until_complete("other").await;
    let orphan = lab.set("other", NEW)["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    lab.delete("deployments", "other", "Orphan").await;
    lab.until("scaled to 0", move |lab| {
        lab.object("replicasets", &orphan)["spec"]["replicas"] == 0
    })
    .await;
    assert_eq!(lab.sets("web")[OLD], 3);
    assert_eq!(lab.api.list("deployments", Some(SPACE)).len(), 1);
}
