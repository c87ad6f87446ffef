//! What the load met, counted. Plain numbers; who sends is elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;

/// Reasons of lost requests that are kept in words.
const KEPT: usize = 5;

/// The answers of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    pub requests: u64,
    /// Answers with a status of 500 and more.
    pub bad: u64,
}

/// Everything the load met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers by version.
    pub versions: BTreeMap<String, Answers>,
    /// Requests without an answer: lost.
    pub lost: u64,
    /// Why, for the first ones.
    pub reasons: Vec<String>,
    /// Connections opened.
    pub connections: u64,
}

impl Counts {
    /// An answer came.
    pub fn answered(&mut self, version: &str, status: u16) {
        let answers = self.versions.entry(version.to_owned()).or_default();
        answers.requests += 1;
        if status >= 500 {
            answers.bad += 1;
        }
    }

    /// None came.
    pub fn lost(&mut self, why: String) {
        self.lost += 1;
        if self.reasons.len() < KEPT {
            self.reasons.push(why);
        }
    }

    /// Requests sent, lost ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.versions
            .values()
            .map(|answers| answers.requests)
            .sum::<u64>()
            + self.lost
    }

    /// Bad answers that reached a client.
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.versions.values().map(|answers| answers.bad).sum()
    }

    /// What came since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> BTreeMap<String, Answers> {
        self.versions
            .iter()
            .map(|(version, now)| {
                let before = earlier.versions.get(version).copied().unwrap_or_default();
                let answers = Answers {
                    requests: now.requests.saturating_sub(before.requests),
                    bad: now.bad.saturating_sub(before.bad),
                };
                (version.clone(), answers)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences() {
        let mut counts = Counts::default();
        counts.answered("v1", 200);
        counts.answered("v1", 404);
        let earlier = counts.clone();
        counts.answered("v1", 503);
        counts.answered("v2", 500);
        for number in 0..9 {
            counts.lost(format!("reason {number}"));
        }
        assert_eq!((counts.requests(), counts.bad(), counts.lost), (13, 2, 9));
        assert_eq!(counts.reasons.len(), KEPT);
        let since = counts.since(&earlier);
        assert_eq!(
            since["v1"],
            Answers {
                requests: 1,
                bad: 1
            }
        );
        assert_eq!(
            since["v2"],
            Answers {
                requests: 1,
                bad: 1
            }
        );
    }
}
