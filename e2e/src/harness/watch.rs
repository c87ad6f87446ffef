//! A watched collection: its objects now, and everything that was seen of them since, with times.
//!
//! Scenarios wait on it rather than sleep, and ask it afterwards what happened meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::api::{Api, text};

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// ADDED, MODIFIED or DELETED, as the server said it (a list stands for what it shows).
    pub(crate) event: String,
    pub(crate) object: Value,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    history: Vec<Seen>,
}

#[derive(Debug)]
pub(crate) struct Watch {
    path: String,
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Returns when the first list is there. `path` may have a query (`?labelSelector=…`).
    pub(crate) async fn start(api: &Api, path: &str) -> anyhow::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let (tell, changed) = watch::channel(0);
        let version = relist(api, path, &state, &tell).await?;
        let task = tokio::spawn(follow(
            api.clone(),
            path.to_owned(),
            version,
            Arc::clone(&state),
            tell,
        ));
        Ok(Self {
            path: path.to_owned(),
            state,
            changed,
            task,
        })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn objects(&self) -> Vec<Value> {
        self.locked().objects.values().cloned().collect()
    }

    pub(crate) fn object(&self, name: &str) -> Option<Value> {
        self.locked().objects.get(name).cloned()
    }

    /// Everything seen so far, in order.
    pub(crate) fn history(&self) -> Vec<Seen> {
        self.locked().history.clone()
    }

    /// Waits until `look` finds something among the objects (by name); `what` says what is waited for when it does not come.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&BTreeMap<String, Value>) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if let Some(found) = look(&self.locked().objects) {
                return Ok(found);
            }
            match timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => anyhow::bail!(
                    "the watch of {} ended while waiting until {what}",
                    self.path
                ),
                Err(_) => anyhow::bail!(
                    "waited {} s and not yet: {what} ({})",
                    limit.as_secs(),
                    self.path
                ),
            }
        }
    }

    /// `until` for one object by name.
    pub(crate) async fn until_object<T>(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.until(what, limit, |objects| objects.get(name).and_then(&look))
            .await
    }

    pub(crate) async fn until_gone(&self, name: &str, limit: Duration) -> anyhow::Result<()> {
        self.until(&format!("{name} is gone"), limit, |objects| {
            (!objects.contains_key(name)).then_some(())
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relist(
    api: &Api,
    path: &str,
    state: &Mutex<State>,
    tell: &watch::Sender<u64>,
) -> anyhow::Result<String> {
    let (items, version) = api.list(path).await?;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let at = Instant::now();
    let mut before = std::mem::take(&mut state.objects);
    for item in items {
        let name = text(&item, "/metadata/name").to_owned();
        let old = before.remove(&name);
        if old.as_ref() != Some(&item) {
            let event = if old.is_some() { "MODIFIED" } else { "ADDED" };
            state.history.push(Seen {
                at,
                event: event.to_owned(),
                object: item.clone(),
            });
        }
        state.objects.insert(name, item);
    }
    state
        .history
        .extend(before.into_values().map(|object| Seen {
            at,
            event: "DELETED".to_owned(),
            object,
        }));
    tell.send_modify(|count| *count += 1);
    Ok(version)
}

async fn follow(
    api: Api,
    path: String,
    mut version: String,
    state: Arc<Mutex<State>>,
    tell: watch::Sender<u64>,
) {
    loop {
        // The end of a watch is ordinary; going on from where it ended loses nothing, and a version too old brings a new list.
        if read(&api, &path, &mut version, &state, &tell)
            .await
            .is_err()
        {
            match relist(&api, &path, &state, &tell).await {
                Ok(fresh) => version = fresh,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

async fn read(
    api: &Api,
    path: &str,
    version: &mut String,
    state: &Mutex<State>,
    tell: &watch::Sender<u64>,
) -> anyhow::Result<()> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let stream = api.stream(&format!("{path}{joint}watch=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion={version}")).await?;
    let mut lines = std::pin::pin!(stream.lines().into_stream());
    while let Some(line) = lines.next().await {
        let mut event: Value = serde_json::from_str(&line?)?;
        let kind = text(&event, "/type").to_owned();
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        if kind == "ERROR" {
            anyhow::bail!("the watch was refused: {object}");
        }
        *version = text(&object, "/metadata/resourceVersion").to_owned();
        if kind == "BOOKMARK" {
            continue;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let name = text(&object, "/metadata/name").to_owned();
        if kind == "DELETED" {
            state.objects.remove(&name);
        } else {
            state.objects.insert(name, object.clone());
        }
        state.history.push(Seen {
            at: Instant::now(),
            event: kind,
            object,
        });
        drop(state);
        tell.send_modify(|count| *count += 1);
    }
    Ok(())
}
