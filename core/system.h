// All state of the flush core for one multiprocessor.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/broadcast_hooks.h"
#include "core/config.h"
#include "core/counters.h"
#include "core/cpu_state.h"
#include "core/flush_ops.h"
#include "core/mm.h"
#include "core/plan.h"
#include "core/smp_call.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// CR3 bit 63: keep the entries of the PCID being loaded (SDM vol. 3, 4.10.4.1).
inline constexpr std::uint64_t kCr3KeepEntries = std::uint64_t{1} << 63;

namespace internal {

/// The identity of the kernel's own mm.
inline constexpr ContextId kKernelContext = 1;

/// What a system holds before it is initialised.
constexpr Config no_config() {
  return {.processor = {.pcid = false, .invpcid = false, .global_pages = false},
          .targets = {.concurrent = false, .trim_interval = 0},
          .broadcast = {.max_pages = 0, .threshold = 0, .global_asids = 0},
          .limits = {.ceiling_strides = 0, .stall_limit = 0}};
}

template <Hal H>
void fix(System<H>& system, const Config& config, const FlushOps<H>& ops);

}  // namespace internal

/// What `initialize_system` and `select_backend` fix before the first CPU is up. Nothing else can
/// write it: code that flushes may have it in its instructions (`HalStaticKeys`).
template <Hal H>
class FixedAtBoot {
 public:
  [[nodiscard]] const Config& config() const { return config_; }
  /// What a backend may have replaced.
  [[nodiscard]] const FlushOps<H>* ops() const { return ops_; }
  /// What flushes ask, through `internal::holds`.
  [[nodiscard]] const FlushPlan& plan() const { return plan_; }
  /// `config().limits.ceiling_strides`, as wide as what it is compared with.
  [[nodiscard]] std::uint64_t ceiling() const { return ceiling_; }
  /// How many CPUs there are: numbers are below it. At most kMaxCpus, for which there is storage.
  [[nodiscard]] CpuId cpu_count() const { return cpus_; }
  /// Words of masks that have members.
  [[nodiscard]] std::size_t mask_words() const {
    if constexpr (H::kMaxCpus <= 64) {
      return 1;
    } else {
      return (cpus_ + 63) / 64;
    }
  }

 private:
  template <Hal K>
  friend void internal::fix(System<K>& system, const Config& config, const FlushOps<K>& ops);

  Config config_{internal::no_config()};
  const FlushOps<H>* ops_{nullptr};
  FlushPlan plan_{};
  CpuId cpus_{0};
  std::uint64_t ceiling_{0};
};

/// All of it is zeros until `initialize_system`, so that it takes no room in a kernel's image
/// (.bss), and a kernel that clears memory has constructed it.
template <Hal H>
struct System : FixedAtBoot<H> {
  static_assert(!HalBroadcast<H> || internal::kBroadcastIsIncluded<H>,
                "this HAL has INVLPGB: include core/broadcast.h");

  /// The kernel's own address space, the refuge of CPUs that leave a dying one.
  Mm<H> kernel_mm{};
  std::array<CpuState<H>, H::kMaxCpus> cpus{};
  SmpCall<H> calls{};
  [[no_unique_address]] internal::GlobalAsidPool<H> global_asids{};
  /// Next identity to give out, from `initialize_system` on.
  typename H::template Atomic<ContextId> next_context{0};

  [[nodiscard]] bool is_initialized() const { return kernel_mm.context != kNoContext; }

  /// This CPU's state. Context: interrupts off, or preemption off where only this CPU's thread can
  /// change what is read.
  [[nodiscard, gnu::always_inline]] CpuState<H>& self() {
    if constexpr (HalCpuPointer<H>) {
      return *static_cast<CpuState<H>*>(H::cpu_pointer());
    } else {
      return cpus[H::this_cpu()];
    }
  }
};

namespace internal {

/// CR3 holds a root in bits 51:12. What else is set would be a PCID, a cacheability, or a fault.
inline constexpr PhysAddr kRootBits = 0x000f'ffff'ffff'f000;

template <Hal H>
void give_identity(Mm<H>& mm, ContextId context, PhysAddr root, PhysAddr user_root) {
  require<H>((root & ~kRootBits) == 0 && (user_root & ~kRootBits) == 0, Rule::r13,
             "a root is the physical address of a page, of 52 bits");
  mm.context = context;
  mm.root = root;
  mm.user_root = user_root;
  mm.tlb_gen.store(kFirstGeneration, std::memory_order_relaxed);
  mm.batch_marks.store(0, std::memory_order_relaxed);
  mm.cpus.reset();
}

/// Whether a CPU says that it has `mm` loaded. Only of an mm that the caller keeps from being
/// switched to.
template <Hal H>
[[nodiscard]] bool is_loaded(const System<H>& system, const Mm<H>& mm) {
  for (CpuId cpu = 0; cpu < system.cpu_count(); ++cpu) {
    if (system.cpus[cpu].own.loaded_mm.owner_load() == &mm) return true;
  }
  return false;
}

}  // namespace internal

/// Gives an mm its roots and an identity that no mm has had: 64 bits never wrap in a machine's
/// lifetime. `user_root` is the root for user mode under page-table isolation. Preconditions: no
/// CPU has the mm loaded, and no other thread can reach it. Context: any, after
/// `initialize_system`.
template <Hal H>
void initialize_mm(System<H>& system, Mm<H>& mm, PhysAddr root, PhysAddr user_root = 0) {
  require<H>(system.is_initialized(), Rule::r13, "an mm is initialised before the system");
  require<H>(!mm.is_kernel, Rule::r13, "the kernel's mm comes with the system");
  require<H>(mm.global_asid.owner_load() == kNoGlobalAsid, Rule::r13,
             "an mm that has a global ASID ends with retire_mm");
  // An entry from user mode takes a root of 0 for none.
  require<H>(
      !system.config().isolation.enabled || (root != 0 && user_root != 0 && user_root != root),
      Rule::r9, "under page-table isolation an mm has a user root of its own");
  require<H>(!internal::is_loaded(system, mm), Rule::r7,
             "an mm is initialised while a CPU has it loaded");
  // With lazily kept masks CPUs that have left an mm that was not retired are still in there.
  require<H>(system.config().targets.mask_policy == MaskPolicy::kept_lazily || mm.cpus.empty(),
             Rule::r7, "an mm is initialised while a CPU is in its mask");
  internal::give_identity(mm, system.next_context.fetch_add(1, std::memory_order_relaxed), root,
                          user_root);
}

/// The counts of all CPUs together.
template <Hal H>
[[nodiscard]] Counters sum_counters(const System<H>& system) {
  Counters sum;
  for (CpuId cpu = 0; cpu < system.cpu_count(); ++cpu) {
    add_counters(sum, system.cpus[cpu].own.counters);
  }
  return sum;
}

namespace internal {

/// Whether all that the table can do is what the processor does by itself.
template <Hal H>
[[nodiscard]] bool has_native_functions(const FlushOps<H>& ops) {
  const FlushOps<H>& native = native_ops<H>();
  return ops.flush_user == native.flush_user && ops.flush_kernel == native.flush_kernel &&
         ops.flush_one_user == native.flush_one_user && ops.flush_multi == native.flush_multi &&
         ops.flush_others == native.flush_others;
}

/// Makes `config` and `ops` those of the system, and its plan what follows from them.
template <Hal H>
void fix(System<H>& system, const Config& config, const FlushOps<H>& ops) {
  require<H>(!system.calls.any_online(), Rule::r13, "what boot fixes is changed while a CPU is up");
  system.config_ = config;
  system.ops_ = &ops;
  system.ceiling_ = config.limits.ceiling_strides;
  system.cpus_ = config.limits.cpus == 0 ? H::kMaxCpus : config.limits.cpus;
  system.plan_ = plan_of(config, /*replaced=*/!has_native_functions(ops),
                         /*flushes_all=*/ops.flush_multi != nullptr);
  if constexpr (HalStaticKeys<H>) {
    for (std::uint8_t question = 0; question < kQuestions; ++question) {
      H::set_key(Question{question}, answer(system.plan_, Question{question}));
    }
  }
}

}  // namespace internal

/// Prepares the shared part, once, on the first CPU, before any other call. Context: boot; where
/// the HAL has static keys, which are code that is rewritten here, interrupts off and no other CPU
/// runs.
template <Hal H>
void initialize_system(System<H>& system, const Config& config, PhysAddr kernel_root) {
  require<H>(!system.is_initialized(), Rule::r13, "a system is initialised twice");
  const char* const refusal = validate(config, HalBroadcast<H>);
  require<H>(refusal == nullptr, Rule::r13, refusal);
  require<H>(config.limits.cpus <= H::kMaxCpus, Rule::r13,
             "there are more CPUs than the HAL has room for");
  internal::fix(system, config, internal::native_ops<H>());
  if constexpr (HalBroadcast<H>) {
    if (system.config().broadcast.enabled)
      system.global_asids.initialize(config.broadcast.global_asids);
  }
  system.calls.set_stall_limit(config.limits.stall_limit);
  system.calls.set_cpus(system.cpu_count());
  system.calls.permit_closed(config.targets.closed_waits);
  system.next_context.store(internal::kKernelContext + 1, std::memory_order_relaxed);
  system.kernel_mm.is_kernel = true;
  internal::give_identity(system.kernel_mm, internal::kKernelContext, kernel_root, kernel_root);
}

/// The value that CR3 has in kernel mode while `mm` is loaded in `asid`, without the keep bit.
template <Hal H>
[[nodiscard]] std::uint64_t cr3_value(const System<H>& system, const Mm<H>& mm, Asid asid) {
  std::uint64_t value = mm.root;
  if (internal::holds<Question::has_pcids>(system)) value |= pcid_of(asid);
  return value;
}

/// The same for user mode under page-table isolation.
template <Hal H>
[[nodiscard]] std::uint64_t user_cr3_value(const System<H>& system, const Mm<H>& mm, Asid asid) {
  return mm.user_root | (system.config().processor.pcid ? pcid_of(asid) | kUserPcidBit : 0);
}

}  // namespace shootdown
