//! How many pods each side has and needs: law 1, sizes, and the wait for pods under the progress
//! deadline. What is done once there are enough belongs to the step.

use crossfade_api::{Duration, StepState, Weight};

use crate::effect::{Effect, SplitTo};
use crate::memory::{Cause, Release};
use crate::observed::Workload;
use crate::report::WaitingOn;
use crate::safety::{candidate_size, enough};
use crate::step::{Pass, after};
use crate::traffic::target;

/// The scheduler's word for a pod that fits nowhere.
const UNSCHEDULABLE: &str = "Unschedulable";
/// How long a pod of stable may be without room before the candidate gives way.
const ROOM: u64 = 30_000;
/// How often a side may fall short before the candidate is taken away.
const SHORTFALLS: u32 = 3;

impl Pass<'_> {
    /// Law 1 for a side that carries everything: on the endpoint event its weight goes back to stable.
    pub(super) fn fell_short(&mut self, workload: &Workload, release: &Release) -> bool {
        let flipped = self.flipped();
        let ready = self.candidate_ready();
        let settled = release.stay_since.is_some();
        // Counted once each time: in Scaling it has been told and is being mended.
        let first = settled || release.state != StepState::Scaling;
        let share = if flipped {
            Weight::FULL
        } else {
            release.plan.weight_at(release.step)
        };
        // Nothing is asked of it yet.
        if share == Weight::ZERO {
            return false;
        }
        let needed = needed(workload, release, share, release.complete_for);
        if ready >= needed || !(settled || flipped) {
            return false;
        }
        let text = format!("the candidate has {ready} ready pods where its share needs {needed}");
        let now = self.now;
        let shortfalls = release.shortfalls + u32::from(first);
        if first {
            self.event(
                true,
                "FellShort",
                format!("{text} ({shortfalls} of {SHORTFALLS} times)"),
            );
            if let Some(release) = self.memory.release.as_mut() {
                release.shortfalls = shortfalls;
                release.stay_since = None;
                release.agreed_since = None;
                release.most_ready = ready;
                release.progress_since = Some(now);
            }
        }
        if shortfalls >= SHORTFALLS {
            self.roll_back(
                Cause::Failed,
                format!("{text}, the third time in this release"),
            );
            self.rolling_back(workload);
            return true;
        }
        self.enter_state(StepState::Scaling);
        if flipped && self.stable_ready() > ready {
            if let Some(release) = self.memory.release.as_mut() {
                release.written_step = None;
            }
            let back = SplitTo::Stable {
                hash: release.stable.hash.clone(),
            };
            self.write_split(back);
            self.wait(
                WaitingOn::PodsReady,
                format!("{text}; traffic goes back to stable meanwhile"),
                None,
                "then the step starts again",
            );
            return true;
        }
        false
    }

    /// At size 0 nothing serves and nothing can be compared: it waits to be scaled up again, as an
    /// autoscaler may do, and begins the step anew. Returns whether it waits.
    pub(super) fn emptied(&mut self, workload: &Workload) -> bool {
        let now = self.now;
        let Some(release) = self.memory.release.as_mut() else {
            return false;
        };
        if workload.replicas > 0 {
            if release.empty_since.take().is_some() {
                release.progress_since = Some(now);
            }
            return false;
        }
        let since = *release.empty_since.get_or_insert(now);
        (release.stay_since, release.agreed_since) = (None, None);
        (release.most_ready, release.complete_for) = (0, 0);
        let until = after(since, release.plan.progress_deadline);
        let deadline = Duration::from_milliseconds(release.plan.progress_deadline);
        if now >= until {
            self.roll_back(
                Cause::Interrupted,
                format!("the Deployment was at size 0 for {deadline} (progressDeadline)"),
            );
            self.rolling_back(workload);
            return true;
        }
        self.enter_state(StepState::Scaling);
        self.resize(0);
        self.wait(
            WaitingOn::PodsReady,
            "the Deployment to be scaled up again: at size 0 there is nothing to compare",
            Some(until),
            "roll back",
        );
        true
    }

    /// Law 3: when stable is short of pods for which there is no room, the candidate gives way. Once it
    /// carries everything the hand-over makes the room. Returns whether the release ends by it.
    pub(super) fn no_room(&mut self, workload: &Workload, release: &Release) -> bool {
        let candidate = self.candidate_pods().any(|pod| !pod.deleting);
        let needed = enough(Weight::FULL, workload.replicas, 0, workload.max_unavailable);
        let carries_all = self.flipped()
            || self.services().next().is_none()
                && release.plan.weight_at(release.step) == Weight::FULL
                && release.stay_since.is_some();
        if !candidate || carries_all || self.stable_ready() >= needed {
            return false;
        }
        let refused = self
            .stable_set()
            .and_then(|set| set.replica_failure.clone())
            .filter(|failure| failure.to_lowercase().contains("exceeded quota"));
        let pending = self
            .stable_pods()
            .filter(|pod| !pod.deleting && !pod.ready)
            .filter_map(|pod| Some((pod, pod.trouble.as_ref()?)))
            .find(|(_, trouble)| trouble.reason == UNSCHEDULABLE);
        let why = match (refused, pending) {
            (Some(failure), _) => failure,
            (None, Some((pod, trouble))) => {
                // An autoscaler of nodes may be at it.
                let since = pod.created.unwrap_or(self.now);
                if !self.elapsed(since, ROOM) {
                    return false;
                }
                format!("pod {}: {}", pod.name, trouble.message)
            }
            (None, None) => return false,
        };
        self.roll_back(
            Cause::Failed,
            format!("there is no room for stable and the candidate, which gives way: {why}"),
        );
        self.rolling_back(workload);
        true
    }

    /// Both sides follow N; the candidate has the size of its step.
    pub(super) fn resize(&mut self, size: u32) {
        if let Some(parallel) = self.parallel()
            && parallel.replicas != size
        {
            self.emit(Effect::ScaleParallel {
                target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
                from: parallel.replicas,
                to: size,
            });
        }
    }

    /// Capacity before weight.
    pub(super) fn capacity(&mut self, workload: &Workload, weight: Weight, size: u32) -> bool {
        let Some(release) = self.memory.release.clone() else {
            return false;
        };
        if release.stay_since.is_some() {
            return true;
        }
        let ready = self.candidate_ready();
        // What is to be gained is measured on N as it is now; only what is carried already is not
        // lowered by raising N.
        let needed = needed(workload, &release, weight, 0);
        if ready >= needed && size > 0 {
            if let Some(release) = self.memory.release.as_mut() {
                release.complete_for = workload.replicas;
                release.complete_unavailable = workload.max_unavailable;
            }
            return true;
        }
        self.enter_state(StepState::Scaling);
        self.hold_split();
        self.wait_for_pods(size);
        false
    }

    /// Waits for pods under the progress deadline. Only more ready pods than ever in this step count
    /// as progress: a pod that comes and goes must not keep the clock from running out.
    pub(super) fn wait_for_pods(&mut self, size: u32) {
        let ready = self.candidate_ready();
        let now = self.now;
        let Some(release) = self.memory.release.as_mut() else {
            return;
        };
        if ready > release.most_ready {
            release.most_ready = ready;
            release.progress_since = Some(now);
        }
        let since = *release.progress_since.get_or_insert(now);
        let until = after(since, release.plan.progress_deadline);
        let deadline = Duration::from_milliseconds(release.plan.progress_deadline);
        let trouble = self.trouble();
        if let Some(refused) = self.refused_by_the_api() {
            self.roll_back(Cause::Failed, refused);
            self.wake(now);
            return;
        }
        let text = format!(
            "{ready} of {size} candidate pods ready{}",
            trouble
                .as_ref()
                .map(|trouble| format!("; {trouble}"))
                .unwrap_or_default()
        );
        if now >= until {
            self.roll_back(
                Cause::Failed,
                format!("{text}: no progress for {deadline} (progressDeadline)"),
            );
            self.wake(now);
            return;
        }
        self.wait(WaitingOn::PodsReady, text, Some(until), "roll back");
    }

    /// The API's own reason why pods cannot be created: quota or admission. Waiting does not help.
    pub(super) fn refused_by_the_api(&self) -> Option<String> {
        let failures = self
            .parallel()
            .and_then(|parallel| parallel.replica_failure.as_ref())
            .into_iter()
            .chain(
                self.candidate_set()
                    .and_then(|set| set.replica_failure.as_ref()),
            );
        for failure in failures {
            let lower = failure.to_lowercase();
            if [
                "exceeded quota",
                "forbidden",
                "denied",
                "admission webhook",
                "is invalid",
            ]
            .iter()
            .any(|sign| lower.contains(sign))
            {
                return Some(format!(
                    "pods of the candidate cannot be created: {failure}"
                ));
            }
        }
        None
    }

    /// Why candidate pods are not ready, in the containers' or the scheduler's own words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let pod = self
            .candidate_pods()
            .filter(|pod| !pod.deleting && !pod.ready)
            .find(|pod| pod.trouble.is_some())?;
        let trouble = pod.trouble.as_ref()?;
        Some(if trouble.container.is_empty() {
            format!("pod {}: {}: {}", pod.name, trouble.reason, trouble.message)
        } else {
            format!(
                "pod {}, container {}: {}: {}",
                pod.name, trouble.container, trouble.reason, trouble.message
            )
        })
    }

    /// What stable lacks beside a candidate that has a share.
    pub(super) fn shortage_of_stable(&self, workload: &Workload, weight: Weight) -> Option<String> {
        if weight == Weight::FULL || weight == Weight::ZERO {
            return None;
        }
        let ready = self.stable_ready();
        let needed = (workload.replicas)
            .saturating_sub(workload.max_unavailable)
            .max(1);
        let share = self.share_of_pods();
        (ready < needed).then(|| {
            format!("it has {ready} ready pods, {needed} are needed; the candidate's real share is {share}")
        })
    }

    /// A plain Service gives more to the candidate when stable's pods drop: hold, and say so.
    pub(super) fn stable_short(&mut self, workload: &Workload, weight: Weight) -> bool {
        let Some(short) = self.shortage_of_stable(workload, weight) else {
            return false;
        };
        self.enter_state(StepState::Held);
        self.wait(
            WaitingOn::PodsReady,
            format!("stable to be whole: {short}"),
            None,
            "it goes on when stable is whole; abort takes the candidate away",
        );
        true
    }
}

/// Ready pods the candidate needs for its share: N pods behind the whole; else the pods of its step,
/// less the part of maxUnavailable that falls to them. N is at most the one for which the step was
/// last complete: raising N lowers nothing.
fn needed(workload: &Workload, release: &Release, weight: Weight, complete_for: u32) -> u32 {
    let replicas = match complete_for {
        0 => workload.replicas,
        complete_for => workload.replicas.min(complete_for),
    };
    let max_unavailable = if complete_for == 0 {
        workload.max_unavailable
    } else {
        release.may_lack(workload)
    };
    if weight == Weight::FULL {
        return enough(weight, replicas, 0, max_unavailable);
    }
    let size = if release.plan.blue_green.is_some() {
        replicas
    } else {
        candidate_size(weight, replicas, release.plan.min_replicas)
    };
    let spare = u64::from(max_unavailable) * u64::from(size) / u64::from(replicas.max(1));
    size.saturating_sub(u32::try_from(spare).unwrap_or(0))
        .max(1)
}
