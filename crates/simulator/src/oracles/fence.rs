//! Law 7: what may still land late holds up what takes something away. After a write without an answer,
//! and after a process began to lead, nothing is shrunk, deleted or pointed away from stable for the
//! time limit of a write. Pointing at stable is never held up, and giving a Service back is not where
//! requests are lost until it is done.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::book::Book;
use super::model::{Model, pinned_to, size};
use super::writes::resource_of;
use crate::faults::Class;
use crate::faults::door::Issued;
use crate::json::{at, deleting, text};

/// Answers on their way, and the planner's own time.
const SLACK: Duration = Duration::from_millis(50);
/// What a write without an answer can be about.
const HELD: [&str; 4] = [
    "services",
    "deployments",
    "replicasets",
    "controllerrevisions",
];

/// A write that was sent and not answered, or answered with an error of the server.
#[derive(Clone, Debug)]
struct Open {
    replica: usize,
    incarnation: u32,
    number: u64,
    namespace: String,
    at: Duration,
    words: String,
}

/// The writes that may still land.
#[derive(Clone, Debug, Default)]
pub struct Fences {
    open: Vec<Open>,
}

impl Fences {
    /// A write is sent: what is wrong with sending it now, then it is open itself. `leads_since` is when
    /// its process got the lease.
    pub fn sent(
        &mut self,
        issued: &Issued,
        now: Duration,
        leads_since: Option<Duration>,
        write_timeout: Duration,
        model: &Model,
        books: &BTreeMap<String, Book>,
    ) -> Option<String> {
        if issued.class != Class::Write || !HELD.contains(&resource_of(&issued.path)) {
            return None;
        }
        self.open
            .retain(|open| open.at + write_timeout > now + SLACK);
        let namespace = namespace_of(&issued.path);
        let wrong = takes_away(issued, namespace, model, books).and_then(|what| {
            let began = leads_since.filter(|since| *since + write_timeout > now + SLACK);
            if let Some(since) = began {
                let after = now.saturating_sub(since).as_millis();
                return Some(format!(
                    "{} {what} {after} ms after it began to lead",
                    issued.words()
                ));
            }
            self.open
                .iter()
                .find(|open| {
                    (open.replica, open.incarnation) == (issued.replica, issued.incarnation)
                        && open.namespace == namespace
                })
                .map(|open| {
                    format!(
                        "{} {what} while {} may still land",
                        issued.words(),
                        open.words
                    )
                })
        });
        if only_managed_fields(&issued.body) {
            // Under the resourceVersion of the write before it: late or not, it moves and takes nothing.
            return wrong;
        }
        self.open.push(Open {
            replica: issued.replica,
            incarnation: issued.incarnation,
            number: issued.number,
            namespace: namespace.to_owned(),
            at: now,
            words: issued.words(),
        });
        wrong
    }

    /// Its process has been told what came of it.
    pub fn answered(&mut self, issued: &Issued) {
        self.open.retain(|open| {
            (open.replica, open.incarnation, open.number)
                != (issued.replica, issued.incarnation, issued.number)
        });
    }
}

fn only_managed_fields(patch: &Value) -> bool {
    patch.as_array().is_some_and(|operations| {
        operations.iter().all(|operation| {
            text(operation, "/op") == "test"
                || text(operation, "/path") == "/metadata/managedFields"
        })
    })
}

fn namespace_of(path: &str) -> &str {
    path.split('/')
        .skip_while(|part| *part != "namespaces")
        .nth(1)
        .unwrap_or_default()
}

fn name_of(path: &str) -> &str {
    path.split('/')
        .skip_while(|part| *part != "namespaces")
        .nth(3)
        .unwrap_or_default()
}

/// What a write takes away, if it does.
fn takes_away(
    issued: &Issued,
    namespace: &str,
    model: &Model,
    books: &BTreeMap<String, Book>,
) -> Option<&'static str> {
    let (resource, name) = (resource_of(&issued.path), name_of(&issued.path));
    // What has been judged gone is no workload's any more.
    let there = model.get(resource, namespace, name)?;
    match resource {
        "deployments" | "replicasets" if issued.method == Method::DELETE => {
            (!deleting(there)).then_some("deletes it")
        }
        "deployments" | "replicasets" => {
            let wanted = at(&issued.body, "/spec/replicas").and_then(Value::as_i64)?;
            (wanted < size(there)).then_some("makes it smaller")
        }
        "services" => {
            let wanted = at(&issued.body, "/spec/selector/pod-template-hash")?;
            let of_release = |book: &&Book| {
                book.namespace == namespace && book.in_phase(&["Preparing", "Progressing", "Warm"])
            };
            let release = books
                .values()
                .filter(of_release)
                .find_map(|book| book.release.as_ref())?;
            let stable = Some(release.stable_set.1.as_str());
            (pinned_to(there) == stable && wanted.as_str() != stable)
                .then_some("points it away from stable")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use crossfade_fakeapi::Key;
    use serde_json::json;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn patch(number: u64, replicas: i64) -> Issued {
        Issued {
            installation: "crossfade".into(),
            replica: 0,
            incarnation: 1,
            number,
            class: Class::Write,
            method: Method::PATCH,
            path: "/apis/apps/v1/namespaces/shop/deployments/web-next".to_owned(),
            query: String::new(),
            content_type: "application/merge-patch+json".to_owned(),
            body: json!({ "spec": { "replicas": replicas } }),
            at: tokio::time::Instant::now(),
            late: AtomicBool::new(false),
        }
    }

    fn model() -> Model {
        let mut model = Model::default();
        let object = json!({ "metadata": { "name": "web-next" }, "spec": { "replicas": 4 } });
        model.insert(
            Key::new("deployments", "shop", "web-next"),
            std::sync::Arc::new(object),
        );
        model
    }

    fn at_second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn nothing_shrinks_while_a_write_may_land() {
        let (model, books) = (model(), BTreeMap::new());
        let mut fences = Fences::default();
        let mut sent = |issued: &Issued, second| {
            fences.sent(issued, at_second(second), None, LIMIT, &model, &books)
        };
        assert_eq!(sent(&patch(1, 6), 0), None, "growing takes nothing away");
        assert!(sent(&patch(2, 2), 1).is_some());
        assert_eq!(sent(&patch(3, 2), 4), None, "both are over by then");
    }

    #[test]
    fn an_answer_ends_it_and_a_new_leader_begins_one() {
        let (model, books) = (model(), BTreeMap::new());
        let mut fences = Fences::default();
        let first = patch(1, 6);
        fences.sent(
            &first,
            at_second(10),
            Some(at_second(0)),
            LIMIT,
            &model,
            &books,
        );
        fences.answered(&first);
        let mut sent = |since| {
            let shrink = patch(2, 2);
            let wrong = fences.sent(&shrink, at_second(11), Some(since), LIMIT, &model, &books);
            fences.answered(&shrink);
            wrong
        };
        assert_eq!(sent(at_second(0)), None);
        assert!(sent(at_second(10)).is_some());
    }
}
