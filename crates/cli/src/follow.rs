//! Following one Rollout: a live view in a terminal, a line per change in a log.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crossfade_api::Phase;
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use serde_json::Value;
use tokio::time::Instant;

use crate::args::Format;
use crate::clock;
use crate::cluster::Cluster;
use crate::exit::Failure;
use crate::rollout::Rollout;
use crate::screen::{Screen, Size};
use crate::{output, show};

/// The states of one Rollout as they come; `None`: it does not exist.
pub struct Follow {
    stream: BoxStream<'static, Result<Option<Rollout>, watcher::Error>>,
    /// The newest state, once one has come.
    state: Option<Option<Rollout>>,
}

impl Follow {
    pub fn new(cluster: &Cluster, name: &str) -> Self {
        Self {
            stream: watch_object(cluster.rollouts(), name)
                .default_backoff()
                .map(|state| state.map(|object| object.map(Rollout::from)))
                .boxed(),
            state: None,
        }
    }

    /// The newest state that has come.
    pub fn state(&self) -> Option<&Rollout> {
        self.state.as_ref()?.as_ref()
    }

    /// The next state. Errors are repeated by themselves and only told.
    async fn next(&mut self) -> Option<Rollout> {
        loop {
            match self.stream.next().await {
                Some(Ok(state)) => return state,
                Some(Err(error)) => eprintln!("# watching, trying again: {error}"),
                // A watch with back-off never ends; if it did, waiting is right.
                None => std::future::pending::<()>().await,
            }
        }
    }
}

/// How states are shown.
pub struct View {
    /// Drawn over and over; `None`: a log.
    screen: Option<Screen>,
    last: String,
    /// Where lines go.
    out: Out,
    /// Whole states instead, each time the status changes.
    data: Option<Format>,
    printed: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Nowhere,
    Errors,
    Output,
}

impl View {
    /// To stdout: redrawn in a terminal, else a line per change.
    pub fn stdout() -> Self {
        Self {
            screen: std::io::stdout().is_terminal().then(Screen::default),
            last: String::new(),
            data: None,
            printed: Value::Null,
            out: Out::Output,
        }
    }

    /// To stdout, as data.
    pub fn data(format: Format) -> Self {
        Self {
            data: Some(format),
            ..Self::silent()
        }
    }

    /// Nothing.
    pub fn silent() -> Self {
        Self {
            screen: None,
            last: String::new(),
            data: None,
            printed: Value::Null,
            out: Out::Nowhere,
        }
    }

    /// A line per change to stderr.
    pub fn log() -> Self {
        Self {
            screen: None,
            last: String::new(),
            data: None,
            printed: Value::Null,
            out: Out::Errors,
        }
    }

    fn show(&mut self, rollout: Option<&Rollout>) -> Result<(), Failure> {
        if let (Some(format), Some(rollout)) = (self.data, rollout) {
            let value = output::rollout(rollout);
            if value["status"] != self.printed["status"] || self.printed.is_null() {
                output::print_one_of(&value, format, self.printed.is_null())?;
                self.printed = value;
            }
        }
        if self.out == Out::Nowhere {
            return Ok(());
        }
        let now = clock::now();
        if let Some(screen) = &mut self.screen {
            let text = rollout.map_or_else(
                || "no Rollout yet".to_owned(),
                |rollout| show::status(rollout, now),
            );
            let drawn = screen.draw(&text, Size::of_stdout());
            let mut stdout = std::io::stdout().lock();
            // A terminal that is gone cannot be told so.
            drop(stdout.write_all(drawn.as_bytes()));
            drop(stdout.flush());
        } else {
            let line = rollout.map_or_else(|| "no Rollout yet".to_owned(), show::line);
            if line != self.last {
                let text = format!("{} {line}\n", now.strftime("%H:%M:%S"));
                if self.out == Out::Output {
                    // Whoever read it may have gone; that ends no release.
                    drop(std::io::stdout().lock().write_all(text.as_bytes()));
                } else {
                    eprint!("{text}");
                }
                self.last = line;
            }
        }
        Ok(())
    }
}

/// Follows until `check` gives an answer; `None`: not within the time.
pub async fn until<T>(
    follow: &mut Follow,
    view: &mut View,
    limit: Option<Duration>,
    mut check: impl FnMut(Option<&Rollout>) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    // Also without a change: the countdown moves, and a check may count time.
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            next = follow.next() => {
                follow.state = Some(next);
            }
            _ = tick.tick() => {}
            () = late => return Ok(None),
        }
        if let Some(state) = &follow.state {
            view.show(state.as_ref())?;
            if let Some(answer) = check(state.as_ref()) {
                return Ok(Some(answer));
            }
        }
    }
}

/// The phase.
pub fn phase(rollout: &Rollout) -> Phase {
    rollout
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or_default()
}
