//! The load of the demo: clients at a fixed rate, half of them with a new connection for each request,
//! half with connections they keep. It never repeats a request: what has no answer is lost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::backends::VERSION;
use super::counts::Counts;
use super::http::{Connection, closes};
use crate::trace::lock;

/// Clients. Even ones keep their connection.
const CLIENTS: u32 = 8;
/// A connection is kept for so long at most, as clients with a pool do.
pub const KEPT: Duration = Duration::from_millis(400);

/// The load, running.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Mutex<Counts>>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts. `rate`: requests per second of all clients together, 1 at least.
    #[must_use]
    pub fn start(address: SocketAddr, rate: u32) -> Self {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        let period = Duration::from_secs(1) * CLIENTS / rate.max(1);
        for number in 0..CLIENTS {
            let client = Client {
                address,
                keeps: number % 2 == 0,
                counts: Arc::clone(&counts),
                connection: None,
            };
            // Spread over the period, so that they do not all send at once.
            let begin = Instant::now() + period * number / CLIENTS;
            clients.spawn(client.run(begin, period, stopped.clone()));
        }
        Self {
            counts,
            stop,
            clients,
        }
    }

    /// What it has met so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    /// Ends it: requests under way get their answer first.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
    }
}

struct Client {
    address: SocketAddr,
    keeps: bool,
    counts: Arc<Mutex<Counts>>,
    connection: Option<(Instant, Connection)>,
}

impl Client {
    async fn run(mut self, begin: Instant, period: Duration, mut stop: watch::Receiver<bool>) {
        let mut beat = tokio::time::interval_at(begin, period);
        // A slow machine sends less; it does not catch up in bursts.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            self.request().await;
        }
    }

    async fn request(&mut self) {
        match self.exchange().await {
            Ok((version, status)) => lock(&self.counts).answered(&version, status),
            Err(why) => {
                self.connection = None;
                lock(&self.counts).lost(why);
            }
        }
    }

    async fn exchange(&mut self) -> Result<(String, u16), String> {
        let kept = self
            .connection
            .take()
            .filter(|(opened, _)| opened.elapsed() < KEPT);
        let (opened, mut connection) = match kept {
            Some(kept) => kept,
            None => {
                lock(&self.counts).connections += 1;
                (Instant::now(), Connection::open(self.address).await?)
            }
        };
        let answer = connection.get("/").await?;
        let version = answer
            .headers()
            .get(VERSION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("unknown")
            .to_owned();
        if self.keeps && !closes(&answer) {
            self.connection = Some((opened, connection));
        }
        Ok((version, answer.status().as_u16()))
    }
}
