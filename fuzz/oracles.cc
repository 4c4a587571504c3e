#include "fuzz/oracles.h"

#include <cstring>
#include <utility>

#include "fuzz/guest.h"

namespace shootdown::fuzz {

using host::Event;
using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::Oracle;
using host::Provenance;
using host::Report;
using host::TlbEntry;

namespace {

std::string cpu_name(CpuId cpu) { return "cpu" + std::to_string(cpu); }
std::string mm_name(unsigned space) { return "mm" + std::to_string(space); }
std::string page_name(unsigned page) { return "page " + std::to_string(page); }

std::uint64_t checksum_of(const FlushRequest<host::HostHal>& request) {
  // Field by field, because padding has no defined content.
  std::uint64_t sum = reinterpret_cast<std::uintptr_t>(request.mm);
  for (std::uint64_t value :
       {request.start, request.end, request.generation, std::uint64_t{request.initiator},
        std::uint64_t{request.stride_shift}, std::uint64_t{request.frees_tables},
        static_cast<std::uint64_t>(request.reason)}) {
    sum = (sum ^ value) * 0x9e37'79b9'7f4a'7c15;
  }
  return sum;
}

}  // namespace

void Oracles::prepare(Guest& guest, unsigned spaces) {
  guest_ = &guest;
  spaces_ = spaces;
  for (unsigned i = 0; i < spaces; ++i) {
    SpaceGhost& ghost = space_[i];
    ghost.life = 1;
    ghost.last_generation = kFirstGeneration;
    for (PageGhost& page : ghost.pages) {
      page.version = 0;
      page.demand = {};
      page.log_size = 0;
    }
    guest.space(i).mm.cpus.visit_shared([&](const char*, auto& word) { mask_words_[i] = &word; });
  }
  for (CpuGhost& ghost : cpu_) ghost = {};
}

void Oracles::fail(Oracle oracle, std::string title, std::string detail, Event first,
                   Event second) {
  Report report{.oracle = oracle,
                .title = std::move(title),
                .detail = std::move(detail),
                .first = std::move(first),
                .second = std::move(second)};
  machine_.report_failure(std::move(report));
}

Event Oracles::event(CpuId cpu, std::string what) const {
  return {.step = machine_.step(), .cpu = cpu, .what = std::move(what)};
}

Event Oracles::fill_event(CpuId cpu, const TlbEntry& entry) const {
  const unsigned page = page_of(entry.page << entry.shift);
  return {.step = entry.from.step,
          .cpu = cpu,
          .what = (entry.from.speculative ? "speculatively cached " : "cached ") + page_name(page) +
                  " of " + mm_name(entry.from.space)};
}

unsigned Oracles::space_of(const void* mm) const {
  for (unsigned i = 0; i < spaces_; ++i) {
    if (mm == &guest_->space(i).mm) return i;
  }
  return kNoSpace;
}

std::uint64_t Oracles::mask_word(unsigned space) const { return mask_words_[space]->peek(); }

bool Oracles::covers(const FlushRequest<host::HostHal>& request, unsigned page) const {
  if (request.all()) return true;
  const VirtAddr start = page_address(page);
  const VirtAddr end = start + (VirtAddr{1} << page_shift(page));
  return request.start < end && start < request.end;
}

bool Oracles::is_stale_at(const TlbEntry& entry, Generation generation) const {
  const unsigned page = page_of(entry.page << entry.shift);
  const PageGhost& ghost = space_[entry.from.space].pages[page];
  for (unsigned i = ghost.log_size; i-- > 0;) {
    if (ghost.log[i].generation <= generation) return ghost.log[i].version > entry.from.version;
  }
  return false;
}

// ---- The simulated kernel's events
// ----------------------------------------------------------------

void Oracles::on_entry_changed(unsigned space, unsigned page) {
  ++space_[space].pages[page].version;
}

void Oracles::on_release(std::uint32_t frame) {
  const FrameInfo& info = machine_.frames().info(frame);
  const CpuId self = machine_.running().id;
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const HostCpu& cpu = machine_.cpu(id);
    const std::uint16_t pcid = machine_.pcid_of(cpu.cr3);
    if (info.kind == FrameKind::table) {
      for (const auto& entry : cpu.tlb.psc) {
        if (entry.table != frame || entry.pcid != pcid) continue;
        fail(Oracle::o5, "a page table is released while a CPU can walk it",
             cpu_name(id) + " has a cached pointer to the table and may walk it at any moment.",
             {.step = entry.from.step, .cpu = id, .what = "cached a pointer to the table"},
             event(self, "releases the table"));
      }
      continue;
    }
    // A lazy CPU may keep the entry: it does not use it, and flushes before it does (R3).
    if (cpu_[id].in_switch || guest_->system().cpus[id].shared.is_lazy.peek()) continue;
    for (const TlbEntry& entry : cpu.tlb.entries) {
      if (entry.frame != frame || (entry.pcid != pcid && !entry.global)) continue;
      fail(Oracle::o6, "a frame is released while a CPU can use it",
           cpu_name(id) + " still has a usable translation to the frame.", fill_event(id, entry),
           event(self, "releases the frame"));
    }
  }
}

void Oracles::on_destroy(unsigned space) {
  const GuestMm& guest_mm = guest_->space(space);
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const bool loaded = guest_->system().cpus[id].own.loaded_mm == &guest_mm.mm;
    if (!loaded && FramePool::frame_at(machine_.cpu(id).cr3) != guest_mm.root) continue;
    fail(Oracle::o31, "an address space is destroyed while a CPU has it loaded",
         cpu_name(id) + " has " + mm_name(space) + " loaded.", {},
         event(machine_.running().id, "destroys " + mm_name(space)));
  }
  SpaceGhost& ghost = space_[space];
  ++ghost.life;
  ghost.last_generation = kFirstGeneration;
  for (PageGhost& page : ghost.pages) {
    page.log_size = 0;
    page.demand = {};
  }
}

// ---- Use time
// -------------------------------------------------------------------------------------

void Oracles::on_fill(CpuId cpu, VirtAddr address, Provenance& from) {
  const unsigned space = cpu_[cpu].space;
  const unsigned page = page_of(address);
  from.step = machine_.step();
  if (space == kNoSpace || page == kPages) return;
  from.space = static_cast<std::uint16_t>(space);
  from.life = space_[space].life;
  from.version = space_[space].pages[page].version;
}

bool Oracles::on_walk(CpuId cpu, std::uint32_t frame) {
  const FrameInfo& info = machine_.frames().info(frame);
  const unsigned owner = owner_space(info.owner);
  const unsigned space = cpu_[cpu].space;
  if (info.kind == FrameKind::table && (owner == space || owner == kKernelSpace)) return true;
  fail(Oracle::o5, "a walk reads a page table that was released",
       cpu_name(cpu) + " walks a frame that is " +
           (info.kind == FrameKind::free ? "free." : "used for something else by now."),
       {.step = info.changed_at, .cpu = info.changed_by, .what = "released or reused the table"},
       event(cpu, "walks it"));
  return false;
}

void Oracles::on_use(CpuId cpu, VirtAddr address, const TlbEntry& entry) {
  const unsigned page = page_of(address);
  const unsigned space = cpu_[cpu].space;
  const auto use = [&] { return event(cpu, "uses it for an access to " + page_name(page)); };
  if (entry.from.space != space || entry.from.life != space_[space].life) {
    fail(Oracle::o4, "a CPU uses a translation of another address space",
         cpu_name(cpu) + " runs " + mm_name(space) + " but the entry is from " +
             mm_name(entry.from.space) + ".",
         fill_event(cpu, entry), use());
  }
  const Demand& demand = space_[space].pages[page].demand;
  if (entry.from.version < demand.version) {
    fail(Oracle::o2, "a CPU uses a translation older than a completed flush",
         cpu_name(cpu) + " cached " + page_name(page) + " of " + mm_name(space) + " at step " +
             std::to_string(entry.from.step) + "; " + cpu_name(demand.cpu) +
             "'s flush of it returned at step " + std::to_string(demand.step) + ".",
         {.step = demand.step, .cpu = demand.cpu, .what = "the flush of the page returned"}, use());
  }
  if (machine_.frames().info(entry.frame).kind != FrameKind::data) {
    fail(Oracle::o6, "a CPU uses a frame that was released", cpu_name(cpu) + " reads a dead frame.",
         fill_event(cpu, entry), use());
  }
  if (guest_->system().cpus[cpu].shared.is_lazy.peek()) {
    fail(Oracle::o9, "a lazy CPU uses a user address",
         cpu_name(cpu) + " accessed memory without leaving lazy mode.", {}, use());
  }
}

// ---- Step time
// ------------------------------------------------------------------------------------

void Oracles::on_cr3(CpuId cpu) {
  const std::uint32_t root = FramePool::frame_at(machine_.cpu(cpu).cr3);
  cpu_[cpu].space = kNoSpace;
  if (root == FramePool::kNoFrame) return;
  const FrameInfo& info = machine_.frames().info(root);
  if (info.kind != FrameKind::table) {
    fail(Oracle::o31, "CR3 is loaded with a released root",
         cpu_name(cpu) + " loads a top table that was released.",
         {.step = info.changed_at, .cpu = info.changed_by, .what = "released the top table"},
         event(cpu, "loads CR3"));
  }
  const unsigned owner = owner_space(info.owner);
  if (owner != kKernelSpace) cpu_[cpu].space = owner;
}

void Oracles::on_invalidate(CpuId cpu) {
  CpuGhost& ghost = cpu_[cpu];
  if (!ghost.in_handler || ghost.invalidated) return;
  ghost.invalidated = true;
  Mm<host::HostHal>* loaded = guest_->system().cpus[cpu].own.loaded_mm;
  ghost.at_invalidate = loaded != nullptr ? loaded->tlb_gen.peek() : kNoGeneration;
}

void Oracles::track_lazy(CpuId cpu) {
  CpuGhost& ghost = cpu_[cpu];
  const bool lazy = guest_->system().cpus[cpu].shared.is_lazy.peek();
  if (lazy && !ghost.lazy) ghost.lazy_since = machine_.step();
  ghost.lazy = lazy;
}

void Oracles::after_change(CpuId cpu) {
  track_lazy(cpu);
  check_mask(cpu);
  check_consistency(cpu);
  check_generations(cpu);
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    FlushGhost& flush = cpu_[id].flush;
    if (flush.request == nullptr) continue;
    host::HostCpuMask now;
    now.set_word(0, mask_word(flush.space));
    flush.in_mask |= now;
  }
}

void Oracles::check_mask(CpuId cpu) {
  const unsigned space = cpu_[cpu].space;
  if (space == kNoSpace || ((mask_word(space) >> cpu) & 1) != 0) return;
  fail(Oracle::o7, "a CPU has a space in CR3 but is not in its mask",
       cpu_name(cpu) + " can still walk " + mm_name(space) +
           ", but a flush that starts now would not reach it.",
       {}, event(cpu, "is not in the mask of " + mm_name(space)));
}

void Oracles::check_consistency(CpuId cpu) {
  const CpuState<host::HostHal>& state = guest_->system().cpus[cpu];
  const HostCpu& hardware = machine_.cpu(cpu);
  const Mm<host::HostHal>* loaded = state.own.loaded_mm;
  if (hardware.interrupts_enabled) {
    const bool agrees =
        loaded != nullptr &&
        hardware.cr3 == cr3_value(guest_->system(), *loaded, state.own.loaded_slot) &&
        state.own.slots[state.own.loaded_slot].context == loaded->context;
    if (!agrees) {
      fail(Oracle::o8, "interrupts are on while the bookkeeping and CR3 disagree",
           "A flush interrupt that arrives on " + cpu_name(cpu) +
               " now would flush the wrong space.",
           {}, event(cpu, "runs with interrupts on"));
    }
  }
  if (cpu_[cpu].lazy && loaded != nullptr && loaded->is_kernel) {
    fail(Oracle::o9, "a CPU is lazy on the kernel's own space",
         cpu_name(cpu) + " would be skipped by flushes for no reason.", {}, event(cpu, "is lazy"));
  }
}

void Oracles::check_generations(CpuId cpu) {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  if (own.loaded_mm == nullptr || own.loaded_mm->is_kernel) return;
  const SlotState& slot = own.slots[own.loaded_slot];
  const unsigned space = space_of(own.loaded_mm);
  const Generation now = own.loaded_mm->tlb_gen.peek();
  SpaceGhost& ghost = space_[space];
  if (slot.context == own.loaded_mm->context && slot.generation > now) {
    fail(Oracle::o3, "a slot is newer than its address space",
         cpu_name(cpu) + " recorded generation " + std::to_string(slot.generation) + ", " +
             mm_name(space) + " is at " + std::to_string(now) + ".",
         {}, event(cpu, "holds the slot"));
  }
  if (now < ghost.last_generation) {
    fail(Oracle::o3, "a generation went backwards",
         mm_name(space) + " went from " + std::to_string(ghost.last_generation) + " to " +
             std::to_string(now) + ".",
         {}, event(cpu, "sees it"));
  }
  ghost.last_generation = now;
}

void Oracles::check_slots(CpuId cpu) {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  for (Slot a = 0; a < kSlots; ++a) {
    for (Slot b = a + 1; b < kSlots; ++b) {
      if (own.slots[a].context == kNoContext || own.slots[a].context != own.slots[b].context) {
        continue;
      }
      fail(Oracle::o14, "two slots of a CPU name the same space",
           cpu_name(cpu) + " may load the older of the two.", {}, event(cpu, "ends a switch"));
    }
  }
}

void Oracles::audit_loaded(CpuId cpu, bool after_lazy) {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const unsigned space = cpu_[cpu].space;
  if (space == kNoSpace) return;
  const std::uint16_t pcid = machine_.pcid_of(machine_.cpu(cpu).cr3);
  const Generation recorded = own.slots[own.loaded_slot].generation;
  for (const TlbEntry& entry : machine_.cpu(cpu).tlb.entries) {
    if (entry.pcid != pcid) continue;
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.space != space || entry.from.life != space_[space].life) {
      fail(Oracle::o4, "a slot holds translations of another address space",
           cpu_name(cpu) + " loaded " + mm_name(space) + " with entries of " +
               mm_name(entry.from.space) + " under the same PCID.",
           fill_event(cpu, entry), event(cpu, "may use it now"));
    }
    if (is_stale_at(entry, recorded)) {
      fail(Oracle::o4, "a slot holds a translation older than the generation it records",
           cpu_name(cpu) + " recorded generation " + std::to_string(recorded) + " of " +
               mm_name(space) + ", but " + page_name(page) + " is older.",
           fill_event(cpu, entry), event(cpu, "records the generation"));
    }
    // A lazy CPU may hold it: a request for another space finds it so, and changes nothing.
    if (cpu_[cpu].lazy) continue;
    const Demand& demand = space_[space].pages[page].demand;
    if (entry.from.version < demand.version) {
      fail(after_lazy ? Oracle::o2 : Oracle::o1,
           after_lazy ? "a CPU leaves lazy mode with a translation older than a completed flush"
                      : "a CPU switches in with a translation older than a completed flush",
           cpu_name(cpu) + " may use " + page_name(page) + " of " + mm_name(space) +
               " from now on, but its flush by " + cpu_name(demand.cpu) + " returned at step " +
               std::to_string(demand.step) + ".",
           fill_event(cpu, entry), event(cpu, "may use it now"));
    }
  }
}

// ---- Flushes
// --------------------------------------------------------------------------------------

void Oracles::on_trace(CpuId cpu, const TraceEvent& event) {
  switch (event.kind) {
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
    case TraceKind::flush_send:
    case TraceKind::enter_lazy:
      break;
  }
}

void Oracles::begin_flush(CpuId cpu, const TraceEvent& event) {
  FlushGhost& flush = cpu_[cpu].flush;
  flush.request = static_cast<const FlushRequest<host::HostHal>*>(event.request);
  flush.space = space_of(event.mm);
  flush.checksum = checksum_of(*flush.request);
  flush.begin = machine_.step();
  flush.in_mask = {};
  flush.in_mask.set_word(0, mask_word(flush.space));
  flush.queued = {};
  flush.ran_locally = false;
  for (unsigned page = 0; page < kPages; ++page) {
    PageGhost& ghost = space_[flush.space].pages[page];
    flush.wanted[page] = 0;
    if (!covers(*flush.request, page)) continue;
    flush.wanted[page] = ghost.version;
    if (ghost.log_size < kLogDepth) {
      ghost.log[ghost.log_size++] = {.generation = event.value, .version = ghost.version};
    }
  }
}

void Oracles::end_flush(CpuId cpu) {
  FlushGhost& flush = cpu_[cpu].flush;
  if (checksum_of(*flush.request) != flush.checksum) {
    fail(Oracle::o16, "a request changed while targets could read it",
         cpu_name(cpu) + "'s request is not what it published.",
         {.step = flush.begin, .cpu = cpu, .what = "published the request"},
         event(cpu, "the flush returns"));
  }
  if (!flush.queued.empty()) {
    fail(Oracle::o15, "a flush returns before every call has run",
         cpu_name(flush.queued.first()) + " has not run the call.",
         {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
         event(cpu, "the flush returns"));
  }
  for (unsigned page = 0; page < kPages; ++page) {
    Demand& demand = space_[flush.space].pages[page].demand;
    if (flush.wanted[page] > demand.version) {
      demand = {.version = flush.wanted[page], .step = machine_.step(), .cpu = cpu};
    }
  }
  check_completed(cpu, flush);
  flush.request = nullptr;
}

void Oracles::check_completed(CpuId cpu, const FlushGhost& flush) {
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    check_completed_on(cpu, flush, target);
  }
}

void Oracles::check_completed_on(CpuId cpu, const FlushGhost& flush, CpuId target) {
  const CpuGhost& ghost = cpu_[target];
  // Inside switch_mm the CPU uses nothing; what it may use afterwards is audited at the end.
  if (ghost.in_switch) return;
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[target].own;
  const std::uint16_t loaded_pcid = machine_.pcid_of(machine_.cpu(target).cr3);
  for (const TlbEntry& entry : machine_.cpu(target).tlb.entries) {
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.space != flush.space || entry.from.life != space_[flush.space].life) continue;
    if (entry.from.version >= flush.wanted[page]) continue;
    const bool usable = ghost.space == flush.space && entry.pcid == loaded_pcid && !ghost.lazy;
    if (usable) {
      fail(Oracle::o1, "a flush returns while a CPU can still use an older translation",
           cpu_name(target) + " runs " + mm_name(flush.space) + " with " + page_name(page) +
               " from before the change that " + cpu_name(cpu) + " flushed.",
           fill_event(target, entry), event(cpu, "the flush returns"));
    }
    if (!machine_.pcid()) continue;
    const Slot slot = entry.pcid - 1U;
    const bool kept = own.slots[slot].context == guest_->space(flush.space).mm.context &&
                      own.slots[slot].generation >= flush.request->generation;
    if (kept) {
      fail(Oracle::o4, "a slot holds a translation older than the generation it records",
           cpu_name(target) + " would load " + mm_name(flush.space) + " without a flush although " +
               page_name(page) + " is older.",
           fill_event(target, entry), event(cpu, "the flush returns"));
    }
  }
}

void Oracles::begin_switch(CpuId cpu) {
  cpu_[cpu].in_switch = true;
  cpu_[cpu].switch_was_lazy = guest_->system().cpus[cpu].shared.is_lazy.peek();
}

void Oracles::end_switch(CpuId cpu) {
  cpu_[cpu].in_switch = false;
  check_slots(cpu);
  audit_loaded(cpu, cpu_[cpu].switch_was_lazy);
}

void Oracles::call_queued(CpuId cpu, const TraceEvent& event) {
  FlushGhost& flush = cpu_[cpu].flush;
  const auto target = static_cast<CpuId>(event.value);
  if (flush.queued.test(target)) {
    fail(Oracle::o15, "a call is queued twice on one target", cpu_name(target) + " gets it twice.",
         {}, this->event(cpu, "queues it again"));
  }
  flush.queued.set(target);
  if (flush.request == nullptr) return;
  const CpuGhost& ghost = cpu_[target];
  if (!flush.in_mask.test(target)) {
    fail(Oracle::o19, "a flush interrupts a CPU outside the mask",
         cpu_name(target) + " was not in the mask of " + mm_name(flush.space) +
             " at any time since the flush began.",
         {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
         this->event(cpu, "queues a call for " + cpu_name(target)));
  }
  if (ghost.lazy && ghost.lazy_since < flush.begin && !flush.request->frees_tables) {
    fail(Oracle::o19, "a flush interrupts a lazy CPU without need",
         cpu_name(target) + " was lazy before the flush began, and no tables are freed.",
         {.step = ghost.lazy_since, .cpu = target, .what = "became lazy"},
         this->event(cpu, "queues a call for " + cpu_name(target)));
  }
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
}

void Oracles::begin_handler(CpuId cpu, const TraceEvent& event) {
  CpuGhost& ghost = cpu_[cpu];
  ghost.in_handler = true;
  ghost.invalidated = false;
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
    fail(oracle, title,
         cpu_name(cpu) + " went from generation " + std::to_string(before) + " to " +
             std::to_string(after) + " for a request of generation " +
             std::to_string(request.generation) + ".",
         {.step = cpu_[request.initiator].flush.begin,
          .cpu = request.initiator,
          .what = "starts the flush"},
         this->event(cpu, "records generation " + std::to_string(after)));
  };
  const bool partial = event.outcome == HandlerOutcome::partial;
  const bool full = event.outcome == HandlerOutcome::full;
  if (partial && (after != before + 1 || after != request.generation)) {
    report(Oracle::o10, "a partial flush skips a generation");
  }
  if ((partial || full) && ghost.invalidated && after > ghost.at_invalidate) {
    report(Oracle::o11, "the recorded generation was read after the flush");
  }
  if (full && !request.all() && request.generation == before + 1 && after == request.generation) {
    report(Oracle::o19, "a full flush where a partial one was enough");
  }
  audit_loaded(cpu, /*after_lazy=*/false);
}

void Oracles::refine(Report& report) {
  if (report.oracle != Oracle::o18 || !report.first.what.empty()) return;
  unsigned index = 0;
  guest_->system().calls.visit_shared([&](const char* name, auto& word) {
    if (std::strcmp(name, "call_queue") != 0) return;
    const CpuId id = index++;
    if (id >= machine_.cpu_count()) return;
    const HostCpu& cpu = machine_.cpu(id);
    if (word.peek() == 0 || !cpu.interrupts_enabled || cpu.call_pending) return;
    report.oracle = Oracle::o17;
    report.title = "a queued call is forgotten";
    report.detail += cpu_name(id) + " has a call in its queue, and no interrupt will tell it.";
  });
}

// ---- Names
// ----------------------------------------------------------------------------------------

void Oracles::collect_labels() {
  labels_.clear();
  const auto add = [&](const std::string& prefix) {
    return [this, prefix](const char* name, auto& word) {
      labels_.push_back({.address = &word, .text = prefix + name});
    };
  };
  for (unsigned i = 0; i < kMaxMms; ++i) {
    GuestMm& space = guest_->space(i);
    space.mm.visit_shared(add(mm_name(i) + "."));
    labels_.push_back({.address = &space.lock, .text = mm_name(i) + ".page_table_lock"});
    labels_.push_back({.address = &space.users, .text = mm_name(i) + ".users"});
  }
  System<host::HostHal>& system = guest_->system();
  system.kernel_mm.visit_shared(add("kernel_mm."));
  labels_.push_back({.address = &system.next_context, .text = "next_context"});
  for (CpuId id = 0; id < kMaxCpus; ++id) {
    labels_.push_back(
        {.address = &system.cpus[id].shared.is_lazy, .text = cpu_name(id) + ".is_lazy"});
  }
  unsigned queue = 0;
  unsigned record = 0;
  system.calls.visit_shared([&](const char* name, auto& word) {
    std::string text = "online";
    if (std::strcmp(name, "call_queue") == 0) text = cpu_name(queue++) + ".queue";
    if (std::strcmp(name, "call_locked") == 0) {
      text = "record." + cpu_name(record / kMaxCpus) + "->" + cpu_name(record % kMaxCpus);
      ++record;
    }
    labels_.push_back({.address = &word, .text = text});
  });
}

std::string Oracles::label(const void* address) {
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  if (page_of(value) != kPages) return page_name(page_of(value));
  const auto* word = static_cast<const std::uint64_t*>(address);
  const std::uint32_t frame = machine_.frames().frame_of(word);
  if (frame != FramePool::kNoFrame) {
    const FrameInfo& info = machine_.frames().info(frame);
    const auto index = static_cast<unsigned>(word - machine_.frames().words(frame));
    const unsigned space = owner_space(info.owner);
    const std::string level = owner_what(info.owner) == 1   ? ".table["
                              : owner_what(info.owner) == 2 ? ".directory["
                                                            : ".upper[";
    return (space == kKernelSpace ? "kernel" : mm_name(space)) + level + std::to_string(index) +
           "]";
  }
  if (labels_.empty()) collect_labels();
  for (const Label& label : labels_) {
    if (label.address == address) return label.text;
  }
  const std::uint32_t root = FramePool::frame_at(value);
  if (root != FramePool::kNoFrame && machine_.frames().info(root).kind == FrameKind::table) {
    const unsigned space = owner_space(machine_.frames().info(root).owner);
    return (space == kKernelSpace ? "the kernel's space" : mm_name(space)) + ", PCID " +
           std::to_string(value & 0xfff);
  }
  return std::to_string(value);
}

}  // namespace shootdown::fuzz
