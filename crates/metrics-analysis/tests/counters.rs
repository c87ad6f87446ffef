//! Counters to ticks: resets, new series, pods that come and go.

#![expect(
    clippy::unwrap_used,
    reason = "a failing test may panic, its helpers too"
)]

use std::collections::BTreeSet;

use crossfade_judge::PodCount;
use crossfade_metrics_analysis::counters::{SERIES_PER_POD, nothing_selected};
use crossfade_metrics_analysis::{
    Arm, CounterBook, Dialect, Exposition, Limits, ObserveError, Observed, PodsSource, Scrape,
    Selection, parse,
};
use proptest::prelude::*;

fn read(text: &str) -> Exposition {
    parse(text.as_bytes(), Dialect::Text, Limits::default()).unwrap()
}

fn selection() -> Selection {
    PodsSource::default().selection().unwrap()
}

/// `http_requests_total` with these codes and values.
fn codes(codes: &[(&str, f64)]) -> Exposition {
    let lines: String = codes
        .iter()
        .map(|(code, value)| format!("http_requests_total{{code=\"{code}\"}} {value}\n"))
        .collect();
    read(&lines)
}

fn observe(
    book: &mut CounterBook,
    pod_uid: &str,
    arm: Arm,
    starts_from_zero: bool,
    exposition: &Exposition,
) -> Result<Observed, ObserveError> {
    book.observe(
        Scrape {
            pod_uid,
            arm,
            starts_from_zero,
            exposition,
        },
        &selection(),
    )
}

fn old(book: &mut CounterBook, values: &[(&str, f64)]) -> Observed {
    observe(book, "c", Arm::Candidate, false, &codes(values)).unwrap()
}

fn taken(book: &mut CounterBook) -> (u64, u64) {
    let tick = book.take_tick(1, 0);
    (tick.candidate.requests, tick.candidate.errors)
}

#[test]
fn an_old_pods_first_values_are_a_start() {
    let mut book = CounterBook::new();
    let first = old(&mut book, &[("200", 1000.0), ("500", 10.0)]);
    assert_eq!((first.series, first.starts, first.requests), (2, 2, 0.0));
    assert_eq!(taken(&mut book), (0, 0));
    old(&mut book, &[("200", 1090.0), ("500", 13.0)]);
    assert_eq!(taken(&mut book), (93, 3));
    assert_eq!(taken(&mut book), (0, 0));
}

#[test]
fn a_young_pods_first_values_count() {
    let mut book = CounterBook::new();
    observe(
        &mut book,
        "c",
        Arm::Candidate,
        true,
        &codes(&[("200", 8.0), ("503", 2.0)]),
    )
    .unwrap();
    assert_eq!(taken(&mut book), (10, 2));
}

#[test]
fn the_first_error_of_a_known_pod_counts() {
    let mut book = CounterBook::new();
    old(&mut book, &[("200", 1000.0)]);
    old(&mut book, &[("200", 1001.0), ("500", 1.0)]);
    assert_eq!(taken(&mut book), (2, 1));
}

#[test]
fn a_pod_that_answered_without_series_is_known() {
    let mut book = CounterBook::new();
    let none = observe(&mut book, "c", Arm::Candidate, false, &read("up 1\n")).unwrap();
    assert_eq!(none.series, 0);
    old(&mut book, &[("200", 5.0)]);
    assert_eq!(taken(&mut book), (5, 0));
}

#[test]
fn a_decrease_is_a_reset() {
    let mut book = CounterBook::new();
    old(&mut book, &[("200", 1000.0), ("500", 50.0)]);
    let after = old(&mut book, &[("200", 7.0), ("500", 2.0)]);
    assert_eq!(after.resets, 2);
    assert_eq!(taken(&mut book), (9, 2));
}

#[test]
fn a_missed_scrape_is_spanned_and_a_vanished_series_comes_back() {
    let mut book = CounterBook::new();
    old(&mut book, &[("200", 100.0), ("500", 1.0)]);
    old(&mut book, &[("200", 110.0)]);
    assert_eq!(taken(&mut book), (10, 0));
    old(&mut book, &[("200", 130.0), ("500", 3.0)]);
    assert_eq!(taken(&mut book), (22, 2));
}

#[test]
fn a_pod_that_is_gone_still_counts_once() {
    let mut book = CounterBook::new();
    observe(
        &mut book,
        "c",
        Arm::Candidate,
        true,
        &codes(&[("200", 4.0)]),
    )
    .unwrap();
    book.retain(&BTreeSet::new());
    assert_eq!(taken(&mut book), (4, 0));
    assert_eq!(book.take_tick(2, 0).candidate.pods, []);
    // A pod seen again after that is a new one.
    old(&mut book, &[("200", 50.0)]);
    assert_eq!(taken(&mut book), (0, 0));
}

#[test]
fn ticks_keep_arms_and_pods_apart() {
    let mut book = CounterBook::new();
    for (uid, arm, requests, errors) in [
        ("c1", Arm::Candidate, 9.0, 1.0),
        ("s1", Arm::Stable, 40.0, 0.0),
        ("s2", Arm::Stable, 38.0, 2.0),
    ] {
        observe(
            &mut book,
            uid,
            arm,
            true,
            &codes(&[("200", requests), ("500", errors)]),
        )
        .unwrap();
    }
    let tick = book.take_tick(7, 15_000);
    assert_eq!((tick.number, tick.at_millis), (7, 15_000));
    assert_eq!((tick.candidate.requests, tick.candidate.errors), (10, 1));
    assert_eq!((tick.stable.requests, tick.stable.errors), (80, 2));
    assert_eq!(
        tick.stable.pods,
        [
            PodCount {
                requests: 40,
                errors: 0
            },
            PodCount {
                requests: 40,
                errors: 2
            }
        ]
    );
}

#[test]
fn a_pod_that_changes_sides_takes_nothing_along() {
    let mut book = CounterBook::new();
    observe(
        &mut book,
        "p",
        Arm::Candidate,
        true,
        &codes(&[("200", 100.0)]),
    )
    .unwrap();
    observe(
        &mut book,
        "p",
        Arm::Stable,
        false,
        &codes(&[("200", 103.0)]),
    )
    .unwrap();
    let tick = book.take_tick(1, 0);
    assert_eq!((tick.candidate.requests, tick.stable.requests), (0, 3));
}

#[test]
fn fractions_are_rounded_and_carried_on() {
    let mut book = CounterBook::new();
    old(&mut book, &[("200", 0.0)]);
    let mut total = 0;
    for step in 1..=10 {
        old(&mut book, &[("200", f64::from(step) * 0.4)]);
        total += taken(&mut book).0;
    }
    assert_eq!(total, 4);
}

#[test]
fn what_cannot_be_counted_is_an_error_and_changes_nothing() {
    let mut book = CounterBook::new();
    old(&mut book, &[("200", 10.0)]);
    let mut refused = |text: &str| {
        observe(&mut book, "c", Arm::Candidate, false, &read(text))
            .unwrap_err()
            .to_string()
    };
    for value in ["NaN", "-1", "+Inf"] {
        let error = refused(&format!(
            "http_requests_total{{code=\"200\"}} 20\nhttp_requests_total{{code=\"500\"}} {value}\n"
        ));
        assert!(
            error.starts_with("line 2: http_requests_total is "),
            "{error}"
        );
    }
    assert_eq!(
        refused("http_requests_total{method=\"get\",status=\"200\"} 1\n"),
        "line 1: http_requests_total has no label \"code\" (its labels: method, status): set spec.analysis.pods.codeLabel \
         to the label that holds the status"
    );
    assert!(refused("http_requests_total 1\n").contains("(its labels: none)"));
    assert!(refused("http_requests_total{code=\"\"} 1\n").contains("has no label \"code\""));
    assert_eq!(
        refused("# TYPE http_requests_total gauge\n"),
        "http_requests_total is a Gauge, not a counter: set spec.analysis.pods.requests to a counter of requests"
    );
    assert!(
        refused("http_requests_total{code=\"200\"} 1 1\nhttp_requests_total{code=\"200\"} 2 2\n")
            .contains("stands there twice")
    );
    old(&mut book, &[("200", 11.0)]);
    assert_eq!(taken(&mut book), (1, 0));
}

#[test]
fn series_of_a_pod_are_bounded_over_scrapes() {
    let mut book = CounterBook::new();
    let many = |from: usize, to: usize| {
        let lines: String = (from..to)
            .map(|path| format!("http_requests_total{{code=\"200\",path=\"/{path}\"}} 1\n"))
            .collect();
        read(&lines)
    };
    observe(
        &mut book,
        "c",
        Arm::Candidate,
        true,
        &many(0, SERIES_PER_POD),
    )
    .unwrap();
    let error = observe(
        &mut book,
        "c",
        Arm::Candidate,
        true,
        &many(1, SERIES_PER_POD + 1),
    )
    .unwrap_err();
    assert_eq!(
        error,
        ObserveError::TooManySeries {
            name: "http_requests_total".into()
        }
    );
    assert_eq!(taken(&mut book), (10_000, 0));
}

#[test]
fn a_wrong_name_is_met_with_the_right_ones() {
    let words = |text: &str| nothing_selected(&read(text), &selection());
    assert_eq!(
        words("# TYPE http_requests_total counter\n"),
        "http_requests_total has no series yet: no request was counted"
    );
    assert_eq!(
        words("# TYPE http_requests counter\n"),
        "http_requests_total has no series yet: no request was counted"
    );
    assert_eq!(
        words("requests_total{code=\"200\"} 1\nother 1\n"),
        "there is no http_requests_total; with a label \"code\" there are: requests_total: see spec.analysis.pods.requests \
         and codeLabel"
    );
    assert!(words("up 1\n").contains("no series has a label \"code\""));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// However scrapes and ticks fall, every request after the start is in exactly one tick; restarts lose at most
    /// what was never scraped.
    #[test]
    fn every_scraped_request_is_in_one_tick(
        steps in prop::collection::vec((0_u32..50, 0_u32..5, any::<bool>(), prop::bool::weighted(0.1)), 1..60)
    ) {
        let mut book = CounterBook::new();
        let (mut good, mut bad, mut expected, mut counted) = (0.0, 0.0, (0, 0), (0, 0));
        for (more_good, more_bad, tick, restart) in steps {
            if restart {
                // Both counters fall for certain: what fell shows the reset, what did not could not.
                (good, bad) = (0.0, 0.0);
                observe(&mut book, "c", Arm::Candidate, true, &codes(&[("200", 0.0), ("500", 0.0)])).unwrap();
            }
            good += f64::from(more_good);
            bad += f64::from(more_bad);
            expected = (expected.0 + more_good + more_bad, expected.1 + more_bad);
            observe(&mut book, "c", Arm::Candidate, true, &codes(&[("200", good), ("500", bad)])).unwrap();
            if tick {
                let (requests, errors) = taken(&mut book);
                counted = (counted.0 + requests, counted.1 + errors);
            }
        }
        let (requests, errors) = taken(&mut book);
        prop_assert_eq!((counted.0 + requests, counted.1 + errors), (u64::from(expected.0), u64::from(expected.1)));
    }
}
