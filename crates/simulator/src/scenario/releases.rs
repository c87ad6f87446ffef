//! Releases that nobody disturbs: promoted, several in a row, bad, behind two Services or none, and of
//! sizes from one pod up.

use std::time::Duration;

use serde_json::json;

use super::{End, Scenario, Setup, usual};
use crate::actors::{Crash, Fate, Manner};
use crate::world::manifests::{App, Front, Spread};

/// Writes of one calm release behind two Services: the second one's pins, widenings and give-back come on top.
const TWO_SERVICES: u64 = 100;

const PROMOTES: Scenario = Scenario {
    name: "canary-promotes",
    setup: usual,
    script: |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_promoted("v2").await
        })
    },
    end: End::Promoted("v2"),
    comparable: true,
};

/// Beside a calm release of v2: what the setup differs in.
pub(super) const fn promotes(
    name: &'static str,
    setup: fn(&mut fastrand::Rng) -> Setup,
) -> Scenario {
    Scenario {
        name,
        setup,
        ..PROMOTES
    }
}

/// A version that cannot become ready is taken back.
const fn taken_back(name: &'static str, script: super::Script) -> Scenario {
    Scenario {
        name,
        setup: without_losses,
        script,
        end: End::RolledBack("v1"),
        comparable: true,
    }
}

fn without_losses(_: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        writes: 120,
        ..Setup::default()
    }
}

fn of_apps(app: App) -> Setup {
    Setup {
        apps: vec![app],
        ..Setup::default()
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    PROMOTES,
    promotes("canary-promotes-two-controllers", |_| Setup {
        controllers: 2,
        ..Setup::default()
    }),
    promotes("canary-promotes-two-services", |_| Setup {
        writes: TWO_SERVICES,
        ..of_apps(App {
            fronts: vec![Front::named("web"), Front::named("web-internal")],
            ..App::new(4)
        })
    }),
    promotes("canary-promotes-not-ready-published", |_| Setup {
        writes: TWO_SERVICES,
        ..of_apps(App {
            fronts: vec![
                Front::named("web"),
                Front {
                    name: "web-peers",
                    publishes_not_ready: true,
                    spread: Spread::Cluster,
                    preview: false,
                },
            ],
            ..App::new(3)
        })
    }),
    promotes("canary-promotes-without-a-service", |_| Setup {
        plan: unmeasured(),
        ..of_apps(App {
            fronts: Vec::new(),
            ..App::new(3)
        })
    }),
    promotes("canary-promotes-one-pod", |_| of_apps(App::new(1))),
    promotes("canary-promotes-odd-fields", |_| {
        of_apps(App {
            odd_fields: true,
            min_ready_seconds: 2,
            max_surge: json!(1),
            max_unavailable: json!(0),
            ..App::new(2)
        })
    }),
    promotes("canary-promotes-unmeasured", |_| Setup {
        plan: unmeasured(),
        ..Setup::default()
    }),
    Scenario {
        name: "third-release",
        setup: |_| Setup {
            writes: 240,
            ..Setup::default()
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await?;
                stage.push("v4").await?;
                stage
                    .until("a ReplicaSet is parked", |stage| stage.parked())
                    .await?;
                stage.scale(3).await?;
                stage.until_promoted("v4").await
            })
        },
        end: End::Promoted("v4"),
        comparable: true,
    },
    Scenario {
        name: "bad-version",
        setup: |_| Setup {
            writes: 200,
            ..Setup::default()
        },
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 20);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: true,
    },
    Scenario {
        name: "bad-version-stays-out",
        setup: usual,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "bad-only-under-everything",
        // Long enough for forty percent to be seen in, however seldom the controller looks.
        setup: |draw| {
            let mut setup = usual(draw);
            setup.plan["warm"] = json!("3m");
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("Warm").await?;
                stage.errors("v2", 40);
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
    taken_back("candidate-crash-loops", |stage| {
        Box::pin(async move {
            stage.manner(
                "v2",
                Manner {
                    fate: Fate::CrashLoop(Duration::from_millis(500)),
                    ..Manner::default()
                },
            );
            stage.push("v2").await?;
            stage.until_rolled_back().await
        })
    }),
    taken_back("candidate-cannot-be-pulled", |stage| {
        Box::pin(async move {
            stage.manner(
                "v2",
                Manner {
                    fate: Fate::ImagePullBackOff,
                    ..Manner::default()
                },
            );
            stage.push("v2").await?;
            stage.until_rolled_back().await
        })
    }),
    taken_back("candidate-never-ready", |stage| {
        Box::pin(async move {
            stage.manner(
                "v2",
                Manner {
                    fate: Fate::NeverReady,
                    ..Manner::default()
                },
            );
            stage.push("v2").await?;
            stage.until_rolled_back().await
        })
    }),
    taken_back("candidate-crashes-while-judged", |stage| {
        Box::pin(async move {
            stage.manner(
                "v2",
                Manner {
                    crash: Some(Crash {
                        after: Duration::from_secs(6),
                        times: 50,
                    }),
                    ..Manner::default()
                },
            );
            stage.push("v2").await?;
            stage.until_rolled_back().await
        })
    }),
    taken_back("candidate-exceeds-the-quota", |stage| {
        Box::pin(async move {
            stage.cluster.quota(Some(4));
            stage.push("v2").await?;
            stage.until_rolled_back().await?;
            stage.cluster.quota(None);
            Ok(())
        })
    }),
];

fn unmeasured() -> serde_json::Value {
    let mut plan = crate::world::manifests::plan();
    plan["analysis"] = json!({ "source": "none" });
    plan
}
