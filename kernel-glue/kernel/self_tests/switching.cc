// Leaving an mm, visiting a temporary one, and NMIs that ask in the middle of it all whether user
// addresses mean what the running task thinks.
#include <utility>

#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::size_t kTasks = 3;

/// What the running task of the CPU under NMIs believes, and what the NMIs found.
struct UnderNmis {
  x86::Atomic<const AddressSpace*> current{nullptr};
  x86::Atomic<std::uint64_t> marker{0};
  x86::Atomic<std::uint64_t> seen{0};
  x86::Atomic<std::uint64_t> permitted{0};
  x86::Atomic<std::uint64_t> refused{0};
  x86::Atomic<std::uint64_t> lied{0};
  x86::Atomic<std::uint64_t> unannounced{0};
  std::array<const AddressSpace*, kTasks + 1> mms{};
};
constinit UnderNmis under_nmis{};

void add_one(x86::Atomic<std::uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
}

/// R7: at every moment a flusher finds this CPU in the mask of the mm in its CR3.
void look_at_masks() {
  const PhysAddr root = x86::read_cr3() & kFrameMask;
  for (const AddressSpace* mm : under_nmis.mms) {
    if (mm->core.root == root && !mm->core.cpus.test(x86::this_cpu())) {
      add_one(under_nmis.unannounced);
    }
  }
}

/// Reads user memory from an NMI, if it may.
void look_at_user_memory() {
  look_at_masks();
  const AddressSpace* current = under_nmis.current.load(std::memory_order_relaxed);
  if (current == nullptr || !user_access_ok(tlb, current->core)) {
    add_one(under_nmis.refused);
  } else {
    add_one(under_nmis.permitted);
    const bool right_root = (x86::read_cr3() & kFrameMask) == current->core.root;
    const bool right_data =
        read_marker(test_page(0)) == under_nmis.marker.load(std::memory_order_relaxed);
    if (!right_root || !right_data) add_one(under_nmis.lied);
  }
  under_nmis.seen.fetch_add(1, std::memory_order_release);
}

bool enough_nmis_seen() {
  constexpr std::uint64_t kEnough = 20;
  return under_nmis.permitted.load(std::memory_order_relaxed) > kEnough &&
         under_nmis.refused.load(std::memory_order_relaxed) > kEnough;
}

/// A CPU flushes an mm that it has left, whose mask may still name it.
void check_space_left(Report& report) {
  AddressSpace left;
  AddressSpace loaded;
  const auto& own = tlb.cpus[0].own;
  load(left.core);
  load(loaded.core);
  // A flush of the loaded mm has begun elsewhere, and has not come here yet.
  loaded.core.tlb_gen.fetch_add(1, std::memory_order_seq_cst);
  const Generation before = own.asids[own.loaded_asid].generation;
  const std::uint64_t wrong_cpu = own.counters.wrong_cpu;
  static_cast<void>(flush_tlb_page(tlb, left.core, test_page(0)));
  if (tlb.config().targets.mask_policy == MaskPolicy::cleared_at_switch) {
    report.expect(own.counters.wrong_cpu == wrong_cpu, "and has no local part");
  }
  report.expect(own.asids[own.loaded_asid].generation == before,
                "a flush of an mm that was left says nothing of the loaded one");
  load_kernel_mm();
}

/// What an interrupt found that came during a switch, or behind it.
struct Interrupted {
  bool came{false};
  bool in_the_window{false};

  static Answered look(const CallPost<Hal>& post, Acknowledgement<Hal> acknowledgement) {
    auto& found = *static_cast<Interrupted*>(post.argument);
    const auto& own = tlb.self().own;
    const Mm* loaded = own.loaded_mm.owner_load();
    found.came = true;
    found.in_the_window =
        loaded == nullptr || x86::read_cr3() != cr3_value(tlb, *loaded, own.loaded_asid);
    return std::move(acknowledgement).give();
  }
};

/// What a scheduler does: says which mm runs now, then switches.
void run_as(AddressSpace& mm, const MarkedFrame& frame) {
  InterruptsOff<Hal> guard;
  under_nmis.current.store(nullptr, std::memory_order_relaxed);
  under_nmis.marker.store(frame.marker(), std::memory_order_relaxed);
  under_nmis.current.store(&mm, std::memory_order_relaxed);
  switch_mm(tlb, mm.core);
}

}  // namespace

void test_leave_mm(Report& report) {
  AddressSpace mm;
  MarkedFrame frame;
  std::uint64_t found = 0;
  std::uint64_t cr3 = 0;
  mm.map(test_page(0), frame.address());
  run_on(1, [&](CpuId) {
    load(mm.core);
    found = read_marker(test_page(0));
    load_kernel_mm();
    cr3 = x86::read_cr3();
  });
  report.expect(found == frame.marker(), "the CPU has run the mm");
  report.expect((cr3 & kFrameMask) == kernel_tables().root(), "it runs on the kernel's root now");

  const bool kept = tlb.config().targets.mask_policy == MaskPolicy::kept_lazily;
  const bool by_mask = tlb.config().targets.target_test == TargetTest::not_lazy;
  report.expect(mm.core.cpus.test(1) == kept, "its bit is as the policy says");
  const std::uint64_t queued = counters_of(0).targets_queued;
  const FlushRange range{.start = test_page(0), .end = test_page(1)};
  static_cast<void>(flush_tlb_mm_range(tlb, mm.core, range));
  const std::uint64_t told = counters_of(0).targets_queued - queued;
  report.expect(told == (kept && by_mask ? 1 : 0),
                "it is told only if the initiator cannot see that it has left");
  report.expect(mm.core.cpus.test(1) == (kept && !by_mask), "a flush that finds it gone says so");
  check_space_left(report);
}

void test_interrupt_in_switch(Report& report) {
  AddressSpace mm;
  Interrupted found;
  x86::Atomic<bool> deaf{false};
  auto switch_late = [&](CpuId) {
    {
      const InterruptsOff<Hal> guard;
      deaf.store(true, std::memory_order_release);
      // In this time the interrupt comes, and waits.
      for (int pauses = 0; pauses < 2000; ++pauses) x86::pause();
      switch_mm(tlb, mm.core);
    }
    load_kernel_mm();
  };
  start_on(1, switch_late);
  wait_until([&] { return deaf.load(std::memory_order_acquire); }, "CPU 1 to become deaf");
  Mask target;
  target.set(1);
  {
    const PreemptionOff<Hal> preemption_off;
    tlb.calls.call(target, [](CpuId) { return true; }, Interrupted::look, &found, [] {});
  }
  wait_for(1);
  report.expect(found.came && !found.in_the_window,
                "when it comes, CR3 is what the bookkeeping says");
}

void test_temporary_mm(Report& report) {
  AddressSpace mm;
  AddressSpace temporary;
  MarkedFrame own;
  MarkedFrame other;
  mm.map(test_page(0), own.address());
  temporary.map(test_page(0), other.address());
  load(mm.core);
  {
    PreemptionOff<Hal> preemption_off;
    TemporaryMm<Hal> visit(tlb, temporary.core);
    report.expect(read_marker(test_page(0)) == other.marker(), "the temporary mapping is in use");
    report.expect(!user_access_ok(tlb, mm.core), "the task's addresses mean something else");
    report.expect(!x86::interrupts_enabled(), "interrupts are off meanwhile");
  }
  report.expect(read_marker(test_page(0)) == own.marker(), "the task's own mapping is back");
  report.expect(user_access_ok(tlb, mm.core), "and its addresses mean what they meant");
  report.expect(temporary.core.cpus.read().empty(), "no CPU is left in the temporary mm");

  become_lazy();
  {
    PreemptionOff<Hal> preemption_off;
    TemporaryMm<Hal> visit(tlb, temporary.core);
    report.expect(read_marker(test_page(0)) == other.marker(), "a lazy CPU can visit, too");
  }
  const Mm* loaded = tlb.cpus[0].own.loaded_mm.load(std::memory_order_relaxed);
  report.expect(loaded == &tlb.kernel_mm, "and does not come back to an mm it was lazy on");
  load_kernel_mm();
}

void test_user_access_in_nmis(Report& report) {
  constexpr std::uint64_t kRounds = 600;
  std::array<AddressSpace, kTasks> mms;
  AddressSpace temporary;
  std::array<MarkedFrame, kTasks + 1> frames;
  for (std::size_t i = 0; i < kTasks; ++i) mms[i].map(test_page(0), frames[i].address());
  temporary.map(test_page(0), frames[kTasks].address());
  for (std::size_t i = 0; i < kTasks; ++i) under_nmis.mms[i] = &mms[i];
  under_nmis.mms[kTasks] = &temporary;
  x86::Atomic<bool> done{false};
  auto switch_often = [&](CpuId) {
    Random random{3};
    // How many rounds fit between two NMIs is the machine's, so NMIs are counted, too.
    for (std::uint64_t round = 0; round < kRounds || !enough_nmis_seen(); ++round) {
      const std::uint64_t index = random.below(kTasks);
      run_as(mms[index], frames[index]);
      if (random.below(4) != 0) continue;
      PreemptionOff<Hal> preemption_off;
      TemporaryMm<Hal> visit(tlb, temporary.core);
    }
    load_kernel_mm();
    done.store(true, std::memory_order_release);
  };
  set_nmi_handler(look_at_user_memory);
  start_on(1, switch_often);
  Random random{4};
  std::uint64_t sent = under_nmis.seen.load(std::memory_order_relaxed);
  const auto last_was_seen = [&] {
    return under_nmis.seen.load(std::memory_order_acquire) == sent;
  };
  while (!done.load(std::memory_order_acquire)) {
    if (!last_was_seen()) continue;
    for (std::uint64_t pauses = random.below(64); pauses > 0; --pauses) x86::pause();
    x86::send_nmi(1);
    ++sent;
  }
  wait_for(1);
  wait_until(last_was_seen, "the last NMI");
  set_nmi_handler(nullptr);
  report.expect(enough_nmis_seen(),
                "NMIs used user memory, and came inside switches and temporary mms");
  report.expect(under_nmis.lied.load(std::memory_order_relaxed) == 0,
                "an NMI that may use user memory finds its task's");
  report.expect(under_nmis.unannounced.load(std::memory_order_relaxed) == 0,
                "a CPU is in the mask of the mm in its CR3 at any moment");
}

}  // namespace shootdown::kernel
