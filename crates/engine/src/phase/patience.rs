//! Waits that never give up, because there is nothing else left to do: they say so, once a minute.

use crate::report::WaitingOn;
use crate::step::{Pass, after};

/// After this long in one phase it says so.
const ESCALATION: u64 = 60_000;

impl Pass<'_> {
    /// Says what is waited for, until when without worry, and what then; late, an event says it too.
    pub(super) fn patiently(
        &mut self,
        event: &'static str,
        on: WaitingOn,
        text: impl Into<String>,
        then: &str,
    ) {
        let since = self.memory.phase_since.unwrap_or(self.now);
        let late = after(since, ESCALATION);
        let text = text.into();
        if self.now < late {
            self.wait(on, text, Some(late), format!("an event says so; {then}"));
            return;
        }
        let passed = (self.now.as_millisecond()).saturating_sub(since.as_millisecond());
        let minutes = u64::try_from(passed).unwrap_or(0) / ESCALATION;
        // Once a minute, however many passes there are.
        let told =
            self.memory.release.as_mut().is_some_and(|release| {
                std::mem::replace(&mut release.reminded, minutes) >= minutes
            });
        if !told {
            self.event(
                true,
                event,
                format!("for {minutes} min it waits for {text}"),
            );
        }
        self.wake(after(since, (minutes + 1) * ESCALATION));
        self.wait(on, text, None, then);
    }

    /// Looks again when a phase has lasted so long that its wait has to say so.
    pub(super) fn wake_when_late(&mut self) {
        let late = after(self.memory.phase_since.unwrap_or(self.now), ESCALATION);
        if self.now < late {
            self.wake(late);
        }
    }
}
