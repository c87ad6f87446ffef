//! What one pod was sent. Numbers only; where requests go is decided by the proxies.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::MILLION;

/// Who is at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Of the first container.
    pub image: String,
}

/// Why a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The proxy knew no endpoint.
    NoEndpoint,
    /// Nobody has that address any more.
    Gone,
    /// A pod that does not accept: starting, stopping, or ended.
    NotAccepting,
    /// It was being answered when the process ended.
    Open,
}

/// Requests lost without a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub from: Instant,
    pub to: Instant,
    /// Who should have answered, if anybody is known.
    pub pod: Option<PodFacts>,
    pub why: Why,
    /// Millionths of requests.
    pub millionths: u64,
}

/// What one pod got over its whole life, in millionths of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTraffic {
    pub facts: PodFacts,
    pub ip: String,
    /// Answered, well or with an error.
    pub answered: u64,
    /// Answered with an error.
    pub errors: u64,
    /// Sent to it and lost.
    pub lost: u64,
}

/// What a container counts itself, in millionths, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    answered: u64,
    errors: u64,
}

impl Counters {
    /// Whole requests.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.answered / MILLION
    }

    /// Whole errors.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.errors / MILLION
    }
}

impl Counters {
    /// What was added since.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            answered: self.answered.saturating_sub(before.answered),
            errors: self.errors.saturating_sub(before.errors),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Ended,
    Runs { accepts: bool },
}

/// One pod of now.
#[derive(Debug)]
pub struct Pod {
    facts: PodFacts,
    process: Process,
    own: Counters,
    whole: Counters,
    lost: u64,
    /// Left over of errors below one millionth.
    error_rest: u64,
    /// What was sent lately: it may still be open.
    recent: VecDeque<(Instant, Instant, u64)>,
}

impl Pod {
    /// Without a process.
    #[must_use]
    pub const fn new(facts: PodFacts) -> Self {
        Self {
            facts,
            process: Process::Ended,
            own: Counters {
                answered: 0,
                errors: 0,
            },
            whole: Counters {
                answered: 0,
                errors: 0,
            },
            lost: 0,
            error_rest: 0,
            recent: VecDeque::new(),
        }
    }

    #[must_use]
    pub const fn facts(&self) -> &PodFacts {
        &self.facts
    }

    #[must_use]
    pub fn image(&self) -> &str {
        &self.facts.image
    }

    pub fn started(&mut self) {
        self.process = Process::Runs { accepts: false };
        self.own = Counters::default();
    }

    pub fn accepts(&mut self, accepts: bool) {
        if self.process != Process::Ended {
            self.process = Process::Runs { accepts };
        }
    }

    /// Gives what was open and is lost now.
    pub fn ended(&mut self, now: Instant, request: Duration) -> u64 {
        if self.process == Process::Ended {
            return 0;
        }
        self.process = Process::Ended;
        let since = now.checked_sub(request).unwrap_or(now);
        let open: u64 = self
            .recent
            .drain(..)
            .map(|(from, to, amount)| part_after(from, to, amount, since))
            .sum();
        self.whole.answered = self.whole.answered.saturating_sub(open);
        self.lost += open;
        open
    }

    /// Takes what was sent between two instants, or says why it is lost.
    pub fn send(
        &mut self,
        amount: u64,
        errors_per_million: u64,
        from: Instant,
        to: Instant,
        request: Duration,
    ) -> Option<Why> {
        if self.process != (Process::Runs { accepts: true }) {
            self.lost += amount;
            return Some(Why::NotAccepting);
        }
        let product =
            u128::from(amount) * u128::from(errors_per_million) + u128::from(self.error_rest);
        let errors = u64::try_from(product / u128::from(MILLION))
            .unwrap_or(amount)
            .min(amount);
        self.error_rest = u64::try_from(product % u128::from(MILLION)).unwrap_or_default();
        for counters in [&mut self.own, &mut self.whole] {
            counters.answered += amount;
            counters.errors += errors;
        }
        if !request.is_zero() {
            while self
                .recent
                .front()
                .is_some_and(|(_, end, _)| *end + request <= to)
            {
                self.recent.pop_front();
            }
            self.recent.push_back((from, to, amount));
        }
        None
    }

    /// What it would tell of itself, if it can be asked.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        (self.process == Process::Runs { accepts: true }).then_some(self.own)
    }

    #[must_use]
    pub fn traffic(&self, ip: &str) -> PodTraffic {
        PodTraffic {
            facts: self.facts.clone(),
            ip: ip.to_owned(),
            answered: self.whole.answered,
            errors: self.whole.errors.min(self.whole.answered),
            lost: self.lost,
        }
    }
}

/// The part of `amount`, spread evenly over a span, that lies after `since`.
fn part_after(from: Instant, to: Instant, amount: u64, since: Instant) -> u64 {
    let whole = to.saturating_duration_since(from).as_micros();
    let part = to.saturating_duration_since(since.max(from)).as_micros();
    if whole == 0 {
        return 0;
    }
    u64::try_from(u128::from(amount) * part / whole).unwrap_or(amount)
}
