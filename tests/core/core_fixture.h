// The core on the recording HAL. Sets up a system, its kernel mm and two others, `mm` and `other`,
// on CPUs that are online, run the kernel's mm, and have interrupts on; CPU 0 is current. Records
// every operation of the HAL by label ("add mm.tlb_gen", "invlpg"), trace events, and waits without
// an answer; the set-up itself is not in the log.
//
//   Bench<2> bench;
//   bench.run_mm_on({0, 1});
//   static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
//   EXPECT_BEFORE("add mm.tlb_gen", "load mm.cpu_mask");
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "core/shootdown_all.h"
#include "tests/core/log.h"
#include "tests/core/recording_hal.h"

namespace shootdown::test {

/// CPUs are up and run the kernel's own mm, with interrupts on. CPU 0 is current.
template <CpuId kCpus, class RecordingH = RecordingHal<kCpus>>
struct CoreFixture {
  using H = RecordingH;
  static constexpr PhysAddr kKernelRoot = 0x1000;
  static constexpr PhysAddr kRoot = 0x2000;
  static constexpr PhysAddr kOtherRoot = 0x3000;
  static constexpr PhysAddr kUserRoot = 0x4000;
  static constexpr PhysAddr kOtherUserRoot = 0x5000;

  System<H> system;
  Mm<H> mm;
  Mm<H> other;

  explicit CoreFixture(const Config& config = {}, const FlushOps<H>* backend = nullptr) {
    H::reset();
    H::handler = [this] { handle_call_function_interrupt(system); };
    initialize_system(system, config, kKernelRoot);
    if constexpr (HalParavirt<H>) {
      if (backend != nullptr) select_backend(system, *backend);
    }
    initialize_mm(system, mm, kRoot, kUserRoot);
    initialize_mm(system, other, kOtherRoot, kOtherUserRoot);
    for (CpuId cpu = 0; cpu < system.cpu_count(); ++cpu) {
      if (!config.processor.pcid) H::cpus[cpu].cr4 &= ~kCr4Pcid;
      with_interrupts_off(cpu, [&] { initialize_cpu(system); });
    }
    for (CpuState<H>& cpu : system.cpus) cpu.own.counters = {};
    name_everything();
    recorder.clear();
  }
  CoreFixture(const CoreFixture&) = delete;
  CoreFixture& operator=(const CoreFixture&) = delete;
  ~CoreFixture() { H::reset(); }

  void as(CpuId cpu, const std::function<void()>& work) {
    const CpuId before = recorder.current;
    recorder.current = cpu;
    work();
    recorder.current = before;
  }
  void with_interrupts_off(CpuId cpu, const std::function<void()>& work) {
    as(cpu, [&] {
      H::self().interrupts = false;
      work();
      H::self().interrupts = true;
    });
  }
  void switch_to(CpuId cpu, Mm<H>& next) {
    with_interrupts_off(cpu, [&] { switch_mm(system, next); });
  }
  void idle(CpuId cpu) {
    with_interrupts_off(cpu, [&] { enter_lazy_tlb(system); });
  }
  /// All of `cpus` run `mm`, with an empty log.
  void run_mm_on(std::initializer_list<CpuId> cpus_to_run) {
    for (const CpuId cpu : cpus_to_run) switch_to(cpu, mm);
    recorder.clear();
  }
  Mm<H>* loaded(CpuId cpu) { return system.cpus[cpu].own.loaded_mm.peek(); }
  CpuPrivate<H>& own(CpuId cpu) { return system.cpus[cpu].own; }
  AsidState<H>& loaded_asid(CpuId cpu) { return own(cpu).asids[own(cpu).loaded_asid]; }

  /// The word of the target in which `sender` has its bit.
  auto& pending_word(CpuId target, CpuId sender) {
    using Word = typename H::template Atomic<std::uint64_t>;
    Word* found = nullptr;
    CpuId index = 0;
    system.calls.visit_shared([&](const char* name, auto& word) {
      if (std::strcmp(name, "call_pending") != 0) return;
      constexpr CpuId kWords = PendingSenders<H>::kWords;
      if constexpr (std::is_same_v<decltype(&word), Word*>) {
        if (index++ == target * kWords + sender % kWords) found = &word;
      }
    });
    return *found;
  }

  void name_everything() {
    const auto under = [](const std::string& prefix) {
      return [prefix](const char* name, auto& word) { recorder.names[&word] = prefix + name; };
    };
    mm.visit_shared(under("mm."));
    other.visit_shared(under("other."));
    system.kernel_mm.visit_shared(under("kernel_mm."));
    for (CpuId cpu = 0; cpu < kCpus; ++cpu) {
      const std::string name = "cpu" + std::to_string(cpu);
      recorder.names[&system.cpus[cpu].shared.is_lazy] = name + ".is_lazy";
      recorder.names[&system.cpus[cpu].own.loaded_mm] = name + ".loaded_mm";
      recorder.names[&system.cpus[cpu].own.on_global] = name + ".on_global";
      recorder.names[&system.cpus[cpu].own.early_acked_flush_pending] =
          name + ".early_acked_flush_pending";
    }
    CpuId pending = 0;
    system.calls.visit_shared([&](const char* name, auto& word) {
      std::string text = "online";
      if (std::strcmp(name, "call_pending") == 0) {
        constexpr CpuId kWords = PendingSenders<H>::kWords;
        text = "cpu" + std::to_string(pending / kWords) + ".pending[" +
               std::to_string(pending % kWords) + "]";
        ++pending;
      }
      recorder.names[&word] = text;
    });
  }
};

inline std::vector<TraceEvent> events(TraceKind kind) {
  std::vector<TraceEvent> found;
  for (const TraceEvent& event : recorder.events) {
    if (event.kind == kind) found.push_back(event);
  }
  return found;
}

/// The rule that refuses `work`, or none.
inline std::optional<Rule> refused_by(const std::function<void()>& work) {
  try {
    work();
  } catch (const CheckFailed& failed) {
    return failed.failure.rule;
  }
  return {};
}

/// What refuses `work`, as "R7: text"; empty if nothing does.
inline std::string refusal_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const CheckFailed& failed) {
    return "R" + std::to_string(static_cast<unsigned>(failed.failure.rule)) + ": " +
           failed.failure.what;
  }
  return {};
}

}  // namespace shootdown::test
