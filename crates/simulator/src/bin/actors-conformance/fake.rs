//! A script on the API in memory with our actors, under a paused clock. The only place with actors.

use std::sync::Arc;
use std::time::Duration;

use crossfade_fakeapi::{FakeApi, GarbageDelays, Options};
use crossfade_simulator::actors::{Cluster, Settings};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::generate::Script;
use crate::player::Player;
use crate::server::Server;
use crate::state::State;
use crate::step::Step;

/// Longer than any pause of an actor that has something left to do.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(240);

/// Plays the whole script; `seed` moves the actors' delays. Blocks: needs a thread of its own.
///
/// # Errors
/// When an actor ends or never comes to rest.
pub fn play(script: &Script, seed: u64) -> anyhow::Result<Vec<Step>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?
        .block_on(within(script, seed))
}

async fn within(script: &Script, seed: u64) -> anyhow::Result<Vec<Step>> {
    let began = Instant::now();
    let clock: crossfade_fakeapi::Clock = Arc::new(move || {
        let passed = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_second(1_800_000_000).unwrap_or_default()
            + SignedDuration::from_millis(passed)
    });
    let api = FakeApi::new(Options {
        clock: clock.clone(),
        seed,
        history: 10_000,
    });
    let cluster = Cluster::new(&api, Settings::new(seed, clock));
    let mut actors = JoinSet::new();
    let (deployments, sets, garbage) = (cluster.clone(), cluster, api.clone());
    actors.spawn(async move { deployments.run_deployments().await });
    actors.spawn(async move { sets.run_replica_sets().await });
    actors.spawn(async move {
        garbage
            .run_garbage_collector(GarbageDelays::default())
            .await
    });
    let player = Player::new(
        Server::Fake(api.clone()),
        "script".to_owned(),
        script.shared,
    )
    .await?;
    let mut steps = Vec::new();
    let mut state = player.read().await?;
    for operation in &script.operations {
        let answers = player.play(operation, &state).await?;
        state = tokio::select! {
            biased;
            ended = actors.join_next() => anyhow::bail!("an actor ended: {ended:?}"),
            state = rest(&player, &api, script.prompt) => state?,
        };
        steps.push(Step::new(answers, &state));
    }
    Ok(steps)
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
