//! The Prometheus text format 0.0.4, read strictly, and as much of OpenMetrics 1.0 as pods answer with.
//!
//! Source: the format description of Prometheus ("Text-based format"), the OpenMetrics 1.0 specification, and the quoted
//! UTF-8 names of Prometheus 3. Strict means: a line is understood or it is an error with line and column; nothing is dropped
//! silently. An error in one line refuses the whole answer, for half an answer would be a wrong count.
//!
//! Does not belong here: which series matter and what they count ([`crate::counters`]).

mod line;
mod parse;
mod render;

use std::collections::BTreeMap;

pub use parse::{ParseError, parse};
pub use render::render;

/// How an answer is to be read. Both are read by one parser; they differ in timestamps and in the end mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `text/plain; version=0.0.4`: whole timestamps are milliseconds; a timestamp with a point or an exponent is taken as the
    /// seconds of OpenMetrics; `# EOF` is a comment.
    #[default]
    Text,
    /// `application/openmetrics-text`: timestamps are seconds; `# EOF` must be the last line.
    OpenMetrics,
}

impl Dialect {
    /// From the `Content-Type` of the answer; anything but OpenMetrics is read as text, and fails in line 1 if it is neither.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Self {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// How much an answer may hold. Beyond is an error, not a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all. Default 16 MiB.
    pub bytes: usize,
    /// Bytes of one line. Default 64 KiB.
    pub line_bytes: usize,
    /// Samples. Default 100,000.
    pub samples: usize,
    /// Labels of one sample. Default 128.
    pub labels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            line_bytes: 64 << 10,
            samples: 100_000,
            labels: 128,
        }
    }
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// What TYPE, HELP and UNIT lines said, by metric family.
    pub families: BTreeMap<String, Family>,
    /// All samples, in order.
    pub samples: Vec<Sample>,
}

/// What was said about a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// From `# TYPE`; `None` when there was no such line.
    pub kind: Option<Kind>,
    /// From `# HELP`, unescaped.
    pub help: Option<String>,
    /// From `# UNIT`.
    pub unit: Option<String>,
}

/// The types of both formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, or starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum`, `_count`.
    Histogram,
    /// Quantiles, `_sum`, `_count`.
    Summary,
    /// `untyped`, or OpenMetrics' `unknown`.
    Untyped,
    /// OpenMetrics: `_info`.
    Info,
    /// OpenMetrics: one sample per state.
    StateSet,
    /// OpenMetrics: a histogram of gauges.
    GaugeHistogram,
}

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Full name, suffixes such as `_total` included.
    pub name: String,
    /// Label values by name, unescaped.
    pub labels: BTreeMap<String, String>,
    /// May be NaN or infinite.
    pub value: f64,
    /// Milliseconds since the Unix epoch, when the line had a timestamp. Seconds are rounded to the millisecond.
    pub timestamp_millis: Option<i64>,
    /// OpenMetrics' example.
    pub exemplar: Option<Exemplar>,
    /// The line it stood in, from 1.
    pub line: usize,
}

/// One observation given as an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Typically a trace id.
    pub labels: BTreeMap<String, String>,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_millis: Option<i64>,
}
