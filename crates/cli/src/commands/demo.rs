//! `demo`: shows the simulator's demo in a terminal, or as lines. What happens in it is the simulator's.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use crossfade_api::Phase;
use crossfade_api::annotations::parse_steps;
use crossfade_simulator::demo::{self, Frame, Options, Size, Told, View, picture};
use tokio::time::Instant;

use crate::args::{Demo, Format};
use crate::exit::{Exit, Failure};
use crate::{clock, output};

/// What happened last, kept for the picture.
const KEPT: usize = 40;
/// A plain line with counts at least so often.
const BEAT: std::time::Duration = std::time::Duration::from_secs(5);

pub async fn run(arguments: &Demo) -> Result<Exit, Failure> {
    let steps = match &arguments.steps {
        Some(text) => parse_steps(text).map_err(|error| {
            Failure::new(error.to_string().replace("crossfade.dev/steps", "--steps"))
                .exit(Exit::Usage)
        })?,
        None => Vec::new(),
    };
    if arguments.output == Some(Format::Name) {
        return Err(Failure::new("a demo has no name")
            .next("write -o json or -o yaml")
            .exit(Exit::Usage));
    }
    let options = Options {
        speed: arguments.speed,
        rate: arguments.rate,
        steps,
        replicas: arguments.replicas,
        seed: 1,
        clock: Arc::new(clock::now),
    };
    let drawn = std::io::stdout().is_terminal() && !arguments.plain && arguments.output.is_none();
    let mut screen = Screen::default();
    let mut lines = Lines {
        aside: arguments.output.is_some(),
        ..Lines::default()
    };
    let view: &mut dyn View = if drawn { &mut screen } else { &mut lines };
    let summary = demo::run(options, view).await.map_err(|why| {
        Failure::new(format!("the demo broke off: {why}"))
            .next("try it again with --plain, which keeps every line")
    })?;
    match arguments.output {
        Some(format) => {
            let value =
                serde_json::to_value(&summary).map_err(|error| Failure::new(error.to_string()))?;
            output::print(&value, format)?;
        }
        None => output::say(&demo::closing(&summary))?,
    }
    Ok(if summary.as_told {
        Exit::Done
    } else {
        Exit::Error
    })
}

/// A terminal: one picture, drawn over and over in place.
#[derive(Default)]
struct Screen {
    told: VecDeque<Told>,
    drawn: usize,
}

impl View for Screen {
    fn frame(&mut self, frame: &Frame) {
        let told: Vec<Told> = self.told.iter().cloned().collect();
        let lines = demo::draw(frame, &told, size(), colour());
        // Drawn as a whole and only where something is: no flicker. Terminals that know
        // synchronised output (DEC private mode 2026) show it at once, others ignore it.
        let mut text = String::from("\x1b[?2026h");
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            text.push_str(&format!("\r{line}\x1b[K\n"));
        }
        text.push_str("\x1b[J\x1b[?2026l");
        let mut screen = std::io::stdout().lock();
        // A terminal that is gone cannot be told so.
        drop(screen.write_all(text.as_bytes()));
        drop(screen.flush());
        self.drawn = lines.len();
    }

    fn told(&mut self, told: &Told) {
        self.told.push_back(told.clone());
        while self.told.len() > KEPT {
            self.told.pop_front();
        }
    }
}

/// Lines: what happens, each change of phase, step and verdict, and the counts now and then.
#[derive(Default)]
struct Lines {
    /// To stderr, because stdout carries the counts as JSON.
    aside: bool,
    last: String,
    counted: Option<Instant>,
}

impl Lines {
    fn say(&self, line: &str) {
        // A reader that went away, such as `head`, is no error.
        if self.aside {
            drop(writeln!(std::io::stderr(), "{line}"));
        } else {
            drop(writeln!(std::io::stdout(), "{line}"));
        }
    }
}

impl View for Lines {
    fn frame(&mut self, frame: &Frame) {
        let status = frame
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.status.as_ref());
        let step = status.and_then(|status| status.step.as_ref());
        let verdict = status.and_then(|status| status.verdict.as_ref());
        let state = format!(
            "{} {} {}",
            frame.phase().as_str(),
            step.map_or("", |step| &step.text),
            verdict.map_or("", |verdict| &verdict.outcome)
        );
        let at = picture::clock(frame.at);
        if state != self.last {
            let resting = matches!(frame.phase(), Phase::Idle | Phase::RolledBack);
            let text = step.filter(|_| !resting).map_or_else(String::new, |step| {
                format!(
                    " {}; weight {}; waits for {}; verdict {}",
                    step.text,
                    step.weight.verified,
                    step.waiting_on.as_deref().unwrap_or("nothing"),
                    verdict.map_or_else(
                        || "none yet".to_owned(),
                        |verdict| format!("{}: {}", verdict.outcome, verdict.reason)
                    )
                )
            });
            self.say(&format!("{at} {}{text}", frame.phase().as_str()));
            self.last = state;
        }
        if frame.counts.requests() > 0
            && self.counted.is_none_or(|counted| counted.elapsed() >= BEAT)
        {
            let versions: Vec<String> = frame
                .counts
                .versions
                .iter()
                .map(|(version, answers)| {
                    format!("{version} {} (bad {})", answers.requests, answers.bad)
                })
                .collect();
            self.say(&format!(
                "{at} answers: {}; lost {}",
                versions.join(", "),
                frame.counts.lost
            ));
            self.counted = Some(Instant::now());
        }
    }

    fn told(&mut self, told: &Told) {
        self.say(&format!(
            "{} {}{} {}",
            picture::clock(told.at),
            if told.warning { "! " } else { "" },
            told.what,
            told.text
        ));
    }
}

/// Whether colours are wanted (no-color.org).
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn size() -> Size {
    let size = crate::screen::Size::of_stdout();
    Size {
        columns: size.columns,
        rows: size.rows,
    }
}
