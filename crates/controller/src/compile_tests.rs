//! Golden requests, one per effect.

use crossfade_api::CreatedMetadata;

use super::*;

fn names() -> Names {
    Names {
        namespace: "shop".to_owned(),
        workload: "web".to_owned(),
        workload_uid: "w1".to_owned(),
        rollout: "web".to_owned(),
        rollout_uid: "r1".to_owned(),
        installation: "green".to_owned(),
    }
}

fn target(name: &str) -> Target {
    Target {
        name: name.to_owned(),
        uid: "u1".to_owned(),
        resource_version: "7".to_owned(),
    }
}

/// Method, path, content type and body of the only request.
fn only(effect: &Effect) -> (String, String, &'static str, Value) {
    let requests = compile(effect, &names());
    assert_eq!(requests.len(), 1);
    let request = requests[0].clone();
    (
        request.method.to_string(),
        request.path,
        request.content_type,
        request.body.unwrap(),
    )
}

/// A template with a field unknown to our types and a null timestamp.
fn template() -> Value {
    json!({
        "metadata": { "creationTimestamp": null, "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": "web:2", "fieldOfTheFuture": { "deep": [1, null, "x"] } }] },
    })
}

#[test]
fn a_split_writes_each_service_and_puts_managed_fields_back() {
    let fields = json!([{ "manager": "kubectl" }]);
    let effect = Effect::Split {
        services: vec![
            ServiceWrite {
                service: target("web"),
                from: None,
                held: false,
                managed_fields: fields.clone(),
            },
            ServiceWrite {
                service: target("web-internal"),
                from: Some("abc".to_owned()),
                held: true,
                managed_fields: json!([]),
            },
        ],
        to: SplitTo::Stable {
            hash: "abc".to_owned(),
        },
    };
    let requests = compile(&effect, &names());
    assert_eq!(
        requests.len(),
        2,
        "a Service that already points there is not written"
    );
    assert_eq!(
        requests[0].path,
        "/api/v1/namespaces/shop/services/web?fieldManager=crossfade"
    );
    assert_eq!(requests[0].content_type, MERGE_PATCH);
    assert_eq!(
        requests[0].body.clone().unwrap(),
        json!({
            "metadata": { "uid": "u1", "resourceVersion": "7", "labels": { "crossfade.dev/held-by": "w1" } },
            "spec": { "selector": { "pod-template-hash": "abc" } },
        })
    );
    assert_eq!(requests[1].link, Link::AfterPrevious);
    assert_eq!(
        requests[1].body.clone().unwrap(),
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "" },
            { "op": "replace", "path": "/metadata/managedFields", "value": fields },
        ])
    );
}

#[test]
fn what_is_given_back_for_nobody_loses_its_mark_last() {
    let fields = json!([{ "manager": "kubectl" }]);
    let write = ServiceWrite {
        service: target("web"),
        from: Some("abc".to_owned()),
        held: true,
        managed_fields: fields.clone(),
    };
    let unmark = |version: &str| {
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": version },
            { "op": "test", "path": "/metadata/uid", "value": "u1" },
            { "op": "remove", "path": "/metadata/labels/crossfade.dev~1held-by" },
            { "op": "replace", "path": "/metadata/managedFields", "value": fields },
        ])
    };
    let services = vec![write.clone()];
    let requests = compile(&Effect::GiveBack { services }, &names());
    assert_eq!(requests.len(), 2);
    assert_eq!(
        requests[0].body,
        Some(json!({
            "metadata": { "uid": "u1", "resourceVersion": "7" },
            "spec": { "selector": { "pod-template-hash": null } },
        }))
    );
    assert_eq!(requests[1].link, Link::AfterPrevious);
    assert_eq!(requests[1].body, Some(unmark("")));

    // What was cut short after the first write goes on with the second.
    let services = vec![ServiceWrite {
        from: None,
        ..write.clone()
    }];
    let (_, _, content, body) = only(&Effect::GiveBack { services });
    assert_eq!((content, body), (JSON_PATCH, unmark("7")));

    // Somebody took the mark off: there is none to be removed.
    let services = vec![ServiceWrite {
        held: false,
        ..write
    }];
    let requests = compile(&Effect::GiveBack { services }, &names());
    assert_eq!(
        requests[1].body,
        Some(json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "" },
            { "op": "replace", "path": "/metadata/managedFields", "value": fields },
        ]))
    );
}

#[test]
fn a_parallel_deployment_carries_the_template_byte_true_and_no_labels_but_ours_and_those_asked_for()
{
    let effect = Effect::CreateParallel(Box::new(NewParallel {
        name: "web-c1".to_owned(),
        candidate: "c1".to_owned(),
        replicas: 1,
        min_ready_seconds: 0,
        progress_deadline_seconds: Some(600),
        selector: json!({ "matchLabels": { "app": "web" } }),
        strategy: json!({ "type": "RollingUpdate" }),
        template: template(),
        originals: json!({ "plan": 1 }),
        metadata: CreatedMetadata {
            labels: [
                ("team".to_owned(), "payments".to_owned()),
                ("crossfade.dev/candidate".to_owned(), "another".to_owned()),
            ]
            .into(),
            annotations: [("note".to_owned(), "by hand".to_owned())].into(),
        },
    }));
    let (method, path, _, body) = only(&effect);
    assert_eq!(
        (method.as_str(), path.as_str()),
        (
            "POST",
            "/apis/apps/v1/namespaces/shop/deployments?fieldManager=crossfade"
        )
    );
    assert_eq!(
        body,
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "web-c1",
                "namespace": "shop",
                "labels": { "crossfade.dev/workload-uid": "w1", "crossfade.dev/rollout-uid": "r1", "crossfade.dev/candidate": "c1", "crossfade.dev/installation": "green", "team": "payments" },
                "annotations": { "note": "by hand", "crossfade.dev/originals": "{\"plan\":1}" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "w1", "controller": true, "blockOwnerDeletion": true }],
            },
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 0,
                "progressDeadlineSeconds": 600,
                "selector": { "matchLabels": { "app": "web" } },
                "strategy": { "type": "RollingUpdate" },
                "template": template(),
            },
        })
    );
}

#[test]
fn a_kept_template_is_owned_by_the_workload() {
    let (method, path, _, body) = only(&Effect::KeepTemplate {
        name: "web-c1".to_owned(),
        candidate: "c1".to_owned(),
        hash: "abc".to_owned(),
        template: template(),
        metadata: CreatedMetadata {
            labels: [("team".to_owned(), "payments".to_owned())].into(),
            annotations: [("note".to_owned(), "by hand".to_owned())].into(),
        },
    });
    assert_eq!(
        (method.as_str(), path.as_str()),
        (
            "POST",
            "/apis/apps/v1/namespaces/shop/controllerrevisions?fieldManager=crossfade"
        )
    );
    assert_eq!(
        body["data"],
        json!({ "hash": "abc", "template": template() })
    );
    assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "w1");
    assert_eq!(body["metadata"]["labels"]["crossfade.dev/candidate"], "c1");
    assert_eq!(body["metadata"]["labels"]["team"], "payments");
    assert_eq!(body["metadata"]["annotations"]["note"], "by hand");
}

#[test]
fn sizes_and_pauses_are_guarded_merge_patches() {
    for (effect, path, spec) in [
        (
            Effect::ScaleParallel {
                target: target("web-c1"),
                from: 1,
                to: 4,
            },
            "/apis/apps/v1/namespaces/shop/deployments/web-c1",
            json!({ "replicas": 4 }),
        ),
        (
            Effect::PauseParallel {
                target: target("web-c1"),
            },
            "/apis/apps/v1/namespaces/shop/deployments/web-c1",
            json!({ "paused": true }),
        ),
        (
            Effect::ScaleReplicaSet {
                target: target("web-abc"),
                from: 4,
                to: 0,
            },
            "/apis/apps/v1/namespaces/shop/replicasets/web-abc",
            json!({ "replicas": 0 }),
        ),
    ] {
        let (method, seen, content, body) = only(&effect);
        assert_eq!((method.as_str(), content), ("PATCH", MERGE_PATCH));
        assert_eq!(seen, format!("{path}?fieldManager=crossfade"));
        assert_eq!(
            body,
            json!({ "metadata": { "uid": "u1", "resourceVersion": "7" }, "spec": spec })
        );
    }
}

#[test]
fn deletions_name_the_uid_and_what_becomes_of_the_rest() {
    for (effect, propagation, preconditions) in [
        (
            Effect::DeleteParallel {
                target: target("x"),
            },
            "Background",
            json!({ "uid": "u1" }),
        ),
        (
            Effect::OrphanParallel {
                target: target("x"),
            },
            "Orphan",
            json!({ "uid": "u1", "resourceVersion": "7" }),
        ),
        (
            Effect::DeleteReplicaSet {
                target: target("x"),
            },
            "Background",
            json!({ "uid": "u1", "resourceVersion": "7" }),
        ),
        (
            Effect::DropKeptTemplate {
                target: target("x"),
            },
            "Background",
            json!({ "uid": "u1", "resourceVersion": "7" }),
        ),
    ] {
        let (method, _, _, body) = only(&effect);
        assert_eq!(method, "DELETE");
        assert_eq!(
            body,
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": preconditions })
        );
    }
}

#[test]
fn owners_change_by_index_after_tests() {
    let tests = [
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": "7" }),
        json!({ "op": "test", "path": "/metadata/uid", "value": "u1" }),
    ];
    let (_, _, content, body) = only(&Effect::Park {
        target: target("web-abc"),
        owner_index: 1,
    });
    assert_eq!(content, JSON_PATCH);
    assert_eq!(
        body,
        json!([
            tests[0], tests[1],
            { "op": "test", "path": "/metadata/ownerReferences/1/uid", "value": "w1" },
            { "op": "replace", "path": "/metadata/ownerReferences/1", "value": { "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout", "name": "web", "uid": "r1", "controller": true, "blockOwnerDeletion": false } },
        ])
    );
    let (_, _, _, body) = only(&Effect::Return {
        target: target("web-abc"),
        owner_index: 0,
    });
    assert_eq!(
        body,
        json!([
            tests[0], tests[1],
            { "op": "test", "path": "/metadata/ownerReferences/0/uid", "value": "r1" },
            { "op": "remove", "path": "/metadata/ownerReferences/0" },
        ])
    );
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "w1", "controller": true, "blockOwnerDeletion": true });
    let transfer = |has_annotations| Effect::Transfer {
        target: target("web-c1-abc"),
        owner_index: 0,
        has_annotations,
        replicas: 4,
        maximum: 5,
        revision: 2,
        copied: vec!["example.com/note".to_owned()],
    };
    let (_, _, _, body) = only(&transfer(true));
    assert_eq!(
        body,
        json!([
            tests[0], tests[1],
            { "op": "replace", "path": "/metadata/ownerReferences/0", "value": owner },
            { "op": "replace", "path": "/spec/replicas", "value": 4 },
            { "op": "add", "path": "/metadata/annotations/deployment.kubernetes.io~1desired-replicas", "value": "4" },
            { "op": "add", "path": "/metadata/annotations/deployment.kubernetes.io~1max-replicas", "value": "5" },
            { "op": "add", "path": "/metadata/annotations/deployment.kubernetes.io~1revision", "value": "2" },
            { "op": "add", "path": "/metadata/annotations/crossfade.dev~1originals", "value": "" },
            { "op": "remove", "path": "/metadata/annotations/crossfade.dev~1originals" },
            { "op": "add", "path": "/metadata/annotations/example.com~1note", "value": "" },
            { "op": "remove", "path": "/metadata/annotations/example.com~1note" },
        ])
    );
    let (_, _, _, body) = only(&transfer(false));
    assert_eq!(body[4]["path"], "/metadata/annotations");
}

#[test]
fn unpausing_tests_the_whole_template() {
    let (_, path, content, body) = only(&Effect::Unpause {
        target: target("web"),
        template: template(),
    });
    assert_eq!(
        (path.as_str(), content),
        (
            "/apis/apps/v1/namespaces/shop/deployments/web?fieldManager=crossfade",
            JSON_PATCH
        )
    );
    assert_eq!(
        body,
        json!([
            { "op": "test", "path": "/metadata/uid", "value": "u1" },
            { "op": "test", "path": "/spec/template", "value": template() },
            { "op": "remove", "path": "/spec/paused" },
        ])
    );
}

#[test]
fn managed_fields_are_put_back_at_the_version_that_was_seen() {
    let (_, _, _, body) = only(&Effect::RestoreManagedFields {
        service: target("web"),
        managed_fields: json!([]),
    });
    assert_eq!(
        body[0],
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": "7" })
    );
}

#[test]
fn stable_is_made_again_as_the_deployment_controller_would_make_it() {
    let mut template = template();
    template["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    let (method, path, _, body) = only(&Effect::CreateReplicaSet(Box::new(NewReplicaSet {
        name: "web-abc".to_owned(),
        hash: "abc".to_owned(),
        replicas: 4,
        maximum: 5,
        min_ready_seconds: 3,
        revision: 7,
        selector: json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }] }),
        template: template.clone(),
    })));
    assert_eq!(
        (method.as_str(), path.as_str()),
        (
            "POST",
            "/apis/apps/v1/namespaces/shop/replicasets?fieldManager=crossfade"
        )
    );
    assert_eq!(
        body,
        json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": "web-abc",
                "namespace": "shop",
                "labels": { "app": "web", "pod-template-hash": "abc" },
                "annotations": {
                    "deployment.kubernetes.io/desired-replicas": "4",
                    "deployment.kubernetes.io/max-replicas": "5",
                    "deployment.kubernetes.io/revision": "7",
                },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "w1", "controller": true, "blockOwnerDeletion": true }],
            },
            "spec": {
                "replicas": 4,
                "minReadySeconds": 3,
                "selector": {
                    "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }],
                    "matchLabels": { "pod-template-hash": "abc" },
                },
                "template": template,
            },
        })
    );
}

#[test]
fn a_template_is_written_back_paused_and_left_to_its_managers() {
    let (from, to) = (template(), json!({ "spec": {} }));
    let requests = compile(
        &Effect::WriteTemplate {
            target: target("web"),
            from: from.clone(),
            to: to.clone(),
        },
        &names(),
    );
    assert_eq!(requests.len(), 2);
    assert_eq!(
        requests[0].body,
        Some(json!([
            { "op": "test", "path": "/metadata/uid", "value": "u1" },
            { "op": "test", "path": "/spec/template", "value": from },
            { "op": "replace", "path": "/spec/template", "value": to },
            { "op": "add", "path": "/spec/paused", "value": true },
        ]))
    );
    assert_eq!(requests[1].link, Link::Disown);
}
