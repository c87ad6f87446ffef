//! Requests counted from the API server's audit log: who read and wrote how much. What is too much belongs to the scenarios.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::api::text;

/// A place in the log, to count from.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    log: PathBuf,
    offset: u64,
}

/// Requests by verb and resource (`patch services`, `update rollouts/status`).
pub(crate) type Counts = BTreeMap<String, usize>;

impl Mark {
    pub(crate) fn now(log: &Path) -> anyhow::Result<Self> {
        let offset = std::fs::metadata(log)
            .with_context(|| format!("cannot read {}", log.display()))?
            .len();
        Ok(Self {
            log: log.to_owned(),
            offset,
        })
    }

    /// Finished requests of one user since the mark; a watch counts when it began.
    pub(crate) fn counts(&self, user: &str) -> anyhow::Result<Counts> {
        let mut counts = Counts::new();
        for request in self.requests(user)? {
            *counts.entry(request.key).or_default() += 1;
        }
        Ok(counts)
    }

    /// Finished writes of one user since the mark, in the order in which the server received them.
    pub(crate) fn writes(&self, user: &str) -> anyhow::Result<Vec<Request>> {
        let mut writes = self.requests(user)?;
        writes.retain(|request| !is_read(&request.key));
        writes.sort_by_key(|request| request.received);
        Ok(writes)
    }

    fn requests(&self, user: &str) -> anyhow::Result<Vec<Request>> {
        let mut file = std::fs::File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut log = String::new();
        file.read_to_string(&mut log)?;
        // The last line may still be in the making.
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| {
                let watch = text(line, "/verb") == "watch";
                let stage = if watch {
                    "ResponseStarted"
                } else {
                    "ResponseComplete"
                };
                text(line, "/stage") == stage && text(line, "/user/username") == user
            })
            .map(|line| {
                let subresource = text(&line, "/objectRef/subresource");
                let slash = if subresource.is_empty() { "" } else { "/" };
                Ok(Request {
                    key: format!(
                        "{} {}{slash}{subresource}",
                        text(&line, "/verb"),
                        text(&line, "/objectRef/resource")
                    ),
                    name: text(&line, "/objectRef/name").to_owned(),
                    received: text(&line, "/requestReceivedTimestamp").parse()?,
                })
            })
            .collect()
    }
}

/// One finished request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Verb and resource, as in [`Counts`].
    pub(crate) key: String,
    pub(crate) name: String,
    /// By the server's clock.
    pub(crate) received: Timestamp,
}

fn is_read(key: &str) -> bool {
    ["get ", "list ", "watch "]
        .iter()
        .any(|read| key.starts_with(read))
}

pub(crate) fn writes(counts: &Counts) -> usize {
    counts
        .iter()
        .filter(|(key, _)| !is_read(key))
        .map(|(_, count)| count)
        .sum()
}

pub(crate) fn reads(counts: &Counts) -> usize {
    counts.values().sum::<usize>() - writes(counts)
}
