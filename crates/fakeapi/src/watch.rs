//! WATCH: what happened to a kind behind a revision, as lines, for as long as asked. What is kept of
//! the past is the business of `history`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::{Answer, Payload, object_bytes};
use crate::error::StatusError;
use crate::history::{Event, Form, Stored};
use crate::read::{asked_revision, too_large, wanted_form};
use crate::request::{Place, Request, Selection};
use crate::state::FakeApi;

/// Bookmarks come about this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// And once more this long before the end.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// The least `--min-request-timeout` gives a watch that names none; the real server adds up to as much.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// Events taken from the history at once.
const BATCH: usize = 256;

/// One watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    api: FakeApi,
    place: Place,
    selection: Selection,
    form: Form,
    rewrite: Option<String>,
    /// Everything up to here was shown.
    cursor: u64,
    lines: VecDeque<Bytes>,
    ended: bool,
    end: Instant,
    next_bookmark: Option<Instant>,
    cuts: u64,
    wake: watch::Receiver<u64>,
}

enum Step {
    Lines(Vec<Bytes>),
    Wait(Option<Instant>),
    End(Option<Bytes>),
}

/// Begins a watch.
pub(crate) fn start(
    api: &FakeApi,
    request: &Request,
    place: &Place,
) -> Result<Answer, StatusError> {
    let query = &request.query;
    let selection = Selection::of(place, query)?;
    let form = wanted_form(&request.accept);
    let bookmarks = query.flag("allowWatchBookmarks");
    let initial = query.text("sendInitialEvents");
    if !initial.is_empty() && query.text("resourceVersionMatch") != "NotOlderThan" {
        return Err(StatusError::invalid_kind(
            "meta.k8s.io",
            "ListOptions",
            "",
            &[crate::error::Cause::new(
                "FieldValueForbidden",
                "resourceVersionMatch",
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )],
        ));
    }
    let asked = asked_revision(query)?;
    let now = Instant::now();
    let timeout = query
        .number("timeoutSeconds")?
        .filter(|seconds| *seconds > 0)
        .map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let rewrite = (place.version != place.resource.version).then(|| place.api_version());
    let (cursor, snapshot, cuts, wake) = api.with(|state| {
        too_large(state, asked)?;
        let current = state.revision;
        let refuse = state.gone_as_status;
        let store = state.store(&place.resource.storage);
        let from = asked.filter(|revision| *revision > 0);
        // With nothing to start from, what is there comes first as ADDED.
        let synthetic = match initial {
            "true" => true,
            "false" => false,
            _ => from.is_none(),
        };
        let snapshot: Option<Vec<_>> = synthetic.then(|| {
            store
                .objects
                .iter()
                .filter(|(namespace, _)| {
                    selection.namespace.is_empty() || selection.namespace == **namespace
                })
                .flat_map(|(_, names)| names.values())
                .filter(|stored| selection.matches(&stored.value))
                .cloned()
                .collect()
        });
        let cursor = match from {
            Some(from) if !synthetic => from,
            _ => current,
        };
        if cursor < store.floor && refuse {
            return Err(too_old(cursor, store.floor));
        }
        Ok((cursor, snapshot, store.cuts, store.wake.subscribe()))
    })?;
    let mut watcher = Watcher {
        api: api.clone(),
        place: place.clone(),
        selection,
        form,
        rewrite,
        cursor,
        lines: VecDeque::new(),
        ended: false,
        end: now + timeout,
        next_bookmark: bookmarks.then(|| now + BOOKMARK_EVERY),
        cuts,
        wake,
    };
    if snapshot.is_none()
        && let Some(floor) = watcher.floor().filter(|floor| cursor < *floor)
    {
        watcher.lines.push_back(error_line(&too_old(cursor, floor)));
        watcher.ended = true;
    }
    for stored in snapshot.into_iter().flatten() {
        let line = watcher.line("ADDED", &stored);
        watcher.lines.push_back(line);
    }
    if initial == "true" && bookmarks {
        let line = watcher.bookmark(true);
        watcher.lines.push_back(line);
    }
    Ok(Answer {
        status: 200,
        warnings: Vec::new(),
        payload: Payload::Watch(Box::new(watcher)),
    })
}

fn too_old(cursor: u64, floor: u64) -> StatusError {
    StatusError::expired(format!("too old resource version: {cursor} ({floor})"))
}

fn error_line(error: &StatusError) -> Bytes {
    let mut line = json!({ "type": "ERROR", "object": error.to_value() }).to_string();
    line.push('\n');
    Bytes::from(line)
}

impl Watcher {
    /// The lines, until the watch ends.
    pub(crate) fn into_lines(self) -> BoxStream<'static, Bytes> {
        futures::stream::unfold(self, |mut watcher| async move {
            let line = watcher.next().await?;
            Some((line, watcher))
        })
        .boxed()
    }

    fn floor(&self) -> Option<u64> {
        self.api.with(|state| {
            state
                .stores
                .get(&self.place.resource.storage)
                .map(|store| store.floor)
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            match self.look() {
                Step::Lines(lines) => self.lines.extend(lines),
                Step::End(line) => {
                    self.ended = true;
                    self.lines.extend(line);
                }
                Step::Wait(held) => self.wait(held).await,
            }
        }
    }

    /// What there is to show now.
    fn look(&mut self) -> Step {
        // Marked as seen first: what comes after this look wakes the wait.
        self.wake.borrow_and_update();
        let now = Instant::now();
        let storage = &self.place.resource.storage;
        let (events, cuts, held, revision, floor) = self.api.with(|state| {
            let revision = state.revision;
            let store = state.store(storage);
            let held = store.held_until.filter(|until| *until > now);
            let events = if held.is_some() {
                Some(Vec::new())
            } else {
                store.since(self.cursor, BATCH)
            };
            (events, store.cuts, held, revision, store.floor)
        });
        if cuts != self.cuts {
            return Step::End(None);
        }
        let Some(events) = events else {
            return Step::End(Some(error_line(&too_old(self.cursor, floor))));
        };
        if events.is_empty() {
            if held.is_none() {
                self.cursor = self.cursor.max(revision);
            }
            if now >= self.end {
                return Step::End(None);
            }
            if self.next_bookmark.is_some_and(|due| now >= due) {
                let last = self
                    .end
                    .checked_sub(LAST_BOOKMARK)
                    .filter(|last| *last > now);
                self.next_bookmark = last.map(|last| (now + BOOKMARK_EVERY).min(last));
                return Step::Lines(vec![self.bookmark(false)]);
            }
            return Step::Wait(held);
        }
        let mut lines = Vec::new();
        for event in &events {
            self.cursor = event.revision;
            lines.extend(self.show(event));
        }
        Step::Lines(lines)
    }

    async fn wait(&mut self, held: Option<Instant>) {
        let mut until = self.end;
        for other in [held, self.next_bookmark].into_iter().flatten() {
            until = until.min(other);
        }
        tokio::select! {
            biased;
            changed = self.wake.changed() => {
                if changed.is_err() {
                    self.ended = true;
                }
            }
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// An event as this watch sees it: what leaves the selection is deleted for it.
    fn show(&self, event: &Event) -> Option<Bytes> {
        if !self.selection.namespace.is_empty() && self.selection.namespace != event.namespace {
            return None;
        }
        let selected = |stored: &Stored| self.selection.matches(&stored.value);
        let before = event.before.as_deref().is_some_and(selected);
        let after = event.after.as_ref().filter(|stored| selected(stored));
        match (before, after) {
            (false, Some(after)) => Some(self.line("ADDED", after)),
            (true, Some(after)) => Some(self.line("MODIFIED", after)),
            (true, None) => {
                let gone = event.gone()?;
                Some(self.line("DELETED", &gone))
            }
            (false, None) => None,
        }
    }

    fn line(&self, kind: &str, stored: &Stored) -> Bytes {
        let object = object_bytes(stored, self.form, self.rewrite.as_deref());
        let mut line = BytesMut::with_capacity(object.len() + kind.len() + 24);
        line.put_slice(b"{\"type\":\"");
        line.put_slice(kind.as_bytes());
        line.put_slice(b"\",\"object\":");
        line.put_slice(&object);
        line.put_slice(b"}\n");
        line.freeze()
    }

    fn bookmark(&self, initial: bool) -> Bytes {
        let mut metadata = json!({
            "resourceVersion": self.cursor.to_string(),
        });
        if initial && let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(
                "annotations".to_owned(),
                json!({ "k8s.io/initial-events-end": "true" }),
            );
        }
        let (kind, api_version) = if self.form == Form::Metadata {
            (
                "PartialObjectMetadata".to_owned(),
                "meta.k8s.io/v1".to_owned(),
            )
        } else {
            (self.place.resource.kind.clone(), self.place.api_version())
        };
        // A typed object has what its type never leaves out.
        let mut object = if self.form == Form::Metadata || self.place.resource.custom {
            json!({})
        } else {
            let resource = &self.place.resource;
            crate::managed::blank(&resource.group, &resource.plural).clone()
        };
        if let Some(map) = object.as_object_mut() {
            map.insert("kind".to_owned(), Value::from(kind));
            map.insert("apiVersion".to_owned(), Value::from(api_version));
            map.insert("metadata".to_owned(), metadata);
        }
        let mut line = json!({ "type": "BOOKMARK", "object": object }).to_string();
        line.push('\n');
        Bytes::from(line)
    }
}
