"""The mutants: how the tests look for each. The patch NAME.patch stands beside this file."""

MUTANTS = {
    # name: (budget of the random search, budget of libFuzzer), for each seed; with 0 there is no such test.
    # What random search takes long for is left to its scenario there.
    "c06_handler_reads_relaxed": (20000, 0),
    "c06a_switch_reads_relaxed": (1000, 0),
    "c07_push_relaxed": (1000, 0),
    "c07a_take_relaxed": (1000, 0),
    "c07d_late_push_relaxed": (5000, 0),
    "c07e_closing_acquires_nothing": (5000, 0),
    "c08_answer_relaxed": (1000, 0),
    "c08a_wait_relaxed": (1000, 0),
    "c08b_lazy_entry_relaxed": (100000, 0),
    "c08c_closed_queue_relaxed": (0, 0),
    "c08e_closing_releases_nothing": (0, 0),
    "c08d_opened_word_relaxed": (10000, 0),
    "c14_asid_published_relaxed": (100000, 0),
    "c14a_asid_read_relaxed": (100000, 0),
    "m01_lazy_skipped_on_freed_tables": (200000, 0),
    "m04_no_barrier_at_switch_in": (100000, 0),
    "m06_window_is_no_target": (100000, 0),
    "m07_local_mm_not_tested": (200000, 0),
    "m08_generation_zero_means_done": (200000, 0),
    "m09_local_part_with_interrupts_on": (200000, 0),
    "m10_interrupts_on_in_the_switch": (200000, 0),
    "m11_no_window": (200000, 0),
    "m12_temporary_while_lazy": (200000, 0),
    "m14_page_without_end": (200000, 0),
    "m15_flush_received_not_counted": (1000, 0),
    "m16_asids_kept_at_bring_up": (200000, 0),
    "m17_queue_not_drained": (200000, 0),
    "m18_merged_with_an_empty_range": (20000, 0),
    "m20_flush_before_queued_writes": (1000, 0),
    "m21_cpu0_means_none": (10000, 10000),
    "m25_lazy_exit_reads_first": (100000, 0),
    "m25a_lazy_exit_without_barrier": (100000, 0),
    "m27_bump_after_ipi": (50000, 0),
    "m28_record_per_target": (200000, 0),
    "m30_no_barrier_before_ipi": (5000, 0),
    "m30a_bell_without_barrier": (1000, 0),
    "m32_waits_with_interrupts_off": (10000, 0),
    "m33_offline_cpu_is_called": (10000, 0),
    "m35_user_pcid_forgotten": (200000, 0),
    "m38_other_asids_keep_kernel_pages": (200000, 0),
    "m40_pcids_enabled_too_late": (1000, 0),
    "m41_generation_before_mask": (100000, 0),
    "m42_partial_with_gap": (10000, 10000),
    "m42b_read_after_flush": (10000, 0),
    "m43_moved_page_unlocked_before_flush": (100000, 0),
    "m44_only_dirty_moves_flushed": (10000, 0),
    "m45_pending_batch_ignored": (100000, 0),
    "m47_copied_if_read_only": (20000, 0),
    "m48_reclaimed_page_unlocked_before_flush": (30000, 0),
    "m49_dirty_page_unlocked_before_flush": (100000, 0),
    "m50_parallel_gather_ignored": (10000, 0),
    "m52_reference_dropped_before_flush": (100000, 0),
    "m53_unhooked_table_without_range": (20000, 0),
    "m54_released_without_memory_to_wait": (100000, 0),
    "m55_retracted_table_not_deferred": (600000, 0),
    "m56_copied_before_flush": (10000, 0),
    "m58_device_not_told_of_the_kernels_half": (100000, 0),
    "m59_state_cleared_on_a_copy": (20000, 0),
    "m60_preempted_within_an_access": (400000, 0),
    "m61_guest_made_flag": (20000, 0),
    "m62_record_looked_for_where_it_was": (120000, 0),
    "m64_empty_set_flushed": (20000, 0),
    "m65_unknown_processor": (20000, 0),
    "m66_table_released_under_walker": (20000, 0),
    "m67_stamp_read_after_the_flush": (1000000, 0),
    "m72_flushed_before_the_change": (10000, 0),
    "m73_changed_entry_compared": (10000, 0),
    "m75_nmi_restores_bookkeeping": (200000, 0),
    "m76_answer_overtaken_by_the_lock": (1000, 0),
    "m78_bit_cleared_early": (10000, 10000),
    "m81_lazy_exit_trusts_the_old_asid": (100000, 0),
    "m82_broadcast_names_the_loaded_asid": (200000, 0),
    "m84_erratum_ignored": (200000, 0),
    "m85_accessed_bit_written_in_two_steps": (30000, 0),
    "m86_made_before_broken": (40000, 0),
    "m87_bits_set_in_an_entry_that_is_gone": (150000, 0),
    "m88_toggled_bit_flushes_nothing": (20000, 0),
    "m89_asid_before_transition": (200000, 0),
    "m90_asid_used_again_unflushed": (100000, 0),
    "m91_batch_without_interrupts": (200000, 0),
    "m92_broadcast_not_awaited": (20000, 0),
    "m93_lazy_cpus_interrupted": (10000, 0),
    "m94_always_everything": (10000, 0),
    "o10_fork_judges_without_the_lock": (10000, 0),
    "o11_mapped_over_an_unflushed_removal": (5000, 0),
    "o12_large_page_over_an_unflushed_removal": (5000, 0),
    "o13_settled_before_the_lock": (5000, 0),
    "o14_moved_over_an_unflushed_removal": (20000, 0),
    "o15_walk_looks_once": (50000, 0),
    "o16_shared_page_stays_writable": (100000, 0),
    "o18_second_noted_range_is_forgotten": (15000, 0),
    "o19_batch_reads_the_mask_first": (400000, 0),
    "o01_large_page_by_one_invalidation": (10000, 0),
    "o02_bau_sends_one_address_for_a_large_page": (10000, 0),
    "o03_broadcast_counts_as_interrupt": (120000, 0),
    "o05_range_ends_early": (10000, 0),
    "o06_range_starts_late": (10000, 0),
    "o07_top_page_missed": (10000, 0),
    "o66_batch_broadcasts_the_last_asid": (4000, 0),
    "o67_global_flag_read_before_the_mm": (300000, 0),
    "o68_walker_without_fence": (60000, 0),
    "o80_hub_closed_behind_its_last_message": (120000, 0),
    "o20_user_pcid_keeps_entry_pages": (15000, 0),
    "o21_pending_user_flushes_cleared_on_the_user_root": (1000, 0),
    "o22_kernel_root_forgotten_too_early": (5000, 0),
    "o30_lazy_on_the_kernels_mm": (200000, 0),
    "o50_flush_changes_cpus": (1000, 0),
    "o50a_batch_flush_changes_cpus": (5000, 0),
    "o50b_kernel_flush_changes_cpus": (1000, 0),
    "o50c_no_flush_stays_on_its_cpu": (1000, 0),
    "o51_wait_for_walkers_changes_cpus": (25000, 0),
    "o52_user_pages_noted_with_interrupts_on": (200000, 0),
    "o53_walker_on_another_cpus_sequence": (100000, 0),
    "o40_kernel_flush_without_its_fence": (50000, 0),
    "o41_command_waits_for_mfence_alone": (5000, 0),
    "o45_large_page_goes_without_lazy_cpus": (20000, 0),
    "o46_freed_table_flushed_at_one_address": (60000, 0),
    "o47_split_spares_lazy_cpus": (9000, 0),
    "o48_large_page_waits_for_the_batch": (110000, 0),
    "o55_page_that_did_not_fit_is_released": (10000, 0),
    "o56_table_that_did_not_fit_is_released": (100000, 0),
    "o57_reclaimed_page_that_did_not_fit_is_released": (50000, 0),
    "o58_part_of_a_list_is_taken_for_all": (20000, 0),
    "o59_full_list_names_what_fits": (20000, 0),
    "o60_copied_before_the_old_page_is_gone": (1000, 0),
    "o61_second_look_keeps_its_reference": (50000, 0),
    "o62_new_frame_without_the_accessed_bit": (1000, 0),
    "o63_debt_cleared_before_the_flush": (70000, 0),
    "o64_child_takes_no_reference_to_a_read_only_page": (10000, 0),
    "o70_lazy_flag_cleared_behind_the_generation": (20000, 0),
    "o71_early_answer_reads_the_request": (1000, 0),
    "o90_no_flush_for_no_execute": (5000, 0),
    "o91_no_flush_for_the_user_bit": (5000, 0),
    "o92_large_page_gets_every_right": (50000, 0),
    "o93_moved_page_is_never_copied": (150000, 0),
    "o94_region_of_an_earlier_look": (150000, 0),
    "o95_word_taken_whole": (5000, 0),
    "o96_offline_words_stay_open": (50000, 0),
    "o97_waits_for_the_interrupted_only": (1000, 0),
    "o98_one_word_is_served": (1000, 0),
    "o99_late_senders_forgotten": (10000, 0),
    "o99a_emptied_between_two_tries": (50000, 0),
    "p01_no_invpcid_means_one_half": (5000, 0),
    "p11_no_barrier_on_a_global_asid": (5000, 0),
    "p12_older_entry_left_behind": (1000, 0),
    "p31_closed_wait_serves_nothing": (5000, 0),
    "p32_closed_wait_answers_first": (20000, 0),
    "p33_is_done_one_answer_early": (5000, 0),
    "p34_post_of_a_submitted_flush_is_free": (0, 0),
    "p35_is_done_relaxed": (20000, 0),
}

# How the random search looks for the rarest. Their windows are one or two operations long: with schedules
# that know nothing of the run each takes 40,000 to 800,000 executions (docs/findings.md has the table). Some
# are found a few times in a million runs only, unless every run has what they need: switches of the
# configuration.
_AIMED = [
    "--strategy",
    "aimed",
]

# Operations that belong together, and rarer configurations.
_MEETING = _AIMED + [
    "--any-switch",
    "--chains",
]

# Threads change CPUs in every run.
_MIGRATING = ["--migrate"]

# Lists that are full soon.
_SMALL = [
    "--turn",
    "small",
]
_SMALL_HYPERV = _SMALL + [
    "--backend",
    "hyperv",
]

HOW = {
    "m04_no_barrier_at_switch_in": _AIMED + [
        "--turn",
        "tso+lazy_masks+by_loaded_mm",
    ],
    "m06_window_is_no_target": _AIMED,
    "m11_no_window": [
        "--turn",
        "nmi",
    ],
    "m25_lazy_exit_reads_first": _AIMED,
    "m25a_lazy_exit_without_barrier": _AIMED + [
        "--turn",
        "tso",
    ],
    "m27_bump_after_ipi": _AIMED,
    "m30_no_barrier_before_ipi": [
        "--turn",
        "tso+weak_ipi",
    ],
    "m30a_bell_without_barrier": [
        "--turn",
        "tso",
    ],
    "m41_generation_before_mask": _AIMED,
    "m42b_read_after_flush": _AIMED,
    "m54_released_without_memory_to_wait": _MEETING,
    "m55_retracted_table_not_deferred": _MEETING,
    "m58_device_not_told_of_the_kernels_half": [
        "--turn",
        "device",
    ],
    "m62_record_looked_for_where_it_was": [
        "--backend",
        "kvm",
    ],
    "m66_table_released_under_walker": _MEETING,
    "m67_stamp_read_after_the_flush": _MEETING,
    "m75_nmi_restores_bookkeeping": [
        "--turn",
        "nmi",
    ],
    "m76_answer_overtaken_by_the_lock": [
        "--turn",
        "tso",
    ],
    "m81_lazy_exit_trusts_the_old_asid": _AIMED + [
        "--turn",
        "broadcast",
    ],
    "m86_made_before_broken": _MEETING,
    "m89_asid_before_transition": _AIMED,
    "m91_batch_without_interrupts": _AIMED,
    "o10_fork_judges_without_the_lock": _MEETING,
    "o11_mapped_over_an_unflushed_removal": _MEETING,
    "o12_large_page_over_an_unflushed_removal": _MEETING,
    "o13_settled_before_the_lock": _MEETING,
    "o14_moved_over_an_unflushed_removal": _MEETING,
    "o15_walk_looks_once": _MEETING,
    "o16_shared_page_stays_writable": _MEETING,
    "o18_second_noted_range_is_forgotten": _MEETING,
    "o19_batch_reads_the_mask_first": _MEETING,
    "o02_bau_sends_one_address_for_a_large_page": [
        "--backend",
        "uv_bau",
    ],
    "o03_broadcast_counts_as_interrupt": _MEETING + [
        "--turn",
        "broadcast",
    ],
    "o05_range_ends_early": ["--any-switch"],
    "o06_range_starts_late": ["--any-switch"],
    "o90_no_flush_for_no_execute": ["--any-switch"],
    "o91_no_flush_for_the_user_bit": ["--any-switch"],
    "o92_large_page_gets_every_right": _MEETING,
    "o93_moved_page_is_never_copied": _MEETING,
    "o71_early_answer_reads_the_request": [
        "--turn",
        "early+compiler_reordering",
    ],
    "o55_page_that_did_not_fit_is_released": _SMALL,
    "o56_table_that_did_not_fit_is_released": _SMALL,
    "o57_reclaimed_page_that_did_not_fit_is_released": _SMALL,
    "o58_part_of_a_list_is_taken_for_all": _SMALL_HYPERV,
    "o59_full_list_names_what_fits": _SMALL_HYPERV,
    "o22_kernel_root_forgotten_too_early": [
        "--turn",
        "nmi+pti",
    ],
    "o40_kernel_flush_without_its_fence": _AIMED + [
        "--turn",
        "tso+plain_pte",
    ],
    "o41_command_waits_for_mfence_alone": [
        "--turn",
        "tso+weak_ipi",
    ],
    "o50_flush_changes_cpus": _MIGRATING,
    "o50a_batch_flush_changes_cpus": _MIGRATING,
    "o50b_kernel_flush_changes_cpus": _MIGRATING,
    "o50c_no_flush_stays_on_its_cpu": _MIGRATING,
    "o51_wait_for_walkers_changes_cpus": _MEETING + _MIGRATING,
    "o52_user_pages_noted_with_interrupts_on": _AIMED + [
        "--focus",
        "noted_user_pages",
    ],
    "o53_walker_on_another_cpus_sequence": _AIMED + _MIGRATING + [
        "--focus",
        "walkers_that_change_CPUs",
    ],
    "o94_region_of_an_earlier_look": _AIMED + [
        "--focus",
        "reads_without_a_lock",
    ],
    "p11_no_barrier_on_a_global_asid": _AIMED + [
        "--turn",
        "tso+broadcast+task_stores",
    ],
    "p12_older_entry_left_behind": _AIMED + [
        "--turn",
        "latitude",
    ],
    "o45_large_page_goes_without_lazy_cpus": _AIMED + [
        "--focus",
        "small_pages_after_a_large_one",
    ],
    "o46_freed_table_flushed_at_one_address": _AIMED + [
        "--focus",
        "a_large_page_after_small_ones",
    ],
    "o47_split_spares_lazy_cpus": _AIMED + [
        "--focus",
        "small_pages_after_a_large_one",
    ],
    "o48_large_page_waits_for_the_batch": _AIMED + [
        "--focus",
        "small_pages_after_a_large_one",
    ],
    "o66_batch_broadcasts_the_last_asid": _AIMED + [
        "--focus",
        "broadcast_batches",
    ],
    "o67_global_flag_read_before_the_mm": _AIMED + [
        "--focus",
        "broadcast_changes_of_ASID",
    ],
    "o68_walker_without_fence": _AIMED + [
        "--focus",
        "walkers_that_no_flush_interrupts",
    ],
    "o70_lazy_flag_cleared_behind_the_generation": _AIMED + [
        "--focus",
        "CPUs_that_come_back",
    ],
    "o80_hub_closed_behind_its_last_message": _AIMED + [
        "--focus",
        "bring-up_above_the_hub",
    ],
    "o04_last_flush_trusts_the_loaded_mm": _AIMED + [
        "--focus",
        "broadcast_mms_that_come_and_go",
    ],
    "p31_closed_wait_serves_nothing": [
        "--turn",
        "closed_waits",
    ],
    "p32_closed_wait_answers_first": _AIMED + [
        "--turn",
        "closed_waits",
    ],
    "p33_is_done_one_answer_early": [
        "--turn",
        "submits",
    ],
    "p34_post_of_a_submitted_flush_is_free": _MIGRATING + [
        "--focus",
        "submitted_flushes",
    ],
    "p35_is_done_relaxed": [
        "--turn",
        "submits+compiler_reordering",
    ],
}

# Orders that are too weak show only where a compiler reorders.
HOW.update({
    name: [
        "--turn",
        "compiler_reordering",
    ]
    for name in MUTANTS
    if name.startswith("c")
})

# What scenarios do not show: killed by a unit test that sees the order of operations. In 30 the push is a
# locked operation and so drains the store buffer anyway; there is no flush before PCIDs are on (37) and no
# change of CR4 at run time (39). The window of o04 is one operation wide, on a lazy CPU of a mm that ends; its
# focus finds it. 2^32 additions are more than a search makes (o31).
UNIT_MUTANTS = {
    # name: the test of //tests/core that must fail
    "m23_not_a_target": "SerialFlush.OfAnMmThatThisCpuDoesNotRunHasNoLocalPart",
    "m37_invpcid_before_pcide": "R9.InvpcidIsNotUsedWhileThisCpusCr4HasNoPcids",
    "m39_cr4_with_interrupts_on": "M15_Cr4.RegisterAndShadowChangeTogetherWithInterruptsOff",
    "o04_last_flush_trusts_the_loaded_mm": "BroadcastTest.RetiringWaitsForACpuThatIsAboutToLeaveTheMask",
    "o96a_mask_left_last": "Offline.TheCpuLeavesTheMaskBeforeItClosesTheFirstWord",
    "o31_marks_come_round": "BatchTest.AdditionsThatNobodySettlesDoNotComeRoundToNothingPending",
}

# Those of them that a search finds, too: its budget for each seed.
UNIT_SEARCHES = {
    "o04_last_flush_trusts_the_loaded_mm": 120000,
}

# Patches in wide/, which take more CPUs than a word has bits: the budget of the search among 70 CPUs, and its options.
WIDE_MUTANTS = {
    "clear_takes_the_first_word": (2000, []),
    "copy_misses_the_last_word": (2000, []),
    "empty_looks_at_the_first_word": (2000, []),
    "hyperv_set_has_two_banks": (2000, [
        "--backend",
        "hyperv",
    ]),
    "scan_misses_the_last_word": (2000, []),
    "union_misses_the_last_word": (30000, []),
    "xen_set_is_one_word": (2000, [
        "--backend",
        "xen",
    ]),
}

# Changes in correct/ that break no promise.
CORRECT_CHANGES = [
    "asids_emptied_later",
    "bump_by_compare_exchange",
    "context_by_invpcid",
    "early_exits_removed",
    "lazy_exit_always_flushes",
    "local_part_first",
    "more_fences_than_needed",
    "request_judged_in_a_function",
    "stores_in_another_order",
    "targets_chosen_in_one_loop",
    "walkers_by_locked_additions",
]
