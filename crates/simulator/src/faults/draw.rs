//! Draws the faults of a world from its seed: alone, in bursts on neighbouring calls, and in pairs of
//! which the second meets the recovery from the first. What they do is in [`super::door`].

use std::time::Duration;

use fastrand::Rng;

use super::{Fault, What, When};
use crate::random::{chance, one_of};

/// Kinds whose watches are cut or held.
const WATCHED: [&str; 6] = [
    "deployments",
    "replicasets",
    "pods",
    "endpointslices",
    "services",
    "rollouts",
];

/// How much goes wrong.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Calls a calm run of the scenario makes: faults are drawn over a little more than that.
    pub calls: u64,
    /// How long such a run takes.
    pub length: Duration,
    /// Replicas of the controller.
    pub replicas: usize,
    /// Longest time a write may take, as the controller says to the server.
    pub write_timeout: Duration,
    /// Most faults.
    pub most: usize,
}

/// The faults of one world.
#[must_use]
pub fn draw(rng: &mut Rng, bounds: &Bounds) -> Vec<Fault> {
    let mut faults: Vec<(When, What)> = Vec::new();
    let count = rng.usize(0..=bounds.most);
    while faults.len() < count {
        match rng.u32(0..100) {
            0..=44 => {
                let call = call(rng, bounds);
                faults.push((When::Call(call), of_a_call(rng, bounds)));
            }
            // A burst: neighbouring calls fail alike.
            45..=56 => {
                let first = call(rng, bounds);
                let what = of_a_call(rng, bounds);
                for offset in 0..rng.u64(2..=6) {
                    faults.push((When::Call(first + offset), what.clone()));
                }
            }
            // A pair: the second meets the recovery.
            57..=69 => {
                let first = call(rng, bounds);
                faults.push((When::Call(first), of_a_call(rng, bounds)));
                let second = first + rng.u64(1..=4);
                faults.push((When::Call(second), of_a_call(rng, bounds)));
            }
            70..=73 => {
                let lease = rng.u64(1..=40);
                let what = if chance(rng, 30) {
                    What::CrashAtCall {
                        carried_out: rng.bool(),
                    }
                } else {
                    of_a_call(rng, bounds)
                };
                faults.push((When::LeaseCall(lease), what));
            }
            _ => {
                let at = When::At(moment(rng, bounds.length));
                faults.push((at, of_a_moment(rng, bounds)));
            }
        }
    }
    faults
        .into_iter()
        .enumerate()
        .map(|(number, (when, what))| Fault { number, when, what })
        .collect()
}

fn call(rng: &mut Rng, bounds: &Bounds) -> u64 {
    rng.u64(1..=bounds.calls.max(10) * 5 / 4)
}

fn moment(rng: &mut Rng, length: Duration) -> Duration {
    let most = u64::try_from(length.as_millis())
        .unwrap_or(60_000)
        .max(1_000);
    Duration::from_millis(rng.u64(0..most))
}

fn of_a_call(rng: &mut Rng, bounds: &Bounds) -> What {
    let timeout = u64::try_from(bounds.write_timeout.as_millis()).unwrap_or(5_000);
    match rng.u32(0..100) {
        0..=24 => What::Refused(one_of(rng, &[409, 429, 500, 503], 500)),
        25..=31 => What::ErrorAfter,
        32..=43 => What::LostReply,
        // The server ends a request at its timeout: nothing lands later than that.
        44..=58 => What::Late(Duration::from_millis(rng.u64(1..timeout))),
        59..=64 => What::Hung,
        65..=72 => What::Slow(Duration::from_millis(rng.u64(1..timeout))),
        73..=76 => What::Twice,
        77..=80 => What::Again,
        _ => What::CrashAtCall {
            carried_out: rng.bool(),
        },
    }
}

fn of_a_moment(rng: &mut Rng, bounds: &Bounds) -> What {
    let replica = rng.usize(0..bounds.replicas.max(1));
    match rng.u32(0..100) {
        0..=14 => What::Crash { replica },
        15..=29 => What::Freeze {
            replica,
            length: Duration::from_millis(rng.u64(200..40_000)),
        },
        30..=36 => What::Skew {
            replica,
            milliseconds: rng.i64(-120_000..120_000),
        },
        37..=55 => {
            What::CutWatches(chance(rng, 70).then(|| one_of(rng, &WATCHED, "pods").to_owned()))
        }
        56..=79 => What::HoldWatches {
            resource: one_of(rng, &WATCHED, "pods").to_owned(),
            length: Duration::from_millis(rng.u64(100..12_000)),
        },
        80..=88 => What::Compact,
        89..=94 => What::AdmissionDown(Duration::from_millis(rng.u64(500..15_000))),
        _ => What::Outage(Duration::from_millis(rng.u64(500..20_000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_list() {
        let bounds = Bounds {
            calls: 200,
            length: Duration::from_secs(60),
            replicas: 2,
            write_timeout: Duration::from_secs(2),
            most: 12,
        };
        for seed in 0..200 {
            let list = draw(&mut Rng::with_seed(seed), &bounds);
            assert_eq!(list, draw(&mut Rng::with_seed(seed), &bounds));
            for (place, fault) in list.iter().enumerate() {
                assert_eq!(fault.number, place);
                if let What::Late(length) | What::Slow(length) = fault.what {
                    assert!(length < bounds.write_timeout);
                }
            }
        }
    }
}
