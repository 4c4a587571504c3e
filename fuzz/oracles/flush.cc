// What holds when a flush begins, is queued, is handled and returns.
#include <cstring>
#include <type_traits>
#include <utility>

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::Event;
using host::HostCpu;
using host::Oracle;
using host::Report;
using host::TlbEntry;

namespace {

std::uint64_t checksum_of(const FlushRequest<host::HostHal>& request) {
  // Field by field, because padding has no defined content.
  std::uint64_t sum = reinterpret_cast<std::uintptr_t>(request.mm);
  for (std::uint64_t value :
       {request.start, request.end, request.generation, std::uint64_t{request.initiator},
        std::uint64_t{request.stride_shift}, std::uint64_t{request.frees_tables},
        std::uint64_t{request.trims_mask}, std::uint64_t{request.acknowledges_early},
        static_cast<std::uint64_t>(request.reason)}) {
    sum = (sum ^ value) * 0x9e37'79b9'7f4a'7c15;
  }
  return sum;
}

}  // namespace

void Oracles::on_trace(CpuId cpu, const TraceEvent& event) {
  machine_.touch(host::place(host::Part::ghost, cpu), true);
  if (machine_.memory().reorders()) check_order(cpu, event);
  count(cpu, event);
  switch (event.kind) {
    case TraceKind::flush_asked:
      cpu_[cpu].flush.asked = {.start = event.value, .end = event.value2, .step = machine_.step()};
      break;
    case TraceKind::flush_begin:
      begin_flush(cpu, event);
      break;
    case TraceKind::flush_end:
      end_flush(cpu);
      break;
    case TraceKind::handler_begin:
      begin_handler(cpu, event);
      break;
    case TraceKind::handler_end:
      check_handler(cpu, event);
      break;
    case TraceKind::switch_begin:
      begin_switch(cpu);
      break;
    case TraceKind::switch_end:
      end_switch(cpu);
      break;
    case TraceKind::call_queued:
      call_queued(cpu, event);
      break;
    case TraceKind::call_run:
      call_run(cpu, event);
      break;
    case TraceKind::vcpu_skipped:
      vcpu_skipped(cpu, event);
      break;
    case TraceKind::kernel_begin:
      begin_kernel_flush(cpu, event);
      break;
    case TraceKind::kernel_end:
      end_kernel_flush(cpu);
      break;
    case TraceKind::batch_add:
      add_to_batch(cpu, event);
      break;
    case TraceKind::batch_begin:
      begin_batch(cpu, event);
      break;
    case TraceKind::batch_end:
      end_batch(cpu);
      break;
    case TraceKind::flush_broadcast:
      cpu_[cpu].flush.global = static_cast<Slot>(event.value);
      // Nobody has been given the request yet.
      cpu_[cpu].flush.checksum = checksum_of(*cpu_[cpu].flush.request);
      break;
    case TraceKind::slot_granted:
      slot_granted(cpu, event);
      break;
    case TraceKind::slot_returned:
      slot_returned(cpu, event);
      break;
    case TraceKind::flush_send:
    case TraceKind::enter_lazy:
      break;
  }
}

void Oracles::begin_flush(CpuId cpu, const TraceEvent& event) {
  FlushGhost& flush = cpu_[cpu].flush;
  flush.request = static_cast<const FlushRequest<host::HostHal>*>(event.request);
  flush.space = space_of(event.mm);
  flush.global = kNoGlobalSlot;
  flush.checksum = checksum_of(*flush.request);
  flush.begin = machine_.step();
  flush.in_mask = {};
  flush.in_mask.set_word(0, mask_word(flush.space));
  flush.frees_tables = flush.request->frees_tables;
  flush.queued = {};
  flush.called = {};
  flush.skipped = {};
  flush.ran_locally = false;
  flush.coverage.ask(flush.asked.start, flush.asked.end);
  flush.carried_out = {};
  flushing_.set(cpu);
  for (unsigned page = 0; page < kPages; ++page) {
    PageGhost& ghost = space_[flush.space].pages[page];
    flush.wanted[page] = 0;
    if (!holds_part_of(probe_address(page), flush.asked.start, flush.asked.end)) continue;
    machine_.touch(version_place(flush.space, page), false);
    flush.wanted[page] = ghost.version;
    note_log(flush.space, page, event.value);
  }
}

void Oracles::end_flush(CpuId cpu) {
  machine_.touch(host::place(host::Part::demands), false);
  FlushGhost& flush = cpu_[cpu].flush;
  check_request(cpu, flush);
  for (unsigned page = 0; page < kPages; ++page) {
    Demand& demand = space_[flush.space].pages[page].demand;
    if (flush.wanted[page] != 0) touch_page(page);
    if (flush.wanted[page] > demand.version) {
      demand = {.version = flush.wanted[page], .step = machine_.step(), .cpu = cpu};
    }
  }
  check_completed(cpu, flush);
  check_covered(cpu, flush);
  check_pointers_flushed(cpu, flush);
  check_moved(cpu, flush);
  flush.request = nullptr;
  flushing_.clear(cpu);
}

void Oracles::check_request(CpuId cpu, const FlushGhost& flush) {
  if (checksum_of(*flush.request) != flush.checksum) {
    fail(Oracle::o16, "a request changed while targets could read it",
         cpu_name(cpu) + "'s request is not what it published.",
         {.step = flush.begin, .cpu = cpu, .what = "published the request"},
         event(cpu, "the flush returns"));
  }
  check_skipped(cpu, flush);
  if (!flush.queued.empty()) {
    fail(Oracle::o15, "a flush returns before every call has run",
         cpu_name(flush.queued.first()) + " has not run the call.",
         {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
         event(cpu, "the flush returns"));
  }
}

void Oracles::check_completed(CpuId cpu, const FlushGhost& flush) {
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    check_completed_on(cpu, flush, target);
  }
}

void Oracles::check_completed_on(CpuId cpu, const FlushGhost& flush, CpuId target) {
  const CpuGhost& ghost = cpu_[target];
  // Inside switch_mm the CPU uses nothing; what it may use afterwards is audited at the end. A
  // target that answered early flushes before it leaves its handler.
  const bool busy = flush.request->acknowledges_early && machine_.cpu(target).in_interrupt;
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[target].own;
  const std::uint16_t loaded_pcid = machine_.pcid_of(machine_.cpu(target).cr3);
  for (const TlbEntry& entry : machine_.cpu(target).tlb.entries) {
    if (entry.from.space != flush.space || entry.from.life != space_[flush.space].life) continue;
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.version >= flush.wanted[page]) continue;
    touch_cpu(target);
    if (ghost.in_switch || ghost.offline || busy) return;
    const bool usable =
        ghost.space == flush.space && entry.pcid == loaded_pcid && uses_user_half(target);
    if (usable) {
      fail(Oracle::o1, "a flush returns while a CPU can still use an older translation",
           cpu_name(target) + " runs " + mm_name(flush.space) + " with " + page_name(page) +
               " from before the change that " + cpu_name(cpu) + " flushed.",
           fill_event(target, entry), event(cpu, "the flush returns"));
    }
    if (!machine_.setup().hardware.pcid) continue;
    const bool twin = (entry.pcid & kUserPcidBit) != 0;
    const Slot slot = (entry.pcid & ~kUserPcidBit) - 1U;
    const Mm<host::HostHal>& mm = guest_->space(flush.space).mm;
    const bool kept = is_global_slot(slot)
                          ? slot == mm.global_slot.peek()
                          : own.slots[slot].context == mm.context &&
                                own.slots[slot].generation >= flush.request->generation;
    if (!kept || (twin && twin_is_owed(target, slot, probe_address(page)))) continue;
    const char* title = "a slot holds a translation older than the generation it records";
    if (is_global_slot(slot)) title = "a global slot holds a translation older than its flush";
    if (twin) title = "the user half keeps what the kernel half has flushed";
    fail(twin ? Oracle::o12 : Oracle::o4, title,
         cpu_name(target) + " would load " + mm_name(flush.space) + " without a flush although " +
             page_name(page) + " is older.",
         fill_event(target, entry), event(cpu, "the flush returns"));
  }
}

// ---- Batches
// -------------------------------------------------------------------------------------

void Oracles::begin_batch(CpuId cpu, const TraceEvent& event) {
  FlushGhost& flush = cpu_[cpu].flush;
  flush.request = static_cast<const FlushRequest<host::HostHal>*>(event.request);
  flush.space = kNoSpace;
  flush.checksum = checksum_of(*flush.request);
  flush.begin = machine_.step();
  flush.queued = {};
  flush.called = {};
  flush.skipped = {};
  flush.ran_locally = false;
}

void Oracles::end_batch(CpuId cpu) {
  FlushGhost& flush = cpu_[cpu].flush;
  check_request(cpu, flush);
  flush.request = nullptr;
  check_promises(cpu, cpu_[cpu].batch, Oracle::o20,
                 "a batch flush returns while a CPU can still use what it removed");
  cpu_[cpu].batch.size = 0;
}

// ---- Switches and calls
// ---------------------------------------------------------------------------

void Oracles::begin_switch(CpuId cpu) {
  cpu_[cpu].in_switch = true;
  cpu_[cpu].in_switch_flushes = begin_uncounted(cpu);
  cpu_[cpu].switch_was_lazy = guest_->system().cpus[cpu].shared.is_lazy.seen_by(machine_.cpu(cpu));
}

void Oracles::end_switch(CpuId cpu) {
  cpu_[cpu].in_switch = false;
  end_uncounted(cpu, cpu_[cpu].in_switch_flushes);
  check_slots(cpu);
  audit_kernel(cpu);
  audit_loaded(cpu, cpu_[cpu].switch_was_lazy ? After::lazy_exit : After::switch_in);
}

void Oracles::call_queued(CpuId cpu, const TraceEvent& event) {
  FlushGhost& flush = cpu_[cpu].flush;
  const auto target = static_cast<CpuId>(event.value);
  if (flush.queued.test(target)) {
    fail(Oracle::o15, "a call is queued twice on one target", cpu_name(target) + " gets it twice.",
         {}, this->event(cpu, "queues it again"));
  }
  flush.queued.set(target);
  flush.called.set(target);
  if (event.value2 != 0) flush.to_interrupt.set(target);
  check_target(cpu, target, Asked::by_interrupt);
}

void Oracles::check_target(CpuId cpu, CpuId target, Asked asked) {
  const FlushGhost& flush = cpu_[cpu].flush;
  if (flush.request == nullptr || flush.space == kNoSpace) return;
  const CpuGhost& ghost = cpu_[target];
  const bool interrupts = asked == Asked::by_interrupt;
  const std::string subject = interrupts ? "a flush interrupts " : "a hypervisor is to flush ";
  const std::string verb = interrupts ? "queues a call for " : "asks for a flush of ";
  if (!flush.in_mask.test(target)) {
    fail(Oracle::o19, subject + "a CPU outside the mask",
         cpu_name(target) + " was not in the mask of " + mm_name(flush.space) +
             " at any time since the flush began.",
         {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
         event(cpu, verb + cpu_name(target)));
  }
  if (ghost.lazy && ghost.lazy_since < flush.begin && !flush.request->frees_tables) {
    fail(Oracle::o19, subject + "a lazy CPU without need",
         cpu_name(target) + " was lazy before the flush began, and no tables are freed.",
         {.step = ghost.lazy_since, .cpu = target, .what = "became lazy"},
         event(cpu, verb + cpu_name(target)));
  }
}

void Oracles::on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) {
  if (targets.empty()) {
    fail(Oracle::o19, "a hypervisor is asked to flush nobody",
         cpu_name(cpu) + " pays for a hypercall or a message that has no effect.", {},
         event(cpu, "asks for it"));
  }
  targets.for_each([&](CpuId target) {
    cpu_[cpu].flush.carried_out.set(target);
    if (target != cpu) check_target(cpu, target, Asked::by_hypervisor);
  });
}

void Oracles::vcpu_skipped(CpuId cpu, const TraceEvent& event) {
  touch_cpu(static_cast<CpuId>(event.value));
  FlushGhost& flush = cpu_[cpu].flush;
  const auto target = static_cast<CpuId>(event.value);
  flush.skipped.set(target);
  flush.entry_flushes[target] = machine_.hypervisor().entry_flushes(target);
  if (machine_.hypervisor().will_flush(machine_.cpu(target))) return;
  fail(
      Oracle::o26, "a virtual CPU is skipped that nobody will flush",
      cpu_name(target) + (machine_.cpu(target).in_emulation
                              ? " is in the middle of an access: its address is translated already."
                              : " has a processor, or the host has read its state already."),
      {}, this->event(cpu, "leaves its flush to the host"));
}

void Oracles::check_skipped(CpuId cpu, const FlushGhost& flush) {
  const host::Hypervisor& hypervisor = machine_.hypervisor();
  flush.skipped.for_each([&](CpuId target) {
    touch_cpu(target);
    if (hypervisor.will_flush(machine_.cpu(target)) ||
        hypervisor.entry_flushes(target) != flush.entry_flushes[target]) {
      return;
    }
    fail(Oracle::o26, "a skipped virtual CPU runs again without a flush",
         cpu_name(target) + " has not been flushed since " + cpu_name(cpu) +
             " left that to the host, and nothing says any more that it has to be.",
         {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
         event(cpu, "the flush returns"));
  });
}

void Oracles::call_run(CpuId cpu, const TraceEvent& event) {
  const auto sender = static_cast<CpuId>(event.value);
  FlushGhost& flush = cpu_[sender].flush;
  const bool wanted = flush.queued.test(cpu);
  const bool off = !machine_.cpu(cpu).interrupts_enabled;
  if (wanted && off) {
    flush.queued.clear(cpu);
    return;
  }
  fail(Oracle::o15, wanted ? "a call runs with interrupts on" : "a call runs without being queued",
       cpu_name(cpu) + " runs a call of " + cpu_name(sender) + ".", {},
       this->event(cpu, "runs the call"));
}

void Oracles::on_ipi(CpuId cpu, const host::HostCpuMask& targets) {
  if (targets.empty() || targets.test(cpu)) {
    fail(Oracle::o19, "an interrupt is sent to nobody or to oneself",
         cpu_name(cpu) + " touches the interrupt controller for nothing.", {},
         event(cpu, "sends the interrupt"));
  }
  host::HostCpuMask& expected = cpu_[cpu].flush.to_interrupt;
  targets.for_each([&](CpuId target) {
    if (expected.test(target)) return;
    fail(Oracle::o19, "a CPU is interrupted without a call for it",
         cpu_name(target) + " has no call of " + cpu_name(cpu) +
             ", or its queue was not empty and its interrupt is on its way.",
         {}, event(cpu, "sends the interrupt"));
  });
  expected = {};
}

void Oracles::begin_handler(CpuId cpu, const TraceEvent& event) {
  CpuGhost& ghost = cpu_[cpu];
  ghost.in_handler = true;
  ghost.invalidated = false;
  if (machine_.cpu(cpu).interrupts_enabled) {
    fail(Oracle::o15, "the flush function runs with interrupts on",
         "Another flush may interrupt it on " + cpu_name(cpu) + ", and work on the same slot.", {},
         this->event(cpu, "begins"));
  }
  const auto* request = static_cast<const FlushRequest<host::HostHal>*>(event.request);
  if (request->initiator != cpu) return;
  if (ghost.flush.ran_locally) {
    fail(Oracle::o15, "the local part of a flush runs twice", cpu_name(cpu) + " repeats itself.",
         {}, this->event(cpu, "runs it again"));
  }
  ghost.flush.ran_locally = true;
}

void Oracles::check_handler(CpuId cpu, const TraceEvent& event) {
  CpuGhost& ghost = cpu_[cpu];
  ghost.in_handler = false;
  const auto& request = *static_cast<const FlushRequest<host::HostHal>*>(event.request);
  const Generation before = event.value;
  const Generation after = event.value2;
  const auto report = [&](Oracle oracle, const char* title) {
    // A target that has answered early works on a copy, and its initiator may be in another flush.
    Event begin;
    const FlushGhost& flush = cpu_[request.initiator].flush;
    if (flush.request == &request) {
      begin = {.step = flush.begin, .cpu = request.initiator, .what = "starts the flush"};
    }
    fail(oracle, title,
         cpu_name(cpu) + " went from generation " + std::to_string(before) + " to " +
             std::to_string(after) + " for a request " +
             (request.generation == kNoGeneration
                  ? std::string("without a generation.")
                  : "of generation " + std::to_string(request.generation) + "."),
         std::move(begin), this->event(cpu, "records generation " + std::to_string(after)));
  };
  const bool partial = event.outcome == HandlerOutcome::partial;
  const bool full = event.outcome == HandlerOutcome::full;
  if (partial || full) note_carried_out(cpu, request);
  // First, because a generation that was read late may also be one too many for a partial flush.
  if ((partial || full) && ghost.invalidated && after > ghost.at_invalidate) {
    report(Oracle::o11, "the recorded generation was read after the flush");
  }
  if (partial && (after != before + 1 || after != request.generation)) {
    report(Oracle::o10, "a partial flush skips a generation");
  }
  // A large page is flushed with everything: one invalidation would leave older small entries.
  const bool enough = !request.all() && request.stride_shift == kPageShift;
  if (full && enough && request.generation == before + 1 && after == request.generation) {
    report(Oracle::o19, "a full flush where a partial one was enough");
  }
  audit_loaded(cpu, After::handler);
}

void Oracles::refine(Report& report) {
  if (report.oracle != Oracle::o18 || !report.first.what.empty()) return;
  // There somebody may be on the way to the interrupt for what he has queued.
  if (report.title == host::kWaitsWithInterruptsOff) return;
  unsigned index = 0;
  auto& calls = guest_->system().calls;
  calls.visit_shared([&](const char* name, auto& word) {
    if (std::strcmp(name, "call_queue") != 0) return;
    const CpuId id = index++;
    if (id >= machine_.cpu_count()) return;
    const HostCpu& cpu = machine_.cpu(id);
    if constexpr (std::is_pointer_v<decltype(word.peek())>) {
      if (!calls.is_work(word.peek())) return;
    }
    if (!cpu.interrupts_enabled || cpu.call_pending) return;
    report.oracle = Oracle::o17;
    report.title = "a queued call is forgotten";
    report.detail += cpu_name(id) + " has a call in its queue, and no interrupt will tell it.";
  });
}

}  // namespace shootdown::fuzz
