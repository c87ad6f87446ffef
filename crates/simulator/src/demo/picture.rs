//! Draws a frame as lines of text for a terminal of any width. Pure: no terminal is touched here.

use std::time::Duration;

use crossfade_api::{Phase, RolloutStatus, StepStatus};
use jiff::Timestamp;

use super::frame::{Frame, Told, version_of};

/// Size of the terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// Width of a line's head.
const HEAD: usize = 10;
/// Lines of a verdict, and of what is waited for.
const VERDICT: usize = 2;
const WAIT: usize = 2;

/// How a piece of a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Dim,
    Stable,
    Candidate,
    Good,
    Bad,
    Warning,
}

impl Style {
    /// Its ANSI sequence (ECMA-48, SGR).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Stable => "\x1b[34m",
            Self::Candidate => "\x1b[36m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Warning => "\x1b[33m",
        }
    }
}

/// One line that is never wider than the terminal.
struct Line {
    text: String,
    left: usize,
    colour: bool,
}

impl Line {
    fn add(&mut self, style: Style, text: &str) {
        let short: String = text
            .chars()
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .take(self.left)
            .collect();
        self.left -= short.chars().count();
        if self.colour && style != Style::Plain && !short.is_empty() {
            self.text.push_str(style.code());
            self.text.push_str(&short);
            self.text.push_str("\x1b[0m");
        } else {
            self.text.push_str(&short);
        }
    }
}

struct Picture {
    lines: Vec<String>,
    columns: usize,
    colour: bool,
}

impl Picture {
    fn line(&self) -> Line {
        Line {
            text: String::new(),
            left: self.columns,
            colour: self.colour,
        }
    }

    fn push(&mut self, line: Line) {
        self.lines.push(line.text);
    }

    fn empty(&mut self) {
        self.lines.push(String::new());
    }

    /// A line with a head.
    fn say(&mut self, head: &str, style: Style, text: &str) {
        let mut line = self.line();
        line.add(Style::Dim, &format!("{head:<9} "));
        line.add(style, text);
        self.push(line);
    }

    /// The same over exactly so many lines, so that what stands below does not jump.
    fn wrapped(&mut self, head: &str, style: Style, text: &str, lines: usize) {
        let wrapped = wrap(text, self.columns.saturating_sub(HEAD).max(1), lines);
        for number in 0..lines {
            let head = if number == 0 { head } else { "" };
            self.say(head, style, wrapped.get(number).map_or("", String::as_str));
        }
    }
}

/// Cuts a text into lines between words; what does not fit into the last one is cut off there.
fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut wrapped = vec![String::new()];
    for word in text.split_whitespace() {
        let count = wrapped.len();
        let Some(last) = wrapped.last_mut() else {
            break;
        };
        let wanted = last.chars().count() + 1 + word.chars().count();
        if last.is_empty() {
            last.push_str(word);
        } else if wanted <= width || count == lines {
            last.push(' ');
            last.push_str(word);
        } else {
            wrapped.push(word.to_owned());
        }
    }
    wrapped
}

/// Minutes and seconds.
#[must_use]
pub fn clock(at: Duration) -> String {
    format!("{:02}:{:02}", at.as_secs() / 60, at.as_secs() % 60)
}

/// The lines, at most as many as the terminal has rows less one.
#[must_use]
pub fn draw(frame: &Frame, told: &[Told], size: Size, colour: bool) -> Vec<String> {
    let mut picture = Picture {
        lines: Vec::new(),
        columns: size.columns.max(20),
        colour,
    };
    let mut title = picture.line();
    title.add(Style::Bold, "crossfade demo");
    title.add(
        Style::Plain,
        &format!("  {}  {}", clock(frame.at), frame.chapter),
    );
    picture.push(title);
    picture.empty();
    let status = frame
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.status.as_ref());
    if let Some(status) = status {
        release(&mut picture, frame, status);
    } else {
        picture.say("phase", Style::Plain, "no Rollout yet");
    }
    requests(&mut picture, frame);
    picture.empty();
    let room = size
        .rows
        .saturating_sub(picture.lines.len() + 1)
        .clamp(1, 12);
    for told in told.iter().skip(told.len().saturating_sub(room)) {
        let mut line = picture.line();
        line.add(Style::Dim, &format!("{} ", clock(told.at)));
        let style = if told.warning {
            Style::Warning
        } else {
            Style::Good
        };
        line.add(style, &told.what);
        line.add(Style::Plain, &format!(" {}", told.text));
        picture.push(line);
    }
    picture.lines.truncate(size.rows.saturating_sub(1).max(1));
    picture.lines
}

fn release(picture: &mut Picture, frame: &Frame, status: &RolloutStatus) {
    let phase = frame.phase();
    let step = status
        .step
        .as_ref()
        .filter(|_| !matches!(phase, Phase::Idle | Phase::RolledBack));
    let style = match phase {
        Phase::RollingBack | Phase::RolledBack => Style::Bad,
        Phase::Idle => Style::Good,
        _ => Style::Bold,
    };
    let text = step
        .filter(|step| step.text != phase.as_str())
        .map_or_else(String::new, |step| format!("  {}", step.text));
    picture.say("phase", style, &format!("{}{text}", phase.as_str()));
    // At rest the sentence of the status; on the way it would only repeat the wait.
    let (head, text) = step.map_or_else(
        || ("now", status.message.clone().unwrap_or_default()),
        |step| ("waits for", waiting(step, frame.now)),
    );
    picture.wrapped(head, Style::Plain, &text, WAIT);
    traffic(picture, status, step);
    let verdict = status.verdict.as_ref().filter(|_| step.is_some());
    let style = match verdict.map_or("", |verdict| verdict.outcome.as_str()) {
        "bad" => Style::Bad,
        "hold" | "no-data" => Style::Warning,
        "safe" => Style::Good,
        _ => Style::Plain,
    };
    let text = verdict.map_or_else(
        || "nothing is being judged".to_owned(),
        |verdict| format!("{}: {}", verdict.outcome, verdict.reason),
    );
    picture.wrapped("verdict", style, &text, VERDICT);
    let errors = verdict.and_then(|verdict| {
        verdict
            .signals
            .iter()
            .find(|signal| signal.name == "errors")
    });
    let text = errors.map_or_else(
        || "none yet".to_owned(),
        |signal| {
            let ratio = signal.ratio_at_least.map_or_else(
                || "nothing is proved of the candidate's errors".to_owned(),
                |ratio| format!("the candidate fails at least {ratio:.2} times as often as stable"),
            );
            let evidence = signal
                .evidence
                .map_or_else(String::new, |evidence| format!(" (ln e = {evidence:.2})"));
            format!("{ratio}{evidence}")
        },
    );
    picture.say("evidence", Style::Plain, &text);
    picture.empty();
}

/// What it waits for, until when, and what then.
fn waiting(step: &StepStatus, now: Timestamp) -> String {
    let Some(on) = &step.waiting_on else {
        return "nothing".to_owned();
    };
    let until = step.until.map_or_else(
        || "no deadline".to_owned(),
        |at| {
            let left = at.as_millisecond().saturating_sub(now.as_millisecond());
            format!("{:.0} s left", left.max(0) as f64 / 1000.0)
        },
    );
    let then = step
        .then
        .as_ref()
        .map_or_else(String::new, |then| format!("; then: {then}"));
    format!("{on} ({until}{then})")
}

/// The split as a bar: stable from the left, the candidate from the right.
fn traffic(picture: &mut Picture, status: &RolloutStatus, step: Option<&StepStatus>) {
    let stable = status.stable.as_ref().map_or("", version_of);
    let candidate = status.candidate.as_ref().filter(|_| step.is_some());
    let name = candidate.map_or("", version_of);
    let points = step.map_or(0, |step| {
        step.weight
            .verified
            .basis_points()
            .max(step.weight.written.basis_points())
    });
    let width = picture.columns.saturating_sub(30).clamp(8, 60);
    let right = cells(u64::from(points), 10_000, width);
    let mut line = picture.line();
    line.add(Style::Dim, "traffic   ");
    line.add(Style::Stable, &format!("{stable:>4} "));
    line.add(Style::Stable, &"█".repeat(width - right));
    line.add(Style::Candidate, &"▒".repeat(right));
    line.add(Style::Candidate, &format!(" {name}"));
    if let Some(step) = step {
        line.add(Style::Plain, &format!(" {}", step.weight.verified));
    }
    picture.push(line);
    let pods = |side: &crossfade_api::SideStatus| {
        format!(
            "{} {}/{} ready",
            version_of(side),
            side.ready,
            side.replicas
        )
    };
    let sides: Vec<String> = status.stable.iter().chain(candidate).map(pods).collect();
    picture.say("pods", Style::Plain, &sides.join(", "));
}

fn requests(picture: &mut Picture, frame: &Frame) {
    let (recent, span) = &frame.recent;
    let seconds = span.as_secs_f64().max(0.001);
    let all: u64 = recent
        .values()
        .map(|answers| answers.requests)
        .sum::<u64>()
        .max(1);
    let width = picture.columns.saturating_sub(56).clamp(4, 30);
    for (version, answers) in &frame.counts.versions {
        let now = recent.get(version).copied().unwrap_or_default();
        let bar = cells(now.requests, all, width);
        let mut line = picture.line();
        line.add(Style::Dim, &format!("{version:<9} "));
        line.add(
            Style::Plain,
            &format!(
                "{:>7} answers {:>5.0}/s ",
                answers.requests,
                now.requests as f64 / seconds
            ),
        );
        line.add(Style::Stable, &"■".repeat(bar));
        line.add(Style::Plain, &" ".repeat(width - bar));
        let style = if answers.bad > 0 {
            Style::Bad
        } else {
            Style::Good
        };
        line.add(
            style,
            &format!(
                " bad {} (now {}/s)",
                answers.bad,
                per_second(now.bad, *span)
            ),
        );
        picture.push(line);
    }
    let counts = &frame.counts;
    let style = if counts.lost == 0 {
        Style::Good
    } else {
        Style::Bad
    };
    picture.say(
        "lost",
        style,
        &format!("{} of {} requests", counts.lost, counts.requests()),
    );
}

fn per_second(count: u64, span: Duration) -> u64 {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    (count * 1000 + millis / 2) / millis
}

/// Cells of a bar for a part of a whole: none only for nothing, all only for everything.
fn cells(part: u64, whole: u64, width: usize) -> usize {
    if part == 0 || whole == 0 {
        return 0;
    }
    if part >= whole {
        return width;
    }
    let wide = u64::try_from(width).unwrap_or(u64::MAX);
    let exact = (part.saturating_mul(wide) + whole / 2) / whole;
    usize::try_from(exact)
        .unwrap_or(width)
        .clamp(1, width.saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::counts::Counts;
    use serde_json::json;

    fn frame() -> Frame {
        let rollout = serde_json::from_value(json!({
            "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "namespace": "shop" }, "spec": {},
            "status": {
                "phase": "Progressing", "message": "observing",
                "stable": { "name": "web-1", "images": ["r/web:v1"], "replicas": 4, "ready": 4 },
                "candidate": { "name": "c1", "images": ["r/web:v2"], "replicas": 1, "ready": 1 },
                "step": {
                    "index": 0, "of": 2, "text": "1/2 20% Observing", "state": "Observing",
                    "weight": { "asked": 20, "written": 20, "verified": 20 },
                    "waitingOn": "the stay", "until": "2026-01-01T00:00:10Z", "then": "the verdict decides",
                },
                "verdict": {
                    "outcome": "watching", "reason": "nothing unusual",
                    "signals": [{ "name": "errors", "candidate": "1 of 50", "stable": "0 of 200", "ratioAtLeast": 1.2, "evidence": 2.5 }],
                },
            },
        }))
        .unwrap();
        let mut counts = Counts::default();
        counts.answered("v1", 200);
        counts.answered("v2", 500);
        let recent = counts.versions.clone();
        Frame {
            at: Duration::from_secs(63),
            now: "2026-01-01T00:00:05Z".parse().unwrap(),
            chapter: "release 1 of 2".to_owned(),
            rollout: Some(rollout),
            counts,
            recent: (recent, Duration::from_secs(1)),
        }
    }

    #[test]
    fn says_weight_wait_verdict_and_counts() {
        let size = Size {
            columns: 110,
            rows: 40,
        };
        let text = draw(&frame(), &[], size, false).join("\n");
        for part in [
            "01:03",
            "1/2 20% Observing",
            "the stay (5 s left; then: the verdict decides)",
            "v1 4/4 ready, v2 1/1 ready",
            "watching: nothing unusual",
            "fails at least 1.20 times as often as stable (ln e = 2.50)",
            "0 of 2 requests",
            "bad 1",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn no_line_is_wider_and_no_picture_higher_than_the_terminal() {
        let told: Vec<Told> = (0..30)
            .map(|number| Told {
                at: Duration::from_secs(number),
                warning: false,
                what: "StepDone".to_owned(),
                text: "x".repeat(300),
            })
            .collect();
        for columns in [20, 33, 80, 200] {
            for rows in [5, 24, 60] {
                let lines = draw(&frame(), &told, Size { columns, rows }, false);
                assert!(lines.len() < rows, "{} of {rows}", lines.len());
                for line in lines {
                    assert!(line.chars().count() <= columns, "{columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn words_wrap_and_the_last_line_takes_the_rest() {
        assert_eq!(wrap("one two three four", 8, 2), ["one two", "three four"]);
        assert_eq!(wrap("", 8, 2), [""]);
        assert_eq!(wrap("incomprehensible", 4, 2), ["incomprehensible"]);
    }

    #[test]
    fn bars_show_a_little_and_not_quite_all() {
        assert_eq!(cells(0, 100, 10), 0);
        assert_eq!(cells(1, 1000, 10), 1);
        assert_eq!(cells(50, 100, 10), 5);
        assert_eq!(cells(999, 1000, 10), 9);
        assert_eq!(cells(100, 100, 10), 10);
    }
}
