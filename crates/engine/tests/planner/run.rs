//! Runs the planner against the world: passes until nothing moves, then time goes on. Writes the
//! golden report, checks the laws after every effect, and can break off at any effect.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crossfade_api::Phase;
use crossfade_engine::effect::SplitTo;
use crossfade_engine::{Effect, Memory, Validated, step};

use crate::controllers::Awake;
use crate::laws;
use crate::tell::clock;
use crate::view::{millis, timestamp};
use crate::world::{Answer, Millis, Own, PodState, World};

/// How a pass is broken off at an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Neither the memory nor any effect of the pass.
    Lost,
    /// The memory, the effects before it, not it.
    Cut,
    /// It was done, what follows was not.
    CutAfter,
    /// As Cut, but it lands three seconds later all the same.
    Late,
    /// It is done twice.
    Twice,
    /// Of its two requests only the first was done.
    Half,
}

pub const FAULTS: [Fault; 6] = [
    Fault::Lost,
    Fault::Cut,
    Fault::CutAfter,
    Fault::Late,
    Fault::Twice,
    Fault::Half,
];

/// After an unanswered write or a start.
const FENCE: Millis = 5000;
/// Passes at one moment before it counts as going round in circles.
const PASSES: usize = 80;
/// The controller's, after a write that was refused; twice as long each time, up to the longest.
const BACK_OFF: Millis = 1000;
const LONGEST_BACK_OFF: Millis = 60_000;

#[derive(Debug)]
pub struct Run {
    pub world: World,
    pub memory: Memory,
    pub validated: Validated,
    pub log: String,
    pub crash: Option<(usize, Fault)>,
    pub effects: usize,
    /// What the log says of the last pass that was refused something.
    pub last_refused: String,
    /// Passes in a row that were.
    refusals: u32,
    pub passes: usize,
    pub wake: Option<Millis>,
    pub awake: Awake,
    /// Somebody unpaused, deleted or recreated behind admission's back: some laws rest.
    pub lawless: bool,
    pub violations: Vec<String>,
    late: Option<(Millis, Effect)>,
    /// The pass before asked for a sight of the server.
    live: bool,
    /// What it waited for, where other words bring on another pass.
    told: Option<String>,
    pub shown: String,
    pub waited: String,
    handed: Option<Handed>,
}

/// What was there when the hand-over began.
#[derive(Debug)]
struct Handed {
    pods: BTreeSet<String>,
    least: usize,
}

impl Run {
    pub fn new(world: World, validated: Validated) -> Self {
        Self {
            world,
            memory: Memory::default(),
            validated,
            log: String::new(),
            crash: None,
            effects: 0,
            last_refused: String::new(),
            refusals: 0,
            passes: 0,
            wake: None,
            awake: Awake::ALL,
            lawless: false,
            violations: Vec::new(),
            late: None,
            live: false,
            told: None,
            shown: String::new(),
            waited: String::new(),
            handed: None,
        }
    }

    /// Time goes on until then.
    pub fn advance(&mut self, until: Millis) {
        self.settle();
        while self.world.now < until {
            self.tick(until);
        }
    }

    /// On to the next moment at which anything happens, at most `until`.
    pub fn tick(&mut self, until: Millis) {
        self.tick_quietly(until);
        self.settle();
    }

    /// Passes until nothing moves at this moment.
    pub fn settle(&mut self) {
        self.react();
        self.measure();
        for _ in 0..PASSES {
            if !self.pass() {
                return;
            }
        }
        self.violate(format!(
            "{PASSES} passes at one moment: {}",
            self.log
                .lines()
                .rev()
                .take(12)
                .collect::<Vec<_>>()
                .join(" | ")
        ));
    }

    fn react(&mut self) {
        self.world.react(self.awake);
        if !self.lawless
            && let Err(broken) = laws::standing(&self.world, &self.memory)
        {
            self.violate(broken);
        }
        if let (Some(handed), Some(web)) = (&mut self.handed, &self.world.workload) {
            handed.least = handed.least.min(web.replicas as usize);
        }
    }

    fn violate(&mut self, text: String) {
        if self.violations.len() < 10 {
            self.violations.push(format!(
                "{} {}: {text}",
                clock(self.world.now),
                self.memory.phase.as_str()
            ));
        }
    }

    /// One pass. Returns whether anything was done or remembered.
    pub fn pass(&mut self) -> bool {
        self.passes += 1;
        let mut seen = self.world.observe(&self.memory);
        let watches = self.world.pods_unseen || self.world.watched;
        if watches && !std::mem::take(&mut self.live) {
            if self.world.pods_unseen {
                let candidates = self.candidate_pods();
                let of_candidate = |uid: &String| candidates.iter().any(|pod| pod.uid == *uid);
                seen.pods.retain(|pod| !of_candidate(&pod.uid));
            }
            seen.from_watches = true;
        }
        let start = self.log.len();
        let decision = step(
            &self.validated,
            &seen,
            &self.memory,
            timestamp(self.world.now),
        );
        if let Err(broken) = laws::decision(&self.world, &self.memory, &decision) {
            self.violate(broken);
        }
        self.wake = decision.wake_at.map(millis);
        self.live = decision.read_live;
        // On the move the controller writes other words into the status, and looks again at once.
        let words = (decision.report.waiting.as_ref())
            .filter(|_| self.world.watched)
            .map(|waiting| waiting.text.clone());
        let retold = std::mem::replace(&mut self.told, words.clone()) != words;
        self.show(&decision);
        let before = self.memory.clone();
        if self.crash.is_some_and(|(at, fault)| {
            fault == Fault::Lost && at >= self.effects && at < self.effects + decision.effects.len()
        }) {
            self.crash = None;
            self.effects += decision.effects.len();
            self.world.fence = Some(self.world.now + FENCE);
            return true;
        }
        if !decision.effects_first {
            self.store(decision.memory.clone());
        }
        let (mut refused, mut back_off, mut behind) = (false, false, false);
        for effect in &decision.effects {
            let moves_to_stable = matches!(
                effect,
                Effect::Split {
                    to: SplitTo::Stable { .. },
                    ..
                }
            );
            if refused && !moves_to_stable {
                self.effects += 1;
                continue;
            }
            let fault = self
                .crash
                .filter(|(at, _)| *at == self.effects)
                .map(|(_, fault)| fault);
            self.effects += 1;
            if let Some(fault) = fault {
                self.crash = None;
                let answer = self.break_off(effect, fault);
                if fault != Fault::Twice {
                    return true;
                }
                // Done twice, what is refused is refused twice.
                refused |= answer == Answer::Refused;
                back_off |= answer == Answer::Refused;
                behind = true;
                continue;
            }
            // The fence of the effect done twice is for the passes to come.
            let answer = if behind {
                self.perform_behind_fence(effect, false)
            } else {
                self.perform(effect, false)
            };
            refused |= answer != Answer::Done;
            back_off |= answer == Answer::Refused;
        }
        self.store(decision.memory);
        if back_off {
            // Tried again and refused again: said once.
            let said = self.log.get(start..).unwrap_or_default();
            let said = said
                .split_once('\n')
                .map_or("", |(_, rest)| rest)
                .to_owned();
            if said == self.last_refused {
                self.log.truncate(start);
            }
            self.last_refused = said;
            let later = self.world.now + (BACK_OFF << self.refusals.min(10)).min(LONGEST_BACK_OFF);
            self.refusals += 1;
            self.wake = Some(self.wake.map_or(later, |wake| wake.min(later)));
            return self.memory != before || retold;
        }
        self.refusals = 0;
        !decision.effects.is_empty() || self.memory != before || retold
    }

    fn break_off(&mut self, effect: &Effect, fault: Fault) -> Answer {
        self.world.fence = Some(self.world.now + FENCE);
        let mut answer = Answer::Done;
        match fault {
            Fault::Lost | Fault::Cut => {}
            Fault::CutAfter => {
                self.perform_behind_fence(effect, false);
            }
            Fault::Half => {
                self.perform_behind_fence(effect, true);
            }
            Fault::Late => self.late = Some((self.world.now + 3000, effect.clone())),
            Fault::Twice => {
                answer = self.perform_behind_fence(effect, false);
                self.world.apply(effect, false);
                self.react();
            }
        }
        answer
    }

    fn perform_behind_fence(&mut self, effect: &Effect, cut_short: bool) -> Answer {
        let fence = self.world.fence.take();
        let answer = self.perform(effect, cut_short);
        self.world.fence = fence;
        answer
    }

    fn perform(&mut self, effect: &Effect, cut_short: bool) -> Answer {
        if let Err(broken) = laws::effect(&self.world, &self.memory, effect, self.lawless) {
            self.violate(broken);
        }
        let answer = self.world.apply(effect, cut_short);
        if answer != Answer::Done {
            let _ = writeln!(self.log, "        refused: {}", effect.name());
        }
        self.react();
        answer
    }

    /// The status write: through JSON, as it is.
    fn store(&mut self, memory: Memory) {
        if memory == self.memory {
            return;
        }
        let (from, to) = (self.memory.phase, memory.phase);
        if from != to {
            let text = serde_json::to_string(&memory).expect("memory is JSON");
            let back: Memory = serde_json::from_str(&text).expect("memory comes back");
            assert_eq!(back, memory, "memory survives JSON");
        }
        if let (Some(was), Some(is)) = (&self.memory.release, &memory.release)
            && from == to
            && (&was.candidate, was.step, was.state) == (&is.candidate, is.step, is.state)
            && was.state_since != is.state_since
        {
            let text = format!("{:?} begins anew in the middle of itself", is.state);
            self.violate(text);
        }
        self.memory = memory;
        if let Some(release) = &self.memory.release
            && release.candidate == format!("c{}", self.world.names)
        {
            self.world.names += 1;
        }
        if from != Phase::HandingOver && to == Phase::HandingOver {
            let set = self
                .memory
                .release
                .as_ref()
                .and_then(|release| release.set.clone())
                .unwrap_or_default()
                .uid;
            let pods: BTreeSet<String> = self
                .world
                .pods
                .iter()
                .filter(|pod| pod.set == set && pod.serving())
                .map(|pod| pod.uid.clone())
                .collect();
            self.handed = Some(Handed {
                least: pods.len(),
                pods,
            });
        }
        if from == Phase::HandingOver && to != Phase::HandingOver {
            self.judged_pods_serve(to);
        }
    }

    /// Law 4. Pods that a fault took are not counted.
    fn judged_pods_serve(&mut self, to: Phase) {
        let Some(handed) = self.handed.take() else {
            return;
        };
        let Some(web) = self
            .world
            .workload
            .as_ref()
            .filter(|_| to != Phase::RollingBack && !self.lawless)
        else {
            return;
        };
        let own = Own::Deployment(web.uid.clone());
        let sets: Vec<&str> = self
            .world
            .sets
            .iter()
            .filter(|set| set.own == own && set.replicas > 0)
            .map(|set| set.uid.as_str())
            .collect();
        let serving = self
            .world
            .pods
            .iter()
            .filter(|pod| sets.contains(&pod.set.as_str()) && pod.gone_at.is_none());
        let kept = serving.filter(|pod| handed.pods.contains(&pod.uid)).count();
        if (sets.len() != 1 && web.replicas > 0) || kept < handed.least {
            self.violate(format!(
                "{kept} of {} judged pods serve, {} should; active: {sets:?}",
                handed.pods.len(),
                handed.least
            ));
        }
    }

    /// A pod is lost by no fault of anybody's.
    pub fn excuse(&mut self, pod: &str) {
        if let Some(handed) = &mut self.handed
            && handed.pods.remove(pod)
        {
            handed.least = handed.least.min(handed.pods.len());
        }
    }

    /// Pods of the candidate under way.
    pub fn candidate_pods(&self) -> Vec<PodState> {
        let set = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.set.clone())
            .unwrap_or_default()
            .uid;
        self.world
            .pods
            .iter()
            .filter(|pod| pod.set == set && pod.gone_at.is_none() && !pod.finished)
            .cloned()
            .collect()
    }

    pub fn stable_pods(&self) -> Vec<PodState> {
        let set = self
            .memory
            .release
            .as_ref()
            .map(|release| release.stable.uid.clone())
            .unwrap_or_default();
        self.world
            .pods
            .iter()
            .filter(|pod| pod.set == set && pod.gone_at.is_none() && !pod.finished)
            .cloned()
            .collect()
    }
}

impl Run {
    /// As `tick`, without passes: the caller makes them one by one.
    pub fn tick_quietly(&mut self, until: Millis) {
        let wake = self.wake.filter(|at| *at > self.world.now);
        let late = self.late.as_ref().map(|(at, _)| *at);
        let next = [self.world.next_event(), wake, late]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(until);
        self.world.now = next.min(until).max(self.world.now + 1);
        if let Some((at, effect)) = self.late.take() {
            if at <= self.world.now {
                self.world.apply(&effect, false);
            } else {
                self.late = Some((at, effect));
            }
        }
        self.react();
        self.measure();
    }

    fn measure(&mut self) {
        let release = self.memory.release.as_ref().filter(|_| {
            matches!(
                self.memory.phase,
                Phase::Preparing | Phase::Progressing | Phase::Warm
            )
        });
        let sides = release.map(|release| {
            (
                release.candidate.clone(),
                release.set.clone().unwrap_or_default().uid,
                release.stable.uid.clone(),
            )
        });
        let (candidate, set, stable) = sides.unwrap_or_default();
        self.world.measure(&candidate, &set, &stable);
    }
}

impl Run {
    /// Whether a pass now would ask for that effect.
    pub fn asks_for(&self, name: &str) -> bool {
        let seen = self.world.observe(&self.memory);
        let decision = step(
            &self.validated,
            &seen,
            &self.memory,
            timestamp(self.world.now),
        );
        decision.effects.iter().any(|effect| effect.name() == name)
    }
}
