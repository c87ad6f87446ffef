//! One test per file in `tests/scenarios`: the script runs, its report equals the golden one, and a
//! crash at any effect leads to the same end. `UPDATE_GOLDEN=1` rewrites the golden reports;
//! `CRASHES=all` breaks off every effect in every way.

use std::path::PathBuf;

use crate::run::{FAULTS, Run};
use crate::script;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// After the script: does it come to rest?
const REST: i64 = 2 * 3_600_000;

fn finish(run: &mut Run) {
    let until = run.world.now + REST;
    run.advance(until);
}

fn report(run: &Run) -> String {
    format!("{}\n{}\n", run.log, run.end())
}

pub fn scenario(name: &str) {
    let text =
        std::fs::read_to_string(folder().join(format!("{name}.txt"))).expect("the script is there");
    let mut calm = script::run(&text, None);
    let report = report(&calm);
    if let Ok(only) = std::env::var("SHOW_SCENARIO")
        && only == name
    {
        println!("{report}");
    }
    assert!(
        calm.violations.is_empty(),
        "{name}: {:#?}\n{report}",
        calm.violations
    );
    let golden = folder().join(format!("{name}.golden"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &report).expect("the golden report can be written");
    } else {
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        let differs = wanted
            .lines()
            .zip(report.lines())
            .position(|(left, right)| left != right);
        assert!(
            wanted == report,
            "{name}: differs from {} from line {:?} on; it is now\n{report}",
            golden.display(),
            differs.map(|line| line + 1)
        );
    }
    if std::env::var_os("SKIP_CRASHES").is_some() {
        return;
    }
    let effects = calm.effects;
    finish(&mut calm);
    // When the memory goes, earlier or later, decides how often it has to begin again.
    // So it does whether the collector comes first or the hand-over.
    let collected = text.contains("until-stage") && text.contains("delete-parallel");
    let forgetful = text.contains("lose-memory") || collected;
    // Who looks first decides what is released at all, and a crash decides who does.
    let raced = text.contains("deployment-controller-looks");
    let end_of = |run: &Run| match run.end().split_once("\nrelease ") {
        Some((end, _)) if forgetful => end.to_owned(),
        _ => run.end(),
    };
    let end = end_of(&calm);
    // Every effect with two of the faults, each time others; with all of them on request.
    let all = std::env::var("CRASHES").is_ok_and(|which| which == "all");
    for at in 0..effects {
        for (number, fault) in FAULTS.into_iter().enumerate() {
            if !all && number % 3 != at % 3 {
                continue;
            }
            let mut run = script::run(&text, Some((at, fault)));
            finish(&mut run);
            assert!(
                run.violations.is_empty(),
                "{name}, {fault:?} at effect {at}: {:#?}\n{}",
                run.violations,
                run.log
            );
            assert!(
                raced || end == end_of(&run),
                "{name}, {fault:?} at effect {at} ends otherwise: {end}\n{}\n{}",
                end_of(&run),
                run.log
            );
        }
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { scenario(stringify!($name)); })*

        #[test]
        fn every_file_is_run() {
            let mut files: Vec<String> = std::fs::read_dir(folder())
                .expect("the folder is there")
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".txt").map(str::to_owned))
                .collect();
            files.sort();
            let mut named = vec![$(stringify!($name).to_owned()),*];
            named.sort();
            assert_eq!(files, named);
        }
    };
}

scenarios! {
    abort_behind_fence
    abort_first_step
    abort_handing_over
    abort_in_first_scaling
    abort_preparing
    abort_scaling
    abort_second_step
    abort_stable_gone
    abort_warm
    abort_while_interrupted
    aborted_often
    another_pushed_with_nothing_left
    approval
    approval_first
    approval_paused
    approval_timeout_abort
    approval_timeout_advance
    bad_errors_then_fixed
    blue_green
    blue_green_aborted_before
    blue_green_aborted_in_warm
    blue_green_bad_under_load
    blue_green_gives_way
    blue_green_headless
    blue_green_headless_aborted
    blue_green_ingress_appears
    blue_green_late_service
    blue_green_load_balancer
    blue_green_load_balancer_aborted
    blue_green_local_policy
    blue_green_local_policy_aborted
    blue_green_memory_lost
    blue_green_no_baseline
    blue_green_preview_approval
    blue_green_promote_before_flip
    blue_green_push_new
    blue_green_short_then_reset
    both_sides_short_in_step
    both_sides_short_in_warm
    bypass_followed_unseen
    bypass_in_handingover
    bypass_in_rollingback
    bypass_in_step
    bypass_in_warm
    bypass_when_rolled_back
    candidate_deleted_in_handover
    candidate_deleted_in_step
    candidate_deleted_in_warm
    candidate_deleted_then_abort
    candidate_lost_before_the_park
    claimed_by_another
    created_metadata_refused
    crash_loop
    crash_while_serving
    deadline_despite_flaps
    deleted
    deleted_in_handover
    fence_before_flip
    flaps_before_any_weight
    git_revert_to_history
    git_revert_to_history_by_steps
    git_revert_to_unserved
    gives_way_pending
    gives_way_quota
    grow_in_handover
    grow_then_lose_pods
    hand_over_slow
    headless_steps
    invalid_at_rest
    kept_template_deleted
    label_changed
    late_candidate
    late_park_after_the_candidate_is_collected
    local_policy_steps
    memory_lost_after_transfer
    memory_lost_before_parking
    memory_lost_before_transfer
    memory_lost_before_unpause
    memory_lost_between_two_writes
    memory_lost_in_step
    memory_lost_while_parking
    memory_lost_with_stable_remade
    memory_lost_with_stable_remade_rolled_back
    min_replicas
    never_in_force
    no_data_rollback
    no_data_stay
    no_metrics_judged
    no_service
    no_service_abort
    node_drained_in_step
    none_unavailable
    not_ready_published
    nothing_to_compare_with
    old_pod_evicted
    one_at_a_time
    opted_out_at_rest
    opted_out_while_gated
    parallel_collected_before_the_park
    parallel_deleted_before_the_transfer
    parallel_deleted_by_somebody
    parallel_deleted_forever
    parallel_deleted_now_and_then
    parked_deleted
    parked_deleted_when_empty
    parked_history_deleted
    pasted_hash_label
    pause_resume
    pause_while_scaling
    pending_for_a_while
    preparing_refused
    preview_deleted
    preview_rewritten_in_rollback
    promote
    promote_full_in_first_scaling
    promote_full_in_preparing
    promote_full_without_data
    promote_step
    promote_with_history
    push_after_bypass_in_step
    push_new_in_first_scaling
    push_new_in_handingover
    push_new_in_preparing
    push_new_in_rolledback
    push_new_in_rollingback
    push_new_in_step
    push_new_in_warm
    push_new_pods_unseen
    push_stable_in_first_scaling
    push_stable_in_handingover
    push_stable_in_preparing
    push_stable_in_rolledback
    push_stable_in_rollingback
    push_stable_in_step
    push_stable_in_warm
    push_while_native_moves
    quota
    raw_template
    readiness_flaps
    readiness_flaps_short
    recreate_in_step
    recreated
    recreated_memory_lost_in_between
    recreated_without_memory
    refused_foreign_service
    refused_held_by_another
    refused_no_port
    refused_own_hash
    refused_paused_in_manifest
    refused_preview_alone
    refused_preview_missing
    refused_recreate
    refused_then_reverted
    refused_two_active
    rejected_is_held
    rejected_pushed_again_from_rest
    rejected_then_promoted
    retry
    retry_older_rejected
    rollback_behind_a_local_policy
    same_template_at_rest
    scale_in_steps
    scale_outside_steps
    scale_to_zero
    scale_to_zero_handover
    scale_to_zero_warm
    service_appears_after_the_park
    service_appears_at_the_hand_over
    service_appears_in_step
    service_appears_paused_then_push
    service_appears_scaling
    service_deleted_in_rollback
    service_fight_is_held
    service_rewritten_by_git
    service_shared_appears
    service_written_back_at_the_hand_over
    service_written_back_forever
    service_written_back_in_each_stay
    service_written_back_in_rollback
    short_once_in_warm
    short_three_times
    shrink_in_handover
    side_gives_way_is_no_reset
    sides_short_in_turn
    stable_gone_before_its_copy
    stable_gone_before_its_copy_bypassed
    stable_gone_for_good
    stable_gone_rolled_back
    stable_gone_step
    stable_gone_step_with_history
    stable_gone_then_reverted_at_once
    stable_gone_warm_then_abort
    stable_made_again_late
    stable_made_again_late_in_rollback
    stable_missing_seen_from_watches
    stable_reverted_while_it_cannot_be_made
    stable_short
    taken_away_before_a_promotion
    template_written_back_forever
    two_services
    unclear_without_side_by_side
    undo_gated
    undo_handing_over
    undo_idle
    undo_in_first_scaling
    undo_nothing
    undo_preparing
    undo_rolled_back
    undo_rolling_back
    undo_stable_deleted
    undo_step
    undo_then_pushed
    undo_to_revision
    undo_unclear_hold
    undo_unclear_rollback
    undo_unknown_revision
    undo_warm
    undo_without_requests
    undo_without_service
    unpaused_between_park_and_transfer
    unpaused_by_somebody
    unpaused_in_handover
    unpaused_in_warm
    unpaused_with_a_preview
    weight_refused
    zero_and_back_without_history
    zero_unpaused_then_pushed
    zero_and_reverted
    zero_in_warm_then_back
    zero_then_back
    zero_too_long
}
