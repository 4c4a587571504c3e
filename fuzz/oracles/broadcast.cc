// Global slots (O27): who may have one, when one is used again, and who has moved to it.
#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::Oracle;

namespace {

std::uint64_t bit_of(Slot slot) { return std::uint64_t{1} << (slot - kSlots); }

std::string slot_name(Slot slot) { return "global slot " + std::to_string(slot); }

}  // namespace

void Oracles::slot_granted(CpuId cpu, const TraceEvent& event) {
  const auto slot = static_cast<Slot>(event.value);
  if ((slots_in_use_ & bit_of(slot)) != 0) {
    fail(Oracle::o27, "two spaces have the same global slot",
         mm_name(space_of(event.mm)) + " gets " + slot_name(slot) + ", which is in use.", {},
         this->event(cpu, "grants the slot"));
  }
  if ((slots_dirty_ & bit_of(slot)) != 0) {
    fail(Oracle::o27, "a global slot is used again without a full broadcast flush",
         mm_name(space_of(event.mm)) + " gets " + slot_name(slot) +
             ", under which CPUs may hold translations of the space that had it before.",
         {}, this->event(cpu, "grants the slot"));
  }
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    for (const host::TlbEntry& entry : machine_.cpu(id).tlb.entries) {
      // Global entries are the kernel's, and good in every PCID.
      if (entry.pcid != pcid_of(slot) || entry.global) continue;
      fail(Oracle::o27, "a CPU holds translations under a global slot that is granted",
           cpu_name(id) + " has not forgotten what " + slot_name(slot) + " meant before.",
           fill_event(id, entry), this->event(cpu, "grants the slot"));
    }
  }
  slots_in_use_ |= bit_of(slot);
}

void Oracles::slot_returned(CpuId cpu, const TraceEvent& event) {
  const auto slot = static_cast<Slot>(event.value);
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    if (machine_.pcid_of(machine_.cpu(id).cr3) != pcid_of(slot)) continue;
    fail(Oracle::o27, "a global slot is given back while a CPU has it loaded",
         cpu_name(id) + " can still fill translations under " + slot_name(slot) + ".", {},
         this->event(cpu, "gives the slot back"));
  }
  slots_in_use_ &= ~bit_of(slot);
  slots_dirty_ |= bit_of(slot);
}

void Oracles::on_broadcast(CpuId cpu, const Invlpgb& what) {
  ++cpu_[cpu].tally.broadcasts;
  const bool full =
      what.scope == InvlpgbScope::all_contexts || what.scope == InvlpgbScope::everything;
  if (full) cpu_[cpu].cleaning |= slots_dirty_;
}

void Oracles::on_broadcasts_done(CpuId cpu) {
  slots_dirty_ &= ~cpu_[cpu].cleaning;
  cpu_[cpu].cleaning = 0;
}

void Oracles::check_moved(CpuId cpu, const FlushGhost& flush) {
  if (flush.global == kNoGlobalSlot) return;
  const Mm<host::HostHal>* mm = &guest_->space(flush.space).mm;
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const CpuPrivate<host::HostHal>& own = guest_->system().cpus[id].own;
    // A target that answered early moves before it leaves its handler.
    const bool busy = flush.request->acknowledges_early && machine_.cpu(id).in_interrupt;
    if (own.loaded_mm.seen_by(machine_.cpu(id)) != mm || own.loaded_slot == flush.global || busy)
      continue;
    const bool lazy = guest_->system().cpus[id].shared.is_lazy.seen_by(machine_.cpu(id));
    const bool can_walk = lazy && flush.frees_tables;
    const bool called = flush.called.test(id);
    std::string title = can_walk ? "a flush for freed tables " : "a flush by broadcast ";
    title += called ? "returns, and leaves " : "passes over ";
    title += can_walk ? "a lazy CPU" : "a CPU on a slot of its own";
    fail(can_walk ? Oracle::o5 : Oracle::o27, std::move(title),
         cpu_name(id) + " has " + mm_name(flush.space) + " loaded on slot " +
             std::to_string(own.loaded_slot) + " and " +
             (called ? "has run its call there" : "got no interrupt") +
             ", but the broadcast was for " + slot_name(flush.global) + ".",
         {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
         event(cpu, "the flush returns"));
  }
}

}  // namespace shootdown::fuzz
