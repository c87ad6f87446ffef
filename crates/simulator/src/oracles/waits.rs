//! Laws 5, 11 and 13: no promotion without a verdict on fresh numbers, every wait with reason, deadline
//! and way out, every decision explained.

use crossfade_fakeapi::At;
use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_fakeapi::Change;
use jiff::Timestamp;
use serde_json::Value;

use super::Sight;
use super::book::Book;
use super::model::can_serve;
use crate::json::{entries, flag, number, text};
use crate::ports::BEGINNING;

type Found = Vec<(&'static str, String)>;

/// A status that stands for so long without a reason to wait is one that waits for nothing.
const STANDS: Duration = Duration::from_secs(10);
/// A deadline that passed has its consequence within, without faults.
const CONSEQUENCE: Duration = Duration::from_secs(10);
/// What scraping may take beside its interval.
const SCRAPING: Duration = Duration::from_secs(4);

/// A change by anybody; only those of a Rollout's status matter here.
pub fn of_a_change(
    book: &mut Book,
    change: &Change,
    sight: &Sight<'_>,
    scraped: &BTreeMap<String, Duration>,
    found: &mut Found,
) {
    if change.key.resource != "rollouts" || change.subresource != "status" {
        return;
    }
    let (Some(before), Some(after)) = (change.before.as_deref(), change.after.as_deref()) else {
        return;
    };
    if book.rollout.at("/metadata/uid") != after.at("/metadata/uid") {
        return;
    }
    explained(book, after, found);
    let phase = (text(before, "/status/phase"), text(after, "/status/phase"));
    let step = |object: &Value| number(object, "/status/step/index");
    let same = text(before, "/status/candidate/name") == text(after, "/status/candidate/name");
    let in_steps = |phase: &str| matches!(phase, "Progressing" | "Warm");
    let on = same
        && in_steps(phase.0)
        && (step(after) > step(before) && in_steps(phase.1) || phase.1 == "HandingOver");
    if on {
        advanced(book, before, after, sight, scraped, found);
    }
    if phase.1 == "HandingOver" && !matches!(phase.0, "Warm" | "HandingOver") {
        // A promote in full goes through the warm stay too; a memory that was lost goes on from what it finds.
        let recovered = phase.0.is_empty() || phase.0 == "Idle";
        if !recovered {
            found.push((
                "5",
                format!("{}: handed over from phase {}", book.name, phase.0),
            ));
        }
    }
}

/// Law 13.
fn explained(book: &Book, after: &Value, found: &mut Found) {
    let phase = text(after, "/status/phase");
    if text(after, "/status/message").is_empty() {
        found.push((
            "13",
            format!("{}: a status in phase {phase} without a message", book.name),
        ));
    }
    for entry in entries(after, "/status/history") {
        if text(entry, "/reason").is_empty() || text(entry, "/outcome").is_empty() {
            found.push((
                "13",
                format!("{}: an end without a reason: {entry}", book.name),
            ));
        }
    }
    if phase == "RollingBack" {
        let reason = text(after, "/status/message")
            .strip_prefix("RollingBack: ")
            .unwrap_or("unexplained");
        if reason.is_empty() || reason.starts_with(';') {
            found.push((
                "13",
                format!("{}: it rolls back and does not say why", book.name),
            ));
        }
    }
}

/// Law 5: a step goes on only on fresh numbers of every candidate pod in service.
fn advanced(
    book: &Book,
    before: &Value,
    after: &Value,
    sight: &Sight<'_>,
    scraped: &BTreeMap<String, Duration>,
    found: &mut Found,
) {
    let Some(interval) = sight.facts.scrape else {
        return;
    };
    // A person's word may come before its step is complete, and goes on without numbers all the same.
    let index = number(before, "/status/step/index");
    let step = format!("/status/memory/release/plan/steps/{index}/approval");
    if before.at(&step).is_some() || in_full(before) || in_full(after) {
        return;
    }
    let outcome = text(before, "/status/verdict/outcome");
    if outcome == "bad" {
        found.push((
            "5",
            format!("{}: it goes on although the verdict is bad", book.name),
        ));
    }
    let Some((set, _)) = book
        .release
        .as_ref()
        .and_then(|release| release.candidate_set.as_ref())
    else {
        return;
    };
    let limit = interval * 3 + SCRAPING + sight.facts.lag;
    let blind: Vec<String> = sight
        .model
        .pods(&book.namespace, set)
        .filter(|pod| can_serve(pod) && ready_for(pod, sight.now) > limit)
        .filter(|pod| {
            let address = text(pod, "/status/podIP");
            scraped
                .get(address)
                .is_none_or(|at| sight.now.saturating_sub(*at) > limit)
        })
        .map(|pod| text(pod, "/metadata/name").to_owned())
        .collect();
    if !blind.is_empty() {
        found.push((
            "5",
            format!(
                "{}: it goes on without fresh numbers of {}",
                book.name,
                blind.join(", ")
            ),
        ));
    }
    if text(after, "/status/phase") == "HandingOver"
        && text(after, "/status/verdict/reason").is_empty()
        && text(before, "/status/verdict/reason").is_empty()
    {
        found.push(("5", format!("{}: handed over without a verdict", book.name)));
    }
}

/// `promote --full` overrides it, and is recorded.
fn in_full(rollout: &Value) -> bool {
    flag(rollout, "/spec/control/full") || rollout.at("/status/memory/release/full").is_some()
}

fn ready_for(pod: &Value, now: Duration) -> Duration {
    let since = entries(pod, "/status/conditions")
        .find(|condition| text(condition, "/type") == "Ready")
        .map_or("", |condition| text(condition, "/lastTransitionTime"));
    now.saturating_sub(since_beginning(since).unwrap_or(now))
}

/// A time of the API as time since the world began.
fn since_beginning(time: &str) -> Option<Duration> {
    let time: Timestamp = time.parse().ok()?;
    let milliseconds = time.as_millisecond() - BEGINNING * 1000;
    Some(Duration::from_millis(
        u64::try_from(milliseconds).unwrap_or(0),
    ))
}

/// Law 11: what stands there says what it waits for, and no deadline passes without consequence.
pub fn of_a_state(book: &mut Book, sight: &Sight<'_>, found: &mut Found) {
    let rollout = &book.rollout;
    if !book.in_phase(&[
        "Preparing",
        "Progressing",
        "Warm",
        "HandingOver",
        "RollingBack",
        "RolledBack",
    ]) {
        return;
    }
    let waiting = text(rollout, "/status/step/waitingOn");
    if sight.patience.over(book.status_at, STANDS, sight.now) {
        // At rest on a refused or a gated template the message carries the mend.
        if waiting.is_empty() && book.phase != "RolledBack" {
            found.push((
                "11",
                format!(
                    "{}: phase {} stands without saying what it waits for",
                    book.name, book.phase
                ),
            ));
        }
        if !waiting.is_empty() && text(rollout, "/status/step/then").is_empty() {
            found.push((
                "11",
                format!("{}: the wait for {waiting} has no way out", book.name),
            ));
        }
    }
    let until = since_beginning(text(rollout, "/status/step/until"));
    if let Some(until) = until.map(|until| until + sight.behind)
        && sight.patience.over(until, CONSEQUENCE, sight.now)
        && sight.patience.over(book.status_at, CONSEQUENCE, sight.now)
    {
        found.push((
            "11",
            format!(
                "{}: the deadline of the wait for {waiting} passed without consequence",
                book.name
            ),
        ));
    }
}
