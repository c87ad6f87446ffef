//! How a release that is waited for ended, and what is printed of it. Not here: what started it.

use std::collections::BTreeSet;
use std::time::Duration;

use crossfade_api::{HistoryEntry, Phase, StepState};
use tokio::time::Instant;

use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::follow::{self, Follow, View};
use crate::output;
use crate::rollout::Rollout;

/// A refusal that stands this long is not from before our push.
const REFUSED: Duration = Duration::from_secs(10);

/// The releases that had ended before.
pub struct Ended {
    entries: BTreeSet<(String, Option<jiff::Timestamp>)>,
}

impl Ended {
    pub fn of(rollout: Option<&Rollout>) -> Self {
        let history = rollout
            .and_then(|rollout| rollout.status.as_ref())
            .map(|status| status.history.as_slice());
        let entries = history
            .unwrap_or_default()
            .iter()
            .map(|entry| (entry.candidate.clone(), entry.ended_at))
            .collect();
        Self { entries }
    }

    /// The end that is not among them.
    fn new_in<'a>(&self, history: &'a [HistoryEntry]) -> Option<&'a HistoryEntry> {
        history.iter().find(|entry| {
            !self
                .entries
                .contains(&(entry.candidate.clone(), entry.ended_at))
        })
    }
}

/// What waiting brought.
#[derive(Debug)]
pub struct End {
    pub exit: Exit,
    sentence: String,
    next: &'static str,
    /// Absent while the release goes on: it waits for somebody, or was too slow.
    entry: Option<HistoryEntry>,
}

impl End {
    fn of(entry: &HistoryEntry) -> Self {
        Self {
            exit: match entry.outcome.as_str() {
                "promoted" => Exit::Done,
                "rolled-back" => Exit::RolledBack,
                _ => Exit::Aborted,
            },
            sentence: format!("{} {}: {}", entry.candidate, entry.outcome, entry.reason),
            next: "crossfade explain says more",
            entry: Some(entry.clone()),
        }
    }

    /// Prints the entry as data if asked to, whatever the outcome, and gives the exit code.
    pub fn tell(self, rollout: &str, format: Option<Format>) -> Result<Exit, Failure> {
        if let Some(entry) = &self.entry {
            output::done(rollout, entry, format)?;
        }
        if self.exit == Exit::Done {
            eprintln!("{}", self.sentence);
            return Ok(Exit::Done);
        }
        Err(Failure::new(self.sentence).next(self.next).exit(self.exit))
    }
}

/// Follows until a release that had not ended before has ended, or needs a person.
pub async fn ended(follow: &mut Follow, before: &Ended, limit: Duration) -> Result<End, Failure> {
    let mut refused: Option<Instant> = None;
    let end = follow::until(follow, &mut View::log(), Some(limit), |rollout| {
        let status = rollout?.status.as_ref()?;
        if let Some(entry) = before.new_in(&status.history) {
            return Some(End::of(entry));
        }
        let unfinished = |exit, sentence| {
            Some(End {
                exit,
                sentence,
                next: "crossfade explain says more",
                entry: None,
            })
        };
        if status
            .step
            .as_ref()
            .is_some_and(|step| step.state == StepState::AwaitingApproval)
            && matches!(status.phase, Some(Phase::Progressing | Phase::Warm))
        {
            return unfinished(
                Exit::Approval,
                "waits for an approval: crossfade promote gives it, crossfade abort refuses it"
                    .to_owned(),
            );
        }
        let stalled = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Stalled" && condition.status == "True");
        match stalled.filter(|_| matches!(status.phase, None | Some(Phase::Idle))) {
            Some(stalled) if refused.get_or_insert_with(Instant::now).elapsed() >= REFUSED => {
                return unfinished(
                    Exit::Error,
                    format!("cannot be released: {}", stalled.message),
                );
            }
            Some(_) => {}
            None => refused = None,
        }
        None
    })
    .await?;
    Ok(end.unwrap_or_else(|| End {
        exit: Exit::TimedOut,
        sentence: "not over within the time given; the release goes on".to_owned(),
        next: "crossfade status -w follows it, crossfade explain says what it waits for",
        entry: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(candidate: &str, outcome: &str) -> HistoryEntry {
        HistoryEntry {
            candidate: candidate.to_owned(),
            outcome: outcome.to_owned(),
            reason: "because".to_owned(),
            ..HistoryEntry::default()
        }
    }

    #[test]
    fn only_an_end_that_is_new_counts() {
        let before = Ended {
            entries: [("a".to_owned(), None)].into(),
        };
        assert!(before.new_in(&[entry("a", "promoted")]).is_none());
        let history = [entry("b", "aborted"), entry("a", "promoted")];
        assert_eq!(before.new_in(&history).unwrap().candidate, "b");
    }

    #[test]
    fn outcomes_and_exit_codes() {
        for (outcome, exit) in [
            ("promoted", Exit::Done),
            ("rolled-back", Exit::RolledBack),
            ("aborted", Exit::Aborted),
            ("superseded", Exit::Aborted),
        ] {
            let end = End::of(&entry("b", outcome));
            assert_eq!(end.exit, exit, "{outcome}");
            let told = end.tell("web", None);
            assert_eq!(
                told.unwrap_or_else(|failure| failure.exit),
                exit,
                "{outcome}"
            );
        }
    }
}
