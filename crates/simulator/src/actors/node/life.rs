//! The life of one pod, step by step. What its status looks like is in `status`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::status::{Container, Told, status, told_condition};
use super::{NodeActor, Step};
use crate::actors::client::{Patch, path};
use crate::actors::delay::Delay;
use crate::actors::informer::Name;
use crate::actors::manner::{Fate, Manner, Stop, image};
use crate::actors::object::{condition, list, name, namespace, number, uid};
use crate::actors::traffic::PodFacts;

/// First pause before another start and longest one, as the kubelet keeps them.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// The scheduler looks again without being asked.
const AGAIN: Delay = Delay::exactly(Duration::from_secs(60));
/// A call of a kubelet that failed is made again after this.
const RETRY: Delay = Delay::exactly(Duration::from_millis(200));

/// A pod that runs, or will.
#[derive(Debug)]
pub struct Run {
    pub name: Name,
    pub pod: Arc<Value>,
    pub manner: Manner,
    /// Empty until it is placed.
    pub node: String,
    pub ip: String,
    /// Deletion seen.
    pub stopping: bool,
    /// Its node is lost.
    pub dead: bool,
    container: Container,
    began: Option<Timestamp>,
    last_end: Option<(Timestamp, Timestamp)>,
    restarts: u32,
    pulls: u32,
    crashes: u32,
    flaps: u32,
    /// Answers its readiness probe.
    well: bool,
    /// When SIGKILL comes.
    kill_at: Option<Instant>,
}

impl Run {
    /// Not placed yet.
    #[must_use]
    pub fn new(name: Name, pod: Arc<Value>, manner: Manner) -> Self {
        let node = crate::actors::object::text(&pod, "/spec/nodeName").to_owned();
        Self {
            name,
            pod,
            manner,
            node,
            ip: String::new(),
            stopping: false,
            dead: false,
            container: Container::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            },
            began: None,
            last_end: None,
            restarts: 0,
            pulls: 0,
            crashes: 0,
            flaps: 0,
            well: false,
            kill_at: None,
        }
    }
}

/// 10 s, 20 s, 40 s, … 300 s.
fn back_off(times: u32) -> Duration {
    FIRST.saturating_mul(1 << times.min(10)).min(LONGEST)
}

impl NodeActor {
    pub(super) async fn step(&mut self, id: &str, step: Step) {
        match step {
            Step::Bind => self.bind(id).await,
            Step::Admit => self.admit(id).await,
            Step::Pulled => self.pulled(id).await,
            Step::Begin => self.begin(id).await,
            Step::Accept => self.accept(id),
            Step::Tell => self.tell(id).await,
            Step::Crash => self.crash(id).await,
            Step::Falter => self.falter(id),
            Step::Stop => self.stop(id),
            Step::Terminate => self.terminate(id),
            Step::Exit => self.exit(id).await,
            Step::Remove => self.remove(id).await,
            Step::Unreachable => self.unreachable(id).await,
            Step::Evict => self.take_away(id, false).await,
            Step::Forget => self.take_away(id, true).await,
        }
    }

    async fn bind(&mut self, id: &str) {
        let Some(run) = self
            .runs
            .get(id)
            .filter(|run| run.node.is_empty() && !run.stopping)
        else {
            return;
        };
        let (pod, name) = (Arc::clone(&run.pod), run.name.clone());
        let Some(node) = self.nodes.place(&self.crowd()) else {
            self.waiting.insert(id.to_owned());
            self.after(AGAIN, id, Step::Bind);
            let why = ("Unschedulable", self.nodes.refusal());
            if condition(&pod, "PodScheduled").is_none() {
                let told = told_condition(&pod, "PodScheduled", false, Some(why), (self.clock)());
                let body = json!({"metadata": {"uid": id}, "status": {"phase": "Pending", "conditions": [told]}});
                let path = path("pods", &name.0, &name.1, "status");
                // Told again at the next look if it fails.
                let _ = self.scheduler.patch(Patch::Merge, &path, &[], body).await;
            }
            return;
        };
        self.drop_steps(id, &[Step::Bind]);
        self.waiting.remove(id);
        match self.scheduler.bind(&name, id, &node).await {
            Ok(()) => {
                if let Some(run) = self.runs.get_mut(id) {
                    run.node = node;
                    self.after(self.delays.kubelet, id, Step::Admit);
                }
            }
            Err(_) => self.after(RETRY, id, Step::Bind),
        }
    }

    async fn admit(&mut self, id: &str) {
        let Some(run) = self.runs.get(id).filter(|run| !run.stopping) else {
            return;
        };
        let manner = run.manner;
        if manner.pull == Delay::NONE && manner.fate != Fate::ImagePullBackOff {
            self.begin(id).await;
            return;
        }
        self.write(id).await;
        self.after(manner.pull, id, Step::Pulled);
    }

    async fn pulled(&mut self, id: &str) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.stopping) else {
            return;
        };
        run.manner = self.manners.of(&run.pod);
        if run.manner.fate != Fate::ImagePullBackOff {
            self.begin(id).await;
            return;
        }
        let image = image(&run.pod).to_owned();
        let pause = back_off(run.pulls);
        let first = run.pulls == 0;
        run.pulls += 1;
        run.container = if first {
            Container::Waiting {
                reason: "ErrImagePull",
                message: format!("failed to pull and unpack image \"{image}\": not found"),
            }
        } else {
            Container::Waiting {
                reason: "ImagePullBackOff",
                message: format!("Back-off pulling image \"{image}\""),
            }
        };
        self.write(id).await;
        self.after(Delay::exactly(pause), id, Step::Pulled);
    }

    async fn begin(&mut self, id: &str) {
        let now = (self.clock)();
        let Some(run) = self.runs.get(id).filter(|run| !run.stopping && !run.dead) else {
            return;
        };
        let ip = if run.ip.is_empty() {
            self.address()
        } else {
            run.ip.clone()
        };
        let Some(run) = self.runs.get_mut(id) else {
            return;
        };
        run.ip = ip;
        run.manner = self.manners.of(&run.pod);
        run.container = Container::Running { since: now };
        run.began = Some(now);
        run.well = false;
        let facts = PodFacts {
            namespace: namespace(&run.pod).to_owned(),
            name: name(&run.pod).to_owned(),
            uid: id.to_owned(),
            image: image(&run.pod).to_owned(),
        };
        self.traffic.started(&run.ip, &facts);
        let manner = run.manner;
        // Counted from the start itself, not from when the status has been written.
        match manner.fate {
            Fate::Starts => self.after(manner.start, id, Step::Accept),
            Fate::CrashLoop(after) => self.after(Delay::exactly(after), id, Step::Crash),
            Fate::NeverReady | Fate::ImagePullBackOff => {}
        }
        self.write(id).await;
    }

    fn accept(&mut self, id: &str) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.dead) else {
            return;
        };
        self.traffic.accepts(&run.ip, true);
        run.well = true;
        let (manner, stopping) = (run.manner, run.stopping);
        let (crashes, flaps) = (run.crashes, run.flaps);
        self.after(self.delays.kubelet, id, Step::Tell);
        if stopping {
            return;
        }
        if let Some(crash) = manner.crash.filter(|crash| crashes < crash.times) {
            self.after(Delay::exactly(crash.after), id, Step::Crash);
        }
        if let Some(flap) = manner.flap.filter(|flap| flaps < flap.times) {
            self.after(Delay::exactly(flap.ready), id, Step::Falter);
        }
    }

    fn falter(&mut self, id: &str) {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.well && !run.dead) else {
            return;
        };
        let Some(flap) = run.manner.flap else { return };
        run.flaps += 1;
        run.well = false;
        if !flap.answers {
            self.traffic.accepts(&run.ip, false);
        }
        self.after(self.delays.kubelet, id, Step::Tell);
        self.after(Delay::exactly(flap.unready), id, Step::Accept);
    }

    async fn tell(&mut self, id: &str) {
        self.write(id).await;
    }

    async fn crash(&mut self, id: &str) {
        let now = (self.clock)();
        let Some(run) = self
            .runs
            .get_mut(id)
            .filter(|run| !run.dead && !run.stopping)
        else {
            return;
        };
        self.traffic.ended(&run.ip);
        let since = run.began.unwrap_or(now);
        run.last_end = Some((since, now));
        run.well = false;
        run.restarts += 1;
        run.crashes += 1;
        let restarts = run.restarts;
        // The first new start is at once.
        let pause = if restarts == 1 {
            Duration::ZERO
        } else {
            back_off(restarts - 2)
        };
        run.container = if restarts == 1 {
            Container::Terminated {
                since,
                at: now,
                exit_code: 1,
            }
        } else {
            Container::Waiting {
                reason: "CrashLoopBackOff",
                message: format!(
                    "back-off {} restarting failed container={} pod={}_{}",
                    spoken(pause),
                    list(&run.pod, "/spec/containers")
                        .first()
                        .map_or("", |container| crate::actors::object::text(
                            container, "/name"
                        )),
                    name(&run.pod),
                    namespace(&run.pod),
                ),
            }
        };
        self.drop_steps(id, &[Step::Accept, Step::Tell, Step::Falter, Step::Crash]);
        self.write(id).await;
        self.after(Delay::exactly(pause), id, Step::Begin);
    }

    /// A deletion: the hook first, then SIGTERM, all within the grace.
    fn stop(&mut self, id: &str) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.dead) else {
            return;
        };
        let grace = number(&run.pod, "/metadata/deletionGracePeriodSeconds").max(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        let now = Instant::now();
        let kill_at = now + grace;
        run.kill_at = Some(kill_at);
        let runs = matches!(run.container, Container::Running { .. });
        let hook = list(&run.pod, "/spec/containers")
            .iter()
            .map(|container| number(container, "/lifecycle/preStop/sleep/seconds"))
            .max()
            .unwrap_or(0);
        let hook = Duration::from_secs(u64::try_from(hook.max(0)).unwrap_or_default());
        self.drop_steps(
            id,
            &[
                Step::Bind,
                Step::Admit,
                Step::Pulled,
                Step::Begin,
                Step::Crash,
                Step::Falter,
            ],
        );
        if runs {
            self.at((now + hook).min(kill_at), id, Step::Terminate);
        } else {
            self.at(now, id, Step::Exit);
        }
    }

    fn terminate(&mut self, id: &str) {
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.dead) else {
            return;
        };
        let now = Instant::now();
        let kill_at = run.kill_at.unwrap_or(now);
        let (end, accepts) = match run.manner.stop {
            Stop::AtOnce => (now, false),
            Stop::Drain { time, accepts } => ((now + time).min(kill_at), accepts),
            Stop::Never => (kill_at, true),
        };
        if !accepts && end > now {
            self.traffic.accepts(&run.ip, false);
            self.drop_steps(id, &[Step::Accept]);
        }
        self.at(end, id, Step::Exit);
    }

    async fn exit(&mut self, id: &str) {
        let now = (self.clock)();
        let Some(run) = self.runs.get_mut(id).filter(|run| !run.dead) else {
            return;
        };
        if !run.ip.is_empty() {
            self.traffic.ended(&run.ip);
        }
        let ran = run.began.is_some();
        run.well = false;
        if let Some(since) = run.began {
            run.container = Container::Terminated {
                since,
                at: now,
                exit_code: 0,
            };
        }
        self.drop_steps(id, &[Step::Accept, Step::Tell]);
        if ran {
            self.write(id).await;
        }
        self.after(self.delays.kubelet, id, Step::Remove);
    }

    async fn remove(&mut self, id: &str) {
        let Some(name) = self.runs.get(id).map(|run| run.name.clone()) else {
            return;
        };
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": id}});
        let gone = self.kubelet.delete("pods", &name.0, &name.1, options).await;
        // A finalizer keeps the object; the deletion is done all the same.
        if gone.is_err_and(|refused| !refused.not_found() && refused.status != 409) {
            self.after(RETRY, id, Step::Remove);
        }
    }

    async fn unreachable(&mut self, id: &str) {
        let now = (self.clock)();
        let Some((pod, name)) = self
            .runs
            .get(id)
            .and_then(|run| Some((self.stored(&run.name, id)?, run.name.clone())))
        else {
            return;
        };
        let conditions: Vec<Value> = list(&pod, "/status/conditions")
            .iter()
            .map(|known| {
                if crate::actors::object::text(known, "/type") == "Ready" {
                    told_condition(&pod, "Ready", false, None, now)
                } else {
                    known.clone()
                }
            })
            .collect();
        let body = json!({"metadata": {"uid": uid(&pod)}, "status": {"conditions": conditions}});
        let path = path("pods", &name.0, &name.1, "status");
        if self
            .watcher
            .patch(Patch::Merge, &path, &[], body)
            .await
            .is_err()
        {
            self.after(RETRY, id, Step::Unreachable);
        }
    }

    async fn take_away(&mut self, id: &str, by_force: bool) {
        let Some(name) = self.runs.get(id).map(|run| run.name.clone()) else {
            return;
        };
        let mut options = json!({"preconditions": {"uid": id}});
        if by_force {
            options["gracePeriodSeconds"] = 0.into();
        }
        // Gone already, or recreated: nothing is left to do.
        let _ = self.watcher.delete("pods", &name.0, &name.1, options).await;
    }

    /// Writes the status as it is now, on top of what the API holds.
    async fn write(&mut self, id: &str) {
        let Some(run) = self.runs.get(id).filter(|run| !run.dead) else {
            return;
        };
        let Some(pod) = self.stored(&run.name, id) else {
            return;
        };
        let told = Told {
            container: run.container.clone(),
            ready: run.well && matches!(run.container, Container::Running { .. }),
            restarts: run.restarts,
            last_end: run.last_end,
            ip: run.ip.clone(),
        };
        let host = "192.168.0.1";
        let status = status(&pod, &told, host, (self.clock)());
        if pod.get("status") == Some(&status) {
            return;
        }
        let name = run.name.clone();
        let body = json!({"metadata": {"uid": id}, "status": status});
        let path = path("pods", &name.0, &name.1, "status");
        let written = self.kubelet.patch(Patch::Merge, &path, &[], body).await;
        if written.is_err_and(|refused| !refused.not_found() && refused.status != 409) {
            self.after(RETRY, id, Step::Tell);
        }
    }
}

/// As Go prints whole seconds.
fn spoken(pause: Duration) -> String {
    let seconds = pause.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}
