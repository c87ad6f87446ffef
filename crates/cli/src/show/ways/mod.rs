//! The ways out of every wait: what ends it by itself, what a person can do, and by which command. Pure.
//!
//! The kind of the wait is the planner's own word from the status, never read out of its sentences. Not
//! here: how it is printed, and what is asked of the cluster for it.

mod twins;
mod waits;

use crossfade_api::{Phase, StepState, StepStatus, conditions};
use crossfade_engine::report::WaitingOn;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::called::{self, Caller};
use crate::find;
use crate::follow::phase;
use crate::rollout::Rollout;

/// Overdue by so many seconds a wait is not the planner's any more: nobody looks at it.
const OVERDUE: i64 = 60;

/// The workload itself, which says in which of its forms a wait for a person is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// There is no Deployment of that name.
    Gone,
    There {
        paused: bool,
        /// It carries the annotation.
        opted_in: bool,
        replicas: i32,
    },
}

/// Why it stands and what gets it moving.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ways {
    /// The planner's word for what is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_on: Option<&'static str>,
    /// What has to happen, and whether it does by itself.
    pub wait: String,
    pub ways: Vec<Way>,
}

/// One thing a person can do.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    pub does: String,
    /// How; absent where it is a change of the user's own manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What the texts are made from.
struct Case<'a> {
    rollout: &'a Rollout,
    /// How commands are written for the cluster that is looked at.
    caller: Caller,
    workload: Workload,
    phase: Phase,
    step: Option<&'a StepStatus>,
    namespace: String,
    name: String,
    deployment: String,
    /// Why nothing can go on, as the condition says it.
    stalled: Option<&'a str>,
    /// It says so of a template or a plan that cannot be released; whatever else a person has to put right
    /// is stalled too.
    refused: bool,
    ways: Vec<Way>,
}

/// What can be done now.
pub fn ways(rollout: &Rollout, workload: Workload, now: Timestamp) -> Ways {
    ways_by(called::ours(), rollout, workload, now)
}

fn ways_by(caller: Caller, rollout: &Rollout, workload: Workload, now: Timestamp) -> Ways {
    let status = rollout.status.as_ref();
    let condition = |kind: &str| {
        status
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default()
            .iter()
            .find(|condition| condition.type_ == kind)
    };
    let stalled = condition(conditions::STALLED).filter(|condition| condition.status == "True");
    let mut case = Case {
        rollout,
        caller,
        workload,
        phase: phase(rollout),
        step: status.and_then(|status| status.step.as_ref()),
        namespace: rollout.namespace().unwrap_or_default(),
        name: rollout.name_any(),
        deployment: find::deployment(rollout),
        stalled: stalled.map(|condition| condition.message.as_str()),
        refused: stalled.is_some_and(|condition| condition.reason == "Refused"),
        ways: Vec::new(),
    };
    let reason = |kind: &str| condition(kind).map(|condition| condition.reason.as_str());
    let on = reason(conditions::PROGRESSING).and_then(WaitingOn::from_reason);
    let wait = if status.is_none_or(|status| status.phase.is_none()) {
        case.not_looked_at()
    } else if stalled.is_some_and(|condition| condition.reason == "Unreadable") {
        case.unreadable()
    } else {
        let wait = match on {
            Some(on) => case.wait(on),
            None => case.nothing(),
        };
        let late = |until: Timestamp| now.duration_since(until).as_secs() > OVERDUE;
        if case.step.and_then(|step| step.until).is_some_and(late) {
            case.controller("it is overdue: see whether the controller runs");
        }
        case.by_phase();
        wait
    };
    let mut ways: Vec<Way> = Vec::new();
    for way in case.ways {
        // The first to name a command says best what it does here.
        if !(ways.iter()).any(|known| known.command.is_some() && known.command == way.command) {
            ways.push(way);
        }
    }
    Ways {
        waits_on: on.map(WaitingOn::as_str),
        wait,
        ways,
    }
}

impl Case<'_> {
    /// A command of ours.
    fn crossfade(&mut self, command: &str, does: &str) {
        let command = command.replace("NAME", &self.name);
        let command = self.caller.crossfade(Some(&self.namespace), &command);
        self.push(does, Some(command));
    }

    fn kubectl(&mut self, command: &str, does: &str) {
        let command = command.replace("NAME", &self.deployment);
        let command = self.caller.kubectl(Some(&self.namespace), &command);
        self.push(does, Some(command));
    }

    /// Without a command: in the user's own manifests.
    fn by_hand(&mut self, does: &str) {
        self.push(does, None);
    }

    fn push(&mut self, does: &str, command: Option<String>) {
        self.ways.push(Way {
            does: does.to_owned(),
            command,
        });
    }

    /// The controller's namespace is not known here; its Lease has the name of the installation.
    fn controller(&mut self, does: &str) {
        let installation = (self.rollout.status.as_ref())
            .and_then(|status| status.controller.as_deref())
            .unwrap_or("crossfade");
        let command = self.caller.kubectl(
            None,
            &format!("get leases --all-namespaces --field-selector metadata.name={installation}"),
        );
        self.push(
            &format!("{does}; whoever holds its Lease is the one whose log says more"),
            Some(command),
        );
    }

    fn under_way(&self) -> bool {
        matches!(
            self.phase,
            Phase::Preparing | Phase::Progressing | Phase::Warm
        )
    }

    fn not_looked_at(&mut self) -> String {
        self.controller("see whether the controller runs, and serves this namespace");
        // A second one for the same Deployment gets no status, only an event.
        let of_it = format!(
            "get events --field-selector involvedObject.kind=Rollout,involvedObject.name={}",
            self.name.clone()
        );
        self.kubectl(
            &of_it,
            "if it runs, see why it leaves this one alone; TwoRollouts: an older Rollout is for the same Deployment, delete one of them",
        );
        "the controller to look at it for the first time".to_owned()
    }

    fn unreadable(&mut self) -> String {
        self.kubectl(
            &format!("edit rollout.crossfade.dev {}", self.name.clone()),
            "mend what is named; the controller then looks again by itself",
        );
        format!(
            "a person: the Rollout cannot be read: {}",
            self.stalled.unwrap_or_default()
        )
    }

    /// What can be done in this phase whatever is waited for.
    fn by_phase(&mut self) {
        match self.phase {
            Phase::Preparing | Phase::Progressing | Phase::Warm => {
                if !matches!(self.step.map(|step| step.state), Some(StepState::Paused)) {
                    self.crossfade("pause NAME", "stays where it is until resume");
                }
                self.crossfade(
                    "abort NAME",
                    "takes the new version away; stable has all traffic at once",
                );
                self.by_hand("push stable's template again (git revert): takes the new version away");
                self.by_hand("push another template: takes this one away and starts with that one");
            }
            Phase::HandingOver => self.crossfade(
                "undo NAME",
                "back to the earlier version as soon as the hand-over is through, which goes forward only",
            ),
            Phase::RollingBack => {
                self.crossfade("status -w NAME", "follows it; abort needs nothing more from you");
                self.by_hand("push another template now: it starts as soon as this one is gone");
            }
            Phase::RolledBack => {
                self.by_hand("push a mended template: starts a release");
                self.crossfade(
                    "undo NAME",
                    "writes stable's template back; no pod is replaced. Put it into Git too",
                );
            }
            Phase::Idle => {}
        }
    }

    /// Nothing is waited for, or the controller is of a version that does not say what.
    fn nothing(&mut self) -> String {
        let promote = |case: &mut Self, does: &str| case.crossfade("promote NAME", does);
        match (self.phase, self.step.map(|step| step.state)) {
            (Phase::Idle, _) => return self.idle(),
            (Phase::Progressing | Phase::Warm, Some(StepState::AwaitingApproval)) => {
                promote(self, "gives the approval");
            }
            (Phase::Progressing | Phase::Warm, Some(StepState::Paused)) => {
                self.crossfade("resume NAME", "goes on");
            }
            (Phase::Progressing | Phase::Warm, _) => {
                promote(self, "ends this stay");
                self.crossfade(
                    "promote --full NAME",
                    "keeps the new version without judgement; recorded with who and why",
                );
            }
            (Phase::RolledBack, _) => {
                self.crossfade("retry NAME", "releases the rejected template again");
            }
            (Phase::Preparing | Phase::HandingOver | Phase::RollingBack, _) => {}
        }
        "nothing: it goes on by itself".to_owned()
    }

    fn idle(&mut self) -> String {
        if self.refused {
            self.kubectl(
                &format!("edit rollout.crossfade.dev {}", self.name.clone()),
                "mend what is named, here or in the policy and the annotations it comes from",
            );
            self.crossfade("plan NAME", "shows the plan and all that is wrong with it");
            return format!(
                "a person: the next release cannot start: {}",
                self.stalled.unwrap_or_default()
            );
        }
        match self.workload {
            Workload::Gone => self.gone(),
            Workload::There { paused: true, .. } => {
                self.controller(
                    "see whether the controller runs: it takes the template up within seconds",
                );
                self.kubectl(
                    "rollout history deployment/NAME",
                    "shows the templates that served: pushing the one that serves ends the wait",
                );
                "the controller: the Deployment is paused, and what it makes of that is not known yet".to_owned()
            }
            Workload::There { .. } => {
                let run = format!("run deployment/{} --image CONTAINER=IMAGE", self.deployment);
                self.crossfade(&run, "starts a release, as pushing another template does");
                self.crossfade("undo NAME", "back to the version before, step by step");
                self.crossfade("plan NAME", "shows what the next release would do");
                "nothing: no release is under way".to_owned()
            }
        }
    }

    fn gone(&mut self) -> String {
        self.by_hand("create the Deployment: it is taken on as a new one");
        self.kubectl(
            &format!("delete rollout.crossfade.dev {}", self.name.clone()),
            "forgets it; nothing is released by it any more",
        );
        format!("the Deployment {} to exist", self.deployment)
    }
}

#[cfg(test)]
mod planned;
#[cfg(test)]
mod tests;
