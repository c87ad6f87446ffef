//! Draws scripts: the same seed, the same script. What an operation does is the player's.

use crossfade_simulator::random::{self, chance, one_of};
use fastrand::Rng;

use crate::operation::{Amount, Operation, Pick, PodState, Propagation, Strategy, Which, Whose};

/// One script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Both Deployments have the same selector.
    pub shared: bool,
    /// The kubelet ends pods as soon as they are deleted; else when the script says so.
    pub prompt: bool,
    pub operations: Vec<Operation>,
}

const WEB: Which = Which::Web;
const CANDIDATE: Which = Which::Candidate;

/// The script of this seed.
pub fn script(seed: u64) -> Script {
    let mut draw = Draw {
        random: random::of(seed, "conformance"),
        sets: 0,
    };
    let prompt = !chance(&mut draw.random, 25);
    let (shared, operations) = match draw.random.u32(0..100) {
        0..30 => (true, draw.hand_over()),
        30..50 => (false, draw.adoption()),
        50..65 => (true, draw.anything(true)),
        _ => (false, draw.anything(false)),
    };
    Script {
        shared,
        prompt,
        operations,
    }
}

struct Draw {
    random: Rng,
    /// ReplicaSets made by hand so far.
    sets: usize,
}

impl Draw {
    fn amount(&mut self) -> Amount {
        one_of(
            &mut self.random,
            &[
                Amount::Pods(0),
                Amount::Pods(1),
                Amount::Pods(2),
                Amount::Percent(25),
                Amount::Percent(50),
                Amount::Percent(100),
                Amount::Percent(10),
            ],
            Amount::Pods(1),
        )
    }

    fn strategy(&mut self) -> Strategy {
        match self.random.u32(0..100) {
            0..15 => Strategy::Recreate,
            15..50 => Strategy::Rolling {
                surge: Amount::Percent(25),
                unavailable: Amount::Percent(25),
            },
            _ => {
                let surge = self.amount();
                let unavailable = match (surge, self.amount()) {
                    // Both nothing is refused.
                    (Amount::Pods(0), Amount::Pods(0)) => Amount::Pods(1),
                    (_, amount) => amount,
                };
                Strategy::Rolling { surge, unavailable }
            }
        }
    }

    fn replicas(&mut self) -> u32 {
        one_of(&mut self.random, &[0, 1, 2, 3, 3, 4, 4, 5, 6, 8], 3)
    }

    fn template(&mut self) -> usize {
        one_of(&mut self.random, &[1, 2, 2, 3, 3, 4, 5], 1)
    }

    fn create(&mut self, which: Which, template: usize, replicas: u32) -> Operation {
        Operation::Create {
            which,
            template,
            replicas,
            strategy: self.strategy(),
            history: one_of(&mut self.random, &[0, 1, 2, 10, 10], 10),
            paused: chance(&mut self.random, 5),
            hasty: chance(&mut self.random, 10),
        }
    }

    fn any_set(&mut self) -> Pick {
        Pick {
            whose: None,
            index: self.random.usize(0..6),
        }
    }

    fn propagation(&mut self) -> Propagation {
        one_of(
            &mut self.random,
            &[
                Propagation::Background,
                Propagation::Foreground,
                Propagation::Orphan,
            ],
            Propagation::Background,
        )
    }

    fn pods(&mut self, state: PodState) -> Operation {
        Operation::Pods {
            set: self.any_set(),
            count: one_of(&mut self.random, &[1, 1, 2, 3, 8], 1),
            state,
        }
    }

    fn extra(&mut self) -> Operation {
        self.sets += 1;
        Operation::CreateSet {
            template: self.template(),
            replicas: one_of(&mut self.random, &[0, 0, 1, 2, 4], 0),
            number: self.sets,
            dressed: chance(&mut self.random, 50),
        }
    }

    /// Anything but a Deployment's creation.
    fn one(&mut self, which: Which) -> Operation {
        match self.random.u32(0..100) {
            0..14 => Operation::Template {
                which,
                template: self.template(),
                pause: one_of(
                    &mut self.random,
                    &[None, None, Some(true), Some(false)],
                    None,
                ),
            },
            14..24 => Operation::Scale {
                which,
                replicas: self.replicas(),
            },
            24..30 => Operation::Pause {
                which,
                paused: true,
            },
            30..37 => Operation::Pause {
                which,
                paused: false,
            },
            37..52 => Operation::AllReady,
            52..62 => self.pods(PodState::Ready),
            62..66 => self.pods(PodState::Unready),
            66..69 => self.pods(PodState::Failed),
            69..73 => self.pods(PodState::Deleted),
            73..76 => Operation::Finish,
            76..78 => Operation::Strategy {
                which,
                strategy: self.strategy(),
            },
            78..80 => Operation::History {
                which,
                limit: one_of(&mut self.random, &[0, 1, 2], 0),
            },
            80..82 => Operation::Annotate {
                which,
                value: self.random.u32(0..3),
            },
            82..85 => Operation::DeleteSet {
                set: self.any_set(),
                how: self.propagation(),
            },
            85..88 => self.extra(),
            88..92 => Operation::Own {
                set: self.any_set(),
                by: one_of(
                    &mut self.random,
                    &[
                        Whose::Parked,
                        Whose::Nobody,
                        Whose::Of(WEB),
                        Whose::Of(CANDIDATE),
                    ],
                    Whose::Nobody,
                ),
                dressed: chance(&mut self.random, 50),
            },
            92..94 => Operation::Relabel {
                set: self.any_set(),
                hash: one_of(&mut self.random, &[None, Some(1), Some(2)], None),
            },
            94..96 => Operation::Unlabel {
                set: self.any_set(),
                app: chance(&mut self.random, 50),
            },
            96..98 => Operation::SizeSet {
                set: self.any_set(),
                replicas: self.replicas(),
            },
            98 => Operation::Strip {
                set: self.any_set(),
            },
            _ => Operation::DeleteDeployment {
                which,
                how: self.propagation(),
            },
        }
    }

    fn anything(&mut self, shared: bool) -> Vec<Operation> {
        let replicas = self.replicas();
        let mut operations = vec![self.create(WEB, 1, replicas), Operation::AllReady];
        let both = chance(&mut self.random, if shared { 100 } else { 30 });
        if both {
            let (template, replicas) = (self.template(), self.replicas());
            operations.push(self.create(CANDIDATE, template, replicas));
        }
        for _ in 0..self.random.usize(10..22) {
            let which = if both && chance(&mut self.random, 35) {
                CANDIDATE
            } else {
                WEB
            };
            let operation = self.one(which);
            let gone = matches!(operation, Operation::DeleteDeployment { .. });
            operations.push(operation);
            if gone && chance(&mut self.random, 70) {
                let (template, replicas) = (self.template(), self.replicas());
                operations.push(self.create(which, template, replicas));
            }
        }
        operations
    }

    /// ReplicaSets made by hand that a Deployment finds or gets, with templates it may have.
    fn adoption(&mut self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for _ in 0..self.random.usize(0..3) {
            operations.push(self.extra());
        }
        let (template, replicas) = (self.template(), self.replicas());
        operations.push(self.create(WEB, template, replicas));
        operations.push(Operation::AllReady);
        for _ in 0..self.random.usize(6..14) {
            let operation = match self.random.u32(0..10) {
                0..3 => self.extra(),
                3 => Operation::Own {
                    set: self.any_set(),
                    by: Whose::Nobody,
                    dressed: false,
                },
                4..6 => Operation::AllReady,
                _ => self.one(WEB),
            };
            operations.push(operation);
        }
        operations.push(Operation::AllReady);
        operations
    }

    /// The moves of a hand-over in their order, some left out, others put between.
    fn hand_over(&mut self) -> Vec<Operation> {
        let replicas = one_of(&mut self.random, &[1, 2, 3, 4, 6, 8], 4);
        let mut operations = vec![self.create(WEB, 1, replicas), Operation::AllReady];
        let history = self.random.usize(0..3);
        for template in [2, 3].into_iter().take(history) {
            operations.push(Operation::Template {
                which: WEB,
                template,
                pause: None,
            });
            operations.extend([const { Operation::AllReady }; 4]);
        }
        let template = self.template();
        operations.push(Operation::Template {
            which: WEB,
            template,
            pause: Some(true),
        });
        let size = if chance(&mut self.random, 70) {
            replicas
        } else {
            self.replicas()
        };
        operations.push(self.create(CANDIDATE, template, size));
        operations.push(Operation::AllReady);
        operations.push(Operation::Pause {
            which: CANDIDATE,
            paused: true,
        });
        let of = |which| Pick {
            whose: Some(Whose::Of(which)),
            index: 0,
        };
        for _ in 0..=history {
            operations.push(Operation::Own {
                set: of(WEB),
                by: Whose::Parked,
                dressed: false,
            });
        }
        operations.push(Operation::Own {
            set: of(CANDIDATE),
            by: Whose::Of(WEB),
            dressed: !chance(&mut self.random, 20),
        });
        operations.push(Operation::DeleteDeployment {
            which: CANDIDATE,
            how: Propagation::Orphan,
        });
        let parked = Pick {
            whose: Some(Whose::Parked),
            index: history,
        };
        operations.push(Operation::SizeSet {
            set: parked,
            replicas: 0,
        });
        for _ in 0..=history {
            operations.push(Operation::Own {
                set: Pick { index: 0, ..parked },
                by: Whose::Nobody,
                dressed: false,
            });
        }
        operations.push(Operation::Pause {
            which: WEB,
            paused: false,
        });
        operations.extend([const { Operation::AllReady }; 2]);
        self.disturb(operations)
    }

    fn disturb(&mut self, operations: Vec<Operation>) -> Vec<Operation> {
        // A third of all hand-overs goes as it should.
        if chance(&mut self.random, 33) {
            return operations;
        }
        let mut disturbed = Vec::new();
        for (index, operation) in operations.into_iter().enumerate() {
            if index > 2 && chance(&mut self.random, 10) {
                let which = one_of(&mut self.random, &[WEB, WEB, CANDIDATE], WEB);
                disturbed.push(self.one(which));
            }
            if index < 2 || !chance(&mut self.random, 8) {
                disturbed.push(operation);
            }
        }
        disturbed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_script_and_scripts_have_everything() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let drawn = script(seed);
            assert_eq!(drawn.operations, script(seed).operations);
            for operation in drawn.operations {
                let text = format!("{operation:?}");
                seen.insert(text.split(' ').next().unwrap_or_default().to_owned());
            }
        }
        assert_eq!(seen.len(), 18, "{seen:?}");
    }
}
