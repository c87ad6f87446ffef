//! The RED metrics of the application, in the Prometheus text format. What counts as a request is decided in `serve`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

const BOUNDS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// A series exists from its first request on, as in every client library: readers must live with new series.
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BOUNDS.len()],
    sum: f64,
    count: u64,
}

impl Metrics {
    pub(crate) fn observe(&mut self, code: u16, took: Duration) {
        *self.by_code.entry(code).or_default() += 1;
        let seconds = took.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            if seconds <= bound {
                *bucket += 1;
            }
        }
        self.sum += seconds;
        self.count += 1;
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::with_capacity(1024);
        out.push_str("# HELP http_requests_total Requests answered, by status code.\n# TYPE http_requests_total counter\n");
        for (code, count) in &self.by_code {
            let _ = writeln!(out, "http_requests_total{{code=\"{code}\"}} {count}");
        }
        out.push_str("# HELP http_request_duration_seconds Time from request to answer.\n# TYPE http_request_duration_seconds histogram\n");
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(
                out,
                "http_request_duration_seconds_bucket{{le=\"{bound}\"}} {bucket}"
            );
        }
        let _ = writeln!(
            out,
            "http_request_duration_seconds_bucket{{le=\"+Inf\"}} {}",
            self.count
        );
        let _ = writeln!(out, "http_request_duration_seconds_sum {}", self.sum);
        let _ = writeln!(out, "http_request_duration_seconds_count {}", self.count);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_code_and_cumulative_buckets() {
        let mut metrics = Metrics::default();
        metrics.observe(200, Duration::from_millis(2));
        metrics.observe(500, Duration::from_secs(9));
        let text = metrics.text();
        for line in [
            "http_requests_total{code=\"200\"} 1",
            "http_requests_total{code=\"500\"} 1",
            "http_request_duration_seconds_bucket{le=\"0.001\"} 0",
            "http_request_duration_seconds_bucket{le=\"0.0025\"} 1",
            "http_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "http_request_duration_seconds_count 2",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
