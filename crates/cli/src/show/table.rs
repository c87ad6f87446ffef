//! Tables: columns as wide as their widest cell.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::clock;
use crate::rollout::Rollout;

/// Rows under a head.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One row for each Rollout.
pub fn list(rollouts: &[Rollout], namespaces: bool, now: Timestamp) -> String {
    let mut head = vec!["NAME", "PHASE", "STEP", "VERDICT", "SINCE", "MESSAGE"];
    if namespaces {
        head.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = rollouts
        .iter()
        .map(|rollout| {
            let status = rollout.status.as_ref();
            let step = status.and_then(|status| status.step.as_ref());
            let mut row = vec![
                rollout.name_any(),
                rollout.phase_word().to_owned(),
                step.map_or("-", |step| &step.text).to_owned(),
                status
                    .and_then(|status| status.verdict.as_ref())
                    .map_or("-", |verdict| &verdict.outcome)
                    .to_owned(),
                clock::ago(step.and_then(|step| step.since), now),
                cut(&said(rollout), 80),
            ];
            if namespaces {
                row.insert(0, rollout.namespace().unwrap_or_default());
            }
            row
        })
        .collect();
    table(&head, &rows)
}

/// What there is to say first.
fn said(rollout: &Rollout) -> String {
    let message = || {
        let status = rollout.status.as_ref()?;
        status.message.clone()
    };
    (rollout.unreadable().or_else(message)).unwrap_or_else(|| "not looked at yet".to_owned())
}

/// Ended releases, newest first.
pub fn history(rollout: &Rollout, now: Timestamp) -> String {
    let entries = rollout
        .status
        .as_ref()
        .map(|status| status.history.as_slice())
        .unwrap_or_default();
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let took = match (entry.started_at, entry.ended_at) {
                (Some(start), Some(end)) => clock::length(end.duration_since(start).as_secs()),
                _ => "-".to_owned(),
            };
            let mut reason = entry.reason.clone();
            if !entry.replaced_pods.is_empty() {
                reason = format!(
                    "{reason} (pods lost and replaced: {})",
                    entry.replaced_pods.join(", ")
                );
            }
            vec![
                entry.candidate.clone(),
                entry.outcome.clone(),
                clock::ago(entry.ended_at, now),
                took,
                entry.images.join(","),
                reason,
            ]
        })
        .collect();
    table(
        &["CANDIDATE", "OUTCOME", "ENDED", "TOOK", "IMAGES", "REASON"],
        &rows,
    )
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(longest - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a".to_owned(), "long".to_owned()],
            vec!["bbbb".to_owned(), "x".to_owned()],
        ];
        assert_eq!(
            table(&["ONE", "TWO"], &rows),
            "ONE   TWO\na     long\nbbbb  x\n"
        );
    }

    #[test]
    fn one_that_cannot_be_read_has_its_row_like_the_others() {
        let read = |name: &str, spec: serde_json::Value| {
            Rollout::read(serde_json::json!({
                "metadata": { "name": name, "namespace": "shop" }, "spec": spec,
                "status": { "phase": "Warm", "message": "it is warm" },
            }))
        };
        let odd = serde_json::json!({ "warm": "soon" });
        let all = [read("web", serde_json::json!({})), read("odd", odd)];
        let text = list(&all, true, Timestamp::UNIX_EPOCH);
        assert!(text.contains("it is warm"), "{text}");
        assert!(text.contains("spec cannot be read: spec.warm"), "{text}");
    }
}
