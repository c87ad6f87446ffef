//! Many worlds: what one is asked for and what came of it, as lines of JSON between processes. Each
//! worker process runs its worlds one after the other, each from the same beginning, so that a world is
//! the same whichever process runs it.

pub mod judge;
pub mod pool;
pub mod shrink;
pub mod work;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::faults::draw::{Bounds, draw};
use crate::faults::{Fault, What, When};
use crate::planted;
use crate::random::{chance, of};
use crate::run::World;
use crate::scenario::{self, Scenario};

/// Worlds in one worker process; places in it repeat after so many.
pub const PLACES: u64 = 64;

/// What goes wrong in a world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Faults {
    /// Nothing.
    #[default]
    None,
    /// What the seed draws, but for those left out.
    Drawn { without: Vec<usize> },
    /// Exactly these.
    These(Vec<Fault>),
    /// The process ends at one call.
    CrashAt { call: u64, carried_out: bool },
    /// Every effect is carried out twice.
    Twice,
}

/// One world that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub seed: u64,
    /// By name; absent: the seed draws it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    #[serde(default)]
    pub faults: Faults,
    /// A planted bug, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// Seconds of quiet at the end; absent: an hour for named scenarios and one in eight of the others,
    /// else ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<u64>,
    /// The whole trace is asked for, with the controller's log.
    #[serde(default)]
    pub whole: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    pub item: Item,
    pub scenario: String,
    /// Law and words of each violation.
    pub violations: Vec<(String, String)>,
    pub calls: u64,
    pub writes: u64,
    pub lease: u64,
    pub crashes: u32,
    pub simulated_seconds: u64,
    pub lines: u64,
    pub digest: u64,
    pub ending: Value,
    pub faults: Vec<String>,
    /// The last lines of a world with violations, or all that were asked for.
    pub trace: Vec<String>,
}

impl Item {
    /// A world of a seed with the faults it draws.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            faults: Faults::Drawn {
                without: Vec::new(),
            },
            ..Self::default()
        }
    }

    /// A named scenario in which nothing goes wrong.
    #[must_use]
    pub fn calm(scenario: &str) -> Self {
        Self {
            seed: 1,
            scenario: Some(scenario.to_owned()),
            ..Self::default()
        }
    }

    /// Its place among the worlds of a worker.
    #[must_use]
    pub fn place(&self) -> u64 {
        match self.faults {
            Faults::CrashAt { call, carried_out } => (call * 2 + u64::from(carried_out)) % PLACES,
            _ => self.seed % PLACES,
        }
    }

    /// The world.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn world(&self) -> Result<World, String> {
        let scenario = match &self.scenario {
            Some(name) => scenario::named(name).ok_or_else(|| format!("no scenario {name}"))?,
            None => drawn_scenario(self.seed),
        };
        let planted = match &self.planted {
            Some(name) => {
                Some(planted::named(name).ok_or_else(|| format!("no planted bug {name}"))?)
            }
            None => None,
        };
        let mut twice = false;
        let faults = match &self.faults {
            Faults::None => Vec::new(),
            Faults::Drawn { without } => {
                let mut faults = drawn_faults(self.seed, &scenario);
                faults.retain(|fault| !without.contains(&fault.number));
                faults
            }
            Faults::These(faults) => faults.clone(),
            Faults::CrashAt { call, carried_out } => vec![Fault {
                number: 0,
                when: When::Call(*call),
                what: What::CrashAtCall {
                    carried_out: *carried_out,
                },
            }],
            Faults::Twice => {
                twice = true;
                Vec::new()
            }
        };
        let random = scenario.name == scenario::random::SCENARIO.name;
        let hour = !random || self.seed.is_multiple_of(8);
        let quiet = self.quiet.unwrap_or(if hour { 3_600 } else { 600 });
        Ok(World {
            seed: self.seed,
            scenario,
            faults,
            twice,
            planted,
            quiet: Duration::from_secs(quiet),
            whole_trace: self.whole,
        })
    }
}

/// Half of the seeds draw a world of their own, the others a named scenario.
fn drawn_scenario(seed: u64) -> Scenario {
    let mut rng = of(seed, "scenario");
    if chance(&mut rng, 50) {
        return scenario::random::SCENARIO;
    }
    let all = scenario::all();
    all.get(rng.usize(0..all.len().max(1)))
        .copied()
        .unwrap_or(scenario::random::SCENARIO)
}

fn drawn_faults(seed: u64, scenario: &Scenario) -> Vec<Fault> {
    let setup = (scenario.setup)(&mut of(seed, "setup"));
    let mut rng = of(seed, "faults");
    // One world in six goes without, so that what people and actors do is seen alone.
    if chance(&mut rng, 16) {
        return Vec::new();
    }
    let bounds = Bounds {
        calls: 60 + rng.u64(0..300),
        length: Duration::from_secs(rng.u64(20..120)),
        replicas: setup.replicas(),
        write_timeout: setup.write_timeout,
        most: rng.usize(1..=14),
    };
    draw(&mut rng, &bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_survives_its_line() {
        let item = Item {
            scenario: Some("canary-promotes".to_owned()),
            faults: Faults::These(vec![Fault {
                number: 3,
                when: When::At(Duration::from_millis(1500)),
                what: What::HoldWatches {
                    resource: "pods".to_owned(),
                    length: Duration::from_secs(2),
                },
            }]),
            ..Item::of_seed(7)
        };
        let line = serde_json::to_string(&item).unwrap();
        assert_eq!(serde_json::from_str::<Item>(&line).unwrap(), item);
    }

    #[test]
    fn leaving_a_fault_out_leaves_the_others() {
        let whole = Item::of_seed(12).world().unwrap().faults;
        let item = Item {
            faults: Faults::Drawn { without: vec![0] },
            ..Item::of_seed(12)
        };
        let less = item.world().unwrap().faults;
        assert_eq!(less.as_slice(), whole.get(1..).unwrap_or_default());
    }
}
