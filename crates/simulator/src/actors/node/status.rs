//! The status of a pod as the kubelet writes it. Pure: when it is written is the kubelet's.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::actors::object::{condition, list, number, stamp, text};

/// State of the first container; others of a pod run whenever the first has started once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Container {
    /// `ContainerCreating`, `ErrImagePull`, `ImagePullBackOff`, `CrashLoopBackOff`.
    Waiting {
        reason: &'static str,
        message: String,
    },
    Running {
        since: Timestamp,
    },
    Terminated {
        since: Timestamp,
        at: Timestamp,
        exit_code: i32,
    },
}

/// What is told of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub container: Container,
    pub ready: bool,
    pub restarts: u32,
    /// End of the run before this one.
    pub last_end: Option<(Timestamp, Timestamp)>,
    /// Empty until the pod's network is there.
    pub ip: String,
}

fn terminated(since: Timestamp, at: Timestamp, exit_code: i32) -> Value {
    json!({"terminated": {
        "exitCode": exit_code,
        "reason": if exit_code == 0 { "Completed" } else { "Error" },
        "startedAt": stamp(since),
        "finishedAt": stamp(at),
    }})
}

/// The whole status, conditions keeping the time of their last change. `pod` is as it was last
/// written.
#[must_use]
pub fn status(pod: &Value, told: &Told, host: &str, now: Timestamp) -> Value {
    let containers = list(pod, "/spec/containers");
    let started = told.restarts > 0
        || matches!(
            told.container,
            Container::Running { .. } | Container::Terminated { .. }
        )
        || text(pod, "/status/phase") == "Running";
    let statuses: Vec<Value> = containers
        .iter()
        .enumerate()
        .map(|(index, container)| {
            let first = index == 0;
            let state = match &told.container {
                Container::Waiting { reason, message } if first || !started => {
                    let mut waiting = json!({"reason": reason});
                    if !message.is_empty() {
                        waiting["message"] = message.clone().into();
                    }
                    json!({"waiting": waiting})
                }
                Container::Terminated {
                    since,
                    at,
                    exit_code,
                } if first => terminated(*since, *at, *exit_code),
                Container::Running { since } => json!({"running": {"startedAt": stamp(*since)}}),
                _ => json!({"running": {"startedAt": text(pod, "/status/startTime")}}),
            };
            let last = told
                .last_end
                .filter(|_| first)
                .map_or_else(|| json!({}), |(since, at)| terminated(since, at, 1));
            let running = state.get("running").is_some();
            let image = text(container, "/image");
            json!({
                "name": text(container, "/name"),
                "image": image,
                "imageID": if started { format!("simulated/{image}") } else { String::new() },
                "ready": if first { told.ready } else { running },
                "started": running,
                "restartCount": if first { told.restarts } else { 0 },
                "state": state,
                "lastState": last,
            })
        })
        .collect();
    let unready: Vec<&str> = statuses
        .iter()
        .filter(|status| status["ready"] != Value::Bool(true))
        .map(|status| text(status, "/name"))
        .collect();
    let waiting = (!told.ready).then(|| {
        (
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        )
    });
    let mut status = json!({
        "phase": if started { "Running" } else { "Pending" },
        "conditions": [
            told_condition(pod, "PodReadyToStartContainers", !told.ip.is_empty(), None, now),
            told_condition(pod, "Initialized", true, None, now),
            told_condition(pod, "Ready", told.ready, waiting.clone(), now),
            told_condition(pod, "ContainersReady", told.ready, waiting, now),
            told_condition(pod, "PodScheduled", true, None, now),
        ],
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "startTime": match text(pod, "/status/startTime") {
            "" => stamp(now),
            known => known.to_owned(),
        },
        "containerStatuses": statuses,
        "qosClass": "BestEffort",
        "observedGeneration": number(pod, "/metadata/generation"),
    });
    if !told.ip.is_empty() {
        status["podIP"] = told.ip.clone().into();
        status["podIPs"] = json!([{"ip": told.ip}]);
    }
    status
}

/// A condition; its time moves only when its status does.
#[must_use]
pub fn told_condition(
    pod: &Value,
    kind: &str,
    yes: bool,
    why: Option<(&str, String)>,
    now: Timestamp,
) -> Value {
    let wanted = if yes { "True" } else { "False" };
    let since = condition(pod, kind)
        .filter(|known| text(known, "/status") == wanted)
        .map(|known| text(known, "/lastTransitionTime").to_owned())
        .unwrap_or_else(|| stamp(now));
    let mut condition = json!({
        "type": kind,
        "status": wanted,
        "lastProbeTime": null,
        "lastTransitionTime": since,
    });
    if let Some((reason, message)) = why {
        condition["reason"] = reason.into();
        condition["message"] = message.into();
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"generation": 1}, "spec": {"containers": [{"name": "app", "image": "x:1"}, {"name": "log", "image": "y"}]}})
    }

    #[test]
    fn a_pod_that_creates_crashes_and_waits() {
        let at: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let mut told = Told {
            container: Container::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            },
            ready: false,
            restarts: 0,
            last_end: None,
            ip: String::new(),
        };
        let creating = status(&pod(), &told, "192.168.0.1", at);
        assert_eq!(creating["phase"], "Pending");
        assert_eq!(
            creating["conditions"][2]["message"],
            "containers with unready status: [app log]"
        );
        told.restarts = 2;
        told.ip = "10.0.0.1".into();
        told.last_end = Some((at, at));
        told.container = Container::Waiting {
            reason: "CrashLoopBackOff",
            message: "back-off 10s restarting failed container".into(),
        };
        let crashed = status(&pod(), &told, "192.168.0.1", at);
        assert_eq!(crashed["phase"], "Running");
        assert_eq!(crashed["containerStatuses"][0]["restartCount"], 2);
        assert_eq!(
            crashed["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
            1
        );
        assert_eq!(crashed["containerStatuses"][1]["ready"], true);
        assert_eq!(crashed["podIP"], "10.0.0.1");
    }

    #[test]
    fn ready_keeps_its_time_until_it_changes() {
        let first: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut pod = pod();
        let told = Told {
            container: Container::Running { since: first },
            ready: true,
            restarts: 0,
            last_end: None,
            ip: "10.0.0.1".into(),
        };
        pod["status"] = status(&pod, &told, "h", first);
        let again = status(&pod, &told, "h", later);
        assert_eq!(
            again["conditions"][2]["lastTransitionTime"],
            "2026-01-01T00:00:05Z"
        );
        let unready = status(
            &pod,
            &Told {
                ready: false,
                ..told
            },
            "h",
            later,
        );
        assert_eq!(
            unready["conditions"][2]["lastTransitionTime"],
            "2026-01-01T00:01:00Z"
        );
        assert_eq!(
            unready["conditions"][4]["lastTransitionTime"],
            "2026-01-01T00:00:05Z"
        );
    }
}
