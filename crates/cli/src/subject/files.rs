//! A subject from files: YAML or JSON as it stands in Git.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use crossfade_api::{ClusterRolloutPolicy, RolloutPolicy, RolloutPolicySpec, RolloutSpec};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Front, Subject, text};
use crate::exit::{Exit, Failure};
use crate::find::{self, Named};
use crate::rollout::Rollout;

/// Largest file.
const FILE_BYTES: u64 = 16 << 20;

impl Subject {
    /// Reads files; `-` is stdin.
    pub fn from_files(
        files: &[PathBuf],
        workload: Option<&str>,
        replicas: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut objects = Vec::new();
        for file in files {
            objects.extend(read(file)?);
        }
        let wanted = workload.map(find::named).transpose()?;
        Self::from_objects(objects, wanted, replicas)
    }

    /// From objects as they stand in files.
    fn from_objects(
        objects: Vec<Value>,
        wanted: Option<Named<'_>>,
        replicas: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut subject = Self {
            replicas,
            ..Self::default()
        };
        let (mut rollouts, mut deployments, mut fronts) = (Vec::new(), Vec::new(), Vec::new());
        let mut named: Vec<RolloutPolicySpec> = Vec::new();
        for object in objects {
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            match kind.as_str() {
                "Rollout" => rollouts.push(Rollout::read(object)),
                "Deployment" => deployments.push(object),
                "Service" => fronts.push(Front {
                    object,
                    ..Front::default()
                }),
                "RolloutPolicy" => {
                    let policy: RolloutPolicy = typed(object)?;
                    named.push(policy.spec.clone());
                    subject
                        .policies
                        .namespaced
                        .insert(policy.name_any(), policy.spec);
                }
                "ClusterRolloutPolicy" => {
                    let policy: ClusterRolloutPolicy = typed(object)?;
                    named.push(policy.spec.clone().into());
                    let name = policy.name_any();
                    subject.policies.cluster.insert(name, policy.spec.into());
                }
                _ => {}
            }
        }
        let name_of = |object: &Value| text(object, "/metadata/name").to_owned();
        let wanted = wanted.map(|wanted| {
            let found = wanted.pick(&rollouts);
            found.map_or_else(
                || wanted.name().to_owned(),
                |found| find::deployment(&found),
            )
        });
        let mut names: Vec<String> = rollouts
            .iter()
            .map(find::deployment)
            .chain(deployments.iter().map(name_of))
            .collect();
        names.sort();
        names.dedup();
        let name = match (wanted, names.as_slice()) {
            (Some(wanted), names) if names.contains(&wanted) => wanted,
            (Some(wanted), _) => {
                return Err(Failure::new(format!(
                    "the files have neither a Rollout nor a Deployment for {wanted}"
                ))
                .next(match names.as_slice() {
                    [] => "name a file with one of them".to_owned(),
                    names => format!("they are about: {}", names.join(", ")),
                })
                .exit(Exit::Usage));
            }
            (None, [only]) => only.clone(),
            (None, []) if !named.is_empty() => "workload".to_owned(),
            (None, []) => {
                return Err(
                    Failure::new("the files have no Rollout, RolloutPolicy or Deployment")
                        .next("name a file with one of them"),
                );
            }
            (None, several) => {
                return Err(Failure::new(format!(
                    "the files are about several workloads: {}",
                    several.join(", ")
                ))
                .next("name one of them")
                .exit(Exit::Usage));
            }
        };
        // A policy alone is asked about itself.
        if names.is_empty()
            && let [only] = named.as_slice()
        {
            subject.policies.namespaced = BTreeMap::from([("default".to_owned(), only.clone())]);
        }
        subject.spec = rollouts
            .into_iter()
            .find(|rollout| find::deployment(rollout) == name)
            .map_or_else(
                || Ok(RolloutSpec::default()),
                |rollout| whole_spec(&rollout),
            )?;
        subject.deployment = deployments
            .into_iter()
            .find(|deployment| name_of(deployment) == name);
        subject.name = name;
        if subject.deployment.is_none() {
            subject.notes.push(format!(
                "the files have no Deployment: {} pods are assumed, and nothing is known of them or their Services",
                subject.replicas()
            ));
        }
        subject.look_at(&fronts);
        Ok(subject)
    }
}

/// The spec, or which field of the file is wrong: nothing in a cluster is.
fn whole_spec(rollout: &Rollout) -> Result<RolloutSpec, Failure> {
    match rollout.unreadable() {
        None => Ok(rollout.spec.clone()),
        Some(why) => {
            Err(Failure::new(format!("Rollout {}: {why}", rollout.name_any())).exit(Exit::Usage))
        }
    }
}

fn typed<T: DeserializeOwned>(object: Value) -> Result<T, Failure> {
    let title = crate::raw::title(&object);
    serde_json::from_value(object)
        .map_err(|error| Failure::new(format!("{title}: {error}")).exit(Exit::Usage))
}

/// All objects of a file: YAML documents or JSON, lists taken apart.
fn read(file: &PathBuf) -> Result<Vec<Value>, Failure> {
    let fail = |why: String| Failure::new(format!("{}: {why}", file.display())).exit(Exit::Usage);
    let mut content = String::new();
    let stdin = file.as_os_str() == "-";
    let source: Box<dyn Read> = if stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| fail(error.to_string()))?)
    };
    source
        .take(FILE_BYTES + 1)
        .read_to_string(&mut content)
        .map_err(|error| fail(error.to_string()))?;
    if content.len() as u64 > FILE_BYTES {
        return Err(fail(format!("is larger than {} MiB", FILE_BYTES >> 20)));
    }
    objects(&content).map_err(fail)
}

fn objects(content: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(content).map_err(|error| error.to_string())?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if text(&document, "/kind").ends_with("List") => {
                objects.extend(items.iter().cloned());
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::REPLICAS;

    const FILES: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {crossfade.dev/strategy: canary, crossfade.dev/steps: "10% for 1m"}
spec:
  replicas: 8
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {prometheus.io/port: "8080"}}
    spec: {containers: [{name: app, image: "web:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{port: 80}]}
---
apiVersion: crossfade.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: default}
spec: {warm: 90s}
"#;

    fn subject(content: &str) -> Subject {
        Subject::from_objects(objects(content).unwrap(), None, None).unwrap()
    }

    #[test]
    fn an_annotated_deployment_with_service_and_policy() {
        let subject = subject(FILES);
        let validated = subject.validated();
        assert_eq!(validated.problems, Vec::<String>::new());
        assert_eq!(
            (validated.plan.warm, validated.plan.steps.len()),
            (90_000, 1)
        );
        assert_eq!((subject.replicas(), subject.max_unavailable()), (8, 2));
        let services: Vec<_> = (subject.services.iter())
            .map(|service| (service.name.as_str(), &service.refusal))
            .collect();
        assert_eq!(services, [("web", &None)]);
        assert_eq!(subject.notes, Vec::<String>::new());
        assert_eq!(subject.refused(&validated), None);
    }

    #[test]
    fn what_the_planner_refuses_is_told_with_its_own_words() {
        for (from, to, part) in [
            (
                "replicas: 8",
                "replicas: 0",
                "replicas of the Deployment is 0",
            ),
            ("replicas: 8", "paused: true", "sets spec.paused (the file)"),
            ("replicas: 8", "strategy: {type: Recreate}", "Recreate"),
            (
                "prometheus.io/port",
                "prometheus.io/portal",
                "no metrics port is known",
            ),
            (
                "spec: {selector: {app: web}",
                "spec: {selector: {app: web, pod-template-hash: abc}",
                "spec.selector of Service web names pod-template-hash",
            ),
            (
                "metadata: {name: web}\nspec: {selector: {app: web}",
                "metadata: {name: web, labels: {crossfade.dev/held-by: other}}\nspec: {selector: {app: web}",
                "Service web is held by the release of another Deployment (uid other)",
            ),
        ] {
            let subject = subject(&FILES.replacen(from, to, 1));
            let refused = subject.refused(&subject.validated()).unwrap_or_default();
            assert!(refused.contains(part), "{part} in {refused}");
        }
    }

    #[test]
    fn metrics_that_can_never_be_read_are_a_problem_of_the_plan() {
        let named = FILES.replace("port: \"8080\"", "port: metrics");
        let problems = subject(&named).validated().problems;
        assert!(
            problems
                .iter()
                .any(|problem| problem.contains("prometheus.io/port is \"metrics\"")),
            "{problems:?}"
        );
    }

    #[test]
    fn a_policy_or_a_rollout_alone_is_enough() {
        let policy = "kind: RolloutPolicy\nmetadata: {name: careful}\nspec: {warm: 7m}";
        assert_eq!(subject(policy).validated().plan.warm, 420_000);
        let rollout = "kind: Rollout\napiVersion: crossfade.dev/v1alpha1\nmetadata: {name: web}\nspec: {warm: 8m}";
        let subject = subject(rollout);
        assert_eq!(subject.validated().plan.warm, 480_000);
        assert_eq!(subject.replicas(), REPLICAS);
        assert!(subject.notes.iter().any(|note| note.contains("assumed")));
    }

    #[test]
    fn several_or_none_are_no_answer() {
        let fail = |content: &str| {
            Subject::from_objects(objects(content).unwrap(), None, None)
                .unwrap_err()
                .to_string()
        };
        assert!(fail("kind: ConfigMap").contains("no Rollout"));
        let two = FILES.replace(
            "kind: Service\nmetadata: {name: other}",
            "kind: Deployment\nmetadata: {name: other}",
        );
        assert!(fail(&two).contains("other, web"));
        let worm = fail("kind: Rollout\nmetadata: {name: web}\nspec: {worm: 8m}");
        assert!(worm.contains("spec.worm"), "{worm}");
        assert!(!worm.contains("kubectl"), "it is in a file: {worm}");
        let other =
            Subject::from_objects(objects(FILES).unwrap(), Some(Named::Either("api")), None)
                .unwrap_err();
        assert_eq!(other.exit, Exit::Usage);
        assert!(other.to_string().contains("they are about: web"), "{other}");
    }
}
