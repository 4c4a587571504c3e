#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

using host::HostHal;

void Core::start() {
  laziness_.fill({});
  for (unsigned i = 0; i < truth_.mms(); ++i) {
    std::size_t next = 0;
    sim_->mm(i).core.cpus.visit_shared(
        [&](const char*, auto& word) { mask_words_[i][next++] = &word; });
  }
}

bool Core::user_flush_is_pending(CpuId cpu, Asid asid) const {
  if (((own(cpu).user_pcid_flush_mask.peek() >> pcid_of(asid)) & 1) != 0) return true;
  // The load of the user root is still to come, and it flushes.
  return asid == loaded_asid(cpu) && sim_->goes_to_user_mode(cpu) &&
         !truth_.cpu(cpu).on_user_root && (sim_->entry_block(cpu).user_cr3 & kCr3KeepEntries) == 0;
}

bool Core::user_flush_is_pending(CpuId cpu, Asid asid, VirtAddr address) const {
  if (user_flush_is_pending(cpu, asid)) return true;
  if (asid != loaded_asid(cpu)) return false;
  const auto in = [&](const DeferredPages& pages) {
    return !pages.empty() && holds_part_of(address, pages.start, pages.end);
  };
  return in(own(cpu).deferred.peek()) ||
         (sim_->goes_to_user_mode(cpu) && in(sim_->entry_block(cpu).pages));
}

bool Core::loads_without_flush(CpuId cpu, Asid asid) const {
  if (is_global_asid(asid)) return true;
  const AsidState<HostHal>& state = own(cpu).asids[asid];
  const ContextId context = state.context.peek();
  if (context == kNoContext || own(cpu).invalidate_other.peek()) return false;
  const auto keeps = [&](const Mm<HostHal>& mm) {
    if (mm.context != context) return false;
    machine().record_access(&mm.tlb_gen, false);
    return state.generation.peek() >= mm.tlb_gen.peek();
  };
  for (unsigned mm = 0; mm < truth_.mms(); ++mm) {
    if (keeps(core_mm(mm))) return true;
  }
  return keeps(system().kernel_mm);
}

bool Core::trusts(CpuId cpu, std::uint16_t pcid, bool global) const {
  if (global || !machine().setup().hardware.pcid) return true;
  const std::uint16_t kernel_half = pcid & static_cast<std::uint16_t>(~kUserPcidBit);
  if (kernel_half == 0) return false;
  const auto asid = static_cast<Asid>(kernel_half - 1U);
  const bool owed =
      pcid != kernel_half && ((own(cpu).user_pcid_flush_mask.peek() >> kernel_half) & 1) != 0;
  return !owed && (asid == loaded_asid(cpu) || loads_without_flush(cpu, asid));
}

}  // namespace shootdown::fuzz
