//! Counters of pods, turned into increments and ticks.
//!
//! Raw counters, never `rate()`: a rate loses the first value of a new series, which is the first error of a new version. Last
//! values live in memory only; after a restart the first scrape is a start value and one interval is lost, never counted twice.
//! Does not belong here: reading text ([`crate::exposition`]) and judging (`crossfade-judge`).

use std::collections::{BTreeMap, BTreeSet};

use crossfade_judge as judge;

use crate::{
    exposition::{Exposition, Kind},
    pattern::Pattern,
};

/// Series of one pod that are remembered at most. Beyond, the scrape is refused: a label holds something without bounds,
/// such as a path with ids.
pub const SERIES_PER_POD: usize = 10_000;

/// Which series are requests, and which of them are errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Full name of the counter, e.g. `http_requests_total`.
    pub requests: String,
    /// The label that holds the code, e.g. `code`.
    pub code_label: String,
    /// Which codes are errors, e.g. `5..`.
    pub errors: Pattern,
}

/// Which side a pod is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// The new version.
    Candidate,
    /// The one it is compared with.
    Stable,
}

/// One pod's answer.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// The pod's uid; a name may come again.
    pub pod_uid: &'a str,
    /// The side it is on now.
    pub arm: Arm,
    /// The pod started after this book was made or after the last tick. Then everything it has counted belongs to ticks not yet
    /// taken, and series seen for the first time start from 0. Otherwise their first value is only where counting starts.
    pub starts_from_zero: bool,
    /// What it answered.
    pub exposition: &'a Exposition,
}

/// What a scrape added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Series of the selection. 0 is no error: a labelled counter has no series before its first request.
    pub series: usize,
    /// Requests since the scrape before.
    pub requests: f64,
    /// Errors among them.
    pub errors: f64,
    /// Series that had gone down: the process started anew. What happened between its last scrape and its end is lost.
    pub resets: usize,
    /// Series taken as a start value.
    pub starts: usize,
}

/// Why a scrape cannot be counted. Nothing of it is counted then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObserveError {
    /// NaN, infinite or negative.
    #[error("line {line}: {name} is {value}: a counter is a number from 0 on")]
    NotACount {
        /// Line of the sample.
        line: usize,
        /// Name of the metric.
        name: String,
        /// Its value.
        value: f64,
    },
    /// The TYPE line says that the metric is no counter.
    #[error(
        "{name} is a {kind:?}, not a counter: set spec.analysis.pods.requests to a counter of requests"
    )]
    NotACounter {
        /// Name of the metric.
        name: String,
        /// Its type.
        kind: Kind,
    },
    /// A series has no code, so errors cannot be told from the rest.
    #[error(
        "line {line}: {name} has no label {label:?} (its labels: {found}): set spec.analysis.pods.codeLabel to the label that holds the status"
    )]
    NoCode {
        /// Line of the sample.
        line: usize,
        /// Name of the metric.
        name: String,
        /// The label that was looked for.
        label: String,
        /// Those there are.
        found: String,
    },
    /// One series stood in the answer twice, with different timestamps.
    #[error(
        "line {line}: the series of {name} stands there twice: which of its values counts is not known"
    )]
    Twice {
        /// Line of the second.
        line: usize,
        /// Name of the metric.
        name: String,
    },
    /// More series than are remembered.
    #[error(
        "{name} has more than {SERIES_PER_POD} series: a label of it seems to hold something without bounds"
    )]
    TooManySeries {
        /// Name of the metric.
        name: String,
    },
}

/// Last values and increments not yet in a tick, of all pods of one release.
#[derive(Debug, Default)]
pub struct CounterBook {
    pods: BTreeMap<String, Pod>,
}

type Labels = BTreeMap<String, String>;

#[derive(Debug)]
struct Pod {
    arm: Arm,
    last: BTreeMap<Labels, f64>,
    requests: f64,
    errors: f64,
    gone: bool,
}

struct Reading<'a> {
    labels: &'a Labels,
    value: f64,
    error: bool,
}

impl CounterBook {
    /// An empty book. A release has one; it is made anew after a restart.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one pod's answer in: requests and errors come from the same scrape of the same pod, or not at all. A missed scrape
    /// needs nothing: the next difference spans it.
    ///
    /// # Errors
    /// See [`ObserveError`]; the book is as before then.
    pub fn observe(
        &mut self,
        scrape: Scrape<'_>,
        selection: &Selection,
    ) -> Result<Observed, ObserveError> {
        let readings = read(scrape.exposition, selection)?;
        let known = self.pods.get(scrape.pod_uid).map(|pod| &pod.last);
        let new = readings
            .iter()
            .filter(|reading| known.is_none_or(|last| !last.contains_key(reading.labels)))
            .count();
        if known.map_or(0, BTreeMap::len) + new > SERIES_PER_POD {
            return Err(ObserveError::TooManySeries {
                name: selection.requests.clone(),
            });
        }

        let from_zero = scrape.starts_from_zero || known.is_some();
        let pod = self
            .pods
            .entry(scrape.pod_uid.to_owned())
            .or_insert_with(|| Pod::new(scrape.arm));
        pod.gone = false;
        if pod.arm != scrape.arm {
            // What it counted on the other side is dropped: a bet not made, instead of one booked on the wrong side.
            (pod.arm, pod.requests, pod.errors) = (scrape.arm, 0.0, 0.0);
        }
        let mut observed = Observed {
            series: readings.len(),
            ..Observed::default()
        };
        for reading in readings {
            let increment = match pod.last.get_mut(reading.labels) {
                Some(last) => {
                    let before = std::mem::replace(last, reading.value);
                    let reset = reading.value < before;
                    observed.resets += usize::from(reset);
                    if reset {
                        reading.value
                    } else {
                        reading.value - before
                    }
                }
                None => {
                    pod.last.insert(reading.labels.clone(), reading.value);
                    observed.starts += usize::from(!from_zero);
                    if from_zero { reading.value } else { 0.0 }
                }
            };
            observed.requests += increment;
            observed.errors += if reading.error { increment } else { 0.0 };
        }
        pod.requests += observed.requests;
        pod.errors += observed.errors;
        Ok(observed)
    }

    /// Forgets the pods not in `present` once their last increments are in a tick.
    pub fn retain(&mut self, present: &BTreeSet<String>) {
        for (uid, pod) in &mut self.pods {
            pod.gone = !present.contains(uid);
        }
    }

    /// Closes the interval. Counters are floats in the format and may be fractional; each pod's increments are rounded to whole
    /// requests here, and what rounding left stays for the next tick.
    #[must_use]
    pub fn take_tick(&mut self, number: u64, at_millis: i64) -> judge::Tick {
        let mut arms: BTreeMap<Arm, Vec<judge::PodCount>> = BTreeMap::new();
        for pod in self.pods.values_mut() {
            arms.entry(pod.arm).or_default().push(pod.take());
        }
        self.pods.retain(|_, pod| !pod.gone);
        let mut arm = |arm| judge::Arm::from_pods(arms.remove(&arm).unwrap_or_default());
        judge::Tick {
            number,
            at_millis,
            candidate: arm(Arm::Candidate),
            stable: arm(Arm::Stable),
        }
    }
}

impl Pod {
    fn new(arm: Arm) -> Self {
        Self {
            arm,
            last: BTreeMap::new(),
            requests: 0.0,
            errors: 0.0,
            gone: false,
        }
    }

    fn take(&mut self) -> judge::PodCount {
        // `as` saturates: a negative rest is 0 requests, a count beyond 2^64 the largest there is.
        let requests = self.requests.round() as u64;
        let errors = (self.errors.round() as u64).min(requests);
        self.requests = rest(self.requests - requests as f64);
        self.errors = rest(self.errors - errors as f64);
        judge::PodCount { requests, errors }
    }
}

/// What rounding left. More than a whole one is an error whose request was not counted, or a count too large to have a
/// fraction: not carried on.
fn rest(value: f64) -> f64 {
    if value.abs() < 1.0 { value } else { 0.0 }
}

/// The samples of the selection, checked.
fn read<'a>(
    exposition: &'a Exposition,
    selection: &Selection,
) -> Result<Vec<Reading<'a>>, ObserveError> {
    let name = || selection.requests.clone();
    let kind = exposition
        .families
        .get(&selection.requests)
        .and_then(|family| family.kind);
    if let Some(kind @ (Kind::Gauge | Kind::Info | Kind::StateSet | Kind::GaugeHistogram)) = kind {
        return Err(ObserveError::NotACounter { name: name(), kind });
    }
    let (mut readings, mut seen) = (Vec::new(), BTreeSet::new());
    for sample in exposition
        .samples
        .iter()
        .filter(|sample| sample.name == selection.requests)
    {
        let (line, value) = (sample.line, sample.value);
        if !(value.is_finite() && value >= 0.0) {
            return Err(ObserveError::NotACount {
                line,
                name: name(),
                value,
            });
        }
        // An empty label is an absent one, as Prometheus has it.
        let code = sample
            .labels
            .get(&selection.code_label)
            .filter(|code| !code.is_empty());
        let Some(code) = code else {
            let found: Vec<_> = sample.labels.keys().map(String::as_str).collect();
            let found = if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(", ")
            };
            return Err(ObserveError::NoCode {
                line,
                name: name(),
                label: selection.code_label.clone(),
                found,
            });
        };
        if !seen.insert(&sample.labels) {
            return Err(ObserveError::Twice { line, name: name() });
        }
        readings.push(Reading {
            labels: &sample.labels,
            value,
            error: selection.errors.matches(code),
        });
    }
    Ok(readings)
}

/// For a pod whose answer has no series of the selection: what there is instead, so that a wrong name can be mended. The sentence
/// names at most five counters.
#[must_use]
pub fn nothing_selected(exposition: &Exposition, selection: &Selection) -> String {
    let declared = exposition.families.contains_key(&selection.requests);
    let bare = selection
        .requests
        .strip_suffix("_total")
        .unwrap_or(&selection.requests);
    if declared || exposition.families.contains_key(bare) {
        return format!(
            "{} has no series yet: no request was counted",
            selection.requests
        );
    }
    let coded: BTreeSet<_> = exposition
        .samples
        .iter()
        .filter(|sample| sample.labels.contains_key(&selection.code_label))
        .map(|sample| sample.name.as_str())
        .take(SERIES_PER_POD)
        .collect();
    let names: Vec<_> = coded.into_iter().take(5).collect();
    let instead = if names.is_empty() {
        format!("no series has a label {:?}", selection.code_label)
    } else {
        format!(
            "with a label {:?} there are: {}",
            selection.code_label,
            names.join(", ")
        )
    };
    format!(
        "there is no {}; {instead}: see spec.analysis.pods.requests and codeLabel",
        selection.requests
    )
}
