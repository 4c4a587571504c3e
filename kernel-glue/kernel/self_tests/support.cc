#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constinit std::uint64_t next_marker = 0x1000;

}  // namespace

constinit Shootdown ordinary_shootdown = Shootdown::complete;

MarkedFrame::MarkedFrame() : address_(allocate_frame()), marker_(next_marker++) {
  *direct_map<volatile std::uint64_t>(address_) = marker_;
}

void flush_pages(AddressSpace& space, VirtAddr start, std::uint64_t pages, Shootdown how) {
  const VirtAddr end = start + pages * kPageBytes;
  const bool complete = how == Shootdown::complete && ordinary_shootdown == Shootdown::complete;
  const bool nobody_to_tell = space.mm.cpus.read().first_except(Hal::this_cpu()) == kNoCpu;
  if (complete || nobody_to_tell) {
    // The token is not needed: the tests keep their frames.
    static_cast<void>(flush_tlb_mm_range(tlb, space.mm, {.start = start, .end = end}));
    return;
  }
  for (VirtAddr page = start; page < end; page += kPageBytes) x86::invlpg(page);
}

Mask other_cpus() {
  Mask others;
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) others.set(cpu);
  return others;
}

SpinningReaders::SpinningReaders(AddressSpace& space, const Mask& cpus)
    : space_(space), cpus_(cpus) {
  cpus_.for_each([&](CpuId cpu) { start_on(cpu, *this); });
  asked_ = 1;
  round_.store(asked_, std::memory_order_release);
  wait_until([&] { return all_reached(asked_); }, "readers to load the address space");
}

SpinningReaders::~SpinningReaders() {
  stop_.store(true, std::memory_order_release);
  cpus_.for_each([](CpuId cpu) { wait_for(cpu); });
}

void SpinningReaders::operator()(CpuId cpu) {
  load(space_.mm);
  Finding& finding = findings_[cpu];
  std::uint64_t done = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    // Acquire pairs with the release in `read`: the address is visible with the round.
    const std::uint64_t round = round_.load(std::memory_order_acquire);
    if (round == done) {
      x86::pause();
      continue;
    }
    if (address_ != 0) finding.marker.store(read_marker(address_), std::memory_order_relaxed);
    finding.round.store(round, std::memory_order_release);
    done = round;
  }
  load_kernel_space();
}

bool SpinningReaders::all_reached(std::uint64_t round) const {
  bool all = true;
  cpus_.for_each([&](CpuId cpu) {
    all = all && findings_[cpu].round.load(std::memory_order_acquire) == round;
  });
  return all;
}

void SpinningReaders::read(VirtAddr address) {
  address_ = address;
  ++asked_;
  round_.store(asked_, std::memory_order_release);
  wait_until([&] { return all_reached(asked_); }, "readers to read");
}

bool SpinningReaders::all_found(std::uint64_t marker) const {
  bool all = true;
  cpus_.for_each([&](CpuId cpu) {
    all = all && findings_[cpu].marker.load(std::memory_order_relaxed) == marker;
  });
  return all;
}

void Barrier::wait() {
  const std::uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == cpu_count()) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    return;
  }
  wait_until([&] { return phase_.load(std::memory_order_acquire) != phase; },
             "all CPUs to meet at a barrier");
}

std::uint64_t Random::below(std::uint64_t bound) {
  state_ ^= state_ << 13;
  state_ ^= state_ >> 7;
  state_ ^= state_ << 17;
  return (state_ >> 16) % bound;
}

}  // namespace shootdown::kernel
