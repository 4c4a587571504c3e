// Compiled with a call for each access and each basic block: what of the core is instantiated here
// is what is paid for.
#include "hal/timed/kernel.h"

#include <array>
#include <memory>
#include <string>

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "hal/timed/hal.h"

namespace shootdown::timed {
namespace {

constexpr VirtAddr kUser = 0x40'0000'0000;
// There are no tables: nothing is accessed through any of these roots.
constexpr PhysAddr kKernelRoot = 0x1000;
constexpr PhysAddr kRoot = 0x2000;
constexpr PhysAddr kUserRoot = 0x3000;
/// Pages that one INVLPGB names on the processors that have it (CPUID 8000'0008H, EDX; Zen 3).
constexpr std::uint32_t kBroadcastPages = 8;

// On a page of its own, so that lines of any size begin with it.
template <CpuId kCapacity>
class alignas(4096) TimedKernel final : public Kernel {
  using H = TimedHal<kCapacity>;

 public:
  explicit TimedKernel(const Setup& setup)
      : setup_(setup), end_(kUser + (VirtAddr{setup.pages} << kPageShift)) {}

  void boot_system() override {
    Config config{};
    config.isolation.enabled = setup_.isolation;
    config.targets.concurrent = setup_.mode != Mode::serial;
    config.targets.early_acknowledgement = setup_.mode == Mode::early;
    config.broadcast.enabled = setup_.mode == Mode::invlpgb;
    config.broadcast.max_pages = kBroadcastPages;
    config.broadcast.threshold = 0;
    config.limits.cpus = setup_.cpus;
    initialize_system(system_, config, kKernelRoot);
    initialize_mm(system_, mm_, kRoot, kUserRoot);
  }
  void boot_cpu() override {
    H::write_cr4(kCr4Pcid | kCr4GlobalPages);
    initialize_cpu(system_);
    H::enable_interrupts();
  }
  void load_mm() override {
    H::disable_interrupts();
    switch_mm(system_, mm_);
    H::enable_interrupts();
  }
  void flush_everything() override { static_cast<void>(flush_tlb_mm(system_, mm_)); }
  void flush_pages() override {
    if (setup_.mode == Mode::early) {
      static_cast<void>(flush_tlb_mm_range_early(system_, mm_, {.start = kUser, .end = end_}));
    } else {
      static_cast<void>(flush_tlb_mm_range(system_, mm_, {.start = kUser, .end = end_}));
    }
  }
  void handle_interrupt() override { handle_call_function_interrupt(system_); }

  /// The names that the core gives its words come first. What has none has that of what it is in.
  void name_lines(Directory& directory) override {
    const auto name = [&](const auto& field, const std::string& text, bool numbered = false) {
      directory.name(&field, sizeof(field), text, numbered);
    };
    const auto under = [&](const std::string& prefix) {
      return [&, prefix](const char* text, auto& word) { name(word, prefix + text); };
    };
    mm_.visit_shared(under("mm."));
    system_.calls.visit_shared(under("calls."));
    system_.global_asids.visit_shared(under(""));
    for (CpuState<H>& cpu : system_.cpus) {
      name(cpu.shared.is_lazy, "cpu.is_lazy");
      name(cpu.own, "cpu.own", /*numbered=*/true);
    }
    for (CpuId cpu = 0; cpu < kCapacity; ++cpu) name(system_.calls.post_of(cpu), "call_post");
    name(system_.calls, "calls");
    name(system_.config(), "config");
    name(system_, "system");
    name(mm_, "mm");
  }

  [[nodiscard]] Layout layout() const override {
    using Pending = PendingSenders<H>;
    return {.system = sizeof(system_),
            .posts = sizeof(CallPost<H>) * kCapacity,
            .pending = sizeof(Pending) * kCapacity,
            .cpu_states = sizeof(system_.cpus),
            .mm = sizeof(mm_),
            .mask_words = CpuMask<kCapacity>::kWords,
            .pending_words = Pending::kWords,
            .pending_lines = sizeof(Pending) / kCacheLine};
  }

 private:
  System<H> system_{};
  Mm<H> mm_{};
  // No part of the core: no line of these has a name.
  Setup setup_;
  VirtAddr end_;
};

constexpr std::array<CpuId, 5> kCapacities{8, 64, 256, 1024, 4096};

}  // namespace

std::span<const CpuId> capacities() { return kCapacities; }

std::unique_ptr<Kernel> make_kernel(CpuId capacity, const Setup& setup) {
  switch (capacity) {
    case 8:
      return std::make_unique<TimedKernel<8>>(setup);
    case 64:
      return std::make_unique<TimedKernel<64>>(setup);
    case 256:
      return std::make_unique<TimedKernel<256>>(setup);
    case 1024:
      return std::make_unique<TimedKernel<1024>>(setup);
    case 4096:
      return std::make_unique<TimedKernel<4096>>(setup);
    default:
      return nullptr;
  }
}

}  // namespace shootdown::timed
