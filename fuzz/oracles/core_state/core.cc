#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

using host::HostHal;

void Core::start() {
  for (unsigned i = 0; i < truth_.spaces(); ++i) {
    guest_->space(i).mm.cpus.visit_shared([&](const char*, auto& word) { mask_words_[i] = &word; });
  }
}

bool Core::twin_is_owed(CpuId cpu, Slot slot) const {
  if (((own(cpu).user_flush >> pcid_of(slot)) & 1) != 0) return true;
  // The load of the user root is still to come, and it flushes.
  return slot == own(cpu).loaded_slot && guest_->goes_to_user_mode(cpu) &&
         !truth_.cpu(cpu).on_user_root &&
         (guest_->entry_block(cpu).user_cr3 & kCr3KeepEntries) == 0;
}

bool Core::twin_is_owed(CpuId cpu, Slot slot, VirtAddr address) const {
  if (twin_is_owed(cpu, slot)) return true;
  if (slot != own(cpu).loaded_slot) return false;
  const auto in = [&](const DeferredPages& pages) {
    return !pages.empty() && holds_part_of(address, pages.start, pages.end);
  };
  return in(own(cpu).deferred) ||
         (guest_->goes_to_user_mode(cpu) && in(guest_->entry_block(cpu).pages));
}

bool Core::loads_without_flush(CpuId cpu, Slot slot) const {
  if (is_global_slot(slot)) return true;
  const SlotState& state = own(cpu).slots[slot];
  if (state.context == kNoContext || own(cpu).invalidate_other) return false;
  const auto keeps = [&](const Mm<HostHal>& mm) {
    if (mm.context != state.context) return false;
    machine().touch(&mm.tlb_gen, false);
    return state.generation >= mm.tlb_gen.peek();
  };
  for (unsigned space = 0; space < truth_.spaces(); ++space) {
    if (keeps(mm(space))) return true;
  }
  return keeps(system().kernel_mm);
}

bool Core::trusts(CpuId cpu, std::uint16_t pcid, bool global) const {
  if (global || !machine().setup().hardware.pcid) return true;
  const std::uint16_t kernel_half = pcid & static_cast<std::uint16_t>(~kUserPcidBit);
  if (kernel_half == 0) return false;
  const auto slot = static_cast<Slot>(kernel_half - 1U);
  const bool owed = pcid != kernel_half && ((own(cpu).user_flush >> kernel_half) & 1) != 0;
  return !owed && (slot == own(cpu).loaded_slot || loads_without_flush(cpu, slot));
}

}  // namespace shootdown::fuzz
