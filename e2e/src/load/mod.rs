//! The load generator: requests at a fixed rate, and a record of what became of each.
//!
//! It runs in a thread and a runtime of its own, so that what a scenario does meanwhile does not delay a request. It stops by itself after
//! `longest`, whatever becomes of whoever started it. What the records mean for a release belongs to the scenarios.

#![allow(
    dead_code,
    reason = "a library for scenarios: some of it is used only by those still to come"
)]

mod codec;
mod outcome;
mod worker;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::watch;
use tokio::time::Instant;

#[expect(unused_imports, reason = "for scenarios that tell failures apart")]
pub(crate) use codec::Failure;
pub(crate) use outcome::{Kind, Outcome};

/// The load's thread has begun by then, on any machine that can measure anything.
const BEGINS: Duration = Duration::from_secs(10);

/// Requests must leave in time even when two cores build pods. A nice value would count only among the processes of this session where the
/// kernel groups them by session (`sched_autogroup_enabled`), and each pod is a session of its own; so the thread is scheduled in real time.
/// It has little to do and waits for the rest. Not allowed is no harm: lateness is measured.
fn ahead_of_others() {
    let _ = set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin),
    );
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Requests per second, each on a connection of its own.
    pub(crate) new_per_second: f64,
    /// Keep-alive connections, and requests per second on each of them (at least 2).
    pub(crate) keep_alive: u32,
    pub(crate) keep_alive_per_second: f64,
    pub(crate) timeout: Duration,
    /// The load ends then even if nobody stops it.
    pub(crate) longest: Duration,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) host: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Default for Options {
    /// 200 requests per second: 150 on new connections, 50 on twenty kept ones.
    fn default() -> Self {
        Self {
            new_per_second: 150.0,
            keep_alive: 20,
            keep_alive_per_second: 2.5,
            timeout: Duration::from_secs(5),
            longest: Duration::from_secs(900),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            body: "{\"order\":1}".to_owned(),
            host: None,
            headers: Vec::new(),
        }
    }
}

impl Options {
    /// Where open connections are not part of the promise: all 200 requests per second on connections of their own.
    pub(crate) fn new_connections_only() -> Self {
        Self {
            new_per_second: 200.0,
            keep_alive: 0,
            ..Self::default()
        }
    }
}

/// A load that runs. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<worker::Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(target: SocketAddr, options: Options) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot make the load's runtime")?;
        let longest = options.longest;
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let stopper = stop.clone();
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                ahead_of_others();
                // The first request is due a moment from now: the thread is there and has its priority.
                let work = Arc::new(worker::Shared {
                    target,
                    options,
                    start: Instant::now() + Duration::from_millis(20),
                    outcome: Mutex::default(),
                });
                if ready.send(Arc::clone(&work)).is_err() {
                    return;
                }
                runtime.block_on(async {
                    let timer = tokio::spawn(async move {
                        tokio::time::sleep(longest).await;
                        let _ = stopper.send(true);
                    });
                    worker::run(work, stopped).await;
                    timer.abort();
                });
            })
            .context("cannot start the load's thread")?;
        let shared = is_ready
            .recv_timeout(BEGINS)
            .context("the load's thread does not begin")?;
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// Now, as the records count time.
    pub(crate) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.shared.start)
    }

    /// A look at the records so far.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&Outcome) -> T) -> T {
        look(
            &self
                .shared
                .outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Ends the load and waits for the requests under way (at most their timeout).
    pub(crate) async fn stop(mut self) -> anyhow::Result<Outcome> {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
            if ended.is_err() {
                anyhow::bail!("the load's thread broke down");
            }
        }
        Ok(std::mem::take(
            &mut *self
                .shared
                .outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}
