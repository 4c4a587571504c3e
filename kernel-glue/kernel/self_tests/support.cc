#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constinit std::uint64_t next_marker = 0x1000;

}  // namespace

constinit Shootdown ordinary_shootdown = Shootdown::complete;
constinit Shootdown kernel_shootdown = Shootdown::complete;

MarkedFrame::MarkedFrame() : address_(allocate_frame()), marker_(next_marker++) {
  *direct_map<volatile std::uint64_t>(address_) = marker_;
}

void flush_pages(AddressSpace& mm, VirtAddr start, std::uint64_t pages, Shootdown how) {
  const VirtAddr end = start + pages * kPageBytes;
  const bool complete = how == Shootdown::complete && ordinary_shootdown == Shootdown::complete;
  const bool nobody_to_tell = mm.core.cpus.read().first_except(Hal::this_cpu()) == kNoCpu;
  if (complete || nobody_to_tell) {
    // The token is not needed: the tests keep their frames.
    static_cast<void>(flush_tlb_mm_range(tlb, mm.core, {.start = start, .end = end}));
    return;
  }
  for (VirtAddr page = start; page < end; page += kPageBytes) x86::invlpg(page);
}

Mask other_cpus() {
  Mask others;
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) others.set(cpu);
  return others;
}

UserPrograms::UserPrograms(AddressSpace& mm, const Mask& cpus) {
  for (std::uint64_t page = 0; page < user_program_pages(); ++page) {
    mm.map(kUserPrograms + page * kPageBytes, user_program_frame(page), kUserCode);
  }
  cpus.for_each([&](CpuId cpu) {
    frames_[cpu] = allocate_frame();
    mm.map(user_page_of(cpu), frames_[cpu]);
  });
}

UserPrograms::~UserPrograms() {
  for (const PhysAddr frame : frames_) {
    if (frame != 0) free_frame(frame);
  }
}

UserExit UserPrograms::run(UserProgram program, std::uint64_t argument,
                           const UserServices& services) const {
  const VirtAddr page = user_page_of(x86::this_cpu());
  return run_user({.entry = user_address(program),
                   .stack = page + kPageBytes,
                   .argument0 = page,
                   .argument1 = argument},
                  services);
}

SpinningReaders::SpinningReaders(AddressSpace& mm, const Mask& cpus)
    : mm_(mm), cpus_(cpus), programs_(mm, cpus) {
  cpus_.for_each([&](CpuId cpu) { start_on(cpu, *this); });
  ask(0);
}

SpinningReaders::~SpinningReaders() {
  cpus_.for_each(
      [&](CpuId cpu) { programs_.page(cpu).stop.store(true, std::memory_order_release); });
  cpus_.for_each([](CpuId cpu) { wait_for(cpu); });
}

void SpinningReaders::operator()(CpuId /*cpu*/) {
  load(mm_.core);
  const UserExit exit = programs_.run(read_on_demand, 0);
  if (exit.faulted) fatal("a reader's exception ", exit.vector, " at ", Hex{exit.value});
  load_kernel_mm();
}

void SpinningReaders::ask(VirtAddr address) {
  ++round_;
  cpus_.for_each([&](CpuId cpu) {
    UserPage& page = programs_.page(cpu);
    page.address = address;
    page.asked.store(round_, std::memory_order_release);
  });
  const auto all_answered = [&] {
    bool all = true;
    cpus_.for_each([&](CpuId cpu) {
      all = all && programs_.page(cpu).answered.load(std::memory_order_acquire) == round_;
    });
    return all;
  };
  wait_until(all_answered, "readers in user mode");
}

void SpinningReaders::read(VirtAddr address) { ask(address); }

bool SpinningReaders::all_found(std::uint64_t marker) const {
  bool all = true;
  cpus_.for_each([&](CpuId cpu) { all = all && programs_.page(cpu).found == marker; });
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
