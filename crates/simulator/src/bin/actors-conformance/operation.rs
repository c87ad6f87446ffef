//! What a script can do, and the objects it does it with. Nothing is drawn and nothing is sent here.

use serde_json::{Value, json};

/// The two Deployments a script knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Web,
    /// With the selector of the other in scripts about the hand-over.
    Candidate,
}

impl Which {
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Candidate => "web-canary",
        }
    }
}

/// Whose a ReplicaSet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Of(Which),
    /// Held by the ConfigMap that stands for a controller of ours.
    Parked,
    Nobody,
}

/// Names a ReplicaSet without its name: both sides give different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Only those of this owner.
    pub whose: Option<Whose>,
    /// In the order of creation, counted round and round.
    pub index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Pods(u32),
    Percent(u32),
}

impl Amount {
    fn json(self) -> Value {
        match self {
            Self::Pods(count) => count.into(),
            Self::Percent(share) => format!("{share}%").into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    Rolling { surge: Amount, unavailable: Amount },
    Recreate,
}

impl Strategy {
    pub fn json(self) -> Value {
        match self {
            Self::Rolling { surge, unavailable } => json!({"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge.json(), "maxUnavailable": unavailable.json()}}),
            // As a patch: null takes the other strategy's numbers away.
            Self::Recreate => json!({"type": "Recreate", "rollingUpdate": null}),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What a pod is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    Ready,
    Unready,
    Failed,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Create {
        which: Which,
        template: usize,
        replicas: u32,
        strategy: Strategy,
        history: u32,
        paused: bool,
        /// Its progress deadline is a second.
        hasty: bool,
    },
    /// With `pause` in the same write, as a gate would.
    Template {
        which: Which,
        template: usize,
        pause: Option<bool>,
    },
    /// By `/scale`.
    Scale {
        which: Which,
        replicas: u32,
    },
    Pause {
        which: Which,
        paused: bool,
    },
    Strategy {
        which: Which,
        strategy: Strategy,
    },
    History {
        which: Which,
        limit: u32,
    },
    /// An annotation of the Deployment, which its ReplicaSets get too.
    Annotate {
        which: Which,
        value: u32,
    },
    DeleteDeployment {
        which: Which,
        how: Propagation,
    },
    /// So many pods of a ReplicaSet.
    Pods {
        set: Pick,
        count: usize,
        state: PodState,
    },
    /// Every pod there is.
    AllReady,
    /// The kubelet ends the pods that are being deleted.
    Finish,
    DeleteSet {
        set: Pick,
        how: Propagation,
    },
    /// A ReplicaSet made by hand; `dressed` with a revision.
    CreateSet {
        template: usize,
        replicas: u32,
        number: usize,
        dressed: bool,
    },
    /// Makes another the controller of a ReplicaSet; `dressed` with sizes and revision, in the same write.
    Own {
        set: Pick,
        by: Whose,
        dressed: bool,
    },
    /// Another value of the hash label, or none, in the metadata.
    Relabel {
        set: Pick,
        hash: Option<u32>,
    },
    /// Takes the label away that selectors ask for, or gives it back.
    Unlabel {
        set: Pick,
        app: bool,
    },
    SizeSet {
        set: Pick,
        replicas: u32,
    },
    /// Takes the annotations about sizes away.
    Strip {
        set: Pick,
    },
}

/// The value of the label `app`.
pub fn app(which: Which, shared: bool) -> &'static str {
    match which {
        Which::Candidate if !shared => "other",
        _ => "web",
    }
}

/// The template of this number. Numbers differ in what a person changes: image, environment, labels.
pub fn template(number: usize, app: &str) -> Value {
    let mut container = json!({"name": "app", "image": format!("app:{}", number.min(3))});
    let mut labels = json!({"app": app});
    if number == 4 {
        container["env"] = json!([{"name": "LEVEL", "value": "high"}]);
    }
    if number == 5 {
        labels["track"] = "five".into();
    }
    json!({"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 30, "containers": [container]}})
}

/// The number of a stored template.
pub fn template_number(template: &Value) -> usize {
    let text = |pointer: &str| template.pointer(pointer).and_then(Value::as_str);
    if text("/metadata/labels/track").is_some() {
        5
    } else if text("/spec/containers/0/env/0/name").is_some() {
        4
    } else {
        text("/spec/containers/0/image")
            .and_then(|image| image.strip_prefix("app:"))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }
}
