//! What several scripts do to a cluster beside pushing and commanding: somebody refuses our writes, pods go, the controller is away
//! while something happens, a push whose answer is looked at. Not here: the scripts themselves.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::actors::{Fate, Manner, Patch};
use crate::json::{flag, text};
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

/// Who the controller is to the API.
const OURSELVES: &str = "system:serviceaccount:crossfade-system:crossfade";
const REFUSES: &str = "refuses";
const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// From now on somebody's webhook refuses what the controller creates or changes of one kind, as a policy of the cluster may.
pub(super) async fn refuse(
    stage: &Arc<Stage>,
    resource: &str,
    operations: &[&str],
) -> Result<(), String> {
    stage.webhooks.add(
        "refuses.example.com",
        Arc::new(|review: &Value| {
            let ours = text(review, "/request/userInfo/username") == OURSELVES;
            let uid = text(review, "/request/uid");
            json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
                "uid": uid, "allowed": !ours, "status": { "code": 403, "message": "not allowed here" },
            } })
        }),
    );
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": REFUSES },
        "webhooks": [{
            "name": "refuses.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "url": "https://refuses.example.com/validate" },
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "rules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource], "operations": operations }],
        }],
    });
    let call = crossfade_fakeapi::Call::json(http::Method::POST, CONFIGURATIONS, configuration);
    let made = stage.user.call(call).await;
    made.map(|_| ()).map_err(|refused| refused.message)
}

/// The webhook of [`refuse`] goes.
pub(super) async fn allow(stage: &Arc<Stage>) -> Result<(), String> {
    let path = format!("{CONFIGURATIONS}/{REFUSES}");
    let gone = stage.user.call(crossfade_fakeapi::Call::delete(path)).await;
    gone.map(|_| ()).map_err(|refused| refused.message)
}

/// Deletes every pod of a version that is not on its way out.
pub(super) async fn delete_pods(stage: &Arc<Stage>, tag: &str) -> Result<(), String> {
    for pod in stage.list("pods") {
        if text(&pod, "/spec/containers/0/image") != image(tag) {
            continue;
        }
        match stage
            .delete("pods", text(&pod, "/metadata/name"), "Background")
            .await
        {
            Err(refused) if !refused.not_found() => return Err(refused.message),
            _ => {}
        }
    }
    Ok(())
}

/// Every pod of a version is replaced by one that never becomes ready.
pub(super) async fn breaks(stage: &Arc<Stage>, tag: &'static str) -> Result<(), String> {
    let never = Manner {
        fate: Fate::NeverReady,
        ..Manner::default()
    };
    stage.manner(tag, never);
    delete_pods(stage, tag).await?;
    stage
        .until("none of its pods serves", |stage| {
            !stage.serving().contains_key(&image(tag))
        })
        .await
}

/// And by one that does again.
pub(super) async fn mends(stage: &Arc<Stage>, tag: &str) -> Result<(), String> {
    stage.manner(tag, Manner::default());
    delete_pods(stage, tag).await
}

/// `kubectl set image`; whether the template was stored paused.
pub(super) async fn push_is_gated(stage: &Arc<Stage>, tag: &str) -> Result<bool, String> {
    stage.trace.line(&format_args!("user pushes {tag}"));
    let template = stage.app(tag).template();
    let body = json!({ "spec": { "template": { "spec": { "containers": template["spec"]["containers"] } } } });
    let stored = stage.patch(Patch::Merge, "deployments", WEB, &body).await?;
    Ok(flag(&stored, "/spec/paused"))
}

/// A merge patch of the Deployment.
pub(super) async fn writes(stage: &Arc<Stage>, body: Value) -> Result<(), String> {
    (stage.patch(Patch::Merge, "deployments", WEB, &body).await).map(|_| ())
}

/// Waits until the Rollout's message says this.
pub(super) async fn says(stage: &Arc<Stage>, what: &str) -> Result<(), String> {
    stage
        .until(&format!("the message says \"{what}\""), |stage| {
            text(&stage.rollout(), "/status/message").contains(what)
        })
        .await
}

/// Waits until there is an event of this reason.
pub(super) async fn tells(stage: &Arc<Stage>, reason: &str) -> Result<(), String> {
    stage
        .until(&format!("an event {reason}"), |stage| {
            stage
                .list("events")
                .iter()
                .any(|event| text(event, "/reason") == reason)
        })
        .await
}

/// Waits for one of these phases: with faults one may be over before anybody has looked.
pub(super) async fn any_of(stage: &Arc<Stage>, phases: &[&str]) -> Result<(), String> {
    stage
        .until(&format!("phase {}", phases.join(" or ")), |stage| {
            phases.contains(&stage.phase().as_str())
        })
        .await
}

/// At rest and nothing is held: as many pods of this version serve as are wanted, and no others.
pub(super) async fn serves_alone(stage: &Arc<Stage>, tag: &'static str) -> Result<(), String> {
    stage
        .until(
            &format!("{tag} serves alone and nothing is held"),
            |stage| {
                let Some(web) = stage.get("deployments", WEB) else {
                    return false;
                };
                let serving = stage.serving();
                let wanted = usize::try_from(crate::oracles::model::size(&web)).unwrap_or(0);
                stage.phase() == "Idle"
                    && !flag(&web, "/spec/paused")
                    && serving.len() == 1
                    && serving.get(&image(tag)).copied() == Some(wanted)
            },
        )
        .await
}

/// What must hold now.
pub(super) fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
