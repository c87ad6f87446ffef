//! Properties that hold for every stream of ticks, and for the formulas on a grid.

#![expect(
    clippy::unwrap_used,
    reason = "a failing test may panic, its helpers too"
)]

use crossfade_judge::{
    Arm, Comparison, Counts, Outcome, Parameters, PodCount, State, Tick, evidence, fold, verdict,
};
use proptest::prelude::*;

/// `ln P(X = k)` of a binomial, summed up step by step: exact enough for n <= 60.
fn binomial(n: u64, p: f64) -> Vec<f64> {
    let mut row = vec![1.0];
    for _ in 0..n {
        let mut next = vec![0.0; row.len() + 1];
        for (k, mass) in row.iter().enumerate() {
            next[k] += mass * (1.0 - p);
            next[k + 1] += mass * p;
        }
        row = next;
    }
    row
}

/// `E e` over both arms; `e` gives `ln e` of the two counts of bad.
fn expectation(nc: u64, pc: f64, nb: u64, pb: f64, log_e: impl Fn(Counts, Counts) -> f64) -> f64 {
    let mut sum = 0.0;
    for (xc, mass_c) in (0..).zip(binomial(nc, pc)) {
        for (xb, mass_b) in (0..).zip(binomial(nb, pb)) {
            let (c, b) = (
                Counts {
                    requests: nc,
                    bad: xc,
                },
                Counts {
                    requests: nb,
                    bad: xb,
                },
            );
            sum += mass_c * mass_b * log_e(c, b).exp();
        }
    }
    sum
}

const SIZES: [(u64, u64); 6] = [(1, 1), (3, 30), (20, 20), (30, 3), (40, 10), (5, 50)];

#[test]
fn no_bet_pays_on_the_average_while_the_candidate_is_within_tolerance() {
    let mut largest: f64 = 0.0;
    for (nc, nb) in SIZES {
        for pb in [0.0, 0.001, 0.02, 0.2, 0.5, 0.9] {
            for (rho, delta) in [(1.0, 0.0), (1.1, 0.001), (1.25, 0.005), (2.0, 0.05)] {
                let pc = f64::min(rho * pb + delta, 1.0);
                for q in [1.5, 2.5, 5.0, 12.0, 40.0, 200.0] {
                    let e = expectation(nc, pc, nb, pb, |c, b| {
                        evidence::two_arms(q, c, b, rho, delta).unwrap()
                    });
                    largest = largest.max(e);
                }
            }
        }
    }
    assert!(largest <= 1.0 + 1e-9 && largest > 0.99, "{largest}");
}

#[test]
fn no_safety_bet_pays_on_the_average_while_the_candidate_is_worse_by_the_margin() {
    for (nc, nb) in SIZES {
        for pb in [0.0, 0.001, 0.02, 0.2, 0.5] {
            for (rho, delta) in [(1.25, 0.01), (1.1, 0.05)] {
                let pc = f64::min(rho * pb + delta, 1.0);
                for u in [-0.2, -0.4, -0.6, -0.8, -0.95] {
                    let e = expectation(nc, pc, nb, pb, |c, b| {
                        evidence::safety(u, c, b, rho, delta).unwrap()
                    });
                    assert!(
                        e <= 1.0 + 1e-9,
                        "{e} at n = {nc}, {nb}, p = {pc}, {pb}, u = {u}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_bet_against_a_ceiling_pays_on_the_average_below_it() {
    for n in [1, 10, 60] {
        for p0 in [0.001, 0.02, 0.3, 1.0] {
            for q in [1.5, 2.5, 5.0, 12.0, 40.0, 200.0] {
                let e = expectation(n, p0, 0, 0.0, |c, _| evidence::ceiling(q, c, p0));
                assert!(e <= 1.0 + 1e-9, "{e} at n = {n}, p0 = {p0}, q = {q}");
            }
        }
    }
}

fn arm() -> impl Strategy<Value = Arm> {
    let size = prop_oneof![3 => 0_u64..500, 1 => Just(0), 1 => 0_u64..2_000_000_000];
    let pod = (size, 0_u64..60).prop_map(|(requests, errors)| PodCount {
        requests,
        errors: errors.min(requests),
    });
    prop::collection::vec(pod, 0..5).prop_map(Arm::from_pods)
}

fn stream() -> impl Strategy<Value = Vec<(Tick, Comparison)>> {
    let comparison = prop_oneof![6 => Just(Comparison::Concurrent), 1 => Just(Comparison::Ceiling)];
    let tick = (arm(), arm(), 0_i64..40_000, comparison);
    prop::collection::vec(tick, 1..60).prop_map(|ticks| {
        let mut at_millis = 1_760_000_000_000;
        (1_u64..)
            .zip(ticks)
            .map(|(number, (candidate, stable, later, comparison))| {
                at_millis += later;
                (
                    Tick {
                        number,
                        at_millis,
                        candidate,
                        stable,
                    },
                    comparison,
                )
            })
            .collect()
    })
}

fn json(state: &State) -> String {
    serde_json::to_string(state).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_in_between_changes_nothing_and_stays_small(stream in stream()) {
        let parameters = Parameters::default();
        let (mut kept, mut travelled) = (State::new(), State::new());
        for (tick, comparison) in &stream {
            kept = fold(kept, &parameters, tick, *comparison);
            travelled = fold(serde_json::from_str(&json(&travelled)).unwrap(), &parameters, tick, *comparison);
            prop_assert_eq!(&kept, &travelled);
            prop_assert!(json(&kept).len() <= 4096, "{} bytes", json(&kept).len());
        }
    }

    #[test]
    fn a_tick_counts_once(stream in stream()) {
        let parameters = Parameters::default();
        let (mut once, mut again) = (State::new(), State::new());
        for (tick, comparison) in &stream {
            once = fold(once, &parameters, tick, *comparison);
            for _ in 0..2 {
                again = fold(again, &parameters, tick, *comparison);
            }
            let first = &stream[0];
            again = fold(again, &parameters, &first.0, first.1);
            prop_assert_eq!(&once, &again);
        }
    }

    #[test]
    fn wealth_is_finite_and_bad_stays(stream in stream()) {
        let parameters = Parameters::default();
        let mut state = State::new();
        let mut was_bad = false;
        for (tick, comparison) in &stream {
            state = fold(state, &parameters, tick, *comparison);
            let verdict = verdict(&state, &parameters);
            prop_assert!(verdict.log_wealth.is_finite());
            let bad = verdict.outcome == Outcome::Bad;
            prop_assert!(bad || !was_bad);
            was_bad = bad;
        }
    }

    #[test]
    fn more_errors_of_the_candidate_never_help_it_and_more_of_stable_never_hurt_it(
        nc in 1_u64..400, nb in 1_u64..4_000, xc in 0_u64..20, xb in 0_u64..20,
    ) {
        let wealth = |xc: u64, xb: u64| {
            let tick = Tick { number: 1, at_millis: 0, candidate: Arm::of(nc, xc), stable: Arm::of(nb, xb) };
            fold(State::new(), &Parameters::default(), &tick, Comparison::Concurrent).log_wealth()
        };
        prop_assert!(wealth(xc + 1, xb) >= wealth(xc, xb));
        prop_assert!(wealth(xc, xb + 1) <= wealth(xc, xb));
    }
}

#[test]
fn the_state_fits_when_numbers_are_large_and_ticks_short() {
    let parameters = Parameters::default();
    let mut state = State::new();
    for number in 0..3_000 {
        let pods = vec![
            PodCount {
                requests: 1_000_000_007,
                errors: 300_000_011
            };
            4
        ];
        let tick = Tick {
            number: 1_000_000_000 + number,
            at_millis: 1_760_000_000_000 + number as i64 * 1_000,
            candidate: Arm::of(2_000_000_011, 100_000_007),
            stable: Arm::from_pods(pods),
        };
        state = fold(state, &parameters, &tick, Comparison::Concurrent);
    }
    assert!(json(&state).len() <= 4096, "{} bytes", json(&state).len());
}
