//! What `status -w` makes of the states it shows: it ends when the Rollout is at rest, or waits for a
//! person. Pure.

use crossfade_api::Phase;
use tokio::time::Instant;

use super::waiting::{candidate, held};
use super::{ASK, End, Ended, Judge, Look, STANDS, Since, awaits_approval, is_settled, stuck};
use crate::commands::gate::Gate;
use crate::exit::Exit;
use crate::rollout::Rollout;

/// What had ended before, and what stands since when.
#[derive(Debug, Default)]
pub struct Watching {
    before: Ended,
    stuck: Since,
    resting: Since,
    apart: Since,
    asked: bool,
}

impl Watching {
    pub fn from(rollout: &Rollout) -> Self {
        Self {
            before: Ended::of(Some(rollout)),
            ..Self::default()
        }
    }

    /// The Deployment says whether something is about to begin: at once, then every now and then.
    fn ask(&mut self, now: Instant) -> Look {
        if self.asked && !self.apart.stands(true, ASK, now) {
            return Look::GoOn;
        }
        self.asked = true;
        self.apart = Since::default();
        Look::Ask
    }
}

impl Judge for Watching {
    fn look(&mut self, rollout: Option<&Rollout>, now: Instant) -> Look {
        let Some(rollout) = rollout else {
            return End::without_entry(Exit::Error, "the Rollout is gone").into();
        };
        let Some(status) = &rollout.status else {
            return self.ask(now);
        };
        if awaits_approval(status) {
            return End::approval().into();
        }
        let why = stuck(status);
        if self.stuck.stands(why.is_some(), STANDS, now) {
            return End::without_entry(Exit::Error, why.unwrap_or_default()).into();
        }
        let rolled_back = status.phase == Some(Phase::RolledBack);
        // A controller that does not say what it waits for.
        let rests = self.resting.stands(rolled_back, STANDS, now) && why.is_none();
        if is_settled(status) || rests {
            return self.ask(now);
        }
        if !matches!(status.phase, None | Some(Phase::Idle)) {
            return Look::GoOn;
        }
        let newest = status.history.first();
        match newest.filter(|_| self.before.new_in(&status.history).next().is_some()) {
            Some(newest) => End::of(newest).into(),
            None => self.ask(now),
        }
    }

    fn asked(&mut self, rollout: Option<&Rollout>, gate: Option<&Gate>) -> Look {
        let Some(rollout) = rollout else {
            return Look::GoOn;
        };
        let Some(gate) = gate else {
            return End::gone().into();
        };
        let begins = match at_rest(rollout) {
            true => gate.gated(),
            false => !rejected(rollout, gate),
        };
        if begins { Look::GoOn } else { rest(rollout) }
    }

    fn unasked(&mut self, rollout: Option<&Rollout>) -> Look {
        let gated = |rollout: &Rollout| rollout.memory().is_some_and(|memory| memory.gated);
        match rollout {
            Some(rollout) if !(at_rest(rollout) && gated(rollout)) => rest(rollout),
            _ => Look::GoOn,
        }
    }

    fn retried(&mut self, _rollout: &Rollout) -> Option<End> {
        None
    }
}

fn at_rest(rollout: &Rollout) -> bool {
    let status = rollout.status.as_ref();
    status.is_none_or(|status| matches!(status.phase, None | Some(Phase::Idle)))
}

/// Nothing begins any more: what there is to say.
fn rest(rollout: &Rollout) -> Look {
    if at_rest(rollout) {
        return End::without_entry(Exit::Done, "at rest").into();
    }
    let name = candidate(rollout);
    let history = (rollout.status.as_ref()).map(|status| status.history.as_slice());
    let mut history = history.unwrap_or_default().iter();
    let known = history.find(|entry| Some(&entry.candidate) == name.as_ref());
    known.map_or_else(held, |entry| End::of(entry).into())
}

/// Whether the template of the Deployment is held. One that is not, the controller takes up next.
pub fn rejected(rollout: &Rollout, gate: &Gate) -> bool {
    let Some(memory) = rollout.memory() else {
        // In a form of another version: as the phase says.
        return true;
    };
    let print = gate.print();
    memory.rejected.iter().any(|it| it.fingerprint == print)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::gate::tests::gate;

    fn state(phase: &str, on: &str, history: &[(&str, &str)], rejected: &str) -> Rollout {
        let history: Vec<Value> = history
            .iter()
            .map(|(candidate, outcome)| json!({ "candidate": candidate, "outcome": outcome, "reason": "because" }))
            .collect();
        let waits = if on == "Approval" {
            "AwaitingApproval"
        } else {
            "Observing"
        };
        Rollout::read(json!({
            "metadata": { "name": "web" }, "spec": {},
            "status": {
                "phase": phase, "history": history,
                "candidate": { "name": "b", "replicas": 3, "ready": 3 },
                "memory": { "rejected": [{ "fingerprint": gate(rejected, true).print() }] },
                "step": { "index": 0, "of": 1, "text": "", "state": waits,
                    "weight": { "asked": 20, "written": 20, "verified": 20 } },
                "conditions": [{ "type": "Progressing", "status": "True", "reason": on, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }],
            },
        }))
    }

    fn exit(look: Look) -> Option<Exit> {
        match look {
            Look::End(end) => Some(end.exit),
            _ => None,
        }
    }

    #[test]
    fn at_rest_it_ends_at_once_unless_something_is_gated() {
        let idle = state("Idle", "Idle", &[("a", "rolled-back")], "app:2");
        let mut watching = Watching::from(&idle);
        let now = Instant::now();
        assert!(matches!(watching.look(Some(&idle), now), Look::Ask));
        let free = watching.asked(Some(&idle), Some(&gate("app:1", false)));
        assert_eq!(exit(free), Some(Exit::Done));
        let gated = watching.asked(Some(&idle), Some(&gate("app:2", true)));
        assert_eq!(exit(gated), None);
        let unread = watching.unasked(Some(&idle));
        assert_eq!(exit(unread), Some(Exit::Done), "as the Rollout says");
        assert!(matches!(watching.look(Some(&idle), now), Look::GoOn));
        watching.look(Some(&idle), now);
        assert!(matches!(watching.look(Some(&idle), now + ASK), Look::Ask));
    }

    #[test]
    fn exit_codes_are_those_of_run() {
        let now = Instant::now();
        let begun = state("Progressing", "Stay", &[], "app:2");
        for (outcome, code) in [("promoted", Exit::Done), ("superseded", Exit::Aborted)] {
            let over = state("Idle", "Idle", &[("b", outcome)], "app:2");
            let mut watching = Watching::from(&begun);
            assert_eq!(exit(watching.look(Some(&begun), now)), None);
            assert_eq!(exit(watching.look(Some(&over), now)), Some(code));
        }
        for (outcome, code) in [
            ("rolled-back", Exit::RolledBack),
            ("aborted", Exit::Aborted),
        ] {
            let over = state("RolledBack", "NewTemplate", &[("b", outcome)], "app:2");
            // Also when that had happened before.
            for before in [&begun, &over] {
                let mut watching = Watching::from(before);
                assert!(matches!(watching.look(Some(&over), now), Look::Ask));
                let told = watching.asked(Some(&over), Some(&gate("app:2", true)));
                assert_eq!(exit(told), Some(code));
            }
        }
        let approval = state("Progressing", "Approval", &[], "app:2");
        let look = Watching::from(&begun).look(Some(&approval), now);
        assert_eq!(exit(look), Some(Exit::Approval));
    }

    #[test]
    fn between_two_releases_it_goes_on() {
        let now = Instant::now();
        let begun = state("Progressing", "Stay", &[], "app:2");
        let between = state("RolledBack", "RolledBack", &[("b", "superseded")], "app:9");
        let mut watching = Watching::from(&begun);
        assert!(matches!(watching.look(Some(&between), now), Look::GoOn));
        // Rolled back for good, but another template was pushed a moment ago.
        let settled = state(
            "RolledBack",
            "NewTemplate",
            &[("b", "rolled-back")],
            "app:2",
        );
        let pushed = watching.asked(Some(&settled), Some(&gate("app:3", true)));
        assert_eq!(exit(pushed), None);
    }
}
