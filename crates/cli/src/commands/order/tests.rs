//! Commands against an API server in memory: what is written, and what is said where the Rollout is another
//! by then.

use std::sync::Arc;

use crossfade_api::install;
use crossfade_fakeapi::{Call, Caller, FakeApi, Key, Options};
use http::Method;
use kube::Client;

use super::*;
use crate::called::tests::as_plugin;

const ROLLOUTS: &str = "/apis/crossfade.dev/v1alpha1/namespaces/default/rollouts";

/// A server with the kinds, and a Rollout `web` in it.
async fn server() -> (FakeApi, Cluster) {
    let api = FakeApi::new(Options {
        clock: Arc::new(crate::clock::now),
        seed: 1,
        history: 100,
    });
    for kind in install::crds() {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        send(&api, Call::json(Method::POST, path, kind)).await;
    }
    create(&api).await;
    let caller = Caller::new("ann", "crossfade-cli");
    let cluster = Cluster {
        client: Client::new(api.service(caller), "default"),
        namespace: "default".to_owned(),
    };
    (api, cluster)
}

async fn send(api: &FakeApi, call: Call) {
    let caller = Caller::new("admin", "kubectl");
    let reply = api.call(&caller, call).await;
    assert!(reply.is_success(), "{}", reply.body);
}

async fn create(api: &FakeApi) {
    let web = json!({
        "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
        "metadata": { "name": "web", "namespace": "default" }, "spec": { "deployment": "web" },
    });
    send(api, Call::json(Method::POST, ROLLOUTS, web)).await;
}

async fn delete(api: &FakeApi) {
    send(api, Call::delete(format!("{ROLLOUTS}/web"))).await;
}

fn stored(api: &FakeApi) -> Value {
    let key = Key::new("rollouts", "default", "web");
    api.get(&key).map_or(Value::Null, |web| (*web).clone())
}

fn read(api: &FakeApi) -> Rollout {
    Rollout::read(stored(api))
}

async fn give(cluster: &Cluster, rollout: &Rollout, action: Action) -> Result<Written, Failure> {
    write(cluster, rollout, action.into(), Some("a test")).await
}

#[tokio::test]
async fn a_rollout_that_was_created_again_does_not_get_what_was_meant_for_the_one_before() {
    let _plugin = as_plugin();
    let (api, cluster) = server().await;
    let looked_at = read(&api);
    delete(&api).await;
    create(&api).await;
    for action in [Action::Promote, Action::Abort] {
        let failure = give(&cluster, &looked_at, action).await.unwrap_err();
        let text = failure.to_string();
        for part in [
            "web: the Rollout was deleted and created again",
            action.as_str(),
            "was not given",
            looked_at.metadata.uid.as_deref().unwrap(),
            read(&api).metadata.uid.as_deref().unwrap(),
            "kubectl crossfade -n default --context east status web",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(failure.exit, Exit::Error);
        assert!(stored(&api)["spec"]["control"].is_null());
    }
}

#[tokio::test]
async fn a_rollout_that_was_deleted_is_said_to_be() {
    let (api, cluster) = server().await;
    let looked_at = read(&api);
    delete(&api).await;
    let failure = give(&cluster, &looked_at, Action::Pause).await.unwrap_err();
    let text = failure.to_string();
    assert!(
        text.contains("was deleted after it was looked at; pause was not given"),
        "{text}"
    );
    assert!(text.contains("crossfade -n default list"), "{text}");
}

#[tokio::test]
async fn what_the_controller_wrote_since_keeps_no_command_back() {
    let (api, cluster) = server().await;
    let looked_at = read(&api);
    let status = json!({ "status": { "message": "a newer look" } });
    let path = format!("{ROLLOUTS}/web/status");
    send(
        &api,
        Call::patch(path, "application/merge-patch+json", status),
    )
    .await;
    let written = give(&cluster, &looked_at, Action::Abort).await.unwrap();
    let control = &stored(&api)["spec"]["control"];
    assert_eq!(control["id"], written.id);
    assert_eq!(control["action"], "abort");
}

#[tokio::test]
async fn an_abort_in_the_way_is_named_with_its_commands() {
    let _plugin = as_plugin();
    let (api, cluster) = server().await;
    let looked_at = read(&api);
    give(&cluster, &looked_at, Action::Abort).await.unwrap();
    let failure = give(&cluster, &looked_at, Action::Pause).await.unwrap_err();
    let text = failure.to_string();
    for part in [
        "the abort in spec.control is not carried out yet",
        "kubectl crossfade -n default --context east status -w web",
        "kubectl crossfade -n default --context east retry web",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn nobody_waits_for_the_answer_of_a_rollout_that_is_gone() {
    let (api, cluster) = server().await;
    let looked_at = read(&api);
    let written = give(&cluster, &looked_at, Action::Pause).await.unwrap();
    delete(&api).await;
    let mut follow = Follow::new(&cluster, "web");
    let limit = Duration::from_secs(60);
    let answer = answered(&mut follow, &looked_at, &written, limit, None).await;
    let text = answer.unwrap_err().to_string();
    assert!(text.contains("pause was not answered"), "{text}");
    assert!(!text.contains("created again"), "{text}");
}

#[tokio::test]
async fn who_is_not_answered_hears_how_long_was_waited_and_how_to_wait_longer() {
    let _plugin = as_plugin();
    let (api, cluster) = server().await;
    let looked_at = read(&api);
    let written = give(&cluster, &looked_at, Action::Pause).await.unwrap();
    let mut follow = Follow::new(&cluster, "web");
    let limit = Duration::from_millis(300);
    let longer = Some("--timeout");
    let answer = answered(&mut follow, &looked_at, &written, limit, longer).await;
    let failure = answer.unwrap_err();
    assert_eq!(failure.exit, Exit::TimedOut);
    let text = failure.to_string();
    for part in [
        "web: pause is written, but the controller has not answered it within 300ms",
        "kubectl crossfade -n default --context east status -w web",
        "kubectl crossfade -n default --context east explain web",
        "--timeout waits longer",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn ids_do_not_repeat() {
    let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| fresh_id()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(|id| id.len() == 16));
}

fn rollout(uid: &str, generation: i64, control: Value, status: Value) -> Rollout {
    Rollout::read(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": uid, "generation": generation },
        "spec": { "control": control }, "status": status,
    }))
}

#[test]
fn a_command_is_answered_or_replaced_or_gone() {
    let written = Written {
        id: "mine".to_owned(),
        action: Action::Undo,
        uid: Some("u".to_owned()),
        generation: Some(5),
    };
    let id = |id: &str| json!({ "id": id, "action": "pause" });
    let waits = json!({ "phase": "Progressing" });
    let at = |generation: i64, control: Value, status: &Value| {
        fate(
            Some(&rollout("u", generation, control, status.clone())),
            &written,
        )
    };
    // From before the write; written; replaced; taken out by somebody's apply.
    assert!(at(4, id("older"), &waits).is_none());
    assert!(at(5, id("mine"), &waits).is_none());
    for control in [id("newer"), Value::Null] {
        assert!(matches!(at(6, control, &waits), Some(Fate::Replaced)));
    }
    let handled = json!({ "control": { "id": "mine", "generation": 5, "action": "undo", "outcome": "done",
        "message": "", "by": "ann" } });
    assert!(matches!(
        at(6, id("newer"), &handled),
        Some(Fate::Handled(_))
    ));
    let another = rollout("v", 1, Value::Null, waits);
    assert!(matches!(
        fate(Some(&another), &written),
        Some(Fate::Gone(true))
    ));
    assert!(matches!(fate(None, &written), Some(Fate::Gone(false))));
    let handing_over = rollout("u", 5, id("mine"), json!({ "phase": "HandingOver" }));
    let said = unanswered(&handing_over, &written, ANSWER, None).to_string();
    assert!(said.contains("as soon as it is through"), "{said}");
    assert!(said.contains("within 15s"), "{said}");
}
