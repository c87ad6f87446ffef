//! How pods behave, by image or by name in an annotation, as a world sets it. What follows from it is
//! the kubelet's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::client::lock;
use super::delay::Delay;
use super::object::{annotation, text};

/// Annotation of a pod that names its manner.
pub const MANNER: &str = "simulator/manner";

/// What becomes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It starts and becomes ready.
    Starts,
    /// It runs and never becomes ready.
    NeverReady,
    /// Its image cannot be pulled.
    ImagePullBackOff,
    /// It ends so long after each start.
    CrashLoop(Duration),
}

/// A crash of a container that was well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// After being ready for so long.
    pub after: Duration,
    /// How often in its life.
    pub times: u32,
}

/// Readiness that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    pub ready: Duration,
    pub unready: Duration,
    /// Whether it still answers requests meanwhile.
    pub answers: bool,
    /// How often in its life.
    pub times: u32,
}

/// What a container does on SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ends at once; open requests are lost.
    AtOnce,
    /// It goes on for so long, then ends; `accepts` says whether it takes new requests meanwhile.
    Drain { time: Duration, accepts: bool },
    /// It takes no notice until it is killed.
    Never,
}

/// How pods of an image behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Until the image is there.
    pub pull: Delay,
    /// From start to accepting requests.
    pub start: Delay,
    pub fate: Fate,
    pub crash: Option<Crash>,
    pub flap: Option<Flap>,
    pub stop: Stop,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            pull: Delay::NONE,
            start: Delay::millis(1000, 3000),
            fate: Fate::Starts,
            crash: None,
            flap: None,
            stop: Stop::AtOnce,
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    default: Manner,
    by_image: BTreeMap<String, Manner>,
    by_name: BTreeMap<String, Manner>,
}

/// All manners; a handle. A change counts for each container from its next start or end on.
#[derive(Clone, Debug, Default)]
pub struct Manners(Arc<Mutex<Table>>);

impl Manners {
    /// For pods no other entry names.
    pub fn set_default(&self, manner: Manner) {
        lock(&self.0).default = manner;
    }

    /// For pods whose first container has this image.
    pub fn set_image(&self, image: &str, manner: Manner) {
        lock(&self.0).by_image.insert(image.to_owned(), manner);
    }

    /// For pods whose annotation [`MANNER`] has this value; it wins over the image.
    pub fn set_named(&self, name: &str, manner: Manner) {
        lock(&self.0).by_name.insert(name.to_owned(), manner);
    }

    /// The manner of a pod.
    #[must_use]
    pub fn of(&self, pod: &Value) -> Manner {
        let table = lock(&self.0);
        annotation(pod, MANNER)
            .and_then(|name| table.by_name.get(name))
            .or_else(|| table.by_image.get(image(pod)))
            .copied()
            .unwrap_or(table.default)
    }
}

/// Image of the first container.
#[must_use]
pub fn image(pod: &Value) -> &str {
    text(pod, "/spec/containers/0/image")
}
