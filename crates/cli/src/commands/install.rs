//! `install`: kinds, rights and admission, by server-side apply or printed.

use std::time::Duration;

use base64::Engine as _;
use crossfade_api::install::{self, Admission, INSTANCE, Installation};
use serde_json::Value;

use crate::args::{Format, Global, Install, Which};
use crate::cluster::Cluster;
use crate::exit::{Exit, Failure};
use crate::{called, output, raw};

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
        address(url)?;
        installation.admission = Admission::Url(url.clone());
    }
    if let Some(path) = &arguments.ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| authority(path, &format!("cannot be read: {error}")))?;
        // The API server refuses it too, but only when the half is applied.
        let begins: &[u8] = b"-----BEGIN CERTIFICATE-----";
        if !pem.windows(begins.len()).any(|part| part == begins) {
            return Err(authority(path, "has no certificate in it"));
        }
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

/// What is wrong with `--ca-file`.
fn authority(path: &std::path::Path, why: &str) -> Failure {
    Failure::new(format!("--ca-file {}: {why}", path.display()))
        .next("name a file with the certificate of the authority in PEM, or leave it out: the controller then fills it in")
        .exit(Exit::Usage)
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
    eprintln!("{}", next(&installation, arguments.no_admission)?);
    Ok(Exit::Done)
}

/// Where the controller listens, and by which name the API server calls it.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
}

/// Host and port of `--admission-url`.
fn address(url: &str) -> Result<Address, Failure> {
    let wrong = |why: &str| {
        Failure::new(format!("--admission-url \"{url}\": {why}"))
            .next("write for example https://10.0.0.1:9443")
            .exit(Exit::Usage)
    };
    let uri: http::Uri = url.parse().map_err(|_| wrong("it is not an address"))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("API servers call admission over TLS only"));
    }
    // In an address of the web IPv6 stands in brackets; in a certificate it does not.
    let host = (uri.host().unwrap_or_default()).trim_matches(['[', ']']);
    if host.is_empty() {
        return Err(wrong("it names no host"));
    }
    Ok(Address {
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(443),
    })
}

/// How the controller is run for what was installed. Its certificate is for the names it is told: without
/// `--admission-host` only for those of the Service, and the API server would refuse every guarded write.
fn next(installation: &Installation, no_admission: bool) -> Result<String, Failure> {
    let Installation {
        name,
        namespace,
        service_account,
        ..
    } = installation;
    let mut command = format!(
        "crossfade-controller --installation {name} --service-account {namespace}:{service_account}"
    );
    if let Some(names) = &installation.namespaces {
        command.push_str(&format!(" --namespaces {}", names.join(",")));
    }
    let mut in_a_pod = "";
    match &installation.admission {
        _ if no_admission => {}
        Admission::Url(url) => {
            let Address { host, port } = address(url)?;
            command.push_str(&format!(
                " --admission-address 0.0.0.0:{port} --admission-host {host}"
            ));
        }
        Admission::Service { .. } => {
            command.push_str(" --admission-address 0.0.0.0:9443");
            in_a_pod = "\n  in a pod with the labels the Service selects and 9443 as its container port \"admission\"; \
                        for a controller outside the cluster install with --admission-url";
        }
    }
    command.push_str(" --health-address 0.0.0.0:8080");
    if in_a_pod.is_empty() {
        command.push_str(" --kubeconfig FILE");
    }
    let until = if no_admission {
        format!(
            "Nothing is gated: start releases by {}, once the controller runs:",
            called::ours().crossfade(None, "run")
        )
    } else {
        "Template changes of opted-in Deployments are refused until the controller runs:".to_owned()
    };
    let identity = if in_a_pod.is_empty() {
        format!(
            "as that ServiceAccount: in FILE the user has \"tokenFile: TOKEN\", which is read again each minute. \
             Write it, and again before it ends:\n  {} > TOKEN",
            called::kubectl(
                namespace,
                &format!("create token {service_account} --duration 24h")
            )
        )
    } else {
        format!(
            "The pod runs as the ServiceAccount {service_account} of {namespace}; its token renews itself."
        )
    };
    Ok(format!(
        "Installed. {until}\n  {command}{in_a_pod}\n{identity}\nThen opt a Deployment in: {}",
        called::ours().kubectl(
            None,
            "annotate deployment/NAME crossfade.dev/strategy=canary"
        )
    ))
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
                .next(format!(
                    "{} says why; then run install again",
                    called::ours().kubectl(None, "describe crd")
                ))
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
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::args::{Arguments, Command};

    #[test]
    fn the_controllers_command_has_the_name_it_is_called_by() {
        let of = |url: &str| Installation {
            admission: Admission::Url(url.to_owned()),
            ..Installation::default()
        };
        for (url, flags) in [
            (
                "https://10.0.0.1:9443",
                "--admission-address 0.0.0.0:9443 --admission-host 10.0.0.1 --health-address",
            ),
            (
                "https://crossfade.example/",
                "--admission-address 0.0.0.0:443 --admission-host crossfade.example --health-address",
            ),
            (
                "https://[2001:db8::1]:8443",
                "--admission-address 0.0.0.0:8443 --admission-host 2001:db8::1 --health-address",
            ),
        ] {
            let said = next(&of(url), false).unwrap();
            assert!(said.contains(flags), "{url}: {said}");
            assert!(said.contains("--kubeconfig FILE") && said.contains("create token crossfade"));
        }
        let pod = next(&Installation::default(), false).unwrap();
        assert!(!pod.contains("--admission-host"), "by its Service: {pod}");
        assert!(pod.contains("container port \"admission\""), "{pod}");
        let ungated = next(&of("https://10.0.0.1:9443"), true).unwrap();
        assert!(!ungated.contains("--admission"), "{ungated}");
        assert!(ungated.contains("Nothing is gated"), "{ungated}");
    }

    #[test]
    fn an_authority_that_is_none_is_refused_by_name() {
        for (path, why) in [
            ("/nothing/here", "cannot be read"),
            ("src/lib.rs", "has no certificate"),
        ] {
            let words = ["crossfade", "install", "--ca-file", path];
            let parsed = Arguments::try_parse_from(words).unwrap();
            let Command::Install(arguments) = parsed.command else {
                unreachable!("it is install");
            };
            let failure = objects("here", &arguments).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            let text = failure.to_string();
            assert!(text.contains("--ca-file") && text.contains(why), "{text}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_called_is_refused() {
        for url in ["http://10.0.0.1:9443", "10.0.0.1:9443", "https://", ""] {
            let failure = address(url).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{url}");
            assert!(
                failure.to_string().contains("https://10.0.0.1:9443"),
                "{failure}"
            );
        }
    }

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
