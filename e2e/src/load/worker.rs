//! Sends the requests. Open loop: each is due at a time fixed before the load began, whatever became of the others, and none is sent twice.
//!
//! A keep-alive connection is one object with one socket, and is reopened only when the server announced its end or the last request on it
//! failed. It does not look before it sends whether the server has hung up meanwhile: neither does a client without retries.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Options;
use super::codec::{Answer, Failure, read_answer};
use super::outcome::{Kind, Outcome, Times};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: SocketAddr,
    pub(super) options: Options,
    pub(super) start: Instant,
    pub(super) outcome: Mutex<Outcome>,
}

impl Shared {
    fn record(
        &self,
        kind: Kind,
        due: Instant,
        sent: Instant,
        result: Result<Answer, (Failure, String)>,
    ) {
        let since = |time: Instant| time.saturating_duration_since(self.start);
        let times = Times {
            due: since(due),
            sent: since(sent),
            done: since(Instant::now()),
        };
        // A panic elsewhere does not make the records wrong.
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(kind, times, result);
    }

    fn request(&self, close: bool) -> Vec<u8> {
        use std::fmt::Write;
        let Options {
            method,
            path,
            body,
            headers,
            ..
        } = &self.options;
        let host = self
            .options
            .host
            .clone()
            .unwrap_or_else(|| self.target.to_string());
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: crossfade-e2e\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if close {
            text.push_str("connection: close\r\n");
        }
        text.push_str("\r\n");
        text.push_str(body);
        text.into_bytes()
    }
}

/// Runs until told to stop, then waits for what is under way.
pub(super) async fn run(shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    tasks.spawn(new_connections(Arc::clone(&shared), stop.clone()));
    for index in 0..shared.options.keep_alive {
        tasks.spawn(keep_alive(Arc::clone(&shared), stop.clone(), index));
    }
    while tasks.join_next().await.is_some() {}
}

async fn new_connections(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    if shared.options.new_per_second <= 0.0 {
        return;
    }
    let request: Arc<[u8]> = shared.request(true).into();
    let mut under_way = JoinSet::new();
    for n in 0u64.. {
        let due = shared.start + Duration::from_secs_f64(n as f64 / shared.options.new_per_second);
        if !due_or_stopped(due, &mut stop).await {
            break;
        }
        let (shared, request) = (Arc::clone(&shared), Arc::clone(&request));
        under_way.spawn(async move {
            let sent = Instant::now();
            let deadline = sent + shared.options.timeout;
            let result = match connect(shared.target, deadline).await {
                Ok(mut stream) => exchange(&mut stream, &request, deadline).await,
                Err(problem) => Err(problem),
            };
            shared.record(Kind::New, due, sent, result);
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

async fn keep_alive(shared: Arc<Shared>, mut stop: watch::Receiver<bool>, index: u32) {
    let request = shared.request(false);
    let period = Duration::from_secs_f64(1.0 / shared.options.keep_alive_per_second.max(2.0));
    // Spread over one period, so that the connections do not all speak at once.
    let offset = period.mul_f64(f64::from(index) / f64::from(shared.options.keep_alive.max(1)));
    let mut connection: Option<BufReader<TcpStream>> = None;
    let mut due = shared.start + offset;
    loop {
        if !due_or_stopped(due, &mut stop).await {
            break;
        }
        let sent = Instant::now();
        let deadline = sent + shared.options.timeout;
        let opened = match connection.take() {
            Some(open) => Ok(open),
            None => connect(shared.target, deadline).await,
        };
        let result = match opened {
            Ok(mut stream) => {
                let result = exchange(&mut stream, &request, deadline).await;
                if result.as_ref().is_ok_and(|answer| !answer.closes) {
                    connection = Some(stream);
                }
                result
            }
            Err(problem) => Err(problem),
        };
        let failed = result.is_err();
        shared.record(Kind::KeepAlive, due, sent, result);
        due += period;
        // A request that failed slowly has held the connection up, which says nothing about the load: go on with the next one that is due.
        // After a slow success nothing is left out, and what was late counts as late.
        while failed && due < Instant::now() {
            due += period;
        }
    }
}

async fn due_or_stopped(due: Instant, stop: &mut watch::Receiver<bool>) -> bool {
    if *stop.borrow() {
        return false;
    }
    tokio::select! {
        () = sleep_until(due) => true,
        // Told to stop, or nobody is left who could tell.
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

async fn connect(
    target: SocketAddr,
    deadline: Instant,
) -> Result<BufReader<TcpStream>, (Failure, String)> {
    match timeout_at(deadline, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(BufReader::with_capacity(1024, stream))
        }
        Ok(Err(problem)) if problem.kind() == std::io::ErrorKind::TimedOut => {
            Err((Failure::TimedOut, format!("connecting: {problem}")))
        }
        Ok(Err(problem)) => Err((Failure::Refused, format!("connecting: {problem}"))),
        Err(_) => Err((Failure::TimedOut, "no connection".to_owned())),
    }
}

async fn exchange(
    stream: &mut BufReader<TcpStream>,
    request: &[u8],
    deadline: Instant,
) -> Result<Answer, (Failure, String)> {
    let both = async {
        stream
            .write_all(request)
            .await
            .map_err(|problem| (Failure::Reset, format!("sending: {problem}")))?;
        read_answer(stream).await
    };
    match timeout_at(deadline, both).await {
        Ok(result) => result,
        Err(_) => Err((Failure::TimedOut, "no whole answer".to_owned())),
    }
}
