//! `install`: kinds, rights and admission, by server-side apply or printed.

use std::time::Duration;

use base64::Engine as _;
use crossfade_api::install::{self, Admission, INSTANCE, Installation};
use serde_json::Value;

use crate::args::{Format, Global, Install, Which};
use crate::cluster::Cluster;
use crate::exit::{Exit, Failure};
use crate::{output, raw};

/// Longest wait for the API server to serve the kinds.
const ESTABLISHED: u32 = 30;

/// The installation the flags speak of.
pub fn installation(namespace: &str, which: &Which) -> Installation {
    Installation {
        name: which.name.clone(),
        namespace: namespace.to_owned(),
        service_account: which.service_account.clone(),
        namespaces: which.namespaces.clone(),
        ..Installation::default()
    }
}

fn objects(namespace: &str, arguments: &Install) -> Result<(Installation, Vec<Value>), Failure> {
    let mut installation = installation(namespace, &arguments.which);
    if let Some(url) = &arguments.admission_url {
        if !url.starts_with("https://") {
            return Err(
                Failure::new(format!("\"{url}\" is not an https:// address"))
                    .next("API servers call admission over TLS only")
                    .exit(Exit::Usage),
            );
        }
        installation.admission = Admission::Url(url.clone());
    }
    if let Some(path) = &arguments.ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        installation.ca_bundle = Some(base64::engine::general_purpose::STANDARD.encode(pem));
    }
    let all = install::objects(&installation)
        .into_iter()
        // The policy against deletions needs no webhook and stays.
        .filter(|object| {
            let kind = object["kind"].as_str().unwrap_or_default();
            !(arguments.no_admission && kind.ends_with("WebhookConfiguration"))
        })
        .collect();
    Ok((installation, all))
}

/// Prints everything.
pub fn print(global: &Global, arguments: &Install) -> Result<Exit, Failure> {
    let namespace = global.namespace.as_deref().unwrap_or("crossfade-system");
    let (_, objects) = objects(namespace, arguments)?;
    match arguments.output {
        Some(Format::Yaml) => {
            let documents = objects
                .iter()
                .map(output::yaml)
                .collect::<Result<Vec<_>, _>>()?;
            output::say(&documents.join("\n---\n"))?;
        }
        Some(format) => output::print(&output::list(objects), format)?,
        None => {}
    }
    Ok(Exit::Done)
}

/// Applies everything.
pub async fn run(cluster: &Cluster, arguments: &Install) -> Result<Exit, Failure> {
    let (installation, objects) = objects(&cluster.namespace, arguments)?;
    let mut kinds_ready = false;
    for object in &objects {
        let is_kind = object["kind"] == "CustomResourceDefinition";
        if !is_kind && !kinds_ready {
            established(cluster, &objects).await?;
            kinds_ready = true;
        }
        if let Some(other) = other_instance(cluster, object).await? {
            return Err(Failure::new(format!(
                "{} belongs to the installation {other}",
                raw::title(object)
            ))
            .next("choose another --name and --service-account, or another --namespace"));
        }
        raw::apply(cluster, object).await?;
        eprintln!("applied {}", raw::title(object));
    }
    let Installation {
        name,
        namespace,
        service_account,
        ..
    } = &installation;
    let only = installation
        .namespaces
        .as_ref()
        .map_or_else(String::new, |names| {
            format!(" --namespaces {}", names.join(","))
        });
    eprintln!(
        "Installed. Template changes of opted-in Deployments are refused until the controller runs:\n  \
         crossfade-controller --installation {name} --service-account {namespace}:{service_account}{only} \
         --admission-address 0.0.0.0:9443 --kubeconfig …\n  \
         with a token of that ServiceAccount (kubectl -n {namespace} create token {service_account}).\n\
         Then opt a Deployment in: kubectl annotate deployment/NAME crossfade.dev/strategy=canary"
    );
    Ok(Exit::Done)
}

/// Another installation that owns an object of this name.
pub(crate) async fn other_instance(
    cluster: &Cluster,
    object: &Value,
) -> Result<Option<String>, Failure> {
    if instance(object).is_none() {
        return Ok(None);
    }
    let present = raw::get(cluster, "read what is installed", &raw::path(object)?)
        .await?
        .unwrap_or_default();
    Ok(anothers(object, &present).map(str::to_owned))
}

fn instance(object: &Value) -> Option<&str> {
    object["metadata"]["labels"][INSTANCE].as_str()
}

/// The installation that owns what is there, if it is not that of ours.
fn anothers<'a>(ours: &Value, there: &'a Value) -> Option<&'a str> {
    let theirs = instance(there)?;
    (instance(ours)? != theirs).then_some(theirs)
}

/// Waits until the API server serves the kinds.
async fn established(cluster: &Cluster, objects: &[Value]) -> Result<(), Failure> {
    for object in objects
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
    {
        let mut left = ESTABLISHED;
        loop {
            let present = raw::get(cluster, "read the kind", &raw::path(object)?)
                .await?
                .unwrap_or_default();
            let conditions = present["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if conditions.iter().any(|condition| {
                condition["type"] == "Established" && condition["status"] == "True"
            }) {
                break;
            }
            if left == 0 {
                return Err(Failure::new(format!(
                    "the API server does not serve {} yet",
                    raw::title(object)
                ))
                .next("kubectl describe crd says why; then run install again")
                .exit(Exit::TimedOut));
            }
            left -= 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_installation_owns_is_seen() {
        let of = |name: &str| json!({ "metadata": { "labels": { (INSTANCE): name } } });
        assert_eq!(anothers(&of("blue"), &of("green")), Some("green"));
        assert_eq!(anothers(&of("blue"), &of("blue")), None);
        // Not there, or nobody's by its labels: the kinds, which all share, have none.
        assert_eq!(anothers(&of("blue"), &Value::Null), None);
        assert_eq!(anothers(&json!({ "metadata": {} }), &of("green")), None);
    }
}
