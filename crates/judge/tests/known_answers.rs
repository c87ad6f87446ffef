//! The vectors of the method's own prototype.

use crossfade_judge::{
    Arm, Comparison, Counts, Outcome, Parameters, State, Tick, evidence, fold, verdict,
};

fn counts(bad: u64, requests: u64) -> Counts {
    Counts { requests, bad }
}

fn near(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() < tolerance, "{got}, not {expected}");
}

#[test]
fn two_arms() {
    near(
        evidence::two_arms(5.0, counts(3, 70), counts(4, 1390), 1.1, 0.001).unwrap(),
        3.274_979_665_3,
        1e-9,
    );
    near(
        evidence::two_arms(40.0, counts(0, 75), counts(3, 1425), 1.1, 0.001).unwrap(),
        -4.309_387_591_1,
        1e-9,
    );
    assert_eq!(
        evidence::two_arms(5.0, counts(0, 0), counts(3, 1425), 1.1, 0.001),
        None
    );
    assert_eq!(
        evidence::two_arms(5.0, counts(0, 10), counts(0, 0), 1.1, 0.001),
        None
    );
}

#[test]
fn safety() {
    near(
        evidence::safety(-0.8, counts(1, 400), counts(8, 3600), 1.25, 0.01).unwrap(),
        2.433_446_212_8,
        1e-9,
    );
}

#[test]
fn mixture_over_five_ticks() {
    let parameters = Parameters::default();
    let mut state = State::new();
    let ticks = [
        ((0, 75), (3, 1425), -0.704_685),
        ((2, 80), (2, 1400), 0.439_290),
        ((3, 70), (4, 1390), 2.566_625),
        ((1, 72), (1, 1410), 3.473_367),
        ((4, 76), (3, 1402), 5.946_039),
    ];
    for (number, ((xc, nc), (xb, nb), expected)) in (1..).zip(ticks) {
        let tick = Tick {
            number,
            at_millis: number as i64 * 15_000,
            candidate: Arm::of(nc, xc),
            stable: Arm::of(nb, xb),
        };
        state = fold(state, &parameters, &tick, Comparison::Concurrent);
        near(state.log_wealth(), expected, 1e-6);
    }
    let verdict = verdict(&state, &parameters);
    assert_eq!(verdict.outcome, Outcome::Bad);
    assert_eq!(
        verdict.reason,
        "errors: candidate 10 of 373 (2.68 %), stable 13 of 7027 (0.19 %), at least 2 times stable's share; \
         worse than tolerated since tick 5 (chance of a false alarm at most 0.01)"
    );
}
