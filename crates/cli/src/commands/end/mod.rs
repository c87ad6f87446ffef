//! Waiting for the end of a release, and what is printed of it. What started it stands elsewhere, what is
//! made of one state in `waiting` and, for `status -w`, in `watching`.

mod waiting;
mod watching;

use std::collections::BTreeSet;
use std::time::Duration;

use crossfade_api::{
    Action, ControlStatus, HistoryEntry, Phase, RolloutStatus, StepState, conditions::PROGRESSING,
    conditions::STALLED,
};
use crossfade_engine::report::WaitingOn;
use kube::ResourceExt;
use tokio::time::Instant;

pub use waiting::{Waiting, print_of};
pub use watching::{Watching, rejected};

use crate::args::Format;
use crate::called;
use crate::cluster::Cluster;
use crate::commands::gate::Gate;
use crate::commands::order;
use crate::exit::{Exit, Failure};
use crate::follow::{self, Follow, View};
use crate::rollout::Rollout;
use crate::{find, output};

/// Longest wait for the end of a release.
pub const END: Duration = Duration::from_secs(3600);
/// What stands this long is not from before our push.
const STANDS: Duration = Duration::from_secs(10);
/// So often the Deployment is read while the Rollout does not say what becomes of it.
const ASK: Duration = Duration::from_secs(2);

/// What one state of a Rollout means to whoever waits.
#[derive(Debug)]
pub enum Look {
    GoOn,
    /// The Deployment has to be read: the Rollout does not say it.
    Ask,
    /// The template is held because it was rejected before: `run` releases it.
    Retry,
    End(Box<End>),
}

impl From<End> for Look {
    fn from(end: End) -> Self {
        Self::End(Box::new(end))
    }
}

/// Makes something of the states of a Rollout, one after the other.
pub trait Judge {
    fn look(&mut self, rollout: Option<&Rollout>, now: Instant) -> Look;
    /// The same with the Deployment beside it; `None`: there is none.
    fn asked(&mut self, rollout: Option<&Rollout>, gate: Option<&Gate>) -> Look;
    /// The same where the Deployment cannot be read.
    fn unasked(&mut self, rollout: Option<&Rollout>) -> Look;
    /// The template that was held is released again.
    fn retried(&mut self, rollout: &Rollout) -> Option<End>;
}

/// The releases that had ended before.
#[derive(Debug, Default)]
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

    /// The ends that are not among them, oldest first.
    fn new_in<'a>(&self, history: &'a [HistoryEntry]) -> impl Iterator<Item = &'a HistoryEntry> {
        history.iter().rev().filter(|entry| {
            let key = (entry.candidate.clone(), entry.ended_at);
            !self.entries.contains(&key)
        })
    }
}

/// What to do after it; the commands are written when it is told, for the cluster and the Rollout there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Explain,
    Approve,
    Follow,
    Retry,
}

impl Next {
    fn words(self, namespace: &str, rollout: &str) -> String {
        let about = |command: &str| called::crossfade(namespace, &format!("{command} {rollout}"));
        match self {
            Self::Explain => format!("{} says more", about("explain")),
            Self::Approve => {
                format!(
                    "{} gives it, {} refuses it",
                    about("promote"),
                    about("abort")
                )
            }
            Self::Follow => format!(
                "{} follows it, {} says what it waits for; --timeout waits longer",
                about("status -w"),
                about("explain")
            ),
            Self::Retry => format!("{} releases it again", about("retry")),
        }
    }
}

/// What waiting brought.
#[derive(Debug)]
pub struct End {
    pub exit: Exit,
    pub sentence: String,
    next: Next,
    /// Absent while the release goes on: it waits for somebody, or was too slow.
    pub entry: Option<HistoryEntry>,
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
            next: Next::Explain,
            entry: Some(entry.clone()),
        }
    }

    fn without_entry(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentence: sentence.into(),
            next: Next::Explain,
            entry: None,
        }
    }

    fn approval() -> Self {
        Self {
            next: Next::Approve,
            ..Self::without_entry(Exit::Approval, "waits for an approval")
        }
    }

    fn held() -> Self {
        Self {
            next: Next::Retry,
            ..Self::without_entry(
                Exit::RolledBack,
                "it is held: its template was rejected before",
            )
        }
    }

    fn gone() -> Self {
        Self::without_entry(
            Exit::Error,
            "the Deployment is gone, and the release with it",
        )
    }

    fn late() -> Self {
        Self {
            next: Next::Follow,
            ..Self::without_entry(
                Exit::TimedOut,
                "not over within the time given; the release goes on",
            )
        }
    }

    /// Prints the entry as data if asked to, whatever the outcome, and gives the exit code.
    pub fn tell(
        self,
        namespace: &str,
        rollout: &str,
        format: Option<Format>,
    ) -> Result<Exit, Failure> {
        if let Some(entry) = &self.entry {
            output::done(rollout, entry, format)?;
        }
        if self.exit == Exit::Done {
            eprintln!("{}", self.sentence);
            return Ok(Exit::Done);
        }
        let next = self.next.words(namespace, rollout);
        Err(Failure::new(self.sentence).next(next).exit(self.exit))
    }
}

/// Follows until the judge has an end, or the time is over.
pub async fn ended(
    cluster: &Cluster,
    rollout: &str,
    deployment: &str,
    judge: &mut impl Judge,
    limit: Duration,
) -> Result<End, Failure> {
    let mut view = View::log();
    let mut follow = Follow::new(cluster, rollout);
    followed(
        cluster,
        &mut follow,
        &mut view,
        deployment,
        judge,
        Some(limit),
    )
    .await
}

/// The same with a view of one's own.
pub async fn followed(
    cluster: &Cluster,
    follow: &mut Follow,
    view: &mut View,
    deployment: &str,
    judge: &mut impl Judge,
    limit: Option<Duration>,
) -> Result<End, Failure> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut told = false;
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let look = follow::until(follow, view, left, |rollout| {
            match judge.look(rollout, Instant::now()) {
                Look::GoOn => None,
                look => Some(look),
            }
        });
        let look = match look.await? {
            None => return Ok(End::late()),
            Some(Look::Ask) => match Gate::read(cluster, deployment).await {
                Ok(gate) => judge.asked(follow.state(), gate.as_ref()),
                // A wait of an hour does not end with one call.
                Err(failure) => {
                    if !std::mem::replace(&mut told, true) {
                        eprintln!("# going on without it: {failure}");
                    }
                    judge.unasked(follow.state())
                }
            },
            Some(look) => look,
        };
        match (look, follow.state()) {
            (Look::End(end), _) => return Ok(*end),
            (Look::Retry, Some(rollout)) => {
                let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    return Ok(End::late());
                }
                // The time is that of the end; an answer comes sooner, or nobody is there to give it.
                let patience = left.map(|left| left.min(LONGEST_ANSWER));
                retry(cluster, rollout, patience).await?;
                if let Some(end) = judge.retried(rollout) {
                    return Ok(end);
                }
            }
            _ => {}
        }
    }
}

/// Longest wait for the answer to a command given on the way to an end.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// Releases again what is held. Who gave no time waits for the answer only.
pub async fn retry(
    cluster: &Cluster,
    rollout: &Rollout,
    limit: Option<Duration>,
) -> Result<ControlStatus, Failure> {
    let name = rollout.name_any();
    eprintln!("{name}: this template was rejected before; releasing it again");
    let order = Action::Retry.into();
    let written = order::write(cluster, rollout, order, Some("crossfade run")).await?;
    let limit = limit.unwrap_or(order::ANSWER);
    let mut follow = Follow::new(cluster, &name);
    let longer = Some("--timeout");
    let handled = order::answered(&mut follow, rollout, &written, limit, longer).await?;
    if handled.outcome == "done" {
        return Ok(handled);
    }
    Err(Failure::new(format!(
        "{name}: retry {}: {}",
        handled.outcome, handled.message
    ))
    .next(format!("see {}", find::about(rollout, "explain"))))
}

/// Since when something stands.
#[derive(Debug, Default)]
struct Since(Option<Instant>);

impl Since {
    /// Whether it has stood for so long.
    fn stands(&mut self, whether: bool, long: Duration, now: Instant) -> bool {
        if !whether {
            self.0 = None;
            return false;
        }
        now.saturating_duration_since(*self.0.get_or_insert(now)) >= long
    }
}

/// What the planner waits for, in its own word.
fn waits_on(status: &RolloutStatus) -> Option<WaitingOn> {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|condition| condition.type_ == PROGRESSING)?;
    WaitingOn::from_reason(&found.reason)
}

/// Why nothing can go on until a person mends it. In RolledBack only what the planner says to wait for a
/// mend: that one was taken back is no refusal.
fn stuck(status: &RolloutStatus) -> Option<String> {
    let mut conditions = status.conditions.iter();
    let stalled = conditions.find(|it| it.type_ == STALLED && it.status == "True")?;
    let counts = match status.phase {
        _ if stalled.reason == "Unreadable" => true,
        None | Some(Phase::Idle) => true,
        Some(Phase::RolledBack) => waits_on(status) == Some(WaitingOn::Mend),
        Some(_) => false,
    };
    counts.then(|| format!("cannot be released: {}", stalled.message))
}

fn awaits_approval(status: &RolloutStatus) -> bool {
    matches!(status.phase, Some(Phase::Progressing | Phase::Warm))
        && (status.step.as_ref()).is_some_and(|step| step.state == StepState::AwaitingApproval)
}

/// Rolled back for good. Between two releases the phase is the same, but nothing is waited for yet.
fn is_settled(status: &RolloutStatus) -> bool {
    status.phase == Some(Phase::RolledBack) && waits_on(status) == Some(WaitingOn::NewTemplate)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn entry(candidate: &str, outcome: &str) -> HistoryEntry {
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
        assert!(before.new_in(&[entry("a", "promoted")]).next().is_none());
        let history = [entry("b", "aborted"), entry("a", "promoted")];
        assert_eq!(before.new_in(&history).next().unwrap().candidate, "b");
    }

    #[test]
    fn what_is_next_is_written_for_the_cluster_that_was_looked_at() {
        let _plugin = called::tests::as_plugin();
        for (end, commands) in [
            (End::approval(), ["promote web", "abort web"].as_slice()),
            (End::late(), &["status -w web", "explain web"]),
            (End::held(), &["retry web"]),
            (End::of(&entry("b", "aborted")), &["explain web"]),
        ] {
            let text = end.tell("shop", "web", None).unwrap_err().to_string();
            for command in commands {
                let part = format!("kubectl crossfade -n shop --context east {command}");
                assert!(text.contains(&part), "{part} in {text}");
            }
            assert_eq!(text.matches("crossfade").count(), commands.len(), "{text}");
        }
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
            let told = end.tell("shop", "web", None);
            assert_eq!(
                told.unwrap_or_else(|failure| failure.exit),
                exit,
                "{outcome}"
            );
        }
    }
}
