#include "fuzz/oracles/core_state/global_slots.h"

#include <utility>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

namespace {

std::uint64_t bit_of(Slot slot) { return std::uint64_t{1} << (slot - kSlots); }

std::string slot_name(Slot slot) { return "global slot " + std::to_string(slot); }

}  // namespace

void GlobalSlotChecker::start() {
  in_use_ = dirty_ = 0;
  cleaning_.fill(0);
}

void GlobalSlotChecker::on_granted(CpuId cpu, unsigned space, Slot slot) {
  const Truth& truth = core_.truth();
  const auto grants = [&] { return truth.event(cpu, "grants the slot"); };
  if ((in_use_ & bit_of(slot)) != 0) {
    truth.fail(Oracle::o27, "two spaces have the same global slot",
               mm_name(space) + " gets " + slot_name(slot) + ", which is in use.", {}, grants());
  }
  if ((dirty_ & bit_of(slot)) != 0) {
    truth.fail(Oracle::o27, "a global slot is used again without a full broadcast flush",
               mm_name(space) + " gets " + slot_name(slot) +
                   ", under which CPUs may hold translations of the space that had it before.",
               {}, grants());
  }
  const host::Machine& machine = core_.machine();
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    for (const host::TlbEntry& entry : machine.cpu(id).tlb.entries) {
      // Global entries are the kernel's, and good in every PCID.
      if (entry.pcid != pcid_of(slot) || entry.global) continue;
      truth.fail(Oracle::o27, "a CPU holds translations under a global slot that is granted",
                 cpu_name(id) + " has not forgotten what " + slot_name(slot) + " meant before.",
                 truth.fill_event(id, entry), grants());
    }
  }
  in_use_ |= bit_of(slot);
}

void GlobalSlotChecker::on_returned(CpuId cpu, Slot slot) {
  const host::Machine& machine = core_.machine();
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    if (machine.pcid_of(machine.cpu(id).cr3) != pcid_of(slot)) continue;
    core_.truth().fail(Oracle::o27, "a global slot is given back while a CPU has it loaded",
                       cpu_name(id) + " can still fill translations under " + slot_name(slot) + ".",
                       {}, core_.truth().event(cpu, "gives the slot back"));
  }
  in_use_ &= ~bit_of(slot);
  dirty_ |= bit_of(slot);
}

void GlobalSlotChecker::on_broadcast(CpuId cpu, const Invlpgb& what) {
  const bool full =
      what.scope == InvlpgbScope::all_contexts || what.scope == InvlpgbScope::everything;
  if (full) cleaning_[cpu] |= dirty_;
}

void GlobalSlotChecker::on_broadcasts_done(CpuId cpu) {
  dirty_ &= ~cleaning_[cpu];
  cleaning_[cpu] = 0;
}

void GlobalSlotChecker::on_flush_returned(CpuId cpu) const {
  const RequestChecker::Flush& flush = requests_.flush(cpu);
  if (flush.global == kNoGlobalSlot) return;
  const host::Machine& machine = core_.machine();
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    // A target that answered early moves before it leaves its handler.
    const bool busy = flush.request->acknowledges_early && machine.cpu(id).in_interrupt;
    const Slot slot = core_.own(id).loaded_slot;
    if (core_.loaded(id) != &core_.mm(flush.space) || slot == flush.global || busy) continue;
    const bool can_walk = core_.truth().is_lazy(id) && flush.frees_tables;
    const bool called = flush.called.test(id);
    std::string title = can_walk ? "a flush for freed tables " : "a flush by broadcast ";
    title += called ? "returns, and leaves " : "passes over ";
    title += can_walk ? "a lazy CPU" : "a CPU on a slot of its own";
    core_.truth().fail(can_walk ? Oracle::o5 : Oracle::o27, std::move(title),
                       cpu_name(id) + " has " + mm_name(flush.space) + " loaded on slot " +
                           std::to_string(slot) + " and " +
                           (called ? "has run its call there" : "got no interrupt") +
                           ", but the broadcast was for " + slot_name(flush.global) + ".",
                       {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
                       core_.truth().event(cpu, "the flush returns"));
  }
}

}  // namespace shootdown::fuzz
