//! The controller's own numbers. Labels are classes, phases and kinds, never names of objects.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct By {
    pub by: String,
}

impl By {
    fn this(word: &str) -> Self {
        Self {
            by: word.to_owned(),
        }
    }
}

/// The numbers. Clones share.
#[derive(Clone, Debug)]
pub struct Metrics {
    passes: Family<By, Counter>,
    effects: Family<By, Counter>,
    writes: Family<By, Counter>,
    failures: Family<By, Counter>,
    scrapes: Family<By, Counter>,
    phases: Family<By, Gauge>,
    watches_failing: Gauge<i64, AtomicI64>,
    panics: Gauge<i64, AtomicI64>,
    leading: Gauge<i64, AtomicI64>,
    pass_seconds: Histogram,
    status_writes: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            passes: Family::default(),
            effects: Family::default(),
            writes: Family::default(),
            failures: Family::default(),
            scrapes: Family::default(),
            phases: Family::default(),
            watches_failing: Gauge::default(),
            panics: Gauge::default(),
            leading: Gauge::default(),
            pass_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            status_writes: Counter::default(),
        }
    }
}

impl Metrics {
    /// Shows them on /metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("crossfade_passes", "Passes by outcome", self.passes.clone());
        registry.register(
            "crossfade_effects",
            "Effects carried out, by kind",
            self.effects.clone(),
        );
        registry.register(
            "crossfade_writes",
            "Writes to the API server, by purpose",
            self.writes.clone(),
        );
        registry.register(
            "crossfade_failures",
            "Failed calls, by class",
            self.failures.clone(),
        );
        registry.register(
            "crossfade_scrapes",
            "Scrapes of pods, by outcome",
            self.scrapes.clone(),
        );
        registry.register(
            "crossfade_rollouts",
            "Rollouts by phase",
            self.phases.clone(),
        );
        registry.register(
            "crossfade_watches_failing",
            "Watches that fail now",
            self.watches_failing.clone(),
        );
        registry.register(
            "crossfade_pass_panics",
            "Passes that panicked since the start",
            self.panics.clone(),
        );
        registry.register(
            "crossfade_leading",
            "1 while this process acts",
            self.leading.clone(),
        );
        registry.register(
            "crossfade_pass_seconds",
            "Seconds of a pass",
            self.pass_seconds.clone(),
        );
        registry.register(
            "crossfade_status_writes",
            "Writes of a Rollout's status",
            self.status_writes.clone(),
        );
    }

    /// A pass ended.
    pub fn passed(&self, outcome: &str, seconds: f64) {
        self.passes.get_or_create(&By::this(outcome)).inc();
        self.pass_seconds.observe(seconds);
    }

    /// An effect was carried out.
    pub fn effect(&self, name: &str) {
        self.effects.get_or_create(&By::this(name)).inc();
    }

    /// A write left.
    pub fn write(&self, purpose: &str) {
        self.writes.get_or_create(&By::this(purpose)).inc();
    }

    /// A call failed.
    pub fn failure(&self, class: &str) {
        self.failures.get_or_create(&By::this(class)).inc();
    }

    /// A pod was scraped.
    pub fn scrape(&self, outcome: &str) {
        self.scrapes.get_or_create(&By::this(outcome)).inc();
    }

    /// A status was written.
    pub fn status_write(&self) {
        self.status_writes.inc();
    }

    /// How many Rollouts are in each phase.
    pub fn set_phases<'a>(&self, counts: impl IntoIterator<Item = (&'a str, i64)>) {
        for (phase, count) in counts {
            self.phases.get_or_create(&By::this(phase)).set(count);
        }
    }

    /// State of the process.
    pub fn set_state(&self, leading: bool, watches_failing: usize, panics: u64) {
        self.leading.set(i64::from(leading));
        self.watches_failing
            .set(i64::try_from(watches_failing).unwrap_or(i64::MAX));
        self.panics.set(i64::try_from(panics).unwrap_or(i64::MAX));
    }
}
