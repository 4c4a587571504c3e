// The reference memory manager under load: user programs on all CPUs map, unmap, protect, move,
// migrate, clean, reclaim and fork one address space at the same time, and know what must be in
// their memory. The work is counted and its seeds are fixed.
#include <array>

#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/stress_program.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr vm::Pte kPageRights = vm::kPteUser | vm::kPteWritable | vm::kPteNoExecute;

/// Forks at the same time; more would need more memory than there is.
constexpr std::uint32_t kForksAtOnce = 3;

vm::Range page_at(VirtAddr address) {
  const VirtAddr start = address & ~VirtAddr{kPageBytes - 1};
  return {.start = start, .end = start + kPageBytes};
}

/// The kernel's side of one stay in user mode.
struct Services {
  AddressSpace& mm;
  std::uint64_t calls{0};
  std::uint64_t faults{0};

  static std::uint64_t call(void* self, std::uint64_t number, std::uint64_t a, std::uint64_t b) {
    return static_cast<Services*>(self)->answer(static_cast<StressCall>(number), a, b);
  }
  static bool fault(void* self, VirtAddr address, std::uint64_t error_code) {
    return static_cast<Services*>(self)->serve(address, error_code);
  }

  std::uint64_t answer(StressCall number, VirtAddr a, VirtAddr b) {
    ++calls;
    note_progress();
    switch (number) {
      case StressCall::unmap:
        vm::unmap(memory_manager, mm, page_at(a));
        return 0;
      case StressCall::unmap_all:
        vm::unmap(memory_manager, mm, {.start = a, .end = a + kStressPages * kPageBytes},
                  vm::EmptyTables::release);
        return 0;
      case StressCall::protect:
        vm::protect(memory_manager, mm, page_at(a));
        return 0;
      case StressCall::protect_early:
        vm::protect_early(memory_manager, mm, page_at(a));
        return 0;
      case StressCall::move:
        return vm::move_page(memory_manager, mm, a, b) ? 1 : 0;
      case StressCall::migrate:
        return vm::migrate(memory_manager, mm, a) ? 1 : 0;
      case StressCall::clean:
        vm::clean(memory_manager, mm, page_at(a));
        return 0;
      case StressCall::reclaim: {
        vm::Reclaimer<KernelMemory> reclaimer;
        reclaimer.reclaim(memory_manager, mm, a);
        reclaimer.flush(memory_manager);
        return 0;
      }
    }
    fatal("a user program makes system call ", static_cast<std::uint64_t>(number));
  }

  /// What is missing is mapped, what is shared is copied, what is protected is permitted.
  bool serve(VirtAddr address, std::uint64_t error_code) {
    ++faults;
    const bool in_pages =
        address >= kStressBase && address < kStressBase + kStressDistance * x86::kMaxCpus;
    const bool in_own_page = address >= kUserPages && address < user_page_of(x86::kMaxCpus);
    if (!in_pages && !in_own_page) return false;
    if ((error_code & kFaultPresent) == 0) {
      return vm::map(memory_manager, mm, page_at(address), kPageRights);
    }
    if ((error_code & kFaultWrite) == 0) return false;
    if (!vm::copy_on_write(memory_manager, mm, address)) return false;
    vm::unprotect(memory_manager, mm, page_at(address));
    return true;
  }
};

/// The load: one mm, and a program on every CPU.
class Load {
 public:
  Load(std::uint64_t steps, std::uint64_t seed) : steps_(steps), seed_(seed) {
    for (std::uint64_t page = 0; page < user_program_pages(); ++page) {
      mm_.map(kUserPrograms + page * kPageBytes, user_program_frame(page), kUserCode);
    }
  }

  void operator()(CpuId cpu) {
    load(mm_.core);
    const std::uint64_t argument = stress_argument(cpu_count(), steps_, seed_);
    bool ok = run(mm_, begin_stress, argument) == StressExit::done;
    Random random{seed_ * x86::kMaxCpus + cpu};
    StressExit exit = StressExit::wants_fork;
    while (ok && (exit == StressExit::wants_fork || exit == StressExit::wants_away)) {
      exit = run(mm_, stress, 0);
      if (exit == StressExit::wants_fork) ok = fork();
      if (exit == StressExit::wants_away) go_away(cpu, random);
    }
    if (!ok || exit != StressExit::done) failed_.fetch_add(1, std::memory_order_relaxed);
    load_kernel_mm();
  }

  [[nodiscard]] std::uint64_t failed() const { return failed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t calls() const { return calls_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t faults() const { return faults_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t forks() const { return forks_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t away() const { return away_.load(std::memory_order_relaxed); }

 private:
  /// Runs a program on this CPU, which has `mm` loaded.
  StressExit run(AddressSpace& mm, UserProgram program, std::uint64_t argument) {
    Services services{.mm = mm};
    const VirtAddr page = user_page_of(x86::this_cpu());
    const UserExit exit =
        run_user({.entry = user_address(program),
                  .stack = page + kPageBytes,
                  .argument0 = page,
                  .argument1 = argument},
                 {.self = &services, .call = Services::call, .fault = Services::fault});
    calls_.fetch_add(services.calls, std::memory_order_relaxed);
    faults_.fetch_add(services.faults, std::memory_order_relaxed);
    // A fault that was not served: also when memory has run out.
    return exit.faulted ? StressExit::wrong_data : static_cast<StressExit>(exit.value);
  }

  /// The task is off for a while, in which its mm stays in lazy mode, gives way to another one or
  /// to the kernel's, or its CPU is offline. CPU 0 is not: the watchdog is there.
  void go_away(CpuId cpu, Random& random) {
    away_.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t how = random.below(cpu == 0 ? 3 : 4);
    if (how == 0) become_lazy();
    if (how == 1) load_kernel_mm();
    if (how == 2) load(other_.core);
    if (how == 3) {
      const InterruptsOff<Hal> guard;
      take_this_cpu_offline();
      for (std::uint64_t pauses = random.below(64); pauses > 0; --pauses) x86::pause();
      initialize_tlb_on_this_cpu();
    }
    for (std::uint64_t pauses = random.below(256); pauses > 0; --pauses) x86::pause();
    load(mm_.core);
  }

  /// A child lives and ends on this CPU. True if it found what it should, or too many others are at
  /// it already.
  bool fork() {
    bool ok = true;
    if (forking_.fetch_add(1, std::memory_order_acq_rel) < kForksAtOnce) {
      AddressSpace child;
      ok = vm::fork(memory_manager, mm_, child);
      load(child.core);
      ok = ok && run(child, check_child, 0) == StressExit::done;
      load(mm_.core);
      forks_.fetch_add(1, std::memory_order_relaxed);
    }
    forking_.fetch_add(~std::uint32_t{0}, std::memory_order_acq_rel);
    return ok;
  }

  AddressSpace mm_;
  /// Nothing is in it.
  AddressSpace other_;
  std::uint64_t steps_;
  std::uint64_t seed_;
  x86::Atomic<std::uint64_t> away_{0};
  x86::Atomic<std::uint32_t> forking_{0};
  x86::Atomic<std::uint64_t> failed_{0};
  x86::Atomic<std::uint64_t> calls_{0};
  x86::Atomic<std::uint64_t> faults_{0};
  x86::Atomic<std::uint64_t> forks_{0};
};

}  // namespace

void test_memory_manager(Report& report) {
  constexpr std::uint64_t kStepsOfAll = 4800;
  const std::uint64_t steps = kStepsOfAll / cpu_count();
  Load work{steps, /*seed=*/0};
  run_on_all(work);
  report.note("memory manager: ", steps, " steps on each CPU, ", work.calls(), " system calls, ",
              work.faults(), " faults, ", work.forks(), " forks, ", work.away(),
              " times away from the mm");
  report.expect(work.failed() == 0, "every program found its data");
  report.expect(work.calls() > kStepsOfAll / 4, "the programs used the memory manager");
  report.expect(work.faults() > cpu_count() && work.forks() > 0, "pages were mapped and shared");
}

namespace {

constinit std::uint64_t stress_steps = 0;
constinit std::uint64_t stress_seed = 0;

/// In pieces, each with a fresh mm and a seed of its own: the watchdog's time is for one.
void test_stress(Report& report) {
  constexpr std::uint64_t kPiece = 20'000;
  std::uint64_t done = 0;
  std::uint64_t calls = 0;
  std::uint64_t faults = 0;
  std::uint64_t away = 0;
  while (done < stress_steps && !report.failed()) {
    arm_watchdog();
    const std::uint64_t steps = (kPiece + cpu_count() - 1) / cpu_count();
    Load work{steps, stress_seed << 12 | (done / kPiece + 1)};
    run_on_all(work);
    done += steps * cpu_count();
    calls += work.calls();
    faults += work.faults();
    away += work.away();
    report.expect(work.failed() == 0, "every program found its data");
  }
  report.note("seed ", stress_seed, ": ", done, " steps of all CPUs, ", calls, " system calls, ",
              faults, " faults, ", away, " times away from the mm");
}

constexpr std::array<Test, 1> kStress = {{{"memory manager under load", test_stress}}};

}  // namespace

bool run_stress(std::uint64_t steps, std::uint64_t seed) {
  stress_steps = steps;
  stress_seed = seed;
  return run_tests(kStress.data(), kStress.size(), {});
}

}  // namespace shootdown::kernel
