//! Requests counted from the API server's audit log: who read and wrote how much. What is too much belongs to the scenarios.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
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
        let mut file = std::fs::File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut log = String::new();
        file.read_to_string(&mut log)?;
        let mut counts = Counts::new();
        // The last line may still be in the making.
        for line in log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            let watch = text(&line, "/verb") == "watch";
            let counted = text(&line, "/stage")
                == if watch {
                    "ResponseStarted"
                } else {
                    "ResponseComplete"
                };
            if counted && text(&line, "/user/username") == user {
                let subresource = text(&line, "/objectRef/subresource");
                let slash = if subresource.is_empty() { "" } else { "/" };
                let key = format!(
                    "{} {}{slash}{subresource}",
                    text(&line, "/verb"),
                    text(&line, "/objectRef/resource")
                );
                *counts.entry(key).or_default() += 1;
            }
        }
        Ok(counts)
    }
}

pub(crate) fn writes(counts: &Counts) -> usize {
    let reads = ["get ", "list ", "watch "];
    counts
        .iter()
        .filter(|(key, _)| !reads.iter().any(|read| key.starts_with(read)))
        .map(|(_, count)| count)
        .sum()
}

pub(crate) fn reads(counts: &Counts) -> usize {
    counts.values().sum::<usize>() - writes(counts)
}
