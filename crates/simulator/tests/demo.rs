//! The demo end to end: real sockets on loopback, real time, few requests, as fast as it goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_api::annotations::parse_steps;
use crossfade_fakeapi::FakeApi;
use crossfade_simulator::actors::Delay;
use crossfade_simulator::demo::backends::Backends;
use crossfade_simulator::demo::load::Load;
use crossfade_simulator::demo::plane::Plane;
use crossfade_simulator::demo::{self, Frame, Options, Told, View};

/// Keeps what it is shown.
#[derive(Default)]
struct Kept {
    frames: usize,
    told: Vec<Told>,
    phases: Vec<String>,
}

impl View for Kept {
    fn frame(&mut self, frame: &Frame) {
        self.frames += 1;
        let phase = frame.phase().as_str().to_owned();
        if self.phases.last() != Some(&phase) {
            self.phases.push(phase);
        }
    }

    fn told(&mut self, told: &Told) {
        self.told.push(told.clone());
    }
}

/// Time that goes on from a fixed beginning with the real clock.
fn clock() -> crossfade_fakeapi::Clock {
    let began = Instant::now();
    Arc::new(move || {
        let passed = i64::try_from(began.elapsed().as_millis()).unwrap();
        jiff::Timestamp::from_millisecond(1_800_000_000_000 + passed).unwrap()
    })
}

#[tokio::test]
async fn a_good_version_is_kept_a_bad_one_taken_back_and_no_request_lost() {
    let options = Options {
        speed: 20.0,
        rate: 150,
        steps: parse_steps("50% for 10s, approval").unwrap(),
        replicas: 2,
        seed: 1,
        clock: clock(),
    };
    let mut view = Kept::default();
    let summary = tokio::time::timeout(Duration::from_secs(90), demo::run(options, &mut view))
        .await
        .expect("it ends by itself")
        .unwrap();
    let told: Vec<String> = view
        .told
        .iter()
        .map(|told| format!("{:?} {} {}", told.at, told.what, told.text))
        .collect();
    assert!(
        summary.as_told,
        "{}\n{}",
        demo::closing(&summary),
        told.join("\n")
    );
    assert_eq!(summary.lost, 0);
    assert!(summary.bad_answers > 0, "v3 had its share: {summary:?}");
    assert_eq!(summary.releases[0].answers.bad, 0);
    assert_eq!(summary.releases[0].pods_made_by_hand_over, 0);
    assert_eq!(summary.releases[1].answers.bad, summary.bad_answers);
    for phase in [
        "Progressing",
        "Warm",
        "HandingOver",
        "RollingBack",
        "RolledBack",
    ] {
        assert!(
            view.phases.iter().any(|seen| seen == phase),
            "{phase} in {:?}",
            view.phases
        );
    }
    assert!(view.told.iter().any(|told| told.text == "approves"));
}

#[tokio::test]
async fn a_request_that_nobody_answers_is_lost_and_counted() {
    let api = FakeApi::new(crossfade_fakeapi::Options {
        clock: clock(),
        seed: 1,
        history: 10,
    });
    let backends = Backends::default();
    let random = fastrand::Rng::with_seed(1);
    // No slice is ever learnt: every connection is dropped.
    let plane = Plane::open(&api, "web", &backends, Delay::NONE, random)
        .await
        .unwrap();
    let address = plane.address().unwrap();
    let proxy = tokio::spawn(plane.run());
    let mut load = Load::start(address, 500);
    let lost = async {
        while load.counts().lost < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lost)
        .await
        .expect("requests are lost");
    load.stop().await;
    let counts = load.counts();
    assert_eq!(counts.requests(), counts.lost);
    assert!(!counts.reasons.is_empty());
    assert!(counts.versions.is_empty());
    proxy.abort();
}
