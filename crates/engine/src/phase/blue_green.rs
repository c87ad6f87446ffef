//! All traffic at once: the preview that shows the candidate before the move, and what the move has to be
//! judged by, since stable does not serve beside it.

use crossfade_api::{Duration, Inconclusive, StepState, Weight};
use crossfade_judge as judge;

use crate::analysis::parameters;
use crate::effect::{Effect, ServiceWrite, SplitTo};
use crate::memory::{Cause, Release};
use crate::observed::{Service, Workload};
use crate::report::WaitingOn;
use crate::step::{Pass, after};
use crate::traffic::points;

impl<'a> Pass<'a> {
    /// Name of the Service that shows the candidate, if the plan has one.
    pub(crate) fn preview_name(&self) -> Option<String> {
        let release = self.memory.release.as_ref()?;
        release.plan.blue_green.as_ref()?.preview.clone()
    }

    /// The Service that the plan names as preview: in front of the candidate, never part of a split.
    pub(crate) fn previews(&self) -> impl Iterator<Item = &'a Service> {
        let name = self.preview_name();
        self.seen.services.iter().filter(move |service| {
            !service.deleting
                && service.held_by_other.is_none()
                && (service.refusal.is_none() || service.held)
                && name.as_deref() == Some(&service.name)
        })
    }

    /// Points the preview. Returns whether nothing was left to write.
    pub(crate) fn write_previews(&mut self, to: SplitTo) -> bool {
        let services: Vec<ServiceWrite> = self
            .previews()
            .filter(|service| !points(service, &to))
            .map(|service| self.service_write(service))
            .collect();
        let nothing = services.is_empty();
        if !nothing {
            self.emit(Effect::Split { services, to });
        }
        nothing
    }

    /// The preview shows the candidate as soon as one of its pods is ready.
    pub(super) fn show_preview(&mut self, release: &Release) {
        let to = match self.candidate_hash() {
            Some(hash) if self.candidate_ready() > 0 => SplitTo::Candidate { hash },
            _ => SplitTo::Stable {
                hash: release.stable.hash.clone(),
            },
        };
        self.write_previews(to);
    }

    /// Before all traffic moves to a candidate that had none: stable's last counts have to be enough to
    /// judge it by. Returns whether it may move.
    pub(super) fn baseline(&mut self, workload: &Workload, weight: Weight) -> bool {
        let Some(release) = self.memory.release.clone() else {
            return false;
        };
        if weight != Weight::FULL
            || release.plan.blue_green.is_none()
            || !release.plan.analysis.scrape
            || release.shifted
            || release.full.is_some()
        {
            return true;
        }
        if release.skip_stay {
            // A person's word is for this wait; the warm stay needs another one.
            if let Some(release) = self.memory.release.as_mut() {
                release.skip_stay = false;
            }
            return true;
        }
        let signal = release
            .judge
            .as_ref()
            .and_then(|state| state.signals.get(judge::ERRORS).cloned())
            .unwrap_or_default();
        let (enough, [requests, ticks]) = signal.has_baseline(&parameters(&release));
        if enough {
            return true;
        }
        self.enter_state(StepState::Held);
        self.hold_split();
        let since = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.state_since)
            .unwrap_or(self.now);
        let limit = release.plan.analysis.no_data_limit;
        let until = after(since, limit);
        let text = format!(
            "enough of stable's answers to judge the new version by: {} of {} requests in {} of {} measurements",
            requests.0, requests.1, ticks.0, ticks.1
        );
        let (then, inconclusive) = match release.plan.analysis.inconclusive {
            Inconclusive::Advance => ("go on, judged by health alone", Inconclusive::Advance),
            Inconclusive::Hold => ("stay until a person decides", Inconclusive::Hold),
            Inconclusive::Rollback => ("roll back", Inconclusive::Rollback),
        };
        if self.now < until {
            self.wait(WaitingOn::Data, text, Some(until), then);
            return false;
        }
        match inconclusive {
            Inconclusive::Advance => true,
            Inconclusive::Hold => {
                self.wait(WaitingOn::Data, text, None, "promote or abort");
                false
            }
            Inconclusive::Rollback => {
                self.roll_back(
                    Cause::Failed,
                    format!("after {}: {text}", Duration::from_milliseconds(limit)),
                );
                self.rolling_back(workload);
                false
            }
        }
    }
}
