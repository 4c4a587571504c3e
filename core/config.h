// The configuration of a system, and which ones cannot be.
#pragma once

#include <cstdint>

#include "core/flush_cost.h"
#include "core/types.h"

namespace shootdown {

/// When an mm's mask loses a CPU.
enum class MaskPolicy : std::uint8_t {
  cleared_at_switch,  // as soon as the CPU has left: exact, one more locked operation a switch
  kept_lazily,  // when a flush finds the CPU elsewhere: cheap switches, a few needless interrupts
};

/// When laziness is tested.
enum class LazyTest : std::uint8_t {
  when_queued,  // as late as possible: CPUs that go idle meanwhile are left alone
  up_front,     // all targets first, into a scratch mask; older, and measurably worse
};

/// Which members of the mask are interrupted.
enum class TargetTest : std::uint8_t {
  not_lazy,      // all that are not lazy
  by_loaded_mm,  // of these, the ones that have the mm loaded or are switching
};

/// What the processor has, and what of it is switched on.
struct ProcessorConfig {
  /// CR4.PCIDE is on: ASIDs keep their entries across switches.
  bool pcid{true};
  /// INVPCID exists.
  bool invpcid{true};
  /// Kernel mappings are global (CR4.PGE). Without effect under page-table isolation.
  bool global_pages{true};
  /// Erratum: with CR4.PCIDE on, INVLPG leaves global entries alone.
  bool invlpg_leaves_globals{false};
};

/// Page-table isolation.
struct IsolationConfig {
  /// User mode runs on another root and another PCID.
  bool enabled{false};
  /// Invalidate user pages one by one on the way to user mode, not at once. Needs isolation.
  bool defer_user_pages{false};
};

/// Which CPUs a flush interrupts, and when they answer.
struct TargetConfig {
  /// The initiator flushes while its targets do; off: before it asks them.
  bool concurrent{true};
  /// Targets of flushes that free no tables may answer before they flush. Only for kernels whose
  /// NMI and kernel code asks `user_access_ok` before it touches user memory.
  bool early_acknowledgement{false};
  /// An initiator may have interrupts off: it answers others while it waits, and goes by interrupts
  /// also above a hypervisor. For kernels in which all that waits for another CPU with interrupts
  /// off, for a lock above all, calls `handle_call_function_interrupt` while it waits.
  bool closed_waits{false};
  MaskPolicy mask_policy{MaskPolicy::cleared_at_switch};
  LazyTest lazy_test{LazyTest::when_queued};
  TargetTest target_test{TargetTest::not_lazy};
  /// With lazily kept masks, every so many flushes of an mm trim its mask. At least 1.
  std::uint32_t trim_interval{64};
};

/// Hardware broadcast; broadcast.h.
struct BroadcastConfig {
  /// INVLPGB and TLBSYNC exist and are used. Needs PCIDs. Not together with page-table isolation:
  /// each global ASID would need a user PCID, and the user PCIDs' debts are 16 bits, one for each
  /// ASID of a CPU's own.
  bool enabled{false};
  /// Pages that one INVLPGB can name. At least 1.
  std::uint32_t max_pages{1};
  /// A flush that finds more CPUs than this in an mm's mask gives the mm a global ASID. Below,
  /// interrupts are cheap and PCIDs are better kept for others.
  std::uint32_t threshold{3};
  /// Global ASIDs to give out, 1 .. kMaxGlobalAsids.
  std::uint32_t global_asids{kMaxGlobalAsids};
};

struct LimitConfig {
  /// More strides than this become a flush of the whole context. 0 forces that for every request.
  /// The default follows from the classic prices; with others, or with page-table isolation, take
  /// `ceiling_for`.
  std::uint32_t ceiling_strides{ceiling_for(FlushCosts{}, /*pti=*/false)};
  /// How many CPUs there are; their numbers are below it. 0: as many as the HAL says at most. What
  /// goes over all CPUs ends there, so that a kernel that is built for many pays for those it has.
  std::uint32_t cpus{0};
  /// How often a sender looks at an unanswered call before it reports it, see `Unanswered`; 0:
  /// never. The default is of the order of a second of PAUSE instructions.
  std::uint64_t stall_limit{std::uint64_t{1} << 24};
};

/// Fixed after boot. All combinations that `validate` permits give the same correctness; they
/// differ in cost only.
struct Config {
  ProcessorConfig processor{};
  IsolationConfig isolation{};
  TargetConfig targets{};
  BroadcastConfig broadcast{};
  LimitConfig limits{};

  /// Kernel entries survive in every PCID until INVLPG drops them in all.
  [[nodiscard]] bool kernel_is_global() const {
    return processor.global_pages && !isolation.enabled;
  }
};

/// Why no system can have this configuration, or null. `can_broadcast`: the HAL has INVLPGB.
/// `initialize_system` refuses what this refuses.
[[nodiscard]] constexpr const char* validate(const Config& config, bool can_broadcast) {
  if (config.targets.trim_interval == 0) return "the trim interval is at least 1";
  if (config.isolation.defer_user_pages && !config.isolation.enabled) {
    return "deferred user pages need page-table isolation";
  }
  const BroadcastConfig& broadcast = config.broadcast;
  if (broadcast.max_pages == 0) return "one INVLPGB names at least one page";
  if (!broadcast.enabled) return nullptr;
  if (!can_broadcast) return "broadcast needs a HAL that has INVLPGB and TLBSYNC";
  if (!config.processor.pcid) return "broadcast needs PCIDs";
  if (config.isolation.enabled) return "broadcast and page-table isolation exclude each other";
  if (broadcast.global_asids == 0 || broadcast.global_asids > kMaxGlobalAsids) {
    return "there are 1 to kMaxGlobalAsids global ASIDs";
  }
  return nullptr;
}

}  // namespace shootdown
