#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;
using host::HostHal;

namespace {

const FlushRequest<HostHal>& request_of(const TraceEvent& event) {
  return *static_cast<const FlushRequest<HostHal>*>(event.request);
}

}  // namespace

// ---- What the kernel tells

void Oracles::on_start(const KernelView& kernel, unsigned mms) {
  hardware_.start(kernel, mms);
  core_.start();
}

void Oracles::on_table_write(const std::uint64_t* word, std::uint64_t before, std::uint64_t after) {
  if (machine_.memory().reorders()) hardware_.order.on_table_write(machine_.running().id);
  hardware_.truth.on_table_write(word, before, after);
  hardware_.contents.check_accessed(word, before, after);
  hardware_.contents.on_table_write(word);
}

void Oracles::on_table_store(const std::uint64_t* word, std::uint64_t before, std::uint64_t after) {
  if (machine_.memory().reorders()) hardware_.order.on_table_write(machine_.running().id);
  hardware_.contents.check_accessed(word, before, after);
  hardware_.contents.on_table_write(word);
  hardware_.contents.on_store_waits();
}

void Oracles::on_kernel_entry_store(unsigned page) { hardware_.truth.on_kernel_entry_store(page); }

void Oracles::on_kernel_entry_changed(unsigned page) {
  hardware_.truth.on_kernel_entry_changed(page);
}

void Oracles::on_page_allocated(std::uint32_t frame) {
  hardware_.releases.on_page_allocated(frame);
  hardware_.contents.on_page_allocated(frame);
}

void Oracles::on_release(std::uint32_t frame) {
  if (!hardware_.releases.check_in_use(frame)) return;
  if (machine_.memory().reorders()) hardware_.order.on_release(frame);
  const bool is_table = machine_.frames().info(frame).kind == FrameKind::table;
  if (!is_table) hardware_.truth.record_page_accesses();
  hardware_.device.on_release(frame);
  if (is_table) {
    hardware_.tables.on_release(frame);
  } else {
    hardware_.releases.on_page_release(frame);
    hardware_.contents.on_page_release(frame);
  }
}

void Oracles::on_destroy(unsigned mm) {
  core_.masks.on_destroy(mm);
  hardware_.truth.on_destroy(mm);
  hardware_.contents.on_destroy(mm);
  core_.generations.on_destroy(mm);
  core_.asids.on_destroy(mm);
}

void Oracles::on_software_use(std::uint32_t frame, FrameKind kind, const char* verb) {
  hardware_.releases.on_software_use(frame, kind, verb);
}

void Oracles::on_missing_entry(unsigned index) { hardware_.releases.on_missing_entry(index); }

void Oracles::on_missing_part(unsigned part) { hardware_.releases.on_missing_part(part); }

void Oracles::on_needless_record() { hardware_.releases.on_needless_record(); }

void Oracles::on_software_walk(const std::uint64_t* word) {
  if (machine_.frames().frame_of(word) == FramePool::kNoFrame) {
    hardware_.releases.on_software_use(FramePool::kNoFrame, FrameKind::table, "walks");
  } else {
    hardware_.tables.on_software_walk(word);
  }
}

void Oracles::on_walker_holds(std::uint32_t frame) { hardware_.tables.on_walker_holds(frame); }

void Oracles::on_store_recorded(std::uint32_t frame) {
  hardware_.releases.on_store_recorded(frame);
}

void Oracles::on_copy(std::uint32_t to, std::uint32_t from) {
  hardware_.contents.on_copy(to, from);
  hardware_.promises.on_copy(from);
}

void Oracles::on_cleaned(unsigned mm, VirtAddr start, VirtAddr end) {
  hardware_.promises.on_cleaned(mm, start, end);
}

void Oracles::on_page_read(std::uint32_t frame) { hardware_.releases.on_page_read(frame); }

void Oracles::on_operation(bool replaces) { hardware_.contents.on_operation(replaces); }

void Oracles::begin_promise() {
  hardware_.promises.begin_promise();
  hardware_.contents.begin_promise();
}

void Oracles::note_promise(unsigned mm, VirtAddr start, VirtAddr end) {
  hardware_.promises.note_promise(mm, start, end);
}

void Oracles::on_promise() { hardware_.promises.on_promise(); }

void Oracles::on_unmapped(unsigned mm, unsigned first, unsigned last) {
  hardware_.contents.on_unmapped(mm, first, last);
}

void Oracles::on_protected(unsigned mm, unsigned first, unsigned last) {
  hardware_.contents.on_protected(mm, first, last);
}

void Oracles::begin_fork(unsigned parent) { hardware_.contents.begin_fork(parent); }

void Oracles::on_forked(unsigned parent, unsigned child) {
  hardware_.contents.on_forked(parent, child);
}

void Oracles::begin_lookup(unsigned mm, unsigned page) {
  hardware_.contents.begin_lookup(mm, page);
}

void Oracles::end_lookup(std::uint32_t frame) { hardware_.contents.end_lookup(frame); }

void Oracles::on_nmi_access(CpuId cpu, unsigned mm) { hardware_.roots.on_nmi_access(cpu, mm); }

void Oracles::on_kernel_entered(CpuId cpu) { hardware_.roots.on_kernel_entered(cpu); }

void Oracles::on_temporary_begin(CpuId cpu) { core_.temporary.on_begin(cpu); }

void Oracles::on_temporary_end(CpuId cpu) { core_.temporary.on_end(cpu); }

void Oracles::on_offline(CpuId cpu) { hardware_.truth.on_offline(cpu, true); }

void Oracles::on_bring_up(CpuId cpu) {
  core_.asids.on_bring_up(cpu);
  core_.counters.on_bring_up(cpu);
}

void Oracles::on_online(CpuId cpu) {
  hardware_.truth.on_offline(cpu, false);
  core_.counters.on_online(cpu);
  core_.asids.on_online(cpu);
}

void Oracles::on_program_end(CpuId cpu) {
  core_.counters.on_program_end(cpu);
  hardware_.references.on_program_end();
}

// ---- What the machine tells

// Flat, because it runs after every change: calls made executions 4 % slower.
[[gnu::flatten]] void Oracles::after_change(CpuId cpu) {
  core_.core.track_lazy(cpu);
  core_.masks.after_change(cpu);
  core_.bookkeeping.check_root(cpu);
  core_.bookkeeping.check_debt(cpu);
  core_.bookkeeping.check_user_root(cpu);
  core_.bookkeeping.check_consistency(cpu);
  core_.generations.after_change(cpu);
  core_.needless.after_change();
}

void Oracles::on_cr3(CpuId cpu) {
  core_.bookkeeping.check_user_root(cpu);
  hardware_.truth.on_cr3(cpu);
  hardware_.roots.on_cr3(cpu);
  core_.bookkeeping.on_cr3(cpu);
}

void Oracles::on_invalidate(CpuId cpu) { core_.generations.on_invalidate(cpu); }

void Oracles::on_dropped(CpuId cpu, const host::Dropped& what) {
  hardware_.range.on_dropped(cpu, what);
}

void Oracles::on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) {
  hardware_.truth.on_fill(cpu, address, from);
}

bool Oracles::on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) {
  return hardware_.tables.on_walk(cpu, frame, life);
}

void Oracles::on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) {
  if (machine_.memory().reorders() && entry.frame != FramePool::kNoFrame) {
    hardware_.order.on_use(cpu, entry.frame);
  }
  if (hardware_.use.on_use(cpu, address, entry)) {
    core_.bookkeeping.on_use(cpu);
    hardware_.contents.on_use(cpu, address, entry, write);
  }
}

void Oracles::on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                            std::uint32_t life) {
  hardware_.use.on_page_store(cpu, address, entry, life);
}

void Oracles::on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                              std::uint64_t value) {
  hardware_.contents.on_store_arrives(word);
  if (!is_there) {
    hardware_.releases.on_late_entry_store(cpu, machine_.frames().frame_of(word));
  } else {
    hardware_.truth.on_entry_stored(word, *word, value);
  }
}

void Oracles::on_ipi(CpuId cpu, const host::HostCpuMask& targets) {
  core_.needless.on_ipi(cpu, targets);
}

void Oracles::on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) {
  const unsigned thread = hardware_.truth.thread_on(cpu);
  targets.for_each([&](CpuId target) { hardware_.range.on_carried_out(thread, target); });
  core_.needless.on_remote_flush(cpu, targets);
}

void Oracles::on_broadcast(CpuId cpu, const Invlpgb& what) {
  core_.counters.on_broadcast(cpu);
  core_.global_asids.on_broadcast(cpu, what);
}

void Oracles::on_broadcasts_done(CpuId cpu) { core_.global_asids.on_broadcasts_done(cpu); }

// ---- What the core tells of itself

void Oracles::on_trace(CpuId cpu, const TraceEvent& event) {
  machine_.record_access(place(Ghost::cpu, cpu), true);
  if (machine_.memory().reorders()) check_order(cpu, event);
  core_.counters.on_trace(cpu, event);
  const AskedRange range{.start = event.value, .end = event.value2, .step = machine_.step()};
  const auto other = static_cast<CpuId>(event.value);
  const auto asid = static_cast<Asid>(event.value);
  switch (event.kind) {
    case TraceKind::flush_asked:
      asked_[hardware_.truth.thread_on(cpu)] = range;
      break;
    case TraceKind::flush_begin:
      begin_flush(cpu, event);
      break;
    case TraceKind::flush_end:
    case TraceKind::flush_done:
      end_flush(cpu);
      break;
    case TraceKind::kernel_begin:
      begin_kernel_flush(cpu, range);
      break;
    case TraceKind::kernel_end:
      hardware_.range.on_kernel_flush_returned(cpu);
      hardware_.flushes.on_kernel_flush_returned(cpu);
      break;
    case TraceKind::batch_add:
      hardware_.promises.on_batch_add(cpu);
      core_.asids.on_batch_add(cpu, event.value);
      break;
    case TraceKind::batch_begin:
      core_.requests.on_batch_begun(cpu, event);
      hardware_.skipped.on_flush_begun(cpu);
      break;
    case TraceKind::batch_end:
      end_batch(cpu);
      break;
    case TraceKind::handler_begin:
      core_.generations.on_handler_begin(cpu);
      core_.requests.on_handler_begin(cpu, request_of(event));
      break;
    case TraceKind::handler_end:
      end_handler(cpu, event);
      break;
    case TraceKind::switch_begin:
      begin_switch(cpu);
      break;
    case TraceKind::switch_end:
      end_switch(cpu);
      break;
    case TraceKind::call_queued:
      core_.requests.on_call_queued(cpu, other);
      core_.needless.on_call_queued(cpu, other, event.value2 != 0);
      break;
    case TraceKind::call_run:
      core_.requests.on_call_run(cpu, other);
      core_.bookkeeping.on_call_run(cpu,
                                    hardware_.flushes.wanted(core_.requests.caller(other, cpu)));
      break;
    case TraceKind::flush_broadcast:
      core_.requests.on_broadcast(cpu, event);
      hardware_.range.on_broadcast(cpu, asid);
      break;
    case TraceKind::asid_granted:
      core_.global_asids.on_granted(cpu, core_.core.sim().mm_of(event.mm), asid);
      break;
    case TraceKind::asid_returned:
      core_.global_asids.on_returned(cpu, asid);
      break;
    case TraceKind::vcpu_skipped:
      hardware_.skipped.on_skipped(cpu, other);
      break;
    case TraceKind::flush_send:
      core_.requests.on_published(cpu, event);
      break;
    case TraceKind::walkers_begin:
      core_.requests.on_post_taken(cpu);
      break;
    case TraceKind::enter_lazy:
      break;
  }
}

void Oracles::begin_kernel_flush(CpuId cpu, const AskedRange& range) {
  hardware_.range.on_kernel_flush_begun(cpu, range);
  core_.requests.on_kernel_flush_begun(cpu);
  hardware_.flushes.on_kernel_flush_begun(cpu, range);
}

void Oracles::begin_switch(CpuId cpu) {
  hardware_.truth.on_switch(cpu, /*begins=*/true);
  core_.counters.on_switch_begin(cpu);
  core_.membarrier.on_switch_begin(cpu);
  switch_was_lazy_[cpu] = core_.core.is_lazy(cpu);
}

void Oracles::begin_flush(CpuId cpu, const TraceEvent& event) {
  core_.requests.on_flush_begun(cpu, event);
  const unsigned mm = core_.requests.flush_on(cpu).mm;
  core_.needless.on_flush_begun(cpu);
  hardware_.skipped.on_flush_begun(cpu);
  const AskedRange& asked = asked_[hardware_.truth.thread_on(cpu)];
  hardware_.range.on_flush_begun(cpu, mm, asked);
  hardware_.flushes.on_flush_begun(cpu, mm, asked);
  core_.asids.on_flush_begun(mm, asked, event.value);
}

void Oracles::end_flush(CpuId cpu) {
  const RequestChecker::Flush& flush = core_.requests.flush_on(cpu);
  const RequestChecker::Flush::Asked& request = flush.asked;
  core_.requests.check_unchanged(cpu);
  hardware_.skipped.on_flush_returned(cpu);
  core_.requests.check_all_run(cpu);
  hardware_.flushes.on_flush_returns(cpu);
  hardware_.flushes.on_flush_returned(cpu, request.early);
  hardware_.range.on_flush_returned(cpu, request.early);
  if (flush.frees_tables) {
    hardware_.tables.on_flush_returned(cpu, flush.mm, request.start, request.end, flush.begin);
  }
  core_.global_asids.on_flush_returned(cpu);
  core_.requests.on_flush_returned(cpu);
  core_.needless.on_flush_returned(cpu);
}

void Oracles::end_batch(CpuId cpu) {
  core_.requests.check_unchanged(cpu);
  hardware_.skipped.on_flush_returned(cpu);
  core_.requests.check_all_run(cpu);
  core_.requests.on_flush_returned(cpu);
  hardware_.promises.on_batch_returned(cpu);
}

void Oracles::end_switch(CpuId cpu) {
  hardware_.truth.on_switch(cpu, /*begins=*/false);
  core_.counters.on_switch_end(cpu);
  core_.bookkeeping.on_switch_end(cpu);
  core_.membarrier.on_switch_end(cpu);
  hardware_.flushes.on_kernel_loaded(cpu);
  check_loaded(cpu, switch_was_lazy_[cpu] ? After::lazy_exit : After::switch_in);
}

void Oracles::end_handler(CpuId cpu, const TraceEvent& event) {
  const FlushRequest<HostHal>& request = request_of(event);
  const bool flushed =
      event.outcome == HandlerOutcome::partial || event.outcome == HandlerOutcome::full;
  if (flushed && core_.requests.is_current(request)) {
    hardware_.range.on_carried_out(core_.requests.begun_by(request.initiator), cpu);
  }
  core_.generations.on_handler_end(cpu, event);
  check_loaded(cpu, After::handler);
}

void Oracles::check_loaded(CpuId cpu, After after) {
  if (hardware_.truth.cpu(cpu).mm == kNoMm) return;
  core_.asids.check_user_pcid(cpu);
  hardware_.tables.on_loaded(cpu);
  hardware_.flushes.on_loaded(cpu, after);
}

void Oracles::check_order(CpuId cpu, const TraceEvent& event) {
  OrderChecker& order = hardware_.order;
  const unsigned mm = core_.core.sim().mm_of(event.mm);
  const auto other = static_cast<CpuId>(event.value);
  switch (event.kind) {
    case TraceKind::flush_begin:
    case TraceKind::batch_add:
      core_.handovers.on_bump(cpu, mm, event.value);
      break;
    case TraceKind::call_queued:
      order.on_call_queued(cpu, other);
      break;
    case TraceKind::call_run:
      order.on_call_run(cpu, other);
      break;
    case TraceKind::handler_end: {
      const FlushRequest<HostHal>& request = request_of(event);
      // A target that has answered early reads a copy.
      if (request.initiator != cpu && core_.requests.is_published(request)) {
        order.on_answer(cpu, request.initiator);
      }
      core_.handovers.on_recorded(cpu);
      break;
    }
    case TraceKind::switch_end:
      core_.handovers.on_recorded(cpu);
      break;
    case TraceKind::asid_granted:
      core_.handovers.on_granted(cpu, mm, static_cast<Asid>(event.value));
      break;
    case TraceKind::flush_broadcast:
      core_.handovers.on_asid_seen(cpu, mm);
      break;
    case TraceKind::flush_end:
    case TraceKind::batch_end:
    case TraceKind::kernel_end:
      // Beside one that was submitted and is on its way, a flush returns that needs no other CPU.
      if (core_.core.own(cpu).post_use.peek() != PostUse::by_submit) {
        order.on_flush_returned(cpu, cpu);
      }
      break;
    case TraceKind::flush_done: {
      // What was answered to a later flush of that CPU is not this one's.
      const auto sender = static_cast<CpuId>(event.value2);
      if (core_.requests.begun_by(sender) == hardware_.truth.thread_on(cpu)) {
        order.on_flush_returned(cpu, sender);
      }
      break;
    }
    default:
      break;
  }
  order.on_event(cpu);
}

}  // namespace shootdown::fuzz
