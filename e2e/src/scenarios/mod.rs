//! The scenarios, one file each, and the list they are run from. A new one is a file and a line here.

mod abort;
mod admission_down;
mod bad_input;
mod bad_version;
mod beside;
mod blue_green;
mod break_glass;
mod broken;
mod canary_promotes;
mod cluster_wide;
mod commands;
mod deletions;
mod deletions_by_others;
mod early_scale_down;
mod flips;
mod git;
mod hpa;
mod killed;
mod late_mutator;
mod native_rollout;
mod no_metrics;
mod node_drained;
mod node_lost;
mod outputs;
mod refusals;
mod replicas;
mod revert_in_each_phase;
mod scaling;
mod second_installation;
mod stable_deleted;
mod stable_down;
mod steady;
mod template_in_each_phase;
mod template_writers;
mod third_release;
mod undo;
mod uninstall;
mod unusual;

use crate::harness::runner::Scenario;

pub(crate) fn all() -> Vec<Scenario> {
    [
        vec![native_rollout::SCENARIO, early_scale_down::SCENARIO],
        steady::SCENARIOS.to_vec(),
        canary_promotes::SCENARIOS.to_vec(),
        bad_version::SCENARIOS.to_vec(),
        abort::SCENARIOS.to_vec(),
        vec![
            template_in_each_phase::SCENARIO,
            revert_in_each_phase::SCENARIO,
            template_writers::SCENARIO,
            deletions::SCENARIO,
            deletions_by_others::SCENARIO,
            third_release::SCENARIO,
            scaling::SCENARIO,
            commands::SCENARIO,
        ],
        killed::SCENARIOS.to_vec(),
        git::SCENARIOS.to_vec(),
        broken::SCENARIOS.to_vec(),
        uninstall::SCENARIOS.to_vec(),
        beside::SCENARIOS.to_vec(),
        vec![
            admission_down::SCENARIO,
            break_glass::SCENARIO,
            no_metrics::SCENARIO,
            bad_input::SCENARIO,
            stable_down::SCENARIO,
            stable_deleted::SCENARIO,
            undo::SCENARIO,
            unusual::SCENARIO,
            blue_green::SCENARIO,
            flips::SCENARIO,
            refusals::SCENARIO,
            replicas::SCENARIO,
            second_installation::SCENARIO,
            late_mutator::SCENARIO,
            hpa::SCENARIO,
            cluster_wide::SCENARIO,
            node_drained::SCENARIO,
        ],
        node_lost::SCENARIOS.to_vec(),
    ]
    .concat()
}
