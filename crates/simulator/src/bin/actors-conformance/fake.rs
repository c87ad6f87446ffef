//! A script on the API in memory with our actors, under a paused clock. The only place with actors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_fakeapi::{Change, FakeApi, GarbageDelays, Options, Snapshot};
use crossfade_simulator::actors::{Cluster, Delay, Settings};
use crossfade_simulator::random;
use crossfade_simulator::trace::lock;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::course::Course;
use crate::generate::Script;
use crate::operation::Operation;
use crate::player::Player;
use crate::server::Server;
use crate::state::State;
use crate::step::Step;

/// Longer than any pause of an actor that has something left to do.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(240);

/// Where a script can be taken up again.
#[derive(Clone)]
pub struct Origin {
    snapshot: Snapshot,
    /// Time that has passed until there.
    passed: Duration,
    parking: String,
}

/// One operation and the place after it.
#[derive(Clone)]
pub struct Played {
    pub step: Step,
    pub after: Origin,
}

/// How late everybody is. Several things happen at once, and their order is nobody's promise.
struct Pace {
    deployments: Settings,
    sets: Settings,
    garbage: GarbageDelays,
    /// Between two calls of whoever plays the script.
    player: Duration,
}

impl Pace {
    /// Number 1 is the usual one.
    fn new(number: u64, clock: &crossfade_fakeapi::Clock) -> Self {
        let settings = || Settings::new(number, clock.clone());
        let mut pace = Self {
            deployments: settings(),
            sets: settings(),
            garbage: GarbageDelays::default(),
            player: Duration::from_millis(2),
        };
        if number == 1 {
            return pace;
        }
        let mut draw = random::of(number, "pace");
        let mut one = |list: &[(u64, u64)]| {
            let (least, most) = draw.choice(list).copied().unwrap_or((1, 4));
            Delay::millis(least, most)
        };
        for settings in [&mut pace.deployments, &mut pace.sets] {
            settings.latency = one(&[(0, 1), (1, 4), (5, 20), (20, 60)]);
            settings.sight = one(&[(0, 1), (1, 10), (10, 60), (50, 200)]);
        }
        pace.garbage.collect = one(&[(5, 5), (50, 50), (300, 300)]).least;
        pace.garbage.orphan = one(&[(5, 5), (50, 50), (300, 300)]).least;
        pace.player = one(&[(0, 0), (2, 2), (10, 10), (50, 50), (250, 250)]).least;
        pace
    }
}

fn clock(passed: Duration) -> crossfade_fakeapi::Clock {
    let began = Instant::now();
    Arc::new(move || {
        let passed = passed + began.elapsed();
        let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_second(1_800_000_000).unwrap_or_default()
            + SignedDuration::from_millis(passed)
    })
}

fn options(clock: crossfade_fakeapi::Clock) -> Options {
    Options {
        clock,
        seed: 1,
        history: 10_000,
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?
        .block_on(work)
}

/// The place before the first operation. Blocks: needs a thread of its own, as does [`play`].
///
/// # Errors
/// When the API refuses what every script has.
pub fn begin(script: &Script) -> anyhow::Result<Origin> {
    block_on(async {
        let api = FakeApi::new(options(clock(Duration::ZERO)));
        let player = Player::new(
            server(&api, Duration::ZERO),
            "script".to_owned(),
            script.shared,
        );
        let player = player.await?;
        Ok(Origin {
            snapshot: api.snapshot(),
            passed: Duration::ZERO,
            parking: player.parking,
        })
    })
}

fn server(api: &FakeApi, pause: Duration) -> Server {
    Server::Fake {
        api: api.clone(),
        pause,
    }
}

/// Plays these operations of the script at this pace.
///
/// # Errors
/// When an actor ends or never comes to rest.
pub fn play(
    script: &Script,
    from: &Origin,
    operations: &[Operation],
    pace: u64,
) -> anyhow::Result<Vec<Played>> {
    block_on(within(script, from, operations, pace))
}

async fn within(
    script: &Script,
    from: &Origin,
    operations: &[Operation],
    pace: u64,
) -> anyhow::Result<Vec<Played>> {
    let began = Instant::now();
    let clock = clock(from.passed);
    let pace = Pace::new(pace, &clock);
    let api = FakeApi::restore(&from.snapshot, options(clock));
    let mut actors = JoinSet::new();
    let deployments = Cluster::new(&api, pace.deployments);
    let sets = Cluster::new(&api, pace.sets);
    let garbage = api.clone();
    actors.spawn(async move { deployments.run_deployments().await });
    actors.spawn(async move { sets.run_replica_sets().await });
    actors.spawn(async move { garbage.run_garbage_collector(pace.garbage).await });
    let player = Player {
        server: server(&api, pace.player),
        namespace: "script".to_owned(),
        shared: script.shared,
        parking: from.parking.clone(),
    };
    let course = Arc::new(Mutex::new(Course::default()));
    let seen = Arc::clone(&course);
    for set in &player.read().await?.sets {
        lock(&course).see(set);
    }
    api.observe(Arc::new(move |change: &Change| {
        if let ("replicasets", Some(set)) = (change.key.resource.as_str(), &change.after) {
            lock(&seen).see(set);
        }
    }));
    // Actors that begin look at everything once.
    let mut state = rest(&player, &api, script.prompt).await?;
    let mut played = Vec::new();
    for operation in operations {
        lock(&course).clear();
        let answers = player.play(operation, &state).await?;
        state = tokio::select! {
            biased;
            ended = actors.join_next() => anyhow::bail!("an actor ended: {ended:?}"),
            state = rest(&player, &api, script.prompt) => state?,
        };
        played.push(Played {
            step: Step::new(operation, &answers, &state, &lock(&course).so_far()),
            after: Origin {
                snapshot: api.snapshot(),
                passed: from.passed + began.elapsed(),
                parking: from.parking.clone(),
            },
        });
    }
    Ok(played)
}

async fn rest(player: &Player, api: &FakeApi, prompt: bool) -> anyhow::Result<State> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = api.revision();
        tokio::time::sleep(QUIET).await;
        if api.revision() == before {
            let state = player.read().await?;
            if !(prompt && Player::unfinished(&state)) {
                return Ok(state);
            }
            player.finish(&state).await?;
        }
        anyhow::ensure!(Instant::now() < deadline, "the actors never rest");
    }
}
