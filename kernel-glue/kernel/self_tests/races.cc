#include "kernel-glue/kernel/self_tests/races.h"

#include <array>

#include "kernel-glue/kernel/console.h"
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/kernel_window.h"
#include "kernel-glue/kernel/self_tests/versioned_pages.h"

namespace shootdown::kernel {
namespace {

constinit RaceOptions race_options{};

/// What one CPU has done and found. Written by its CPU; by its NMIs in fields of their own.
struct alignas(kCacheLine) RaceTally {
  /// Whose task runs, which is said as a scheduler says it: behind a switch, and not before (R3).
  x86::Atomic<const VersionedPages*> current{nullptr};
  std::uint64_t reads{0};
  std::uint64_t wrong{0};
  x86::Atomic<std::uint64_t> nmi_reads{0};
  x86::Atomic<std::uint64_t> nmi_wrong{0};
  x86::Atomic<std::uint64_t> nmis{0};
  WrongRead first{};
};

/// Two address spaces and the kernel's, with pages that some CPU replaces all the time.
class RaceScene {
 public:
  /// One step of a CPU other than CPU 0.
  using Step = void (*)(RaceScene& scene, CpuId cpu, Random& random);
  /// One step of CPU 0, whose mm stays the kernel's.
  using Writing = void (*)(RaceScene& scene, Random& random);

  RaceScene(Writing write, Step step) : write_(write), step_(step) {}

  void run(Report& report);
  void operator()(CpuId cpu);

  void read(CpuId cpu, const VersionedPages& pages) {
    for (std::uint64_t i = 0; i < VersionedPages::kPages; ++i) note(cpu, pages.read(i, wrong(cpu)));
  }
  void read_if_there(CpuId cpu, const VersionedPages& pages) {
    for (std::uint64_t i = 0; i < VersionedPages::kPages; ++i) {
      note(cpu, pages.read_if_there(i, wrong(cpu)));
    }
  }
  /// Loads an mm for a task that uses its pages.
  void run_in(CpuId cpu, VersionedPages& task) {
    stop_task(cpu);
    load(task.mm()->core);
    tallies_[cpu].current.store(&task, std::memory_order_relaxed);
  }
  /// The task that ran is off: the mm stays, in lazy mode, or goes.
  void stop_task(CpuId cpu) { tallies_[cpu].current.store(nullptr, std::memory_order_relaxed); }

  void read_in_nmi();
  /// Sends one to a CPU whose last one has arrived.
  void send_nmi(Random& random);

  KernelWindow window;
  AddressSpace mm;
  AddressSpace second;
  VersionedPages pages{mm, 1, test_page(32)};
  VersionedPages second_pages{second, 2, test_page(32)};
  /// Alone in its 2 MiB.
  VersionedPages table_pages{mm, 3, test_page(1024)};
  VersionedPages kernel_pages{4, KernelWindow::page(0)};

 private:
  [[nodiscard]] std::uint64_t replacements() const;
  void stay(CpuId cpu);
  WrongRead& wrong(CpuId cpu) { return wrong_[cpu]; }
  void note(CpuId cpu, bool right) {
    RaceTally& tally = tallies_[cpu];
    ++tally.reads;
    if (!right && tally.wrong++ == 0) tally.first = wrong_[cpu];
  }
  void judge(Report& report);

  Writing write_;
  Step step_;
  x86::Atomic<bool> over_{false};
  std::array<RaceTally, x86::kMaxCpus> tallies_{};
  std::array<WrongRead, x86::kMaxCpus> wrong_{};
  std::array<std::uint64_t, x86::kMaxCpus> nmis_sent_{};
};

constinit RaceScene* scene_of_nmis = nullptr;

void rest(Random& random, std::uint64_t most) {
  for (std::uint64_t pauses = random.below(most); pauses > 0; --pauses) x86::pause();
}

void RaceScene::operator()(CpuId cpu) {
  Random random{race_options.seed * std::uint64_t{x86::kMaxCpus} + cpu};
  while (!over_.load(std::memory_order_acquire)) step_(*this, cpu, random);
  stop_task(cpu);
  load_kernel_mm();
}

void RaceScene::run(Report& report) {
  scene_of_nmis = this;
  set_nmi_handler([] { scene_of_nmis->read_in_nmi(); });
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) start_on(cpu, *this);
  Random random{race_options.seed * std::uint64_t{x86::kMaxCpus}};
  const std::uint64_t begin = x86::read_tsc();
  while (x86::read_tsc() - begin < ticks_in(race_options.milliseconds)) {
    write_(*this, random);
    rest(random, 16);
    send_nmi(random);
    rest(random, 16);
  }
  over_.store(true, std::memory_order_release);
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
    wait_for(cpu);
    wait_until(
        [&] { return tallies_[cpu].nmis.load(std::memory_order_acquire) == nmis_sent_[cpu]; },
        "the last NMI of a race");
  }
  set_nmi_handler(nullptr);
  judge(report);
}

void RaceScene::judge(Report& report) {
  std::uint64_t reads = 0;
  std::uint64_t wrong = 0;
  for (const RaceTally& tally : tallies_) {
    const std::uint64_t bad = tally.wrong + tally.nmi_wrong.load(std::memory_order_relaxed);
    reads += tally.reads + tally.nmi_reads.load(std::memory_order_relaxed);
    wrong += bad;
    if (bad == 0) continue;
    const WrongRead& first = tally.first;
    report.note("CPU ", first.cpu, " read ", Hex{first.found}, " at ", Hex{first.address},
                ", where a flush has promised at least ", Hex{first.least});
  }
  report.note("seed ", race_options.seed, ", ", race_options.milliseconds, " ms: ", reads,
              " reads, ", replacements(), " replacements, ", wrong, " wrong reads");
  report.expect(reads > 0, "pages were read");
  report.expect(wrong == 0, "no read found less than a flush had promised");
}

std::uint64_t RaceScene::replacements() const {
  return pages.replacements() + second_pages.replacements() + table_pages.replacements() +
         kernel_pages.replacements();
}

/// Keeps this CPU where the NMI found it, so that others get on. A flush that takes it for lazy
/// does not need it, so there is one before it goes on; another flush may wait for it.
void RaceScene::stay(CpuId cpu) {
  const bool lazy = tlb.cpus[cpu].shared.is_lazy.load(std::memory_order_relaxed);
  const std::uint64_t most = lazy ? 4096 : tallies_[cpu].nmis.load(std::memory_order_relaxed) % 64;
  const std::uint64_t before = replacements();
  for (std::uint64_t pauses = 0; pauses < most && replacements() == before; ++pauses) x86::pause();
}

/// User memory is read if the core says that it may be.
void RaceScene::read_in_nmi() {
  const CpuId cpu = x86::this_cpu();
  RaceTally& tally = tallies_[cpu];
  stay(cpu);
  const VersionedPages* current = tally.current.load(std::memory_order_relaxed);
  if (current != nullptr && user_access_ok(tlb, current->mm()->core)) {
    WrongRead wrong{};
    for (std::uint64_t i = 0; i < VersionedPages::kPages; ++i) {
      tally.nmi_reads.fetch_add(1, std::memory_order_relaxed);
      if (current->read(i, wrong)) continue;
      if (tally.nmi_wrong.fetch_add(1, std::memory_order_relaxed) == 0) tally.first = wrong;
    }
  }
  tally.nmis.fetch_add(1, std::memory_order_release);
}

void RaceScene::send_nmi(Random& random) {
  const CpuId cpu = 1 + static_cast<CpuId>(random.below(cpu_count() - 1));
  if (tallies_[cpu].nmis.load(std::memory_order_acquire) != nmis_sent_[cpu]) return;
  ++nmis_sent_[cpu];
  x86::send_nmi(cpu);
}

PageFlush any_flush(Random& random) { return static_cast<PageFlush>(random.below(4)); }

// What CPU 0 does.

void replace_pages(RaceScene& scene, Random& random) {
  scene.pages.replace(random.below(VersionedPages::kPages), any_flush(random));
}

void replace_in_both(RaceScene& scene, Random& random) {
  VersionedPages& pages = random.below(2) == 0 ? scene.pages : scene.second_pages;
  pages.replace(random.below(VersionedPages::kPages), any_flush(random));
}

void replace_tables(RaceScene& scene, Random& random) {
  replace_pages(scene, random);
  scene.table_pages.replace_table();
}

void replace_kernel_pages(RaceScene& scene, Random& random) {
  replace_pages(scene, random);
  scene.kernel_pages.replace(random.below(VersionedPages::kPages), PageFlush::range);
}

// What the others do.

void go_lazy_and_back(RaceScene& scene, CpuId cpu, Random& random) {
  scene.run_in(cpu, scene.pages);
  scene.read(cpu, scene.pages);
  scene.stop_task(cpu);
  become_lazy();
  rest(random, 8);
  scene.run_in(cpu, scene.pages);
  scene.read(cpu, scene.pages);
}

void switch_around(RaceScene& scene, CpuId cpu, Random& random) {
  const std::uint64_t choice = random.below(4);
  if (choice < 2) {
    scene.run_in(cpu, scene.pages);
    scene.read(cpu, scene.pages);
  } else if (choice == 2) {
    scene.run_in(cpu, scene.second_pages);
    scene.read(cpu, scene.second_pages);
  } else {
    scene.stop_task(cpu);
    load_kernel_mm();
  }
  rest(random, 16);
}

/// Also out of lazy mode to another mm.
void switch_in_every_way(RaceScene& scene, CpuId cpu, Random& random) {
  switch_around(scene, cpu, random);
  if (random.below(2) == 0) return;
  scene.stop_task(cpu);
  become_lazy();
  rest(random, 16);
}

void read_through_tables(RaceScene& scene, CpuId cpu, Random& random) {
  scene.run_in(cpu, scene.pages);
  scene.read_if_there(cpu, scene.table_pages);
  scene.read(cpu, scene.pages);
  if (random.below(4) != 0) return;
  scene.stop_task(cpu);
  become_lazy();
  rest(random, 16);
}

void go_offline_and_back(RaceScene& scene, CpuId cpu, Random& random) {
  scene.run_in(cpu, scene.pages);
  scene.read(cpu, scene.pages);
  scene.read(cpu, scene.kernel_pages);
  if (random.below(4) != 0) return;
  scene.stop_task(cpu);
  const InterruptsOff<Hal> guard;
  take_this_cpu_offline();
  rest(random, 64);
  initialize_tlb_on_this_cpu();
  scene.read(cpu, scene.kernel_pages);
}

/// Every CPU replaces, too: initiators wait for each other.
void do_anything(RaceScene& scene, CpuId cpu, Random& random) {
  switch (random.below(6)) {
    case 0:
      return go_lazy_and_back(scene, cpu, random);
    case 1:
      return switch_in_every_way(scene, cpu, random);
    case 2:
      return read_through_tables(scene, cpu, random);
    case 3:
      return go_offline_and_back(scene, cpu, random);
    case 4:
      return replace_in_both(scene, random);
    default:
      return replace_kernel_pages(scene, random);
  }
}

template <RaceScene::Writing kWrite, RaceScene::Step kStep>
void race(Report& report) {
  RaceScene scene{kWrite, kStep};
  scene.run(report);
}

/// A job is stored before its CPU is woken, and the CPU looks for one before it halts.
void race_jobs(Report& report) {
  // Such a job takes no time, unless its CPU sleeps on.
  constexpr std::uint32_t kJobMilliseconds = 10'000;
  Random random{race_options.seed};
  std::uint64_t jobs = 0;
  std::array<x86::Atomic<std::uint64_t>, x86::kMaxCpus> done{};
  auto work = [&](CpuId cpu) { done[cpu].fetch_add(1, std::memory_order_relaxed); };
  const std::uint64_t begin = x86::read_tsc();
  while (x86::read_tsc() - begin < ticks_in(race_options.milliseconds)) {
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) start_on(cpu, work);
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) wait_for(cpu, kJobMilliseconds);
    ++jobs;
    rest(random, 64);
  }
  report.note("seed ", race_options.seed, ", ", race_options.milliseconds, " ms: ", jobs,
              " jobs on each CPU");
  bool all = jobs > 0;
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
    all = all && done[cpu].load(std::memory_order_relaxed) == jobs;
  }
  report.expect(all, "every job was done once");
}

constexpr auto kRaces = std::to_array<Test>({
    {"race: jobs", race_jobs, 2},
    {"race: out of lazy mode", race<replace_pages, go_lazy_and_back>, 2},
    {"race: into an mm and out", race<replace_in_both, switch_around>, 2},
    {"race: out of lazy mode to another mm", race<replace_in_both, switch_in_every_way>, 2},
    {"race: freed tables", race<replace_tables, read_through_tables>, 2},
    {"race: CPUs go and come", race<replace_kernel_pages, go_offline_and_back>, 2},
    {"race: everything", race<replace_tables, do_anything>, 2},
});

}  // namespace

bool run_races(const RaceOptions& options, const TestChoice& choice) {
  race_options = options;
  return run_tests(kRaces.data(), kRaces.size(), choice);
}

}  // namespace shootdown::kernel
