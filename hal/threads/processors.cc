#include "hal/threads/processors.h"

#include <pthread.h>
#include <sched.h>

#include <thread>
#include <vector>

#include "core/hal.h"

namespace shootdown::threads {

namespace {

/// So many looks in vain before a waiting thread lets others run.
constexpr std::uint64_t kPausesBeforeYield = 256;

/// A linear congruential generator (Knuth's MMIX constants); the upper bits are the good ones.
std::uint32_t draw(std::uint64_t& state) {
  state = (state * 6364136223846793005) + 1442695040888963407;
  return static_cast<std::uint32_t>(state >> 33);
}

/// The processors that this thread may run on.
cpu_set_t usable() {
  cpu_set_t all;
  CPU_ZERO(&all);
  if (sched_getaffinity(0, sizeof all, &all) != 0) CPU_SET(0, &all);
  return all;
}

/// Only a wish: where it cannot be, the thread runs anywhere.
void pin(CpuId id) {
  const cpu_set_t all = usable();
  unsigned skipped = id % static_cast<unsigned>(CPU_COUNT(&all));
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &all) || skipped-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    static_cast<void>(pthread_setaffinity_np(pthread_self(), sizeof one, &one));
    return;
  }
}

}  // namespace

unsigned usable_processors() {
  const cpu_set_t all = usable();
  return static_cast<unsigned>(CPU_COUNT(&all));
}

void Processors::run(const Setup& setup) {
  setup_ = setup;
  unfinished_.store(setup.cpus, std::memory_order_relaxed);
  for (CpuId id = 0; id < kThreadCpus; ++id) {
    Cpu& cpu = cpus_[id];
    cpu.id = id;
    cpu.interrupts_enabled = false;
    cpu.in_interrupt = false;
    cpu.preemption_off = 0;
    cpu.cr3 = 0;
    cpu.cr4 = kCr4GlobalPages | (setup.pcid ? kCr4Pcid : 0);
    cpu.interrupts_taken = 0;
    cpu.pauses = 0;
    cpu.random = id;
    cpu.counts = {};
    cpu.tlb.clear();
    cpu.call_pending.store(false, std::memory_order_relaxed);
  }
  processors = this;
  std::vector<std::thread> threads;
  threads.reserve(setup.cpus);
  for (CpuId id = 0; id < setup.cpus; ++id) threads.emplace_back([this, id] { run_cpu(id); });
  for (std::thread& thread : threads) thread.join();
  processors = nullptr;
}

void Processors::run_cpu(CpuId id) {
  Cpu& self = cpus_[id];
  this_thread = &self;
  if (setup_.pinned) pin(id);
  setup_.program(id);
  self.interrupts_enabled = true;
  unfinished_.fetch_sub(1, std::memory_order_relaxed);
  // A CPU that still works may wait for this CPU's answers.
  while (unfinished_.load(std::memory_order_relaxed) != 0) {
    take_interrupts(self);
    pause(self);
  }
  this_thread = nullptr;
}

void Processors::send(const CpuMask<kThreadCpus>& targets) {
  // Relaxed: on its own an interrupt publishes nothing. What the target needs was ordered before by
  // `order_stores_before_ipi`, against the fence in `take_interrupts`.
  targets.for_each(
      [&](CpuId id) { cpus_[id].call_pending.store(true, std::memory_order_relaxed); });
}

void Processors::take_interrupts(Cpu& self) {
  while (self.interrupts_enabled && self.call_pending.exchange(false, std::memory_order_relaxed)) {
    // The way into an interrupt serialises. It pairs with the sender's fence before its send:
    // otherwise the handler could miss the very call that it was interrupted for.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    self.interrupts_enabled = false;
    self.in_interrupt = true;
    ++self.interrupts_taken;
    setup_.interrupt();
    self.in_interrupt = false;
    self.interrupts_enabled = true;
  }
}

void Processors::give_way_sometimes(Cpu& self) const {
  if (draw(self.random) % setup_.yield_one_in == 0) std::this_thread::yield();
}

void Processors::pause(Cpu& self) {
  __builtin_ia32_pause();
  if (++self.pauses % kPausesBeforeYield == 0) std::this_thread::yield();
}

void Processors::spend() const {
  if (setup_.invalidation_ticks == 0) return;
  const std::uint64_t end = __builtin_ia32_rdtsc() + setup_.invalidation_ticks;
  while (__builtin_ia32_rdtsc() < end) __builtin_ia32_pause();
}

}  // namespace shootdown::threads
