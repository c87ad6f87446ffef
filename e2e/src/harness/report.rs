//! The rows of the report and the file they go into. When a check holds is decided by whoever makes it.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// A run that must show failures, or it is the measuring that is broken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) control: bool,
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) checks: Vec<Check>,
}

impl Row {
    pub(crate) fn check(&mut self, name: &str, ok: bool, detail: String) {
        self.checks.push(Check {
            name: name.to_owned(),
            ok,
            detail,
        });
    }

    /// Green: it checked something, and all of it held.
    pub(crate) fn ok(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{} {}{}: {} requests, {} failed, {:.1} s, {} of {} checks hold",
            if self.ok() { "ok  " } else { "FAIL" },
            self.name,
            if self.control { " (control)" } else { "" },
            self.requests,
            self.failed,
            self.seconds,
            self.checks.iter().filter(|check| check.ok).count(),
            self.checks.len()
        );
        for check in self.checks.iter().filter(|check| !check.ok) {
            line.push_str(&format!("\n       {}: {}", check.name, check.detail));
        }
        line
    }
}

pub(crate) fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(rows)?)
        .with_context(|| format!("cannot write {}", path.display()))
}
