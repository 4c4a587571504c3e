// The step-time family: invariants of the core's state after each visible operation and each
// switch.
#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::Oracle;
using host::TlbEntry;

namespace {

/// What a CPU knows of itself. Not its counters, and no padding, which has no defined content.
std::uint64_t checksum_of(const CpuPrivate<host::HostHal>& own) {
  std::uint64_t sum = 0;
  const auto add = [&](std::uint64_t value) { sum = (sum ^ value) * 0x9e37'79b9'7f4a'7c15; };
  for (const SlotState& slot : own.slots) {
    add(slot.context);
    add(slot.generation);
  }
  for (const std::uint64_t value :
       {std::uint64_t{own.loaded_slot}, std::uint64_t{own.next_slot}, std::uint64_t{own.user_flush},
        std::uint64_t{own.invalidate_other}, std::uint64_t{own.owes_answered_flush.peek()},
        std::uint64_t{own.request_in_use}, own.deferred.start, own.deferred.end, own.cr4}) {
    add(value);
  }
  return sum;
}

}  // namespace

void Oracles::on_cr3(CpuId cpu) {
  const std::uint32_t root = FramePool::frame_at(machine_.cpu(cpu).cr3);
  check_user_root(cpu);
  cpu_[cpu].space = kNoSpace;
  cpu_[cpu].on_user_root = false;
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
  if (owner_level(info.owner) != vm::kUserRootLevel) return;
  cpu_[cpu].on_user_root = true;
  cpu_[cpu].own_state = checksum_of(guest_->system().cpus[cpu].own);
}

void Oracles::check_user_root(CpuId cpu) {
  const CpuGhost& ghost = cpu_[cpu];
  if (!ghost.on_user_root) return;
  if (checksum_of(guest_->system().cpus[cpu].own) == ghost.own_state) return;
  fail(Oracle::o32, "a CPU changes its own state on a user root",
       cpu_name(cpu) + " would fault: a user root maps of the kernel what an entry needs.", {},
       event(cpu, "has changed its state since it loaded the user root"));
}

void Oracles::on_kernel_entered(CpuId cpu) {
  if (!cpu_[cpu].on_user_root) return;
  fail(Oracle::o32, "an entry into the kernel stays on the user root",
       cpu_name(cpu) + " would fault: a user root maps of the kernel what an entry needs.", {},
       event(cpu, "goes on to code that a user root does not map"));
}

void Oracles::on_invalidate(CpuId cpu) {
  CpuGhost& ghost = cpu_[cpu];
  if (!ghost.in_handler || ghost.invalidated) return;
  ghost.invalidated = true;
  Mm<host::HostHal>* loaded = guest_->system().cpus[cpu].own.loaded_mm.seen_by(machine_.cpu(cpu));
  ghost.at_invalidate = loaded != nullptr ? loaded->tlb_gen.peek() : kNoGeneration;
}

void Oracles::track_lazy(CpuId cpu) {
  CpuGhost& ghost = cpu_[cpu];
  const bool lazy = guest_->system().cpus[cpu].shared.is_lazy.peek();
  if (lazy && !ghost.lazy) ghost.lazy_since = machine_.step();
  ghost.lazy = lazy;
}

// Flat, because it runs after every change: calls made executions 4 % slower.
[[gnu::flatten]] void Oracles::after_change(CpuId cpu) {
  track_lazy(cpu);
  check_mask(cpu);
  check_root(cpu);
  check_user_root(cpu);
  check_consistency(cpu);
  check_generations(cpu);
  flushing_.for_each([&](CpuId id) {
    FlushGhost& flush = cpu_[id].flush;
    flush.in_mask.set_word(0, flush.in_mask.word(0) | mask_word(flush.space));
  });
}

void Oracles::check_mask(CpuId cpu) {
  const unsigned space = cpu_[cpu].space;
  if (space == kNoSpace || ((mask_word(space) >> cpu) & 1) != 0) return;
  fail(Oracle::o7, "a CPU has a space in CR3 but is not in its mask",
       cpu_name(cpu) + " can still walk " + mm_name(space) +
           ", but a flush that starts now would not find it in the mask.",
       {}, event(cpu, "is not in the mask of " + mm_name(space)));
}

void Oracles::check_consistency(CpuId cpu) {
  const CpuState<host::HostHal>& state = guest_->system().cpus[cpu];
  const HostCpu& hardware = machine_.cpu(cpu);
  const Mm<host::HostHal>* loaded = state.own.loaded_mm.seen_by(machine_.cpu(cpu));
  if (hardware.interrupts_enabled) {
    const System<host::HostHal>& system = guest_->system();
    const Slot slot = state.own.loaded_slot;
    const char* disagrees = nullptr;
    if (loaded == nullptr) {
      disagrees = "says that it is inside a switch.";
    } else if (hardware.cr3 != (guest_->in_user_mode(cpu) ? user_cr3_value(system, *loaded, slot)
                                                          : cr3_value(system, *loaded, slot))) {
      disagrees = "names another space, half or slot than CR3.";
    } else if (state.own.on_global.seen_by(machine_.cpu(cpu)) != is_global_slot(slot)) {
      disagrees = "is wrong about whether the slot is global.";
    } else if (is_global_slot(slot) ? loaded->global_slot.seen_by(machine_.cpu(cpu)) != slot
                                    : state.own.slots[slot].context != loaded->context) {
      disagrees = "names a slot that belongs to another space.";
    }
    if (disagrees != nullptr) {
      fail(Oracle::o8, "interrupts are on while the bookkeeping and CR3 disagree",
           "What a flush interrupt that arrives on " + cpu_name(cpu) + " now would go by " +
               disagrees,
           {}, event(cpu, "runs with interrupts on"));
    }
    if (hardware.cr4 != state.own.cr4) {
      fail(Oracle::o23, "CR4 and its shadow differ while interrupts are on",
           "A write of CR4 from the shadow on " + cpu_name(cpu) +
               ", such as a flush without INVPCID makes, would set the wrong bits.",
           {}, event(cpu, "runs with interrupts on"));
    }
  }
  if (cpu_[cpu].lazy && loaded != nullptr && loaded->is_kernel) {
    fail(Oracle::o9, "a CPU is lazy on the kernel's own space",
         cpu_name(cpu) + " has no user half loaded that it could leave alone.", {},
         event(cpu, "is lazy"));
  }
}

void Oracles::on_nmi_access(CpuId cpu, unsigned space) {
  if (cpu_[cpu].space == space) return;
  fail(Oracle::o22, "an NMI reads another space than its task's",
       cpu_name(cpu) + " runs a task of " + mm_name(space) + ", and CR3 holds " +
           space_name(cpu_[cpu].space) + ".",
       {}, event(cpu, "reads user memory in an NMI handler"));
}

void Oracles::check_root(CpuId cpu) {
  // Where NMIs arrive, they ask for themselves.
  if (guest_->takes_nmis()) return;
  const CpuState<host::HostHal>& state = guest_->system().cpus[cpu];
  const Mm<host::HostHal>* loaded = state.own.loaded_mm.seen_by(machine_.cpu(cpu));
  const unsigned space = cpu_[cpu].space;
  if (loaded == nullptr || cpu_[cpu].offline) return;
  // Then user_access_ok is false, whatever is loaded.
  if (state.shared.is_lazy.seen_by(machine_.cpu(cpu)) ||
      state.own.owes_answered_flush.seen_by(machine_.cpu(cpu))) {
    return;
  }
  if (space == kNoSpace ? loaded->is_kernel : loaded == &guest_->space(space).mm) return;
  fail(Oracle::o22, "user_access_ok would be true while CR3 holds another space",
       "An NMI on " + cpu_name(cpu) + " now would take the wrong space for its task's.", {},
       event(cpu, "may be interrupted by an NMI"));
}

void Oracles::check_generations(CpuId cpu) {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const Mm<host::HostHal>* loaded = own.loaded_mm.seen_by(machine_.cpu(cpu));
  if (loaded == nullptr || loaded->is_kernel) return;
  const bool owned =
      !is_global_slot(own.loaded_slot) && own.slots[own.loaded_slot].context == loaded->context;
  const Generation recorded = own.generation_of(own.loaded_slot);
  const unsigned space = space_of(loaded);
  const Generation now = loaded->tlb_gen.peek();
  SpaceGhost& ghost = space_[space];
  if (owned && recorded > now) {
    fail(Oracle::o3, "a slot is newer than its address space",
         cpu_name(cpu) + " recorded generation " + std::to_string(recorded) + ", " +
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

void Oracles::audit_loaded(CpuId cpu, After after) {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const unsigned space = cpu_[cpu].space;
  if (space == kNoSpace) return;
  const std::uint16_t pcid = machine_.pcid_of(machine_.cpu(cpu).cr3);
  check_twin(cpu);
  audit_pointers(cpu);
  const Generation recorded = own.generation_of(own.loaded_slot);
  for (const TlbEntry& entry : machine_.cpu(cpu).tlb.entries) {
    if (entry.pcid != pcid || entry.from.space == kKernelSpace) continue;
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.space != space || entry.from.life != space_[space].life) {
      fail(Oracle::o4, "a slot holds translations of another address space",
           cpu_name(cpu) + " has " + mm_name(space) + " loaded, with entries of " +
               origin_name(entry.from) + same_pcid() + ".",
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
    if (is_outdated(entry, page) && entry.from.version < demand.version) {
      static constexpr const char* kAfter[] = {"switches in with", "leaves lazy mode with",
                                               "ends a flush function and keeps"};
      fail(after == After::lazy_exit ? Oracle::o2 : Oracle::o1,
           std::string("a CPU ") + kAfter[static_cast<unsigned>(after)] + " a translation " +
               older_than(demand),
           cpu_name(cpu) + " may use " + page_name(page) + " of " + mm_name(space) +
               " from now on, but " + made_by(demand) + ".",
           fill_event(cpu, entry), event(cpu, "may use it now"));
    }
  }
}

bool Oracles::twin_is_owed(CpuId cpu, Slot slot) const {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  if (((own.user_flush >> pcid_of(slot)) & 1) != 0) return true;
  // The load of the user root is still to come, and it flushes.
  return slot == own.loaded_slot && guest_->goes_to_user_mode(cpu) && !cpu_[cpu].on_user_root &&
         (guest_->entry_block(cpu).user_cr3 & kCr3KeepEntries) == 0;
}

bool Oracles::twin_is_owed(CpuId cpu, Slot slot, VirtAddr address) const {
  if (twin_is_owed(cpu, slot)) return true;
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const auto in = [&](const DeferredPages& pages) {
    return !pages.empty() && holds_part_of(address, pages.start, pages.end);
  };
  if (slot != own.loaded_slot) return false;
  return in(own.deferred) || (guest_->goes_to_user_mode(cpu) && in(guest_->entry_block(cpu).pages));
}

void Oracles::check_twin(CpuId cpu) {
  const System<host::HostHal>& system = guest_->system();
  if (!system.config.pti || !system.config.pcid) return;
  const CpuPrivate<host::HostHal>& own = system.cpus[cpu].own;
  const auto twin = static_cast<std::uint16_t>(pcid_of(own.loaded_slot) | kUserPcidBit);
  const Generation recorded = own.generation_of(own.loaded_slot);
  for (const TlbEntry& entry : machine_.cpu(cpu).tlb.entries) {
    if (entry.pcid != twin || entry.from.space == kKernelSpace) continue;
    const unsigned page = page_of(entry.page << entry.shift);
    const bool foreign =
        entry.from.space != cpu_[cpu].space || entry.from.life != space_[entry.from.space].life;
    if (!foreign && !is_stale_at(entry, recorded)) continue;
    if (twin_is_owed(cpu, own.loaded_slot, probe_address(page))) continue;
    fail(Oracle::o12,
         foreign ? "the user half holds translations of another address space"
                 : "the user half keeps what the kernel half has flushed",
         cpu_name(cpu) + " would go to user mode with " + entry_name(entry) +
             (foreign ? " under the PCID of " + space_name(cpu_[cpu].space) + "."
                      : " from before generation " + std::to_string(recorded) + "."),
         fill_event(cpu, entry), event(cpu, "records the generation"));
  }
}

}  // namespace shootdown::fuzz
