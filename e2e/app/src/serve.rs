//! Answers requests, and ends the way it was told to. Reading the environment belongs to `settings`, the wire to `codec`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::codec::{Answer, Request, read_request, write_answer};
use crate::metrics::Metrics;
use crate::settings::{Manner, Settings};

/// What requests in flight at the end of a drain may still take before the process ends without them.
const LAST_ANSWERS: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct State {
    settings: Settings,
    metrics: RefCell<Metrics>,
    metrics_shown: Cell<bool>,
    ready: Cell<bool>,
    error_share: Cell<f64>,
    latency: Cell<Duration>,
    draining: Cell<bool>,
    in_flight: Cell<u32>,
    random: Cell<u64>,
}

pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    if settings.crash {
        anyhow::bail!("told to crash at the start (CRASH=1)");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    sleep(settings.start_delay).await;
    let listener = TcpListener::bind(("0.0.0.0", settings.port))
        .await
        .with_context(|| format!("cannot listen on port {}", settings.port))?;
    let state = Rc::new(State {
        metrics: RefCell::default(),
        metrics_shown: Cell::new(settings.metrics),
        ready: Cell::new(true),
        error_share: Cell::new(settings.error_share),
        latency: Cell::new(settings.latency),
        draining: Cell::new(false),
        in_flight: Cell::new(0),
        random: Cell::new(seed()),
        settings,
    });
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            tokio::task::spawn_local(accept(listener, Rc::clone(&state)));
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if state.settings.manner == Manner::Exits {
                return;
            }
            state.draining.set(true);
            sleep(state.settings.drain).await;
            let last = Instant::now() + LAST_ANSWERS;
            while state.in_flight.get() > 0 && Instant::now() < last {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    Ok(())
}

async fn accept(listener: TcpListener, state: Rc<State>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream, Rc::clone(&state)));
            }
            // Out of descriptors, most likely: wait for one rather than spin.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A draining application keeps an idle connection until its client speaks, and closes it with that answer: closing it unasked would hit a
/// request that is already on its way.
async fn connection(stream: TcpStream, state: Rc<State>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = read_request(&mut stream).await {
        state.in_flight.set(state.in_flight.get() + 1);
        let close = answer(&mut stream, &request, &state).await;
        state.in_flight.set(state.in_flight.get() - 1);
        match close {
            Ok(false) => {}
            Ok(true) => return linger(stream).await,
            Err(_) => return,
        }
    }
}

/// Closing a socket that holds unread bytes resets it and may destroy the answer before the client has read it: so the client closes first.
async fn linger(mut stream: BufReader<TcpStream>) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0u8; 512];
    let _ = timeout(Duration::from_secs(1), async {
        while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {}
    })
    .await;
}

/// True when the connection is to be closed after this answer.
async fn answer(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    state: &State,
) -> std::io::Result<bool> {
    match request.path.as_str() {
        "/healthz" => {
            let ready = state.ready.get() && !state.draining.get();
            plain(
                stream,
                request,
                state,
                if ready {
                    (200, "ok\n")
                } else {
                    (503, "not ready\n")
                },
            )
            .await
        }
        "/metrics" => {
            let text = state.metrics.borrow().text();
            plain(
                stream,
                request,
                state,
                if state.metrics_shown.get() {
                    (200, &text)
                } else {
                    (404, "metrics are off\n")
                },
            )
            .await
        }
        path if path.starts_with("/control/") => {
            plain(stream, request, state, control(request, state)).await
        }
        _ => business(stream, request, state).await,
    }
}

async fn business(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    state: &State,
) -> std::io::Result<bool> {
    let started = Instant::now();
    let jitter = state.settings.latency_jitter.mul_f64(random(state));
    let latency = state.latency.get() + jitter;
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let injected = random(state) < state.error_share.get();
    let Settings { version, pod, .. } = &state.settings;
    let status = match request.method.as_str() {
        "GET" | "POST" if injected => 500,
        "GET" | "POST" => 200,
        _ => 405,
    };
    let mut headers = vec![("x-version", version.as_str()), ("x-pod", pod.as_str())];
    if status == 500 {
        headers.push(("x-injected", "1"));
    }
    let body = format!("{{\"version\":\"{version}\",\"pod\":\"{pod}\",\"injected\":{injected}}}\n");
    // Decided last: a drain that began during the latency must still be announced.
    let close = request.wants_close || state.draining.get();
    state
        .metrics
        .borrow_mut()
        .observe(status, started.elapsed());
    write_answer(
        stream,
        &Answer {
            status,
            content_type: "application/json",
            headers: &headers,
            body: &body,
            close,
        },
    )
    .await?;
    Ok(close)
}

async fn plain(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    state: &State,
    (status, body): (u16, &str),
) -> std::io::Result<bool> {
    let close = request.wants_close || state.draining.get();
    let content_type = if request.path == "/metrics" {
        "text/plain; version=0.0.4; charset=utf-8"
    } else {
        "text/plain"
    };
    write_answer(
        stream,
        &Answer {
            status,
            content_type,
            headers: &[],
            body,
            close,
        },
    )
    .await?;
    Ok(close)
}

/// What a test may change at run time, in one pod: `metrics?on=`, `ready?on=`, `errors?share=`, `latency?ms=`.
fn control(request: &Request, state: &State) -> (u16, &'static str) {
    if request.method != "POST" {
        return (405, "POST only\n");
    }
    let value = request.query.split_once('=').map_or("", |(_, value)| value);
    match request.path.as_str() {
        "/control/metrics" => state.metrics_shown.set(value == "1"),
        "/control/ready" => state.ready.set(value == "1"),
        "/control/errors" => match value.parse() {
            Ok(share) => state.error_share.set(share),
            Err(_) => return (404, "share is not a number\n"),
        },
        "/control/latency" => match value.parse() {
            Ok(milliseconds) => state.latency.set(Duration::from_millis(milliseconds)),
            Err(_) => return (404, "ms is not a number\n"),
        },
        _ => return (404, "no such control\n"),
    }
    (200, "done\n")
}

/// Uniform in [0, 1). Good enough to spread errors; nothing here needs a better generator.
fn random(state: &State) -> f64 {
    let mut x = state.random.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    state.random.set(x);
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// Differs from pod to pod, as the standard library seeds its hashers from the kernel.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() | 1
}
