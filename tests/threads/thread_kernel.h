// A small kernel on the thread HAL, whose CPUs are threads. Sets up three mms on four CPUs; each
// CPU does a drawn sequence of operations: pages come and go, frames are used again at once, tasks
// move. Everything that the flush core has to order is plain memory here, so that ThreadSanitizer
// sees an order that is missing. Records in each CPU's log what the checks behind the run add up.
//
//   ThreadKernel kernel({.operations = 1000});
//   town.run();
//   for (const ThreadKernel::CpuLog& log : kernel.logs) EXPECT_EQ(log.stale, 0u);
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "core/shootdown.h"
#include "hal/threads/hal.h"

namespace shootdown::threads {

class ThreadKernel {
 public:
  using H = ThreadHal;
  static constexpr CpuId kCpus = 4;
  static constexpr unsigned kMms = 3;
  static constexpr unsigned kPages = 12;
  static constexpr std::uint64_t kPoison = ~std::uint64_t{0};

  struct Plan {
    Config config{};
    bool concurrent{true};
    unsigned operations{0};  // of each CPU
  };

  /// What a CPU did, for the checks behind a run. Only that CPU writes it.
  struct alignas(kCacheLine) CpuLog {
    std::array<std::uint64_t, kMms> bumps{};  // of each mm's generation
    std::uint64_t uses{0};
    std::uint64_t stale{0};
    std::uint64_t reuses{0};
    bool lazy{false};
    unsigned mm{0};
    std::vector<std::uint32_t> free_frames;
    std::uint64_t random{0};
  };

  explicit ThreadKernel(const Plan& plan) : plan_(plan) {
    Config config = plan.config;
    config.targets.concurrent = plan.concurrent;
    initialize_system(system, config, 0x1000);
    for (unsigned mm = 0; mm < kMms; ++mm) {
      const PhysAddr root = PhysAddr{0x10000} * (mm + 1);
      initialize_mm(system, mms[mm], root, root + 0x1000);
    }
    for (CpuId cpu = 0; cpu < kCpus; ++cpu) {
      logs[cpu].random = 1000 + cpu;
      for (unsigned i = 0; i < kFramesOfEach; ++i) {
        logs[cpu].free_frames.push_back((cpu * kFramesOfEach) + i);
      }
    }
  }

  void run() {
    processors_.run({.cpus = kCpus,
                     .pcid = plan_.config.processor.pcid,
                     .yield_one_in = 64,
                     .program = [this](CpuId cpu) { live(cpu); },
                     .interrupt = [this] { interrupt(); }});
  }

  [[nodiscard]] const Cpu& cpu(CpuId id) const { return processors_.cpu(id); }

  System<H> system{};
  std::array<Mm<H>, kMms> mms{};
  std::array<CpuLog, kCpus> logs{};

 private:
  static constexpr unsigned kFramesOfEach = 64;

  static VirtAddr address_of(unsigned page) { return VirtAddr{page} << kPageShift; }
  static std::uint64_t stamp_of(unsigned mm, unsigned page) { return (mm * 100) + page; }
  CpuLog& log() { return logs[H::this_cpu()]; }
  unsigned draw(unsigned below) {
    std::uint64_t& state = log().random;
    state = (state * 6364136223846793005) + 1442695040888963407;
    return static_cast<unsigned>((state >> 33) % below);
  }

  void interrupt() {
    const bool from_user = in_user_[H::this_cpu()];
    EntryBlock<H>& block = blocks_[H::this_cpu()];
    if (from_user) enter_from_user(block);
    handle_call_function_interrupt(system);
    if (from_user) return_to_user(system, block);
  }

  void live(CpuId cpu) {
    initialize_cpu(system);
    switch_mm(system, mms[0]);
    H::enable_interrupts();
    for (unsigned i = 0; i < plan_.operations; ++i) act();
    // Behind the last operation, so that the checks know where each CPU is.
    CpuLog& own = logs[cpu];
    if (own.lazy) wake_up(own);
    flush_batch();
  }

  void act() {
    CpuLog& own = log();
    const unsigned choice = draw(100);
    const unsigned mm = draw(kMms);
    const unsigned page = draw(kPages);
    if (choice < 45) {
      if (!own.lazy) use(own, page);
    } else if (choice < 60) {
      replace(mm, page);
    } else if (choice < 66) {
      replace_in_batch(mm, page);
    } else if (choice < 70) {
      flush_batch();
    } else if (choice < 82) {
      switch_to(own, mm);
    } else if (choice < 90) {
      own.lazy ? wake_up(own) : sleep(own);
    } else if (choice < 94) {
      ++own.bumps[mm];
      static_cast<void>(flush_tlb_mm_range_early(
          system, mms[mm], {.start = 0, .end = address_of(1 + draw(kPages))}));
    } else if (choice < 97) {
      ++own.bumps[mm];
      static_cast<void>(flush_tlb_mm_range_freed_tables(system, mms[mm],
                                                        {.start = 0, .end = address_of(kPages)}));
    } else {
      constexpr VirtAddr kKernelHalf = ~VirtAddr{0} << 47;
      static_cast<void>(
          flush_tlb_kernel_range(system, kKernelHalf, kKernelHalf + address_of(1 + draw(40))));
    }
  }

  void switch_to(CpuLog& own, unsigned mm) {
    InterruptsOff<H> guard;
    switch_mm(system, mms[mm]);
    own.mm = mm;
    own.lazy = false;
  }
  void sleep(CpuLog& own) {
    InterruptsOff<H> guard;
    enter_lazy_tlb(system);
    own.lazy = true;
  }
  void wake_up(CpuLog& own) { switch_to(own, own.mm); }

  /// A load in user mode. The page's frame must be the page's, not something else's by now.
  void use(CpuLog& own, unsigned page) {
    go_to_user(true);
    const std::uint64_t frame = H::translate(address_of(page), [&] {
      // A walk sees what was made visible before the translation was; x86 orders loads.
      return entries_[own.mm][page].load(std::memory_order_acquire);
    });
    if (frame != 0) {
      ++own.uses;
      if (frames_[frame - 1].stamp != stamp_of(own.mm, page)) ++own.stale;
    }
    go_to_user(false);
  }
  void go_to_user(bool user) {
    if (!plan_.config.isolation.enabled) return;
    H::disable_interrupts();
    EntryBlock<H>& block = blocks_[H::this_cpu()];
    user ? return_to_user(system, block) : enter_from_user(block);
    in_user_[H::this_cpu()] = user;
    H::enable_interrupts();
  }

  /// Unmaps the page, or maps it if it is not. A CPU that takes an entry away owns the page until
  /// it maps it again. Returns the frame taken away, or 0.
  std::uint64_t take_away(unsigned mm, unsigned page) {
    return entries_[mm][page].exchange(0, std::memory_order_seq_cst);
  }
  void give(unsigned mm, unsigned page) {
    CpuLog& own = log();
    if (own.free_frames.empty()) return;
    const std::uint32_t frame = own.free_frames.back();
    frames_[frame].stamp = stamp_of(mm, page);
    std::uint64_t nothing = 0;
    if (entries_[mm][page].compare_exchange_strong(nothing, frame + 1)) {
      own.free_frames.pop_back();
    }
  }
  void release(std::uint64_t entry) {
    CpuLog& own = log();
    frames_[entry - 1].stamp = kPoison;
    own.free_frames.push_back(static_cast<std::uint32_t>(entry - 1));
    ++own.reuses;
  }

  void replace(unsigned mm, unsigned page) {
    const std::uint64_t entry = take_away(mm, page);
    if (entry != 0) {
      ++log().bumps[mm];
      static_cast<void>(flush_tlb_page(system, mms[mm], address_of(page)));
      release(entry);
    }
    give(mm, page);
  }

  void replace_in_batch(unsigned mm, unsigned page) {
    const std::uint64_t entry = take_away(mm, page);
    if (entry == 0) return;
    ++log().bumps[mm];
    Batch& batch = batches_[H::this_cpu()];
    batch.pending.add(system, mms[mm]);
    batch.entries.push_back(entry);
  }
  void flush_batch() {
    Batch& batch = batches_[H::this_cpu()];
    if (batch.entries.empty()) return;
    static_cast<void>(batch.pending.flush(system));
    for (const std::uint64_t entry : batch.entries) release(entry);
    batch.entries.clear();
  }

  struct Frame {
    std::uint64_t stamp{kPoison};
  };
  struct Batch {
    ReclaimBatch<H> pending;
    std::vector<std::uint64_t> entries;
  };

  Plan plan_;
  Processors processors_;
  std::array<Frame, std::size_t{kCpus} * kFramesOfEach> frames_{};
  /// Page-table entries: a frame's number plus 1, or 0.
  std::array<std::array<std::atomic<std::uint64_t>, kPages>, kMms> entries_{};
  std::array<Batch, kCpus> batches_{};
  std::array<bool, kCpus> in_user_{};
  std::array<EntryBlock<H>, kCpus> blocks_{};
};

}  // namespace shootdown::threads
