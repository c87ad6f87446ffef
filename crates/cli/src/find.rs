//! From what users write to the Rollout they mean.

use crossfade_api::annotations::STRATEGY;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;

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
    pub fn pick(self, all: Vec<Rollout>) -> Option<Rollout> {
        let is_named = |rollout: &Rollout| rollout.name_any() == self.name();
        let is_for = |rollout: &Rollout| deployment(rollout) == self.name();
        let position = |fits: &dyn Fn(&Rollout) -> bool| all.iter().position(fits);
        let index = match self {
            Self::Either(_) => position(&is_named).or_else(|| position(&is_for)),
            Self::Deployment(_) => position(&is_for),
            Self::Rollout(_) => position(&is_named),
        }?;
        all.into_iter().nth(index)
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
    if named.name().is_empty() || named.name().contains('/') {
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

/// The Rollout that is meant; `None`: there is none.
pub async fn rollout_of(cluster: &Cluster, named: Named<'_>) -> Result<Option<Rollout>, Failure> {
    let found = call("read the Rollout", cluster.rollouts().get_opt(named.name())).await?;
    let found = named.pick(found.map(Rollout::from).into_iter().collect());
    if found.is_some() || matches!(named, Named::Rollout(_)) {
        return Ok(found);
    }
    Ok(named.pick(all(cluster).await?))
}

/// The Rollouts of the namespace.
async fn all(cluster: &Cluster) -> Result<Vec<Rollout>, Failure> {
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
            Failure::new(format!("there is no Rollout in namespace {namespace}"))
                .next("name the namespace with -n, or look at all: crossfade list -A"),
        ),
        (Some(_), false) => Err(Failure::new(format!(
            "there are several Rollouts in namespace {namespace}"
        ))
        .next("name one; crossfade list shows them")
        .exit(Exit::Usage)),
    }
}

/// Why there is none, and what helps. `deployment`: what was read of it; `None`: it could not be read.
fn missing(namespace: &str, named: Named<'_>, deployment: Option<Option<Value>>) -> Failure {
    let name = named.name();
    let opt_in = format!(
        "opt the Deployment in: kubectl -n {namespace} annotate deployment/{name} {STRATEGY}=canary; \
         or look elsewhere: crossfade list -A"
    );
    match (named, deployment) {
        (Named::Rollout(_), _) => Failure::new(format!(
            "there is no Rollout {name} in namespace {namespace}"
        ))
        .next("crossfade list -A shows all; write deployment/NAME for the one of a Deployment"),
        (_, Some(None)) => Failure::new(format!(
            "there is neither a Rollout nor a Deployment {name} in namespace {namespace}"
        ))
        .next("name the namespace with -n, or look at all: crossfade list -A"),
        (_, Some(Some(deployment))) if opted_in(&deployment) => Failure::new(format!(
            "Deployment {name} is opted in, but its Rollout is not there yet"
        ))
        .next(
            "the controller makes it within seconds: try again. If it stays away, see whether the controller runs \
             and serves this namespace: kubectl get leases --all-namespaces",
        ),
        _ => Failure::new(format!(
            "there is no Rollout for {name} in namespace {namespace}"
        ))
        .next(opt_in),
    }
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
        let found = named(text).unwrap().pick(rollouts());
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
        for text in ["", "deployment/", "pod/web", "deployment/web/x"] {
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
