//! One world from its beginning to its verdict: install, deploy, script under faults, then without them
//! until it has converged, then quiet. The result is a function of the seed and the list of faults.

use crossfade_fakeapi::At;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use crossfade_api::install::Installation;
use crossfade_controller::ports::{Engine, Planner};
use crossfade_fakeapi::{FakeApi, Options, Snapshot};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::faults::door::Doors;
use crate::faults::{Counts, Fault, Schedule, What};
use crate::log::WorldLog;
use crate::oracles::{Facts, Oracles, Violation};
use crate::planted::Planted;
use crate::ports::WorldClock;
use crate::random;
use crate::replica::Blueprint;
use crate::scenario::{End, Scenario, Setup};
use crate::trace::Trace;
use crate::webhooks::Webhooks;
use crate::world::cluster::Cluster;
use crate::world::install::{self, NAMESPACE, installed};
use crate::world::processes::Processes;
use crate::world::stage::{Stage, client};

/// What a world is made from.
#[derive(Clone, Debug)]
pub struct World {
    pub seed: u64,
    pub scenario: Scenario,
    pub faults: Vec<Fault>,
    /// Every effect is carried out twice while there are faults.
    pub twice: bool,
    pub planted: Option<&'static Planted>,
    /// How long nothing may be written at the end.
    pub quiet: Duration,
    /// Every line of the trace is kept, the controller's log among them.
    pub whole_trace: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    /// The controllers' calls until everything was at rest.
    pub counts: Counts,
    pub crashes: u32,
    /// What the namespace looks like at the end.
    pub ending: Value,
    /// Simulated time.
    pub simulated: Duration,
    /// Lines of the trace and their fingerprint.
    pub lines: u64,
    pub digest: u64,
    pub trace: Vec<String>,
}

/// How long a world may take to converge after the last fault.
const CONVERGED: Duration = Duration::from_secs(2 * 3600);
/// Nothing is written by the controller for so long: it is at rest. Numbers in the status may follow a
/// minute after what they are about.
const AT_REST: Duration = Duration::from_secs(65);
/// The same for a release that waits for a person: it tells its numbers once a minute.
const WAITING: Duration = Duration::from_secs(20);
/// Writes of one release, generously.
const RELEASE: u64 = 80;
/// So many writes within so long are no release but a loop; one release takes some sixty. Long enough
/// to notice a controller that has slowed itself down, too.
const IN_A_WINDOW: u64 = 600;
const WINDOW: Duration = Duration::from_secs(300);
/// How often that is looked at: a loop that is not slowed down is ended after its first.
const WINDOW_STEP: Duration = Duration::from_secs(30);
/// Longest lag of watches beside those that are held.
const LAG: Duration = Duration::from_millis(1500);

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

static HOOK: Once = Once::new();

/// Panics of a world are violations and not words on the terminal.
fn collect_panics() {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let in_world = std::thread::current().name() == Some(THREAD);
            if in_world {
                PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
}

/// Name of the thread of a world.
const THREAD: &str = "world";

/// Installs once; worlds fork from it.
///
/// # Errors
/// What could not be installed, or no runtime.
pub fn install() -> Result<Snapshot, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(installed(&Installation::default()))
}

/// Runs a world on a thread of its own: hash keys and the order of tasks begin anew with it. `pin` is
/// called first on that thread, for whoever can seed the process's entropy.
#[must_use]
pub fn run(world: &World, snapshot: &Snapshot, pin: fn(u64)) -> Outcome {
    collect_panics();
    let (world, snapshot) = (world.clone(), snapshot.clone());
    let thread = std::thread::Builder::new()
        .name(THREAD.to_owned())
        .stack_size(8 << 20)
        .spawn(move || {
            pin(world.seed);
            fastrand::seed(world.seed);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build();
            let mut outcome = match runtime {
                Ok(runtime) => runtime.block_on(live(world, snapshot)),
                Err(error) => broken(error.to_string()),
            };
            let panics = PANICS.with_borrow_mut(std::mem::take);
            outcome.violations.extend(panics.into_iter().map(panicked));
            outcome
        });
    thread
        .map_err(|error| error.to_string())
        .and_then(|thread| {
            thread
                .join()
                .map_err(|_| "the world itself panicked".to_owned())
        })
        .unwrap_or_else(broken)
}

fn panicked(what: String) -> Violation {
    Violation {
        law: "panic",
        at: Duration::ZERO,
        what,
    }
}

fn broken(what: String) -> Outcome {
    Outcome {
        violations: vec![Violation {
            law: "world",
            at: Duration::ZERO,
            what,
        }],
        ..Outcome::default()
    }
}

/// A duration in a plan, as users write it; only the forms of these worlds.
#[must_use]
pub fn length(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic())?);
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        _ => return None,
    })
}

fn facts(setup: &Setup, faults: &[Fault], ourselves: Vec<String>) -> Facts {
    use crate::faults::What;
    let at = |pointer: &str| {
        setup
            .plan
            .at(pointer)
            .and_then(Value::as_str)
            .and_then(length)
    };
    let held = faults
        .iter()
        .map(|fault| match fault.what {
            What::HoldWatches { length, .. } | What::Freeze { length, .. } => length,
            // What the controller learns from its watches waits for them to stand again.
            What::CutWatches(_) | What::Compact => Duration::from_secs(20),
            What::Outage(length) => length * 2,
            What::Refused(_) | What::Hung => Duration::from_secs(15),
            _ => Duration::ZERO,
        })
        .max()
        .unwrap_or_default();
    let floor = at("/traffic/settle/floor").unwrap_or(Duration::from_secs(3));
    let drain = at("/traffic/drain/atLeast").unwrap_or(Duration::from_secs(5));
    let judged = setup.plan.at("/analysis/source").and_then(Value::as_str) != Some("none");
    Facts {
        ourselves,
        drain: floor + drain,
        scrape: judged.then(|| at("/analysis/interval").unwrap_or(Duration::from_secs(15))),
        write_timeout: setup.write_timeout,
        lease: setup.lease,
        lag: LAG + held,
    }
}

async fn live(world: World, snapshot: Snapshot) -> Outcome {
    // Instants are round from here on.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let setup = (world.scenario.setup)(&mut random::of(world.seed, "setup"));
    let trace = Arc::new(Trace::new(world.whole_trace));
    let installation = Installation::default();
    let beside = setup.beside.then(install::another);
    let users = (std::iter::once(&installation).chain(&beside))
        .map(Installation::username)
        .collect();
    let oracles = Oracles::new(facts(&setup, &world.faults, users));
    let told = Arc::clone(&oracles);
    let log = WorldLog::new(
        Arc::clone(&trace),
        Arc::new(move |what| told.report("log", what)),
        world.whole_trace,
    );
    let _log = tracing::subscriber::set_default(log);
    let whose = (installation, beside);
    let built = build(&world, &snapshot, setup, &trace, &oracles, whose);
    let (stage, doors, crashed) = built;
    trace.line(&format_args!("world {} {:?}", world.seed, world.scenario));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&stage.processes).keep(crashed));
    let ticking = Arc::clone(&oracles);
    tasks.spawn(async move {
        let mut next = Duration::from_secs(1);
        loop {
            tokio::time::sleep(next).await;
            next = ticking.tick();
        }
    });
    let endless = tokio::select! {
        biased;
        () = play(&world, &stage, &doors) => None,
        what = runaway(&doors) => Some(what),
    };
    if let Some(what) = endless {
        oracles.report("cost", what);
    }
    let counts = doors.schedule.counts();
    let (lines, digest) = trace.summary();
    stage.processes.hold();
    let mut violations = oracles.violations();
    if world.whole_trace {
        for violation in &violations {
            trace.line(&format_args!("VIOLATION {violation}"));
        }
    }
    violations.truncate(20);
    Outcome {
        violations,
        counts,
        crashes: stage.processes.crashes(),
        ending: oracles.ending(NAMESPACE),
        simulated: trace.elapsed(),
        lines,
        digest,
        trace: trace.lines(),
    }
}

type Built = (
    Arc<Stage>,
    Arc<Doors>,
    mpsc::UnboundedReceiver<(usize, u32)>,
);

fn build(
    world: &World,
    snapshot: &Snapshot,
    setup: Setup,
    trace: &Arc<Trace>,
    oracles: &Arc<Oracles>,
    (installation, beside): (Installation, Option<Installation>),
) -> Built {
    let seed = world.seed;
    let clock = WorldClock::new();
    let (told, time) = (Arc::clone(oracles), clock.clone());
    let api = FakeApi::restore(
        snapshot,
        Options {
            clock: Arc::new(move || time.timestamp()),
            seed,
            history: 2_000,
        },
    );
    let ours: Vec<String> = (std::iter::once(&installation).chain(&beside))
        .map(Installation::username)
        .collect();
    let shown = Arc::clone(trace);
    api.observe(Arc::new(move |change| {
        if !ours.contains(&change.caller.user) {
            shown.line(&format_args!(
                "{} {:?} {}{}{} r{}",
                change.caller.user.rsplit(':').next().unwrap_or_default(),
                change.verb,
                change.key,
                if change.subresource.is_empty() {
                    ""
                } else {
                    "/"
                },
                change.subresource,
                change.revision
            ));
        }
        told.change(change);
    }));
    let webhooks = Webhooks::new(Arc::clone(trace), random::of(seed, "webhooks"));
    api.set_webhooks(Arc::clone(&webhooks) as Arc<dyn crossfade_fakeapi::WebhookCaller>);
    let cluster = Cluster::start(&api, &setup, seed, &clock, Arc::clone(oracles));
    let (crash, crashed) = mpsc::unbounded_channel();
    let (sent, answered) = (Arc::clone(oracles), Arc::clone(oracles));
    let doors = Arc::new(Doors {
        api: api.clone(),
        schedule: Schedule::new(&world.faults, world.twice),
        trace: Arc::clone(trace),
        sent: Box::new(move |issued| sent.sent(issued)),
        answered: Box::new(move |issued| answered.answered(issued)),
        crashed: Box::new(move |replica, incarnation| {
            let _ = crash.send((replica, incarnation));
        }),
        latency: Mutex::new(random::of(seed, "latency")),
        outage_until: Mutex::default(),
        tamper: world.planted.and_then(|planted| planted.tamper()),
    });
    let engine: Arc<dyn Planner> = Arc::new(Engine);
    let blueprint = Blueprint {
        doors: Arc::clone(&doors),
        clock,
        installation,
        controllers: setup.controllers,
        beside,
        seed,
        lease: setup.lease,
        write_timeout: setup.write_timeout,
        pods: cluster.pod_http(),
        planner: world.planted.map_or_else(
            || Arc::clone(&engine),
            |planted| planted.planner(Arc::clone(&engine)),
        ),
        lease_is_ignored: world
            .planted
            .is_some_and(|planted| planted.ignores_the_lease()),
    };
    let processes = Processes::new(blueprint, Arc::clone(&webhooks), random::of(seed, "away"));
    let stage = Arc::new(Stage {
        user: client(&api, random::of(seed, "user")),
        api,
        trace: Arc::clone(trace),
        oracles: Arc::clone(oracles),
        webhooks,
        cluster,
        processes,
        setup,
        draw: Mutex::new(random::of(seed, "script")),
        before: Mutex::default(),
    });
    (stage, doors, crashed)
}

/// Ends when the controller writes without end: such a world would take hours of real time.
async fn runaway(doors: &Doors) -> String {
    let steps = WINDOW.as_secs() / WINDOW_STEP.as_secs();
    let mut counts = VecDeque::from([doors.schedule.counts().writes]);
    loop {
        tokio::time::sleep(WINDOW_STEP).await;
        let now = doors.schedule.counts().writes;
        let before = counts.front().copied().unwrap_or(now);
        if now - before > IN_A_WINDOW {
            let seconds = WINDOW_STEP.as_secs() * counts.len() as u64;
            return format!("{} writes in {seconds} s", now - before);
        }
        counts.push_back(now);
        if counts.len() as u64 > steps {
            counts.pop_front();
        }
    }
}

/// Deploys, runs the script under faults, then looks whether it converges and stays quiet.
async fn play(world: &World, stage: &Arc<Stage>, doors: &Arc<Doors>) {
    let oracles = &stage.oracles;
    if stage.setup.beside
        && let Err(what) = install::add(&stage.api, &install::another()).await
    {
        oracles.report("world", what);
        return;
    }
    for index in 0..stage.setup.replicas() {
        stage.processes.start(index);
    }
    if let Err(what) = stage.deploy().await {
        oracles.report("world", what);
        return;
    }
    if let Err(what) = stage
        .until("the Rollout is at rest", |stage| stage.phase() == "Idle")
        .await
    {
        oracles.report("liveness", what);
        return;
    }
    // Proxies have learnt of the first endpoints by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.cluster.start_load(&stage.setup);
    let disturbed = !world.faults.is_empty() || world.twice;
    oracles.calm(!disturbed);
    oracles.clocks_behind(furthest_behind(&world.faults));
    let disturbing = tokio::spawn(Arc::clone(&stage.processes).disturb(world.faults.clone()));
    let script = (world.scenario.script)(Arc::clone(stage)).await;
    if let Err(what) = script {
        oracles.report("liveness", what);
    }
    // Faults that were drawn for later than the script lasted.
    if disturbed {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    disturbing.abort();
    doors.schedule.end();
    stage.processes.calm();
    oracles.calm(true);
    if !oracles.violations().is_empty() && world.scenario.end != End::Gone {
        return;
    }
    converge(world, stage, doors).await;
}

/// The most that a fault sets a clock back.
fn furthest_behind(faults: &[Fault]) -> Duration {
    let behind = |fault: &Fault| match fault.what {
        What::Skew { milliseconds, .. } => u64::try_from(-milliseconds).ok(),
        _ => None,
    };
    Duration::from_millis(faults.iter().filter_map(behind).max().unwrap_or_default())
}

/// Whether there is no release under way.
fn at_rest(stage: &Stage) -> bool {
    matches!(stage.phase().as_str(), "" | "Idle" | "RolledBack")
}

/// Whether a phase can last: at rest, or waiting without a deadline for what only a person can do.
fn lasting(stage: &Stage) -> bool {
    let rollout = stage.rollout();
    let waits_for_ever = rollout
        .at("/status/step/until")
        .is_none_or(serde_json::Value::is_null);
    let then = crate::json::text(&rollout, "/status/step/then");
    let for_a_person = matches!(
        crate::json::text(&rollout, "/status/step/state"),
        "AwaitingApproval" | "Paused"
    ) || then.contains("person")
        || then.contains("abort");
    at_rest(stage) || (waits_for_ever && for_a_person)
}

async fn converge(world: &World, stage: &Arc<Stage>, doors: &Arc<Doors>) {
    let oracles = &stage.oracles;
    let began = Instant::now();
    let (mut writes, mut since) = (doors.schedule.counts().writes, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = doors.schedule.counts().writes;
        if now != writes {
            (writes, since) = (now, Instant::now());
        }
        let quiet = if at_rest(stage) { AT_REST } else { WAITING };
        // A release waits on pods of a lost node like on a person, and what is deleted in the foreground
        // waits too; but they are given up in a while.
        if since.elapsed() >= quiet && lasting(stage) && !stage.cluster.misses_pods() {
            break;
        }
        if began.elapsed() > CONVERGED {
            let rollout = stage.rollout();
            oracles.report(
                "liveness",
                format!(
                    "not at rest {} s after the last fault: phase {}, {}",
                    CONVERGED.as_secs(),
                    stage.phase(),
                    crate::json::text(&rollout, "/status/message")
                ),
            );
            return;
        }
        if !oracles.violations().is_empty() {
            return;
        }
    }
    judge(world, stage, doors);
    if world.quiet.is_zero() || !oracles.violations().is_empty() {
        return;
    }
    // A release that waits for a person is judged meanwhile: without requests it would not wait.
    let at_rest = at_rest(stage);
    if at_rest {
        stage.cluster.stop_load(&stage.setup);
    }
    let before = doors.schedule.counts().writes;
    tokio::time::sleep(world.quiet).await;
    let written = doors.schedule.counts().writes - before;
    // A stay that waits for a person may tell its numbers once a minute, and reminds hourly. One that
    // may also go on when data come takes no more than a release.
    let allowed = if at_rest {
        0
    } else {
        world.quiet.as_secs() / 60 + 4 + RELEASE
    };
    if written > allowed {
        oracles.report(
            "quiet",
            format!("{written} writes in {} s of rest", world.quiet.as_secs()),
        );
    }
}

/// What must hold at rest.
fn judge(world: &World, stage: &Arc<Stage>, doors: &Arc<Doors>) {
    let oracles = &stage.oracles;
    for wrong in stage.wrong_end(world.scenario.end) {
        oracles.report("end", wrong);
    }
    let at_rest = at_rest(stage);
    if at_rest {
        for left in oracles.leftovers(NAMESPACE) {
            oracles.report("8", left);
        }
    }
    if at_rest && world.scenario.comparable {
        for changed in stage.changed_services() {
            oracles.report("8", changed);
        }
    }
    let lost = stage.cluster.lost();
    if stage.setup.lossless && !lost.is_empty() {
        oracles.report("lost", lost.join("; "));
    }
    for index in stage.processes.ended_by_themselves() {
        oracles.report("process", format!("replica {index} ended by itself"));
    }
    let counts = doors.schedule.counts();
    let bound = if world.faults.is_empty() && !world.twice {
        stage.setup.writes
    } else {
        stage.setup.writes * 6 + 40 * (u64::from(stage.processes.crashes()) + 1)
    };
    if counts.writes > bound {
        oracles.report("cost", format!("{} writes, {bound} allowed", counts.writes));
    }
}
