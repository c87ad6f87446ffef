//! Names of conditions and their reasons.
//!
//! The types follow kstatus (sigs.k8s.io/cli-utils, pkg/kstatus): `Progressing` reads as
//! reconciling, `Stalled` as failed.

/// The Rollout is at rest with the template its users asked for.
pub const READY: &str = "Ready";
/// A release is under way. Its reason is what is waited for, in every phase: one word of the planner's
/// `WaitingOn`; while nothing is waited for, the phase.
pub const PROGRESSING: &str = "Progressing";
/// Nothing goes on until a person mends something.
pub const STALLED: &str = "Stalled";
