//! Commands to a release, as the command line, `kubectl patch` or Git write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One command. Only the newest is kept; each is carried out once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlSpec {
    /// Names the command, so that it is carried out once; absent: the generation of the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub id: Option<String>,
    /// The candidate it is meant for; absent: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub candidate: Option<String>,
    /// The step it is meant for, counted from 0; absent: the current one. `abort` ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub step: Option<u32>,
    /// What to do.
    pub action: Action,
    /// With `promote`: skip every step and the verdict. Recorded with who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<bool>,
    /// With `abort`: take the weight from the candidate even if stable has no ready endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// With `undo`: the revision to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Who wrote the command, from the authenticated request. Set by admission; whatever the
    /// writer put here is replaced. Absent when admission was not there: "unverified".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
}

/// Who wrote a command and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Author {
    /// User name of the request.
    #[schemars(length(max = 512))]
    pub user: String,
    /// When admission saw it, RFC 3339.
    #[schemars(length(max = 64))]
    pub at: String,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// End the current stay, approval or hold; with `full` the whole plan.
    Promote,
    /// Stay where it is until `resume`.
    Pause,
    /// Go on after `pause`.
    Resume,
    /// Take the candidate away, now.
    Abort,
    /// Release the rejected template again.
    Retry,
    /// Go back to an earlier version.
    Undo,
}

impl Action {
    /// The word users write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Undo => "undo",
        }
    }
}
