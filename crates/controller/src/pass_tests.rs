//! What a pass does where an API of a few lines is enough to tell.

use super::*;
use crate::testing;

/// Without a right nothing is decided; whoever looks at the Rollout is told which.
#[tokio::test(start_paused = true)]
async fn a_read_that_fails_again_and_again_is_shown_in_the_status() {
    let (context, asked) = testing::context(|method, path, body| match *method {
        Method::GET if path.contains("replicasets") => testing::status(403),
        Method::GET => (
            200,
            json!({ "metadata": { "name": "web", "uid": "w1" }, "spec": {} }),
        ),
        _ => (200, body.clone()),
    });
    let rollout = json!({
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "r1", "resourceVersion": "5", "generation": 1,
        },
        "spec": { "deployment": "web" },
        "status": { "phase": "Idle", "message": "web serves version 1" },
    });
    context.always.rollouts.apply("", rollout);
    let key = Key::new("shop", "web");
    let shown = || {
        let asked = lock(&asked);
        let written = asked.iter().filter(|(method, ..)| method == Method::PUT);
        let messages = written.map(|(_, _, body)| body["status"]["message"].to_string());
        messages.collect::<Vec<_>>()
    };
    for _ in 0..LASTING {
        assert!(pass(Arc::clone(&context), key.clone()).await.is_some());
        assert_eq!(
            shown(),
            Vec::<String>::new(),
            "once or twice is not worth a word"
        );
    }
    pass(Arc::clone(&context), key.clone()).await;
    let shown = shown();
    assert_eq!(shown.len(), 1, "{shown:?}");
    for part in [
        "web serves version 1; refused: ",
        "ReplicaSets",
        "forbidden",
    ] {
        assert!(shown[0].contains(part), "{part} in {shown:?}");
    }
}
