//! The story: everything is started, a good version is released to the end, then a bad one that is taken
//! back. Watches what the API shows, tells it to the view and counts. The person of the story only pushes
//! images and gives approvals; all else is the controller's.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_api::install::Installation;
use crossfade_api::{Phase, Rollout, StepState};
use crossfade_fakeapi::{Caller, Change, FakeApi, GarbageDelays};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Options;
use super::backends::{Backends, Pods};
use super::counts::Counts;
use super::frame::{Frame, PhaseTime, Release, Summary, Told, View};
use super::load::Load;
use super::plan::{self, NAMESPACE, Pace, WEB};
use super::plane::{Plane, Table};
use super::process::Process;
use crate::actors::{self, Client, Delay, Manner, Patch, Running, Stop, path};
use crate::json::{deleting, text};
use crate::random;
use crate::trace::lock;
use crate::world::install::installed;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Looks over which the present rate is taken.
const RECENT: usize = 11;
/// Longest wait for what takes seconds.
const SOON: Duration = Duration::from_secs(60);
/// Longest release beyond its stays.
const LATE: Duration = Duration::from_secs(300);

/// One release of the story.
struct Chapter {
    version: &'static str,
    /// Errors in a million answers.
    errors: u32,
    expected: &'static str,
    title: &'static str,
}

const CHAPTERS: [Chapter; 2] = [
    Chapter {
        version: "v2",
        errors: 0,
        expected: "promoted",
        title: "release 1 of 2: v2 is good and is kept",
    },
    Chapter {
        version: "v3",
        errors: 200_000,
        expected: "rolled-back",
        title: "release 2 of 2: every fifth answer of v3 is an error",
    },
];

/// What the API showed.
enum Heard {
    Event(Arc<Value>),
    Rollout(Arc<Value>),
}

struct Stage<'a> {
    view: &'a mut dyn View,
    options: Options,
    pace: Pace,
    api: FakeApi,
    person: Client,
    process: Process,
    table: Arc<Mutex<Table>>,
    heard: mpsc::UnboundedReceiver<(Instant, Heard)>,
    load: Option<Load>,
    began: Instant,
    chapter: String,
    past: VecDeque<(Instant, Counts)>,
    rollout: Option<Rollout>,
    /// Phase under way and since when; those that are over.
    phase: (Phase, Instant),
    phases: Vec<PhaseTime>,
    at_hand_over: BTreeSet<String>,
    /// The approval waited for: candidate and step, and since when.
    approval: Option<(String, u32, Instant)>,
    approvals: u32,
    /// Ends all of it when dropped.
    _running: Running,
}

/// Tells the story.
///
/// # Errors
/// In words, when it cannot even begin or a part of it breaks.
pub async fn run(options: Options, view: &mut dyn View) -> Result<Summary, String> {
    let options = Options {
        rate: options.rate.clamp(20, 2_000),
        replicas: options.replicas.clamp(2, 10),
        steps: if options.steps.is_empty() {
            plan::usual_steps()
        } else {
            options.steps
        },
        ..options
    };
    let mut stage = Stage::build(options, view).await?;
    stage.open().await?;
    let mut releases = Vec::new();
    for chapter in &CHAPTERS {
        releases.push(stage.release(chapter).await?);
    }
    Ok(stage.close(releases).await)
}

impl<'a> Stage<'a> {
    /// The API, the actors, the pods' servers, the data plane and the controller.
    async fn build(options: Options, view: &'a mut dyn View) -> Result<Self, String> {
        let pace = Pace::new(options.speed);
        let seed = options.seed;
        let installation = Installation::default();
        let snapshot = installed(&installation).await?;
        let api = FakeApi::restore(
            &snapshot,
            crossfade_fakeapi::Options {
                clock: Arc::clone(&options.clock),
                seed,
                history: 2_000,
            },
        );
        let heard = listen(&api);
        let backends = Backends::default();
        for chapter in &CHAPTERS {
            backends.set_errors(chapter.version, chapter.errors);
        }
        let pods = Pods::of(&api);
        let delay = Delay::millis(pace.millis(20, 5), pace.millis(700, 100));
        let plane =
            Plane::open(&api, WEB, &backends, delay, random::of(seed, "demo/plane")).await?;
        let mut settings = actors::Settings::new(seed, Arc::clone(&options.clock));
        // Requests are real here; the actors' own data plane has none to carry.
        settings.proxies = 0;
        let cluster = actors::Cluster::new(&api, settings);
        cluster.manners.set_default(Manner {
            start: Delay::millis(pace.millis(600, 100), pace.millis(1_800, 300)),
            // Longer than a proxy is late and a client keeps a connection.
            stop: Stop::Drain {
                time: Duration::from_millis(pace.millis(3_000, 1_500)),
                accepts: true,
            },
            ..Manner::default()
        });
        let mut running = cluster.spawn();
        let collected = api.clone();
        running.add(async move {
            collected
                .run_garbage_collector(GarbageDelays::default())
                .await;
        });
        let served = backends.clone();
        running.add(async move { served.run(pods, seed).await });
        let address = plane.address()?;
        let table = plane.table();
        running.add(plane.run());
        let process = Process::start(&api, &installation, &options.clock, seed, &backends);
        let person = cluster.client(Caller::new("jane", "kubectl/v1.34.4"), "jane");
        let mut stage = Self {
            view,
            pace,
            api,
            person,
            process,
            table,
            heard,
            load: None,
            began: Instant::now(),
            chapter: "everything starts".to_owned(),
            past: VecDeque::new(),
            rollout: None,
            phase: (Phase::Idle, Instant::now()),
            phases: Vec::new(),
            at_hand_over: BTreeSet::new(),
            approval: None,
            approvals: 0,
            _running: running,
            options,
        };
        let leads = tokio::time::timeout(SOON, stage.process.leads());
        if !matches!(leads.await, Ok(true)) {
            return Err("the controller did not get the lead".to_owned());
        }
        stage.begin_workload().await?;
        stage.load = Some(Load::start(address, stage.options.rate));
        Ok(stage)
    }

    /// The user's objects, until all pods of the first version serve.
    async fn begin_workload(&mut self) -> Result<(), String> {
        let steps = plan::annotation(&self.options.steps, self.pace);
        self.say(
            "person",
            &format!("creates Deployment {WEB} with steps {steps}"),
        );
        for (resource, object) in [
            (
                "rolloutpolicies",
                plan::policy(self.pace, self.options.rate),
            ),
            ("services", plan::service()),
            (
                "deployments",
                plan::deployment(self.options.replicas, &steps),
            ),
        ] {
            self.person
                .create(resource, NAMESPACE, object)
                .await
                .map_err(|refused| format!("{resource}: {}", refused.message))?;
        }
        let replicas = self.options.replicas as usize;
        self.until(SOON, "the first pods to serve", |stage| {
            let serving = lock(&stage.table).usable().len() == replicas;
            (serving && stage.rollout.is_some()).then_some(())
        })
        .await
    }

    /// Some traffic before anything changes.
    async fn open(&mut self) -> Result<(), String> {
        self.chapter = "v1 serves".to_owned();
        self.say(
            "load",
            &format!("{} requests per second begin", self.options.rate),
        );
        self.rest(Duration::from_millis(self.pace.millis(3_000, 500)))
            .await
    }

    async fn release(&mut self, chapter: &Chapter) -> Result<Release, String> {
        chapter.title.clone_into(&mut self.chapter);
        let before = self.newest();
        let counts = self.counts();
        let began = Instant::now();
        self.phases.clear();
        self.phase = (Phase::Idle, began);
        let image = plan::image(chapter.version);
        self.say("person", &format!("pushes image {image}"));
        let patch = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image }]);
        self.person
            .patch(
                Patch::Json,
                &path("deployments", NAMESPACE, WEB, ""),
                &[],
                patch,
            )
            .await
            .map_err(|refused| format!("the push was refused: {}", refused.message))?;
        let stays: u64 = self
            .options
            .steps
            .iter()
            .filter_map(|step| step.stay)
            .map(|stay| self.pace.millis(stay.milliseconds(), 0))
            .sum();
        let limit = LATE + Duration::from_millis(stays + self.pace.millis(60_000, 0));
        let ended = self
            .until(limit, "the release to end", |stage| {
                let at_rest = matches!(stage.phase.0, Phase::Idle | Phase::RolledBack);
                stage
                    .newest()
                    .filter(|newest| at_rest && Some(newest) != before.as_ref())
            })
            .await;
        let mut release = Release {
            version: chapter.version.to_owned(),
            errors_percent: f64::from(chapter.errors) / 10_000.0,
            expected: chapter.expected.to_owned(),
            seconds: rounded(began.elapsed()),
            phases: std::mem::take(&mut self.phases),
            ..Release::default()
        };
        match ended {
            Ok(_) => {
                let entry = self
                    .rollout
                    .as_ref()
                    .and_then(|rollout| rollout.status.as_ref()?.history.first());
                if let Some(entry) = entry {
                    release.outcome.clone_from(&entry.outcome);
                    release.reason.clone_from(&entry.reason);
                }
            }
            Err(why) => {
                "unended".clone_into(&mut release.outcome);
                release.reason = why;
            }
        }
        release.pods_made_by_hand_over = if release.outcome == "promoted" {
            self.pods().difference(&self.at_hand_over).count()
        } else {
            0
        };
        self.chapter = format!("{}: {}", chapter.version, release.outcome);
        self.rest(Duration::from_millis(self.pace.millis(3_000, 700)))
            .await?;
        release.answers = self
            .counts()
            .since(&counts)
            .get(chapter.version)
            .copied()
            .unwrap_or_default();
        Ok(release)
    }

    /// The load ends; the sums.
    async fn close(mut self, releases: Vec<Release>) -> Summary {
        if let Some(load) = &mut self.load {
            load.stop().await;
        }
        let counts = self.counts();
        let mut problems = Vec::new();
        if counts.lost > 0 {
            problems.push(format!(
                "{} of {} requests were lost",
                counts.lost,
                counts.requests()
            ));
        }
        for release in &releases {
            if release.outcome != release.expected {
                problems.push(format!(
                    "{} should have been {}, but was {}: {}",
                    release.version, release.expected, release.outcome, release.reason
                ));
            }
            if release.pods_made_by_hand_over > 0 {
                problems.push(format!(
                    "the hand-over of {} made {} pods that were not judged",
                    release.version, release.pods_made_by_hand_over
                ));
            }
        }
        Summary {
            as_told: problems.is_empty(),
            problems,
            seconds: rounded(self.began.elapsed()),
            requests: counts.requests(),
            lost: counts.lost,
            bad_answers: counts.bad(),
            connections: counts.connections,
            lost_because: counts.reasons,
            versions: counts.versions,
            releases,
        }
    }

    /// Candidate of the newest ended release.
    fn newest(&self) -> Option<String> {
        let status = self.rollout.as_ref()?.status.as_ref()?;
        Some(status.history.first()?.candidate.clone())
    }

    fn counts(&self) -> Counts {
        self.load.as_ref().map(Load::counts).unwrap_or_default()
    }

    /// Pods that are not on their way out.
    fn pods(&self) -> BTreeSet<String> {
        self.api
            .list("pods", Some(NAMESPACE))
            .iter()
            .filter(|pod| !deleting(pod))
            .map(|pod| text(pod, "/metadata/name").to_owned())
            .collect()
    }

    fn say(&mut self, what: &str, text: &str) {
        self.view.told(&Told {
            at: self.began.elapsed(),
            warning: false,
            what: what.to_owned(),
            text: text.to_owned(),
        });
    }

    async fn rest(&mut self, length: Duration) -> Result<(), String> {
        let end = Instant::now() + length;
        self.until(length + SOON, "", |_| (Instant::now() >= end).then_some(()))
            .await
    }

    /// Looks until there is an answer.
    async fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        check: impl Fn(&Self) -> Option<T>,
    ) -> Result<T, String> {
        let end = Instant::now() + limit;
        loop {
            self.look().await?;
            if let Some(answer) = check(self) {
                return Ok(answer);
            }
            if Instant::now() >= end {
                return Err(format!("waited {} s for {what}", limit.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        while let Ok((at, heard)) = self.heard.try_recv() {
            match heard {
                Heard::Event(event) => self.event(at, &event),
                Heard::Rollout(rollout) => self.changed(at, &rollout)?,
            }
        }
        if self.process.ended() {
            return Err("the controller ended by itself".to_owned());
        }
        let now = Instant::now();
        let counts = self.counts();
        self.past.push_back((now, counts.clone()));
        while self.past.len() > RECENT {
            self.past.pop_front();
        }
        let recent = self
            .past
            .front()
            .map_or_else(Default::default, |(at, earlier)| {
                (counts.since(earlier), now.saturating_duration_since(*at))
            });
        self.view.frame(&Frame {
            at: self.began.elapsed(),
            now: (self.options.clock)(),
            chapter: self.chapter.clone(),
            rollout: self.rollout.clone(),
            counts,
            recent,
        });
        self.approve().await
    }

    fn event(&mut self, at: Instant, event: &Value) {
        self.view.told(&Told {
            at: at.saturating_duration_since(self.began),
            warning: text(event, "/type") == "Warning",
            what: text(event, "/reason").to_owned(),
            text: text(event, "/note").to_owned(),
        });
    }

    fn changed(&mut self, at: Instant, rollout: &Value) -> Result<(), String> {
        let rollout: Rollout = serde_json::from_value(rollout.clone())
            .map_err(|error| format!("the Rollout cannot be read: {error}"))?;
        let phase = rollout
            .status
            .as_ref()
            .and_then(|status| status.phase)
            .unwrap_or_default();
        self.rollout = Some(rollout);
        let (before, since) = self.phase;
        if phase != before {
            // Time at rest belongs to no release.
            if !matches!(before, Phase::Idle | Phase::RolledBack) {
                self.phases.push(PhaseTime {
                    phase: before.as_str().to_owned(),
                    seconds: rounded(at.saturating_duration_since(since)),
                });
            }
            self.phase = (phase, at);
            if phase == Phase::HandingOver {
                self.at_hand_over = self.pods();
            }
        }
        Ok(())
    }

    /// The person approves, a moment after being asked.
    async fn approve(&mut self) -> Result<(), String> {
        let status = self
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.status.as_ref());
        let asked = status.and_then(|status| {
            let step = status.step.as_ref()?;
            (step.state == StepState::AwaitingApproval).then(|| {
                (
                    status
                        .candidate
                        .as_ref()
                        .map_or("", |side| &side.name)
                        .to_owned(),
                    step.index,
                )
            })
        });
        let Some((candidate, step)) = asked else {
            self.approval = None;
            return Ok(());
        };
        let now = Instant::now();
        let since = match &self.approval {
            Some((known, index, since)) if *known == candidate && *index == step => *since,
            _ => {
                self.approval = Some((candidate, step, now));
                return Ok(());
            }
        };
        let patience = Duration::from_millis(self.pace.millis(2_000, 200));
        if now.saturating_duration_since(since) < patience {
            return Ok(());
        }
        // Asked again only if this one changes nothing.
        self.approval = Some((candidate, step, now + SOON));
        self.approvals += 1;
        self.say("person", "approves");
        let control = json!({ "spec": { "control": {
            "id": format!("demo-{}", self.approvals), "action": "promote", "reason": "looked at it",
        } } });
        self.person
            .patch(
                Patch::Merge,
                &path("rollouts", NAMESPACE, WEB, ""),
                &[],
                control,
            )
            .await
            .map(|_| ())
            .map_err(|refused| format!("the approval was refused: {}", refused.message))
    }
}

/// Events and Rollouts as they are committed.
fn listen(api: &FakeApi) -> mpsc::UnboundedReceiver<(Instant, Heard)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    api.observe(Arc::new(move |change: &Change| {
        let Some(after) = &change.after else { return };
        let heard = match change.key.resource.as_str() {
            "events" | "events.events.k8s.io" => Heard::Event(Arc::clone(after)),
            "rollouts" => Heard::Rollout(Arc::clone(after)),
            _ => return,
        };
        // Nobody listens any more at the end of the demo.
        let _ = sender.send((Instant::now(), heard));
    }));
    receiver
}

/// Seconds with one decimal.
fn rounded(length: Duration) -> f64 {
    (length.as_secs_f64() * 10.0).round() / 10.0
}
