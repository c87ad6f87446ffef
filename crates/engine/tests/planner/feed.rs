//! What the pods of the world answer, as the feed measures it.

use crossfade_judge::{Arm, PodCount, Tick};

use crate::world::{PodState, World};

/// Between two measurements, as by default.
const INTERVAL: i64 = 15_000;

impl World {
    /// Requests of the last interval, by pods that serve, and whether they failed.
    pub fn measure(&mut self, candidate: &str, candidate_set: &str, stable_set: &str) {
        let fed = std::mem::replace(&mut self.feeding, !candidate.is_empty());
        if candidate.is_empty() {
            self.ticks.clear();
            return;
        }
        if !fed {
            self.next_tick = self.now + INTERVAL;
        }
        if self.now < self.next_tick {
            return;
        }
        self.next_tick = self.now + INTERVAL;
        if self.judged_candidate != candidate {
            candidate.clone_into(&mut self.judged_candidate);
            self.judged_requests = 0;
            self.answered.clear();
        }
        let serving: Vec<PodState> = self
            .pods
            .iter()
            .filter(|pod| pod.serving())
            .filter(|pod| {
                self.services.is_empty()
                    || self
                        .fronts()
                        .any(|service| service.endpoints.contains(&pod.uid))
            })
            .cloned()
            .collect();
        if !self.metrics {
            return;
        }
        let each = self.rate / u64::try_from(serving.len().max(1)).unwrap_or(1);
        let mut arms = [Vec::new(), Vec::new()];
        for pod in &serving {
            let failing = each * self.manner(&pod.image).errors + self.error_rest;
            self.error_rest = failing % 1000;
            let count = PodCount {
                requests: each,
                errors: (failing / 1000).min(each),
            };
            if pod.set == candidate_set {
                arms[0].push(count);
                self.judged_requests += each;
            } else if pod.set == stable_set && !self.stable_is_silent {
                arms[1].push(count);
            }
        }
        for pod in self
            .pods
            .iter()
            .filter(|pod| pod.serving() && pod.set == candidate_set)
        {
            self.answered.insert(pod.uid.clone(), self.now);
        }
        let [candidate, stable] = arms;
        self.tick_number += 1;
        self.ticks.push(Tick {
            number: self.tick_number,
            at_millis: self.now,
            candidate: Arm::from_pods(candidate),
            stable: Arm::from_pods(stable),
        });
    }
}
