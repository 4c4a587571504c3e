#include "kernel-glue/kernel/self_tests/scenario.h"

#include <array>
#include <cstddef>
#include <memory>
#include <optional>

#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/ktap.h"
#include "kernel-glue/kernel/self_tests/kernel_window.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kMms = 8;
constexpr std::uint64_t kSmallPages = 16;
constexpr std::uint64_t kPages = kSmallPages + 2;
constexpr std::uint64_t kTablePages = 8;
constexpr std::uint64_t kKernelPages = 4;
constexpr std::uint64_t kNoMm = kMms;
constexpr vm::Pte kRights = vm::kPteUser | vm::kPteWritable | vm::kPteNoExecute;

/// Small pages on both sides of a border of 2 MiB, and the large ones.
constexpr VirtAddr kBorder = 0x40'0080'0000;
constexpr VirtAddr kLargePages = 0x40'0100'0000;

constexpr VirtAddr page_address(std::uint64_t page) {
  if (page >= kSmallPages) return kLargePages + (page - kSmallPages) * kLargePageBytes;
  return kBorder + page * kPageBytes - kTablePages * kPageBytes;
}
constexpr VirtAddr end_of(std::uint64_t page) {
  return page_address(page) + (page < kSmallPages ? kPageBytes : kLargePageBytes);
}
vm::Range pages_from(std::uint64_t first, std::uint64_t count) {
  return {.start = page_address(first), .end = end_of(first + count - 1)};
}

/// In the order of the format.
enum class Op : std::uint8_t {
  switch_to,
  idle,
  resume,
  leave,
  read,
  write,
  map,
  unmap,
  protect,
  unprotect,
  replace,
  free_table,
  flush_mm,
  exit,
  protect_early,
  reclaim,
  batch_flush,
  kernel_read,
  kernel_map,
  kernel_unmap,
  flush_all,
  temporary,
  offline,
  online,
  move,
  fork,
  cow,
  split,
  collapse,
  clean,
  reclaim_tables,
  walk,
  fail_allocation,
  flush_range,
  map_small,
};

struct Step {
  CpuId cpu;
  Op op;
  std::uint64_t mm;
  std::uint64_t page;
  std::uint64_t count;  // of pages
  std::uint64_t to;
};

std::uint64_t digit(char c) {
  return static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
}

/// What a walk of the page tables finds.
struct Found {
  PhysAddr frame{0};  // 0: nothing is mapped
  bool writable{true};
};

Found walk(PhysAddr root, VirtAddr address) {
  Found found;
  PhysAddr table = root;
  for (unsigned level = 4;; --level) {
    const std::uint64_t entry =
        direct_map<Entry>(table)[vm::entry_index(address, level)].load(std::memory_order_relaxed);
    if ((entry & kPresent) == 0) return {};
    found.writable = found.writable && (entry & kWritable) != 0;
    table = entry & kFrameMask;
    if (level == 1 || (level < 4 && (entry & kLarge) != 0)) break;
  }
  found.frame = table;
  return found;
}

class Scene {
 public:
  Scene();
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  void run(const Step& step, Report& report);
  /// All batches are flushed, and lazy CPUs run their mm again.
  void end(Report& report);

 private:
  struct Cpu {
    std::uint64_t mm{0};  // that is loaded; kNoMm: the kernel's
    bool lazy{false};
    bool offline{false};
  };
  /// The job of a CPU that is offline.
  struct Parked {
    x86::Atomic<bool> is_offline{false};
    x86::Atomic<bool> may_return{false};
    void operator()(CpuId /*cpu*/) {
      const InterruptsOff<Hal> guard;
      take_this_cpu_offline();
      is_offline.store(true, std::memory_order_release);
      while (!may_return.load(std::memory_order_acquire)) x86::pause();
      initialize_tlb_on_this_cpu();
    }
  };
  using Reclaimer = vm::Reclaimer<KernelMemory>;

  AddressSpace& mm(std::uint64_t index) { return *mms_[index]; }
  [[nodiscard]] bool is_loaded(std::uint64_t index) const;
  void premap(std::uint64_t index);
  void start_anew(const Step& step);
  void run_here(const Step& step);
  void run_task_here(const Step& step);
  void run_memory_here(const Step& step);
  void access_here(const Step& step);
  void kernel_here(const Step& step);
  void go_offline(CpuId cpu);
  void come_online(CpuId cpu);
  void check(Report& report, const Step& step);
  void check_cpu(CpuId cpu, bool tables_are_gone);
  void check_page(CpuId cpu, std::uint64_t page, bool only_absence);
  void settle(const Step& step);
  void wrong(CpuId cpu, std::uint64_t mm, VirtAddr page, const char* what);

  std::array<std::optional<AddressSpace>, kMms> mms_;
  AddressSpace temporary_;
  KernelWindow window_;
  std::array<PhysAddr, kKernelPages> kernel_frames_{};
  std::array<Cpu, x86::kMaxCpus> cpus_{};
  std::array<Parked, x86::kMaxCpus> parked_{};
  std::array<Reclaimer, x86::kMaxCpus> reclaimers_{};
  /// Pages taken away whose flush waits in a batch: what CPUs read there means nothing yet.
  std::array<std::uint32_t, kMms> pending_{};
  std::uint64_t next_word_{0x5ced'0000};
  std::uint64_t wrong_{0};
};

Scene::Scene() {
  for (std::uint64_t index = 0; index < kMms; ++index) {
    mms_[index].emplace();
    premap(index);
  }
  for (std::uint64_t page = 0; page < kKernelPages; ++page) {
    kernel_frames_[page] = allocate_frame();
    KernelWindow::map(page, kernel_frames_[page]);
  }
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    run_here({.cpu = cpu, .op = Op::switch_to, .mm = 0, .page = 0, .count = 1, .to = 0});
  }
}

Scene::~Scene() {
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    come_online(cpu);
    run_here({.cpu = cpu, .op = Op::leave, .mm = 0, .page = 0, .count = 1, .to = 0});
  }
  for (const PhysAddr frame : kernel_frames_) {
    if (frame != 0) free_frame(frame);
  }
}

void Scene::premap(std::uint64_t index) {
  for (const std::uint64_t first : {std::uint64_t{0}, kTablePages}) {
    static_cast<void>(vm::map(memory_manager, mm(index), pages_from(first, 4), kRights));
  }
}

bool Scene::is_loaded(std::uint64_t index) const {
  bool loaded = false;
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) loaded = loaded || cpus_[cpu].mm == index;
  return loaded;
}

/// On the CPU of the step, which this one waits for.
void Scene::run_here(const Step& step) {
  if (cpus_[step.cpu].offline) return;
  if (step.cpu == x86::this_cpu()) return run_task_here(step);
  run_on(step.cpu, [&](CpuId) { run_task_here(step); });
}

void Scene::run_task_here(const Step& step) {
  Cpu& cpu = cpus_[step.cpu];
  switch (step.op) {
    case Op::switch_to:
      load(mm(step.mm).core);
      cpu = {.mm = step.mm};
      return;
    case Op::idle:
      become_lazy();
      cpu.lazy = cpu.mm != kNoMm;
      return;
    case Op::resume:
      // A flush may have taken the lazy CPU to the kernel's mm.
      if (tlb.self().own.loaded_mm.owner_load() == &tlb.kernel_mm) cpu.mm = kNoMm;
      if (cpu.mm != kNoMm) load(mm(cpu.mm).core);
      cpu.lazy = false;
      return;
    case Op::leave:
      load_kernel_mm();
      cpu = {.mm = kNoMm};
      return;
    case Op::temporary: {
      temporary_.map(page_address(step.page), kernel_frames_[0]);
      const PreemptionOff<Hal> preemption_off;
      const TemporaryMm<Hal> visit(tlb, temporary_.core);
      *reinterpret_cast<volatile std::uint64_t*>(page_address(step.page)) = next_word_++;
    }
      // A lazy CPU does not come back to its mm.
      if (cpu.lazy) cpu = {.mm = kNoMm};
      return;
    default:
      return run_memory_here(step);
  }
}

/// Its job goes on until the CPU comes back, as interrupts are off until then. CPU 0, which
/// conducts, is back at once.
void Scene::go_offline(CpuId cpu) {
  run_here({.cpu = cpu, .op = Op::batch_flush, .mm = 0, .page = 0, .count = 1, .to = 0});
  Parked& parked = parked_[cpu];
  parked.may_return.store(cpu == 0, std::memory_order_relaxed);
  parked.is_offline.store(false, std::memory_order_relaxed);
  cpus_[cpu] = {.mm = kNoMm, .lazy = false, .offline = cpu != 0};
  if (cpu == 0) return parked(cpu);
  start_on(cpu, parked);
  wait_until([&] { return parked.is_offline.load(std::memory_order_acquire); },
             "a CPU to go offline");
}

void Scene::come_online(CpuId cpu) {
  if (!cpus_[cpu].offline) return;
  parked_[cpu].may_return.store(true, std::memory_order_release);
  wait_for(cpu);
  cpus_[cpu].offline = false;
}

void Scene::access_here(const Step& step) {
  const Cpu& cpu = cpus_[step.cpu];
  if (cpu.mm == kNoMm || cpu.lazy) return;
  std::uint64_t value = 0;
  const bool there = probe_read(page_address(step.page), value);
  if (step.op == Op::write && there) {
    static_cast<void>(probe_write(page_address(step.page) + 16, static_cast<std::uint8_t>(value)));
  }
}

void Scene::run_memory_here(const Step& step) {
  const VirtAddr address = page_address(step.page);
  const vm::Range range = pages_from(step.page, step.count);
  AddressSpace& space = mm(step.mm);
  switch (step.op) {
    case Op::read:
    case Op::write:
      return access_here(step);
    case Op::map:
      static_cast<void>(step.page < kSmallPages
                            ? vm::map(memory_manager, space, range, kRights)
                            : vm::map_large(memory_manager, space, range, kRights));
      return;
    case Op::map_small:
      static_cast<void>(
          vm::map(memory_manager, space, {.start = address, .end = address + kPageBytes}, kRights));
      return;
    case Op::unmap:
      return vm::unmap(memory_manager, space, range);
    case Op::protect:
      return vm::protect(memory_manager, space, range);
    case Op::protect_early:
      return vm::protect_early(memory_manager, space, range);
    case Op::unprotect:
      return vm::unprotect(memory_manager, space, range);
    case Op::clean:
      return vm::clean(memory_manager, space, range);
    case Op::replace:
      static_cast<void>(vm::migrate(memory_manager, space, address));
      return;
    case Op::free_table: {
      const std::uint64_t first = step.page / kTablePages * kTablePages;
      const vm::Range table = step.page < kSmallPages ? pages_from(first, kTablePages) : range;
      return vm::unmap(memory_manager, space, table, vm::EmptyTables::release);
    }
    case Op::reclaim_tables:
      return vm::reclaim_tables(memory_manager, space, range);
    case Op::reclaim:
      reclaimers_[step.cpu].reclaim(memory_manager, space, address);
      return;
    case Op::batch_flush:
      reclaimers_[step.cpu].flush(memory_manager);
      return;
    case Op::move:
      static_cast<void>(vm::move_page(memory_manager, space, address, page_address(step.to)));
      return;
    case Op::cow:
      static_cast<void>(vm::copy_on_write(memory_manager, space, address));
      return;
    case Op::split:
      static_cast<void>(vm::split(memory_manager, space, address));
      return;
    case Op::collapse:
      static_cast<void>(vm::collapse(memory_manager, space, address));
      return;
    case Op::flush_mm:
      static_cast<void>(flush_tlb_mm(tlb, space.core));
      return;
    case Op::flush_range:
      static_cast<void>(flush_tlb_mm_range(
          tlb, space.core,
          {.start = range.start + kPageBytes / 2, .end = range.end - kPageBytes / 2}));
      return;
    case Op::fork:
    case Op::exit:
    case Op::offline:
    case Op::online:
      return;  // by CPU 0, in `run`
    default:
      return kernel_here(step);
  }
}

void Scene::kernel_here(const Step& step) {
  if (step.op == Op::kernel_read)
    static_cast<void>(read_on(step.cpu, KernelWindow::page(step.page)));
  if (step.op == Op::flush_all) static_cast<void>(flush_tlb_all(tlb));
  if (step.op == Op::kernel_map && kernel_frames_[step.page] == 0) {
    kernel_frames_[step.page] = allocate_frame();
    KernelWindow::map(step.page, kernel_frames_[step.page]);
  }
  if (step.op != Op::kernel_unmap) return;
  for (std::uint64_t page = step.page; page < step.page + step.count; ++page) {
    set_entry(kernel_tables().page_entry(KernelWindow::page(page), kPresent | kWritable), 0);
  }
  const VirtAddr end = KernelWindow::page(step.page + step.count);
  static_cast<void>(flush_tlb_kernel_range(tlb, KernelWindow::page(step.page), end));
  for (std::uint64_t page = step.page; page < step.page + step.count; ++page) {
    if (kernel_frames_[page] != 0) free_frame(kernel_frames_[page]);
    kernel_frames_[page] = 0;
  }
}

/// An mm that no CPU runs ends, and begins as a new one or as another one's child.
void Scene::start_anew(const Step& step) {
  const std::uint64_t ends = step.op == Op::fork ? step.to : step.mm;
  if (is_loaded(ends) || (step.op == Op::fork && ends == step.mm)) return;
  mms_[ends].reset();
  mms_[ends].emplace();
  pending_[ends] = 0;
  if (step.op == Op::exit) return premap(ends);
  static_cast<void>(vm::fork(memory_manager, mm(step.mm), mm(ends)));
}

void Scene::run(const Step& step, Report& report) {
  if (step.op == Op::exit || step.op == Op::fork) {
    start_anew(step);
  } else if (step.op == Op::offline) {
    go_offline(step.cpu);
  } else if (step.op == Op::online) {
    come_online(step.cpu);
  } else {
    run_here(step);
  }
  settle(step);
  check(report, step);
}

/// Which pages wait for a batch now.
void Scene::settle(const Step& step) {
  std::uint32_t& pending = pending_[step.mm];
  switch (step.op) {
    case Op::reclaim:
      pending |= 1U << step.page;
      return;
    case Op::unmap:
    case Op::protect:
    case Op::map:
    case Op::move:
      for (std::uint64_t page = step.page; page < step.page + step.count; ++page) {
        pending &= ~(1U << page);
      }
      return;
    case Op::free_table:
      pending &= step.page < kTablePages ? ~0xffU : step.page < kSmallPages ? ~0xff00U : ~0U;
      return;
    case Op::flush_mm:
      pending = 0;
      return;
    case Op::batch_flush:
    case Op::flush_all:
    case Op::offline:
      pending_ = {};
      return;
    default:
      return;
  }
}

void Scene::check(Report& report, const Step& step) {
  // Every frame gets words of its own, the same ones at each of its addresses.
  for (std::uint64_t index = 0; index < kMms; ++index) {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const Found found = walk(mm(index).core.root, page_address(page));
      if (found.frame != 0) *direct_map<volatile std::uint64_t>(found.frame) = next_word_++;
    }
  }
  for (const PhysAddr frame : kernel_frames_) {
    if (frame != 0) *direct_map<volatile std::uint64_t>(frame) = next_word_++;
  }
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    if (cpus_[cpu].offline) continue;
    if (cpu == x86::this_cpu()) {
      check_cpu(cpu, step.op == Op::free_table);
    } else {
      run_on(cpu, [&](CpuId here) { check_cpu(here, step.op == Op::free_table); });
    }
  }
  report.expect(wrong_ == 0, "every access goes where the page tables say");
}

void Scene::check_cpu(CpuId cpu, bool tables_are_gone) {
  for (std::uint64_t page = 0; page < kKernelPages; ++page) {
    std::uint64_t value = 0;
    const bool there = probe_read(KernelWindow::page(page), value);
    const PhysAddr frame = kernel_frames_[page];
    const bool right =
        frame == 0 ? !there : there && value == *direct_map<volatile std::uint64_t>(frame);
    if (!right) wrong(cpu, kNoMm, KernelWindow::page(page), "reads another frame");
  }
  const Cpu& state = cpus_[cpu];
  if (state.mm == kNoMm || (state.lazy && !tables_are_gone)) return;
  // A lazy CPU, which may keep entries, must not be able to walk tables that are released.
  for (std::uint64_t page = 0; page < kPages; ++page) check_page(cpu, page, state.lazy);
}

void Scene::check_page(CpuId cpu, std::uint64_t page, bool only_absence) {
  const std::uint64_t index = cpus_[cpu].mm;
  if ((pending_[index] >> page & 1) != 0) return;
  const VirtAddr address = page_address(page);
  const Found found = walk(mm(index).core.root, address);
  std::uint64_t value = 0;
  const bool there = probe_read(address, value);
  if (found.frame == 0) {
    if (there) wrong(cpu, index, address, "reads a page that is not mapped");
    return;
  }
  if (only_absence) return;
  if (!there || value != *direct_map<volatile std::uint64_t>(found.frame)) {
    wrong(cpu, index, address, "reads another frame");
  }
  if (!found.writable && probe_write(address + 16, 1)) {
    wrong(cpu, index, address, "writes to a page that is read-only");
  }
}

/// CPU 0 waits meanwhile, so there is one text at a time.
void Scene::wrong(CpuId cpu, std::uint64_t mm, VirtAddr page, const char* what) {
  if (wrong_++ != 0) return;
  print("# CPU ", cpu, " with mm ", mm, " ", what, ": ", Hex{page}, "\n");
}

void Scene::end(Report& report) {
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) come_online(cpu);
  const Step nothing{.cpu = 0, .op = Op::batch_flush, .mm = 0, .page = 0, .count = 1, .to = 0};
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    Step step = nothing;
    step.cpu = cpu;
    run(step, report);
    step.op = Op::resume;
    run(step, report);
  }
}

constinit const char* encoded = nullptr;

/// More than a stack has room for.
alignas(Scene) constinit std::byte scene_storage[sizeof(Scene)]{};

void test_scenario(Report& report) {
  constexpr int kDigits = 5;
  std::uint64_t number = 0;
  Scene& scene = *std::construct_at(reinterpret_cast<Scene*>(scene_storage));
  for (const char* at = encoded; *at != ' ' && *at != '\0'; at += kDigits, ++number) {
    const Step step{.cpu = static_cast<CpuId>(digit(at[0])),
                    .op = static_cast<Op>(digit(at[1])),
                    .mm = digit(at[2]),
                    .page = digit(at[3]),
                    .count = digit(at[4]) + 1,
                    .to = digit(at[4])};
    const bool was_right = !report.failed();
    scene.run(step, report);
    if (was_right && report.failed()) report.note("after operation ", number + 1);
  }
  scene.end(report);
  std::destroy_at(&scene);
  report.note("scenario: ", number, " operations");
}

constexpr std::array<Test, 1> kScenario = {{{"scenario", test_scenario}}};

}  // namespace

bool run_scenario(const char* operations) {
  encoded = operations;
  return run_tests(kScenario.data(), kScenario.size(), {});
}

}  // namespace shootdown::kernel
