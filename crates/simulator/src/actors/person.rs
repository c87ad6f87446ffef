//! A person with a script: does deeds at their times, some twice, some in the wrong order, some not at all.
//! What a deed is, is in `deed`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_fakeapi::FakeApi;
use fastrand::Rng;
use tokio::time::Instant;

use super::client::{Client, Refused, lock};
use super::deed::{Deed, done, words};
use super::delay::Delay;

/// How reliable a person is, each in a thousand deeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Does it again, a little later.
    pub repeats: u32,
    /// Does the next one first.
    pub swaps: u32,
    /// Forgets it, or its request never arrives.
    pub loses: u32,
}

/// A deed that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub at: Instant,
    pub what: String,
    /// How it went; nothing is well.
    pub refused: Option<Refused>,
}

/// What a person has done so far; a handle.
#[derive(Clone, Debug, Default)]
pub struct Diary(Arc<Mutex<Vec<Done>>>);

impl Diary {
    /// All of it.
    #[must_use]
    pub fn read(&self) -> Vec<Done> {
        lock(&self.0).clone()
    }
}

/// The script as this person will do it: sorted by time, habits drawn.
#[must_use]
pub fn with_habits(
    mut script: Vec<(Duration, Deed)>,
    habits: Habits,
    random: &mut Rng,
) -> Vec<(Duration, Deed)> {
    script.sort_by_key(|(at, _)| *at);
    let chance = |random: &mut Rng, permille: u32| random.u32(0..1000) < permille;
    for index in 1..script.len() {
        if chance(random, habits.swaps) {
            let (left, right) = script.split_at_mut(index);
            if let (Some(first), Some(second)) = (left.last_mut(), right.first_mut()) {
                std::mem::swap(&mut first.1, &mut second.1);
            }
        }
    }
    let mut planned = Vec::new();
    for (at, deed) in script {
        if chance(random, habits.loses) {
            continue;
        }
        if chance(random, habits.repeats) {
            let later = Delay::millis(0, 30_000).draw(random);
            planned.push((at + later, deed.clone()));
        }
        planned.push((at, deed));
    }
    planned.sort_by_key(|(at, _)| *at);
    planned
}

/// One person.
#[derive(Debug)]
pub struct Person {
    pub api: FakeApi,
    pub client: Client,
    /// When, counted from the start of `run`, and what.
    pub script: Vec<(Duration, Deed)>,
    pub diary: Diary,
    pub random: Rng,
}

impl Person {
    /// Works through the script. A deed that takes long (recreating what will not go) delays the
    /// next ones, but no longer than a minute.
    pub async fn run(mut self) {
        let began = Instant::now();
        for (at, deed) in std::mem::take(&mut self.script) {
            tokio::time::sleep_until(began + at).await;
            let outcome = tokio::time::timeout(
                Duration::from_secs(60),
                done(&self.api, &self.client, &deed, &mut self.random),
            )
            .await;
            let refused = match outcome {
                Ok(outcome) => outcome.err(),
                Err(_) => Some(Refused {
                    status: 504,
                    reason: "Timeout".to_owned(),
                    message: "given up after a minute".to_owned(),
                    causes: Vec::new(),
                }),
            };
            lock(&self.diary.0).push(Done {
                at: Instant::now(),
                what: words(&deed),
                refused,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Vec<(Duration, Deed)> {
        (0..100_u32)
            .map(|number| {
                let deployment = ("shop".to_owned(), "web".to_owned());
                (
                    Duration::from_secs(u64::from(number)),
                    Deed::Scale {
                        deployment,
                        replicas: number,
                    },
                )
            })
            .collect()
    }

    fn planned(habits: Habits) -> Vec<(Duration, Deed)> {
        with_habits(script(), habits, &mut Rng::with_seed(3))
    }

    #[test]
    fn habits_are_drawn_and_replay() {
        assert_eq!(planned(Habits::default()), script());
        let lossy = planned(Habits {
            loses: 300,
            ..Habits::default()
        });
        assert!((40..95).contains(&lossy.len()), "{}", lossy.len());
        let twice = planned(Habits {
            repeats: 300,
            ..Habits::default()
        });
        assert!((105..160).contains(&twice.len()), "{}", twice.len());
        assert!(twice.is_sorted_by_key(|(at, _)| *at));
        let swapped = Habits {
            swaps: 300,
            ..Habits::default()
        };
        assert_ne!(planned(swapped), script());
        assert_eq!(planned(swapped).len(), 100);
        assert_eq!(planned(swapped), planned(swapped));
    }
}
