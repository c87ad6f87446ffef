//! The feed of one release: asks its pods for their counters at the interval, all at once with a
//! bound, and turns the answers into numbered ticks that are offered until acknowledged. Counters
//! live in memory only; after a restart the first scrape is a start value.
//!
//! What a count means, and what missing data lead to, is not decided here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use crossfade_engine::observed::{self, FeedPod};
use crossfade_judge::Tick;
use crossfade_metrics_analysis::counters::nothing_selected;
use crossfade_metrics_analysis::{
    Arm, CounterBook, Dialect, Limits, PodFacts, PodsSource, Scrape, ScrapeTarget, Selection,
    TargetError, parse,
};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tower::ServiceExt;

use crate::context::Context;
use crate::lock;
use crate::queue::Key;

/// Longest wait for one pod.
const LIMIT: Duration = Duration::from_secs(2);
/// Largest answer of one pod.
pub const ANSWER_BYTES: usize = 4 << 20;
/// Pods asked at once.
const AT_ONCE: usize = 16;
/// Ticks kept for a planner that does not acknowledge them: an hour at a second each is more than
/// any outage of the API server that leaves a release going.
const TICKS: usize = 3600;
/// Longest error text kept.
const ERROR: usize = 300;

/// One pod to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub uid: String,
    pub name: String,
    pub ip: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub container_ports: Vec<u16>,
    pub created: Option<Timestamp>,
    pub candidate: bool,
}

#[derive(Debug, Default)]
struct Inner {
    sources: Vec<Source>,
    pods: BTreeMap<String, FeedPod>,
    ticks: VecDeque<Tick>,
    next: u64,
}

/// The feed. Dropping it ends it.
#[derive(Debug)]
pub struct Feed {
    candidate: String,
    pods: PodsSource,
    interval: Duration,
    inner: Arc<Mutex<Inner>>,
    _task: JoinSet<()>,
}

impl Feed {
    /// Starts to ask. Numbers go on after `last`.
    #[must_use]
    pub fn start(
        context: &Arc<Context>,
        key: &Key,
        candidate: &str,
        pods: PodsSource,
        interval: Duration,
        last: Option<u64>,
    ) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            next: last.map_or(0, |last| last + 1),
            ..Inner::default()
        }));
        let mut task = JoinSet::new();
        task.spawn(run(
            Arc::clone(context),
            key.clone(),
            pods.clone(),
            interval,
            Arc::clone(&inner),
        ));
        Self {
            candidate: candidate.to_owned(),
            pods,
            interval,
            inner,
            _task: task,
        }
    }

    /// Whether it is the feed of this candidate and plan.
    #[must_use]
    pub fn fits(&self, candidate: &str, pods: &PodsSource, interval: Duration) -> bool {
        self.candidate == candidate && self.pods == *pods && self.interval == interval
    }

    /// The pods to ask from now on.
    pub fn aim(&self, sources: Vec<Source>) {
        let mut inner = lock(&self.inner);
        let present: BTreeSet<&str> = sources.iter().map(|source| source.uid.as_str()).collect();
        inner.pods.retain(|uid, _| present.contains(uid.as_str()));
        inner.sources = sources;
    }

    /// Ticks after the last one folded, and what is known of the pods. Older ticks are dropped: the
    /// memory that folded them was written.
    #[must_use]
    pub fn offer(&self, folded: Option<u64>) -> (Vec<Tick>, observed::Feed) {
        let mut inner = lock(&self.inner);
        inner
            .ticks
            .retain(|tick| folded.is_none_or(|folded| tick.number > folded));
        let feed = observed::Feed {
            candidate: self.candidate.clone(),
            pods: inner.pods.clone(),
        };
        (inner.ticks.iter().cloned().collect(), feed)
    }
}

/// What a pod sent and how to read it, or why it could not be asked.
type Answer = Result<(Bytes, Dialect), String>;

async fn run(
    context: Arc<Context>,
    key: Key,
    pods: PodsSource,
    interval: Duration,
    inner: Arc<Mutex<Inner>>,
) {
    let selection = match pods.selection() {
        Ok(selection) => selection,
        Err(error) => {
            tracing::warn!(workload = %key, %error, "nothing can be counted");
            return;
        }
    };
    // The planner's time. The state is asked for each time: it owns this feed, which must not keep it.
    let time = || context.states.of(&key).now(&*context.ports.clock);
    let began = time();
    let mut book = CounterBook::new();
    let mut beat =
        tokio::time::interval_at(Instant::now(), interval.max(Duration::from_millis(100)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let sources = lock(&inner).sources.clone();
        if sources.is_empty() {
            continue;
        }
        let mut answers = futures::stream::iter(sources.clone())
            .map(|source| {
                let (context, pods) = (Arc::clone(&context), pods.clone());
                async move {
                    let answer = ask(&context, &source, &pods).await;
                    (source, answer)
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut seen = BTreeMap::new();
        // One after the other: an answer may be megabytes long, and there may be hundreds.
        while let Some((source, answer)) = answers.next().await {
            let counted = answer.and_then(|(body, dialect)| {
                count(&mut book, &selection, &source, began, &body, dialect)
            });
            context.metrics.scrape(if counted.is_ok() {
                "answered"
            } else {
                "failed"
            });
            seen.insert(source.uid.clone(), (source.name, counted));
        }
        drop(answers);
        let now = time();
        book.retain(&sources.iter().map(|source| source.uid.clone()).collect());
        {
            let mut inner = lock(&inner);
            for (uid, (name, counted)) in seen {
                let pod = inner.pods.entry(uid).or_default();
                pod.name = name;
                match counted {
                    Ok(()) => (pod.last_answer, pod.last_error) = (Some(now), None),
                    Err(error) => pod.last_error = Some(error.chars().take(ERROR).collect()),
                }
            }
            let number = inner.next;
            inner.next += 1;
            inner
                .ticks
                .push_back(book.take_tick(number, now.as_millisecond()));
            while inner.ticks.len() > TICKS {
                inner.ticks.pop_front();
            }
        }
        context.queue.wake_now(&key);
    }
}

fn count(
    book: &mut CounterBook,
    selection: &Selection,
    source: &Source,
    began: Timestamp,
    body: &[u8],
    dialect: Dialect,
) -> Result<(), String> {
    let limits = Limits {
        bytes: ANSWER_BYTES,
        ..Limits::default()
    };
    let exposition = parse(body, dialect, limits).map_err(|error| error.to_string())?;
    let scrape = Scrape {
        pod_uid: &source.uid,
        arm: if source.candidate {
            Arm::Candidate
        } else {
            Arm::Stable
        },
        // Started after the feed: all it has counted belongs to ticks of this feed.
        starts_from_zero: source.created.is_some_and(|created| created > began),
        exposition: &exposition,
    };
    let seen = book
        .observe(scrape, selection)
        .map_err(|error| error.to_string())?;
    // A labelled counter has no series before its first request; a wrong name looks the same but
    // for the other counters the pod shows.
    if seen.series == 0
        && exposition
            .samples
            .iter()
            .any(|sample| sample.name.ends_with("_total"))
    {
        tracing::debug!(pod = %source.name, "{}", nothing_selected(&exposition, selection));
    }
    Ok(())
}

async fn ask(context: &Context, source: &Source, pods: &PodsSource) -> Answer {
    let facts = PodFacts {
        uid: &source.uid,
        name: &source.name,
        ip: source.ip.as_deref(),
        annotations: &source.annotations,
        container_ports: &source.container_ports,
    };
    let target: Result<ScrapeTarget, TargetError> =
        crossfade_metrics_analysis::target::target(facts, pods);
    let url = target.map_err(|error| error.to_string())?.url();
    let request = http::Request::get(&url)
        .header(
            http::header::ACCEPT,
            "text/plain;version=0.0.4;q=0.9,*/*;q=0.1",
        )
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(LIMIT, context.ports.outbound.clone().oneshot(request))
        .await
        .map_err(|_| format!("{url} gave no answer within {} s", LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("{url} answered {}", answer.status()));
    }
    let content = answer
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let dialect = Dialect::from_content_type(content);
    Ok((answer.into_body(), dialect))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::util::BoxCloneSyncService;

    use super::*;
    use crate::testing;

    /// A body that counts how many of it are held.
    struct Held(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"http_requests_total{code=\"200\"} 7\n"
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Hundreds of pods may answer with megabytes each.
    #[tokio::test(start_paused = true)]
    async fn a_round_holds_no_more_answers_than_it_asks_for_at_once() {
        let (held, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, highest) = (Arc::clone(&held), Arc::clone(&most));
        let pods = tower::service_fn(move |_: http::Request<Bytes>| {
            let (now, highest) = (Arc::clone(&now), Arc::clone(&highest));
            async move {
                highest.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let body = Bytes::from_owner(Held(now));
                Ok::<_, crate::ports::OutboundError>(http::Response::new(body))
            }
        });
        let (context, _) = testing::context_with(
            |_, _, _| testing::status(404),
            BoxCloneSyncService::new(pods),
        );
        let key = Key::new("shop", "web");
        let port = PodsSource {
            port: Some(8080),
            ..PodsSource::default()
        };
        let feed = Feed::start(&context, &key, "c0", port, Duration::from_secs(1), None);
        let sources: Vec<Source> = (0..AT_ONCE * 8)
            .map(|number| Source {
                uid: format!("p{number}"),
                name: format!("web-{number}"),
                ip: Some("10.0.0.1".to_owned()),
                annotations: BTreeMap::new(),
                container_ports: Vec::new(),
                created: None,
                candidate: true,
            })
            .collect();
        feed.aim(sources.clone());
        let answered = || {
            let (ticks, view) = feed.offer(None);
            let answers = view.pods.values().filter(|pod| pod.last_answer.is_some());
            (answers.count() == sources.len()).then_some(ticks)
        };
        let round = async {
            loop {
                if answered().is_some() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), round)
            .await
            .unwrap();
        assert_eq!(held.load(Ordering::Relaxed), 0);
        let most = most.load(Ordering::Relaxed);
        assert!((1..=AT_ONCE + 1).contains(&most), "{most} answers at once");
    }
}
