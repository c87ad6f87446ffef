//! Templates that somebody lets pass without analysis: `crossfade.dev/bypass` changed in the same write.
//! At the gate admission lets them pass; one that came in mid-release, or while another was held, is
//! stored paused, and once the release is out of the way the Deployment is unpaused with it.

use crossfade_api::HistoryEntry;
use crossfade_api::annotations::BYPASS;

use crate::effect::Effect;
use crate::identity::{fingerprint, images};
use crate::memory::{KEPT_ENTRIES, Pushed};
use crate::observed::Workload;
use crate::report::WaitingOn;
use crate::step::Pass;
use crate::traffic::target;

impl Pass<'_> {
    /// Remembers whether the newest template came with a bypass. Admission has seen the write and put its
    /// word beside the bypass: one that was there before, or has let another template pass, is not in it.
    pub(crate) fn note_push(&mut self, workload: &Workload) {
        let bypass = workload
            .bypass
            .as_deref()
            .filter(|reason| !reason.is_empty());
        let known = self.memory.pushed.as_ref();
        if known.is_some() && bypass.is_none() && !workload.paused {
            // At rest nothing is written for a template that passed for another reason.
            return;
        }
        let print = fingerprint(&workload.template);
        let seen = known
            .filter(|pushed| pushed.fingerprint == print && pushed.bypass.as_deref() == bypass);
        let passes = match seen {
            Some(pushed) => pushed.passes,
            // Without a memory nothing is known to be new.
            None => {
                known.is_some()
                    && bypass.is_some()
                    && workload.bypass_template.as_ref() == Some(&print)
            }
        };
        self.memory.pushed = Some(Pushed {
            fingerprint: print,
            bypass: bypass.map(str::to_owned),
            passes,
        });
    }

    /// The reason given for letting the template pass, if it is to.
    pub(crate) fn passes(&self) -> Option<String> {
        let pushed = self.memory.pushed.as_ref()?;
        pushed.bypass.clone().filter(|_| pushed.passes)
    }

    /// Unpauses the Deployment on a template that is to pass. Returns whether it is.
    pub(crate) fn let_pass(&mut self, workload: &Workload) -> bool {
        let Some(reason) = self.passes() else {
            return false;
        };
        self.emit(Effect::Unpause {
            target: target(&workload.name, &workload.uid, &workload.resource_version),
            template: workload.template.clone(),
        });
        self.wait(
            WaitingOn::Observed,
            format!("the Deployment to be unpaused: {BYPASS}: {reason}"),
            None,
            "then its own rollout goes on, without analysis",
        );
        true
    }

    /// Puts on record that a template passed.
    pub(crate) fn tell_bypassed(&mut self, workload: &Workload) {
        let Some(reason) = self.passes() else {
            return;
        };
        if let Some(pushed) = self.memory.pushed.as_mut() {
            pushed.passes = false;
        }
        let images = images(&workload.template);
        self.event(
            true,
            "Bypassed",
            format!(
                "{} passed without analysis: {BYPASS}: {reason}",
                images.join(", ")
            ),
        );
        self.memory.history.insert(
            0,
            HistoryEntry {
                images,
                outcome: "bypassed".to_owned(),
                reason,
                ended_at: Some(self.now),
                ..HistoryEntry::default()
            },
        );
        self.memory.history.truncate(KEPT_ENTRIES);
    }
}
