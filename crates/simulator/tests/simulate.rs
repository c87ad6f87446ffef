//! The simulation's answers against what is known: the judge's own bound on false rollbacks, and candidates
//! so bad that every plan must find them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

use std::collections::BTreeMap;

use crossfade_api::{RolloutSpec, annotations};
use crossfade_engine::validated::{Policies, Validated, validate};
use crossfade_simulator::simulate::{Answer, Fault, Question, simulate};

fn plan(steps: &str) -> Validated {
    let annotations = BTreeMap::from([
        (annotations::STRATEGY.to_owned(), "canary".to_owned()),
        (annotations::STEPS.to_owned(), steps.to_owned()),
    ]);
    let validated = validate(&RolloutSpec::default(), &annotations, &Policies::default());
    assert_eq!(validated.problems, Vec::<String>::new());
    validated
}

fn question(faults: &[Fault]) -> Question {
    Question {
        validated: plan("5% for 2m, 20% for 2m, approval, 50% for 2m"),
        replicas: 10,
        max_unavailable: 2,
        service: true,
        rate: 50.0,
        base_errors: 0.002,
        faults: faults.to_vec(),
        runs: 40,
        seed: 1,
        threads: 2,
    }
}

fn only(question: &Question) -> Answer {
    let mut answers = simulate(question).faults;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

#[test]
fn a_healthy_candidate_is_rolled_back_in_at_most_alpha_of_the_runs() {
    let mut question = question(&[Fault::Errors(0.002)]);
    question.runs = 200;
    let answer = only(&question);
    // alpha + 0.01 is the documented bound with the warm stay; of 200 runs that is 4.
    assert!(answer.rolled_back <= 4, "{answer:?}");
    assert!(answer.tolerated);
    assert_eq!(answer.rolled_back + answer.promoted, 200, "{answer:?}");
    let seconds = answer.seconds_to_promotion.unwrap();
    // Three stays of two minutes and five minutes warm, and what lies between.
    assert!(
        (660.0..900.0).contains(&seconds.p50),
        "{seconds:?}: {answer:?}"
    );
}

#[test]
fn every_fifth_answer_an_error_is_always_found_and_soon() {
    let answer = only(&question(&[Fault::Errors(0.2)]));
    assert_eq!(answer.rolled_back, 40, "{answer:?}");
    let (bad, seconds) = (
        answer.bad_answers.unwrap(),
        answer.seconds_to_rollback.unwrap(),
    );
    // One of eleven pods for at most the first stay: 50 / 11 · 120 s · 0.2.
    assert!(bad.p95 <= 110.0, "{bad:?}");
    assert!(bad.mean > 0.0 && seconds.p95 < 150.0, "{seconds:?}");
}

#[test]
fn a_worse_candidate_does_less_harm_than_its_rate_says() {
    let some = only(&question(&[Fault::Errors(0.05)]));
    let many = only(&question(&[Fault::Errors(0.5)]));
    assert_eq!((some.rolled_back, many.rolled_back), (40, 40));
    assert!(
        many.seconds_to_rollback.unwrap().mean <= some.seconds_to_rollback.unwrap().mean,
        "{many:?} {some:?}"
    );
}

#[test]
fn pods_that_never_serve_crash_or_are_silent_are_never_promoted() {
    for fault in [Fault::NeverReady, Fault::Crash, Fault::NoMetrics] {
        let mut question = question(&[fault]);
        question.runs = 10;
        let answer = only(&question);
        assert_eq!(answer.rolled_back, 10, "{answer:?}");
        if fault == Fault::NeverReady {
            assert_eq!(answer.answers.unwrap().mean, 0.0, "{answer:?}");
        }
    }
}

#[test]
fn the_answer_depends_on_the_seed_and_not_on_the_threads() {
    let mut one = question(&[Fault::Errors(0.01)]);
    one.runs = 12;
    let mut three = one.clone();
    three.threads = 3;
    assert_eq!(simulate(&one), simulate(&three));
    let mut other = one.clone();
    other.seed = 2;
    assert_ne!(
        simulate(&one).faults[0].seconds_to_rollback,
        simulate(&other).faults[0].seconds_to_rollback
    );
}

#[test]
fn without_a_service_pods_share_the_work_by_their_number() {
    let mut question = question(&[Fault::Errors(0.2)]);
    question.service = false;
    let answer = only(&question);
    assert_eq!(answer.rolled_back, 40, "{answer:?}");
}
