//! The connection to the cluster, and its errors in words that say what to do.

use std::future::Future;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};

use crate::args::Global;
use crate::called;
use crate::exit::Failure;

/// Longest wait for one call.
const LIMIT: Duration = Duration::from_secs(20);

const CHANGED: &str =
    "somebody changed it, or created it again, in between: look at it and try again";

/// A cluster and the namespace meant.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
}

impl Cluster {
    /// By flags, environment and files, as kubectl does.
    pub async fn connect(global: &Global) -> Result<Self, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::new(format!("no usable kubeconfig: {error}"))
                .next("name one with --kubeconfig or KUBECONFIG, and a context with --context")
        };
        let options = KubeConfigOptions {
            context: global.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match (&global.kubeconfig, &global.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path).map_err(|error| unreadable(&error))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|error| unreadable(&error))?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| unreadable(&error))?,
            (None, None) => Config::infer().await.map_err(|error| unreadable(&error))?,
        };
        config.connect_timeout = Some(Duration::from_secs(10));
        // A command is written once and its answer is shown; hidden repetitions would hide errors.
        config.default_retry = false;
        let namespace = global
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| unreadable(&error))?;
        Ok(Self { client, namespace })
    }

    /// The Rollouts of the namespace, as they are: one that cannot be decoded is one of them too.
    pub fn rollouts(&self) -> Api<DynamicObject> {
        self.namespaced::<crossfade_api::Rollout>()
    }

    /// The Rollouts of every namespace.
    pub fn all_rollouts(&self) -> Api<DynamicObject> {
        self.everywhere::<crossfade_api::Rollout>()
    }

    /// Objects of a kind of ours in the namespace, undecoded.
    pub fn namespaced<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<K>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// Objects of a kind of ours in the cluster, undecoded.
    pub fn everywhere<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()))
    }
}

/// One call within its time, its error explained. `what` goes on after "cannot".
pub async fn call<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(LIMIT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(what, &error)),
        Err(_) => Err(Failure::new(format!(
            "cannot {what}: the API server did not answer within {} s",
            LIMIT.as_secs()
        ))
        .next(connection())),
    }
}

fn connection() -> String {
    format!(
        "check the connection: {}",
        called::ours().kubectl(None, "version")
    )
}

/// What the API server refused, or why it was not reached.
pub fn explain(what: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => {
            let failure = Failure::new(format!("cannot {what}: {}", status.message));
            match status.code {
                401 => failure.next("log in again, or name another context with --context"),
                403 if status.message.contains("Crossfade")
                    || status.message.contains("admission webhook") =>
                {
                    failure.next("do as the message says")
                }
                403 => failure.next("ask for the right, or name another context with --context"),
                404 if status
                    .message
                    .contains("could not find the requested resource")
                    || status.message.contains("page not found") =>
                {
                    failure.next(format!(
                        "Crossfade is not installed in this cluster: {}",
                        called::ours().crossfade(None, "install")
                    ))
                }
                409 => failure.next(CHANGED),
                // A test of a JSON patch that fails is told no better than this.
                422 if status.message.contains("error in our request") => failure.next(CHANGED),
                500 if status.message.contains("webhook") => {
                    failure.next("the controller does not answer: is it running? Its log says more")
                }
                _ => failure,
            }
        }
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                source = inner.source();
            }
            Failure::new(format!("cannot {what}: {text}")).next(connection())
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn said(code: u16, message: &str) -> String {
        let status = Status::failure(message, "Whatever").with_code(code);
        explain("do it", &kube::Error::Api(status.boxed())).to_string()
    }

    #[test]
    fn a_failed_test_of_a_patch_is_told_as_what_it_is() {
        let unhelpful = "the server rejected our request due to an error in our request";
        assert!(said(422, unhelpful).contains("in between"));
        assert!(said(409, "the object has been modified").contains("in between"));
        assert!(!said(422, "spec.warm: Invalid value").contains("in between"));
    }

    #[test]
    fn what_is_next_is_written_for_the_cluster_that_was_asked() {
        let _plugin = called::tests::as_plugin();
        let missing = said(404, "the server could not find the requested resource");
        assert!(
            missing.ends_with("in this cluster: kubectl crossfade --context east install"),
            "{missing}"
        );
        let other = kube::Error::LinesCodecMaxLineLengthExceeded;
        let text = explain("do it", &other).to_string();
        assert!(text.ends_with("kubectl --context east version"), "{text}");
    }
}
