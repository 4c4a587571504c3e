"""The mutants that the emulated machine shows."""

# What the emulated machine shows, each time: which self-test of the test kernel fails, or is never finished, and with
# which options of the boot. These are the patches that say "bochs: yes". pages.py reads this file, a line for each.
BOOTED_MUTANTS = {
    "m01_lazy_skipped_on_freed_tables": ("freed tables to a lazy CPU", "--cpus 2"),
    "m07_local_mm_not_tested": ("leave_mm", "--cpus 2 --masks kept"),
    "m08_generation_zero_means_done": ("reclaim batch", "--cpus 2"),
    "m09_local_part_with_interrupts_on": ("interrupts: sequential", "--cpus 2"),
    "m10_interrupts_on_in_the_switch": ("interrupt that waits for a switch", "--cpus 2"),
    "m11_no_window": ("user access in NMIs", "--cpus 2"),
    "m12_temporary_while_lazy": ("temporary mm", "--cpus 2"),
    "m14_page_without_end": ("a generation that is missing", "--cpus 2"),
    "m15_flush_received_not_counted": ("counters", "--cpus 2"),
    "m17_queue_not_drained": ("CPU parked with a call pending", "--cpus 2"),
    "m20_flush_before_queued_writes": ("page unmapped while cached", "--cpus 2"),
    "m21_cpu0_means_none": ("every CPU initiates in turn", "--cpus 2"),
    "m23_not_a_target": ("leave_mm", "--cpus 2"),
    "m25_lazy_exit_reads_first": ("race: out of lazy mode", "--cpus 2 --races 4 --test race:_out_of_lazy_mode"),
    "m27_bump_after_ipi": ("local range flush", "--cpus 2"),
    "m28_record_per_target": ("interrupts: concurrent broadcast", "--cpus 4"),
    "m32_waits_with_interrupts_off": ("interrupts: a CPU that does not answer", "--cpus 2"),
    "m33_offline_cpu_is_called": ("CPU parked with a call pending", "--cpus 2 --masks kept"),
    "m37_invpcid_before_pcide": ("page flush while CR4 has no PCIDs", "--cpus 2 --pti on"),
    "m40_pcids_enabled_too_late": ("boot", "--cpus 2"),
    "m42_partial_with_gap": ("a generation that is missing", "--cpus 2"),
    "m43_moved_page_unlocked_before_flush": ("page moved while cached", "--cpus 2"),
    "m44_only_dirty_moves_flushed": ("page moved while cached", "--cpus 2"),
    "m45_pending_batch_ignored": ("page reclaimed while cached", "--cpus 2"),
    "m47_copied_if_read_only": ("page copied while cached", "--cpus 2"),
    "m48_reclaimed_page_unlocked_before_flush": ("page reclaimed while cached", "--cpus 2"),
    "m49_dirty_page_unlocked_before_flush": ("page unmapped while cached", "--cpus 2"),
    "m50_parallel_gather_ignored": ("page unmapped while cached", "--cpus 2"),
    "m52_reference_dropped_before_flush": ("page of two mms unmapped while cached", "--cpus 2"),
    "m56_copied_before_flush": ("page copied while cached", "--cpus 2"),
    "m72_flushed_before_the_change": ("page copied while cached", "--cpus 2"),
    "m73_changed_entry_compared": ("page unmapped while cached", "--cpus 2"),
    "m75_nmi_restores_bookkeeping": ("NMIs on the way to user mode and back", "--cpus 2 --pti on"),
    "m78_bit_cleared_early": ("user access in NMIs", "--cpus 2"),
    "m93_lazy_cpus_interrupted": ("lazy CPU skipped, then fresh", "--cpus 2"),
    "m94_always_everything": ("local range flush", "--cpus 2"),
    "o95_word_taken_whole": ("freed tables to a lazy CPU", "--cpus 2"),
}

# Those whose shortest scenario fails on the test kernel, operation by operation.
SCENARIOS_THAT_BOOT = [
    "m01_lazy_skipped_on_freed_tables",
    "m07_local_mm_not_tested",
    "m08_generation_zero_means_done",
    "m14_page_without_end",
    "m21_cpu0_means_none",
    "m45_pending_batch_ignored",
]
