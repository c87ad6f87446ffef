//! Services that somebody writes back again and again. Going on would be a fight without an end, in which nobody knows who
//! serves: a step ends. A rollback cannot end while its candidate serves time and again (law 2): it says who does it, and the
//! mend. Whether a split stands is `traffic`'s to say.

use crossfade_api::Duration;

use crate::effect::SplitTo;
use crate::memory::Cause;
use crate::observed::Service;
use crate::plan::PlannedStep;
use crate::step::{Pass, after};
use crate::traffic::points;

/// How often others may write a Service back, and within how long at least: each time the stay begins anew, so a tool that
/// comes once in a long stay would keep a release from ever ending.
const RESETS: usize = 3;
const FIGHT: u64 = 300_000;

impl Pass<'_> {
    /// Whether somebody writes a Service of this step back again and again; then it is rolled back.
    pub(super) fn fought_over(&mut self, to: &SplitTo) -> bool {
        let now = self.now;
        let reset = self.written_back(to);
        let Some(release) = self.memory.release.as_mut() else {
            return false;
        };
        let was_written = release.written_step == Some(release.step);
        let (Some(who), true) = (reset, was_written) else {
            return false;
        };
        release.written_step = None;
        let stay = match release.plan.steps.get(release.step as usize) {
            Some(PlannedStep::Weight { stay, .. }) => *stay,
            Some(PlannedStep::Approval { .. }) => 0,
            None => release.plan.warm,
        };
        let within = FIGHT.max(stay.saturating_mul(RESETS as u64));
        release.resets.retain(|at| now < after(*at, within));
        release.resets.push(now);
        if release.resets.len() < RESETS {
            return false;
        }
        self.roll_back(Cause::Interrupted, in_words(&who, within));
        self.wake(now);
        true
    }

    /// Notes in a rollback that somebody has written a Service back that was seen on stable. Often enough, and its
    /// waits say who does.
    pub(super) fn note_reset(&mut self, to: &SplitTo) {
        let now = self.now;
        let reset = self.written_back(to);
        let floor = self.settle_floor();
        let drain = (self.memory.release.as_ref()).map_or(0, |release| release.plan.drain);
        let within = FIGHT.max(floor.saturating_add(drain).saturating_mul(RESETS as u64));
        let rollback = (self.memory.release.as_mut()).and_then(|release| release.rollback.as_mut());
        let (Some(who), Some(rollback)) = (reset, rollback.filter(|rollback| rollback.written))
        else {
            return;
        };
        rollback.written = false;
        rollback.resets.retain(|at| now < after(*at, within));
        rollback.resets.push(now);
        if rollback.resets.len() < RESETS || rollback.fought.is_some() {
            return;
        }
        let text = in_words(&who, within);
        rollback.fought = Some(text.clone());
        self.event(true, "ServiceWrittenBack", text);
    }

    /// A Service that we have written and that points elsewhere now, and who wrote it.
    pub(super) fn written_back(&self, to: &SplitTo) -> Option<(String, String)> {
        self.services()
            .find(|service| !points(service, to) && self.was_written(&service.name, &service.uid))
            .map(|service| (service.name.clone(), selector_manager(service)))
    }
}

fn in_words((name, manager): &(String, String), within: u64) -> String {
    let within = Duration::from_milliseconds(within);
    format!(
        "{manager} wrote spec.selector of Service {name} back {RESETS} times within {within}; \
         let it leave pod-template-hash in that selector alone (Argo CD: ignoreDifferences with \
         jsonPointers [/spec/selector/pod-template-hash] and RespectIgnoreDifferences=true)"
    )
}

/// Who beside us owns the selector of a Service, as managedFields tell.
fn selector_manager(service: &Service) -> String {
    let entries = service.other_managed_fields.as_array();
    let owns = |entry: &&serde_json::Value| entry.pointer("/fieldsV1/f:spec/f:selector").is_some();
    entries
        .and_then(|entries| entries.iter().rev().find(owns))
        .and_then(|entry| entry.get("manager")?.as_str())
        .unwrap_or("somebody")
        .to_owned()
}
