//! From what users write to the Rollout they mean, and back: the commands that mean it. Not here: what is done
//! with it.

use crossfade_api::annotations::STRATEGY;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;

use crate::called;
use crate::cluster::{Cluster, call};
use crate::exit::{Exit, Failure};
use crate::raw;
use crate::rollout::Rollout;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// `web`: the Rollout of that name, or the one that is for that Deployment.
    Either(&'a str),
    /// `deployment/web`: the Rollout that is for it, whatever its own name is.
    Deployment(&'a str),
    /// `rollout/web`.
    Rollout(&'a str),
}

impl<'a> Named<'a> {
    pub const fn name(self) -> &'a str {
        match self {
            Self::Either(name) | Self::Deployment(name) | Self::Rollout(name) => name,
        }
    }

    /// Which of several is meant. Two may fit a bare name: then it is the name of a Rollout, as `list` shows it.
    /// Two may be for one Deployment: then it is the one that is carried out.
    pub fn pick(self, all: &[Rollout]) -> Option<Rollout> {
        let named = || (all.iter()).find(|rollout| rollout.name_any() == self.name());
        let for_it = || of_deployment(all, self.name()).into_iter().next();
        let found = match self {
            Self::Either(_) => named().or_else(for_it),
            Self::Deployment(_) => for_it(),
            Self::Rollout(_) => named(),
        };
        found.cloned()
    }
}

/// Reads `web`, `deployment/web` or `rollout/web`, also as kubectl and `-o name` write them.
pub fn named(workload: &str) -> Result<Named<'_>, Failure> {
    let usage = || {
        Failure::new(format!("\"{workload}\" is not a workload"))
            .next("write web, deployment/web or rollout/web")
            .exit(Exit::Usage)
    };
    let named = match workload.split_once('/') {
        None => Named::Either(workload),
        Some((
            "deployment" | "deployments" | "deployment.apps" | "deployments.apps" | "deploy",
            name,
        )) => Named::Deployment(name),
        Some((
            "rollout" | "rollouts" | "rollout.crossfade.dev" | "rollouts.crossfade.dev" | "xro",
            name,
        )) => Named::Rollout(name),
        Some(_) => return Err(usage()),
    };
    // It becomes part of a path: what no object can be called does not get there.
    let edge = |letter: char| matches!(letter, 'a'..='z' | '0'..='9');
    let plain = |letter: char| edge(letter) || letter == '-' || letter == '.';
    let name = named.name();
    if !name.starts_with(edge) || !name.ends_with(edge) || !name.chars().all(plain) {
        Err(usage())
    } else {
        Ok(named)
    }
}

/// The Deployment a Rollout is about.
pub fn deployment(rollout: &Rollout) -> String {
    rollout
        .spec
        .deployment
        .clone()
        .unwrap_or_else(|| rollout.name_any())
}

/// The Rollouts for a Deployment: first the one that is carried out, which is the oldest, of two as old the
/// first by name; one that is going comes last. The others get no status and no command.
pub fn of_deployment<'a>(all: &'a [Rollout], deployment: &str) -> Vec<&'a Rollout> {
    let mut of_it: Vec<&Rollout> = (all.iter())
        .filter(|rollout| self::deployment(rollout) == deployment)
        .collect();
    of_it.sort_by_key(|rollout| {
        let metadata = &rollout.metadata;
        let created = metadata.creation_timestamp.as_ref();
        let going = metadata.deletion_timestamp.is_some();
        (going, created.map(|time| time.0), rollout.name_any())
    });
    of_it
}

/// Several Rollouts for one Deployment, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twins {
    pub carried_out: String,
    /// They do nothing.
    pub others: Vec<String>,
}

/// Whether there are several that are there to stay.
pub fn twins(all: &[Rollout], deployment: &str) -> Option<Twins> {
    let mut names = (of_deployment(all, deployment).into_iter())
        .filter(|rollout| rollout.metadata.deletion_timestamp.is_none())
        .map(|rollout| rollout.name_any());
    let carried_out = names.next()?;
    let others: Vec<String> = names.collect();
    (!others.is_empty()).then_some(Twins {
        carried_out,
        others,
    })
}

/// A command of ours about a Rollout, as it can be given: `explain` is `crossfade -n shop explain web`.
pub fn about(rollout: &Rollout, command: &str) -> String {
    beside(rollout, &format!("{command} {}", rollout.name_any()))
}

/// One in the namespace of a Rollout that names something else, or nothing.
pub fn beside(rollout: &Rollout, command: &str) -> String {
    called::ours().crossfade(rollout.namespace().as_deref(), command)
}

/// The Rollout that is meant; `None`: there is none.
pub async fn rollout_of(cluster: &Cluster, named: Named<'_>) -> Result<Option<Rollout>, Failure> {
    let found = call("read the Rollout", cluster.rollouts().get_opt(named.name())).await?;
    let found = named.pick(found.map(Rollout::from).as_slice());
    match (named, found) {
        (Named::Rollout(_), found) | (Named::Either(_), found @ Some(_)) => Ok(found),
        // An older one of another name may be for the Deployment too. Who may not list is served all the same.
        (Named::Deployment(_), Some(found)) => {
            let listed = all(cluster).await;
            Ok(listed.map_or(Some(found), |all| named.pick(&all)))
        }
        (_, None) => Ok(named.pick(&all(cluster).await?)),
    }
}

/// The Rollouts of the namespace.
pub async fn all(cluster: &Cluster) -> Result<Vec<Rollout>, Failure> {
    let api = cluster.rollouts();
    let listed = call("list the Rollouts", api.list(&ListParams::default())).await?;
    Ok(listed.items.into_iter().map(Rollout::from).collect())
}

/// The Rollout that is meant; without a name the only one.
pub async fn rollout(cluster: &Cluster, workload: Option<&str>) -> Result<Rollout, Failure> {
    let namespace = &cluster.namespace;
    if let Some(workload) = workload {
        let named = named(workload)?;
        if let Some(rollout) = rollout_of(cluster, named).await? {
            return Ok(rollout);
        }
        let uri = raw::deployment(namespace, named.name());
        // Only for the advice: who may not read it is advised all the same.
        let deployment = raw::get(cluster, "read the Deployment", &uri).await.ok();
        return Err(missing(namespace, named, deployment));
    }
    let mut all = all(cluster).await?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(
            Failure::new(format!("there is no Rollout in namespace {namespace}")).next(format!(
                "name the namespace with -n, or look at all: {}",
                everywhere()
            )),
        ),
        (Some(_), false) => Err(Failure::new(format!(
            "there are several Rollouts in namespace {namespace}"
        ))
        .next(format!(
            "name one; {} shows them",
            called::crossfade(namespace, "list")
        ))
        .exit(Exit::Usage)),
    }
}

/// Why there is none, and what helps. `deployment`: what was read of it; `None`: it could not be read.
fn missing(namespace: &str, named: Named<'_>, deployment: Option<Option<Value>>) -> Failure {
    let name = named.name();
    let opt_in = opt_in(namespace, name);
    match (named, deployment) {
        (Named::Rollout(_), _) => Failure::new(format!(
            "there is no Rollout {name} in namespace {namespace}"
        ))
        .next(format!(
            "{} shows all; write deployment/NAME for the one of a Deployment",
            everywhere()
        )),
        (_, Some(None)) => Failure::new(format!(
            "there is neither a Rollout nor a Deployment {name} in namespace {namespace}"
        ))
        .next(format!(
            "name the namespace with -n, or look at all: {}",
            everywhere()
        )),
        (_, Some(Some(deployment))) if opted_in(&deployment) => Failure::new(format!(
            "Deployment {name} is opted in, but its Rollout is not there yet"
        ))
        .next(format!(
            "the controller makes it within seconds: try again. If it stays away, see whether the controller runs \
             and serves this namespace: {}",
            called::ours().kubectl(None, "get leases --all-namespaces")
        )),
        _ => Failure::new(format!(
            "there is no Rollout for {name} in namespace {namespace}"
        ))
        .next(format!(
            "opt the Deployment in: {opt_in}; or look elsewhere: {}",
            everywhere()
        )),
    }
}

/// The command that opts a Deployment in.
pub fn opt_in(namespace: &str, deployment: &str) -> String {
    called::kubectl(
        namespace,
        &format!("annotate deployment/{deployment} {STRATEGY}=canary"),
    )
}

/// The command that shows what there is in any namespace.
fn everywhere() -> String {
    called::ours().crossfade(None, "list -A")
}

/// Whether a Deployment carries the annotation.
pub fn opted_in(deployment: &Value) -> bool {
    !deployment["metadata"]["annotations"][STRATEGY].is_null()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollouts() -> Vec<Rollout> {
        let one = |name: &str, spec: Value| {
            Rollout::read(json!({ "metadata": { "name": name }, "spec": spec }))
        };
        vec![
            one("web", json!({ "deployment": "api" })),
            one("front", json!({ "deployment": "web" })),
            one("db", json!({})),
        ]
    }

    fn picked(text: &str) -> Option<String> {
        let found = named(text).unwrap().pick(&rollouts());
        found.map(|rollout| rollout.name_any())
    }

    #[test]
    fn names_of_workloads() {
        for (text, meant) in [
            ("web", Named::Either("web")),
            ("deployment/web", Named::Deployment("web")),
            ("deploy/web", Named::Deployment("web")),
            ("deployment.apps/web", Named::Deployment("web")),
            ("rollout/web", Named::Rollout("web")),
            ("rollout.crossfade.dev/web", Named::Rollout("web")),
        ] {
            assert_eq!(named(text).unwrap(), meant, "{text}");
        }
        for text in [
            "",
            "deployment/",
            "pod/web",
            "deployment/web/x",
            "we b",
            "deployment/web?x",
            "Web",
            "..",
            "-web",
        ] {
            assert_eq!(named(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }

    #[test]
    fn a_deployment_is_found_by_what_a_rollout_is_for() {
        assert_eq!(picked("deployment/web").as_deref(), Some("front"));
        assert_eq!(picked("deployment/db").as_deref(), Some("db"));
        assert_eq!(picked("rollout/web").as_deref(), Some("web"));
        assert_eq!(picked("rollout/api"), None);
        assert_eq!(picked("web").as_deref(), Some("web"));
        assert_eq!(picked("api").as_deref(), Some("web"));
    }

    #[test]
    fn of_two_for_one_deployment_the_older_is_meant() {
        let one = |name: &str, day: u32| {
            Rollout::read(json!({
                "metadata": { "name": name, "creationTimestamp": format!("2026-01-0{day}T00:00:00Z") },
                "spec": { "deployment": "web" },
            }))
        };
        // The younger is first by name, and has the Deployment's.
        for younger in ["again", "web"] {
            let all = [one(younger, 2), one("first", 1)];
            let named = named("deployment/web").unwrap();
            assert_eq!(named.pick(&all).unwrap().name_any(), "first", "{younger}");
        }
        let all = [one("web", 2), one("first", 1)];
        let picked = Named::Either("web").pick(&all).unwrap();
        assert_eq!(picked.name_any(), "web", "as `list` shows it");
    }

    #[test]
    fn advice_is_for_the_cluster_that_was_looked_at() {
        let _plugin = called::tests::as_plugin();
        let elsewhere = "kubectl crossfade --context east list -A";
        let said = |named: Named<'_>, deployment| missing("shop", named, deployment).to_string();
        for text in [
            said(Named::Rollout("web"), None),
            said(Named::Either("web"), Some(None)),
            said(Named::Either("web"), None),
        ] {
            assert!(text.contains(elsewhere), "{text}");
        }
        let text = said(Named::Either("web"), None);
        assert!(
            text.contains("kubectl -n shop --context east annotate deployment/web"),
            "{text}"
        );
        let annotated = json!({ "metadata": { "annotations": { STRATEGY: "canary" } } });
        let text = said(Named::Either("web"), Some(Some(annotated)));
        assert!(text.contains("kubectl --context east get leases"), "{text}");
    }

    #[test]
    fn advice_fits_what_is_there() {
        let say = |deployment: Option<Option<Value>>| {
            missing("shop", Named::Deployment("web"), deployment).to_string()
        };
        let annotated = json!({ "metadata": { "annotations": { STRATEGY: "canary" } } });
        let said = say(Some(Some(annotated)));
        assert!(
            said.contains("is opted in") && !said.contains("annotate"),
            "{said}"
        );
        assert!(say(Some(Some(json!({})))).contains("kubectl -n shop annotate deployment/web"));
        assert!(say(None).contains("annotate"));
        assert!(say(Some(None)).contains("neither a Rollout nor a Deployment web"));
    }
}
