//! A fixed set of worlds, small enough for every run of the tests. They run in the world-runner, whose
//! hash keys come from the seed: a failure here is shown again by `world-runner replay`. Which laws there
//! are stands in the library.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;

/// Runs the world-runner; its output is the failure's message.
fn runner(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_world-runner"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "world-runner {}: {}\n{text}\n{errors}",
        arguments.join(" "),
        output.status
    );
    text
}

#[test]
fn every_scenario_ends_as_it_must_also_with_every_effect_twice() {
    runner(&["scenarios"]);
}

#[test]
fn drawn_worlds_keep_the_laws() {
    let text = runner(&["run", "--seeds", "0..16"]);
    assert!(text.contains("16 worlds, 0 failed"), "{text}");
}

#[test]
fn a_seed_is_a_world() {
    runner(&["determinism", "--seeds", "0..8"]);
}

#[test]
fn a_crash_at_every_fifth_call_changes_nothing() {
    runner(&[
        "crash-everywhere",
        "--scenario",
        "canary-promotes",
        "--every",
        "5",
    ]);
}

#[test]
fn planted_bugs_are_caught() {
    runner(&[
        "planted",
        "--seeds",
        "200",
        "--name",
        "drop-a-json-patch-test",
        "--name",
        "skip-settling-and-drain",
        "--name",
        "unpause-before-unpin",
        "--name",
        "park-before-the-hand-over",
    ]);
}

#[test]
fn a_world_with_a_planted_bug_fails_and_shows_its_seed_first() {
    let output = Command::new(env!("CARGO_BIN_EXE_world-runner"))
        .args([
            "replay",
            "--calm",
            "--seed",
            "1",
            "--scenario",
            "canary-promotes",
            "--planted",
            "delete-by-name",
        ])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("seed 1 scenario canary-promotes"),
        "{text}"
    );
    assert!(text.contains("law 12"), "{text}");
}
