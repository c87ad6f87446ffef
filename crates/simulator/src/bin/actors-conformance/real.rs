//! A script on a real API server with its controller manager. Rest is seen, not guessed: watches tell
//! when the last change came, and a list must then show what controllers are to bring about.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use crossfade_fakeapi::Call;
use crossfade_simulator::trace::lock;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::compare::differences;
use crate::course::Course;
use crate::generate::Script;
use crate::operation::Operation;
use crate::player::Player;
use crate::server::{Server, request};
use crate::state::{State, created};
use crate::step::Step;

/// Without a change for so long, and as it should be: rest.
const QUIET: Duration = Duration::from_millis(120);
/// Without a change for so long, whatever it is: rest. Longer than the collector's and queues' usual pauses.
const LONG_QUIET: Duration = Duration::from_millis(5000);
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays one operation after another.
pub struct Real {
    player: Player,
    prompt: bool,
    last: watch::Receiver<Instant>,
    state: State,
    course: Arc<Mutex<Course>>,
    /// They end with it.
    _watches: JoinSet<()>,
}

impl Real {
    /// # Errors
    /// When the server refuses the namespace.
    pub async fn new(
        client: kube::Client,
        namespace: String,
        script: &Script,
    ) -> anyhow::Result<Self> {
        let player = Player::new(
            Server::Real(client.clone()),
            namespace.clone(),
            script.shared,
        )
        .await?;
        let (sender, last) = watch::channel(Instant::now());
        let sender = Arc::new(sender);
        let course = Arc::new(Mutex::new(Course::default()));
        let mut watches = JoinSet::new();
        for resource in [
            "/apis/apps/v1/namespaces/{}/deployments",
            "/apis/apps/v1/namespaces/{}/replicasets",
            "/api/v1/namespaces/{}/pods",
        ] {
            let path = format!("{}?watch=true", resource.replace("{}", &namespace));
            let (client, sender) = (client.clone(), Arc::clone(&sender));
            let course = Arc::clone(&course);
            watches.spawn(async move {
                // One that breaks is begun again; its first events count as changes, which only costs time.
                loop {
                    let _ = follow(&client, &path, &sender, &course).await;
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        let state = player.read().await?;
        Ok(Self {
            player,
            prompt: script.prompt,
            last,
            state,
            course,
            _watches: watches,
        })
    }

    /// Plays it and waits for rest. `expected` only shortens the wait.
    ///
    /// # Errors
    /// When the server does not answer or never rests.
    pub async fn play(&mut self, operation: &Operation, expected: &Step) -> anyhow::Result<Step> {
        self.next_second().await;
        lock(&self.course).clear();
        let answers = self.player.play(operation, &self.state).await?;
        let began = Instant::now();
        let mut quiet = QUIET;
        loop {
            let since = (*self.last.borrow_and_update()).max(began);
            sleep_until(since + quiet).await;
            if self.last.has_changed().unwrap_or(false) {
                quiet = QUIET;
                continue;
            }
            let state = self.player.read().await?;
            if self.last.has_changed().unwrap_or(false) || !lock(&self.course).is_at(&state) {
                quiet = QUIET;
                anyhow::ensure!(began.elapsed() < PATIENCE, "never rests");
                continue;
            }
            if self.prompt && Player::unfinished(&state) {
                self.player.finish(&state).await?;
                quiet = QUIET;
                continue;
            }
            let step = Step::new(operation, &answers, &state, &lock(&self.course).so_far());
            let as_expected =
                step.unrest == expected.unrest && differences(expected, &step).is_empty();
            if as_expected || quiet == LONG_QUIET {
                self.state = state;
                return Ok(step);
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "never rests: {:?}", step.unrest);
            // Something is still to come, or the sides differ.
            quiet = if since.elapsed() < LONG_QUIET / 2 {
                since.elapsed() + QUIET
            } else {
                LONG_QUIET
            };
        }
    }

    /// Creation times have whole seconds, and order matters to controllers: the next ReplicaSet must be younger.
    async fn next_second(&self) {
        let newest = self
            .state
            .sets
            .iter()
            .filter_map(|set| created(set).parse::<Timestamp>().ok())
            .max();
        let Some(newest) = newest else { return };
        #[allow(
            clippy::disallowed_methods,
            reason = "the real server's clock is the machine's"
        )]
        let now = Timestamp::now();
        let left = newest.as_millisecond() + 1001 - now.as_millisecond();
        if let Ok(left @ 1..) = u64::try_from(left) {
            sleep(Duration::from_millis(left)).await;
        }
    }
}

/// Takes note of every event, and of the sizes in those of ReplicaSets.
async fn follow(
    client: &kube::Client,
    path: &str,
    sender: &watch::Sender<Instant>,
    course: &Mutex<Course>,
) -> anyhow::Result<()> {
    let response = client
        .send(request(Call::get(path))?)
        .await
        .context("no watch")?;
    let mut body = response.into_body();
    let mut unread = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        unread.extend_from_slice(&data);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).context("a line of a watch")?;
            if let Some(object) = event.get("object")
                && object.get("kind") == Some(&"ReplicaSet".into())
            {
                lock(course).see(object);
            }
        }
        sender.send_replace(Instant::now());
    }
    Ok(())
}
