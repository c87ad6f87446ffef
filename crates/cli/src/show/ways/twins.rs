//! Several Rollouts for one Deployment: which of them is carried out, and how the others are got rid of. Pure.
//! Not here: which it is, that is `find`'s.

use kube::ResourceExt;

use super::{Way, Ways};
use crate::called::{self, Caller};
use crate::find::{self, Twins};
use crate::rollout::Rollout;

impl Ways {
    /// With what the other Rollouts of the namespace have to do with it.
    pub fn beside(self, rollout: &Rollout, all: &[Rollout]) -> Self {
        self.beside_by(&called::ours(), rollout, all)
    }

    fn beside_by(mut self, caller: &Caller, rollout: &Rollout, all: &[Rollout]) -> Self {
        let (name, deployment) = (rollout.name_any(), find::deployment(rollout));
        let Some(Twins {
            carried_out,
            others,
        }) = find::twins(all, &deployment)
        else {
            return self;
        };
        let namespace = rollout.namespace();
        let kubectl = |verb: &str, name: &str| {
            let command = format!("{verb} rollout.crossfade.dev {name}");
            Some(caller.kubectl(namespace.as_deref(), &command))
        };
        if name == carried_out {
            self.ways.extend(others.iter().map(|other| Way {
                does: format!(
                    "forgets Rollout {other}, which is for the Deployment {deployment} too: {name} was there first \
                     and is carried out, {other} does nothing"
                ),
                command: kubectl("delete", other),
            }));
            return self;
        }
        if !others.contains(&name) {
            return self;
        }
        let explain = format!("explain {carried_out}");
        Self {
            // What it waited for is from before, if there is anything.
            waits_on: None,
            wait: format!(
                "a person: Rollout {carried_out} is for the Deployment {deployment} too and was there first: \
                 {carried_out} is carried out, {name} does nothing, and no command given to it is answered"
            ),
            ways: vec![
                Way {
                    does: format!("forgets {name}: {carried_out} stays the one"),
                    command: kubectl("delete", &name),
                },
                Way {
                    does: "name another Deployment in spec.deployment, if that was meant"
                        .to_owned(),
                    command: kubectl("edit", &name),
                },
                Way {
                    does: format!("says where {carried_out} stands, the one that is carried out"),
                    command: Some(caller.crossfade(namespace.as_deref(), &explain)),
                },
                Way {
                    does: format!(
                        "leaves the Deployment to {name}; refused while a release of {carried_out} is under way"
                    ),
                    command: kubectl("delete", &carried_out),
                },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(name: &str, created: &str) -> Rollout {
        Rollout::read(json!({
            "metadata": { "name": name, "namespace": "shop", "creationTimestamp": created },
            "spec": { "deployment": "web" },
        }))
    }

    fn waits() -> Ways {
        Ways {
            waits_on: None,
            wait: "the controller to look at it for the first time".to_owned(),
            ways: Vec::new(),
        }
    }

    fn text(ways: &Ways) -> String {
        let way = |way: &Way| format!("{}: {}", way.command.as_deref().unwrap_or("-"), way.does);
        let ways_on: Vec<String> = ways.ways.iter().map(way).collect();
        format!("{}\n{}", ways.wait, ways_on.join("\n"))
    }

    #[test]
    fn each_of_two_for_one_deployment_names_the_other_and_the_mend() {
        let _plugin = called::tests::as_plugin();
        // By name it would be the other way round.
        let first = rollout("web", "2026-01-01T00:00:00Z");
        let second = rollout("again", "2026-01-02T00:00:00Z");
        let all = [second.clone(), first.clone()];
        let ignored = text(&waits().beside(&second, &all));
        for part in [
            "Rollout web is for the Deployment web too and was there first",
            "web is carried out, again does nothing",
            "kubectl -n shop --context east delete rollout.crossfade.dev again",
            "kubectl crossfade -n shop --context east explain web",
        ] {
            assert!(ignored.contains(part), "{part} in\n{ignored}");
        }
        assert!(!ignored.contains("for the first time"), "{ignored}");
        let carried_out = text(&waits().beside(&first, &all));
        for part in [
            "for the first time",
            "delete rollout.crossfade.dev again: forgets Rollout again",
            "again does nothing",
        ] {
            assert!(carried_out.contains(part), "{part} in\n{carried_out}");
        }
    }

    #[test]
    fn one_alone_and_one_that_is_going_change_nothing() {
        let web = rollout("web", "2026-01-02T00:00:00Z");
        let mut going = rollout("again", "2026-01-01T00:00:00Z").raw().clone();
        going["metadata"]["deletionTimestamp"] = json!("2026-01-03T00:00:00Z");
        let all = [web.clone(), Rollout::read(going)];
        assert_eq!(waits().beside(&web, &all), waits());
    }
}
